#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh run|bench|check|lint|all [MODE]: sees what a command needs and this machine
# lacks, and installs it from Debian's packages where that is allowed. Where
# nothing is missing it asks for no rights and touches no network.
#
# In the environment, for a CPU that this machine has not (make says it): CROSS, the
# prefix of its tools; EMULATOR, what runs its programs. ASSEMBLER, where there is one
# beside the compiler's. LIBC=musl: the C library. DEPS=no skips all of it.
set -u
[ "${DEPS:-}" != no ] || exit 0

what=${1:-all}
mode=${2:-release}
missing=

# need PACKAGE TEST...: the package is missing unless the test succeeds
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
tool() { command -v "$1"; }
admin_tool() { command -v "$1" || [ -x "/usr/sbin/$1" ]; }
compiler=$(command -v gcc || command -v clang || command -v cc)
header() {
    # Without a compiler nothing can be said of headers; that is missing first.
    [ -n "$compiler" ] || return 0
    printf '#include <%s>\n' stddef.h stdarg.h stdint.h setjmp.h "$1" | "$compiler" -E -x c -
}
clang_runtime() {
    [ -e "$(clang -print-file-name="libclang_rt.tsan-$(uname -m).a")" ] ||
        [ -e "$(clang -print-runtime-dir)/libclang_rt.tsan-$(uname -m).a" ]
}

need gcc tool gcc
need g++ tool g++
need binutils tool objcopy
[ -z "${ASSEMBLER:-}" ] || need "$ASSEMBLER" tool "$ASSEMBLER"
if [ -n "${CROSS:-}" ]; then
    triplet=$(echo "${CROSS%-}" | tr _ -)
    need "gcc-$triplet" tool "${CROSS}gcc"
    need "g++-$triplet" tool "${CROSS}g++"
    [ -z "${EMULATOR:-}" ] || need qemu-user tool "${EMULATOR%% *}"
    # (Programs of 32 bits run on x86_64, given their libraries.)
    case $CROSS${EMULATOR:-} in i686-linux-gnu-) need lib32stdc++6 test -e /usr/lib32/libstdc++.so.6 ;; esac
fi
[ -z "${LIBC:-}" ] || need musl-tools tool musl-gcc
cxx_header() {
    [ -n "$compiler" ] || return 0
    printf '#include <%s>\n' "$1" | "$compiler" -E -x c++ -
}
case $what in run | bench | check | all)
    need nlohmann-json3-dev cxx_header nlohmann/json.hpp
    ;;
esac
# (Libraries and tools for this machine's own CPU.)
case ${CROSS:+cross-}$what in run | bench | check | all)
    need libssl-dev header openssl/async.h
    ;;
esac
# Who is measured beside jobswitch.
case $what in bench | all)
    need libboost-context-dev cxx_header boost/context/fiber.hpp
    need libboost-fiber-dev cxx_header boost/fiber/fiber.hpp
    need libst-dev header st.h
    need libpcl1-dev header pcl.h
    ;;
esac
case $what in run | all)
    need wrk tool wrk
    need curl tool curl
    ;;
esac
case ${CROSS:+cross-}$what in check | all)
    need libcmocka-dev header cmocka.h
    need openssl tool openssl
    need haproxy admin_tool haproxy
    need gdb tool gdb
    need strace tool strace
    ;;
esac
case $what in check | all)
    need pkgconf tool pkg-config
    need perl tool perl
    ;;
esac
case $what in check | lint | all)
    need mandoc tool mandoc
    ;;
esac
# Also without MODE=tsan: programs built with it are tried with any library.
case ${CROSS:+cross-}$what in check | all)
    need clang tool clang
    need libclang-rt-14-dev clang_runtime
    ;;
esac
case $what:$mode in check:valgrind | all:*)
    need valgrind tool valgrind
    need valgrind header valgrind/memcheck.h
    ;;
esac

missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
missing=${missing% }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing packages (Debian's names; DEPS=no skips this check): $missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo='sudo -n'
else
    echo "missing packages, and no right to install them; please run: apt-get install $missing" >&2
    exit 1
fi
echo "installing: $missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# An up-to-date list only if the one here does not do.
if $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1 ||
    { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    rm -f "$log"
    exit 0
fi
tail -n 5 "$log" >&2
rm -f "$log"
echo "could not install: $missing" >&2
exit 1
