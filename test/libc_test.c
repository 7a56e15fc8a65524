// SPDX-License-Identifier: Apache-2.0
//
// What the runtime asks of a C library, seen from C: memory, threads and their ends,
// thread-local state, signals on a job's stack, descriptors, clocks, sleeping. The one
// test that is built with every C library; what the API promises beside that is tested
// by the C++ tests.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "jobswitch/jobswitch.h"

static jobswitch_stats stats_now(void)
{
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    assert_int_equal(jobswitch_get_stats(&stats), 1);
    return stats;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// ---- jobs -------------------------------------------------------------------------

struct order {
    int number, pauses;
};

static int works(void *args)
{
    struct order order = *(struct order *)args; // a copy of the caller's
    volatile double kept = order.number * 1.5;
    for (int i = 0; i < order.pauses; i++)
        if (jobswitch_pause_job() != 1)
            return -1;
    return kept == order.number * 1.5 ? order.number : -1;
}

static void test_jobs(void **state)
{
    (void)state;
    enum { count = 1000 };
    static jobswitch_job *jobs[count];
    int ret = -1;
    for (int i = 0; i < count; i++) {
        struct order order = {i, 1 + i % 3};
        assert_int_equal(jobswitch_start_job(&jobs[i], &ret, works, &order, sizeof order),
                         JOBSWITCH_PAUSE);
    }
    assert_int_equal(stats_now().jobs_paused, count);
    int left = count;
    for (int round = 0; left && round < 4; round++)
        for (int i = 0; i < count; i++) {
            if (!jobs[i])
                continue;
            int answer = jobswitch_start_job(&jobs[i], &ret, NULL, NULL, 0);
            if (answer == JOBSWITCH_FINISH) {
                assert_int_equal(ret, i);
                left--;
            } else {
                assert_int_equal(answer, JOBSWITCH_PAUSE);
            }
        }
    assert_int_equal(left, 0);
    assert_int_equal(stats_now().jobs_paused, 0);
    jobswitch_cleanup_thread();
    assert_int_equal(stats_now().stacks_mapped, 0);
}

static int starts_another(void *args)
{
    int depth = *(int *)args, ret = -1;
    if (depth == 0)
        return 0;
    depth--;
    jobswitch_job *job = NULL;
    while (jobswitch_start_job(&job, &ret, starts_another, &depth, sizeof depth) ==
           JOBSWITCH_PAUSE)
        ;
    return ret + 1;
}

static void test_nested(void **state)
{
    (void)state;
    jobswitch_job *job = NULL;
    int ret = -1, depth = 50;
    assert_int_equal(jobswitch_start_job(&job, &ret, starts_another, &depth, sizeof depth),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 50);
}

static void test_misuse(void **state)
{
    (void)state;
    jobswitch_job *job = NULL, *gone;
    int ret = -1;
    struct order order = {7, 1};
    assert_int_equal(jobswitch_start_job(&job, &ret, works, &order, sizeof order),
                     JOBSWITCH_PAUSE);
    gone = job;
    assert_int_equal(jobswitch_start_job(&job, &ret, NULL, NULL, 0), JOBSWITCH_FINISH);
    assert_int_equal(jobswitch_start_job(&gone, &ret, NULL, NULL, 0), JOBSWITCH_ERR);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
    assert_string_not_equal(jobswitch_error_string(JOBSWITCH_E_FINISHED), "");
    assert_int_equal(jobswitch_pause_job(), 1); // outside a job there is nothing to do
}

// ---- guards -------------------------------------------------------------------------

static volatile char *reached;
static volatile int depth_most = 1 << 20;

static int overflows(void *args)
{
    volatile char room[1024];
    reached = room;
    room[0] = 1;
    int depth = *(int *)args + 1;
    return depth < depth_most ? overflows(&depth) + room[0] : 0;
}

static void test_guard(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        jobswitch_job *job = NULL;
        int ret;
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        int depth = 0;
        (void)jobswitch_start_job(&job, &ret, overflows, &depth, sizeof depth);
        _exit(3);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static volatile sig_atomic_t handled;
static void handles(int number)
{
    (void)number;
    handled += jobswitch_in_job();
}
static int is_interrupted(void *args)
{
    (void)args;
    raise(SIGUSR1);
    jobswitch_pause_job();
    raise(SIGUSR1);
    return 0;
}

static void test_signals(void **state)
{
    (void)state;
    handled = 0;
    signal(SIGUSR1, handles);
    jobswitch_job *job = NULL;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, is_interrupted, NULL, 0), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_start_job(&job, &ret, NULL, NULL, 0), JOBSWITCH_FINISH);
    signal(SIGUSR1, SIG_DFL);
    assert_int_equal(handled, 2);
}

// ---- waiting -------------------------------------------------------------------------

static int waits(void *args)
{
    (void)args;
    jobswitch_pause_job();
    return 5;
}

static void *wakes(void *job)
{
    struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
    jobswitch_wake(job);
    return NULL;
}

static void test_wait_fd(void **state)
{
    (void)state;
    jobswitch_job *job = NULL;
    int ret = -1;
    assert_int_equal(jobswitch_start_job(&job, &ret, waits, NULL, 0), JOBSWITCH_PAUSE);
    struct pollfd wait = {jobswitch_get_wait_fd(job), POLLIN, 0};
    assert_true(wait.fd >= 0);
    assert_int_equal(poll(&wait, 1, 0), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wakes, job), 0);
    assert_int_equal(poll(&wait, 1, 20000), 1);
    pthread_join(thread, NULL);
    jobswitch_clear_wake(job);
    assert_int_equal(poll(&wait, 1, 0), 0);
    assert_int_equal(jobswitch_start_job(&job, &ret, NULL, NULL, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, 5);
}

static void test_ready_ring(void **state)
{
    (void)state;
    jobswitch_job *job = NULL, *ready = NULL;
    int ret = -1;
    assert_true(jobswitch_get_ready_fd() >= 0);
    assert_int_equal(jobswitch_start_job(&job, &ret, waits, NULL, 0), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_wait_ready(&ready, 1, 1000000), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wakes, job), 0);
    assert_int_equal(jobswitch_wait_ready(&ready, 1, 20000000000), 1);
    pthread_join(thread, NULL);
    assert_ptr_equal(ready, job);
    assert_int_equal(jobswitch_start_job(&job, &ret, NULL, NULL, 0), JOBSWITCH_FINISH);
}

static int waits_until(void *args)
{
    return jobswitch_pause_until(*(uint64_t *)args);
}

static void test_deadline(void **state)
{
    (void)state;
    uint64_t deadline_ns = clock_ns() + 3000000;
    jobswitch_job *job = NULL, *ready = NULL;
    int ret = -1;
    assert_int_equal(
        jobswitch_start_job(&job, &ret, waits_until, &deadline_ns, sizeof deadline_ns),
        JOBSWITCH_PAUSE);
    assert_true(jobswitch_next_deadline() == deadline_ns);
    assert_int_equal(jobswitch_wait_ready(&ready, 1, 20000000000), 1);
    assert_true(clock_ns() >= deadline_ns);
    assert_int_equal(jobswitch_start_job(&job, &ret, NULL, NULL, 0), JOBSWITCH_FINISH);
    assert_int_equal(ret, JOBSWITCH_EXPIRED);
}

// ---- threads and their ends ----------------------------------------------------------

static int destroyed;
static void destroys(void *value) { destroyed += *(int *)value; }

static jobswitch_key key;
static int keeps(void *args)
{
    static int one = 1;
    (void)args;
    errno = 0;
    if (jobswitch_set_local(key, &one) != 1)
        return -1;
    while (!jobswitch_job_cancelled())
        jobswitch_pause_job();
    return jobswitch_get_local(key) == &one;
}

static void test_cancel(void **state)
{
    (void)state;
    destroyed = 0;
    assert_int_equal(jobswitch_create_key(&key, destroys), 1);
    jobswitch_job *jobs[10] = {NULL};
    int ret = -1;
    for (int i = 0; i < 10; i++)
        assert_int_equal(jobswitch_start_job(&jobs[i], &ret, keeps, NULL, 0), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_cancel_job(&jobs[0], &ret), JOBSWITCH_FINISH);
    assert_int_equal(ret, 1);
    assert_int_equal(jobswitch_cancel_all(), 9);
    assert_int_equal(destroyed, 10);
    assert_int_equal(jobswitch_delete_key(key), 1);
}

// The thread ends with a paused job: all it had goes.
static void *leaves_a_job(void *args)
{
    jobswitch_job *job = NULL;
    int ret = -1;
    struct order order = {1, 1};
    *(int *)args = jobswitch_start_job(&job, &ret, works, &order, sizeof order);
    return NULL;
}

static int lines_of_maps(void)
{
    char buffer[4096];
    int lines = 0, fd = open("/proc/self/maps", O_RDONLY);
    assert_true(fd >= 0);
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            lines += buffer[i] == '\n';
    close(fd);
    return lines;
}

static void test_threads(void **state)
{
    (void)state;
    int before = 0;
    for (int i = 0; i < 200; i++) {
        int answer = 0;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, leaves_a_job, &answer), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(answer, JOBSWITCH_PAUSE);
        if (i == 20)
            before = lines_of_maps();
    }
    assert_in_range(lines_of_maps(), 1, before + 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs),       cmocka_unit_test(test_nested),
        cmocka_unit_test(test_misuse),     cmocka_unit_test(test_guard),
        cmocka_unit_test(test_signals),    cmocka_unit_test(test_wait_fd),
        cmocka_unit_test(test_ready_ring), cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("libc", tests, NULL, NULL) ? 1 : 0;
}
