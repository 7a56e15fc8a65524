// SPDX-License-Identifier: Apache-2.0
//
// One job, already started, is resumed and pauses again.
#ifndef BENCH_ROWS_PAUSE_RESUME_H
#define BENCH_ROWS_PAUSE_RESUME_H

#include "peer.h"

constexpr Row row_pause_resume = {
    .key = "pause_resume",
    .title = "pause+resume",
    .group = "switch",
    .unit = "ns a round trip (2 switches)",
    .note = "One paused job is resumed and pauses again, in a loop: the best case "
            "for caches and the return predictor.",
    .order = 100,
};

template <typename R> struct PauseResume {
    using Job = typename R::Job;

    static inline uint32_t ran = 0;  // counted by the job
    static inline bool told = false; // the job is to end

    BENCH_LOOP static int job_until_told(void *)
    {
        const R runtime;
        uint32_t own = 0;
        do {
            ran++;
            own++;
        } while (runtime.pause() == 1 && !told);
        return static_cast<int>(own);
    }

    BENCH_LOOP static Batch run(uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        told = false;
        if (runtime.start(&job, &ret, job_until_told, nullptr, 0) != R::PAUSE)
            return {0, "the job did not pause"};
        const uint32_t ran_before = ran;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.resume(&job, &ret, job_until_told) != R::PAUSE)
                return {0, "the job did not pause"};
        }
        const uint64_t end = ticks_now();
        const uint32_t ran_after = ran;
        told = true;
        if (runtime.resume(&job, &ret, job_until_told) != R::FINISH)
            return {0, "the job did not finish"};
        const uint32_t round_trips = static_cast<uint32_t>(operations);
        if (ran_after - ran_before != round_trips || job != nullptr ||
            static_cast<uint32_t>(ret) != round_trips + 1)
            return {0, "the job was not resumed as often as asked"};
        return {end - begin, nullptr};
    }

    static void cells(const Scale &, std::vector<Cell> &out)
    {
        out.push_back(peer_cell<R>({}, run));
    }
};

BENCH_ROW(row_pause_resume, PauseResume)

#endif
