#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# mutants_core.sh SOURCE...: as mutants.sh, for the C++ core. Each source is changed at one
# place at a time, as test/mutants_cpp.pl lists them; each test in turn is linked with the
# result, until one of them fails. What cannot be told apart from the unchanged source has
# a line in test/mutants_cpp.same.
#
# Where the compiler makes the same of a mutant as of the source, no test is run. A weaker
# memory order is often that on x86; but not with the model of memory that
# weak_memory_test has, and then that test alone is run.
#
# Environment: BUILD, with the tests' objects in it; COMPILE, the compiler with the
# library's flags; COMPILE_WEAK, the same with the model of memory; LINK, what links a
# program; LINK_<test>, what a test is linked with besides; MUTANTS, a pattern: only those
# whose name it is found in; QUICK=1: without the dear tests, which take two minutes for a
# mutant that they do not see. Those that have a line in mutants_cpp.same are spared them
# but with QUICK=0.
set -u
. "$(dirname "$0")/support.sh"
no_tool
rm -rf "$OUT"
mkdir -p "$OUT"
. "$(dirname "$0")/mutants_support.sh"
same=test/mutants_cpp.same

# ---- the tests -----------------------------------------------------------------

# Cheap ones first: each with its TEST_SCALE, how many seconds it may take (several times
# what it takes where other work goes on beside it), and the sources that it is for.
# A hang is seen by weak_memory_test without waiting; so that comes before most.
cheap='ready 1 10 ready
       timer 1 10 timer
       weak_memory 50 30 ready wait
       wait 50 20 ready wait timer loop
       loop 50 20 ready wait timer loop'
dear='weak_memory 1 300 ready wait
      loop 1 100 ready wait timer loop
      api 1 60 ready wait timer loop
      thread 1 60 ready wait loop
      model 1 100 ready wait timer loop
      wait 1 150 ready wait
      step_fork 1 300 ready wait
      step 1 400 ready wait loop'

weak_sources='ready wait'

# link TEST [SOURCE]: with that source's mutant, if it is given
link() {
    local flags=LINK_$1 source=${2:-} objects=() name
    [ -z "$source" ] || objects=("$OUT/$source.o")
    if [ "$1" = weak_memory ]; then
        objects=()
        for name in $weak_sources; do
            if [ "$name" = "$source" ]; then
                objects+=("$OUT/$name.weak.o")
            else
                objects+=("$BUILD/test/weak/$name.cpp.o")
            fi
        done
    fi
    # Of the archive nothing is taken that an object before it has.
    # shellcheck disable=SC2086
    $LINK -Wl,-S -o "$OUT/program" "$BUILD/test/$1_test.cpp.o" "${objects[@]}" "$BUILD/inside.a" \
        ${!flags-} -lcmocka -ldl -pthread >"$OUT/said" 2>&1 && return
    echo "$1_test is not linked:"
    cat "$OUT/said"
    exit 1
}

# fails TEST SCALE SECONDS: not longer than until the first of its tests fails, or
# weak_memory_test has a schedule. What it says is in $OUT/said.
fails() {
    local line out failed=
    : >"$OUT/said"
    exec {out}< <(TEST_SCALE=$2 exec timeout -k 1 "$3" "$OUT/program" 2>&1)
    local pid=$!
    while IFS= read -r line <&"$out"; do
        case $line in
        '[  FAILED  ]'*) failed=1 ;;
        [a-z]*': '*) [ "$1" != weak_memory ] || failed=1 ;;
        esac
        case $line in
        *wrong* | *rror* | *'not so'* | *Segm* | [a-z]*': '*) echo "$line" >>"$OUT/said" ;;
        esac
        if [ -n "$failed" ]; then
            kill "$pid" 2>/dev/null
            break
        fi
    done
    exec {out}<&-
    wait "$pid" || failed=1
    [ -n "$failed" ]
}

# sound TEST SCALE SECONDS: with the source as it is, it passes. Looked at when it is first
# used: a dear one is not always.
declare -A is_sound
sound() {
    [ -z "${is_sound[$1 $2]:-}" ] || return 0
    link "$1"
    if fails "$1" "$2" "$3"; then
        echo "$1_test fails with the library as it is:"
        cat "$OUT/said"
        exit 1
    fi
    is_sound[$1 $2]=1
}

# ---- the mutants ------------------------------------------------------------------

has_weak() { [[ " $weak_sources " == *" $unit "* ]]; }
# compile FILE: into objects without what only a debugger reads
compile() {
    # shellcheck disable=SC2086
    $COMPILE -g0 -w -c -o "$OUT/$unit.o" "$1" >"$OUT/said" 2>&1 || return 1
    # shellcheck disable=SC2086
    ! has_weak || $COMPILE_WEAK -g0 -w -c -o "$OUT/$unit.weak.o" "$1" >"$OUT/said" 2>&1
}
catch() { # FILE
    local test scale limit sources plain_same='' weak_same='' runs=$cheap
    [ "${QUICK:-}" = 1 ] || { [ -n "$listed" ] && [ "${QUICK:-}" != 0 ]; } || runs+=$'\n'$dear
    if ! compile "$1"; then
        grep -q 'error:' "$OUT/said" || { cat "$OUT/said"; exit 1; }
        by=compiler
        return
    fi
    cmp -s "$OUT/$unit.o" "$OUT/$unit.was.o" && plain_same=1
    has_weak || weak_same=1
    cmp -s "$OUT/$unit.weak.o" "$OUT/$unit.weak.was.o" && weak_same=1
    if [ -n "$plain_same$weak_same" ] && [ "$plain_same" = "$weak_same" ]; then
        why='the compiler makes the same of it'
        return
    fi
    while read -r test scale limit sources; do
        [[ " $sources " == *" $unit "* ]] || continue
        if [ "$test" = weak_memory ]; then
            [ -z "$weak_same" ] || continue
        else
            [ -z "$plain_same" ] || continue
        fi
        sound "$test" "$scale" "$limit"
        link "$test" "$unit"
        if fails "$test" "$scale" "$limit"; then
            by=${test}_test
            return
        fi
    done <<<"$runs"
}

for source in "$@"; do
    unit=$(basename "$source" .cpp)
    # (By the name that the mutants have, for objects hold it.)
    cp "$source" "$OUT/mutant.cpp"
    compile "$OUT/mutant.cpp" || { cat "$OUT/said"; exit 1; }
    cp "$OUT/$unit.o" "$OUT/$unit.was.o"
    ! has_weak || cp "$OUT/$unit.weak.o" "$OUT/$unit.weak.was.o"
    each_mutant test/mutants_cpp.pl "$source" "$same"
done
unneeded "$same" "$@"
mutants_finish
