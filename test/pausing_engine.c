// SPDX-License-Identifier: Apache-2.0
//
// An engine for OpenSSL whose RSA key operations pause, as those of an accelerator card
// do: within a job the operation first waits for an answer that takes a while, and does
// its work only then. Outside a job it does not wait.
//
// Environment:
//   PAUSING_ENGINE        "timer" [default]: the answer is a timerfd among the job's wait
//                         descriptors. "thread": a polling thread calls the callback of
//                         the wait context, or writes an eventfd where it has none
//   PAUSING_MICROSECONDS  what an answer takes [100]
//   PAUSING_TOGETHER      the thread answers nobody before so many have asked [1], and
//                         then all of them
//   PAUSING_COUNT         a file to which a line "pauses N" is added at the end
#define OPENSSL_SUPPRESS_DEPRECATED // engines are, from 3.0 on
#include <openssl/async.h>
#include <openssl/engine.h>
#include <openssl/opensslv.h>
#include <openssl/rsa.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
// Without callbacks: a job waits for a descriptor, then.
typedef int (*ASYNC_callback_fn)(void *arg);
enum { ASYNC_STATUS_OK, ASYNC_STATUS_EAGAIN };
static int ASYNC_WAIT_CTX_get_callback(ASYNC_WAIT_CTX *ctx, ASYNC_callback_fn *callback, void **arg)
{
    (void)ctx, (void)callback, (void)arg;
    return 0;
}
static int ASYNC_WAIT_CTX_set_status(ASYNC_WAIT_CTX *ctx, int status)
{
    (void)ctx, (void)status;
    return 0;
}
#endif

static const char engine_id[] = "pausing";
static atomic_ulong pauses;
static long answer_us = 100, together = 1;
static bool by_thread;

static bool job_pause(void)
{
    atomic_fetch_add(&pauses, 1);
    return ASYNC_pause_job() == 1; // not so: the job is to end
}

// Whether the descriptor had what was waited for; it has not if a program resumes its
// jobs on suspicion, as `openssl s_server` does.
static bool fd_take(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count;
}

// ---- a timer ----------------------------------------------------------------------

static void timer_free(ASYNC_WAIT_CTX *ctx, const void *key, OSSL_ASYNC_FD fd, void *data)
{
    (void)ctx, (void)key, (void)data;
    close(fd);
}

// The wait context keeps it for the next operation.
static int timer_of(ASYNC_WAIT_CTX *ctx)
{
    OSSL_ASYNC_FD fd;
    void *data;
    if (ASYNC_WAIT_CTX_get_fd(ctx, engine_id, &fd, &data))
        return fd;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd >= 0 && !ASYNC_WAIT_CTX_set_wait_fd(ctx, engine_id, fd, NULL, timer_free)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool timer_wait(ASYNC_WAIT_CTX *ctx)
{
    const struct itimerspec once = {
        {0, 0}, {answer_us / 1000000, answer_us % 1000000 * 1000 + 1}};
    const int fd = timer_of(ctx);
    if (fd < 0 || timerfd_settime(fd, 0, &once, NULL) != 0)
        return false;
    do {
        if (!job_pause())
            return false;
    } while (!fd_take(fd));
    return true;
}

// ---- a polling thread -------------------------------------------------------------

// Belongs to its job and, while it is in the queue, to the thread as well: a program may
// free the wait context of a job that it gives up.
struct question {
    struct question *next;
    struct timespec due;
    ASYNC_JOB *job; // of a question that is answered by the callback, else NULL
    int fd;         // of one that is not, else -1
    int owners;
    bool answered;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked;
static struct question *first, **last = &first;
static long asking; // how many are there
static bool thread_runs, thread_ends;
static pthread_t thread;

static void question_drop(struct question *q) // with the lock
{
    if (--q->owners > 0)
        return;
    if (q->fd >= 0)
        close(q->fd);
    free(q);
}

static void question_answer(struct question *q) // with the lock
{
    static const uint64_t one = 1;
    q->answered = true;
    if (!q->job) {
        if (write(q->fd, &one, sizeof one) != sizeof one)
            abort();
        return;
    }
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(q->job);
    ASYNC_callback_fn callback;
    void *arg;
    if (ctx && ASYNC_WAIT_CTX_get_callback(ctx, &callback, &arg)) {
        ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_OK);
        callback(arg);
    } else {
        q->owners = 1; // the job has been given up, and drops nothing any more
    }
}

static void *questions_answer(void *arg)
{
    (void)arg;
    long due = 0; // so many of them have been asked together
    pthread_mutex_lock(&lock);
    while (!thread_ends) {
        struct question *q = first;
        struct timespec now;
        if (!due && asking >= together)
            due = asking;
        if (!due) {
            pthread_cond_wait(&asked, &lock);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec < q->due.tv_sec ||
            (now.tv_sec == q->due.tv_sec && now.tv_nsec < q->due.tv_nsec)) {
            pthread_cond_timedwait(&asked, &lock, &q->due);
            continue;
        }
        first = q->next;
        if (!first)
            last = &first;
        asking--;
        due--;
        question_answer(q);
        question_drop(q);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static bool question_enqueue(struct question *q) // with the lock
{
    clock_gettime(CLOCK_MONOTONIC, &q->due);
    q->due.tv_nsec += answer_us % 1000000 * 1000;
    q->due.tv_sec += answer_us / 1000000 + q->due.tv_nsec / 1000000000;
    q->due.tv_nsec %= 1000000000;
    if (!thread_runs) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&asked, &attributes);
        pthread_condattr_destroy(&attributes);
        if (pthread_create(&thread, NULL, questions_answer, NULL) != 0)
            return false;
        thread_runs = true;
    }
    q->answered = false;
    q->next = NULL;
    q->owners++;
    *last = q;
    last = &q->next;
    asking++;
    pthread_cond_signal(&asked);
    return true;
}

static void question_free(ASYNC_WAIT_CTX *ctx, const void *key, OSSL_ASYNC_FD fd, void *data)
{
    (void)ctx, (void)key, (void)fd;
    struct question *q = data;
    pthread_mutex_lock(&lock);
    question_drop(q);
    pthread_mutex_unlock(&lock);
}

// One with a descriptor is kept by the wait context for the next operation.
static struct question *question_of(ASYNC_WAIT_CTX *ctx)
{
    OSSL_ASYNC_FD fd;
    void *data;
    if (ASYNC_WAIT_CTX_get_fd(ctx, engine_id, &fd, &data))
        return data;
    struct question *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->owners = 1;
    q->fd = -1;
    ASYNC_callback_fn callback = NULL;
    if (ASYNC_WAIT_CTX_get_callback(ctx, &callback, &data) && callback) {
        q->job = ASYNC_get_current_job();
        ASYNC_WAIT_CTX_set_status(ctx, ASYNC_STATUS_EAGAIN);
        return q;
    }
    q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (q->fd >= 0 && ASYNC_WAIT_CTX_set_wait_fd(ctx, engine_id, q->fd, q, question_free))
        return q;
    if (q->fd >= 0)
        close(q->fd);
    free(q);
    return NULL;
}

static bool thread_wait(ASYNC_WAIT_CTX *ctx)
{
    struct question *q = question_of(ctx);
    if (!q)
        return false;
    pthread_mutex_lock(&lock);
    bool good = question_enqueue(q), answered = false;
    pthread_mutex_unlock(&lock);
    while (good && !answered) {
        good = job_pause();
        pthread_mutex_lock(&lock);
        answered = q->answered;
        pthread_mutex_unlock(&lock);
    }
    if (q->fd >= 0) {
        if (good)
            fd_take(q->fd);
    } else {
        pthread_mutex_lock(&lock);
        question_drop(q);
        pthread_mutex_unlock(&lock);
    }
    return good;
}

// ---- the engine -------------------------------------------------------------------

// False if the operation is to fail.
static bool answer_wait(void)
{
    ASYNC_JOB *job = ASYNC_get_current_job();
    if (!job)
        return true;
    ASYNC_WAIT_CTX *ctx = ASYNC_get_wait_ctx(job);
    return ctx && (by_thread ? thread_wait(ctx) : timer_wait(ctx));
}

static int private_encrypt(int bytes, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    return answer_wait() ? RSA_meth_get_priv_enc(RSA_PKCS1_OpenSSL())(bytes, from, to, rsa, padding)
                         : -1;
}

static int private_decrypt(int bytes, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    return answer_wait() ? RSA_meth_get_priv_dec(RSA_PKCS1_OpenSSL())(bytes, from, to, rsa, padding)
                         : -1;
}

static RSA_METHOD *method;

static int engine_destroy(ENGINE *engine)
{
    (void)engine;
    RSA_meth_free(method);
    method = NULL;
    return 1;
}

// Not in engine_destroy: a program may end without it.
__attribute__((destructor)) static void engine_end(void)
{
    pthread_mutex_lock(&lock);
    const bool ran = thread_runs;
    thread_runs = false;
    thread_ends = true;
    if (ran)
        pthread_cond_signal(&asked);
    pthread_mutex_unlock(&lock);
    if (ran)
        pthread_join(thread, NULL);

    const char *path = getenv("PAUSING_COUNT");
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        dprintf(fd, "pauses %lu\n", atomic_load(&pauses));
        close(fd);
    }
}

// These two for a program that is linked with this file.
void pausing_engine_settings(void);
int pausing_engine_bind(ENGINE *engine);

// The environment is read anew.
void pausing_engine_settings(void)
{
    const char *mode = getenv("PAUSING_ENGINE"), *us = getenv("PAUSING_MICROSECONDS");
    const char *many = getenv("PAUSING_TOGETHER");
    pthread_mutex_lock(&lock); // the thread may run
    by_thread = mode && strcmp(mode, "thread") == 0;
    if (us)
        answer_us = strtol(us, NULL, 10);
    if (many)
        together = strtol(many, NULL, 10);
    if (thread_runs)
        pthread_cond_signal(&asked);
    pthread_mutex_unlock(&lock);
}

static int engine_bind(ENGINE *engine, const char *id)
{
    if (id && strcmp(id, engine_id) != 0)
        return 0;
    pausing_engine_settings();
    method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
    return method && RSA_meth_set1_name(method, "RSA that pauses") &&
           RSA_meth_set_priv_enc(method, private_encrypt) &&
           RSA_meth_set_priv_dec(method, private_decrypt) &&
           ENGINE_set_id(engine, engine_id) &&
           ENGINE_set_name(engine, "pauses in RSA, for tests") &&
           ENGINE_set_RSA(engine, method) &&
           ENGINE_set_destroy_function(engine, engine_destroy);
}

int pausing_engine_bind(ENGINE *engine)
{
    return engine_bind(engine, NULL);
}

IMPLEMENT_DYNAMIC_BIND_FN(engine_bind)
IMPLEMENT_DYNAMIC_CHECK_FN()
