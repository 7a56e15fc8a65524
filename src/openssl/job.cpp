// SPDX-License-Identifier: Apache-2.0
//
// Jobs of OpenSSL's API on this runtime. Resumes by the stubs, as programs do, where the
// CPU has them.
#undef JOBSWITCH_BUILDING
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "api.h"
#include "jobswitch/jobswitch.h"
#include "libcrypto.h"
#include "record.h"
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
    slot *left;              // of the job that has paused last
    record *own;             // NULL: none yet
    unsigned unnamed;        // running jobs that have no slot
    bool opened;             // it has a pool
};
[[gnu::tls_model("initial-exec")]] static thread_local constinit thread_state here = {};

static void count(std::atomic<uint64_t> &number)
{
    number.store(number.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// ---- threads ------------------------------------------------------------------------------

// Paused jobs are discarded with the pool: nobody can resume them.
static bool clean_up(thread_state &t)
{
    if (t.current)
        return false;
    const cancel_off off;
    jobswitch_cleanup_thread();
    if (t.own)
        slot_list_clear(t.own->slots);
    t.unnamed = 0;
    t.opened = false;
    return true;
}

static void thread_ended(void *)
{
    thread_state &t = here;
    if (!t.own || !clean_up(t))
        return;
    record *own = t.own;
    t.own = nullptr;
    record_give(*own);
}

// The key whose destructor that is. If there is none now, there may be one later.
static bool key_find(pthread_key_t *key)
{
    static std::atomic<uint64_t> known; // 0: none
    uint64_t with_one = known.load(std::memory_order_acquire);
    if (!with_one) {
        if (pthread_key_create(key, thread_ended) != 0)
            return false;
        if (known.compare_exchange_strong(with_one, uint64_t(*key) + 1))
            return true;
        pthread_key_delete(*key); // another thread was first
    }
    *key = pthread_key_t(with_one - 1);
    return true;
}

static bool pool_open(thread_state &t, size_t max_jobs, size_t initial_jobs)
{
    const cancel_off off;
    if (!t.own) {
        pthread_key_t key;
        record *r = key_find(&key) ? record_take() : nullptr;
        if (!r)
            return false;
        if (pthread_setspecific(key, r) != 0) {
            record_give(*r);
            return false;
        }
        t.own = r;
    }
    t.opened = stacks_open(max_jobs, initial_jobs) || t.opened;
    return t.opened;
}

int ASYNC_init_thread(size_t max_size, size_t init_size)
{
    if (max_size && init_size > max_size) {
        libcrypto_raise(libcrypto_reason::invalid_pool_size, __func__);
        return 0;
    }
    if (!pool_open(here, max_size, init_size)) {
        libcrypto_raise(libcrypto_reason::init_failed, __func__);
        return 0;
    }
    return 1;
}

void ASYNC_cleanup_thread() { clean_up(here); }

int ASYNC_is_capable() { return 1; }

// ---- what is asked of jobs --------------------------------------------------------------

static slot &slot_of(thread_state &t, frame &f)
{
    if (!f.kept) {
        f.kept = &slot_take(t.own->slots, f.wait_ctx);
        t.unnamed--;
    }
    return *f.kept;
}

ASYNC_JOB *ASYNC_get_current_job()
{
    thread_state &t = here;
    return t.current ? slot_name(slot_of(t, *t.current)) : nullptr;
}

// Also asked by an engine's thread, of a job that may have ended.
ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job) { return slot_find_wait_ctx(job); }

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
static constexpr uint32_t abandoned_for_s = 60;
// To discard many thousands takes milliseconds: a start discards a few, the next one more.
static constexpr unsigned discards_each_start = 16;

static uint32_t now_s()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint32_t(now.tv_sec);
}

static void discard(slot &s)
{
    jobswitch_job *handle = s.handle;
    if (jobswitch_discard_job(&handle))
        slot_give(s);
    else
        slot_abandon(s, now_s()); // it waits for another; later, then
}

static void discard_abandoned(slot_list &list)
{
    const uint32_t now = now_s();
    slot_list_receive(list, discards_each_start);
    for (unsigned i = 0; i < discards_each_start; i++) {
        slot *s = slot_list_oldest_abandoned(list);
        if (!s || now - s->abandoned_s <= abandoned_for_s)
            return;
        discard(*s);
    }
}

void job_abandon(ASYNC_WAIT_CTX *ctx, unsigned jobs, ASYNC_JOB *last, bool woken)
{
    const slot_list *own = here.own ? &here.own->slots : nullptr;
    for (; jobs > 0; jobs--) {
        const uint32_t now = now_s();
        slot *s = slot_leave(last, ctx, own, now);
        if (!s)
            return;
        if (s->owner.load(std::memory_order_relaxed) != own)
            continue; // its thread is told
        if (woken)
            discard(*s);
        else
            slot_abandon(*s, now);
    }
}

// ---- start, pause, resume ------------------------------------------------------------------

// More than that is copied by the runtime, which takes it back from jobs that do not end.
static constexpr size_t args_copied_here_most = 4096;

// The first thing on the job's stack. The starter waits, so what it asks for is there.
static int run(void *copy)
{
    thread_state &t = here;
    const request r = *t.starting;
    frame f = {r.wait_ctx, nullptr, 0};
    t.current = &f;
    t.unnamed++;
    count(t.own->started);
    if (!copy && r.args)
        copy = memcpy(__builtin_alloca_with_align(r.size ? r.size : 1, 128), r.args, r.size);
    int ret = r.func(copy);
    if (f.kept)
        slot_give(*f.kept);
    else
        t.unnamed--;
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
    if (!t.opened && !pool_open(t, 0, 0)) {
        libcrypto_raise(libcrypto_reason::init_failed, "ASYNC_start_job");
        return async_err;
    }
    slot_list &slots = t.own->slots;
    if (slot_list_has_abandoned(slots))
        discard_abandoned(slots);
    if (!slot_reserve(slots, t.unnamed + 1)) // a pause can then not fail
        return async_no_jobs;
    if (!r.args)
        r.size = 0;
    const bool large = r.size > args_copied_here_most;
    jobswitch_job *handle = nullptr;
    t.starting = &r;
    int answer = jobswitch_start_job(&handle, ret, run, large ? r.args : nullptr,
                                     large ? r.size : 0);
    if (answer == JOBSWITCH_PAUSE)
        t.left->handle = handle; // which it need not ask for
    if (answer == JOBSWITCH_PAUSE || answer == JOBSWITCH_FINISH)
        return answer;
    return answer_of_failure(answer);
}

[[gnu::always_inline]] static inline int resume(thread_state &t, ASYNC_JOB *job, int *ret)
{
    slot *s = slot_find(job);
    slot_list *own = t.own ? &t.own->slots : nullptr;
    if (!s || s->owner.load(std::memory_order_relaxed) != own)
        return refuse();
    if (!slot_wait_ctx(*s))
        slot_keep(*s);
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
    slot &s = slot_of(t, *f);
    void *context = nullptr;
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        context = libcrypto_context_read();
    if (ASYNC_WAIT_CTX *ctx = slot_wait_ctx(s))
        wait_ctx_job_paused(ctx, slot_name(s));
    t.left = &s;
    count(t.own->paused);
    int resumed = jobswitch_pause_job();
    t.current = f;
    if (ASYNC_WAIT_CTX *ctx = slot_wait_ctx(s))
        wait_ctx_job_resumed(ctx);
    if (libcrypto_context_matters.load(std::memory_order_acquire))
        libcrypto_context_write(context);
    if (!resumed)
        libcrypto_raise(libcrypto_reason::failed_to_swap_context, __func__);
    return resumed;
}

// ---- what came of it --------------------------------------------------------------------

// JOBSWITCH_OPENSSL_REPORT=FILE: a line is added to it when the process ends. Words and
// numbers in turn, so that it is easily taken apart; the program's name comes last, for it may
// have blanks. One write, so that the lines of several processes do not mix.
[[gnu::destructor]] static void report()
{
    const char *path = secure_getenv("JOBSWITCH_OPENSSL_REPORT");
    if (!path)
        return;
    const cancel_off off;
    uint64_t started, paused;
    record_sum(&started, &paused);
    char program[PATH_MAX], line[PATH_MAX + 128];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length < 0 ? 0 : length] = '\0';
    for (char *c = program; *c; c++)
        if (*c == '\n')
            *c = '?';
    const int bytes = snprintf(line, sizeof line,
                               "jobs started %llu pauses %llu process %ld program %s\n",
                               (unsigned long long)started, (unsigned long long)paused,
                               long(getpid()), length < 0 ? "?" : program);
    const int out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out < 0)
        return;
    (void)!write(out, line, size_t(bytes));
    close(out);
}
