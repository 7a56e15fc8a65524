// SPDX-License-Identifier: Apache-2.0
//
// Many paused jobs, each resumed once a pass.
#ifndef BENCH_ROWS_CROWD_H
#define BENCH_ROWS_CROWD_H

#include <memory>
#include <utility>

#include "crowd_cells.h"
#include "peer.h"

template <typename R> struct Crowd {
    using Job = typename R::Job;

    static inline bool told = false; // jobs that are resumed are to end

    std::vector<Job *> jobs; // in the order of the visits
    uint32_t passes = 0;
    bool random = false, prefetch = false;
    uint64_t seed = 1;

    BENCH_LOOP static int job_in_crowd(void *)
    {
        const R runtime;
        // On its own stack, so that every resume reads and writes there.
        volatile uint32_t own = 0;
        do
            own = own + 1;
        while (runtime.pause() == 1 && !told);
        return static_cast<int>(own);
    }

    const char *gather(size_t count)
    {
        if (const char *const failure = PeerPool<R>::open())
            return failure;
        const R runtime;
        int ret = 0;
        jobs.assign(count + CROWD_AHEAD, nullptr);
        for (size_t i = 0; i < count; i++)
            if (runtime.start(&jobs[i], &ret, job_in_crowd, nullptr, 0) != R::PAUSE)
                return "a job could not be started";
        return nullptr;
    }

    // All in one loop: a call around each pass would count with few jobs.
    BENCH_LOOP static bool visit(Job **const begin, Job **const end, uint64_t count)
    {
        const R runtime;
        int ret = 0;
        for (; count > 0; count--)
            for (Job **job = begin; job != end; job++)
                if (runtime.resume(job, &ret, job_in_crowd) != R::PAUSE)
                    return false;
        return true;
    }

    // The handles beyond the end are NULL.
    BENCH_LOOP static bool visit_prefetching(Job **const begin, Job **const end,
                                             uint64_t count)
    {
        const R runtime;
        int ret = 0;
        for (; count > 0; count--)
            for (Job **job = begin; job != end; job++) {
                if constexpr (R::HAS_PREFETCH)
                    runtime.prefetch(job[CROWD_AHEAD]);
                if (runtime.resume(job, &ret, job_in_crowd) != R::PAUSE)
                    return false;
            }
        return true;
    }

    Batch run(uint64_t operations)
    {
        const size_t size = jobs.size() - CROWD_AHEAD;
        const uint64_t count = operations / size;
        if (random)
            crowd_shuffle(jobs.data(), size, seed);
        const uint64_t begin = ticks_now();
        if (!(prefetch ? visit_prefetching : visit)(jobs.data(), jobs.data() + size, count))
            return {0, "a job did not pause"};
        const uint64_t end = ticks_now();
        passes += static_cast<uint32_t>(count);
        return {end - begin, nullptr};
    }

    const char *dismiss()
    {
        const R runtime;
        told = true;
        jobs.resize(jobs.size() - CROWD_AHEAD);
        for (Job *&job : jobs) {
            int ret = 0;
            if (runtime.resume(&job, &ret, job_in_crowd) != R::FINISH)
                return "a job did not finish";
            if (static_cast<uint32_t>(ret) != passes + 1)
                return "a job was not resumed once in every pass";
        }
        told = false;
        return PeerPool<R>::close();
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        crowd_cells(scale, [&](Cell cell, size_t count, bool random) {
            cell.peer = R::NAME;
            if (R::HAS_PREFETCH && !R::SAME_POOL && count >= 1000) {
                out.push_back(cell);
                out.back().params.emplace_back("prefetch", "yes");
                add_to(out.back(), count, random, true);
            }
            add_to(cell, count, random, false);
            out.push_back(std::move(cell));
        });
    }

    static void add_to(Cell &cell, size_t count, bool random, bool prefetch)
    {
        if constexpr (R::NO_CROWD != nullptr) {
            cell.unavailable = R::NO_CROWD;
        } else if (count > R::CROWD_MOST) {
            cell.unavailable = R::CROWD_MOST_WHY;
        } else {
            const auto crowd = std::make_shared<Crowd>();
            crowd->random = random;
            crowd->prefetch = prefetch;
            cell.open = [crowd, count] { return crowd->gather(count); };
            cell.run = [crowd](uint64_t operations) { return crowd->run(operations); };
            cell.close = [crowd] { return crowd->dismiss(); };
            cell.reason = R::reason;
        }
    }
};

BENCH_ROW(row_crowd, Crowd)

#endif
