# SPDX-License-Identifier: Apache-2.0
arch-sources := arch/x86_64/context.asm
arch-entry := arch/x86_64/entry.asm
arch-nasm-format := elf64
arch-assembler := nasm
# Landing pads where calls come in; an object without them would cost the
# whole library its mark.
arch-cxxflags := -fcf-protection=branch
arch-mark := x86 feature: IBT
