# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/x86_64/context.asm
arch-entry := arch/x86_64/entry.asm
arch-nasm-format := elf64
arch-assembler := nasm
# Landing pads where calls come in; an object without them would cost the
# whole library its mark.
# prefetchw: what is prefetched for a write comes exclusively. CPUs that do not know it
# (Intel's before Broadwell) do nothing instead.
arch-cxxflags := -fcf-protection=branch -mprfchw
arch-mark := x86 feature: IBT
