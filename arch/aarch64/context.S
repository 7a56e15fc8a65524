// SPDX-License-Identifier: Apache-2.0
//
// aarch64: making, switching and starting contexts, as src/context.h asks.
// ABI: Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), release
// 2023Q3: 6.1.1 (general-purpose registers), 6.1.2 (SIMD and floating-point
// registers), 6.2.2 (the stack is aligned to 16 bytes), 6.2.3 (the frame pointer),
// 6.4 and 6.5 (arguments and results: two words go in x0 and x1).
//
// Saved: x19 to x28, the frame pointer x29, the return address x30, sp, and the low
// halves of v8 to v15.
// Not saved: the other registers and the upper halves, which the compiler has given
// up at the call (so for SVE, 6.1.3 and 6.1.4); x18, which belongs to the platform;
// FPCR and FPSR (src/context.h says why); the thread's register TPIDR_EL0.
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows;  sp at context_start
//
// A context that has left by context_switch has its caller's sp, and goes on at its
// return address.
//
// With branch protection (-mbranch-protection), a return address in memory is signed
// with key A and the sp of where it returns to, that of the first frame and the 0 at
// its end included, which is signed with the frame's address as its rows give it.
// Instructions for it are hints, which a CPU without it passes over. All contexts are
// left by ret: a br would need a landing pad behind each call.

#include "machine.h"

#if defined(__ARM_FEATURE_PAC_DEFAULT)
#define PAC 1
#else
#define PAC 0
#endif
#if defined(__ARM_FEATURE_BTI_DEFAULT)
#define BTI 1
#else
#define BTI 0
#endif

// ---- functions ----------------------------------------------------------------

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

.macro landing_pad
.if BTI
        hint    #34                     // bti c
.endif
.endm
// Also a landing pad.
.macro sign_lr
.if PAC
        hint    #25                     // paciasp
        .cfi_negate_ra_state
.else
        landing_pad
.endif
.endm
.macro authenticate_lr
.if PAC
        hint    #29                     // autiasp
        .cfi_negate_ra_state
.endif
.endm
// x17 = x17, signed for sp = x16
.macro sign_x17
.if PAC
        hint    #8                      // pacia1716
.endif
.endm

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2; register numbers: DWARF for the Arm 64-bit
// Architecture (AADWARF64), 4.1: x0 to x30 are 0 to 30, sp is 31, v0 to v31 are 64
// to 95.

#define DW_SP_0 0x8f, 0                 /* breg31 0 */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */

// All registers of a frame, in the order and by the pairs in which they are loaded.
.macro each_register do:vararg
        \do     19, JS_CTX_X19
        \do     20, JS_CTX_X19 + 8
        \do     21, JS_CTX_X21
        \do     22, JS_CTX_X21 + 8
        \do     23, JS_CTX_X23
        \do     24, JS_CTX_X23 + 8
        \do     25, JS_CTX_X25
        \do     26, JS_CTX_X25 + 8
        \do     27, JS_CTX_X27
        \do     28, JS_CTX_X27 + 8
        \do     29, JS_CTX_FP
        \do     72, JS_CTX_D8
        \do     73, JS_CTX_D8 + 8
        \do     74, JS_CTX_D10
        \do     75, JS_CTX_D10 + 8
        \do     76, JS_CTX_D12
        \do     77, JS_CTX_D12 + 8
        \do     78, JS_CTX_D14
        \do     79, JS_CTX_D14 + 8
.endm

// A register lies in the context in x4.
.macro row_in_context register, at
        .cfi_escape 0x10, \register, 5, 0x74, 0, DW_PLUS(\at)
.endm
// The bottom of a job's stack: [sp] is the job's context, [sp + 8] is 0. While the
// context is its link's child, the walk goes on there; else it ends, at a return
// address of 0. (Without a branch, which Valgrind does not know: with runs = 1 or 0,
// runs * link + (runs == 0) * (sp + n).)
#define START_CONTEXT DW_SP_0, DW_DEREF                        /* 3 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 7 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 15 */
#define START_LINK_OR(n) START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        0x8f, (n) & 0x7f, 0x1e, 0x22    /* sp + n, mul, plus; 44 */

.macro row_in_link register, at
        .cfi_escape 0x10, \register, 10, START_LINK, DW_PLUS(\at)
.endm
.macro rows_start
        // CFA = link->sp; or the context, which is what the 0 is signed for
        .cfi_escape 0x0f, 48, START_LINK_OR(0 - JS_CTX_SP), DW_PLUS(JS_CTX_SP), DW_DEREF
        // the return address at &link->lr, or at sp + 8
        .cfi_escape 0x10, 30, 47, START_LINK_OR(8 - JS_CTX_LR), DW_PLUS(JS_CTX_LR)
.if PAC
        .cfi_negate_ra_state
.endif
        each_register row_in_link
.endm

// ---- switching ----------------------------------------------------------------

// Goes on with the context in x4, which keeps what is loaded from it: so the rows hold on.
// x5 is used. is_signed: as the rows before say of
// the return address.
.macro enter_context is_signed
        ldr     x5, [x4, JS_CTX_SP]
        mov     sp, x5
        row_in_context 30, JS_CTX_LR
.if PAC && !\is_signed
        .cfi_negate_ra_state
.endif
        each_register row_in_context
        ldp     x19, x20, [x4, JS_CTX_X19]
        ldp     x21, x22, [x4, JS_CTX_X21]
        ldp     x23, x24, [x4, JS_CTX_X23]
        ldp     x25, x26, [x4, JS_CTX_X25]
        ldp     x27, x28, [x4, JS_CTX_X27]
        ldp     d8, d9, [x4, JS_CTX_D8]
        ldp     d10, d11, [x4, JS_CTX_D10]
        ldp     d12, d13, [x4, JS_CTX_D12]
        ldp     d14, d15, [x4, JS_CTX_D14]
        ldp     x29, x30, [x4, JS_CTX_FP]
        .cfi_same_value 30              // that in the context is signed
        authenticate_lr
        ret
.endm

        .text

// void context_make(context *x0 = c, void *x1 = top, int (*x2 = func)(void *),
//                   void *x3 = arg)
function context_make
        landing_pad
        sub     x4, x1, 16
        adr     x17, context_start
        mov     x16, x4
        sign_x17
        stp     x0, x4, [x0, JS_CTX_LINK] // and JS_CTX_SP
        stp     xzr, x17, [x0, JS_CTX_FP]
        stp     x2, x3, [x0, JS_CTX_X19]
        str     xzr, [x0, JS_CTX_CHILD]
        mov     x17, xzr
        mov     x16, x0
        sign_x17
        stp     x0, x17, [x4]
        ret
function_end context_make

// Where a fresh context goes on: x19 = func, x20 = arg, sp as context_make left it.
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
        .type   context_start, %function
context_start:
        mov     x0, x20
        blr     x19
        mov     w1, w0
        ldr     x0, [sp]
        bl      context_ended
        brk     0
function_end context_start

// transfer context_switch(context *x0 = from, context *x1 = to, transfer x2:x3 = sent)
// It returns in x0:x1 what is sent back.
function context_switch
        sign_lr
        mov     x5, sp
        str     x5, [x0, JS_CTX_SP]
        stp     x29, x30, [x0, JS_CTX_FP]
        stp     x19, x20, [x0, JS_CTX_X19]
        stp     x21, x22, [x0, JS_CTX_X21]
        stp     x23, x24, [x0, JS_CTX_X23]
        stp     x25, x26, [x0, JS_CTX_X25]
        stp     x27, x28, [x0, JS_CTX_X27]
        stp     d8, d9, [x0, JS_CTX_D8]
        stp     d10, d11, [x0, JS_CTX_D10]
        stp     d12, d13, [x0, JS_CTX_D12]
        stp     d14, d15, [x0, JS_CTX_D14]
        mov     x4, x1
        mov     x0, x2
        mov     x1, x3
        enter_context is_signed=1
function_end context_switch

// void context_jump(context *x0 = to, transfer x1:x2 = sent)
function context_jump
        landing_pad
        mov     x4, x0
        mov     x0, x1
        mov     x1, x2
        enter_context is_signed=0
function_end context_jump

// void *context_stack_pointer(const context *x0)
function context_stack_pointer
        landing_pad
        ldr     x0, [x0, JS_CTX_SP]
        ret
function_end context_stack_pointer

// unsigned long context_shadow_stack(): chkfeat clears the bit of a feature that is
// on; bit 0 is the guarded control stack (Arm ARM, C6.2, CHKFEAT).
function context_shadow_stack
        landing_pad
        mov     x16, 1
        hint    #40                     // chkfeat x16
        eor     x0, x16, 1
        ret
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): w1 = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        landing_pad
        tbnz    w1, 3, 1f               // _UA_FORCE_UNWIND
        mov     w0, 3                   // _URC_FATAL_PHASE1_ERROR
        ret
1:      str     x30, [sp, -16]!
        .cfi_def_cfa_offset 16
        .cfi_offset 30, -16
        bl      context_unwound
        brk     0
function_end context_personality

// No executable stack; what the object has of branch protection (ELF for the Arm
// 64-bit Architecture (AAELF64), program property).
        .section .note.GNU-stack, "", %progbits
.if BTI || PAC
        .section .note.gnu.property, "a", %note
        .p2align 3
        .word   4, 16, 5                // name size, data size, type 0
        .asciz  "GNU"
        .word   0xc0000000, 4, BTI | PAC << 1, 0 // FEATURE_1_AND
.endif
