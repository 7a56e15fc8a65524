// SPDX-License-Identifier: Apache-2.0
//
// What a thread's event loop does with its paused jobs: takes those that are woken or
// whose deadline has come, resumes them, cancels them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jobswitch/jobswitch.h"

struct pool;

// Woken jobs, at most so many, in the order in which they came into the ring.
size_t loop_take(pool &p, jobswitch_job **jobs, size_t max);
// The same; where there are none, waits for one, not beyond a time of CLOCK_MONOTONIC.
size_t loop_wait(pool &p, jobswitch_job **jobs, size_t max, uint64_t until_ns);
// Takes and resumes.
size_t loop_resume(pool &p, jobswitch_outcome *outcomes, size_t max);
// The descriptor of the ready ring; -1 with a reason.
int loop_descriptor(pool &p, int *reason);
// Cancels all jobs that are paused now; returns how many.
size_t loop_cancel_all(pool &p);

uint64_t loop_clock_ns();
