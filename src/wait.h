// SPDX-License-Identifier: Apache-2.0
//
// Wake state and wait descriptors. Knows no jobs: a wait_state lives through
// generations, and a call for a generation that has ended does nothing.
//
// All that threads race for is one word, changed in single steps:
//
//      63        32 31 12 11   7    6        5      4       3        2      1    0
//      generation   pins  forks  repeated  known  queued  retired  resting  fd  woken
//
//  woken    without fd: the wake is remembered here, and queued. With fd: 0 says that
//           the descriptor is not readable (while nobody is pinned).
//  fd       wait_state.fd is this generation's descriptor.
//  pins     callers inside a system call on the descriptor, or about to attach
//           one. While there are any, the state is not given to another
//           generation, and its descriptor is neither closed nor passed on.
//  forks    how often pins have been taken back in this generation: by a fork, whose
//           child has only one thread. A pin of before is not taken back twice.
//  resting  the generation ended while there were pins: the last one to leave
//           ends that, and closes the descriptor if fd is set. Until then the
//           state is not to be reused.
//  retired  the last generation of all has ended.
//  queued   an entry for this state is in the owner's ready ring, or about to be. So
//           there is one at most; and while it is there, no other generation begins:
//           that one's wakes would be told no earlier than the waker who is still
//           about to push this entry.
//  repeated generations have come round to 1 again. Only where a handle has few bits for
//           them: see wait_generation_most.
//  known    it has been woken before in this generation: whoever has the handle was
//           given it, and nothing else of its owner's needs be looked at.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "lock.h"
#include "ready.h"

struct wait_state {
    std::atomic<uint64_t> word;
    std::atomic<int> fd;
};

// As many as a handle can tell apart. With 64 bits a state retires after the last: no
// handle is issued twice. With 32 that would be all too soon.
inline constexpr uint32_t wait_generation_most = sizeof(uintptr_t) == 8 ? UINT32_MAX : 0x7fff;
inline constexpr bool wait_generations_repeat = sizeof(uintptr_t) < 8;

inline uint32_t wait_generation(uint64_t word) { return uint32_t(word >> 32); }

// Descriptors that a thread keeps for reuse. Never destroyed: another thread
// may come to ask for one until the process ends.
struct wait_cache {
    lock guard;
    int *fds;
    size_t count, capacity;
    std::atomic<size_t> open; // these and those in use
    uint32_t forks;      // how often this process is a forked child's child
    uint32_t forks_kept; // as these were kept: a child must not use its parent's
};

// For a tool that does not see the word change: called around each change, with
// its address. NULL: nobody.
void wait_announce(void (*acquire)(void *), void (*release)(void *));

// Closes what is kept. Descriptors in use stay.
void wait_cache_close(wait_cache &cache);

// What wakes of an owner's states need: where it keeps descriptors, and its ring.
struct wait_owner {
    wait_cache descriptors;
    ready_ring ready;
};

// Begins a generation of a fresh (zeroed) or ended state. Returns false while a waker is
// still inside a descriptor of an earlier generation, while an entry is queued, or for
// ever if the state is retired.
bool wait_begin(wait_state &state);
// The first two reasons, of an ended state.
bool wait_is_late(const wait_state &state);
bool wait_retired(const wait_state &state);
bool wait_known(uint64_t word, uint32_t generation);
// A generation that is not the current one may have been, or may come yet.
bool wait_has_ended(uint64_t word, uint32_t generation);

// Ends the current generation: its descriptor goes to the cache, or is left
// to the waker that is inside. Returns false if the state cannot be reused
// now; see wait_begin. Owner only.
bool wait_end(wait_state &state, wait_cache &cache);

// For a generation; false if it has ended. Any thread; the first two also in a
// signal handler (they keep errno). entry: what stands for the state in the ring.
bool wait_wake(wait_state &state, uint32_t generation, wait_owner &owner, uint32_t entry);
bool wait_clear(wait_state &state, uint32_t generation, wait_owner &owner);
// The descriptor, made when first asked for; -1 with a reason.
int wait_descriptor(wait_state &state, uint32_t generation, wait_owner &owner,
                    int *reason);

// For an entry that was taken from the ring: it is queued no more. True if there is a
// wake that is not the descriptor's to tell; that is taken, too.
bool wait_take(wait_state &state);

// For one of a state whose job has ended. (After a fork there may be two: then the state may
// belong to another job already, and its entry is another.)
void wait_take_late(wait_state &state);

// In a forked child, for the owner that goes on there, and each of its states: undoes what
// other threads have begun, and gives descriptors that are the child's own.
void wait_owner_forked(wait_owner &owner);
void wait_forked(wait_state &state, wait_owner &owner);
// True if it is queued.
bool wait_queued(const wait_state &state);
// For an ended state without an owner: no waker is late any more, but the ring of one that
// is there may have its entry.
void wait_abandoned(wait_state &state, bool has_entry);
// For an owner that the child has not got: nothing is done for its states any more.
void wait_owner_orphaned(wait_owner &owner);
