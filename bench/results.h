// SPDX-License-Identifier: Apache-2.0
//
// What a run found: plain data, which the text table, the JSON file, the
// comparison with a baseline and the HTML report all start from.
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// What a cell was measured with, in the order in which it is shown:
// {{"jobs", "1000"}, {"order", "random"}}.
using Params = std::vector<std::pair<std::string, std::string>>;

// "jobs=1000,order=random"; "" for none.
std::string params_text(const Params &params);

// An estimate and its 95 % interval.
struct Figure {
    double median = 0, low = 0, high = 0;
};

struct Metric {
    std::string name;  // "time", or the row's own: "p99", "resident"
    std::string unit;  // "ns a round trip (2 switches)"
    Figure figure;
    size_t samples = 0;          // over all processes
    double spread = 0;           // interquartile range by median
    bool spread_flagged = false; // above 5 %
    std::vector<double> process_medians; // what a comparison needs
};

// A line of points, such as latency over percentiles. Where several processes
// gave a value for an x, y is the median of them.
struct Curve {
    std::string name, x_unit, y_unit;
    std::vector<std::pair<double, double>> points; // x ascending
};

struct CellResult {
    std::string peer;
    Params params;
    std::string unavailable; // why there are no metrics; "" if there are
    std::vector<Metric> metrics; // the first is the one that charts show
    std::vector<Curve> curves;
    // This cell's first metric by that of the row's reference peer with the
    // same params: 40 says "40 times as long". Not there for the reference.
    std::optional<Figure> ratio;
};

struct RowResult {
    std::string key, title, group, unit, note;
    bool less_is_better = true;
    std::string reference; // the peer that ratios are to
    std::vector<CellResult> cells;
};

struct PeerResult {
    std::string name, title, library; // library: version and file
    std::string note;
    std::string missing; // why it was not built; "" if it was
};

struct Environment {
    std::string cpu_model;
    int cpus = 0;
    int cpu_pinned = -1; // -1: could not pin
    std::string kernel, governor, thp, hypervisor;
    std::string compiler, flags, commit, version; // of this program
    std::string date;        // UTC, when the run began
    std::string clock;       // "TSC", or why it was not that
    double tsc_hz = 0;       // 0: not used
    double steal_percent = 0; // of all CPUs' time during the run
    long interrupted = 0;    // involuntary context switches while measuring
    // How long 1,000 dependent additions took, by each process: the core's
    // speed, by which runs at different times can be told apart.
    std::vector<double> speed_ns;
};

struct Method {
    std::string mode; // "full", "quick", "smoke"
    int processes = 0, rounds = 0;
    uint64_t batch_ns = 0;
    double seconds = 0; // the whole run
};

enum class Verdict { NO_DIFFERENCE, FASTER, SLOWER };

// One metric of one cell, now and in the baseline.
struct Comparison {
    std::string row, peer;
    Params params;
    std::string metric, unit;
    double now = 0, before = 0;
    Figure ratio; // now by before; the interval is that of all rows together
    Verdict verdict = Verdict::NO_DIFFERENCE; // FASTER: better, whatever it is
};

struct Baseline {
    std::string path, date, commit;
    double speed_ratio = 1;    // of the machine itself: time now by time then
    double smallest_effect = 0; // changes below it are not told
    std::vector<Comparison> comparisons;
    size_t unmatched = 0; // metrics that only one of the two has
};

struct Results {
    Environment environment;
    Method method;
    std::vector<PeerResult> peers;
    std::vector<RowResult> rows;
    std::optional<Baseline> baseline;
};

#endif
