// SPDX-License-Identifier: Apache-2.0
//
// Medians, intervals and comparisons. Nothing here measures.
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <vector>

#include "results.h"

// [process][round]
using Values = std::vector<std::vector<double>>;

constexpr double SPREAD_FLAGGED = 0.05;

// Of no values: 0. The vector is a copy, or given up.
double stats_median(std::vector<double> values);
// (q75 - q25) / median; 0 where the median is 0.
double stats_spread(std::vector<double> values);
std::vector<double> stats_process_medians(const Values &values);

// The median of all values, and its bootstrap interval: processes are drawn
// first, then rounds in each, since where code and memory lie is drawn anew
// with each process. The same values give the same interval.
Figure stats_figure(const Values &values);

// The median of the paired ratios above[p][r] / below[p][r], and its interval.
// Rounds without a partner, or with a partner of 0, are left out.
Figure stats_ratio(const Values &above, const Values &below);

// The two-sided quantile of Student's t: P(|T| > t) = alpha.
double stats_student(double alpha, double freedom);

// now / before, from the medians of the processes of two runs at different
// times: a Welch interval of the mean logarithms, with alpha the chance of an
// interval that wrongly leaves out 1. Fewer than two processes on a side give
// an interval from 0 to infinity.
Figure stats_compare(const std::vector<double> &now,
                     const std::vector<double> &before, double alpha);

// SLOWER or FASTER only if the interval leaves out 1 and the change is at
// least `smallest_effect` (0.03: 3 %).
Verdict stats_verdict(const Figure &ratio, double smallest_effect,
                      bool less_is_better);

#endif
