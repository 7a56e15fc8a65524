#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Does this machine run i386 programs itself? Not every x86_64 kernel does: it can be built
# without, or told at boot. Tried with the least program there is: the header of an ELF
# file, one program header, and exit(0) (System V gABI, chapters 4 and 5).
set -eu
program=$(mktemp)
trap 'rm -f "$program"' EXIT
{
    printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0'
    printf '\002\0\003\0\001\0\0\0'         # an executable, of EM_386; EV_CURRENT
    printf '\124\200\004\010'               # entry: behind both headers, at 0x8048054
    printf '\064\0\0\0\0\0\0\0\0\0\0\0'     # program header at 52, no sections, no flags
    printf '\064\0\040\0\001\0\050\0\0\0\0\0' # bytes of a header, of a program header: one
    printf '\001\0\0\0\0\0\0\0'             # PT_LOAD, from offset 0
    printf '\0\200\004\010\0\200\004\010'   # to 0x8048000
    printf '\133\0\0\0\133\0\0\0'           # 91 bytes of the file, as many of memory
    printf '\005\0\0\0\0\020\0\0'           # to read and run, in pages of 4 KiB
    printf '\061\333\061\300\100\315\200'   # xor ebx, ebx; xor eax, eax; inc eax; int 0x80
} > "$program"
chmod +x "$program"
"$program" 2>/dev/null
