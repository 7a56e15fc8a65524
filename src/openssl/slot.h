// SPDX-License-Identifier: Apache-2.0
//
// What is kept of a job while somebody may ask for it: one that has paused, or whose name
// was asked for. Its public name is a number, and no name comes twice (with 32 bits: for
// long), so that a late one is recognised: an engine's thread asks for the wait context of
// a job that may have ended. Memory of slots is never given back.
//
// There are no locks here, so a forked child never meets one that is held. What threads
// share changes by single stores; everything else is its owner's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "api.h"
#include "jobswitch/jobswitch.h"

struct slot_list;

// Marks in the place of a wait context. One that another thread frees becomes `told`, and
// the slot is on its way through the owner's inbox. What happens to the job before it has
// come changes the mark: `kept` if it was resumed, `ended` if it has ended. Until it has
// come, the slot is not free.
inline constexpr uintptr_t slot_mark_told = 1, slot_mark_kept = 2, slot_mark_ended = 3;
inline bool slot_is_mark(const ASYNC_WAIT_CTX *ctx)
{
    return reinterpret_cast<uintptr_t>(ctx) - 1 < slot_mark_ended;
}

struct slot_link { // in a ring, whose head is one as well
    slot_link *next, *previous;
};

struct slot : slot_link {
    std::atomic<uintptr_t> name; // as it is given out; another one once the job has ended
    std::atomic<ASYNC_WAIT_CTX *> wait_ctx; // or a mark
    std::atomic<slot_list *> owner;
    jobswitch_job *handle; // of the paused job
    slot *next_told;       // in an inbox
    uint32_t abandoned_s;  // since when
    bool abandoned;
};

// The slots of a thread. All but the inbox is for that thread alone.
struct slot_list {
    slot *free;
    slot_link live;
    slot_link abandoned; // live ones whose wait context has gone, about the oldest first
    std::atomic<slot *> inbox; // those of them whose wait context another thread has freed
};

void slot_list_init(slot_list &list);
// Gives back all live slots.
void slot_list_clear(slot_list &list);
// Clears it, and leaves the free slots to other threads.
void slot_list_close(slot_list &list);

bool slot_reserve_more(slot_list &list, unsigned count);
// At least this many slots are free afterwards. False: no memory, or no numbers left.
inline bool slot_reserve(slot_list &list, unsigned count)
{
    return (list.free && count == 1) || slot_reserve_more(list, count);
}
// One that was reserved.
slot &slot_take(slot_list &list, ASYNC_WAIT_CTX *ctx);
// The job has ended.
void slot_give(slot &s);

inline ASYNC_JOB *slot_name(const slot &s)
{
    return reinterpret_cast<ASYNC_JOB *>(s.name.load(std::memory_order_relaxed));
}
// NULL: it has none, or that has gone.
inline ASYNC_WAIT_CTX *slot_wait_ctx(const slot &s)
{
    ASYNC_WAIT_CTX *ctx = s.wait_ctx.load(std::memory_order_acquire);
    return slot_is_mark(ctx) ? nullptr : ctx;
}

// The live slot of a name, or NULL. Any thread.
slot *slot_find(ASYNC_JOB *name);
// The wait context of the job of this name; NULL: it has ended, or has none. Any thread.
ASYNC_WAIT_CTX *slot_find_wait_ctx(ASYNC_JOB *name);

// Takes the wait context, which goes, from one job that has it: from the one of this name,
// if possible; else it looks at all that there are. Where the slot is of another list, its
// owner is told by the inbox. NULL: no job has it. Any thread; own may be NULL.
slot *slot_leave(ASYNC_JOB *name, ASYNC_WAIT_CTX *ctx, const slot_list *own, uint32_t now_s);

// ---- jobs without their wait contexts. The owner's thread. ----

void slot_abandon(slot &s, uint32_t since_s);
// It is resumed, and so not abandoned any more.
void slot_keep(slot &s);
inline bool slot_list_has_abandoned(const slot_list &list)
{
    return list.abandoned.next != &list.abandoned ||
           list.inbox.load(std::memory_order_relaxed);
}
// This many of the inbox, at most, become abandoned.
void slot_list_receive(slot_list &list, unsigned most);
// NULL: none is.
slot *slot_list_oldest_abandoned(slot_list &list);

// The runtime has at most 2^23 jobs (2^17 with 32 bits), and the slots of each thread are
// whole chunks.
inline constexpr unsigned slot_number_bits = sizeof(void *) == 8 ? 26 : 20;
inline constexpr size_t slot_chunk_slots = 256;
inline constexpr size_t slot_chunks_room = (size_t(1) << slot_number_bits) / slot_chunk_slots;
// How many there may be, in a test's hands.
extern size_t slot_chunks_most;
