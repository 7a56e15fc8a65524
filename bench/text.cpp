// SPDX-License-Identifier: Apache-2.0
#include "text.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace {

std::string format(const char *pattern, double value)
{
    char text[64];
    snprintf(text, sizeof text, pattern, value);
    return text;
}

std::string name_of(const CellResult &cell)
{
    const std::string params = params_text(cell.params);
    return cell.peer + (params.empty() ? "" : " " + params);
}

// What a row's lines are sorted to: all peers of one set of parameters together.
std::vector<const CellResult *> by_params(const RowResult &row)
{
    std::vector<const Params *> seen;
    std::vector<const CellResult *> cells;
    for (const CellResult &first : row.cells) {
        if (std::any_of(seen.begin(), seen.end(),
                        [&](const Params *p) { return *p == first.params; }))
            continue;
        seen.push_back(&first.params);
        for (const CellResult &cell : row.cells)
            if (cell.params == first.params)
                cells.push_back(&cell);
    }
    return cells;
}

void line_print(std::string line)
{
    line.erase(line.find_last_not_of(' ') + 1);
    puts(line.c_str());
}

std::string padded(const std::string &text, int width) // < 0: to the left
{
    const std::string blanks(
        static_cast<size_t>(std::max(0, std::abs(width) - static_cast<int>(text.size()))), ' ');
    return width < 0 ? text + blanks : blanks + text;
}

void row_print(const RowResult &row, bool &flagged)
{
    printf("\n%s (%s), %s\n", row.title.c_str(), row.key.c_str(), row.unit.c_str());
    size_t width = 0;
    for (const CellResult &cell : row.cells)
        width = std::max(width, name_of(cell).size());
    const int columns = -static_cast<int>(width);
    for (const CellResult *cell : by_params(row)) {
        std::string name = padded(name_of(*cell), columns);
        if (!cell->unavailable.empty())
            line_print("  " + name + "  not available: " + cell->unavailable);
        for (size_t i = 0; i < cell->metrics.size(); i++) {
            const Metric &m = cell->metrics[i];
            std::string line = "  " + name + " " + padded(text_figure(m.figure), 26) +
                               (m.spread_flagged ? "~" : " ");
            line += padded(i == 0 && cell->ratio ? "  x " + text_figure(*cell->ratio) : "", -24);
            if (m.name != "time")
                line += "  " + m.name + ", " + m.unit;
            line_print(line);
            flagged |= m.spread_flagged;
            name = padded("", columns);
        }
    }
}

// ---- two peers side by side

// The peers of rows of one metric, if they are two and one is the reference.
std::vector<std::string> two_peers(const Results &results)
{
    std::vector<std::string> peers;
    for (const RowResult &row : results.rows)
        for (const CellResult &cell : row.cells) {
            if (cell.metrics.size() > 1)
                return {};
            if (std::find(peers.begin(), peers.end(), cell.peer) == peers.end())
                peers.push_back(cell.peer);
        }
    if (peers.size() != 2 || results.rows[0].reference != peers[0])
        return {};
    return peers;
}

void side_by_side_print(const Results &results, const std::vector<std::string> &peers,
                        bool &flagged)
{
    line_print("\n" + padded("", -40) + padded(peers[0], 22) + " " + padded(peers[1], 22) +
               " " + padded("ratio", 20));
    std::string unit;
    for (const RowResult &row : results.rows) {
        if (row.unit != unit)
            printf("%s\n", row.unit.c_str());
        unit = row.unit;
        for (const CellResult *first : by_params(row)) {
            if (first->peer != peers[0])
                continue;
            std::string name = row.title;
            if (!first->params.empty())
                name += ", " + params_text(first->params);
            std::string line = padded("  " + name, -40), ratio = "-";
            for (const std::string &peer : peers) {
                std::string figure = "-";
                char mark = ' ';
                for (const CellResult &cell : row.cells) {
                    if (cell.peer != peer || cell.params != first->params ||
                        cell.metrics.empty())
                        continue;
                    figure = text_figure(cell.metrics[0].figure);
                    if (cell.metrics[0].spread_flagged)
                        mark = '~';
                    if (cell.ratio)
                        ratio = text_figure(*cell.ratio);
                }
                line += padded(figure, 22) + mark;
                flagged |= mark == '~';
            }
            line_print(line + padded(ratio, 20));
        }
    }
}

const char *verdict_text(const Comparison &c)
{
    const bool time = c.unit.compare(0, 2, "ns") == 0 || c.unit.compare(0, 2, "us") == 0;
    switch (c.verdict) {
    case Verdict::FASTER: return time ? "faster" : "better";
    case Verdict::SLOWER: return time ? "slower" : "worse";
    case Verdict::NO_DIFFERENCE: break;
    }
    return "no difference";
}

void baseline_print(const Baseline &b)
{
    size_t same = 0, width = 0;
    for (const Comparison &c : b.comparisons)
        width = std::max(width, c.row.size() + c.peer.size() +
                                    params_text(c.params).size() + c.metric.size() + 3);
    printf("\nBeside the run of %s, commit %s: now / before, and the interval of all "
           "rows together\n",
           b.date.c_str(), b.commit.c_str());
    for (const Comparison &c : b.comparisons) {
        std::string name = c.row + "/" + c.peer;
        if (!c.params.empty())
            name += "/" + params_text(c.params);
        if (c.metric != "time")
            name += " " + c.metric;
        printf("  %-*s %10s / %-10s %26s  %s\n", static_cast<int>(width), name.c_str(),
               text_number(c.now, c.now).c_str(),
               text_number(c.before, c.before).c_str(), text_figure(c.ratio).c_str(),
               verdict_text(c));
        same += c.verdict == Verdict::NO_DIFFERENCE;
    }
    printf("%zu of %zu show no difference of %.0f %% or more", same,
           b.comparisons.size(), 100 * b.smallest_effect);
    if (b.unmatched)
        printf("; %zu are in one of the two runs only", b.unmatched);
    printf(".\n");
    if (std::fabs(b.speed_ratio - 1) > 0.01)
        printf("The machine itself ran %.1f %% %s than then.\n",
               100 * std::fabs(b.speed_ratio - 1), b.speed_ratio > 1 ? "slower" : "faster");
}

} // namespace

std::string text_number(double value, double like)
{
    like = std::fabs(like);
    return format(like < 10 ? "%.2f" : like < 1000 ? "%.1f" : "%.0f", value);
}

std::string text_figure(const Figure &figure)
{
    return text_number(figure.median, figure.median) + " [" +
           text_number(figure.low, figure.median) + ", " +
           text_number(figure.high, figure.median) + "]";
}

std::vector<std::pair<std::string, std::string>> text_environment(const Results &results)
{
    const Environment &e = results.environment;
    const Method &m = results.method;
    std::vector<std::pair<std::string, std::string>> lines;
    lines.emplace_back("CPU", e.cpu_model + ", " +
                                  (e.cpu_pinned < 0 ? "not pinned: the system did not allow it"
                                                    : "pinned to CPU " + std::to_string(e.cpu_pinned) +
                                                          " of " + std::to_string(e.cpus)));
    lines.emplace_back("kernel", e.kernel + ", governor " + e.governor +
                                     ", transparent huge pages " + e.thp +
                                     ", hypervisor " + e.hypervisor);
    lines.emplace_back("compiler", e.compiler + ", " + e.flags);
    lines.emplace_back("program", "jobswitch-bench " + e.version + ", commit " + e.commit +
                                      ", run on " + e.date);
    lines.emplace_back("clock", e.tsc_hz > 0
                                    ? e.clock + " at " + format("%.6f GHz", e.tsc_hz / 1e9)
                                    : e.clock);
    const char *name = "peers";
    for (const PeerResult &peer : results.peers) {
        const bool measured = std::any_of(
            results.rows.begin(), results.rows.end(), [&](const RowResult &row) {
                return std::any_of(row.cells.begin(), row.cells.end(), [&](const CellResult &c) {
                    return c.peer == peer.name;
                });
            });
        if (!measured && peer.missing.empty())
            continue;
        lines.emplace_back(name, peer.name + ": " +
                                     (peer.missing.empty() ? peer.library
                                                           : "skipped: " + peer.missing));
        name = "";
    }
    lines.emplace_back("method", m.mode + ": " + std::to_string(m.processes) +
                                     " processes x " + std::to_string(m.rounds) +
                                     " rounds, batches of " + std::to_string(m.batch_ns / 1000) +
                                     " us, peers in turns; " + format("%.0f s", m.seconds));
    lines.emplace_back("disturbed", "interrupted " + std::to_string(e.interrupted) +
                                        " times, steal " + format("%.2f %%", e.steal_percent));
    return lines;
}

void text_print(const Results &results)
{
    for (const auto &[name, value] : text_environment(results))
        printf("%-10s %s\n", name.c_str(), value.c_str());
    printf("\nmedian [95 %% interval]; x, ratio: how many times as long as the row's "
           "reference, jobswitch\n");
    bool flagged = false;
    const std::vector<std::string> peers = two_peers(results);
    if (!peers.empty())
        side_by_side_print(results, peers, flagged);
    else
        for (const RowResult &row : results.rows)
            row_print(row, flagged);
    if (flagged)
        printf("\n~ the middle half of the values spreads over more than 5 %%\n");
    if (results.baseline)
        baseline_print(*results.baseline);
}
