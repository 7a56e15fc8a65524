// SPDX-License-Identifier: Apache-2.0
//
// The run: plans processes over rows and cells, and gathers what they find.
//
// A row's cells that share a process are one task; each cell that wants a
// process of its own is another. All tasks are run once, then all of them
// again, until the mode's number of passes or its time is used up: what
// disturbs the machine for a while disturbs all rows in part, not one wholly.
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <functional>
#include <string>

#include "results.h"
#include "row.h"

struct RunOptions {
    Mode mode = Mode::FULL;
    int cpu = -1;
    // Whether a cell, by its name, is to be measured.
    std::function<bool(const std::string &)> wanted;
    bool progress = false; // on standard error
};

// Returns "", or what failed.
std::string run_all(const RunOptions &options, Results &results);

// What every figure of a --smoke run must be: finite, at least 0 (a time: above
// 0), and below the row's bound. Returns a line for each that is not.
std::vector<std::string> run_implausible(const Results &results);

#endif
