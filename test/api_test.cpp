// SPDX-License-Identifier: Apache-2.0
//
// The C API from outside: what each call answers to good and bad input, every
// reason that can be brought about, and that a call which fails changes
// nothing. Nothing is asserted on a job's stack (cmocka leaves a failed
// assertion by longjmp): jobs record, tests compare. What must crash does so in
// a child.
#include <algorithm>
#include <cerrno>
#include <cfenv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <exception>
#include <execinfo.h>
#include <map>
#include <poll.h>
#include <pthread.h>
#include <set>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include "handle.h"
#include "jobswitch/jobswitch.h"
#include "pool.h"
#include "support.h"

#ifdef JOBSWITCH_VALGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

// ---- helpers -------------------------------------------------------------------

// A job that runs a lambda of the test's, which stays where it is.
template <class F> static int start(jobswitch_job *&job, int &ret, F &body)
{
    F *at = &body;
    return jobswitch_start_job(
        &job, &ret, [](void *args) -> int { return (**static_cast<F **>(args))(); },
        &at, sizeof at);
}

static int resume(jobswitch_job *&job, int &ret)
{
    return jobswitch_start_job(&job, &ret, nullptr, nullptr, 0);
}

static int job_return_int(void *args)
{
    return args ? *static_cast<int *>(args) : 0;
}

static int job_pause_times(void *args)
{
    int times = args ? *static_cast<int *>(args) : 1;
    for (int i = 0; i < times; i++)
        if (!jobswitch_pause_job())
            return -1;
    return times;
}

// One that has paused, to be resumed to its end.
static jobswitch_job *start_paused()
{
    jobswitch_job *job = nullptr;
    int ret = 0;
    assert_int_equal(jobswitch_start_job(&job, &ret, job_pause_times, nullptr, 0),
                     JOBSWITCH_PAUSE);
    assert_non_null(job);
    return job;
}

static void finish(jobswitch_job *job)
{
    int ret = 0;
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_null(job);
}

static jobswitch_stats stats_now()
{
    jobswitch_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.size = sizeof stats;
    jobswitch_get_stats(&stats);
    return stats;
}

static void reason_reset() { pool_thread_state.last_error = JOBSWITCH_E_NONE; }

// The call answers and tells the reason, and no number of the pool changes.
// Called inside a job, too: tells by a string, or "" if all is well.
template <class F> static std::string try_failure(long answer, int reason, F call)
{
    jobswitch_stats before = stats_now();
    reason_reset();
    long got = call();
    int told = jobswitch_last_error();
    jobswitch_stats after = stats_now();
    char text[160] = "";
    if (got != answer || told != reason)
        snprintf(text, sizeof text, "answered %ld with reason %d, not %ld with %d",
                 got, told, answer, reason);
    else if (memcmp(&before, &after, sizeof before) != 0)
        snprintf(text, sizeof text,
                 "changed stats: idle %zu to %zu, mapped %zu to %zu, started %zu to %zu",
                 before.jobs_idle, after.jobs_idle, before.stacks_mapped,
                 after.stacks_mapped, size_t(before.jobs_started),
                 size_t(after.jobs_started));
    return text;
}

#define ASSERT_FAILS(answer, reason, ...)                                      \
    do {                                                                       \
        std::string said = try_failure(answer, reason,                         \
                                       [&]() -> long { return __VA_ARGS__; }); \
        if (!said.empty())                                                     \
            fail_msg("%s: %s", #__VA_ARGS__, said.c_str());                    \
    } while (0)

// A start or resume that fails leaves *job and *ret.
static std::string try_start_failure(int answer, int reason, jobswitch_job *job,
                                     int (*func)(void *), void *args, size_t size)
{
    jobswitch_job *handle = job;
    int ret = 4711;
    std::string said = try_failure(answer, reason, [&] {
        return long(jobswitch_start_job(&handle, &ret, func, args, size));
    });
    if (said.empty() && handle != job)
        said = "*job changed";
    if (said.empty() && ret != 4711)
        said = "*ret changed";
    return said;
}

#define ASSERT_START_FAILS(answer, reason, ...)                                \
    do {                                                                       \
        std::string said = try_start_failure(answer, reason, __VA_ARGS__);     \
        if (!said.empty())                                                     \
            fail_msg("start(%s): %s", #__VA_ARGS__, said.c_str());             \
    } while (0)

static void assert_resume_fails(jobswitch_job *job, int reason)
{
    std::string said = try_start_failure(JOBSWITCH_ERR, reason, job,
                                         job_return_int, nullptr, 0);
    if (!said.empty())
        fail_msg("resume of %p: %s", static_cast<void *>(job), said.c_str());
}

static jobswitch_job *handle_of(uintptr_t value)
{
    return reinterpret_cast<jobswitch_job *>(value);
}
static uintptr_t value_of(jobswitch_job *job)
{
    return reinterpret_cast<uintptr_t>(job);
}

static int init_with(void (*change)(jobswitch_options &))
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    change(options);
    return jobswitch_init_thread_with(&options);
}

static bool in_child;

static int pool_fresh(void **)
{
    if (in_child)
        _exit(1); // an assertion has failed there: it has no other tests to run
    jobswitch_cleanup_thread();
    reason_reset();
    return 0;
}

// What a child writes to stderr, and how it ended.
struct outcome {
    int status;
    std::string said;
    bool aborted() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT; }
    bool exited(int code) const
    {
        return WIFEXITED(status) && WEXITSTATUS(status) == code;
    }
    bool says(const char *text) const { return said.find(text) != said.npos; }
};

template <class F> static outcome run_child(F body)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(nullptr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        for (int number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE})
            signal(number, SIG_DFL); // not cmocka's
        in_child = true;
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(60);
        body();
        _exit(0);
    }
    close(ends[1]);
    outcome result = {};
    char text[512];
    for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;)
        result.said.append(text, size_t(n));
    close(ends[0]);
    waitpid(child, &result.status, 0);
    return result;
}

static void assert_child_content(const outcome &result)
{
    if (!result.exited(0))
        fail_msg("child ended with %#x: %s", unsigned(result.status),
                 result.said.c_str());
}

// Stands before the C library's, so that a test can call a thread's destructors.
static struct known_key {
    pthread_key_t key;
    void (*destructor)(void *);
} known_keys[8];

#if !defined(JOBSWITCH_WITH_ASAN) && !defined(JOBSWITCH_WITH_TSAN) // who want keys early
extern "C" int pthread_key_create(pthread_key_t *key,
                                  void (*destructor)(void *)) noexcept
{
    static auto real = reinterpret_cast<decltype(&pthread_key_create)>(
        dlsym(RTLD_NEXT, "pthread_key_create"));
    int answer = real(key, destructor);
    for (known_key &known : known_keys)
        if (answer == 0 && destructor && !known.destructor) {
            known = {*key, destructor};
            break;
        }
    return answer;
}
#endif

// ---- reasons and versions --------------------------------------------------------

// Comes first: no key has been made in this process yet.
static void no_thread_key(void **)
{
    assert_null(pool_thread_state.pool);
    assert_child_content(run_child([] {
        pthread_key_t key;
        while (pthread_key_create(&key, nullptr) == 0) {
        }
        jobswitch_job *job = nullptr;
        int ret = 5;
        jobswitch_stats stats = {};
        stats.size = sizeof stats;
        auto told = [](int answer, int expected) {
            bool so = answer == expected &&
                      jobswitch_last_error() == JOBSWITCH_E_NO_THREAD_KEY;
            reason_reset();
            return so;
        };
        CHILD_NEEDS(told(jobswitch_init(0, 0, 0), 0));
        CHILD_NEEDS(told(jobswitch_init_thread(0, 0), 0));
        CHILD_NEEDS(told(jobswitch_get_stats(&stats), 0));
        CHILD_NEEDS(told(
            jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0), JOBSWITCH_ERR));
        CHILD_NEEDS(!job && ret == 5);
    }));
}

static void every_reason_has_its_sentence(void **)
{
    std::set<std::string> seen;
    for (int code = JOBSWITCH_E_NONE; code <= JOBSWITCH_E_UNKNOWN_KEY; code++) {
        const char *text = jobswitch_error_string(code);
        assert_non_null(text);
        assert_true(*text);
        assert_true(seen.insert(text).second);
    }
    const char *unknown = jobswitch_error_string(JOBSWITCH_E_UNKNOWN_KEY + 1);
    assert_true(unknown && *unknown);
    assert_true(seen.insert(unknown).second);
    for (int code : {-1, 1000, INT32_MAX, INT32_MIN})
        assert_string_equal(jobswitch_error_string(code), unknown);
}

static void version_is_the_headers(void **)
{
    assert_int_equal(jobswitch_version(), JOBSWITCH_VERSION);
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", JOBSWITCH_VERSION_MAJOR,
             JOBSWITCH_VERSION_MINOR, JOBSWITCH_VERSION_PATCH);
    assert_string_equal(text, JOBSWITCH_VERSION_STRING);
}

static void last_error_is_the_threads_and_kept(void **)
{
    assert_int_equal(jobswitch_init_thread_with(nullptr), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    assert_int_equal(jobswitch_init_thread(2, 1), 1);
    finish(start_paused());
    (void)stats_now();
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);

    int others[2] = {-1, -1};
    std::thread([&others] {
        others[0] = jobswitch_last_error();
        jobswitch_init_thread(1, 2);
        others[1] = jobswitch_last_error();
    }).join();
    assert_int_equal(others[0], JOBSWITCH_E_NONE);
    assert_int_equal(others[1], JOBSWITCH_E_INIT_OVER_MAX);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
}

// ---- setting up ------------------------------------------------------------------

static void *alloc_malloc(size_t bytes, void *) { return malloc(bytes); }
static void free_free(void *stack, size_t, void *) { free(stack); }

static const struct {
    const char *what;
    int reason;
    void (*change)(jobswitch_options &);
} bad_options[] = {
    {"init over max", JOBSWITCH_E_INIT_OVER_MAX,
     [](jobswitch_options &o) { o.max_jobs = 2, o.initial_jobs = 3; }},
    {"init far over max", JOBSWITCH_E_INIT_OVER_MAX,
     [](jobswitch_options &o) { o.max_jobs = 1, o.initial_jobs = SIZE_MAX; }},
    {"more jobs than handles", JOBSWITCH_E_NO_HANDLES,
     [](jobswitch_options &o) { o.initial_jobs = SIZE_MAX; }},
    {"one more job than handles", JOBSWITCH_E_NO_HANDLES,
     [](jobswitch_options &o) { o.initial_jobs = arena_blocks_most + 1; }},
    {"stack of 1", JOBSWITCH_E_STACK_TOO_SMALL,
     [](jobswitch_options &o) { o.stack_bytes = 1; }},
    {"stack of 4096", JOBSWITCH_E_STACK_TOO_SMALL,
     [](jobswitch_options &o) { o.stack_bytes = 4096; }},
    {"the caller's stack of 64", JOBSWITCH_E_STACK_TOO_SMALL,
     [](jobswitch_options &o) {
         o.stack_bytes = 64, o.stack_alloc = alloc_malloc, o.stack_free = free_free;
     }},
    {"stack beyond all", JOBSWITCH_E_SIZE,
     [](jobswitch_options &o) { o.stack_bytes = SIZE_MAX; }},
    {"stack that a page would wrap", JOBSWITCH_E_SIZE,
     [](jobswitch_options &o) { o.stack_bytes = SIZE_MAX - 4095; }},
    {"stack of half of all", JOBSWITCH_E_SIZE,
     [](jobswitch_options &o) { o.stack_bytes = SIZE_MAX / 2 + 1; }},
    {"guard beyond all", JOBSWITCH_E_SIZE,
     [](jobswitch_options &o) { o.guard_bytes = SIZE_MAX; }},
    {"guard and stack wrap", JOBSWITCH_E_SIZE,
     [](jobswitch_options &o) { o.guard_bytes = o.stack_bytes = SIZE_MAX / 2; }},
    {"a stack that there is no room for", JOBSWITCH_E_NO_MEMORY,
     [](jobswitch_options &o) { o.stack_bytes = SIZE_MAX / 4 - 65535, o.initial_jobs = 8; }},
    {"a guard that there is no room for", JOBSWITCH_E_NO_MEMORY,
     [](jobswitch_options &o) { o.guard_bytes = SIZE_MAX / 4 - 65535, o.initial_jobs = 8; }},
    {"unknown flag", JOBSWITCH_E_OPTION,
     [](jobswitch_options &o) { o.flags = 0x8; }},
    {"unknown flag beside known ones", JOBSWITCH_E_OPTION,
     [](jobswitch_options &o) {
         o.flags = JOBSWITCH_PREFAULT | JOBSWITCH_KEEP_WARM | uint64_t(1) << 63;
     }},
    {"alloc alone", JOBSWITCH_E_ALLOCATOR,
     [](jobswitch_options &o) { o.stack_alloc = alloc_malloc; }},
    {"free alone", JOBSWITCH_E_ALLOCATOR,
     [](jobswitch_options &o) { o.stack_free = free_free; }},
    {"size 0", JOBSWITCH_E_STRUCT_SIZE, [](jobswitch_options &o) { o.size = 0; }},
    {"a size that has no room for itself", JOBSWITCH_E_STRUCT_SIZE,
     [](jobswitch_options &o) { o.size = sizeof o.size - 1; }},
    {"size beyond a page", JOBSWITCH_E_STRUCT_SIZE,
     [](jobswitch_options &o) { o.size = 4097; }},
    {"size beyond all", JOBSWITCH_E_STRUCT_SIZE,
     [](jobswitch_options &o) { o.size = SIZE_MAX; }},
};

// On a thread without a pool, with one, and inside a job: nothing changes.
static void bad_options_change_nothing(void **)
{
    ASSERT_FAILS(0, JOBSWITCH_E_NULL, jobswitch_init_thread_with(nullptr));
    ASSERT_FAILS(0, JOBSWITCH_E_INIT_OVER_MAX, jobswitch_init_thread(2, 3));
    ASSERT_FAILS(0, JOBSWITCH_E_INIT_OVER_MAX, jobswitch_init(1, 2, 3));
    assert_int_equal(jobswitch_init(0, 2, 3), 1); // not looked at
    for (int round = 0; round < 3; round++) {
        if (round == 1)
            assert_int_equal(jobswitch_init_thread(4, 2), 1);
        for (const auto &row : bad_options) {
            std::string said;
            auto body = [&] {
                said = try_failure(0, row.reason,
                                   [&] { return long(init_with(row.change)); });
                return 0;
            };
            jobswitch_job *job = nullptr;
            int ret = 0;
            if (round == 2)
                assert_int_equal(start(job, ret, body), JOBSWITCH_FINISH);
            else
                body();
            if (!said.empty())
                fail_msg("%s, round %d: %s", row.what, round, said.c_str());
        }
        // Too many jobs were not even begun.
        assert_true(arena_look().bytes <= 4 << 20);
        // The limits are what they were.
        if (round == 0)
            continue;
        jobswitch_job *jobs[4];
        for (auto &job : jobs)
            job = start_paused();
        ASSERT_START_FAILS(JOBSWITCH_NO_JOBS, JOBSWITCH_E_MAX_JOBS, nullptr,
                           job_return_int, nullptr, 0);
        for (auto &job : jobs)
            finish(job);
    }
}

static void options_of_other_versions(void **)
{
    struct {
        jobswitch_options known;
        unsigned char later[64];
    } newer = {JOBSWITCH_OPTIONS_INIT, {}};
    newer.known.size = sizeof newer;
    newer.known.initial_jobs = 3;
    assert_int_equal(jobswitch_init_thread_with(&newer.known), 1);
    assert_int_equal(stats_now().jobs_idle, 3);
    for (size_t at : {size_t(0), sizeof newer.later / 2, sizeof newer.later - 1}) {
        newer.later[at] = 1;
        ASSERT_FAILS(0, JOBSWITCH_E_OPTION, jobswitch_init_thread_with(&newer.known));
        newer.later[at] = 0;
    }

    // An older header knows less: what lies behind its end is not read.
    jobswitch_cleanup_thread();
    jobswitch_options older;
    memset(&older, 0xff, sizeof older);
    older.size = offsetof(jobswitch_options, stack_bytes);
    older.max_jobs = 7;
    older.initial_jobs = 5;
    assert_int_equal(jobswitch_init_thread_with(&older), 1);
    assert_int_equal(stats_now().jobs_idle, 5);
    assert_int_equal(pool_thread_state.pool->shape.stack_bytes, 65536);
    older.size = sizeof older.size;
    assert_int_equal(jobswitch_init_thread_with(&older), 1);
    assert_int_equal(stats_now().jobs_idle, 5);
    assert_int_equal(pool_thread_state.pool->max_jobs, 0);
}

static void stats_of_other_versions(void **)
{
    assert_int_equal(jobswitch_init_thread(0, 2), 1);
    ASSERT_FAILS(0, JOBSWITCH_E_NULL, jobswitch_get_stats(nullptr));
    for (size_t size : {size_t(0), sizeof(size_t) - 1, size_t(4097), SIZE_MAX}) {
        jobswitch_stats stats;
        memset(&stats, 0xee, sizeof stats);
        stats.size = size;
        jobswitch_stats kept = stats;
        ASSERT_FAILS(0, JOBSWITCH_E_STRUCT_SIZE, jobswitch_get_stats(&stats));
        assert_memory_equal(&stats, &kept, sizeof stats);
    }
    jobswitch_stats older;
    memset(&older, 0xee, sizeof older);
    older.size = offsetof(jobswitch_stats, jobs_paused);
    assert_int_equal(jobswitch_get_stats(&older), 1);
    assert_int_equal(older.size, offsetof(jobswitch_stats, jobs_paused));
    assert_int_equal(older.jobs_idle, 2);
    for (size_t at = older.size; at < sizeof older; at++)
        assert_int_equal(reinterpret_cast<unsigned char *>(&older)[at], 0xee);
    struct {
        jobswitch_stats known;
        unsigned char later[40], behind;
    } newer;
    memset(&newer, 0xee, sizeof newer);
    newer.known.size = offsetof(decltype(newer), behind);
    assert_int_equal(jobswitch_get_stats(&newer.known), 1);
    assert_int_equal(newer.known.jobs_idle, 2);
    for (unsigned char c : newer.later)
        assert_int_equal(c, 0);
    assert_int_equal(newer.behind, 0xee);
    // A thread without a pool has numbers, too.
    jobswitch_stats others = older;
    std::thread([&others] { others = stats_now(); }).join();
    assert_int_equal(others.stacks_mapped + others.jobs_started, 0);
    assert_string_equal(others.guard_method, "none");
}

static void tools_that_are_none(void **)
{
    ASSERT_FAILS(0, JOBSWITCH_E_NULL, jobswitch_set_tool(nullptr));
    static jobswitch_tool tool;
    for (size_t size : {size_t(0), sizeof tool.size, sizeof tool - 1}) {
        tool.size = size;
        ASSERT_FAILS(0, JOBSWITCH_E_STRUCT_SIZE, jobswitch_set_tool(&tool));
    }
    assert_int_equal(jobswitch_init_thread(0, 1), 1);
    assert_true(pool_thread_state.pool->tool != &tool);
}

// What it is set by may go away, as with a plugin that is unloaded.
static int roots_added;
static void a_tool_is_copied(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool is told already");
    assert_int_equal(child([] {
        jobswitch_cleanup_thread();
        jobswitch_tool tool = {};
        tool.size = sizeof tool;
        tool.root_add = [](const void *, size_t) { roots_added++; };
        CHILD_NEEDS(jobswitch_set_tool(&tool) == 1);
        memset(&tool, 0xff, sizeof tool);
        CHILD_NEEDS(jobswitch_init_thread(0, 1) == 1 && roots_added > 0);
        return 0;
    }), 0);
}

static void no_limit_means_none(void **)
{
    assert_int_equal(jobswitch_init_thread(0, 100), 1);
    assert_int_equal(stats_now().jobs_idle, 100);
    jobswitch_job *jobs[150];
    for (auto &job : jobs)
        job = start_paused();
    assert_int_equal(stats_now().jobs_paused, 150);
    for (auto &job : jobs)
        finish(job);
    jobswitch_cleanup(1);
    assert_int_equal(jobswitch_init(1, 0, 30), 1);
    assert_int_equal(stats_now().jobs_idle, 30);
    jobswitch_cleanup(0); // not the thread's
    assert_int_equal(stats_now().jobs_idle, 30);
}

static void the_first_start_makes_a_pool(void **)
{
    int value = 17, ret = 0;
    jobswitch_job *job = nullptr;
    assert_false(pool_thread_state.pool && pool_thread_state.pool->opened);
    assert_int_equal(
        jobswitch_start_job(&job, &ret, job_return_int, &value, sizeof value),
        JOBSWITCH_FINISH);
    assert_int_equal(ret, 17);
    assert_int_equal(stats_now().jobs_idle, 1);
    std::thread([&] {
        job = nullptr;
        ret = jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0);
    }).join();
    assert_int_equal(ret, JOBSWITCH_FINISH);
}

static void a_second_init_takes_new_limits(void **)
{
    assert_int_equal(jobswitch_init_thread(10, 6), 1);
    assert_int_equal(stats_now().jobs_idle, 6);
    assert_int_equal(jobswitch_init_thread(20, 8), 1); // what is missing
    assert_int_equal(stats_now().jobs_idle, 8);
    assert_int_equal(jobswitch_init_thread(20, 3), 1); // none are dropped
    assert_int_equal(stats_now().jobs_idle, 8);
    assert_int_equal(jobswitch_init_thread(5, 0), 1); // above the new maximum
    assert_int_equal(stats_now().jobs_idle, 5);
    assert_int_equal(stats_now().stacks_mapped, 5);

    jobswitch_job *jobs[5];
    for (auto &job : jobs)
        job = start_paused();
    assert_int_equal(jobswitch_init_thread(2, 2), 1);
    assert_int_equal(stats_now().jobs_paused, 5);
    for (int i = 0; i < 3; i++) {
        ASSERT_START_FAILS(JOBSWITCH_NO_JOBS, JOBSWITCH_E_MAX_JOBS, nullptr,
                           job_return_int, nullptr, 0);
        finish(jobs[i]); // one too many, so it is dropped: by the next call
        assert_int_equal(stats_now().jobs_idle, 0);
        (void)jobswitch_trim_thread(SIZE_MAX);
        assert_int_equal(stats_now().stacks_mapped, 4 - i);
    }
    ASSERT_START_FAILS(JOBSWITCH_NO_JOBS, JOBSWITCH_E_MAX_JOBS, nullptr,
                       job_return_int, nullptr, 0);
    finish(jobs[3]);
    assert_int_equal(stats_now().jobs_idle, 1);
    finish(jobs[4]);
    assert_int_equal(stats_now().jobs_idle, 2);
    (void)jobswitch_trim_thread(2);
    assert_int_equal(stats_now().stacks_mapped, 2);

    // More again, before the surplus has ended: then it is none.
    for (int i = 0; i < 2; i++)
        jobs[i] = start_paused();
    assert_int_equal(jobswitch_init_thread(1, 0), 1);
    assert_int_equal(jobswitch_init_thread(2, 0), 1);
    finish(jobs[0]);
    finish(jobs[1]);
    assert_int_equal(stats_now().jobs_idle, 2);
}

static size_t own_stack_bytes()
{
    const job &j = *job_current();
    return stack_bounds(pool_of(j)->stacks, job_stack_top(j)).bytes;
}

static void a_second_init_with_other_stacks(void **)
{
    assert_int_equal(jobswitch_init_thread(0, 4), 1);
    size_t bytes = 0;
    auto measure = [&] {
        bytes = own_stack_bytes();
        jobswitch_pause_job();
        bytes = own_stack_bytes();
        return 0;
    };
    jobswitch_job *old = nullptr, *fresh = nullptr;
    int ret;
    assert_int_equal(start(old, ret, measure), JOBSWITCH_PAUSE);
    assert_int_equal(bytes, 65536);
    assert_int_equal(init_with([](jobswitch_options &o) {
                         o.stack_bytes = 100000;
                         o.initial_jobs = 3;
                     }),
                     1);
    // The old idle ones have gone; the paused one is kept and counts.
    assert_int_equal(stats_now().jobs_idle, 2);
    assert_int_equal(stats_now().jobs_paused, 1);
    assert_int_equal(start(fresh, ret, measure), JOBSWITCH_PAUSE);
    assert_int_equal(bytes, 102400); // whole pages
    assert_int_equal(resume(old, ret), JOBSWITCH_FINISH);
    assert_int_equal(bytes, 65536);
    assert_int_equal(stats_now().jobs_idle, 1); // the old one is not taken again
    assert_int_equal(resume(fresh, ret), JOBSWITCH_FINISH);
    for (int i = 0; i < 3; i++) {
        jobswitch_job *job = nullptr;
        assert_int_equal(start(job, ret, measure), JOBSWITCH_PAUSE);
        assert_int_equal(bytes, 102400);
        finish(job);
    }
    // Inside a job: its own stack stays until it ends.
    int answer = 0;
    auto reshape = [&] {
        answer = jobswitch_init_thread(0, 5);
        return int(own_stack_bytes());
    };
    jobswitch_job *job = nullptr;
    assert_int_equal(start(job, ret, reshape), JOBSWITCH_FINISH);
    assert_int_equal(answer, 1);
    assert_int_equal(ret, 102400);
    assert_int_equal(stats_now().jobs_idle, 4);
    assert_int_equal(start(job, ret, measure), JOBSWITCH_PAUSE);
    assert_int_equal(bytes, 65536);
    assert_int_equal(stats_now().stacks_mapped, 4);
    finish(job);
}

// ---- the caller's stacks -----------------------------------------------------------

static struct caller {
    std::map<void *, size_t> live;
    std::map<void *, unsigned> ids; // the caller's stacks are the caller's to announce
    size_t allocs, frees, wrong;
    size_t fail_at; // this alloc returns NULL; 0: none
    pthread_t thread;
    void (*within)(bool alloc);
} caller;

static void *caller_alloc(size_t bytes, void *context)
{
    if (context != &caller)
        caller.wrong++;
    if (caller.within)
        caller.within(true);
    if (++caller.allocs == caller.fail_at)
        return nullptr;
    // At an odd place: only the size is promised.
    auto stack = static_cast<unsigned char *>(malloc(bytes + 8)) + 8;
    caller.live[stack] = bytes;
    caller.ids[stack] = VALGRIND_STACK_REGISTER(stack, stack + bytes - 1);
    return stack;
}

static void caller_free(void *stack, size_t bytes, void *context)
{
    auto known = caller.live.find(stack);
    caller.wrong += context != &caller || known == caller.live.end() ||
                    known->second != bytes ||
                    !pthread_equal(caller.thread, pthread_self());
    if (caller.within)
        caller.within(false);
    caller.frees++;
    if (known == caller.live.end())
        return;
    caller.live.erase(known);
    VALGRIND_STACK_DEREGISTER(caller.ids[stack]);
    free(static_cast<unsigned char *>(stack) - 8);
}

static int init_caller(size_t max, size_t initial, size_t bytes)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = max;
    options.initial_jobs = initial;
    options.stack_bytes = bytes;
    options.stack_alloc = caller_alloc;
    options.stack_free = caller_free;
    options.stack_context = &caller;
    return jobswitch_init_thread_with(&options);
}

static void caller_reset()
{
    jobswitch_cleanup_thread();
    caller = {};
    caller.thread = pthread_self();
}

static void the_callers_stacks(void **)
{
    caller_reset();
    assert_int_equal(init_caller(0, 3, 50000), 1);
    assert_int_equal(caller.live.size(), 3);
    for (auto [stack, bytes] : caller.live)
        assert_int_equal(bytes, 50000);
    assert_string_equal(stats_now().guard_method, "caller");
    void *frame = nullptr;
    auto where = [&] {
        char here;
        frame = __builtin_frame_address(0);
        (void)here;
        return jobswitch_pause_job();
    };
    jobswitch_job *jobs[4] = {};
    int ret;
    for (auto &job : jobs) {
        assert_int_equal(start(job, ret, where), JOBSWITCH_PAUSE);
        bool inside = false;
        for (auto [stack, bytes] : caller.live)
            inside |= frame > stack && frame < static_cast<char *>(stack) + bytes;
        assert_true(inside);
    }
    assert_int_equal(caller.live.size(), 4);
    assert_int_equal(stats_now().stacks_mapped, 4);
    for (auto &job : jobs)
        assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_int_equal(caller.frees, 0);
    assert_int_equal(jobswitch_trim_thread(1), 3);
    assert_int_equal(caller.live.size(), 1);
    jobs[0] = start_paused();
    jobs[1] = start_paused();
    jobswitch_cleanup_thread(); // paused or not
    assert_int_equal(caller.live.size(), 0);
    assert_int_equal(caller.allocs, caller.frees);

    // A thread that just ends gives them back as well, on that thread.
    std::thread([] {
        caller.thread = pthread_self();
        init_caller(0, 2, 0);
        jobswitch_job *job = nullptr;
        int unused;
        jobswitch_start_job(&job, &unused, job_pause_times, nullptr, 0);
    }).join();
    assert_int_equal(caller.live.size(), 0);
    assert_int_equal(caller.allocs, caller.frees);
    assert_int_equal(caller.wrong, 0);
}

static void making_ahead_fails_half_way(void **)
{
    for (size_t fail_at : {1, 3, 6}) {
        caller_reset();
        assert_int_equal(init_caller(8, 2, 0), 1);
        jobswitch_job *job = start_paused();
        caller.fail_at = 2 + fail_at;
        size_t live = caller.live.size();
        ASSERT_FAILS(0, JOBSWITCH_E_NO_STACK, init_caller(9, 8, 0));
        assert_int_equal(caller.live.size(), live);
        assert_int_equal(pool_thread_state.pool->max_jobs, 8); // the old limits
        // Other stacks, none of which come: the old ones are still good.
        caller.fail_at = caller.allocs + fail_at;
        ASSERT_FAILS(0, JOBSWITCH_E_NO_STACK, init_caller(0, 8, 50000));
        assert_int_equal(caller.live.size(), live);
        finish(job);
        assert_int_equal(stats_now().jobs_idle, 2);
        // And a start that gets no stack.
        jobswitch_job *others[2] = {start_paused(), start_paused()};
        caller.fail_at = caller.allocs + 1;
        ASSERT_START_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NO_STACK, nullptr,
                           job_return_int, nullptr, 0);
        for (auto &other : others)
            finish(other);
    }
    caller_reset();
    caller.fail_at = 4;
    ASSERT_FAILS(0, JOBSWITCH_E_NO_STACK, init_caller(0, 8, 0)); // the first init
    assert_int_equal(caller.live.size(), 0);
    assert_int_equal(caller.wrong, 0);
    caller_reset();
}

// Larger stacks that did not come are in no number.
static void larger_stacks_that_do_not_come(void **)
{
    caller_reset();
    assert_int_equal(init_caller(8, 2, 0), 1);
    finish(start_paused());
    caller.fail_at = caller.allocs + 3;
    ASSERT_FAILS(0, JOBSWITCH_E_NO_STACK, init_caller(0, 8, 100000));
    caller_reset();
}

static struct {
    jobswitch_job *paused; // of this thread
    std::string wrong;
    int calls, found;
    const char *where;
} reentry;

static void looks_for_a_job(int)
{
    reentry.found += jobswitch_in_job() || jobswitch_get_current_job() ||
                     jobswitch_job_cancelled();
}

// Each public function, in a function that the pool calls: as jobswitch(7) says, refused,
// or on nobody's behalf.
static void call_everything()
{
    reentry.calls++;
    auto expect_reason = [](int reason, const char *what, long answer, auto call) {
        reason_reset();
        long got = call();
        int told = jobswitch_last_error();
        if (got != answer || told != reason)
            reentry.wrong += std::string(reentry.where) + ": " + what + " answered " +
                             std::to_string(got) + ", reason " + std::to_string(told) + "; ";
    };
    auto refused = [&](const char *what, long answer, auto call) {
        expect_reason(JOBSWITCH_E_REENTERED, what, answer, call);
    };
    auto works = [&](const char *what, long answer, auto call) {
        expect_reason(JOBSWITCH_E_NONE, what, answer, call);
    };
    jobswitch_job *job = nullptr, *paused = reentry.paused, *taken[2];
    jobswitch_outcome outcomes[2];
    int ret;
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    jobswitch_key key = 0;

    refused("init", 0, [] { return jobswitch_init(0, 0, 0); });
    refused("init with a pool", 0, [] { return jobswitch_init(1, 0, 0); });
    refused("init_thread", 0, [] { return jobswitch_init_thread(0, 0); });
    refused("init_thread_with", 0, [&] { return jobswitch_init_thread_with(&options); });
    for (int with : {0, 1})
        refused("cleanup", 0, [with] { return jobswitch_cleanup(with), 0; });
    refused("cleanup_thread", 0, [] { return jobswitch_cleanup_thread(), 0; });
    refused("start", JOBSWITCH_ERR, [&] {
        return jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0);
    });
    refused("pause", 0, [] { return jobswitch_pause_job(); });
    refused("pause_until", 0, [] { return jobswitch_pause_until(1); });
    refused("get_ready_fd", -1, [] { return jobswitch_get_ready_fd(); });
    refused("take_ready", 0, [&] { return jobswitch_take_ready(taken, 2); });
    refused("wait_ready", 0, [&] { return jobswitch_wait_ready(taken, 2, -1); });
    refused("resume_ready", 0, [&] { return jobswitch_resume_ready(outcomes, 2); });
    refused("cancel_all", 0, [] { return jobswitch_cancel_all(); });
    refused("get_stats", 0, [&] { return jobswitch_get_stats(&stats); });
    refused("trim_thread", 0, [] { return jobswitch_trim_thread(0); });
    if (paused) {
        refused("resume", JOBSWITCH_ERR, [&] { return resume(paused, ret); });
        refused("cancel", JOBSWITCH_ERR, [&] { return jobswitch_cancel_job(&paused, &ret); });
        refused("discard", 0, [&] { return jobswitch_discard_job(&paused); });
    }

    works("in_job", 0, [] { return jobswitch_in_job(); });
    works("get_current_job", 0, [] { return jobswitch_get_current_job() != nullptr; });
    works("job_cancelled", 0, [] { return jobswitch_job_cancelled(); });
    works("block_pause", 0, [] { return jobswitch_block_pause(), 0; });
    works("unblock_pause", 0, [] { return jobswitch_unblock_pause(), 0; });
    works("unblock_pause", 0, [] { return jobswitch_unblock_pause(), 0; });
    refused("pause", 0, [] { return jobswitch_block_pause(), jobswitch_pause_job(); });
    works("next_deadline", 1, [] { return jobswitch_next_deadline() == UINT64_MAX; });
    works("create_key", 1, [&] { return jobswitch_create_key(&key, nullptr); });
    refused("set_local", 0, [&] { return jobswitch_set_local(key, &key); });
    works("get_local", 0, [&] { return jobswitch_get_local(key) != nullptr; });
    works("delete_key", 1, [&] { return jobswitch_delete_key(key); });
    works("error_string", 1, [] { return jobswitch_error_string(0) != nullptr; });
    works("version", JOBSWITCH_VERSION, [] { return jobswitch_version(); });
    works("prefetch_job", 0, [&] { return jobswitch_prefetch_job(paused), 0; });
    if (paused) {
        works("wake", 0, [&] { return jobswitch_wake(paused), 0; });
        works("get_wait_fd", 1, [&] { return readable(jobswitch_get_wait_fd(paused)); });
        works("clear_wake", 0, [&] { return jobswitch_clear_wake(paused), 0; });
        works("clear_wake", 0, [&] { return readable(jobswitch_get_wait_fd(paused)); });
    }
    reentry.found = 0;
    raise(SIGUSR1);
    if (reentry.found)
        reentry.wrong += std::string(reentry.where) + ": a signal handler finds a job; ";
}

static void reenter(bool alloc)
{
    reentry.where = alloc ? "alloc" : "free";
    call_everything();
}

// Before and after, by the same tests.
static void begin_reentry()
{
    reentry = {};
    struct sigaction action = {};
    action.sa_handler = looks_for_a_job;
    sigaction(SIGUSR1, &action, nullptr);
}
static void end_reentry(const char *when, int calls)
{
    if (reentry.calls < calls)
        fail_msg("%s: %d calls of %d", when, reentry.calls, calls);
    if (!reentry.wrong.empty())
        fail_msg("%s: %s", when, reentry.wrong.c_str());
    signal(SIGUSR1, SIG_DFL);
}

static void the_allocator_may_not_call(void **)
{
    auto run = [](const char *when, auto body) {
        jobswitch_job *paused = reentry.paused;
        begin_reentry();
        reentry.paused = paused;
        caller.within = reenter;
        body();
        caller.within = nullptr;
        end_reentry(when, 1);
    };
    caller_reset();
    reentry.paused = nullptr;
    run("first init", [] { assert_int_equal(init_caller(0, 2, 0), 1); });
    reentry.paused = start_paused();
    finish(start_paused()); // hot
    run("second init, with an idle job", [] {
        assert_int_equal(init_caller(0, 3, 0), 1);
    });
    jobswitch_job *others[2] = {start_paused(), start_paused()};
    run("start", [&] { finish(start_paused()); });
    int answer = 0, ret = 0;
    auto nested = [&] {
        jobswitch_job *job = nullptr, *more = nullptr;
        answer = jobswitch_start_job(&job, &ret, job_pause_times, nullptr, 0);
        answer += jobswitch_start_job(&more, &ret, job_pause_times, nullptr, 0);
        answer += resume(job, ret) + resume(more, ret);
        // Or no later pause of this job would be a fast one.
        return int(job_current()->gate & (gate_calling | gate_blocks));
    };
    jobswitch_job *job = nullptr;
    run("start inside a job", [&] { start(job, ret, nested); });
    assert_int_equal(answer, 2 * JOBSWITCH_PAUSE + 2 * JOBSWITCH_FINISH);
    assert_int_equal(ret, 0);
    for (auto &other : others)
        finish(other);
    run("trim", [] { (void)jobswitch_trim_thread(2); });
    run("other stacks", [] { assert_int_equal(init_caller(0, 3, 70000), 1); });
    finish(reentry.paused);
    reentry.paused = nullptr;
    run("the old one is dropped", [] { (void)jobswitch_trim_thread(SIZE_MAX); });
    jobswitch_job *last = start_paused();
    run("clean-up", [] { jobswitch_cleanup_thread(); });
    assert_resume_fails(last, JOBSWITCH_E_FINISHED);
    assert_int_equal(caller.live.size(), 0);
    assert_int_equal(caller.wrong, 0);
}

// The same where a discard or a clean-up destroys the values of a job. (A job that ends
// itself does that as its last act.)
static jobswitch_key destroyed_key, discarder_key;
static void destroy_calls_everything(void *) { call_everything(); }

static int holds_a_value(void *)
{
    jobswitch_set_local(destroyed_key, &reentry);
    return jobswitch_pause_job();
}
static jobswitch_job *start_with_value()
{
    jobswitch_job *job = nullptr;
    int ret;
    jobswitch_start_job(&job, &ret, holds_a_value, nullptr, 0);
    return job;
}

static void a_destructor_may_not_call(void **)
{
    assert_int_equal(jobswitch_create_key(&destroyed_key, destroy_calls_everything), 1);
    assert_int_equal(jobswitch_create_key(&discarder_key, nullptr), 1);
    begin_reentry();
    jobswitch_job *job = start_with_value();
    reentry.paused = start_paused();
    reentry.where = "discard";
    assert_int_equal(jobswitch_discard_job(&job), 1);
    end_reentry("discard", 1);

    // Inside a job, to which nothing comes of it: blocked or not, with values or not.
    int wrong = 0, ret = 0;
    auto discards = [&] {
        jobswitch_job *self = jobswitch_get_current_job();
        for (bool blocked : {false, true})
            for (void *value : {static_cast<void *>(nullptr), static_cast<void *>(&wrong)}) {
                jobswitch_set_local(discarder_key, value);
                if (blocked)
                    jobswitch_block_pause();
                uint32_t gate = job_current()->gate;
                job = start_with_value();
                wrong += jobswitch_discard_job(&job) != 1;
                wrong += job_current()->gate != gate || jobswitch_get_current_job() != self;
                wrong += jobswitch_get_local(discarder_key) != value;
                wrong += jobswitch_in_job() != 1;
                if (blocked)
                    jobswitch_unblock_pause();
            }
        return jobswitch_pause_job();
    };
    jobswitch_job *outer = nullptr, *paused = reentry.paused;
    begin_reentry();
    reentry.paused = paused;
    reentry.where = "discard inside a job";
    assert_int_equal(start(outer, ret, discards), JOBSWITCH_PAUSE);
    assert_int_equal(wrong, 0);
    end_reentry("discard inside a job", 4);
    // A cancelled one, too: its pauses are no pauses any more, but still refused.
    auto discards_cancelled = [&] {
        jobswitch_pause_job();
        job = start_with_value();
        wrong += jobswitch_discard_job(&job) != 1 || !jobswitch_job_cancelled();
        return 0;
    };
    jobswitch_job *cancelled = nullptr;
    begin_reentry();
    reentry.paused = paused;
    reentry.where = "discard inside a cancelled job";
    assert_int_equal(start(cancelled, ret, discards_cancelled), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_cancel_job(&cancelled, &ret), JOBSWITCH_FINISH);
    assert_int_equal(wrong, 0);
    end_reentry("discard inside a cancelled job", 1);

    begin_reentry();
    reentry.where = "clean-up";
    assert_non_null(start_with_value());
    jobswitch_cleanup_thread();
    end_reentry("clean-up", 1);
    begin_reentry();
    std::thread([] {
        start_with_value();
        reentry.where = "the end of a thread";
    }).join();
    end_reentry("the end of a thread", 1);
    assert_int_equal(jobswitch_delete_key(destroyed_key), 1);
    assert_int_equal(jobswitch_delete_key(discarder_key), 1);
}

// ---- warm stacks -----------------------------------------------------------------

static std::vector<stack_range> idle_stacks()
{
    pool &p = *pool_thread_state.pool;
    std::vector<stack_range> ranges;
    for (job *list : {pool_thread_state.hot.load(), p.hot_apart, p.spare.head, p.surplus.head, p.cold.head})
        for (job *j = list; j; j = j->next)
            ranges.push_back(stack_bounds(p.stacks, job_stack_top(*j)));
    return ranges;
}

static size_t resident_pages(const std::vector<stack_range> &ranges)
{
    size_t page = size_t(sysconf(_SC_PAGESIZE)), count = 0;
    for (const stack_range &range : ranges) {
        std::vector<unsigned char> pages(range.bytes / page);
        assert_int_equal(mincore(range.low, range.bytes, pages.data()), 0);
        for (unsigned char c : pages)
            count += c & 1;
    }
    return count;
}

static void initial_stacks_are_touched_on_demand(void **)
{
    if (emulated)
        skip_because("the emulator does not touch memory on advice");
    size_t page = size_t(sysconf(_SC_PAGESIZE));
    assert_int_equal(jobswitch_init_thread(0, 5), 1);
    assert_int_equal(resident_pages(idle_stacks()), 0);
    assert_int_equal(stats_now().stack_bytes_resident_max, 0);
    jobswitch_cleanup_thread();
    assert_int_equal(init_with([](jobswitch_options &o) {
                         o.initial_jobs = 5;
                         o.flags = JOBSWITCH_PREFAULT;
                     }),
                     1);
    std::vector<stack_range> ranges = idle_stacks();
    assert_int_equal(ranges.size(), 5);
    assert_int_equal(resident_pages(ranges), 5 * 65536 / page);
    assert_int_equal(stats_now().stack_bytes_resident_max, 5 * 65536);
    if (sanitized || valgrind)
        return; // their own memory is touched
    int args[200] = {7}, ret = 0;
    jobswitch_job *jobs[5] = {};
    auto deep = [](void *at) -> int {
        volatile char filled[40000];
        for (size_t i = 0; i < sizeof filled; i += 512)
            filled[i] = 1;
        jobswitch_pause_job();
        return *static_cast<int *>(at) + filled[0];
    };
    // The code itself is met once first.
    assert_int_equal(jobswitch_start_job(&jobs[0], &ret, deep, args, sizeof args),
                     JOBSWITCH_PAUSE);
    assert_int_equal(resume(jobs[0], ret), JOBSWITCH_FINISH);
    rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    getrusage(RUSAGE_THREAD, &before);
    for (auto &job : jobs)
        jobswitch_start_job(&job, &ret, deep, args, sizeof args);
    for (auto &job : jobs)
        resume(job, ret);
    getrusage(RUSAGE_THREAD, &after);
    assert_int_equal(ret, 8);
    assert_int_equal(after.ru_minflt - before.ru_minflt, 0);
}

// As the header says of 0: 64 KiB of stack, and a guard of 16 KiB, which may
// grow by what makes whole pages and an odd stride of it.
static void defaults_are_as_written(void **)
{
    size_t page = size_t(sysconf(_SC_PAGESIZE));
    int (*const inits[])() = {
        [] { return jobswitch_init_thread(0, 5); },
        [] { return init_with([](jobswitch_options &o) { o.initial_jobs = 5; }); }};
    for (auto init : inits) {
        jobswitch_cleanup_thread();
        assert_int_equal(init(), 1);
        std::vector<uintptr_t> lows;
        for (const stack_range &range : idle_stacks()) {
            assert_int_equal(range.bytes, 65536);
            assert_true(guarded(range.low - 1));
            assert_true(guarded(range.low - 16384));
            lows.push_back(reinterpret_cast<uintptr_t>(range.low));
        }
        assert_int_equal(lows.size(), 5);
        std::sort(lows.begin(), lows.end());
        for (size_t i = 1; i < 5; i++)
            assert_true(lows[i] - lows[i - 1] < 65536 + 16384 + 2 * page);
    }
}

static uint64_t now_ns;

// Without the flag the same steps give stacks back, so they can.
static void kept_warm_means_never_trimmed(void **)
{
    for (uint64_t flags : {uint64_t(0), uint64_t(JOBSWITCH_KEEP_WARM)}) {
        jobswitch_cleanup_thread();
        auto real_clock = pool_clock_ns;
        pool_clock_ns = [] { return now_ns; };
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        options.flags = flags;
        assert_int_equal(jobswitch_init_thread_with(&options), 1);
        std::vector<jobswitch_job *> jobs(20);
        for (auto &job : jobs)
            job = start_paused();
        for (auto &job : jobs)
            finish(job);
        for (int i = 0; i < 6000; i++) {
            now_ns += 10000000;
            jobswitch_job *job = nullptr;
            int ret;
            jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0);
        }
        pool_clock_ns = real_clock;
        assert_int_equal(stats_now().jobs_idle, 20);
        if (flags) {
            assert_int_equal(stats_now().stack_bytes_resident_max, 20 * 65536);
            assert_true(resident_pages(idle_stacks()) >= 20);
        } else {
            assert_true(stats_now().stack_bytes_resident_max < 20 * 65536);
            assert_true(resident_pages(idle_stacks()) < 20);
        }
        // A trim takes them all the same.
        size_t warm = stats_now().stack_bytes_resident_max / 65536;
        assert_int_equal(jobswitch_trim_thread(1), warm - 1);
        assert_int_equal(jobswitch_trim_thread(1), 0);
        assert_int_equal(stats_now().stack_bytes_resident_max, 65536);
        assert_int_equal(stats_now().jobs_idle, 20);
    }
}

// ---- starting --------------------------------------------------------------------

static void bad_starts_change_nothing(void **)
{
    int ret = 3;
    jobswitch_job *job = nullptr;
    char byte = 0;
    for (int round = 0; round < 2; round++) {
        ASSERT_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NULL,
                     jobswitch_start_job(nullptr, &ret, job_return_int, nullptr, 0));
        ASSERT_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NULL,
                     jobswitch_start_job(&job, nullptr, job_return_int, nullptr, 0));
        ASSERT_START_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NULL, nullptr, nullptr, nullptr, 0);
        if (round == 0)
            finish(start_paused()); // an idle job, which is warm
        for (size_t size : {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2 + 1})
            ASSERT_START_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_SIZE, nullptr,
                               job_return_int, &byte, size);
        if (!sanitized && !valgrind) // they report it and stop
            ASSERT_START_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NO_MEMORY, nullptr,
                               job_return_int, &byte, SIZE_MAX / 2);
    }
    // Of a paused job as well.
    jobswitch_job *paused = start_paused();
    jobswitch_job *kept = paused;
    ASSERT_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_NULL,
                 jobswitch_start_job(&paused, nullptr, job_return_int, nullptr, 0));
    assert_ptr_equal(paused, kept);
    finish(paused);
}

// A size that cannot be is told before anything is made for it.
static void a_bad_size_makes_no_stack(void **)
{
    char byte = 0;
    assert_int_equal(jobswitch_init_thread(0, 0), 1);
    ASSERT_START_FAILS(JOBSWITCH_ERR, JOBSWITCH_E_SIZE, nullptr, job_return_int,
                       &byte, SIZE_MAX);
}

static void no_jobs_at_the_limit(void **)
{
    assert_int_equal(jobswitch_init_thread(3, 0), 1);
    jobswitch_job *jobs[3];
    for (int round = 0; round < 3; round++) {
        for (auto &job : jobs)
            job = start_paused();
        ASSERT_START_FAILS(JOBSWITCH_NO_JOBS, JOBSWITCH_E_MAX_JOBS, nullptr,
                           job_return_int, nullptr, 0);
        finish(jobs[1]);
        jobs[1] = start_paused();
        for (auto &job : jobs)
            finish(job);
    }
    // Those that run count, too.
    std::string said;
    auto body = [&] {
        jobswitch_job *inner[2] = {};
        int ret;
        for (auto &job : inner)
            jobswitch_start_job(&job, &ret, job_pause_times, nullptr, 0);
        said = try_start_failure(JOBSWITCH_NO_JOBS, JOBSWITCH_E_MAX_JOBS, nullptr,
                                 job_return_int, nullptr, 0);
        for (auto &job : inner)
            resume(job, ret);
        return 0;
    };
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_FINISH);
    assert_string_equal(said.c_str(), "");
}

static unsigned char content(size_t i, unsigned salt)
{
    return static_cast<unsigned char>(i * 167 + (i >> 8) * 31 + salt);
}

static struct {
    size_t size;
    unsigned salt;
    void *at;
} given;

// Checks its copy, spoils it, and checks that nobody else wrote there.
static int job_check_args(void *args)
{
    size_t size = given.size;
    unsigned salt = given.salt;
    auto bytes = static_cast<unsigned char *>(args);
    given.at = args;
    int wrong = 0;
    for (size_t i = 0; i < size; i++)
        wrong += bytes[i] != content(i, salt);
    if (reinterpret_cast<uintptr_t>(args) % 64)
        wrong += 1 << 28;
    memset(bytes, int(salt), size);
    jobswitch_pause_job();
    for (size_t i = 0; i < size; i++)
        wrong += bytes[i] != static_cast<unsigned char>(salt);
    return wrong;
}

static void arguments_are_copied(void **)
{
    std::vector<size_t> sizes;
    for (size_t size = 0; size <= 300; size++)
        sizes.push_back(size);
    for (size_t size : {1008, 1022, 1023, 1024, 1025, 1087, 1088, 4096, 16383, 16384,
                        16385, 70000, 1 << 20})
        sizes.push_back(size);
    for (size_t size : sizes) {
        // To the end of its memory, and at an odd place: reading beyond shows.
        std::vector<unsigned char> memory(size + 1);
        unsigned char *from = memory.data() + 1;
        jobswitch_job *jobs[2] = {};
        void *at[2];
        int ret = -1;
        for (unsigned k = 0; k < 2; k++) {
            for (size_t i = 0; i < size; i++)
                from[i] = content(i, unsigned(size) + k);
            given = {size, unsigned(size) + k, nullptr};
            assert_int_equal(
                jobswitch_start_job(&jobs[k], &ret, job_check_args, from, size),
                JOBSWITCH_PAUSE);
            at[k] = given.at;
            for (size_t i = 0; i < size; i++)
                if (from[i] != content(i, unsigned(size) + k))
                    fail_msg("source of %zu bytes was changed", size);
        }
        assert_non_null(at[0]);
        assert_ptr_not_equal(at[0], at[1]);
        for (auto &job : jobs) {
            assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
            if (ret != 0)
                fail_msg("%zu bytes: %d differ", size, ret);
        }
    }
    auto is_null = [](void *args) -> int { return args == nullptr; };
    for (size_t size : {size_t(0), size_t(1), size_t(5000), SIZE_MAX}) {
        jobswitch_cleanup_thread();
        for (int idle : {0, 1}) {
            jobswitch_job *job = nullptr;
            int ret = idle;
            assert_int_equal(jobswitch_start_job(&job, &ret, is_null, nullptr, size),
                             JOBSWITCH_FINISH);
            assert_int_equal(ret, 1);
        }
    }
}

static void values_come_back(void **)
{
    for (int value : {0, 1, -1, 1234567, INT32_MAX, INT32_MIN})
        for (int pauses : {0, 1, 2}) {
            auto body = [&] {
                for (int i = 0; i < pauses; i++)
                    jobswitch_pause_job();
                return value;
            };
            jobswitch_job *job = nullptr;
            int ret = 77;
            int answer = start(job, ret, body);
            for (int i = 0; i < pauses; i++) {
                assert_int_equal(answer, JOBSWITCH_PAUSE);
                assert_int_equal(ret, 77);
                answer = resume(job, ret);
            }
            assert_int_equal(answer, JOBSWITCH_FINISH);
            assert_int_equal(ret, value);
            assert_null(job);
        }
}

// The first *job and *ret are no place to write to at the end.
static void job_and_ret_may_change_places(void **)
{
    jobswitch_job *first = nullptr, *second;
    int ret = 1, other = 2;
    auto body = [] { return jobswitch_pause_job(), 9; };
    assert_int_equal(start(first, ret, body), JOBSWITCH_PAUSE);
    second = first;
    assert_int_equal(resume(second, other), JOBSWITCH_FINISH);
    assert_non_null(first);
    assert_null(second);
    assert_int_equal(ret, 1);
    assert_int_equal(other, 9);
}

static void what_belongs_to_the_thread(void **)
{
    sigset_t mask, old;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    auto body = [&] {
        errno = 71;
        pthread_sigmask(SIG_BLOCK, &mask, &old);
        fesetround(FE_UPWARD);
        jobswitch_pause_job();
        return errno;
    };
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    int seen = errno;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    int rounding = fegetround();
    fesetround(FE_TONEAREST);
    errno = 72;
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    int rounding_after = fegetround();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    assert_int_equal(seen, 71);
    assert_int_equal(ret, 72);
    assert_true(sigismember(&now, SIGUSR2));
    assert_int_equal(rounding, by_ucontext ? FE_TONEAREST : FE_UPWARD); // the C library keeps it
    assert_int_equal(rounding_after, FE_TONEAREST);
}

// ---- handles that are no good ----------------------------------------------------------

static void resume_of_what_is_not_paused(void **)
{
    jobswitch_job *outer = nullptr;
    std::string itself, waiting, grandparent;
    auto innermost = [&] {
        itself = try_start_failure(JOBSWITCH_ERR, JOBSWITCH_E_RUNNING,
                                   jobswitch_get_current_job(), nullptr, nullptr, 0);
        grandparent = try_start_failure(JOBSWITCH_ERR, JOBSWITCH_E_WAITING, outer,
                                        nullptr, nullptr, 0);
        return 0;
    };
    auto inner = [&] {
        waiting = try_start_failure(JOBSWITCH_ERR, JOBSWITCH_E_WAITING, outer,
                                    nullptr, nullptr, 0);
        jobswitch_job *job = nullptr;
        int ret;
        return start(job, ret, innermost);
    };
    auto body = [&] {
        outer = jobswitch_get_current_job();
        jobswitch_job *job = nullptr;
        int ret;
        return start(job, ret, inner);
    };
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_FINISH);
    assert_int_equal(ret, JOBSWITCH_FINISH);
    assert_string_equal(itself.c_str(), "");
    assert_string_equal(waiting.c_str(), "");
    assert_string_equal(grandparent.c_str(), "");
    assert_resume_fails(outer, JOBSWITCH_E_FINISHED);
}

static void stale_handles_stay_stale(void **)
{
    assert_int_equal(jobswitch_init_thread(1, 1), 1);
    std::set<jobswitch_job *> seen;
    jobswitch_job *first = nullptr, *last = nullptr;
    for (int i = 0; i < 2000; i++) {
        jobswitch_job *job = start_paused();
        assert_true(seen.insert(job).second); // no handle twice
        if (first) {
            assert_resume_fails(first, JOBSWITCH_E_FINISHED);
            assert_resume_fails(last, JOBSWITCH_E_FINISHED);
        }
        first = first ? first : job;
        last = job;
        finish(job);
        assert_resume_fails(job, JOBSWITCH_E_FINISHED);
    }
    // One that never paused, but told its handle.
    auto body = [&] { return last = jobswitch_get_current_job(), 0; };
    jobswitch_job *job = nullptr;
    int ret;
    for (int i = 0; i < 100; i++) {
        job = nullptr;
        assert_int_equal(start(job, ret, body), JOBSWITCH_FINISH);
        assert_true(seen.insert(last).second);
        assert_resume_fails(last, JOBSWITCH_E_FINISHED);
    }
    // Discarded; and while another thread's jobs have the block.
    jobswitch_job *discarded = start_paused();
    jobswitch_cleanup_thread();
    assert_resume_fails(discarded, JOBSWITCH_E_FINISHED);
    int reason = 0;
    std::thread([&] {
        jobswitch_job *others[200] = {}, *stale = discarded;
        int unused;
        for (auto &other : others)
            jobswitch_start_job(&other, &unused, job_pause_times, nullptr, 0);
        reason = resume(stale, unused) == JOBSWITCH_ERR ? jobswitch_last_error() : -1;
        for (auto &other : others)
            resume(other, unused);
    }).join();
    assert_int_equal(reason, JOBSWITCH_E_FINISHED);
    assert_resume_fails(discarded, JOBSWITCH_E_FINISHED);
}

static void jobs_of_another_thread(void **)
{
    jobswitch_job *job = start_paused();
    for (int round = 0; round < 3; round++) {
        std::string said;
        std::thread([&] {
            if (round > 0) // a thread with a pool, or none
                jobswitch_init_thread(2, 2);
            auto body = [&] {
                said = try_start_failure(JOBSWITCH_ERR, JOBSWITCH_E_WRONG_THREAD,
                                         job, nullptr, nullptr, 0);
                return 0;
            };
            jobswitch_job *mine = nullptr;
            int ret;
            if (round == 2)
                start(mine, ret, body);
            else
                body();
        }).join();
        assert_string_equal(said.c_str(), "");
    }
    finish(job);
}

static void garbage_is_no_handle(void **)
{
    std::vector<jobswitch_job *> jobs(200);
    for (auto &job : jobs)
        job = start_paused();
    const uintptr_t one = value_of(jobs[7]);
    const uint32_t generation = handle_generation(jobs[7]);
    arena_view view = arena_look();
    auto bytes = uint32_t(view.bytes);
    std::vector<uintptr_t> values = {1,
                                     UINTPTR_MAX,
                                     UINTPTR_MAX / 2 + 1,
                                     handle_make(handle_offset(jobs[7]), 0),
                                     handle_make(0, generation), // a chunk's header
                                     handle_make(arena_chunk_bytes, generation),
                                     handle_make(arena_chunk_bytes, 0),
                                     handle_make(bytes - JS_JOB_BYTES, generation),
                                     handle_make(bytes, generation)};
    if (handle_is_wide)
        for (uint32_t low : {UINT32_MAX, 0xffffff80})
            values.push_back(handle_make(low, generation));
    for (uintptr_t off = 1; handle_is_wide && off < JS_JOB_BYTES; off++)
        values.push_back(one + off); // between two blocks
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        auto offset = uint32_t(state % view.bytes);
        values.push_back(i % 3   ? uintptr_t(state)
                         : i % 2 ? handle_make(offset, uint32_t(state >> 32))
                                 : handle_make(offset, uint32_t(state % 1000 + 4000)));
    }
    jobswitch_stats before = stats_now();
    for (uintptr_t value : values)
        for (int inside : {0, 1}) {
            int answer = 0, reason = 0, ret = 3, fd = 0;
            jobswitch_job *job = handle_of(value);
            auto body = [&] {
                reason_reset();
                answer = jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0);
                reason = jobswitch_last_error();
                fd = jobswitch_get_wait_fd(job);
                return 0;
            };
            jobswitch_job *starter = nullptr;
            int unused;
            if (inside)
                start(starter, unused, body);
            else
                body();
            if (answer != JOBSWITCH_ERR || reason != JOBSWITCH_E_UNKNOWN_JOB ||
                job != handle_of(value) || ret != 3 || fd != -1)
                fail_msg("%#zx answered %d, reason %d, fd %d", size_t(value), answer,
                         reason, fd);
            for (auto signal : {jobswitch_wake, jobswitch_clear_wake}) {
                reason_reset();
                signal(handle_of(value));
                assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_UNKNOWN_JOB);
            }
        }
    assert_int_equal(stats_now().jobs_paused, before.jobs_paused);
    for (auto &job : jobs)
        finish(job);
}

// A handle that a later job would have is none yet: neither while its block is
// idle, nor while a job runs there that nobody has the handle of.
static void handles_that_were_never_issued(void **)
{
    assert_int_equal(jobswitch_init_thread(0, 1), 1);
    outcome result = run_child([] {
        jobswitch_job *job = start_paused();
        const uint32_t offset = handle_offset(job), generation = handle_generation(job);
        finish(job);
        for (uint32_t next = 1; next < 8; next++) {
            jobswitch_job *guess = handle_of(handle_make(offset, generation + next / 2) + next % 2);
            int ret = 6;
            reason_reset();
            CHILD_NEEDS(resume(guess, ret) == JOBSWITCH_ERR);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_UNKNOWN_JOB);
            CHILD_NEEDS(jobswitch_get_wait_fd(guess) == -1);
            CHILD_NEEDS(ret == 6);
        }
        // A block that was never used: generation 1, if any.
        auto unused = uint32_t(offset & ~(arena_chunk_bytes - 1)) + arena_chunk_bytes - JS_JOB_BYTES;
        jobswitch_job *guess = handle_of(handle_make(unused, 1));
        int ret = 6;
        CHILD_NEEDS(resume(guess, ret) == JOBSWITCH_ERR);
    });
    assert_child_content(result);
}

// The current job's handle may be asked for in a signal handler, at any
// instruction: told so late, it is not given to another job either.
#ifdef __x86_64__
static struct {
    int steps, at;
    jobswitch_job *told;
} stepped;
static constexpr long trap_flag = 0x100;

static void take_step(int, siginfo_t *, void *context)
{
    if (++stepped.steps < stepped.at)
        return;
    stepped.told = jobswitch_get_current_job();
    static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
}

static int job_end_stepped(void *args)
{
    if (args)
        jobswitch_pause_job();
    asm volatile("leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; "
                 "leaq 128(%%rsp), %%rsp" ::: "cc", "memory");
    return 0;
}
#endif

static void handles_told_to_signal_handlers(void **)
{
#ifdef __x86_64__
    if (sanitized || valgrind)
        skip_because("single steps through a tool are many, or not possible");
    struct sigaction action = {}, old;
    action.sa_sigaction = take_step;
    action.sa_flags = SA_SIGINFO;
    for (char *args : {static_cast<char *>(nullptr), const_cast<char *>("x")}) {
        jobswitch_cleanup_thread();
        int told = 0;
        for (int at = 1; at < 150; at++) {
            stepped.steps = 0;
            stepped.at = at;
            stepped.told = nullptr;
            sigaction(SIGTRAP, &action, &old);
            jobswitch_job *job = nullptr;
            int ret;
            int answer = jobswitch_start_job(&job, &ret, job_end_stepped, args, args ? 1 : 0);
            if (answer == JOBSWITCH_PAUSE)
                answer = resume(job, ret);
            asm volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "cc", "memory");
            sigaction(SIGTRAP, &old, nullptr);
            assert_int_equal(answer, JOBSWITCH_FINISH);
            if (!stepped.told)
                continue;
            told++;
            jobswitch_job *next = start_paused();
            if (next == stepped.told)
                fail_msg("told after %d instructions: the next job has the handle", at);
            assert_resume_fails(stepped.told, JOBSWITCH_E_FINISHED);
            finish(next);
            assert_int_equal(stats_now().jobs_idle, 1);
        }
        assert_true(told > 5);
    }
#else
    skip_because("how to step is known for x86_64");
#endif
}

static void wait_calls_with_bad_handles(void **)
{
    // Ends of jobs that were started warm are not those of others.
    jobswitch_job *warm[2] = {start_paused(), start_paused()};
    for (auto &job : warm)
        finish(job);
    jobswitch_job *paused = start_paused(), *stale = start_paused();
    finish(stale);
    ASSERT_FAILS(-1, JOBSWITCH_E_NULL, jobswitch_get_wait_fd(nullptr));
    ASSERT_FAILS(-1, JOBSWITCH_E_FINISHED, jobswitch_get_wait_fd(stale));
    ASSERT_FAILS(0, JOBSWITCH_E_NULL, (jobswitch_wake(nullptr), 0));
    ASSERT_FAILS(0, JOBSWITCH_E_NULL, (jobswitch_clear_wake(nullptr), 0));
    ASSERT_FAILS(0, JOBSWITCH_E_NONE, (jobswitch_wake(stale), 0)); // no failure
    ASSERT_FAILS(0, JOBSWITCH_E_NONE, (jobswitch_clear_wake(stale), 0));

    jobswitch_wake(paused); // remembered
    int fd = jobswitch_get_wait_fd(paused);
    assert_true(fd >= 0);
    pollfd entry = {fd, POLLIN, 0};
    assert_int_equal(poll(&entry, 1, 0), 1);
    jobswitch_clear_wake(paused);
    assert_int_equal(poll(&entry, 1, 0), 0);
    assert_int_equal(stats_now().descriptors_open, 1);
    finish(paused);
    assert_int_equal(stats_now().descriptors_open, 1); // kept for the next
    (void)jobswitch_trim_thread(SIZE_MAX);
    assert_int_equal(stats_now().descriptors_open, 0);
}

// Whatever it is given: nothing is answered, changed, or read that is not there.
static void a_prefetch_is_only_a_hint(void **)
{
    std::thread([] { jobswitch_prefetch_job(handle_of(UINTPTR_MAX)); }).join();
    std::vector<jobswitch_job *> jobs(100), hints = {nullptr};
    for (auto &job : jobs)
        hints.push_back(job = start_paused());
    finish(jobs.back());
    jobs.pop_back(); // but not of the hints
    for (uintptr_t low : {uintptr_t(0), uintptr_t(arena_chunk_bytes), uintptr_t(1) << 31,
                          uintptr_t(UINT32_MAX), value_of(jobs[0]) + 1})
        for (uint32_t generation : {0u, 1u, wait_generation_most})
            hints.push_back(handle_of(handle_make(uint32_t(low), generation)));
    // As often as it takes for each to be the earlier one, whose stack is asked for.
    auto all = [&] {
        for (int i = 0; i < 17; i++)
            for (jobswitch_job *hint : hints)
                jobswitch_prefetch_job(hint);
        return 0;
    };
    ASSERT_FAILS(0, JOBSWITCH_E_NONE, all());
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(start(job, ret, all), JOBSWITCH_FINISH);
    assert_int_equal(ret, 0);
    // The very block, and the eighth call from there finds it.
    pool_thread &here = pool_thread_state;
    uint32_t at = here.ahead_at;
    jobswitch_prefetch_job(jobs[3]);
    int reason;
    assert_ptr_equal(here.ahead[at % 8], &job_find(jobs[3], &reason)->ctx);
    for (int i = 0; i < 7; i++)
        jobswitch_prefetch_job(jobs[4]);
    assert_int_equal(here.ahead_at % 8, at % 8);
    for (jobswitch_job *&paused : jobs)
        finish(paused);
    jobswitch_cleanup_thread();
    all(); // of jobs that were
}

// ---- jobs inside jobs ------------------------------------------------------------------

static constexpr int depth_most = 200;
static struct {
    int order[3 * depth_most];
    int steps;
    int wrong;
} nesting;

static int job_nest(void *args)
{
    int depth = *static_cast<int *>(args);
    jobswitch_job *self = jobswitch_get_current_job(), *job = nullptr;
    int next = depth + 1, ret = 0, answer = JOBSWITCH_FINISH;
    nesting.wrong += !jobswitch_in_job();
    jobswitch_pause_job();
    nesting.wrong += jobswitch_get_current_job() != self;
    if (next < depth_most) {
        answer = jobswitch_start_job(&job, &ret, job_nest, &next, sizeof next);
        nesting.wrong += jobswitch_get_current_job() != self || ret != 0;
        while (answer == JOBSWITCH_PAUSE) {
            nesting.wrong += job == nullptr || job == self;
            jobswitch_pause_job(); // out to the starter, at each level
            nesting.wrong += jobswitch_get_current_job() != self;
            answer = resume(job, ret);
            nesting.wrong += jobswitch_get_current_job() != self;
        }
        nesting.wrong += answer != JOBSWITCH_FINISH || ret != depth + 1;
    }
    nesting.order[nesting.steps++] = depth;
    return depth;
}

static void nesting_to_a_great_depth(void **)
{
    nesting = {};
    int depth = 0, ret = -1, rounds = 0;
    jobswitch_job *job = nullptr;
    int answer = jobswitch_start_job(&job, &ret, job_nest, &depth, sizeof depth);
    jobswitch_job *handle = job;
    while (answer == JOBSWITCH_PAUSE) {
        assert_ptr_equal(job, handle);
        assert_false(jobswitch_in_job());
        assert_null(jobswitch_get_current_job());
        rounds++;
        answer = resume(job, ret);
    }
    assert_int_equal(answer, JOBSWITCH_FINISH);
    assert_int_equal(nesting.wrong, 0);
    assert_int_equal(rounds, depth_most); // each pause reached the root once
    for (int i = 0; i < depth_most; i++)
        assert_int_equal(nesting.order[i], depth_most - 1 - i);
    assert_int_equal(stats_now().jobs_idle, depth_most);
}

// The pages of these jobs' blocks, but for those that others need.
static size_t blocks_protect(const std::vector<jobswitch_job *> &jobs,
                             const std::vector<jobswitch_job *> &needed, int protection)
{
    size_t page = size_t(sysconf(_SC_PAGESIZE));
    auto page_of = [page](size_t offset) {
        return (reinterpret_cast<uintptr_t>(arena_look().base) + offset) & ~(page - 1);
    };
    std::set<uintptr_t> pages, left;
    for (jobswitch_job *j : needed) {
        left.insert(page_of(handle_offset(j)));
        // The header of its chunk is looked at, too.
        left.insert(page_of(handle_offset(j) & ~(arena_chunk_bytes - 1)));
    }
    size_t count = 0;
    for (jobswitch_job *j : jobs) {
        uintptr_t at = page_of(handle_offset(j));
        count += !left.count(at) && (pages.insert(at), true);
    }
    for (uintptr_t at : pages)
        CHILD_NEEDS(mprotect(reinterpret_cast<void *>(at), page, protection) == 0);
    return count;
}

static constexpr int chain_most = 1000;
static struct {
    std::vector<jobswitch_job *> waiting;
    int wrong;
} chain;

// At the bottom nothing looks at the jobs that wait in between: it would crash.
static void chain_end()
{
    jobswitch_job *self = jobswitch_get_current_job(), *job = nullptr, *other = start_paused();
    int ret = 0, twice = 2;
    jobswitch_start_job(&job, &ret, job_pause_times, &twice, sizeof twice);
    jobswitch_job *idle = other;
    jobswitch_start_job(&other, &ret, nullptr, nullptr, 0); // ends: the next to be started
    std::vector<jobswitch_job *> needed = {chain.waiting.front(), chain.waiting.back(), self,
                                           job, idle};
    CHILD_NEEDS(blocks_protect(chain.waiting, needed, PROT_NONE) > chain_most / 4);
    chain.wrong += resume(job, ret) != JOBSWITCH_PAUSE;
    chain.wrong += jobswitch_start_job(&other, &ret, job_return_int, nullptr, 0) !=
                   JOBSWITCH_FINISH;
    chain.wrong += resume(job, ret) != JOBSWITCH_FINISH || ret != 2;
    chain.wrong += !jobswitch_in_job() || jobswitch_get_current_job() != self;
    chain.wrong += jobswitch_job_cancelled();
    chain.wrong += stats_now().jobs_running != chain_most || stats_now().jobs_paused != 0;
    jobswitch_block_pause();
    chain.wrong += !jobswitch_pause_job();
    jobswitch_unblock_pause();
    blocks_protect(chain.waiting, needed, PROT_READ | PROT_WRITE);
}

static int chain_job(void *)
{
    jobswitch_job *self = jobswitch_get_current_job(), *job = nullptr;
    int ret = 0;
    chain.waiting.push_back(self);
    size_t depth = chain.waiting.size();
    if (chain.waiting.size() < chain_most)
        chain.wrong += jobswitch_start_job(&job, &ret, chain_job, nullptr, 0) !=
                       JOBSWITCH_FINISH;
    else
        chain_end();
    chain.wrong += jobswitch_get_current_job() != self;
    chain.wrong += stats_now().jobs_running != depth;
    return 0;
}

static void nesting_costs_the_same_at_any_depth(void **)
{
    outcome o = run_child([] {
        jobswitch_job *job = nullptr;
        int ret = 0;
        CHILD_NEEDS(jobswitch_start_job(&job, &ret, chain_job, nullptr, 0) ==
                    JOBSWITCH_FINISH);
        CHILD_NEEDS(chain.wrong == 0);
        CHILD_NEEDS(stats_now().jobs_running == 0);
        return 0;
    });
    assert_child_content(o);
}

// Who resumes need not be who started.
static void a_job_changes_its_starter(void **)
{
    jobswitch_job *inner = nullptr, *outer = nullptr, *seen[4] = {};
    int answers[3] = {}, ret = 0, ret_inner = 0;
    auto pauses = [&] {
        seen[0] = jobswitch_get_current_job();
        jobswitch_pause_job();
        seen[1] = jobswitch_get_current_job();
        jobswitch_pause_job();
        return 40;
    };
    auto starts = [&] {
        answers[0] = start(inner, ret_inner, pauses);
        return 41;
    };
    auto resumes = [&] {
        jobswitch_job *self = jobswitch_get_current_job();
        answers[1] = resume(inner, ret_inner);
        seen[2] = jobswitch_get_current_job() == self ? self : nullptr;
        return 42;
    };
    // Started in a job, which ends; resumed in another; ended from the root.
    assert_int_equal(start(outer, ret, starts), JOBSWITCH_FINISH);
    assert_int_equal(ret, 41);
    assert_int_equal(answers[0], JOBSWITCH_PAUSE);
    int reason; // nor does it stay nested: the root's resumes are fast ones
    assert_int_equal(job_find(inner, &reason)->gate & gate_nested, 0);
    assert_int_equal(stats_now().jobs_paused, 1);
    assert_int_equal(start(outer, ret, resumes), JOBSWITCH_FINISH);
    assert_int_equal(ret, 42);
    assert_int_equal(answers[1], JOBSWITCH_PAUSE);
    assert_non_null(seen[2]);
    assert_int_equal(resume(inner, ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 40);
    assert_ptr_equal(seen[0], seen[1]);

    // Started from the root, ended in a job.
    assert_int_equal(start(inner, ret_inner, pauses), JOBSWITCH_PAUSE);
    assert_int_equal(resume(inner, ret_inner), JOBSWITCH_PAUSE);
    assert_int_equal(start(outer, ret, resumes), JOBSWITCH_FINISH);
    assert_int_equal(answers[1], JOBSWITCH_FINISH);
    assert_int_equal(ret_inner, 40);
    assert_non_null(seen[2]);

    // Two that wait for each other in turn: b runs a job that a left paused.
    jobswitch_job *a = nullptr, *b = nullptr;
    jobswitch_job *left = nullptr;
    auto leaves = [&] {
        answers[0] = start(left, ret_inner, pauses);
        jobswitch_pause_job();
        answers[2] = resume(left, ret_inner);
        return 1;
    };
    auto takes = [&] {
        answers[1] = resume(left, ret_inner);
        return 2;
    };
    assert_int_equal(start(a, ret, leaves), JOBSWITCH_PAUSE);
    assert_int_equal(start(b, ret, takes), JOBSWITCH_FINISH);
    assert_int_equal(resume(a, ret), JOBSWITCH_FINISH);
    assert_int_equal(answers[1], JOBSWITCH_PAUSE);
    assert_int_equal(answers[2], JOBSWITCH_FINISH);
}

// ---- blocks ----------------------------------------------------------------------------

static void blocked_pauses_return_at_once(void **)
{
    assert_int_equal(jobswitch_init_thread(1, 1), 1);
    int step = 0;
    auto body = [&] {
        jobswitch_unblock_pause(); // without a block: no effect
        jobswitch_pause_job();
        for (int depth = 1; depth <= 3; depth++)
            jobswitch_block_pause();
        for (int depth = 3; depth >= 1; depth--) {
            step = 10 * depth;
            if (jobswitch_pause_job() != 1)
                return -1;
            step++;
            jobswitch_unblock_pause();
        }
        jobswitch_pause_job();
        jobswitch_unblock_pause(); // one too many does not count ahead
        jobswitch_unblock_pause();
        jobswitch_block_pause();
        step = 50;
        jobswitch_pause_job();
        step = 51;
        return 1;
    };
    jobswitch_job *job = nullptr;
    int ret = 0;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    assert_int_equal(step, 0);
    assert_int_equal(resume(job, ret), JOBSWITCH_PAUSE);
    assert_int_equal(step, 11);
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_int_equal(step, 51);
    // It ended with a block: the next on the same stack has none.
    finish(start_paused());
    auto blocks = [] { return jobswitch_block_pause(), jobswitch_block_pause(), 2; };
    assert_int_equal(start(job, ret, blocks), JOBSWITCH_FINISH); // never paused
    finish(start_paused());
}

static void blocks_are_each_jobs_own(void **)
{
    int outer = 0, inner = 0, ret_inner;
    jobswitch_job *job = nullptr, *nested = nullptr;
    auto pauses = [&] {
        jobswitch_pause_job();
        jobswitch_block_pause();
        inner = jobswitch_pause_job();
        return 0;
    };
    auto body = [&] {
        jobswitch_block_pause();
        outer = start(nested, ret_inner, pauses);
        outer += 10 * jobswitch_pause_job();
        outer += 100 * resume(nested, ret_inner);
        outer += 1000 * jobswitch_pause_job(); // the inner one's has gone with it
        jobswitch_unblock_pause();
        jobswitch_pause_job();
        return 0;
    };
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    assert_int_equal(outer, JOBSWITCH_PAUSE + 10 + 100 * JOBSWITCH_FINISH + 1000);
    assert_int_equal(inner, 1);
    // A blocked job resumed by another: the block is still its own.
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
}

// More than the count holds: it stays at its end.
static void blocks_without_end(void **)
{
    int answer = 0;
    uint32_t gate = 0;
    auto body = [&] {
        job_set_gate(*job_settle(), job_current()->gate | gate_blocks);
        jobswitch_block_pause();
        gate = job_current()->gate;
        answer = jobswitch_pause_job();
        return 8;
    };
    jobswitch_job *job = nullptr;
    int ret = 0;
    assert_int_equal(start(job, ret, body), JOBSWITCH_FINISH);
    assert_int_equal(ret, 8);
    assert_int_equal(answer, 1);
    assert_int_equal(gate & gate_blocks, gate_blocks);
    assert_int_equal(gate & (gate_waiting | gate_nested), 0);
}

static void outside_a_job(void **)
{
    reason_reset();
    for (int round = 0; round < 2; round++) {
        assert_int_equal(jobswitch_pause_job(), 1);
        jobswitch_block_pause();
        jobswitch_unblock_pause();
        jobswitch_unblock_pause();
        jobswitch_block_pause();
        assert_int_equal(jobswitch_pause_job(), 1);
        assert_int_equal(jobswitch_in_job(), 0);
        assert_null(jobswitch_get_current_job());
        finish(start_paused()); // which no block has reached
    }
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NONE);
    int answers[3] = {-1, -1, -1};
    std::thread([&] { // a thread that has never had a pool
        answers[0] = jobswitch_pause_job();
        answers[1] = jobswitch_in_job();
        answers[2] = jobswitch_get_current_job() != nullptr;
        jobswitch_cleanup_thread();
        jobswitch_cleanup(1);
    }).join();
    assert_int_equal(answers[0], 1);
    assert_int_equal(answers[1], 0);
    assert_int_equal(answers[2], 0);
}

static void in_job_and_current_job(void **)
{
    jobswitch_job *self[2] = {};
    int inside[2] = {};
    auto body = [&] {
        for (int i = 0; i < 2; i++) {
            self[i] = jobswitch_get_current_job();
            inside[i] = jobswitch_in_job();
            jobswitch_pause_job();
        }
        return 0;
    };
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    assert_ptr_equal(self[0], job);
    assert_int_equal(jobswitch_in_job(), 0);
    assert_null(jobswitch_get_current_job());
    assert_int_equal(resume(job, ret), JOBSWITCH_PAUSE);
    assert_ptr_equal(self[1], job);
    assert_int_equal(inside[0] + inside[1], 2);
    finish(job);
    assert_int_equal(jobswitch_in_job(), 0);
}

// ---- giving back ---------------------------------------------------------------------

static void clean_up_inside_a_job_is_refused(void **)
{
    std::string said[4];
    auto inner = [&] {
        said[3] = try_failure(0, JOBSWITCH_E_IN_JOB,
                              [] { return jobswitch_cleanup_thread(), 0L; });
        return 0;
    };
    auto body = [&] {
        said[0] = try_failure(0, JOBSWITCH_E_IN_JOB,
                              [] { return jobswitch_cleanup_thread(), 0L; });
        said[1] = try_failure(0, JOBSWITCH_E_IN_JOB,
                              [] { return jobswitch_cleanup(1), 0L; });
        said[2] = try_failure(0, JOBSWITCH_E_IN_JOB,
                              [] { return jobswitch_cleanup(0), 0L; });
        jobswitch_job *job = nullptr;
        int ret;
        start(job, ret, inner);
        jobswitch_pause_job();
        return 6;
    };
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    for (const std::string &text : said)
        assert_string_equal(text.c_str(), "");
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 6);
}

static void assert_stats(int line, size_t idle, size_t paused, size_t started,
                         size_t finished, size_t discarded, size_t mapped,
                         const jobswitch_stats &base)
{
    jobswitch_stats now = stats_now();
    const uint64_t rows[][2] = {{now.jobs_idle, idle},
                              {now.jobs_paused, paused},
                              {now.jobs_running, 0},
                              {now.jobs_started - base.jobs_started, started},
                              {now.jobs_finished - base.jobs_finished, finished},
                              {now.jobs_discarded - base.jobs_discarded, discarded},
                              {now.stacks_mapped, mapped}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i][0] != rows[i][1])
            fail_msg("line %d, number %zu: %llu, not %llu", line, i, (unsigned long long)rows[i][0],
                     (unsigned long long)rows[i][1]);
}
#define ASSERT_STATS(...) assert_stats(__LINE__, __VA_ARGS__)

static void stats_count_exactly(void **)
{
    jobswitch_stats base = stats_now(), inside[2] = {};
    assert_string_equal(base.guard_method, "none");
    ASSERT_STATS(0, 0, 0, 0, 0, 0, base);
    assert_int_equal(jobswitch_init_thread(0, 4), 1);
    ASSERT_STATS(4, 0, 0, 0, 0, 4, base);
    assert_string_not_equal(stats_now().guard_method, "none");
    jobswitch_job *jobs[6], *job = nullptr;
    for (auto &paused : jobs)
        paused = start_paused();
    ASSERT_STATS(0, 6, 6, 0, 0, 6, base);
    for (int i = 0; i < 2; i++)
        finish(jobs[i]);
    ASSERT_STATS(2, 4, 6, 2, 0, 6, base);
    auto inner = [&] { return inside[1] = stats_now(), 0; };
    auto outer = [&] {
        inside[0] = stats_now();
        jobswitch_job *nested = nullptr;
        int ret;
        return start(nested, ret, inner);
    };
    int ret;
    assert_int_equal(start(job, ret, outer), JOBSWITCH_FINISH);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(inside[i].jobs_running, i + 1);
        assert_int_equal(inside[i].jobs_idle, 1 - i);
        assert_int_equal(inside[i].jobs_paused, 4);
        assert_int_equal(inside[i].stacks_mapped, 6);
    }
    ASSERT_STATS(2, 4, 8, 4, 0, 6, base);
    // Enough ends that the pool reviews itself in between.
    for (int i = 0; i < 5000; i++) {
        job = nullptr;
        jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0);
    }
    ASSERT_STATS(2, 4, 5008, 5004, 0, 6, base);
    jobswitch_cleanup_thread();
    ASSERT_STATS(0, 0, 5008, 5004, 4, 0, base);
    assert_string_equal(stats_now().guard_method, "none");
    assert_int_equal(stats_now().stack_bytes_resident_max, 0);
    for (int i = 2; i < 6; i++)
        assert_resume_fails(jobs[i], JOBSWITCH_E_FINISHED);
    job = start_paused();
    ASSERT_STATS(0, 1, 5009, 5004, 4, 1, base);
    finish(job);
    jobswitch_cleanup_thread();
    jobswitch_cleanup_thread();
    ASSERT_STATS(0, 0, 5009, 5005, 4, 0, base);
    // Another thread that takes over the record begins at 0.
    std::thread([] { finish(start_paused()); }).join();
    jobswitch_stats others = {};
    std::thread([&] { others = stats_now(); }).join();
    assert_int_equal(others.jobs_started + others.jobs_finished + others.jobs_discarded, 0);
}

// ---- what is short ---------------------------------------------------------------------

static void shortages_are_told(void **)
{
    if (plain)
        assert_child_content(run_child([] {
            jobswitch_init_thread(0, 1);
            rlimit little = {64 << 20, 64 << 20};
            setrlimit(RLIMIT_AS, &little);
            jobswitch_stats before = stats_now();
            CHILD_NEEDS(jobswitch_init_thread(0, 5000) == 0);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_NO_MEMORY);
            jobswitch_stats after = stats_now();
            CHILD_NEEDS(memcmp(&before, &after, sizeof before) == 0);
            finish(start_paused());
        }));
    assert_child_content(run_child([] {
        stack_force_method(guard_method::prot_none);
        stack_force_mappings(40);
        CHILD_NEEDS(jobswitch_init_thread(0, 5) == 1);
        CHILD_NEEDS(strcmp(stats_now().guard_method, "prot-none") == 0);
        CHILD_NEEDS(jobswitch_init_thread(0, 50) == 0);
        CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_NO_MAPPINGS);
        CHILD_NEEDS(stats_now().jobs_idle == 5);
        reason_reset();
        jobswitch_job *job = nullptr;
        int ret = 4, answer;
        while ((answer = jobswitch_start_job(&job, &ret, job_pause_times, nullptr, 0)) ==
               JOBSWITCH_PAUSE)
            job = nullptr;
        CHILD_NEEDS(answer == JOBSWITCH_ERR && !job && ret == 4); // not NO_JOBS
        CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_NO_MAPPINGS);
        CHILD_NEEDS(stats_now().jobs_paused == 20);
    }));
    if (valgrind)
        return; // which has limits of its own
    assert_child_content(run_child([] {
        jobswitch_job *job = start_paused();
        rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        CHILD_NEEDS(jobswitch_get_wait_fd(job) == -1);
        CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_NO_DESCRIPTORS);
        CHILD_NEEDS(stats_now().descriptors_open == 0);
        jobswitch_wake(job);
        finish(job);
    }));
}

// ---- jobs left by the back door ----------------------------------------------------------

static jmp_buf out;

static int job_longjmp(void *) { longjmp(out, 1); }

// The jump itself, without what a checking C library says to it.
static void leave_job(int pauses)
{
    static jobswitch_job *volatile job;
    job = nullptr;
    static int ret;
    jobswitch_job *handle = nullptr;
    if (pauses) {
        static int (*const body)(void *) = [](void *) -> int {
            jobswitch_pause_job();
            longjmp(out, 1);
        };
        jobswitch_start_job(&handle, &ret, body, nullptr, 0);
        job = handle;
    }
    if (setjmp(out) == 0) {
        handle = job;
        jobswitch_start_job(&handle, &ret, job_longjmp, nullptr, 0);
    }
}

// Then a thread cannot look up where its stack lies.
static void leave_no_descriptors()
{
    rlimit none = {0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
}

static void a_job_left_by_longjmp(void **)
{
    if (sanitized)
        skip_because("a sanitizer takes the jump for one within a stack");
    for (int pauses : {0, 1, 2, 3}) {
        auto body = [pauses] {
            jobswitch_job *paused = start_paused(), *job = nullptr;
            jobswitch_stats before = stats_now();
            leave_job(pauses);
            int ret = 3;
            for (int i = 0; i < 2; i++) {
                reason_reset();
                CHILD_NEEDS(jobswitch_start_job(&job, &ret, job_return_int, nullptr,
                                                0) == JOBSWITCH_ERR);
                CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_JOB_LEFT);
                reason_reset();
                CHILD_NEEDS(resume(paused, ret) == JOBSWITCH_ERR);
                CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_JOB_LEFT);
                reason_reset();
                CHILD_NEEDS(jobswitch_pause_job() == 0);
                CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_JOB_LEFT);
                CHILD_NEEDS(!job && ret == 3 && paused);
            }
            jobswitch_cleanup_thread();
            CHILD_NEEDS(!jobswitch_in_job());
            CHILD_NEEDS(stats_now().jobs_discarded == before.jobs_discarded + 2);
            CHILD_NEEDS(stats_now().jobs_running == 0);
            CHILD_NEEDS(resume(paused, ret) == JOBSWITCH_ERR);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_FINISHED);
            for (int i = 0; i < 20; i++)
                finish(start_paused());
        };
        assert_child_content(run_child([&] {
            if (pauses == 3)
                leave_no_descriptors();
            if (pauses == 2) // not the main thread's stack
                std::thread(body).join();
            else
                body();
        }));
    }
}

// A job may go on to a stack of its own making: that is no leaving.
static ucontext_t job_side, own_side;
static int own_answer;

static void pause_and_start_there()
{
    jobswitch_job *job = nullptr;
    int ret = 0;
    own_answer = jobswitch_pause_job();
    own_answer += jobswitch_start_job(&job, &ret, job_pause_times, nullptr, 0);
    own_answer += resume(job, ret);
    own_answer += jobswitch_pause_job();
}

static void go_on_to_another_stack()
{
    std::vector<char> memory(262144);
    auto body = [&] {
        getcontext(&own_side);
        own_side.uc_stack.ss_sp = memory.data();
        own_side.uc_stack.ss_size = memory.size();
        own_side.uc_link = &job_side;
        makecontext(&own_side, pause_and_start_there, 0);
        swapcontext(&job_side, &own_side);
        return 12;
    };
    jobswitch_job *job = nullptr;
    int ret = 0;
    assert_int_equal(start(job, ret, body), JOBSWITCH_PAUSE);
    assert_int_equal(resume(job, ret), JOBSWITCH_PAUSE);
    assert_int_equal(resume(job, ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 12);
    assert_int_equal(own_answer, 1 + JOBSWITCH_PAUSE + JOBSWITCH_FINISH + 1);
}

static void a_job_on_a_stack_of_its_own_making(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool would have to be told of that stack");
    assert_child_content(run_child([] { // first: what was looked up is kept
        leave_no_descriptors();
        go_on_to_another_stack();
    }));
    go_on_to_another_stack();
}

// Into the job that waits: it is told the same, and the clean-up is refused,
// for it would take the stack it stands on.
static void a_nested_job_left_by_longjmp(void **)
{
    if (sanitized)
        skip_because("a sanitizer takes the jump for one within a stack");
    outcome result = run_child([] {
        auto body = [] {
            static int ret;
            jobswitch_job *job = nullptr;
            if (setjmp(out) == 0)
                jobswitch_start_job(&job, &ret, job_longjmp, nullptr, 0);
            CHILD_NEEDS(jobswitch_pause_job() == 0);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_JOB_LEFT);
            reason_reset();
            job = nullptr;
            CHILD_NEEDS(jobswitch_start_job(&job, &ret, job_return_int, nullptr, 0) ==
                        JOBSWITCH_ERR);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_JOB_LEFT);
            jobswitch_cleanup_thread();
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_IN_JOB);
            dprintf(STDERR_FILENO, "told\n");
            _exit(0);
            return 0;
        };
        jobswitch_job *job = nullptr;
        int ret;
        start(job, ret, body);
        _exit(2);
    });
    assert_child_content(result);
    assert_true(result.says("told"));
}

// That job may not end as if nothing had happened: its starter would be told
// that it is done, and not its value. Told all the same or named, but not that.
static void a_job_ends_that_was_jumped_into(void **)
{
    if (sanitized)
        skip_because("a sanitizer takes the jump for one within a stack");
    outcome result = run_child([] {
        auto body = [] {
            static int ret;
            jobswitch_job *job = nullptr;
            if (setjmp(out) == 0)
                jobswitch_start_job(&job, &ret, job_longjmp, nullptr, 0);
            return 5;
        };
        finish(start_paused());
        jobswitch_job *job = nullptr;
        int ret = 3;
        CHILD_NEEDS(start(job, ret, body) == JOBSWITCH_FINISH);
        CHILD_NEEDS(ret == 5 && !job);
    });
    if (!(result.aborted() && result.says("longjmp")))
        assert_child_content(result);
}

static const char unwound[] = "jobswitch: pthread_exit or cancellation inside a job";

static void a_thread_that_ends_inside_a_job(void **)
{
    if (valgrind)
        skip_because("the child of a tool's child is silent");
#ifdef JOBSWITCH_WITH_TSAN
    skip_because("ThreadSanitizer's pthread_exit does not know of its own fibers");
#endif
    static const struct {
        const char *what;
        int (*func)(void *);
    } rows[] = {
        {"pthread_exit", [](void *) -> int { pthread_exit(nullptr); }},
        {"pthread_exit after a pause",
         [](void *) -> int {
             jobswitch_pause_job();
             pthread_exit(nullptr);
         }},
        {"pthread_exit in a nested job",
         [](void *) -> int {
             jobswitch_job *job = nullptr;
             int ret;
             return jobswitch_start_job(
                 &job, &ret, [](void *) -> int { pthread_exit(nullptr); }, nullptr, 0);
         }},
        {"pthread_cancel",
         [](void *) -> int {
             pthread_cancel(pthread_self());
             pthread_testcancel();
             return 0;
         }},
        {"pthread_cancel at a cancellation point",
         [](void *) -> int {
             pthread_cancel(pthread_self());
             char c;
             (void)!read(-1, &c, 1);
             return 0;
         }},
    };
    for (const auto &row : rows)
        for (bool main_thread : {true, false}) {
            outcome result = run_child([&] {
                auto run = [&row] {
                    jobswitch_job *job = nullptr;
                    int ret;
                    if (jobswitch_start_job(&job, &ret, row.func, nullptr, 0) ==
                        JOBSWITCH_PAUSE)
                        resume(job, ret);
                };
                if (main_thread)
                    run();
                else
                    std::thread(run).join();
                _exit(3);
            });
            if (!result.aborted() || !result.says(unwound))
                fail_msg("%s: ended with %#x and said \"%s\"", row.what,
                         unsigned(result.status), result.said.c_str());
        }
}

// A C library need not unwind the thread that ends: musl's runs its destructors
// right where it stands.
static void a_thread_that_ends_without_unwinding(void **)
{
    if (sanitized || valgrind)
        skip_because("the child of a tool's child is silent");
    outcome result = run_child([] {
        auto body = [] {
            pool *p = pool_thread_state.pool;
            for (const known_key &known : known_keys)
                if (known.destructor && pthread_getspecific(known.key) == p)
                    known.destructor(p);
            return 0;
        };
        jobswitch_job *job = nullptr;
        int ret;
        start(job, ret, body);
        _exit(3);
    });
    if (!result.aborted() || !result.says(unwound))
        fail_msg("ended with %#x and said \"%s\"", unsigned(result.status),
                 result.said.c_str());
}

// Its machine code lies in a section of its own, so that an address is
// recognised; hot, or the compiler would part it.
#define OF_THROWER __attribute__((section("thrower"), noinline, hot))
extern "C" const char __start_thrower[], __stop_thrower[];
static volatile int thrown = 5;

OF_THROWER static int job_throw(void *)
{
    if (thrown)
        throw int(thrown);
    return 0;
}

OF_THROWER static int job_throw_later(void *)
{
    jobswitch_pause_job();
    if (thrown)
        throw int(thrown);
    return 0;
}

static void an_exception_that_leaves_a_job(void **)
{
    for (auto func : {job_throw, job_throw_later}) {
        outcome result = run_child([func] {
            std::set_terminate([] {
                void *frames[64];
                int count = backtrace(frames, 64), found = 0;
                for (int i = 0; i < count; i++) {
                    // A call that does not return may be the section's last word.
                    auto at = reinterpret_cast<const char *>(
                        begin_of(reinterpret_cast<uintptr_t>(frames[i])) - 1);
                    found += at >= __start_thrower && at < __stop_thrower;
                }
                dprintf(STDERR_FILENO, "terminate: %d frame(s) of the job\n", found);
                abort();
            });
            jobswitch_job *job = nullptr;
            int ret;
            try {
                if (jobswitch_start_job(&job, &ret, func, nullptr, 0) == JOBSWITCH_PAUSE)
                    resume(job, ret);
            } catch (...) {
                _exit(4); // not even the starter's catch is reached
            }
            _exit(3);
        });
        // (By EHABI no walk gets out of std::terminate.)
        if (!result.aborted() ||
            !result.says(unwinds_by_rows ? "terminate: 1 frame(s)" : "terminate: 0 frame(s)"))
            fail_msg("ended with %#x and said \"%s\"", unsigned(result.status),
                     result.said.c_str());
    }
}

// Exceptions that stay within the job are its own affair.
static void exceptions_within_a_job(void **)
{
    auto body = [] {
        int sum = 0;
        for (int i = 1; i <= 3; i++)
            try {
                jobswitch_pause_job();
                throw i;
            } catch (int value) {
                sum += value;
            }
        return sum;
    };
    jobswitch_job *job = nullptr;
    int ret = 0, answer = start(job, ret, body);
    while (answer == JOBSWITCH_PAUSE)
        answer = resume(job, ret);
    assert_int_equal(answer, JOBSWITCH_FINISH);
    assert_int_equal(ret, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_fresh, pool_fresh)

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(no_thread_key), // first
        TEST(every_reason_has_its_sentence),
        TEST(version_is_the_headers),
        TEST(last_error_is_the_threads_and_kept),
        TEST(bad_options_change_nothing),
        TEST(options_of_other_versions),
        TEST(stats_of_other_versions),
        TEST(tools_that_are_none),
        TEST(a_tool_is_copied),
        TEST(no_limit_means_none),
        TEST(the_first_start_makes_a_pool),
        TEST(a_second_init_takes_new_limits),
        TEST(a_second_init_with_other_stacks),
        TEST(the_callers_stacks),
        TEST(making_ahead_fails_half_way),
        TEST(larger_stacks_that_do_not_come),
        TEST(the_allocator_may_not_call),
        TEST(a_destructor_may_not_call),
        TEST(initial_stacks_are_touched_on_demand),
        TEST(defaults_are_as_written),
        TEST(kept_warm_means_never_trimmed),
        TEST(bad_starts_change_nothing),
        TEST(a_bad_size_makes_no_stack),
        TEST(no_jobs_at_the_limit),
        TEST(arguments_are_copied),
        TEST(values_come_back),
        TEST(job_and_ret_may_change_places),
        TEST(what_belongs_to_the_thread),
        TEST(resume_of_what_is_not_paused),
        TEST(stale_handles_stay_stale),
        TEST(jobs_of_another_thread),
        TEST(garbage_is_no_handle),
        TEST(handles_that_were_never_issued),
        TEST(handles_told_to_signal_handlers),
        TEST(wait_calls_with_bad_handles),
        TEST(a_prefetch_is_only_a_hint),
        TEST(nesting_to_a_great_depth),
        TEST(nesting_costs_the_same_at_any_depth),
        TEST(a_job_changes_its_starter),
        TEST(blocked_pauses_return_at_once),
        TEST(blocks_are_each_jobs_own),
        TEST(blocks_without_end),
        TEST(outside_a_job),
        TEST(in_job_and_current_job),
        TEST(clean_up_inside_a_job_is_refused),
        TEST(stats_count_exactly),
        TEST(shortages_are_told),
        TEST(a_job_left_by_longjmp),
        TEST(a_nested_job_left_by_longjmp),
        TEST(a_job_ends_that_was_jumped_into),
        TEST(a_job_on_a_stack_of_its_own_making),
        TEST(a_thread_that_ends_inside_a_job),
        TEST(a_thread_that_ends_without_unwinding),
        TEST(an_exception_that_leaves_a_job),
        TEST(exceptions_within_a_job),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
