// SPDX-License-Identifier: Apache-2.0
#include "html_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "text.h"

namespace {

__attribute__((format(printf, 1, 2))) std::string format(const char *pattern, ...)
{
    char text[512];
    va_list list;
    va_start(list, pattern);
    vsnprintf(text, sizeof text, pattern, list);
    va_end(list);
    return text;
}

// How many bytes of UTF-8 begin at `at`; 0 if none that is valid do.
size_t utf8_length(const std::string &text, size_t at)
{
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = byte < 0x80                 ? 1
                          : byte >= 0xc2 && byte < 0xe0 ? 2
                          : byte >= 0xe0 && byte < 0xf0 ? 3
                          : byte >= 0xf0 && byte < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || at + length > text.size())
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80)
            return 0;
    return length;
}

std::string unit_word(const std::string &unit) { return unit.substr(0, unit.find(' ')); }

std::string range_text(const Figure &figure)
{
    return chart_number(figure.median, figure.median) + " [" +
           chart_number(figure.low, figure.median) + ", " +
           chart_number(figure.high, figure.median) + "]";
}

std::string text_at(double x, double y, const char *attributes, const std::string &text)
{
    return format("<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes) + html_escape(text) +
           "</text>";
}

std::string rule(const char *of_class, double x1, double y1, double x2, double y2)
{
    return format("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                  of_class, x1, y1, x2, y2);
}

std::string svg_open(double width, double height, const std::string &title,
                     const std::string &description)
{
    return format("<svg class=\"chart\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">", width, height) +
           "<title>" + html_escape(title) + "</title><desc>" + html_escape(description) +
           "</desc>\n";
}

// 1, 2, 5 by powers of ten in [low, high]; only powers of ten if those suffice.
std::vector<double> ticks_logarithmic(double low, double high)
{
    std::vector<double> ticks;
    const bool fine = high / low < 150;
    for (double power = std::floor(std::log10(low)); power <= std::log10(high) + 1; power++)
        for (const double step : {1.0, 2.0, 5.0}) {
            const double value = step * std::pow(10, power);
            if (value >= low * 0.999 && value <= high * 1.001 && (fine || step == 1.0))
                ticks.push_back(value);
        }
    return ticks;
}

double step_linear(double high, int most)
{
    const double power = std::pow(10, std::floor(std::log10(high / most)));
    for (const double step : {1.0, 2.0, 5.0, 10.0})
        if (high / (step * power) <= most)
            return step * power;
    return 10 * power;
}

// ---- marks: a shape for each peer, full, hollow, or of strokes

// Which of s0 to s9; s0 is nobody else's.
size_t colour_class(size_t colour) { return colour == 0 ? 0 : 1 + (colour - 1) % 9; }

std::string mark(size_t colour, double x, double y)
{
    constexpr size_t SHAPES = 15;
    const size_t shape = colour % SHAPES;
    const std::string of_class =
        format("class=\"%s s%zu\"", shape < 5 ? "full" : "hollow", colour_class(colour));
    if (shape >= 10) {
        static constexpr const char *STROKES[] = {
            "m-4 -4l8 8m0 -8l-8 8", "m0 -5v10m-5 -5h10", "m0 -5v10m-4.3 -7.5l8.6 5m0 -5l-8.6 5",
            "m0 -5v10", "m-4 -4l8 8"};
        return format("<path %s d=\"M%.1f %.1f%s\"/>", of_class.c_str(), x, y,
                      STROKES[shape - 10]);
    }
    switch (shape % 5) {
    case 0: return format("<circle %s cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", of_class.c_str(), x, y);
    case 1:
        return format("<rect %s x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\"/>",
                      of_class.c_str(), x - 3.5, y - 3.5);
    case 2:
        return format("<path %s d=\"M%.1f %.1fl4.6 8h-9.2z\"/>", of_class.c_str(), x, y - 4.8);
    case 3:
        return format("<path %s d=\"M%.1f %.1fl5 5l-5 5l-5 -5z\"/>", of_class.c_str(), x, y - 5);
    default:
        return format("<path %s d=\"M%.1f %.1fl-4.6 -8h9.2z\"/>", of_class.c_str(), x, y + 4.8);
    }
}

std::string stroke_class(const Series &series)
{
    return format("curve s%zu d%zu%s", colour_class(series.colour), series.dash % 4,
                  series.colour == 0 ? " own" : "");
}

// ---- heat: from light to dark, by how dark the cell's text contrasts

struct Rgb {
    double r, g, b;
};

Rgb heat_colour(double at)
{
    static constexpr Rgb stops[] = {
        {255, 247, 214}, {254, 210, 118}, {240, 130, 62}, {196, 48, 62}, {98, 14, 74}};
    const double scaled = std::clamp(at, 0.0, 1.0) * 4;
    const size_t below = std::min<size_t>(3, static_cast<size_t>(scaled));
    const double part = scaled - static_cast<double>(below);
    const auto mix = [&](double a, double b) { return a + (b - a) * part; };
    const Rgb &a = stops[below], &b = stops[below + 1];
    return {mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)};
}

double luminance(const Rgb &colour)
{
    const auto linear = [](double c) {
        c /= 255;
        return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
    };
    return 0.2126 * linear(colour.r) + 0.7152 * linear(colour.g) + 0.0722 * linear(colour.b);
}

} // namespace

std::string html_escape(const std::string &text)
{
    std::string out;
    for (size_t i = 0; i < text.size();) {
        const size_t length = utf8_length(text, i);
        const char c = text[i];
        if (length == 0)
            out += '?';
        else if (length > 1)
            out += text.substr(i, length);
        else if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else
            out += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? ' ' : c;
        i += std::max<size_t>(length, 1);
    }
    return out;
}

std::string chart_number(double value, double like)
{
    if (!std::isfinite(value))
        return std::isnan(value) ? "?" : value > 0 ? "\u221e" : "-\u221e";
    std::string text = text_number(value, like);
    const size_t point = std::min(text.find('.'), text.size());
    const size_t begin = text[0] == '-';
    if (point - begin > 4 && text.find('e') == std::string::npos)
        for (size_t i = point; i > begin + 3; i -= 3)
            text.insert(i - 3, "\u202f"); // a narrow blank that does not break
    return text;
}

std::string chart_short(double value)
{
    static constexpr std::pair<double, const char *> units[] = {
        {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
    for (const auto &[size, letter] : units)
        if (value >= size * 0.9999)
            return format("%.4g%s", value / size, letter);
    return format("%.4g", value);
}

// ---- bars: name and figure on a line, the bar below it, so that any width will do

namespace {
constexpr double BAR_PITCH = 40, BARS_TOP = 6, BARS_AXIS = 24;

double bars_high(const BarChart &chart)
{
    double high = 0;
    for (const Bar &bar : chart.bars)
        high = std::max({high, bar.figure.median,
                         std::isfinite(bar.figure.high) ? bar.figure.high : 0});
    return high > 0 ? high : 1;
}

double bars_low(const BarChart &chart) // the least above 0
{
    double low = bars_high(chart);
    for (const Bar &bar : chart.bars)
        if (bar.figure.median > 0)
            low = std::min(low, bar.figure.median);
    return low;
}
} // namespace

double chart_bars_height(const BarChart &chart)
{
    return BARS_TOP + BAR_PITCH * static_cast<double>(chart.bars.size()) + BARS_AXIS;
}

bool chart_bars_logarithmic(const BarChart &chart)
{
    return bars_high(chart) / bars_low(chart) > 50;
}

std::string chart_bars_inner(const BarChart &chart)
{
    const double left = 1, right = CHART_WIDTH - 14;
    const double bottom = chart_bars_height(chart) - BARS_AXIS;
    const bool logarithmic = chart_bars_logarithmic(chart);
    double high = bars_high(chart);
    double low = 0;
    std::vector<double> ticks;
    if (logarithmic) {
        low = std::pow(10, std::floor(std::log10(bars_low(chart) / 1.5)));
        ticks = ticks_logarithmic(low, high);
    } else {
        const double step = step_linear(high, 6);
        for (double value = 0; value <= high * 1.001; value += step)
            ticks.push_back(value);
    }
    const auto x_of = [&](double value) {
        const double part = logarithmic
                                ? std::log(std::max(value, low) / low) / std::log(high / low)
                                : value / high;
        return left + (right - left) * std::clamp(part, 0.0, 1.0);
    };

    const bool compared = std::any_of(chart.bars.begin(), chart.bars.end(),
                                      [](const Bar &bar) { return !bar.remark.empty(); });
    std::string out;
    for (const double tick : ticks) {
        const double x = x_of(tick);
        if (x > left)
            out += rule("grid", x, BARS_TOP, x, bottom);
        out += text_at(x, bottom + 16,
                       x < 12 ? "class=\"tick\"" : "class=\"tick\" text-anchor=\"middle\"",
                       chart_short(tick));
    }
    double y = BARS_TOP;
    for (const Bar &bar : chart.bars) {
        const char *const role = bar.role == Role::OWN     ? "own"
                                 : bar.role == Role::KIN   ? "kin"
                                 : bar.role == Role::LIMIT ? "limit"
                                                           : "other";
        const std::string value = chart_number(bar.figure.median, bar.figure.median) + " " +
                                  unit_word(chart.unit);
        out += "<g><title>" +
               html_escape(bar.label + ": " + range_text(bar.figure) + " " + chart.unit) +
               "</title>";
        out += text_at(0, y + 15, format("class=\"name %s\"", role).c_str(), bar.label);
        out += text_at(CHART_WIDTH - (compared ? 66 : 0), y + 15,
                       format("class=\"value %s\" text-anchor=\"end\"", role).c_str(), value);
        if (!bar.remark.empty())
            out += text_at(CHART_WIDTH, y + 15, "class=\"remark\" text-anchor=\"end\"",
                           bar.remark);
        out += rule("axis", left, y + 19, left, y + 36);
        out += format("<rect class=\"bar %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                      "height=\"13\" rx=\"2\"/>",
                      role, left, y + 21, std::max(1.5, x_of(bar.figure.median) - left));
        const double from = x_of(bar.figure.low);
        const double to = x_of(std::isfinite(bar.figure.high) ? bar.figure.high : high);
        if (bar.figure.high > bar.figure.low) {
            out += rule("halo", from, y + 27.5, to, y + 27.5);
            for (const double end : {from, to})
                out += rule("halo", end, y + 23.5, end, y + 31.5);
            out += rule("whisker", from, y + 27.5, to, y + 27.5);
            for (const double end : {from, to})
                out += rule("whisker", end, y + 23.5, end, y + 31.5);
        }
        out += "</g>\n";
        y += BAR_PITCH;
    }
    return out;
}

std::string chart_bars(const BarChart &chart)
{
    std::string description = "Bars, fastest first, in " + chart.unit + ": ";
    for (const Bar &bar : chart.bars)
        description += bar.label + " " + range_text(bar.figure) + "; ";
    return svg_open(CHART_WIDTH, chart_bars_height(chart), chart.title, description) +
           chart_bars_inner(chart) + "</svg>\n";
}

std::string chart_lines(const LineChart &chart)
{
    constexpr double height = 286, left = 46, right = CHART_WIDTH - 14, top = 10, bottom = 240;
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    const auto nines = [](double percentile) { // 100 stands where 99.9999 would
        return -std::log10(std::max(1e-6, 1 - percentile / 100));
    };
    const auto scaled = [&](double x) {
        return chart.x_scale == XScale::NINES         ? nines(x)
               : chart.x_scale == XScale::LOGARITHMIC ? std::log10(x)
                                                      : x;
    };
    for (const Series &series : chart.series)
        for (const Point &point : series.points) {
            x_low = std::min(x_low, scaled(point.x));
            x_high = std::max(x_high, scaled(point.x));
            for (const double y : {point.y.low, point.y.median, point.y.high})
                if (y > 0 && std::isfinite(y)) {
                    y_low = std::min(y_low, y);
                    y_high = std::max(y_high, y);
                }
        }
    if (!(x_low <= x_high) || !(y_low <= y_high))
        return "";
    if (x_low == x_high)
        x_high = x_low + 1;
    y_low /= 1.15;
    y_high *= 1.15;
    // A whole decade, or near it, lest a small difference look like a large one.
    if (y_high / y_low < 8) {
        const double widen = std::sqrt(8 / (y_high / y_low));
        y_low /= widen;
        y_high *= widen;
    }
    const auto x_of = [&](double x) {
        return left + 8 + (right - left - 16) * (scaled(x) - x_low) / (x_high - x_low);
    };
    const auto y_of = [&](double y) {
        return bottom - (bottom - top) * std::log(std::clamp(y, y_low, y_high) / y_low) /
                            std::log(y_high / y_low);
    };

    std::string description = chart.unit + " over " + chart.x_label + ", logarithmic. ";
    for (const Series &series : chart.series) {
        description += series.label + ": ";
        for (const Point &point : series.points)
            description += format("%g: ", point.x) +
                           chart_number(point.y.median, point.y.median) + "; ";
    }
    std::string out = svg_open(CHART_WIDTH, height, chart.title, description);
    for (const double tick : ticks_logarithmic(y_low, y_high)) {
        out += rule("grid", left, y_of(tick), right, y_of(tick));
        out += text_at(left - 6, y_of(tick) + 4, "class=\"tick\" text-anchor=\"end\"",
                       chart_short(tick));
    }
    std::vector<double> ticks;
    if (chart.x_scale == XScale::NINES)
        ticks = {0, 50, 90, 99, 99.9, 99.99, 99.999, 100};
    else if (chart.x_scale == XScale::LOGARITHMIC)
        ticks = ticks_logarithmic(std::pow(10, x_low), std::pow(10, x_high));
    else
        for (double x = 0, step = step_linear(x_high, 8); x <= x_high * 1.001; x += step)
            ticks.push_back(x);
    for (const double tick : ticks) {
        if (scaled(tick) < x_low - 1e-9 || scaled(tick) > x_high + 1e-9)
            continue;
        out += rule("grid", x_of(tick), top, x_of(tick), bottom);
        out += text_at(x_of(tick), bottom + 17, "class=\"tick\" text-anchor=\"middle\"",
                       chart.x_scale == XScale::NINES ? format("%.6g", tick)
                                                      : chart_short(tick));
    }
    out += rule("axis", left, bottom, right, bottom);
    out += text_at((left + right) / 2, height - 8, "class=\"tick\" text-anchor=\"middle\"",
                   chart.x_label);
    out += "\n";
    // The first are drawn last, on top of the others.
    for (auto series = chart.series.rbegin(); series != chart.series.rend(); ++series) {
        std::string path;
        for (const Point &point : series->points)
            path += format("%s%.1f %.1f", path.empty() ? "M" : "L", x_of(point.x),
                           y_of(point.y.median));
        out += "<path class=\"" + stroke_class(*series) + "\" d=\"" + path + "\"/>\n";
        for (const Point &point : series->points) {
            const double x = x_of(point.x), y = y_of(point.y.median);
            out += "<g><title>" +
                   html_escape(series->label + ", " + chart_short(point.x) + ": " +
                               range_text(point.y) + " " + chart.unit) +
                   "</title>";
            if (point.y.high > point.y.low)
                out += rule(format("range s%zu", colour_class(series->colour)).c_str(), x,
                            y_of(point.y.low), x,
                            y_of(std::isfinite(point.y.high) ? point.y.high : y_high));
            out += mark(series->colour, x, y) + "</g>\n";
        }
    }
    out += "</svg>\n<ul class=\"legend\">";
    for (const Series &series : chart.series)
        out += "<li><svg viewBox=\"0 0 40 14\" width=\"40\" height=\"14\" "
               "aria-hidden=\"true\"><path class=\"" +
               stroke_class(series) + "\" d=\"M1 7H39\"/>" + mark(series.colour, 20, 7) +
               "</svg> " + html_escape(series.label) + "</li>\n";
    return out + "</ul>\n";
}

std::string chart_heat(const HeatMap &map)
{
    constexpr double width = 230, left = 54, top = 38, pitch_y = 34;
    const double pitch_x =
        (width - left) / static_cast<double>(std::max<size_t>(1, map.columns.size()));
    const double height = top + pitch_y * static_cast<double>(map.rows.size()) + 2;
    std::string description = map.unit + " by " + map.row_label + " (down) and " +
                              map.column_label + " (across): ";
    for (const HeatCell &cell : map.cells)
        description += map.row_label + format(" %g ", cell.row) + map.column_label +
                       format(" %g: ", cell.column) + range_text(cell.figure) + "; ";
    std::string out = svg_open(width, height, map.title, description);
    out += text_at(left + (width - left) / 2, 12, "class=\"tick\" text-anchor=\"middle\"",
                   map.column_label + " \u2192");
    out += text_at(0, top - 8, "class=\"tick\"", map.row_label + " \u2193");
    for (size_t c = 0; c < map.columns.size(); c++)
        out += text_at(left + pitch_x * (static_cast<double>(c) + 0.5), top - 8,
                       "class=\"tick\" text-anchor=\"middle\"", chart_short(map.columns[c]));
    for (size_t r = 0; r < map.rows.size(); r++) {
        const double y = top + pitch_y * static_cast<double>(r);
        out += text_at(left - 8, y + 22, "class=\"tick\" text-anchor=\"end\"",
                       chart_short(map.rows[r]));
        for (size_t c = 0; c < map.columns.size(); c++) {
            const double x = left + pitch_x * static_cast<double>(c);
            const auto cell = std::find_if(
                map.cells.begin(), map.cells.end(), [&](const HeatCell &candidate) {
                    return candidate.row == map.rows[r] && candidate.column == map.columns[c];
                });
            if (cell == map.cells.end()) {
                out += format("<rect class=\"none\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                              "height=\"%.1f\" rx=\"3\"/>",
                              x + 1, y + 1, pitch_x - 2, pitch_y - 2) +
                       text_at(x + pitch_x / 2, y + 22,
                               "class=\"tick\" text-anchor=\"middle\"", "\u2013");
                continue;
            }
            const double value = cell->figure.median;
            const double at = value > 0 && map.low > 0 && map.high > map.low
                                  ? std::log(value / map.low) / std::log(map.high / map.low)
                                  : 0;
            const Rgb colour = heat_colour(at);
            const double light = luminance(colour);
            out += "<g><title>" +
                   html_escape(map.row_label + format(" %g, ", cell->row) + map.column_label +
                               format(" %g: ", cell->column) + range_text(cell->figure) + " " +
                               map.unit) +
                   "</title>" +
                   format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" "
                          "fill=\"#%02x%02x%02x\"/>",
                          x + 1, y + 1, pitch_x - 2, pitch_y - 2,
                          static_cast<unsigned>(colour.r), static_cast<unsigned>(colour.g),
                          static_cast<unsigned>(colour.b)) +
                   text_at(x + pitch_x / 2, y + 22,
                           (light + 0.05) / 0.05 > 1.05 / (light + 0.05)
                               ? "class=\"heat black\" text-anchor=\"middle\""
                               : "class=\"heat white\" text-anchor=\"middle\"",
                           chart_number(value, value)) +
                   "</g>\n";
        }
    }
    return out + "</svg>\n";
}
