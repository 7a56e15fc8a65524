// SPDX-License-Identifier: Apache-2.0
//
// The pool manager: the jobs, stacks and descriptors of one thread. Its record
// is never unmapped, for other threads come to it with a job in hand; a later
// thread takes it over.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arena.h"
#include "context.h"
#include "job.h"
#include "jobswitch/jobswitch.h"
#include "local.h"
#include "stack.h"
#include "timer.h"
#include "wait.h"

struct job_list {
    job *head;
    size_t count;
};

struct pool;

// A whole line where dlopen() can give that to a plugin. glibc has no more than 32 bytes on
// most CPUs: the alignment of its static TLS is fixed when the program starts.
#ifndef JS_THREAD_ALIGN // machine.h
#define JS_THREAD_ALIGN 32
#endif

// What a thread keeps at hand, all that the fast path reads but the jobs.
struct alignas(JS_THREAD_ALIGN) pool_thread {
    // Not used: with it the root lies elsewhere in a cache line than any job's context. See
    // job_renew_handle.
    uintptr_t shift;
    // As before a job's context, and never open: a pause finds the root where no
    // job runs.
    uintptr_t no_key;
    uintptr_t no_pause_top;
    uint32_t no_gate, no_flags;
    // Where the thread stands while it runs a job. Its link is itself, or that of
    // pool_nobody without a pool. No child: itself, or that of pool_nobody where
    // the fast path is to keep out.
    context root;
    std::atomic<job *> hot; // empty where the fast path is to keep out
    size_t stack_span;      // no stack of the pool is larger
    uint64_t live; // running, waiting and paused, but for one at the head of hot
    uint32_t until_review; // ends
    // Where a block at offset 0 has its context, and the mask for offsets: 0 without
    // blocks, and then the fast path finds the root of pool_nobody there.
    context *arena_first;
    uintptr_t arena_mask;
    // of the starter, where that is the thread itself by the plain function
    jobswitch_job **job_out;
    int *ret_out;

    struct pool *pool;
    int last_error;
    // Whose blocks are being loaded, and whose stacks are to be: see job_prefetch.
    uint32_t ahead_at;
    context *ahead[8];
};
// A few bytes of static TLS: a library that is loaded late gets them, too.
// Defined where the entry functions are.
extern "C" {
// What the root's link leads to without a pool. Nothing of it is ever written.
extern pool_thread pool_nobody;
[[gnu::tls_model("initial-exec")]] extern thread_local constinit pool_thread
    pool_thread_state;
}

// Idle jobs lie in four lists, by how warm their stacks are. Starts take from
// the first that has any, ends push to the first.
//
//   hot       last in, first out; its length is known only from the others
//   spare     were hot at the last review that changed anything
//   surplus   were spare, and none of them was needed, for a second or more:
//             their stacks are being given back
//   cold      nothing of the stack is resident
//
// A review comes every so many ends and costs the same however many jobs there
// are: it moves whole lists.
struct pool {
    struct pool_thread *here; // the thread's
    uint32_t review_period; // ends from the last review to the next
    job *hot_apart;         // takes the part of hot
    job_list spare, surplus, cold;
    job_list doomed;  // ended, to be dropped from outside their stacks
    job_list parked; // blocks that cannot be used yet: see wait_begin
    job_list bare;   // blocks
    arena_chunk *chunks;
    size_t jobs_made; // bare blocks do not count
    uint64_t finished_before; // the last review
    uint64_t discarded;
    uint64_t reviewed_ns; // when spare last changed

    size_t max_jobs, initial_jobs;
    uint64_t flags;
    stack_shape shape;
    stack_source stacks;
    wait_owner waits;
    size_t chunks_held;
    size_t late_entries; // of blocks that were given back before their wakers had pushed, ever
    timer_queue timers; // of entries
    local_table locals;
    // While jobs wait for others: the one that runs, and how many wait.
    context *innermost;
    size_t jobs_waiting;
    bool opened;  // has limits
    bool calling; // see pool_is_calling

    const jobswitch_tool *tool;
    void *root_fiber;
    const void *root_low; // the stack of root, as the tool sees it
    size_t root_bytes;
    uintptr_t root_stack_low, root_stack_high; // as the system sees it

    pool *next_free, *next_record;
    bool in_use;
    bool has_robust_list; // as the thread came
    int thread_id; // the system's
    bool keeps_fp; // JOBSWITCH_FP_ENVIRONMENT
    bool keep_out; // its jobs' keys could be mistaken for others', and theirs for these
};

// In the middle of this thread's pool's work, in a function of the program's: stack_alloc,
// stack_free, or the destructor of a value of a job that is taken back. What is called from
// there is called on nobody's behalf, though a job may stand below. Also in a signal handler.
inline bool pool_is_calling()
{
    return pool_thread_state.pool && pool_thread_state.pool->calling;
}

// The thread's record, made if need be; NULL with a reason.
pool *pool_here(int *reason);

// Takes the limits, makes what is missing. False with a reason, and nothing
// has changed.
bool pool_open(pool &p, const jobswitch_options &options, int *reason);

// A job of this pool that waits to be resumed. All that is read lies in its block: the
// link of a paused job is its owner's root.
inline bool job_is_paused(const pool &p, const job &j)
{
    return j.ctx.link == &p.here->root && j.pause_top && !job_is_secret(j) &&
           !(j.gate & gate_waiting) && &j.ctx != p.here->root.child;
}

// The pool that a block belongs to; NULL: none any more. Any thread.
pool *pool_of(const job &j);
// A job of this pool lives in that block.
inline bool pool_has(const pool &p, const job &j)
{
    return pool_of(j) == &p && j.pause_top && !job_is_secret(j);
}

// An idle job, out of its list, or NULL with a reason (JOBSWITCH_E_MAX_JOBS
// where only the limit stands against it).
job *pool_take(pool &p, int *reason);

// A job that has ended, called on its own stack; one that was taken and did
// not start.
void pool_put(pool &p, job &j);
// What lived on a stack has ended: for the tool, if there is one.
void pool_tell_end(const pool &p, void *fiber, const stack_range &range);
// A paused job, not run on: as if it had ended, but for what counts.
void pool_discard(pool &p, job &j);
// Takes a job that runs from the head of the hot list, if the fast path has
// left it there; only then it counts as live. Also in a signal handler.
void pool_claim(pool &p, job &j);
void pool_return(pool &p, job &j);

// Each job that there is, idle ones too. The function may start and end jobs; those are
// met or not.
void pool_for_each_job(pool &p, void (*function)(job &, void *), void *with);

// All back. Jobs that live are discarded.
void pool_close(pool &p);

size_t pool_trim(pool &p, size_t keep_jobs);
void pool_stats(pool &p, jobswitch_stats &stats);

// The clock that reviews go by, in a test's hands.
extern uint64_t (*pool_clock_ns)();

// For pools that are opened from now on.
bool pool_set_tool(const jobswitch_tool &tool, int *reason);
