// SPDX-License-Identifier: Apache-2.0
//
// What the kernel holds for each paused job.
#ifndef BENCH_ROWS_MEMORY_H
#define BENCH_ROWS_MEMORY_H

#include "pausing_jobs.h"
#include "process.h"

constexpr Row row_memory = {
    .key = "memory",
    .title = "memory of a paused job",
    .group = "memory",
    .unit = "bytes a job",
    .note = "What a process has more with so many paused jobs than without: resident "
            "bytes (stacks as far as they were used, control blocks, heap), page "
            "tables, and for all jobs together mappings and descriptors. The jobs use a page of stack "
            "or less; what a real job calls decides how many it takes. "
            "descriptors=yes: each was asked for one to wait with.",
    .order = 400,
    .plausible_max = 1e6,
};

template <typename R> struct Memory {
    static const char *measure(size_t count, bool descriptors, Samples &samples)
    {
        if (!R::open(0))
            return "a pool cannot be made";
        const double each = static_cast<double>(count);
        PausingJobs<R> jobs(count);
        const double before[] = {process_resident_bytes(), process_page_table_bytes(),
                                 process_mappings(), process_descriptors()};
        if (const char *const failure = jobs.start())
            return failure;
        if constexpr (R::HAS_WAIT_FD)
            for (size_t i = 0; descriptors && i < count; i++)
                if (R::wait_fd(jobs.jobs[i]) < 0)
                    return "a descriptor cannot be had";
        samples.add("resident", "bytes a job", (process_resident_bytes() - before[0]) / each);
        samples.add("page_tables", "bytes a job",
                    (process_page_table_bytes() - before[1]) / each);
        samples.add("mappings", "for all jobs", process_mappings() - before[2]);
        samples.add("descriptors", "for all jobs", process_descriptors() - before[3]);
        if (const char *const failure = jobs.finish())
            return failure;
        R::close();
        return nullptr;
    }

    static void cells(const Scale &scale, std::vector<Cell> &out)
    {
        if (R::SAME_POOL || R::NO_POOL || R::NO_ARGS)
            return;
        const size_t few = scale.of<size_t>(1000, 10000, 10000);
        const auto add = [&](size_t count, bool descriptors) {
            Cell cell;
            cell.peer = R::NAME;
            cell.params = {{"jobs", std::to_string(count)},
                           {"descriptors", descriptors ? "yes" : "no"}};
            if constexpr (R::NO_CROWD != nullptr) {
                cell.unavailable = R::NO_CROWD;
            } else {
                cell.sample = [count, descriptors](Samples &samples) {
                    return measure(count, descriptors, samples);
                };
                cell.reason = R::reason;
                cell.own_process = true;
                cell.rounds = 1;
                cell.processes = scale.of(1, 1, 3); // counts, which hardly differ
                cell.memory_bytes = count * PausingJobs<R>::BYTES_PER_JOB;
                if (descriptors && count + 100 > process_descriptors_most())
                    cell.unavailable = "needs more descriptors than RLIMIT_NOFILE allows";
            }
            out.push_back(std::move(cell));
        };
        add(few, false);
        if (R::HAS_WAIT_FD)
            add(few, true);
        if (scale.mode == Mode::FULL)
            add(100000, false);
    }
};

BENCH_ROW(row_memory, Memory)

#endif
