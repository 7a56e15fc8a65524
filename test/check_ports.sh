#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_ports.sh CPU...: make check for each, two at a time where there are two
# processors; a line for each, with how many tests passed, failed and were skipped, and
# what failed. What each said is in build/ports/. Exit code 0 if all are well.
#
# TESTS, in the environment: only these tests. JOBS: how many at a time.
set -u
out=build/ports
mkdir -p "$out"
jobs=${JOBS:-$(nproc)}
[ "$jobs" -le 2 ] || jobs=2
began=$SECONDS

# What they share, before they start at once: packages, and CMocka's source.
for cpu in "$@"; do
    [ "$cpu" = "$(uname -m)" ] && continue
    make --no-print-directory ARCH="$cpu" cross-deps || exit 1
done

check() { # CPU
    local cpu=$1 log=$out/$1.log start=$SECONDS code line
    make --no-print-directory check ARCH="$cpu" TESTS="${TESTS:-}" >"$log" 2>&1
    code=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    echo $code >"$out/$cpu.code"
    if [ $code = 0 ]; then
        printf '  %-10s %s (%d s)\n' "$cpu" "$line" $((SECONDS - start))
    else
        printf '  %-10s FAILED: %s (%d s), see %s\n' "$cpu" "${line:-it does not build}" $((SECONDS - start)) "$log"
        grep -A20 'FAILED with\|[Ee]rror' "$log" | head -n 60 | sed 's/^/      /'
    fi
}
rm -f "$out"/*.code
for cpu in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    check "$cpu" &
done
wait
failed=0
for cpu in "$@"; do
    [ "$(cat "$out/$cpu.code" 2>/dev/null)" = 0 ] || failed=$((failed + 1))
done
echo "$(($# - failed)) of $# ports passed, in $((SECONDS - began)) s"
[ $failed = 0 ]
