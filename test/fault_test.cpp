// SPDX-License-Identifier: Apache-2.0
//
// What happens when something runs out, through the public API: memory,
// address space, mappings, descriptors, stack. And whether everything comes
// back: what lay unused, and what a thread leaves that just ends.
//
// Nearly everything happens in children, which can be given limits and may
// die. A child ends with 0, or says on stderr what was not so.

#include <alloca.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "handle.h"
#include "job.h"
#include "jobswitch/jobswitch.h"
#include "pool.h"
#include "stack.h"
#include "support.h"

#ifdef JOBSWITCH_WITH_TSAN
static constexpr size_t jobs_most = 1000; // fibers are dear
#else
static constexpr size_t jobs_most = 10000;
#endif

// ---- helpers -------------------------------------------------------------------

#define CHECK CHILD_NEEDS

template <class F> static void in_child(F body)
{
    int status = child([&] {
        body();
        return 0;
    }, 240);
    if (WIFSIGNALED(status))
        fail_msg("the child died of signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static size_t descriptors() { return size_t(open_fds()); }

static jobswitch_stats stats_now()
{
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    CHECK(jobswitch_get_stats(&stats));
    return stats;
}

// Every job is in one place, and every one that started has a fate.
static jobswitch_stats consistent_stats()
{
    jobswitch_stats stats = stats_now();
    CHECK(stats.stacks_mapped ==
          stats.jobs_idle + stats.jobs_paused + stats.jobs_running);
    CHECK(stats.jobs_started == stats.jobs_finished + stats.jobs_discarded +
                                    stats.jobs_paused + stats.jobs_running);
    return stats;
}

static size_t resident_most() { return stats_now().stack_bytes_resident_max; }

static void limit_set(int resource, size_t value)
{
    rlimit limit;
    CHECK(getrlimit(decltype(RLIMIT_AS)(resource), &limit) == 0);
    limit.rlim_cur = value == SIZE_MAX ? limit.rlim_max : value;
    CHECK(setrlimit(decltype(RLIMIT_AS)(resource), &limit) == 0);
}

// A clock that only stands, until the test moves it.
static uint64_t clock_now_ns = 1000000000000;
static uint64_t test_clock_ns() { return clock_now_ns; }

static bool guards_install()
{
    stack_force_method(guard_method::none);
    CHECK(jobswitch_init_thread(0, 1));
    bool install = strcmp(stats_now().guard_method, "guard-install") == 0;
    jobswitch_cleanup_thread();
    return install;
}

static const guard_method both_methods[] = {guard_method::guard_install,
                                            guard_method::prot_none};

static bool method_possible(guard_method method)
{
    static int install = -1;
    if (install < 0) {
        install = WEXITSTATUS(child([] { return guards_install() ? 1 : 0; }));
    }
    return install || method != guard_method::guard_install;
}

// ---- jobs ----------------------------------------------------------------------

struct task {
    size_t touch_bytes;
    unsigned number;
    bool wants_fd;
};

// Uses some stack, pauses, and finds it as it was.
static int pauses_once(void *args)
{
    auto t = *static_cast<task *>(args);
    auto room = static_cast<volatile unsigned char *>(alloca(t.touch_bytes + 64));
    for (size_t at = 0; at < t.touch_bytes; at += 512)
        room[at] = static_cast<unsigned char>(t.number + at / 512);
    if (t.wants_fd && jobswitch_get_wait_fd(jobswitch_get_current_job()) < 0)
        return -1;
    if (jobswitch_pause_job() != 1)
        return -2;
    for (size_t at = 0; at < t.touch_bytes; at += 512)
        if (room[at] != static_cast<unsigned char>(t.number + at / 512))
            return -3;
    return int(t.number);
}

static jobswitch_job *jobs[40000];

static int start(size_t i, size_t touch_bytes = 0, bool wants_fd = false)
{
    task t = {touch_bytes, unsigned(i), wants_fd};
    int ret = -77;
    jobswitch_job *job = nullptr;
    int answer = jobswitch_start_job(&job, &ret, pauses_once, &t, sizeof t);
    CHECK(ret == -77);
    CHECK((answer == JOBSWITCH_PAUSE) == (job != nullptr));
    if (job)
        jobs[i] = job;
    return answer;
}

static void finish(size_t i)
{
    int ret = -77;
    CHECK(jobswitch_start_job(&jobs[i], &ret, nullptr, nullptr, 0) ==
          JOBSWITCH_FINISH);
    CHECK(ret == int(i) && !jobs[i]);
}

static void start_many(size_t first, size_t count, size_t touch_bytes = 0)
{
    for (size_t i = first; i < first + count; i++)
        CHECK(start(i, touch_bytes) == JOBSWITCH_PAUSE);
}

static void finish_many(size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        finish(i);
}

static void burst(size_t count, size_t touch_bytes)
{
    start_many(0, count, touch_bytes);
    finish_many(0, count);
}

// Starts until it fails; how many it were.
static size_t start_until_error(size_t first, int expected_reason)
{
    size_t i = first;
    for (; i < sizeof jobs / sizeof *jobs; i++) {
        int answer = start(i, 100);
        if (answer == JOBSWITCH_PAUSE)
            continue;
        CHECK(answer == JOBSWITCH_ERR);
        CHECK(jobswitch_last_error() == expected_reason);
        return i - first;
    }
    CHECK(!"it never failed");
    return 0;
}

// ---- no memory -------------------------------------------------------------------

static void no_memory(size_t room_bytes, guard_method method, bool known_thread)
{
    stack_force_method(method);
    if (known_thread)
        (void)stats_now();
    jobswitch_job *job = nullptr;
    int ret = -77;
    limit_set(RLIMIT_AS, (status_kib("VmSize") << 10) + room_bytes);

    // All or none.
    CHECK(!jobswitch_init_thread(0, 39000));
    CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MEMORY);
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    if (known_thread || room_bytes >= 65536) {
        stats = consistent_stats();
        CHECK(stats.stacks_mapped == 0 && stats.jobs_started == 0);
    }

    size_t count = start_until_error(0, JOBSWITCH_E_NO_MEMORY);
    CHECK(start_until_error(count, JOBSWITCH_E_NO_MEMORY) == 0);
    if (room_bytes >= size_t(3) << 20)
        CHECK(count >= room_bytes / 200000);
    if (count) {
        CHECK(consistent_stats().jobs_paused == count);
        // Nor does a failing init_thread disturb what is there.
        CHECK(!jobswitch_init_thread(0, 39000));
        CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MEMORY);
        CHECK(consistent_stats().jobs_paused == count);
        // A new end makes room for a new start, again and again.
        for (int round = 0; round < 3; round++) {
            size_t some = count / 2 + 1;
            finish_many(0, some);
            CHECK(consistent_stats().jobs_idle == some);
            start_many(0, some, 3000);
            CHECK(start(count) == JOBSWITCH_ERR);
            CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MEMORY);
        }
        // Arguments too large for a stack want memory of their own; the job
        // that was taken for them stays in the pool.
        static char large[8 << 20];
        finish(0);
        for (int i = 0; i < 5; i++) {
            if (room_bytes > sizeof large)
                break;
            CHECK(jobswitch_start_job(&job, &ret, pauses_once, large,
                                      sizeof large) == JOBSWITCH_ERR);
            CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MEMORY);
            CHECK(!job && ret == -77);
            CHECK(consistent_stats().jobs_idle == 1);
        }
        CHECK(start(0) == JOBSWITCH_PAUSE);
    }

    limit_set(RLIMIT_AS, SIZE_MAX);
    start_many(count, 2000, 100);
    CHECK(consistent_stats().jobs_paused == count + 2000);
    finish_many(0, count + 2000);
    CHECK(consistent_stats().jobs_idle == count + 2000);
    CHECK(jobswitch_init_thread(0, 3000));
    CHECK(consistent_stats().jobs_idle >= 3000);
    jobswitch_cleanup_thread();
    stats = consistent_stats();
    CHECK(stats.stacks_mapped == 0 && stats.stack_bytes_resident_max == 0);
    start_many(0, 100);
    finish_many(0, 100);
}

static void test_no_memory(void **)
{
    if (!plain)
        skip_because("the tool needs address space itself");
    for (guard_method method : both_methods)
        for (size_t room : {size_t(0), size_t(4096), size_t(20000), size_t(65536),
                            size_t(300000), size_t(1200000), size_t(3) << 20,
                            size_t(10) << 20, size_t(60) << 20, size_t(400) << 20})
            for (bool known : {false, true})
                if (method_possible(method))
                    in_child([=] { no_memory(room, method, known); });
}

// Where there was little address space at first, there are few handles.
static void test_no_handles(void **)
{
    if (!plain)
        skip_because("the tool needs address space itself");
    in_child([] {
        limit_set(RLIMIT_AS, size_t(64) << 20);
        start_many(0, 1);
        limit_set(RLIMIT_AS, SIZE_MAX);
        size_t count = 1 + start_until_error(1, JOBSWITCH_E_NO_HANDLES);
        constexpr size_t blocks = (size_t(1) << 20) / JS_JOB_BYTES;
        CHECK(count > blocks - 192 && count < blocks);
        CHECK(consistent_stats().jobs_paused == count);
        CHECK(!jobswitch_init_thread(0, count + 1));
        CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_HANDLES);
        CHECK(consistent_stats().stacks_mapped == count);
        finish(0);
        CHECK(start(0) == JOBSWITCH_PAUSE);
        CHECK(start(count) == JOBSWITCH_ERR);
        finish_many(0, count);
        CHECK(jobswitch_init_thread(0, count));
        jobswitch_cleanup_thread();
        start_many(0, count);
        finish_many(0, count);
    });
}

// A descriptor that cannot be kept for reuse is closed.
static void test_no_memory_for_descriptors(void **)
{
    if (!plain)
        skip_because("the tool needs address space itself");
    in_child([] {
        for (size_t i = 0; i < 20; i++)
            CHECK(start(i, 0, true) == JOBSWITCH_PAUSE);
        size_t before = descriptors();
        limit_set(RLIMIT_AS, 4096);
        finish_many(0, 10);
        CHECK(stats_now().descriptors_open == 10);
        limit_set(RLIMIT_AS, SIZE_MAX);
        CHECK(descriptors() == before - 10);
        finish_many(10, 10);
        CHECK(stats_now().descriptors_open == 10);
        CHECK(descriptors() == before - 10);
        CHECK(start(0, 0, true) == JOBSWITCH_PAUSE);
        CHECK(stats_now().descriptors_open == 10);
        finish(0);
        jobswitch_cleanup_thread();
        CHECK(descriptors() == before - 20);
    });
}

// The caller's allocator says no.
static size_t caller_stacks_left, caller_stacks_live;
static void *caller_alloc(size_t bytes, void *)
{
    if (!caller_stacks_left)
        return nullptr;
    caller_stacks_left--;
    caller_stacks_live++;
    return malloc(bytes);
}
static void caller_free(void *stack, size_t, void *)
{
    caller_stacks_live--;
    free(stack);
}

static void test_no_stack_from_caller(void **)
{
    in_child([] {
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        options.stack_alloc = caller_alloc;
        options.stack_free = caller_free;
        options.initial_jobs = 10;
        caller_stacks_left = 9;
        CHECK(!jobswitch_init_thread_with(&options));
        CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_STACK);
        CHECK(caller_stacks_live == 0); // all or none
        CHECK(stats_now().stacks_mapped == 0);
        caller_stacks_left = 12;
        CHECK(jobswitch_init_thread_with(&options));
        CHECK(start_until_error(0, JOBSWITCH_E_NO_STACK) == 12);
        CHECK(consistent_stats().jobs_paused == 12);
        finish_many(0, 6);
        CHECK(start_until_error(0, JOBSWITCH_E_NO_STACK) == 6);
        caller_stacks_left = 1;
        CHECK(start(12) == JOBSWITCH_PAUSE);
        finish_many(0, 13);
        jobswitch_cleanup_thread();
        CHECK(caller_stacks_live == 0);
    });
}

// Failing again and again uses nothing up.
static void test_failing_often(void **)
{
    in_child([] {
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        options.stack_alloc = caller_alloc;
        options.stack_free = caller_free;
        caller_stacks_left = 10;
        CHECK(jobswitch_init_thread_with(&options));
        start_many(0, 10);
        for (int i = 0; i < 30000; i++)
            CHECK(start(10) == JOBSWITCH_ERR);
        CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_STACK);
        // The blocks of ten jobs still fit the first chunk.
        int reason;
        CHECK(arena_offset(arena_take(&reason)) == arena_chunk_bytes);
        options.initial_jobs = 20;
        for (int i = 0; i < 3000; i++) {
            caller_stacks_left = 5;
            CHECK(!jobswitch_init_thread_with(&options));
        }
        // Each time five more, and one that found no stack.
        constexpr size_t chunk_jobs = arena_chunk_bytes / JS_JOB_BYTES - 1;
        constexpr size_t chunks = (10 + 5 + 1 + chunk_jobs - 1) / chunk_jobs;
        CHECK(arena_offset(arena_take(&reason)) == (1 + chunks) * arena_chunk_bytes);
        finish_many(0, 10);
        jobswitch_cleanup_thread();
        CHECK(caller_stacks_live == 0);
    });
}

// Memory that is locked on arrival is no reason to fill it.
static void test_locked_memory(void **)
{
    if (!plain)
        skip_because("the tool takes mlockall for itself");
    int status = child([] {
        size_t locked_kib = status_kib("VmLck");
        if (mlockall(MCL_FUTURE) != 0)
            return 77;
        start_many(0, 3000, 3000);
        locked_kib = status_kib("VmLck") - locked_kib;
        CHECK(locked_kib < 16 << 10); // stacks would be 200 MiB, control blocks 1 GiB
        finish_many(0, 3000);
        jobswitch_cleanup_thread();
        return 0;
    });
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip_because("memory cannot be locked here");
    assert_int_equal(WEXITSTATUS(status), 0);
}

// ---- no mappings -------------------------------------------------------------------

static void *fifty_jobs(void *)
{
    start_many(1000, 50);
    return nullptr; // paused, never cleaned up
}

static void run_thread(void *(*function)(void *), void *arg = nullptr)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, nullptr, function, arg) == 0);
    CHECK(pthread_join(thread, nullptr) == 0);
}

static void test_no_mappings(void **)
{
    in_child([] {
        stack_force_method(guard_method::prot_none);
        stack_force_mappings(200);
        for (int round = 0; round < 3; round++) {
            CHECK(!jobswitch_init_thread(0, 101));
            CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MAPPINGS);
            CHECK(stats_now().stacks_mapped == 0);
            CHECK(start_until_error(0, JOBSWITCH_E_NO_MAPPINGS) == 100);
            CHECK(strcmp(consistent_stats().guard_method, "prot-none") == 0);
            CHECK(!jobswitch_init_thread(0, 200));
            CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_MAPPINGS);
            CHECK(consistent_stats().jobs_paused == 100);
            finish_many(0, 30);
            CHECK(start_until_error(0, JOBSWITCH_E_NO_MAPPINGS) == 30);
            CHECK(consistent_stats().jobs_paused == 100);
            finish_many(0, 100);
            jobswitch_cleanup_thread();
            // A thread's share comes back when it ends.
            for (int i = 0; i < 5; i++)
                run_thread(fifty_jobs);
        }
        CHECK(jobswitch_init_thread(0, 100));
        jobswitch_cleanup_thread();
        // The system's own limit, which a tool would meet as well.
        if (!plain || mappings_limit() / 2 >= sizeof jobs / sizeof *jobs)
            return;
        stack_force_mappings(SIZE_MAX);
        size_t count = start_until_error(0, JOBSWITCH_E_NO_MAPPINGS);
        CHECK(count > 100);
        CHECK(consistent_stats().jobs_paused == count);
        finish(0);
        CHECK(start(0) == JOBSWITCH_PAUSE);
        finish_many(0, count);
        jobswitch_cleanup_thread();
        CHECK(jobswitch_init_thread(0, 1000));
    });
}

// ---- no descriptors ----------------------------------------------------------------

static void test_no_descriptors(void **)
{
    if (sanitized)
        skip_because("the tool needs descriptors itself");
    in_child([] {
        start_many(0, 20);
        int fd_of[20];
        for (size_t i = 0; i < 5; i++)
            CHECK((fd_of[i] = jobswitch_get_wait_fd(jobs[i])) >= 0);
        CHECK(stats_now().descriptors_open == 5);
        limit_set(RLIMIT_NOFILE, 0);
        for (size_t i = 5; i < 20; i++)
            for (int again = 0; again < 2; again++) {
                CHECK(jobswitch_get_wait_fd(jobs[i]) == -1);
                CHECK(jobswitch_last_error() == JOBSWITCH_E_NO_DESCRIPTORS);
            }
        // Those that have one keep it.
        CHECK(jobswitch_get_wait_fd(jobs[4]) == fd_of[4]);
        CHECK(!readable(fd_of[4]) || valgrind);
        CHECK(stats_now().descriptors_open == 5);
        // Wakes are remembered, and taken back.
        for (size_t i = 5; i < 20; i++)
            jobswitch_wake(jobs[i]);
        jobswitch_clear_wake(jobs[6]);
        jobswitch_clear_wake(jobs[7]);
        jobswitch_wake(jobs[7]);
        CHECK(jobswitch_get_wait_fd(jobs[8]) == -1); // and still remembered
        // Jobs start, pause and end; one that gives its descriptor up serves
        // another, though there is none to be had.
        start_many(20, 300);
        finish_many(20, 300);
        finish(0);
        CHECK(jobswitch_get_wait_fd(jobs[19]) >= 0);
        CHECK(stats_now().descriptors_open == 5);
        limit_set(RLIMIT_NOFILE, SIZE_MAX);
        for (size_t i = 5; i < 20; i++) {
            int fd = jobswitch_get_wait_fd(jobs[i]);
            CHECK(fd >= 0);
            CHECK(readable(fd) == (i != 6));
            jobswitch_clear_wake(jobs[i]);
            CHECK(!readable(fd));
            jobswitch_wake(jobs[i]);
            CHECK(readable(fd));
        }
        CHECK(stats_now().descriptors_open == 19);
        finish_many(1, 19);
        consistent_stats();
        jobswitch_cleanup_thread();
        CHECK(stats_now().descriptors_open == 0);
    });
}

// ---- the stack runs over -------------------------------------------------------------

struct overflow_note {
    unsigned char *address, *low;
    size_t guard_bytes;
    bool in_job, neighbours_intact;
};
static overflow_note *note; // shared with children

static void note_overflow(int, siginfo_t *info, void *)
{
    job *j = job_current();
    note->address = static_cast<unsigned char *>(info->si_addr);
    note->in_job = jobswitch_in_job();
    if (j) {
        note->low = stack_bounds(pool_thread_state.pool->stacks, job_stack_top(*j)).low;
        note->guard_bytes = pool_thread_state.pool->shape.guard_bytes;
        // The stack below the guard is another job's, used at its top.
        unsigned char *below = note->low - note->guard_bytes;
        note->neighbours_intact = true;
        for (size_t at = 16384; at <= 60000; at++)
            note->neighbours_intact &= below[-ptrdiff_t(at)] == 0x5a;
    }
    _exit(42);
}

static volatile unsigned sink;
// Keeps a compiler from making a frame smaller than it is written.
static const volatile unsigned char *volatile escaped;

__attribute__((noinline)) static unsigned recurse(unsigned depth)
{
    volatile unsigned char room[200];
    escaped = room;
    room[0] = static_cast<unsigned char>(depth);
    unsigned deeper = depth == 0 ? 0 : recurse(depth - 1) + 1;
    sink = sink + room[0];
    return deeper;
}

static int overflow_by_recursion(void *) { return int(recurse(1u << 30)); }

// A frame that would step over the guard, were it not probed on the way.
static int overflow_by_frame(void *args)
{
    auto room = static_cast<volatile unsigned char *>(
        alloca(*static_cast<size_t *>(args)));
    escaped = room;
    room[0] = 1;
    sink = sink + room[0];
    return 0;
}

__attribute__((noinline)) static int overflow_by_array(void *)
{
    volatile unsigned char room[100000];
    escaped = room;
    room[0] = 1;
    sink = sink + room[0];
    return 0;
}

// Runs as the third of four jobs; the other stacks are full of marks.
static int overflow(guard_method method, int (*func)(void *), size_t size,
                    bool handler)
{
    stack_force_method(method);
    CHECK(jobswitch_init_thread(4, 4));
    pool &p = *pool_thread_state.pool;
    for (arena_chunk *chunk = p.chunks; chunk; chunk = chunk->next)
        for (size_t at = JS_JOB_BYTES; at < arena_chunk_bytes; at += JS_JOB_BYTES) {
            auto j = reinterpret_cast<job *>(reinterpret_cast<unsigned char *>(chunk) + at);
            if (!job_stack_top(*j))
                continue;
            stack_range range = stack_bounds(p.stacks, job_stack_top(*j));
            memset(range.low, 0x5a, range.bytes);
        }
    static unsigned char other_stack[65536];
    stack_t alternate = {};
    alternate.ss_sp = other_stack; // (fields come in another order on MIPS)
    alternate.ss_size = sizeof other_stack;
    CHECK(sigaltstack(&alternate, nullptr) == 0);
    struct sigaction action = {};
    action.sa_sigaction = note_overflow;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (handler) {
        CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
        CHECK(sigaction(SIGBUS, &action, nullptr) == 0);
    } else { // not CMocka's, which finds room where a probe leaves the stack pointer alone
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
    }
    // Lists are last in, first out: one whose lower neighbour is a stack too.
    jobswitch_job *held = nullptr;
    job *top = nullptr;
    int ret;
    task t = {};
    for (int i = 0; i < 4; i++) {
        held = nullptr;
        CHECK(jobswitch_start_job(&held, &ret, pauses_once, &t, sizeof t) ==
              JOBSWITCH_PAUSE);
        int reason;
        job *j = job_find(held, &reason);
        CHECK(j);
        jobs[i] = held;
        if (!top || job_stack_top(*j) > job_stack_top(*top))
            top = j;
    }
    for (int i = 0; i < 4; i++) {
        int reason;
        if (job_find(jobs[i], &reason) == top) {
            CHECK(jobswitch_start_job(&jobs[i], &ret, nullptr, nullptr, 0) ==
                  JOBSWITCH_FINISH);
            break;
        }
    }
    held = nullptr;
    jobswitch_start_job(&held, &ret, func, &size, sizeof size);
    return 0; // survived
}

// Where the compiler does not probe a large frame, one leaps over any guard.
#ifdef JS_FRAMES_UNPROBED
static constexpr bool frames_unprobed = true;
#else
static constexpr bool frames_unprobed = false;
#endif

static void test_overflow(void **)
{
    if (valgrind)
        skip_because("Valgrind reports what this test does on purpose");
    struct { int (*func)(void *); size_t size; } ways[] = {
        {overflow_by_recursion, 0},      {overflow_by_array, 0},
        {overflow_by_frame, 70000},      {overflow_by_frame, 300 << 10},
        {overflow_by_frame, 16 << 20},   {overflow_by_frame, size_t(1) << 30}};
    for (guard_method method : both_methods)
        for (auto way : ways) {
            if (!method_possible(method) || (frames_unprobed && way.func == overflow_by_array))
                continue;
            *note = {};
            int status = child([&] { return overflow(method, way.func, way.size, true); });
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 42);
            assert_true(note->in_job);
            assert_true(note->address < note->low);
            assert_true(note->address >= note->low - note->guard_bytes);
            assert_true(note->neighbours_intact);
            if (sanitized)
                continue; // its own handler stands in
            status = child([&] { return overflow(method, way.func, way.size, false); });
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), SIGSEGV);
        }
}

// ---- little stacks -------------------------------------------------------------------

static size_t least_stack_bytes()
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    for (options.stack_bytes = 1024; options.stack_bytes < 1 << 20;
         options.stack_bytes += 1024)
        if (jobswitch_init_thread_with(&options))
            return options.stack_bytes;
    CHECK(!"no stack is large enough");
    return 0;
}

static int nests(void *args)
{
    size_t depth = *static_cast<size_t *>(args);
    jobswitch_job *inner = nullptr;
    int ret = 0;
    if (depth == 0)
        return 1;
    depth--;
    if (jobswitch_start_job(&inner, &ret, nests, &depth, sizeof depth) !=
        JOBSWITCH_FINISH)
        return -1000;
    return ret + 1;
}

// A start inside a job makes new stacks on the job's stack, however small.
static void test_nested_on_least_stack(void **)
{
    if (sanitized)
        skip_because("a sanitizer's frames want more than the least stack");
    for (guard_method method : both_methods)
        if (method_possible(method))
            in_child([method] {
                stack_force_method(method);
                least_stack_bytes();
                jobswitch_job *job = nullptr;
                size_t depth = 300;
                int ret = 0;
                CHECK(jobswitch_start_job(&job, &ret, nests, &depth, sizeof depth) ==
                      JOBSWITCH_FINISH);
                CHECK(ret == 301);
            });
}

static unsigned char *painted_low;
static size_t painted_bytes;

// Paints what is free of its stack.
__attribute__((noinline)) static int paints(void *)
{
    stack_range range = stack_bounds(pool_thread_state.pool->stacks,
                                     job_stack_top(*job_current()));
    painted_low = range.low;
    auto here = static_cast<unsigned char *>(__builtin_frame_address(0));
    painted_bytes = size_t(here - range.low) - 512;
    for (size_t i = 0; i < painted_bytes; i++)
        static_cast<volatile unsigned char *>(range.low)[i] = 0xa5;
    return 0;
}

// What the library itself does at a job's end leaves room for a signal on the
// smallest stack, as its size promises.
static void test_trim_on_least_stack(void **)
{
    if (sanitized || valgrind)
        skip_because("a tool's frames want more than the least stack");
    in_child([] {
        least_stack_bytes();
        burst(3000, 64);
        size_t warm = resident_most(), free_least = SIZE_MAX;
        for (int period = 0; period < 10; period++) {
            clock_now_ns += 1100000000;
            for (int end = 0; end < 1100; end++) {
                jobswitch_job *job = nullptr;
                int ret;
                CHECK(jobswitch_start_job(&job, &ret, paints, nullptr, 0) ==
                      JOBSWITCH_FINISH);
                size_t at = 0;
                while (at < painted_bytes && painted_low[at] == 0xa5)
                    at++;
                free_least = std::min(free_least, at);
            }
        }
        CHECK(resident_most() < warm / 4); // it did trim
        size_t signal_frame = getauxval(AT_MINSIGSTKSZ);
        dprintf(1, "on the smallest stack an end that trims leaves %zu bytes; a "
                   "signal's frame takes %zu\n", free_least, signal_frame);
        CHECK(free_least >= signal_frame);
    });
}

// ---- giving back -----------------------------------------------------------------------

// One period of the clock, and enough ends for the pool to look at it.
static void period(size_t at_once, size_t ends = 1200)
{
    clock_now_ns += 1100000000;
    for (size_t done = 0; done < ends; done += at_once) {
        size_t before = resident_most();
        start_many(20000, at_once);
        finish_many(20000, at_once);
        // A batch at a time.
        if (at_once == 1)
            CHECK(resident_most() + 256 * pool_thread_state.stack_span >= before);
    }
}

static constexpr size_t touched = 7 * 1024; // two or three pages
static constexpr size_t touched_kib = 8;

static void test_unused_memory_goes_back(void **)
{
    in_child([] {
        size_t count = std::min(scaled<size_t>(10000), jobs_most);
        size_t before_kib = status_kib("VmRSS");
        burst(count, touched);
        size_t one = pool_thread_state.stack_span;
        size_t full = resident_most(), full_kib = status_kib("VmRSS");
        CHECK(full >= count * one);
        if (plain)
            CHECK(full_kib >= before_kib + count * touched_kib);
        // Use alone takes nothing away, nor does time alone.
        for (int i = 0; i < 5000; i++)
            burst(1, 0);
        CHECK(resident_most() == full);
        clock_now_ns += 100000000000;
        CHECK(resident_most() == full);
        for (int i = 0; i < 10; i++)
            period(1);
        CHECK(resident_most() <= 200 * one);
        CHECK(consistent_stats().jobs_idle == count);
        if (plain) {
            size_t now_kib = status_kib("VmRSS");
            print_message("%zu jobs, %zu KiB each: %zu KiB, then %zu KiB resident\n",
                          count, touched_kib, full_kib - before_kib,
                          now_kib - before_kib);
            CHECK(now_kib + (count - 300) * touched_kib <= full_kib);
        }
        // All start again, and their stacks are well.
        burst(count, touched);
        CHECK(stats_now().stacks_mapped == count);
        jobswitch_cleanup_thread();
        CHECK(resident_most() == 0);
    });
}

static void test_unused_for_less_than_a_second(void **)
{
    in_child([] {
        burst(1000, touched);
        size_t full = resident_most();
        clock_now_ns += 900000000;
        for (int i = 0; i < 5000; i++)
            burst(1, 0);
        CHECK(resident_most() == full);
        // Nor for two thirds of two seconds.
        clock_now_ns += 600000000;
        for (int i = 0; i < 5000; i++)
            burst(1, 0);
        CHECK(resident_most() == full);
        // Used between: never idle for a whole period.
        for (int i = 0; i < 10; i++) {
            clock_now_ns += 1100000000;
            burst(1000, 0);
            burst(1000, 0);
            CHECK(resident_most() == full);
        }
    });
}

static void test_initial_jobs_stay_warm(void **)
{
    in_child([] {
        CHECK(jobswitch_init_thread(0, 500));
        CHECK(resident_most() == 0); // not touched before the first use
        size_t count = std::min(scaled<size_t>(10000), jobs_most);
        burst(count, touched);
        size_t one = pool_thread_state.stack_span;
        for (int i = 0; i < 10; i++)
            period(1);
        CHECK(resident_most() >= 500 * one);
        CHECK(resident_most() <= 500 * one + 256 * one);
        rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        burst(490, touched);
        getrusage(RUSAGE_SELF, &after);
        if (plain)
            CHECK(after.ru_minflt - before.ru_minflt < 50);
    });
}

// Also where there are fewer warm ones than that.
static void test_fewer_than_initial_jobs_stay_warm(void **)
{
    in_child([] {
        CHECK(jobswitch_init_thread(0, 500));
        burst(300, touched);
        size_t full = resident_most();
        for (int i = 0; i < 10; i++)
            period(1);
        CHECK(resident_most() == full);
    });
}

static void test_recently_used_stay_warm(void **)
{
    in_child([] {
        size_t count = std::min(scaled<size_t>(10000), jobs_most), used = count / 5;
        burst(count, touched);
        size_t one = pool_thread_state.stack_span;
        for (int i = 0; i < 14; i++)
            period(used, 1100 + used);
        CHECK(resident_most() >= used * one);
        CHECK(resident_most() <= (used + 400) * one);
        rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        burst(used, touched);
        getrusage(RUSAGE_SELF, &after);
        if (plain)
            CHECK(after.ru_minflt - before.ru_minflt < 50);
    });
}

static void test_prefault(void **)
{
    if (!plain)
        skip_because("page faults are the tool's, too");
    in_child([] {
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        options.initial_jobs = 300;
        options.flags = JOBSWITCH_PREFAULT;
        size_t before_kib = status_kib("VmRSS");
        CHECK(jobswitch_init_thread_with(&options));
        CHECK(resident_most() == 300 * 65536);
        CHECK(status_kib("VmRSS") >= before_kib + 300 * 64 - 512);
        rusage before, after;
        burst(1, 30000);
        getrusage(RUSAGE_SELF, &before);
        burst(300, 50000);
        getrusage(RUSAGE_SELF, &after);
        CHECK(after.ru_minflt - before.ru_minflt < 30);
        CHECK(stats_now().stacks_mapped == 300);
    });
}

static void test_keep_warm_and_trim(void **)
{
    in_child([] {
        size_t count = std::min(scaled<size_t>(10000), jobs_most);
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        options.flags = JOBSWITCH_KEEP_WARM;
        CHECK(jobswitch_init_thread_with(&options));
        CHECK(jobswitch_trim_thread(0) == 0);
        burst(count, touched);
        size_t one = pool_thread_state.stack_span;
        for (int i = 0; i < 10; i++)
            period(1);
        CHECK(resident_most() == count * one);
        // Some live; they are neither counted nor touched.
        start_many(0, 50, touched);
        size_t full_kib = status_kib("VmRSS");
        size_t idle = count - 50;
        CHECK(jobswitch_trim_thread(idle + 1) == 0);
        CHECK(jobswitch_trim_thread(idle) == 0);
        CHECK(jobswitch_trim_thread(idle - 1) == 1);
        CHECK(resident_most() == (count - 1) * one);
        CHECK(jobswitch_trim_thread(100) == idle - 101);
        CHECK(resident_most() == 150 * one);
        CHECK(jobswitch_trim_thread(100) == 0);
        if (plain)
            CHECK(status_kib("VmRSS") + (idle - 200) * touched_kib <= full_kib);
        // The warm ones are kept, and come first.
        rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        start_many(50, 64, touched);
        finish_many(50, 64);
        getrusage(RUSAGE_SELF, &after);
        if (plain)
            CHECK(after.ru_minflt - before.ru_minflt < 20);
        finish_many(0, 50);
        CHECK(jobswitch_trim_thread(0) == 150);
        CHECK(resident_most() == 0);
        CHECK(consistent_stats().jobs_idle == count);
        burst(count, touched);
        CHECK(consistent_stats().stacks_mapped == count);
        CHECK(jobswitch_trim_thread(0) == count);
    });
}

// From every list that idle jobs can be in.
static void test_trim_exact_at_any_time(void **)
{
    in_child([] {
        size_t one = 0;
        unsigned random = 1;
        for (int round = 0; round < 60; round++) {
            size_t count = 1 + (random = random * 1103515245 + 12345) / 65536 % 700;
            burst(count, 100);
            one = pool_thread_state.stack_span;
            clock_now_ns += (random >> 20) % 3 * 700000000;
            for (size_t i = 0; i < (random >> 8) % 2500; i++)
                burst(1, 0);
            jobswitch_stats stats = consistent_stats();
            size_t warm = stats.stack_bytes_resident_max / one;
            CHECK(warm <= stats.jobs_idle);
            size_t keep = (random >> 10) % 300;
            size_t expected = warm > keep ? warm - keep : 0;
            CHECK(jobswitch_trim_thread(keep) == expected);
            CHECK(resident_most() == (warm - expected) * one);
            CHECK(consistent_stats().jobs_idle == stats.jobs_idle);
        }
    });
}

static void test_trim_takes_what_was_to_go_anyway(void **)
{
    in_child([] {
        burst(1000, 100);
        pool &p = *pool_thread_state.pool;
        for (int ends = 0; p.surplus.count == 0; ends++) {
            CHECK(ends < 5000);
            clock_now_ns += 10000000;
            burst(1, 0);
        }
        size_t warm = resident_most() / pool_thread_state.stack_span;
        CHECK(warm > 500);
        CHECK(jobswitch_trim_thread(warm - 1) == 1);
        CHECK(jobswitch_trim_thread(0) == warm - 1);
        CHECK(resident_most() == 0);
    });
}

static void test_trim_keeps_the_warmest(void **)
{
    in_child([] {
        static uint32_t warmest[100], kept[100];
        start_many(0, 1000);
        for (size_t i = 0; i < 100; i++)
            warmest[i] = handle_offset(jobs[900 + i]);
        finish_many(0, 1000);
        CHECK(jobswitch_trim_thread(100) == 900);
        start_many(0, 100);
        for (size_t i = 0; i < 100; i++)
            kept[i] = handle_offset(jobs[i]);
        std::sort(warmest, warmest + 100);
        std::sort(kept, kept + 100);
        CHECK(std::equal(kept, kept + 100, warmest));
    });
}

static int trims_inside(void *)
{
    size_t given = jobswitch_trim_thread(0);
    jobswitch_pause_job();
    return int(given + jobswitch_trim_thread(0));
}

static void test_trim_inside_a_job(void **)
{
    in_child([] {
        burst(100, 3000);
        jobswitch_job *job = nullptr;
        int ret;
        CHECK(jobswitch_start_job(&job, &ret, trims_inside, nullptr, 0) ==
              JOBSWITCH_PAUSE);
        CHECK(resident_most() == pool_thread_state.stack_span);
        start_many(0, 10);
        finish_many(0, 10);
        CHECK(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) ==
              JOBSWITCH_FINISH);
        CHECK(ret >= 99 + 10);
        CHECK(consistent_stats().jobs_idle == 100);
    });
}

static void test_trim_closes_descriptors(void **)
{
    in_child([] {
        burst(1, 0);
        size_t before = descriptors();
        for (size_t i = 0; i < 20; i++)
            CHECK(start(i, 0, true) == JOBSWITCH_PAUSE);
        finish_many(5, 15);
        CHECK(stats_now().descriptors_open == 20);
        CHECK(descriptors() == before + 20);
        jobswitch_trim_thread(100);
        CHECK(stats_now().descriptors_open == 5);
        CHECK(descriptors() == before + 5);
        for (size_t i = 0; i < 5; i++) {
            jobswitch_wake(jobs[i]);
            CHECK(readable(jobswitch_get_wait_fd(jobs[i])));
        }
        finish_many(0, 5);
        // They come to the next ones unread.
        for (size_t i = 0; i < 10; i++) {
            CHECK(start(i, 0, true) == JOBSWITCH_PAUSE);
            CHECK(!readable(jobswitch_get_wait_fd(jobs[i])));
        }
        finish_many(0, 10);
        jobswitch_trim_thread(0);
        CHECK(stats_now().descriptors_open == 0);
        CHECK(descriptors() == before);
    });
}

// ---- threads that just end ------------------------------------------------------------

struct thread_kind {
    size_t jobs, paused;
    bool fds, large_args;
};

static int pauses(void *) { return jobswitch_pause_job(); }

static void *just_ends(void *arg)
{
    auto kind = *static_cast<thread_kind *>(arg);
    static char large[20000];
    int ret;
    jobswitch_job *mine[200] = {};
    for (size_t i = 0; i < kind.jobs; i++) {
        bool with_args = kind.large_args && i % 2;
        CHECK(jobswitch_start_job(&mine[i], &ret, pauses, with_args ? large : nullptr,
                                  with_args ? sizeof large : 0) == JOBSWITCH_PAUSE);
        if (kind.fds)
            CHECK(jobswitch_get_wait_fd(mine[i]) >= 0);
        if (i % 3 == 0)
            jobswitch_wake(mine[i]);
    }
    for (size_t i = kind.paused; i < kind.jobs; i++)
        CHECK(jobswitch_start_job(&mine[i], &ret, nullptr, nullptr, 0) ==
              JOBSWITCH_FINISH);
    consistent_stats();
    return nullptr;
}

static void threads_leave_nothing(guard_method method)
{
    stack_force_method(method);
    if (method == guard_method::prot_none)
        stack_force_mappings(2 * 200); // one thread's
    const thread_kind kinds[] = {{100, 0, false, false}, {100, 100, false, false},
                                 {100, 50, true, false}, {100, 100, true, true},
                                 {0, 0, false, false},   {1, 1, true, true}};
    size_t mappings_before = 0, descriptors_before = 0, kib_before = 0;
    for (int round = 0; round < 12; round++) {
        for (thread_kind kind : kinds)
            run_thread(just_ends, &kind);
        size_t now = mappings(), now_fds = descriptors(), now_kib = status_kib("VmSize");
        if (round == 3) { // stacks of threads, heaps, tables: all there
            mappings_before = now;
            descriptors_before = now_fds;
            kib_before = now_kib;
        }
        if (round > 3) {
            CHECK(now_fds == descriptors_before);
            if (plain) {
                CHECK(now == mappings_before);
                CHECK(now_kib == kib_before);
            }
        }
    }
    CHECK(stats_now().stacks_mapped == 0); // this thread has none
}

static void test_threads_leave_nothing(void **)
{
    for (guard_method method : both_methods)
        if (method_possible(method))
            in_child([method] { threads_leave_nothing(method); });
}

static void test_threads_at_once_leave_nothing(void **)
{
    in_child([] {
        size_t mappings_before = 0, descriptors_before = 0, chunk_before = 0;
        thread_kind kind = {60, 30, true, true};
        constexpr size_t blocks_each = arena_chunk_bytes / JS_JOB_BYTES - 1;
        constexpr size_t chunks_most = 8 * ((60 + blocks_each - 1) / blocks_each) + 1;
        for (int round = 0; round < 16; round++) {
            pthread_t threads[8];
            for (pthread_t &thread : threads)
                CHECK(pthread_create(&thread, nullptr, just_ends, &kind) == 0);
            for (pthread_t &thread : threads)
                CHECK(pthread_join(thread, nullptr) == 0);
            int reason;
            arena_chunk *chunk = arena_take(&reason);
            size_t offset = arena_offset(chunk);
            arena_give(chunk);
            if (round == 5) {
                mappings_before = mappings();
                descriptors_before = descriptors();
                chunk_before = offset;
            }
        }
        CHECK(descriptors() == descriptors_before);
        CHECK(chunk_before < chunks_most * arena_chunk_bytes);
        int reason;
        CHECK(arena_offset(arena_take(&reason)) < chunks_most * arena_chunk_bytes);
        if (plain) // which heap a thread gets is chance
            CHECK(mappings() <= mappings_before + 16);
    });
}

// Destructors run in turns: one that starts jobs gives the thread another pool
// after the first has gone.
static void uses_jobs(void *)
{
    thread_kind kind = {20, 10, true, false};
    just_ends(&kind);
}

static void *ends_with_destructor(void *key)
{
    CHECK(pthread_setspecific(*static_cast<pthread_key_t *>(key),
                              reinterpret_cast<void *>(1)) == 0);
    thread_kind kind = {20, 10, true, false};
    return just_ends(&kind);
}

static void test_jobs_in_destructors(void **)
{
    in_child([] {
        // One key on each side of the library's.
        pthread_key_t early, late;
        CHECK(pthread_key_create(&early, uses_jobs) == 0);
        (void)stats_now();
        CHECK(pthread_key_create(&late, uses_jobs) == 0);
        // Not even until the next thread takes the record over.
        size_t mappings_before = 0, descriptors_before = descriptors();
        for (int i = 0; i < 30; i++) {
            run_thread(ends_with_destructor, &early);
            CHECK(descriptors() == descriptors_before);
            run_thread(ends_with_destructor, &late);
            CHECK(descriptors() == descriptors_before);
            if (i == 5)
                mappings_before = mappings();
        }
        if (plain)
            CHECK(mappings() == mappings_before);
    });
}

static void test_many_threads_in_turn(void **)
{
    in_child([] {
        thread_kind kind = {100, 50, false, false};
        size_t count = valgrind ? 20 : scaled<size_t>(1000), kib_before = 0, chunk_before = 0;
        int reason;
        for (size_t i = 0; i < count + 10; i++) {
            run_thread(just_ends, &kind);
            if (i == 9) {
                arena_chunk *chunk = arena_take(&reason);
                chunk_before = arena_offset(chunk);
                arena_give(chunk);
                kib_before = status_kib("VmRSS");
            }
        }
        CHECK(arena_offset(arena_take(&reason)) <= chunk_before);
        CHECK(arena_look().bytes == size_t(1) << 20);
        if (plain)
            CHECK(status_kib("VmRSS") < kib_before + 4096);
    });
}

// The blocks of a thread that has gone know that it has.
static jobswitch_job *left_behind[100];

static void *leaves_handles(void *)
{
    int ret;
    for (jobswitch_job *&job : left_behind) {
        job = nullptr;
        CHECK(jobswitch_start_job(&job, &ret, pauses, nullptr, 0) == JOBSWITCH_PAUSE);
        CHECK(jobswitch_get_wait_fd(job) >= 0);
    }
    return nullptr;
}

static void test_handles_of_threads_that_ended(void **)
{
    in_child([] {
        for (int round = 0; round < 20; round++) {
            run_thread(leaves_handles);
            // The blocks belong to this thread now.
            CHECK(jobswitch_init_thread(0, 100));
            start_many(0, 100);
            for (jobswitch_job *job : left_behind) {
                int ret;
                jobswitch_job *handle = job;
                CHECK(jobswitch_start_job(&handle, &ret, nullptr, nullptr, 0) ==
                      JOBSWITCH_ERR);
                CHECK(jobswitch_last_error() == JOBSWITCH_E_FINISHED);
                CHECK(jobswitch_get_wait_fd(job) == -1);
                CHECK(jobswitch_last_error() == JOBSWITCH_E_FINISHED);
                jobswitch_wake(job);
            }
            for (size_t i = 0; i < 100; i++)
                CHECK(!readable(jobswitch_get_wait_fd(jobs[i])));
            finish_many(0, 100);
            jobswitch_cleanup_thread();
        }
    });
}

// Clean-up on a thread that lives on is as thorough, paused jobs or not.
static void test_cleanup_leaves_nothing(void **)
{
    in_child([] {
        thread_kind kind = {150, 70, true, true};
        size_t mappings_before = 0, kib_before = 0, descriptors_before = 0;
        for (int round = 0; round < 20; round++) {
            just_ends(&kind);
            jobswitch_stats stats = consistent_stats();
            CHECK(stats.jobs_paused == 70);
            uint64_t discarded = stats.jobs_discarded;
            jobswitch_cleanup_thread();
            stats = consistent_stats();
            CHECK(stats.jobs_discarded == discarded + 70);
            CHECK(stats.stacks_mapped == 0 && stats.descriptors_open == 0);
            CHECK(stats.stack_bytes_resident_max == 0);
            CHECK(strcmp(stats.guard_method, "none") == 0);
            if (round == 3) {
                mappings_before = mappings();
                kib_before = status_kib("VmSize");
                descriptors_before = descriptors();
            }
        }
        CHECK(descriptors() == descriptors_before);
        if (plain) {
            CHECK(mappings() == mappings_before);
            CHECK(status_kib("VmSize") == kib_before);
        }
    });
}

int main()
{
    pool_clock_ns = test_clock_ns;
    note = static_cast<overflow_note *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_handles),
        cmocka_unit_test(test_no_memory_for_descriptors),
        cmocka_unit_test(test_no_stack_from_caller),
        cmocka_unit_test(test_failing_often),
        cmocka_unit_test(test_locked_memory),
        cmocka_unit_test(test_no_mappings),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_nested_on_least_stack),
        cmocka_unit_test(test_trim_on_least_stack),
        cmocka_unit_test(test_unused_memory_goes_back),
        cmocka_unit_test(test_unused_for_less_than_a_second),
        cmocka_unit_test(test_initial_jobs_stay_warm),
        cmocka_unit_test(test_fewer_than_initial_jobs_stay_warm),
        cmocka_unit_test(test_recently_used_stay_warm),
        cmocka_unit_test(test_prefault),
        cmocka_unit_test(test_keep_warm_and_trim),
        cmocka_unit_test(test_trim_exact_at_any_time),
        cmocka_unit_test(test_trim_takes_what_was_to_go_anyway),
        cmocka_unit_test(test_trim_keeps_the_warmest),
        cmocka_unit_test(test_trim_inside_a_job),
        cmocka_unit_test(test_trim_closes_descriptors),
        cmocka_unit_test(test_threads_leave_nothing),
        cmocka_unit_test(test_threads_at_once_leave_nothing),
        cmocka_unit_test(test_jobs_in_destructors),
        cmocka_unit_test(test_many_threads_in_turn),
        cmocka_unit_test(test_handles_of_threads_that_ended),
        cmocka_unit_test(test_cleanup_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
