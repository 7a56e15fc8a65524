// SPDX-License-Identifier: Apache-2.0
//
// C++ exceptions and walks of the stack where jobs are, on every CPU: an exception
// thrown and caught inside a job, across pauses and beside other jobs; one that leaves
// a job; a walk from a job into its starter, and one that ends at a job without a
// starter. (What holds at each single instruction is unwind_test's.)
#include "jobswitch/jobswitch.h"

#if defined(JOBSWITCH_WITH_ASAN) || defined(JOBSWITCH_WITH_TSAN)

#include <stdio.h>

int main()
{
    puts("not with a sanitizer, which has stacks of its own");
    return 77;
}

#else

#include <exception>
#include <stdexcept>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include "context.h"
#include "support.h"

// ---- walks ------------------------------------------------------------------------

#define HERE(function) begin_of(&function)

struct walk {
    struct {
        uintptr_t ip, function;
    } frames[64];
    int count;
};

static _Unwind_Reason_Code walk_step(_Unwind_Context *context, void *to)
{
    walk &w = *static_cast<walk *>(to);
    if (w.count == 64)
        return _URC_FOREIGN_EXCEPTION_CAUGHT; // anything that stops the walk
    auto &f = w.frames[w.count++];
    f.ip = _Unwind_GetIP(context);
    f.function = f.ip ? _Unwind_GetRegionStart(context) : 0;
    return _URC_NO_REASON;
}

// Does a walk from here end, and does it meet these functions, in this order?
template <size_t N> static bool walk_meets(const uintptr_t (&functions)[N])
{
    walk w;
    w.count = 0;
    if (_Unwind_Backtrace(walk_step, &w) != walk_end)
        return false;
    size_t met = 0;
    for (int i = 0; i < w.count && met < N; i++)
        met += w.frames[i].function == functions[met];
    return met == N;
}

// ---- exceptions ---------------------------------------------------------------------------

static std::string caught[4];

[[gnu::noinline]] static void throw_after_pause(const char *text)
{
    std::string local = text; // has a destructor to run
    jobswitch_pause_job();
    throw std::runtime_error(local + ", thrown");
}

static int catches(void *arg)
{
    int number = *static_cast<int *>(arg);
    try {
        jobswitch_pause_job();
        throw_after_pause(number ? "second" : "first");
    } catch (const std::runtime_error &e) {
        caught[number] = e.what();
    }
    try {
        jobswitch_pause_job();
        throw number;
    } catch (int value) {
        caught[number] += value == number ? ", again" : ", wrong";
    }
    return 30 + number;
}

// Two jobs in turn, both inside try blocks.
static void test_exceptions_inside(void **)
{
    jobswitch_job *jobs[2] = {};
    int rets[2] = {}, left = 2, rounds = 0;
    while (left && rounds++ < 10)
        for (int i = 0; i < 2; i++)
            if (jobs[i] || rounds == 1)
                left -= jobswitch_start_job(&jobs[i], &rets[i], catches, &i, sizeof i) ==
                        JOBSWITCH_FINISH;
    assert_int_equal(left, 0);
    assert_int_equal(rounds, 4);
    assert_int_equal(rets[0], 30);
    assert_int_equal(rets[1], 31);
    assert_string_equal(caught[0].c_str(), "first, thrown, again");
    assert_string_equal(caught[1].c_str(), "second, thrown, again");
    jobswitch_cleanup_thread();
}

// Through an inner job's frames none may go, but inside one it may be caught.
static int nested_catch(void *)
{
    jobswitch_job *job = nullptr;
    int ret = 0, number = 2;
    try {
        while (jobswitch_start_job(&job, &ret, catches, &number, sizeof number) ==
               JOBSWITCH_PAUSE)
            jobswitch_pause_job();
        throw ret;
    } catch (int value) {
        return value + 1;
    }
}
static void test_exceptions_nested(void **)
{
    jobswitch_job *job = nullptr;
    int ret = 0, rounds = 0;
    while (jobswitch_start_job(&job, &ret, nested_catch, nullptr, 0) == JOBSWITCH_PAUSE)
        rounds++;
    assert_int_equal(rounds, 3);
    assert_int_equal(ret, 33);
    jobswitch_cleanup_thread();
}

// One that leaves a job ends the program, with the job's frames in place.
static volatile bool throwing = true;
[[gnu::noinline]] static int throws()
{
    if (throwing)
        throw 1; // (the compiler moves this part to another place)
    return 0;
}
extern "C" [[gnu::noinline]] int throwing_job(void *arg)
{
    if (arg)
        jobswitch_pause_job();
    return throws() + 1;
}

extern "C" [[gnu::noinline]] void starts_throwing_job(bool paused)
{
    jobswitch_job *job = nullptr;
    int ret;
    int arg = 0;
    try {
        (void)jobswitch_start_job(&job, &ret, throwing_job, paused ? &arg : nullptr,
                                  sizeof arg);
        (void)jobswitch_start_job(&job, &ret, throwing_job, nullptr, 0);
    } catch (...) {
        _exit(8); // it is not to get here
    }
    _exit(3);
}

extern "C" int all_tests();

[[noreturn]] static void terminated()
{
    if (!unwinds_by_rows)
        _exit(42); // by EHABI no walk gets out of std::terminate
    if (by_ucontext)
        _exit(walk_meets({HERE(throwing_job)}) ? 42 : 4);
    _exit(walk_meets({HERE(throwing_job), HERE(starts_throwing_job), HERE(all_tests)}) ? 42 : 4);
}

static int inner_thrower(void *)
{
    starts_throwing_job(false);
    return 0;
}

static void leaves_job(bool warm, bool paused, bool nested)
{
    pid_t child = fork();
    if (child == 0) {
        std::set_terminate(terminated);
        if (warm) {
            jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
            options.initial_jobs = 2;
            options.flags = JOBSWITCH_PREFAULT;
            if (!jobswitch_init_thread_with(&options))
                _exit(9);
        }
        if (nested) {
            jobswitch_job *job = nullptr;
            int ret;
            (void)jobswitch_start_job(&job, &ret, inner_thrower, nullptr, 0);
        }
        starts_throwing_job(paused);
        _exit(3);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
        fail_msg("warm %d, paused %d, nested %d: status 0x%x", warm, paused, nested,
                 unsigned(status));
}

static void test_exception_leaves_job(void **)
{
    for (int i = 0; i < 8; i++)
        leaves_job(i & 1, i & 2, i & 4);
}

// ---- walks in jobs ----------------------------------------------------------------

static int walks_right;

extern "C" [[gnu::noinline]] int inner_walker(void *);
extern "C" [[gnu::noinline]] int outer_walker(void *);
extern "C" [[gnu::noinline]] void starts_walkers();

int inner_walker(void *)
{
    walks_right += walk_meets({HERE(inner_walker), HERE(outer_walker), HERE(starts_walkers),
                               HERE(all_tests)});
    jobswitch_pause_job();
    walks_right += walk_meets({HERE(inner_walker), HERE(outer_walker), HERE(starts_walkers),
                               HERE(all_tests)});
    return 0;
}

int outer_walker(void *)
{
    walks_right += walk_meets({HERE(outer_walker), HERE(starts_walkers), HERE(all_tests)});
    jobswitch_pause_job();
    walks_right += walk_meets({HERE(outer_walker), HERE(starts_walkers), HERE(all_tests)});
    jobswitch_job *job = nullptr;
    int ret = 1;
    while (jobswitch_start_job(&job, &ret, inner_walker, nullptr, 0) == JOBSWITCH_PAUSE)
        ;
    return ret;
}

void starts_walkers()
{
    jobswitch_job *job = nullptr;
    int ret = 1;
    while (jobswitch_start_job(&job, &ret, outer_walker, nullptr, 0) == JOBSWITCH_PAUSE)
        ;
    walks_right += ret == 0;
}

static void test_walks_run_on(void **)
{
    if (by_ucontext)
        skip_because("the C library's walks end at the bottom of a job");
    walks_right = 0;
    starts_walkers();
    assert_int_equal(walks_right, 5);
    jobswitch_cleanup_thread();
}

// A context that is nobody's child: the walk ends at its start routine, cleanly.
static context own_context, bare_context;

static void test_walks_end(void **);

extern "C" [[gnu::noinline]] int bare(void *arg)
{
    walk w;
    w.count = 0;
    // (Rows give a last frame at 0; a routine says itself that the stack ends.)
    bool ends = _Unwind_Backtrace(walk_step, &w) == _URC_END_OF_STACK &&
                w.count == (unwinds_by_rows ? 3 : 2) &&
                (!unwinds_by_rows || w.frames[w.count - 1].ip == 0);
    walks_right += ends + *static_cast<int *>(arg);
    context_switch(&bare_context, &own_context, {1, 2});
    // and that of somebody's
    own_context.child = &bare_context;
    bare_context.link = &own_context;
    walks_right += walk_meets({HERE(bare), HERE(test_walks_end), HERE(all_tests)});
    context_jump(&own_context, {3, 4});
}

static void test_walks_end(void **)
{
    if (by_ucontext)
        skip_because("the C library's walks are not ours");
    alignas(64) static unsigned char stack[65536];
    int arg = 10;
    walks_right = 0;
    context_make(&bare_context, stack + sizeof stack, bare, &arg);
    transfer got = context_switch(&own_context, &bare_context, {});
    assert_int_equal(got.answer, 1);
    assert_int_equal(got.payload, 2);
    assert_int_equal(walks_right, 11);
    got = context_switch(&own_context, &bare_context, {});
    assert_int_equal(got.answer, 3);
    assert_int_equal(got.payload, 4);
    assert_int_equal(walks_right, 12);
}

// ---- the list ---------------------------------------------------------------------------------

int all_tests()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_exceptions_inside),
        cmocka_unit_test(test_exceptions_nested),
        cmocka_unit_test(test_exception_leaves_job),
        cmocka_unit_test(test_walks_run_on),
        cmocka_unit_test(test_walks_end),
    };
    return cmocka_run_group_tests_name("exception", tests, nullptr, nullptr);
}

int main() { return all_tests() ? 1 : 0; }

#endif
