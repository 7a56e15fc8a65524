// SPDX-License-Identifier: Apache-2.0
//
// What the rows about wakes from another thread share.
#ifndef BENCH_WAKE_THREAD_ROW_H
#define BENCH_WAKE_THREAD_ROW_H

#include "row.h"

constexpr Row row_wake_thread = {
    .key = "wake_thread",
    .title = "wake to resume, from another thread",
    .group = "wake",
    .unit = "ns from wake to resume",
    .note = "A thread on another CPU (which may be the same core's other half) wakes; "
            "this one has the jobs and waits for their descriptors with epoll, in the "
            "kernel (wait=sleep) or asking again and again (wait=poll); or for the runtime's "
            "queue of woken jobs (wait=ring-sleep, which asks for a few microseconds before it "
            "sleeps; wait=ring-poll). The floor is a futex alone: no jobs. rate=one: the "
            "next wake comes when the last has been answered: the median, and p99. "
            "Else an open loop over 64 jobs, at so many wakes a second: each is due "
            "at its time however late the last was answered, and counts from when it was due. "
            "Merged wakes count each. p99.99 rests on few wakes, of --quick on one or "
            "two; where the machine cannot keep up, the figures tell how long the run was.",
    .order = 520,
    .plausible_max = 1e10,
};

// rate=one: between an answer and the next wake, so that who is to sleep sleeps.
constexpr double WAKE_THREAD_REST_NS = 50e3;

#endif
