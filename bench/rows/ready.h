// SPDX-License-Identifier: Apache-2.0
//
// Many jobs, woken one after the other by another thread.
#ifndef BENCH_ROWS_READY_H
#define BENCH_ROWS_READY_H

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "crowd_cells.h"
#include "pausing_jobs.h"
#include "waiter.h"

constexpr Row row_ready = {
    .key = "ready",
    .title = "many jobs woken by another thread",
    .group = "wake",
    .unit = "ns a wake (2 switches)",
    .note = "A thread on another CPU (which may be the same core's other half) wakes each of "
            "so many paused jobs, in random order and as fast as it can (wakers=8: eight of them, "
            "each its share); this one resumes "
            "them as they come, until each has run and paused again. how=ring: by the "
            "runtime's queue of woken jobs. how=epoll: by a descriptor each, which epoll "
            "tells of (level-triggered, 256 events a call): unmarked, then resumed. This "
            "thread asks again and again and does not sleep.",
    .order = 510,
};

template <typename R> struct Ready {
    using Job = typename R::Job;
    static constexpr size_t BATCH = 256;
    // The first passes take up to five times as long: neither thread's caches know the jobs.
    static constexpr uint64_t WARM_PASSES = 16;

    PausingJobs<R> jobs;
    Waiters<R> waiters;
    std::vector<Job *> order;            // of the wakes
    std::vector<Waiter<R>> epoll_order;  // the same, with descriptors
    const bool ring;
    const size_t wakers_count;
    int passes = 0;
    std::vector<std::thread> wakers; // each wakes its share
    alignas(64) std::atomic<int> asked = 0; // passes; below 0: it is over

    Ready(size_t count, bool with_ring, size_t with_wakers)
        : jobs(count), ring(with_ring), wakers_count(with_wakers)
    {
    }

    void wake_share(int cpu, size_t number)
    {
        process_pin_thread(cpu);
        const size_t count = jobs.jobs.size();
        const size_t first = count * number / wakers_count;
        const size_t end = count * (number + 1) / wakers_count;
        for (int done = 0;; done++) {
            int now;
            while ((now = asked.load(std::memory_order_acquire)) == done)
                if (wakers_count > 1)
                    sched_yield(); // they share a CPU
            if (now < 0)
                return;
            for (size_t i = first; i < end; i++) {
                if constexpr (R::HAS_READY)
                    if (ring)
                        R::wake(order[i]);
                if (!ring)
                    epoll_order[i].wake();
            }
        }
    }

    const char *open()
    {
        if (const char *const failure = PeerPool<R>::open())
            return failure;
        if (const char *const failure = jobs.start())
            return failure;
        if (!ring)
            if (const char *const failure = waiters.open(jobs.jobs))
                return failure;
        std::vector<int> cpus = environment_cpus();
        std::erase(cpus, sched_getcpu());
        if (cpus.empty())
            return "there is no other CPU";
        uint64_t seed = 1;
        order = jobs.jobs;
        crowd_shuffle(order.data(), order.size(), seed);
        epoll_order = waiters.all;
        seed = 1;
        crowd_shuffle(epoll_order.data(), epoll_order.size(), seed);
        for (size_t i = 0; i < wakers_count; i++)
            wakers.emplace_back(&Ready::wake_share, this, cpus[i % cpus.size()], i);
        const char *const failure = run(WARM_PASSES * jobs.jobs.size()).failure;
        if (failure)
            stop_wakers();
        return failure;
    }

    // 0 if all went well.
    BENCH_LOOP static int visit_epoll(Waiters<R> &waiters)
    {
        const R runtime;
        size_t resumed = 0;
        int ret = 0;
        while (resumed < waiters.all.size()) {
            epoll_event events[BATCH];
            const int ready = epoll_wait(waiters.epoll, events, BATCH, 0);
            if (ready < 0)
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

    BENCH_LOOP static int visit_ring(size_t count)
    {
        const R runtime;
        int ret = 0;
        if constexpr (R::HAS_READY)
            for (size_t resumed = 0; resumed < count;) {
                Job *ready[BATCH];
                const size_t taken = R::wait_ready(ready, BATCH, 10000000000);
                for (size_t i = 0; i < taken; i++)
                    if (runtime.resume(&ready[i], &ret, PausingJobs<R>::job_pausing) !=
                        R::PAUSE)
                        return 2;
                resumed += taken;
            }
        return 0;
    }

    void stop_wakers()
    {
        asked.store(-1, std::memory_order_release);
        for (std::thread &waker : wakers)
            waker.join();
        wakers.clear();
    }

    Batch run(uint64_t operations)
    {
        const uint64_t count = operations / jobs.jobs.size();
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < count; i++) {
            asked.fetch_add(1, std::memory_order_release);
            if (const int failure = ring ? visit_ring(jobs.jobs.size()) : visit_epoll(waiters))
                return {0, failure == 1 ? "epoll failed" : "a job did not pause"};
        }
        const uint64_t end = ticks_now();
        passes += static_cast<int>(count);
        return {end - begin, nullptr};
    }

    const char *close()
    {
        stop_wakers();
        if (!ring)
            waiters.close();
        if (const char *const failure = jobs.finish(passes))
            return failure;
        return PeerPool<R>::close();
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return; // all but the switch is the kernel's
        const size_t most = scale.of<size_t>(100, 10000, 100000);
        for (const size_t count : {100, 10000, 100000})
            for (const bool ring : {true, false})
                if (count <= most && (ring ? R::HAS_READY : count <= 10000))
                    add_cell(scale, out, count, ring, 1);
        // Bursts of all sizes, and several wakers.
        for (const size_t wakers : {1, 2, 8})
            for (const size_t count : {1, 64, 1000, 100000})
                if (R::HAS_READY && scale.of(count == 64, false, true) && wakers <= count &&
                    (wakers > 1 || count <= 1000))
                    add_cell(scale, out, count, true, wakers);
    }

    static void add_cell(const Scale &scale, std::vector<Cell> &out, size_t count, bool ring,
                         size_t wakers)
    {
        Cell cell;
        cell.peer = R::NAME;
        cell.params = {{"how", ring ? "ring" : "epoll"}, {"jobs", std::to_string(count)}};
        if (wakers > 1)
            cell.params.push_back({"wakers", std::to_string(wakers)});
        if constexpr (R::NO_CROWD == nullptr) {
            const auto ready = std::make_shared<Ready>(count, ring, wakers);
            cell.open = [ready] { return ready->open(); };
            cell.run = [ready](uint64_t operations) { return ready->run(operations); };
            cell.close = [ready] { return ready->close(); };
        }
        cell.reason = R::reason;
        cell.quantum = count;
        cell.own_process = true; // its other thread asks without end
        cell.rounds = count >= 10000 ? 5 : scale.of(1, 5, 10);
        cell.processes = scale.of(1, 3, 5);
        cell.memory_bytes = count * CROWD_BYTES_PER_JOB;
        cell.unavailable = environment_cpus().size() < 2 ? "needs a second CPU"
                                                         : Waiters<R>::unavailable(ring ? 0 : count);
        out.push_back(std::move(cell));
    }
};

BENCH_ROW(row_ready, Ready)

#endif
