# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/riscv64/context.S
# GCC 12's -fstack-clash-protection leaves large frames unprobed on this CPU.
arch-test-flags := -DJS_FRAMES_UNPROBED
# On a machine with another CPU:
arch-cross := riscv64-linux-gnu-
arch-emulator := qemu-riscv64 -L /usr/riscv64-linux-gnu
