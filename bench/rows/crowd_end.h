// SPDX-License-Identifier: Apache-2.0
//
// Many jobs that were made and paused, each resumed once, to its end.
#ifndef BENCH_ROWS_CROWD_END_H
#define BENCH_ROWS_CROWD_END_H

#include "crowd_cells.h"
#include "pausing_jobs.h"

constexpr Row row_crowd_end = {
    .key = "crowd_end",
    .title = "the one resume of each of a crowd, to its end",
    .group = "crowd",
    .unit = "ns a job (2 switches)",
    .note = "So many jobs are made and pause; then each is resumed, in random order, and ends: "
            "what comes after a long wait for many. prefetch=yes: the job 16 places ahead is named to "
            "the runtime before each resume.",
    .order = 205,
    .plausible_max = 1e5,
};

template <typename R> struct CrowdEnd {
    static const char *measure(size_t count, bool prefetch, Samples &samples)
    {
        if (const char *const failure = PeerPool<R>::open())
            return failure;
        PausingJobs<R> crowd(count);
        if (const char *const failure = crowd.start())
            return failure;
        uint64_t seed = 1;
        crowd_shuffle(crowd.jobs.data(), count, seed);
        crowd.jobs.resize(count + CROWD_AHEAD);
        const uint64_t begin = ticks_now();
        if (!finish(crowd.jobs.data(), count, prefetch))
            return "a job did not finish";
        const uint64_t end = ticks_now();
        samples.add("time", "", ticks_to_ns(end - begin) / static_cast<double>(count));
        return PeerPool<R>::close();
    }

    // The handles beyond the end are NULL.
    BENCH_LOOP static bool finish(typename R::Job **jobs, size_t count, bool prefetch)
    {
        const R runtime;
        size_t finished = 0;
        PausingJobs<R>::told = true;
        for (size_t i = 0; i < count; i++) {
            int ret = 0;
            if constexpr (R::HAS_PREFETCH)
                if (prefetch)
                    runtime.prefetch(jobs[i + CROWD_AHEAD]);
            finished += runtime.resume(&jobs[i], &ret, PausingJobs<R>::job_pausing) == R::FINISH &&
                        ret == 1;
        }
        PausingJobs<R>::told = false;
        return finished == count;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return;
        const size_t most = scale.of<size_t>(1000, 10000, 1000000);
        for (const size_t count : {1000, 10000, 100000, 1000000})
            for (const bool prefetch : {false, true}) {
                if (count > most || (prefetch && !R::HAS_PREFETCH))
                    continue;
                Cell cell;
                cell.peer = R::NAME;
                cell.params = {{"jobs", std::to_string(count)}};
                if (prefetch)
                    cell.params.emplace_back("prefetch", "yes");
                if constexpr (R::NO_CROWD != nullptr) {
                    cell.unavailable = R::NO_CROWD;
                } else if (count > R::CROWD_MOST) {
                    cell.unavailable = R::CROWD_MOST_WHY;
                } else {
                    cell.sample = [=](Samples &samples) {
                        return measure(count, prefetch, samples);
                    };
                    cell.reason = R::reason;
                    cell.own_process = true;
                    cell.rounds = 1; // there is one end
                    cell.processes = count >= 1000000 ? 3 : scale.of(1, 5, 9);
                    cell.memory_bytes = count * CROWD_BYTES_PER_JOB;
                }
                out.push_back(std::move(cell));
            }
    }
};

BENCH_ROW(row_crowd_end, CrowdEnd)

#endif
