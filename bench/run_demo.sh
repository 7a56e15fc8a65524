#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make run` shows once everything is built: the manual page's example, the
# HTTP server under load, and what switches cost. Exit status 0 only if all of
# it worked; else one line says what did not.
#
#   BUILD             the build folder [build/MACHINE-release]
#   DEMO_SECONDS      of load [5]
#   DEMO_CONNECTIONS  at once [1000, or what descriptors allow]
set -u
export LC_ALL=C

top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build/$(uname -m)-release}
load_seconds=${DEMO_SECONDS:-5}
connections=${DEMO_CONNECTIONS:-1000}

server_pid=
load_pid=
scratch=

fail() {
    printf 'run_demo: FAILED: %s\n' "$*" >&2
    exit 1
}

clean_up() {
    [ -z "$load_pid" ] || kill "$load_pid" 2>/dev/null
    [ -z "$server_pid" ] || { kill -KILL "$server_pid"; wait "$server_pid"; } 2>/dev/null
    [ -z "$scratch" ] || rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n\n' "$*"; }
indented() { sed 's/^/  /' "$@"; }
# 1234567 as 1,234,567
grouped() { sed -E ':again; s/([0-9])([0-9]{3})($|,|\.)/\1,\2\3/; t again' <<<"$1"; }
is_number() { [[ $1 =~ ^[0-9]+$ ]]; }

is_number "$load_seconds" && [ "$load_seconds" -ge 1 ] && [ "$load_seconds" -le 60 ] ||
    fail "DEMO_SECONDS is a number from 1 to 60, not '$load_seconds'"
is_number "$connections" && [ "$connections" -ge 1 ] ||
    fail "DEMO_CONNECTIONS is a number, not '$connections'"
for program in examples/manpage examples/http_server bench/jobswitch-bench; do
    [ -x "$build/$program" ] || fail "$build/$program is not built; 'make run' builds it"
done
command -v wrk >/dev/null || fail "there is no wrk (Debian's package wrk) to load the server with"
scratch=$(mktemp -d) || fail "no folder for temporary files"

# ---- the manual page's example --------------------------------------------------

heading "The manual page's example"
timeout 20 "$build/examples/manpage" >"$scratch/example" 2>&1
status=$?
indented "$scratch/example"
cat >"$scratch/expected" <<'END'
Executing within a job
Passed in message is: Hello world!
Job was paused
Waiting for the job to be woken up
Resumed the job after a pause
Job finished with return value 1
END
[ $status -eq 0 ] || fail "the example's exit status is $status"
cmp -s "$scratch/example" "$scratch/expected" || fail "the example's output is not that of the manual page"

# ---- the HTTP server ------------------------------------------------------------

# Server and load each need a descriptor for every connection, and some more.
ulimit -Sn "$(ulimit -Hn)" 2>/dev/null
descriptors=$(ulimit -Sn)
if is_number "$descriptors" && [ "$connections" -gt $((descriptors - 64)) ]; then
    connections=$((descriptors - 64))
    [ "$connections" -ge 1 ] || fail "only $descriptors descriptors are allowed (ulimit -n)"
fi

heading "An HTTP server with a job for each connection, under load"
: >"$scratch/server" # before the server opens it: sed below may be faster
"$build/examples/http_server" --port 0 >"$scratch/server" 2>"$scratch/complaints" &
server_pid=$!
url=
for ((tries = 0; tries < 100; tries++)); do
    url=$(sed -n 's|^listening on \(http://[^ ]*\)$|\1|p' "$scratch/server")
    [ -z "$url" ] || break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
done
[ -n "$url" ] || fail "the server does not come up: $(tail -n 1 "$scratch/complaints")"

# fetch PATH: the answer's body; curl, or bash alone
fetch() {
    if command -v curl >/dev/null; then
        curl -q --silent --fail --noproxy '*' --max-time 3 "$url$1"
    else
        local authority=${url#http://}
        authority=${authority%/}
        # shellcheck disable=SC2016
        timeout 3 bash -c '
            exec 3<>"/dev/tcp/$1/$2" || exit 1
            printf "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$3" "$1" >&3
            cat <&3' fetch "${authority%:*}" "${authority##*:}" "$1" 2>/dev/null |
            sed '1,/^\r\{0,1\}$/d'
    fi
}
# stat NAME: the last such number in /stats, which is that of all threads
stat_of() {
    grep -o "\"$1\" *: *[0-9][0-9]*" "$scratch/stats" | tail -n 1 | grep -o '[0-9]*$'
}

printf '  wrk -t1 -c%s -d%ss --latency %s\n\n' "$connections" "$load_seconds" "$url"
timeout $((load_seconds + 30)) wrk -t1 -c"$connections" -d"${load_seconds}s" --latency "$url" \
    >"$scratch/load" 2>&1 &
load_pid=$!
wait "$load_pid"
status=$?
load_pid=
[ $status -eq 0 ] || fail "wrk's exit status is $status: $(tail -n 1 "$scratch/load")"
if ! kill -0 "$server_pid" 2>/dev/null; then
    wait "$server_pid"
    status=$?
    server_pid=
    fail "the server ended under load, exit status $status $(tail -n 1 "$scratch/complaints")"
fi

requests=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$scratch/load")
if ! is_number "$requests" || [ "$requests" -eq 0 ]; then
    fail "wrk got no answers: $(tail -n 1 "$scratch/load")"
fi

# The server sees the end of the last connections only a moment later.
until_seconds=$((SECONDS + 6))
while fetch stats >"$scratch/stats" && [ "$(stat_of connections_open)" != 1 ] &&
    [ $SECONDS -lt $until_seconds ]; do
    sleep 0.1
done
for name in requests job_starts job_pauses job_resumes jobs_paused jobs_running stacks_mapped; do
    [ -n "$(stat_of $name)" ] || fail "/stats does not tell $name"
done

kill -TERM "$server_pid" 2>/dev/null
for ((tries = 0; tries < 100; tries++)); do
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
done
kill -0 "$server_pid" 2>/dev/null && fail "the server does not stop when told"
wait "$server_pid"
server_status=$?
server_pid=
jobs_left=$(sed -n 's/^stopped: .*jobs_left \([0-9]*\).*/\1/p' "$scratch/server")

rate=$(sed -n 's/^Requests\/sec: *\([0-9.]*\).*/\1/p' "$scratch/load")
percentiles=$(sed -n 's/^ *\(50\|75\|90\|99\)% *\([^ ]*\)$/\1 %: \2/p' "$scratch/load" | paste -sd, | sed 's/,/, /g')
longest=$(sed -n 's/^ *Latency  *[^ ]*  *[^ ]*  *\([^ ]*\) .*/\1/p' "$scratch/load" | head -n 1)
errors=$(sed -n 's/^ *Socket errors: *//p' "$scratch/load")
refused=$(sed -n 's/^ *Non-2xx or 3xx responses: *\([0-9]*\).*/\1/p' "$scratch/load")
paused=$(stat_of jobs_paused)
running=$(stat_of jobs_running)

row() { printf '  %-16s %s\n' "$1" "$2"; }
row "requests served" "$(grouped "$requests") in $load_seconds s, over $(grouped "$connections") connections at once"
row "requests/s" "$(grouped "${rate%.*}")"
row "latency" "$percentiles, longest: $longest"
row "socket errors" "${errors:-none}"
row "other answers" "${refused:-none}"
row "jobs" "$(grouped "$(stat_of job_starts)") started, paused $(grouped "$(stat_of job_pauses)") times, resumed $(grouped "$(stat_of job_resumes)") times"
row "stacks" "$(grouped "$(stat_of stacks_mapped)") mapped; in use after the load: $((paused + running)), for this report"
row "leaked jobs" "$([ "${jobs_left:-?}" = 0 ] && [ "$paused" = 0 ] && echo none || echo "${jobs_left:-unknown}, and $paused still paused after the load")"

[ -z "$errors" ] || fail "wrk met socket errors: $errors"
[ -z "$refused" ] || fail "$refused answers were not 2xx or 3xx"
[ "$paused" = 0 ] && [ "$running" = 1 ] ||
    fail "jobs leaked: after the load $paused are paused and $running running, not 0 and 1"
[ "${jobs_left:-}" = 0 ] || fail "jobs leaked: the server ended with ${jobs_left:-an unknown number of} jobs"
[ $server_status -eq 0 ] || fail "the server's exit status is $server_status: $(tail -n 1 "$scratch/complaints")"

# ---- what switches cost ---------------------------------------------------------

heading "What a start, a pause and a resume cost"
peers='(jobswitch|jobswitch-shared|openssl)'
table="^(start_finish/$peers/args=(0|40)|pause_resume/$peers|start_pause_resume_finish/$peers/args=0)\$"
timeout 60 "$build/bench/jobswitch-bench" --quick --filter "$table" \
    >"$scratch/table" 2>"$scratch/complaints"
status=$?
indented "$scratch/table"
case $status in
0) ;;
77) indented "$scratch/complaints" ;; # a build with a sanitizer, which has no figures
*) fail "bench/jobswitch-bench: $(tail -n 1 "$scratch/complaints")" ;;
esac
printf '\n'
