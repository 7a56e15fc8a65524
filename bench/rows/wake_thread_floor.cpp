// SPDX-License-Identifier: Apache-2.0
//
// What it takes to call a thread that sleeps: a futex, and nothing else.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "environment.h"
#include "process.h"
#include "wake_thread_row.h"

namespace {

struct Call {
    alignas(64) std::atomic<uint32_t> word = 0;
    alignas(64) std::atomic<uint64_t> due = 0, answers = 0;
};

void calls_make(Call &call, uint64_t count, int cpu, uint64_t rest_ticks)
{
    process_pin_thread(cpu);
    for (uint64_t i = 0; i < count; i++) {
        while (call.answers.load(std::memory_order_acquire) < i) {
        }
        // So that the other thread is asleep.
        const uint64_t rest = ticks_now() + rest_ticks;
        while (ticks_now() < rest) {
        }
        call.due.store(ticks_now(), std::memory_order_relaxed);
        call.word.store(1, std::memory_order_release);
        syscall(SYS_futex, &call.word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
}

const char *measure(uint64_t count, Samples &samples)
{
    const std::vector<int> cpus = environment_cpus();
    const auto other = std::find_if(cpus.begin(), cpus.end(),
                                    [](int cpu) { return cpu != sched_getcpu(); });
    if (other == cpus.end())
        return "there is no other CPU";
    Call call;
    std::vector<uint64_t> latency;
    latency.reserve(count);
    const double ticks_each_ns = 1e6 / ticks_to_ns(1000000);
    std::thread caller(calls_make, std::ref(call), count, *other,
                       static_cast<uint64_t>(WAKE_THREAD_REST_NS * ticks_each_ns));
    while (latency.size() < count) {
        while (call.word.load(std::memory_order_acquire) == 0)
            syscall(SYS_futex, &call.word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
        const uint64_t now = ticks_now();
        const uint64_t due = call.due.load(std::memory_order_relaxed);
        latency.push_back(now > due ? now - due : 0);
        call.word.store(0, std::memory_order_relaxed);
        call.answers.store(latency.size(), std::memory_order_release);
    }
    caller.join();
    std::sort(latency.begin(), latency.end());
    samples.add("time", row_wake_thread.unit, ticks_to_ns(latency[count / 2]));
    samples.add("p99", row_wake_thread.unit, ticks_to_ns(latency[count * 99 / 100]));
    return nullptr;
}

void cells(const Scale &scale, std::vector<Cell> &out)
{
    Cell cell;
    cell.peer = "floor";
    cell.params = {{"rate", "one"}, {"wait", "futex"}};
    cell.unavailable = environment_cpus().size() < 2 ? "needs a second CPU" : "";
    const uint64_t count = scale.of<uint64_t>(100, 1000, 2000);
    cell.sample = [count](Samples &samples) { return measure(count, samples); };
    cell.own_process = true;
    cell.rounds = scale.of(1, 3, 5);
    cell.processes = scale.of(1, 3, 8);
    out.push_back(std::move(cell));
}

const RowRegister registered(row_wake_thread, cells);

} // namespace
