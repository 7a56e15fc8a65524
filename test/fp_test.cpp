// SPDX-License-Identifier: Apache-2.0
//
// JOBSWITCH_FP_ENVIRONMENT: whose ways to round and whose traps are in force, and that
// nothing of it is touched where it was not asked for. And the one mode beside that is
// always a job's own.
#include <cfenv>

#include "jobswitch/jobswitch.h"
#include "support.h"

// On i386, double arithmetic is the x87's, too, if it is not told.
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

static int divides(void *)
{
    volatile double one = 1, nothing = 0;
    volatile double quotient = one / nothing;
    (void)quotient;
    jobswitch_pause_job();
    return fetestexcept(FE_DIVBYZERO | FE_INEXACT) == (FE_DIVBYZERO | FE_INEXACT);
}

// What has happened is no control, and the thread's.
static void test_flags_stay(void **)
{
    if (by_ucontext)
        skip_because("the C library keeps them apart in any case");
    open_pool(true);
    feclearexcept(FE_ALL_EXCEPT);
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, divides, nullptr, 0), JOBSWITCH_PAUSE);
#ifndef JOBSWITCH_VALGRIND // which has no such flags
    assert_int_equal(fetestexcept(FE_ALL_EXCEPT), FE_DIVBYZERO);
    volatile double one = 1, three = 3;
    volatile double quotient = one / three;
    (void)quotient;
#endif
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0), JOBSWITCH_FINISH);
#ifndef JOBSWITCH_VALGRIND
    assert_int_equal(ret, 1);
#endif
}

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
        cmocka_unit_test_teardown(test_flags_stay, teardown),
        cmocka_unit_test_teardown(test_asked_for_later, teardown),
        cmocka_unit_test_teardown(test_dit, teardown),
    };
    return cmocka_run_group_tests_name("fp", tests, nullptr, nullptr) ? 1 : 0;
}
