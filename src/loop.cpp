// SPDX-License-Identifier: Apache-2.0
//
// Resumes by the stubs, as programs do, where the CPU has them.
#undef JOBSWITCH_BUILDING
#include "loop.h"

#include <ctime>

#include "job.h"
#include "pool.h"

// How long a thread that has nothing to do looks before it sleeps: a sleep and the call
// that ends it take some ten times as long.
static constexpr uint64_t spin_ns = 4000;
// And how long it keeps away between two looks. Each takes the line with the tail from a
// waker that is about to push, and so holds up what it waits for.
static constexpr uint64_t look_ns = 200;

// A block is asked for so many entries before it is its turn, and its stack when the
// block is there.
static constexpr size_t block_ahead = 16;
static constexpr size_t stack_ahead = 8;

uint64_t loop_clock_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1000000000 + uint64_t(now.tv_nsec);
}

// ---- taking ----------------------------------------------------------------------

// What was woken by its deadline goes the way of all that is woken.
static void wake_expired(pool &p)
{
    if (timer_next(p.timers) == UINT64_MAX)
        return;
    uint64_t now_ns = loop_clock_ns();
    while (timer_next(p.timers) <= now_ns) {
        uint32_t entry = timer_take(p.timers);
        wait_state &wait = job_of_entry(entry).wait;
        wait_wake(wait, wait_generation(wait.word.load(std::memory_order_relaxed)), p.waits,
                  entry);
    }
}

static void prefetch_ahead(pool &p, uint64_t end)
{
    if (uint32_t entry = ready_peek(p.waits.ready, block_ahead, end))
        job_prefetch_block(job_of_entry(entry));
    if (uint32_t entry = ready_peek(p.waits.ready, stack_ahead, end))
        job_prefetch_stack(&job_of_entry(entry).ctx);
}

// The next that can be resumed, its wake taken. Looks no further than to `end`.
static job *take_next(pool &p, uint64_t end)
{
    for (;;) {
        prefetch_ahead(p, end);
        uint32_t entry = ready_pop(p.waits.ready, end);
        if (!entry)
            return nullptr;
        job &j = job_of_entry(entry);
        if (!pool_has(p, j))
            wait_take_late(j.wait);
        else if (!job_is_paused(p, j))
            job_queue_later(j); // it runs, or waits for another
        else if (wait_take(j.wait))
            return &j;
    }
}

size_t loop_take(pool &p, jobswitch_job **jobs, size_t max)
{
    wake_expired(p);
    uint64_t end = ready_end(p.waits.ready);
    size_t taken = 0;
    while (taken < max) {
        job *j = take_next(p, end);
        if (!j)
            break;
        jobs[taken++] = job_handle(*j);
    }
    if (!taken && max)
        ready_rest(p.waits.ready);
    return taken;
}

size_t loop_wait(pool &p, jobswitch_job **jobs, size_t max, uint64_t until_ns)
{
    size_t taken = loop_take(p, jobs, max);
    uint64_t began_ns = 0;
    while (!taken && max) {
        uint64_t now_ns = loop_clock_ns();
        if (now_ns >= until_ns)
            break;
        if (!began_ns)
            began_ns = now_ns;
        if (now_ns - began_ns < spin_ns) {
            for (uint64_t look_at_ns = now_ns + look_ns; now_ns < look_at_ns;)
                now_ns = loop_clock_ns();
        } else {
            uint64_t deadline_ns = timer_next(p.timers);
            ready_sleep(p.waits.ready, deadline_ns < until_ns ? deadline_ns : until_ns);
        }
        taken = loop_take(p, jobs, max);
    }
    return taken;
}

int loop_descriptor(pool &p, int *reason)
{
    // Without room there is no ring that could rest.
    if (!ready_reserve(p.waits.ready, 1, reason))
        return -1;
    return ready_descriptor(p.waits.ready, reason);
}

// ---- resuming ----------------------------------------------------------------------

size_t loop_resume(pool &p, jobswitch_outcome *outcomes, size_t max)
{
    wake_expired(p);
    uint64_t end = ready_end(p.waits.ready);
    size_t done = 0;
    while (done < max) {
        job *j = take_next(p, end);
        if (!j)
            break;
        jobswitch_outcome &o = outcomes[done++];
        o = {job_handle(*j), JOBSWITCH_ERR, 0};
        jobswitch_job *handle = o.job;
        o.answer = jobswitch_start_job(&handle, &o.ret, nullptr, nullptr, 0);
    }
    if (!done && max)
        ready_rest(p.waits.ready);
    return done;
}

size_t loop_cancel_all(pool &p)
{
    size_t cancelled = 0;
    pool_for_each_job(p, [](job &j, void *count) {
        jobswitch_job *handle = job_handle(j);
        int ret;
        if (job_is_paused(*pool_of(j), j) && job_cancel_to(&handle, &ret) == JOBSWITCH_FINISH)
            ++*static_cast<size_t *>(count);
    }, &cancelled);
    return cancelled;
}
