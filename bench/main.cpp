// SPDX-License-Identifier: Apache-2.0
//
// jobswitch-bench: what starts, pauses and resumes of jobs cost, beside what
// else a program could use. README.md says what the rows do and do not say.
#include <getopt.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <regex>
#include <string>

#include "baseline.h"
#include "environment.h"
#include "html.h"
#include "json.h"
#include "peer.h"
#include "row.h"
#include "run.h"
#include "text.h"
#include "worker.h"

namespace {

constexpr int EXIT_SANITIZER = 77;

struct Options {
    Mode mode = Mode::FULL;
    bool list = false;
    int cpu = -1;
    std::string filter, json_path, html_path, chart_path, baseline_path;
};

void help_print()
{
    fputs("usage: jobswitch-bench [OPTION]...\n"
          "Times starts, pauses and resumes of jobs: jobswitch beside its peers.\n\n"
          "  --list             the peers, rows and cells, and ends\n"
          "  --filter REGEX     only the cells in whose name ROW/PEER/KEY=VALUE,...\n"
          "                     the ECMAScript regular expression is found\n"
          "  --quick            the whole suite in less than a minute\n"
          "  --smoke            each cell very briefly, whatever the time: are the\n"
          "                     figures plausible?\n"
          "  --json FILE        all figures for programs; - is standard output,\n"
          "                     which then has nothing else\n"
          "  --html FILE        a report for people\n"
          "  --chart FILE       the report's first picture alone, as SVG\n"
          "  --baseline FILE    of an earlier --json: which cells became faster or\n"
          "                     slower\n"
          "  --cpu N            the CPU to run on [the last that is allowed]\n"
          "  --help\n\n"
          "Exit status: 0 measured, whatever the times; 1 could not measure, a job\n"
          "gave a wrong result, or --smoke found a figure that is not plausible;\n"
          "2 bad arguments; 77 built with a sanitizer, whose times say nothing.\n",
          stdout);
}

[[noreturn]] void usage_fail(const std::string &what)
{
    fprintf(stderr, "jobswitch-bench: %s (see --help)\n", what.c_str());
    exit(2);
}

[[noreturn]] void fail(const std::string &what)
{
    fprintf(stderr, "jobswitch-bench: %s\n", what.c_str());
    exit(1);
}

Options options_parse(int argc, char **argv)
{
    enum { LIST, FILTER, QUICK, SMOKE, JSON, HTML, CHART, BASELINE, CPU, HELP };
    const option names[] = {{"list", no_argument, nullptr, LIST},
                            {"filter", required_argument, nullptr, FILTER},
                            {"quick", no_argument, nullptr, QUICK},
                            {"smoke", no_argument, nullptr, SMOKE},
                            {"json", required_argument, nullptr, JSON},
                            {"html", required_argument, nullptr, HTML},
                            {"chart", required_argument, nullptr, CHART},
                            {"baseline", required_argument, nullptr, BASELINE},
                            {"cpu", required_argument, nullptr, CPU},
                            {"help", no_argument, nullptr, HELP},
                            {nullptr, 0, nullptr, 0}};
    Options options;
    bool cpu_given = false, quick = false, smoke = false;
    opterr = 0;
    for (;;) {
        const int at = optind;
        const int code = getopt_long(argc, argv, ":", names, nullptr);
        if (code == -1)
            break;
        switch (code) {
        case LIST: options.list = true; break;
        case FILTER: options.filter = optarg; break;
        case QUICK: quick = true; break;
        case SMOKE: smoke = true; break;
        case JSON: options.json_path = optarg; break;
        case HTML: options.html_path = optarg; break;
        case CHART: options.chart_path = optarg; break;
        case BASELINE: options.baseline_path = optarg; break;
        case CPU: {
            char *end = nullptr;
            errno = 0;
            const long value = strtol(optarg, &end, 10);
            if (end == optarg || *end || errno || value < 0 || value >= CPU_SETSIZE)
                usage_fail(std::string("--cpu takes a number, not '") + optarg + "'");
            options.cpu = static_cast<int>(value);
            cpu_given = true;
            break;
        }
        case HELP: help_print(); exit(0);
        case ':': usage_fail(std::string(argv[at]) + " needs a value");
        default:
            usage_fail(std::string("no such option, or one that takes no value: ") + argv[at]);
        }
        if (optarg && !*optarg)
            usage_fail(std::string(argv[at]) + " needs a value that is not empty");
    }
    if (optind < argc)
        usage_fail(std::string("what is '") + argv[optind] + "'?");
    if (quick && smoke)
        usage_fail("--quick and --smoke exclude each other");
    options.mode = smoke ? Mode::SMOKE : quick ? Mode::QUICK : Mode::FULL;
    if (!cpu_given)
        options.cpu = environment_cpu_choose();
    else if (!environment_cpu_allowed(options.cpu))
        usage_fail("--cpu " + std::to_string(options.cpu) +
                   ": this process may not run there");
    return options;
}

void list_print(const Options &options, const RunOptions &run)
{
    for (const Peer &peer : peers_all())
        if (peer.missing.empty())
            printf("peer %s: %s; %s\n", peer.name.c_str(), peer.title.c_str(),
                   peer.library ? peer.library().c_str() : "in this program");
        else
            printf("peer %s: skipped: not built (package %s)\n", peer.name.c_str(),
                   peer.missing.c_str());
    for (const RowEntry &entry : rows_all()) {
        bool named = false;
        for (const Cell &cell : row_cells(entry, {options.mode})) {
            const std::string name = cell_name(entry.row, cell);
            if (!run.wanted(name))
                continue;
            if (!named)
                printf("row %s: %s, %s\n", entry.row.key, entry.row.title, entry.row.unit);
            named = true;
            printf("  %s%s%s\n", name.c_str(),
                   cell.unavailable.empty() ? "" : ": not available: ",
                   cell.unavailable.c_str());
        }
    }
}

// The file can be written: better said before a run of minutes than after it.
void writable(const std::string &path)
{
    if (path.empty() || path == "-")
        return;
    FILE *const file = fopen(path.c_str(), "a");
    if (!file)
        usage_fail("cannot write " + path + ": " + strerror(errno));
    fclose(file);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

} // namespace

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], WORKER_WORD) == 0)
        return worker_main(argc, argv);
    const Options options = options_parse(argc, argv);
    if (sanitized) {
        fputs("jobswitch-bench: built with a sanitizer: nothing to measure\n", stderr);
        return EXIT_SANITIZER;
    }

    RunOptions run;
    run.mode = options.mode;
    run.cpu = options.cpu;
    run.progress = isatty(STDERR_FILENO);
    std::regex regex;
    try {
        regex.assign(options.filter);
    } catch (const std::regex_error &) {
        usage_fail("--filter: not a regular expression: '" + options.filter + "'");
    }
    run.wanted = [&](const std::string &name) {
        return options.filter.empty() || std::regex_search(name, regex);
    };
    bool any = false;
    for (const RowEntry &entry : rows_all())
        for (const Cell &cell : row_cells(entry, {options.mode}))
            any |= run.wanted(cell_name(entry.row, cell));
    if (!any)
        usage_fail("--filter: no cell has a name with '" + options.filter +
                   "' in it; --list shows them");
    if (options.list) {
        list_print(options, run);
        return 0;
    }

    Results before, results;
    std::string why;
    if (!options.baseline_path.empty() &&
        !json_read(options.baseline_path.c_str(), &before, &why))
        usage_fail("--baseline: " + why);
    writable(options.json_path);
    writable(options.html_path);
    writable(options.chart_path);

    const std::string failure = run_all(run, results);
    if (!failure.empty())
        fail(failure);
    if (!options.baseline_path.empty()) {
        results.baseline = baseline_compare(results, before);
        results.baseline->path = options.baseline_path;
    }
    if (options.json_path != "-") {
        text_print(results);
        if (fflush(stdout) != 0 || ferror(stdout))
            fail("cannot write the figures");
    }
    if (!options.json_path.empty() &&
        !json_write(results, options.json_path.c_str(), &why))
        fail(why);
    if (!options.html_path.empty() &&
        !html_write(results, options.html_path.c_str(), &why))
        fail(why);
    if (!options.chart_path.empty() &&
        !chart_write(results, options.chart_path.c_str(), &why))
        fail(why);
    if (options.mode != Mode::SMOKE)
        return 0;
    const std::vector<std::string> implausible = run_implausible(results);
    for (const std::string &line : implausible)
        fprintf(stderr, "jobswitch-bench: %s\n", line.c_str());
    return implausible.empty() ? 0 : 1;
}
