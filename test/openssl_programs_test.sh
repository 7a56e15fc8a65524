#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Programs of the distribution, unmodified, on the drop-in: openssl speed, s_server with
# s_client, and HAProxy. The key operations of each are paused by an engine
# (pausing_engine.c), which counts its pauses; the drop-in counts them too, so they
# happened in its jobs. Loopback only; what is started is stopped by its process id.
set -u
. "$(dirname "$0")/support.sh"
no_tool
not_emulated "the programs are this machine's"
launcher=$(cd "$BUILD" && pwd)/jobswitch-openssl
command -v openssl >/dev/null || none_of_it "no openssl here"
out=$(cd "$OUT" && pwd)

. test/pausing_engine.sh
if ! pausing_engine_build 2>"$OUT/log"; then
    bad "build of the engine" "$OUT/log"
    finish
fi
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$OUT/key.pem" -out "$OUT/cert.pem" -days 2 \
    -subj /CN=localhost >"$OUT/log" 2>&1 || bad "a certificate" "$OUT/log"
cat "$OUT/cert.pem" "$OUT/key.pem" >"$OUT/both.pem"

# launched COMMAND...: with the engine, on the drop-in
launched() {
    OPENSSL_CONF=$out/openssl.cnf PAUSING_COUNT=$out/paused JOBSWITCH_OPENSSL_REPORT=$out/report \
        exec "$launcher" "$@"
}
# How often the engine and the library say that was; both were told when the programs
# ended. (Of several processes, all together.)
pauses() {
    cat "$1" 2>/dev/null | sed -n 's/.*pauses \([0-9]*\).*/\1/p' | awk '{n += $1} END {print n + 0}'
}
paused_here() { # WHAT LEAST
    local engine library
    engine=$(pauses "$OUT/paused") library=$(pauses "$OUT/report")
    if [ "$engine" -ge "$2" ] && [ "$engine" = "$library" ]; then
        ok "$1: $engine pauses, all of them in this library's jobs"
    else
        echo "the engine says $engine, at least $2 are expected; the library says $library" >"$OUT/log"
        bad "$1" "$OUT/log"
    fi
    rm -f "$OUT/paused" "$OUT/report"
}
rm -f "$OUT/paused" "$OUT/report"

# ---- openssl speed -------------------------------------------------------------------------

for mode in timer thread; do
    if (PAUSING_ENGINE=$mode launched timeout 60 openssl speed -seconds 1 -async_jobs 8 rsa2048) >"$OUT/log" 2>&1 &&
        grep -q '^rsa 2048 bits' "$OUT/log" && ! grep -q ':error:' "$OUT/log"; then
        ok "openssl speed -async_jobs 8, the engine's $mode"
    else
        bad "openssl speed -async_jobs 8, the engine's $mode" "$OUT/log"
    fi
    paused_here "openssl speed, $mode" 100
done

# ---- s_server and s_client -----------------------------------------------------------------

mkdir -p "$OUT/www"
head -c 300000 /dev/urandom | base64 -w 0 >"$OUT/www/data"
for mode in timer thread; do
    # It ends when it has served so many. (cd: it serves files from where it is.)
    (cd "$OUT/www" && PAUSING_ENGINE=$mode launched timeout 60 openssl s_server -async -accept 127.0.0.1:0 -naccept 4 -HTTP \
        -cert "$out/cert.pem" -key "$out/key.pem") >"$OUT/server.log" 2>&1 &
    server=$! port=
    for _ in $(seq 100); do
        port=$(sed -n 's/^ACCEPT 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$OUT/server.log")
        [ -z "$port" ] || break
        sleep 0.1
    done
    for version in tls1_2 tls1_3 tls1_2 tls1_3; do
        printf 'GET /data HTTP/1.0\r\n\r\n' |
            timeout 20 openssl s_client -connect "127.0.0.1:${port:-1}" "-$version" -quiet >"$OUT/got" 2>"$OUT/client.log"
        if cmp "$OUT/got" "$OUT/www/data" >>"$OUT/client.log" 2>&1; then
            ok "s_server -async, $mode, -$version: the file came whole"
        else
            cat "$OUT/server.log" >>"$OUT/client.log"
            bad "s_server -async, $mode, -$version" "$OUT/client.log"
        fi
    done
    wait $server
    paused_here "s_server -async, $mode" 4
done

# ---- HAProxy -------------------------------------------------------------------------------

PATH=$PATH:/usr/sbin
if ! command -v haproxy >/dev/null; then
    skip "no haproxy here"
    finish
fi
cat >"$OUT/haproxy.cfg" <<END_OF_FILE
global
    ssl-mode-async
    nbthread 2
    maxconn 1000
defaults
    mode http
    timeout client 10s
frontend tls
    bind 127.0.0.1:\${PORT} ssl crt $out/both.pem
    http-request return status 200 content-type text/plain string served
END_OF_FILE

# What the process holds: KiB of memory, descriptors, mappings.
held() {
    echo "$(awk '/^VmRSS/ {print $2}' "/proc/$1/status") $(ls "/proc/$1/fd" | wc -l) $(wc -l <"/proc/$1/maps")"
}
# The same, once all connections are closed: no more descriptors than at the start
held_at_rest() { # PID DESCRIPTORS
    local now
    for _ in $(seq 150); do
        now=$(held "$1")
        set -- "$1" "$2" $now
        [ "$4" -gt "$2" ] || break
        sleep 0.1
    done
    echo "$now"
}
clients() { # WHAT COUNT AT_ONCE VANISH_EVERY
    if timeout 200 "$BUILD/test/tls_clients" "$PORT" "$2" "$3" "$4" >"$OUT/log" 2>&1; then
        ok "haproxy, $mode, $1: $(cat "$OUT/log")"
    else
        cat "$OUT/haproxy.log" >>"$OUT/log"
        bad "haproxy, $mode, $1" "$OUT/log"
    fi
}

for mode in timer thread; do
    handshakes=10000
    [ $mode = timer ] || handshakes=1000
    for _ in 1 2 3 4 5; do # a port that nobody has
        export PORT=$((20000 + RANDOM % 12000))
        (PAUSING_ENGINE=$mode launched haproxy -db -f "$OUT/haproxy.cfg") >"$OUT/haproxy.log" 2>&1 &
        haproxy=$!
        for _ in $(seq 50); do
            (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && break 2
            kill -0 $haproxy 2>/dev/null || break
            sleep 0.1
        done
        kill $haproxy 2>/dev/null
        wait $haproxy
    done
    read -r _ descriptors _ <<<"$(held $haproxy)"
    clients "to get warm, a third vanishes" 1500 64 3
    read -r kib _ mappings <<<"$(held_at_rest $haproxy "$descriptors")"
    clients "$handshakes handshakes" $handshakes 64 0
    clients "every second client vanishes" 3000 64 2
    read -r kib_now descriptors_now mappings_now <<<"$(held_at_rest $haproxy "$descriptors")"
    grown="from $kib to $kib_now KiB, $descriptors to $descriptors_now descriptors, $mappings to $mappings_now mappings"
    if [ "$descriptors_now" -le "$descriptors" ] && [ "$kib_now" -le $((kib + 2048)) ] && [ "$mappings_now" -le $((mappings + 8)) ]; then
        ok "haproxy, $mode, does not grow: $grown"
    else
        echo "$grown" >"$OUT/log"
        bad "haproxy, $mode, grows" "$OUT/log"
    fi
    kill -USR1 $haproxy
    wait $haproxy
    paused_here "haproxy, $mode" $handshakes
done
finish
