// SPDX-License-Identifier: Apache-2.0
//
// A job from the pool runs a function that returns.
#ifndef BENCH_ROWS_START_FINISH_H
#define BENCH_ROWS_START_FINISH_H

#include "job_args.h"
#include "peer.h"

constexpr Row row_start_finish = {
    .key = "start_finish",
    .title = "start+finish",
    .group = "switch",
    .unit = "ns a job (2 switches)",
    .note = "A job from a warm pool runs a function that returns. 40 bytes of args "
            "are five words filled anew for each job and read by it, as libssl "
            "does; of 1024 the first and the last word are. 40-uncopied: no args, but "
            "the same five words filled and read where they are: the difference is "
            "what copying costs.",
    .order = 110,
};

template <typename R> struct StartFinish {
    using Job = typename R::Job;

    static inline uint32_t ran = 0; // counted by the jobs

    BENCH_LOOP static int job_once(void *) { return static_cast<int>(++ran); }

    BENCH_LOOP static Batch run(uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        uint32_t sum = 0, expected = 0;
        const uint32_t ran_before = ran;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.start(&job, &ret, job_once, nullptr, 0) != R::FINISH)
                return {0, "a job did not finish"};
            sum += static_cast<uint32_t>(ret);
        }
        const uint64_t end = ticks_now();
        for (uint64_t i = 0; i < operations; i++)
            expected += ran_before + 1 + static_cast<uint32_t>(i);
        if (sum != expected || job != nullptr)
            return {0, "the jobs' return values are wrong"};
        return {end - begin, nullptr};
    }

    template <size_t WORDS> BENCH_LOOP static int job_args(void *args)
    {
        return static_cast<int>(static_cast<const JobArgs<WORDS> *>(args)->sum());
    }

    // The same words read where they are.
    static inline const JobArgs<5> *uncopied = nullptr;
    BENCH_LOOP static int job_uncopied(void *) { return static_cast<int>(uncopied->sum()); }

    template <size_t WORDS, bool COPIED = true>
    BENCH_LOOP static Batch run_args(uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        uint32_t sum = 0, expected = 0;
        JobArgs<WORDS> args = {};
        if constexpr (!COPIED)
            uncopied = &args;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            args.fill(i);
            const int answer =
                COPIED ? runtime.start(&job, &ret, job_args<WORDS>, &args, sizeof args)
                       : runtime.start(&job, &ret, job_uncopied, nullptr, 0);
            if (answer != R::FINISH)
                return {0, "a job did not finish"};
            sum += static_cast<uint32_t>(ret);
        }
        const uint64_t end = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            args.fill(i);
            expected += args.sum();
        }
        if (sum != expected || job != nullptr)
            return {0, "the jobs' return values are wrong"};
        return {end - begin, nullptr};
    }

    static void cells(const Scale &, std::vector<Cell> &out)
    {
        if constexpr (R::NO_POOL != nullptr) {
            for (const char *bytes : {"0", "40", "1024"})
                out.push_back(peer_cell_unavailable(R::NAME, {{"args", bytes}}, R::NO_POOL));
        } else {
            out.push_back(peer_cell<R>({{"args", "0"}}, run));
            if constexpr (R::NO_ARGS != nullptr) {
                for (const char *bytes : {"40", "1024"})
                    out.push_back(
                        peer_cell_unavailable(R::NAME, {{"args", bytes}}, R::NO_ARGS));
            } else {
                out.push_back(peer_cell<R>({{"args", "40"}}, run_args<5>));
                out.push_back(peer_cell<R>({{"args", "40-uncopied"}}, run_args<5, false>));
                out.push_back(peer_cell<R>({{"args", "1024"}}, run_args<128>));
            }
        }
    }
};

BENCH_ROW(row_start_finish, StartFinish)

#endif
