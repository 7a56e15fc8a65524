// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

namespace {

using json = nlohmann::ordered_json;

// JSON has no infinity: such a bound is null.
json number(double value) { return std::isfinite(value) ? json(value) : json(); }

json figure_json(const Figure &figure)
{
    return {{"median", number(figure.median)},
            {"low", number(figure.low)},
            {"high", number(figure.high)}};
}

json params_json(const Params &params)
{
    json object = json::object();
    for (const auto &[key, value] : params)
        object[key] = value;
    return object;
}

Params params_read(const json &object)
{
    Params params;
    for (const auto &[key, value] : object.items())
        params.emplace_back(key, value.get<std::string>());
    return params;
}

Figure figure_read(const json &object)
{
    return {object.at("median"), object.at("low"), object.at("high")};
}

json environment_json(const Environment &e)
{
    return {{"cpu_model", e.cpu_model},
            {"cpus", e.cpus},
            {"cpu_pinned", e.cpu_pinned},
            {"kernel", e.kernel},
            {"governor", e.governor},
            {"thp", e.thp},
            {"hypervisor", e.hypervisor},
            {"compiler", e.compiler},
            {"flags", e.flags},
            {"commit", e.commit},
            {"version", e.version},
            {"date", e.date},
            {"clock", e.clock},
            {"tsc_hz", e.tsc_hz},
            {"steal_percent", e.steal_percent},
            {"interrupted", e.interrupted},
            {"speed_ns", e.speed_ns}};
}

const char *verdict_word(Verdict verdict)
{
    switch (verdict) {
    case Verdict::FASTER: return "faster";
    case Verdict::SLOWER: return "slower";
    case Verdict::NO_DIFFERENCE: break;
    }
    return "no difference";
}

json cell_json(const CellResult &cell)
{
    json metrics = json::array(), curves = json::array();
    for (const Metric &m : cell.metrics) {
        json object = {{"name", m.name}, {"unit", m.unit}};
        object.update(figure_json(m.figure));
        object["samples"] = m.samples;
        object["spread"] = number(m.spread);
        object["spread_flagged"] = m.spread_flagged;
        object["process_medians"] = m.process_medians;
        metrics.push_back(std::move(object));
    }
    for (const Curve &c : cell.curves)
        curves.push_back({{"name", c.name},
                          {"x_unit", c.x_unit},
                          {"y_unit", c.y_unit},
                          {"points", c.points}});
    json object = {{"peer", cell.peer}, {"params", params_json(cell.params)}};
    if (!cell.unavailable.empty())
        object["unavailable"] = cell.unavailable;
    object["metrics"] = std::move(metrics);
    if (!curves.empty())
        object["curves"] = std::move(curves);
    if (cell.ratio)
        object["ratio"] = figure_json(*cell.ratio);
    return object;
}

CellResult cell_read(const json &object)
{
    CellResult cell;
    cell.peer = object.at("peer");
    cell.params = params_read(object.at("params"));
    cell.unavailable = object.value("unavailable", "");
    for (const json &m : object.at("metrics"))
        cell.metrics.push_back({m.at("name"), m.at("unit"), figure_read(m),
                                m.at("samples"),
                                m.at("spread").is_null() ? 0.0 : m.at("spread").get<double>(),
                                m.at("spread_flagged"), m.at("process_medians")});
    if (object.contains("curves"))
        for (const json &c : object.at("curves"))
            cell.curves.push_back(
                {c.at("name"), c.at("x_unit"), c.at("y_unit"), c.at("points")});
    if (object.contains("ratio"))
        cell.ratio = figure_read(object.at("ratio"));
    return cell;
}

json baseline_json(const Baseline &baseline)
{
    json comparisons = json::array();
    for (const Comparison &c : baseline.comparisons)
        comparisons.push_back({{"row", c.row},
                               {"peer", c.peer},
                               {"params", params_json(c.params)},
                               {"metric", c.metric},
                               {"unit", c.unit},
                               {"now", number(c.now)},
                               {"before", number(c.before)},
                               {"ratio", figure_json(c.ratio)},
                               {"verdict", verdict_word(c.verdict)}});
    return {{"date", baseline.date},
            {"commit", baseline.commit},
            {"speed_ratio", baseline.speed_ratio},
            {"smallest_effect", baseline.smallest_effect},
            {"unmatched", baseline.unmatched},
            {"comparisons", std::move(comparisons)}};
}

} // namespace

std::string json_text(const Results &results)
{
    const Method &m = results.method;
    json peers = json::array(), rows = json::array();
    for (const PeerResult &p : results.peers)
        peers.push_back({{"name", p.name},
                         {"title", p.title},
                         {"library", p.library},
                         {"note", p.note},
                         {"missing", p.missing}});
    for (const RowResult &row : results.rows) {
        json cells = json::array();
        for (const CellResult &cell : row.cells)
            cells.push_back(cell_json(cell));
        rows.push_back({{"key", row.key},
                        {"title", row.title},
                        {"group", row.group},
                        {"unit", row.unit},
                        {"note", row.note},
                        {"less_is_better", row.less_is_better},
                        {"reference", row.reference},
                        {"cells", std::move(cells)}});
    }
    json root = {{"format", JSON_FORMAT},
                 {"environment", environment_json(results.environment)},
                 {"method",
                  {{"mode", m.mode},
                   {"processes", m.processes},
                   {"rounds", m.rounds},
                   {"batch_ns", m.batch_ns},
                   {"seconds", m.seconds},
                   {"interval_percent", 95}}},
                 {"peers", std::move(peers)},
                 {"rows", std::move(rows)}};
    if (results.baseline)
        root["baseline"] = baseline_json(*results.baseline);
    return root.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

bool json_write(const Results &results, const char *path, std::string *why)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *const file = standard ? stdout : fopen(path, "w");
    const std::string text = json_text(results);
    bool good = file && fwrite(text.data(), 1, text.size(), file) == text.size();
    good = good && fflush(file) == 0;
    const int error = errno;
    if (file && !standard && fclose(file) != 0)
        good = false;
    if (!good)
        *why = std::string("cannot write ") + path + ": " + strerror(error);
    return good;
}

bool json_read(const char *path, Results *results, std::string *why)
{
    std::ifstream file(path);
    std::stringstream text;
    if (!file || !(text << file.rdbuf())) {
        *why = std::string("cannot read ") + path;
        return false;
    }
    try {
        const json root = json::parse(text.str());
        if (root.at("format") != JSON_FORMAT) {
            *why = std::string(path) + ": of another version of this program";
            return false;
        }
        const json &e = root.at("environment"), &m = root.at("method");
        results->environment = {
            e.at("cpu_model"), e.at("cpus"),    e.at("cpu_pinned"),
            e.at("kernel"),    e.at("governor"), e.at("thp"),
            e.at("hypervisor"), e.at("compiler"), e.at("flags"),
            e.at("commit"),    e.at("version"), e.at("date"),
            e.at("clock"),     e.at("tsc_hz"),  e.at("steal_percent"),
            e.at("interrupted"), e.at("speed_ns")};
        results->method = {m.at("mode"), m.at("processes"), m.at("rounds"),
                           m.at("batch_ns"), m.at("seconds")};
        for (const json &p : root.at("peers"))
            results->peers.push_back({p.at("name"), p.at("title"), p.at("library"),
                                      p.at("note"), p.at("missing")});
        for (const json &row : root.at("rows")) {
            results->rows.push_back({row.at("key"), row.at("title"), row.at("group"),
                                     row.at("unit"), row.at("note"),
                                     row.at("less_is_better"), row.at("reference"), {}});
            for (const json &cell : row.at("cells"))
                results->rows.back().cells.push_back(cell_read(cell));
        }
    } catch (const json::exception &) {
        *why = std::string(path) + ": not a file that --json wrote";
        return false;
    }
    return true;
}
