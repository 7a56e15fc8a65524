// SPDX-License-Identifier: Apache-2.0
//
// The benchmarks' report, from results made up here: every chart and every
// figure is in it, it is well-formed, and it needs nothing from outside.
// With a directory as its argument the program leaves the files there.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "../bench/html.h"
#include "../bench/html_chart.h"
#include "support.h"

namespace {

struct Known {
    const char *name, *title;
    double times; // as slow as jobswitch
};
constexpr Known peers[] = {{"jobswitch", "jobswitch", 1},
                           {"jobswitch-functions", "jobswitch, plain functions", 2.3},
                           {"openssl", "OpenSSL ASYNC", 41.7},
                           {"boost-fcontext", "Boost.Context fcontext", 1.9},
                           {"boost-fiber", "Boost.Fiber", 14},
                           {"ucontext", "glibc swapcontext", 96},
                           {"pcl", "PCL", 5.2},
                           {"state-threads", "State Threads", 9.7},
                           {"coroutine", "C++20 coroutine (stackless)", 0.6},
                           {"pthread", "pthread hand-off", 1630}};

Metric metric_of(const std::string &name, const std::string &unit, double value)
{
    // Irregular, lest a figure be found by chance.
    const double median = value * 1.0137;
    const bool wide = value > 1000;
    return {name,  unit, {median, median * 0.962, median * (wide ? 1.31 : 1.049)},
            240,   wide ? 0.184 : 0.021,
            wide,  {median * 0.99, median * 1.01}};
}

RowResult row_of(const char *key, const char *title, const char *group, const char *unit)
{
    return {key, title, group, unit, std::string("What ") + title + " says, and does not.",
            true, "jobswitch", {}};
}

void add(RowResult &row, const Known &peer, const Params &params, double own,
         const std::string &metric = "time")
{
    CellResult cell;
    cell.peer = peer.name;
    cell.params = params;
    cell.metrics.push_back(metric_of(metric, row.unit, own * peer.times));
    if (&peer != peers)
        cell.ratio = Figure{peer.times, peer.times * 0.97, peer.times * 1.04};
    row.cells.push_back(cell);
}

Results results_made()
{
    Results results;
    Environment &e = results.environment;
    e.cpu_model = "A CPU <4> & \"more\" \xff";
    e.cpus = 8;
    e.cpu_pinned = 7;
    e.kernel = "Linux 6.1";
    e.governor = "performance";
    e.thp = "madvise";
    e.hypervisor = "none";
    e.compiler = "GCC 12.2.0";
    e.flags = "-O2";
    e.commit = "0123456789ab";
    e.version = "1.0.0";
    e.date = "2026-02-03T04:05:06Z";
    e.clock = "TSC";
    e.tsc_hz = 2.4e9;
    results.method = {"full", 16, 24, 1000000, 321};
    for (const Known &peer : peers)
        results.peers.push_back({peer.name, peer.title, "library 1.2", "a note of its own", ""});
    results.peers.push_back({"absent", "A peer that is absent", "", "", "package libabsent-dev"});

    RowResult floor = row_of("floor", "the floor", "floor", "ns an iteration (no switch)");
    for (const auto &[what, value] : {std::pair("empty-loop", 0.31), std::pair("call-return", 1.62),
                                      std::pair("limit", 3.4)})
        add(floor, {"floor", "", 1}, {{"what", what}}, value), floor.cells.back().ratio.reset();
    results.rows.push_back(floor);

    RowResult pause = row_of("pause_resume", "pause+resume", "switch", "ns a round trip (2 switches)");
    for (const Known &peer : peers)
        add(pause, peer, {}, 4.9);
    results.rows.push_back(pause);

    RowResult start = row_of("start_finish", "start+finish", "switch", "ns a job (2 switches)");
    for (const char *args : {"0", "40", "1024"})
        for (const Known &peer : peers)
            if (peer.times < 100)
                add(start, peer, {{"args", args}}, 6.1 + atof(args) / 60);
    CellResult without;
    without.peer = "pthread";
    without.params = {{"args", "0"}};
    without.unavailable = "a thread <has no> pool";
    start.cells.push_back(without);
    results.rows.push_back(start);

    RowResult depth = row_of("depth", "pause+resume, frames deep", "switch", "ns a round trip (2 switches)");
    for (size_t i = 0; i < 6; i++)
        for (const int m : {0, 1, 4, 8})
            for (const int c : {0, 1, 4, 8})
                if (!(i == 5 && m == 4))
                    add(depth, peers[i], {{"resume_frames", std::to_string(m)}, {"pause_frames", std::to_string(c)}},
                        5.3 + m * 2.7 + c * 3.1);
    results.rows.push_back(depth);

    RowResult crowd = row_of("crowd", "pause+resume, a crowd of jobs", "crowd", "ns a round trip (2 switches)");
    for (const char *order : {"straight", "random"})
        for (const double jobs : {1., 100., 1e3, 1e4, 3e4, 1e5, 1e6})
            for (const Known &peer : peers)
                for (const char *prefetch : {"", "yes"}) {
                    if ((peer.name[0] != 'j' && *prefetch) || peer.times > 100)
                        continue;
                    char count[32];
                    snprintf(count, sizeof count, "%.0f", jobs);
                    Params params = {{"jobs", count}, {"order", order}};
                    if (*prefetch)
                        params.emplace_back("prefetch", prefetch);
                    const double cold = jobs < 1000 ? 0 : std::log10(jobs / 500) * 22;
                    const double own = 5 + cold * (*order == 'r' ? 1.7 : 1) / (*prefetch ? 2.6 : 1);
                    add(crowd, {peer.name, "", std::sqrt(peer.times)}, params, own);
                    if (jobs == 1e6)
                        crowd.cells.back().metrics[0].figure.high = INFINITY;
                }
    results.rows.push_back(crowd);

    RowResult wake = row_of("wake", "wake to resume", "wake", "ns from intended start to resume");
    for (size_t i = 0; i < 4; i++)
        for (const char *fds : {"1", "1000"}) {
            const double own = 900 * (fds[1] ? 1.8 : 1);
            add(wake, {peers[i].name, "", 1 + static_cast<double>(i)}, {{"fds", fds}}, own, "p50");
            CellResult &cell = wake.cells.back();
            cell.metrics.push_back(metric_of("throughput", "wakes/s", 1e9 / own / (static_cast<double>(i) + 1)));
            Curve curve = {"latency", "%", "ns", {}};
            for (const double p : {50., 75., 90., 95., 99., 99.9, 99.99})
                curve.points.emplace_back(p, own * (static_cast<double>(i) + 1) * std::pow(1 - p / 100, -0.41));
            cell.curves.push_back(curve);
        }
    results.rows.push_back(wake);

    RowResult memory = row_of("memory", "memory of a paused job", "memory", "bytes");
    for (size_t i = 0; i < 5; i++)
        add(memory, {peers[i].name, "", 1 + static_cast<double>(i) / 4}, {}, 8931, "resident");
    results.rows.push_back(memory);

    Baseline baseline = {"before.json", "2026-01-01T00:00:00Z", "ba5e11e", 1.02, 0.05, {}, 3};
    baseline.comparisons.push_back({"pause_resume", "jobswitch", {}, "time", pause.unit, 7.77, 4.44, {1.75, 1.6, 1.9}, Verdict::SLOWER});
    baseline.comparisons.push_back({"start_finish", "jobswitch", {{"args", "0"}}, "time", start.unit, 3.33, 6.66, {0.5, 0.4, 0.6}, Verdict::FASTER});
    baseline.comparisons.push_back({"crowd", "openssl", {{"jobs", "1"}}, "time", crowd.unit, 5.55, 5.54, {1, 0.8, 1.2}, Verdict::NO_DIFFERENCE});
    results.baseline = baseline;
    return results;
}

size_t count_of(const std::string &text, const std::string &what)
{
    size_t count = 0;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size())
        count++;
    return count;
}

void has(const std::string &text, const std::string &what)
{
    if (text.find(what) == std::string::npos)
        fail_msg("not there: %s", what.c_str());
}

// Tags nest, attributes are quoted, and no < or & stands alone.
void well_formed(const std::string &text)
{
    std::vector<std::string> open;
    for (size_t i = 0; i < text.size(); i++) {
        if (text[i] == '&' && (text.find(';', i) == std::string::npos || text.find(';', i) > i + 6))
            fail_msg("a bare &: %s", text.substr(i, 40).c_str());
        if (text[i] != '<')
            continue;
        const size_t end = text.find('>', i);
        assert_true(end != std::string::npos);
        const std::string tag = text.substr(i + 1, end - i - 1);
        i = end;
        if (tag[0] == '!')
            continue;
        if (count_of(tag, "\"") % 2 != 0 || tag.find('<') != std::string::npos)
            fail_msg("a broken tag: %s", tag.c_str());
        if (tag[0] == '/') {
            if (open.empty() || open.back() != tag.substr(1))
                fail_msg("<%s> ends %s", tag.c_str(), open.empty() ? "nothing" : open.back().c_str());
            open.pop_back();
        } else if (tag.back() != '/') {
            open.push_back(tag.substr(0, tag.find(' ')));
        }
    }
    assert_true(open.empty());
}

void stands_alone(const std::string &text)
{
    for (const char *word : {"src=", "url(", "@import", "<link", "<script", "<image", "<use", "<iframe"})
        if (text.find(word) != std::string::npos)
            fail_msg("%s in it", word);
    assert_int_equal(count_of(text, "://"), count_of(text, "xmlns=\"http://www.w3.org/2000/svg\""));
    assert_int_equal(count_of(text, "href="), count_of(text, "href=\"#"));
    has(text, "prefers-color-scheme:dark");
    assert_null(strstr(text.c_str(), "nan"));
    assert_int_equal(count_of(text, "inf\""), 0);
}

void test_page(void **)
{
    const Results results = results_made();
    const std::string text = html_text(results);
    well_formed(text);
    stands_alone(text);
    // Every figure, its interval and unit; every reason and note.
    for (const RowResult &row : results.rows) {
        has(text, "<h2>" + html_escape(row.title));
        has(text, html_escape(row.note));
        for (const CellResult &cell : row.cells) {
            has(text, html_escape(cell.unavailable));
            for (const Metric &m : cell.metrics) {
                const double like = m.figure.median;
                has(text, "<td class=\"n\">" + chart_number(like, like) + "</td><td class=\"n\">" +
                              chart_number(m.figure.low, like) + " to " +
                              chart_number(m.figure.high, like) + "</td>");
                has(text, html_escape(m.unit));
            }
            for (const Curve &curve : cell.curves)
                for (const auto &[x, y] : curve.points)
                    has(text, "<td class=\"n\">" + chart_number(y, y) + "</td>");
            if (cell.ratio)
                has(text, chart_number(cell.ratio->median, cell.ratio->median) + "\u00d7</td>");
        }
    }
    for (const char *word :
         {"A CPU &lt;4&gt; &amp; &quot;more&quot; ?", "0123456789ab", "2026-02-03",
          "<strong>skipped</strong>: package libabsent-dev", "a note of its own",
          "18.4 % <span class=\"flag\">wide</span>", "1 faster or better, 1 slower or worse, 1 no",
          "jobswitch, prefetch yes", "\u25bc faster", "\u25b2 slower", "no difference", "the limit", "p99.99", "\u221e"})
        has(text, word);
    // Headlines 2 (one is all of pause+resume), the floor 1, start+finish 3, wake 2, memory 1; lines:
    // 2 orders of crowds, 2 latencies; heat: 6 peers.
    assert_int_equal(count_of(text, "<svg class=\"chart\""), 2 + 7 + 4 + 6);
    assert_int_equal(count_of(text, "<svg class=\"chart\""), count_of(text, "<desc>"));
    assert_int_equal(count_of(text, "class=\"heat "), 6 * 16 - 4);
    assert_true(count_of(text, "class=\"none\"") == 4);
    assert_true(count_of(text, "logarithmic scale") >= 2);
    // Two lines for jobswitch of either kind, one for each of seven others.
    assert_int_equal(count_of(text, "class=\"curve"), 2 * (2 * (2 * 2 + 7) + 2 * 4));
}

void test_chart(void **)
{
    const std::string text = chart_text(results_made());
    well_formed(text);
    stands_alone(text);
    for (const char *word : {"pause+resume", "start+finish", "OpenSSL ASYNC", "the limit",
                             "41.7\u00d7", "0123456789ab", "class=\"bar own\""})
        has(text, word);
}

void test_little(void **)
{
    for (Results results : {Results(), Results()}) {
        well_formed(html_text(results));
        well_formed(chart_text(results));
        results.rows.push_back(row_of("empty", "a row of nothing", "g", "ns"));
        well_formed(html_text(results));
        RowResult zero = row_of("zero", "zeros", "g", "ns");
        add(zero, peers[0], {}, 0);
        add(zero, peers[1], {}, 0);
        add(zero, peers[0], {{"resume_frames", "0"}, {"pause_frames", "0"}}, 0);
        for (const char *n : {"1", "10", "100"})
            add(zero, peers[0], {{"n", n}}, 0);
        results.rows.push_back(zero);
        const std::string text = html_text(results);
        well_formed(text);
        assert_null(strstr(text.c_str(), "nan"));
        well_formed(chart_text(results));
    }
}

void test_numbers(void **)
{
    assert_string_equal(chart_number(0.876, 0.876).c_str(), "0.88");
    assert_string_equal(chart_number(1234, 1234).c_str(), "1234");
    assert_string_equal(chart_number(12345, 12345).c_str(), "12\u202f345");
    assert_string_equal(chart_number(1234567, 1234567).c_str(), "1\u202f234\u202f567");
    assert_string_equal(chart_short(30000).c_str(), "30k");
    assert_string_equal(chart_short(0.5).c_str(), "0.5");
    std::string why;
    assert_false(html_write(Results(), "/nowhere/at/all", &why));
    assert_false(chart_write(Results(), "/nowhere/at/all", &why));
}

} // namespace

int main(int argc, char **argv)
{
    if (argc == 2) {
        const std::string directory = argv[1];
        const Results results = results_made();
        std::string why;
        const bool good = html_write(results, (directory + "/report.html").c_str(), &why) &&
                          chart_write(results, (directory + "/chart.svg").c_str(), &why);
        if (!good)
            fprintf(stderr, "%s\n", why.c_str());
        return good ? 0 : 1;
    }
    const CMUnitTest tests[] = {cmocka_unit_test(test_page), cmocka_unit_test(test_chart),
                                cmocka_unit_test(test_little), cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
