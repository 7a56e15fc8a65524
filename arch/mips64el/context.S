// SPDX-License-Identifier: Apache-2.0
//
// mips64el: making, switching and starting contexts, as src/context.h asks.
// ABI: MIPSpro N32 ABI Handbook, whose n64 this is: chapter 2, tables 2-1 and 2-2
// (registers that are preserved: here gp and f24 to f31 are), "Calling convention" (the
// stack is aligned to 16 bytes; two words of a struct are passed as two arguments, and
// come back in v0 and v1); System V ABI, MIPS Supplement, 3-21 (position-independent
// functions are entered with their address in t9). DWARF's numbers, as GCC has them: $0
// to $31 are 0 to 31, f0 to f31 are 32 to 63.
//
// Saved: s0 to s7, s8 (also fp), gp, the return address ra, sp, and f24 to f31.
// Not saved: the other registers, which the compiler has given up at the call (so for hi
// and lo, and MSA's vectors but for what f24 to f31 are of them); FCSR (src/context.h
// says why). The thread's own pointer is no register that programs can write.
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 8         0: the return address where a walk ends
//      top - 16        the context, for the unwind rows;  sp at context_start
//
// All else is as on aarch64, where it is said at more length. In the slot behind each
// jump there is a nop, as what is there cannot be stepped on by itself.

#include "machine.h"

        .set    noreorder
        .set    nomacro
        .set    noat

#define v0 $2
#define v1 $3
#define a0 $4
#define a1 $5
#define a2 $6
#define a3 $7
#define t0 $12
#define s0 $16
#define s1 $17
#define t8 $24
#define t9 $25
#define gp $28
#define sp $29
#define ra $31

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

// gp = the module's, for who is at symbol, whose address is in \address.
.macro own_gp symbol, address
        lui     gp, %hi(%neg(%gp_rel(\symbol)))
        daddiu  gp, gp, %lo(%neg(%gp_rel(\symbol)))
        daddu   gp, gp, \address
.endm

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2.

#define DW_SP(n) 0x8d, (n) & 0x7f       /* breg29 n, -64 to 63 */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, ((n) & 0x7f) | 0x80, (n) >> 7 /* in 3 bytes */

#define SLOT_S(n) (JS_CTX_S0 + 8 * (n))
#define SLOT_F(n) (JS_CTX_F24 + 8 * ((n) - 24))

// All registers of a frame but ra and sp, in the order in which they are loaded: \do gets
// the register's number, for the rows too, and its slot.
.macro each_integer do:vararg
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23
        \do     \n, SLOT_S(\n - 16)
        .endr
        \do     28, JS_CTX_GP
        \do     30, JS_CTX_S8
.endm
.macro each_float do:vararg
        .irp    n, 24, 25, 26, 27, 28, 29, 30, 31
        \do     \n, SLOT_F(\n)
        .endr
.endm

// A register lies in the context in t8.
.macro row_in_context number, at
        .cfi_escape 0x10, \number, 5, 0x88, 0, DW_PLUS(\at)
.endm
.macro row_float_in_context n, at
        row_in_context 32 + \n, \at
.endm

// The bottom of a job's stack: [sp] is the job's context, [sp + 8] is 0. While the
// context is its link's child, the walk goes on there; else it ends, at a return
// address of 0. (Without a branch, which Valgrind does not know: with runs = 1 or 0,
// runs * link + (runs == 0) * (sp + n).)
#define START_CONTEXT DW_SP(0), DW_DEREF                       /* 3 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 7 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 15 */
#define START_LINK_OR(n) START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        DW_SP(n), 0x1e, 0x22            /* mul, plus; 44 */

.macro row_in_link number, at
        .cfi_escape 0x10, \number, 10, START_LINK, DW_PLUS(\at)
.endm
.macro row_float_in_link n, at
        row_in_link 32 + \n, \at
.endm
.macro rows_start
        // CFA = link->sp; or the context
        .cfi_escape 0x0f, 48, START_LINK_OR(0 - JS_CTX_SP), DW_PLUS(JS_CTX_SP), DW_DEREF
        // the return address at &link->ra, or at sp + 8
        .cfi_escape 0x10, 31, 47, START_LINK_OR(8 - JS_CTX_RA), DW_PLUS(JS_CTX_RA)
        each_integer row_in_link
        each_float row_float_in_link
.endm

// ---- switching ----------------------------------------------------------------

.macro save n, at
        sd      $\n, \at(a0)
.endm
.macro save_float n, at
        sdc1    $f\n, \at(a0)
.endm
.macro restore n, at
        ld      $\n, \at(t8)
.endm
.macro restore_float n, at
        ldc1    $f\n, \at(t8)
.endm

// Goes on with the context in t8, which keeps what is loaded from it: so the rows hold on.
.macro enter_context
        ld      sp, JS_CTX_SP(t8)
        row_in_context 31, JS_CTX_RA
        each_integer row_in_context
        each_float row_float_in_context
        ld      ra, JS_CTX_RA(t8)
        each_integer restore
        each_float restore_float
        jr      ra
        nop
.endm

        .text

// void context_make(context *a0 = c, void *a1 = top, int (*a2 = func)(void *),
//                   void *a3 = arg)
function context_make
        move    t0, ra
        .cfi_register 31, 12
        bal     1f
        nop
1:      daddiu  t8, ra, context_start - 1b
        move    ra, t0
        .cfi_restore 31
        daddiu  t0, a1, -16
        sd      a0, JS_CTX_LINK(a0)
        sd      t0, JS_CTX_SP(a0)
        sd      t8, JS_CTX_RA(a0)
        sd      $0, JS_CTX_S8(a0)       // where frame pointers end
        sd      a2, SLOT_S(0)(a0)
        sd      a3, SLOT_S(1)(a0)
        sd      $0, JS_CTX_CHILD(a0)
        sd      a0, 0(t0)
        sd      $0, 8(t0)
        jr      ra
        nop
function_end context_make

// Where a fresh context goes on: s0 = func, s1 = arg, sp as context_make left it, and
// ra = context_start, as it was used to come here.
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
        own_gp  context_start, ra       // which func preserves
        move    a0, s1
        move    t9, s0
        jalr    t9
        nop
        move    a1, v0
        ld      a0, 0(sp)
        ld      t9, %got_disp(context_ended)(gp)
        jalr    t9
        nop
        break
function_end context_start

// transfer context_switch(context *a0 = from, context *a1 = to, transfer a2:a3 = sent)
// It returns in v0:v1 what is sent back.
function context_switch
        sd      sp, JS_CTX_SP(a0)
        sd      ra, JS_CTX_RA(a0)
        each_integer save
        each_float save_float
        move    t8, a1
        move    v0, a2
        move    v1, a3
        enter_context
function_end context_switch

// void context_jump(context *a0 = to, transfer a1:a2 = sent)
function context_jump
        move    t8, a0
        move    v0, a1
        move    v1, a2
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *a0)
function context_stack_pointer
        ld      v0, JS_CTX_SP(a0)
        jr      ra
        nop
function_end context_stack_pointer

// unsigned long context_shadow_stack(): there is none on this CPU.
function context_shadow_stack
        li      v0, 0
        jr      ra
        nop
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): a1 = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        andi    a1, a1, 8               // _UA_FORCE_UNWIND
        bne     a1, $0, 1f
        nop
        li      v0, 3                   // _URC_FATAL_PHASE1_ERROR
        jr      ra
        nop
1:      daddiu  sp, sp, -16
        .cfi_def_cfa_offset 16
        sd      ra, 8(sp)
        .cfi_offset 31, -8
        sd      gp, 0(sp)
        .cfi_offset 28, -16
        own_gp  context_personality, t9
        ld      t9, %got_disp(context_unwound)(gp)
        jalr    t9
        nop
        break
function_end context_personality

        .section .note.GNU-stack, "", @progbits
