# SPDX-License-Identifier: Apache-2.0
#
# What test/mutants.sh and test/mutants_core.sh share; they source it, after support.sh.
# Environment: MUTANTS, a pattern: only those whose name it is found in.
# shellcheck shell=bash disable=SC2034
ulimit -c 0
began=$SECONDS
caught=0 missed=0 equal=0 total=0
: >"$OUT/needed"

# said: the first thing that a test had to say against a mutant, in $OUT/said
said() {
    local line
    line=$(sed -nE 's/^ERROR: //; s/^\[  ERROR   \] --- //; /RUN|^Segm/d; p; q' "$OUT/said")
    line=${line#*first: }
    line=${line#*first }
    echo "${line:-it crashes or does not end}" | cut -c1-140
}

# reason SAME NAME: from the list of those that are the same
reason() {
    [ -f "$1" ] && awk -v name="$2" -F ' # ' '!/^#/ && $1 == name {print $2; found = 1} END {exit !found}' "$1"
}

# each_mutant LISTER FILE SAME: a line for each mutant that LISTER has of FILE. For each,
# catch is called, the caller's: with the mutant's file, and the test to try first with its
# filter, or -. It says in $by what has caught it, or in $why that it is the same; $listed
# has the reason that SAME has for it.
each_mutant() {
    local number first what name listed mutant=$OUT/mutant.${2##*.}
    perl "$1" "$2" >"$OUT/list" || exit 1
    while IFS=$'\t' read -r number first what; do
        # without the line number
        name="${what%%:*}: ${what#*: }"
        [[ $what == *"${MUTANTS:-}"* ]] || continue
        total=$((total + 1))
        perl "$1" "$2" "$number" >"$mutant"
        cmp -s "$mutant" "$2" && { echo "no change: $what"; exit 1; }
        by='' why=''
        listed=$(reason "$3" "$name")
        # shellcheck disable=SC2086
        catch "$mutant" $first </dev/null
        if [ -n "$by" ]; then
            caught=$((caught + 1))
            echo "caught  $what: $by: $(said)"
        elif [ -n "$listed" ]; then
            equal=$((equal + 1))
            echo "$name" >>"$OUT/needed"
            echo "same    $what: $listed"
        elif [ -n "$why" ]; then
            equal=$((equal + 1))
            echo "same    $what: $why"
        else
            missed=$((missed + 1))
            echo "MISSED  $what"
        fi
    done <"$OUT/list"
}

# unneeded SAME [SOURCE...]: lines that no mutant needs, of these sources only
unneeded() {
    local name same=$1
    shift
    if [ -n "${MUTANTS:-}" ] || [ ! -f "$same" ]; then return; fi
    while IFS= read -r name; do
        grep -qxF "$name" "$OUT/needed" && continue
        [ $# = 0 ] || [[ " $* " == *" ${name%%:*} "* ]] || continue
        missed=$((missed + 1))
        echo "FAULT   $same has a line that nothing needs: $name"
    done < <(sed -n '/^#/!s/ # .*//p' "$same")
}

# The last line, and the exit code.
mutants_finish() {
    echo "$caught/$((total - equal)) caught, $equal the same as before, in $((SECONDS - began)) s"
    [ $missed = 0 ] && { [ $caught -gt 0 ] || [ -n "${MUTANTS:-}" ]; }
}
