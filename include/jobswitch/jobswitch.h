/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobswitch: jobs are functions on stacks of their own, which pause in the
 * middle and resume later. The manual page of each function (section 3) owns
 * its semantics; jobswitch(7) is the overview.
 *
 * Rules that hold for every function here:
 *  - A call that fails returns the value named below, changes nothing, and
 *    leaves a reason for the calling thread: see jobswitch_last_error().
 *  - A job belongs to the thread that started it.
 *  - Sizes are in bytes. "Any thread" includes threads that have no pool.
 *  - In a function that the pool calls (stack_alloc, stack_free, the destructor of a
 *    value of a job that is taken back) no job runs, and what would use the pool is
 *    refused (JOBSWITCH_E_REENTERED): see jobswitch(7), "Callbacks".
 */
#ifndef JOBSWITCH_JOBSWITCH_H
#define JOBSWITCH_JOBSWITCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define JOBSWITCH_API __attribute__((visibility("default")))
#else
#define JOBSWITCH_API
#endif

/* The version of this header; jobswitch_version() tells that of the library
 * that runs. Both are major * 65536 + minor * 256 + patch. */
#define JOBSWITCH_VERSION_MAJOR 1
#define JOBSWITCH_VERSION_MINOR 0
#define JOBSWITCH_VERSION_PATCH 0
#define JOBSWITCH_VERSION_STRING "1.0.0"
#define JOBSWITCH_VERSION                                                      \
    (JOBSWITCH_VERSION_MAJOR * 65536 + JOBSWITCH_VERSION_MINOR * 256 +         \
     JOBSWITCH_VERSION_PATCH)

/* A handle of a job: a value to pass back, not an address to look behind.
 * No handle is ever issued twice, so one that is kept too long is recognised. (With 32
 * bits a handle comes again after 32,767 jobs that had its block.) */
typedef struct jobswitch_job jobswitch_job;

/* What jobswitch_start_job() answers. */
#define JOBSWITCH_ERR 0
#define JOBSWITCH_NO_JOBS 1
#define JOBSWITCH_PAUSE 2
#define JOBSWITCH_FINISH 3

/* Reasons, as jobswitch_last_error() tells them. A number never changes its
 * meaning; later versions add to the end. */
#define JOBSWITCH_E_NONE 0             /* nothing has failed on this thread */
#define JOBSWITCH_E_NULL 1             /* a pointer that is needed is NULL */
#define JOBSWITCH_E_SIZE 2             /* a size is beyond what memory can hold */
#define JOBSWITCH_E_INIT_OVER_MAX 3    /* initial jobs above the maximum */
#define JOBSWITCH_E_STACK_TOO_SMALL 4  /* below the machine's minimum */
#define JOBSWITCH_E_STRUCT_SIZE 5      /* options.size or stats.size is no size */
#define JOBSWITCH_E_OPTION 6           /* a flag or option this library lacks */
#define JOBSWITCH_E_ALLOCATOR 7        /* stack_alloc without stack_free, or the reverse */
#define JOBSWITCH_E_NO_STACK 8         /* the caller's stack_alloc returned NULL */
#define JOBSWITCH_E_NO_MEMORY 9        /* no memory or address space */
#define JOBSWITCH_E_NO_MAPPINGS 10     /* no guard possible: out of mappings */
#define JOBSWITCH_E_NO_DESCRIPTORS 11  /* no file descriptor to be had */
#define JOBSWITCH_E_NO_HANDLES 12      /* the process is out of control blocks */
#define JOBSWITCH_E_NO_THREAD_KEY 13   /* pthread_key_create() failed */
#define JOBSWITCH_E_MAX_JOBS 14        /* max_jobs reached (NO_JOBS) */
#define JOBSWITCH_E_UNKNOWN_JOB 15     /* not a handle of any job */
#define JOBSWITCH_E_FINISHED 16        /* the handle's job has ended */
#define JOBSWITCH_E_WRONG_THREAD 17    /* the job belongs to another thread */
#define JOBSWITCH_E_RUNNING 18         /* the job is running, not paused */
#define JOBSWITCH_E_WAITING 19         /* the job waits for a job it started */
#define JOBSWITCH_E_IN_JOB 20          /* not possible inside a job */
#define JOBSWITCH_E_JOB_LEFT 21        /* the current job was left by longjmp */
#define JOBSWITCH_E_REENTERED 22       /* called from a function that the pool calls */
#define JOBSWITCH_E_SHADOW_STACK 23    /* the thread runs with a shadow stack */
#define JOBSWITCH_E_CANCELLED 24       /* the job was cancelled: no pause is one */
#define JOBSWITCH_E_NO_JOB 25          /* possible inside a job only */
#define JOBSWITCH_E_NO_KEYS 26         /* as many keys as there can be */
#define JOBSWITCH_E_UNKNOWN_KEY 27     /* not a key, or one that was deleted */

/* ---- setting up ------------------------------------------------------- */

/* Prepares the library; with init_thread not 0 also the calling thread, as
 * jobswitch_init_thread(max_size, init_size) does. Returns 1, or 0 with a
 * reason. Threads: any; inside a job: yes; signal handlers: no. */
JOBSWITCH_API int jobswitch_init(int init_thread, size_t max_size,
                                 size_t init_size);

/* With cleanupthread not 0, as jobswitch_cleanup_thread(). Call it when the
 * process is done with jobs. Inside a job: refused (JOBSWITCH_E_IN_JOB).
 * Signal handlers: no. */
JOBSWITCH_API void jobswitch_cleanup(int cleanupthread);

/* Gives the calling thread a pool of at most max_size jobs (0: no limit), of
 * which init_size are made now. On a thread that has a pool: takes the new
 * limits, makes what is missing, drops idle jobs above the new maximum.
 * Returns 1, or 0 with a reason and nothing changed. Signal handlers: no. */
JOBSWITCH_API int jobswitch_init_thread(size_t max_size, size_t init_size);

/* Takes back the calling thread's jobs, stacks and descriptors. Jobs still
 * paused are not run on: they are discarded, and their handles are finished.
 * A thread that ends does this by itself. Inside a job: refused
 * (JOBSWITCH_E_IN_JOB). Signal handlers: no. */
JOBSWITCH_API void jobswitch_cleanup_thread(void);

/* The stacks of the initial_jobs are touched when they are made, whole, so
 * that even their first start meets no page fault. */
#define JOBSWITCH_PREFAULT 0x1u
/* Stacks stay resident once used: never trimmed but by jobswitch_trim_thread(). */
#define JOBSWITCH_KEEP_WARM 0x2u
/* A job keeps its own floating point environment (fenv.h) across pauses: the
 * ways to round, which exceptions trap, and the flags of those that have
 * happened. It begins with its starter's, and the starter has its own back when
 * it pauses or ends. Without this they are the thread's. Such jobs are started
 * and resumed by the slower path. */
#define JOBSWITCH_FP_ENVIRONMENT 0x4u

/* Set size to sizeof(jobswitch_options) (or start from
 * JOBSWITCH_OPTIONS_INIT): what a caller's older header lacks gets its
 * default, and a newer header's additions must be 0 for an older library. */
typedef struct jobswitch_options {
    size_t size;         /* bytes of this struct, as the caller knows it */
    size_t max_jobs;     /* 0: no limit */
    size_t initial_jobs; /* made at once; at most max_jobs, unless that is 0 */
    size_t stack_bytes;  /* usable stack of a job; 0: 65536; rounded up to pages */
    size_t guard_bytes;  /* guard below each stack, at least; 0: 16384; above 1 MiB
                          * each takes two of the process's mappings */
    /* Both or neither. Where set, the stacks are the caller's, and so are
     * their guards. stack_alloc returns stack_bytes bytes, readable and
     * writable, or NULL; stack_free gets the same pointer and size back, on
     * the thread that allocated. Neither may throw, or leave by longjmp. */
    void *(*stack_alloc)(size_t stack_bytes, void *stack_context);
    void (*stack_free)(void *stack, size_t stack_bytes, void *stack_context);
    void *stack_context;
    uint64_t flags; /* JOBSWITCH_PREFAULT, _KEEP_WARM, _FP_ENVIRONMENT */
} jobswitch_options;

#define JOBSWITCH_OPTIONS_INIT                                                 \
    { sizeof(jobswitch_options), 0, 0, 0, 0, NULL, NULL, NULL, 0 }

/* As jobswitch_init_thread(), with all options. Idle jobs whose stacks do not
 * fit the new options are dropped; running and paused ones keep theirs until
 * they end, and are dropped then. The struct is only read.
 * Returns 1, or 0 with a reason and nothing changed. */
JOBSWITCH_API int jobswitch_init_thread_with(const jobswitch_options *options);

/* ---- jobs ------------------------------------------------------------- */

/* With *job NULL: starts func(args) as a new job, on a copy of the size bytes
 * at args, aligned for any type (args NULL: func gets NULL). With *job a
 * paused job of this thread: resumes it, and ignores func, args and size.
 * Returns
 *   JOBSWITCH_FINISH   the job is done: *ret is func's value, *job NULL;
 *   JOBSWITCH_PAUSE    it has paused: *job is its handle;
 *   JOBSWITCH_NO_JOBS  max_jobs are in use: try again later;
 *   JOBSWITCH_ERR      see jobswitch_last_error().
 * In the last two cases *job and *ret are as before. job and ret must stay
 * valid until the call returns. Inside a job: yes, to any depth. Signal
 * handlers: no. */
JOBSWITCH_API int jobswitch_start_job(jobswitch_job **job, int *ret,
                                      int (*func)(void *), void *args,
                                      size_t size);

/* Pauses the current job: whoever started or resumed it gets
 * JOBSWITCH_PAUSE. Returns 1 once resumed; 1 at once outside a job or while
 * pauses are blocked; 0 with a reason if the job was cancelled
 * (JOBSWITCH_E_CANCELLED) or cannot pause. Signal handlers: no. */
JOBSWITCH_API int jobswitch_pause_job(void);

/* 1 inside a job, 0 outside. Signal handlers: yes. */
JOBSWITCH_API int jobswitch_in_job(void);

/* The running job of this thread, or NULL outside a job. Signal handlers: yes. */
JOBSWITCH_API jobswitch_job *jobswitch_get_current_job(void);

/* The current job's pauses return at once until each block is undone. The
 * count belongs to the job and ends with it. Outside a job: no effect.
 * Signal handlers: no. */
JOBSWITCH_API void jobswitch_block_pause(void);
JOBSWITCH_API void jobswitch_unblock_pause(void);

/* ---- waiting ---------------------------------------------------------- */

/* A descriptor that is readable while the job is woken: an eventfd, made when
 * first asked for, close-on-exec and non-blocking. It is the library's: do
 * not read, write or close it, and forget it when the job ends. Returns -1
 * with a reason. Threads: any; signal handlers: no. */
JOBSWITCH_API int jobswitch_get_wait_fd(jobswitch_job *job);

/* Marks the job as woken, until jobswitch_clear_wake(). Any number of times,
 * before or after the pause and the call of jobswitch_get_wait_fd(). For a
 * job that has ended: nothing. NULL, or what is no handle: nothing, with a
 * reason. Threads: any; signal handlers: yes; errno is kept. */
JOBSWITCH_API void jobswitch_wake(jobswitch_job *job);

/* Takes the mark back. Threads: any; signal handlers: yes; errno is kept. */
JOBSWITCH_API void jobswitch_clear_wake(jobswitch_job *job);

/* Begins to load what the resume of a job will touch: its control block now, and
 * its stack at the eighth call from here. So, for a list of jobs to resume: call it
 * for the job 16 places ahead, then resume the next. Only a hint: nothing is
 * answered, and any value will do as a handle. Thread: the job's own; signal
 * handlers: no. */
JOBSWITCH_API void jobswitch_prefetch_job(jobswitch_job *job);

/* ---- the event loop --------------------------------------------------- */

/* A descriptor that is readable while any job of the calling thread is woken: an
 * eventfd, made when first asked for, for the thread's event loop. When it is
 * readable, call jobswitch_take_ready() or jobswitch_resume_ready() until that
 * returns 0: only then the descriptor rests, and until it rests wakes need no system
 * call. It is the library's, as wait descriptors are, and lives until the thread
 * cleans up. Returns -1 with a reason. Signal handlers: no. */
JOBSWITCH_API int jobswitch_get_ready_fd(void);

/* Takes woken jobs of the calling thread, and those whose deadline has come: at most
 * max handles go to jobs. They come in the order of their first wakes since the ring had
 * them last: more wakes do not move a job, and jobswitch_clear_wake() leaves its place to
 * the next one. Deadlines count as wakes by this call, the earlier first, equal ones in
 * no particular order. Their wakes are taken back, as
 * by jobswitch_clear_wake(); what their resumes will touch begins to be loaded. Jobs
 * whose wait descriptor was asked for are told there and not here. Returns how many;
 * 0 with a reason if that is a failure. Signal handlers: no. */
JOBSWITCH_API size_t jobswitch_take_ready(jobswitch_job **jobs, size_t max);

/* The same for a thread that has nothing else to do: where there are none, spins for a
 * few microseconds, then sleeps until there is one, for at most timeout_ns; below 0:
 * without end. May return 0 early, after a signal handler. */
JOBSWITCH_API size_t jobswitch_wait_ready(jobswitch_job **jobs, size_t max,
                                          int64_t timeout_ns);

/* What became of a job that jobswitch_resume_ready() resumed. */
typedef struct jobswitch_outcome {
    jobswitch_job *job; /* its handle; after JOBSWITCH_FINISH only a name */
    int answer;         /* JOBSWITCH_PAUSE, _FINISH, or _ERR */
    int ret;            /* what its function returned, if it finished */
} jobswitch_outcome;

/* Takes jobs as jobswitch_take_ready() does, and resumes each at once. Jobs that are
 * woken meanwhile wait for the next call. Returns how many outcomes were stored. Inside
 * a job: yes. Signal handlers: no. */
JOBSWITCH_API size_t jobswitch_resume_ready(jobswitch_outcome *outcomes, size_t max);

/* Pauses as jobswitch_pause_job() does; when CLOCK_MONOTONIC reaches deadline_ns, the
 * job is woken. Returns what that returns, or JOBSWITCH_EXPIRED once resumed if the
 * deadline had come by then. Signal handlers: no. */
JOBSWITCH_API int jobswitch_pause_until(uint64_t deadline_ns);
#define JOBSWITCH_EXPIRED 2

/* The earliest deadline of the calling thread's paused jobs, for the timeout of its
 * event loop; UINT64_MAX: there is none. A deadline that has come is told by
 * jobswitch_take_ready() and the like. Signal handlers: no. */
JOBSWITCH_API uint64_t jobswitch_next_deadline(void);

/* Resumes a paused job of this thread so that it ends: its pause returns 0
 * (JOBSWITCH_E_CANCELLED), and so does every later one. Answers as
 * jobswitch_start_job() does for a resume. Inside a job: yes. Signal handlers: no. */
JOBSWITCH_API int jobswitch_cancel_job(jobswitch_job **job, int *ret);

/* The same for each job of the calling thread that is paused now; what they return is
 * dropped. Returns how many have ended. Inside a job: refused (JOBSWITCH_E_IN_JOB).
 * Signal handlers: no. */
JOBSWITCH_API size_t jobswitch_cancel_all(void);

/* Takes back a paused job of this thread without running it on, as a clean-up does with
 * all: its handle is finished, *job NULL, and its stack and descriptor are for others.
 * Destructors of its values run on the caller's stack (see jobswitch_create_key); what
 * else it holds stays held, and nobody may use its stack's memory any more. For jobs
 * that cannot run on; jobswitch_cancel_job() is for all others. Returns 1, or 0 with a
 * reason and nothing changed. Inside a job: yes. Signal handlers: no. */
JOBSWITCH_API int jobswitch_discard_job(jobswitch_job **job);

/* 1 if the running job has been cancelled; else, and outside a job, 0. Signal
 * handlers: yes. */
JOBSWITCH_API int jobswitch_job_cancelled(void);

/* ---- what a job keeps ------------------------------------------------- */

/* Names a value that each job has of its own, of any thread. Never 0. */
typedef uint32_t jobswitch_key;

/* Makes a key, of at most 1,024. When a job ends with a value that is not NULL,
 * destructor (if not NULL) is called with that value: when the function has returned,
 * cancelled or not, on the job's stack, while pauses are blocked; for a job that a
 * discard or a clean-up takes back, on the stack of that caller, outside all jobs: see
 * the rules above. It must not throw, nor leave by longjmp. The order is not specified;
 * for values that destructors set, they are called again, four times in all. Returns 1,
 * or 0 with a reason. Threads: any; signal handlers: no. */
JOBSWITCH_API int jobswitch_create_key(jobswitch_key *key, void (*destructor)(void *value));

/* The values of a deleted key are gone; their destructors are not called. Returns 1, or
 * 0 with a reason. Threads: any; signal handlers: no. */
JOBSWITCH_API int jobswitch_delete_key(jobswitch_key key);

/* Sets the running job's value, without a call for the last one. Returns 1, or 0 with
 * a reason; outside a job: JOBSWITCH_E_NO_JOB. Signal handlers: no. */
JOBSWITCH_API int jobswitch_set_local(jobswitch_key key, void *value);

/* The running job's value. NULL where none was set, outside a job, or for what is no
 * key. Signal handlers: no. */
JOBSWITCH_API void *jobswitch_get_local(jobswitch_key key);

/* ---- looking in, giving back ------------------------------------------ */

/* Set size to sizeof(jobswitch_stats) (or start from JOBSWITCH_STATS_INIT):
 * that many bytes are filled at most. */
typedef struct jobswitch_stats {
    size_t size;         /* bytes of this struct, as the caller knows it */
    size_t jobs_idle;    /* made, and free to be started */
    size_t jobs_paused;  /* paused */
    size_t jobs_running; /* running, and those that wait for a job they started */
    uint64_t jobs_started;   /* since the thread's first call */
    uint64_t jobs_finished;  /* returned from their function */
    uint64_t jobs_discarded; /* taken back unfinished by a clean-up */
    size_t stacks_mapped;    /* stacks that exist, in use or not */
    size_t stack_bytes_resident_max; /* no more stack memory than this is resident */
    size_t descriptors_open;         /* the ready ring's, and those of jobs, in use or kept */
    /* "guard-install", "prot-none", "caller", or "none" before there is a
     * stack. A constant string. */
    const char *guard_method;
} jobswitch_stats;

#define JOBSWITCH_STATS_INIT                                                   \
    { sizeof(jobswitch_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL }

/* Fills *stats for the calling thread. Returns 1, or 0 with a reason. Inside
 * a job: yes. Signal handlers: no. */
JOBSWITCH_API int jobswitch_get_stats(jobswitch_stats *stats);

/* Gives back the memory of idle stacks at once, all but keep_jobs of them,
 * and closes the descriptors that no job uses. Jobs on stacks of the caller's
 * are dropped, and stack_free gets the stacks. Returns how many stacks were
 * given back. (By itself the pool gives back what has lain unused for a second
 * or more, a batch at a time while jobs end, but for initial_jobs of them and
 * the caller's. A thread that falls idle after a burst had better call this.)
 * Inside a job: yes. Signal handlers: no. */
JOBSWITCH_API size_t jobswitch_trim_thread(size_t keep_jobs);

/* Why the last failing call of this thread failed: JOBSWITCH_E_*. A call that
 * succeeds leaves it as it is. Signal handlers: yes. */
JOBSWITCH_API int jobswitch_last_error(void);

/* A sentence for a person; never NULL, never to be freed. Threads: any;
 * signal handlers: yes. */
JOBSWITCH_API const char *jobswitch_error_string(int code);

/* The version of the library that runs. Threads: any; signal handlers: yes. */
JOBSWITCH_API unsigned jobswitch_version(void);

#ifdef __cplusplus
}
#endif

#include "tool.h"

/* ---- inlined ------------------------------------------------------------ */

/* Where the CPU has stubs for it (jobswitch/inline.h), jobswitch_start_job() and
 * jobswitch_pause_job() are inlined into their callers: the same semantics, and
 * the processor's prediction of returns stays undisturbed. The functions are
 * there all the same, for their addresses and for other languages. How the library
 * keeps jobs is no part of its ABI: a later library of the same soname that keeps
 * them otherwise makes the stubs of this header go to the library each time.
 *
 * JOBSWITCH_NO_INLINE, defined before this header, gives the plain functions. */
#if !defined(JOBSWITCH_NO_INLINE) && !defined(JOBSWITCH_BUILDING) &&           \
    !defined(JOBSWITCH_WITH_ASAN) && !defined(JOBSWITCH_WITH_TSAN) &&          \
    defined(__GNUC__) && defined(__has_include)
#if __has_include("../jobswitch/inline.h")
#define JOBSWITCH_INLINE                                                       \
    extern __inline__ __attribute__((gnu_inline, always_inline, artificial))
#include "../jobswitch/inline.h"
#endif
#endif

#ifdef JOBSWITCH_STUBS
#ifdef __cplusplus
extern "C" {
#endif

JOBSWITCH_INLINE int jobswitch_start_job(jobswitch_job **job, int *ret,
                                         int (*func)(void *), void *args,
                                         size_t size)
{
    union jobswitch_stub_payload payload;
    int answer;

    if (!job || !ret)
        return jobswitch_stub_function()(job, ret, func, args, size);
    if (*job) {
        answer = jobswitch_stub_resume(*job, &payload);
        if (answer == JOBSWITCH_FINISH) {
            *job = NULL;
            *ret = payload.ret;
        }
    } else {
        answer = jobswitch_stub_start(func, args, size, &payload);
        if (answer == JOBSWITCH_PAUSE) {
            *job = payload.handle;
        } else if (answer == JOBSWITCH_FINISH) {
            *job = NULL;
            *ret = payload.ret;
        }
    }
    return answer;
}

JOBSWITCH_INLINE int jobswitch_pause_job(void)
{
    return jobswitch_stub_pause();
}

#ifdef __cplusplus
}
#endif
#endif

#endif
