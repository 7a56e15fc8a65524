#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh TEST...: runs test programs and scripts one after the other, shows the
# output of those that fail, and counts. A test's exit code: 0 passed, 77
# skipped, else failed. Environment, given on to the tests: BUILD, MODE, ARCH,
# CC, CXX, SANITIZE (compiler flag of the mode),
# EMULATOR (what runs a program, where this machine's CPU cannot).
set -u

export OUT=$BUILD/test/out
export HTTP_SERVER=$BUILD/examples/http_server
limit_s=300
wrapper=()
case $MODE in
valgrind)
    wrapper=(valgrind -q --error-exitcode=99 --trace-children=no --child-silent-after-fork=yes)
    export HTTP_SERVER_WRAPPER="${wrapper[*]}"
    export TEST_SCALE=${TEST_SCALE:-20}
    ;;
tsan | asan | debug) export TEST_SCALE=${TEST_SCALE:-10} ;;
*) export TEST_SCALE=${TEST_SCALE:-1} ;;
esac
if [ -n "${EMULATOR:-}" ]; then
    read -ra wrapper <<<"$EMULATOR"
    export HTTP_SERVER_WRAPPER=$EMULATOR TEST_SCALE=10
fi
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:allocator_may_return_null=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:exitcode=66}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

passed=0 failed=0 skipped=0
for test in "$@"; do
    name=$(basename "$test")
    mkdir -p "$OUT/$name"
    log=$OUT/$name.log
    start=$SECONDS
    if [[ $test == *.sh ]]; then
        OUT=$OUT/$name timeout -k 5 $limit_s bash "$test" >"$log" 2>&1 </dev/null
    else
        OUT=$OUT/$name timeout -k 5 $limit_s ${wrapper[@]+"${wrapper[@]}"} "$test" >"$log" 2>&1 </dev/null
    fi
    code=$?
    # A program counts its own tests; a script is one, unless it counts too.
    ok=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test(s).*/\1/p; s/^\([0-9]*\) passed, .*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    skip=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test(s).*/\1/p; s/^.* failed, \([0-9]*\) skipped$/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    took="$((SECONDS - start)) s"
    case $code in
    0)
        [ "$ok" -gt 0 ] || ok=1
        passed=$((passed + ok))
        skipped=$((skipped + skip))
        printf '  %-28s passed %3d%s  (%s)\n' "$name" "$ok" "$([ "$skip" = 0 ] || printf ', skipped %d' "$skip")" "$took"
        [ "$skip" = 0 ] || grep -iE 'skip' "$log" | grep -vE '^\[|[0-9]+ skipped$' | sed 's/^/      /' | head -n 10
        ;;
    77)
        skipped=$((skipped + 1))
        printf '  %-28s skipped: %s\n' "$name" "$(tail -n 1 "$log")"
        ;;
    *)
        failed=$((failed + 1))
        [ $code = 124 ] && echo "ended after $limit_s s" >>"$log"
        printf '  %-28s FAILED with %d (%s)\n' "$name" "$code" "$took"
        tail -n 60 "$log" | sed 's/^/      /'
        ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
