// SPDX-License-Identifier: Apache-2.0
#include "slot.h"

#include <cstdlib>
#include <pthread.h>

// A name is a generation above the number of the slot, which counts from 1.
static constexpr unsigned number_bits = 20;
static constexpr uintptr_t number_mask = (uintptr_t(1) << number_bits) - 1;
static constexpr size_t chunk_slots = 256;
static constexpr size_t chunks_most = (number_mask + 1) / chunk_slots;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static std::atomic<slot *> chunks[chunks_most];
static size_t chunks_count;
static slot *free_slots;

// Locked: a chunk's slots, linked.
static slot *make_chunk()
{
    if (chunks_count == chunks_most)
        return nullptr;
    auto made = static_cast<slot *>(calloc(chunk_slots, sizeof(slot)));
    if (!made)
        return nullptr;
    for (size_t i = 0; i < chunk_slots; i++) {
        uintptr_t number = chunks_count * chunk_slots + i;
        made[i].name = (uintptr_t(1) << number_bits) | number;
        made[i].next = i + 1 < chunk_slots ? &made[i + 1] : nullptr;
    }
    chunks[chunks_count++].store(made, std::memory_order_release);
    return made;
}

slot *slot_take(slot_list &owner)
{
    slot *s = owner.free;
    if (!s) { // all that threads have left, or a chunk
        pthread_mutex_lock(&lock);
        s = free_slots ? free_slots : make_chunk();
        free_slots = nullptr;
        pthread_mutex_unlock(&lock);
        if (!s)
            return nullptr;
    }
    owner.free = s->next;
    s->wait_ctx.store(nullptr, std::memory_order_relaxed);
    s->abandoned_ns.store(0, std::memory_order_relaxed);
    s->handle = nullptr;
    s->owner = &owner;
    s->previous = nullptr;
    s->next = owner.live;
    if (s->next)
        s->next->previous = s;
    owner.live = s;
    return s;
}

void slot_give(slot &s)
{
    s.wait_ctx.store(nullptr, std::memory_order_relaxed);
    uintptr_t next_name = s.name.load(std::memory_order_relaxed) + number_mask + 1;
    if (next_name <= number_mask) // it has come round: 0 is none
        next_name += number_mask + 1;
    s.name.store(next_name, std::memory_order_release);
    slot_list &owner = *s.owner;
    (s.previous ? s.previous->next : owner.live) = s.next;
    if (s.next)
        s.next->previous = s.previous;
    s.next = owner.free;
    owner.free = &s;
}

slot *slot_find(ASYNC_JOB *name)
{
    auto wanted = reinterpret_cast<uintptr_t>(name);
    slot *chunk = chunks[(wanted & number_mask) / chunk_slots].load(std::memory_order_acquire);
    if (!chunk)
        return nullptr;
    slot *s = &chunk[wanted % chunk_slots];
    return s->name.load(std::memory_order_acquire) == wanted ? s : nullptr;
}

slot *slot_find_by(ASYNC_WAIT_CTX *ctx)
{
    for (const auto &chunk : chunks) {
        slot *first = chunk.load(std::memory_order_acquire);
        if (!first)
            break;
        for (slot *s = first; s < first + chunk_slots; s++)
            if (s->wait_ctx.load(std::memory_order_acquire) == ctx)
                return s;
    }
    return nullptr;
}

void slot_list_close(slot_list &owner)
{
    if (!owner.free)
        return;
    slot *last = owner.free;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&lock);
    last->next = free_slots;
    free_slots = owner.free;
    pthread_mutex_unlock(&lock);
    owner.free = nullptr;
}
