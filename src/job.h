// SPDX-License-Identifier: Apache-2.0
//
// What a job is: its control block, and how it starts, pauses, resumes, ends.
//
// A block is one of
//   bare      no stack                          stack_top NULL
//   idle      in a list of the pool             handle secret, link NULL
//   running   or waiting for a job it started   link set
//   paused                                      handle not secret, link NULL
// and no field says so twice.
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
    context ctx;
    // generation << 32 | offset in the arena: what the user holds. With
    // JS_HANDLE_SECRET until it is first given out: it can be nobody's yet.
    std::atomic<uintptr_t> handle;
    // the pool; with owner_announced: the fast path keeps out
    std::atomic<uintptr_t> owner;
    union {
        job *next;   // while it is in a list
        void *fiber; // while it lives: the tool's
    };
    // Not 0: a pause is not simply a pause. The count of blocks, and gate_*.
    uint32_t gate;
    // Not 0: an end is not simply an end. flag_*.
    uint32_t flags;
    wait_state wait;
    void *stack_top;
};
static_assert(sizeof(job) == JS_JOB_BYTES);

inline constexpr uintptr_t owner_announced = 1;

inline constexpr uint32_t gate_nested = 1u << 31;    // its starter is a job
inline constexpr uint32_t gate_announced = 1u << 30; // a tool is to be told
inline constexpr uint32_t gate_calling = 1u << 29;   // in a function of the caller's
inline constexpr uint32_t gate_waiting = 1u << 28;   // for a job that it started
inline constexpr uint32_t gate_blocks = gate_waiting - 1;

inline constexpr uint32_t flag_args_heap = 1; // its args are in memory of their own
inline constexpr uint32_t flag_drop = 2;      // its stack is not of the pool's shape
inline constexpr uint32_t flag_drop_over = 4; // more jobs than the pool's maximum

inline pool *job_owner(const job &j)
{
    return reinterpret_cast<pool *>(j.owner.load(std::memory_order_relaxed) &
                                    ~owner_announced);
}

inline bool job_is_secret(const job &j)
{
    return j.handle.load(std::memory_order_acquire) & JS_HANDLE_SECRET;
}

inline bool job_is_live(const job &j) { return j.ctx.link || !job_is_secret(j); }

// A new handle for the block's current generation.
void job_renew_handle(job &j);

// The handle, to be given to somebody. The job's own thread.
inline jobswitch_job *job_reveal(job &j)
{
    uintptr_t handle = j.handle.load(std::memory_order_relaxed) &
                       ~uintptr_t(JS_HANDLE_SECRET);
    j.handle.store(handle, std::memory_order_relaxed);
    return reinterpret_cast<jobswitch_job *>(handle);
}

// Sets the calling thread's reason and returns answer.
int job_fail(int reason, int answer);

// The live job of a handle, or NULL with the reason. Any thread.
job *job_find(jobswitch_job *handle, int *reason);

// The whole of jobswitch_start_job and jobswitch_pause_job.
extern "C" int job_start(jobswitch_job **handle, int *ret, int (*func)(void *),
                         void *args, size_t size);
extern "C" int job_pause();

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

// What a job keeps beside its block and its stack.
void job_release_args(job &j);
