// SPDX-License-Identifier: Apache-2.0
//
// Arguments that jobs are started with: filled by the starter, read by the job.
#ifndef BENCH_JOB_ARGS_H
#define BENCH_JOB_ARGS_H

#include <cstddef>
#include <cstdint>

template <size_t WORDS> struct JobArgs {
    uint64_t word[WORDS];

    // For the i-th job. Five words, what libssl hands to its jobs, are filled
    // anew each time, as libssl does it; of more, the first and the last are.
    void fill(uint64_t i)
    {
        word[0] = i;
        if constexpr (WORDS == 5) {
            word[1] = word[3] = 1;
            word[2] = i;
        }
        word[WORDS - 1] = 2 * i;
    }
    uint32_t sum() const
    {
        uint64_t sum = word[0] + word[WORDS - 1];
        if constexpr (WORDS == 5)
            sum += word[1] + word[2] + word[3];
        return static_cast<uint32_t>(sum);
    }
};

static_assert(sizeof(JobArgs<5>) == 40 && sizeof(JobArgs<128>) == 1024);

#endif
