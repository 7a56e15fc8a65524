#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The benchmark program: every row runs and its figures are plausible, what it
# writes can be read, and what it is told wrong it says so in one line. Nothing
# here judges time.
set -u
. "$(dirname "$0")/support.sh"
no_tool
bench=$BUILD/bench/jobswitch-bench
[ -x "$bench" ] || none_of_it "$bench is not built"

# ---- every row

if "$bench" --smoke --json "$OUT/a.json" --html "$OUT/a.html" --chart "$OUT/a.svg" >"$OUT/a" 2>"$OUT/log"; then
    ok "every row runs, with plausible figures"
else
    bad "--smoke ends with $?" "$OUT/log"
fi
[ ! -s "$OUT/log" ] && ok "no progress where there is no terminal" || bad "words on standard error" "$OUT/log"
"$bench" --smoke --list >"$OUT/list" 2>"$OUT/log" || bad "--list ends with $?" "$OUT/log"
cells=$(grep '^  ' "$OUT/list" | grep -vc 'not available')
found=$(grep -c '"process_medians"' "$OUT/a.json")
if [ "$cells" -gt 10 ] && [ "$found" -ge "$cells" ]; then
    ok "$found figures of $cells cells"
else
    bad "$found figures of $cells cells"
fi
for word in '"format": 1' '"tsc_hz"' '"steal_percent"' '"commit"' '"jobswitch-functions"'; do
    grep -q "$word" "$OUT/a.json" || bad "no $word in the JSON"
done
grep -q '</html>' "$OUT/a.html" && ! grep -qE '(src|href)="?https?:' "$OUT/a.html" &&
    ok "one HTML file, which needs no network" || bad "the HTML file"
grep -q '</svg>' "$OUT/a.svg" && ok "the first picture alone" || bad "the picture"

# ---- two runs

if "$bench" --smoke --filter '^pause_resume/' --baseline "$OUT/a.json" >"$OUT/b" 2>"$OUT/log" &&
    grep -qE '^([0-9]+) of \1 show no difference' "$OUT/b"; then
    ok "one process each lets no difference be told"
else
    bad "--baseline" "$OUT/b"
fi
"$bench" --smoke --filter '^floor/' --json - >"$OUT/only" 2>"$OUT/log"
[ "$(head -c 1 "$OUT/only")" = '{' ] && ok "--json - has nothing else" || bad "--json -" "$OUT/only"

# ---- bad arguments

echo '{' >"$OUT/broken.json"
wrong() {
    "$bench" "$@" >"$OUT/out" 2>"$OUT/err"
    local code=$?
    [ $code = 2 ] && [ ! -s "$OUT/out" ] && [ "$(wc -l <"$OUT/err")" = 1 ] &&
        ok "refused: $*" || bad "$* ends with $code" "$OUT/err"
}
wrong --nothing
wrong word
wrong --filter
wrong --filter '('
wrong --filter 'no such cell'
wrong --cpu many
wrong --cpu 1000
wrong --cpu -1
wrong --json /nowhere/at/all
wrong --html /nowhere/at/all
wrong --chart /nowhere/at/all
wrong --json ''
wrong --baseline /nowhere/at/all
wrong --baseline "$OUT/broken.json"
wrong --quick --smoke
wrong --quick=yes

# ---- jobs that do not run

cat >"$OUT/idle.c" <<'END_C'
int ASYNC_start_job(void **job, void *ctx, int *ret, int (*func)(void *), void *args, unsigned long size)
{
    (void)job, (void)ctx, (void)func, (void)args, (void)size;
    *ret = 0;
    return 3;
}
END_C
if ! grep -q '^  start_finish/openssl' "$OUT/list"; then
    skip "no OpenSSL to break"
elif $CC -shared -fPIC -o "$OUT/idle.so" "$OUT/idle.c" 2>"$OUT/log"; then
    LD_PRELOAD=$OUT/idle.so "$bench" --smoke --filter start_finish/openssl >"$OUT/out" 2>"$OUT/err"
    code=$?
    [ $code = 1 ] && grep -q "return values are wrong" "$OUT/err" &&
        ok "jobs that did not run are found out" || bad "jobs that did not run: ends with $code" "$OUT/err"
else
    bad "cannot build a broken runtime" "$OUT/log"
fi
finish
