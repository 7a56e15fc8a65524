; SPDX-License-Identifier: Apache-2.0
;
; x86_64: making, switching and starting contexts, as src/context.h asks.
; ABI: System V, AMD64 supplement 1.0: 3.2.1 (registers), 3.2.2 (the stack is
; aligned to 16 bytes where a call is made), 3.2.3 (arguments).
;
; Not saved: caller-saved registers, which the compiler has given up at the
; call; MXCSR and the x87 control word (src/context.h says why).
;
; The first frame, as context_make lays it out; addresses grow upwards:
;
;       top             the end of the stack, a multiple of 64
;       top - 8         0: the return address where a walk ends
;       top - 16        the context, for the unwind rows;  rsp at context_start
;
; A context that has left by context_switch has its return address on top of its
; stack, and goes on at context_back.

%include "context.inc"

        extern context_ended
        extern context_unwound

        section .text

; void context_make(context *rdi, void *rsi = top, int (*rdx)(void *), void *rcx)
function context_make
        frame_begin plain
        endbr64
        lea     rax, [context_start]
        mov     [rsi - 16], rdi
        mov     qword [rsi - 8], 0
        sub     rsi, 16
        mov     [rdi + JS_CTX_LINK], rdi
        mov     [rdi + JS_CTX_IP], rax
        mov     [rdi + JS_CTX_SP], rsi
        mov     qword [rdi + JS_CTX_RBP], 0
        mov     [rdi + JS_CTX_RBX], rdx ; func
        mov     [rdi + JS_CTX_R12], rcx ; arg
        mov     qword [rdi + JS_CTX_CHILD], 0
        ret
        frame_end
.end:

; Where a fresh context goes on: rsp as context_make left it, r10 = the context. The nop stands for the call that never was: an unwinder that looks up
; the address before a return address must find this frame.
        align 64
        frame_begin start
        nop
        global context_start:function hidden (context_start.end - context_start)
context_start:
        mov     rdi, [r10 + JS_CTX_R12]
        call    [r10 + JS_CTX_RBX]
        ; eax = func's value
        mov     rdi, [rsp]
        mov     esi, eax
        call    context_ended
        ud2
        frame_end
.end:

; transfer context_switch(context *rdi = from, context *rsi = to,
;                         transfer rdx:rcx = sent)
function context_switch
        frame_begin plain
        endbr64
        mov     rax, rdx
        save_context rdi, r8, context_back
        mov     r10, rsi
        mov     rdx, rcx
        load_stack
        no_flags
        go_on
        frame_end
.end:

; Where it goes on: rax:rdx = what was sent, which is what it returns.
function context_return
        global context_back:notype hidden
        arrive  context_back
        jc      .paused
        jz      .resumed
        go_back
        frame_end
        frame_begin plain
.paused:
        mov     eax, 2
        go_back
        frame_end
        frame_begin plain
.resumed:
        mov     eax, 1
        go_back
        frame_end
context_return.end:

; void context_jump(context *rdi = to, transfer rsi:rdx = sent)
function context_jump
        frame_begin plain
        endbr64
        mov     rax, rsi
        mov     r10, rdi
        load_stack
        no_flags
        go_on
        frame_end
.end:

; void *context_stack_pointer(const context *rdi)
function context_stack_pointer
        frame_begin plain
        endbr64
        mov     rax, [rdi + JS_CTX_SP]
        ret
        frame_end
.end:

; unsigned long context_shadow_stack(): rdsspq leaves rax alone where there is
; no shadow stack (Intel SDM, volume 1, 17.2)
function context_shadow_stack
        frame_begin plain
        endbr64
        xor     eax, eax
        db      0xf3, 0x48, 0x0f, 0x1e, 0xc8 ; rdsspq rax
        ret
        frame_end
.end:

; What an unwinder asks at the bottom of a job's stack (C++ ABI for Itanium,
; Level I: 1.6.2): esi = actions. An exception is not to leave the job: the
; search ends in a fatal error, so that __cxa_throw terminates the program
; with the job's frames intact. A forced unwind is named and ended.
function context_personality
        frame_begin plain
        endbr64
        test    esi, 8                  ; _UA_FORCE_UNWIND
        jnz     .forced
        mov     eax, 3                  ; _URC_FATAL_PHASE1_ERROR
        ret
.forced:
        sub     rsp, 8
        row     0x0e, 16
        call    context_unwound
        ud2
        frame_end
.end:

        file_notes
