// SPDX-License-Identifier: Apache-2.0
//
// What a start, a pause and a resume cost: jobswitch beside OpenSSL's own ASYNC
// runtime, in one run. See README.md for what the rows say and do not say.
//
// Method. Several processes one after the other, since where code, stacks and
// heap happen to lie is drawn anew with each process and moves times by more
// than noise does. Each process is pinned to one CPU, warms up, finds how many
// operations fill a batch, and then times batches in rounds: every row, in each
// row both peers, in turns as to which is first. So what disturbs the machine
// for a while disturbs both. A figure is the median over all batches of all
// processes; its interval is a bootstrap that draws processes, and from those
// rounds (a round's two batches stay together).
#include <dlfcn.h>
#include <getopt.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "peer.h"

std::string symbol_file(const char *symbol)
{
    Dl_info info;
    void *const address = dlsym(RTLD_DEFAULT, symbol);
    if (!address || !dladdr(address, &info) || !info.dli_fname)
        return "?";
    return info.dli_fname;
}

namespace {

constexpr std::array<const Peer *, 2> peers = {&peer_jobswitch, &peer_openssl};
constexpr size_t PEERS = peers.size();
constexpr int CROWD = ROWS; // its figures stand below those of the batches
constexpr int TABLE_ROWS = ROWS + 1;

struct RowText {
    const char *name;
    const char *key;
};
constexpr std::array<RowText, TABLE_ROWS> row_texts = {{
    {"start+finish", "start_finish"},
    {"start+finish, 40-byte args", "start_finish_args_40"},
    {"pause+resume", "pause_resume"},
    {"start+pause+resume+finish", "start_pause_resume_finish"},
    {"pause+resume, random order", "crowd_pause_resume"},
}};

constexpr size_t CROWD_JOBS = 100000;
// A page of stack, its page tables and what a peer keeps beside them: more than
// any peer was seen to take, so that the machine is not driven to swap.
constexpr size_t CROWD_BYTES_PER_JOB = 20000;
constexpr int CROWD_PASSES = 3;
constexpr int RESAMPLES = 2000;
constexpr int EXIT_SANITIZER = 77;

struct Options {
    bool quick = false;
    bool full = false;
    bool json = false;
    int cpu = -1;
    std::vector<double> floors; // of --check
    // Of a measuring process, which this program starts:
    std::string worker;         // "rows", or "crowd:" and the peer's index
    size_t crowd_jobs = CROWD_JOBS;
};

struct Effort {
    int processes;
    int rounds;         // in each process
    uint64_t batch_ns;
    uint64_t warm_up_ns;
    int crowd_processes; // for each peer
};

Effort effort_of(const Options &options)
{
    if (options.quick)
        return {8, 24, 400000, 25000000, 2};
    return {12, 30, 1000000, 50000000, 4};
}

// ---- the measuring process --------------------------------------------------

[[noreturn]] void worker_fail(const Peer &peer, const char *row, const char *what)
{
    printf("failed %s: %s: %s (%s)\n", peer.name, row, what,
           peer.reason().c_str());
    fflush(stdout);
    _exit(1);
}

uint64_t worker_batch(const Peer &peer, int row, uint64_t operations)
{
    const Batch batch = peer.run[row](operations);
    if (batch.failure)
        worker_fail(peer, row_texts[row].name, batch.failure);
    return batch.elapsed_ns;
}

// So many operations that a batch takes batch_ns.
uint64_t worker_operations(const Peer &peer, int row, uint64_t batch_ns,
                           uint64_t warm_up_ns)
{
    uint64_t operations = 256, elapsed_ns = 0;
    while ((elapsed_ns = worker_batch(peer, row, operations)) < batch_ns / 4)
        operations *= 2;
    for (uint64_t spent_ns = 0; spent_ns < warm_up_ns; spent_ns += elapsed_ns)
        elapsed_ns = worker_batch(peer, row, operations);
    return std::max<uint64_t>(operations * batch_ns / std::max<uint64_t>(
                                  elapsed_ns, 1), 1);
}

void worker_rows(const Effort &effort)
{
    for (const Peer *peer : peers)
        if (!peer->open(16, 1))
            worker_fail(*peer, "a pool", "cannot be made");

    uint64_t operations[ROWS][PEERS];
    for (int row = 0; row < ROWS; row++)
        for (size_t p = 0; p < PEERS; p++)
            operations[row][p] =
                worker_operations(*peers[p], row, effort.batch_ns,
                                  effort.warm_up_ns / (ROWS * PEERS));

    for (int round = 0; round < effort.rounds; round++)
        for (int row = 0; row < ROWS; row++)
            for (size_t turn = 0; turn < PEERS; turn++) {
                const size_t p = (turn + static_cast<size_t>(round)) % PEERS;
                const uint64_t n = operations[row][p];
                // The caches and predictors still hold the other peer's.
                worker_batch(*peers[p], row, n / 16 + 1);
                const uint64_t elapsed_ns = worker_batch(*peers[p], row, n);
                printf("batch %d %zu %d %.6f\n", row, p, round,
                       static_cast<double>(elapsed_ns) / static_cast<double>(n));
            }
    for (const Peer *peer : peers)
        peer->close();
}

void worker_crowd(const Peer &peer, size_t p, size_t jobs)
{
    const char *const row = row_texts[CROWD].name;
    if (!peer.open(jobs, 0))
        worker_fail(peer, "a pool", "cannot be made");
    Batch batch = peer.crowd_gather(jobs);
    if (batch.failure)
        worker_fail(peer, row, batch.failure);
    for (int pass = -1; pass < CROWD_PASSES; pass++) {
        batch = peer.crowd_pass(static_cast<uint64_t>(pass + 2));
        if (batch.failure)
            worker_fail(peer, row, batch.failure);
        if (pass >= 0) // the first pass warmed up
            printf("batch %d %zu %d %.6f\n", CROWD, p, pass,
                   static_cast<double>(batch.elapsed_ns) /
                       static_cast<double>(jobs));
    }
    batch = peer.crowd_dismiss();
    if (batch.failure)
        worker_fail(peer, row, batch.failure);
    peer.close();
}

int worker_run(const Options &options)
{
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<size_t>(options.cpu), &set);
        if (sched_setaffinity(0, sizeof set, &set) == 0)
            puts("pinned");
    }
    if (options.worker == "rows") {
        worker_rows(effort_of(options));
    } else {
        const size_t p = options.worker == "crowd:0" ? 0 : 1;
        worker_crowd(*peers[p], p, options.crowd_jobs);
    }
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("interrupted %ld\n", usage.ru_nivcsw);
    puts("done");
    return fflush(stdout) == 0 ? 0 : 1;
}

// ---- the process that gathers -----------------------------------------------

// A row's figures, [process][round] for each peer, in ns for an operation.
using Samples = std::array<std::vector<std::vector<double>>, PEERS>;

struct Results {
    std::array<Samples, TABLE_ROWS> rows;
    std::array<std::string, PEERS> crowd_failure;
    bool pinned = true;
    long interrupted = 0;
};

[[noreturn]] void fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void fail(const char *format, ...)
{
    fputs("quick: ", stderr);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

// Runs this program once more, as a measuring process, and reads what it
// prints. What it says has failed is returned, else "".
std::string process_run(const Options &options, const std::string &worker,
                        Results &results)
{
    std::vector<std::string> words = {
        "quick", "--worker", worker, "--cpu", std::to_string(options.cpu),
        "--crowd-jobs", std::to_string(options.crowd_jobs)};
    if (options.quick)
        words.push_back("--quick");
    std::vector<char *> argv;
    for (std::string &word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);

    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe: %s", strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    pid_t pid;
    const int error = posix_spawn(&pid, "/proc/self/exe", &actions, nullptr,
                                  argv.data(), environ);
    if (error)
        fail("cannot start a measuring process: %s", strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *const from = fdopen(ends[0], "r");
    if (!from)
        fail("no memory");

    std::string failure;
    bool pinned = false, done = false;
    char *line = nullptr;
    size_t room = 0;
    for (auto &row : results.rows)
        for (auto &processes : row)
            processes.emplace_back();
    for (ssize_t length; (length = getline(&line, &room, from)) > 0;) {
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        int row = 0, round = 0;
        size_t p = 0;
        double operation_ns = 0;
        long interrupted = 0;
        if (sscanf(line, "batch %d %zu %d %lf", &row, &p, &round,
                   &operation_ns) == 4 &&
            row >= 0 && row < TABLE_ROWS && p < PEERS)
            results.rows[static_cast<size_t>(row)][p].back().push_back(
                operation_ns);
        else if (strncmp(line, "failed ", 7) == 0)
            failure = line + 7;
        else if (sscanf(line, "interrupted %ld", &interrupted) == 1)
            results.interrupted += interrupted;
        else if (strcmp(line, "pinned") == 0)
            pinned = true;
        else if (strcmp(line, "done") == 0)
            done = true;
    }
    free(line);
    fclose(from);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (failure.empty() && WIFSIGNALED(status))
        failure = "the measuring process for " + worker + " ended: " +
                  strsignal(WTERMSIG(status));
    else if (failure.empty() && (!done || status != 0))
        failure = "the measuring process for " + worker + " ended early";
    results.pinned &= pinned;
    // Rows that a process has no figures of leave no empty process behind.
    for (auto &row : results.rows)
        for (auto &processes : row)
            if (processes.back().empty())
                processes.pop_back();
    return failure;
}

// ---- figures ----------------------------------------------------------------

struct Figure {
    double median = 0, low = 0, high = 0; // the 95 % interval
};

struct RowFigures {
    bool have[PEERS] = {};
    Figure operation_ns[PEERS];
    Figure ratio; // of the other peer's median to that of jobswitch
};

double median(std::vector<double> &values)
{
    const auto middle = values.begin() +
                        static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    if (values.size() % 2)
        return *middle;
    return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

struct Dice {
    uint64_t state = 20240229;
    size_t below(size_t end)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<size_t>((state >> 33) % end);
    }
};

Figure interval(double value, std::vector<double> &drawn)
{
    std::sort(drawn.begin(), drawn.end());
    const size_t cut = drawn.size() / 40; // 2.5 %
    return {value, drawn[cut], drawn[drawn.size() - 1 - cut]};
}

// The peers' processes and rounds are drawn by the same dice where they were
// measured together (`paired`), and each for itself where not.
RowFigures figures_of(const Samples &samples, bool paired)
{
    RowFigures figures;
    double median_ns[PEERS] = {};
    for (size_t p = 0; p < PEERS; p++) {
        std::vector<double> all;
        for (const auto &process : samples[p])
            all.insert(all.end(), process.begin(), process.end());
        figures.have[p] = !all.empty();
        if (figures.have[p])
            median_ns[p] = median(all);
    }

    std::vector<double> drawn_ns[PEERS], drawn_ratio;
    std::vector<double> values;
    Dice dice;
    for (int i = 0; i < RESAMPLES; i++) {
        const Dice dice_before = dice;
        for (size_t p = 0; p < PEERS; p++) {
            if (!figures.have[p])
                continue;
            if (paired)
                dice = dice_before;
            values.clear();
            for (size_t n = samples[p].size(); n > 0; n--) {
                const auto &process = samples[p][dice.below(samples[p].size())];
                for (size_t m = process.size(); m > 0; m--)
                    values.push_back(process[dice.below(process.size())]);
            }
            drawn_ns[p].push_back(median(values));
        }
        if (figures.have[0] && figures.have[1])
            drawn_ratio.push_back(drawn_ns[1].back() / drawn_ns[0].back());
    }
    for (size_t p = 0; p < PEERS; p++)
        if (figures.have[p])
            figures.operation_ns[p] = interval(median_ns[p], drawn_ns[p]);
    if (!drawn_ratio.empty())
        figures.ratio = interval(median_ns[1] / median_ns[0], drawn_ratio);
    return figures;
}

// ---- the environment --------------------------------------------------------

// The value of the first line "key<blanks>: value".
std::string file_value(const char *path, const char *key)
{
    std::string value;
    FILE *const file = fopen(path, "r");
    if (!file)
        return value;
    char line[512];
    while (value.empty() && fgets(line, sizeof line, file)) {
        const char *const colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon)
            continue;
        value = colon + 1;
        value.erase(0, value.find_first_not_of(" \t"));
        value.erase(value.find_last_not_of(" \t\n") + 1);
    }
    fclose(file);
    return value;
}

struct Environment {
    std::string cpu, cpu_pinned, kernel, compiler, libraries[PEERS];
};

Environment environment_of(const Options &options, const Results &results)
{
    Environment e;
    e.cpu = file_value("/proc/cpuinfo", "model name");
    if (e.cpu.empty())
        e.cpu = "unknown";
    if (!results.pinned)
        e.cpu_pinned = "none: the system did not allow it";
    else
        e.cpu_pinned = std::to_string(options.cpu) + " of " +
                       std::to_string(sysconf(_SC_NPROCESSORS_ONLN));
    utsname name;
    if (uname(&name) == 0)
        e.kernel = std::string(name.sysname) + " " + name.release + " " +
                   name.machine;
#ifdef __clang__
    e.compiler = "Clang " __clang_version__;
#else
    e.compiler = "GCC " __VERSION__;
#endif
#ifndef __OPTIMIZE__
    e.compiler += ", without optimisation: not for comparing";
#endif
    for (size_t p = 0; p < PEERS; p++)
        e.libraries[p] = peers[p]->library();
    return e;
}

int cpu_choose()
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return -1;
    // The last one: interrupts and whatever does not care tend to the first.
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
        if (CPU_ISSET(static_cast<size_t>(cpu), &set))
            return cpu;
    return -1;
}

bool cpu_allowed(int cpu)
{
    cpu_set_t set;
    return cpu >= 0 && cpu < CPU_SETSIZE &&
           sched_getaffinity(0, sizeof set, &set) == 0 &&
           CPU_ISSET(static_cast<size_t>(cpu), &set);
}

// As many jobs as half of the memory that is free can hold.
size_t crowd_that_fits()
{
    unsigned long long free_bytes =
        1024 * strtoull(file_value("/proc/meminfo", "MemAvailable").c_str(),
                        nullptr, 10);
    unsigned long long limit = 0;
    FILE *const file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file) {
        if (fscanf(file, "%llu", &limit) == 1)
            free_bytes = std::min(free_bytes, limit);
        fclose(file);
    }
    return std::min<size_t>(CROWD_JOBS, free_bytes / 2 / CROWD_BYTES_PER_JOB);
}

// ---- the report -------------------------------------------------------------

std::string number(double value, double like)
{
    char text[32];
    snprintf(text, sizeof text, "%.*f", like < 10 ? 2 : like < 1000 ? 1 : 0,
             value);
    return text;
}

std::string figure_text(const Figure &figure)
{
    return number(figure.median, figure.median) + " [" +
           number(figure.low, figure.median) + ", " +
           number(figure.high, figure.median) + "]";
}

using Table = std::array<RowFigures, TABLE_ROWS>;

void report_print(const Options &options, const Effort &effort,
                  const Environment &e, const Results &results,
                  const Table &table)
{
    printf("CPU        %s, pinned to CPU %s\n", e.cpu.c_str(),
           e.cpu_pinned.c_str());
    printf("kernel     %s\n", e.kernel.c_str());
    printf("compiler   %s\n", e.compiler.c_str());
    for (size_t p = 0; p < PEERS; p++)
        printf("%-10s %s\n", p == 0 ? "libraries" : "", e.libraries[p].c_str());
    printf("method     %d processes x %d rounds, batches of %" PRIu64
           " us, peers in turns; interrupted %ld times\n\n",
           effort.processes, effort.rounds, effort.batch_ns / 1000,
           results.interrupted);

    printf("ns, median [95 %% interval] %20s %20s %18s\n", peers[0]->name,
           peers[1]->name, "ratio");
    for (int row = 0; row < TABLE_ROWS; row++) {
        const RowFigures &figures = table[static_cast<size_t>(row)];
        if (row == CROWD && !options.full)
            continue;
        printf("%-26s", row_texts[static_cast<size_t>(row)].name);
        for (size_t p = 0; p < PEERS; p++)
            printf(" %20s", figures.have[p]
                                ? figure_text(figures.operation_ns[p]).c_str()
                                : "-");
        printf(" %18s\n", figures.have[0] && figures.have[1]
                              ? figure_text(figures.ratio).c_str()
                              : "-");
    }
    printf("\npause+resume is a round trip of one job: two switches, there and"
           " back.\nratio: how many times as long %s takes.\n", peers[1]->name);
    if (options.full) {
        printf("random order: %zu paused jobs, one peer at a time, %d processes"
               " each, %d passes in each.\n",
               options.crowd_jobs, effort.crowd_processes, CROWD_PASSES);
        for (const std::string &failure : results.crowd_failure)
            if (!failure.empty())
                printf("not measured: %s\n", failure.c_str());
    }
}

std::string json_string(const std::string &text)
{
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            quoted += '\\';
        if (static_cast<unsigned char>(c) >= 0x20)
            quoted += c;
    }
    return quoted + "\"";
}

std::string json_figure(const Figure &figure)
{
    char text[128];
    snprintf(text, sizeof text,
             "{\"median\": %.4f, \"low\": %.4f, \"high\": %.4f}", figure.median,
             figure.low, figure.high);
    return text;
}

void report_json(const Options &options, const Effort &effort,
                 const Environment &e, const Results &results,
                 const Table &table)
{
    printf("{\n  \"environment\": {\"cpu\": %s, \"pinned_to\": %d, \"kernel\": "
           "%s, \"compiler\": %s, \"jobswitch\": %s, \"openssl\": %s},\n",
           json_string(e.cpu).c_str(), results.pinned ? options.cpu : -1,
           json_string(e.kernel).c_str(), json_string(e.compiler).c_str(),
           json_string(e.libraries[0]).c_str(),
           json_string(e.libraries[1]).c_str());
    printf("  \"method\": {\"processes\": %d, \"rounds\": %d, \"batch_ns\": "
           "%" PRIu64 ", \"interrupted\": %ld, \"interval_percent\": 95, "
           "\"crowd_jobs\": %zu, \"crowd_processes\": %d, "
           "\"crowd_passes\": %d},\n",
           effort.processes, effort.rounds, effort.batch_ns,
           results.interrupted, options.full ? options.crowd_jobs : 0,
           options.full ? effort.crowd_processes : 0,
           options.full ? CROWD_PASSES : 0);
    printf("  \"rows\": [");
    const char *comma = "";
    for (int row = 0; row < TABLE_ROWS; row++) {
        const RowFigures &figures = table[static_cast<size_t>(row)];
        if (row == CROWD && !options.full)
            continue;
        const bool both = figures.have[0] && figures.have[1];
        printf("%s\n    {\"name\": \"%s\", \"jobswitch_ns\": %s, "
               "\"openssl_ns\": %s, \"ratio\": %s}",
               comma, row_texts[static_cast<size_t>(row)].key,
               figures.have[0] ? json_figure(figures.operation_ns[0]).c_str()
                               : "null",
               figures.have[1] ? json_figure(figures.operation_ns[1]).c_str()
                               : "null",
               both ? json_figure(figures.ratio).c_str() : "null");
        comma = ",";
    }
    printf("\n  ]\n}\n");
}

// 0, or 1 with a line for each row whose ratio is below what was asked.
int check(const std::vector<double> &floors, const Table &table)
{
    int status = 0;
    for (size_t row = 0; row < floors.size(); row++) {
        const RowFigures &figures = table[row];
        const double ratio = figures.ratio.median;
        if (figures.have[0] && figures.have[1] && ratio >= floors[row])
            continue;
        fprintf(stderr, "quick: %s: the ratio is %s, below %g\n",
                row_texts[row].name, number(ratio, ratio).c_str(), floors[row]);
        status = 1;
    }
    return status;
}

// ---- the command line -------------------------------------------------------

void help_print()
{
    printf(
        "usage: quick [OPTION]...\n"
        "Times starts, pauses and resumes of jobs: jobswitch beside OpenSSL's\n"
        "ASYNC runtime. About five seconds.\n\n"
        "  --quick        about one second: fewer and shorter batches\n"
        "  --full         also %zu paused jobs resumed in random order\n"
        "                 (fewer where memory is short)\n"
        "  --cpu N        the CPU to run on [the last that is allowed]\n"
        "  --check R,...  exit status 1 if a row's ratio is below R; the rows\n"
        "                 in the table's order, as many as are given\n"
        "  --json         figures for programs\n"
        "  --help\n\n"
        "Exit status: 0 measured, whatever the times; 1 could not measure, a\n"
        "job gave a wrong result, or --check failed; 2 bad arguments; %d built\n"
        "with a sanitizer, whose times say nothing.\n",
        CROWD_JOBS, EXIT_SANITIZER);
}

[[noreturn]] void usage_fail(const std::string &what)
{
    fprintf(stderr, "quick: %s\nTry 'quick --help'.\n", what.c_str());
    exit(2);
}

bool whole_number(const char *text, long &value)
{
    char *end = nullptr;
    errno = 0;
    value = strtol(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

std::vector<double> floors_parse(const char *text)
{
    std::vector<double> floors;
    for (const char *from = text;;) {
        char *end = nullptr;
        errno = 0;
        const double floor = strtod(from, &end);
        if (end == from || errno != 0 || !(floor >= 0 && floor <= 1e6) ||
            (*end != ',' && *end != '\0'))
            usage_fail(std::string("--check takes numbers with commas between "
                                   "them, as in 12,9,8, not '") +
                       text + "'");
        floors.push_back(floor);
        if (*end == '\0')
            return floors;
        from = end + 1;
    }
}

Options options_parse(int argc, char **argv)
{
    enum { QUICK, FULL, JSON, CPU, CHECK, HELP, WORKER, CROWD_SIZE };
    const option names[] = {
        {"quick", no_argument, nullptr, QUICK},
        {"full", no_argument, nullptr, FULL},
        {"json", no_argument, nullptr, JSON},
        {"cpu", required_argument, nullptr, CPU},
        {"check", required_argument, nullptr, CHECK},
        {"help", no_argument, nullptr, HELP},
        {"worker", required_argument, nullptr, WORKER}, // not for users
        {"crowd-jobs", required_argument, nullptr, CROWD_SIZE}, // nor this
        {nullptr, 0, nullptr, 0}};
    Options options;
    bool cpu_given = false;
    long value = 0;
    for (;;) {
        const int code = getopt_long(argc, argv, "", names, nullptr);
        if (code == -1)
            break;
        switch (code) {
        case QUICK: options.quick = true; break;
        case FULL: options.full = true; break;
        case JSON: options.json = true; break;
        case CPU:
            if (!whole_number(optarg, value) || value < -1 || value > CPU_SETSIZE)
                usage_fail(std::string("--cpu takes a number, not '") + optarg +
                           "'");
            options.cpu = static_cast<int>(value);
            cpu_given = true;
            break;
        case CHECK: options.floors = floors_parse(optarg); break;
        case HELP: help_print(); exit(0);
        case WORKER: options.worker = optarg; break;
        case CROWD_SIZE:
            if (!whole_number(optarg, value) || value < 1)
                usage_fail("--crowd-jobs takes a number");
            options.crowd_jobs = static_cast<size_t>(value);
            break;
        default: // getopt_long() has said what is wrong
            fputs("Try 'quick --help'.\n", stderr);
            exit(2);
        }
    }
    if (optind < argc)
        usage_fail(std::string("what is '") + argv[optind] + "'?");
    if (!options.worker.empty())
        return options;
    const size_t rows = options.full ? TABLE_ROWS : ROWS;
    if (options.floors.size() > rows)
        usage_fail("--check takes at most " + std::to_string(rows) +
                   " numbers, one for each row");
    if (!cpu_given)
        options.cpu = cpu_choose();
    else if (!cpu_allowed(options.cpu))
        usage_fail("--cpu " + std::to_string(options.cpu) +
                   ": this process may not run there");
    return options;
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
    Options options = options_parse(argc, argv);
    if (sanitized) {
        fputs("quick: built with a sanitizer: nothing to measure\n", stderr);
        return EXIT_SANITIZER;
    }
    if (!options.worker.empty())
        return worker_run(options);

    const Effort effort = effort_of(options);
    Results results;
    for (int i = 0; i < effort.processes; i++) {
        const std::string failure = process_run(options, "rows", results);
        if (!failure.empty())
            fail("%s", failure.c_str());
    }
    if (options.full) {
        options.crowd_jobs = crowd_that_fits();
        if (options.crowd_jobs == 0)
            fail("no memory for --full");
        for (int i = 0; i < effort.crowd_processes; i++)
            for (size_t p = 0; p < PEERS; p++)
                if (results.crowd_failure[p].empty())
                    results.crowd_failure[p] = process_run(
                        options, "crowd:" + std::to_string(p), results);
    }

    Table table;
    for (int row = 0; row < TABLE_ROWS; row++)
        table[static_cast<size_t>(row)] =
            figures_of(results.rows[static_cast<size_t>(row)], row != CROWD);
    const Environment e = environment_of(options, results);
    if (options.json)
        report_json(options, effort, e, results, table);
    else
        report_print(options, effort, e, results, table);
    if (fflush(stdout) != 0 || ferror(stdout))
        fail("cannot write the figures");
    return check(options.floors, table);
}
