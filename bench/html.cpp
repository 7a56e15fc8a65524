// SPDX-License-Identifier: Apache-2.0
#include "html.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "text.h"

namespace {

std::string escaped(const std::string &text)
{
    std::string out;
    for (const char c : text)
        switch (c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        default: out += c;
        }
    return out;
}

std::string cell_of(const std::string &text) { return "<td>" + escaped(text) + "</td>"; }

std::string page(const Results &results)
{
    std::string out =
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width\">\n"
        "<title>jobswitch-bench</title>\n<style>:root{color-scheme:light dark}"
        "body{font:16px system-ui,sans-serif;margin:1em}table{border-collapse:collapse}"
        "td,th{padding:.2em .8em .2em 0;text-align:left}div{overflow-x:auto}"
        "</style></head><body>\n<h1>jobswitch-bench</h1>\n<div><table>\n";
    for (const auto &[name, value] : text_environment(results))
        out += "<tr>" + cell_of(name) + cell_of(value) + "</tr>\n";
    out += "</table></div>\n";
    for (const RowResult &row : results.rows) {
        out += "<h2>" + escaped(row.title) + "</h2>\n<p>" + escaped(row.note) +
               "</p>\n<div><table>\n<tr><th>peer<th>with<th>metric<th>median [95 %]"
               "<th>unit<th>times the reference</tr>\n";
        for (const CellResult &cell : row.cells) {
            const std::string head = cell_of(cell.peer) + cell_of(params_text(cell.params));
            if (!cell.unavailable.empty())
                out += "<tr>" + head + cell_of("not available: " + cell.unavailable) +
                       "</tr>\n";
            for (const Metric &metric : cell.metrics)
                out += "<tr>" + head + cell_of(metric.name) +
                       cell_of(text_figure(metric.figure)) + cell_of(metric.unit) +
                       cell_of(cell.ratio && &metric == &cell.metrics[0]
                                   ? text_figure(*cell.ratio)
                                   : "") +
                       "</tr>\n";
        }
        out += "</table></div>\n";
    }
    return out + "</body></html>\n";
}

} // namespace

bool html_write(const Results &results, const char *path, std::string *why)
{
    const std::string text = page(results);
    FILE *const file = fopen(path, "w");
    bool good = file && fwrite(text.data(), 1, text.size(), file) == text.size();
    const int error = errno;
    if (file && fclose(file) != 0)
        good = false;
    if (!good)
        *why = std::string("cannot write ") + path + ": " + strerror(error);
    return good;
}
