// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <map>

#include "environment.h"
#include "peer.h"
#include "stats.h"
#include "ticks.h"
#include "worker.h"

namespace {

struct Effort {
    const char *name;
    int passes;      // processes for each task, at most
    int least;       // passes that are made whatever the time
    int rounds;
    double seconds; // no pass begins that would end after it
    bool limited_too; // count for it what cells take that are not in every pass
    double batch_ns; // at most, and at least
    double batch_ns_least;
};

Effort effort_of(Mode mode)
{
    switch (mode) {
    case Mode::SMOKE: return {"smoke", 1, 1, 2, 10, true, 20e3, 20e3};
    // Less than a minute in all: where page faults are slow, with a pass less.
    case Mode::QUICK: return {"quick", 12, 2, 16, 52, true, 1e6, 50e3};
    case Mode::FULL: break;
    }
    return {"full", 16, 5, 24, 420, false, 2e6, 100e3};
}

// All values of a row's cells, by the cell's number.
struct Gathered {
    struct MetricValues {
        std::string unit;
        Values values; // [pass][round]
    };
    std::vector<std::pair<std::string, MetricValues>> metrics;
    std::vector<std::pair<std::string, WorkerReport::Points>> curves;
};

struct Planned {
    RowEntry entry;
    std::vector<Cell> cells;
    std::vector<std::string> unavailable; // by cell; "" if it is measured
    std::vector<bool> wanted;
    std::vector<Gathered> gathered;
};

struct Task {
    size_t row;
    std::vector<size_t> cells;
};

std::string memory_text(uint64_t bytes)
{
    return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

double seconds_since(uint64_t begin_ns)
{
    return static_cast<double>(ticks_clock_ns() - begin_ns) / 1e9;
}

void report_merge(const WorkerReport &report, Planned &row)
{
    for (const auto &[number, found] : report.cells) {
        if (number >= row.gathered.size())
            continue;
        Gathered &into = row.gathered[number];
        for (const auto &[name, values] : found.metrics) {
            auto at = std::find_if(into.metrics.begin(), into.metrics.end(),
                                   [&name = name](const auto &m) { return m.first == name; });
            if (at == into.metrics.end()) {
                into.metrics.push_back({name, {}});
                at = into.metrics.end() - 1;
            }
            // A cell's "time" is in what the row says.
            at->second.unit = values.unit.empty() ? row.entry.row.unit : values.unit;
            at->second.values.push_back(values.rounds);
        }
        for (const auto &[name, points] : found.curves) {
            auto at = std::find_if(into.curves.begin(), into.curves.end(),
                                   [&name = name](const auto &c) { return c.first == name; });
            if (at == into.curves.end()) {
                into.curves.push_back({name, points});
                continue;
            }
            auto &all = at->second.points;
            all.insert(all.end(), points.points.begin(), points.points.end());
        }
    }
}

Curve curve_of(const std::string &name, const WorkerReport::Points &points)
{
    std::map<double, std::vector<double>> by_x;
    for (const auto &[x, y] : points.points)
        by_x[x].push_back(y);
    Curve curve = {name, points.x_unit, points.y_unit, {}};
    for (const auto &[x, values] : by_x)
        curve.points.emplace_back(x, stats_median(values));
    return curve;
}

RowResult row_result(const Planned &row)
{
    const Row &r = row.entry.row;
    RowResult result = {r.key,  r.title, r.group,     r.unit,
                        r.note, r.less_is_better, r.reference, {}};
    for (size_t i = 0; i < row.cells.size(); i++) {
        if (!row.wanted[i])
            continue;
        const Cell &cell = row.cells[i];
        const Gathered &gathered = row.gathered[i];
        CellResult out;
        out.peer = cell.peer;
        out.params = cell.params;
        out.unavailable = row.unavailable[i];
        for (const auto &[name, metric] : gathered.metrics) {
            Metric m = {name, metric.unit, stats_figure(metric.values), 0, 0, false,
                        stats_process_medians(metric.values)};
            std::vector<double> all;
            for (const auto &process : metric.values)
                all.insert(all.end(), process.begin(), process.end());
            m.samples = all.size();
            m.spread = stats_spread(std::move(all));
            m.spread_flagged = m.spread > SPREAD_FLAGGED;
            out.metrics.push_back(std::move(m));
        }
        for (const auto &[name, points] : gathered.curves)
            out.curves.push_back(curve_of(name, points));
        for (size_t k = 0; k < row.cells.size(); k++) {
            if (k == i || row.cells[k].peer != r.reference ||
                row.cells[k].params != cell.params || gathered.metrics.empty() ||
                row.gathered[k].metrics.empty() || cell.peer == r.reference)
                continue;
            const Figure ratio =
                stats_ratio(gathered.metrics[0].second.values,
                            row.gathered[k].metrics[0].second.values);
            if (ratio.median > 0)
                out.ratio = ratio;
        }
        result.cells.push_back(std::move(out));
    }
    return result;
}

void progress_show(const Effort &effort, int pass, size_t done, size_t tasks,
                   double seconds, const char *what)
{
    fprintf(stderr, "\r%s: pass %d of up to %d, task %zu of %zu, %.0f s: %s\033[K",
            effort.name, pass + 1, effort.passes, done + 1, tasks, seconds, what);
    fflush(stderr);
}

} // namespace

std::string run_all(const RunOptions &options, Results &results)
{
    const uint64_t begin_ns = ticks_clock_ns();
    const CpuTimes times_before = environment_cpu_times();
    const Effort effort = effort_of(options.mode);
    results.environment = environment_gather();
    results.environment.cpu_pinned = options.cpu;
    const double hz = ticks_choose(&results.environment.clock);
    for (const Peer &peer : peers_all())
        results.peers.push_back({peer.name, peer.title,
                                 peer.library ? peer.library() : "", peer.note,
                                 peer.missing.empty()
                                     ? ""
                                     : "not built (package " + peer.missing + ")"});

    std::vector<Planned> rows;
    std::vector<Task> tasks;
    const uint64_t free_bytes = environment_free_bytes();
    size_t in_turns = 0; // cells that share a process
    for (const RowEntry &entry : rows_all()) {
        Planned row = {entry, row_cells(entry, {options.mode}), {}, {}, {}};
        std::map<std::string, Task> shared; // by what is preloaded
        std::vector<Task> own;
        bool any = false;
        row.gathered.resize(row.cells.size());
        for (size_t i = 0; i < row.cells.size(); i++) {
            const Cell &cell = row.cells[i];
            row.wanted.push_back(options.wanted(cell_name(entry.row, cell)));
            any |= row.wanted.back();
            row.unavailable.push_back(cell.unavailable);
            // A half, for the kernel's share and for who else is here.
            if (cell.memory_bytes > free_bytes / 2)
                row.unavailable.back() = "needs " + memory_text(2 * cell.memory_bytes) +
                                         " of free memory";
            if (!row.wanted.back() || !row.unavailable.back().empty())
                continue;
            if (cell.own_process) {
                own.push_back({rows.size(), {i}});
                continue;
            }
            Task &task = shared.try_emplace(cell.preload, Task{rows.size(), {}}).first->second;
            task.cells.push_back(i);
            in_turns += 1 + cell.alternatives.size();
        }
        if (!any)
            continue;
        for (const auto &[preload, task] : shared)
            tasks.push_back(task);
        tasks.insert(tasks.end(), own.begin(), own.end());
        rows.push_back(std::move(row));
    }

    // Half of the time for what is timed in turns; a tenth of it to warm up.
    const double share_ns = effort.seconds / 2 * 1e9 / effort.passes /
                            static_cast<double>(std::max<size_t>(in_turns, 1));
    const double batch_ns = std::clamp(share_ns / (effort.rounds * 1.2),
                                       effort.batch_ns_least, effort.batch_ns);
    results.method = {effort.name, 0, effort.rounds, static_cast<uint64_t>(batch_ns), 0};

    bool pinned = true;
    double longest_s = 0; // of a pass
    double limited_s = 0; // of what does not count
    for (int pass = 0; pass < effort.passes; pass++) {
        const double began_s = seconds_since(begin_ns);
        const double limited_before_s = limited_s;
        if (pass >= effort.least && began_s - limited_s + longest_s > effort.seconds)
            break;
        for (size_t t = 0; t < tasks.size(); t++) {
            Planned &row = rows[tasks[t].row];
            const Cell &first = row.cells[tasks[t].cells[0]];
            const bool limited = first.own_process && first.processes > 0;
            if (limited && pass >= first.processes)
                continue;
            if (options.progress)
                progress_show(effort, pass, t, tasks.size(), seconds_since(begin_ns),
                              tasks[t].cells.size() > 1
                                  ? row.entry.row.key
                                  : cell_name(row.entry.row, first).c_str());
            WorkerTask task;
            task.row = row.entry.row.key;
            task.cells = tasks[t].cells;
            task.preload = first.preload;
            task.mode = options.mode;
            task.cpu = options.cpu;
            task.rounds = effort.rounds;
            task.turn = pass;
            task.batch_ns = results.method.batch_ns;
            task.warm_up_ns = options.mode == Mode::SMOKE ? 0 : 2 * task.batch_ns;
            task.tsc_hz = hz;
            const double task_began_s = seconds_since(begin_ns);
            const WorkerReport report = worker_run(task);
            if (limited && !effort.limited_too)
                limited_s += seconds_since(begin_ns) - task_began_s;
            if (!report.failure.empty()) {
                if (options.progress)
                    fputs("\r\033[K", stderr);
                return report.failure;
            }
            for (const size_t cell : tasks[t].cells)
                if (!report.cells.contains(cell))
                    return cell_name(row.entry.row, row.cells[cell]) +
                           ": gave no figures";
            pinned &= report.pinned;
            results.environment.interrupted += report.interrupted;
            results.environment.speed_ns.push_back(report.speed_ns);
            report_merge(report, row);
        }
        results.method.processes = pass + 1;
        longest_s = std::max(longest_s, seconds_since(begin_ns) - began_s -
                                            (limited_s - limited_before_s));
    }
    if (options.progress)
        fputs("\r\033[K", stderr);
    if (!pinned)
        results.environment.cpu_pinned = -1;
    for (const Planned &row : rows)
        results.rows.push_back(row_result(row));

    // The TSC once more, now that the run is over.
    if (hz > 0 && std::fabs(ticks_calibrate(30) / hz - 1) > 1e-3)
        return "the TSC changed its speed during the run";
    results.environment.tsc_hz = hz;
    const CpuTimes times = environment_cpu_times();
    if (times.all > times_before.all)
        results.environment.steal_percent =
            100 * static_cast<double>(times.steal - times_before.steal) /
            static_cast<double>(times.all - times_before.all);
    results.method.seconds = seconds_since(begin_ns);
    return "";
}

std::vector<std::string> run_implausible(const Results &results)
{
    std::map<std::string, double> bound;
    for (const RowEntry &entry : rows_all())
        bound[entry.row.key] = entry.row.plausible_max;
    std::vector<std::string> lines;
    for (const RowResult &row : results.rows)
        for (const CellResult &cell : row.cells) {
            const std::string params = params_text(cell.params);
            const std::string name = row.key + "/" + cell.peer +
                                     (params.empty() ? "" : "/" + params);
            if (cell.unavailable.empty() && cell.metrics.empty())
                lines.push_back(name + ": no figures");
            for (const Metric &metric : cell.metrics) {
                const double value = metric.figure.median;
                if (std::isfinite(value) && value >= 0 && value < bound[row.key] &&
                    (metric.name != "time" || value > 0))
                    continue;
                char text[64];
                snprintf(text, sizeof text, ": %g is not plausible", value);
                lines.push_back(name + ": " + metric.name + text);
            }
        }
    return lines;
}
