// SPDX-License-Identifier: Apache-2.0
#include "stats.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace {

constexpr int RESAMPLES = 1000;

struct Dice {
    uint64_t state = 20240229;
    size_t below(size_t end)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<size_t>(((state >> 32) * end) >> 32);
    }
};

double median_in_place(std::vector<double> &values)
{
    if (values.empty())
        return 0;
    const auto middle =
        values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    if (values.size() % 2)
        return *middle;
    return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

// The regularised incomplete beta function, by its continued fraction.
double beta_incomplete(double a, double b, double x)
{
    if (x <= 0)
        return 0;
    if (x >= 1)
        return 1;
    if (x > (a + 1) / (a + b + 2))
        return 1 - beta_incomplete(b, a, 1 - x);
    const double front =
        std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                 a * std::log(x) + b * std::log1p(-x)) /
        a;
    constexpr double TINY = 1e-300;
    double c = 1, d = 0, fraction = 1;
    for (int i = 0; i < 500; i++) {
        const double m = i / 2;
        double numerator = 1;
        if (i > 0 && i % 2 == 0)
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        else if (i > 0)
            numerator = -(a + m) * (a + b + m) * x /
                        ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + numerator * d;
        d = 1 / (std::fabs(d) < TINY ? TINY : d);
        c = 1 + numerator / c;
        c = std::fabs(c) < TINY ? TINY : c;
        fraction *= c * d;
        if (std::fabs(1 - c * d) < 1e-12)
            break;
    }
    return front * (fraction - 1);
}

} // namespace

std::string params_text(const Params &params)
{
    std::string text;
    for (const auto &[key, value] : params)
        text += (text.empty() ? "" : ",") + key + "=" + value;
    return text;
}

double stats_median(std::vector<double> values)
{
    return median_in_place(values);
}

double stats_spread(std::vector<double> values)
{
    if (values.size() < 2)
        return 0;
    std::sort(values.begin(), values.end());
    const size_t n = values.size() - 1;
    const double middle = median_in_place(values);
    std::sort(values.begin(), values.end());
    return middle > 0 ? (values[n * 3 / 4] - values[n / 4]) / middle : 0;
}

std::vector<double> stats_process_medians(const Values &values)
{
    std::vector<double> medians;
    for (const auto &process : values)
        if (!process.empty())
            medians.push_back(stats_median(process));
    return medians;
}

Figure stats_figure(const Values &values)
{
    std::vector<const std::vector<double> *> processes;
    std::vector<double> drawn, medians;
    for (const auto &process : values)
        if (!process.empty()) {
            processes.push_back(&process);
            drawn.insert(drawn.end(), process.begin(), process.end());
        }
    if (drawn.empty())
        return {};
    const double middle = median_in_place(drawn);
    Dice dice;
    medians.reserve(RESAMPLES);
    for (int i = 0; i < RESAMPLES; i++) {
        drawn.clear();
        for (size_t n = processes.size(); n > 0; n--) {
            const auto &process = *processes[dice.below(processes.size())];
            for (size_t m = process.size(); m > 0; m--)
                drawn.push_back(process[dice.below(process.size())]);
        }
        medians.push_back(median_in_place(drawn));
    }
    std::sort(medians.begin(), medians.end());
    constexpr size_t CUT = RESAMPLES / 40; // 2.5 %
    return {middle, std::min(middle, medians[CUT]),
            std::max(middle, medians[RESAMPLES - 1 - CUT])};
}

Figure stats_ratio(const Values &above, const Values &below)
{
    Values ratios;
    for (size_t p = 0; p < std::min(above.size(), below.size()); p++) {
        ratios.emplace_back();
        for (size_t r = 0; r < std::min(above[p].size(), below[p].size()); r++)
            if (below[p][r] > 0)
                ratios.back().push_back(above[p][r] / below[p][r]);
    }
    return stats_figure(ratios);
}

double stats_student(double alpha, double freedom)
{
    double low = 0, high = 1e6;
    for (int i = 0; i < 200; i++) {
        const double t = (low + high) / 2;
        const double beyond =
            beta_incomplete(freedom / 2, 0.5, freedom / (freedom + t * t));
        (beyond > alpha ? low : high) = t;
    }
    return high;
}

Figure stats_compare(const std::vector<double> &now,
                     const std::vector<double> &before, double alpha)
{
    constexpr double INF = std::numeric_limits<double>::infinity();
    const double median_now = stats_median(now);
    const double median_before = stats_median(before);
    if (median_now == median_before && now == before)
        return {1, 1, 1};
    const auto positive = [](double value) { return value > 0; };
    if (!std::all_of(now.begin(), now.end(), positive) ||
        !std::all_of(before.begin(), before.end(), positive)) {
        // No logarithms: a difference only where the two do not overlap.
        if (now.empty() || before.empty() || median_now == median_before)
            return {1, 0, INF};
        const auto [least, most] = std::minmax_element(now.begin(), now.end());
        const auto [lower, upper] =
            std::minmax_element(before.begin(), before.end());
        const double ratio = median_before > 0 ? median_now / median_before : INF;
        if (*least > *upper || *most < *lower)
            return {ratio, ratio, ratio};
        return {ratio, 0, INF};
    }

    struct Side {
        double mean = 0, variance = 0, n = 0;
    } side[2];
    for (int s = 0; s < 2; s++) {
        const auto &values = s == 0 ? now : before;
        side[s].n = static_cast<double>(values.size());
        for (const double value : values)
            side[s].mean += std::log(value) / side[s].n;
        for (const double value : values)
            side[s].variance += std::pow(std::log(value) - side[s].mean, 2);
    }
    const double ratio = median_before > 0 ? median_now / median_before : 1;
    if (now.size() < 2 || before.size() < 2)
        return {ratio, 0, INF};
    double error = 0, divisor = 0;
    for (Side &s : side) {
        const double term = s.variance / (s.n - 1) / s.n;
        error += term;
        divisor += term * term / (s.n - 1);
    }
    const double difference = side[0].mean - side[1].mean;
    double margin = 0;
    if (divisor > 0)
        margin = stats_student(alpha, error * error / divisor) * std::sqrt(error);
    return {std::exp(difference), std::exp(difference - margin),
            std::exp(difference + margin)};
}

Verdict stats_verdict(const Figure &ratio, double smallest_effect,
                      bool less_is_better)
{
    const bool more = ratio.low > 1 && ratio.median >= 1 + smallest_effect;
    const bool less = ratio.high < 1 && ratio.median <= 1 / (1 + smallest_effect);
    if (more)
        return less_is_better ? Verdict::SLOWER : Verdict::FASTER;
    if (less)
        return less_is_better ? Verdict::FASTER : Verdict::SLOWER;
    return Verdict::NO_DIFFERENCE;
}
