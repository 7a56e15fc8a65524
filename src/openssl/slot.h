// SPDX-License-Identifier: Apache-2.0
//
// What is kept of a job while somebody may ask for it: one that has paused, or whose name
// was asked for. Its public name is a number, and no name comes twice (with 32 bits: for
// long), so that a late one is recognised: an engine's thread asks for the wait context of
// a job that may have ended. Memory of slots is never given back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "api.h"
#include "jobswitch/jobswitch.h"

struct slot_list;

struct slot {
    std::atomic<uintptr_t> name; // as it is given out; another one once the job has ended
    std::atomic<ASYNC_WAIT_CTX *> wait_ctx;
    std::atomic<uint64_t> abandoned_ns; // since when; 0: it is not
    jobswitch_job *handle;              // of the paused job
    slot_list *owner;
    slot *next, *previous; // in a list
};

// The slots of a thread.
struct slot_list {
    slot *live;
    slot *free;
    std::atomic<unsigned> abandoned; // how many of the live ones are
};

// NULL: no memory.
slot *slot_take(slot_list &owner);
void slot_give(slot &s);
// The live slot of a name, or NULL. Any thread.
slot *slot_find(ASYNC_JOB *name);
// One whose job has this wait context, or NULL: looks at all that there are. Any thread.
slot *slot_find_by(ASYNC_WAIT_CTX *ctx);
inline ASYNC_JOB *slot_name(const slot &s)
{
    return reinterpret_cast<ASYNC_JOB *>(s.name.load(std::memory_order_relaxed));
}
// A thread ends: its free slots are for others. (None is live.)
void slot_list_close(slot_list &owner);
