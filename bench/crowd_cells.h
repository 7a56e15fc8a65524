// SPDX-License-Identifier: Apache-2.0
//
// What the rows about crowds of paused jobs share.
#ifndef BENCH_CROWD_CELLS_H
#define BENCH_CROWD_CELLS_H

#include <string>
#include <utility>

#include "row.h"

constexpr Row row_crowd = {
    .key = "crowd",
    .title = "pause+resume, a crowd of jobs",
    .group = "crowd",
    .unit = "ns a round trip (2 switches)",
    .note = "Each of so many paused jobs is resumed and pauses again, one after the "
            "other; each touches its own stack. Handles lie in the order of the "
            "visits, as in an event loop's list of what is ready. prefetch=yes: the job "
            "16 places ahead is named to the runtime before each resume. The floor touches one "
            "line each of as many pages, as far apart as stacks are: no switch.",
    .order = 200,
};

// A page of stack or two, page tables, and what a peer keeps beside them.
constexpr uint64_t CROWD_BYTES_PER_JOB = 10000;

// Calls add(cell, count, random) for each crowd; the cell lacks what is the peer's.
template <typename F> void crowd_cells(const Scale &scale, F add)
{
    const size_t most = scale.of<size_t>(1000, 10000, 1000000);
    for (const size_t count : {1, 100, 1000, 10000, 30000, 100000, 1000000})
        for (const bool random : {false, true}) {
            if (count > most || (count == 1 && random))
                continue;
            Cell cell;
            cell.params = {{"jobs", std::to_string(count)},
                           {"order", random ? "random" : "straight"}};
            cell.quantum = count;
            // After another peer's thousand has run, the first tens of passes take
            // up to twenty times as long: all of a short batch, and nothing of a
            // long one (100 ms). Why it lasts so long is not known: there are too
            // few lines and pages for that to be one reload of each.
            cell.own_process = count >= 1000;
            cell.rounds = count >= 1000000 ? 3 : count >= 10000 ? 6 : 0;
            cell.processes = count >= 1000000 ? 1 : 0; // a minute
            cell.memory_bytes = count * CROWD_BYTES_PER_JOB;
            add(std::move(cell), count, random);
        }
}

// In another order each time.
template <typename T> void crowd_shuffle(T *items, size_t count, uint64_t &seed)
{
    for (size_t i = count; i > 1; i--) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        std::swap(items[i - 1], items[(seed >> 33) % i]);
    }
}

// The job that is prefetched lies so many places ahead.
constexpr size_t CROWD_AHEAD = 16;

#endif
