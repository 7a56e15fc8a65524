// SPDX-License-Identifier: Apache-2.0
#include "html.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "html_chart.h"
#include "text.h"

namespace {

// ---- style: colours by name, then what uses them

// s0 to s9 are the peers', s0 jobswitch's own. All texts have a contrast of at
// least 4.5 to their background, all lines of at least 3.
constexpr const char *COLOURS_LIGHT =
    "--page:#fff;--text:#1a1d21;--soft:#565d66;--line:#dfe3e8;--panel:#f6f7f9;"
    "--own:#0b5fd0;--kin:#6d9fe4;--other:#99a2ad;--limit:#fff;--good:#0a6b3d;--bad:#b3261e;"
    "--s0:#0b5fd0;--s1:#b4480a;--s2:#0a7a5c;--s3:#9b2d86;--s4:#826400;--s5:#c22a3f;"
    "--s6:#4d5a66;--s7:#006e8c;--s8:#6b4fc0;--s9:#567310;";
constexpr const char *COLOURS_DARK =
    "--page:#14171b;--text:#e6e9ed;--soft:#a3acb7;--line:#30363e;--panel:#1c2026;"
    "--own:#6db3ff;--kin:#3d76b8;--other:#6d7782;--limit:#14171b;--good:#5fd39a;--bad:#ff8f86;"
    "--s0:#6db3ff;--s1:#ff9d5c;--s2:#4fd1a5;--s3:#e58ad2;--s4:#e0bd4a;--s5:#ff8090;"
    "--s6:#aab7c4;--s7:#5cc8e6;--s8:#b7a3ff;--s9:#a9cc5c;";

constexpr const char *STYLE_CHART =
    "text{font:13px system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;fill:var(--text)}"
    ".tick{fill:var(--soft);font-size:12px}.value{font-weight:600}"
    ".name.own,.value.own{font-weight:700;fill:var(--own)}"
    ".remark{fill:var(--soft)}"
    ".name,.value,.remark{paint-order:stroke;stroke:var(--page);stroke-width:5;stroke-linejoin:round}"
    ".grid{stroke:var(--line)}.axis{stroke:var(--soft)}"
    ".bar.own{fill:var(--own)}.bar.kin{fill:var(--kin)}.bar.other{fill:var(--other)}"
    ".bar.limit{fill:var(--limit);stroke:var(--soft);stroke-dasharray:3 2}"
    ".whisker{stroke:var(--text);stroke-width:1.5}.halo{stroke:var(--page);stroke-width:4}";

constexpr const char *STYLE_PAGE =
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:1040px;padding:24px 20px 64px;background:var(--page);"
    "color:var(--text);font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;"
    "overflow-wrap:anywhere}"
    "h1{font-size:1.75rem;line-height:1.2;margin:0 0 .4rem}"
    "h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .2rem;padding-top:1rem;"
    "border-top:1px solid var(--line)}"
    "h3{font-size:1rem;margin:1.6rem 0 .3rem}"
    "p{margin:.3rem 0 .8rem;max-width:46rem}.soft,figcaption span{color:var(--soft)}"
    "a{color:var(--own)}nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:0 0 1rem;"
    "padding:0;list-style:none}nav a{display:inline-block;padding:.2rem 0}"
    "code{font-size:.9em}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));"
    "gap:1.6rem 2.5rem;margin:1rem 0}"
    ".heats{grid-template-columns:repeat(auto-fill,minmax(min(100%,146px),1fr));"
    "gap:1.4rem 1.2rem}@media(min-width:700px){.heats{"
    "grid-template-columns:repeat(auto-fill,minmax(220px,1fr))}}"
    "figure{margin:0;min-width:0}figcaption{font-weight:600;line-height:1.35;margin-bottom:.5rem}"
    "figcaption span{display:block;font-weight:400;font-size:.875rem}"
    ".chart{display:block;width:100%;max-width:480px;height:auto}"
    ".heats .chart{max-width:280px}.heat{font-weight:500}.black{fill:#000}.white{fill:#fff}"
    ".curve{fill:none;stroke-width:1.8;stroke-linejoin:round}.curve.own{stroke-width:2.8}"
    ".d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 3}.d3{stroke-dasharray:9 3 2 3}"
    ".full{stroke:none}.hollow{stroke-width:1.8}svg .hollow{fill:var(--page)}"
    ".range{stroke-width:1.5;opacity:.6}.none{fill:var(--panel)}"
    ".legend{display:flex;flex-wrap:wrap;gap:.15rem 1rem;margin:.4rem 0 0;padding:0;"
    "list-style:none;font-size:.875rem}.legend svg{vertical-align:-2px}"
    ".box{overflow-x:auto;margin:.8rem 0;border:1px solid var(--line);border-radius:6px}"
    ".box:focus-visible{outline:2px solid var(--own)}"
    "table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.4;"
    "overflow-wrap:normal}"
    "caption{text-align:left;padding:.5rem .75rem;color:var(--soft);caption-side:top}"
    "th,td{padding:.32rem .75rem;text-align:left;vertical-align:top}"
    "thead th{background:var(--panel);white-space:nowrap;border-bottom:1px solid var(--line)}"
    "tbody tr:first-child>*{border-top:1px solid var(--line)}"
    "tbody th{font-weight:400;white-space:nowrap}tr.own>*{font-weight:650}"
    ".figures td{white-space:nowrap}.words td{min-width:9rem}.words td:last-child{min-width:16rem}"
    ".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".facts th{color:var(--soft);white-space:nowrap}.facts td{min-width:14rem}"
    ".flag{white-space:nowrap;color:var(--bad);font-weight:600}"
    ".good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}"
    "summary{cursor:pointer;padding:.3rem 0;color:var(--own)}"
    "caption span{display:block;position:sticky;left:.75rem;max-width:calc(min(100vw,1040px) - 4.5rem)}"
    "tbody th,thead th:first-child{position:sticky;left:0}tbody th{background:var(--page)}"
    "@media(max-width:500px){body{padding:16px 14px 48px}th,td{padding:.32rem .5rem}}"
    "@media print{.box{overflow:visible}}";

std::string style_text()
{
    std::string style = std::string(":root{color-scheme:light dark;") + COLOURS_LIGHT +
                        "}@media(prefers-color-scheme:dark){:root{" + COLOURS_DARK + "}}" +
                        STYLE_CHART;
    for (const char i : std::string("0123456789")) {
        const std::string s = std::string("s") + i;
        style += "." + s + "{stroke:var(--" + s + ")}.full." + s + "{fill:var(--" + s + ")}";
    }
    return style;
}

// ---- what is in the results

std::optional<double> number_of(const std::string &text)
{
    char *end = nullptr;
    const double value = strtod(text.c_str(), &end);
    if (text.empty() || *end || !std::isfinite(value))
        return {};
    return value;
}

const std::string *param_of(const CellResult &cell, const std::string &key)
{
    for (const auto &[name, value] : cell.params)
        if (name == key)
            return &value;
    return nullptr;
}

std::optional<double> param_number(const CellResult &cell, const std::string &key)
{
    const std::string *const text = param_of(cell, key);
    return text ? number_of(*text) : std::nullopt;
}

Params params_without(const Params &params, const std::set<std::string> &keys)
{
    Params rest;
    for (const auto &param : params)
        if (!keys.count(param.first))
            rest.push_back(param);
    return rest;
}

// "10000 jobs" reads better than "jobs=10000", "args 40" than "args=40".
std::string params_words(const Params &params)
{
    std::string words;
    for (const auto &[key, value] : params)
        words += (words.empty() ? "" : ", ") + key + " " + value;
    return words;
}

// Two parameters that are numbers of frames make heat maps.
constexpr const char *DEPTH_DOWN = "resume_frames", *DEPTH_ACROSS = "pause_frames";

bool is_depth(const CellResult &cell)
{
    return param_number(cell, DEPTH_DOWN) && param_number(cell, DEPTH_ACROSS);
}

bool is_limit(const CellResult &cell)
{
    if (is_depth(cell) || cell.metrics.empty())
        return false;
    return cell.peer == "limit" ||
           std::any_of(cell.params.begin(), cell.params.end(),
                       [](const auto &param) { return param.second == "limit"; });
}

bool is_headline(const RowResult &row)
{
    return row.key == "pause_resume" || row.key == "start_finish";
}

bool is_own(const std::string &peer) { return peer == "jobswitch"; }

using Cells = std::vector<const CellResult *>;

// The same order everywhere: peers as the results list them, others after them.
class Peers {
public:
    explicit Peers(const Results &results) : results_(results)
    {
        for (const PeerResult &peer : results.peers)
            names_.push_back(peer.name);
        for (const RowResult &row : results.rows)
            for (const CellResult &cell : row.cells)
                if (index(cell.peer) == names_.size())
                    names_.push_back(cell.peer);
        const auto own = std::find(names_.begin(), names_.end(), "jobswitch");
        if (own != names_.end())
            std::rotate(names_.begin(), own, own + 1);
        else
            names_.insert(names_.begin(), "jobswitch"); // colour 0 is nobody else's
    }
    size_t index(const std::string &name) const
    {
        return static_cast<size_t>(std::find(names_.begin(), names_.end(), name) -
                                   names_.begin());
    }
    std::string title(const std::string &name) const
    {
        for (const PeerResult &peer : results_.peers)
            if (peer.name == name && !peer.title.empty())
                return peer.title;
        return name;
    }

private:
    const Results &results_;
    std::vector<std::string> names_;
};

struct Page {
    const Results &results;
    Peers peers;
};

// ---- bars

Bar bar_of(const Page &page, const CellResult &cell, const Params &words)
{
    Bar bar;
    bar.label = page.peers.title(cell.peer);
    const std::string variant = params_words(words);
    if (!variant.empty())
        bar.label += ", " + variant;
    bar.figure = cell.metrics[0].figure;
    if (is_limit(cell)) {
        bar.role = Role::LIMIT;
        bar.label = "the limit";
    } else if (is_own(cell.peer)) {
        bar.role = Role::OWN;
    } else if (cell.peer.rfind("jobswitch", 0) == 0) {
        bar.role = Role::KIN;
    }
    if (cell.ratio)
        bar.remark = chart_number(cell.ratio->median, cell.ratio->median) + "\u00d7";
    return bar;
}

void bars_rank(BarChart &chart, bool less_is_better)
{
    std::stable_sort(chart.bars.begin(), chart.bars.end(), [&](const Bar &a, const Bar &b) {
        return less_is_better ? a.figure.median < b.figure.median
                              : a.figure.median > b.figure.median;
    });
}

// The cells that have figures, by their parameters, in the order of the row.
std::vector<std::pair<Params, Cells>> cells_by_params(const Cells &cells)
{
    std::vector<std::pair<Params, Cells>> groups;
    for (const CellResult *cell : cells) {
        auto at = std::find_if(groups.begin(), groups.end(), [&](const auto &group) {
            return group.first == cell->params;
        });
        if (at == groups.end())
            at = groups.insert(groups.end(), {cell->params, {}});
        at->second.push_back(cell);
    }
    return groups;
}

Cells measured(const RowResult &row)
{
    Cells cells;
    for (const CellResult &cell : row.cells)
        if (!cell.metrics.empty())
            cells.push_back(&cell);
    return cells;
}

// A chart for each set of parameters that several peers share, or one of all.
std::vector<BarChart> bar_charts(const Page &page, const RowResult &row, const Cells &cells)
{
    std::vector<BarChart> charts;
    const auto groups = cells_by_params(cells);
    const bool shared = std::any_of(groups.begin(), groups.end(),
                                    [](const auto &group) { return group.second.size() > 1; });
    if (!shared && !cells.empty()) {
        std::set<std::string> peers;
        for (const CellResult *cell : cells)
            peers.insert(cell->peer);
        BarChart chart = {row.title, cells[0]->metrics[0].unit, {}};
        for (const CellResult *cell : cells) {
            if (cell->metrics[0].unit != chart.unit)
                continue;
            Bar bar = bar_of(page, *cell, cell->params);
            std::string only; // of one peer, its name says nothing
            for (const auto &param : cell->params)
                only += (only.empty() ? "" : ", ") + param.second;
            if (peers.size() == 1 && !only.empty())
                bar.label = only;
            chart.bars.push_back(std::move(bar));
        }
        bars_rank(chart, row.less_is_better);
        charts.push_back(std::move(chart));
        return charts;
    }
    for (const auto &[params, group] : groups) {
        BarChart chart = {row.title, group[0]->metrics[0].unit, {}};
        if (!params.empty())
            chart.title += ", " + params_words(params);
        for (const CellResult *cell : group)
            if (cell->metrics[0].unit == chart.unit)
                chart.bars.push_back(bar_of(page, *cell, {}));
        bars_rank(chart, row.less_is_better);
        charts.push_back(std::move(chart));
    }
    return charts;
}

// The rows that sum it up: their first set of parameters, with the limit.
std::vector<BarChart> headline_charts(const Page &page)
{
    const CellResult *limit = nullptr;
    for (const RowResult &row : page.results.rows)
        for (const CellResult &cell : row.cells)
            if (!limit && is_limit(cell))
                limit = &cell;
    std::vector<BarChart> charts;
    const auto add = [&](const RowResult &row) {
        Cells cells = measured(row);
        cells.erase(std::remove_if(cells.begin(), cells.end(),
                                   [](const CellResult *cell) { return is_limit(*cell); }),
                    cells.end());
        std::vector<BarChart> all = bar_charts(page, row, cells);
        if (all.empty())
            return;
        if (limit && limit->metrics[0].unit.substr(0, 3) == all[0].unit.substr(0, 3)) {
            all[0].bars.push_back(bar_of(page, *limit, {}));
            bars_rank(all[0], row.less_is_better);
        }
        charts.push_back(std::move(all[0]));
    };
    for (const RowResult &row : page.results.rows)
        if (is_headline(row))
            add(row);
    for (const RowResult &row : page.results.rows)
        if (charts.empty() && row.group != "floor")
            add(row);
    if (charts.empty() && !page.results.rows.empty())
        add(page.results.rows[0]);
    return charts;
}

std::string bars_caption(const BarChart &chart)
{
    return chart.unit + (chart_bars_logarithmic(chart) ? "; logarithmic scale" : "");
}

std::string figure_text(const std::string &title, const std::string &caption,
                        const std::string &inner)
{
    return "<figure><figcaption>" + html_escape(title) + " <span>" + html_escape(caption) +
           "</span></figcaption>\n" + inner + "</figure>\n";
}

std::string bars_text(const std::vector<BarChart> &charts)
{
    std::string out = "<div class=\"charts\">\n";
    for (const BarChart &chart : charts)
        out += figure_text(chart.title, bars_caption(chart), chart_bars(chart));
    return out + "</div>\n";
}

// ---- lines

// The parameter to draw over: numbers above 0, three or more, up to ten times
// and more. "" if there is none.
std::string x_key(const Cells &cells)
{
    std::string best;
    size_t most = 2;
    std::map<std::string, std::set<double>> values;
    std::set<std::string> words;
    for (const CellResult *cell : cells)
        for (const auto &[key, text] : cell->params)
            if (const auto value = number_of(text); value && *value > 0)
                values[key].insert(*value);
            else
                words.insert(key);
    for (const auto &[key, set] : values)
        if (!words.count(key) && set.size() > most && *set.rbegin() >= 8 * *set.begin()) {
            best = key;
            most = set.size();
        }
    return best;
}

// A chart, or one for each value of a parameter if there are many lines.
void line_charts(const Page &page, const std::string &title, const std::string &x,
                 const Cells &cells, const Params &fixed, std::vector<LineChart> &charts)
{
    std::set<std::string> fixed_keys = {x};
    for (const auto &param : fixed)
        fixed_keys.insert(param.first);
    // Each has its dashes, the first a full line: that without a variant, if there is one.
    std::vector<Params> variants;
    for (const CellResult *cell : cells)
        if (params_without(cell->params, fixed_keys).empty()) {
            variants.emplace_back();
            break;
        }
    std::map<std::pair<size_t, size_t>, Series> lines;
    std::string unit;
    for (const CellResult *cell : cells) {
        const auto at = param_number(*cell, x);
        if (!at || (!unit.empty() && unit != cell->metrics[0].unit))
            continue;
        unit = cell->metrics[0].unit;
        const Params rest = params_without(cell->params, fixed_keys);
        const auto dash = static_cast<size_t>(
            std::find(variants.begin(), variants.end(), rest) - variants.begin());
        if (dash == variants.size())
            variants.push_back(rest);
        const size_t colour = page.peers.index(cell->peer);
        Series &line = lines[{colour, dash}];
        line.label = page.peers.title(cell->peer);
        if (!rest.empty())
            line.label += ", " + params_words(rest);
        line.colour = colour;
        line.dash = dash;
        line.points.push_back({*at, cell->metrics[0].figure});
    }
    if (lines.size() > 6) {
        std::map<std::string, std::vector<std::string>> values;
        std::vector<std::string> keys;
        for (const CellResult *cell : cells)
            for (const auto &[key, value] : cell->params) {
                if (fixed_keys.count(key))
                    continue;
                if (!values.count(key))
                    keys.push_back(key);
                std::vector<std::string> &of_key = values[key];
                if (std::find(of_key.begin(), of_key.end(), value) == of_key.end())
                    of_key.push_back(value);
            }
        // One that every cell has: else its peers would be torn apart.
        for (const std::string &key : keys) {
            if (values[key].size() < 2 ||
                !std::all_of(cells.begin(), cells.end(), [&](const CellResult *cell) {
                    return param_of(*cell, key);
                }))
                continue;
            for (const std::string &value : values[key]) {
                Cells some;
                for (const CellResult *cell : cells)
                    if (*param_of(*cell, key) == value)
                        some.push_back(cell);
                Params more = fixed;
                more.emplace_back(key, value);
                line_charts(page, title, x, some, more, charts);
            }
            return;
        }
    }
    LineChart chart = {title, x, unit, XScale::LOGARITHMIC, {}};
    if (!fixed.empty())
        chart.title += ", " + params_words(fixed);
    for (auto &[key, line] : lines) {
        std::sort(line.points.begin(), line.points.end(),
                  [](const Point &a, const Point &b) { return a.x < b.x; });
        chart.series.push_back(std::move(line));
    }
    charts.push_back(std::move(chart));
}

bool is_percentile(const Curve &curve)
{
    return curve.x_unit == "%" || curve.x_unit.find("percent") != std::string::npos ||
           curve.name.find("percent") != std::string::npos;
}

// A chart for each kind of curve and each set of parameters, a line a peer.
std::vector<LineChart> curve_charts(const Page &page, const RowResult &row)
{
    std::vector<LineChart> charts;
    std::map<std::pair<std::string, std::string>, size_t> found;
    for (const CellResult &cell : row.cells)
        for (const Curve &curve : cell.curves) {
            if (curve.points.empty())
                continue;
            const auto [at, fresh] =
                found.emplace(std::pair(curve.name, params_text(cell.params)), charts.size());
            if (fresh) {
                LineChart chart = {row.title + ", " + curve.name,
                                   is_percentile(curve) ? "percentile" : curve.x_unit,
                                   curve.y_unit, XScale::LINEAR, {}};
                if (!cell.params.empty())
                    chart.title += ", " + params_words(cell.params);
                if (is_percentile(curve))
                    chart.x_scale = XScale::NINES;
                else if (curve.points.front().first > 0 &&
                         curve.points.back().first > 20 * curve.points.front().first)
                    chart.x_scale = XScale::LOGARITHMIC;
                charts.push_back(std::move(chart));
            }
            Series line = {page.peers.title(cell.peer), page.peers.index(cell.peer), 0, {}};
            for (const auto &[x, y] : curve.points)
                if (charts[at->second].x_scale != XScale::LOGARITHMIC || x > 0)
                    line.points.push_back({x, {y, y, y}});
            charts[at->second].series.push_back(std::move(line));
        }
    return charts;
}

std::string lines_text(const std::vector<LineChart> &charts)
{
    std::string out = "<div class=\"charts\">\n";
    for (const LineChart &chart : charts)
        out += figure_text(chart.title,
                           chart.x_scale == XScale::NINES
                               ? chart.unit + ", by percentile; each step right is ten times as rare"
                               : chart.unit + ", by " + chart.x_label,
                           chart_lines(chart));
    return out + "</div>\n";
}

// ---- heat maps

std::string heats_text(const Page &page, const Cells &cells)
{
    std::vector<std::pair<std::string, HeatMap>> maps;
    std::set<double> rows, columns;
    double low = INFINITY, high = 0;
    const std::string unit = cells[0]->metrics[0].unit;
    for (const CellResult *cell : cells) {
        if (cell->metrics[0].unit != unit)
            continue;
        std::string title = page.peers.title(cell->peer);
        const Params rest = params_without(cell->params, {DEPTH_DOWN, DEPTH_ACROSS});
        if (!rest.empty())
            title += ", " + params_words(rest);
        auto at = std::find_if(maps.begin(), maps.end(),
                               [&](const auto &map) { return map.first == title; });
        if (at == maps.end()) {
            at = maps.insert(maps.end(), {title, {}});
            at->second.title = title;
            at->second.row_label = "resume";
            at->second.column_label = "pause";
            at->second.unit = unit;
        }
        const Figure &figure = cell->metrics[0].figure;
        const double down = *param_number(*cell, DEPTH_DOWN),
                     across = *param_number(*cell, DEPTH_ACROSS);
        at->second.cells.push_back({down, across, figure});
        rows.insert(down);
        columns.insert(across);
        if (figure.median > 0) {
            low = std::min(low, figure.median);
            high = std::max(high, figure.median);
        }
    }
    std::string out = "<p class=\"soft\">" + html_escape(unit) +
                      ", by how many frames lie above the resume (down) and the pause "
                      "(across); the same colours in all maps, darker is more.</p>\n"
                      "<div class=\"charts heats\">\n";
    for (auto &[title, map] : maps) {
        map.rows.assign(rows.begin(), rows.end());
        map.columns.assign(columns.begin(), columns.end());
        map.low = low;
        map.high = high;
        out += figure_text(title, "", chart_heat(map));
    }
    return out + "</div>\n";
}

// ---- tables

// words: text that may wrap
std::string box_open(const std::string &name, bool words = false)
{
    return "<div class=\"box\" role=\"region\" tabindex=\"0\" aria-label=\"" +
           html_escape(name) + "\"><table" +
           (words ? " class=\"words\">" : " class=\"figures\">");
}

std::string data(const std::string &text) { return "<td>" + html_escape(text) + "</td>"; }

std::string numeric(const std::string &text)
{
    return "<td class=\"n\">" + html_escape(text) + "</td>";
}

std::string interval(const Figure &figure)
{
    return chart_number(figure.low, figure.median) + " to " +
           chart_number(figure.high, figure.median);
}

std::string heads(const std::vector<std::string> &names, size_t numbers_from, size_t numbers_to)
{
    std::string out = "<thead><tr>";
    for (size_t i = 0; i < names.size(); i++)
        out += std::string("<th scope=\"col\"") +
               (i >= numbers_from && i < numbers_to ? " class=\"n\">" : ">") +
               html_escape(names[i]) + "</th>";
    return out + "</tr></thead>\n";
}

std::string row_table(const RowResult &row)
{
    std::vector<std::string> keys;
    bool named = false, units = false, ratios = false;
    Cells cells;
    for (const CellResult &cell : row.cells) {
        cells.push_back(&cell);
        ratios |= cell.ratio.has_value();
        for (const auto &param : cell.params)
            if (std::find(keys.begin(), keys.end(), param.first) == keys.end())
                keys.push_back(param.first);
        for (const Metric &metric : cell.metrics) {
            named |= metric.name != "time";
            units |= metric.unit != row.unit;
        }
    }
    std::vector<std::string> names = keys;
    names.insert(names.begin(), "peer");
    if (named)
        names.emplace_back("metric");
    const size_t before = names.size();
    for (const char *name : {"median", "95 % interval", "spread"})
        names.emplace_back(name);
    for (const char *name : {"ratio", "95 % interval"})
        if (ratios)
            names.emplace_back(name);
    const size_t numbers = names.size();
    if (units)
        names.emplace_back("unit");
    std::string out = box_open(row.title + ": all figures") + "<caption><span>" +
                      html_escape(row.title + (units ? "" : ", in " + row.unit)) +
                      (row.less_is_better ? "; less is better" : "; more is better");
    if (ratios)
        out += "; ratio: to " + html_escape(row.reference) + " with the same parameters";
    out += "</span></caption>\n" + heads(names, before, numbers);
    for (const auto &[params, group] : cells_by_params(cells)) {
        out += "<tbody>\n";
        for (const CellResult *cell : group) {
            std::string head = "<th scope=\"row\">" + html_escape(cell->peer) + "</th>";
            for (const std::string &key : keys) {
                const std::string *const value = param_of(*cell, key);
                const bool is_number = value && number_of(*value);
                head += is_number ? numeric(chart_number(*number_of(*value), 1e4))
                                  : data(value ? *value : "");
                if (is_number && *number_of(*value) != std::floor(*number_of(*value)))
                    head.replace(head.rfind("<td"), std::string::npos, numeric(*value));
            }
            if (!cell->unavailable.empty() || cell->metrics.empty())
                out += "<tr>" + head + "<td colspan=\"" +
                       std::to_string(names.size() - keys.size() - 1) + "\">not available" +
                       html_escape(cell->unavailable.empty() ? "" : ": " + cell->unavailable) +
                       "</td></tr>\n";
            for (size_t i = 0; i < cell->metrics.size(); i++) {
                const Metric &metric = cell->metrics[i];
                char spread[64];
                snprintf(spread, sizeof spread, "%.1f %%", 100 * metric.spread);
                out += (is_own(cell->peer) ? "<tr class=\"own\">" : "<tr>") + head;
                if (named)
                    out += data(metric.name);
                out += numeric(chart_number(metric.figure.median, metric.figure.median)) +
                       numeric(interval(metric.figure)) + "<td class=\"n\">" + spread +
                       (metric.spread_flagged ? " <span class=\"flag\">wide</span>" : "") +
                       "</td>";
                if (ratios)
                    out += cell->ratio && i == 0
                           ? numeric(chart_number(cell->ratio->median, cell->ratio->median) +
                                     "\u00d7") +
                                 numeric(interval(*cell->ratio))
                           : "<td class=\"n\"></td><td class=\"n\"></td>";
                out += (units ? data(metric.unit) : "") + "</tr>\n";
            }
        }
        out += "</tbody>\n";
    }
    return out + "</table></div>\n";
}

// Every point that a chart shows is a number somewhere.
std::string curves_table(const Page &page, const RowResult &row)
{
    std::string out;
    for (const LineChart &chart : curve_charts(page, row)) {
        std::set<double> xs;
        for (const Series &line : chart.series)
            for (const Point &point : line.points)
                xs.insert(point.x);
        if (xs.size() > 40) // a curve of many points: the chart has them as a text
            continue;
        std::vector<std::string> names = {"peer"};
        for (const double x : xs) {
            char text[32];
            snprintf(text, sizeof text, "%.8g", x);
            names.push_back((chart.x_scale == XScale::NINES ? "p" : "") + std::string(text));
        }
        out += box_open(chart.title) + "<caption><span>" +
               html_escape(chart.title + ", in " + chart.unit + ", by " + chart.x_label) +
               "</span></caption>\n" + heads(names, 1, names.size()) + "<tbody>\n";
        for (const Series &line : chart.series) {
            out += std::string(line.colour == 0 ? "<tr class=\"own\">" : "<tr>") +
                   "<th scope=\"row\">" + html_escape(line.label) + "</th>";
            for (const double x : xs) {
                const auto at = std::find_if(line.points.begin(), line.points.end(),
                                             [&](const Point &point) { return point.x == x; });
                out += numeric(at == line.points.end()
                                   ? ""
                                   : chart_number(at->y.median, at->y.median));
            }
            out += "</tr>\n";
        }
        out += "</tbody></table></div>\n";
    }
    return out;
}

// ---- sections

std::string row_text(const Page &page, const RowResult &row)
{
    std::string out = "<section id=\"row-" + html_escape(row.key) + "\"><h2>" +
                      html_escape(row.title) + "</h2>\n<p>" + html_escape(row.note) +
                      " <span class=\"soft\">(<code>" + html_escape(row.key) +
                      "</code>)</span></p>\n";
    Cells depth, flat;
    for (const CellResult *cell : measured(row))
        (is_depth(*cell) ? depth : flat).push_back(cell);
    const std::string x = x_key(flat);
    if (!x.empty()) {
        std::vector<LineChart> charts;
        line_charts(page, row.title, x, flat, {}, charts);
        out += lines_text(charts);
    } else if (flat.size() > 1) {
        constexpr size_t MOST = 8; // the table has the others
        std::vector<BarChart> charts = bar_charts(page, row, flat);
        if (charts.size() == 1 && is_headline(row)) // the report begins with it
            charts.clear();
        charts.resize(std::min(charts.size(), MOST));
        if (!charts.empty())
            out += bars_text(charts);
    }
    if (!depth.empty())
        out += heats_text(page, depth);
    const std::vector<LineChart> curves = curve_charts(page, row);
    if (!curves.empty())
        out += lines_text(curves);
    size_t lines = 0;
    for (const CellResult &cell : row.cells)
        lines += std::max<size_t>(1, cell.metrics.size());
    constexpr size_t LONG = 24;
    return out +
           (lines > LONG ? "<details><summary>All " + std::to_string(lines) +
                               " figures</summary>\n" + row_table(row) + "</details>\n"
                         : row_table(row)) +
           curves_table(page, row) + "</section>\n";
}

std::string baseline_text(const Baseline &baseline)
{
    size_t faster = 0, slower = 0;
    const auto rows = [&](bool told) {
        std::string out;
        for (const Comparison &c : baseline.comparisons) {
            const bool time =
                c.unit.compare(0, 2, "ns") == 0 || c.unit.compare(0, 2, "us") == 0;
            const bool same = c.verdict == Verdict::NO_DIFFERENCE;
            if (same == told)
                continue;
            const bool good = c.verdict == Verdict::FASTER;
            out += "<tr><th scope=\"row\">" + html_escape(c.row + "/" + c.peer) + "</th>" +
                   data(params_words(c.params)) + data(c.metric) +
                   numeric(chart_number(c.before, c.before)) +
                   numeric(chart_number(c.now, c.now)) +
                   numeric(chart_number(c.ratio.median, c.ratio.median)) +
                   numeric(interval(c.ratio)) + "<td" +
                   (same ? ">no difference" : good ? " class=\"good\">" : " class=\"bad\">") +
                   (same   ? ""
                    : good ? time ? "\u25bc faster" : "\u25b2 better"
                    : time ? "\u25b2 slower"
                           : "\u25bc worse") +
                   "</td>" + data(c.unit) + "</tr>\n";
        }
        return out;
    };
    for (const Comparison &c : baseline.comparisons) {
        faster += c.verdict == Verdict::FASTER;
        slower += c.verdict == Verdict::SLOWER;
    }
    const auto table = [&](const std::string &name, const std::string &body) {
        return box_open(name) + "<caption><span>" + html_escape(name) + "</span></caption>\n" +
               heads({"cell", "with", "metric", "before", "now", "now by before",
                      "interval of all rows together", "verdict", "unit"},
                     3, 7) +
               "<tbody>\n" + body + "</tbody></table></div>\n";
    };
    const size_t same = baseline.comparisons.size() - faster - slower;
    char effect[96], machine[96];
    snprintf(effect, sizeof effect, "Changes below %.0f\u00a0%% are not told. ",
             100 * baseline.smallest_effect);
    snprintf(machine, sizeof machine, "The machine itself took %.3f times as long as then. ",
             baseline.speed_ratio);
    std::string out = "<section id=\"baseline\"><h2>Beside the baseline</h2>\n<p><strong>" +
                      std::to_string(faster) + " faster or better, " + std::to_string(slower) +
                      " slower or worse, " + std::to_string(same) +
                      " no difference.</strong> The baseline is of " +
                      html_escape(baseline.date + ", commit " + baseline.commit) + " (" +
                      html_escape(baseline.path) + "). " + effect + machine +
                      (baseline.unmatched
                           ? std::to_string(baseline.unmatched) +
                                 " figures are in one of the two runs only."
                           : "") +
                      "</p>\n";
    if (faster + slower)
        out += table("what differs", rows(true));
    if (same)
        out += "<details><summary>What shows no difference (" + std::to_string(same) +
               ")</summary>\n" + table("no difference", rows(false)) + "</details>\n";
    return out + "</section>\n";
}

std::string peers_text(const Page &page)
{
    std::string out = "<section id=\"peers\"><h2>What was compared</h2>\n" +
                      box_open("peers", true) + "<caption><span>Each peer, what it is, and what gives it an "
                      "advantage or a handicap</span></caption>\n" +
                      heads({"peer", "is", "library", "note"}, 9, 9) + "<tbody>\n";
    for (const PeerResult &peer : page.results.peers)
        out += std::string(is_own(peer.name) ? "<tr class=\"own\">" : "<tr>") +
               "<th scope=\"row\">" + html_escape(peer.name) + "</th>" + data(peer.title) +
               (peer.missing.empty() ? data(peer.library)
                                     : "<td><strong>skipped</strong>: " +
                                           html_escape(peer.missing) + "</td>") +
               data(peer.note) + "</tr>\n";
    return out + "</tbody></table></div></section>\n";
}

std::string environment_text(const Results &results)
{
    std::string out = "<section id=\"environment\"><h2>Where and how it was measured</h2>\n"
                      "<p>Medians of all batches; intervals are 95 %, bootstrapped over processes "
                      "and rounds. <em>wide</em> marks a figure whose values (the middle half) "
                      "spread over more than 5 %.</p>\n"
                      "<div class=\"box\" role=\"region\" tabindex=\"0\" "
                      "aria-label=\"environment\"><table class=\"facts\"><tbody>\n";
    for (const auto &[name, value] : text_environment(results)) {
        // Peers have a table of their own, and only the first line is named.
        if (name.empty() || name == "peers")
            continue;
        out += "<tr><th scope=\"row\">" + html_escape(name) + "</th>" + data(value) + "</tr>\n";
    }
    return out + "</tbody></table></div></section>\n";
}

std::string compared_text(const Page &page)
{
    std::vector<std::string> titles;
    for (const PeerResult &peer : page.results.peers)
        if (peer.name.rfind("jobswitch", 0) != 0 && peer.missing.empty())
            titles.push_back(peer.title.empty() ? peer.name : peer.title);
    std::string out = "jobswitch";
    for (size_t i = 0; i < titles.size(); i++)
        out += (i == 0 ? " beside " : i + 1 == titles.size() ? " and " : ", ") + titles[i];
    return out;
}

std::string place_text(const Results &results)
{
    const Environment &e = results.environment;
    return e.cpu_model + (e.hypervisor.empty() || e.hypervisor == "none"
                              ? ""
                              : ", under " + e.hypervisor) +
           "; " + e.date.substr(0, 10) + ", commit " + e.commit;
}

// ---- files

bool file_write(const std::string &text, const char *path, std::string *why)
{
    FILE *const file = fopen(path, "w");
    bool good = file && fwrite(text.data(), 1, text.size(), file) == text.size();
    const int error = errno;
    if (file && fclose(file) != 0)
        good = false;
    if (!good)
        *why = std::string("cannot write ") + path + ": " + strerror(error);
    return good;
}

} // namespace

std::string html_text(const Results &results)
{
    const Page page = {results, Peers(results)};
    const Method &m = results.method;
    std::string out =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<title>jobswitch-bench: " +
        html_escape(place_text(results)) + "</title>\n<style>" + style_text() + STYLE_PAGE +
        "</style></head>\n<body>\n<header><h1>What a job switch costs</h1>\n<p>" +
        html_escape(compared_text(page)) + ".</p>\n<p class=\"soft\">" +
        html_escape(place_text(results)) + "; a " + html_escape(m.mode) + " run of " +
        std::to_string(m.processes) + " processes.</p></header>\n<main>\n" +
        bars_text(headline_charts(page)) +
        "<p class=\"soft\">Fastest first; whiskers are 95 % intervals; \u00d7 is how many "
        "times as long as jobswitch takes.</p>\n<nav aria-label=\"Contents\"><ul>\n";
    if (results.baseline)
        out += "<li><a href=\"#baseline\">baseline</a></li>\n";
    for (const RowResult &row : results.rows)
        out += "<li><a href=\"#row-" + html_escape(row.key) + "\">" + html_escape(row.title) +
               "</a></li>\n";
    out += "<li><a href=\"#peers\">peers</a></li><li><a href=\"#environment\">environment</a>"
           "</li></ul></nav>\n";
    if (results.baseline)
        out += baseline_text(*results.baseline);
    for (const RowResult &row : results.rows)
        out += row_text(page, row);
    return out + peers_text(page) + environment_text(results) + "</main></body></html>\n";
}

bool html_write(const Results &results, const char *path, std::string *why)
{
    return file_write(html_text(results), path, why);
}

std::string chart_text(const Results &results)
{
    const Page page = {results, Peers(results)};
    const std::vector<BarChart> charts = headline_charts(page);
    constexpr double margin = 20, gap = 48, head = 64, foot = 34;
    const auto count = static_cast<double>(std::max<size_t>(1, charts.size()));
    double tallest = 0;
    std::string description;
    for (const BarChart &chart : charts) {
        tallest = std::max(tallest, chart_bars_height(chart));
        description += chart.title + ", " + chart.unit + ": ";
        for (const Bar &bar : chart.bars)
            description += bar.label + " " +
                           chart_number(bar.figure.median, bar.figure.median) + "; ";
    }
    const double width = 2 * margin + CHART_WIDTH * count + gap * (count - 1);
    const double height = head + tallest + foot;
    char size[160];
    snprintf(size, sizeof size, "viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\"",
             width, height, width, height);
    std::string out = std::string("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" ") +
                      size + ">\n<title>What a job switch costs</title><desc>" +
                      html_escape(description + place_text(results)) + "</desc>\n<style>" +
                      style_text() +
                      ".page{fill:var(--page);stroke:var(--line)}.head{font-size:15px;"
                      "font-weight:700}</style>\n<rect class=\"page\" x=\"0.5\" y=\"0.5\" rx=\"8\" ";
    snprintf(size, sizeof size, "width=\"%.0f\" height=\"%.0f\"/>\n", width - 1, height - 1);
    out += size;
    double x = margin;
    for (const BarChart &chart : charts) {
        snprintf(size, sizeof size, "<g transform=\"translate(%.0f %.0f)\">\n", x, head);
        out += size;
        out += "<text class=\"head\" x=\"0\" y=\"-32\">" + html_escape(chart.title) +
               "</text><text class=\"tick\" x=\"0\" y=\"-14\">" +
               html_escape(bars_caption(chart)) + "</text>\n" + chart_bars_inner(chart) +
               "</g>\n";
        x += CHART_WIDTH + gap;
    }
    snprintf(size, sizeof size, "<text class=\"tick\" x=\"%.0f\" y=\"%.0f\">", margin,
             height - 14);
    return out + size + html_escape(place_text(results)) + "</text>\n</svg>\n";
}

bool chart_write(const Results &results, const char *path, std::string *why)
{
    return file_write(chart_text(results), path, why);
}
