// SPDX-License-Identifier: Apache-2.0
//
// What a run took place on.
#ifndef BENCH_ENVIRONMENT_H
#define BENCH_ENVIRONMENT_H

#include <cstdint>
#include <string>
#include <vector>

#include "results.h"

// The value of the first line "KEY<blanks>: VALUE"; "" if there is none.
std::string environment_file_value(const char *path, const char *key);

// All but what only the run itself can know: CPU pinned, clock, steal, speed.
Environment environment_gather();

struct CpuTimes {
    uint64_t steal = 0, all = 0; // the kernel's ticks, over all CPUs
};
CpuTimes environment_cpu_times();

// Memory that can be had without swapping, and without a cgroup's limit.
uint64_t environment_free_bytes();

// The CPU to pin to: the last that is allowed, since interrupts and whatever
// does not care tend to the first; -1 if there is no telling.
int environment_cpu_choose();
bool environment_cpu_allowed(int cpu);
// Those that this process might run on when it began, before it was pinned.
std::vector<int> environment_cpus();

// The file that the dynamic linker took `symbol`, or what lies at an address, from.
std::string environment_symbol_file(const char *symbol);
std::string environment_symbol_file(const void *address);

#endif
