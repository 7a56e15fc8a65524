// SPDX-License-Identifier: Apache-2.0
//
// Fresh jobs that pause at once, until they are told to end.
#ifndef BENCH_PAUSING_JOBS_H
#define BENCH_PAUSING_JOBS_H

#include <vector>

#include "peer.h"

template <typename R> struct PausingJobs {
    using Job = typename R::Job;

    // Two pages of stack, page tables, and what a peer keeps beside them.
    static constexpr uint64_t BYTES_PER_JOB = 10000;

    static inline bool told = false;  // jobs that are resumed are to end
    static inline uint32_t began = 0; // counted by the jobs

    std::vector<Job *> jobs;

    // Places for handles, touched, so that they are no part of what is timed.
    explicit PausingJobs(size_t count) : jobs(count, nullptr) {}

    BENCH_LOOP static int job_pausing(void *)
    {
        const R runtime;
        volatile int own = 0;
        began++;
        do
            own = own + 1;
        while (runtime.pause() == 1 && !told);
        return own;
    }

    BENCH_LOOP const char *start()
    {
        const R runtime;
        const uint32_t began_before = began;
        int ret = 0;
        for (Job *&job : jobs)
            if (runtime.start(&job, &ret, job_pausing, nullptr, 0) != R::PAUSE)
                return "a job could not be started";
        return began - began_before == jobs.size() ? nullptr : "not all jobs ran";
    }

    // `resumed`: how often each was.
    BENCH_LOOP const char *finish(int resumed = 0)
    {
        const R runtime;
        told = true;
        for (Job *&job : jobs) {
            int ret = 0;
            if (runtime.resume(&job, &ret, job_pausing) != R::FINISH)
                return "a job did not finish";
            if (ret != resumed + 1)
                return "a job was not resumed as often as asked";
        }
        told = false;
        return nullptr;
    }
};

#endif
