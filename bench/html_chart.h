// SPDX-License-Identifier: Apache-2.0
//
// SVG drawings for the report. Colours are classes, which html.cpp's style
// sheets give a light and a dark value; each drawing has a title and a
// description, and nothing is told by colour alone.
#ifndef BENCH_HTML_CHART_H
#define BENCH_HTML_CHART_H

#include <string>
#include <utility>
#include <vector>

#include "results.h"

// For element content and quoted attributes; valid UTF-8 whatever came in.
std::string html_escape(const std::string &text);
// 3 or 4 digits, thousands in groups: "0.88", "141.7", "12 345".
std::string chart_number(double value, double like);
// Of an axis: "10k", "1M".
std::string chart_short(double value);

enum class Role { OWN, KIN, OTHER, LIMIT }; // KIN: a variant of the own one

struct Bar {
    std::string label, remark; // remark: "11.9 times"
    Figure figure;
    Role role = Role::OTHER;
};

// Ranked from the top; logarithmic where the bars differ by more than 50 times.
struct BarChart {
    std::string title, unit;
    std::vector<Bar> bars;
};

constexpr double CHART_WIDTH = 420;
double chart_bars_height(const BarChart &chart);
bool chart_bars_logarithmic(const BarChart &chart);
// What belongs into an <svg> of CHART_WIDTH by chart_bars_height().
std::string chart_bars_inner(const BarChart &chart);
std::string chart_bars(const BarChart &chart);

struct Point {
    double x = 0;
    Figure y;
};

struct Series {
    std::string label;
    size_t colour = 0, dash = 0;
    std::vector<Point> points; // x ascending
};

enum class XScale { LINEAR, LOGARITHMIC, NINES }; // NINES: percentiles

struct LineChart {
    std::string title, x_label, unit;
    XScale x_scale = XScale::LOGARITHMIC;
    std::vector<Series> series;
};

std::string chart_lines(const LineChart &chart); // with its legend

struct HeatCell {
    double row = 0, column = 0;
    Figure figure;
};

struct HeatMap {
    std::string title, row_label, column_label, unit;
    std::vector<double> rows, columns; // ascending
    double low = 0, high = 0;          // the scale, shared by maps side by side
    std::vector<HeatCell> cells;
};

std::string chart_heat(const HeatMap &map);

#endif
