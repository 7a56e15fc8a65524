// SPDX-License-Identifier: Apache-2.0
//
// What a job is: its control block, and how it starts, pauses, resumes, ends.
//
// A block is one of
//   bare      no stack                              pause_top 0
//   idle      in a list of the pool                 handle secret
//   running   the last child of the pool's root     handle secret or not
//   waiting   for a job it started                  child set, handle not secret
//   paused                                          handle not secret
// A job that the fast path started stays where it was, at the head of the hot
// list, until its handle is given to somebody: if it ends before, nothing has
// to be undone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "context.h"
#include "jobswitch/jobswitch.h"
#include "layout.h"
#include "wait.h"

struct pool;

struct job {
    // Handle and owner in one, so that the fast path compares once: the handle
    // (generation << 32 | offset in the arena, see handle.h) plus the address of the owner's
    // root context, and key_* in bits that are 0 in both.
    std::atomic<uintptr_t> key;
    // The end of the stack; with pause_top_gated where gate is not 0. 0: none.
    uintptr_t pause_top;
    // Not 0: a pause is not simply a pause. The count of blocks, and gate_*.
    uint32_t gate;
    // Not 0: an end is not simply an end. flag_*.
    uint32_t flags;
    context ctx;
    // (Nothing of its own behind its last member, so that timer lies there.)
    [[no_unique_address]] wait_state wait;
    uint32_t timer; // the id of its deadline, until its pause has ended; 0: none
    union {
        job *next;   // while it is in a list
        void *fiber; // while it lives: the tool's
    };
};
static_assert(sizeof(job) == JS_JOB_BYTES);

// Nobody has been given the handle yet.
inline constexpr uintptr_t key_secret = JS_KEY_SECRET;
// The fast path keeps out.
inline constexpr uintptr_t key_keep_out = 2;

inline job &job_of_context(context &c)
{
    return *reinterpret_cast<job *>(reinterpret_cast<unsigned char *>(&c) -
                                    __builtin_offsetof(job, ctx));
}

inline constexpr uint32_t gate_nested = 1u << 31;    // its starter is a job
inline constexpr uint32_t gate_announced = 1u << 30; // a tool is to be told
inline constexpr uint32_t gate_calling = 1u << 29;   // in a function of the caller's
inline constexpr uint32_t gate_waiting = 1u << 28;   // for a job that it started
inline constexpr uint32_t gate_secret = JS_GATE_SECRET; // as the key says
inline constexpr uint32_t gate_first = JS_GATE_FIRST;   // it has not paused yet
inline constexpr uint32_t gate_cancelled = 1u << 25;    // no pause is one any more
inline constexpr uint32_t gate_fp = 1u << 24;           // it keeps its FP environment
inline constexpr uint32_t gate_queue = 1u << 23;        // its pause puts it into the ready ring
inline constexpr uint32_t gate_blocks = gate_queue - 1;
static_assert(gate_cancelled < gate_first);

// (A bit that the fast path tests with the sign; or any that is 0 in what it is set in.)
inline constexpr uintptr_t pause_top_gated =
    sizeof(uintptr_t) == 8 ? uintptr_t(1) << (JS_PAUSE_TOP_GATED % (8 * sizeof(uintptr_t))) : 1;

inline void *job_stack_top(const job &j)
{
    return reinterpret_cast<void *>(j.pause_top & ~pause_top_gated);
}

inline void job_set_gate(job &j, uint32_t gate)
{
    j.gate = gate;
    j.pause_top = (j.pause_top & ~pause_top_gated) | (gate ? pause_top_gated : 0);
}

inline constexpr uint32_t flag_args_heap = 1; // its args are in memory of their own
inline constexpr uint32_t flag_drop = 2;      // its stack is not of the pool's shape
inline constexpr uint32_t flag_drop_over = 4; // more jobs than the pool's maximum

// Above the flags: where the job's local values are; 0: it has none.
inline constexpr unsigned flag_bits = 8;
inline uint32_t job_locals(const job &j) { return j.flags >> flag_bits; }
inline void job_set_locals(job &j, uint32_t place)
{
    j.flags = (j.flags & ((1u << flag_bits) - 1)) | place << flag_bits;
}

inline bool job_is_secret(const job &j)
{
    return j.key.load(std::memory_order_acquire) & key_secret;
}

// A new handle for the block's current generation; its link is its owner's root.
void job_renew_handle(job &j, bool keep_out);

// The handle of a running job, to be given to somebody. The job's own thread;
// also in a signal handler, wherever that interrupts the thread.
jobswitch_job *job_reveal(job &j);

// The running job of this thread, or NULL. Also in a signal handler.
job *job_current();
// The same, if it is that job which calls: not so in a function that the pool calls. Also
// in a signal handler.
job *job_caller();
// That one, its handle revealed: from here on the pool counts it. Whatever
// changes the pool or the job's gate asks for it first.
job *job_settle();

// Sets the calling thread's reason and returns answer.
int job_fail(int reason, int answer);

// What stands for a job's block in the ready ring and the timer queue.
uint32_t job_entry(const job &j);
job &job_of_entry(uint32_t entry);
// The handle of a job that somebody has been given.
jobswitch_job *job_handle(const job &j);
// The live job of a handle, or NULL with the reason. Any thread.
job *job_find(jobswitch_job *handle, int *reason);

// The whole of jobswitch_start_job and jobswitch_pause_job. The first by value:
// the payload is the handle with JOBSWITCH_PAUSE, what the job returned with
// JOBSWITCH_FINISH.
extern "C" transfer job_start(jobswitch_job *handle, int (*func)(void *),
                              void *args, size_t size);
extern "C" int job_start_to(jobswitch_job **handle, int *ret,
                            int (*func)(void *), void *args, size_t size);
extern "C" int job_pause();
int job_pause_until(uint64_t deadline_ns);
// As a resume by the last, but the job's pauses return 0 from now on.
int job_cancel_to(jobswitch_job **handle, int *ret);

// Takes back a paused job as it is. 1, or 0 with a reason.
int job_discard(jobswitch_job **handle);

// A hint; any handle will do.
void job_prefetch(jobswitch_job *handle);
// What a resume of a block touches: the block itself; then, once that is there, the
// stack.
void job_prefetch_block(const job &j);
void job_prefetch_stack(const context *c);

// Where the caller stands, in view of the current job: on its stack (or one of
// the job's own making), or where a longjmp out of the job has brought it.
enum class job_place { outside, inside, left_to_job, left_to_thread };
job_place job_locate();

inline bool job_is_left(job_place place)
{
    return place == job_place::left_to_job || place == job_place::left_to_thread;
}
// Nothing stands on a stack of the pool.
inline bool job_is_none(job_place place)
{
    return place == job_place::outside || place == job_place::left_to_thread;
}

// A job whose entry was taken from the ready ring while it cannot be resumed: its next
// pause puts it back. Until then its wakes need no entry.
inline void job_queue_later(job &j) { job_set_gate(j, j.gate | gate_queue); }

// What a job keeps beside its block and its stack.
void job_release_args(job &j);
