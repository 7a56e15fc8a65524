// SPDX-License-Identifier: Apache-2.0
//
// The timer queue of one thread: numbers, each with a deadline, the earliest first; equal
// ones in no particular order.
// Knows no jobs. One thread's.
#pragma once

#include <cstddef>
#include <cstdint>

// A heap of four branches, and where in it each timer lies. Zeroed: empty.
struct timer_queue {
    struct node {
        uint64_t deadline_ns;
        uint32_t id;
        uint32_t value;
    };
    node *heap;
    uint32_t *place_of; // by id: its place in the heap + 1; 0: not there
    uint32_t count, capacity;
    uint32_t ids, free_id; // ids in use or free are 1 to ids; the first of those free
};

// The id of a new timer for a value, the caller's until timer_remove. 0: no memory.
uint32_t timer_add(timer_queue &queue, uint64_t deadline_ns, uint32_t value);
// False if it has come up. The id is free after that.
bool timer_remove(timer_queue &queue, uint32_t id);

// UINT64_MAX: none.
inline uint64_t timer_next(const timer_queue &queue)
{
    return queue.count ? queue.heap[0].deadline_ns : UINT64_MAX;
}
// The value of the earliest, which comes up with that.
uint32_t timer_take(timer_queue &queue);

// All gone, with their ids, and the memory.
void timer_close(timer_queue &queue);
