// SPDX-License-Identifier: Apache-2.0
//
// jobswitch as quick.cpp's peer: the shared library, by its public functions.
// A header that offers inlined calls leaves them out here: the other peer has
// none.
#define JOBSWITCH_NO_INLINE
#include <jobswitch/jobswitch.h>

#include "peer.h"

namespace {

struct Jobswitch {
    using Job = jobswitch_job;
    static constexpr int PAUSE = JOBSWITCH_PAUSE;
    static constexpr int FINISH = JOBSWITCH_FINISH;

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t size) const
    {
        return jobswitch_start_job(job, ret, func, args, size);
    }
    BENCH_INLINE int pause() const { return jobswitch_pause_job(); }
};

std::string library()
{
    const unsigned version = jobswitch_version();
    return "jobswitch " + std::to_string(version >> 16) + "." +
           std::to_string(version >> 8 & 255) + "." +
           std::to_string(version & 255) + ", " +
           symbol_file("jobswitch_start_job");
}

std::string reason() { return jobswitch_error_string(jobswitch_last_error()); }

bool open(size_t max_jobs, size_t initial_jobs)
{
    return jobswitch_init(1, max_jobs, initial_jobs) == 1;
}

void close() { jobswitch_cleanup(1); }

} // namespace

const Peer peer_jobswitch =
    Loops<Jobswitch>::peer("jobswitch", library, reason, open, close);
