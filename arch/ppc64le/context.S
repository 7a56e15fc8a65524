// SPDX-License-Identifier: Apache-2.0
//
// ppc64le: making, switching and starting contexts, as src/context.h asks.
// ABI: 64-Bit ELF V2 ABI Specification, Power Architecture, 1.5: 2.2.1.1 (registers),
// 2.2.2 (the stack frame: the stack pointer is a multiple of 16; of the 32 bytes above it
// the first 8 lead to the caller's frame, and a called function may write to the next
// 16), 2.2.2.4 (the 288 bytes below belong to the running function), 2.2.3 (two words of
// a struct are passed as two arguments, and come back in r3 and r4), 2.3.2.1 (a function
// that is called by pointer finds its address in r12), 3.4.1 (the local entry point).
// DWARF's numbers: 2.4 (r0 to r31 are 0 to 31, f0 to f31 32 to 63, LR 65, CR0 to CR7 68
// to 75, v0 to v31 77 to 108).
//
// Saved: r14 to r31, the return address LR, the stack pointer r1, CR2 to CR4 (with the
// whole CR), f14 to f31, v20 to v31, and r2, where the module's TOC is: these functions
// have no local entry point of their own, which tells callers that they preserve it.
// Not saved: the other registers, which the compiler has given up at the call (so for
// the halves of vs14 to vs31 that are not f14 to f31); r13, the thread's own pointer;
// VRSAVE, which nobody uses on Linux; FPSCR and VSCR (src/context.h says why).
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows
//      top - 40        where the context's function may save CR and LR, and the TOC
//      top - 48        0: no frame above;  r1 at context_start
//
// All else is as on aarch64, where it is said at more length.

#include "machine.h"

        .abiversion 2

// ---- functions ----------------------------------------------------------------

.macro function name
        .p2align 6
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

// r12 = the address of this mflr, which is 9 from then on; LR is lost.
.macro here
        bcl     20, 31, 9f
9:      mflr    12
.endm
// r2 = the TOC, for who calls C++ and was not told it; LR and r12 are lost.
.macro own_toc
        here
        addis   2, 12, .TOC. - 9b@ha
        addi    2, 2, .TOC. - 9b@l
.endm

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2.

#define DW_SP(n) 0x71, (n) & 0x7f       /* breg1 n, -64 to 63 */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */

#define FROM_20 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
#define FROM_14 14, 15, 16, 17, 18, 19, FROM_20
#define SLOT_R(n) (JS_CTX_R14 + 8 * ((n) - 14))
#define SLOT_F(n) (JS_CTX_F14 + 8 * ((n) - 14))
#define SLOT_V(n) (JS_CTX_V20 + 16 * ((n) - 20))

// Registers of a frame but r1 and LR: \row gets the number for the rows and the slot.
.macro each_row row
        \row    2, JS_CTX_R2
        \row    70, JS_CTX_CR
        \row    71, JS_CTX_CR
        \row    72, JS_CTX_CR
        .irp    n, FROM_14
        \row    \n, SLOT_R(\n)
        .endr
        .irp    n, FROM_14
        \row    32 + \n, SLOT_F(\n)
        .endr
        .irp    n, FROM_20
        \row    77 + \n, SLOT_V(\n)
        .endr
.endm

// A register lies in the context in r11.
.macro row_in_context number, at
        .cfi_escape 0x10, \number, 5, 0x7b, 0, DW_PLUS(\at)
.endm

// The bottom of a job's stack: [r1 + 32] is the job's context, [r1 + 40] is 0. While
// the context is its link's child, the walk goes on there; else it ends, at a return
// address of 0. (Without a branch, which Valgrind does not know: with runs = 1 or 0,
// runs * link + (runs == 0) * (r1 + n).)
#define START_CONTEXT DW_SP(JS_FRAME_HEADER_BYTES), DW_DEREF   /* 3 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 7 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 15 */
#define START_LINK_OR(n) START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        DW_SP(n), 0x1e, 0x22            /* mul, plus; 44 */

.macro row_in_link number, at
        .cfi_escape 0x10, \number, 10, START_LINK, DW_PLUS(\at)
.endm
.macro rows_start
        // CFA = link->r1; or the context
        .cfi_escape 0x0f, 48, START_LINK_OR(JS_FRAME_HEADER_BYTES - JS_CTX_R1), \
                DW_PLUS(JS_CTX_R1), DW_DEREF
        // the return address at &link->lr, or at r1 + 40
        .cfi_escape 0x10, 65, 47, START_LINK_OR(JS_FRAME_HEADER_BYTES + 8 - JS_CTX_LR), \
                DW_PLUS(JS_CTX_LR)
        each_row row_in_link
.endm

// ---- switching ----------------------------------------------------------------

// A context is aligned to 8 bytes, which is too little for lvx and stvx: vectors go as
// v20 = vs52 and so on, whose halves these instructions exchange.

// Goes on with the context in r11, which keeps what is loaded from it: so the rows hold
// on. r0 and r12 are lost.
.macro enter_context
        ld      1, JS_CTX_R1(11)
        row_in_context 65, JS_CTX_LR
        each_row row_in_context
        ld      0, JS_CTX_LR(11)
        mtlr    0
        lwz     0, JS_CTX_CR(11)
        mtcrf   0x38, 0
        ld      2, JS_CTX_R2(11)
        .irp    n, FROM_14
        ld      \n, SLOT_R(\n)(11)
        .endr
        .irp    n, FROM_14
        lfd     \n, SLOT_F(\n)(11)
        .endr
        .irp    n, FROM_20
        li      12, SLOT_V(\n)
        lxvd2x  32 + \n, 11, 12
        xxswapd 32 + \n, 32 + \n
        .endr
        blr
.endm

        .text

// void context_make(context *r3 = c, void *r4 = top, int (*r5 = func)(void *),
//                   void *r6 = arg)
function context_make
        mflr    0
        .cfi_register 65, 0
        here
        mtlr    0
        .cfi_restore 65
        addi    12, 12, context_start - 9b
        addi    4, 4, -16 - JS_FRAME_HEADER_BYTES
        li      0, 0
        std     3, JS_CTX_LINK(3)
        std     4, JS_CTX_R1(3)
        std     12, JS_CTX_LR(3)
        std     5, SLOT_R(14)(3)
        std     6, SLOT_R(15)(3)
        std     0, JS_CTX_CHILD(3)
        std     0, 0(4)
        std     3, JS_FRAME_HEADER_BYTES(4)
        std     0, JS_FRAME_HEADER_BYTES + 8(4)
        blr
function_end context_make

// Where a fresh context goes on: r14 = func, r15 = arg, r1 as context_make left it.
// It counts as a signal frame, or gdb stops where the job's stack lies above its
// starter's. The nop stands for the call that never was: an unwinder that looks up
// the address before a return address must find this frame.
        .p2align 6
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_personality 0x1b, context_personality
        rows_start
        nop
        .globl  context_start
        .hidden context_start
        .type   context_start, @function
context_start:
        mr      3, 15
        mr      12, 14
        mtctr   12
        bctrl
        mr      4, 3
        ld      3, JS_FRAME_HEADER_BYTES(1)
        own_toc
        bl      context_ended
        trap
function_end context_start

// transfer context_switch(context *r3 = from, context *r4 = to, transfer r5:r6 = sent)
// It returns in r3:r4 what is sent back.
function context_switch
        mflr    0
        std     1, JS_CTX_R1(3)
        std     0, JS_CTX_LR(3)
        mfcr    0
        stw     0, JS_CTX_CR(3)
        std     2, JS_CTX_R2(3)
        .irp    n, FROM_14
        std     \n, SLOT_R(\n)(3)
        .endr
        .irp    n, FROM_14
        stfd    \n, SLOT_F(\n)(3)
        .endr
        .irp    n, FROM_20
        li      12, SLOT_V(\n)
        xxswapd 0, 32 + \n
        stxvd2x 0, 3, 12
        .endr
        mr      11, 4
        mr      3, 5
        mr      4, 6
        enter_context
function_end context_switch

// void context_jump(context *r3 = to, transfer r4:r5 = sent)
function context_jump
        mr      11, 3
        mr      3, 4
        mr      4, 5
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *r3)
function context_stack_pointer
        ld      3, JS_CTX_R1(3)
        blr
function_end context_stack_pointer

// unsigned long context_shadow_stack(): there is none on this CPU.
function context_shadow_stack
        li      3, 0
        blr
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): r4 = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        andi.   4, 4, 8                 // _UA_FORCE_UNWIND
        bne     1f
        li      3, 3                    // _URC_FATAL_PHASE1_ERROR
        blr
1:      mflr    0
        std     0, 16(1)
        .cfi_offset 65, 16
        stdu    1, -JS_FRAME_HEADER_BYTES(1)
        .cfi_def_cfa_offset JS_FRAME_HEADER_BYTES
        std     2, 24(1)
        .cfi_offset 2, -8
        own_toc
        bl      context_unwound
        trap
function_end context_personality

        .section .note.GNU-stack, "", @progbits
