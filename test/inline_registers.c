/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More values of each kind of register than there are registers live across each inlined
 * call, while the other side empties them all: whatever a stub forgets to give up, the
 * compiler keeps a value in. test/registers_test.sh compiles it in many ways. The exit
 * code is 0 if all is well.
 */
#include <jobswitch/jobswitch.h>

#include <stdio.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
/* AVX-512, of which the file may know nothing. */
#if defined(WIDE)
#elif defined(__AVX512F__)
#define WIDE
#elif defined(__clang__)
#define WIDE __attribute__((target("avx512f,avx512bw")))
#endif
#if defined(__AVX512F__) && !defined(__AVX512BW__)
typedef unsigned short mask;
#define NEEDS "avx512f"
#define MASK_WIDTH "w"
#else
typedef unsigned long mask;
#define NEEDS "avx512bw"
#define MASK_WIDTH "q"
#endif

static int wrong;
static const char *where = "";

/* ---- the other side ------------------------------------------------------------- */

#define EACH8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define EACH16(X) EACH8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define FROM16(X)                                                              \
    X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)                            \
    X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define EACH32(X) EACH16(X) FROM16(X)

#ifdef WIDE
#define ZERO_WIDE(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define ZERO_MASK(n) "kxor" MASK_WIDTH " %%k" #n ", %%k" #n ", %%k" #n "\n\t"
static WIDE NOINLINE void empty_wide(void)
{
    __asm__ volatile("{|.att_syntax prefix\n\t}" FROM16(ZERO_WIDE) EACH8(ZERO_MASK) "{|.intel_syntax noprefix\n\t}"
                     :
                     :
                     : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21",
                       "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
                       "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3",
                       "k4", "k5", "k6", "k7");
}
#endif
#define ZERO_SSE(n) "xorps %%xmm" #n ", %%xmm" #n "\n\t"
#define ZERO_MMX(n) "pxor %%mm" #n ", %%mm" #n "\n\t"
/* (Inlined: a function would bring back what functions preserve.) */
static inline __attribute__((always_inline)) void empty_all(void)
{
#ifdef WIDE
    if (__builtin_cpu_supports(NEEDS))
        empty_wide();
#endif
    __asm__ volatile("{|.att_syntax prefix\n\t}"
                     "xorl %%eax, %%eax\n\txorl %%ebx, %%ebx\n\txorl %%ecx, %%ecx\n\t"
                     "xorl %%edx, %%edx\n\txorl %%esi, %%esi\n\txorl %%edi, %%edi\n\t"
                     "xorl %%r8d, %%r8d\n\txorl %%r9d, %%r9d\n\txorl %%r10d, %%r10d\n\t"
                     "xorl %%r11d, %%r11d\n\txorl %%r12d, %%r12d\n\txorl %%r13d, %%r13d\n\t"
                     "xorl %%r14d, %%r14d\n\txorl %%r15d, %%r15d\n\t"
#if defined(__AVX__)
                     "vzeroall\n\t"
#endif
                     EACH16(ZERO_SSE) EACH8(ZERO_MMX)
                     "emms\n\t"
                     "{|.intel_syntax noprefix\n\t}"
                     :
                     :
                     : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
                       "r11", "r12", "r13", "r14", "r15", "memory", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "mm0",
                       "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7", "st", "st(1)",
                       "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
}

static int empties(void *pauses)
{
    int left = *(int *)pauses;

    for (;; left--) {
        empty_all();
        if (!left)
            return 7;
        jobswitch_pause_job();
    }
}

/* ---- the calls ------------------------------------------------------------------- */

static jobswitch_job *job;
static int ret, pauses;

#define START answer = jobswitch_start_job(&job, &ret, empties, &pauses, sizeof pauses)
#define RESUME answer = jobswitch_start_job(&job, &ret, NULL, NULL, 0)
#define PAUSE answer = jobswitch_pause_job()

/* A function with values of a kind alive across a call, for each of both. BORN leaves a
 * value in a register, of which the compiler knows nothing; SEEN asks for it there. */
#define ACROSS(attribute, kind, type, each, born, seen, leave, name, call)     \
    attribute static NOINLINE int kind##name(void)                             \
    {                                                                          \
        type *from = kind##_values;                                            \
        type got[sizeof kind##_values / sizeof *kind##_values];                \
        int answer;                                                            \
        each(born) call;                                                       \
        each(seen) leave;                                                      \
        if (memcmp(got, from, sizeof got)) {                                   \
            printf("not kept %s: a value of kind %s at %s\n", where, #kind,    \
                   #name);                                                     \
            wrong = 1;                                                         \
        }                                                                      \
        return answer;                                                         \
    }
#define KIND(attribute, kind, type, each, fill, born, seen, leave)             \
    static type kind##_values[0 each(ONE)];                                    \
    ACROSS(attribute, kind, type, each, born, seen, leave, _start, START)      \
    ACROSS(attribute, kind, type, each, born, seen, leave, _resume, RESUME)    \
    ACROSS(attribute, kind, type, each, born, seen, leave, _pause, PAUSE)      \
    static int kind##_job(void *arg)                                           \
    {                                                                          \
        (void)arg;                                                             \
        kind##_pause();                                                        \
        return 8;                                                              \
    }                                                                          \
    static void kind##_all(void)                                               \
    {                                                                          \
        type *to = kind##_values;                                              \
        unsigned i, count = sizeof kind##_values / sizeof *to;                 \
        fill;                                                                  \
        all_calls(kind##_start, kind##_resume, kind##_job);                    \
    }
#define ONE(n) +1
#define BYTES                                                                  \
    for (i = 0; i < sizeof *to * count; i++)                                   \
        ((unsigned char *)to)[i] = (unsigned char)(i % 251 + 1)
#define NUMBERS                                                                \
    for (i = 0; i < count; i++)                                                \
        to[i] = i + 1

static void expect(int got, int answer)
{
    if (got == answer)
        return;
    printf("%s: %d for %d (reason %d)\n", where, got, answer, jobswitch_last_error());
    wrong = 1;
}
static void all_calls(int (*start)(void), int (*resume)(void), int (*pausing)(void *))
{
    int answer;

    pauses = 1;
    expect(start(), JOBSWITCH_PAUSE);
    expect(resume(), JOBSWITCH_FINISH);
    pauses = 2;
    expect(start(), JOBSWITCH_PAUSE);
    expect(resume(), JOBSWITCH_PAUSE);
    expect(resume(), JOBSWITCH_FINISH);
    pauses = 0;
    expect(start(), JOBSWITCH_FINISH);
    answer = jobswitch_start_job(&job, &ret, pausing, NULL, 0);
    expect(answer, JOBSWITCH_PAUSE);
    empty_all();
    RESUME;
    expect(answer, JOBSWITCH_FINISH);
}

/* ---- the kinds --------------------------------------------------------------------- */

#define BORN_IN(constraint, type, n)                                           \
    type v##n = *(volatile type *)&from[n];                                    \
    __asm__ volatile("" : "+" constraint(v##n));
#define SEEN_IN(constraint, n)                                                 \
    __asm__ volatile("" : "+" constraint(v##n));                               \
    got[n] = v##n;
#define NOTHING (void)0

#define GENERAL_BORN(n) BORN_IN("r", unsigned long, n)
#define GENERAL_SEEN(n) SEEN_IN("r", n)
KIND(, general, unsigned long, EACH16, BYTES, GENERAL_BORN, GENERAL_SEEN, NOTHING)

#if defined(__AVX__)
typedef int vector __attribute__((vector_size(32)));
#else
typedef int vector __attribute__((vector_size(16)));
#endif
#define VECTOR_BORN(n) BORN_IN("x", vector, n)
#define VECTOR_SEEN(n) SEEN_IN("x", n)
KIND(, vector, vector, EACH16, BYTES, VECTOR_BORN, VECTOR_SEEN, NOTHING)

#define SCALAR_BORN(n) BORN_IN("x", double, n)
#define SCALAR_SEEN(n) SEEN_IN("x", n)
KIND(, scalar, double, EACH16, BYTES, SCALAR_BORN, SCALAR_SEEN, NOTHING)

typedef int mmx __attribute__((vector_size(8)));
#define MMX_BORN(n) BORN_IN("y", mmx, n)
#define MMX_SEEN(n) SEEN_IN("y", n)
KIND(, mmx, mmx, EACH8, BYTES, MMX_BORN, MMX_SEEN, __asm__ volatile("emms"))

/* (No asm statement asks for one of eight. And not all bytes are the value's.) */
#define X87_BORN(n) long double v##n = *(volatile long double *)&from[n];
#define X87_SEEN(n)                                                            \
    memcpy(&got[n], &from[n], sizeof got[n]);                                  \
    if (v##n != from[n])                                                       \
        memset(&got[n], 0, sizeof got[n]);
KIND(, x87, long double, EACH8, NUMBERS, X87_BORN, X87_SEEN, NOTHING)

#ifdef WIDE
typedef int wide __attribute__((vector_size(64)));
#define WIDE_BORN(n) BORN_IN("v", wide, n)
#define WIDE_SEEN(n) SEEN_IN("v", n)
KIND(WIDE, wide, wide, EACH32, BYTES, WIDE_BORN, WIDE_SEEN, NOTHING)

#define MASK_BORN(n) BORN_IN("k", mask, n)
#define MASK_SEEN(n) SEEN_IN("k", n)
KIND(WIDE, mask, mask, EACH8, BYTES, MASK_BORN, MASK_SEEN, NOTHING)
#endif

/* And what is in memory. */
static int written;
static int writes(void *arg)
{
    (void)arg;
    written += 10;
    jobswitch_pause_job();
    if (written != 111)
        wrong = 1;
    written += 1000;
    return 10;
}
static NOINLINE void memory_all(void)
{
    int answer, fresh = 1;

    written = 1;
    answer = jobswitch_start_job(&job, &fresh, writes, NULL, 0);
    expect(answer, JOBSWITCH_PAUSE);
    expect(written, 11);
    written = 111;
    answer = jobswitch_start_job(&job, &fresh, NULL, NULL, 0);
    expect(answer, JOBSWITCH_FINISH);
    expect(written, 1111);
    expect(fresh, 10);
}

static int everything(void *arg)
{
    (void)arg;
    memory_all();
    general_all();
    vector_all();
    scalar_all();
    mmx_all();
    x87_all();
#ifdef WIDE
    if (__builtin_cpu_supports(NEEDS)) {
        wide_all();
        mask_all();
    }
#endif
    return 9;
}

int main(void)
{
    jobswitch_job *outer = NULL;
    int got = 0;

    where = "in the thread";
    everything(NULL);
    where = "in a job"; /* where the library's bodies do it all */
    expect(jobswitch_start_job(&outer, &got, everything, NULL, 0), JOBSWITCH_FINISH);
    jobswitch_cleanup_thread();
    return wrong;
}
