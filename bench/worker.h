// SPDX-License-Identifier: Apache-2.0
//
// A measuring process: some cells of one row, interleaved. The parent starts
// many of them, one after the other (see run.h).
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "row.h"
#include "stats.h"

struct WorkerTask {
    std::string row;           // key
    std::vector<size_t> cells; // of row_cells()
    std::string preload = {};  // in LD_PRELOAD of the process
    Mode mode = Mode::FULL;
    int cpu = -1;
    int rounds = 1;
    int turn = 0; // which cell goes first and which place, so that processes differ
    uint64_t batch_ns = 0, warm_up_ns = 0; // for each cell
    double tsc_hz = 0;
};

// What a process measured: metrics of each cell, by its number in row_cells().
struct WorkerReport {
    struct Values {
        std::string unit;
        std::vector<double> rounds;
    };
    struct Points {
        std::string x_unit, y_unit;
        std::vector<std::pair<double, double>> points;
    };
    struct CellValues {
        // In the order in which the cell named them.
        std::vector<std::pair<std::string, Values>> metrics;
        std::vector<std::pair<std::string, Points>> curves;
    };
    std::map<size_t, CellValues> cells;
    bool pinned = false;
    long interrupted = 0;
    double speed_ns = 0;
    std::string failure; // "" if all went well
};

// In the parent: runs this program once more, for the task, and waits.
WorkerReport worker_run(const WorkerTask &task);

// In the child: argv is what worker_run() gave. Returns the exit status.
int worker_main(int argc, char **argv);
constexpr const char *WORKER_WORD = "--worker"; // argv[1] of a child

#endif
