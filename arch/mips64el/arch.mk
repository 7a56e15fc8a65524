# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/mips64el/context.S
# On a machine with another CPU:
arch-cross := mips64el-linux-gnuabi64-
# (Its other CPUs of release 2 do not keep what is written to FCSR.)
arch-emulator := qemu-mips64el -cpu MIPS64R2-generic -L /usr/mips64el-linux-gnuabi64
# Its linker (binutils 2.40) refuses calls of what was made local, and gets the data of
# others wrong: it adds the joined object's gp to places that are relative to gp.
arch-renames := yes
