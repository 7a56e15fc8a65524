// SPDX-License-Identifier: Apache-2.0
#include "ticks.h"

#include <algorithm>
#include <cmath>

#include "environment.h"

double ticks_tsc_hz = 0;

#if BENCH_HAS_TSC
namespace {

// The two clocks at one moment: the closest of some readings.
void reading(uint64_t &tsc, uint64_t &ns)
{
    uint64_t closest = UINT64_MAX;
    for (int i = 0; i < 50; i++) {
        const uint64_t before = __builtin_ia32_rdtsc();
        const uint64_t now_ns = ticks_clock_ns();
        const uint64_t after = __builtin_ia32_rdtsc();
        if (after - before < closest) {
            closest = after - before;
            tsc = before + closest / 2;
            ns = now_ns;
        }
    }
}

} // namespace
#endif

double ticks_calibrate(int milliseconds)
{
#if BENCH_HAS_TSC
    uint64_t tsc[2], ns[2];
    reading(tsc[0], ns[0]);
    timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&pause, nullptr);
    reading(tsc[1], ns[1]);
    return static_cast<double>(tsc[1] - tsc[0]) * 1e9 /
           static_cast<double>(ns[1] - ns[0]);
#else
    (void)milliseconds;
    return 0;
#endif
}

double ticks_choose(std::string *clock)
{
    const std::string flags = " " + environment_file_value("/proc/cpuinfo", "flags") + " ";
    if (flags.find(" constant_tsc ") == flags.npos ||
        flags.find(" nonstop_tsc ") == flags.npos) {
        *clock = "CLOCK_MONOTONIC_RAW: no constant TSC";
        return 0;
    }
    const double first = ticks_calibrate(30), second = ticks_calibrate(30);
    if (!(first > 0) || std::fabs(first / second - 1) > 5e-4) {
        *clock = "CLOCK_MONOTONIC_RAW: two calibrations of the TSC disagree";
        return 0;
    }
    *clock = "TSC";
    return (first + second) / 2;
}
