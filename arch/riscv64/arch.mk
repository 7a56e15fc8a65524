# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/riscv64/context.S
# On a machine with another CPU:
arch-cross := riscv64-linux-gnu-
arch-emulator := qemu-riscv64 -L /usr/riscv64-linux-gnu
