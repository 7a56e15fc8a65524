; SPDX-License-Identifier: Apache-2.0
;
; x86_64: jobswitch_start_job and jobswitch_pause_job for the common case: the
; caller is no job itself, the job lies ready, nothing is to be announced to a
; tool. Whatever else there is goes to the same functions in C++ (job.cpp) with
; the arguments untouched.
;
; Nothing is left to do after a switch: each side finishes the other side's
; return (*job, *ret, the current job, the value) before it leaves, so that a
; public function ends in a jump to the other side's return address.
;
; ABI: as in context.asm. TLS: initial exec (ELF Handling for Thread-Local
; Storage, 4.3.6 and 4.4.6): the linker turns it into local exec in a program.
;
; A job's stack after the start, addresses growing upwards:
;
;       top             the end of the stack, coloured, a multiple of 64
;       args            the copy of the arguments, a multiple of 64
;       args - 8        0: the return address where a walk ends
;       args - 16       the job, for the unwind rows;  rsp where func is called

%include "context.inc"

        extern job_start
        extern job_pause
        extern context_ended
        extern context_personality

; struct pool_thread (pool.h). Here, because NASM cannot name a thread-local
; symbol of another object: the linker finds the reference without its type.
        section .tbss nobits alloc write tls align=8
        global pool_thread_state:object hidden JS_THREAD_BYTES
pool_thread_state:
        resb    JS_THREAD_BYTES

%macro exported 1
        align 64
        global %1:function default (%1.end - %1)
%1:
%endmacro

        section .text

; int jobswitch_start_job(jobswitch_job **rdi = job, int *rsi = ret,
;                         int (*rdx = func)(void *), void *rcx = args,
;                         size_t r8 = size)
exported jobswitch_start_job
        frame_begin plain
        endbr64
        mov     rax, [pool_thread_state wrt ..gottpoff]
        mov     r10, [fs:rax + JS_THREAD_POOL]
        test    r10, r10
        jz      .other
        cmp     qword [fs:rax + JS_THREAD_CURRENT], 0
        jne     .other
        test    rdi, rdi
        jz      .other
        test    rsi, rsi
        jz      .other
        mov     r9, [rdi]
        test    r9, r9
        jz      .start

        ; r9 = handle, r10 = pool, rax = TLS offset
        mov     r11d, r9d               ; lower half: where the job lies
        cmp     r11, [r10 + JS_POOL_ARENA_BYTES]
        jae     .other
        add     r11, [r10 + JS_POOL_ARENA]
        cmp     [r11 + JS_JOB_HANDLE], r9
        jne     .other
        cmp     [r11 + JS_JOB_OWNER], r10
        jne     .other
        ; r11 = a job of this thread. No job runs here, so it is paused.
        mov     [r10 + JS_POOL_JOB_OUT], rdi
        mov     [r10 + JS_POOL_RET_OUT], rsi
        mov     [r11 + JS_CTX_LINK], r10
        mov     [fs:rax + JS_THREAD_CURRENT], r11
        save_context r10, rcx, DW_RCX
        mov     eax, 1                  ; what its jobswitch_pause_job returns
        load_context r11, DW_R11
        go_on   r11
        frame_end

        frame_begin plain
.other: jmp     job_start

.start: ; r10 = pool, rax = TLS offset
        mov     r11, [r10 + JS_POOL_IDLE]
        test    r11, r11
        jz      .other
        test    rdx, rdx
        jz      .other
        mov     r9, [r11 + JS_JOB_STACK_TOP]
        test    rcx, rcx
        jz      .enter                  ; no args: func gets NULL, in rcx
        cmp     r8, JS_ENTRY_ARGS_BYTES
        ja      .other
        mov     [r10 + JS_POOL_JOB_OUT], rdi
        mov     [r10 + JS_POOL_RET_OUT], rsi
        sub     r9, r8
        and     r9, -64
        ; rcx = from, r9 = to, r8 = bytes; rsi, rdi and xmm are free.
        ; The sizes of structs go in words: the caller has just stored their
        ; members, and a wider load than those stores would wait for them to
        ; reach the cache.
        cmp     r8d, 16
        jb      .copy_small
        cmp     r8d, 64
        ja      .copy_large
        mov     rsi, [rcx]
        mov     rdi, [rcx + 8]
        mov     [r9], rsi
        mov     [r9 + 8], rdi
        mov     rsi, [rcx + r8 - 8]
        mov     rdi, [rcx + r8 - 16]
        mov     [r9 + r8 - 8], rsi
        mov     [r9 + r8 - 16], rdi
        cmp     r8d, 32
        jbe     .copied
        mov     rsi, [rcx + 16]
        mov     rdi, [rcx + 24]
        mov     [r9 + 16], rsi
        mov     [r9 + 24], rdi
        cmp     r8d, 48
        jbe     .copied
        mov     rsi, [rcx + r8 - 24]
        mov     rdi, [rcx + r8 - 32]
        mov     [r9 + r8 - 24], rsi
        mov     [r9 + r8 - 32], rdi
        jmp     .copied

.copy_large:                            ; 65 to 1024: both ends, then between
        movups  xmm0, [rcx]
        movups  xmm1, [rcx + 16]
        movups  xmm2, [rcx + r8 - 32]
        movups  xmm3, [rcx + r8 - 16]
        movups  [r9], xmm0
        movups  [r9 + 16], xmm1
        movups  [r9 + r8 - 32], xmm2
        movups  [r9 + r8 - 16], xmm3
        mov     edi, 32                 ; in steps of 32 while they do not
.copy_next:                             ; reach into the last 32
        movups  xmm0, [rcx + rdi]
        movups  xmm1, [rcx + rdi + 16]
        movups  [r9 + rdi], xmm0
        movups  [r9 + rdi + 16], xmm1
        add     edi, 32
        lea     esi, [rdi + 32]
        cmp     esi, r8d
        jb      .copy_next
.copied:
        mov     rcx, r9
        jmp     .enter_stored

.copy_small:                            ; 0 to 15
        cmp     r8d, 8
        jb      .copy_4
        mov     rsi, [rcx]
        mov     rdi, [rcx + r8 - 8]
        mov     [r9], rsi
        mov     [r9 + r8 - 8], rdi
        jmp     .copied
.copy_4:
        cmp     r8d, 4
        jb      .copy_1
        mov     esi, [rcx]
        mov     edi, [rcx + r8 - 4]
        mov     [r9], esi
        mov     [r9 + r8 - 4], edi
        jmp     .copied
.copy_1:
        test    r8d, r8d
        jz      .copied
        movzx   esi, byte [rcx]
        movzx   edi, byte [rcx + r8 - 1]
        mov     [r9], sil
        mov     [r9 + r8 - 1], dil
        shr     r8d, 1                  ; 2 or 3: the middle one
        movzx   esi, byte [rcx + r8]
        mov     [r9 + r8], sil
        jmp     .copied

.enter: mov     [r10 + JS_POOL_JOB_OUT], rdi
        mov     [r10 + JS_POOL_RET_OUT], rsi
.enter_stored:
        ; r11 = job, r10 = pool, r9 = end of its stack, rcx = func's argument,
        ; rdx = func, rax = TLS offset
        mov     rsi, [r11 + JS_JOB_NEXT]
        mov     [r10 + JS_POOL_IDLE], rsi
        inc     qword [r10 + JS_POOL_STARTED]
        mov     [r11 + JS_CTX_LINK], r10
        mov     [fs:rax + JS_THREAD_CURRENT], r11
        mov     [r9 - 16], r11
        mov     qword [r9 - 8], 0
        mov     rdi, rcx
        save_context r10, rsi, DW_RSI
        lea     rsp, [r9 - 16]
        frame_end

        frame_begin start
        call    rdx

        ; eax = func's value, rsp as before the call
        mov     rdx, [rsp]              ; the job
        cmp     dword [rdx + JS_JOB_FLAGS], 0
        jne     .end_other
        cmp     dword [rdx + JS_JOB_GATE], 0
        jne     .end_other
        mov     rcx, [rdx + JS_JOB_OWNER] ; the pool: the gate is open
        mov     edi, [rcx + JS_POOL_UNTIL_REVIEW]
        dec     edi
        jz      .end_other
        ; From here on no signal handler is given the handle.
        mov     rsi, [pool_thread_state wrt ..gottpoff]
        mov     qword [fs:rsi + JS_THREAD_CURRENT], 0
        test    byte [rdx + JS_JOB_HANDLE], JS_HANDLE_SECRET
        jz      .end_revealed

        ; It has never paused and nobody has its handle: the caller's registers
        ; are as they were, and the handle may serve again.
        mov     [rcx + JS_POOL_UNTIL_REVIEW], edi
        mov     rsi, [rcx + JS_POOL_RET_OUT]
        mov     [rsi], eax
        mov     rsi, [rcx + JS_POOL_JOB_OUT]
        mov     qword [rsi], 0
        mov     rsi, [rcx + JS_POOL_IDLE]
        mov     [rdx + JS_JOB_NEXT], rsi
        mov     [rcx + JS_POOL_IDLE], rdx
        mov     eax, 3                  ; JOBSWITCH_FINISH
        mov     rsp, [rcx + JS_CTX_SP]
        frame_end
        frame_begin plain
        row_entered DW_RCX
        mov     qword [rdx + JS_CTX_LINK], 0
        ; Call and return pair up here: a ret is predicted.
        push    qword [rcx + JS_CTX_IP]
        row_called 8
        ret
        frame_end

        frame_begin start
.end_other:
        mov     rdi, rdx
        mov     esi, eax
        call    context_ended
        ud2

.end_revealed:
        ; rdx = job, rcx = pool, edi = ends until the next review, less this
        ; one; eax = func's value
        ; The handle is known to others: end its generation, in one step with
        ; their wakes. A wait descriptor, or the last generation: not here.
        mov     r8d, eax
        mov     rax, [rdx + JS_JOB_WAIT]
.end_generation:
        test    eax, ~JS_WAIT_WOKEN
        jnz     .end_wait
        mov     rsi, rax
        shr     rsi, 32
        inc     esi
        jz      .end_wait
        shl     rsi, 32
        lock cmpxchg [rdx + JS_JOB_WAIT], rsi
        jne     .end_generation
        mov     eax, [rdx + JS_JOB_HANDLE]
        lea     rsi, [rsi + rax + JS_HANDLE_SECRET]
        mov     [rdx + JS_JOB_HANDLE], rsi
        mov     [rcx + JS_POOL_UNTIL_REVIEW], edi
        mov     rsi, [rcx + JS_POOL_RET_OUT]
        mov     [rsi], r8d
        mov     rsi, [rcx + JS_POOL_JOB_OUT]
        mov     qword [rsi], 0
        mov     rsi, [rcx + JS_POOL_IDLE]
        mov     [rdx + JS_JOB_NEXT], rsi
        mov     [rcx + JS_POOL_IDLE], rdx
        mov     eax, 3
        jmp     .go_back
.end_wait:
        mov     rsi, [pool_thread_state wrt ..gottpoff]
        mov     [fs:rsi + JS_THREAD_CURRENT], rdx
        mov     eax, r8d
        jmp     .end_other
        frame_end

        frame_begin start
.go_back:
        mov     rsp, [rcx + JS_CTX_SP]
        frame_end
        frame_begin plain
        row_entered_unloaded DW_RCX
        mov     qword [rdx + JS_CTX_LINK], 0
        load_registers rcx
        go_on   rcx
        frame_end
.end:

; int jobswitch_pause_job(void)
exported jobswitch_pause_job
        frame_begin plain
        endbr64
        mov     rax, [pool_thread_state wrt ..gottpoff]
        mov     rdx, [fs:rax + JS_THREAD_CURRENT]
        test    rdx, rdx
        jz      .outside
        cmp     dword [rdx + JS_JOB_GATE], 0
        jne     .other
        mov     rcx, [rdx + JS_JOB_OWNER] ; the pool: the gate is open
        mov     rsi, [rdx + JS_JOB_STACK_TOP]
        sub     rsi, rsp
        cmp     rsi, [rcx + JS_POOL_STACK_SPAN]
        ja      .other                  ; not on its own stack
        ; rdx = job, rcx = pool = its starter's context, rax = TLS offset
        mov     rsi, [rcx + JS_POOL_JOB_OUT]
        mov     rdi, [rdx + JS_JOB_HANDLE]
        and     rdi, ~JS_HANDLE_SECRET
        mov     [rdx + JS_JOB_HANDLE], rdi
        mov     [rsi], rdi
        mov     qword [fs:rax + JS_THREAD_CURRENT], 0
        save_context rdx, rsi, DW_RSI
        mov     eax, 2                  ; JOBSWITCH_PAUSE
        load_context rcx, DW_RCX
        mov     qword [rdx + JS_CTX_LINK], 0
        go_on   rcx
        frame_end

        frame_begin plain
.outside:
        mov     eax, 1
        ret
.other: jmp     job_pause
        frame_end
.end:

        file_notes
