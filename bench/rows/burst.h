// SPDX-License-Identifier: Apache-2.0
//
// Many jobs at once, then none, then their memory given back.
#ifndef BENCH_ROWS_BURST_H
#define BENCH_ROWS_BURST_H

#include <algorithm>

#include "pausing_jobs.h"
#include "process.h"

constexpr Row row_burst = {
    .key = "burst",
    .title = "a burst of jobs, and the trim after it",
    .group = "cold",
    .unit = "ns a job (4 switches)",
    .note = "A fresh process starts so many jobs that pause, resumes each to its end, "
            "and asks for idle memory back. The first figure is for starting and "
            "ending them on fresh stacks; resident bytes are what the process has more than before, "
            "divided by the jobs: with all paused, all ended, and trimmed. A peer "
            "that cannot trim keeps what it has until its clean-up.",
    .order = 320,
    .plausible_max = 1e6,
};

template <typename R> struct Burst {
    static const char *measure(size_t count, Samples &samples)
    {
        if (!R::open(0))
            return "a pool cannot be made";
        const double each = static_cast<double>(count);
        PausingJobs<R> jobs(count);
        const double before = process_resident_bytes();
        const auto add = [&](const char *name, double now) {
            samples.add(name, "bytes a job", std::max(0.0, now - before) / each);
        };
        const uint64_t begin = ticks_now();
        if (const char *const failure = jobs.start())
            return failure;
        const uint64_t paused = ticks_now();
        const double resident_paused = process_resident_bytes();
        const uint64_t again = ticks_now();
        if (const char *const failure = jobs.finish())
            return failure;
        const uint64_t end = ticks_now();
        samples.add("time", "", ticks_to_ns(paused - begin + end - again) / each);
        add("resident_paused", resident_paused);
        add("resident_ended", process_resident_bytes());
        if constexpr (R::HAS_TRIM) {
            const uint64_t trim_begin = ticks_now();
            R::trim();
            const uint64_t trim_end = ticks_now();
            samples.add("trim", "ns a job", ticks_to_ns(trim_end - trim_begin) / each);
            const double trimmed = process_resident_bytes();
            add("resident_trimmed", trimmed);
        }
        R::close();
        add("resident_cleaned_up", process_resident_bytes());
        return nullptr;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return;
        const size_t most = scale.of<size_t>(256, 4000, 100000);
        for (const size_t count : {256, 4000, 100000}) {
            if (count > most || (most > 256 && count == 256))
                continue;
            Cell cell;
            cell.peer = R::NAME;
            cell.params = {{"jobs", std::to_string(count)}};
            if constexpr (R::NO_CROWD != nullptr) {
                cell.unavailable = R::NO_CROWD;
            } else {
                cell.sample = [count](Samples &samples) { return measure(count, samples); };
                cell.reason = R::reason;
                cell.own_process = true;
                cell.rounds = 1;
                cell.processes = scale.of(1, 3, count > 4000 ? 3 : 8);
                cell.memory_bytes = count * PausingJobs<R>::BYTES_PER_JOB;
            }
            out.push_back(std::move(cell));
        }
    }
};

BENCH_ROW(row_burst, Burst)

#endif
