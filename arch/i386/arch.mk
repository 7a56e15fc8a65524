# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/i386/context.S
# On a machine with another CPU. Most x86_64 kernels run these programs themselves.
arch-cross := i686-linux-gnu-
arch-emulator := $(shell arch/i386/runs_here.sh || echo qemu-i386 -L /usr/i686-linux-gnu)
# What each object has of the compiler's own to learn where it is, is of this one object
# from then on, or it would go where a program has the same.
arch-join := -Wl,--force-group-allocation
