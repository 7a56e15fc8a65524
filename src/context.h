// SPDX-License-Identifier: Apache-2.0
//
// The contract of a CPU port: what arch/<cpu>/ provides, stated once.
//
// A context is where execution stands while it does not run: the registers
// that a function must preserve, the stack pointer and the address to go on
// at. Nobody but arch/<cpu>/ knows where in a context a register lies.
//
// A port leaves alone, deliberately: the FP control words (they belong to the
// thread, and carrying them doubles the price), errno, the signal mask.
//
// A port may also bring the two functions of entry.cpp as one assembly file,
// which reads control blocks at the offsets of layout.h. It then handles the
// common cases and jumps to job_start(), job_pause() or context_ended() in all
// others. A port without it passes every test.
#pragma once

#include <cstddef>

#include "machine.h"

struct context {
    // The context that gets control back, while this one runs a job: unwinding
    // goes on there. NULL while it is paused or fresh: a walk ends at its start
    // routine.
    context *link;
    unsigned char saved[JS_CONTEXT_BYTES - sizeof(context *)];
};
static_assert(sizeof(context) == JS_CONTEXT_BYTES);

extern "C" {

// Makes c ready to call func(arg) on the stack that ends below top, when it is
// first switched to. top is a multiple of 64; at most 64 bytes below it are
// written. When func returns, context_ended(c, value) is called on that stack.
void context_make(context *c, void *top, int (*func)(void *), void *arg);

// Saves where the caller stands in from and goes on at to, where the switch
// that left it (or this function) returns value.
int context_switch(context *from, context *to, int value);

// Goes on at to; nothing is saved.
[[noreturn]] void context_jump(context *to, int value);

// The stack pointer of a context that does not run.
void *context_stack_pointer(const context *c);

// Not 0 if the thread runs with a shadow stack, which no port can switch yet.
unsigned long context_shadow_stack();

// Given by the host. The first when a job's function returns; the second when
// a forced unwind (pthread_exit, cancellation) reaches the bottom of a job.
[[noreturn]] void context_ended(context *c, int value);
[[noreturn]] void context_unwound();

} // extern "C"
