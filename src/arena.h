// SPDX-License-Identifier: Apache-2.0
//
// The process's space of control blocks. It is never unmapped and never
// reused for anything else, so whoever holds a handle, however old, can look at
// the block behind it. Knows no jobs: it deals in chunks of blocks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "lock.h"
#include "machine.h"

// A chunk's first block is its header; blocks have JS_JOB_BYTES.
inline constexpr size_t arena_chunk_bytes = 16384;

struct arena_chunk {
    arena_chunk *next; // the holder's, to link its chunks
    std::atomic<void *> owner; // the holder's, for whoever comes with a block
};

// Where offsets count from, and how far they reach now. bytes 0: not opened.
struct arena_view {
    unsigned char *base;
    size_t bytes;
};
arena_view arena_look();
// For offsets that are not checked: what the mask leaves of one lies within the
// reserved space, all of which can be read, as can a block that begins there.
uint32_t arena_offset_mask();

// There are never more blocks. (With 32 bits of address, room for stacks ends before.)
inline constexpr size_t arena_blocks_most =
    sizeof(void *) == 8 ? (size_t(1) << 30) / JS_JOB_BYTES : size_t(1) << 17;

// A chunk for the caller alone: zeroes, or as its last holder gave it back.
// NULL with a reason (JOBSWITCH_E_NO_HANDLES, _NO_MEMORY). Any thread.
arena_chunk *arena_take(int *reason);
void arena_give(arena_chunk *chunk);

uint32_t arena_offset(const void *block);
arena_chunk *arena_chunk_of(const void *block);

// In a forked child, where no other thread changes them.
void arena_for_each_free(void (*function)(arena_chunk *, void *), void *with);

// Its lock, before and after a fork; see lock.h.
void arena_fork(void (*step)(lock &));
