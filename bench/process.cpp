// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "environment.h"

namespace {

// "KEY: 123 kB" in bytes; below 0 if there is no such line.
double file_bytes(const char *path, const char *key)
{
    const std::string value = environment_file_value(path, key);
    return value.empty() ? -1 : strtod(value.c_str(), nullptr) * 1024;
}

} // namespace

double process_resident_bytes()
{
    const double exact = file_bytes("/proc/self/smaps_rollup", "Rss");
    return exact >= 0 ? exact : file_bytes("/proc/self/status", "VmRSS");
}

double process_page_table_bytes() { return file_bytes("/proc/self/status", "VmPTE"); }

double process_mappings()
{
    std::ifstream maps("/proc/self/maps");
    double lines = 0;
    for (std::string line; std::getline(maps, line);)
        lines++;
    return lines;
}

double process_descriptors()
{
    DIR *const folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    double found = -1; // but for the folder's own
    while (const dirent *const entry = readdir(folder))
        found += entry->d_name[0] != '.';
    closedir(folder);
    return found;
}

size_t process_descriptors_most()
{
    rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

bool process_pin_thread(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}
