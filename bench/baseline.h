// SPDX-License-Identifier: Apache-2.0
//
// This run beside an earlier one.
//
// For each metric of each cell that both have: now by before, with an interval
// from the medians of the processes, which is where two runs differ most (where
// code and memory happen to lie). The intervals are wide enough that with all
// of them together the chance of one that wrongly leaves out 1 is 5 %
// (Bonferroni). A difference is told only where the interval leaves out 1 and
// the change is at least BASELINE_SMALLEST, or the change of the machine's own
// speed between the runs, if that is more.
#ifndef BENCH_BASELINE_H
#define BENCH_BASELINE_H

#include <string>

#include "results.h"

constexpr double BASELINE_SMALLEST = 0.05;

Baseline baseline_compare(const Results &now, const Results &before);

#endif
