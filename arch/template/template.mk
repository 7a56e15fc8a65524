# SPDX-License-Identifier: Apache-2.0
# Copy to arch/<cpu>/arch.mk, <cpu> as `uname -m` calls it: from then on make knows the CPU.
arch-sources := arch/CPU/context.S
# Only if the compiler leaves large frames unprobed (doc/PORTING.md says how to see that):
# arch-test-flags := -DJS_FRAMES_UNPROBED
# Only if objects are marked for landing pads or signed return addresses:
# arch-cxxflags := the compiler's option for it
# arch-mark := what readelf -n calls it
# Only if the archive's inner names cannot be made local (make check's link_test tells):
# arch-join := the linker's option that makes the joined object fit for it
# arch-renames := yes, and they get names that nobody else has
# On a machine with another CPU:
arch-cross := TRIPLET-
arch-emulator := qemu-CPU -L /usr/TRIPLET
