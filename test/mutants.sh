#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# mutants.sh SOURCE...: shows that the tests prove a port. Each assembly source is
# changed at one place at a time, as arch/<cpu>/mutants.pl lists them (a save or a
# restore left out, two slots exchanged on one side, an unwind row left out, ...);
# tests are linked with the result, and one of them has to fail: by what it says, by
# a crash or by taking too long. A line for each, and how many were caught; exit code
# 0 if that is all of them.
#
# What cannot be told apart from the unchanged source has a line in
# arch/<cpu>/mutants.same: the mutant's name without its line number, and after " # "
# the reason. A line that no mutant needs is a fault.
#
# Environment: BUILD, with the tests' objects in it; ARCH, CC, CXX; ASSEMBLE, the
# assembler with its options; MUTANTS, a pattern: only those whose name it is found in.
set -u
. "$(dirname "$0")/support.sh"
no_tool
OUT=$BUILD/mutants
lister=arch/$ARCH/mutants.pl same=arch/$ARCH/mutants.same
[ -f "$lister" ] || { echo "no $lister: this port has no mutants"; exit 1; }
rm -rf "$OUT"
mkdir -p "$OUT/test" "$OUT/arch/$ARCH"
cp "$BUILD/arch/$ARCH"/*.o "$OUT/arch/$ARCH"
. "$(dirname "$0")/mutants_support.sh"

# ---- the tests -----------------------------------------------------------------

# Each with how long it may take; those that every change runs in the end, until one
# fails, cheapest first.
declare -A seconds=([conformance_test]=3 [inline_torture]=3 [inline_torture_clang]=3
    [unwind_test]=60 [model_test]=60)
tests=(conformance_test)
objects_conformance_test=$BUILD/test/conformance_test.cpp.o
flags_conformance_test='-Wl,--wrap=context_ended -Wl,--wrap=context_unwound'
if [ -n "$inline" ]; then
    # shellcheck disable=SC2086
    $CC -O2 -Iinclude -c -o "$OUT/inline_torture.o" test/inline_torture.c || exit 1
    tests+=(inline_torture)
    objects_inline_torture=$OUT/inline_torture.o
    # (It may use another form of the stubs.)
    # shellcheck disable=SC2086
    if clang -O2 -Iinclude -c -o "$OUT/inline_torture_clang.o" test/inline_torture.c 2>"$OUT/log"; then
        tests+=(inline_torture_clang)
        objects_inline_torture_clang=$OUT/inline_torture_clang.o
    fi
fi
tests+=(unwind_test model_test)
objects_unwind_test=$BUILD/test/unwind_test.cpp.o
objects_model_test=$BUILD/test/model_test.cpp.o

# prepare SOURCE: each test with all of the library but that source, in one object,
# without what only a debugger reads
prepare() {
    local test objects flags
    for test in "${tests[@]}"; do
        objects=objects_$test flags=flags_$test
        # shellcheck disable=SC2046
        $CXX -r -nostdlib ${!flags-} -o "$OUT/$test.rest.o" "${!objects}" "$BUILD"/src/*.o \
            $(find "$BUILD/arch" -name '*.o' ! -path "$BUILD/$1.o") &&
            objcopy -g "$OUT/$test.rest.o" || exit 1
    done
}

# fails TEST OBJECT [FILTER]: with that object of the port. What it says is in $OUT/said.
fails() {
    local flags=flags_$1
    # shellcheck disable=SC2086
    if ! $CXX -o "$OUT/test/$1" "$OUT/$1.rest.o" "$2" ${!flags-} -lcmocka -ldl -pthread >"$OUT/said" 2>&1; then
        return 0
    fi
    # Not longer than until the first of its tests fails.
    timeout -k 1 "${seconds[$1]}" "$OUT/test/$1" ${3:+"$3"} 2>&1 </dev/null |
        sed -n '/^\[ *FAILED *\]/q; /wrong\|rror\|not so\|xception\|Segm/p' >"$OUT/said"
    [ "${PIPESTATUS[*]}" != "0 0" ]
}

# ---- the mutants ------------------------------------------------------------------

assemble() { $ASSEMBLE -o "$object" "$1" >"$OUT/said" 2>&1 && objcopy --discard-all "$object"; }
catch() { # FILE FIRST [FILTER]
    local test
    if ! assemble "$1"; then
        by=assembler
    elif [[ " ${tests[*]} " == *" $2 "* ]] && fails "$2" "$object" "${3:-}"; then
        by=$2
    else
        for test in "${tests[@]}"; do
            [ "$2 ${3:-}" = "$test " ] && continue
            if fails "$test" "$object"; then by=$test; return; fi
        done
    fi
}
for source in "$@"; do
    flat=$OUT/$(basename "$source").i
    object=$OUT/arch/$ARCH/$(basename "$source").o
    prepare "$source"
    $ASSEMBLE -E "$source" >"$flat" && assemble "$flat" || { cat "$OUT/said"; exit 1; }
    for test in "${tests[@]}"; do
        if fails "$test" "$object"; then
            echo "$test fails with $source as it is:"
            cat "$OUT/said"
            exit 1
        fi
    done
    each_mutant "$lister" "$flat" "$same"
    assemble "$flat"
done
unneeded "$same"
mutants_finish
