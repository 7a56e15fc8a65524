// SPDX-License-Identifier: Apache-2.0
//
// 100,000 jobs paused at once in one thread: what they cost in mappings and
// memory, that they are guarded, that each finds its own again, and that the
// memory goes back. And a million, woken in random order by another thread.
//
// Environment:
//   TEST_SCALE  divides the number of jobs (default 1). The limits are those
//               of a full run in a plain build; other runs print only.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <sys/syscall.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <vector>

#include "job.h"
#include "jobswitch/jobswitch.h"
#include "pool.h"
#include "stack.h"
#include "support.h"

#ifdef JOBSWITCH_WITH_TSAN
static constexpr size_t jobs_most = 2000; // a fiber of the tool's for each
#elif defined(JOBSWITCH_VALGRIND)
static constexpr size_t jobs_most = 1000; // each stack lengthens a list
#else
static constexpr size_t jobs_most = sizeof(void *) == 8 ? 100000 : 20000; // 1.6 GiB of stacks
#endif
static constexpr size_t jobs_full = 100000;

static constexpr size_t mappings_allowed = 20;
static constexpr double kib_a_job_allowed = 4.5;

static size_t job_count() { return std::min<size_t>(jobs_full / test_scale(), jobs_most); }

static bool limits_apply() { return plain && job_count() == jobs_full; }

static size_t memory_kib() { return status_kib("VmRSS") + status_kib("VmPTE"); }

struct task {
    unsigned number;
    unsigned *done; // what the job has seen of its own after the pause
};

static unsigned mixed(unsigned n)
{
    n = (n ^ 61) ^ (n >> 16);
    n *= 9;
    n ^= n >> 4;
    n *= 0x27d4eb2d;
    return n ^ (n >> 15);
}

static int works(void *args)
{
    auto t = static_cast<task *>(args);
    volatile unsigned own[16];
    for (unsigned i = 0; i < 16; i++)
        own[i] = mixed(t->number + i);
    if (jobswitch_pause_job() != 1)
        return -1;
    for (unsigned i = 0; i < 16; i++)
        if (own[i] != mixed(t->number + i))
            return -2;
    (*t->done)++;
    return int(t->number);
}

static jobswitch_stats stats_now()
{
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    assert_int_equal(jobswitch_get_stats(&stats), 1);
    return stats;
}

static void run(size_t count, unsigned seed)
{
    // The test's own memory first, touched.
    std::vector<jobswitch_job *> jobs(count, nullptr);
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    std::vector<unsigned> done(count, 0);
    std::vector<unsigned char *> lows(count);
    size_t memory_before = memory_kib(), mappings_before = mappings();
    size_t address_space_before = status_kib("VmSize");

    for (size_t i = 0; i < count; i++) {
        task t = {unsigned(i), &done[i]};
        int ret = -7;
        int answer = jobswitch_start_job(&jobs[i], &ret, works, &t, sizeof t);
        if (answer != JOBSWITCH_PAUSE)
            fail_msg("job %zu: answer %d, reason %d", i, answer, jobswitch_last_error());
    }

    size_t memory_more = memory_kib() - memory_before;
    size_t mappings_more = mappings() - mappings_before;
    double kib_a_job = double(memory_more) / double(count);
    jobswitch_stats stats = stats_now();
    assert_int_equal(stats.jobs_paused, count);
    assert_int_equal(stats.stacks_mapped, count);
    bool installed = strcmp(stats.guard_method, "guard-install") == 0;
    print_message("%zu jobs paused: %zu mappings more, %.3f KiB a job resident and in "
                  "page tables, guards by %s\n",
                  count, mappings_more, kib_a_job, stats.guard_method);
    if (limits_apply() && installed)
        assert_true(mappings_more <= mappings_allowed);
    if (limits_apply())
        assert_true(kib_a_job <= kib_a_job_allowed);

    // Every stack has its guard, and none is in two hands.
    pool &p = *pool_thread_state.pool;
    for (size_t i = 0; i < count; i++) {
        int reason = 0;
        job *j = job_find(jobs[i], &reason);
        assert_non_null(j);
        lows[i] = stack_bounds(p.stacks, job_stack_top(*j)).low;
        if (i % 7 == 0) {
            assert_true(guarded(lows[i] - 1));
            assert_true(guarded(lows[i] - p.shape.guard_bytes));
        }
    }
    std::sort(lows.begin(), lows.end());
    for (size_t i = 1; i < count; i++)
        assert_true(size_t(lows[i] - lows[i - 1]) >=
                    p.shape.stack_bytes + p.shape.guard_bytes);

    for (size_t i : order) {
        int ret = -7;
        assert_int_equal(jobswitch_start_job(&jobs[i], &ret, nullptr, nullptr, 0),
                         JOBSWITCH_FINISH);
        assert_int_equal(ret, i);
        assert_null(jobs[i]);
    }
    for (unsigned times : done)
        assert_int_equal(times, 1);
    stats = stats_now();
    assert_int_equal(stats.jobs_paused, 0);
    assert_int_equal(stats.jobs_idle, count);

    jobswitch_cleanup_thread();
    // Control blocks are never unmapped: whoever holds a handle may ask.
    size_t blocks_kib = count * JS_JOB_BYTES / 1024;
    size_t memory_left = memory_kib() - std::min(memory_kib(), memory_before);
    print_message("after the clean-up: %zu KiB left, of which control blocks %zu\n",
                  memory_left, blocks_kib);
    stats = stats_now();
    assert_int_equal(stats.stacks_mapped, 0);
    assert_int_equal(stats.stack_bytes_resident_max, 0);
    if (plain) {
        assert_true(memory_left <= blocks_kib + blocks_kib / 16 + 2048);
        // (The ready ring's slots stay: a mapping for each size that it has had.)
        assert_true(mappings() <= mappings_before + 4 + 6);
        // The arena reserves its address space once.
        assert_true(status_kib("VmSize") <= address_space_before + (1 << 20) + 4096);
    }
}

static void test_paused_at_once(void **) { run(job_count(), 1); }

// The second time nothing is left to be reserved or to grow.
static void test_again(void **)
{
    size_t count = job_count();
    size_t memory_before = memory_kib(), address_space_before = status_kib("VmSize");
    run(count, 2);
    if (plain) {
        assert_true(memory_kib() <= memory_before + 4096);
        assert_true(status_kib("VmSize") <= address_space_before + 4096);
    }
}

// ---- a million -----------------------------------------------------------------------

static constexpr size_t million = 1000000;
static constexpr size_t million_mappings_allowed = 50;
static constexpr double million_kib_allowed = 4.31;
static constexpr size_t million_needs_kib = 6 << 20;

static size_t available_kib()
{
    size_t kib = 0;
    if (FILE *file = fopen("/proc/meminfo", "re")) {
        char line[128];
        while (fgets(line, sizeof line, file))
            sscanf(line, "MemAvailable: %zu", &kib);
        fclose(file);
    }
    return kib;
}

static double seconds_now()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

static void test_a_million_woken(void **)
{
    if (!plain || test_scale() != 1)
        skip_because("a million jobs in a plain build alone");
    if (sizeof(void *) < 8)
        skip_because("no room for the stacks of a million jobs");
    if (available_kib() < million_needs_kib)
        skip_because("a million jobs take 6 GiB of memory");
    std::vector<jobswitch_job *> jobs(million, nullptr), woken(million);
    std::vector<unsigned> done(million, 0), order(million);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    size_t memory_before = memory_kib(), mappings_before = mappings();
    double began = seconds_now();
    for (size_t i = 0; i < million; i++) {
        task t = {unsigned(i), &done[i]};
        int ret;
        if (jobswitch_start_job(&jobs[i], &ret, works, &t, sizeof t) != JOBSWITCH_PAUSE)
            fail_msg("job %zu: reason %d", i, jobswitch_last_error());
    }
    double made = seconds_now();
    double kib_a_job = double(memory_kib() - memory_before) / double(million);
    size_t mappings_more = mappings() - mappings_before;
    for (size_t i = 0; i < million; i++)
        woken[i] = jobs[order[i]];

    double wakes_began = seconds_now();
    std::thread waker([&woken] {
        for (jobswitch_job *job : woken)
            jobswitch_wake(job);
    });
    // In the order of the wakes, each once, each with its own result.
    size_t resumed = 0, wrong = 0;
    jobswitch_outcome outcomes[256];
    double progressed = wakes_began;
    while (resumed < million && seconds_now() - progressed < 60) {
        size_t n = jobswitch_resume_ready(outcomes, 256);
        if (n)
            progressed = seconds_now();
        for (size_t i = 0; i < n; i++, resumed++)
            wrong += outcomes[i].answer != JOBSWITCH_FINISH || resumed >= million ||
                     outcomes[i].job != woken[resumed] ||
                     outcomes[i].ret != int(order[resumed]);
    }
    double ended = seconds_now();
    waker.join();
    print_message("a million: made in %.2f s, %zu mappings more, %.3f KiB a job resident and "
                  "in page tables, woken and resumed in %.2f s\n",
                  made - began, mappings_more, kib_a_job, ended - wakes_began);
    assert_int_equal(resumed, million);
    assert_int_equal(wrong, 0);
    for (unsigned times : done)
        assert_int_equal(times, 1);
    bool installed = strcmp(stats_now().guard_method, "guard-install") == 0;
    jobswitch_cleanup_thread();
    if (installed)
        assert_true(mappings_more <= million_mappings_allowed);
    assert_true(kib_a_job <= million_kib_allowed);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_paused_at_once),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_a_million_woken),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
