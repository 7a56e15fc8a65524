// SPDX-License-Identifier: Apache-2.0
//
// Rows: what is measured. Adding one is adding a file to bench/rows/, which the
// Makefile finds:
//
//   rows/NAME.h    a row that runs over a peer's Runtime (see peer.h): a class
//                  template, compiled into every peer's translation unit, and
//                  BENCH_ROW(row, Template) at the end
//   rows/NAME.cpp  a row compiled once, which brings its own code: a
//                  `const RowRegister` at namespace scope
//
// A row yields cells: a peer with parameters. Files may register the same key
// more than once; the cells come together (a peer whose jobs cannot run the
// template, such as stackless coroutines, registers its own cells so).
//
// A cell is named ROW/PEER or ROW/PEER/KEY=VALUE,KEY=VALUE; --filter looks there.
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "results.h"
#include "ticks.h"

struct Row {
    const char *key;   // [a-z0-9_]+
    const char *title; // "pause+resume"
    const char *group; // rows of a group stand together: "switch", "crowd"
    const char *unit;  // of the metric "time": "ns a round trip (2 switches)"
    const char *note;  // what it does and does not say, in a sentence or two
    int order = 1000;  // rows are shown by it, then by key
    bool less_is_better = true;
    const char *reference = "jobswitch"; // the peer that ratios are to
    double plausible_max = 1e7; // --smoke fails above it, in the metric's unit
};

enum class Mode { SMOKE, QUICK, FULL };

// Where code lies after linking is the same in every process, and moves times
// of a few cycles by half. So each peer's loops are compiled at this many
// places, and each process of a run takes the next one.
constexpr size_t PLACES = 4;

// What a row may scale its cells by. The same mode must give the same cells.
struct Scale {
    Mode mode;
    size_t place = 0; // below PLACES
    // The one of three that goes with the mode.
    template <typename T> T of(T smoke, T quick, T full) const
    {
        return mode == Mode::SMOKE ? smoke : mode == Mode::QUICK ? quick : full;
    }
};

// What a batch of operations took, in ticks. `failure` is NULL if every call
// answered what it should and the jobs' own counts prove that they ran.
struct Batch {
    uint64_t ticks;
    const char *failure;
};

// Where a cell that measures by itself puts its values. Each call of sample()
// is a round: one value for each metric, in any order; curves at any time.
class Samples {
public:
    virtual void add(const char *metric, const char *unit, double value) = 0;
    virtual void point(const char *curve, const char *x_unit, const char *y_unit,
                       double x, double y) = 0;

protected:
    ~Samples() = default;
};

// Functions return NULL, or what failed: that fails the program. open() and
// close() are optional, and not timed. All cells of a row that share a process
// are open at the same time; run() and sample() are called in turns.
struct Cell {
    std::string peer;
    Params params = {};
    std::string unavailable = {}; // why it cannot be had; nothing else matters then
    std::function<const char *()> open = {};
    // Either run(): times that many operations, a multiple of `quantum`. The
    // harness chooses how many and divides; the metric is "time" in ns.
    std::function<Batch(uint64_t operations)> run = {};
    uint64_t quantum = 1;
    // or sample(): measures by itself, a round a call.
    std::function<const char *(Samples &)> sample = {};
    std::function<const char *()> close = {};
    std::string (*reason)() = nullptr; // why the peer's last call failed
    // A process of its own, for memory, cold starts, and much state. Such a
    // cell is interleaved with its peers process by process.
    bool own_process = false;
    // In LD_PRELOAD of its process. Cells with another one are in other processes.
    std::string preload = {};
    int rounds = 0;            // a process; 0: as many as the harness likes
    int processes = 0;         // in a run, of own_process; 0: as above
    bool kernel_switches = false; // which are not told as interruptions
    uint64_t memory_bytes = 0; // left out with a word if that is not free
    // The same at other places. All are measured, and each process keeps the
    // figures of the one whose median is least. Of run() only.
    std::vector<Cell> alternatives = {};
};

using CellsFunction = void (*)(const Scale &, std::vector<Cell> &);

struct RowRegister {
    RowRegister(const Row &row, CellsFunction cells);
};

struct RowEntry {
    Row row;
    std::vector<CellsFunction> functions;
};

// All rows, by order and key.
std::vector<RowEntry> rows_all();
// A row's cells, the peers by their order, those without a peer entry first.
std::vector<Cell> row_cells(const RowEntry &entry, const Scale &scale);
std::string cell_name(const Row &row, const Cell &cell);

// Loops start at a cache line, so that none has better luck.
#define BENCH_LOOP __attribute__((noinline, aligned(64)))
#define BENCH_INLINE __attribute__((always_inline))

// At the end of rows/NAME.h: Template<Runtime>::cells() gives the cells, and
// peer.h puts the template at its places.
#define BENCH_ROW(row, Template)                                               \
    namespace {                                                                \
    const RowRegister                                                          \
        Template##_registered(row, [](const Scale &scale, std::vector<Cell> &out) { \
            placed_cells<Runtime>(scale, out, []<typename R>() {               \
                return Template<R>::cells;                                     \
            });                                                                \
        });                                                                    \
    }

#endif
