// SPDX-License-Identifier: Apache-2.0
//
// The contract of a CPU port: what arch/<cpu>/ provides, stated once.
//
// A context is where execution stands while it does not run: the registers
// that a function must preserve, the stack pointer and the address to go on
// at. Nobody but arch/<cpu>/ knows where in a context a register lies.
//
// A port leaves alone, deliberately: the FP control words and the flags of exceptions
// (they belong to the thread, and carrying them doubles the price), errno, the signal
// mask. For jobs that are to keep the first two, arch/<cpu>/fp_control.h reads and writes
// them. (And for a mode that all jobs are to keep, where a CPU has one, dit.h.)
//
// A port may also bring the two functions of entry.cpp as one assembly file,
// which reads control blocks at the offsets of layout.h. It then handles the
// common cases and jumps to job_start_to(), job_pause() or context_ended() in
// all others. Beside that it may bring inline.h, stubs that the public header
// inlines. A port without them passes every test.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine.h"

struct context {
    // The context that gets control back when this one pauses or ends; never
    // NULL. Unwinding goes on there while this one is that one's child, and
    // ends at the start routine otherwise.
    context *link;
    unsigned char saved[JS_CONTEXT_BYTES - 2 * sizeof(context *)];
    // The context that runs since this one switched to it, and is to switch
    // back. No context runs so: NULL, or for a thread's own what pool.h says.
    context *child;
};
static_assert(sizeof(context) == JS_CONTEXT_BYTES);

// What goes over with a switch: two words, which most ABIs pass and return in registers
// (s390x, i386 and arm: in memory, at least in part). answer is JOBSWITCH_PAUSE or _FINISH
// up to whoever started or resumed, and what the pause returns down to a job.
struct transfer {
    uintptr_t answer;
    uintptr_t payload;
};

extern "C" {

// Makes c ready to call func(arg) on the stack that ends below top, when it is
// first switched to. top is a multiple of 64; at most 256 bytes below it are
// written. When func returns, context_ended(c, value) is called on that stack.
// The link becomes c itself.
void context_make(context *c, void *top, int (*func)(void *), void *arg);

// Saves where the caller stands in from and goes on at to, where the switch
// that left it (or this function) returns what is sent.
transfer context_switch(context *from, context *to, transfer sent);

// Goes on at to; nothing is saved.
[[noreturn]] void context_jump(context *to, transfer sent);

// The stack pointer of a context that does not run.
void *context_stack_pointer(const context *c);

// Not 0 if the thread runs with a shadow stack, which no port can switch yet.
unsigned long context_shadow_stack();

// Given by the host. The first when a job's function returns; the second when
// a forced unwind (pthread_exit, cancellation) reaches the bottom of a job.
[[noreturn]] void context_ended(context *c, int value);
[[noreturn]] void context_unwound();

} // extern "C"
