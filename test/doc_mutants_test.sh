#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Shows that doc_test.sh can fail: in a copy of the pages each kind of mistake
# is made once, and each must be complained of, and nothing else. Run from the
# top folder, with the environment of doc_test.sh.
set -eu

BUILD=${BUILD:-build/x86_64-release}
LIB=$(realpath "${LIB:-$BUILD/libjobswitch.a}")
OUT=${OUT:-$BUILD}/doc_mutants
rm -rf "$OUT"
mkdir -p "$OUT/test"
cp -r doc include arch README.md "$OUT"
cp test/doc_test.sh "$OUT/test"
cd "$OUT"

# page NAME SED: a change to the page of jobswitch_NAME
page() { sed -i "$2" "doc/man3/jobswitch_$1.3"; }

# Each mistake, and below it the line that must come of it.
: >expected
expect() { printf '%s\n' "$@" >>expected; }

rm doc/man3/jobswitch_version.3
expect 'FAIL  page of jobswitch_version' \
    'there is no page doc/man3/jobswitch_version.3' \
    'FAIL  words of jobswitch.7' \
    'jobswitch_version(3) is referred to, and is no page'
sed -i '/^\/\* ---- setting up/i JOBSWITCH_API int jobswitch_added(void);' \
    include/jobswitch/jobswitch.h
expect 'FAIL  page of jobswitch_added' \
    'there is no page doc/man3/jobswitch_added.3'
cp doc/man3/jobswitch_in_job.3 doc/man3/jobswitch_gone.3
expect 'FAIL  doc/man3/jobswitch_gone.3' 'no header exports jobswitch_gone'
page in_job '/^\.SH THREADS/d'
expect 'FAIL  page of jobswitch_in_job' 'section THREADS is missing or empty'
page error_string '/^None; /d'
expect 'FAIL  page of jobswitch_error_string' \
    'section ERRORS is missing or empty'
page pause_job 's/^\.B int jobswitch_pause/.B void jobswitch_pause/'
expect 'FAIL  page of jobswitch_pause_job' \
    'the prototype is not that of the header: intjobswitch_pause_job(void);'
page get_stats 's/^jobswitch_get_stats \\-/jobswitch_stats \\-/'
expect 'FAIL  page of jobswitch_get_stats' \
    'section NAME does not name jobswitch_get_stats'
page cleanup_thread '/SPDX/d'
expect 'FAIL  page of jobswitch_cleanup_thread' \
    'there is no line with the licence'
page get_current_job '/^\.TH/s/jobswitch [0-9.]*"/jobswitch 0.9"/'
expect 'FAIL  page of jobswitch_get_current_job' \
    'the version in .TH is not that of the header'
page last_error 's/^21	/29	/'
expect 'FAIL  reasons and their numbers' \
    'JOBSWITCH_E_JOB_LEFT is not listed as 21 in jobswitch_last_error(3)'
page wake 's/JOBSWITCH_E_UNKNOWN_JOB/JOBSWITCH_E_STRANGER/'
expect 'FAIL  words of jobswitch_wake.3' \
    'JOBSWITCH_E_STRANGER is not in the header'
page block_pause 's/jobswitch\\fP(7)/jobswitch_jobs\\fP(7)/'
expect 'FAIL  words of jobswitch_block_pause.3' \
    'jobswitch_jobs(7) is referred to, and is no page'
page set_tool '/^\.EX/,/^\.EE/d'
expect 'FAIL  page of jobswitch_set_tool' \
    'section EXAMPLE is missing or empty' \
    'FAIL  words of jobswitch_set_tool.3' 'there is no program in this page'
page set_tool '/^This prints/d'
page start_job 's/^main: finished with 2$/main: finished with 3/'
expect 'FAIL  program jobswitch_start_job.3.1' '< main: finished with 3'
page init 's/^int main(void)$/static int unused;\n&/'
expect 'FAIL  program jobswitch_init.3.1' 'unused-variable]'
page cleanup 's/^    return 0;$/    return 3;/'
expect 'FAIL  program jobswitch_cleanup.3.1' 'exit status 3 '
page trim_thread 's/^    return 0;$/    for (;;);/'
expect 'FAIL  program jobswitch_trim_thread.3.1' 'exit status 124 '
page init_thread 's/^    return 0;$/    __builtin_trap();/'
expect 'FAIL  program jobswitch_init_thread.3.1'
page get_wait_fd 's/^    return NULL;$/    return NULL; \/* - *\//'
expect 'FAIL  words of jobswitch_get_wait_fd.3' ': write \- '
# shellcheck disable=SC2016
sed -i 's/^## Licence/```c\nint x;\n```\n&/
        s/^the answer is 42$/the answer is 43/' README.md
expect 'FAIL  words of README.md' ': a program that is not marked "c run"' \
    'FAIL  program README.md.3' '< the answer is 43'

status=0
LIB=$LIB OUT=out TIMEOUT_S=5 CC=${CC:-gcc} test/doc_test.sh >log 2>&1 || status=$?

failed=0
if [ $status -ne 1 ]; then
    echo "FAIL  doc_test.sh answers $status to a tree full of mistakes"
    failed=$((failed + 1))
fi
while read -r line; do
    grep -qF -e "$line" log && continue
    echo "FAIL  no complaint: $line"
    failed=$((failed + 1))
done <expected
grep '^FAIL' log | grep -vxFf expected >unexpected || :
if [ -s unexpected ]; then
    sed 's/^FAIL/FAIL  a complaint without reason:/' unexpected
    failed=$((failed + 1))
fi
passed=$(($(wc -l <expected) + 2 - failed))
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
