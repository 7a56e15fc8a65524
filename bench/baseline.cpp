// SPDX-License-Identifier: Apache-2.0
#include "baseline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "stats.h"

namespace {

struct Found {
    const RowResult *row;
    const CellResult *cell;
    const Metric *metric;
};

std::string name_of(const Found &found)
{
    return found.row->key + "/" + found.cell->peer + "/" +
           params_text(found.cell->params) + "/" + found.metric->name;
}

std::vector<Found> metrics_of(const Results &results)
{
    std::vector<Found> all;
    for (const RowResult &row : results.rows)
        for (const CellResult &cell : row.cells)
            for (const Metric &metric : cell.metrics)
                all.push_back({&row, &cell, &metric});
    return all;
}

} // namespace

Baseline baseline_compare(const Results &now, const Results &before)
{
    Baseline baseline;
    baseline.date = before.environment.date;
    baseline.commit = before.environment.commit;
    const double speed_now = stats_median(now.environment.speed_ns);
    const double speed_before = stats_median(before.environment.speed_ns);
    if (speed_now > 0 && speed_before > 0)
        baseline.speed_ratio = speed_now / speed_before;
    const double drift = std::exp(std::fabs(std::log(baseline.speed_ratio))) - 1;
    baseline.smallest_effect = std::max(BASELINE_SMALLEST, drift);

    std::map<std::string, Found> earlier;
    for (const Found &found : metrics_of(before))
        earlier.emplace(name_of(found), found);
    std::vector<std::pair<Found, Found>> pairs;
    for (const Found &found : metrics_of(now)) {
        const auto at = earlier.find(name_of(found));
        // Another unit is another metric.
        if (at == earlier.end() || at->second.metric->unit != found.metric->unit)
            baseline.unmatched++;
        else
            pairs.emplace_back(found, at->second);
    }
    baseline.unmatched += earlier.size() - pairs.size();

    for (const auto &[is, was] : pairs) {
        Comparison c = {is.row->key,       is.cell->peer,
                        is.cell->params,   is.metric->name,
                        is.metric->unit,   is.metric->figure.median,
                        was.metric->figure.median, {}, {}};
        c.ratio = stats_compare(is.metric->process_medians, was.metric->process_medians,
                                0.05 / static_cast<double>(pairs.size()));
        c.verdict = stats_verdict(c.ratio, baseline.smallest_effect,
                                  is.row->less_is_better);
        baseline.comparisons.push_back(std::move(c));
    }
    return baseline;
}
