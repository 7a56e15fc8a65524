// SPDX-License-Identifier: Apache-2.0
//
// JOBSWITCH_FP_ENVIRONMENT: whose ways to round and whose traps are in force, whose flags
// are seen, and that nothing of it is touched where it was not asked for. And the one mode
// beside that is always a job's own.
#include <cfenv>
#include <csetjmp>
#include <csignal>
#include <limits>

#include "jobswitch/jobswitch.h"
#include "support.h"

// On i386, double arithmetic is the x87's, too, unless the compiler is told otherwise.
#ifdef __i386__
#ifdef __clang__
#define DOUBLE_BY_SSE [[gnu::target("sse2")]]
#else
#define DOUBLE_BY_SSE [[gnu::target("sse2,fpmath=sse")]]
#endif
#else
#define DOUBLE_BY_SSE
#endif

static void open_pool(bool keeps)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.initial_jobs = 3; // so that some are made ahead, too
    options.flags = keeps ? JOBSWITCH_FP_ENVIRONMENT : 0;
    assert_int_equal(jobswitch_init_thread_with(&options), 1);
}

static int teardown(void **)
{
    jobswitch_cleanup_thread();
    fesetenv(FE_DFL_ENV);
    return 0;
}

// As arithmetic has it, which is what the control words are for.
DOUBLE_BY_SSE static int rounding_in_force()
{
    volatile double one = 1, three = 3, minus = -1;
    volatile double up = one / three, down = minus / three; // no more precise than that
    constexpr double nearest = 1.0 / 3;
    if (up > nearest)
        return FE_UPWARD;
    if (down < -nearest)
        return FE_DOWNWARD; // whose quotient of 1 and 3 is the nearest
    return up == nearest && down == -nearest ? fegetround() : -1;
}
static void assert_rounding(int mode)
{
    assert_int_equal(fegetround(), mode);
#ifndef JOBSWITCH_VALGRIND // which has ways of its own
    assert_int_equal(rounding_in_force(), mode);
#if __LDBL_MANT_DIG__ != 106 // a sum of two doubles knows no ways to round
    volatile long double one = 1, three = 3;
    volatile long double quotient = one / three;
    constexpr long double nearest = 1.0L / 3;
    assert_int_equal(quotient > nearest, mode == FE_UPWARD && quotient != nearest);
#endif
#endif
}

// What a job does: pauses in its own mode, `pauses` times, and is in it each time.
struct order {
    int begins_in, own, pauses;
};
static bool job_went_wrong;
static int rounds(void *args)
{
    order o = *static_cast<order *>(args);
    job_went_wrong |= fegetround() != o.begins_in;
    fesetround(o.own);
    for (int i = 0; i < o.pauses; i++) {
        int answer = jobswitch_pause_job();
        job_went_wrong |= fegetround() != o.own;
        if (!answer)
            return -1;
    }
    return o.own;
}
static int resume(jobswitch_job *&job, int &ret, order o = {})
{
    return jobswitch_start_job(&job, &ret, rounds, &o, sizeof o);
}

static void test_own_and_starters(void **)
{
    open_pool(true);
    job_went_wrong = false;
    jobswitch_job *first = nullptr, *second = nullptr;
    int ret = -1;
    fesetround(FE_UPWARD);
    assert_int_equal(resume(first, ret, {FE_UPWARD, FE_DOWNWARD, 2}), JOBSWITCH_PAUSE);
    assert_rounding(FE_UPWARD);
    assert_int_equal(resume(second, ret, {FE_UPWARD, FE_TOWARDZERO, 1}), JOBSWITCH_PAUSE);
    assert_rounding(FE_UPWARD);
    fesetround(FE_TONEAREST); // which is the starter's from here on
    assert_int_equal(resume(first, ret), JOBSWITCH_PAUSE);
    assert_rounding(FE_TONEAREST);
    assert_int_equal(resume(second, ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, FE_TOWARDZERO);
    assert_rounding(FE_TONEAREST);
    assert_int_equal(resume(first, ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, FE_DOWNWARD);
    assert_rounding(FE_TONEAREST);
    // A job that has ended is no job's beginning.
    assert_int_equal(resume(first, ret, {FE_TONEAREST, FE_UPWARD, 0}), JOBSWITCH_FINISH);
    assert_rounding(FE_TONEAREST);
    assert_false(job_went_wrong);
}

static void test_not_asked_for(void **)
{
    if (by_ucontext)
        skip_because("the C library keeps them apart in any case");
    open_pool(false);
    job_went_wrong = false;
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(resume(job, ret, {FE_TONEAREST, FE_UPWARD, 1}), JOBSWITCH_PAUSE);
    assert_rounding(FE_UPWARD); // the thread's, as the job left it
    fesetround(FE_DOWNWARD);
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_true(job_went_wrong); // it found the thread's, too
    assert_rounding(FE_DOWNWARD);
}

static int starts_inner(void *)
{
    jobswitch_job *job = nullptr;
    int ret = -1;
    fesetround(FE_UPWARD);
    for (;;) {
        int answer = resume(job, ret, {FE_UPWARD, FE_DOWNWARD, 2});
        job_went_wrong |= fegetround() != FE_UPWARD;
        if (answer != JOBSWITCH_PAUSE)
            return ret;
        jobswitch_pause_job();
        job_went_wrong |= fegetround() != FE_UPWARD;
    }
}

static void test_nested(void **)
{
    open_pool(true);
    job_went_wrong = false;
    jobswitch_job *job = nullptr;
    int ret = -1, pauses = 0;
    while (jobswitch_start_job(&job, &ret, starts_inner, nullptr, 0) == JOBSWITCH_PAUSE) {
        assert_rounding(FE_TONEAREST);
        pauses++;
    }
    assert_rounding(FE_TONEAREST);
    assert_int_equal(pauses, 2);
    assert_int_equal(ret, FE_DOWNWARD);
    assert_false(job_went_wrong);
}

static void test_cancelled_and_woken(void **)
{
    open_pool(true);
    job_went_wrong = false;
    jobswitch_job *job = nullptr, *woken = nullptr;
    int ret = 0;
    assert_int_equal(resume(job, ret, {FE_TONEAREST, FE_UPWARD, 1}), JOBSWITCH_PAUSE);
    assert_int_equal(resume(woken, ret, {FE_TONEAREST, FE_DOWNWARD, 1}), JOBSWITCH_PAUSE);
    fesetround(FE_TOWARDZERO);
    assert_int_equal(jobswitch_cancel_job(&job, &ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, -1);
    assert_rounding(FE_TOWARDZERO);
    jobswitch_wake(woken);
    jobswitch_outcome outcome = {};
    assert_int_equal(jobswitch_resume_ready(&outcome, 1), 1);
    assert_int_equal(outcome.answer, JOBSWITCH_FINISH);
    assert_int_equal(outcome.ret, FE_DOWNWARD);
    assert_rounding(FE_TOWARDZERO);
    assert_false(job_went_wrong);
}

static int traps(void *)
{
    feenableexcept(FE_OVERFLOW);
    jobswitch_pause_job();
    return fegetexcept();
}

static void test_traps(void **)
{
    if (valgrind)
        skip_because("Valgrind has no traps");
    if (feenableexcept(FE_DIVBYZERO) < 0)
        skip_because("nothing traps on this CPU");
    fedisableexcept(FE_ALL_EXCEPT);
    open_pool(true);
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, traps, nullptr, 0), JOBSWITCH_PAUSE);
    assert_int_equal(fegetexcept(), 0);
    feenableexcept(FE_DIVBYZERO);
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, FE_OVERFLOW);
    assert_int_equal(fegetexcept(), FE_DIVBYZERO);
}

// ---- flags of exceptions ---------------------------------------------------------------

// Arithmetic of two kinds: on x86, SSE has the one and the x87 the other.
enum class kind { plain, extended };
#if __LDBL_MANT_DIG__ == 106 // sums and products of doubles, which raise flags of their own
static constexpr kind kinds[] = {kind::plain};
#else
static constexpr kind kinds[] = {kind::extended, kind::plain};
#endif
static constexpr int exceptions[] = {
    FE_DIVBYZERO, FE_INEXACT, FE_INVALID, FE_OVERFLOW, FE_UNDERFLOW,
};

template <class T> DOUBLE_BY_SSE static void raise_as(int exception)
{
    using limits = std::numeric_limits<T>;
    volatile T one = 1, three = 3, zero = 0, most = limits::max(), least = limits::min();
    volatile T result = 0;
    switch (exception) {
    case FE_DIVBYZERO: result = one / zero; break;
    case FE_INEXACT: result = one / three; break;
    case FE_INVALID: result = zero / zero; break;
    case FE_OVERFLOW: result = most * most; break;
    case FE_UNDERFLOW: result = least * least; break;
    }
    (void)result;
}
static void raise_flag(kind how, int exception)
{
    if (how == kind::plain)
        raise_as<double>(exception);
    else
        raise_as<long double>(exception);
}

// Raises nothing. If a flag that is set is to trap late, it traps here.
DOUBLE_BY_SSE static void compute()
{
    volatile double one = 1, two = one + one;
    volatile long double three = 3, six = three + three;
    (void)two, (void)six;
}

static int flags() { return fetestexcept(FE_ALL_EXCEPT); }

static bool no_flags_here()
{
    if (valgrind) // has none
        return true;
    feclearexcept(FE_ALL_EXCEPT);
    raise_flag(kind::plain, FE_DIVBYZERO);
    bool none = flags() != FE_DIVBYZERO;
    feclearexcept(FE_ALL_EXCEPT);
    return none;
}

// Whether exceptions can trap on this CPU.
static bool can_trap()
{
    bool can = feenableexcept(FE_DIVBYZERO) >= 0;
    fedisableexcept(FE_ALL_EXCEPT);
    return can;
}

// What a job raises with all exceptions masked, and what it lets trap then; then it
// pauses twice. Answers whether all it saw was its own.
struct raising {
    kind how;
    int raises, unmasks; // 0: nothing
};
static int raises(void *args)
{
    raising r = *static_cast<raising *>(args);
    fedisableexcept(FE_ALL_EXCEPT);
    feclearexcept(FE_ALL_EXCEPT);
    raise_flag(r.how, r.raises);
    int own = flags();
    bool right = (own & r.raises) == r.raises;
    if (r.unmasks)
        feenableexcept(r.unmasks);
    for (int i = 0; i < 2; i++) {
        jobswitch_pause_job();
        compute();
        right &= flags() == own;
    }
    return right;
}
static int run(jobswitch_job *&job, int &ret, raising r = {})
{
    return jobswitch_start_job(&job, &ret, raises, &r, sizeof r);
}

static void test_flags_are_own(void **)
{
    if (no_flags_here())
        skip_because("here are no flags");
    open_pool(true);
    for (kind how : kinds)
        for (int first : exceptions)
            for (int second : exceptions) {
                jobswitch_job *one = nullptr, *other = nullptr;
                int ret = -1;
                feclearexcept(FE_ALL_EXCEPT);
                assert_int_equal(run(one, ret, {how, first, 0}), JOBSWITCH_PAUSE);
                assert_int_equal(flags(), 0);
                assert_int_equal(run(other, ret, {how, second, 0}), JOBSWITCH_PAUSE);
                assert_int_equal(flags(), 0);
                raise_flag(how, second);
                const int own = flags();
                assert_int_equal(own & second, second);
                for (int expected : {JOBSWITCH_PAUSE, JOBSWITCH_FINISH})
                    for (jobswitch_job **job : {&one, &other}) {
                        assert_int_equal(run(*job, ret), expected);
                        compute();
                        assert_int_equal(flags(), own);
                        if (expected == JOBSWITCH_FINISH)
                            assert_int_equal(ret, 1);
                    }
            }
}

static int tells_flags(void *)
{
    int begins_with = flags();
    feclearexcept(FE_ALL_EXCEPT);
    return begins_with;
}

// As a thread begins with those of the thread that creates it (C11, 7.6).
static void test_flags_at_the_beginning(void **)
{
    if (no_flags_here())
        skip_because("here are no flags");
    open_pool(true);
    for (kind how : kinds)
        for (int exception : exceptions) {
            jobswitch_job *job = nullptr;
            int ret = -1;
            feclearexcept(FE_ALL_EXCEPT);
            raise_flag(how, exception);
            const int own = flags();
            assert_int_equal(jobswitch_start_job(&job, &ret, tells_flags, nullptr, 0),
                             JOBSWITCH_FINISH);
            assert_int_equal(ret, own);
            assert_int_equal(flags(), own);
        }
}

// A job in a job, each with flags of its own.
static int raises_and_starts(void *args)
{
    raising r = *static_cast<raising *>(args);
    feclearexcept(FE_ALL_EXCEPT);
    raise_flag(r.how, FE_DIVBYZERO);
    jobswitch_job *inner = nullptr;
    int ret = -1, all_right = 1;
    for (;;) {
        int answer = run(inner, ret, {r.how, FE_INVALID, 0});
        all_right &= flags() == FE_DIVBYZERO;
        if (answer != JOBSWITCH_PAUSE)
            return all_right && ret == 1;
        jobswitch_pause_job();
        all_right &= flags() == FE_DIVBYZERO;
    }
}
static void test_flags_nested(void **)
{
    if (no_flags_here())
        skip_because("here are no flags");
    open_pool(true);
    for (kind how : kinds) {
        raising r = {how, 0, 0};
        jobswitch_job *job = nullptr;
        int ret = -1, pauses = 0;
        feclearexcept(FE_ALL_EXCEPT);
        while (jobswitch_start_job(&job, &ret, raises_and_starts, &r, sizeof r) ==
               JOBSWITCH_PAUSE) {
            assert_int_equal(flags(), 0);
            pauses++;
        }
        assert_int_equal(pauses, 2);
        assert_int_equal(ret, 1);
        assert_int_equal(flags(), 0);
    }
}

// What a job has raised does not trap in whoever runs next and lets that trap.
static void test_flags_of_a_job_trap_nowhere(void **)
{
    if (no_flags_here() || !can_trap())
        skip_because("nothing traps here");
    open_pool(true);
    for (kind how : kinds)
        for (int exception : exceptions) {
            jobswitch_job *job = nullptr, *other = nullptr;
            int ret = -1;
            feclearexcept(FE_ALL_EXCEPT);
            feenableexcept(exception);
            assert_int_equal(run(job, ret, {how, exception, 0}), JOBSWITCH_PAUSE);
            compute();
            assert_int_equal(run(other, ret, {how, 0, exception}), JOBSWITCH_PAUSE);
            compute();
            for (int expected : {JOBSWITCH_PAUSE, JOBSWITCH_FINISH}) {
                assert_int_equal(run(job, ret), expected);
                compute();
                assert_int_equal(run(other, ret), expected);
                compute();
            }
            assert_int_equal(ret, 1);
            assert_int_equal(flags(), 0);
            assert_int_equal(fegetexcept(), exception);
            fedisableexcept(FE_ALL_EXCEPT);
        }
}

// Nor what its starter has raised in a job.
static void test_flags_of_a_starter_trap_nowhere(void **)
{
    if (no_flags_here() || !can_trap())
        skip_because("nothing traps here");
    open_pool(true);
    for (kind how : kinds)
        for (int exception : exceptions) {
            jobswitch_job *job = nullptr;
            int ret = -1;
            feclearexcept(FE_ALL_EXCEPT);
            assert_int_equal(run(job, ret, {how, 0, exception}), JOBSWITCH_PAUSE);
            raise_flag(how, exception);
            const int own = flags();
            assert_int_equal(own & exception, exception);
            for (int expected : {JOBSWITCH_PAUSE, JOBSWITCH_FINISH}) {
                assert_int_equal(run(job, ret), expected);
                compute();
                assert_int_equal(flags(), own);
                assert_int_equal(fegetexcept(), 0);
            }
            assert_int_equal(ret, 1);
        }
}

#if (defined __x86_64__ || defined __i386__) && !defined JOBSWITCH_VALGRIND
static sigjmp_buf trapped;
static int traps_seen;
static void on_trap(int)
{
    traps_seen++;
    siglongjmp(trapped, 1);
}

// Leaves an x87 exception waiting: the next instruction of the x87 traps.
static int waits_to_trap(void *)
{
    fedisableexcept(FE_ALL_EXCEPT);
    raise_flag(kind::extended, FE_DIVBYZERO);
    uint16_t control;
    asm volatile("fnstcw %0" : "=m"(control));
    control = uint16_t(control & ~FE_DIVBYZERO);
    asm volatile("fldcw %0" : : "m"(control));
    jobswitch_pause_job();
    if (sigsetjmp(trapped, 1))
        return 1;
    compute();
    return 0;
}
#endif

// It traps in the job that has left it, and there alone.
static void test_waiting_exception(void **)
{
#if (defined __x86_64__ || defined __i386__) && !defined JOBSWITCH_VALGRIND
    if (emulated)
        skip_because("the emulator has no such traps");
    struct sigaction action = {}, before;
    action.sa_handler = on_trap;
    open_pool(true);
    // The starter has other flags, none, and the same.
    for (int own : {FE_INEXACT, 0, FE_DIVBYZERO}) {
        traps_seen = 0;
        feclearexcept(FE_ALL_EXCEPT);
        raise_flag(kind::extended, own);
        jobswitch_job *job = nullptr;
        int ret = -1;
        assert_int_equal(jobswitch_start_job(&job, &ret, waits_to_trap, nullptr, 0),
                         JOBSWITCH_PAUSE);
        compute();
        assert_int_equal(flags(), own);
        sigaction(SIGFPE, &action, &before);
        int answer = jobswitch_start_job(&job, &ret, nullptr, nullptr, 0);
        sigaction(SIGFPE, &before, nullptr);
        compute();
        assert_int_equal(answer, JOBSWITCH_FINISH);
        assert_int_equal(ret, 1);
        assert_int_equal(traps_seen, 1);
        assert_int_equal(flags(), own);
    }
#else
    skip_because("exceptions of the x87");
#endif
}

// Where it was not asked for, they are the thread's.
static int divides(void *)
{
    raise_flag(kind::plain, FE_DIVBYZERO);
    jobswitch_pause_job();
    return (flags() & (FE_DIVBYZERO | FE_INEXACT)) == (FE_DIVBYZERO | FE_INEXACT);
}
static void test_flags_not_asked_for(void **)
{
    if (by_ucontext)
        skip_because("the C library keeps them apart in any case");
    if (no_flags_here())
        skip_because("here are no flags");
    open_pool(false);
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, divides, nullptr, 0), JOBSWITCH_PAUSE);
    assert_int_equal(flags(), FE_DIVBYZERO);
    raise_flag(kind::plain, FE_INEXACT);
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);
}

// ---- jobs of both kinds ----------------------------------------------------------------

// Who is there stays as it was made, and takes no part in the new pool afterwards.
static void test_asked_for_later(void **)
{
    if (by_ucontext)
        skip_because("the C library keeps them apart in any case");
    for (bool keeps : {true, false}) {
        fesetround(FE_TONEAREST);
        open_pool(!keeps);
        job_went_wrong = false;
        jobswitch_job *old = nullptr, *fresh = nullptr, *warm = nullptr;
        int ret = -1;
        assert_int_equal(resume(old, ret, {FE_TONEAREST, FE_UPWARD, 2}), JOBSWITCH_PAUSE);
        assert_int_equal(fegetround(), keeps ? FE_UPWARD : FE_TONEAREST);
        fesetround(FE_TONEAREST);
        // And one that is idle.
        assert_int_equal(resume(warm, ret, {FE_TONEAREST, FE_TONEAREST, 0}), JOBSWITCH_FINISH);
        open_pool(keeps);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(resume(fresh, ret, {FE_TONEAREST, FE_DOWNWARD, 1}),
                             JOBSWITCH_PAUSE);
            assert_int_equal(fegetround(), keeps ? FE_TONEAREST : FE_DOWNWARD);
            fesetround(FE_TOWARDZERO);
            assert_int_equal(resume(fresh, ret), JOBSWITCH_FINISH);
            assert_int_equal(fegetround(), FE_TOWARDZERO);
            fesetround(FE_TONEAREST);
            // The old one, its last time in the second round.
            int answer = resume(old, ret);
            assert_int_equal(answer, i ? JOBSWITCH_FINISH : JOBSWITCH_PAUSE);
            assert_int_equal(fegetround(), FE_TONEAREST);
        }
        assert_int_equal(job_went_wrong, true); // those that found the thread's
        jobswitch_cleanup_thread();
    }
}

// ---- data-independent timing ---------------------------------------------------------

#ifdef __aarch64__
#include "dit.h"

static uint64_t dit()
{
    uint64_t value;
    asm volatile("mrs %0, S3_3_C4_C2_5" : "=r"(value));
    return value;
}
static void set_dit(uint64_t value) { asm volatile("msr S3_3_C4_C2_5, %0" : : "r"(value)); }

static int keeps_dit(void *args)
{
    const uint64_t begins = *static_cast<uint64_t *>(args), other = begins ^ 1 << 24;
    bool kept = dit() == begins;
    set_dit(other);
    for (int i = 0; i < 2; i++) {
        jobswitch_pause_job();
        kept &= dit() == other;
    }
    return kept;
}
#endif

// Always a job's own.
static void test_dit(void **)
{
#ifdef __aarch64__
    if (!dit_is_there())
        skip_because("this CPU has no such mode");
    for (uint64_t mine : {uint64_t(0), uint64_t(1) << 24}) {
        set_dit(mine);
        jobswitch_job *job = nullptr;
        int ret = 0;
        for (int expected : {JOBSWITCH_PAUSE, JOBSWITCH_PAUSE, JOBSWITCH_FINISH}) {
            assert_int_equal(jobswitch_start_job(&job, &ret, keeps_dit, &mine, sizeof mine),
                             expected);
            assert_int_equal(dit(), mine);
        }
        assert_int_equal(ret, 1);
        set_dit(0);
    }
#else
    skip_because("a mode of aarch64");
#endif
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_own_and_starters, teardown),
        cmocka_unit_test_teardown(test_not_asked_for, teardown),
        cmocka_unit_test_teardown(test_nested, teardown),
        cmocka_unit_test_teardown(test_cancelled_and_woken, teardown),
        cmocka_unit_test_teardown(test_traps, teardown),
        cmocka_unit_test_teardown(test_flags_are_own, teardown),
        cmocka_unit_test_teardown(test_flags_at_the_beginning, teardown),
        cmocka_unit_test_teardown(test_flags_nested, teardown),
        cmocka_unit_test_teardown(test_flags_of_a_job_trap_nowhere, teardown),
        cmocka_unit_test_teardown(test_flags_of_a_starter_trap_nowhere, teardown),
        cmocka_unit_test_teardown(test_waiting_exception, teardown),
        cmocka_unit_test_teardown(test_flags_not_asked_for, teardown),
        cmocka_unit_test_teardown(test_asked_for_later, teardown),
        cmocka_unit_test_teardown(test_dit, teardown),
    };
    return cmocka_run_group_tests_name("fp", tests, nullptr, nullptr) ? 1 : 0;
}
