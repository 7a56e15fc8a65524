// SPDX-License-Identifier: Apache-2.0
#include "environment.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <bench_built.h> // made by the Makefile: BENCH_FLAGS, BENCH_COMMIT

#include <jobswitch/jobswitch.h>

#include "ticks.h"
#if BENCH_HAS_TSC
#include <cpuid.h>
#endif

namespace {

std::string first_line(const char *path)
{
    char line[512] = "";
    FILE *const file = fopen(path, "r");
    if (!file)
        return "";
    if (!fgets(line, sizeof line, file))
        line[0] = '\0';
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

// The word in brackets of "always [madvise] never".
std::string chosen(const std::string &line)
{
    const size_t from = line.find('['), to = line.find(']');
    return from == line.npos || to == line.npos ? line
                                                : line.substr(from + 1, to - from - 1);
}

std::string hypervisor()
{
    const std::string flags = " " + environment_file_value("/proc/cpuinfo", "flags") + " ";
    if (flags.find(" hypervisor ") == flags.npos)
        return "none";
#if BENCH_HAS_TSC
    unsigned eax = 0, words[4] = {};
    __cpuid(0x40000000, eax, words[0], words[1], words[2]);
    char name[sizeof words];
    memcpy(name, words, sizeof name);
    std::string text;
    for (const char *c = name; *c > ' ' && *c < 127; c++)
        text += *c;
    // By the names that people know them by, as far as those differ.
    for (const auto &[signature, known] : {std::pair("KVMKVMKVM", "KVM"),
                                           std::pair("XenVMMXenVMM", "Xen"),
                                           std::pair("VMwareVMware", "VMware"),
                                           std::pair("Microsoft", "Hyper-V"),
                                           std::pair("TCGTCGTCGTCG", "QEMU")})
        if (text == signature)
            return known;
    if (!text.empty())
        return text;
#endif
    return "yes";
}

} // namespace

std::string environment_file_value(const char *path, const char *key)
{
    std::string value;
    FILE *const file = fopen(path, "r");
    if (!file)
        return value;
    char *line = nullptr;
    size_t room = 0;
    while (value.empty() && getline(&line, &room, file) > 0) {
        const char *const colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon)
            continue;
        value = colon + 1;
        value.erase(0, value.find_first_not_of(" \t"));
        value.erase(value.find_last_not_of(" \t\n") + 1);
    }
    free(line);
    fclose(file);
    return value;
}

Environment environment_gather()
{
    Environment e;
    e.cpu_model = environment_file_value("/proc/cpuinfo", "model name");
    if (e.cpu_model.empty())
        e.cpu_model = "unknown";
    e.cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    utsname name;
    if (uname(&name) == 0)
        e.kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
    e.governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if (e.governor.empty())
        e.governor = "not readable";
    e.thp = chosen(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
    e.hypervisor = hypervisor();
#ifdef __clang__
    e.compiler = "Clang " __clang_version__;
#else
    e.compiler = "GCC " __VERSION__;
#endif
#ifndef __OPTIMIZE__
    e.compiler += ", without optimisation: not for comparing";
#endif
    e.flags = BENCH_FLAGS;
    e.commit = BENCH_COMMIT;
    e.version = JOBSWITCH_VERSION_STRING;
    const time_t now = time(nullptr);
    tm utc;
    char text[32];
    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    e.date = text;
    return e;
}

CpuTimes environment_cpu_times()
{
    CpuTimes times;
    unsigned long long field[8] = {};
    FILE *const file = fopen("/proc/stat", "r");
    if (!file)
        return times;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0],
               &field[1], &field[2], &field[3], &field[4], &field[5], &field[6],
               &field[7]) == 8) {
        for (const unsigned long long value : field)
            times.all += value;
        times.steal = field[7];
    }
    fclose(file);
    return times;
}

uint64_t environment_free_bytes()
{
    unsigned long long free_bytes =
        1024 * strtoull(environment_file_value("/proc/meminfo", "MemAvailable").c_str(),
                        nullptr, 10);
    unsigned long long limit = 0;
    FILE *const file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file) {
        if (fscanf(file, "%llu", &limit) == 1)
            free_bytes = std::min(free_bytes, limit);
        fclose(file);
    }
    return free_bytes;
}

int environment_cpu_choose()
{
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
        if (environment_cpu_allowed(cpu))
            return cpu;
    return -1;
}

namespace {

struct CpusAtStart {
    std::vector<int> cpus;
    CpusAtStart()
    {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (environment_cpu_allowed(cpu))
                cpus.push_back(cpu);
    }
};
const CpusAtStart cpus_at_start;

} // namespace

std::vector<int> environment_cpus() { return cpus_at_start.cpus; }

bool environment_cpu_allowed(int cpu)
{
    cpu_set_t set;
    return cpu >= 0 && cpu < CPU_SETSIZE &&
           sched_getaffinity(0, sizeof set, &set) == 0 &&
           CPU_ISSET(static_cast<size_t>(cpu), &set);
}

std::string environment_symbol_file(const char *symbol)
{
    return environment_symbol_file(dlsym(RTLD_DEFAULT, symbol));
}

std::string environment_symbol_file(const void *address)
{
    Dl_info info, own;
    if (!address || !dladdr(address, &info) || !info.dli_fname)
        return "?";
    if (dladdr(reinterpret_cast<void *>(environment_gather), &own) &&
        own.dli_fbase == info.dli_fbase)
        return "in this program";
    return info.dli_fname;
}
