// SPDX-License-Identifier: Apache-2.0
//
// i386: making, switching and starting contexts, as src/context.h asks.
// ABI: System V ABI, Intel386 Architecture Supplement, 1.1: 2.2.2 (the stack is aligned to
// 16 bytes before a call's return address is pushed), 2.3.1 (registers), 2.2.4 (arguments
// on the stack; a struct is returned through a hidden first argument, which the called
// function pops and gives back in eax); 2.4 (DWARF: eax ecx edx ebx esp ebp esi edi are
// 0 to 7, the return address is 8).
//
// Saved: ebx, esi, edi, ebp and esp, which points at the return address.
// Not saved: eax, ecx and edx, which the compiler has given up at the call (so for all
// vector registers, and the x87 stack is empty there); the control words of floating point
// (src/context.h says why); gs, which belongs to the thread.
//
// The first frame, as context_make lays it out; addresses grow upwards:
//
//      top             the end of the stack, a multiple of 64
//      top - 20        0: the return address where frame pointers end
//      top - 24        0: the same for unwind rows, and the last frame pointer;  ebp
//      top - 32        room for the words that are sent, of which nothing is made
//      top - 36        the address of the 0, for the unwind rows
//      top - 40        the context, for the unwind rows
//      top - 44        for the value that func returns
//      top - 48        arg, where func looks for it;  esp at context_start
//      top - 52        the address of the room for the words that are sent
//      top - 56        context_start;  esp as the context keeps it

#include "machine.h"

        .intel_syntax noprefix

#define FRAME_BYTES 48                  /* from esp at context_start to the stack's end */
#define FRAME_ARG 0
#define FRAME_VALUE 4
#define FRAME_CONTEXT 8
#define FRAME_END 12                    /* points at the 0 */
#define FRAME_SENT 16
#define FRAME_ZERO 24

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

// ---- unwind rows --------------------------------------------------------------
//
// Encodings: DWARF 5, 2.5 and 6.4.2.

#define DW_EBP(n) 0x75, (n) & 0x7f      /* breg5 n */
#define DW_DEREF 0x06
#define DW_PLUS(n) 0x23, (n)

// All registers of a frame but esp: \do gets the register's name, its number for the rows
// and its slot.
.macro each do:vararg
        \do     ebx, 3, JS_CTX_EBX
        \do     esi, 6, JS_CTX_ESI
        \do     edi, 7, JS_CTX_EDI
        \do     ebp, 5, JS_CTX_EBP
.endm

// A register lies in the context in ecx.
.macro row_in_context name, number, at
        .cfi_escape 0x10, \number, 4, 0x71, 0, DW_PLUS(\at)
.endm
.macro row_same name, number, at
        .cfi_same_value \number
.endm

// The bottom of a job's stack. While the context is its link's child, the walk goes on
// there, where link->sp is the address of a return address; else it ends, where the
// address of the 0 is taken for it. (Without a branch, which Valgrind does not know: with
// runs = 1 or 0, runs * link + (runs == 0) * (ebp + n).) From ebp, since esp differs by
// the hidden argument: for the rows of context_switch, it is there in its caller.
#define START_CONTEXT DW_EBP(FRAME_CONTEXT - FRAME_ZERO), DW_DEREF /* 3 bytes */
#define START_LINK START_CONTEXT, DW_PLUS(JS_CTX_LINK), DW_DEREF /* 6 */
#define START_RUNS START_CONTEXT, START_LINK, DW_PLUS(JS_CTX_CHILD), \
        DW_DEREF, 0x29                  /* eq; 13 */
#define START_RETURN START_RUNS, START_LINK, 0x1e, /* mul */ \
        START_RUNS, 0x30, 0x29,         /* lit0, eq */ \
        DW_EBP(FRAME_END - FRAME_ZERO - JS_CTX_SP), 0x1e, 0x22, /* mul, plus; 39 */ \
        DW_PLUS(JS_CTX_SP), DW_DEREF    /* 42 */

.macro row_in_link name, number, at
        .cfi_escape 0x10, \number, 8, START_LINK, DW_PLUS(\at)
.endm
.macro rows_start
        // CFA = link->sp + 8: whom a signal's frame interrupted is looked up where it goes
        // on, and there the hidden argument has been popped
        .cfi_escape 0x0f, 44, START_RETURN, DW_PLUS(8)
        .cfi_offset 8, -8
        each row_in_link
.endm

// ---- switching ----------------------------------------------------------------

.macro save name, number, at
        mov     [eax + \at], \name
.endm
.macro restore name, number, at
        mov     \name, [ecx + \at]
.endm

// Goes on with the context in ecx, with edx and eax sent.
.macro enter_context
        mov     esp, [ecx + JS_CTX_SP]
        each    row_in_context
        each    restore
        each    row_same
        mov     ecx, [esp + 4]          // where what is sent goes
        mov     [ecx], edx
        mov     [ecx + 4], eax
        mov     eax, ecx
        ret     4
.endm

        .text

// void context_make(context *[esp + 4] = c, void *[esp + 8] = top,
//                   int (*[esp + 12] = func)(void *), void *[esp + 16] = arg)
function context_make
        call    1f
1:      .cfi_adjust_cfa_offset 4
        pop     edx
        .cfi_adjust_cfa_offset -4
        lea     edx, [edx + context_start - 1b]
        mov     eax, [esp + 4]
        mov     ecx, [esp + 8]
        sub     ecx, FRAME_BYTES        // esp at context_start
        mov     [ecx - 8], edx
        lea     edx, [ecx + FRAME_SENT]
        mov     [ecx - 4], edx
        lea     edx, [ecx + FRAME_ZERO]
        mov     [ecx + FRAME_END], edx
        mov     [ecx + FRAME_CONTEXT], eax
        mov     edx, [esp + 16]
        mov     [ecx + FRAME_ARG], edx
        mov     edx, [esp + 12]
        mov     [eax + JS_CTX_EBX], edx
        mov     [eax + JS_CTX_LINK], eax
        lea     edx, [ecx - 8]
        mov     [eax + JS_CTX_SP], edx
        xor     edx, edx
        mov     [ecx + FRAME_ZERO], edx
        mov     [ecx + FRAME_ZERO + 4], edx
        mov     [eax + JS_CTX_CHILD], edx
        lea     edx, [ecx + FRAME_ZERO]
        mov     [eax + JS_CTX_EBP], edx
        ret
function_end context_make

// Where a fresh context goes on: ebx = func, [esp] = arg, esp and ebp as context_make has it.
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
        call    ebx
        mov     ecx, [esp + FRAME_CONTEXT]
        mov     [esp], ecx
        mov     [esp + FRAME_VALUE], eax
        call    context_ended
        ud2
function_end context_start

// transfer *context_switch(transfer *[esp + 4] = sent back, context *[esp + 8] = from,
//                          context *[esp + 12] = to, transfer [esp + 16] = sent)
// It returns in eax what is at [esp + 4], which it pops.
function context_switch
        mov     eax, [esp + 8]
        mov     ecx, [esp + 12]
        mov     edx, [esp + 16]
        mov     [eax + JS_CTX_SP], esp
        each    save
        mov     eax, [esp + 20]
        enter_context
function_end context_switch

// void context_jump(context *[esp + 4] = to, transfer [esp + 8] = sent)
function context_jump
        mov     ecx, [esp + 4]
        mov     edx, [esp + 8]
        mov     eax, [esp + 12]
        enter_context
function_end context_jump

// void *context_stack_pointer(const context *[esp + 4])
function context_stack_pointer
        mov     eax, [esp + 4]
        mov     eax, [eax + JS_CTX_SP]
        ret
function_end context_stack_pointer

// unsigned long context_shadow_stack(): Linux has none for programs of 32 bits.
function context_shadow_stack
        xor     eax, eax
        ret
function_end context_shadow_stack

// What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
// Level I: 1.6.2): [esp + 8] = actions. An exception is not to leave the job: the
// search ends in a fatal error, so that __cxa_throw terminates the program
// with the job's frames intact. A forced unwind is named and ended.
function context_personality
        test    dword ptr [esp + 8], 8  // _UA_FORCE_UNWIND
        jnz     1f
        mov     eax, 3                  // _URC_FATAL_PHASE1_ERROR
        ret
1:      sub     esp, 12
        .cfi_adjust_cfa_offset 12
        call    context_unwound
        ud2
function_end context_personality

        .section .note.GNU-stack, "", @progbits
