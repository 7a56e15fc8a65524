# SPDX-License-Identifier: Apache-2.0
#
# Sourced by scripts that run programs with the engine of pausing_engine.c: builds it in
# $OUT, and has them load it. Environment: OUT, CC.
# shellcheck shell=bash
pausing_engine_build() {
    local out
    out=$(cd "$OUT" && pwd)
    cat >"$OUT/openssl.cnf" <<END_OF_FILE
openssl_conf = init
[init]
engines = engines
[engines]
pausing = pausing
[pausing]
engine_id = pausing
dynamic_path = $out/pausing_engine.so
default_algorithms = RSA
init = 1
END_OF_FILE
    $CC -Wall -Wextra -O2 -fPIC -shared -o "$OUT/pausing_engine.so" test/pausing_engine.c -lcrypto -pthread
}
