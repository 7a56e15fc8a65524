# SPDX-License-Identifier: Apache-2.0
# Any CPU that has no folder of its own, with the C library's ucontext.
arch-sources := arch/generic/context.cpp
$(if $(MAKELEVEL:0=),,$(info no port for this CPU: the C library's ucontext is used, with two system calls a switch))
$(if $(LIBC),$(error LIBC=$(LIBC) has no ucontext: that takes a port))
