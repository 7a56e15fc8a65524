#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The HTTP server example beside nginx, or beside another build of its own, under
# the same load of wrk, in turns. Each serves with one thread, and with a CPU of its
# own where there are two. Takes about 40 seconds. Without nginx only the example is
# measured.
#
#   BUILD  the build folder [build/MACHINE-release]
#
# The figures are for two servers that do not do the same amount of work: see
# README.md.
set -u
export LC_ALL=C

top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build/$(uname -m)-release}
rounds=5
round_seconds=3
connections=256
other=

usage() {
    cat <<END
usage: compare_servers.sh [--rounds N] [--seconds N] [--connections N] [--against BUILD]
  --rounds N       of each server [$rounds]
  --seconds N      of load in a round [$round_seconds]
  --connections N  at once [$connections]
  --against BUILD  another build folder, whose http_server takes the place of nginx
END
}

fail() {
    printf 'compare_servers: %s\n' "$1" >&2
    exit "${2:-1}"
}

while [ $# -gt 0 ]; do
    case $1 in
    --help)
        usage
        exit 0
        ;;
    --rounds | --seconds | --connections)
        [[ ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] || fail "$1 takes a number from 1 to 99999" 2
        case $1 in
        --rounds) rounds=$2 ;;
        --seconds) round_seconds=$2 ;;
        --connections) connections=$2 ;;
        esac
        shift 2
        ;;
    --against)
        [ -x "${2:-}/examples/http_server" ] || fail "--against: '${2:-}/examples/http_server' is no program" 2
        other=$2
        shift 2
        ;;
    *) fail "what is '$1'? Try --help." 2 ;;
    esac
done

scratch=
load_pid=
declare -A pid_of url_of worker_of title_of
clean_up() {
    [ -z "$load_pid" ] || kill "$load_pid" 2>/dev/null
    for server in "${!pid_of[@]}"; do
        # TERM, and not KILL, since nginx ends its worker itself.
        { kill -TERM "${pid_of[$server]}" && wait "${pid_of[$server]}"; } 2>/dev/null
    done
    [ -z "$scratch" ] || rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

[ -x "$build/examples/http_server" ] || fail "$build/examples/http_server is not built; 'make examples' builds it"
command -v wrk >/dev/null || fail "there is no wrk (Debian's package wrk)"
ulimit -Sn "$(ulimit -Hn)" 2>/dev/null
descriptors=$(ulimit -Sn)
[ "$descriptors" = unlimited ] || [ "$connections" -le $((descriptors - 64)) ] ||
    fail "$connections connections need more descriptors than ulimit -n allows: $descriptors"
scratch=$(mktemp -d) || fail "no folder for temporary files"

# Where there are two CPUs, the server gets the last one and wrk another.
on_server_cpu=()
on_load_cpu=()
placing="server and wrk share what CPUs there are"
if command -v taskset >/dev/null; then
    cpus=()
    IFS=, read -ra ranges <<<"$(taskset -cp $$ | sed 's/.*: //')"
    for range in "${ranges[@]}"; do
        for ((cpu = ${range%-*}; cpu <= ${range#*-}; cpu++)); do
            cpus+=("$cpu")
        done
    done
    if [ ${#cpus[@]} -ge 2 ]; then
        on_server_cpu=(taskset -c "${cpus[-1]}")
        on_load_cpu=(taskset -c "${cpus[-2]}")
        placing="server on CPU ${cpus[-1]}, wrk on CPU ${cpus[-2]}"
    fi
fi

# answers URL: 0 if it does, within a second
answers() {
    local authority=${1#http://}
    authority=${authority%/}
    # shellcheck disable=SC2016
    timeout 1 bash -c '
        exec 3<>"/dev/tcp/$1/$2" || exit 1
        printf "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" "$1" >&3
        read -r line <&3 && [[ $line == "HTTP/1.1 200"* ]]' answers \
        "${authority%:*}" "${authority##*:}" 2>/dev/null
}

# ---- the servers ------------------------------------------------------------------

# start_example SERVER BUILD
start_example() {
    local tries
    : >"$scratch/$1"
    "${on_server_cpu[@]}" "$2/examples/http_server" --port 0 --threads 1 --max-connections 100000 \
        >"$scratch/$1" 2>&1 &
    pid_of[$1]=$!
    for ((tries = 0; tries < 50; tries++)); do
        url_of[$1]=$(sed -n 's|^listening on \(http://[^ ]*\)$|\1|p' "$scratch/$1")
        [ -z "${url_of[$1]}" ] || break
        sleep 0.1
    done
    [ -n "${url_of[$1]}" ] && answers "${url_of[$1]}" ||
        fail "the server does not come up: $(tail -n 1 "$scratch/$1")"
    worker_of[$1]=${pid_of[$1]}
    title_of[$1]=$1
    servers+=("$1")
}
servers=()
start_example http_server "$build"

# What Debian's package installs is not in every user's PATH.
nginx=$(command -v nginx || PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx)

# nginx takes no port 0, so some are tried; it ends at once where one is taken.
start_nginx() {
    local port tries waits
    for ((tries = 0; tries < 10; tries++)); do
        port=$((20000 + RANDOM % 12000))
        cat >"$scratch/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $scratch/nginx.pid;
error_log $scratch/nginx.log warn;
events {
    # Those of the last round may not be closed yet.
    worker_connections $((2 * connections + 64));
}
http {
    access_log off;
    default_type text/plain;
    server_tokens off;
    keepalive_requests 1000000000;
    client_body_temp_path $scratch/client_body;
    proxy_temp_path $scratch/proxy;
    fastcgi_temp_path $scratch/fastcgi;
    uwsgi_temp_path $scratch/uwsgi;
    scgi_temp_path $scratch/scgi;
    server {
        # The default backlog of 511 would make connections wait for a second.
        listen 127.0.0.1:$port backlog=4096;
        location / {
            return 200 "Hello from a job.\n";
        }
    }
}
END
        "${on_server_cpu[@]}" "$nginx" -p "$scratch" -c "$scratch/nginx.conf" \
            -e "$scratch/nginx.log" >"$scratch/nginx.out" 2>&1 &
        pid_of[nginx]=$!
        for ((waits = 0; waits < 30; waits++)); do
            kill -0 "${pid_of[nginx]}" 2>/dev/null || break
            # The pid file is written once the port is nginx's.
            if [ -s "$scratch/nginx.pid" ] && answers "http://127.0.0.1:$port/"; then
                url_of[nginx]=http://127.0.0.1:$port/
                return 0
            fi
            sleep 0.1
        done
        { kill -TERM "${pid_of[nginx]}" && wait "${pid_of[nginx]}"; } 2>/dev/null
        unset 'pid_of[nginx]'
        grep -qs 'Address already in use' "$scratch"/nginx.{log,out} || return 1
    done
    return 1
}

# The one child of a process.
child_of() {
    local file fields
    for file in /proc/[0-9]*/stat; do
        { read -r fields <"$file"; } 2>/dev/null || continue
        fields=${fields##*) } # past the name, which may hold anything
        # shellcheck disable=SC2086
        set -- "$1" $fields
        if [ "$3" = "$1" ]; then
            file=${file#/proc/}
            echo "${file%/stat}"
            return
        fi
    done
}

if [ -n "$other" ]; then
    start_example against "$other"
elif [ -z "$nginx" ]; then
    echo "nginx is not installed (Debian's package nginx-light): it is left out"
elif start_nginx; then
    worker_of[nginx]=$(child_of "${pid_of[nginx]}")
    title_of[nginx]=$("$nginx" -v 2>&1 | sed 's/.*nginx\/\([0-9.]*\).*/nginx \1/')
    servers+=(nginx)
else
    echo "nginx does not come up, and is left out: $(cat "$scratch"/nginx.{log,out} 2>/dev/null | tail -n 1)"
fi

# ---- the rounds ---------------------------------------------------------------------

ticks_per_second=$(getconf CLK_TCK)
# CPU time of a process so far, in the kernel's ticks
cpu_ticks() {
    local fields
    read -r fields <"/proc/$1/stat" || return
    fields=${fields##*) }
    # shellcheck disable=SC2086
    set -- $fields
    echo $((${12} + ${13}))
}

in_us() { # 1.23ms -> 1230
    awk -v text="$1" 'BEGIN {
        factor["us"] = 1; factor["ms"] = 1e3; factor["s"] = 1e6
        unit = text; sub(/^[0-9.]+/, "", unit)
        if (!(unit in factor)) exit 1
        printf "%.0f", text * factor[unit] }'
}

# load SERVER SECONDS: leaves what wrk tells in $scratch/load
load() {
    timeout $(($2 + 20)) "${on_load_cpu[@]}" wrk -t1 -c"$connections" -d"$2s" --latency \
        "${url_of[$1]}" >"$scratch/load" 2>&1 &
    load_pid=$!
    wait "$load_pid" || fail "$1: wrk: $(tail -n 1 "$scratch/load")"
    load_pid=
    if grep -E 'Socket errors|Non-2xx' "$scratch/load" >"$scratch/errors"; then
        fail "$1: $(tr -s ' \n' ' ' <"$scratch/errors")"
    fi
}

printf '%d rounds of %d s, in turns; wrk with 1 thread and %d connections; %s\n' \
    "$rounds" "$round_seconds" "$connections" "$placing"
printf 'kernel %s, %s\n\n' "$(uname -r)" \
    "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"

for server in "${servers[@]}"; do
    load "$server" 1 # a warm-up
    : >"$scratch/figures.$server"
done
for ((round = 0; round < rounds; round++)); do
    turn=("${servers[@]}")
    if [ $((round % 2)) -eq 1 ] && [ ${#servers[@]} -eq 2 ]; then
        turn=("${servers[1]}" "${servers[0]}")
    fi
    for server in "${turn[@]}"; do
        before=$(cpu_ticks "${worker_of[$server]}")
        load "$server" "$round_seconds"
        after=$(cpu_ticks "${worker_of[$server]}")
        requests=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$scratch/load")
        rate=$(sed -n 's/^Requests\/sec: *\([0-9.]*\).*/\1/p' "$scratch/load")
        half_us=$(in_us "$(sed -n 's/^ *50% *//p' "$scratch/load")") &&
            most_us=$(in_us "$(sed -n 's/^ *99% *//p' "$scratch/load")") &&
            [ "${requests:-0}" -gt 0 ] && [ -n "$rate" ] && [ -n "$before" ] && [ -n "$after" ] ||
            fail "$server: cannot read what wrk tells: $(tail -n 1 "$scratch/load")"
        awk -v rate="$rate" -v ticks=$((after - before)) -v hz="$ticks_per_second" \
            -v requests="$requests" -v half="$half_us" -v most="$most_us" \
            'BEGIN { print rate, ticks / hz / requests * 1e6, half, most }' \
            >>"$scratch/figures.$server"
    done
done

# ---- the report -----------------------------------------------------------------------

# column SERVER N FORMAT: median [least, most]
column() {
    cut -d' ' -f"$2" "$scratch/figures.$1" | sort -g | awk -v format="$3" '
        { value[NR] = $1 }
        END {
            middle = NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2
            printf format " [" format ", " format "]", middle, value[1], value[NR] }'
}

printf '%-14s %28s %22s %20s %20s\n' "median [range]" requests/s "server CPU us/request" "50 % us" "99 % us"
for server in "${servers[@]}"; do
    printf '%-14s %28s %22s %20s %20s\n' "${title_of[$server]}" "$(column "$server" 1 %.0f)" \
        "$(column "$server" 2 %.2f)" "$(column "$server" 3 %.0f)" "$(column "$server" 4 %.0f)"
done

# A spread of this size has its cause outside of the servers.
for server in "${servers[@]}"; do
    cut -d' ' -f1 "$scratch/figures.$server" | sort -g | awk '
        { value[NR] = $1 }
        END { exit !(value[NR] > 1.25 * value[1]) }' || continue
    printf '\nThe rounds differ by more than a quarter: something else ran, or the CPU changed its speed.\n'
    break
done
