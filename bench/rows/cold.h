// SPDX-License-Identifier: Apache-2.0
//
// Jobs for which the pool has nothing yet.
#ifndef BENCH_ROWS_COLD_H
#define BENCH_ROWS_COLD_H

#include "pausing_jobs.h"

constexpr Row row_cold = {
    .key = "cold",
    .title = "create + start + first pause, cold",
    .group = "cold",
    .unit = "ns a job",
    .note = "A fresh process with an empty pool starts jobs that pause at once, and "
            "keeps all of them: stacks are mapped, guarded where the peer does that, "
            "and touched for the first time. Nearly all of it is the kernel's "
            "(and a hypervisor's, where there is one): cold_parts has that share, call "
            "by call.",
    .order = 300,
    .plausible_max = 1e6,
};

template <typename R> struct Cold {
    static const char *measure(size_t count, Samples &samples)
    {
        if (!R::open(0))
            return "a pool cannot be made";
        PausingJobs<R> jobs(count);
        const uint64_t begin = ticks_now();
        if (const char *const failure = jobs.start())
            return failure;
        const uint64_t end = ticks_now();
        samples.add("time", "", ticks_to_ns(end - begin) / static_cast<double>(count));
        if (const char *const failure = jobs.finish())
            return failure;
        R::close();
        return nullptr;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return;
        const size_t count = scale.of<size_t>(256, 4096, 4096);
        Cell cell;
        cell.peer = R::NAME;
        cell.params = {{"part", "total"}};
        if constexpr (R::NO_CROWD != nullptr) {
            cell.unavailable = R::NO_CROWD;
        } else {
            cell.sample = [count](Samples &samples) { return measure(count, samples); };
            cell.reason = R::reason;
            cell.own_process = true;
            cell.rounds = 1; // there is one first time
            cell.processes = scale.of(1, 5, 0);
            cell.memory_bytes = count * PausingJobs<R>::BYTES_PER_JOB;
        }
        out.push_back(std::move(cell));
    }
};

BENCH_ROW(row_cold, Cold)

#endif
