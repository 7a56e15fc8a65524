#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The header in every language, with every warning, syntax, code model and set of
# registers that a program may be compiled with: it inlines its stubs, or gives the
# functions, each where it is said to; and what is built works.
set -u
. "$(dirname "$0")/support.sh"
no_tool
[ -n "$inline" ] || none_of_it "no stubs in this build"
library="$BUILD/libjobswitch.a -pthread"

cat >"$OUT/calls.c" <<'END'
#include <jobswitch/jobswitch.h>
#include <jobswitch/async.h>
static int number = 41;
static int job(void *arg)
{
    if (arg || jobswitch_pause_job() != 1)
        return 1;
    return number + 1;
}
int main(void)
{
    jobswitch_job *handle = NULL;
    int ret = 0;
    if (jobswitch_start_job(&handle, &ret, job, NULL, 0) != JOBSWITCH_PAUSE || ret)
        return 1;
    if (jobswitch_start_job(&handle, &ret, NULL, NULL, 0) != JOBSWITCH_FINISH || handle)
        return 2;
    return ret == 42 ? 0 : 3;
}
END
stubs_of() { nm -u "$1" | grep -oE 'jobswitch_inline_(start|resume|pause)' | sort -u | wc -l; }
# built stubs|functions COMPILER OPTIONS...: without a warning; what it is made of
built() {
    local made=$1 what
    shift
    what="$* gives the $made"
    if ! "$@" -Werror -Iinclude -c -o "$OUT/calls.o" "$OUT/calls.c" >"$OUT/log" 2>&1; then
        bad "$what" "$OUT/log"
    elif [ "$(stubs_of "$OUT/calls.o")" = "$([ "$made" = stubs ] && echo 3 || echo 0)" ]; then
        ok "$what"
    else
        bad "$what"
    fi
}
# works stubs|functions COMPILER OPTIONS...: and it runs
works() {
    local failures=$failed
    built "$@"
    [ $failed = "$failures" ] || return
    shift
    local driver=$1
    shift
    # shellcheck disable=SC2086
    if ! "$driver" "$@" -x none "$OUT/calls.o" $library -o "$OUT/calls" >"$OUT/log" 2>&1 || ! timeout 20 "$OUT/calls"; then
        bad "and works: $driver $*" "$OUT/log"
    fi
}
knows() { "$1" "$2" -fsyntax-only -x c /dev/null 2>/dev/null; } # COMPILER OPTION

# ---- languages and warnings ------------------------------------------------------------

common="-Wall -Wextra -Wconversion -Wsign-conversion -Wundef -Wshadow -Wcast-qual -Wcast-align
    -Wredundant-decls -Wfloat-equal -Wwrite-strings -Wswitch-default -Wunused-macros"
of_c="$common -Wbad-function-cast -Wstrict-prototypes -Wold-style-definition -Wnested-externs -Wvla"
of_cxx="$common -Wold-style-cast -Woverloaded-virtual"
for c in gcc clang; do
    command -v $c >/dev/null || { skip "no $c here"; continue; }
    for standard in c90 gnu90 c99 c11 gnu17; do
        # shellcheck disable=SC2086
        works stubs $c -O2 -std=$standard -pedantic-errors $of_c
    done
    for standard in c++98 c++11 c++20; do
        # shellcheck disable=SC2086
        works stubs $c -O2 -x c++ -std=$standard -pedantic-errors $of_cxx
    done
    works stubs $c -O2 -fno-asm
    works stubs $c -O0 -std=c90 -pedantic-errors
done
if command -v clang >/dev/null; then
    # (what they say of the program itself, and of C99 and NULL)
    works stubs clang -O2 -std=c11 -Weverything -Wno-declaration-after-statement
    works stubs clang -O2 -x c++ -std=c++98 -Weverything -Wno-c++11-long-long -Wno-old-style-cast
fi

# ---- syntax, code models, registers ------------------------------------------------------

for c in gcc clang; do
    command -v $c >/dev/null || continue
    for optimized in -O0 -O2; do
        works stubs $c $optimized -masm=intel
    done
    works stubs $c -O2 -fPIC
    works stubs $c -O2 -fPIE
    works stubs $c -O2 -static
    works stubs $c -O2 -mcmodel=medium
    works functions $c -O2 -mcmodel=large
    works functions $c -O2 -mgeneral-regs-only
    works functions $c -O2 -mno-sse
    ours=stubs # clang takes any register's name
    [ $c = clang ] || ours=functions
    works $ours $c -O2 -mno-80387
    works $ours $c -O2 -mno-mmx
    for option in -m32 -mx32; do
        if echo '#include <stdint.h>' | $c $option -fsyntax-only -x c - 2>/dev/null; then
            built functions $c -O2 $option
        else
            skip "no headers for $c $option"
        fi
    done
    for program in torture registers; do
        # shellcheck disable=SC2086
        if $c -O2 -masm=intel -Iinclude test/inline_$program.c $library -o "$OUT/intel" >"$OUT/log" 2>&1 &&
            timeout 60 "$OUT/intel" >>"$OUT/log" 2>&1; then
            ok "$c -masm=intel: inline_$program"
        else
            bad "$c -masm=intel: inline_$program" "$OUT/log"
        fi
    done
done

# Tiles of AMX in variables, which only clang has. (Looked at, as few CPUs have them.)
if command -v clang >/dev/null && knows clang -mamx-tile; then
    built functions clang -O2 -mamx-tile
    cat >"$OUT/tile.c" <<'END'
#include <immintrin.h>
#include <jobswitch/jobswitch.h>
void keeps(const void *from, void *to)
{
    __tile1024i tile = {16, 64};
    __tile_loadd(&tile, from, 64);
    jobswitch_pause_job();
    __tile_stored(to, 64, tile);
}
END
    clang -O2 -mamx-tile -mamx-int8 -Iinclude -S -o - "$OUT/tile.c" |
        grep -oE 'ldtilecfg|tileloadd|call.*jobswitch_pause_job|tilestored' | sed 's/call.*/call/' | tr '\n' ' ' >"$OUT/tile"
    same "a tile is spilled, configured again after the call, and loaded" \
        "ldtilecfg tileloadd tilestored call ldtilecfg tileloadd tilestored " "$(cat "$OUT/tile")"
fi
if command -v gcc >/dev/null && knows gcc -mamx-tile; then
    built stubs gcc -O2 -mamx-tile
fi

finish
