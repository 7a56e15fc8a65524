// SPDX-License-Identifier: Apache-2.0
//
// A job is woken and resumed, all on one thread.
#ifndef BENCH_ROWS_WAKE_H
#define BENCH_ROWS_WAKE_H

#include <memory>

#include "pausing_jobs.h"
#include "waiter.h"

constexpr Row row_wake = {
    .key = "wake",
    .title = "wake to resume, on one thread",
    .group = "wake",
    .unit = "ns a wake (2 switches)",
    .note = "how=mark: a job without a descriptor is woken, unmarked, resumed, and "
            "pauses; nobody had to look for it. how=epoll: each of so many jobs with a "
            "descriptor is woken, then epoll (level-triggered, 256 events a call) tells "
            "of them, and each is unmarked and resumed; three system calls and more, "
            "which are nearly all of it. Peers without a descriptor of their own get an "
            "eventfd from the program; OpenSSL's list of descriptors is not used.",
    .order = 500,
};

template <typename R> struct Wake {
    PausingJobs<R> jobs;
    Waiters<R> waiters;
    bool descriptors;
    int passes = 0;

    Wake(size_t count, bool with_descriptors) : jobs(count), descriptors(with_descriptors) {}

    const char *open()
    {
        if (const char *const failure = PeerPool<R>::open())
            return failure;
        if (const char *const failure = jobs.start())
            return failure;
        return descriptors ? waiters.open(jobs.jobs) : nullptr;
    }

    // 0 if all went well.
    BENCH_LOOP static int visit(Waiters<R> &waiters)
    {
        const R runtime;
        size_t resumed = 0;
        int ret = 0;
        for (const Waiter<R> &waiter : waiters.all)
            waiter.wake();
        while (resumed < waiters.all.size()) {
            epoll_event events[256];
            const int ready = epoll_wait(waiters.epoll, events, 256, 0);
            if (ready <= 0)
                return 1;
            for (int i = 0; i < ready; i++) {
                const auto waiter = static_cast<Waiter<R> *>(events[i].data.ptr);
                waiter->clear();
                if (runtime.resume(&waiter->job, &ret, PausingJobs<R>::job_pausing) !=
                    R::PAUSE)
                    return 2;
            }
            resumed += static_cast<size_t>(ready);
        }
        return 0;
    }

    BENCH_LOOP static bool mark(typename R::Job *job, uint64_t operations)
    {
        const R runtime;
        int ret = 0;
        if constexpr (R::HAS_WAIT_FD)
            for (uint64_t i = 0; i < operations; i++) {
                R::wake(job);
                R::clear_wake(job);
                if (runtime.resume(&job, &ret, PausingJobs<R>::job_pausing) != R::PAUSE)
                    return false;
            }
        return true;
    }

    Batch run(uint64_t operations)
    {
        const uint64_t count = operations / jobs.jobs.size();
        const uint64_t begin = ticks_now();
        if (!descriptors && !mark(jobs.jobs[0], operations))
            return {0, "a job did not pause"};
        for (uint64_t i = 0; descriptors && i < count; i++)
            if (const int failure = visit(waiters))
                return {0, failure == 1 ? "a wake was lost" : "a job did not pause"};
        const uint64_t end = ticks_now();
        passes += static_cast<int>(count);
        return {end - begin, nullptr};
    }

    const char *close()
    {
        if (descriptors)
            waiters.close();
        if (const char *const failure = jobs.finish(passes))
            return failure;
        return PeerPool<R>::close();
    }

    static Cell cell(const Scale &scale, const Params &params, size_t count, bool descriptors)
    {
        Cell cell;
        cell.peer = R::NAME;
        cell.params = params;
        if constexpr (R::NO_CROWD == nullptr) {
            const auto wake = std::make_shared<Wake>(count, descriptors);
            cell.open = [wake] { return wake->open(); };
            cell.run = [wake](uint64_t operations) { return wake->run(operations); };
            cell.close = [wake] { return wake->close(); };
        }
        cell.reason = R::reason;
        cell.quantum = count;
        cell.own_process = count >= 1000;
        cell.rounds = count >= 10000 ? 4 : 0;
        cell.processes = count >= 1000 ? scale.of(1, 3, 5) : 0;
        cell.unavailable = Waiters<R>::unavailable(descriptors ? count : 0);
        return cell;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::HAS_WAIT_FD)
            out.push_back(cell(scale, {{"how", "mark"}}, 1, false));
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return; // all but the switch is the kernel's
        const size_t most = scale.of<size_t>(10, 10000, 10000);
        for (const size_t count : {1, 10, 1000, 10000})
            if (count <= most)
                out.push_back(cell(scale,
                                   {{"how", "epoll"}, {"fds", std::to_string(count)}}, count,
                                   true));
    }
};

BENCH_ROW(row_wake, Wake)

#endif
