#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The fuzzer of test/fuzz_api.cpp for a minute, twice at a time: with
# UndefinedBehaviorSanitizer, where calls are inlined as in any program, and with
# AddressSanitizer, where each goes to the library. It begins with the inputs of
# test/fuzz_corpus, a line each, in base64.
#
# FUZZ_SECONDS: for so long. FUZZ_SEED. FUZZ_KEEP=1: what reaches more than the inputs of
# test/fuzz_corpus is added to it.
set -u
. "$(dirname "$0")/support.sh"
not_emulated "libFuzzer is for this machine's CPU"
[ "$ARCH" = "$(uname -m)" ] || none_of_it "libFuzzer is for this machine's CPU"
[ "$MODE" = release ] || none_of_it "it has a library of its own, the same with each mode"
command -v clang++ >/dev/null || none_of_it "there is no clang++"
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }' |
    clang++ -x c++ - -fsanitize=fuzzer -o "$OUT/none" 2>/dev/null ||
    none_of_it "clang++ has no libFuzzer"
seconds=${FUZZ_SECONDS:-60}
inputs_bytes_most=600
tools='undefined address'

corpus=$OUT/corpus
rm -rf "$corpus"
mkdir -p "$corpus"
perl -MMIME::Base64 -ne 'BEGIN { $to = shift }
    open my $file, ">", "$to/$." or die; print $file decode_base64($_)' \
    "$corpus" test/fuzz_corpus || exit 1

build() { # TOOL: the library and the fuzzer, in $OUT/TOOL
    local mode=asan out=$OUT/$1
    [ "$1" = address ] || mode=ubsan
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u TESTS make -s --no-print-directory BUILD="$out" \
        MODE=$mode CC=clang CXX=clang++ CXXFLAGS=-fsanitize=fuzzer-no-link "$out/inside.a" &&
        clang++ -std=c++20 -O1 -g -Wall -Wextra -Werror -fsanitize="fuzzer,$1" \
            -fno-sanitize-recover=all -Iinclude -I"$out/include/jobswitch" test/fuzz_api.cpp \
            "$out/inside.a" -pthread -o "$out/fuzz_api"
}

fuzz() { # TOOL: finds nothing, and every call and case comes
    local out=$OUT/$1
    rm -rf "$out/new"
    mkdir -p "$out/new"
    FUZZ_COUNTS=1 "$out/fuzz_api" -seed="${FUZZ_SEED:-1}" -max_len=$inputs_bytes_most \
        -len_control=0 -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2000 \
        -print_final_stats=1 -artifact_prefix="$out/" "$out/new" "$corpus" >"$out/log" 2>&1
}

for tool in $tools; do
    rm -f "$OUT/$tool/fuzz_api"
    { build "$tool" >"$OUT/$tool.log" 2>&1 && fuzz "$tool"; } &
done
wait
for tool in $tools; do
    log=$OUT/$tool/log
    if [ ! -x "$OUT/$tool/fuzz_api" ]; then
        bad "no fuzzer with the $tool sanitizer" "$OUT/$tool.log"
        continue
    fi
    if ! grep -q '^stat::number_of_executed_units' "$log" || grep -q '^artifact_prefix' "$log"; then
        { grep -m 5 -E 'not so|runtime error|ERROR:' "$log"; tail -n 15 "$log"; } >"$OUT/log"
        bad "the fuzzer with the $tool sanitizer found something" "$OUT/log"
        continue
    fi
    ok "with the $tool sanitizer: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    never=$(sed -n 's/^count: \(.*\): 0$/\1/p' "$log")
    same "with the $tool sanitizer: what never came" "" "$never"
done

if [ -n "${FUZZ_KEEP:-}" ] && [ $failed = 0 ]; then
    "$OUT/undefined/fuzz_api" -merge=1 -use_counters=0 -max_len=$inputs_bytes_most "$corpus" \
        "$OUT"/*/new >"$OUT/log" 2>&1
    perl -MMIME::Base64 -e '$/ = undef; for (@ARGV) {
        open my $file, "<", $_ or die; print encode_base64(<$file>, ""), "\n" }' \
        "$corpus"/* | LC_ALL=C sort >test/fuzz_corpus
    echo "$(wc -l <test/fuzz_corpus) inputs, $(wc -c <test/fuzz_corpus) bytes"
fi
finish
