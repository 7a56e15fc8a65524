// SPDX-License-Identifier: Apache-2.0
//
// What an event loop does with its jobs: the ready ring, deadlines, cancelling, and
// what jobs keep. How wakers and the owner of a ring go past each other, in every order,
// is test/weak_memory_test.cpp's.
//
// Nothing is asserted on a job's stack or on another thread: it is counted there and
// asserted after. TEST_SCALE divides numbers of rounds.
#include <atomic>
#include <poll.h>
#include <pthread.h>
#include <random>
#include <string>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <vector>

#include "jobswitch/jobswitch.h"
#include "loop.h"
#include "pool.h"
#include "support.h"

// ---- help ------------------------------------------------------------------------

static uint64_t now_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1000000000 + uint64_t(now.tv_nsec);
}

static bool told = false; // jobs are to end

static int pauses(void *arg)
{
    int *resumed = *static_cast<int **>(arg);
    int answer = 1;
    while (!told && (answer = jobswitch_pause_job()) == 1)
        if (resumed)
            ++*resumed;
    return answer;
}

static jobswitch_job *paused(int *resumed = nullptr)
{
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(jobswitch_start_job(&job, &ret, pauses, &resumed, sizeof resumed),
                     JOBSWITCH_PAUSE);
    return job;
}

static void end_all()
{
    jobswitch_cancel_all();
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    assert_int_equal(jobswitch_get_stats(&stats), 1);
    assert_int_equal(stats.jobs_paused, 0);
}

static int teardown(void **)
{
    told = false;
    jobswitch_cleanup_thread();
    return 0;
}

// ---- the ready ring ------------------------------------------------------------------

static void jobs_are_taken_in_the_order_of_their_wakes(void **)
{
    constexpr size_t count = 5000; // more than the first ring holds
    std::vector<jobswitch_job *> jobs(count), taken(count);
    for (auto &job : jobs)
        job = paused();
    std::shuffle(jobs.begin(), jobs.end(), std::mt19937(7));
    for (auto job : jobs) {
        jobswitch_wake(job);
        jobswitch_wake(job); // once is enough
    }
    size_t n = 0;
    while (size_t more = jobswitch_take_ready(&taken[n], 100))
        n += more;
    assert_int_equal(n, count);
    assert_true(jobs == taken);
    assert_int_equal(jobswitch_take_ready(taken.data(), count), 0);
    end_all();
}

// The first wake decides, whatever comes after it; a take, or a pass over a job that is
// woken no more, ends that.
static void a_job_keeps_its_place_in_the_ring(void **)
{
    jobswitch_job *a = paused(), *b = paused(), *c = paused(), *taken[4];
    jobswitch_wake(a);
    jobswitch_wake(b);
    jobswitch_clear_wake(a);
    jobswitch_wake(c);
    jobswitch_wake(b);
    jobswitch_wake(a);
    assert_int_equal(jobswitch_take_ready(taken, 1), 1);
    assert_ptr_equal(taken[0], a);
    jobswitch_wake(a); // behind the others now
    jobswitch_clear_wake(b);
    assert_int_equal(jobswitch_take_ready(taken, 1), 1);
    assert_ptr_equal(taken[0], c);
    jobswitch_wake(b); // passed over: behind a
    assert_int_equal(jobswitch_take_ready(taken, 4), 2);
    assert_ptr_equal(taken[0], a);
    assert_ptr_equal(taken[1], b);
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    end_all();
}

static void a_ring_that_grows_keeps_what_is_in_it(void **)
{
    std::vector<jobswitch_job *> jobs, taken(1 << 14);
    for (size_t most = 100; most <= 12800; most *= 2) {
        while (jobs.size() < most) {
            jobs.push_back(paused());
            jobswitch_wake(jobs.back());
        }
        // Not all: some stay from a smaller ring.
        if (most == 1600)
            assert_int_equal(jobswitch_take_ready(taken.data(), 150), 150);
    }
    size_t n = 150;
    while (size_t more = jobswitch_take_ready(&taken[n], 1000))
        n += more;
    taken.resize(n);
    assert_true(jobs == taken);
    end_all();
}

static void what_is_not_to_be_taken(void **)
{
    jobswitch_job *taken[4], *first = paused(), *second = paused(), *third = paused();
    int ret;
    // Cleared; finished; with a descriptor of its own.
    jobswitch_wake(first);
    jobswitch_clear_wake(first);
    jobswitch_job *ending = second;
    jobswitch_wake(second);
    told = true;
    assert_int_equal(jobswitch_start_job(&ending, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    told = false;
    jobswitch_wake(third);
    int fd = jobswitch_get_wait_fd(third);
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    assert_true(readable(fd));
    jobswitch_wake(third);
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    // One that ended while queued, and another job in its place: woken, it is found.
    jobswitch_job *next = paused();
    jobswitch_wake(next);
    jobswitch_wake(first);
    assert_int_equal(jobswitch_take_ready(taken, 4), 2);
    assert_ptr_equal(taken[0], next);
    assert_ptr_equal(taken[1], first);
    end_all();
}

static int takes_inside(void *arg)
{
    auto **seen = *static_cast<jobswitch_job ***>(arg);
    jobswitch_wake(jobswitch_get_current_job());
    return int(jobswitch_take_ready(seen, 4));
}

static int wakes_and_pauses(void *)
{
    jobswitch_wake(jobswitch_get_current_job());
    return jobswitch_pause_job();
}

static void a_wake_before_the_pause_is_not_lost(void **)
{
    jobswitch_job *job = nullptr, *taken[4];
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, wakes_and_pauses, nullptr, 0),
                     JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_take_ready(taken, 4), 1);
    assert_ptr_equal(taken[0], job);
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);

    // Who runs is not taken, and keeps its wake; others are.
    jobswitch_job *other = paused(), **seen = taken;
    jobswitch_wake(other);
    assert_int_equal(jobswitch_start_job(&job, &ret, takes_inside, &seen, sizeof seen),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);
    assert_ptr_equal(taken[0], other);
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    end_all();
}

// It is woken while it runs, and takes what is ready itself, where it is not to be found: it
// comes when it has paused.
static int takes_itself(void *arg)
{
    bool resumes = *static_cast<bool *>(arg);
    jobswitch_job *taken[4];
    jobswitch_outcome outcomes[4];
    jobswitch_wake(jobswitch_get_current_job());
    size_t found = resumes ? jobswitch_resume_ready(outcomes, 4) : jobswitch_take_ready(taken, 4);
    jobswitch_pause_job();
    return int(found);
}

static void a_wake_that_its_own_job_comes_across_is_not_lost(void **)
{
    for (bool resumes : {false, true}) {
        jobswitch_job *job = nullptr, *taken[4];
        int ret = -1;
        assert_int_equal(
            jobswitch_start_job(&job, &ret, takes_itself, &resumes, sizeof resumes),
            JOBSWITCH_PAUSE);
        assert_int_equal(jobswitch_take_ready(taken, 4), 1);
        assert_ptr_equal(taken[0], job);
        assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0),
                         JOBSWITCH_FINISH);
        assert_int_equal(ret, 0);
    }
}

static void the_descriptor_rests_when_a_take_finds_nothing(void **)
{
    jobswitch_job *taken[4], *job = paused(), *other = paused();
    int fd = jobswitch_get_ready_fd();
    assert_true(fd >= 0);
    assert_int_equal(jobswitch_get_ready_fd(), fd);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    assert_false(readable(fd));
    jobswitch_wake(job);
    assert_true(readable(fd));
    jobswitch_wake(other);
    assert_int_equal(jobswitch_take_ready(taken, 1), 1);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_take_ready(taken, 4), 1);
    assert_true(readable(fd)); // until a take finds nothing
    assert_int_equal(jobswitch_take_ready(taken, 4), 0);
    assert_false(readable(fd));
    // One woken while it is asked for with no room: readable all the same.
    jobswitch_wake(job);
    assert_int_equal(jobswitch_take_ready(taken, 0), 0);
    assert_true(readable(fd));
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    jobswitch_get_stats(&stats);
    assert_int_equal(stats.descriptors_open, 1);
    end_all();
    jobswitch_cleanup_thread();
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    jobswitch_get_stats(&stats);
    assert_int_equal(stats.descriptors_open, 0);
}

// The same by jobswitch_resume_ready.
static void the_descriptor_rests_when_a_resume_finds_nothing(void **)
{
    jobswitch_job *job = paused();
    jobswitch_outcome outcomes[4];
    const int fd = jobswitch_get_ready_fd();
    assert_int_equal(jobswitch_resume_ready(outcomes, 4), 0);
    assert_false(readable(fd));
    jobswitch_wake(job);
    assert_int_equal(jobswitch_resume_ready(outcomes, 0), 0);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_resume_ready(outcomes, 1), 1);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_resume_ready(outcomes, 0), 0);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_resume_ready(outcomes, 1), 0);
    assert_false(readable(fd));
    end_all();
}

static void no_room_for_a_ring(void **)
{
    if (!plain)
        skip_because("the tool needs memory");
    const int status = child([] {
        jobswitch_job *job = paused();
        jobswitch_wake(job);
        pool &p = *pool_thread_state.pool;
        p.waits.ready.tail = 0; // as if there were none yet
        const rlimit none = {4096, 4096};
        CHILD_NEEDS(setrlimit(RLIMIT_AS, &none) == 0);
        int reason = 0;
        CHILD_NEEDS(loop_descriptor(p, &reason) == -1);
        CHILD_NEEDS(reason == JOBSWITCH_E_NO_MEMORY && !ready_has_descriptor(p.waits.ready));
        return 0;
    });
    assert_int_equal(status, 0);
}

// What was told in a call is no more than there is room for, and the rest comes later.
static void no_more_than_asked_for(void **)
{
    jobswitch_job *taken[4] = {}, *jobs[3] = {paused(), paused(), paused()};
    jobswitch_outcome outcomes[4] = {};
    for (jobswitch_job *job : jobs)
        jobswitch_wake(job);
    assert_int_equal(jobswitch_take_ready(taken, 2), 2);
    assert_null(taken[2]);
    assert_int_equal(jobswitch_take_ready(taken, 2), 1);
    for (jobswitch_job *job : jobs)
        jobswitch_wake(job);
    assert_int_equal(jobswitch_resume_ready(outcomes, 2), 2);
    assert_null(outcomes[2].job);
    assert_int_equal(jobswitch_resume_ready(outcomes, 2), 1);
    assert_int_equal(jobswitch_cancel_all(), 3);
    assert_int_equal(jobswitch_cancel_all(), 0);
}

static void bad_arguments_of_the_ring(void **)
{
    assert_int_equal(jobswitch_take_ready(nullptr, 1), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    jobswitch_job *first = paused();
    jobswitch_wake(first);
    assert_int_equal(jobswitch_wait_ready(nullptr, 3, -1), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    assert_int_equal(jobswitch_resume_ready(nullptr, 3), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    assert_int_equal(jobswitch_take_ready(nullptr, 0), 0);
    assert_int_equal(jobswitch_wait_ready(nullptr, 0, -1), 0);
    jobswitch_job *taken;
    assert_int_equal(jobswitch_take_ready(&taken, 1), 1); // nothing was lost
    end_all();
}

static void resume_ready_tells_what_became_of_each(void **)
{
    int resumed = 0;
    jobswitch_job *stays = paused(&resumed), *ends = nullptr;
    int ret;
    assert_int_equal(jobswitch_start_job(&ends, &ret, wakes_and_pauses, nullptr, 0),
                     JOBSWITCH_PAUSE);
    jobswitch_wake(stays);
    jobswitch_outcome outcomes[4] = {};
    assert_int_equal(jobswitch_resume_ready(outcomes, 4), 2);
    assert_ptr_equal(outcomes[0].job, ends);
    assert_int_equal(outcomes[0].answer, JOBSWITCH_FINISH);
    assert_int_equal(outcomes[0].ret, 1);
    assert_ptr_equal(outcomes[1].job, stays);
    assert_int_equal(outcomes[1].answer, JOBSWITCH_PAUSE);
    assert_int_equal(resumed, 1);
    assert_int_equal(jobswitch_resume_ready(outcomes, 4), 0);
    end_all();
}

// ---- wakers on other threads -------------------------------------------------------------

static std::atomic<unsigned long> issued[256];
static unsigned long answered[256];

static int answers(void *arg)
{
    size_t own = *static_cast<size_t *>(arg);
    while (jobswitch_pause_job() == 1)
        answered[own] = issued[own].load(std::memory_order_acquire);
    return 0;
}

// Each wake is answered, whoever takes: in a poll of the descriptor, asleep, or awake.
static void no_wake_is_lost(void **)
{
    constexpr size_t count = 256, wakers = 3;
    const unsigned long rounds = scaled(200000ul);
    for (int way = 0; way < 3; way++) {
        std::vector<jobswitch_job *> jobs(count);
        for (size_t i = 0; i < count; i++) {
            int ret;
            jobs[i] = nullptr;
            issued[i] = answered[i] = 0;
            assert_int_equal(jobswitch_start_job(&jobs[i], &ret, answers, &i, sizeof i),
                             JOBSWITCH_PAUSE);
        }
        std::atomic<size_t> at_work = wakers;
        std::vector<std::thread> threads;
        for (unsigned w = 0; w < wakers; w++)
            threads.emplace_back([&, w] {
                std::mt19937 random(w + 1);
                for (unsigned long i = 0; i < rounds; i++) {
                    size_t k = random() % count;
                    issued[k]++;
                    jobswitch_wake(jobs[k]);
                    if (i % 64 == 0 && random() % 4 == 0) // so that the owner sleeps
                        std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
                }
                at_work--;
            });
        pollfd ready = {way == 0 ? jobswitch_get_ready_fd() : -1, POLLIN, 0};
        jobswitch_outcome outcomes[32];
        jobswitch_job *taken[32];
        unsigned long bad = 0;
        bool last = false;
        while (!last) {
            last = at_work == 0; // then once more, to the end
            size_t n;
            do {
                if (way == 1) {
                    n = jobswitch_wait_ready(taken, 32, last ? 0 : 2000000);
                    for (size_t i = 0; i < n; i++) {
                        int ret;
                        bad += jobswitch_start_job(&taken[i], &ret, nullptr, nullptr, 0) !=
                               JOBSWITCH_PAUSE;
                    }
                } else {
                    n = jobswitch_resume_ready(outcomes, 32);
                    for (size_t i = 0; i < n; i++)
                        bad += outcomes[i].answer != JOBSWITCH_PAUSE;
                }
            } while (n);
            if (way == 0 && !last && at_work)
                poll(&ready, 1, 20);
        }
        for (std::thread &t : threads)
            t.join();
        // (What came between the last look and the last wake)
        while (size_t n = jobswitch_resume_ready(outcomes, 32))
            for (size_t i = 0; i < n; i++)
                bad += outcomes[i].answer != JOBSWITCH_PAUSE;
        assert_int_equal(bad, 0);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(answered[i], issued[i]);
        end_all();
        jobswitch_cleanup_thread();
    }
}

// A descriptor that rests, or a sleep, is ended by one wake; nothing else ends it.
static void a_sleeping_owner_is_called(void **)
{
    jobswitch_job *job = paused(), *taken[2];
    for (unsigned long i = scaled(50ul); i; i--) {
        std::thread waker([job] {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            jobswitch_wake(job);
        });
        assert_int_equal(jobswitch_wait_ready(taken, 2, -1), 1);
        assert_ptr_equal(taken[0], job);
        waker.join();
    }
    uint64_t began_ns = now_ns();
    assert_int_equal(jobswitch_wait_ready(taken, 2, 20000000), 0);
    assert_true(now_ns() - began_ns >= 20000000);
    assert_int_equal(jobswitch_wait_ready(taken, 2, 0), 0);
    end_all();
}

// A call for nothing, for the wake is taken back: the owner goes to sleep again, and uses no
// processor until its time has come.
static void an_owner_that_is_called_for_nothing_sleeps_again(void **)
{
    jobswitch_job *job = paused(), *taken[2];
    std::thread waker([job] {
        for (int i = 0; i < 5; i++) {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            jobswitch_wake(job);
            jobswitch_clear_wake(job);
        }
    });
    timespec before, after;
    uint64_t until_ns = now_ns() + 150000000;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    size_t found = 0; // (now and then it is quicker than the clear)
    for (uint64_t at_ns; (at_ns = now_ns()) < until_ns;)
        found += jobswitch_wait_ready(taken, 2, int64_t(until_ns - at_ns));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    waker.join();
    assert_in_range(found, 0, 5);
    const int64_t used_ns =
        (after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec;
    if (plain)
        assert_in_range(used_ns, 0, 60000000);
    end_all();
}

static jobswitch_job *to_wake;
static void wakes_in_handler(int) { jobswitch_wake(to_wake); }

static void a_signal_handler_wakes(void **)
{
    struct sigaction action = {}, old;
    action.sa_handler = wakes_in_handler;
    sigaction(SIGUSR1, &action, &old);
    jobswitch_job *taken[2];
    to_wake = paused();
    int fd = jobswitch_get_ready_fd();
    for (int i = 0; i < 1000; i++) {
        errno = 77;
        raise(SIGUSR1);
        assert_int_equal(errno, 77);
        assert_true(readable(fd));
        assert_int_equal(jobswitch_take_ready(taken, 2), 1);
        assert_int_equal(jobswitch_take_ready(taken, 2), 0);
    }
    // It ends a sleep, too.
    pthread_t self = pthread_self();
    std::thread signaller([self] {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        pthread_kill(self, SIGUSR1);
    });
    size_t n = 0;
    while (!n)
        n = jobswitch_wait_ready(taken, 2, -1);
    signaller.join();
    sigaction(SIGUSR1, &old, nullptr);
    end_all();
}

// Threads end and begin while others wake what they had: pools, rings and blocks pass
// from one to the next.
static void wakes_of_jobs_whose_thread_has_ended(void **)
{
    std::atomic<jobswitch_job *> handles[64] = {};
    std::atomic<bool> over = false;
    std::atomic<unsigned long> wakes = 0;
    std::vector<std::thread> wakers;
    for (unsigned w = 0; w < 2; w++)
        wakers.emplace_back([&, w] {
            std::mt19937 random(w);
            while (!over) {
                if (jobswitch_job *job = handles[random() % 64])
                    jobswitch_wake(job);
                wakes++;
            }
        });
    std::atomic<unsigned long> lost = 0;
    for (unsigned long round = scaled(400ul); round; round--) {
        std::thread([&] {
            jobswitch_job *own[32], *taken[64];
            for (auto &job : own) {
                int *none = nullptr, ret;
                job = nullptr;
                if (jobswitch_start_job(&job, &ret, pauses, &none, sizeof none) !=
                    JOBSWITCH_PAUSE)
                    lost++;
                handles[(&job - own) + 32 * (round % 2)] = job;
            }
            while (jobswitch_take_ready(taken, 64))
                ;
            // Each that is woken now is taken, though others are woken, too. (Not at
            // once if another waker of the same job has lost its processor.)
            bool seen[32] = {};
            size_t missing = 32;
            uint64_t until_ns = now_ns() + 20000000000;
            for (auto job : own)
                jobswitch_wake(job);
            while (missing && now_ns() < until_ns) {
                size_t n = jobswitch_wait_ready(taken, 64, 1000000);
                for (size_t i = 0; i < n; i++)
                    for (auto &job : own)
                        if (job == taken[i]) {
                            missing -= !seen[&job - own];
                            seen[&job - own] = true;
                        }
            }
            lost += missing;
        }).join();
    }
    over = true;
    for (std::thread &t : wakers)
        t.join();
    assert_int_equal(lost, 0);
    assert_true(wakes > 0);
}

// ---- deadlines -----------------------------------------------------------------------

static int waits_until(void *arg)
{
    return jobswitch_pause_until(*static_cast<uint64_t *>(arg));
}

static jobswitch_job *waiting_until(uint64_t deadline_ns)
{
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(
        jobswitch_start_job(&job, &ret, waits_until, &deadline_ns, sizeof deadline_ns),
        JOBSWITCH_PAUSE);
    return job;
}

static void deadlines_come_in_their_order(void **)
{
    constexpr unsigned count = 3000;
    std::mt19937 random(3);
    uint64_t began_ns = now_ns();
    std::vector<std::pair<uint64_t, jobswitch_job *>> waiting;
    assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
    for (unsigned i = 0; i < count; i++) {
        uint64_t at_ns = began_ns + random() % 30000000;
        waiting.push_back({at_ns, waiting_until(at_ns)});
    }
    // A third of them are resumed or cancelled before.
    unsigned early = 0, bad = 0;
    for (unsigned i = 0; i < count; i += 3) {
        jobswitch_job *job = waiting[i].second;
        int ret;
        bad += (i % 2 ? jobswitch_cancel_job(&job, &ret)
                      : jobswitch_start_job(&job, &ret, nullptr, nullptr, 0)) !=
               JOBSWITCH_FINISH;
        bad += ret != (i % 2 ? 0 : 1) && ret != JOBSWITCH_EXPIRED;
        waiting[i].second = nullptr;
        early++;
    }
    std::sort(waiting.begin(), waiting.end());
    unsigned at = 0, ended = 0;
    jobswitch_job *taken[64];
    while (ended < count - early) {
        size_t n = jobswitch_wait_ready(taken, 64, 1000000000);
        if (!n)
            break;
        for (size_t i = 0; i < n; i++) {
            while (!waiting[at].second)
                at++;
            bad += taken[i] != waiting[at].second || now_ns() < waiting[at].first;
            at++;
            int ret = -1;
            bad += jobswitch_start_job(&taken[i], &ret, nullptr, nullptr, 0) !=
                       JOBSWITCH_FINISH || ret != JOBSWITCH_EXPIRED;
            ended++;
        }
    }
    assert_int_equal(bad, 0);
    assert_int_equal(ended, count - early);
    assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
}

static void the_clock_is_the_kernels(void **)
{
    for (int i = 0; i < 3; i++) {
        const uint64_t before_ns = now_ns(), found_ns = loop_clock_ns(), after_ns = now_ns();
        assert_in_range(found_ns, before_ns, after_ns);
    }
}

// Whichever comes first, the deadline of a job or the end of the call's time.
static void a_wait_ends_with_the_earlier_time(void **)
{
    jobswitch_job *taken[2];
    const uint64_t began_ns = now_ns();
    jobswitch_job *job = waiting_until(began_ns + 30000000);
    size_t found = jobswitch_wait_ready(taken, 2, 1000000);
    assert_true(now_ns() - began_ns >= 1000000);
    assert_true(!found || now_ns() - began_ns >= 30000000); // held up for so long
    if (!found)
        found = jobswitch_wait_ready(taken, 2, 20000000000);
    assert_int_equal(found, 1);
    assert_ptr_equal(taken[0], job);
    assert_in_range(now_ns() - began_ns, 30000000, 10000000000);
    // By a resume, a deadline that has passed is seen as well.
    waiting_until(1);
    jobswitch_outcome outcome = {};
    assert_int_equal(jobswitch_resume_ready(&outcome, 1), 1);
    assert_int_equal(outcome.answer, JOBSWITCH_FINISH);
    assert_int_equal(outcome.ret, JOBSWITCH_EXPIRED);
    end_all();
}

static void a_deadline_tells_the_loop_when(void **)
{
    uint64_t far_ns = now_ns() + 3600000000000;
    jobswitch_job *late = waiting_until(far_ns + 5), *soon = waiting_until(far_ns);
    int ret = -1;
    assert_int_equal(jobswitch_next_deadline(), far_ns);
    // Woken before: it is not the deadline that has come.
    jobswitch_wake(soon);
    jobswitch_job *taken[2];
    assert_int_equal(jobswitch_take_ready(taken, 2), 1);
    assert_int_equal(jobswitch_start_job(&soon, &ret, nullptr, nullptr, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);
    assert_int_equal(jobswitch_next_deadline(), far_ns + 5);
    // One that has passed comes at once; with a descriptor, by that.
    jobswitch_job *passed = waiting_until(1);
    assert_int_equal(jobswitch_next_deadline(), 1);
    int fd = jobswitch_get_wait_fd(passed);
    assert_int_equal(jobswitch_take_ready(taken, 2), 0);
    assert_true(readable(fd));
    assert_int_equal(jobswitch_start_job(&passed, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, JOBSWITCH_EXPIRED);
    assert_int_equal(jobswitch_cancel_job(&late, &ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 0);
    assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
    // Outside a job, and while pauses are blocked, as any pause.
    assert_int_equal(jobswitch_pause_until(far_ns), 1);
    // Taken back with their jobs.
    waiting_until(far_ns);
    jobswitch_cleanup_thread();
    assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
}

// Behind the wakes before the call, the earlier first; which of two equal ones is first
// nobody says, but both come.
static void deadlines_come_behind_earlier_wakes(void **)
{
    jobswitch_job *third = waiting_until(3), *first = waiting_until(1),
                  *equal[2] = {waiting_until(2), waiting_until(2)}, *woken = paused(),
                  *late = waiting_until(1), *taken[8];
    jobswitch_wake(late); // before it is found that its deadline has come
    jobswitch_wake(woken);
    assert_int_equal(jobswitch_take_ready(taken, 8), 6);
    assert_ptr_equal(taken[0], late);
    assert_ptr_equal(taken[1], woken);
    assert_ptr_equal(taken[2], first);
    assert_true((taken[3] == equal[0] && taken[4] == equal[1]) ||
                (taken[3] == equal[1] && taken[4] == equal[0]));
    assert_ptr_equal(taken[5], third);
    end_all();
}

// ---- cancelling ------------------------------------------------------------------------

struct cancel_log {
    int answers[4];
    int reasons[4];
    int cancelled_before, cancelled_after, objects;
};
struct counted {
    int &count;
    explicit counted(int &count) : count(++count) {}
    ~counted() { count--; }
};

static int is_cancelled(void *arg)
{
    cancel_log &log = **static_cast<cancel_log **>(arg);
    counted object(log.objects);
    log.cancelled_before = jobswitch_job_cancelled();
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            jobswitch_block_pause(); // makes no difference
        log.answers[i] = jobswitch_pause_job();
        log.reasons[i] = jobswitch_last_error();
    }
    log.answers[3] = jobswitch_pause_until(1);
    log.cancelled_after = jobswitch_job_cancelled();
    return 42;
}

static void a_cancelled_job_runs_to_its_end(void **)
{
    cancel_log log = {}, *to = &log;
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, is_cancelled, &to, sizeof to),
                     JOBSWITCH_PAUSE);
    assert_int_equal(log.objects, 1);
    jobswitch_job *stale = job;
    assert_int_equal(jobswitch_cancel_job(&job, &ret), JOBSWITCH_FINISH);
    assert_null(job);
    assert_int_equal(ret, 42);
    assert_int_equal(log.objects, 0);
    assert_int_equal(log.cancelled_before, 0);
    assert_int_equal(log.cancelled_after, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(log.answers[i], 0);
        assert_int_equal(log.reasons[i], JOBSWITCH_E_CANCELLED);
    }
    assert_int_equal(log.answers[3], 0);
    assert_int_equal(jobswitch_job_cancelled(), 0);

    assert_int_equal(jobswitch_cancel_job(&stale, &ret), JOBSWITCH_ERR);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
    assert_int_equal(jobswitch_cancel_job(nullptr, &ret), JOBSWITCH_ERR);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    assert_int_equal(jobswitch_cancel_job(&job, &ret), JOBSWITCH_ERR);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    job = paused();
    assert_int_equal(jobswitch_cancel_job(&job, nullptr), JOBSWITCH_ERR);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    // The next in its place is not cancelled.
    int resumed = 0;
    jobswitch_job *next = paused(&resumed);
    assert_int_equal(jobswitch_start_job(&next, &ret, nullptr, nullptr, 0), JOBSWITCH_PAUSE);
    assert_int_equal(resumed, 1);
    int wrong_thread = 0;
    std::thread([&] {
        jobswitch_job *foreign = next;
        wrong_thread = jobswitch_cancel_job(&foreign, &ret) == JOBSWITCH_ERR &&
                       jobswitch_last_error() == JOBSWITCH_E_WRONG_THREAD;
    }).join();
    assert_int_equal(wrong_thread, 1);
    end_all();
}

static int starts_and_pauses(void *)
{
    // A job that a cancelled one starts is none itself.
    jobswitch_job *inner = nullptr;
    int ret = -1, resumed = 0, *to = &resumed;
    if (jobswitch_pause_job() != 0)
        return 1;
    if (jobswitch_start_job(&inner, &ret, pauses, &to, sizeof to) != JOBSWITCH_PAUSE)
        return 2;
    if (jobswitch_start_job(&inner, &ret, nullptr, nullptr, 0) != JOBSWITCH_PAUSE)
        return 3;
    if (jobswitch_cancel_job(&inner, &ret) != JOBSWITCH_FINISH || ret != 0)
        return 4;
    if (jobswitch_cancel_all() != 0 || jobswitch_last_error() != JOBSWITCH_E_IN_JOB)
        return 5;
    return resumed == 1 ? 77 : 6;
}

static int cancels(void *arg)
{
    auto **job = *static_cast<jobswitch_job ***>(arg);
    int ret;
    if (jobswitch_cancel_job(job, &ret) != JOBSWITCH_ERR ||
        jobswitch_last_error() != JOBSWITCH_E_RUNNING)
        return 1;
    return 0;
}

// ---- discarding --------------------------------------------------------------------

static jobswitch_key discarded_key;
static int discarded_values;
static void counts_value(void *) { discarded_values++; }

static int holds(void *args)
{
    auto o = *static_cast<cancel_log **>(args);
    jobswitch_set_local(discarded_key, o);
    uint64_t never = UINT64_MAX - 1;
    o->answers[0] = jobswitch_pause_until(o->cancelled_before ? now_ns() + 2000000 : never);
    o->objects++;
    return 1;
}

static void a_discarded_job_does_not_run_on(void **)
{
    assert_int_equal(jobswitch_create_key(&discarded_key, counts_value), 1);
    discarded_values = 0;
    for (int soon : {0, 1}) {
        cancel_log log = {}, *to = &log;
        log.cancelled_before = soon; // here: its deadline comes
        jobswitch_job *job = nullptr;
        int ret = -1;
        jobswitch_stats before = JOBSWITCH_STATS_INIT, after = JOBSWITCH_STATS_INIT;
        assert_int_equal(jobswitch_get_stats(&before), 1);
        assert_int_equal(jobswitch_start_job(&job, &ret, holds, &to, sizeof to), JOBSWITCH_PAUSE);
        jobswitch_job *stale = job;
        assert_true(jobswitch_get_wait_fd(job) >= 0);
        assert_int_equal(jobswitch_discard_job(&job), 1);
        assert_null(job);
        assert_int_equal(log.objects, 0);
        assert_int_equal(discarded_values, 1 + soon);
        assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
        assert_int_equal(jobswitch_get_stats(&after), 1);
        assert_int_equal(after.jobs_paused, before.jobs_paused);
        assert_int_equal(after.jobs_discarded, before.jobs_discarded + 1);
        assert_int_equal(after.jobs_finished, before.jobs_finished);
        assert_int_equal(after.jobs_started, before.jobs_started + 1);

        // The next one has its stack, and not its deadline.
        int resumed = 0;
        jobswitch_job *next = paused(&resumed), *woken[1];
        assert_int_equal(jobswitch_wait_ready(woken, 1, 4000000), 0);
        assert_int_equal(jobswitch_get_stats(&after), 1);
        assert_int_equal(after.stacks_mapped, 1);

        assert_int_equal(jobswitch_discard_job(&stale), 0);
        assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
        assert_non_null(stale);
        assert_int_equal(jobswitch_discard_job(nullptr), 0);
        assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
        assert_int_equal(jobswitch_discard_job(&job), 0);
        assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
        int wrong_thread = 0;
        std::thread([&] {
            jobswitch_job *foreign = next;
            wrong_thread = !jobswitch_discard_job(&foreign) && foreign == next &&
                           jobswitch_last_error() == JOBSWITCH_E_WRONG_THREAD;
        }).join();
        assert_int_equal(wrong_thread, 1);
        assert_int_equal(jobswitch_start_job(&next, &ret, nullptr, nullptr, 0), JOBSWITCH_PAUSE);
        assert_int_equal(resumed, 1);
        end_all();
    }
    assert_int_equal(jobswitch_delete_key(discarded_key), 1);
}

static timer_queue &timers() { return pool_thread_state.pool->timers; }

// Whether the deadline came before or not, was told or not.
static void a_discard_takes_the_deadline_back(void **)
{
    jobswitch_job *taken[2];
    for (int round = 0; round < 3000; round++) {
        uint64_t deadline_ns = round % 3 ? 1 : UINT64_MAX - 1;
        jobswitch_job *job = waiting_until(deadline_ns);
        assert_int_equal(jobswitch_next_deadline(), deadline_ns);
        if (round % 3)
            assert_int_equal(jobswitch_take_ready(taken, round % 3 - 1), round % 3 - 1);
        assert_int_equal(jobswitch_discard_job(&job), 1);
        assert_int_equal(jobswitch_next_deadline(), UINT64_MAX);
    }
    assert_int_equal(timers().ids, 1);
    // Taken back by a clean-up, the block comes without one to the next job.
    waiting_until(1);
    assert_int_equal(jobswitch_take_ready(taken, 2), 1);
    jobswitch_cleanup_thread();
    jobswitch_job *next = paused();
    assert_int_equal(jobswitch_discard_job(&next), 1);
    assert_int_equal(timers().ids, 0);
}

// Of a job that has none. (Of one that has, as many steps as the heap is deep.)
static void a_discard_looks_at_no_deadline_of_others(void **)
{
    int status = child([] {
        signal(SIGSEGV, SIG_DFL);
        for (uint64_t i = 0; i < 10000; i++)
            waiting_until(UINT64_MAX - 1 - i);
        jobswitch_job *job = paused();
        size_t bytes = timers().capacity * sizeof(timer_queue::node);
        CHILD_NEEDS(mprotect(static_cast<void *>(timers().heap), bytes, PROT_NONE) == 0);
        CHILD_NEEDS(jobswitch_discard_job(&job) == 1);
        return 0;
    });
    assert_int_equal(status, 0);
}

// Itself, its starter, and one that it has paused.
static int discards(void *args)
{
    auto others = static_cast<jobswitch_job **>(args);
    jobswitch_job *self = jobswitch_get_current_job();
    int wrong = jobswitch_discard_job(&self) || jobswitch_last_error() != JOBSWITCH_E_RUNNING;
    wrong += jobswitch_discard_job(&others[0]) || jobswitch_last_error() != JOBSWITCH_E_WAITING;
    wrong += jobswitch_discard_job(&others[1]) != 1;
    return wrong;
}
static int starts_one_that_discards(void *)
{
    jobswitch_job *others[2] = {jobswitch_get_current_job(), paused()}, *job = nullptr;
    int ret = -1;
    return jobswitch_start_job(&job, &ret, discards, others, sizeof others) == JOBSWITCH_FINISH
               ? ret
               : 100;
}
static void discarding_among_nested_jobs(void **)
{
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, starts_one_that_discards, nullptr, 0),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 0);
}

static void cancelling_among_nested_jobs(void **)
{
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, starts_and_pauses, nullptr, 0),
                     JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_cancel_job(&job, &ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 77);
    // The one that runs.
    struct self {
        static int cancels_itself(void *)
        {
            jobswitch_job *own = jobswitch_get_current_job(), **to = &own;
            return cancels(&to);
        }
    };
    assert_int_equal(jobswitch_start_job(&job, &ret, self::cancels_itself, nullptr, 0),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 0);
}

// ---- what jobs keep ----------------------------------------------------------------------

static jobswitch_key keys[3];
static std::atomic<unsigned long> destroyed;
static void *last_destroyed;
static void destroys(void *value)
{
    last_destroyed = value;
    free(value);
    destroyed++;
}

static int keeps(void *arg)
{
    bool sets_again = *static_cast<bool *>(arg);
    if (jobswitch_get_local(keys[0]) || jobswitch_get_local(keys[1]))
        return -1;
    void *value = malloc(16);
    if (jobswitch_set_local(keys[0], value) != 1)
        return -2;
    if (sets_again && jobswitch_set_local(keys[1], malloc(32)) != 1)
        return -3;
    int answer = jobswitch_pause_job();
    if (jobswitch_get_local(keys[0]) != value)
        return -4;
    return answer;
}

static void every_value_is_destroyed(void **)
{
    const size_t count = scaled(sizeof(void *) == 8 ? 100000ul : 20000ul);
    assert_int_equal(jobswitch_create_key(&keys[0], destroys), 1);
    assert_int_equal(jobswitch_create_key(&keys[1], destroys), 1);
    assert_int_not_equal(keys[0], keys[1]);
    std::vector<jobswitch_job *> jobs(count);
    for (int way = 0; way < 3; way++) { // finishes, is cancelled, is taken back
        destroyed = 0;
        unsigned long bad = 0, expected = 0;
        for (size_t i = 0; i < count; i++) {
            bool sets_again = i % 2;
            int ret;
            jobs[i] = nullptr;
            bad += jobswitch_start_job(&jobs[i], &ret, keeps, &sets_again,
                                       sizeof sets_again) != JOBSWITCH_PAUSE;
            expected += 1 + sets_again;
        }
        assert_int_equal(destroyed, 0);
        if (way == 0)
            for (auto &job : jobs) {
                int ret = -9;
                bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                           JOBSWITCH_FINISH || ret != 1;
            }
        else if (way == 1)
            assert_int_equal(jobswitch_cancel_all(), count);
        else
            jobswitch_cleanup_thread();
        assert_int_equal(bad, 0);
        assert_int_equal(destroyed, expected);
        jobswitch_stats stats = JOBSWITCH_STATS_INIT;
        jobswitch_get_stats(&stats);
        assert_int_equal(stats.jobs_paused, 0);
        assert_int_equal(stats.jobs_idle, way == 2 ? 0 : count);
    }
    assert_int_equal(jobswitch_delete_key(keys[0]), 1);
    assert_int_equal(jobswitch_delete_key(keys[1]), 1);
}

static int destructor_calls, destructor_pauses, destructor_in_job;
static void sets_anew(void *value)
{
    destructor_calls++;
    destructor_in_job = jobswitch_in_job();
    destructor_pauses = jobswitch_pause_job();
    jobswitch_set_local(keys[2], value);
}
static int sets_one(void *)
{
    return jobswitch_set_local(keys[2], &destructor_calls);
}

static void destructors_that_set_again_are_called_again(void **)
{
    assert_int_equal(jobswitch_create_key(&keys[2], sets_anew), 1);
    destructor_calls = destructor_pauses = destructor_in_job = 0;
    jobswitch_job *job = nullptr;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, sets_one, nullptr, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);
    assert_int_equal(destructor_calls, 4);
    assert_int_equal(destructor_in_job, 1);
    assert_int_equal(destructor_pauses, 1); // blocked: at once
    assert_int_equal(jobswitch_delete_key(keys[2]), 1);
}

static int reads_key(void *arg)
{
    return jobswitch_get_local(*static_cast<jobswitch_key *>(arg)) ? 1 : 0;
}
static int sets_key(void *arg)
{
    jobswitch_key key = *static_cast<jobswitch_key *>(arg);
    if (jobswitch_set_local(key, arg) != 1)
        return jobswitch_last_error();
    return jobswitch_get_local(key) == arg ? 0 : -1;
}

static void keys_and_their_limits(void **)
{
    std::vector<jobswitch_key> all;
    jobswitch_key key;
    while (jobswitch_create_key(&key, nullptr) == 1)
        all.push_back(key);
    assert_int_equal(all.size(), 1024);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NO_KEYS);
    assert_int_equal(jobswitch_create_key(nullptr, nullptr), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    jobswitch_job *job = nullptr;
    int ret = -1;
    for (jobswitch_key k : {all.front(), all.back()}) {
        assert_int_equal(jobswitch_start_job(&job, &ret, sets_key, &k, sizeof k),
                         JOBSWITCH_FINISH);
        assert_int_equal(ret, 0);
        // The next job in that place has none.
        assert_int_equal(jobswitch_start_job(&job, &ret, reads_key, &k, sizeof k),
                         JOBSWITCH_FINISH);
        assert_int_equal(ret, 0);
    }
    key = all.back();
    for (jobswitch_key k : all)
        assert_int_equal(jobswitch_delete_key(k), 1);
    assert_int_equal(jobswitch_delete_key(key), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_UNKNOWN_KEY);
    assert_int_equal(jobswitch_start_job(&job, &ret, sets_key, &key, sizeof key),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, JOBSWITCH_E_UNKNOWN_KEY);
    assert_int_equal(jobswitch_delete_key(0), 0);
    assert_int_equal(jobswitch_create_key(&key, nullptr), 1);
    assert_int_equal(jobswitch_set_local(key, &key), 0);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NO_JOB);
    assert_null(jobswitch_get_local(key));
    assert_int_equal(jobswitch_delete_key(key), 1);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test_teardown(jobs_are_taken_in_the_order_of_their_wakes, teardown),
        cmocka_unit_test_teardown(a_job_keeps_its_place_in_the_ring, teardown),
        cmocka_unit_test_teardown(a_ring_that_grows_keeps_what_is_in_it, teardown),
        cmocka_unit_test_teardown(what_is_not_to_be_taken, teardown),
        cmocka_unit_test_teardown(a_wake_before_the_pause_is_not_lost, teardown),
        cmocka_unit_test_teardown(a_wake_that_its_own_job_comes_across_is_not_lost, teardown),
        cmocka_unit_test_teardown(the_descriptor_rests_when_a_take_finds_nothing, teardown),
        cmocka_unit_test_teardown(the_descriptor_rests_when_a_resume_finds_nothing, teardown),
        cmocka_unit_test_teardown(no_room_for_a_ring, teardown),
        cmocka_unit_test_teardown(no_more_than_asked_for, teardown),
        cmocka_unit_test_teardown(bad_arguments_of_the_ring, teardown),
        cmocka_unit_test_teardown(resume_ready_tells_what_became_of_each, teardown),
        cmocka_unit_test_teardown(no_wake_is_lost, teardown),
        cmocka_unit_test_teardown(a_sleeping_owner_is_called, teardown),
        cmocka_unit_test_teardown(an_owner_that_is_called_for_nothing_sleeps_again, teardown),
        cmocka_unit_test_teardown(a_signal_handler_wakes, teardown),
        cmocka_unit_test_teardown(wakes_of_jobs_whose_thread_has_ended, teardown),
        cmocka_unit_test_teardown(deadlines_come_in_their_order, teardown),
        cmocka_unit_test_teardown(the_clock_is_the_kernels, teardown),
        cmocka_unit_test_teardown(a_wait_ends_with_the_earlier_time, teardown),
        cmocka_unit_test_teardown(a_deadline_tells_the_loop_when, teardown),
        cmocka_unit_test_teardown(deadlines_come_behind_earlier_wakes, teardown),
        cmocka_unit_test_teardown(a_cancelled_job_runs_to_its_end, teardown),
        cmocka_unit_test_teardown(cancelling_among_nested_jobs, teardown),
        cmocka_unit_test_teardown(a_discarded_job_does_not_run_on, teardown),
        cmocka_unit_test_teardown(a_discard_takes_the_deadline_back, teardown),
        cmocka_unit_test_teardown(a_discard_looks_at_no_deadline_of_others, teardown),
        cmocka_unit_test_teardown(discarding_among_nested_jobs, teardown),
        cmocka_unit_test_teardown(every_value_is_destroyed, teardown),
        cmocka_unit_test_teardown(destructors_that_set_again_are_called_again, teardown),
        cmocka_unit_test_teardown(keys_and_their_limits, teardown),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
