#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# compare_openssl_speed.sh [ROUNDS [SECONDS]]: signatures a second of `openssl speed
# -async_jobs 8 rsa2048`, whose key operations an engine pauses, with OpenSSL's own jobs and
# with the drop-in by turns. The interval of the median of the ratios is that of the ranks
# (a sign test), 95 % or more. Environment: BUILD, CC, PAUSING_ENGINE (timer or thread),
# PAUSING_MICROSECONDS (what the engine takes for an answer).
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-11} seconds=${2:-1}
BUILD=${BUILD:-build/$(uname -m)-release} CC=${CC:-gcc}
[ "$rounds" -ge 6 ] || { echo "compare_openssl_speed.sh: 6 rounds at least" >&2; exit 2; }
OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT
. test/pausing_engine.sh
pausing_engine_build
export OPENSSL_CONF=$OUT/openssl.cnf

# COMMAND...: signatures a second, and that the engine paused
speed() {
    rm -f "$OUT/count"
    PAUSING_COUNT=$OUT/count "$@" openssl speed -seconds "$seconds" -async_jobs 8 rsa2048 2>"$OUT/err" |
        awk '/^rsa 2048/ {print $6}'
    [ "$(awk '{n += $NF} END {print n + 0}' "$OUT/count")" -gt 0 ] || { echo "no pauses: $(cat "$OUT/err")" >&2; exit 1; }
}
for round in $(seq "$rounds"); do
    if [ $((round % 2)) = 0 ]; then
        own=$(speed env) drop_in=$(speed "$BUILD/jobswitch-openssl")
    else
        drop_in=$(speed "$BUILD/jobswitch-openssl") own=$(speed env)
    fi
    echo "$own $drop_in"
done | awk '
    function median(v, n) { return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
    function sort(v, n,  i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    }
    { own[NR] = $1; drop_in[NR] = $2; ratio[NR] = $2 / $1 }
    END {
        sort(own, NR); sort(drop_in, NR); sort(ratio, NR)
        # How many of each end may be left out: as long as both tails have 2.5 %.
        tail = term = 0.5 ^ NR
        for (skip = 0; tail <= 0.025; skip++) { term *= (NR - skip) / (skip + 1); tail += term }
        printf "OpenSSL %.0f [%.0f, %.0f] signatures/s, drop-in %.0f [%.0f, %.0f] (median, range of %d)\n",
            median(own, NR), own[1], own[NR], median(drop_in, NR), drop_in[1], drop_in[NR], NR
        printf "ratio %.4f [%.4f, %.4f]\n", median(ratio, NR), ratio[skip ? skip : 1], ratio[NR + 1 - (skip ? skip : 1)]
    }'
