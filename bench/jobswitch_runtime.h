// SPDX-License-Identifier: Apache-2.0
//
// jobswitch as a peer, for the translation units that include its header in
// one way or another before this. The Makefile says which of them are linked with
// the shared library; all others are with the archive.
#ifndef BENCH_JOBSWITCH_RUNTIME_H
#define BENCH_JOBSWITCH_RUNTIME_H

#include <jobswitch/jobswitch.h>

#include "peer.h"

// Peers of one library share the thread's pool: the last closes it.
inline thread_local int jobswitch_pool_peers = 0;

namespace {

struct JobswitchRuntime : RuntimeDefaults {
    using Job = jobswitch_job;
    static constexpr const char *NO_THREADS = nullptr;
    static constexpr bool HAS_TRIM = true;
    static constexpr bool HAS_PREFETCH = true;
    static constexpr bool HAS_WAIT_FD = true;
    static constexpr bool HAS_READY = true;
    static constexpr int PAUSE = JOBSWITCH_PAUSE;
    static constexpr int FINISH = JOBSWITCH_FINISH;

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t size) const
    {
        return jobswitch_start_job(job, ret, func, args, size);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*func)(void *)) const
    {
        return jobswitch_start_job(job, ret, func, nullptr, 0);
    }
    BENCH_INLINE int pause() const { return jobswitch_pause_job(); }

    BENCH_INLINE void prefetch(Job *job) const { jobswitch_prefetch_job(job); }
    static void trim() { jobswitch_trim_thread(0); }
    static int wait_fd(Job *job) { return jobswitch_get_wait_fd(job); }
    BENCH_INLINE static void wake(Job *job) { jobswitch_wake(job); }
    BENCH_INLINE static void clear_wake(Job *job) { jobswitch_clear_wake(job); }
    BENCH_INLINE static size_t take_ready(Job **jobs, size_t max)
    {
        return jobswitch_take_ready(jobs, max);
    }
    BENCH_INLINE static size_t wait_ready(Job **jobs, size_t max, int64_t timeout_ns)
    {
        return jobswitch_wait_ready(jobs, max, timeout_ns);
    }

    static bool open(size_t initial_jobs)
    {
        if (jobswitch_pool_peers == 0 && jobswitch_init(1, 0, initial_jobs) != 1)
            return false;
        jobswitch_pool_peers++;
        return true;
    }
    static void close()
    {
        if (--jobswitch_pool_peers == 0)
            jobswitch_cleanup(1);
    }
    static std::string reason()
    {
        return jobswitch_error_string(jobswitch_last_error());
    }
};

[[maybe_unused]] std::string jobswitch_library()
{
    const unsigned version = jobswitch_version();
    return "jobswitch " + std::to_string(version >> 16) + "." +
           std::to_string(version >> 8 & 255) + "." + std::to_string(version & 255) +
           ", " +
           environment_symbol_file(reinterpret_cast<const void *>(jobswitch_start_job));
}

} // namespace

#endif
