// SPDX-License-Identifier: Apache-2.0
//
// The ready ring: which jobs of a thread have been woken, the oldest wake first. Any
// thread pushes, also in a signal handler; the owner takes. Knows no jobs: an entry is
// a number, not 0. Whoever pushes sees to it that an entry is in the ring once at
// most, so room for each entry there can be is room enough, and a push neither waits
// nor fails.
//
// A push takes a ticket, one step on `tail`, and then writes its entry to the slot
// that the ticket stands for, with the number of times that the ring has gone round:
// so the owner need not write there, which would take the line from the wakers. Between
// the two the ring has a hole: the owner goes past a few, and looks there again, so that
// a waker that lost its processor just then holds up nobody. The owner falls asleep by a step on the same word, which succeeds only if no
// ticket is out: so either a waker has taken its ticket before, and the owner stays
// awake, or it learns by taking it that the owner is to be called.
//
//      63      59 58      57 56                      0
//      capacity   sleeping fd  position
//
//  capacity  its binary logarithm. Slots of different capacities are different
//            memory, so a ticket stands for the same slot whatever is made later.
//  sleeping  the owner waits in ready_sleep
//  fd        the descriptor is not readable, and is to be once there is an entry
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

inline constexpr uint32_t ready_entry_most = (1u << 24) - 1;

struct ready_ring {
    // Wakers change these.
    alignas(64) std::atomic<uint64_t> tail;
    std::atomic<uint32_t> calling; // wakers that are about to call the owner
    std::atomic<uint32_t> asleep;  // what the owner waits for to become 0
    std::atomic<int> fd_after;     // the descriptor's number + 1; 0: none
    std::atomic<std::atomic<uint32_t> *> slots[32]; // by the logarithm of their number

    // The owner's.
    alignas(64) uint64_t head; // the position to be taken next
    uint64_t holes[3];         // before it, not taken yet, the oldest first
    uint32_t holes_count;
    uint64_t head_end; // from this position on, the slots are those of a larger capacity
    uint32_t head_capacity;
    uint64_t begins[32]; // at which position the slots of this capacity begin
};

// Makes room for so many entries, at least. False with a reason, and nothing changed.
bool ready_reserve(ready_ring &ring, size_t entries, int *reason);

// Any thread; errno is kept.
void ready_push(ready_ring &ring, uint32_t entry);

// The rest is the owner's.

// How many tickets have been taken in all: the end of what is to be taken now. (To look
// for entries elsewhere would take the slots' lines from the wakers.)
uint64_t ready_end(const ready_ring &ring);
// All before such an end has been taken.
inline bool ready_is_taken(const ready_ring &ring, uint64_t end)
{
    return ring.head >= end && !ring.holes_count;
}
// The oldest entry before an end, out of the ring; 0 if there is none, or too many holes.
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
// descriptor, unless a waker is still inside; then it stays for the next owner.
void ready_close(ready_ring &ring);
