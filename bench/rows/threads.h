// SPDX-License-Identifier: Apache-2.0
//
// Threads with a pool each, which have nothing to do with each other.
#ifndef BENCH_ROWS_THREADS_H
#define BENCH_ROWS_THREADS_H

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "peer.h"
#include "process.h"

constexpr Row row_threads = {
    .key = "threads",
    .title = "one thread, and several at once",
    .group = "threads",
    .unit = "ns an operation of one thread (2 switches)",
    .note = "Each of so many threads, pinned to a CPU of its own, does pause+resume or "
            "start+finish on its own pool; the median thread, and the slowest. If "
            "figures rise with the threads, one slows another: by the runtime, or since "
            "CPUs share a core, a clock or a host; two peers beside each other tell which.",
    .order = 600,
};

template <typename R> struct Threads {
    using Job = typename R::Job;

    // The loops of other rows count in variables of all threads, which would
    // itself make one slow another.
    struct alignas(64) Own {
        std::thread thread;
        std::atomic<uint64_t> round = 0, done = 0; // asked for, and finished
        double ns = 0;
        const char *failure = nullptr;
        bool told = false;
    };

    std::vector<std::unique_ptr<Own>> all;
    bool pauses;
    uint64_t operations;
    uint64_t round = 0;
    size_t count;
    std::atomic<bool> quit = false;

    Threads(size_t how_many, bool pause, uint64_t each)
        : pauses(pause), operations(each), count(how_many)
    {
    }

    BENCH_LOOP static int job_pausing(void *args)
    {
        const R runtime;
        const Own *const own = *static_cast<Own *const *>(args);
        uint32_t ran = 0;
        do
            ran++;
        while (runtime.pause() == 1 && !own->told);
        return static_cast<int>(ran);
    }
    BENCH_LOOP static int job_once(void *) { return 1; }

    BENCH_LOOP static const char *pause_resume(Own *own, uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        own->told = false;
        if (runtime.start(&job, &ret, job_pausing, &own, sizeof own) != R::PAUSE)
            return "the job did not pause";
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++)
            if (runtime.resume(&job, &ret, job_pausing) != R::PAUSE)
                return "the job did not pause";
        const uint64_t end = ticks_now();
        own->told = true;
        if (runtime.resume(&job, &ret, job_pausing) != R::FINISH ||
            static_cast<uint32_t>(ret) != static_cast<uint32_t>(operations) + 1)
            return "the job was not resumed as often as asked";
        own->ns = ticks_to_ns(end - begin) / static_cast<double>(operations);
        return nullptr;
    }

    BENCH_LOOP static const char *start_finish(Own *own, uint64_t operations)
    {
        const R runtime;
        Job *job = nullptr;
        int ret = 0;
        uint64_t sum = 0;
        const uint64_t begin = ticks_now();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.start(&job, &ret, job_once, nullptr, 0) != R::FINISH)
                return "a job did not finish";
            sum += static_cast<uint64_t>(ret);
        }
        const uint64_t end = ticks_now();
        if (sum != operations)
            return "the jobs' return values are wrong";
        own->ns = ticks_to_ns(end - begin) / static_cast<double>(operations);
        return nullptr;
    }

    static void thread_main(Threads *threads, Own *own, int cpu)
    {
        process_pin_thread(cpu);
        const bool opened = R::open(1);
        for (uint64_t round = 1;; round++) {
            while (own->round.load(std::memory_order_acquire) < round)
                if (threads->quit.load(std::memory_order_relaxed)) {
                    R::close();
                    return;
                } else {
                    std::this_thread::yield();
                }
            const uint64_t warm = threads->operations / 8;
            own->failure = opened ? nullptr : "a pool cannot be made";
            for (const uint64_t each : {warm, threads->operations})
                if (!own->failure)
                    own->failure =
                        threads->pauses ? pause_resume(own, each) : start_finish(own, each);
            own->done.store(round, std::memory_order_release);
        }
    }

    const char *open()
    {
        const std::vector<int> cpus = environment_cpus();
        for (size_t i = 0; i < count; i++) {
            all.push_back(std::make_unique<Own>());
            all[i]->thread = std::thread(thread_main, this, all[i].get(), cpus[i]);
        }
        return nullptr;
    }

    const char *measure(Samples &samples)
    {
        round++;
        for (const auto &own : all)
            own->round.store(round, std::memory_order_release);
        std::vector<double> ns;
        for (const auto &own : all) {
            while (own->done.load(std::memory_order_acquire) < round)
                usleep(100);
            if (own->failure)
                return own->failure;
            ns.push_back(own->ns);
        }
        std::sort(ns.begin(), ns.end());
        samples.add("time", "", (ns[(count - 1) / 2] + ns[count / 2]) / 2);
        if (count > 1)
            samples.add("slowest", row_threads.unit, ns[count - 1]);
        return nullptr;
    }

    const char *close()
    {
        quit.store(true);
        for (const auto &own : all)
            own->thread.join();
        all.clear();
        return nullptr;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL)
            return;
        const size_t most = std::min<size_t>(environment_cpus().size(), 8);
        for (const bool pause : {true, false})
            for (size_t count = 1; count <= most; count = count < 4 ? count + 1 : count + 2) {
                Cell cell;
                cell.peer = R::NAME;
                cell.params = {{"op", pause ? "pause_resume" : "start_finish"},
                               {"threads", std::to_string(count)}};
                if (R::NO_THREADS || (!pause && R::NO_POOL)) {
                    cell.unavailable = R::NO_THREADS ? R::NO_THREADS : R::NO_POOL;
                } else if constexpr (R::NO_THREADS == nullptr) {
                    const auto threads = std::make_shared<Threads>(
                        count, pause, scale.of<uint64_t>(1000, 20000, 50000));
                    cell.open = [threads] { return threads->open(); };
                    cell.sample = [threads](Samples &s) { return threads->measure(s); };
                    cell.close = [threads] { return threads->close(); };
                    cell.own_process = true;
                    cell.rounds = scale.of(1, 8, 16);
                    cell.processes = scale.of(1, 3, 0);
                }
                out.push_back(std::move(cell));
            }
    }
};

BENCH_ROW(row_threads, Threads)

#endif
