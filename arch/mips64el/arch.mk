# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/mips64el/context.S
# On a machine with another CPU:
arch-cross := mips64el-linux-gnuabi64-
# (Its other CPUs of release 2 do not keep what is written to FCSR.)
arch-emulator := qemu-mips64el -cpu MIPS64R2-generic -L /usr/mips64el-linux-gnuabi64
# Its linker (binutils 2.40) does not take calls of what was made local: the archive's
# inner names stay global, if hidden.
arch-keeps-names := yes
