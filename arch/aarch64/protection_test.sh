#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Branch protection, enforced: a program in which each page of code wants landing pads
# (so without the C library, whose start files have none) starts, switches and ends a
# context through pointers to the functions; a call to a function without a landing
# pad, and a return address that was changed in a context, are stopped.
set -u
. test/support.sh
no_tool
context=$BUILD/arch/aarch64/context.S.o
readelf -n "$context" | grep -q 'BTI, PAC' || none_of_it "not built with branch protection"

cat >"$OUT/program.cpp" <<'END_OF_PROGRAM'
#include "context.h"

static long call_system(long number, long first, long second = 0)
{
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = first;
    register long x1 asm("x1") = second;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    return x0;
}
[[noreturn]] static void leave(int value)
{
    for (;;)
        call_system(94, value); // exit_group
}

static context own, other;
alignas(64) static unsigned char stack[16384];

// Calls by pointers, which want landing pads.
static void (*volatile make)(context *, void *, int (*)(void *), void *) = context_make;
static transfer (*volatile change)(context *, context *, transfer) = context_switch;
static void (*volatile jump)(context *, transfer) =
    reinterpret_cast<void (*)(context *, transfer)>(context_jump);
static void *(*volatile pointer_of)(const context *) = context_stack_pointer;
static unsigned long (*volatile shadow)() = context_shadow_stack;
extern "C" int context_personality(int, int, uint64_t, void *, void *);
static int (*volatile personality)(int, int, uint64_t, void *, void *) = context_personality;
extern "C" void without_pad();
static void (*volatile no_pad)() = without_pad;

void context_ended(context *, int value)
{
    jump(&own, {3, uintptr_t(value)});
    leave(9);
}
void context_unwound() { leave(9); }

static int job(void *arg)
{
    return int(change(&other, &own, {1, reinterpret_cast<uintptr_t>(arg)}).payload);
}

extern "C" void start(const long *words)
{
    // Which mistake to make, by its first letter.
    const char what = words[0] > 1 ? *reinterpret_cast<const char *>(words[2]) : 'r';
    auto &address = *reinterpret_cast<uintptr_t *>(reinterpret_cast<char *>(&other) + JS_CTX_LR);
    if (what == 'p')
        no_pad();
    make(&other, stack + sizeof stack, job, reinterpret_cast<void *>(7));
    if (pointer_of(&other) != stack + sizeof stack - 16 || shadow() || personality(1, 1, 0, nullptr, nullptr) != 3)
        leave(2);
    if (what == 'f')
        address ^= 4; // of the first frame
    transfer got = change(&own, &other, {});
    if (got.answer != 1 || got.payload != 7)
        leave(3);
    if (what == 'c')
        address ^= 4;
    if (what == 'u')
        address &= (uintptr_t(1) << 48) - 1; // right, but not signed
    got = change(&own, &other, {1, 42});
    leave(got.answer == 3 ? int(got.payload) : 4);
}
asm(R"(
        .text
without_pad:
        ret
        .globl  _start
_start: bti     c
        mov     x0, sp
        bl      start
)");
END_OF_PROGRAM
if ! $CXX -std=c++20 -O1 -Wall -Wextra -Isrc -Iarch/aarch64 -march=armv8.5-a -mbranch-protection=standard \
    -mno-outline-atomics -ffreestanding -fno-exceptions -fno-rtti -fno-stack-protector -fno-pie \
    -fno-asynchronous-unwind-tables -nostdlib -static -no-pie -Wl,-z,force-bti -Wl,--fatal-warnings \
    -o "$OUT/program" "$OUT/program.cpp" "$context" >"$OUT/log" 2>&1; then
    bad "build" "$OUT/log"
    finish
fi

run() { # MISTAKE: its exit code
    # shellcheck disable=SC2086
    { (ulimit -c 0; exec timeout 20 $EMULATOR "$OUT/program" "$1") >"$OUT/log" 2>&1; } 2>/dev/null
    code=$?
}
run right
[ $code = 42 ] && ok "a program made of landing pads" || bad "the program ends with $code" "$OUT/log"
run pad
[ $code != 42 ] || none_of_it "this CPU enforces no landing pads"
[ $code = 132 ] && ok "a function without a landing pad is not called" || bad "a missing pad: $code" "$OUT/log"

# SIGILL where the CPU faults at once, else SIGSEGV at an address that is none. A
# signature may have 7 bits only, and be right by chance: so more than once.
stopped() { # MISTAKE WHAT
    for _ in 1 2 3 4 5 6; do
        run "$1"
        case $code in 132 | 139) ok "$2"; return ;; esac
    done
    bad "$2: it ends with $code" "$OUT/log"
}
stopped first "the first frame's address, changed"
stopped changed "a paused context's return address, changed"
stopped unsigned "a paused context's return address, not signed"
finish
