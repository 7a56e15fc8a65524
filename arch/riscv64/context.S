// SPDX-License-Identifier: Apache-2.0
//
// riscv64: making, switching and starting contexts, as src/context.h asks.
// ABI: RISC-V ELF psABI 1.0: Register Convention (integer and floating-point), Procedure
// Calling Convention (the stack is aligned to 16 bytes; two words of a struct go in
// a0 and a1), DWARF Register Numbers (x0 to x31 are 0 to 31, f0 to f31 are 32 to 63; the
// return address is x1).
//
// Saved: s0 to s11, the return address ra, sp, and fs0 to fs11 as wide as the ABI has
// them: not at all (lp64), 32 bits (lp64f) or 64 (lp64d).
// Not saved: the other registers, which the compiler has given up at the call (so for
// all vector registers, by the standard convention); gp and tp, which belong to the
// program and the thread; fcsr (src/context.h says why).
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows;  sp at context_start
//
// All else is as on aarch64, where it is said at more length. Each instruction has 4
// bytes, and the linker is to leave it so: the rows are tried at each.

#include "machine.h"

        .option norvc
        .option norelax

#if defined(__riscv_float_abi_double)
#define FLOATS 1
#define fstore fsd
#define fload fld
#elif defined(__riscv_float_abi_single)
#define FLOATS 1
#define fstore fsw
#define fload flw
#else
#define FLOATS 0
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

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2.

#define DW_SP_0 0x72, 0                 /* breg2 0 */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */

#define SLOT_S(n) (JS_CTX_S0 + 8 * (n))
#define SLOT_FS(n) (JS_CTX_FS0 + 8 * (n))

// All registers of a frame but ra, in the order in which they are loaded: \do gets the
// register's name, its number for the rows and its slot.
.macro each_float do:vararg
.if FLOATS
        \do     fs0, 40, SLOT_FS(0)
        \do     fs1, 41, SLOT_FS(1)
        \do     fs2, 50, SLOT_FS(2)
        \do     fs3, 51, SLOT_FS(3)
        \do     fs4, 52, SLOT_FS(4)
        \do     fs5, 53, SLOT_FS(5)
        \do     fs6, 54, SLOT_FS(6)
        \do     fs7, 55, SLOT_FS(7)
        \do     fs8, 56, SLOT_FS(8)
        \do     fs9, 57, SLOT_FS(9)
        \do     fs10, 58, SLOT_FS(10)
        \do     fs11, 59, SLOT_FS(11)
.endif
.endm
.macro each_integer do:vararg
        \do     s0, 8, SLOT_S(0)
        \do     s1, 9, SLOT_S(1)
        \do     s2, 18, SLOT_S(2)
        \do     s3, 19, SLOT_S(3)
        \do     s4, 20, SLOT_S(4)
        \do     s5, 21, SLOT_S(5)
        \do     s6, 22, SLOT_S(6)
        \do     s7, 23, SLOT_S(7)
        \do     s8, 24, SLOT_S(8)
        \do     s9, 25, SLOT_S(9)
        \do     s10, 26, SLOT_S(10)
        \do     s11, 27, SLOT_S(11)
.endm

// A register lies in the context in t0 (x5).
.macro row_in_context name, number, at
        .cfi_escape 0x10, \number, 5, 0x75, 0, DW_PLUS(\at)
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
        0x72, (n) & 0x7f, 0x1e, 0x22    /* sp + n, mul, plus; 44 */

.macro row_in_link name, number, at
        .cfi_escape 0x10, \number, 10, START_LINK, DW_PLUS(\at)
.endm
.macro rows_start
        // CFA = link->sp; or the context
        .cfi_escape 0x0f, 48, START_LINK_OR(0 - JS_CTX_SP), DW_PLUS(JS_CTX_SP), DW_DEREF
        // the return address at &link->ra, or at sp + 8
        .cfi_escape 0x10, 1, 47, START_LINK_OR(8 - JS_CTX_RA), DW_PLUS(JS_CTX_RA)
        each_integer row_in_link
        each_float row_in_link
.endm

// ---- switching ----------------------------------------------------------------

.macro save name, number, at
        sd      \name, \at(a0)
.endm
.macro save_float name, number, at
        fstore  \name, \at(a0)
.endm
.macro restore name, number, at
        ld      \name, \at(t0)
.endm
.macro restore_float name, number, at
        fload   \name, \at(t0)
.endm

// Goes on with the context in t0, which keeps what is loaded from it: so the rows hold on.
.macro enter_context
        ld      sp, JS_CTX_SP(t0)
        row_in_context ra, 1, JS_CTX_RA
        each_integer row_in_context
        each_float row_in_context
        ld      ra, JS_CTX_RA(t0)
        each_integer restore
        each_float restore_float
        ret
.endm

        .text

// void context_make(context *a0 = c, void *a1 = top, int (*a2 = func)(void *),
//                   void *a3 = arg)
function context_make
        addi    t0, a1, -16
        lla     t1, context_start
        sd      a0, JS_CTX_LINK(a0)
        sd      t0, JS_CTX_SP(a0)
        sd      t1, JS_CTX_RA(a0)
        sd      zero, SLOT_S(0)(a0)     // where frame pointers end
        sd      a2, SLOT_S(1)(a0)
        sd      a3, SLOT_S(2)(a0)
        sd      zero, JS_CTX_CHILD(a0)
        sd      a0, 0(t0)
        sd      zero, 8(t0)
        ret
function_end context_make

// Where a fresh context goes on: s1 = func, s2 = arg, sp as context_make left it.
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
        mv      a0, s2
        jalr    s1
        mv      a1, a0
        ld      a0, 0(sp)
        call    context_ended
        ebreak
function_end context_start

// transfer context_switch(context *a0 = from, context *a1 = to, transfer a2:a3 = sent)
// It returns in a0:a1 what is sent back.
function context_switch
        sd      sp, JS_CTX_SP(a0)
        sd      ra, JS_CTX_RA(a0)
        each_integer save
        each_float save_float
        mv      t0, a1
        mv      a0, a2
        mv      a1, a3
        enter_context
function_end context_switch

// void context_jump(context *a0 = to, transfer a1:a2 = sent)
function context_jump
        mv      t0, a0
        mv      a0, a1
        mv      a1, a2
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *a0)
function context_stack_pointer
        ld      a0, JS_CTX_SP(a0)
        ret
function_end context_stack_pointer

// unsigned long context_shadow_stack(): none is known of. (A CPU without Zicfiss may not
// even know the instruction that would tell.)
function context_shadow_stack
        li      a0, 0
        ret
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): a1 = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        andi    a1, a1, 8               // _UA_FORCE_UNWIND
        bnez    a1, 1f
        li      a0, 3                   // _URC_FATAL_PHASE1_ERROR
        ret
1:      addi    sp, sp, -16
        .cfi_def_cfa_offset 16
        sd      ra, 8(sp)
        .cfi_offset 1, -8
        call    context_unwound
        ebreak
function_end context_personality

        .section .note.GNU-stack, "", %progbits
