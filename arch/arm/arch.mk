# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/arm/context.S arch/arm/personality.cpp
# On a machine with another CPU:
arch-cross := arm-linux-gnueabihf-
arch-emulator := qemu-arm -L /usr/arm-linux-gnueabihf
