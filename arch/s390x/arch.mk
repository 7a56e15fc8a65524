# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/s390x/context.S
# On a machine with another CPU:
arch-cross := s390x-linux-gnu-
arch-emulator := qemu-s390x -L /usr/s390x-linux-gnu
