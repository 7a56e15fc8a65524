// SPDX-License-Identifier: Apache-2.0
//
// The drop-in without libcrypto in the process, so on every CPU and C library: what a job
// and its wait context do, what becomes of those that nobody resumes, and of threads that
// end. (What it does as OpenSSL does it is openssl_api_test's.)
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN
#endif
#endif

// As OpenSSL's headers from 3.2 on have them.
typedef struct async_job_st ASYNC_JOB;
typedef struct async_wait_ctx_st ASYNC_WAIT_CTX;
enum { ASYNC_ERR, ASYNC_NO_JOBS, ASYNC_PAUSE, ASYNC_FINISH };
int ASYNC_init_thread(size_t max_size, size_t init_size);
void ASYNC_cleanup_thread(void);
int ASYNC_start_job(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret, int (*func)(void *),
                    void *args, size_t size);
int ASYNC_pause_job(void);
int ASYNC_is_capable(void);
void ASYNC_block_pause(void);
void ASYNC_unblock_pause(void);
int ASYNC_set_mem_functions(void *(*alloc)(size_t *), void (*release)(void *));
void ASYNC_get_mem_functions(void *(**alloc)(size_t *), void (**release)(void *));
ASYNC_JOB *ASYNC_get_current_job(void);
ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job);
ASYNC_WAIT_CTX *ASYNC_WAIT_CTX_new(void);
void ASYNC_WAIT_CTX_free(ASYNC_WAIT_CTX *ctx);
int ASYNC_WAIT_CTX_set_wait_fd(ASYNC_WAIT_CTX *ctx, const void *key, int fd, void *data,
                               void (*cleanup)(ASYNC_WAIT_CTX *, const void *, int, void *));
int ASYNC_WAIT_CTX_get_fd(ASYNC_WAIT_CTX *ctx, const void *key, int *fd, void **data);
int ASYNC_WAIT_CTX_get_all_fds(ASYNC_WAIT_CTX *ctx, int *fds, size_t *count);
int ASYNC_WAIT_CTX_clear_fd(ASYNC_WAIT_CTX *ctx, const void *key);
int ASYNC_WAIT_CTX_get_changed_fds(ASYNC_WAIT_CTX *ctx, int *added, size_t *added_count,
                                   int *deleted, size_t *deleted_count);
int ASYNC_WAIT_CTX_set_callback(ASYNC_WAIT_CTX *ctx, int (*callback)(void *), void *arg);
int ASYNC_WAIT_CTX_get_callback(ASYNC_WAIT_CTX *ctx, int (**callback)(void *), void **arg);
int ASYNC_WAIT_CTX_set_status(ASYNC_WAIT_CTX *ctx, int status);
int ASYNC_WAIT_CTX_get_status(ASYNC_WAIT_CTX *ctx);

// The library's clock is this one, so that a test need not wait for a minute.
static _Atomic time_t seconds_ahead;
int clock_gettime(clockid_t clock, struct timespec *now)
{
#ifdef SYS_clock_gettime64
    struct { int64_t seconds, ns; } kernels;
    if (syscall(SYS_clock_gettime64, clock, &kernels) != 0)
        return -1;
    now->tv_sec = (time_t)kernels.seconds;
    now->tv_nsec = (long)kernels.ns;
#else
    if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
#endif
    now->tv_sec += seconds_ahead;
    return 0;
}

static ASYNC_WAIT_CTX *ctx;
static int open_ctx(void **state)
{
    (void)state;
    return !(ctx = ASYNC_WAIT_CTX_new());
}
static int close_ctx(void **state)
{
    (void)state;
    ASYNC_WAIT_CTX_free(ctx);
    ctx = NULL;
    ASYNC_cleanup_thread();
    return 0;
}

static int start(ASYNC_JOB **job, int *ret, int (*func)(void *))
{
    return ASYNC_start_job(job, ctx, ret, func, NULL, 0);
}

static int sum_of(const int *numbers)
{
    return numbers[0] + 10 * numbers[1] + 100 * numbers[2];
}
static int pauses_twice(void *args)
{
    const int *numbers = args;
    const int before = sum_of(numbers);
    if (ASYNC_get_wait_ctx(ASYNC_get_current_job()) != ctx || ASYNC_pause_job() != 1 ||
        ASYNC_pause_job() != 1)
        return -1;
    return sum_of(numbers) == before ? before : -2;
}
static int pauses_once(void *args)
{
    (void)args;
    return ASYNC_pause_job() == 1 ? 7 : 8;
}

static void test_jobs(void **state)
{
    ASYNC_JOB *jobs[100] = {0};
    int ret = 0;
    (void)state;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 100; i++) {
            int numbers[3] = {i % 10, i / 10, 4};
            ret = -5;
            assert_int_equal(
                ASYNC_start_job(&jobs[i], ctx, &ret, pauses_twice, numbers, sizeof numbers),
                round < 2 ? ASYNC_PAUSE : ASYNC_FINISH);
            assert_int_equal(ret, round < 2 ? -5 : 400 + i);
            assert_true((jobs[i] != NULL) == (round < 2));
        }
    assert_null(ASYNC_get_current_job());
    assert_int_equal(ASYNC_pause_job(), 1);
}

// Without an error queue, too.
static void test_mistakes(void **state)
{
    ASYNC_JOB *job = NULL, *kept;
    int ret = 0;
    (void)state;
    assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    assert_int_equal(ASYNC_init_thread(2, 3), 0);
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    kept = job;
    assert_int_equal(start(&job, &ret, NULL), ASYNC_FINISH);
    job = kept;
    assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    assert_ptr_equal(job, kept);
    job = (ASYNC_JOB *)&ret; // was none
    assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    assert_null(ASYNC_get_wait_ctx((ASYNC_JOB *)&ret));
}

// ---- jobs that nobody will resume -------------------------------------------------------

static int key, cleaned;
static void clean(ASYNC_WAIT_CTX *c, const void *k, int fd, void *data)
{
    assert_true(c == ctx && k == &key && data == &cleaned);
    cleaned++;
    close(fd);
}

// What it waits for has come: its stack is free at once.
static void test_wait_context_goes_after_the_wake(void **state)
{
    ASYNC_JOB *job = NULL, *other = NULL, *kept;
    int ret = 0, ends[2];
    (void)state;
    cleaned = 0;
    assert_int_equal(ASYNC_init_thread(1, 1), 1);
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, ends[0], &cleaned, clean), 1);
    assert_int_equal(write(ends[1], "", 1), 1);
    ASYNC_WAIT_CTX_free(ctx);
    assert_int_equal(cleaned, 1);
    close(ends[1]);
    ctx = ASYNC_WAIT_CTX_new();
    kept = job;
    assert_null(ASYNC_get_wait_ctx(kept));
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
}

// Else somebody may still write to it, for a minute.
static void test_wait_context_goes_before_the_wake(void **state)
{
    ASYNC_JOB *job = NULL, *other = NULL;
    int ret = 0, ends[2];
    (void)state;
    assert_int_equal(ASYNC_init_thread(1, 1), 1);
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, ends[0], &cleaned, clean), 1);
    ASYNC_WAIT_CTX_free(ctx);
    close(ends[1]);
    ctx = ASYNC_WAIT_CTX_new();
    assert_null(ASYNC_get_wait_ctx(job));
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_NO_JOBS);
    seconds_ahead += 58;
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_NO_JOBS);
    seconds_ahead += 3;
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
}

// A descriptor that was closed says nothing of a wake, nor does another file that has its
// number now.
static void test_descriptor_goes_before_its_wait_context(void **state)
{
    ASYNC_JOB *job = NULL, *other = NULL;
    int ret = 0, ends[2], more[2];
    (void)state;
    assert_int_equal(ASYNC_init_thread(1, 1), 1);
    for (int reused = 0; reused < 2; reused++) {
        assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, ends[0], NULL, NULL), 1);
        assert_int_equal(pipe(more), 0);
        assert_int_equal(write(more[1], "", 1), 1);
        close(ends[0]);
        if (reused)
            assert_int_equal(dup2(more[0], ends[0]), ends[0]);
        ASYNC_WAIT_CTX_free(ctx);
        ctx = ASYNC_WAIT_CTX_new();
        assert_int_equal(start(&other, &ret, pauses_once), ASYNC_NO_JOBS);
        seconds_ahead += 62;
        assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
        assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
        assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
        job = NULL;
        if (reused)
            close(ends[0]);
        close(ends[1]);
        close(more[0]);
        close(more[1]);
    }
}

// It may be resumed all the same, until then; and is not given up any more after that.
static int pauses_two_times(void *args)
{
    return ASYNC_pause_job() + pauses_once(args);
}
static void test_resume_without_a_wait_context(void **state)
{
    ASYNC_JOB *job = NULL, *other = NULL;
    int ret = 0;
    (void)state;
    assert_int_equal(start(&job, &ret, pauses_two_times), ASYNC_PAUSE);
    ASYNC_WAIT_CTX_free(ctx);
    ctx = NULL;
    assert_int_equal(start(&job, &ret, NULL), ASYNC_PAUSE);
    seconds_ahead += 61;
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
    assert_int_equal(start(&job, &ret, NULL), ASYNC_FINISH);
    assert_int_equal(ret, 8);
}

static void test_several_jobs_lose_their_wait_context(void **state)
{
    ASYNC_JOB *jobs[4] = {NULL};
    int ret = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(start(&jobs[i], &ret, pauses_two_times), ASYNC_PAUSE);
    // The last that paused is not one of those that still are.
    assert_int_equal(start(&jobs[1], &ret, NULL), ASYNC_PAUSE);
    assert_int_equal(start(&jobs[1], &ret, NULL), ASYNC_FINISH);
    ASYNC_WAIT_CTX_free(ctx);
    ctx = NULL;
    for (int i = 0; i < 4; i++) {
        if (i == 1)
            continue;
        assert_null(ASYNC_get_wait_ctx(jobs[i]));
        assert_int_equal(start(&jobs[i], &ret, NULL), ASYNC_PAUSE);
        assert_int_equal(start(&jobs[i], &ret, NULL), ASYNC_FINISH);
    }
}

static void *frees_it(void *arg)
{
    (void)arg;
    ASYNC_WAIT_CTX_free(ctx);
    ctx = NULL;
    return NULL;
}
static void test_another_thread_frees_the_wait_context(void **state)
{
    ASYNC_JOB *job = NULL, *other = NULL;
    pthread_t thread;
    int ret = 0;
    (void)state;
    assert_int_equal(ASYNC_init_thread(1, 1), 1);
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(pthread_create(&thread, NULL, frees_it, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    seconds_ahead += 61;
    assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
}

// Arguments of any size go with their job.
static size_t in_use(void)
{
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#endif
#endif
    return 0; // LeakSanitizer sees it all the same
}
static void test_large_args_of_jobs_that_do_not_end(void **state)
{
    static char args[100000];
    const size_t sizes[] = {4097, 20000, sizeof args};
    int ret = 0, wake[2];
    size_t before = 0;
    (void)state;
    assert_int_equal(pipe(wake), 0);
    assert_int_equal(write(wake[1], "", 1), 1);
    for (int i = 0; i < 300; i++) {
        ASYNC_JOB *job = NULL;
        ASYNC_WAIT_CTX *own = ASYNC_WAIT_CTX_new();
        if (i == 10)
            before = in_use();
        assert_int_equal(
            ASYNC_start_job(&job, own, &ret, pauses_once, args, sizes[i % 3]), ASYNC_PAUSE);
        if (i % 2 == 0)
            ASYNC_cleanup_thread();
        else // what it waits for has come
            assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(own, &key, wake[0], NULL, NULL), 1);
        ASYNC_WAIT_CTX_free(own);
        assert_int_equal(start(&job, &ret, NULL), ASYNC_ERR);
    }
    assert_in_range(in_use(), 0, before + 3 * sizeof args);
    close(wake[0]);
    close(wake[1]);
}

static void *frees_and_frees(void *list)
{
    for (int i = 0; i < 3; i++)
        ASYNC_WAIT_CTX_free(((ASYNC_WAIT_CTX **)list)[i]);
    return NULL;
}
// What another thread frees, the job's own learns at its next start or resume. One job has
// ended by then, one is resumed, and one is given up.
static void test_another_thread_frees_wait_contexts(void **state)
{
    ASYNC_JOB *jobs[3] = {NULL}, *other = NULL;
    ASYNC_WAIT_CTX *contexts[3];
    pthread_t thread;
    int ret = 0;
    (void)state;
    assert_int_equal(ASYNC_init_thread(3, 0), 1);
    for (int i = 0; i < 3; i++) {
        contexts[i] = ASYNC_WAIT_CTX_new();
        assert_int_equal(
            ASYNC_start_job(&jobs[i], contexts[i], &ret, pauses_two_times, NULL, 0), ASYNC_PAUSE);
    }
    assert_int_equal(pthread_create(&thread, NULL, frees_and_frees, contexts), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 3; i++)
        assert_null(ASYNC_get_wait_ctx(jobs[i]));
    assert_int_equal(start(&jobs[0], &ret, NULL), ASYNC_PAUSE);
    assert_int_equal(start(&jobs[0], &ret, NULL), ASYNC_FINISH);
    assert_int_equal(start(&jobs[1], &ret, NULL), ASYNC_PAUSE);
    seconds_ahead += 62;
    for (int i = 0; i < 2; i++) // the places of the first and the third
        assert_int_equal(start(i ? &other : &jobs[0], &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&jobs[2], &ret, NULL), ASYNC_ERR);
    assert_int_equal(start(&jobs[1], &ret, NULL), ASYNC_FINISH);
    assert_int_equal(start(&jobs[0], &ret, NULL), ASYNC_FINISH);
    assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
}

// How many of 40 jobs that were given up are gone after so many starts.
static int gone_after(int starts)
{
    ASYNC_JOB *jobs[40] = {NULL}, *other = NULL;
    int ret = 0, gone = 0;
    for (int i = 0; i < 40; i++) {
        ASYNC_WAIT_CTX *own = ASYNC_WAIT_CTX_new();
        assert_int_equal(ASYNC_start_job(&jobs[i], own, &ret, pauses_once, NULL, 0), ASYNC_PAUSE);
        ASYNC_WAIT_CTX_free(own);
    }
    seconds_ahead += 62;
    for (int i = 0; i < starts; i++) {
        assert_int_equal(start(&other, &ret, pauses_once), ASYNC_PAUSE);
        assert_int_equal(start(&other, &ret, NULL), ASYNC_FINISH);
    }
    for (int i = 0; i < 40; i++) {
        const int answer = start(&jobs[i], &ret, NULL);
        assert_true(answer == ASYNC_ERR || answer == ASYNC_FINISH);
        gone += answer == ASYNC_ERR;
    }
    return gone;
}
// To take back thousands takes milliseconds.
static void test_a_start_takes_back_a_few(void **state)
{
    (void)state;
    assert_int_equal(gone_after(0), 0);
    assert_int_equal(gone_after(1), 16);
    assert_int_equal(gone_after(2), 32);
    assert_int_equal(gone_after(3), 40);
}

// ---- threads --------------------------------------------------------------------------

static int mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int lines = 0, c;
    assert_non_null(maps);
    while ((c = getc(maps)) != EOF)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static void *leaves_jobs(void *last)
{
    ASYNC_JOB *job;
    int ret = 0;
    for (int i = 0; i < 20; i++) {
        job = NULL;
        if (ASYNC_start_job(&job, ctx, &ret, pauses_once, NULL, 0) != ASYNC_PAUSE ||
            ASYNC_get_wait_ctx(job) != ctx)
            return NULL;
    }
    *(ASYNC_JOB **)last = job;
    return last;
}
static void test_threads_end(void **state)
{
    int after_some = 0, ret = 0;
    (void)state;
    for (int i = 0; i < 60; i++) {
        pthread_t thread;
        ASYNC_JOB *last = NULL;
        void *good = NULL;
        assert_int_equal(pthread_create(&thread, NULL, leaves_jobs, &last), 0);
        assert_int_equal(pthread_join(thread, &good), 0);
        assert_non_null(good);
        assert_null(ASYNC_get_wait_ctx(last));
        assert_int_equal(start(&last, &ret, NULL), ASYNC_ERR);
        if (i == 10)
            after_some = mappings();
    }
#ifdef WITH_TSAN // which keeps some of each thread
    after_some = 100000;
#endif
    assert_in_range(mappings(), 1, after_some + 5);
}

// Threads whose last round of destructors uses jobs: nobody cleans up behind that.
static pthread_key_t late_key;
static __thread int late_rounds;
static ASYNC_JOB *late_job;
static void uses_jobs_late(void *value)
{
    int ret = 0;
    late_job = NULL;
    if (start(&late_job, &ret, pauses_once) != ASYNC_PAUSE)
        late_job = NULL;
    if (++late_rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(late_key, value);
}
static void *ends_late(void *arg)
{
    return pthread_setspecific(late_key, arg) == 0 ? arg : NULL;
}
static void *uses_a_job(void *arg)
{
    ASYNC_JOB *job = NULL;
    int ret = 0;
    return start(&job, &ret, pauses_once) == ASYNC_PAUSE &&
           start(&job, &ret, NULL) == ASYNC_FINISH ? arg : NULL;
}
static bool thread_runs(void *(*function)(void *), const pthread_attr_t *attributes)
{
    pthread_t thread;
    void *good = NULL;
    int some;
    assert_int_equal(pthread_create(&thread, attributes, function, &some), 0);
    assert_int_equal(pthread_join(thread, &good), 0);
    return good != NULL;
}
static void test_threads_end_late(void **state)
{
    pthread_attr_t attributes;
    int ret = 0;
    (void)state;
#ifdef WITH_TSAN
    print_message("skipped: ThreadSanitizer's own part of a thread ends before that\n");
    skip();
#endif
    // The library's keys are made before this one, so its destructors run before.
    assert_true(uses_a_job(&ret) != NULL);
    assert_int_equal(pthread_key_create(&late_key, uses_jobs_late), 0);
    pthread_attr_init(&attributes);
    // A stack that is too large to be kept for the next thread.
    pthread_attr_setstacksize(&attributes, 64 << 20);
    for (int i = 0; i < 3; i++) {
        late_job = NULL;
        assert_true(thread_runs(ends_late, &attributes));
        assert_non_null(late_job);
        assert_ptr_equal(ASYNC_get_wait_ctx(late_job), ctx);
        assert_int_equal(start(&late_job, &ret, NULL), ASYNC_ERR);
    }
    // What such a thread left is taken over by later ones, once the kernel has ended it.
    for (int i = 0; ASYNC_get_wait_ctx(late_job); i++) {
        assert_in_range(i, 0, 1000);
        assert_true(thread_runs(uses_a_job, NULL));
        usleep(1000);
    }
    pthread_attr_destroy(&attributes);
    pthread_key_delete(late_key);
}

// ---- pthread_cancel ---------------------------------------------------------------------

// A cancellation that is pending acts in none of the functions, nor in what they call.
static int came_to, cleaned_up;
static void cancellation_point(void)
{
    const int fd = dup(0);
    if (fd >= 0)
        close(fd);
}
static void clean_slowly(ASYNC_WAIT_CTX *c, const void *k, int fd, void *data)
{
    (void)c, (void)k, (void)data;
    close(fd);
    cancellation_point();
    cleaned_up++;
}
static int called_by_nobody(void *arg)
{
    (void)arg;
    return 0;
}
#define CALL(what) ((what), came_to = __LINE__)
static void *calls_all(void *arg)
{
    static char large[10000];
    ASYNC_JOB *job = NULL, *none = (ASYNC_JOB *)&large;
    ASYNC_WAIT_CTX *c;
    int ret = 0, fd, fds[2] = {dup(0), dup(0)};
    size_t count, deleted;
    void *data, *(*alloc)(size_t *);
    void (*release)(void *);
    int (*callback)(void *);
    pthread_cancel(pthread_self());
    CALL(ASYNC_get_mem_functions(&alloc, &release));
    CALL(ASYNC_set_mem_functions(alloc, release));
    CALL(ASYNC_is_capable());
    CALL(ASYNC_init_thread(2, 3)); // refused
    CALL(ASYNC_init_thread(3, 2));
    CALL(ASYNC_get_current_job());
    CALL(ASYNC_get_wait_ctx(NULL));
    CALL(ASYNC_block_pause());
    CALL(ASYNC_unblock_pause());
    CALL(ASYNC_pause_job());
    CALL(c = ASYNC_WAIT_CTX_new());
    CALL(ASYNC_start_job(&job, c, &ret, NULL, NULL, 0)); // refused
    CALL(ASYNC_start_job(&none, c, &ret, NULL, NULL, 0)); // refused
    for (int i = 0; i < 5; i++) {
        job = NULL;
        CALL(ASYNC_start_job(&job, c, &ret, pauses_once, large, sizeof large)); // 3 of them
    }
    for (int i = 0; i < 2; i++)
        CALL(ASYNC_WAIT_CTX_set_wait_fd(c, &fds[i], fds[i], NULL, clean_slowly));
    CALL(ASYNC_WAIT_CTX_get_fd(c, &fds[0], &fd, &data));
    CALL(ASYNC_WAIT_CTX_get_all_fds(c, NULL, &count));
    CALL(ASYNC_WAIT_CTX_get_changed_fds(c, NULL, &count, NULL, &deleted));
    CALL(ASYNC_WAIT_CTX_clear_fd(c, &count)); // has none
    CALL(ASYNC_WAIT_CTX_set_callback(c, called_by_nobody, NULL));
    CALL(ASYNC_WAIT_CTX_get_callback(c, &callback, &data));
    CALL(ASYNC_WAIT_CTX_set_status(c, 1));
    CALL(ASYNC_WAIT_CTX_get_status(c));
    CALL(ASYNC_WAIT_CTX_free(c));
    seconds_ahead += 62;
    job = NULL;
    CALL(ASYNC_start_job(&job, NULL, &ret, pauses_once, NULL, 0));
    CALL(ASYNC_start_job(&job, NULL, &ret, NULL, NULL, 0));
    CALL(ASYNC_cleanup_thread());
    came_to = 0;
    pthread_testcancel();
    return arg;
}
static void *is_cancelled(void *(*function)(void *))
{
    pthread_t thread;
    void *result = NULL;
    came_to = -1;
    assert_int_equal(pthread_create(&thread, NULL, function, &came_to), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}
static void test_cancellation(void **state)
{
    const int before = dup(0);
    (void)state;
    cleaned_up = 0;
    assert_true(uses_a_job(&came_to) != NULL); // the process has stacks
    close(before);
    assert_true(is_cancelled(calls_all) == PTHREAD_CANCELED);
    assert_int_equal(came_to, 0); // else the last line that came back
    assert_int_equal(cleaned_up, 2);
    assert_int_equal(dup(0), before);
    close(before);
}

// Functions of the program's that are cancellation points.
static int stacks_held;
static void *alloc_slowly(size_t *bytes)
{
    void *stack = malloc(*bytes);
    cancellation_point();
    stacks_held += stack != NULL;
    return stack;
}
static void free_slowly(void *stack)
{
    cancellation_point();
    stacks_held--;
    free(stack);
}
static void *uses_slow_stacks(void *arg)
{
    ASYNC_JOB *job = NULL;
    int ret = 0;
    pthread_cancel(pthread_self());
    CALL(ASYNC_init_thread(0, 2));
    for (int i = 0; i < 3; i++) {
        job = NULL;
        CALL(ASYNC_start_job(&job, NULL, &ret, pauses_once, NULL, 0));
    }
    CALL(ASYNC_cleanup_thread());
    came_to = 0;
    pthread_testcancel();
    return arg;
}
// In a process of its own, before there are stacks.
static int body_of_slow_stacks(void)
{
    if (ASYNC_set_mem_functions(alloc_slowly, free_slowly) != 1)
        return 2;
    if (is_cancelled(uses_slow_stacks) != PTHREAD_CANCELED || came_to != 0)
        return 3;
    return stacks_held == 0 ? 0 : 4;
}

// The process ends by exit() of a thread that was cancelled, and has a report to write.
static char report_path[] = "/tmp/jobswitch-report-XXXXXX";
static void *exits(void *arg)
{
    (void)arg;
    pthread_cancel(pthread_self());
    exit(9);
}
static int body_of_exit(void)
{
    pthread_t thread;
    setenv("JOBSWITCH_OPENSSL_REPORT", report_path, 1);
    pthread_create(&thread, NULL, exits, NULL);
    pthread_join(thread, NULL);
    return 2; // it was cancelled on the way
}

static int outcome(int (*body)(void))
{
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        _exit(body());
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Before all others: it wants a process without stacks.
static void test_cancellation_in_the_programs_functions(void **state)
{
    (void)state;
    assert_int_equal(outcome(body_of_slow_stacks), 0);
}
static void test_cancellation_at_exit(void **state)
{
    const int fd = mkstemp(report_path);
    struct stat status;
    (void)state;
    assert_true(fd >= 0);
    const int code = outcome(body_of_exit);
    assert_int_equal(fstat(fd, &status), 0);
    close(fd);
    unlink(report_path);
    assert_int_equal(code, 9);
    assert_true(status.st_size > 0);
}

// As an engine's polling thread does: whenever it likes, also when the job has ended.
static _Atomic(ASYNC_JOB *) told;
static atomic_int calls;
static atomic_bool ends;
static int called(void *arg)
{
    assert_ptr_equal(arg, &calls);
    calls++;
    return 1;
}
static void *wakes(void *arg)
{
    while (!ends) {
        ASYNC_WAIT_CTX *c = ASYNC_get_wait_ctx(told);
        int (*callback)(void *) = NULL;
        void *callback_arg = NULL;
        if (!c)
            continue;
        if (c != ctx)
            return NULL;
        ASYNC_WAIT_CTX_set_status(c, 2);
        if (ASYNC_WAIT_CTX_get_callback(c, &callback, &callback_arg))
            callback(callback_arg);
    }
    return arg;
}
static int tells_its_name(void *args)
{
    (void)args;
    told = ASYNC_get_current_job();
    return ASYNC_pause_job();
}
static void test_wakes_at_any_time(void **state)
{
    pthread_t thread;
    void *good = NULL;
    int ret = 0;
    (void)state;
    assert_int_equal(ASYNC_WAIT_CTX_set_callback(ctx, called, &calls), 1);
    assert_int_equal(pthread_create(&thread, NULL, wakes, &calls), 0);
    for (int i = 0; i < 20000 || calls < 100; i++) {
        ASYNC_JOB *job = NULL;
        assert_int_equal(start(&job, &ret, tells_its_name), ASYNC_PAUSE);
        assert_int_equal(start(&job, &ret, NULL), ASYNC_FINISH);
    }
    ends = true;
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    assert_int_equal(ASYNC_WAIT_CTX_get_status(ctx), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ctx, close_ctx)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancellation_in_the_programs_functions),
        TEST(test_jobs),
        TEST(test_mistakes),
        TEST(test_wait_context_goes_after_the_wake),
        TEST(test_wait_context_goes_before_the_wake),
        TEST(test_descriptor_goes_before_its_wait_context),
        TEST(test_resume_without_a_wait_context),
        TEST(test_several_jobs_lose_their_wait_context),
        TEST(test_another_thread_frees_the_wait_context),
        TEST(test_large_args_of_jobs_that_do_not_end),
        TEST(test_another_thread_frees_wait_contexts),
        TEST(test_a_start_takes_back_a_few),
        TEST(test_threads_end),
        TEST(test_threads_end_late),
        TEST(test_cancellation),
        TEST(test_cancellation_at_exit),
        TEST(test_wakes_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
