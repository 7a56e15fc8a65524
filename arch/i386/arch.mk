# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/i386/context.S
# On a machine with another CPU; x86_64 runs these programs itself.
arch-cross := i686-linux-gnu-
arch-emulator := $(if $(filter x86_64,$(machine)),,qemu-i386 -L /usr/i686-linux-gnu)
# What each object has of the compiler's own to learn where it is, is of this one object
# from then on, or it would go where a program has the same.
arch-join := -Wl,--force-group-allocation
