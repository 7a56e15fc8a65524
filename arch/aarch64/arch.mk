# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/aarch64/context.S
# Landing pads and signed return addresses, as hints that an older CPU passes over;
# an object without them would cost the whole library its mark.
# No calls of libgcc's atomics, which would bring a constructor with them.
arch-cxxflags := -mbranch-protection=standard -mno-outline-atomics
# GCC takes guards for 64 KiB large on this CPU, if it is not told.
arch-flags := --param=stack-clash-protection-guard-size=12
arch-mark := AArch64 feature: BTI, PAC
# On a machine with another CPU:
arch-cross := aarch64-linux-gnu-
arch-emulator := qemu-aarch64 -L /usr/aarch64-linux-gnu
