// SPDX-License-Identifier: Apache-2.0
//
// CPU: making, switching and starting contexts, as src/context.h asks.
// ABI: DOCUMENT, VERSION: SECTION (registers that a function preserves), SECTION (alignment
// of the stack, what a called function may write above its caller's stack pointer, what
// lies below), SECTION (how two words of a struct are passed and returned), SECTION
// (DWARF's numbers).
//
// Saved: ...
// Not saved: the other registers, which the compiler has given up at the call; the
// thread's own pointer; the floating-point control word (src/context.h says why).
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows;  sp at context_start

#include "machine.h"

.macro function name
        .p2align 6
        .globl  \name
        .hidden \name
        .type   \name, %function
\name:
        .cfi_startproc
.endm
.macro function_end name
        .cfi_endproc
        .size   \name, . - \name
.endm

        .text

// void context_make(context *c, void *top, int (*func)(void *), void *arg)
function context_make
        // c->link = c; c->child = NULL; the slots of sp and of the return address: the
        // first frame, and context_start. func and arg go to slots of two registers that
        // are kept: so a first switch is a switch like any other. The frame pointer's: 0.
        // Below top: 0, and c.
function_end context_make

// Where a fresh context goes on, with func and arg in the two registers. It counts as a
// signal frame, and the nop stands for the call that never was: an unwinder that looks up
// the address before a return address must find this frame.
        .p2align 6
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_personality 0x1b, context_personality
        // Rows, as expressions, for the caller's frame: its registers lie in link, while
        // c is link's child; else the walk ends, at a return address of 0.
        .globl  context_start
        .hidden context_start
        .type   context_start, %function
context_start:
        // value = func(arg); context_ended(c, value), which does not return
function_end context_start

// transfer context_switch(context *from, context *to, transfer sent)
function context_switch
        // Store all that is saved in from. With `to` in a register that no load changes:
        // load sp; from that instruction on, rows say that all lies in `to`; load the
        // rest; the result is `sent`; return.
function_end context_switch

// void context_jump(context *to, transfer sent)
function context_jump
        // The second half of context_switch.
function_end context_jump

// void *context_stack_pointer(const context *c)
function context_stack_pointer
function_end context_stack_pointer

// unsigned long context_shadow_stack()
function context_shadow_stack
        // 0, if the CPU has none; else its pointer, or 0 while it is off.
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium, Level I:
// 1.6.2).
function context_personality
        // If actions has _UA_FORCE_UNWIND (8): context_unwound(), with a frame that can be
        // walked. Else _URC_FATAL_PHASE1_ERROR (3).
function_end context_personality

        .section .note.GNU-stack, "", %progbits
