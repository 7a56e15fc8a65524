// SPDX-License-Identifier: Apache-2.0
#include "timer.h"

#include <sys/mman.h>

static constexpr uint32_t capacity_first = 1024;
static constexpr uint32_t branches = 4;

// ---- memory --------------------------------------------------------------------

// Mapped, so that it can grow without a copy, and goes back when it is over. One
// mapping: the heap, and behind it the places, of which that of id 0 is not used: there
// are fewer ids than the capacity.
static size_t bytes_of(uint32_t capacity)
{
    return capacity * (sizeof(timer_queue::node) + sizeof(uint32_t));
}

static bool grow(timer_queue &queue)
{
    uint32_t capacity = queue.capacity ? queue.capacity * 2 : capacity_first;
    if (capacity < queue.capacity)
        return false;
    void *memory = mmap(nullptr, bytes_of(capacity), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    auto heap = static_cast<timer_queue::node *>(memory);
    auto place_of = reinterpret_cast<uint32_t *>(heap + capacity);
    for (uint32_t i = 0; i < queue.count; i++)
        heap[i] = queue.heap[i];
    for (uint32_t i = 1; i <= queue.ids; i++)
        place_of[i] = queue.place_of[i];
    if (queue.heap)
        munmap(static_cast<void *>(queue.heap), bytes_of(queue.capacity));
    queue.heap = heap;
    queue.place_of = place_of;
    queue.capacity = capacity;
    return true;
}

void timer_close(timer_queue &queue)
{
    if (queue.heap)
        munmap(static_cast<void *>(queue.heap), bytes_of(queue.capacity));
    queue = {};
}

// ---- the heap --------------------------------------------------------------------

static void put(timer_queue &queue, uint32_t place, const timer_queue::node &n)
{
    queue.heap[place] = n;
    queue.place_of[n.id] = place + 1;
}

// Moves others out of the way of n, which is to come to a place or above it.
static uint32_t rise(timer_queue &queue, uint32_t place, const timer_queue::node &n)
{
    while (place) {
        uint32_t above = (place - 1) / branches;
        if (queue.heap[above].deadline_ns <= n.deadline_ns)
            break;
        put(queue, place, queue.heap[above]);
        place = above;
    }
    return place;
}

// The same, or below it.
static uint32_t sink(timer_queue &queue, uint32_t place, const timer_queue::node &n)
{
    for (;;) {
        uint64_t first = uint64_t(place) * branches + 1;
        uint64_t end = first + branches < queue.count ? first + branches : queue.count;
        if (first >= end)
            return place;
        auto least = uint32_t(first);
        for (auto i = uint32_t(first) + 1; i < end; i++)
            if (queue.heap[i].deadline_ns < queue.heap[least].deadline_ns)
                least = i;
        if (queue.heap[least].deadline_ns >= n.deadline_ns)
            return place;
        put(queue, place, queue.heap[least]);
        place = least;
    }
}

static void take_out(timer_queue &queue, uint32_t place)
{
    queue.place_of[queue.heap[place].id] = 0;
    timer_queue::node last = queue.heap[--queue.count];
    if (place == queue.count)
        return;
    uint32_t up = rise(queue, place, last);
    put(queue, up == place ? sink(queue, place, last) : up, last);
}

// ---- timers ----------------------------------------------------------------------

uint32_t timer_add(timer_queue &queue, uint64_t deadline_ns, uint32_t value)
{
    uint32_t id = queue.free_id;
    if (id) {
        queue.free_id = queue.place_of[id];
    } else {
        // Ids that have come up and were not removed yet count, too.
        if (queue.ids + 1 >= queue.capacity && !grow(queue))
            return 0;
        id = ++queue.ids;
    }
    timer_queue::node n = {deadline_ns, id, value};
    put(queue, rise(queue, queue.count, n), n);
    queue.count++;
    return id;
}

bool timer_remove(timer_queue &queue, uint32_t id)
{
    uint32_t place = queue.place_of[id];
    if (place)
        take_out(queue, place - 1);
    queue.place_of[id] = queue.free_id;
    queue.free_id = id;
    return place;
}

uint32_t timer_take(timer_queue &queue)
{
    uint32_t value = queue.heap[0].value;
    take_out(queue, 0);
    return value;
}
