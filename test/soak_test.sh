#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Natural stress: test/soak.cpp for a minute where programs run at full speed, else for
# seconds. SOAK_SECONDS: for so long. SOAK_OPTIONS: more of its options, --seed and such.
set -u
. "$(dirname "$0")/support.sh"

seconds=6
[ "$MODE" != release ] || [ -n "$EMULATOR" ] || [ "$ARCH" = generic ] || seconds=60
seconds=${SOAK_SECONDS:-$seconds}
command=($EMULATOR)
options=()
case $MODE in
valgrind)
    command=(valgrind -q --error-exitcode=99 --child-silent-after-fork=yes --fair-sched=yes)
    options=(--jobs 50 --wakers 4 --hertz 20)
    ;;
# ThreadSanitizer has no threads, and no fibers, in the child of a program with threads.
tsan) options=(--jobs 100 --without-fork) ;;
esac
[ -z "$EMULATOR" ] || options=(--jobs 100 --hertz 100)
# shellcheck disable=SC2206
options+=(${SOAK_OPTIONS:-})
soak() {
    ${command[@]+"${command[@]}"} "$BUILD/test/soak" ${options[@]+"${options[@]}"} "$@" \
        >"$OUT/out" 2>&1
}

# Wakes that are counted and not made are lost ones, and their job is named. (Valgrind's
# seconds are too few to wake the same job again.)
if [ "$MODE" != valgrind ]; then
    if soak --seconds 2 --only-wakes --forget-a-job; then
        bad "wakes that were not made were not missed" "$OUT/out"
    elif grep -q '^soak: lost: owner .* woken [0-9]* times' "$OUT/out"; then
        ok "wakes that are not made are missed"
    else
        bad "another failure than wakes that were not made" "$OUT/out"
    fi
fi
if soak --seconds "$seconds"; then
    ok "every wake is told, and nothing grows"
    tail -n 1 "$OUT/out"
else
    bad "soak" "$OUT/out"
fi
finish
