; SPDX-License-Identifier: Apache-2.0
;
; x86_64: jobswitch_start_job and jobswitch_pause_job for the common case: the
; caller is no job itself, the job lies ready, nothing is to be announced to a
; tool. Whatever else there is goes to C++ (job.cpp) with the arguments untouched.
; Each in two forms: the function, and the body of a stub that the public header
; inlines (inline.h), which jumps here and goes on where rdx says. The stubs of
; today's header resume and pause by themselves, and come here for the rest;
; those of programs built before they could come here each time.
;
; Nothing is left to do on the way back that would keep a frame here: a switch
; ends in a jump to the place where the other side goes on (context.inc), and a
; function's place ends in a jump to its return address. From stub to stub there
; is neither call nor return, so the return predictor is left untouched.
;
; A job that is started stays at the head of the hot list. Its first pause takes
; it from there and reveals its handle; if it ends before, nothing has changed.
;
; ABI: as in context.asm. TLS: initial exec (ELF Handling for Thread-Local
; Storage, 4.3.6 and 4.4.6): the linker turns it into local exec in a program.
;
; A job's stack after the start, addresses growing upwards:
;
;       top             the end of the stack, coloured, a multiple of 64
;       args            the copy of the arguments, a multiple of 64
;       args - 8        0: the return address where a walk ends
;       args - 16       the job's context, for the unwind rows;  rsp where func
;                       is called

%include "context.inc"

        extern job_start
        extern job_start_to
        extern job_pause
        extern context_back
        extern context_ended
        extern context_personality
        extern pool_nobody

; Whether what the stubs of inline.h try is so: the offsets that programs were built
; with. They are in those programs for good; the lists on the right may change. (Should
; something else of it change, like how a key is made, this is to say 0.)
%define INLINE_HOLDS ( \
    JOBSWITCH_AT_LINK = JS_CTX_LINK && JOBSWITCH_AT_CHILD = JS_CTX_CHILD && \
    JOBSWITCH_AT_SPAN = JS_ROOT_STACK_SPAN && \
    JOBSWITCH_AT_FIRST = JS_ROOT_ARENA_FIRST && JOBSWITCH_AT_MASK = JS_ROOT_ARENA_MASK && \
    JOBSWITCH_AT_KEY = JS_JOB_KEY && JOBSWITCH_AT_PAUSE_TOP = JS_JOB_PAUSE_TOP && \
    JOBSWITCH_AT_IP = JS_CTX_IP && JOBSWITCH_AT_SP = JS_CTX_SP && \
    JOBSWITCH_AT_RBP = JS_CTX_RBP && JOBSWITCH_AT_RBX = JS_CTX_RBX)

; struct pool_thread (pool.h), as of a thread without a pool. Here, because NASM
; cannot name a thread-local symbol of another object: the linker finds the
; reference without its type.
        section .tdata progbits alloc write tls align=64
        global pool_thread_state:object hidden JS_THREAD_BYTES
pool_thread_state:
        dq      0, 0, -1, 0
        global pool_thread_root:object hidden
%if INLINE_HOLDS
        global jobswitch_inline_thread:object default JS_THREAD_BYTES - JS_THREAD_ROOT
jobswitch_inline_thread:
%endif
pool_thread_root:
        dq      pool_nobody + JS_THREAD_ROOT ; its link
        times JS_THREAD_ROOT + JS_CTX_CHILD - ($ - pool_thread_state) db 0
        dq      pool_nobody + JS_THREAD_ROOT ; its child
        times JS_THREAD_ROOT + JS_ROOT_ARENA_FIRST - ($ - pool_thread_state) db 0
        dq      pool_nobody + JS_THREAD_ROOT ; where blocks would lie
        times JS_THREAD_BYTES - ($ - pool_thread_state) db 0

%if !INLINE_HOLDS
; What inline.h tries does not hold here: it finds no job, and goes to the bodies.
        global jobswitch_inline_thread:object default JOBSWITCH_AT_MASK + 8
jobswitch_inline_thread:
        times JOBSWITCH_AT_CHILD db 0
        dq      inline_nobody
        times JOBSWITCH_AT_FIRST - JOBSWITCH_AT_CHILD - 8 db 0
        dq      inline_nobody
        dq      0
        section .rodata align=8
        times -JOBSWITCH_AT_KEY db 0
inline_nobody:
%endif

; find_here: rax = the offset of the thread's root context from fs. What is needed of it
; is read in that way, and not behind a pointer: of all addresses this is known
; first. Without a pool, the link and the child are those of pool_nobody, and nothing
; that the macros below look for is found.
%macro find_here 0
        mov     rax, [pool_thread_root wrt ..gottpoff]
%endmacro
%define here(member) fs:rax + member

%macro exported 1
        align 64
        global %1:function default (%1.end - %1)
%1:
%endmacro

; The body of a stub, NAME in two forms: one for compilers that give up rbx, and
; NAME_rbx for those that may need it to find the frame. rdx = where the stub goes
; on. It has given up all registers but rsp, rbp and, in the second form, rbx. Come
; to by a jump that is not tracked, so it needs no endbr64.
%macro stub_body 1
        exported %1
        frame_begin plain
        row_popped DW_RDX
%endmacro
; save_place CTX: how far the first form saves; save_place_rbx: the second
%macro save_place 1
        mov     [%1 + JS_CTX_IP], rdx
        save_stack %1
%endmacro
%macro save_place_rbx 1
        mov     [%1 + JS_CTX_R12], rdx
        mov     [%1 + JS_CTX_RBX], rbx
        lea     rdx, [stub_back_rbx]
        row_saved_place %1
        mov     [%1 + JS_CTX_IP], rdx
        save_stack %1
%endmacro

; find_paused HANDLE, HANDLE_32, OTHER: r10 = the context of a paused job of this
; thread. In one comparison: the child is the root itself while no job runs, and then
; the sum is the key of this very job; while one runs it is no key. HANDLE is used.
%macro find_paused 3
        find_here
        mov     r10d, %2                ; lower half: where the job lies
        and     r10d, [here(JS_ROOT_ARENA_MASK)]
        add     r10, [here(JS_ROOT_ARENA_FIRST)]
        add     %1, [here(JS_CTX_CHILD)]
        cmp     [r10 + JS_JOB_KEY], %1
        jne     %3
%endmacro

; find_idle FUNC, OTHER: r10 = the root, r11 = the context of an idle job, r9 = the
; end of its stack
%macro find_idle 2
        find_here
        mov     r10, [here(JS_CTX_LINK)]
        cmp     [here(JS_CTX_CHILD)], r10
        jne     %2
        mov     r11, [here(JS_ROOT_HOT)]
        test    r11, r11
        jz      %2
        add     r11, JS_JOB_CONTEXT
        test    %1, %1
        jz      %2
        mov     r9, [r11 + JS_JOB_PAUSE_TOP]
        btr     r9, JS_PAUSE_TOP_GATED
%endmacro

; find_running OTHER: r10 = the root, rdi = the context of the running job. Its own
; stack is where it stands, and its gate is open.
%macro find_running 1
        find_here
        mov     r10, [here(JS_CTX_LINK)]
        mov     rdi, [here(JS_CTX_CHILD)]
        mov     rcx, [rdi + JS_JOB_PAUSE_TOP]
        sub     rcx, rsp
        cmp     rcx, [here(JS_ROOT_STACK_SPAN)]
        jae     %1
%endmacro

; copy_args ARGS, SIZE, SPARE, OTHER: SIZE bytes from ARGS to the end of the stack, r9;
; rdi = r9 = the copy. rax and SPARE are used. What does not fit goes to OTHER, with
; nothing changed but rax.
;
; The sizes of structs go in words, and straight on: the caller has just stored their
; members, and a wider load than those stores would wait for them to reach the cache.
; copy_other_args, out of the way, is for the rest.
%macro copy_args 4
        lea     rax, [%2 - 16]
        cmp     rax, 64 - 16
        ja      %%other
        sub     r9, %2
        and     r9, -64
        mov     rax, [%1]
        mov     %3, [%1 + 8]
        mov     [r9], rax
        mov     [r9 + 8], %3
        mov     rax, [%1 + %2 - 8]
        mov     %3, [%1 + %2 - 16]
        mov     [r9 + %2 - 8], rax
        mov     [r9 + %2 - 16], %3
        cmp     %2, 32
        jbe     %%copied
        mov     rax, [%1 + 16]
        mov     %3, [%1 + 24]
        mov     [r9 + 16], rax
        mov     [r9 + 24], %3
        cmp     %2, 48
        jbe     %%copied
        mov     rax, [%1 + %2 - 24]
        mov     %3, [%1 + %2 - 32]
        mov     [r9 + %2 - 24], rax
        mov     [r9 + %2 - 32], %3
%%copied:
        mov     rdi, r9
%define other_args %%other
%define args_copied %%copied
%define args_too_large %4
%endmacro
; ARGS, SIZE, SPARE of the copy_args above
%macro copy_other_args 3
other_args:
        cmp     %2, JS_ENTRY_ARGS_BYTES
        ja      args_too_large
        sub     r9, %2
        and     r9, -64
        cmp     %2, 16
        jb      %%small
        movups  xmm0, [%1]              ; 65 to 1024: both ends, then between
        movups  xmm1, [%1 + 16]
        movups  xmm2, [%1 + %2 - 32]
        movups  xmm3, [%1 + %2 - 16]
        movups  [r9], xmm0
        movups  [r9 + 16], xmm1
        movups  [r9 + %2 - 32], xmm2
        movups  [r9 + %2 - 16], xmm3
        mov     %3, 32                  ; in steps of 32 while they do not
%%next:                                 ; reach into the last 32
        movups  xmm0, [%1 + %3]
        movups  xmm1, [%1 + %3 + 16]
        movups  [r9 + %3], xmm0
        movups  [r9 + %3 + 16], xmm1
        add     %3, 32
        lea     rax, [%3 + 32]
        cmp     rax, %2
        jb      %%next
        jmp     args_copied

%%small:                                ; 0 to 15
        cmp     %2, 8
        jb      %%small_4
        mov     rax, [%1]
        mov     %3, [%1 + %2 - 8]
        mov     [r9], rax
        mov     [r9 + %2 - 8], %3
        jmp     args_copied
%%small_4:
        cmp     %2, 4
        jb      %%small_1
        mov     eax, [%1]
        mov     [r9], eax
        mov     eax, [%1 + %2 - 4]
        mov     [r9 + %2 - 4], eax
        jmp     args_copied
%%small_1:
        test    %2, %2
        jz      args_copied
        movzx   eax, byte [%1 + %2 - 1]
        mov     [r9 + %2 - 1], al
        movzx   eax, byte [%1]
        mov     [r9], al
        shr     %2, 1                   ; 2 or 3: the middle one
        movzx   eax, byte [%1 + %2]
        mov     [r9 + %2], al
        jmp     args_copied
%endmacro

; enter_fresh: makes r11 the running job of the root r10, with its stack's end at r9.
%macro enter_fresh 0
        mov     [r10 + JS_CTX_CHILD], r11
        mov     [r9 - 16], r11
        mov     qword [r9 - 8], 0
        lea     rsp, [r9 - 16]
%endmacro

; The function has returned: eax = its value, r12 and rsp as before the call.
; r10 = the starter's context, edx = the value. A signal handler is given no handle
; from here on.
%macro leave_fresh 1                    ; where to, if it is fresh no more
        mov     r10, [r12 + JS_CTX_LINK]
        row_ending DW_R10
        mov     edx, eax
        mov     [r10 + JS_CTX_CHILD], r10
        cmp     qword [r12 + JS_JOB_GATE], JS_GATE_FRESH
        jne     %1
        dec     dword [r10 + JS_ROOT_UNTIL_REVIEW] ; CF stays clear
        jz      %1_review
        mov     eax, 3                  ; JOBSWITCH_FINISH
        mov     rsp, [r10 + JS_CTX_SP]
%endmacro

; first_pause OTHER: rdi = the running job of the root r10, whose gate is not open. If
; all that is special is that it has not paused yet: takes it from the hot list, reveals the
; handle as job_reveal does, opens the gate. rsi = the handle; rax and rcx are used.
; A signal handler may have revealed it at any place before: each step is one
; instruction, and does nothing then.
%macro first_pause 1
        mov     ecx, [rdi + JS_JOB_GATE]
        and     ecx, ~JS_GATE_SECRET
        cmp     ecx, JS_GATE_FIRST
        jne     %1
        lea     rax, [rdi - JS_JOB_CONTEXT]
        mov     rcx, [rdi + JS_JOB_NEXT]
        cmpxchg [r10 + JS_ROOT_HOT], rcx
        jne     %%counted
        inc     qword [r10 + JS_ROOT_LIVE]
%%counted:
        mov     dword [rdi + JS_JOB_GATE], 0
        btr     qword [rdi + JS_JOB_PAUSE_TOP], JS_PAUSE_TOP_GATED
        and     qword [rdi + JS_JOB_KEY], ~JS_KEY_SECRET
        mov     rsi, [rdi + JS_JOB_KEY]
        sub     rsi, r10
        and     rsi, -JS_JOB_BYTES      ; without key_keep_out
        mov     rcx, [rdi + JS_JOB_PAUSE_TOP]
        sub     rcx, rsp
        cmp     rcx, [r10 + JS_ROOT_STACK_SPAN]
        jae     %1
%endmacro

        section .text

; ---- the functions -----------------------------------------------------------

; int jobswitch_start_job(jobswitch_job **rdi = job, int *rsi = ret,
;                         int (*rdx = func)(void *), void *rcx = args,
;                         size_t r8 = size)
exported jobswitch_start_job
        frame_begin plain
        endbr64
        test    rdi, rdi
        jz      .other
        test    rsi, rsi
        jz      .other
        mov     r9, [rdi]
        test    r9, r9
        jz      .start
        find_paused r9, r9d, .other
        mov     [here(JS_ROOT_JOB_OUT)], rdi
        mov     [here(JS_ROOT_RET_OUT)], rsi
        mov     [here(JS_CTX_CHILD)], r10
        save_context fs:rax, rcx, resume_back
        load_stack                      ; ZF: the answer of its pause
        go_on
        frame_end

        frame_begin plain
.other: jmp     job_start_to

.start: find_idle rdx, .other
        mov     [here(JS_ROOT_JOB_OUT)], rdi
        mov     [here(JS_ROOT_RET_OUT)], rsi
        test    rcx, rcx
        jz      .no_args
        copy_args rcx, r8, rdi, .other
.enter: save_context r10, rax, start_back
        enter_fresh
        frame_end

        frame_begin start
        mov     r12, r11
        call    rdx
        leave_fresh job_end_known
        frame_end
        ; Call and return pair up here: a ret is predicted. rbp, rbx and r13 to
        ; r15 are the caller's, as the function had to preserve them.
        frame_begin plain
        row     in_context(DW_R12, DW_R10, JS_CTX_R12)
        mov     rsi, [r10 + JS_ROOT_RET_OUT]
        mov     [rsi], edx
        mov     rsi, [r10 + JS_ROOT_JOB_OUT]
        mov     qword [rsi], 0
        mov     r12, [r10 + JS_CTX_R12]
        ret
        frame_end

        frame_begin plain
.no_args:
        xor     edi, edi
        jmp     .enter
        copy_other_args rcx, r8, rdi
        frame_end

; Where a starter goes on, and one that has resumed a job.
        arrive  start_back
        jnc     resume_back.answer
.paused:
        mov     rsi, [r10 + JS_ROOT_JOB_OUT]
        mov     [rsi], rdx
        mov     eax, 2                  ; JOBSWITCH_PAUSE
        go_back
        frame_end

        arrive  resume_back
        jnc     .answer
        mov     eax, 2                  ; and *job is as it was
        go_back
        frame_end
        frame_begin plain
.answer:
        cmp     eax, 3                  ; JOBSWITCH_FINISH
        jne     start_back.paused       ; by way of C++
        mov     rsi, [r10 + JS_ROOT_RET_OUT]
        mov     [rsi], edx
        mov     rsi, [r10 + JS_ROOT_JOB_OUT]
        mov     qword [rsi], 0
        go_back
        frame_end
jobswitch_start_job.end:

; int jobswitch_pause_job(void)
exported jobswitch_pause_job
        frame_begin plain
        endbr64
        find_running .gated
        save_context rdi, rcx, context_back
        load_stack                      ; CF: it has paused
        mov     [r10 + JS_CTX_CHILD], r10
        go_on
        frame_end

        frame_begin plain
.gated: first_pause .other
        save_context rdi, rcx, context_back
        load_stack
        mov     rdx, rsi
        mov     [r10 + JS_CTX_CHILD], r10
        go_on
        frame_end
        frame_begin plain
.other: jmp     job_pause
        frame_end
.end:

; ---- the ends of jobs --------------------------------------------------------

; r12 = the context of a job that is fresh no more, r10 = its starter's, edx = its
; value. If others know its handle: ends the generation, in one step with their
; wakes. A wait descriptor, the last generation, a review: not here.
function job_end_known
        frame_begin start
        row_ending DW_R10
        mov     rax, [r12 + JS_JOB_GATE] ; and the flags
        and     rax, ~JS_GATE_FIRST
        jnz     .other
        cmp     dword [r10 + JS_ROOT_UNTIL_REVIEW], 1
        je      .other
        mov     rax, [r12 + JS_JOB_WAIT]
.generation:
        test    eax, ~JS_WAIT_ENDING
        jnz     .other
        mov     rsi, rax
        shr     rsi, 32
        inc     esi
        jz      .other
        shl     rsi, 32
        lock cmpxchg [r12 + JS_JOB_WAIT], rsi
        jne     .generation
        ; The key: the new generation above, below the old handle's and the root's.
        mov     rax, [r12 + JS_JOB_KEY]
        sub     rax, r10
        mov     eax, eax
        add     rax, r10
        lea     rsi, [rsi + rax + JS_KEY_SECRET]
        mov     [r12 + JS_JOB_KEY], rsi
        mov     dword [r12 + JS_JOB_GATE], JS_GATE_FRESH
        bts     qword [r12 + JS_JOB_PAUSE_TOP], JS_PAUSE_TOP_GATED
        dec     dword [r10 + JS_ROOT_UNTIL_REVIEW]
        dec     qword [r10 + JS_ROOT_LIVE]
        mov     rsi, [r10 + JS_ROOT_HOT]
        mov     [r12 + JS_JOB_NEXT], rsi
        lea     rsi, [r12 - JS_JOB_CONTEXT]
        mov     [r10 + JS_ROOT_HOT], rsi
        mov     eax, 3                  ; JOBSWITCH_FINISH
        mov     rsp, [r10 + JS_CTX_SP]
        frame_end
        frame_begin plain
        row_entered_unloaded DW_R10
        mov     rbp, [r10 + JS_CTX_RBP]
        no_flags
        go_on
        frame_end

        frame_begin start
job_end_known_review:
        row_ending DW_R10
        inc     dword [r10 + JS_ROOT_UNTIL_REVIEW]
job_end_known.other:
        mov     [r10 + JS_CTX_CHILD], r12
        frame_end
        frame_begin start
        mov     rdi, r12
        mov     esi, edx
        call    context_ended
        ud2
        frame_end
job_end_known.end:

; ---- the stubs' bodies ---------------------------------------------------------

; With the start of a job that needs no more than this.
%macro run_fresh 1                      ; how to save
        %1      r10
        enter_fresh
        frame_end

        frame_begin start
        mov     r12, r11
        call    rsi
        leave_fresh job_end_known
        frame_end
        frame_begin plain
        row_entered DW_R10              ; rbp and rbx: preserved by the function
        go_on
        frame_end
%endmacro

; rdi = args, rcx = size, rsi = func. With args and without each run straight on.
%macro start_body 2                     ; name, how to save
stub_body %1
        find_idle rsi, .other
        test    rdi, rdi
        jnz     .args
        run_fresh %2

        frame_begin plain
        row_popped DW_RDX
.args:  copy_args rdi, rcx, r8, .other
        run_fresh %2

        frame_begin plain
        row_popped DW_RDX
        copy_other_args rdi, rcx, r8
.other: mov     r8, rcx
        mov     rcx, rdi
        xor     edi, edi
        jmp     stub_start
        frame_end
.end:
%endmacro

; rdi = handle
%macro resume_body 2
stub_body %1
        find_paused rdi, edi, .other
        mov     [here(JS_CTX_CHILD)], r10
%ifidn %2, save_place
        save_place fs:rax
%else
        mov     r11, [here(JS_CTX_LINK)] ; for the unwind row
        %2      r11
%endif
        load_stack                      ; ZF: the answer of its pause
        go_on
        frame_end
        frame_begin plain
        row_popped DW_RDX
.other: sub     rdi, [here(JS_CTX_CHILD)]
        jmp     stub_start
        frame_end
.end:
%endmacro

%macro pause_body 2
stub_body %1
        find_running .gated
        %2      rdi
        load_stack                      ; CF: it has paused
        mov     [r10 + JS_CTX_CHILD], r10
        go_on
        frame_end

        frame_begin plain
        row_popped DW_RDX
.gated: first_pause .other
        %2      rdi
        load_stack
        mov     rdx, rsi
        mov     [r10 + JS_CTX_CHILD], r10
        go_on
        frame_end
        frame_begin plain
        row_popped DW_RDX
.other: jmp     stub_pause
        frame_end
.end:
%endmacro

        start_body jobswitch_inline_start, save_place
        resume_body jobswitch_inline_resume, save_place
        pause_body jobswitch_inline_pause, save_place
        start_body jobswitch_inline_start_rbx, save_place_rbx
        resume_body jobswitch_inline_resume_rbx, save_place_rbx
        pause_body jobswitch_inline_pause_rbx, save_place_rbx

; Where stubs of the second form go on.
function stub_return_rbx
        frame_begin plain
        row_place DW_R10
        nop
stub_back_rbx:
        mov     rbx, [r10 + JS_CTX_RBX]
        notrack
        jmp     [r10 + JS_CTX_R12]
        frame_end
stub_return_rbx.end:

; What a body leaves to C++ is called on the caller's stack, below its red zone:
; rdi = handle, rsi = func, rcx = args, r8 = size, rdx = where the stub goes on.
%macro stub_call 0
        mov     r13, rsp
        mov     r12, rdx
        row     0x0c, DW_R13, 0, 0x09, DW_RA, DW_R12
        lea     rsp, [rsp - 128]
        and     rsp, -16
%endmacro
function stub_start
        frame_begin plain
        row_popped DW_RDX
        stub_call
        mov     rdx, rcx
        mov     rcx, r8
        call    job_start
        mov     rsp, r13
        no_flags
        notrack
        jmp     r12
        frame_end
.end:
function stub_pause
        frame_begin plain
        row_popped DW_RDX
        stub_call
        call    job_pause
        mov     rsp, r13
        no_flags
        notrack
        jmp     r12
        frame_end
.end:

        file_notes
