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
#include "stack.h"
#include "wait.h"

struct job_list {
    job *head;
    size_t count;
};

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
    context root; // where the thread stands while it runs a job
    job *hot;     // for the fast path: empty while announced
    jobswitch_job **job_out; // of the innermost start that has not returned
    int *ret_out;
    uint64_t started;
    unsigned char *arena; // for the fast path, see arena_look
    size_t arena_bytes;   // block starts lie below this
    size_t stack_span;    // no stack of the pool is larger
    uint32_t until_review; // ends

    uint32_t review_period; // ends from the last review to the next
    job *hot_announced;     // takes the part of hot
    job_list spare, surplus, cold;
    job_list doomed;  // ended, to be dropped from outside their stacks
    job_list resting; // blocks, see wait_begin
    job_list bare;    // blocks
    arena_chunk *chunks;
    size_t jobs_made; // bare blocks do not count
    uint64_t finished_before; // the last review
    uint64_t discarded;
    uint64_t reviewed_ns; // when spare last changed

    size_t max_jobs, initial_jobs;
    uint64_t flags;
    stack_shape shape;
    stack_source stacks;
    wait_cache descriptors;
    int process;  // whose descriptors these are
    bool opened;  // has limits
    bool calling; // in a function of the caller's

    const jobswitch_tool *tool;
    void *root_fiber;
    const void *root_low; // the stack of root, as the tool sees it
    size_t root_bytes;
    uintptr_t root_stack_low, root_stack_high; // as the system sees it

    pool *next_free;
};

// What a thread knows without a pool.
struct pool_thread {
    struct pool *pool;
    job *current; // the running job
    int last_error;
};
// A few bytes of static TLS: a library that is loaded late gets them, too.
// Defined where the entry functions are.
extern "C" {
[[gnu::tls_model("initial-exec")]] extern thread_local constinit pool_thread
    pool_thread_state;
}

// The thread's record, made if need be; NULL with a reason.
pool *pool_here(int *reason);

// Takes the limits, makes what is missing. False with a reason, and nothing
// has changed.
bool pool_open(pool &p, const jobswitch_options &options, int *reason);

// An idle job, out of its list, or NULL with a reason (JOBSWITCH_E_MAX_JOBS
// where only the limit stands against it).
job *pool_take(pool &p, int *reason);

// A job that has ended, called on its own stack; one that was taken and did
// not start.
void pool_put(pool &p, job &j);
void pool_return(pool &p, job &j);

// All back. Jobs that live are discarded.
void pool_close(pool &p);

size_t pool_trim(pool &p, size_t keep_jobs);
void pool_stats(pool &p, jobswitch_stats &stats);

// The clock that reviews go by, in a test's hands.
extern uint64_t (*pool_clock_ns)();

// For pools that are opened from now on.
void pool_set_tool(const jobswitch_tool *tool);
