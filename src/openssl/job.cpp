// SPDX-License-Identifier: Apache-2.0
//
// Jobs of OpenSSL's API on this runtime. Resumes by the stubs, as programs do, where the
// CPU has them.
#undef JOBSWITCH_BUILDING
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <pthread.h>

#include "api.h"
#include "jobswitch/jobswitch.h"
#include "libcrypto.h"
#include "slot.h"
#include "stacks.h"

// What a job knows of itself, on its own stack.
struct frame {
    ASYNC_WAIT_CTX *wait_ctx;
    slot *kept; // NULL: nobody has asked
    unsigned blocks;
};

// What a start asks for.
struct request {
    int (*func)(void *);
    void *args;
    size_t size;
    ASYNC_WAIT_CTX *wait_ctx;
};

struct thread_state {
    frame *current;
    const request *starting; // while the job has not read it
    slot *left; // of the job that has paused last
    slot_list slots;
    bool opened; // it has a pool
    bool known;  // in `threads`
    uint64_t look_ns;         // not before that for jobs that nobody will resume
    uint64_t started, paused; // for the report
    thread_state *next;
};
[[gnu::tls_model("initial-exec")]] static thread_local constinit thread_state here = {};

// ---- threads ------------------------------------------------------------------------------

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static thread_state *threads;
static uint64_t started_before, paused_before; // on threads that have ended
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;

// Paused jobs are discarded with the pool: nobody can resume them.
static bool clean_up(thread_state &t)
{
    if (t.current)
        return false;
    jobswitch_cleanup_thread();
    pthread_mutex_lock(&threads_lock);
    while (slot *s = t.slots.live)
        slot_give(*s);
    t.slots.abandoned = 0;
    t.opened = false;
    pthread_mutex_unlock(&threads_lock);
    return true;
}

static void thread_ended(void *state)
{
    auto &t = *static_cast<thread_state *>(state);
    clean_up(t);
    slot_list_close(t.slots);
    pthread_mutex_lock(&threads_lock);
    for (thread_state **at = &threads; *at; at = &(*at)->next)
        if (*at == &t) {
            *at = t.next;
            break;
        }
    started_before += t.started;
    paused_before += t.paused;
    t.started = t.paused = 0;
    t.known = false;
    pthread_mutex_unlock(&threads_lock);
}

static bool open(thread_state &t, size_t max_jobs, size_t initial_jobs)
{
    pthread_once(&once, [] { key_made = pthread_key_create(&key, thread_ended) == 0; });
    if (!key_made || (!t.known && pthread_setspecific(key, &t) != 0) ||
        !stacks_open(max_jobs, initial_jobs))
        return false;
    t.opened = true;
    if (!t.known) {
        pthread_mutex_lock(&threads_lock);
        t.known = true;
        t.next = threads;
        threads = &t;
        pthread_mutex_unlock(&threads_lock);
    }
    return true;
}

int ASYNC_init_thread(size_t max_size, size_t init_size)
{
    if (max_size && init_size > max_size) {
        libcrypto_raise(libcrypto_reason::invalid_pool_size, __func__);
        return 0;
    }
    if (!open(here, max_size, init_size)) {
        libcrypto_raise(libcrypto_reason::init_failed, __func__);
        return 0;
    }
    return 1;
}

void ASYNC_cleanup_thread() { clean_up(here); }

int ASYNC_is_capable() { return 1; }

// ---- what is asked of jobs --------------------------------------------------------------

static slot *slot_of(frame &f)
{
    if (!f.kept && (f.kept = slot_take(here.slots))) {
        f.kept->wait_ctx.store(f.wait_ctx, std::memory_order_release);
    }
    return f.kept;
}

ASYNC_JOB *ASYNC_get_current_job()
{
    slot *s = here.current ? slot_of(*here.current) : nullptr;
    return s ? slot_name(*s) : nullptr;
}

// Also asked by an engine's thread, of a job that may have ended.
ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job)
{
    slot *s = slot_find(job);
    return s ? s->wait_ctx.load(std::memory_order_acquire) : nullptr;
}

void ASYNC_block_pause()
{
    if (here.current)
        here.current->blocks++;
}

void ASYNC_unblock_pause()
{
    if (here.current && here.current->blocks)
        here.current->blocks--;
}

// ---- jobs that nobody will resume ----------------------------------------------------------

// A job whose wait context has gone is not resumed any more, nor can it run on: what it
// works on has gone as well. But an engine may still be about to write to its stack, so
// that is not given to another job before what the job waits for has come, or this long.
static constexpr uint64_t abandoned_for_ns = 60 * uint64_t(1000000000);

static uint64_t now_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1000000000 + uint64_t(now.tv_nsec);
}

static void discard(thread_state &t, slot &s)
{
    jobswitch_job *handle = s.handle;
    if (!jobswitch_discard_job(&handle))
        return; // it waits for another; later, then
    if (s.abandoned_ns.exchange(0))
        t.slots.abandoned--;
    slot_give(s);
}

// (Not at each start: there may be many thousand that have paused.)
static void discard_abandoned(thread_state &t)
{
    const uint64_t now = now_ns();
    if (now < t.look_ns)
        return;
    t.look_ns = now + 1000000000;
    for (slot *s = t.slots.live, *next; s; s = next) {
        next = s->next;
        uint64_t since = s->abandoned_ns.load(std::memory_order_relaxed);
        if (since && now - since >= abandoned_for_ns)
            discard(t, *s);
    }
}

void job_abandon(ASYNC_WAIT_CTX *ctx, unsigned jobs, ASYNC_JOB *last, bool woken)
{
    for (slot *s = slot_find(last); jobs > 0; jobs--, s = nullptr) {
        pthread_mutex_lock(&threads_lock); // its thread may be about to end
        if (!s || s->wait_ctx.load(std::memory_order_relaxed) != ctx)
            s = slot_find_by(ctx); // several have it, and the last is not the last any more
        bool ours = s && s->owner == &here.slots;
        if (s) {
            s->wait_ctx.store(nullptr, std::memory_order_release);
            if (!s->abandoned_ns.exchange(now_ns()))
                s->owner->abandoned++;
        }
        pthread_mutex_unlock(&threads_lock);
        if (!s)
            return;
        if (ours && woken)
            discard(here, *s);
    }
}

// ---- start, pause, resume ------------------------------------------------------------------

// More than that is copied to memory of its own.
static constexpr size_t args_on_stack_most = 4096;

// The first thing on the job's stack. The starter waits, so what it asks for is there.
static int run(void *)
{
    const request r = *here.starting;
    frame f = {r.wait_ctx, nullptr, 0};
    here.current = &f;
    here.started++;
    void *copy = nullptr, *heap = nullptr;
    if (r.args && r.size > args_on_stack_most)
        copy = heap = r.args; // the job's already
    else if (r.args)
        copy = memcpy(__builtin_alloca_with_align(r.size ? r.size : 1, 128), r.args, r.size);
    int ret = r.func(copy);
    if (heap)
        free(heap);
    if (f.kept)
        slot_give(*f.kept);
    return ret;
}

static int refuse()
{
    libcrypto_raise(libcrypto_reason::failed_to_swap_context, "ASYNC_start_job");
    return async_err;
}

// Where there is no room for a job now, there may be later.
static int answer_of_failure(int answer)
{
    if (answer == JOBSWITCH_NO_JOBS)
        return async_no_jobs;
    switch (jobswitch_last_error()) {
    case JOBSWITCH_E_NO_MEMORY:
    case JOBSWITCH_E_NO_MAPPINGS:
    case JOBSWITCH_E_NO_STACK:
    case JOBSWITCH_E_NO_HANDLES: return async_no_jobs;
    }
    return refuse();
}

[[gnu::always_inline]] static inline int start(thread_state &t, int *ret, request &r)
{
    if (!t.opened && !open(t, 0, 0)) {
        libcrypto_raise(libcrypto_reason::init_failed, "ASYNC_start_job");
        return async_err;
    }
    if (t.slots.abandoned.load(std::memory_order_relaxed))
        discard_abandoned(t);
    if (!r.args)
        r.size = 0;
    void *heap = nullptr;
    if (r.size > args_on_stack_most) {
        heap = malloc(r.size);
        if (!heap)
            return async_no_jobs;
        r.args = memcpy(heap, r.args, r.size);
    }
    jobswitch_job *handle = nullptr;
    t.starting = &r;
    int answer = jobswitch_start_job(&handle, ret, run, nullptr, 0);
    if (answer == JOBSWITCH_PAUSE)
        t.left->handle = handle; // which it need not ask for
    if (answer == JOBSWITCH_PAUSE || answer == JOBSWITCH_FINISH)
        return answer;
    free(heap);
    return answer_of_failure(answer);
}

[[gnu::always_inline]] static inline int resume(thread_state &t, ASYNC_JOB *job, int *ret)
{
    slot *s = slot_find(job);
    if (!s || s->owner != &t.slots) // nor is it this thread's to say that it is not abandoned
        return refuse();
    if (s->abandoned_ns.load(std::memory_order_relaxed) && s->abandoned_ns.exchange(0))
        t.slots.abandoned--;
    jobswitch_job *handle = s->handle;
    int answer = jobswitch_start_job(&handle, ret, nullptr, nullptr, 0);
    return answer == JOBSWITCH_PAUSE || answer == JOBSWITCH_FINISH ? answer
                                                                  : refuse();
}

int ASYNC_start_job(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret, int (*func)(void *),
                    void *args, size_t size)
{
    if (!job || !ret || (!*job && !func))
        return refuse();
    thread_state &t = here;
    frame *starter = t.current;
    void *context = nullptr;
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        context = libcrypto_context_read();
    int answer;
    if (*job) {
        answer = resume(t, *job, ret);
    } else {
        request r = {func, args, size, ctx};
        answer = start(t, ret, r);
    }
    t.current = starter;
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        libcrypto_context_write(context);
    if (answer == JOBSWITCH_PAUSE)
        *job = slot_name(*t.left);
    else if (answer == JOBSWITCH_FINISH)
        *job = nullptr;
    return answer;
}
static_assert(async_err == JOBSWITCH_ERR && async_no_jobs == JOBSWITCH_NO_JOBS &&
              async_pause == JOBSWITCH_PAUSE && async_finish == JOBSWITCH_FINISH);

int ASYNC_pause_job()
{
    thread_state &t = here;
    frame *f = t.current;
    if (!f || f->blocks)
        return 1;
    slot *s = slot_of(*f);
    if (!s) {
        libcrypto_raise(libcrypto_reason::failed_to_swap_context, __func__);
        return 0;
    }
    void *context = nullptr;
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        context = libcrypto_context_read();
    if (ASYNC_WAIT_CTX *ctx = s->wait_ctx.load(std::memory_order_relaxed))
        wait_ctx_job_paused(ctx, slot_name(*s));
    t.left = s;
    t.paused++;
    int resumed = jobswitch_pause_job();
    t.current = f;
    if (ASYNC_WAIT_CTX *ctx = s->wait_ctx.load(std::memory_order_relaxed))
        wait_ctx_job_resumed(ctx);
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        libcrypto_context_write(context);
    if (!resumed)
        libcrypto_raise(libcrypto_reason::failed_to_swap_context, __func__);
    return resumed;
}

// ---- what came of it --------------------------------------------------------------------

// JOBSWITCH_OPENSSL_REPORT=FILE: a line is added to it when the process ends.
[[gnu::destructor]] static void report()
{
    const char *path = secure_getenv("JOBSWITCH_OPENSSL_REPORT");
    if (!path)
        return;
    pthread_mutex_lock(&threads_lock);
    uint64_t started = started_before, paused = paused_before;
    for (thread_state *t = threads; t; t = t->next) {
        started += t->started;
        paused += t->paused;
    }
    pthread_mutex_unlock(&threads_lock);
    if (FILE *out = fopen(path, "ae")) {
        fprintf(out, "jobs started %llu pauses %llu\n", (unsigned long long)started,
                (unsigned long long)paused);
        fclose(out);
    }
}
