// SPDX-License-Identifier: Apache-2.0
//
// The timer queue of one thread: numbers, each with a deadline, the earliest first.
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
    uint32_t ids, free_id; // ever given; the list of those free, + 1
};

// A timer for a value; its id is the caller's until timer_remove. False: no memory.
bool timer_add(timer_queue &queue, uint64_t deadline_ns, uint32_t value, uint32_t *id);
// False if it has come up. The id is free after that.
bool timer_remove(timer_queue &queue, uint32_t id);
// That for a value, if there is one.
void timer_remove_value(timer_queue &queue, uint32_t value);

// UINT64_MAX: none.
inline uint64_t timer_next(const timer_queue &queue)
{
    return queue.count ? queue.heap[0].deadline_ns : UINT64_MAX;
}
// The value of the earliest, which comes up with that.
uint32_t timer_take(timer_queue &queue);

// All gone, with their ids, and the memory.
void timer_close(timer_queue &queue);
