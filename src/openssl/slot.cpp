// SPDX-License-Identifier: Apache-2.0
#include "slot.h"

#include <climits>
#include <cstdlib>

// A name is a generation above the number of the slot.
static constexpr uintptr_t number_mask = (uintptr_t(1) << slot_number_bits) - 1;

static std::atomic<slot *> chunks[slot_chunks_room]; // without a gap
static std::atomic<size_t> chunks_hint;              // about where they end
static std::atomic<slot *> free_slots;               // that threads have left
size_t slot_chunks_most = slot_chunks_room;

static ASYNC_WAIT_CTX *const told = reinterpret_cast<ASYNC_WAIT_CTX *>(slot_mark_told);
static ASYNC_WAIT_CTX *const kept = reinterpret_cast<ASYNC_WAIT_CTX *>(slot_mark_kept);
static ASYNC_WAIT_CTX *const ended = reinterpret_cast<ASYNC_WAIT_CTX *>(slot_mark_ended);

// ---- rings ------------------------------------------------------------------------------

static void link_before(slot_link &at, slot_link &s)
{
    s.next = &at;
    s.previous = at.previous;
    at.previous->next = &s;
    at.previous = &s;
}

static void unlink(slot_link &s)
{
    s.previous->next = s.next;
    s.next->previous = s.previous;
}

static void push_free(slot_list &list, slot &s)
{
    s.next = list.free;
    list.free = &s;
}

static slot *next_free(const slot &s) { return static_cast<slot *>(s.next); }

// ---- making -------------------------------------------------------------------------------

// A chunk's slots, linked.
static slot *make_chunk()
{
    auto made = static_cast<slot *>(calloc(slot_chunk_slots, sizeof(slot)));
    if (!made)
        return nullptr;
    for (size_t at = chunks_hint.load(std::memory_order_relaxed); at < slot_chunks_most; at++) {
        if (chunks[at].load(std::memory_order_relaxed))
            continue;
        for (size_t i = 0; i < slot_chunk_slots; i++) {
            made[i].name = (uintptr_t(1) << slot_number_bits) | (at * slot_chunk_slots + i);
            made[i].next = i + 1 < slot_chunk_slots ? &made[i + 1] : nullptr;
        }
        slot *none = nullptr;
        if (chunks[at].compare_exchange_strong(none, made, std::memory_order_release)) {
            chunks_hint.store(at + 1, std::memory_order_relaxed);
            return made;
        }
    }
    free(made);
    return nullptr;
}

bool slot_reserve_more(slot_list &list, unsigned count)
{
    // Jobs within jobs, and none of them has a slot yet: few.
    slot_link end = {list.free, nullptr}, *last = &end;
    for (;;) {
        for (; count && last->next; count--)
            last = last->next;
        if (!count)
            return true;
        slot *more = free_slots.exchange(nullptr, std::memory_order_acquire);
        if (!more && !(more = make_chunk()))
            return false;
        last->next = more;
        list.free = static_cast<slot *>(end.next);
    }
}

// ---- one job's ------------------------------------------------------------------------------

slot &slot_take(slot_list &list, ASYNC_WAIT_CTX *ctx)
{
    slot &s = *list.free;
    list.free = next_free(s);
    s.owner.store(&list, std::memory_order_relaxed);
    s.wait_ctx.store(ctx, std::memory_order_release);
    s.handle = nullptr;
    link_before(*list.live.next, s);
    return s;
}

void slot_give(slot &s)
{
    uintptr_t next_name = s.name.load(std::memory_order_relaxed) + number_mask + 1;
    if (next_name <= number_mask) // it has come round: 0 is none
        next_name += number_mask + 1;
    s.name.store(next_name, std::memory_order_release);
    unlink(s);
    s.abandoned = false;
    ASYNC_WAIT_CTX *ctx = s.wait_ctx.load(std::memory_order_relaxed);
    while (!s.wait_ctx.compare_exchange_weak(ctx, slot_is_mark(ctx) ? ended : nullptr,
                                             std::memory_order_acq_rel)) {}
    if (!slot_is_mark(ctx))
        push_free(*s.owner.load(std::memory_order_relaxed), s);
}

// ---- finding --------------------------------------------------------------------------------

slot *slot_find(ASYNC_JOB *name)
{
    auto wanted = reinterpret_cast<uintptr_t>(name);
    slot *chunk =
        chunks[(wanted & number_mask) / slot_chunk_slots].load(std::memory_order_acquire);
    if (!chunk)
        return nullptr;
    slot *s = &chunk[wanted % slot_chunk_slots];
    return s->name.load(std::memory_order_acquire) == wanted ? s : nullptr;
}

ASYNC_WAIT_CTX *slot_find_wait_ctx(ASYNC_JOB *name)
{
    slot *s = slot_find(name);
    ASYNC_WAIT_CTX *ctx = s ? slot_wait_ctx(*s) : nullptr;
    // It may be the next job's by now.
    return ctx && slot_name(*s) == name ? ctx : nullptr;
}

static slot *find_by(ASYNC_WAIT_CTX *ctx)
{
    for (const auto &chunk : chunks) {
        slot *first = chunk.load(std::memory_order_acquire);
        if (!first)
            break;
        for (slot *s = first; s < first + slot_chunk_slots; s++)
            if (s->wait_ctx.load(std::memory_order_acquire) == ctx)
                return s;
    }
    return nullptr;
}

// ---- jobs without their wait contexts ---------------------------------------------------------

slot *slot_leave(ASYNC_JOB *name, ASYNC_WAIT_CTX *ctx, const slot_list *own, uint32_t now_s)
{
    for (slot *s = slot_find(name);; s = nullptr) {
        if (!s || s->wait_ctx.load(std::memory_order_acquire) != ctx)
            s = find_by(ctx);
        if (!s)
            return nullptr;
        slot_list *owner = s->owner.load(std::memory_order_relaxed);
        const bool ours = owner == own;
        ASYNC_WAIT_CTX *had = ctx;
        if (!s->wait_ctx.compare_exchange_strong(had, ours ? nullptr : told,
                                                 std::memory_order_acq_rel))
            continue; // its job has ended
        if (!ours) {
            s->abandoned_s = now_s;
            owner = s->owner.load(std::memory_order_relaxed);
            s->next_told = owner->inbox.load(std::memory_order_relaxed);
            while (!owner->inbox.compare_exchange_weak(s->next_told, s,
                                                       std::memory_order_release)) {}
        }
        return s;
    }
}

void slot_abandon(slot &s, uint32_t since_s)
{
    unlink(s);
    s.abandoned = true;
    s.abandoned_s = since_s;
    link_before(s.owner.load(std::memory_order_relaxed)->abandoned, s);
}

void slot_keep(slot &s)
{
    if (s.abandoned) {
        unlink(s);
        s.abandoned = false;
        link_before(s.owner.load(std::memory_order_relaxed)->live, s);
    }
    if (s.wait_ctx.load(std::memory_order_relaxed) == told)
        s.wait_ctx.store(kept, std::memory_order_relaxed); // nobody else changes that
}

void slot_list_receive(slot_list &list, unsigned most)
{
    while (most--) {
        slot *s = list.inbox.load(std::memory_order_acquire);
        // (Only the owner takes any out, so the next one stays the next.)
        while (s && !list.inbox.compare_exchange_weak(s, s->next_told,
                                                      std::memory_order_acquire)) {}
        if (!s)
            return;
        ASYNC_WAIT_CTX *mark = s->wait_ctx.exchange(nullptr, std::memory_order_relaxed);
        if (mark == ended)
            push_free(list, *s);
        else if (mark == told)
            slot_abandon(*s, s->abandoned_s);
    }
}

slot *slot_list_oldest_abandoned(slot_list &list)
{
    slot_link *first = list.abandoned.next;
    return first == &list.abandoned ? nullptr : static_cast<slot *>(first);
}

// ---- a thread's -----------------------------------------------------------------------------

void slot_list_init(slot_list &list)
{
    for (slot_link *head : {&list.live, &list.abandoned})
        head->next = head->previous = head;
}

void slot_list_clear(slot_list &list)
{
    for (slot_link *head : {&list.live, &list.abandoned})
        while (head->next != head)
            slot_give(*static_cast<slot *>(head->next));
}

void slot_list_close(slot_list &list)
{
    slot_list_clear(list);
    slot_list_receive(list, UINT_MAX); // all of these have ended
    if (!list.free)
        return;
    slot *last = list.free;
    while (last->next)
        last = next_free(*last);
    slot *others = free_slots.load(std::memory_order_relaxed);
    do
        last->next = others;
    while (!free_slots.compare_exchange_weak(others, list.free, std::memory_order_release));
    list.free = nullptr;
}
