// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <atomic>
#include <sys/mman.h>
#include <sys/resource.h>

#include "jobswitch/jobswitch.h"
#include "lock.h"

// A handle's lower half is an offset, so at most 4 GiB; address space costs
// nothing, but 8 million jobs are enough. Under a limit of address space
// (RLIMIT_AS counts reserved memory too) the arena takes a small part of it.
static constexpr size_t reserve_bytes_most = arena_blocks_most * JS_JOB_BYTES;
static constexpr size_t reserve_bytes_least = size_t(1) << 20;
static constexpr size_t read_over_bytes = arena_chunk_bytes;
static constexpr size_t limit_share = 64;
static constexpr size_t commit_bytes = size_t(1) << 20;
static_assert(reserve_bytes_least % commit_bytes == 0);
static_assert(commit_bytes % arena_chunk_bytes == 0);

static constinit lock guard;
static std::atomic<unsigned char *> arena_base;
static std::atomic<size_t> committed_bytes; // readable and writable
static size_t reserved_bytes;
static size_t used_bytes; // handed out at least once
static arena_chunk *free_chunks;

arena_view arena_look()
{
    size_t bytes = committed_bytes.load(std::memory_order_acquire);
    return {arena_base.load(std::memory_order_relaxed), bytes};
}

uint32_t arena_offset(const void *block)
{
    return uint32_t(static_cast<const unsigned char *>(block) -
                    arena_base.load(std::memory_order_relaxed));
}

arena_chunk *arena_chunk_of(const void *block)
{
    return reinterpret_cast<arena_chunk *>(
        arena_base.load(std::memory_order_relaxed) +
        (arena_offset(block) & ~(arena_chunk_bytes - 1)));
}

uint32_t arena_offset_mask()
{
    return uint32_t(reserved_bytes - 1);
}

static bool reserve(int *reason)
{
    size_t bytes = reserve_bytes_most;
    rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        while (bytes > reserve_bytes_least && bytes > limit.rlim_cur / limit_share)
            bytes /= 2;
    for (; bytes >= reserve_bytes_least; bytes /= 2) {
        // And a little more, for what is read at the very end.
        void *base = mmap(nullptr, bytes + read_over_bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            continue;
        // Under mlockall(MCL_FUTURE) each commit would otherwise be populated.
        munlock(base, bytes + read_over_bytes);
        // Blocks that are not there yet read as zeroes.
        if (mprotect(base, bytes + read_over_bytes, PROT_READ) != 0) {
            munmap(base, bytes + read_over_bytes);
            continue;
        }
        arena_base.store(static_cast<unsigned char *>(base),
                         std::memory_order_relaxed);
        reserved_bytes = bytes;
        return true;
    }
    *reason = JOBSWITCH_E_NO_MEMORY;
    return false;
}

static bool commit(int *reason)
{
    size_t bytes = committed_bytes.load(std::memory_order_relaxed);
    if (bytes == reserved_bytes) {
        *reason = JOBSWITCH_E_NO_HANDLES;
        return false;
    }
    if (mprotect(arena_base.load(std::memory_order_relaxed) + bytes,
                 commit_bytes, PROT_READ | PROT_WRITE) != 0) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        return false;
    }
    committed_bytes.store(bytes + commit_bytes, std::memory_order_release);
    return true;
}

static arena_chunk *take_locked(int *reason)
{
    if (free_chunks) {
        arena_chunk *chunk = free_chunks;
        free_chunks = chunk->next;
        return chunk;
    }
    if (!arena_base.load(std::memory_order_relaxed) && !reserve(reason))
        return nullptr;
    if (used_bytes == committed_bytes.load(std::memory_order_relaxed) &&
        !commit(reason))
        return nullptr;
    auto chunk = reinterpret_cast<arena_chunk *>(
        arena_base.load(std::memory_order_relaxed) + used_bytes);
    used_bytes += arena_chunk_bytes;
    return chunk;
}

arena_chunk *arena_take(int *reason)
{
    lock_scope scope(guard);
    return take_locked(reason);
}

void arena_give(arena_chunk *chunk)
{
    lock_scope scope(guard);
    chunk->next = free_chunks;
    free_chunks = chunk;
}

void arena_for_each_free(void (*function)(arena_chunk *, void *), void *with)
{
    for (arena_chunk *chunk = free_chunks; chunk; chunk = chunk->next)
        function(chunk, with);
}

void arena_fork(void (*step)(lock &)) { step(guard); }
