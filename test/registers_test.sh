#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# That no register escapes the inlined calls. Each name of a register that a compiler takes
# is given up by the stubs or brought back; and test/inline_registers.c keeps more values of
# each kind alive across them than there are registers, by gcc and clang, at every level
# that this machine can run.
set -u
. "$(dirname "$0")/support.sh"
no_tool
[ -n "$inline" ] || none_of_it "no stubs in this build"
source=test/inline_registers.c
library="$BUILD/libjobswitch.a -pthread"
compilers=
for c in gcc clang; do
    if command -v $c >/dev/null; then compilers="$compilers $c"; else skip "no $c here"; fi
done
knows() { "$1" "$2" -fsyntax-only -x c /dev/null 2>/dev/null; } # COMPILER OPTION

# ---- names ---------------------------------------------------------------------------

# One for each register that can hold a value, and wider ones of the same
candidates="rax rbx rcx rdx rsi rdi rbp rsp $(echo r{8..31})
    $(echo {x,y,z}mm{0..31} k{0..7} mm{0..7} tmm{0..7} bnd{0..3}) st st(1) st(2) st(3) st(4) st(5) st(6) st(7)"
# What a stub hands over, and what it brings back. Nobody has kept a value in one of MPX's
# registers; of tiles the header leaves alone who may have them.
fate="rax rcx rdx rsi rdi rsp rbp $(echo bnd{0..3} tmm{0..7})"
for name in $candidates; do
    echo "void $(echo "$name" | tr '()' __)_(void) { __asm__ volatile(\"\" : : : \"$name\"); }"
done >"$OUT/names.c"
# accepted COMPILER OPTIONS...: the names that it takes
accepted() {
    local how='-S -o /dev/null' # where gcc looks at them
    [ "$1" = gcc ] || how='-fsyntax-only -ferror-limit=0'
    # shellcheck disable=SC2086
    "$@" $how "$OUT/names.c" 2>&1 |
        sed -n 's@^[^:]*names\.c:\([0-9]*\):.*error:.*@\1d@p' | sort -u >"$OUT/refused"
    echo $candidates | tr ' ' '\n' | sed -f "$OUT/refused"
}
given_up() { # COMPILER OPTIONS...
    printf '#include <jobswitch/jobswitch.h>\ngiven up: JOBSWITCH_STUB_CLOBBERS\n' |
        "$@" -Iinclude -E -P -x c - | sed -n 's/^given up://p' | grep -oE '"[^"]*"' | tr -d '"'
}
names() {
    local also= taken
    [ "$1" = gcc ] || also=rbx # which its form of the stubs brings back
    taken=$(accepted "$@")
    [ "$(echo "$taken" | wc -l)" -gt 60 ] || bad "$*: too few names of registers"
    same "$*: all registers that it names are given up or kept" "" \
        "$(echo "$taken" | sed 's/^[yz]mm/xmm/' | sort -u |
            grep -vxF "$(given_up "$@"; echo $fate $also | tr ' ' '\n')")"
}
for c in $compilers; do
    for option in -msse2 -mavx2 -mavx512f -march=native -march=icelake-server -mapxf -mapx-features=egpr -mavx10.1-256; do
        if knows $c $option; then names $c $option; fi
    done
done

# ---- values --------------------------------------------------------------------------

can() { [ -z "$1" ] || grep -qw "$1" /proc/cpuinfo; }
# values COMPILER NEEDS OPTIONS...: a line for each. Where this CPU lacks what it needs, it
# is compiled alone.
values() {
    local compiler=$1 needs=$2 name
    shift 2
    name="$OUT/$compiler$(echo "$*" | tr -d ' =')"
    # shellcheck disable=SC2086
    if $compiler -Wall -Wextra -Werror -Iinclude "$@" $source $library -o "$name" >"$name.log" 2>&1 &&
        { ! can "$needs" || timeout 60 "$name" >>"$name.log" 2>&1; }; then
        echo "ok $name.log $compiler $*$(can "$needs" || echo ", compiled alone")"
    else
        echo "bad $name.log $compiler $*"
    fi
    rm -f "$name"
}
levels() { # COMPILER
    values "$1" "" -O0
    values "$1" "" -O1
    values "$1" "" -O2
    values "$1" "" -O3
    values "$1" "" -O2 -fno-omit-frame-pointer
    values "$1" "" -O2 -fPIC -march=native
    values "$1" "" -O1 -march=native
    values "$1" "" -O3 -march=native -fno-omit-frame-pointer
    values "$1" avx -O2 -mavx
    values "$1" avx2 -O2 -mavx2
    values "$1" avx512f -O2 -mavx512f
    values "$1" avx512vl -O2 -mavx512bw -mavx512vl
    values "$1" avx512vl -O0 -mavx512bw -mavx512vl
}
for c in $compilers; do levels $c >"$OUT/$c.results" & done
wait
for c in $compilers; do
    [ "$(wc -l <"$OUT/$c.results")" = 13 ] || bad "$c: not all levels"
    while read -r result log what; do
        if [ "$result" = ok ]; then ok "$what"; else bad "$what" "$log"; fi
    done <"$OUT/$c.results"
done

# ---- more than the file has ------------------------------------------------------------

# (clang gives up AVX-512's registers in any file: above.)
refused() { # WHAT WORD COMMAND...
    local what=$1 word=$2
    shift 2
    if "$@" >"$OUT/log" 2>&1; then bad "$what"; elif grep -q "rror: jobswitch.h: .*$word.*JOBSWITCH_NO_INLINE" "$OUT/log"; then ok "$what"; else bad "$what" "$OUT/log"; fi
}
wide='-DWIDE=__attribute__((target("avx512f,avx512bw")))'
if command -v gcc >/dev/null; then
    for optimized in -O0 -O1 -O2 -O3 -Os; do
        refused "gcc $optimized: AVX-512 by a function's attribute alone is refused" AVX-512 \
            gcc $optimized -Iinclude "$wide" -c -o "$OUT/refused.o" $source
    done
    if gcc -O2 -Iinclude "$wide" -DJOBSWITCH_NO_INLINE -c -o "$OUT/refused.o" $source 2>"$OUT/log"; then
        ok "and compiles with the functions"
    else
        bad "and compiles with the functions" "$OUT/log"
    fi
fi

finish
