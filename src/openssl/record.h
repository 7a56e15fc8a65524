// SPDX-License-Identifier: Apache-2.0
//
// The part of a thread's state that others look at: its slots, and what it counts for the
// report. A record outlives its thread and is never freed; later threads take it over. A
// thread may also end without having given its record back, where the last round of its
// destructors has used jobs again. In a forked child the records of the parent's other
// threads stay as they are, and nobody has them any more.
#pragma once

#include <atomic>
#include <cstdint>

#include "slot.h"

struct record {
    slot_list slots;
    std::atomic<uint64_t> started, paused; // on all threads that have had it
    std::atomic<uint64_t> holder;          // see record.cpp
    record *next;                          // of all
};

// For the calling thread. NULL: no memory.
record *record_take();
void record_give(record &r);

// The counts of all records, since the process began.
void record_sum(uint64_t *started, uint64_t *paused);
