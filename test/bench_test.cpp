// SPDX-License-Identifier: Apache-2.0
//
// The benchmarks' statistics, comparison and file, on data whose answers are
// known. The program itself is tried by bench_test.sh.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "../bench/baseline.h"
#include "../bench/json.h"
#include "../bench/stats.h"
#include "support.h"

namespace {

struct Dice {
    uint64_t state = 1;
    double uniform()
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<double>(state >> 11) / 9007199254740992.0;
    }
    double normal() // the sum of twelve
    {
        double sum = -6;
        for (int i = 0; i < 12; i++)
            sum += uniform();
        return sum;
    }
};

// Processes whose levels differ by process_sd, and rounds by round_sd.
Values drawn(Dice &dice, double level, double process_sd, double round_sd,
             size_t processes = 8, size_t rounds = 16)
{
    Values values(processes);
    for (auto &process : values) {
        const double shift = dice.normal() * process_sd;
        for (size_t i = 0; i < rounds; i++)
            process.push_back(level * std::exp(shift + dice.normal() * round_sd));
    }
    return values;
}

bool near(double value, double expected, double by)
{
    return std::fabs(value - expected) <= by;
}

Results results_of(const std::vector<Values> &cells, bool less_is_better = true)
{
    Results results;
    results.environment.speed_ns = {250, 250};
    results.rows.push_back({"row", "a row", "group", "ns a thing", "a note",
                            less_is_better, "jobswitch", {}});
    for (size_t i = 0; i < cells.size(); i++) {
        CellResult cell;
        cell.peer = "peer";
        cell.params = {{"n", std::to_string(i)}};
        cell.metrics.push_back({"time", "ns a thing", stats_figure(cells[i]), 1, 0,
                                false, stats_process_medians(cells[i])});
        results.rows[0].cells.push_back(cell);
    }
    return results;
}

void test_median(void **)
{
    assert_true(stats_median({}) == 0);
    assert_true(stats_median({3}) == 3);
    assert_true(stats_median({3, 1}) == 2);
    assert_true(stats_median({9, 1, 5}) == 5);
    assert_true(stats_median({4, 1, 3, 2}) == 2.5);
    assert_true(near(stats_spread({1, 2, 3, 4, 5}), 2.0 / 3, 1e-9));
    assert_true(stats_spread({7, 7, 7, 7}) == 0);
}

void test_student(void **)
{
    // From the tables.
    assert_true(near(stats_student(0.05, 1), 12.706, 1e-3));
    assert_true(near(stats_student(0.05, 10), 2.2281, 1e-4));
    assert_true(near(stats_student(0.01, 5), 4.0321, 1e-4));
    assert_true(near(stats_student(0.001, 14), 4.1405, 1e-4));
    assert_true(near(stats_student(0.05, 1e6), 1.96, 1e-3));
}

void test_bootstrap(void **)
{
    const Figure alone = stats_figure({{5, 5, 5}, {5, 5}});
    assert_true(alone.median == 5 && alone.low == 5 && alone.high == 5);

    // The interval holds the true value nearly always, and is not far wider
    // than it must be: processes of 3 % make it some 2 % to each side.
    Dice dice;
    int held = 0;
    double width = 0;
    for (int i = 0; i < 100; i++) {
        const Figure figure = stats_figure(drawn(dice, 100, 0.03, 0.01));
        held += figure.low <= 100 && 100 <= figure.high;
        width += figure.high - figure.low; // of 100: %
        assert_true(figure.low <= figure.median && figure.median <= figure.high);
    }
    assert_true(held >= 83);
    assert_true(width / 100 > 1.5 && width / 100 < 8);

    // Drawing rounds as if processes did not matter would give far less.
    const Figure two = stats_figure({{1, 1, 1, 1}, {2, 2, 2, 2}});
    assert_true(two.low == 1 && two.high == 2);
}

void test_ratio(void **)
{
    // What disturbs both of a pair leaves the ratio as it is.
    const Figure ratio = stats_ratio({{20, 40, 60}, {80}}, {{10, 20, 30}, {40}});
    assert_true(ratio.median == 2 && ratio.low == 2 && ratio.high == 2);
    assert_true(stats_ratio({{20, 40}}, {{0, 20}}).median == 2);
    assert_true(stats_ratio({}, {{1}}).median == 0);
}

void test_unchanged(void **)
{
#ifndef __OPTIMIZE__
    if (emulated)
        skip_because("much arithmetic takes minutes here, without optimization");
#endif
    Dice dice;
    size_t told = 0, all = 0;
    for (int run = 0; run < 20; run++) {
        std::vector<Values> before, now;
        for (int i = 0; i < 50; i++) {
            before.push_back(drawn(dice, 10, 0.08, 0.02));
            now.push_back(drawn(dice, 10, 0.08, 0.02));
        }
        const Baseline baseline = baseline_compare(results_of(now), results_of(before));
        for (const Comparison &c : baseline.comparisons)
            told += c.verdict != Verdict::NO_DIFFERENCE;
        all += baseline.comparisons.size();
    }
    assert_int_equal(all, 1000);
    assert_true(told * 200 <= all);
}

void test_changed(void **)
{
    Dice dice;
    std::vector<Values> before, now;
    for (const double factor : {1.0, 1.5, 0.6, 1.03}) {
        before.push_back(drawn(dice, 10, 0.02, 0.01));
        now.push_back(drawn(dice, 10 * factor, factor == 1.03 ? 0 : 0.02, 0.01));
    }
    before[3] = drawn(dice, 10, 0, 0.01); // sure, but too small to tell
    const auto verdict = [&](size_t i, bool less) {
        return baseline_compare(results_of(now, less), results_of(before, less))
            .comparisons[i]
            .verdict;
    };
    assert_int_equal(verdict(0, true), Verdict::NO_DIFFERENCE);
    assert_int_equal(verdict(1, true), Verdict::SLOWER);
    assert_int_equal(verdict(2, true), Verdict::FASTER);
    assert_int_equal(verdict(3, true), Verdict::NO_DIFFERENCE);
    assert_int_equal(verdict(1, false), Verdict::FASTER);

    // A machine that itself ran slower lets no such change be told.
    Results slow = results_of(now);
    slow.environment.speed_ns = {400, 400};
    const Baseline baseline = baseline_compare(slow, results_of(before));
    assert_true(near(baseline.speed_ratio, 1.6, 1e-9));
    assert_int_equal(baseline.comparisons[1].verdict, Verdict::NO_DIFFERENCE);
}

void test_edges(void **)
{
    // One process says nothing of how processes differ.
    assert_int_equal(stats_verdict(stats_compare({9}, {3}, 0.05), 0.05, true),
                     Verdict::NO_DIFFERENCE);
    // Numbers that never vary, and zeros.
    assert_int_equal(stats_verdict(stats_compare({4, 4}, {4, 4}, 0.05), 0.05, true),
                     Verdict::NO_DIFFERENCE);
    assert_int_equal(stats_verdict(stats_compare({8, 8}, {4, 4}, 0.05), 0.05, true),
                     Verdict::SLOWER);
    assert_int_equal(stats_verdict(stats_compare({0, 0}, {0, 0}, 0.05), 0.05, true),
                     Verdict::NO_DIFFERENCE);
    assert_int_equal(stats_verdict(stats_compare({2, 2}, {0, 0}, 0.05), 0.05, true),
                     Verdict::SLOWER);
    assert_int_equal(stats_verdict(stats_compare({0, 0}, {2, 2}, 0.05), 0.05, true),
                     Verdict::FASTER);
    assert_int_equal(stats_verdict(stats_compare({0, 2}, {1, 1}, 0.05), 0.05, true),
                     Verdict::NO_DIFFERENCE);
    // What only one of the runs has.
    Dice dice;
    const Values values = drawn(dice, 10, 0.02, 0.01);
    const Baseline baseline =
        baseline_compare(results_of({values, values}), results_of({values}));
    assert_int_equal(baseline.comparisons.size(), 1);
    assert_int_equal(baseline.unmatched, 1);
}

void test_json(void **)
{
    Dice dice;
    Results results = results_of({drawn(dice, 10, 0.02, 0.01)});
    results.environment.cpu_model = "a \"CPU\" \\ \xff";
    results.peers.push_back({"peer", "Peer", "1.0", "", "not built"});
    results.rows[0].cells[0].curves.push_back({"c", "%", "ns", {{50, 1}, {99, 2}}});
    results.rows[0].cells[0].ratio = {2, 1, 3};
    const std::string path = std::string(getenv("OUT") ? getenv("OUT") : "/tmp") +
                             "/bench_test.json";
    std::string why;
    assert_true(json_write(results, path.c_str(), &why));
    Results again;
    assert_true(json_read(path.c_str(), &again, &why));
    again.environment.cpu_model = results.environment.cpu_model;
    assert_string_equal(json_text(again).c_str(), json_text(results).c_str());

    FILE *const file = fopen(path.c_str(), "w");
    assert_non_null(file);
    fputs("{\"format\": 1}", file);
    fclose(file);
    Results nothing;
    assert_false(json_read(path.c_str(), &nothing, &why));
    assert_false(json_read("/nowhere/at/all", &nothing, &why));
    assert_false(json_write(results, "/nowhere/at/all", &why));
    remove(path.c_str());
}

} // namespace

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_median),    cmocka_unit_test(test_student),
        cmocka_unit_test(test_bootstrap), cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_unchanged), cmocka_unit_test(test_changed),
        cmocka_unit_test(test_edges),     cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
