/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what jobswitch.h inlines of jobswitch_start_job() and
 * jobswitch_pause_job(). Included by that header, not by programs.
 *
 * Each stub tells where it goes on and jumps to its body in the library, which
 * comes back by a jump, later or at once: without a call and a return, the
 * processor's prediction of returns is not disturbed, and everything around a
 * start or a pause returns as fast as without. Of how the library keeps jobs
 * nothing is known here. The names that begin with jobswitch_inline_ are for these
 * stubs alone.
 *
 * To the compiler a stub is an instruction that gives up all registers but rsp,
 * rbp and, with Clang, rbx (System V ABI for AMD64, 3.2.1), so it keeps what it needs in the
 * frame. The control words of SSE and x87 are left to the thread, as by the
 * functions. The stubs use no stack: the red zone below rsp (3.2.2) stays the
 * caller's.
 */
#ifndef JOBSWITCH_INLINE_H
#define JOBSWITCH_INLINE_H

/* Not x32. Without a code model that reaches the table of addresses, or where
 * the processor's registers are not the compiler's to give, there are only the
 * functions. */
#if defined(__x86_64__) && defined(__LP64__) && defined(__GNUC__) &&           \
    defined(__SSE2__) && defined(__GCC_ASM_FLAG_OUTPUTS__) &&                  \
    !defined(__code_model_large__)
#define JOBSWITCH_STUBS 1

#ifdef __cplusplus
extern "C" {
#endif
/* Bodies, not functions: not to be called. */
__attribute__((visibility("default"))) void jobswitch_inline_start(void);
__attribute__((visibility("default"))) void jobswitch_inline_resume(void);
__attribute__((visibility("default"))) void jobswitch_inline_pause(void);
__attribute__((visibility("default"))) void jobswitch_inline_start_rbx(void);
__attribute__((visibility("default"))) void jobswitch_inline_resume_rbx(void);
__attribute__((visibility("default"))) void jobswitch_inline_pause_rbx(void);
#ifdef __cplusplus
}
#endif

/* Clang finds a frame by rbx where that has variable size and large alignment,
 * whatever is said of rbx (its base pointer); GCC never does on this CPU. */
#if defined(__clang__)
#define JOBSWITCH_STUB_NAME(name) name "_rbx"
#define JOBSWITCH_STUB_COMPILER "cc",
/* It wants a register for a flag, too, and in such a frame none is left here. */
#define JOBSWITCH_STUB_FLAG(condition, variable)
#define JOBSWITCH_STUB_FLAG_ANSWER(condition, answer)                          \
    "\tmovl\t$" answer ", %%ecx\n"                                             \
    "\tcmov" condition "l\t%%ecx, %%eax\n"
#else
#define JOBSWITCH_STUB_NAME(name) name
#define JOBSWITCH_STUB_COMPILER "rbx",
#define JOBSWITCH_STUB_FLAG(condition, variable) "=@cc" condition(variable),
#define JOBSWITCH_STUB_FLAG_ANSWER(condition, answer)
#endif

#define JOBSWITCH_STUB(body)                                                   \
    "\tleaq\t1f(%%rip), %%rdx\n"                                               \
    "\tnotrack jmpq\t*" JOBSWITCH_STUB_NAME(body) "@GOTPCREL(%%rip)\n"         \
    "1:\n"

#if defined(__AVX512F__)
#define JOBSWITCH_STUB_AVX512                                                  \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  \
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",         \
        "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define JOBSWITCH_STUB_AVX512
#endif
#if defined(__APX_F__)
#define JOBSWITCH_STUB_APX                                                     \
    , "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25",    \
        "r26", "r27", "r28", "r29", "r30", "r31"
#else
#define JOBSWITCH_STUB_APX
#endif
/* All but rax, rdx, rdi, rsi and rcx, which the stubs name. */
#define JOBSWITCH_STUB_CLOBBERS                                                \
    JOBSWITCH_STUB_COMPILER "r8", "r9", "r10", "r11", "r12", "r13", "r14",     \
        "r15", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",        \
        "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st",    \
        "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",                  \
        "st(7)" JOBSWITCH_STUB_AVX512 JOBSWITCH_STUB_APX

/* The function jobswitch_start_job itself, for its inlined form. Where Clang sees a
 * function of that name called there, it drops the inlined form, or takes the call for
 * a loop. */
JOBSWITCH_INLINE int (*jobswitch_stub_function(void))(jobswitch_job **, int *,
                                                      int (*)(void *), void *,
                                                      size_t)
{
    int (*function)(jobswitch_job **, int *, int (*)(void *), void *, size_t);

    __asm__("movq\tjobswitch_start_job@GOTPCREL(%%rip), %0" : "=r"(function));
    return function;
}

/* The answer; *payload is the handle with JOBSWITCH_PAUSE, what the job returned
 * with JOBSWITCH_FINISH. Jumps are much of what a switch costs: a job that is
 * resumed is expected to pause again, and a pause to be resumed, so that those take
 * none here. */
JOBSWITCH_INLINE int
jobswitch_stub_start(int (*func)(void *), const void *args, size_t size,
                     uintptr_t *payload)
{
    uintptr_t answer;
    int paused = 0;

    __asm__ volatile(JOBSWITCH_STUB("jobswitch_inline_start")
                     JOBSWITCH_STUB_FLAG_ANSWER("c", "2")
                     : JOBSWITCH_STUB_FLAG("c", paused) "=&a"(answer),
                       "=&d"(*payload), "+S"(func), "+D"(args), "+c"(size)
                     :
                     : JOBSWITCH_STUB_CLOBBERS);
    return paused ? JOBSWITCH_PAUSE : (int)answer;
}

JOBSWITCH_INLINE int
jobswitch_stub_resume(jobswitch_job *handle, uintptr_t *payload)
{
    uintptr_t answer;
    int paused = 0;

    __asm__ volatile(JOBSWITCH_STUB("jobswitch_inline_resume")
                     JOBSWITCH_STUB_FLAG_ANSWER("c", "2")
                     : JOBSWITCH_STUB_FLAG("c", paused) "=&a"(answer),
                       "=&d"(*payload), "+D"(handle)
                     :
                     : "rsi", "rcx", JOBSWITCH_STUB_CLOBBERS);
    return __builtin_expect(paused, 1) ? JOBSWITCH_PAUSE : (int)answer;
}

JOBSWITCH_INLINE int jobswitch_stub_pause(void)
{
    uintptr_t answer;
    int resumed = 0;

    __asm__ volatile(JOBSWITCH_STUB("jobswitch_inline_pause")
                     JOBSWITCH_STUB_FLAG_ANSWER("z", "1")
                     : JOBSWITCH_STUB_FLAG("z", resumed) "=&a"(answer)
                     :
                     : "rdx", "rdi", "rsi", "rcx", JOBSWITCH_STUB_CLOBBERS);
    return __builtin_expect(resumed, 1) ? 1 : (int)answer;
}

#endif
#endif
