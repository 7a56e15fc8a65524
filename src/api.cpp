// SPDX-License-Identifier: Apache-2.0
//
// The C API, but for entry.cpp: check, call, report.
#include <algorithm>
#include <cstring>

#include "handle.h"
#include "job.h"
#include "jobswitch/jobswitch.h"
#include "loop.h"
#include "pool.h"

// The thread's pool, unless one of the caller's own functions asks, called by
// the pool; NULL with the thread's reason.
static pool *pool_for_call()
{
    int reason;
    job_settle();
    pool *p = pool_here(&reason);
    if (p && p->calling) {
        reason = JOBSWITCH_E_REENTERED;
        p = nullptr;
    }
    if (!p)
        job_fail(reason, 0);
    return p;
}

// ---- setting up ----------------------------------------------------------------

int jobswitch_init(int init_thread, size_t max_size, size_t init_size)
{
    if (init_thread)
        return jobswitch_init_thread(max_size, init_size);
    return pool_for_call() != nullptr;
}

int jobswitch_init_thread(size_t max_size, size_t init_size)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = max_size;
    options.initial_jobs = init_size;
    return jobswitch_init_thread_with(&options);
}

// What the caller's struct holds, with defaults for the rest. 0, or a reason.
static int read_options(const jobswitch_options *from, jobswitch_options &to)
{
    if (!from)
        return JOBSWITCH_E_NULL;
    size_t size = from->size;
    // More than a page is no struct of any version.
    if (size < sizeof from->size || size > 4096)
        return JOBSWITCH_E_STRUCT_SIZE;
    auto bytes = reinterpret_cast<const unsigned char *>(from);
    if (size > sizeof to &&
        std::any_of(bytes + sizeof to, bytes + size, [](int b) { return b; }))
        return JOBSWITCH_E_OPTION;
    to = {};
    memcpy(&to, from, std::min(size, sizeof to));
    if (to.flags & ~uint64_t(JOBSWITCH_PREFAULT | JOBSWITCH_KEEP_WARM | JOBSWITCH_FP_ENVIRONMENT))
        return JOBSWITCH_E_OPTION;
    if (!to.stack_alloc != !to.stack_free)
        return JOBSWITCH_E_ALLOCATOR;
    return 0;
}

int jobswitch_init_thread_with(const jobswitch_options *options)
{
    jobswitch_options checked;
    if (int reason = read_options(options, checked))
        return job_fail(reason, 0);
    pool *p = pool_for_call();
    if (!p)
        return 0;
    int reason;
    if (!pool_open(*p, checked, &reason))
        return job_fail(reason, 0);
    return 1;
}

void jobswitch_cleanup_thread() { jobswitch_cleanup(1); }

void jobswitch_cleanup(int cleanupthread)
{
    if (pool_is_calling())
        job_fail(JOBSWITCH_E_REENTERED, 0);
    else if (!job_is_none(job_locate()))
        job_fail(JOBSWITCH_E_IN_JOB, 0);
    else if (cleanupthread && pool_thread_state.pool)
        pool_close(*pool_thread_state.pool);
}

int jobswitch_set_tool(const jobswitch_tool *tool)
{
    if (!tool)
        return job_fail(JOBSWITCH_E_NULL, 0);
    if (tool->size < sizeof(jobswitch_tool))
        return job_fail(JOBSWITCH_E_STRUCT_SIZE, 0);
    int reason;
    if (!pool_set_tool(*tool, &reason))
        return job_fail(reason, 0);
    return 1;
}

// ---- jobs ------------------------------------------------------------------------

int jobswitch_in_job() { return job_caller() != nullptr; }

jobswitch_job *jobswitch_get_current_job()
{
    job *j = job_caller();
    return j ? job_reveal(*j) : nullptr;
}

void jobswitch_block_pause()
{
    job *j = job_settle();
    if (j && (j->gate & gate_blocks) != gate_blocks)
        job_set_gate(*j, j->gate + 1);
}

void jobswitch_unblock_pause()
{
    job *j = job_settle();
    if (j && (j->gate & gate_blocks))
        job_set_gate(*j, j->gate - 1);
}

// ---- waiting -----------------------------------------------------------------------

int jobswitch_get_wait_fd(jobswitch_job *handle)
{
    int reason;
    job *j = job_find(handle, &reason);
    pool *owner = j ? pool_of(*j) : nullptr;
    if (j && !owner)
        reason = JOBSWITCH_E_FINISHED;
    int fd = owner ? wait_descriptor(j->wait, handle_generation(handle),
                                     owner->waits, &reason)
                   : -1;
    return fd >= 0 ? fd : job_fail(reason, -1);
}

// The owner of a live job, or NULL. That the job has ended meanwhile is no failure.
static pool *owner_of(jobswitch_job *handle, job **j)
{
    int reason;
    *j = job_find(handle, &reason);
    if (*j)
        return pool_of(**j);
    if (reason != JOBSWITCH_E_FINISHED)
        job_fail(reason, 0);
    return nullptr;
}

void jobswitch_wake(jobswitch_job *handle)
{
    job *j;
    if (pool *owner = owner_of(handle, &j))
        wait_wake(j->wait, handle_generation(handle), owner->waits, job_entry(*j));
}

void jobswitch_clear_wake(jobswitch_job *handle)
{
    job *j;
    if (pool *owner = owner_of(handle, &j))
        wait_clear(j->wait, handle_generation(handle), owner->waits);
}

// ---- the event loop ------------------------------------------------------------------

// The pool for a call that fills an array; NULL: nothing to be done.
static pool *pool_to_fill(const void *array, size_t max)
{
    if (!array && max) {
        job_fail(JOBSWITCH_E_NULL, 0);
        return nullptr;
    }
    return pool_for_call();
}

int jobswitch_get_ready_fd()
{
    pool *p = pool_for_call();
    if (!p)
        return -1;
    int reason;
    int fd = loop_descriptor(*p, &reason);
    return fd >= 0 ? fd : job_fail(reason, -1);
}

size_t jobswitch_take_ready(jobswitch_job **jobs, size_t max)
{
    pool *p = pool_to_fill(jobs, max);
    return p ? loop_take(*p, jobs, max) : 0;
}

size_t jobswitch_wait_ready(jobswitch_job **jobs, size_t max, int64_t timeout_ns)
{
    pool *p = pool_to_fill(jobs, max);
    int reason;
    if (!p)
        return 0;
    // Without room there is no ring to sleep at.
    if (!ready_reserve(p->waits.ready, 1, &reason))
        return size_t(job_fail(reason, 0));
    uint64_t until_ns = UINT64_MAX;
    if (timeout_ns >= 0)
        until_ns = loop_clock_ns() + uint64_t(timeout_ns);
    return loop_wait(*p, jobs, max, until_ns);
}

size_t jobswitch_resume_ready(jobswitch_outcome *outcomes, size_t max)
{
    pool *p = pool_to_fill(outcomes, max);
    return p ? loop_resume(*p, outcomes, max) : 0;
}

int jobswitch_cancel_job(jobswitch_job **job, int *ret) { return job_cancel_to(job, ret); }

int jobswitch_discard_job(jobswitch_job **job) { return job_discard(job); }

size_t jobswitch_cancel_all()
{
    pool *p = pool_for_call();
    if (!p)
        return 0;
    if (job_locate() != job_place::outside)
        return size_t(job_fail(JOBSWITCH_E_IN_JOB, 0));
    return loop_cancel_all(*p);
}

int jobswitch_job_cancelled()
{
    job *j = job_caller();
    return j && (j->gate & gate_cancelled);
}

int jobswitch_pause_until(uint64_t deadline_ns) { return job_pause_until(deadline_ns); }

uint64_t jobswitch_next_deadline()
{
    pool *p = pool_thread_state.pool;
    return p ? timer_next(p->timers) : UINT64_MAX;
}

void jobswitch_prefetch_job(jobswitch_job *job) { job_prefetch(job); }

// ---- what a job keeps ------------------------------------------------------------------

int jobswitch_create_key(jobswitch_key *key, void (*destructor)(void *))
{
    int reason = JOBSWITCH_E_NULL;
    if (!key || !local_key_create(key, destructor, &reason))
        return job_fail(reason, 0);
    return 1;
}

int jobswitch_delete_key(jobswitch_key key)
{
    return local_key_delete(key) ? 1 : job_fail(JOBSWITCH_E_UNKNOWN_KEY, 0);
}

int jobswitch_set_local(jobswitch_key key, void *value)
{
    if (pool_is_calling())
        return job_fail(JOBSWITCH_E_REENTERED, 0);
    if (!local_key_exists(key))
        return job_fail(JOBSWITCH_E_UNKNOWN_KEY, 0);
    job *j = job_settle();
    if (!j)
        return job_fail(JOBSWITCH_E_NO_JOB, 0);
    uint32_t place = job_locals(*j);
    bool set = local_set(pool_of(*j)->locals, place, key, value);
    job_set_locals(*j, place);
    return set ? 1 : job_fail(JOBSWITCH_E_NO_MEMORY, 0);
}

void *jobswitch_get_local(jobswitch_key key)
{
    job *j = job_caller();
    return j ? local_get(pool_of(*j)->locals, job_locals(*j), key) : nullptr;
}

// ---- looking in, giving back ----------------------------------------------------------

int jobswitch_get_stats(jobswitch_stats *stats)
{
    if (!stats)
        return job_fail(JOBSWITCH_E_NULL, 0);
    size_t size = stats->size;
    if (size < sizeof stats->size || size > 4096)
        return job_fail(JOBSWITCH_E_STRUCT_SIZE, 0);
    pool *p = pool_for_call();
    if (!p)
        return 0;
    jobswitch_stats now = {};
    now.size = size;
    pool_stats(*p, now);
    memset(stats, 0, size);
    memcpy(stats, &now, std::min(size, sizeof now));
    return 1;
}

size_t jobswitch_trim_thread(size_t keep_jobs)
{
    pool *p = pool_for_call();
    return p ? pool_trim(*p, keep_jobs) : 0;
}

int jobswitch_last_error() { return pool_thread_state.last_error; }

const char *jobswitch_error_string(int code)
{
    switch (code) {
    case JOBSWITCH_E_NONE: return "no call has failed";
    case JOBSWITCH_E_NULL: return "a pointer that is needed is NULL";
    case JOBSWITCH_E_SIZE: return "a size is beyond what memory can hold";
    case JOBSWITCH_E_INIT_OVER_MAX: return "more initial jobs than the maximum allows";
    case JOBSWITCH_E_STACK_TOO_SMALL: return "the stack is smaller than this machine's minimum";
    case JOBSWITCH_E_STRUCT_SIZE: return "the size member of the struct is not set";
    case JOBSWITCH_E_OPTION: return "a flag or option that this version of the library lacks";
    case JOBSWITCH_E_ALLOCATOR: return "stack_alloc and stack_free go together";
    case JOBSWITCH_E_NO_STACK: return "the program's stack allocator returned no stack";
    case JOBSWITCH_E_NO_MEMORY: return "out of memory or address space";
    case JOBSWITCH_E_NO_MAPPINGS: return "out of memory mappings for guards";
    case JOBSWITCH_E_NO_DESCRIPTORS: return "out of file descriptors";
    case JOBSWITCH_E_NO_HANDLES: return "the process has as many jobs as there are handles";
    case JOBSWITCH_E_NO_THREAD_KEY: return "out of thread-specific keys";
    case JOBSWITCH_E_MAX_JOBS: return "as many jobs as the pool's maximum are in use";
    case JOBSWITCH_E_UNKNOWN_JOB: return "not the handle of a job";
    case JOBSWITCH_E_FINISHED: return "the job of this handle has ended";
    case JOBSWITCH_E_WRONG_THREAD: return "the job belongs to another thread";
    case JOBSWITCH_E_RUNNING: return "the job is running, not paused";
    case JOBSWITCH_E_WAITING: return "the job waits for a job that it started";
    case JOBSWITCH_E_IN_JOB: return "not possible inside a job";
    case JOBSWITCH_E_JOB_LEFT: return "the current job was left by longjmp";
    case JOBSWITCH_E_REENTERED: return "called from a function that the pool calls";
    case JOBSWITCH_E_CANCELLED: return "the job has been cancelled";
    case JOBSWITCH_E_NO_JOB: return "possible inside a job only";
    case JOBSWITCH_E_NO_KEYS: return "as many keys as there can be";
    case JOBSWITCH_E_UNKNOWN_KEY: return "not a key, or one that was deleted";
    case JOBSWITCH_E_SHADOW_STACK: return "the thread runs with a shadow stack, which cannot be switched";
    }
    return "not a reason of this version of the library";
}

unsigned jobswitch_version() { return JOBSWITCH_VERSION; }
