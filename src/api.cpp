// SPDX-License-Identifier: Apache-2.0
//
// The C API, but for entry.cpp: check, call, report.
#include <algorithm>
#include <cstring>

#include "job.h"
#include "jobswitch/jobswitch.h"
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
    if (to.flags & ~uint64_t(JOBSWITCH_PREFAULT | JOBSWITCH_KEEP_WARM))
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

void jobswitch_cleanup_thread()
{
    pool_thread &thread = pool_thread_state;
    if (!thread.pool)
        return;
    if (thread.pool->calling) {
        job_fail(JOBSWITCH_E_REENTERED, 0);
        return;
    }
    if (!job_is_none(job_locate())) {
        job_fail(JOBSWITCH_E_IN_JOB, 0);
        return;
    }
    pool_close(*thread.pool);
}

void jobswitch_cleanup(int cleanupthread)
{
    if (!job_is_none(job_locate()))
        job_fail(JOBSWITCH_E_IN_JOB, 0);
    else if (cleanupthread)
        jobswitch_cleanup_thread();
}

int jobswitch_set_tool(const jobswitch_tool *tool)
{
    if (!tool)
        return job_fail(JOBSWITCH_E_NULL, 0);
    if (tool->size < sizeof(jobswitch_tool))
        return job_fail(JOBSWITCH_E_STRUCT_SIZE, 0);
    pool_set_tool(tool);
    return 1;
}

// ---- jobs ------------------------------------------------------------------------

int jobswitch_in_job() { return job_current() != nullptr; }

jobswitch_job *jobswitch_get_current_job()
{
    job *j = job_current();
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

static uint32_t generation_of(jobswitch_job *handle)
{
    return uint32_t(reinterpret_cast<uintptr_t>(handle) >> 32);
}

int jobswitch_get_wait_fd(jobswitch_job *handle)
{
    int reason;
    job *j = job_find(handle, &reason);
    pool *owner = j ? pool_of(*j) : nullptr;
    if (j && !owner)
        reason = JOBSWITCH_E_FINISHED;
    int fd = owner ? wait_descriptor(j->wait, generation_of(handle),
                                     owner->descriptors, &reason)
                   : -1;
    return fd >= 0 ? fd : job_fail(reason, -1);
}

// That the job has ended meanwhile is no failure.
static void signal(jobswitch_job *handle,
                   bool (*change)(wait_state &, uint32_t, wait_cache &))
{
    int reason;
    job *j = job_find(handle, &reason);
    if (!j) {
        if (reason != JOBSWITCH_E_FINISHED)
            job_fail(reason, 0);
        return;
    }
    if (pool *owner = pool_of(*j))
        change(j->wait, generation_of(handle), owner->descriptors);
}

void jobswitch_wake(jobswitch_job *job) { signal(job, wait_wake); }
void jobswitch_clear_wake(jobswitch_job *job) { signal(job, wait_clear); }

void jobswitch_prefetch_job(jobswitch_job *job) { job_prefetch(job); }

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
    case JOBSWITCH_E_REENTERED: return "called from the program's own stack allocator";
    case JOBSWITCH_E_SHADOW_STACK: return "the thread runs with a shadow stack, which cannot be switched";
    }
    return "not a reason of this version of the library";
}

unsigned jobswitch_version() { return JOBSWITCH_VERSION; }
