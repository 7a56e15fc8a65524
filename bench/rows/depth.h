// SPDX-License-Identifier: Apache-2.0
//
// Pause and resume from so many distinct frames deep.
#ifndef BENCH_ROWS_DEPTH_H
#define BENCH_ROWS_DEPTH_H

#include "frames.h"
#include "peer.h"

template <typename R> struct Depth {
    using Job = typename R::Job;
    using Function = int (*)(void *);

    static inline uint32_t ran = 0;
    static inline bool told = false;

    struct Resume {
        BENCH_INLINE static int call(R runtime, Job **job, int *ret, Function func)
        {
            return runtime.resume(job, ret, func);
        }
    };
    struct Pause {
        BENCH_INLINE static int call(R runtime) { return runtime.pause(); }
    };

    template <int FRAMES> BENCH_LOOP static int job_until_told(void *)
    {
        const R runtime;
        uint32_t own = 0;
        do {
            ran++;
            own++;
        } while (Frames<Pause, FRAMES, R>::call(runtime) == 1 + frames_sum(FRAMES) && !told);
        return static_cast<int>(own);
    }

    template <int RESUME_FRAMES, int PAUSE_FRAMES>
    BENCH_LOOP static Batch run(uint64_t operations)
    {
        using Resuming = Frames<Resume, RESUME_FRAMES, R, Job **, int *, Function>;
        constexpr Function func = job_until_told<PAUSE_FRAMES>;
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        told = false;
        if (runtime.start(&job, &ret, func, nullptr, 0) != R::PAUSE)
            return {0, "the job did not pause"};
        const uint32_t ran_before = ran;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            if (Resuming::call(runtime, &job, &ret, func) !=
                R::PAUSE + frames_sum(RESUME_FRAMES))
                return {0, "the job did not pause"};
        }
        const uint64_t end = ticks_now();
        const uint32_t ran_after = ran;
        told = true;
        if (runtime.resume(&job, &ret, func) != R::FINISH)
            return {0, "the job did not finish"};
        const uint32_t round_trips = static_cast<uint32_t>(operations);
        if (ran_after - ran_before != round_trips || job != nullptr ||
            static_cast<uint32_t>(ret) != round_trips + 1)
            return {0, "the job was not resumed as often as asked"};
        return {end - begin, nullptr};
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        frames_depths(scale, [&]<int RESUME_FRAMES, int PAUSE_FRAMES>() {
            out.push_back(peer_cell<R>(frames_params(RESUME_FRAMES, PAUSE_FRAMES),
                                       run<RESUME_FRAMES, PAUSE_FRAMES>));
        });
    }
};

BENCH_ROW(row_depth, Depth)

#endif
