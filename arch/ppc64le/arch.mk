# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/ppc64le/context.S
# On a machine with another CPU:
arch-cross := powerpc64le-linux-gnu-
arch-emulator := qemu-ppc64le -L /usr/powerpc64le-linux-gnu
