// SPDX-License-Identifier: Apache-2.0
//
// The ready ring: which jobs of a thread have been woken, first in, first out. Any
// thread pushes, also in a signal handler; the owner takes. Knows no jobs: an entry is
// a number, not 0. Its users see to it that an entry is in the ring once at most, so room
// for each entry there can be is room enough.
//
// A push takes a ticket, one step on `tail`, and then fills the slot that the ticket
// stands for. Between the two the waker may lose its processor, and the owner comes to a
// slot that is still empty: it voids the ticket by a step on the slot, and goes on. The
// late waker finds its slot voided, and takes another ticket. So a waker that is held up
// delays its own entry, and no other; and nothing that it still has to do can harm what
// came after it.
//
//      slot:  63       24 23     0      round  counts how often the ring has gone round;
//             round       entry         entry  0: this round's ticket is void
//
// A push only ever replaces a slot of an earlier round, and slots stay where they are
// until the process ends: a ticket, however late, is good for its own slot and round or
// for nothing.
//
// To rest, the owner counts `rests` up and then steps on `tail`, which succeeds only if
// no ticket was taken since it looked. A waker whose ticket comes later sees the new
// count. Unless `called` has the same, it calls the owner (by futex or descriptor), and
// lets `called` follow when that is done: until then every other waker calls, too, and
// none depends on one that is held up in the middle of a call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

inline constexpr uint32_t ready_entry_most = (1u << 24) - 1;

struct ready_ring {
    // Wakers change these.
    //      63      59 58                     0
    //      capacity   position
    // The capacity is a binary logarithm. Slots of different capacities are different
    // memory, so a ticket stands for the same slot whatever is made later.
    alignas(64) std::atomic<uint64_t> tail;

    // Wakers read these each time, and change them while the owner rests.
    alignas(64) std::atomic<uint64_t> rests; // odd: the owner sleeps in ready_sleep
    std::atomic<uint64_t> called; // the owner has been called since this rest
    std::atomic<uint64_t> calls;  // see call_owner
    std::atomic<uint32_t> asleep; // the owner waits for it to become 0
    std::atomic<int> fd_after;    // the descriptor's number + 1; 0: none
    // Those that wakers were inside of at ready_close: the same, and above it a count.
    std::atomic<uint64_t> fds_left[4];
    std::atomic<std::atomic<uint64_t> *> slots[32]; // by the logarithm of their number

    // The owner's.
    alignas(64) uint64_t head; // the position to be taken next
    uint64_t head_end; // from this position on, the slots are those of a larger capacity
    uint32_t head_capacity;
    uint64_t calls_seen; // as the descriptor was last made unreadable; or calls_unknown
    uint64_t begins[32]; // at which position the slots of this capacity begin
    bool orphaned; // a forked child's, which has not got the owner's thread
};

// Makes room for so many entries, at least. False with a reason, and nothing changed.
bool ready_reserve(ready_ring &ring, size_t entries, int *reason);

// Asks the processor for what the next push changes. Any thread.
void ready_prefetch(const ready_ring &ring);
// Any thread; errno is kept.
void ready_push(ready_ring &ring, uint32_t entry);

// The rest is the owner's.

// How many tickets have been taken in all: the end of what is to be taken now. (To look
// for entries elsewhere would take the slots' lines from the wakers.)
uint64_t ready_end(const ready_ring &ring);
// The oldest entry before an end, out of the ring; 0 if there is none.
uint32_t ready_pop(ready_ring &ring, uint64_t end);
// The entry so many places on, left there; 0 if it is not there (yet).
uint32_t ready_peek(const ready_ring &ring, size_t places, uint64_t end);

// A descriptor that is readable from now until the next ready_rest that succeeds, and
// after that from the next push on. -1 with a reason.
int ready_descriptor(ready_ring &ring, int *reason);
bool ready_has_descriptor(const ready_ring &ring);
// For when a pop has found nothing: takes back that the descriptor is readable, unless
// somebody pushes.
void ready_rest(ready_ring &ring);
// Sleeps until there is an entry, or a signal handler has run, or CLOCK_MONOTONIC is at
// deadline_ns (UINT64_MAX: no end). At once where there is one.
void ready_sleep(ready_ring &ring, uint64_t deadline_ns);

// For when no generation lives that could be woken, and the ring is empty: closes the
// descriptor. Where a waker is still inside, the last one to leave closes it.
void ready_close(ready_ring &ring);

// Each entry that is there. Also in a signal handler that has interrupted the owner.
void ready_for_each(const ready_ring &ring, void (*function)(uint32_t, void *), void *with);

// True if no waker of an earlier owner has left anything, nor is still at it.
bool ready_is_clean(const ready_ring &ring);

// In a forked child, which has the owner's thread alone: the descriptor is the child's
// own, readable, and calls of threads that are not there count no more. (Or there is none,
// if there can be none.)
void ready_forked(ready_ring &ring);
// The same for the ring of a thread that is not there: nobody is called any more, until a
// new owner sets `orphaned` back.
void ready_orphaned(ready_ring &ring);
