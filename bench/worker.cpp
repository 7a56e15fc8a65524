// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stats.h"
#include "ticks.h"

namespace {

// ---- the child ------------------------------------------------------------------
//
// It tells the parent by lines of words between tabs, on its standard output.

[[noreturn]] void child_fail(const std::string &where, const char *what,
                             std::string (*reason)() = nullptr)
{
    printf("failed\t%s: %s%s%s%s\n", where.c_str(), what, reason ? " (" : "",
           reason ? reason().c_str() : "", reason ? ")" : "");
    fflush(stdout);
    _exit(1);
}

class Writer final : public Samples {
public:
    size_t cell = 0;
    bool muted = false;
    void add(const char *metric, const char *unit, double value) override
    {
        if (!muted)
            printf("value\t%zu\t%s\t%s\t%.9g\n", cell, metric, unit, value);
    }
    void point(const char *curve, const char *x_unit, const char *y_unit, double x,
               double y) override
    {
        if (!muted)
            printf("point\t%zu\t%s\t%s\t%s\t%.9g\t%.9g\n", cell, curve, x_unit,
                   y_unit, x, y);
    }
};

// How often the kernel took the CPU away, as far as a cell did not ask for it.
long interruptions = 0;
long interruptions_ever()
{
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nivcsw;
}

struct Measured {
    size_t number; // in row_cells()
    Cell cell;
    std::string name;
    uint64_t operations = 0;
    uint64_t warm_operations = 0; // before each batch
    std::vector<double> values = {};   // of the rounds, by run()
};

double batch_ns(const Measured &m, uint64_t operations)
{
    const long before = interruptions_ever();
    const Batch batch = m.cell.run(operations);
    if (!m.cell.kernel_switches)
        interruptions += interruptions_ever() - before;
    if (batch.failure)
        child_fail(m.name, batch.failure, m.cell.reason);
    return ticks_to_ns(batch.ticks);
}

// So many operations that a batch takes as long as it should.
void operations_find(Measured &m, const WorkerTask &task)
{
    const uint64_t quantum = m.cell.quantum;
    const double want_ns = static_cast<double>(task.batch_ns);
    uint64_t operations = quantum >= 256 ? quantum : 256 / quantum * quantum;
    // By the best batch: one that was interrupted would make all others short.
    double least_ns = 1e18, elapsed_ns = 0, spent_ns = 0;
    do {
        elapsed_ns = batch_ns(m, operations);
        spent_ns += elapsed_ns;
        least_ns = std::min(least_ns, elapsed_ns / static_cast<double>(operations));
        if (elapsed_ns < want_ns / 4)
            operations *= 2;
    } while (elapsed_ns < want_ns / 4 || spent_ns < static_cast<double>(task.warm_up_ns));
    const double ideal = want_ns / std::max(least_ns, 1e-3) / static_cast<double>(quantum);
    m.operations = quantum * std::max<uint64_t>(static_cast<uint64_t>(ideal), 1);
    // The caches and predictors still hold another cell's; where one quantum is
    // much of a batch, there is nothing to warm that lasts.
    m.warm_operations = std::max(m.operations / 16 / quantum * quantum, quantum);
    if (m.warm_operations > m.operations / 4)
        m.warm_operations = 0;
}

// 1,000 additions, each of which waits for the last.
double speed_ns()
{
    double least = 1e9;
    for (int i = 0; i < 20; i++) {
        uint64_t sum = 1;
        const uint64_t begin = ticks_now();
        for (int n = 0; n < 20; n++)
            for (int k = 0; k < 1000; k++) {
                sum += static_cast<uint64_t>(k);
                __asm__ volatile("" : "+r"(sum));
            }
        least = std::min(least, ticks_to_ns(ticks_now() - begin) / 20);
    }
    return least;
}

int child_run(const WorkerTask &task)
{
    ticks_tsc_hz = task.tsc_hz;
    if (task.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<size_t>(task.cpu), &set);
        if (sched_setaffinity(0, sizeof set, &set) == 0)
            puts("pinned");
    }
    std::vector<Measured> all;
    int rounds = task.rounds;
    for (const RowEntry &entry : rows_all()) {
        if (task.row != entry.row.key)
            continue;
        const size_t place = static_cast<size_t>(task.turn) % PLACES;
        const std::vector<Cell> cells = row_cells(entry, {task.mode, place});
        for (const size_t number : task.cells) {
            if (number >= cells.size())
                continue;
            const std::string name = cell_name(entry.row, cells[number]);
            all.push_back({number, cells[number], name});
            for (const Cell &other : cells[number].alternatives)
                all.push_back({number, other, name});
        }
    }
    if (all.empty())
        child_fail(task.row, "there are no such cells");

    Writer writer;
    for (Measured &m : all) {
        const char *const failure = m.cell.open ? m.cell.open() : nullptr;
        if (failure)
            child_fail(m.name, failure, m.cell.reason);
    }
    for (Measured &m : all) {
        if (m.cell.run)
            operations_find(m, task);
        if (m.cell.rounds > 0)
            rounds = std::min(rounds, m.cell.rounds);
    }
    printf("speed\t%.6g\n", speed_ns());
    for (int round = 0; round < rounds; round++)
        for (size_t turn = 0; turn < all.size(); turn++) {
            const size_t shift = static_cast<size_t>(round + task.turn);
            Measured &m = all[(turn + shift) % all.size()];
            writer.cell = m.number;
            if (m.cell.run) {
                if (m.warm_operations)
                    batch_ns(m, m.warm_operations);
                m.values.push_back(batch_ns(m, m.operations) /
                                   static_cast<double>(m.operations));
                continue;
            }
            const long before = interruptions_ever();
            if (const char *const failure = m.cell.sample(writer))
                child_fail(m.name, failure, m.cell.reason);
            if (!m.cell.kernel_switches)
                interruptions += interruptions_ever() - before;
        }
    for (size_t i = 0, next; i < all.size(); i = next) {
        // A cell's alternatives stand behind it.
        const Measured *least = &all[i];
        for (next = i + 1; next < all.size() && all[next].number == all[i].number; next++)
            if (stats_median(all[next].values) < stats_median(least->values))
                least = &all[next];
        writer.cell = least->number;
        for (const double value : least->values)
            writer.add("time", "", value);
    }
    for (auto m = all.rbegin(); m != all.rend(); ++m) {
        const char *const failure = m->cell.close ? m->cell.close() : nullptr;
        if (failure)
            child_fail(m->name, failure, m->cell.reason);
    }
    printf("interrupted\t%ld\n", interruptions);
    puts("done");
    return fflush(stdout) == 0 ? 0 : 1;
}

// ---- the parent -----------------------------------------------------------------

std::vector<std::string> words_split(const std::string &line)
{
    std::vector<std::string> words(1);
    for (const char c : line)
        if (c == '\t')
            words.emplace_back();
        else
            words.back() += c;
    return words;
}

template <typename List> auto &entry_of(List &list, const std::string &name)
{
    for (auto &[key, value] : list)
        if (key == name)
            return value;
    list.emplace_back();
    list.back().first = name;
    return list.back().second;
}

// Returns whether the line was the last.
bool line_take(const std::string &line, WorkerReport &report)
{
    const std::vector<std::string> word = words_split(line);
    const auto number = [&](size_t i) { return strtod(word[i].c_str(), nullptr); };
    if (word[0] == "value" && word.size() == 5) {
        auto &cell = report.cells[strtoul(word[1].c_str(), nullptr, 10)];
        auto &values = entry_of(cell.metrics, word[2]);
        values.unit = word[3];
        values.rounds.push_back(number(4));
    } else if (word[0] == "point" && word.size() == 7) {
        auto &cell = report.cells[strtoul(word[1].c_str(), nullptr, 10)];
        auto &points = entry_of(cell.curves, word[2]);
        points.x_unit = word[3];
        points.y_unit = word[4];
        points.points.emplace_back(number(5), number(6));
    } else if (word[0] == "failed" && word.size() > 1) {
        report.failure = line.substr(7);
    } else if (word[0] == "interrupted" && word.size() == 2) {
        report.interrupted = static_cast<long>(number(1));
    } else if (word[0] == "speed" && word.size() == 2) {
        report.speed_ns = number(1);
    } else if (word[0] == "pinned") {
        report.pinned = true;
    } else if (word[0] == "done") {
        return true;
    }
    return false;
}

} // namespace

int worker_main(int argc, char **argv)
{
    if (argc != 11)
        return 2;
    WorkerTask task;
    task.row = argv[2];
    for (const char *from = argv[3]; *from;) {
        char *end = nullptr;
        task.cells.push_back(strtoul(from, &end, 10));
        from = *end ? end + 1 : end;
    }
    task.mode = static_cast<Mode>(atoi(argv[4]));
    task.cpu = atoi(argv[5]);
    task.rounds = atoi(argv[6]);
    task.turn = atoi(argv[7]);
    task.batch_ns = strtoull(argv[8], nullptr, 10);
    task.warm_up_ns = strtoull(argv[9], nullptr, 10);
    task.tsc_hz = strtod(argv[10], nullptr);
    return child_run(task);
}

WorkerReport worker_run(const WorkerTask &task)
{
    WorkerReport report;
    std::string cells;
    for (const size_t cell : task.cells)
        cells += (cells.empty() ? "" : ",") + std::to_string(cell);
    char hz[40];
    snprintf(hz, sizeof hz, "%.3f", task.tsc_hz);
    std::vector<std::string> words = {"jobswitch-bench",
                                      WORKER_WORD,
                                      task.row,
                                      cells,
                                      std::to_string(static_cast<int>(task.mode)),
                                      std::to_string(task.cpu),
                                      std::to_string(task.rounds),
                                      std::to_string(task.turn),
                                      std::to_string(task.batch_ns),
                                      std::to_string(task.warm_up_ns),
                                      hz};
    std::vector<char *> argv;
    for (std::string &word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);

    std::vector<char *> environment;
    std::string preload = "LD_PRELOAD=" + task.preload;
    for (char **at = environ; *at; at++)
        if (task.preload.empty() || strncmp(*at, "LD_PRELOAD=", 11) != 0)
            environment.push_back(*at);
    if (!task.preload.empty())
        environment.push_back(preload.data());
    environment.push_back(nullptr);

    int ends[2];
    if (pipe(ends) != 0) {
        report.failure = std::string("no pipe: ") + strerror(errno);
        return report;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    pid_t pid;
    const int error =
        posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(),
                    environment.data());
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *const from = error ? nullptr : fdopen(ends[0], "r");
    if (!from) {
        close(ends[0]);
        report.failure =
            std::string("cannot start a measuring process: ") + strerror(error);
        return report;
    }
    bool done = false;
    char *line = nullptr;
    size_t room = 0;
    for (ssize_t length; (length = getline(&line, &room, from)) > 0;) {
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        done |= line_take(line, report);
    }
    free(line);
    fclose(from);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (report.failure.empty() && WIFSIGNALED(status))
        report.failure = task.row + ": the measuring process ended: " +
                         strsignal(WTERMSIG(status));
    else if (report.failure.empty() && (!done || status != 0))
        report.failure = task.row + ": the measuring process ended early";
    return report;
}
