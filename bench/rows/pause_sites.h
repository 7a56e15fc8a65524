// SPDX-License-Identifier: Apache-2.0
//
// One job that pauses at several places of its code, in turn.
#ifndef BENCH_ROWS_PAUSE_SITES_H
#define BENCH_ROWS_PAUSE_SITES_H

#include <utility>

#include "peer.h"

constexpr Row row_pause_sites = {
    .key = "pause_sites",
    .title = "pause+resume, several pause sites",
    .group = "depth",
    .unit = "ns a round trip (2 switches)",
    .note = "One job that pauses at 1, 2 or 16 distinct places of its code, in turn, "
            "so that a resume does not land where the last one did.",
    .order = 140,
};

template <typename R> struct PauseSites {
    using Job = typename R::Job;

    static inline uint32_t ran = 0;
    static inline bool told = false;

    template <int SITE> BENCH_INLINE static bool pause_at(const R &runtime)
    {
        // Different from all others, so that they are not made one.
        __asm__ volatile("# pause site %c0" : : "i"(SITE));
        const int resumed = runtime.pause();
        __asm__ volatile("# resumed at site %c0" : : "i"(SITE));
        ran++;
        return resumed == 1 && !told;
    }

    template <int SITES> BENCH_LOOP static int job_until_told(void *)
    {
        const R runtime;
        const auto once = [&]<int... SITE>(std::integer_sequence<int, SITE...>)
                              BENCH_INLINE { return (pause_at<SITE>(runtime) && ...); };
        while (once(std::make_integer_sequence<int, SITES>())) {
        }
        return 1;
    }

    template <int SITES> BENCH_LOOP static Batch run(uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        told = false;
        if (runtime.start(&job, &ret, job_until_told<SITES>, nullptr, 0) != R::PAUSE)
            return {0, "the job did not pause"};
        const uint32_t ran_before = ran;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.resume(&job, &ret, job_until_told<SITES>) != R::PAUSE)
                return {0, "the job did not pause"};
        }
        const uint64_t end = ticks_now();
        const uint32_t ran_after = ran;
        told = true;
        if (runtime.resume(&job, &ret, job_until_told<SITES>) != R::FINISH)
            return {0, "the job did not finish"};
        if (ran_after - ran_before != static_cast<uint32_t>(operations) ||
            job != nullptr || ret != 1)
            return {0, "the job was not resumed as often as asked"};
        return {end - begin, nullptr};
    }

    static void cells(const Scale &, std::vector<Cell> &out)
    {
        out.push_back(peer_cell<R>({{"sites", "1"}}, run<1>));
        out.push_back(peer_cell<R>({{"sites", "2"}}, run<2>));
        out.push_back(peer_cell<R>({{"sites", "16"}}, run<16>));
    }
};

BENCH_ROW(row_pause_sites, PauseSites)

#endif
