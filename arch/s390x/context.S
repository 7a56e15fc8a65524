// SPDX-License-Identifier: Apache-2.0
//
// s390x: making, switching and starting contexts, as src/context.h asks.
// ABI: ELF Application Binary Interface, s390x Supplement 1.6: 1.2.2.1 (registers and
// their numbers for DWARF), 1.2.2 (the stack frame: a called function may save registers
// in the 160 bytes above its caller's stack pointer, which is a multiple of 8), 1.2.3
// (parameters: of a struct of two words the address; r6 is a parameter and preserved),
// 1.2.5 (results: such a struct goes to memory, whose address comes in r2).
//
// Saved: r6 to r13, the return address r14, the stack pointer r15, f8 to f15.
// Not saved: the other registers, which the compiler has given up at the call (so for
// the vector registers, but for what f8 to f15 are of them); the access registers, where
// the thread's own pointer is; the FPC (src/context.h says why). There is no back chain,
// as compilers make none by default.
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows
//      top - 176       where the context's function may save registers;  r15 at
//                      context_start
//
// A context that has left by context_switch has its caller's stack pointer, and goes on
// at its return address. What is sent to it goes where its result was to go; that of one
// that has not begun goes nowhere, to a place in itself. The rest is as on aarch64.

#include "machine.h"

// ---- functions ----------------------------------------------------------------

.macro function name
        .p2align 6, 0                   // no instructions between functions
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .cfi_startproc
.endm
.macro function_end name
        .cfi_endproc
        .size   \name, . - \name
.endm

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2. r0 to r15 are 0 to 15, and f8 to f15 lie as below.
// The CFA is the stack pointer and 160 more, at all times; the stack pointer has a rule
// like any register.

#define DW_SP(n) 0x7f, ((n) & 0x7f) | 0x80, ((n) >> 7) & 0x7f /* breg15 n */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */

.macro each_float do:vararg
        \do     8, 24
        \do     9, 28
        \do     10, 25
        \do     11, 29
        \do     12, 26
        \do     13, 30
        \do     14, 27
        \do     15, 31
.endm
#define SLOT_F(n) (JS_CTX_F8 + 8 * ((n) - 8))
#define SLOT_R(n) (JS_CTX_R6 + 8 * ((n) - 6))

// A register lies in the context in r1.
.macro row_in_context n, number
        .cfi_escape 0x10, \number, 5, 0x71, 0, DW_PLUS(SLOT_F(\n))
.endm

// The bottom of a job's stack: [r15 + 160] is the job's context, [r15 + 168] is 0. While
// the context is its link's child, the walk goes on there; else it ends, at a return
// address of 0. (Without a branch, which Valgrind does not know: with runs = 1 or 0,
// runs * link + (runs == 0) * (r15 + n).)
#define START_CONTEXT DW_SP(JS_SAVE_AREA_BYTES), DW_DEREF      /* 4 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 8 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 17 */
#define START_LINK_OR(n) START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        DW_SP(n), 0x1e, 0x22            /* mul, plus; 50 */

.macro row_in_link number, at
        .cfi_escape 0x10, \number, 11, START_LINK, DW_PLUS(\at)
.endm
.macro row_float_in_link n, number
        row_in_link \number, SLOT_F(\n)
.endm
.macro rows_start
        // CFA = link->r15 + 160; or something near the context
        .cfi_escape 0x0f, 57, START_LINK_OR(JS_SAVE_AREA_BYTES - JS_CTX_R15), \
                DW_PLUS(JS_CTX_R15), DW_DEREF, DW_PLUS(JS_SAVE_AREA_BYTES)
        // the return address at &link->r14, or at r15 + 168
        .cfi_escape 0x10, 14, 53, START_LINK_OR(JS_SAVE_AREA_BYTES + 8 - JS_CTX_R14), \
                DW_PLUS(JS_CTX_R14)
        .irp    n, 6, 7, 8, 9, 10, 11, 12, 13, 15
        row_in_link \n, SLOT_R(\n)
        .endr
        each_float row_float_in_link
.endm

// ---- switching ----------------------------------------------------------------

.macro save_float n, number
        std     %f\n, SLOT_F(\n)(%r3)
.endm
.macro restore_float n, number
        ld      %f\n, SLOT_F(\n)(%r1)
.endm

// Goes on with the context in r1; r0 and r5 are sent. The context keeps what is loaded from
// it: so the rows hold on.
.macro enter_context
        lmg     %r6, %r15, JS_CTX_R6(%r1)
        each_float row_in_context
        lg      %r2, JS_CTX_RESULT(%r1)
        stg     %r0, 0(%r2)
        stg     %r5, 8(%r2)
        each_float restore_float
        br      %r14
.endm

        .text

// void context_make(context *r2 = c, void *r3 = top, int (*r4 = func)(void *),
//                   void *r5 = arg)
function context_make
        aghi    %r3, -16 - JS_SAVE_AREA_BYTES
        larl    %r1, context_start
        stg     %r2, JS_CTX_LINK(%r2)
        stg     %r1, JS_CTX_R14(%r2)
        stg     %r3, JS_CTX_R15(%r2)
        stg     %r4, SLOT_R(6)(%r2)
        stg     %r5, SLOT_R(7)(%r2)
        la      %r1, JS_CTX_NOWHERE(%r2)
        stg     %r1, JS_CTX_RESULT(%r2)
        lghi    %r1, 0
        stg     %r1, JS_CTX_CHILD(%r2)
        stg     %r2, JS_SAVE_AREA_BYTES(%r3)
        stg     %r1, JS_SAVE_AREA_BYTES + 8(%r3)
        br      %r14
function_end context_make

// Where a fresh context goes on: r6 = func, r7 = arg, r15 as context_make left it.
// It counts as a signal frame, or gdb stops where the job's stack lies above its
// starter's. The nop stands for the call that never was: an unwinder that looks up
// the address before a return address must find this frame.
        .p2align 6
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_personality 0x1b, context_personality
        rows_start
        nopr    %r7
        .globl  context_start
        .hidden context_start
        .type   context_start, @function
context_start:
        lgr     %r2, %r7
        basr    %r14, %r6
        lgr     %r3, %r2
        lg      %r2, JS_SAVE_AREA_BYTES(%r15)
        brasl   %r14, context_ended
        j       . + 2                   // no instruction
function_end context_start

// transfer context_switch(transfer *r2 = result, context *r3 = from, context *r4 = to,
//                         const transfer *r5 = sent)
function context_switch
        lg      %r0, 0(%r5)
        lg      %r5, 8(%r5)
        stg     %r2, JS_CTX_RESULT(%r3)
        stmg    %r6, %r15, JS_CTX_R6(%r3)
        each_float save_float
        lgr     %r1, %r4
        enter_context
function_end context_switch

// void context_jump(context *r2 = to, const transfer *r3 = sent)
function context_jump
        lg      %r0, 0(%r3)
        lg      %r5, 8(%r3)
        lgr     %r1, %r2
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *r2)
function context_stack_pointer
        lg      %r2, JS_CTX_R15(%r2)
        br      %r14
function_end context_stack_pointer

// unsigned long context_shadow_stack(): there is none on this CPU.
function context_shadow_stack
        lghi    %r2, 0
        br      %r14
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): r3 = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        tmll    %r3, 8                  // _UA_FORCE_UNWIND
        jne     1f
        lghi    %r2, 3                  // _URC_FATAL_PHASE1_ERROR
        br      %r14
1:      stmg    %r14, %r15, 112(%r15)
        .cfi_offset 14, -48
        .cfi_offset 15, -40
        aghi    %r15, -JS_SAVE_AREA_BYTES
        .cfi_adjust_cfa_offset JS_SAVE_AREA_BYTES
        brasl   %r14, context_unwound
        j       . + 2
function_end context_personality

        .section .note.GNU-stack, "", @progbits
