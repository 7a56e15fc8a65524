// SPDX-License-Identifier: Apache-2.0
//
// A job is woken from another thread: one wake at a time, and at a fixed rate.
#ifndef BENCH_ROWS_WAKE_THREAD_H
#define BENCH_ROWS_WAKE_THREAD_H

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "pausing_jobs.h"
#include "waiter.h"
#include "wake_thread_row.h"

template <typename R> struct WakeThread {
    using Job = typename R::Job;
    static constexpr size_t JOBS = 64;
    enum Way { SLEEP, POLL, RING_SLEEP, RING_POLL };

    struct Line {
        alignas(64) std::atomic<uint64_t> issued = 0; // wakes, by the waking thread
        uint64_t answered = 0;
    };

    // What the running loop and its jobs share.
    struct Loop {
        Line lines[JOBS];
        std::vector<uint64_t> latency;      // ticks, of each wake
        alignas(64) std::atomic<uint64_t> due = 0; // rate=one: when the wake began
        alignas(64) std::atomic<uint64_t> answers = 0;
        uint64_t began = 0, period = 0; // in ticks; a period of 0: one at a time
        std::atomic<bool> begun = false;
    };
    static inline Loop *loop = nullptr;
    static inline uint64_t loop_rest_ticks = 0; // rate=one: between two wakes
    static inline bool told = false;            // jobs that are resumed are to end

    BENCH_LOOP static int job_waiting(void *args)
    {
        const R runtime;
        const size_t own = *static_cast<const size_t *>(args);
        int resumed = 0;
        while (runtime.pause() == 1 && !told) {
            const uint64_t now = ticks_now();
            resumed++;
            Line &line = loop->lines[own];
            const uint64_t issued = line.issued.load(std::memory_order_acquire);
            for (; line.answered < issued; line.answered++) {
                const uint64_t due =
                    loop->period ? loop->began + (line.answered * JOBS + own) * loop->period
                                 : loop->due.load(std::memory_order_relaxed);
                loop->latency.push_back(now > due ? now - due : 0);
            }
            loop->answers.store(loop->latency.size(), std::memory_order_release);
        }
        return resumed;
    }

    static void wakes_make(Loop &loop, Waiters<R> &waiters, uint64_t count, int cpu)
    {
        process_pin_thread(cpu);
        loop.began = ticks_now() + loop.period;
        loop.begun.store(true, std::memory_order_release);
        for (uint64_t i = 0; i < count; i++) {
            const size_t at = loop.period ? i % JOBS : 0;
            if (loop.period) {
                const uint64_t due = loop.began + i * loop.period;
                while (ticks_now() < due) {
                }
            } else {
                while (loop.answers.load(std::memory_order_acquire) < i) {
                }
                // So that the other thread is asleep if it is to sleep.
                const uint64_t rest = ticks_now() + loop_rest_ticks;
                while (ticks_now() < rest) {
                }
                loop.due.store(ticks_now(), std::memory_order_relaxed);
            }
            Line &line = loop.lines[at];
            line.issued.store(line.issued.load(std::memory_order_relaxed) + 1,
                              std::memory_order_release);
            waiters.all[at].wake();
        }
    }

    static const char *loop_run(Waiters<R> &waiters, uint64_t count, Way way, int cpu)
    {
        std::thread waker(wakes_make, std::ref(*loop), std::ref(waiters), count, cpu);
        while (!loop->begun.load(std::memory_order_acquire)) {
        }
        const char *const failure = way == RING_SLEEP || way == RING_POLL
                                        ? ring_run(count, way == RING_POLL)
                                        : epoll_run(waiters, count, way == POLL);
        if (failure)
            waker.detach(); // it may wait for ever; the process ends now
        else
            waker.join();
        return failure;
    }

    static const char *ring_run(uint64_t count, bool poll)
    {
        const R runtime;
        if constexpr (R::HAS_READY)
            while (loop->latency.size() < count) {
                Job *ready[JOBS];
                const size_t taken = poll ? R::take_ready(ready, JOBS)
                                          : R::wait_ready(ready, JOBS, 10000000000);
                if (taken == 0 && !poll)
                    return "a wake was lost";
                for (size_t i = 0; i < taken; i++) {
                    int ret = 0;
                    if (runtime.resume(&ready[i], &ret, job_waiting) != R::PAUSE)
                        return "a job did not pause";
                }
            }
        return nullptr;
    }

    static const char *epoll_run(Waiters<R> &waiters, uint64_t count, bool poll)
    {
        const R runtime;
        const char *failure = nullptr;
        while (loop->latency.size() < count && !failure) {
            epoll_event events[JOBS];
            const int ready = epoll_wait(waiters.epoll, events, JOBS, poll ? 0 : 10000);
            if (ready < 0 || (ready == 0 && !poll))
                failure = "a wake was lost";
            for (int i = 0; i < ready && !failure; i++) {
                const auto waiter = static_cast<Waiter<R> *>(events[i].data.ptr);
                int ret = 0;
                waiter->clear(); // before the job looks how often it was woken
                if (runtime.resume(&waiter->job, &ret, job_waiting) != R::PAUSE)
                    failure = "a job did not pause";
            }
        }
        return failure;
    }

    static const char *measure(uint64_t rate, uint64_t count, Way way, Samples &samples)
    {
        const std::vector<int> cpus = environment_cpus();
        const auto other = std::find_if(cpus.begin(), cpus.end(),
                                        [](int cpu) { return cpu != sched_getcpu(); });
        if (other == cpus.end())
            return "there is no other CPU";
        if (const char *const failure = PeerPool<R>::open())
            return failure;
        const R runtime;
        loop = new Loop; // the other thread may outlive a failure
        std::vector<Job *> jobs(JOBS, nullptr);
        int ret = 0;
        for (size_t i = 0; i < JOBS; i++)
            if (runtime.start(&jobs[i], &ret, job_waiting, &i, sizeof i) != R::PAUSE)
                return "a job could not be started";
        Waiters<R> waiters;
        waiters.ring = way == RING_SLEEP || way == RING_POLL;
        if (const char *const failure = waiters.open(jobs))
            return failure;
        const double ticks_each_ns = 1e6 / ticks_to_ns(1000000);
        if (rate)
            loop->period = static_cast<uint64_t>(1e9 / static_cast<double>(rate) * ticks_each_ns);
        loop_rest_ticks = static_cast<uint64_t>((way == POLL || way == RING_POLL ? 2e3 : WAKE_THREAD_REST_NS) * ticks_each_ns);
        loop->latency.reserve(count);
        if (const char *const failure = loop_run(waiters, count, way, *other))
            return failure;
        waiters.close();
        told = true;
        for (Job *&job : jobs)
            if (runtime.resume(&job, &ret, job_waiting) != R::FINISH)
                return "a job did not finish";
        told = false;
        report(samples, rate != 0);
        delete loop;
        return PeerPool<R>::close();
    }

    static void report(Samples &samples, bool open_loop)
    {
        std::vector<uint64_t> &sorted = loop->latency;
        std::sort(sorted.begin(), sorted.end());
        const auto at = [&](double percent) {
            const double rank = percent / 100 * static_cast<double>(sorted.size());
            const size_t i = std::min(static_cast<size_t>(rank), sorted.size() - 1);
            return ticks_to_ns(sorted[i]);
        };
        samples.add(open_loop ? "p50" : "time", row_wake_thread.unit, at(50));
        if (!open_loop) {
            samples.add("p99", row_wake_thread.unit, at(99));
            return;
        }
        samples.add("p90", row_wake_thread.unit, at(90));
        samples.add("p99", row_wake_thread.unit, at(99));
        samples.add("p99.9", row_wake_thread.unit, at(99.9));
        samples.add("p99.99", row_wake_thread.unit, at(99.99));
        for (const double percent : {10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9,
                                     99.95, 99.99})
            samples.point("latency", "percentile", "ns from the time due to resume",
                          percent, at(percent));
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return;
        static constexpr const char *WAY_NAMES[] = {"sleep", "poll", "ring-sleep", "ring-poll"};
        const auto add = [&](const char *rate_name, uint64_t rate, Way way) {
            if ((way == RING_SLEEP || way == RING_POLL) && !R::HAS_READY)
                return;
            const uint64_t count =
                rate ? scale.of<uint64_t>(rate / 50, rate / 3, rate * 3)
                     : scale.of<uint64_t>(100, 1000, 2000);
            Cell cell;
            cell.peer = R::NAME;
            cell.params = {{"rate", rate_name}, {"wait", WAY_NAMES[way]}};
            cell.unavailable = environment_cpus().size() < 2 ? "needs a second CPU"
                                                             : Waiters<R>::unavailable(JOBS);
            if constexpr (R::NO_CROWD == nullptr)
                cell.sample = [rate, count, way](Samples &samples) {
                    return measure(rate, count, way, samples);
                };
            cell.reason = R::reason;
            cell.own_process = true;
            cell.rounds = rate ? 1 : scale.of(1, 3, 5);
            cell.processes = rate ? scale.of(1, 1, 3) : scale.of(1, 3, 8);
            out.push_back(std::move(cell));
        };
        for (const Way way : {SLEEP, POLL, RING_SLEEP, RING_POLL})
            add("one", 0, way);
        for (const Way way : {SLEEP, RING_SLEEP})
            add("10000", 10000, way);
        for (const Way way : {SLEEP, POLL, RING_SLEEP, RING_POLL})
            add("50000", 50000, way);
    }
};

BENCH_ROW(row_wake_thread, WakeThread)

#endif
