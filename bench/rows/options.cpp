// SPDX-License-Identifier: Apache-2.0
//
// What options of a pool cost, off against on. An option that comes later is
// an entry in cells().
#include <time.h>

#include <cstdlib>
#include <string>

#include "jobswitch_runtime.h"
#include "pausing_jobs.h"
#include "process.h"

namespace {

constexpr Row row_options = {
    .key = "options",
    .title = "options, off and on",
    .group = "options",
    .unit = "ns a job",
    .note = "prefault: the first start and pause of each of thousands of jobs made ahead (made "
            "is what making them took); a hypervisor without nested paging takes a fault "
            "of its own at the first access, which no prefault spares. keep_warm: the same jobs once more, after "
            "they have ended, and two seconds in which few others did have passed, after which "
            "idle stacks are given back unless they are kept. guard: create, start and pause with "
            "16 or 64 KiB of guard. allocator: the same on stacks of the "
            "library's or of malloc(), which have no guard then. descriptor: start+pause+resume+finish "
            "of a warm job that is asked for its wait descriptor or not. fp_environment: the same, "
            "in a pool whose jobs keep their floating point environment. Each cell has "
            "a process of its own, but descriptor.",
    .order = 700,
    .reference = "",
    .plausible_max = 1e7,
};

struct Runtime : JobswitchRuntime {
    static constexpr const char *NAME = "jobswitch";
};
using Jobs = PausingJobs<Runtime>;

double ns_each(uint64_t begin, uint64_t end, size_t count)
{
    return ticks_to_ns(end - begin) / static_cast<double>(count);
}

const char *prefault(bool on, size_t count, Samples &samples)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.initial_jobs = count;
    options.flags = on ? JOBSWITCH_PREFAULT : 0;
    Jobs jobs(count);
    const double before = process_resident_bytes();
    const uint64_t begin = ticks_now();
    if (jobswitch_init_thread_with(&options) != 1)
        return "a pool cannot be made";
    const uint64_t made = ticks_now();
    const double after = process_resident_bytes();
    const uint64_t again = ticks_now();
    if (const char *const failure = jobs.start())
        return failure;
    const uint64_t end = ticks_now();
    samples.add("time", "", ns_each(again, end, count));
    samples.add("made", "ns a job", ns_each(begin, made, count));
    samples.add("resident", "bytes a job, made", (after - before) / static_cast<double>(count));
    if (const char *const failure = jobs.finish())
        return failure;
    jobswitch_cleanup_thread();
    return nullptr;
}

int job_empty(void *) { return 1; }

bool jobs_end(int count)
{
    jobswitch_job *job = nullptr;
    int ret = 1;
    for (int i = 0; i < count; i++)
        if (jobswitch_start_job(&job, &ret, job_empty, nullptr, 0) != JOBSWITCH_FINISH)
            return false;
    return ret == 1;
}

const char *keep_warm(bool on, size_t count, Samples &samples)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.flags = on ? JOBSWITCH_KEEP_WARM : 0;
    Jobs jobs(count);
    if (jobswitch_init_thread_with(&options) != 1)
        return "a pool cannot be made";
    if (const char *const failure = jobs.start())
        return failure;
    if (const char *const failure = jobs.finish())
        return failure;
    const double before = process_resident_bytes();
    // What has lain unused for a second is found, and given back, while jobs end.
    for (int second = 0; second < 3; second++) {
        if (!jobs_end(32000))
            return "a job did not finish";
        const timespec rest = {1, 200000000};
        if (second < 2)
            nanosleep(&rest, nullptr);
    }
    const double after = process_resident_bytes();
    const uint64_t begin = ticks_now();
    if (const char *const failure = jobs.start())
        return failure;
    const uint64_t end = ticks_now();
    samples.add("time", "", ns_each(begin, end, count));
    samples.add("given_back", "bytes a job",
                before > after ? (before - after) / static_cast<double>(count) : 0);
    if (const char *const failure = jobs.finish())
        return failure;
    jobswitch_cleanup_thread();
    return nullptr;
}

const char *cold_start(const jobswitch_options &options, size_t count, Samples &samples)
{
    Jobs jobs(count);
    const double before = process_page_table_bytes();
    if (jobswitch_init_thread_with(&options) != 1)
        return "a pool cannot be made";
    const uint64_t begin = ticks_now();
    if (const char *const failure = jobs.start())
        return failure;
    const uint64_t end = ticks_now();
    samples.add("time", "", ns_each(begin, end, count));
    samples.add("page_tables", "bytes a job",
                (process_page_table_bytes() - before) / static_cast<double>(count));
    if (const char *const failure = jobs.finish())
        return failure;
    jobswitch_cleanup_thread();
    return nullptr;
}

const char *guard(size_t bytes, size_t count, Samples &samples)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.guard_bytes = bytes;
    return cold_start(options, count, samples);
}

const char *allocator(bool on, size_t count, Samples &samples)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    if (on) {
        options.stack_alloc = [](size_t bytes, void *) { return malloc(bytes); };
        options.stack_free = [](void *stack, size_t, void *) { free(stack); };
    }
    return cold_start(options, count, samples);
}

template <bool ON> int job_with_descriptor(void *)
{
    if (ON && jobswitch_get_wait_fd(jobswitch_get_current_job()) < 0)
        return 0;
    return jobswitch_pause_job();
}

template <bool ON> BENCH_LOOP Batch descriptor(uint64_t operations)
{
    uint64_t sum = 0;
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        jobswitch_job *job = nullptr;
        int ret = 0;
        if (jobswitch_start_job(&job, &ret, job_with_descriptor<ON>, nullptr, 0) !=
                JOBSWITCH_PAUSE ||
            jobswitch_start_job(&job, &ret, job_with_descriptor<ON>, nullptr, 0) !=
                JOBSWITCH_FINISH)
            return {0, "a job did not pause and finish"};
        sum += static_cast<uint64_t>(ret);
    }
    const uint64_t end = ticks_now();
    return {end - begin, sum == operations ? nullptr : "a descriptor cannot be had"};
}

const char *fp_pool(bool on)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.flags = on ? JOBSWITCH_FP_ENVIRONMENT : 0;
    return jobswitch_init_thread_with(&options) == 1 ? nullptr : "a pool cannot be made";
}

void cells(const Scale &scale, std::vector<Cell> &out)
{
    const size_t count = scale.of<size_t>(256, 2048, 4096);
    const auto add = [&](const char *option, const char *value, auto measure) {
        Cell cell;
        cell.peer = Runtime::NAME;
        cell.params = {{"option", option}, {"value", value}};
        cell.sample = [=](Samples &samples) { return measure(count, samples); };
        cell.reason = Runtime::reason;
        cell.own_process = true;
        cell.rounds = 1;
        cell.processes = scale.of(1, 3, 0);
        cell.memory_bytes = count * 70000; // prefaulted
        out.push_back(std::move(cell));
        return &out.back();
    };
    for (const bool on : {false, true})
        add("prefault", on ? "on" : "off",
            [on](size_t n, Samples &s) { return prefault(on, n, s); });
    for (const bool on : {false, true})
        if (scale.mode == Mode::FULL) // seconds
            add("keep_warm", on ? "on" : "off", [on](size_t n, Samples &s) {
                return keep_warm(on, n, s);
            })->processes = 5;
    for (const bool large : {false, true})
        add("guard", large ? "64KiB" : "16KiB",
            [large](size_t n, Samples &s) { return guard(large ? 65536 : 16384, n, s); });
    for (const bool on : {false, true})
        add("allocator", on ? "malloc" : "own",
            [on](size_t n, Samples &s) { return allocator(on, n, s); });
    for (const bool on : {false, true}) {
        Cell cell = peer_cell<Runtime>(
            {{"option", "descriptor"}, {"value", on ? "asked" : "not"}},
            on ? descriptor<true> : descriptor<false>);
        out.push_back(std::move(cell));
    }
    for (const bool on : {false, true}) {
        Cell cell = peer_cell<Runtime>(
            {{"option", "fp_environment"}, {"value", on ? "on" : "off"}}, descriptor<false>);
        cell.open = [on] { return fp_pool(on); };
        cell.own_process = true;
        out.push_back(std::move(cell));
    }
}

const RowRegister registered(row_options, cells);

} // namespace
