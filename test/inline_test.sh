#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The inlined start and pause, as compilers take them: test/inline_torture.c in C
# and C++, by gcc and clang, at every level of optimization, whole-program or
# not, position-independent or not, with either library. Which symbols a program
# refers to; that one built with the stubs runs with a library that lays out
# its jobs otherwise.
set -u
. "$(dirname "$0")/support.sh"
no_tool
[ -n "$inline" ] || none_of_it "no stubs in this build"
here=$(cd "$BUILD" && pwd)
strict="-Wall -Wextra -Wpedantic -Werror"
source=test/inline_torture.c
so="$BUILD/libjobswitch.so -Wl,--enable-new-dtags,-rpath,$here" a=$BUILD/libjobswitch.a
wide=
grep -qw avx2 /proc/cpuinfo && wide=-mavx2
wider=$wide
grep -qw avx512f /proc/cpuinfo && wider=-mavx512f

# torture COMPILER LANGUAGE STANDARD LIBRARY FLAGS...: a line for merge
torture() {
    local compiler=$1 language=$2 standard=$3 library=$4 name more=
    shift 4
    name="$OUT/$compiler-$language-$standard-$library-$(echo "$*" | tr -d ' =/')"
    [ "$language" = c ] || more=-lstdc++
    # shellcheck disable=SC2086
    if $compiler -x $language -std=$standard $strict -Iinclude "$@" $source -x none \
        ${!library} -pthread $more -o "$name" >"$name.log" 2>&1 &&
        timeout 60 "$name" >>"$name.log" 2>&1; then
        echo "ok $name.log $compiler $standard $* ($library)"
    else
        echo "bad $name.log $compiler $standard $* ($library)"
    fi
    rm -f "$name"
}
matrix() { # COMPILER
    torture "$1" c c99 so -O0
    torture "$1" c c11 a -O1 -fstack-protector-strong
    torture "$1" c c99 so -O2 -fcf-protection
    torture "$1" c gnu17 a -O3 $wide
    torture "$1" c c99 so -Os -fPIC
    torture "$1" c c99 a -O2 -fno-omit-frame-pointer -no-pie -fno-pie
    torture "$1" c c11 a -O2 -fPIE -static-pie
    torture "$1" c c11 a -O3 $wider
    torture "$1" c++ c++11 a -O0 -fno-omit-frame-pointer
    torture "$1" c++ c++14 so -O1 $wider
    torture "$1" c++ c++17 so -O2 -fPIE -pie
    torture "$1" c++ c++20 a -O3 -fstack-protector-strong -fcf-protection
    torture "$1" c++ c++20 so -Os
    # clang's needs a linker that knows it
    lto=-flto
    [ "$1" = gcc ] || lto="-flto -fuse-ld=lld"
    if [ "$1" = gcc ] || command -v ld.lld >/dev/null; then
        torture "$1" c c11 so -O2 $lto
        torture "$1" c++ c++17 a -O3 $lto
    fi
}
for c in gcc clang; do
    if command -v $c >/dev/null; then matrix $c >"$OUT/$c.results" & else skip "no $c here"; rm -f "$OUT/$c.results"; fi
done
wait
for c in gcc clang; do
    [ -f "$OUT/$c.results" ] || continue
    while read -r result log what; do
        if [ "$result" = ok ]; then ok "$what"; else bad "$what" "$log"; fi
    done <"$OUT/$c.results"
done

# ---- names ---------------------------------------------------------------------

# A compiler that drops the inlined form passes all of the above by the functions.
stubs_of() { nm -u "$1" | grep -oE 'jobswitch_inline_(start|resume|pause)' | sort -u | wc -l; }
for c in gcc clang; do
    command -v $c >/dev/null || continue
    for language in c c++; do
        $c -O2 -Iinclude -x $language -c -o "$OUT/named.o" $source
        $c -O2 -Iinclude -x $language -DJOBSWITCH_NO_INLINE -c -o "$OUT/plain.o" $source
        if [ "$(stubs_of "$OUT/named.o")" = 3 ]; then ok "$c, $language: the header gives all stubs"; else bad "$c, $language: not all stubs by default"; fi
        if [ "$(stubs_of "$OUT/plain.o")" = 0 ]; then ok "$c, $language: no stubs with JOBSWITCH_NO_INLINE"; else bad "$c, $language: stubs with JOBSWITCH_NO_INLINE"; fi
    done
done
$CC -O2 -Iinclude -c -o "$OUT/stubs.o" $source

# ---- another layout --------------------------------------------------------------

# runs_with WHAT LIBRARY: the program's own file with it
runs_with() {
    if LD_LIBRARY_PATH=$2 ldd "$OUT/program" | grep -qF "$2/" &&
        LD_LIBRARY_PATH=$2 "$OUT/program" >>"$OUT/log" 2>&1; then
        ok "the same program with a library $1"
    else
        bad "the same program with a library $1" "$OUT/log"
    fi
}
# other NAME FILE COMMANDS...: builds a copy of the sources with each FILE changed by sed's
# COMMANDS. $other is where its libraries are.
other() {
    local tree=$OUT/$1
    shift
    rm -rf "$tree" && mkdir -p "$tree" && cp -r Makefile arch include src "$tree"
    while [ $# -gt 0 ]; do
        sed -i -E "$2" "$tree/$1"
        if cmp -s "$1" "$tree/$1"; then bad "$1 is as it was"; fi
        shift 2
    done
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u TESTS make -s -C "$tree" ARCH="$ARCH" MODE=release all >"$OUT/log" 2>&1 ||
        bad "a library of another layout is not built" "$OUT/log"
    other=$tree/build/$ARCH-release
}
# shellcheck disable=SC2086
if $CC -O2 -o "$OUT/program" "$OUT/stubs.o" $so -pthread >"$OUT/log" 2>&1 && "$OUT/program" >>"$OUT/log" 2>&1; then
    ok "the program with this library"
else
    bad "the program with this library" "$OUT/log"
fi

# What the stubs find of a thread that has jobs
cat >"$OUT/finds.c" <<'END'
#include <jobswitch/jobswitch.h>
#include <stdio.h>
int main(void)
{
    void *link;
    if (!jobswitch_init_thread(1, 1))
        return 1;
    __asm__("movq jobswitch_inline_thread@GOTTPOFF(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(link));
    puts(link ? "open" : "shut");
    return 0;
}
END
# shellcheck disable=SC2086
$CC -Iinclude -o "$OUT/finds" "$OUT/finds.c" $so -pthread || bad "finds.c is not built"
same "what the stubs find in this library" open "$("$OUT/finds")"

# A library that keeps what they try in other places shows them a thread without jobs; one
# that has only the rest in others does not.
tried='s/^(#define JS_ROOT_STACK_SPAN .*) 8\)/\1 16)/; s/^(#define JS_ROOT_LIVE .*) 16\)/\1 8)/'
spans='/^    size_t stack_span;/{h;d}; /^    uint64_t live;/{G}'
slots='s/(JS_CTX_IP) 8$/\1 16/; s/(JS_CTX_SP) 16$/\1 8/; s/(JS_CTX_R12) 40$/\1 64/; s/(JS_CTX_R15) 64$/\1 40/'
other shut src/layout.h "$tried" src/pool.h "$spans" "arch/$ARCH/machine.h" "$slots"
runs_with "of another layout" "$other"
same "what the stubs find in that" shut "$(LD_LIBRARY_PATH=$other "$OUT/finds")"
other open "arch/$ARCH/machine.h" 's/(JS_CTX_R12) 40$/\1 64/; s/(JS_CTX_R15) 64$/\1 40/'
runs_with "whose layout differs elsewhere" "$other"
same "what the stubs find in that" open "$(LD_LIBRARY_PATH=$other "$OUT/finds")"

finish
