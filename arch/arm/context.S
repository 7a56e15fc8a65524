// SPDX-License-Identifier: Apache-2.0
//
// arm: making, switching and starting contexts, as src/context.h asks. Armv7-A with the
// hard-float ABI, for callers in either instruction set.
// ABI: Procedure Call Standard for the Arm Architecture (AAPCS32), 2023Q3: 6.1.1 (core
// registers), 6.1.2.1 (VFP registers), 6.2.1.2 (the stack is aligned to 8 bytes), 6.4 and
// 6.5 (a struct of two words is returned where r0 points, and one that does not fit the
// last register lies there and on the stack), 5.6 (interworking).
//
// Saved: r4 to r11, sp, the return address lr, d8 to d15, and where the result goes.
// Not saved: the other registers, which the compiler has given up at the call; FPSCR
// (src/context.h says why); TPIDRURO, which belongs to the thread.
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 4         0: the return address where a walk ends
//      top - 8         the context, for the unwind rows and personality.cpp;
//                      sp at context_start
//
// In Arm's instruction set, not Thumb, so that each instruction has 4 bytes: a trap fits
// any. All contexts are left by bx. Rows are for debuggers alone, in .debug_frame; an
// unwinder of the program's own goes by .ARM.exidx and calls personality.cpp.

#include "machine.h"

        .syntax unified
        .arch   armv7-a
        .fpu    vfpv3-d16
        .arm
        .cfi_sections .debug_frame

// ---- functions ----------------------------------------------------------------

.macro function name
        .p2align 6
        .globl  \name
        .hidden \name
        .type   \name, %function
\name:
        .fnstart
        .cfi_startproc
.endm
.macro function_end name
        .cfi_endproc
        .fnend
        .size   \name, . - \name
.endm

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2; register numbers: DWARF for the Arm Architecture
// (AADWARF32), 4.1: r0 to r15 are 0 to 15, d0 to d31 are 256 to 287.

#define DW_SP_0 0x7d, 0                 /* breg13 0 */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */
#define DW_NUMBER(n) ((n) & 0x7f) | 0x80, (n) >> 7 /* in 2 bytes */

#define SLOT_R(n) (JS_CTX_R4 + 4 * ((n) - 4))
#define SLOT_D(n) (JS_CTX_D8 + 8 * ((n) - 8))

.macro each_register do:vararg
        \do     4, SLOT_R(4)
        \do     5, SLOT_R(5)
        \do     6, SLOT_R(6)
        \do     7, SLOT_R(7)
        \do     8, SLOT_R(8)
        \do     9, SLOT_R(9)
        \do     10, SLOT_R(10)
        \do     11, SLOT_R(11)
        \do     256 + 8, SLOT_D(8)
        \do     256 + 9, SLOT_D(9)
        \do     256 + 10, SLOT_D(10)
        \do     256 + 11, SLOT_D(11)
        \do     256 + 12, SLOT_D(12)
        \do     256 + 13, SLOT_D(13)
        \do     256 + 14, SLOT_D(14)
        \do     256 + 15, SLOT_D(15)
.endm

// A register lies in the context in ip (r12).
.macro row_in_context register, at
        .cfi_escape 0x10, DW_NUMBER(\register), 5, 0x7c, 0, DW_PLUS(\at)
.endm
// The bottom of a job's stack: [sp] is the job's context, [sp + 4] is 0. While the
// context is its link's child, the walk goes on there; else it ends, at a return
// address of 0. (Without a branch: with runs = 1 or 0, runs * link + (runs == 0) * (sp + n).)
#define START_CONTEXT DW_SP_0, DW_DEREF                        /* 3 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 7 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 15 */
#define START_LINK_OR(n) START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        0x7d, (n) & 0x7f, 0x1e, 0x22    /* sp + n, mul, plus; 44 */

.macro row_in_link register, at
        .cfi_escape 0x10, DW_NUMBER(\register), 10, START_LINK, DW_PLUS(\at)
.endm
.macro rows_start
        // CFA = link->sp; or the context
        .cfi_escape 0x0f, 48, START_LINK_OR(0 - JS_CTX_SP), DW_PLUS(JS_CTX_SP), DW_DEREF
        // the return address at &link->lr, or at sp + 4
        .cfi_escape 0x10, 14, 47, START_LINK_OR(4 - JS_CTX_LR), DW_PLUS(JS_CTX_LR)
        each_register row_in_link
.endm

// ---- switching ----------------------------------------------------------------

// Goes on with the context in ip, with r2 and r3 sent. The context keeps what is loaded
// from it: so the rows hold on.
.macro enter_context
        ldr     r0, [ip, JS_CTX_RESULT]
        ldr     sp, [ip, JS_CTX_SP]
        .cfi_escape 0x10, 14, 5, 0x7c, 0, DW_PLUS(JS_CTX_LR)
        each_register row_in_context
        ldr     lr, [ip, JS_CTX_LR]
        stm     r0, {r2, r3}
        add     r1, ip, JS_CTX_R4
        ldm     r1!, {r4-r11}
        vldm    r1, {d8-d15}            // which lie behind
        bx      lr
.endm

        .text

// void context_make(context *r0 = c, void *r1 = top, int (*r2 = func)(void *),
//                   void *r3 = arg)
function context_make
        sub     ip, r1, 8
        str     r0, [r0, JS_CTX_LINK]
        str     ip, [r0, JS_CTX_SP]
        adr     r1, context_start
        str     r1, [r0, JS_CTX_LR]
        add     r1, r0, JS_CTX_SENT     // nothing is made of what a fresh one is sent
        str     r1, [r0, JS_CTX_RESULT]
        str     r2, [r0, SLOT_R(4)]
        str     r3, [r0, SLOT_R(5)]
        mov     r1, 0
        str     r1, [r0, SLOT_R(11)]    // where frame pointers end
        str     r1, [r0, JS_CTX_CHILD]
        str     r0, [ip]
        str     r1, [ip, 4]
        bx      lr
function_end context_make

// Where a fresh context goes on: r4 = func, r5 = arg, sp as context_make left it.
// It counts as a signal frame, or gdb stops where the job's stack lies above its
// starter's. The nop stands for the call that never was: an unwinder that looks up
// the address before a return address must find this frame.
        .p2align 6
        .fnstart
        .personality context_personality
        .cfi_startproc simple
        .cfi_signal_frame
        rows_start
        nop
        .globl  context_start
        .hidden context_start
        .type   context_start, %function
context_start:
        mov     r0, r5
        blx     r4
        mov     r1, r0
        ldr     r0, [sp]
        bl      context_ended
        udf     0
function_end context_start

// void context_switch(transfer *r0 = sent back, context *r1 = from, context *r2 = to,
//                     transfer r3:[sp] = sent)
function context_switch
        mov     ip, r2
        str     sp, [r1, JS_CTX_SP]
        str     lr, [r1, JS_CTX_LR]
        str     r0, [r1, JS_CTX_RESULT]
        mov     r2, r3
        ldr     r3, [sp]
        add     r1, r1, JS_CTX_R4
        stm     r1!, {r4-r11}
        vstm    r1, {d8-d15}
        enter_context
function_end context_switch

// void context_jump(context *r0 = to, transfer r1:r2 = sent)
function context_jump
        mov     ip, r0
        mov     r3, r2
        mov     r2, r1
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *r0)
function context_stack_pointer
        ldr     r0, [r0, JS_CTX_SP]
        bx      lr
function_end context_stack_pointer

// unsigned long context_shadow_stack(): this CPU has none.
function context_shadow_stack
        mov     r0, 0
        bx      lr
function_end context_shadow_stack

        .section .note.GNU-stack, "", %progbits
