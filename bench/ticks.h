// SPDX-License-Identifier: Apache-2.0
//
// The clock that batches are timed with: the TSC where it is constant, else
// CLOCK_MONOTONIC_RAW in ns.
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include <cstdint>
#include <ctime>
#include <string>

// 0: ticks are ns of clock_gettime(). Set once, before anything is measured.
extern double ticks_tsc_hz;

inline uint64_t ticks_clock_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000 +
           static_cast<uint64_t>(now.tv_nsec);
}

#if __has_builtin(__builtin_ia32_rdtsc) && __has_builtin(__builtin_ia32_lfence)
#define BENCH_HAS_TSC 1
#else
#define BENCH_HAS_TSC 0
#endif

inline uint64_t ticks_now()
{
#if BENCH_HAS_TSC
    if (ticks_tsc_hz > 0) {
        // Nothing of the batch before or after the reading.
        __builtin_ia32_lfence();
        const uint64_t now = __builtin_ia32_rdtsc();
        __builtin_ia32_lfence();
        return now;
    }
#endif
    return ticks_clock_ns();
}

inline double ticks_to_ns(uint64_t ticks)
{
    const double value = static_cast<double>(ticks);
    return ticks_tsc_hz > 0 ? value * 1e9 / ticks_tsc_hz : value;
}

// How fast the TSC runs, against CLOCK_MONOTONIC_RAW over some ms; 0 without one.
double ticks_calibrate(int milliseconds);

// The frequency to use, and in *clock "TSC"; or 0, and in *clock what was used
// and why: no constant_tsc and nonstop_tsc, or two calibrations disagree.
double ticks_choose(std::string *clock);

#endif
