/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what jobswitch.h inlines of jobswitch_start_job() and
 * jobswitch_pause_job(). Included by that header, not by programs.
 *
 * A start, and whatever is not the common case, jumps to its body in the library,
 * which comes back by a jump to where it was told. A resume and a pause look for the
 * common case themselves, and then switch here: two jumps to a round trip, and none
 * over the distance to a shared library. Without a call and a return, the processor's
 * prediction of returns is not disturbed, and everything around a start or a pause
 * returns as fast as without. The names that begin with jobswitch_inline_ are for
 * these stubs alone.
 *
 * How the library keeps jobs is its own affair. The offsets below are what a stub
 * tries; a library for which they do not hold gives the stubs a state of the thread
 * in which they find nothing, and does all of it in the bodies (entry.asm,
 * jobswitch_inline_thread).
 *
 * To the compiler a stub is an instruction that gives up all registers but rsp,
 * rbp and, with Clang, rbx (System V ABI for AMD64, 3.2.1), so it keeps what it needs in the
 * frame. The control words of SSE and x87 are left to the thread, as by the
 * functions. The stubs use no stack: the red zone below rsp (3.2.2) stays the
 * caller's.
 */
#ifndef JOBSWITCH_INLINE_H
#define JOBSWITCH_INLINE_H

/* Not x32. There are only the functions
 *  - where the code model does not reach the table of addresses;
 *  - where the compiler may not use the registers of SSE, or GCC those of MMX or x87: it
 *    takes no names of registers that it may not use;
 *  - where Clang may keep tiles (AMX) in variables: it spills them for an asm statement
 *    that gives up tmm0 to tmm7, and loads their configuration again after calls only. */
#if defined(__x86_64__) && defined(__LP64__) && defined(__GNUC__) &&           \
    defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__code_model_large__) &&     \
    defined(__SSE2__) &&                                                       \
    (defined(__clang__) ? !defined(__AMX_TILE__) && !defined(__AMXTILE__)      \
                        : defined(__MMX__) && !defined(_SOFT_FLOAT))
#define JOBSWITCH_STUBS 1

/* Much here is of GNU C, whatever language and warnings the program is compiled with. */
#pragma GCC system_header

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

/* In jobswitch_inline_thread, the thread's state: the address of all this and where a
 * starter goes on, which job runs, how large a stack can be, where the blocks lie. */
#define JOBSWITCH_AT_LINK 0
#define JOBSWITCH_AT_CHILD 72
#define JOBSWITCH_AT_SPAN 88
#define JOBSWITCH_AT_FIRST 112
#define JOBSWITCH_AT_MASK 120
/* Of a job: what its handle is compared with, and the end of its stack. */
#define JOBSWITCH_AT_KEY -24
#define JOBSWITCH_AT_PAUSE_TOP -16
/* Of both: where it goes on. */
#define JOBSWITCH_AT_IP 8
#define JOBSWITCH_AT_SP 16
#define JOBSWITCH_AT_RBP 24
#define JOBSWITCH_AT_RBX 32

#define JOBSWITCH_STUB_TEXT(value) JOBSWITCH_STUB_TEXT_OF(value)
#define JOBSWITCH_STUB_TEXT_OF(value) #value
#define JOBSWITCH_STUB_IN(base, at) JOBSWITCH_STUB_TEXT(at) "(" base ")"
/* rax: where the thread's state lies, from fs on */
#define JOBSWITCH_STUB_FIND_HERE                                               \
    "\tmovq\tjobswitch_inline_thread@GOTTPOFF(%%rip), %%rax\n"
#define JOBSWITCH_STUB_HERE(at) "%%fs:" JOBSWITCH_STUB_IN("%%rax", at)
#define JOBSWITCH_STUB_JUMP(body)                                              \
    "\tnotrack jmpq\t*" body "@GOTPCREL(%%rip)\n"

/* Unwind rows, where the compiler writes any, by DWARF's numbers (System V ABI for
 * AMD64, figure 3.36; 0x10 is DW_CFA_expression, 0x7a DW_OP_breg10). Once rsp is that
 * of the context in r10, the frame is the one where that goes on, and the rows there
 * find rbx and r12 to r15. */
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define JOBSWITCH_STUB_ROW_IN_R10(number, at)                                  \
    "\t.cfi_escape\t0x10, " number ", 2, 0x7a, " JOBSWITCH_STUB_TEXT(at) "\n"
#define JOBSWITCH_STUB_ROW_ENTERED                                             \
    "\t.cfi_remember_state\n"                                                  \
    "\t.cfi_def_cfa\t7, 0\n"                                                   \
    JOBSWITCH_STUB_ROW_IN_R10("16", JOBSWITCH_AT_IP)                           \
    JOBSWITCH_STUB_ROW_IN_R10("6", JOBSWITCH_AT_RBP)
#define JOBSWITCH_STUB_ROW_RBX                                                 \
    "\t.cfi_remember_state\n"                                                  \
    JOBSWITCH_STUB_ROW_IN_R10("3", JOBSWITCH_AT_RBX)
#define JOBSWITCH_STUB_ROW_AGAIN "\t.cfi_restore_state\n"
#else
#define JOBSWITCH_STUB_ROW_ENTERED
#define JOBSWITCH_STUB_ROW_RBX
#define JOBSWITCH_STUB_ROW_AGAIN
#endif

/* rdi = handle. One comparison for a paused job of this thread, while none runs: see
 * src/job.h, key, and find_paused in entry.asm. ZF: the answer of its pause. */
#define JOBSWITCH_STUB_RESUME(save_in, arrive)                                 \
    JOBSWITCH_STUB_FIND_HERE                                                   \
    "\tmovl\t%%edi, %%r10d\n"                                                  \
    "\tandl\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_MASK) ", %%r10d\n"             \
    "\taddq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_FIRST) ", %%r10\n"             \
    "\taddq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_CHILD) ", %%rdi\n"             \
    "\tleaq\t1f(%%rip), %%rdx\n"                                               \
    "\tcmpq\t%%rdi, " JOBSWITCH_STUB_IN("%%r10", JOBSWITCH_AT_KEY) "\n"        \
    "\tjne\t2f\n"                                                              \
    "\tmovq\t%%r10, " JOBSWITCH_STUB_HERE(JOBSWITCH_AT_CHILD) "\n"             \
    save_in("%%fs:", "%%rax")                                                  \
    JOBSWITCH_STUB_LOAD_STACK                                                  \
    JOBSWITCH_STUB_GO_ON                                                       \
    "2:\tsubq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_CHILD) ", %%rdi\n"           \
    arrive("jobswitch_inline_resume")

/* rdi = the running job, which stands on its own stack and whose gate is open: see
 * find_running. r10 = its starter's context. CF: it has paused. */
#define JOBSWITCH_STUB_PAUSE(save_in, arrive)                                  \
    JOBSWITCH_STUB_FIND_HERE                                                   \
    "\tmovq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_LINK) ", %%r10\n"              \
    "\tmovq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_CHILD) ", %%rdi\n"             \
    "\tleaq\t1f(%%rip), %%rdx\n"                                               \
    "\tmovq\t" JOBSWITCH_STUB_IN("%%rdi", JOBSWITCH_AT_PAUSE_TOP) ", %%rcx\n"  \
    "\tsubq\t%%rsp, %%rcx\n"                                                   \
    "\tcmpq\t" JOBSWITCH_STUB_HERE(JOBSWITCH_AT_SPAN) ", %%rcx\n"              \
    "\tjae\t2f\n"                                                              \
    save_in("", "%%rdi")                                                       \
    JOBSWITCH_STUB_LOAD_STACK                                                  \
    "\tmovq\t%%r10, " JOBSWITCH_STUB_HERE(JOBSWITCH_AT_CHILD) "\n"             \
    JOBSWITCH_STUB_GO_ON                                                       \
    "2:\n"                                                                     \
    arrive("jobswitch_inline_pause")

/* rdx = where this context goes on; then on with that in r10. */
#define JOBSWITCH_STUB_SAVE(segment, base)                                     \
    "\tmovq\t%%rdx, " segment JOBSWITCH_STUB_IN(base, JOBSWITCH_AT_IP) "\n"    \
    "\tmovq\t%%rsp, " segment JOBSWITCH_STUB_IN(base, JOBSWITCH_AT_SP) "\n"    \
    "\tmovq\t%%rbp, " segment JOBSWITCH_STUB_IN(base, JOBSWITCH_AT_RBP) "\n"
#define JOBSWITCH_STUB_LOAD_STACK                                              \
    "\tmovq\t" JOBSWITCH_STUB_IN("%%r10", JOBSWITCH_AT_SP) ", %%rsp\n"         \
    JOBSWITCH_STUB_ROW_ENTERED                                                 \
    "\tmovq\t" JOBSWITCH_STUB_IN("%%r10", JOBSWITCH_AT_RBP) ", %%rbp\n"
#define JOBSWITCH_STUB_GO_ON                                                   \
    "\tnotrack jmpq\t*" JOBSWITCH_STUB_IN("%%r10", JOBSWITCH_AT_IP) "\n"       \
    JOBSWITCH_STUB_ROW_AGAIN

/* To the body, and where it comes back, as the other side does. Before that is an
 * instruction with the row that holds there: an unwinder looks up the address before
 * a return address. */
#define JOBSWITCH_STUB_ARRIVE(body) JOBSWITCH_STUB_JUMP(body) "1:\n"

/* The same where rbx is to be kept. A body brings it back itself. */
#define JOBSWITCH_STUB_SAVE_RBX(segment, base)                                 \
    JOBSWITCH_STUB_SAVE(segment, base)                                         \
    "\tmovq\t%%rbx, " segment JOBSWITCH_STUB_IN(base, JOBSWITCH_AT_RBX) "\n"
#define JOBSWITCH_STUB_ARRIVE_RBX(body)                                        \
    "\tleaq\t3f(%%rip), %%rdx\n"                                               \
    JOBSWITCH_STUB_JUMP(body "_rbx")                                           \
    JOBSWITCH_STUB_ROW_RBX                                                     \
    "\tnop\n"                                                                  \
    "1:\tmovq\t" JOBSWITCH_STUB_IN("%%r10", JOBSWITCH_AT_RBX) ", %%rbx\n"      \
    JOBSWITCH_STUB_ROW_AGAIN                                                   \
    "\tnop\n"                                                                  \
    "3:\n"

/* A start is its body's alone. */
#define JOBSWITCH_STUB_START(body)                                             \
    "\tleaq\t1f(%%rip), %%rdx\n" JOBSWITCH_STUB_JUMP(body) "1:\n"

/* Clang finds a frame by rbx where that has variable size and large alignment,
 * whatever is said of rbx (its base pointer); GCC never does on this CPU. */
#if defined(__clang__)
#define JOBSWITCH_STUB_FORM JOBSWITCH_STUB_SAVE_RBX, JOBSWITCH_STUB_ARRIVE_RBX
#define JOBSWITCH_STUB_START_BODY "jobswitch_inline_start_rbx"
#define JOBSWITCH_STUB_COMPILER
/* It wants a register for a flag, too, and in such a frame none is left here. (In Intel's
 * syntax it drops the mark of an immediate.) */
#define JOBSWITCH_STUB_FLAG(condition, variable)
#define JOBSWITCH_STUB_FLAG_ANSWER(condition, answer)                          \
    "\tleal\t" answer ", %%ecx\n"                                              \
    "\tcmov" condition "l\t%%ecx, %%eax\n"
#else
#define JOBSWITCH_STUB_FORM JOBSWITCH_STUB_SAVE, JOBSWITCH_STUB_ARRIVE
#define JOBSWITCH_STUB_START_BODY "jobswitch_inline_start"
#define JOBSWITCH_STUB_COMPILER "rbx",
#define JOBSWITCH_STUB_FLAG(condition, variable) "=@cc" condition(variable),
#define JOBSWITCH_STUB_FLAG_ANSWER(condition, answer)
#endif
/* (A form is two arguments.) */
#define JOBSWITCH_STUB(stub, ...) stub(__VA_ARGS__)

/* Each register that may hold a value, by one of its names. What a file's options lack,
 * a function's attribute may bring; Clang takes all names always. */
#if defined(__AVX512F__) || defined(__clang__)
#define JOBSWITCH_STUB_AVX512                                                  \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",  \
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",         \
        "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define JOBSWITCH_STUB_AVX512
#define JOBSWITCH_STUB_REFUSES_AVX512
#endif
#if defined(__APX_F__) || defined(__EGPR__) ||                                 \
    (defined(__clang__) && __clang_major__ >= 19)
#define JOBSWITCH_STUB_APX                                                     \
    , "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25",    \
        "r26", "r27", "r28", "r29", "r30", "r31"
#else
#define JOBSWITCH_STUB_APX
#endif
/* All but rax, rdx, rdi, rsi and rcx, which the stubs name. */
#define JOBSWITCH_STUB_CLOBBERS                                                \
    JOBSWITCH_STUB_COMPILER "r8", "r9", "r10", "r11", "r12", "r13", "r14",     \
        "r15", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",       \
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",    \
        "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",   \
        "st(6)", "st(7)", "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6",     \
        "mm7" JOBSWITCH_STUB_AVX512 JOBSWITCH_STUB_APX

/* In a function whose attribute alone brings AVX-512, GCC prefers a mask register to rdx
 * here; in all others it has none, and nothing comes of this. */
JOBSWITCH_INLINE void jobswitch_stub_check(void)
{
#if defined(JOBSWITCH_STUB_REFUSES_AVX512)
    unsigned short mask;

    __asm__ volatile(
        ".ifnc \"%k0\", \"{%%|}edx\"\n"
        "\t.error \"jobswitch.h: this function has AVX-512, and its file has "
        "not: compile the file with -mavx512f, or define JOBSWITCH_NO_INLINE\"\n"
        "\t.endif"
        : "=k,???d"(mask));
#endif
}

/* The text is the same where the compiler writes Intel's. */
#define JOBSWITCH_STUB_BEGIN "{|.att_syntax prefix\n}"
#define JOBSWITCH_STUB_END "{|\t.intel_syntax noprefix\n}"

/* The function jobswitch_start_job itself, for its inlined form. Where Clang sees a
 * function of that name called there, it drops the inlined form, or takes the call for
 * a loop. */
JOBSWITCH_INLINE int (*jobswitch_stub_function(void))(jobswitch_job **, int *,
                                                      int (*)(void *), void *,
                                                      size_t)
{
    int (*function)(jobswitch_job **, int *, int (*)(void *), void *, size_t);

    __asm__(JOBSWITCH_STUB_BEGIN
            "\tmovq\tjobswitch_start_job@GOTPCREL(%%rip), %%rax\n" JOBSWITCH_STUB_END
            : "=a"(function));
    return function;
}

/* What comes with an answer: the handle with JOBSWITCH_PAUSE, what the job returned with
 * JOBSWITCH_FINISH. */
union jobswitch_stub_payload {
    uintptr_t word;
    jobswitch_job *handle;
    int ret;
};

/* The answer. Jumps are much of what a switch costs: a job that is
 * resumed is expected to pause again, and a pause to be resumed, so that those take
 * none here. */
JOBSWITCH_INLINE int
jobswitch_stub_start(int (*func)(void *), const void *args, size_t size,
                     union jobswitch_stub_payload *payload)
{
    int answer;
    int paused = 0;

    jobswitch_stub_check();
    __asm__ volatile(JOBSWITCH_STUB_BEGIN
                     JOBSWITCH_STUB_START(JOBSWITCH_STUB_START_BODY)
                     JOBSWITCH_STUB_FLAG_ANSWER("c", "2") JOBSWITCH_STUB_END
                     : JOBSWITCH_STUB_FLAG("c", paused) "=&a"(answer),
                       "=&d"(payload->word), "+S"(func), "+D"(args), "+c"(size)
                     :
                     : JOBSWITCH_STUB_CLOBBERS);
    return paused ? JOBSWITCH_PAUSE : answer;
}

JOBSWITCH_INLINE int
jobswitch_stub_resume(jobswitch_job *handle, union jobswitch_stub_payload *payload)
{
    int answer;
    int paused = 0;

    jobswitch_stub_check();
    __asm__ volatile(JOBSWITCH_STUB_BEGIN
                     JOBSWITCH_STUB(JOBSWITCH_STUB_RESUME, JOBSWITCH_STUB_FORM)
                     JOBSWITCH_STUB_FLAG_ANSWER("c", "2") JOBSWITCH_STUB_END
                     : JOBSWITCH_STUB_FLAG("c", paused) "=&a"(answer),
                       "=&d"(payload->word), "+D"(handle)
                     :
                     : "rsi", "rcx", JOBSWITCH_STUB_CLOBBERS);
    return __builtin_expect(paused, 1) ? JOBSWITCH_PAUSE : answer;
}

JOBSWITCH_INLINE int jobswitch_stub_pause(void)
{
    int answer;
    int resumed = 0;

    jobswitch_stub_check();
    __asm__ volatile(JOBSWITCH_STUB_BEGIN
                     JOBSWITCH_STUB(JOBSWITCH_STUB_PAUSE, JOBSWITCH_STUB_FORM)
                     JOBSWITCH_STUB_FLAG_ANSWER("z", "1") JOBSWITCH_STUB_END
                     : JOBSWITCH_STUB_FLAG("z", resumed) "=&a"(answer)
                     :
                     : "rdx", "rdi", "rsi", "rcx", JOBSWITCH_STUB_CLOBBERS);
    return __builtin_expect(resumed, 1) ? 1 : answer;
}

#endif
#endif
