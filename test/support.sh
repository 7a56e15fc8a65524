# SPDX-License-Identifier: Apache-2.0
#
# What the test scripts share; they source it. Run from the top folder.
# Environment, all optional: BUILD, MODE, ARCH, CC, CXX, SANITIZE, EMULATOR (words
# before a program that was built, where this machine's CPU cannot run it), and OUT,
# a folder for what the script makes.
# shellcheck shell=bash disable=SC2034
BUILD=${BUILD:-build/x86_64-release} MODE=${MODE:-release}
OUT=${OUT:-$BUILD/test/out/$(basename "$0" .sh)}
ARCH=${ARCH:-$(uname -m)} CC=${CC:-gcc} CXX=${CXX:-g++} SANITIZE=${SANITIZE:-}
EMULATOR=${EMULATOR:-}
NM=$($CC -print-prog-name=nm) # of the CPU built for
# What programs inline of the library, if they inline anything of it.
inline=arch/$ARCH/inline.h
[[ -f $inline && $BUILD != *-portable ]] || inline=
mkdir -p "$OUT"

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); echo "ok    $1"; }
bad() { # WHAT [FILE]
    failed=$((failed + 1))
    echo "FAIL  $1"
    [ -z "${2:-}" ] || head -n 40 "$2" | sed 's/^/      /'
}
skip() { skipped=$((skipped + 1)); echo "skipped: $1"; }

# none_of_it WHY: the whole script is skipped
none_of_it() { echo "$1"; exit 77; }
# no_tool: where the library has one inside, the whole script is skipped
no_tool() {
    case $MODE in asan | tsan | ubsan | valgrind) none_of_it "not with MODE=$MODE" ;; esac
}

# not_emulated WHY: the whole script is skipped under an emulator
not_emulated() { [ -z "$EMULATOR" ] || none_of_it "not under an emulator: $1"; }

# same WHAT EXPECTED FOUND, each a list of lines
same() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        diff <(echo "$2") <(echo "$3") >"$OUT/log"
        bad "$1 (< expected, > found)" "$OUT/log"
    fi
}

# The last line, which test/run.sh reads, and the exit code.
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ] || exit 1
    [ $passed != 0 ] || exit 77
    exit 0
}
