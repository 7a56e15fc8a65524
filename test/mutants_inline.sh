#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# As mutants.sh, for the stubs of a CPU's inline.h: each line of a stub's text (an
# instruction, a row, a part of it by a macro) is left out in turn, then each name of a
# register that they give up, and a test built with that header has to fail, or not to
# compile.
#
# Environment: BUILD, with the library's objects in it; ARCH, CC, CXX; MUTANTS, a
# pattern: only those lines that it is found in.
set -u
. "$(dirname "$0")/support.sh"
no_tool
OUT=$BUILD/mutants_inline
header=arch/$ARCH/inline.h
rm -rf "$OUT"
mkdir -p "$OUT/include"
cp -r include/jobswitch "$OUT/include"
ulimit -c 0
began=$SECONDS

# The lines from the first text of an instruction to the compilers' differences.
lines=$(awk '/^#define JOBSWITCH_STUB_FIND_HERE/ {on = 1}
    /^#if defined\(__clang__\)/ {on = 0}
    on && (/"\\t/ || /^    (JOBSWITCH_STUB_|save_in|arrive)/) {print NR}' "$header")
[ "$(echo "$lines" | wc -l)" -gt 30 ] || { echo "too few lines of stubs in $header"; exit 1; }

# The names that a compiler here is given.
names=$(for compiler in "$CC" clang; do
    printf '#include <jobswitch/jobswitch.h>\ngiven up: JOBSWITCH_STUB_CLOBBERS\n' |
        $compiler -march=native -Iinclude -E -P -x c - 2>/dev/null
done | sed -n 's/^given up://p' | grep -oE '"[^"]*"' | tr -d '"' | sort -u)
[ "$(echo "$names" | wc -l)" -gt 40 ] || { echo "too few names of registers in $header"; exit 1; }

# leave_out LINE: what stands in it but a macro's head and the backslash
leave_out() {
    awk -v at="$1" 'NR == at {
        more = /\\$/
        if (/^#define/) sub(/"\\t.*/, "\"\""); else $0 = "    \"\""
        if (more) $0 = $0 " \\"
    } {print}' "$header" >"$OUT/include/jobswitch/inline.h"
}
cxx="$CXX -O1 -std=c++20 -I$OUT/include -Isrc -Iarch/$ARCH -fstack-clash-protection"
# fails COMMAND...: what it says is in $OUT/said
fails() { ! { timeout -k 1 60 "$@" >"$OUT/said" 2>&1 </dev/null; } 2>/dev/null; }
cmocka_fails() { # NAME
    fails $cxx -o "$OUT/test" "test/$1.cpp" "$BUILD/inside.a" -lcmocka -ldl -pthread || fails "$OUT/test"
}
torture_fails() { # COMPILER
    fails $1 -O2 "-I$OUT/include" -o "$OUT/test" test/inline_torture.c "$BUILD/libjobswitch.a" -pthread ||
        fails "$OUT/test"
}
# By all registers that the compiler may use on this machine
registers_fail() { # COMPILER
    fails $1 -O2 -march=native "-I$OUT/include" -o "$OUT/test" test/inline_registers.c "$BUILD/libjobswitch.a" -pthread ||
        fails "$OUT/test"
}
caught_by() {
    local compiler
    if cmocka_fails unwind_test; then by=unwind_test; return; fi
    for compiler in "$CC" clang; do
        command -v "$compiler" >/dev/null || continue
        if torture_fails "$compiler"; then by="inline_torture, $compiler"; return; fi
    done
    if cmocka_fails api_test; then by=api_test; return; fi
    by=
}

name_caught_by() {
    local compiler
    for compiler in "$CC" clang; do
        command -v "$compiler" >/dev/null || continue
        if registers_fail "$compiler"; then by="inline_registers, $compiler"; return; fi
    done
    by=
}

cp "$header" "$OUT/include/jobswitch"
caught_by
[ -n "$by" ] || name_caught_by
[ -z "$by" ] || { echo "$by fails with $header as it is:"; cat "$OUT/said"; exit 1; }
caught=0 missed=0
count() {
    if [ -n "$by" ]; then
        caught=$((caught + 1))
        echo "caught  $what: $by"
    else
        missed=$((missed + 1))
        echo "MISSED  $what"
    fi
}
for line in $lines; do
    what="$header:$line: no $(sed -n "${line}s/ *\\\\*\$//;${line}s/^ *//p" "$header")"
    [[ $what == *"${MUTANTS:-}"* ]] || continue
    leave_out "$line"
    caught_by
    count
done
for name in $names; do
    what="$header: $name is kept"
    [[ $what == *"${MUTANTS:-}"* ]] || continue
    perl -0pe "s/,[\\s\\\\]*\"\Q$name\E\"(?!,)//; s/\"\Q$name\E\", *//" "$header" >"$OUT/include/jobswitch/inline.h"
    name_caught_by
    count
done
echo "$caught/$((caught + missed)) caught, in $((SECONDS - began)) s"
[ $missed = 0 ] && { [ $caught -gt 0 ] || [ -n "${MUTANTS:-}" ]; }
