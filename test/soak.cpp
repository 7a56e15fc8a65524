// SPDX-License-Identifier: Apache-2.0
//
// soak: what the library promises to threads, signals and children, all of it at the same
// time and for as long as one likes, on the public functions alone.
//
// Owners are threads that run jobs in an event loop; wakers are threads that wake those
// jobs. There are more of both than processors, and they come and go. A ledger counts each
// wake before it is made, and each job reads its count after every pause. Time passes in
// rounds of a second at most, each with features of its own. At the end of a round the
// wakers are joined, and the owners take what is ready until nothing is: then every job must
// have read its last count. Twice, once everything is warm and at the end, all threads end,
// and the process must hold what it held.
//
//   --seconds N        how long; without it SOAK_SECONDS, or 60
//   --seed N           without it one from the clock; it is printed
//   --owners N, --wakers N, --jobs N   how many of each there are at most
//   --hertz N          profiling signals a second, to each thread
//   --without-FEATURE  one of feature_names less
//   --only-FEATURE     that one, and others so named, and no more
//   --forget-a-job     counts the wakes of one job and does not make them: the run must fail
//
// The last line of the output is the summary. Exit code: 0, or 1 with what was found.
#include <atomic>
#include <cinttypes>
#include <cstdarg>
#include <ctime>
#include <malloc.h>
#include <pthread.h>
#include <string>
#include <unordered_map>
#include <vector>

#include "support.h"

// ---- options ----------------------------------------------------------------------------

enum feature : unsigned {
    forks = 1,
    thread_cancels = 2,
    thread_ends = 4,
    signals = 8,
    deadlines = 16,
    descriptors = 32,
    job_cancels = 64,
    discards = 128,
    nesting = 256,
    locals = 512,
    trims = 1024,
    growth = 2048, // is judged
    all_features = 4095,
};
static constexpr struct {
    const char *name;
    feature bit;
} feature_names[] = {
    {"fork", forks},
    {"thread-cancel", thread_cancels},
    {"thread-ends", thread_ends},
    {"signals", signals},
    {"deadlines", deadlines},
    {"descriptors", descriptors},
    {"job-cancel", job_cancels},
    {"discard", discards},
    {"nesting", nesting},
    {"locals", locals},
    {"trim", trims},
    {"growth", growth},
};

static constexpr unsigned owners_most = 8, wakers_most = 16, jobs_most = 2048;
// After a cancellation in one of its interceptors ThreadSanitizer takes no notice of locks,
// and an owner still takes its pool back then.
#ifdef JOBSWITCH_WITH_TSAN
static constexpr bool cancels_owners = false;
#else
static constexpr bool cancels_owners = true;
#endif
static constexpr int children_most = 2; // and those that were asked for already

static struct {
    double seconds = 60;
    uint64_t seed = 0;
    unsigned owners = 3, wakers = 8, jobs = 1000, hertz = 1000;
    unsigned features = all_features;
    bool forgets = false;
} options;

// How long a thread may take for what takes milliseconds.
static constexpr uint64_t patience_ns = 40'000'000'000;
static constexpr uint64_t far_ns = 3'600'000'000'000;

// ---- what all threads see ---------------------------------------------------------------

enum stage : uint32_t {
    runs,   // anything goes
    hushed, // there are no wakers, and nobody wakes any more
    drains, // the owners take what is left, and look at the ledger
};
// The number of the round and its stage.
static std::atomic<uint32_t> phase;
static stage stage_now() { return stage(phase.load(std::memory_order_acquire) % 4); }

// What a round is made of; written while no thread runs that reads it.
static struct {
    unsigned features, wakers, jobs;
    unsigned turns;    // of a job, on average
    int target;        // the owner whose jobs are woken; -1: all owners'
    bool calm, rushes; // the wakers sleep between wakes; they never do
} plan;

static struct {
    std::atomic<uint64_t> wakes, told, resumes, started, finished, cancels, discards, deadlines,
        nested, forks, children_ended, threads_ended, cancellations, signals, frames, values;
} counts;

static std::atomic<bool> wakers_stop;
static std::atomic<int> children_alive, values_alive;
static bool in_child;

static uint64_t clock_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1'000'000'000 + uint64_t(now.tv_nsec);
}

static void sleep_ns(uint64_t ns)
{
    timespec moment = {time_t(ns / 1'000'000'000), long(ns % 1'000'000'000)};
    nanosleep(&moment, nullptr);
}

static void count(std::atomic<uint64_t> &number, uint64_t more = 1)
{
    number.fetch_add(more, std::memory_order_relaxed);
}

struct dice {
    uint64_t state;

    uint64_t next()
    {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint32_t below(uint32_t count) { return uint32_t((next() >> 32) * count >> 32); }
    bool one_in(uint32_t count) { return below(count) == 0; }
};

// ---- the ledger -------------------------------------------------------------------------

// A job's life in a record: the count of lives, which is odd while one lasts; whether
// somebody else than the owner may have asked for its descriptor; how often it was woken.
static constexpr uint64_t one_life = uint64_t(1) << 40, asked = uint64_t(1) << 39,
                          owed_mask = asked - 1;
static bool is_open(uint64_t state) { return state & one_life; }

enum class job_is { none, running, paused };

struct event {
    char what;
    uint32_t at_ms;
    uint64_t owed;
};

struct alignas(64) record {
    std::atomic<uint64_t> state;
    std::atomic<jobswitch_job *> handle;
    std::atomic<unsigned> last_waker;
    // The owner's.
    job_is is;
    bool cancelled;
    int fd; // -1: not asked for
    uint64_t seen;
    uint64_t deadline_ns; // while it is paused until then, else 0
    unsigned history_count;
    event history[8];
};

static record ledger[owners_most][jobs_most];
static constexpr uint32_t bell = 0; // the job that calls an owner to the phase

static uint32_t coarse_ms()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return uint32_t(now.tv_sec) * 1000 + uint32_t(now.tv_nsec / 1'000'000);
}

static void note(record &r, char what)
{
    r.history[r.history_count++ % 8] = {what, coarse_ms(),
                                        r.state.load(std::memory_order_relaxed) & owed_mask};
}

// From now on the job can be woken.
static void record_open(record &r, jobswitch_job *handle)
{
    // Each is a release: a waker that sees the new handle has the old state refused.
    r.handle.store(handle, std::memory_order_release);
    uint64_t life = r.state.load(std::memory_order_relaxed) & ~(one_life - 1);
    r.seen = 0;
    r.state.store(life + one_life, std::memory_order_release);
}

static void record_close(record &r)
{
    uint64_t state = r.state.load(std::memory_order_relaxed);
    while (is_open(state) &&
           !r.state.compare_exchange_weak(state, (state & ~(one_life - 1)) + one_life,
                                          std::memory_order_acq_rel))
        ;
}

// Adds to the state of an open record; NULL, or the handle of the life that has it. What the
// job reads of this it reads because it was woken: its own load orders nothing.
static jobswitch_job *record_add(record &r, uint64_t (*add)(uint64_t state))
{
    uint64_t state = r.state.load(std::memory_order_acquire);
    jobswitch_job *handle;
    do {
        if (!is_open(state))
            return nullptr;
        handle = r.handle.load(std::memory_order_acquire);
    } while (!r.state.compare_exchange_weak(state, add(state), std::memory_order_acq_rel,
                                            std::memory_order_acquire));
    return handle;
}

static void record_wake(record &r, unsigned waker)
{
    jobswitch_job *handle = record_add(r, [](uint64_t state) { return state + 1; });
    if (!handle)
        return;
    r.last_waker.store(waker, std::memory_order_relaxed);
    if (options.forgets && &r == &ledger[0][bell + 1])
        return;
    jobswitch_wake(handle);
    count(counts.wakes);
}

// ---- what is found ----------------------------------------------------------------------

struct owner;
static void tell_threads();
static void print_summary(unsigned lost);

static std::atomic<unsigned> lost;

[[noreturn, gnu::format(printf, 1, 2)]] static void give_up(const char *format, ...)
{
    char text[512];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, sizeof text - 1, format, values);
    va_end(values);
    length = std::min(length, int(sizeof text) - 2);
    text[length] = '\n';
    (void)!write(STDERR_FILENO, text, size_t(length) + 1);
    if (in_child)
        _exit(1); // the parent's output is not the child's to flush
    static std::atomic<bool> once;
    while (once.exchange(true))
        sleep_ns(1'000'000'000);
    tell_threads();
    print_summary(lost);
    fflush(nullptr);
    _exit(1);
}

#define NEEDS(what)                                                                    \
    ((what) ? void()                                                                   \
            : give_up("soak: %s%s:%d: not so: %s (reason: %s)", in_child ? "child: " : "", \
                      __FILE__, __LINE__, #what,                                       \
                      jobswitch_error_string(jobswitch_last_error())))

// ---- owners -----------------------------------------------------------------------------

enum class leaving { no, by_cancelling, by_cleaning_up, by_returning };
enum class fork_from { nowhere, thread, job };

struct owner {
    unsigned slot;
    record *records;
    pthread_t thread;
    bool exists;
    dice random;
    std::atomic<const char *> at;
    std::atomic<uint32_t> answered;
    std::atomic<leaving> leave;
    std::atomic<fork_from> fork_wanted;
    std::atomic<unsigned> asked_news; // somebody has asked for a descriptor
    unsigned asked_known;
    std::unordered_map<jobswitch_job *, uint32_t> places; // of those that have handles
    std::vector<uint32_t> free_places;
    std::vector<pollfd> polled; // the ready descriptor, and those of jobs
    std::vector<uint32_t> polled_places;
    bool polled_changed;
    int ready_fd;
    unsigned depth; // of jobs that wait for others
    unsigned turns;
    std::atomic<int> unwinds;
    bool cancels_all;
    bool has_limit;
    int returned; // by the job that ended last
    uint64_t started, finished, discarded, quiet_since_ns;
};

static owner owners[owners_most];
static jobswitch_key keys[3];

static bool may_act() { return !in_child && stage_now() == runs; }
static bool has(feature f) { return plan.features & f; }

static record &any_record(dice &random)
{
    unsigned slot = plan.target >= 0 ? unsigned(plan.target) : random.below(options.owners);
    return ledger[slot][1 + random.below(plan.jobs)];
}

// The calling thread has begun to use the place, and will learn of the handle.
static void place_known(owner &o, uint32_t place, jobswitch_job *handle)
{
    NEEDS(handle);
    bool is_new = o.places.emplace(handle, place).second;
    NEEDS(is_new);
    record_open(o.records[place], handle);
}

static void place_free(owner &o, uint32_t place, jobswitch_job *handle)
{
    record &r = o.records[place];
    record_close(r);
    if (r.fd >= 0)
        o.polled_changed = true;
    r.is = job_is::none;
    r.fd = -1;
    r.deadline_ns = 0;
    o.places.erase(handle);
    o.free_places.push_back(place);
}

static void ask_descriptor(owner &o, record &r)
{
    int fd = jobswitch_get_wait_fd(r.handle.load(std::memory_order_relaxed));
    NEEDS(fd >= 0);
    NEEDS(r.fd < 0 || r.fd == fd);
    if (r.fd < 0)
        o.polled_changed = true;
    r.fd = fd;
}

// ---- jobs -------------------------------------------------------------------------------

struct job_args {
    owner *o;
    uint32_t place;
    uint32_t salt;
    size_t size;
};

static void owner_turn(owner &o, bool may_block);
static void fork_now(owner &o);

static unsigned char args_byte(uint32_t salt, size_t i) { return (unsigned char)(salt + i * 31); }

static void value_ends(void *value)
{
    values_alive.fetch_sub(1, std::memory_order_relaxed);
    if (!in_child && stage_now() == runs)
        record_wake(*static_cast<record *>(value), 1000);
}

static int job_body(void *args);

static void job_start(owner &o)
{
    if (o.free_places.empty())
        return;
    uint32_t place = o.free_places.back();
    o.free_places.pop_back();
    record &r = o.records[place];
    r.is = job_is::running;
    r.cancelled = false;
    r.fd = -1;
    r.deadline_ns = 0;
    r.history_count = 0;
    static constexpr size_t sizes[] = {sizeof(job_args), 40, 300, 5000, 40000};
    static thread_local unsigned char bytes[40000];
    size_t size = sizes[o.random.below(o.random.one_in(8) ? 5 : 2)];
    job_args mine = {&o, place, uint32_t(o.random.next()), size};
    for (size_t i = sizeof mine; i < size; i++)
        bytes[i] = args_byte(mine.salt, i);
    memcpy(bytes, &mine, sizeof mine);
    jobswitch_job *handle = nullptr;
    int ret = -1;
    o.started++;
    int answer = jobswitch_start_job(&handle, &ret, job_body, bytes, size);
    if (answer == JOBSWITCH_PAUSE) {
        NEEDS(r.is == job_is::paused);
        if (!is_open(r.state.load(std::memory_order_relaxed)))
            place_known(o, place, handle);
        NEEDS(handle == r.handle.load(std::memory_order_relaxed));
    } else if (answer == JOBSWITCH_FINISH) {
        NEEDS(ret == o.returned && !handle);
    } else {
        NEEDS(answer == JOBSWITCH_NO_JOBS && o.has_limit);
        o.started--;
        r.is = job_is::none;
        o.free_places.push_back(place);
    }
}

static void job_resume(owner &o, uint32_t place)
{
    record &r = o.records[place];
    jobswitch_job *handle = r.handle.load(std::memory_order_relaxed);
    int ret;
    NEEDS(r.is == job_is::paused);
    int answer = jobswitch_start_job(&handle, &ret, nullptr, nullptr, 0);
    NEEDS(answer == JOBSWITCH_PAUSE ? r.is == job_is::paused
                                    : answer == JOBSWITCH_FINISH && ret == o.returned);
    count(counts.resumes);
}

static void job_cancel(owner &o, uint32_t place)
{
    record &r = o.records[place];
    jobswitch_job *handle = r.handle.load(std::memory_order_relaxed);
    int ret;
    r.cancelled = true;
    o.unwinds++;
    int answer = jobswitch_cancel_job(&handle, &ret);
    o.unwinds--;
    NEEDS(answer == JOBSWITCH_FINISH && ret == o.returned && !handle);
    count(counts.cancels);
}

static void job_discard(owner &o, uint32_t place)
{
    record &r = o.records[place];
    jobswitch_job *handle = r.handle.load(std::memory_order_relaxed), *gone = handle;
    bool closes_first = o.random.one_in(2);
    if (closes_first)
        record_close(r);
    int answer = jobswitch_discard_job(&gone);
    NEEDS(answer == 1 && !gone);
    o.discarded++;
    place_free(o, place, handle);
    count(counts.discards);
}

// One that is paused and no bell; 0: none was found.
static uint32_t any_paused(owner &o)
{
    for (int i = 0; i < 8; i++) {
        uint32_t place = 1 + o.random.below(plan.jobs);
        if (o.records[place].is == job_is::paused)
            return place;
    }
    return 0;
}

// What a job does between its pauses.
static void job_acts(owner &o, record &r)
{
    if (o.fork_wanted.load(std::memory_order_relaxed) == fork_from::job)
        fork_now(o);
    if (plan.rushes && !o.random.one_in(64))
        return; // a thread that is held up is passed by as many as can be
    if (o.random.one_in(4))
        record_wake(any_record(o.random), 100 + o.slot);
    if (has(descriptors) && o.random.one_in(300)) {
        if (is_open(r.state.load(std::memory_order_relaxed)))
            ask_descriptor(o, r);
    }
    if (has(nesting) && o.depth < 3 && o.random.one_in(64)) {
        o.depth++;
        if (o.random.one_in(2))
            job_start(o);
        else
            owner_turn(o, false);
        o.depth--;
        count(counts.nested);
    }
    if (o.random.one_in(32)) {
        jobswitch_block_pause();
        int answer = jobswitch_pause_job();
        NEEDS(answer == 1);
        jobswitch_unblock_pause();
    }
}

// Pauses, and answers what the job is to do: go on, or end.
static bool job_pauses(owner &o, record &r)
{
    enum { plain, near, far } kind = plain;
    if (has(deadlines) && may_act() && o.random.one_in(8))
        kind = o.random.one_in(3) ? far : near;
    uint64_t deadline_ns = 0;
    if (kind != plain)
        deadline_ns = clock_ns() + (kind == far ? far_ns : o.random.below(3'000'000));
    r.deadline_ns = deadline_ns;
    note(r, deadline_ns ? 'u' : 'p');
    r.is = job_is::paused;
    int answer = deadline_ns ? jobswitch_pause_until(deadline_ns) : jobswitch_pause_job();
    r.is = job_is::running;
    r.deadline_ns = 0;
    if (answer == 0) {
        NEEDS(jobswitch_last_error() == JOBSWITCH_E_CANCELLED);
        NEEDS(r.cancelled || o.cancels_all);
        NEEDS(jobswitch_job_cancelled());
        note(r, 'c');
        return false;
    }
    NEEDS(!r.cancelled);
    if (answer == JOBSWITCH_EXPIRED) {
        NEEDS(deadline_ns && clock_ns() >= deadline_ns);
        count(counts.deadlines);
    } else {
        NEEDS(answer == 1);
    }
    jobswitch_job *self = jobswitch_get_current_job();
    NEEDS(self == r.handle.load(std::memory_order_relaxed));
    if ((r.state.load(std::memory_order_relaxed) & asked) && r.fd < 0)
        ask_descriptor(o, r);
    if (r.fd >= 0 || o.random.one_in(4))
        jobswitch_clear_wake(self);
    r.seen = r.state.load(std::memory_order_relaxed) & owed_mask;
    note(r, answer == JOBSWITCH_EXPIRED ? 'x' : 'r');
    return true;
}

static int job_body(void *args)
{
    job_args mine;
    memcpy(&mine, args, sizeof mine);
    owner &o = *mine.o;
    record &r = o.records[mine.place];
    uint64_t pattern[6];
    double sum = mine.salt;
    for (unsigned i = 0; i < 6; i++)
        pattern[i] = mine.salt * (i + 1ull);
    void *values[3] = {};
    if (o.random.one_in(2))
        place_known(o, mine.place, jobswitch_get_current_job());
    unsigned turns = 0;
    for (;;) {
        if (may_act()) {
            if (has(locals) && o.random.one_in(16)) {
                uint32_t k = o.random.below(3);
                void *value = jobswitch_get_local(keys[k]);
                NEEDS(value == values[k]);
                if (!value) {
                    values[k] = &any_record(o.random);
                    values_alive.fetch_add(1, std::memory_order_relaxed);
                    count(counts.values);
                    int is_set = jobswitch_set_local(keys[k], values[k]);
                    NEEDS(is_set);
                }
            }
            job_acts(o, r);
            if (turns && o.random.one_in(plan.turns))
                break;
        }
        if (!job_pauses(o, r))
            break;
        turns++;
        sum += 0.5;
    }
    for (unsigned i = 0; i < 6; i++)
        NEEDS(pattern[i] == mine.salt * (i + 1ull));
    NEEDS(sum == mine.salt + 0.5 * turns);
    for (size_t i = sizeof mine; i < mine.size; i++)
        NEEDS(static_cast<unsigned char *>(args)[i] == args_byte(mine.salt, i));
    place_free(o, mine.place, jobswitch_get_current_job());
    o.finished++;
    return o.returned = int(mine.salt);
}

static int bell_body(void *args)
{
    owner &o = **static_cast<owner **>(args);
    record &r = o.records[bell];
    do {
        r.seen = r.state.load(std::memory_order_relaxed) & owed_mask;
        note(r, 'b');
        r.is = job_is::paused;
    } while (jobswitch_pause_job() && (r.is = job_is::running, true));
    place_free(o, bell, jobswitch_get_current_job());
    o.finished++;
    return o.returned = 0;
}

// ---- an owner's loop --------------------------------------------------------------------

static void polled_renew(owner &o)
{
    unsigned news = o.asked_news.load(std::memory_order_acquire);
    if (news != o.asked_known) {
        for (auto [handle, place] : o.places) {
            record &r = o.records[place];
            if ((r.state.load(std::memory_order_acquire) & asked) && r.fd < 0)
                ask_descriptor(o, r);
        }
        o.asked_known = news;
    }
    if (!o.polled_changed)
        return;
    o.polled_changed = false;
    o.polled.assign(1, {o.ready_fd, POLLIN, 0});
    o.polled_places.assign(1, bell);
    for (auto [handle, place] : o.places)
        if (o.records[place].fd >= 0) {
            o.polled.push_back({o.records[place].fd, POLLIN, 0});
            o.polled_places.push_back(place);
        }
}

// Resumes jobs that are told at descriptors of their own. Outside jobs alone: poll is a
// cancellation point.
static size_t descriptors_poll(owner &o, int timeout_ms)
{
    polled_renew(o);
    o.at = "poll";
    if (timeout_ms < 0 && jobswitch_next_deadline() != UINT64_MAX) {
        uint64_t now_ns = clock_ns(), next_ns = jobswitch_next_deadline();
        timeout_ms = next_ns > now_ns ? int((next_ns - now_ns) / 1'000'000) + 1 : 0;
    }
    int found = poll(o.polled.data(), nfds_t(o.polled.size()), timeout_ms);
    o.at = "loop";
    if (found <= 0)
        return 0;
    // The jobs that are resumed here may end each other. (One that runs, or waits for
    // another, is told when it has paused: a child may come here inside a job.)
    std::vector<std::pair<uint32_t, jobswitch_job *>> told;
    for (size_t i = 1; i < o.polled.size(); i++)
        if ((o.polled[i].revents & POLLIN) &&
            o.records[o.polled_places[i]].is == job_is::paused) {
            uint32_t place = o.polled_places[i];
            told.emplace_back(place, o.records[place].handle.load(std::memory_order_relaxed));
        }
    for (auto [place, handle] : told)
        if (o.places.count(handle)) {
            note(o.records[place], 'd');
            job_resume(o, place);
        }
    count(counts.told, told.size());
    return told.size();
}

// What becomes of jobs that were taken. Each of them must be resumed, or end.
static void taken_go_on(owner &o, jobswitch_job **jobs, size_t taken)
{
    count(counts.told, taken);
    for (size_t i = 0; i < taken; i++) {
        auto found = o.places.find(jobs[i]);
        if (found == o.places.end())
            continue; // it has ended meanwhile
        uint32_t place = found->second;
        note(o.records[place], 't');
        bool may = may_act() && place != bell;
        if (may && has(job_cancels) && o.random.one_in(400))
            job_cancel(o, place);
        else if (may && has(discards) && o.random.one_in(400))
            job_discard(o, place);
        else
            job_resume(o, place);
    }
}

static size_t ready_take(owner &o, int64_t wait_ns)
{
    jobswitch_job *jobs[64];
    jobswitch_outcome outcomes[64];
    static constexpr size_t sizes[] = {1, 2, 7, 64};
    size_t most = sizes[o.random.below(4)];
    size_t taken;
    if (wait_ns != 0) {
        o.at = "wait_ready";
        taken = jobswitch_wait_ready(jobs, most, wait_ns);
        o.at = "loop";
        taken_go_on(o, jobs, taken);
    } else if (o.random.one_in(2)) {
        taken = jobswitch_resume_ready(outcomes, most);
        for (size_t i = 0; i < taken; i++)
            NEEDS(outcomes[i].answer == JOBSWITCH_PAUSE ||
                  outcomes[i].answer == JOBSWITCH_FINISH);
        count(counts.told, taken);
        count(counts.resumes, taken);
    } else {
        taken = jobswitch_take_ready(jobs, most);
        for (size_t i = 0; i < taken; i++)
            jobswitch_prefetch_job(jobs[i]);
        taken_go_on(o, jobs, taken);
    }
    return taken;
}

static void owner_options(owner &o)
{
    jobswitch_options with = JOBSWITCH_OPTIONS_INIT;
    if (o.random.one_in(4))
        with.stack_bytes = 131072;
    if (o.random.one_in(4))
        with.initial_jobs = 20;
    with.max_jobs = o.random.one_in(4) ? plan.jobs / 2 + 20 : 0;
    with.flags = o.random.one_in(2) ? o.random.below(8) : 0;
    int answer = jobswitch_init_thread_with(&with);
    NEEDS(answer == 1);
    o.has_limit = with.max_jobs;
}

// Now and then.
static void owner_acts(owner &o)
{
    if (uint32_t place = o.random.one_in(16) ? any_paused(o) : 0) {
        unsigned what = o.random.below(8);
        if (what == 0 && has(job_cancels))
            job_cancel(o, place);
        else if (what == 1 && has(discards))
            job_discard(o, place);
        else
            job_resume(o, place); // that it is not woken is no hindrance
    }
    if (has(trims) && o.random.one_in(3000))
        (void)jobswitch_trim_thread(o.random.below(50));
    if (has(trims) && o.depth == 0 && o.random.one_in(3000))
        owner_options(o);
}

static void owner_turn(owner &o, bool may_block)
{
    for (unsigned i = 0; i < 16 && o.places.size() < plan.jobs && may_act(); i++)
        job_start(o);
    if (o.fork_wanted.load(std::memory_order_relaxed) == fork_from::thread && o.depth == 0)
        fork_now(o);
    if (may_act() && (!plan.rushes || o.random.one_in(16)))
        owner_acts(o);
    if (may_block && o.turns++ % 16 == 0 && o.polled.size() > 1)
        descriptors_poll(o, 0);
    if (ready_take(o, 0) || !may_block || !may_act())
        return;
    // A job may have taken the bell's wake meanwhile.
    pthread_testcancel();
    if (o.leave.load(std::memory_order_acquire) != leaving::no)
        return;
    polled_renew(o);
    // No end to the wait: who is to be told is told, or the round does not end.
    if (o.polled.size() > 1 || o.random.one_in(plan.rushes ? 64 : 2)) {
        descriptors_poll(o, -1);
    } else {
        static constexpr int64_t waits_ns[] = {-1, -1, 50'000, 3'000'000};
        ready_take(o, waits_ns[o.random.below(4)]);
    }
}

// Until nothing is ready, and no deadline is near.
static void owner_drain(owner &o)
{
    for (;;) {
        size_t told = 0;
        jobswitch_job *jobs[16];
        size_t taken = jobswitch_take_ready(jobs, 16);
        o.quiet_since_ns = clock_ns();
        taken_go_on(o, jobs, taken);
        // After that, for a deadline that has just passed may be a descriptor's to tell.
        polled_renew(o);
        if (o.polled.size() > 1)
            told += descriptors_poll(o, 0);
        if (told + taken)
            continue;
        uint64_t next_ns = jobswitch_next_deadline();
        if (next_ns > o.quiet_since_ns + far_ns / 2)
            return;
        ready_take(o, next_ns > o.quiet_since_ns ? int64_t(next_ns - o.quiet_since_ns) : 1);
    }
}

static void tell_lost(const owner &o, uint32_t place)
{
    record &r = o.records[place];
    char text[512];
    int at = snprintf(text, sizeof text,
                      "soak: %slost: owner %u, job %u, handle %p: woken %" PRIu64
                      " times, has seen %" PRIu64 ", fd %d, last waker %u; its history:",
                      in_child ? "child: " : "", o.slot, place,
                      static_cast<void *>(r.handle.load()), r.state.load() & owed_mask, r.seen,
                      r.fd, r.last_waker.load());
    uint32_t now_ms = coarse_ms();
    for (unsigned i = r.history_count > 8 ? r.history_count - 8 : 0; i < r.history_count; i++) {
        const event &e = r.history[i % 8];
        at += snprintf(text + at, sizeof text - size_t(at), " %c%" PRIu64 "@-%ums", e.what,
                       e.owed, now_ms - e.at_ms);
    }
    text[at++] = '\n';
    (void)!write(STDERR_FILENO, text, size_t(at));
}

// After a drain: nobody is owed anything.
static void owner_check(owner &o)
{
    unsigned here = 0;
    size_t paused = 0, with_fd = 0;
    uint64_t earliest_ns = UINT64_MAX;
    for (auto [handle, place] : o.places) {
        record &r = o.records[place];
        uint64_t state = r.state.load(std::memory_order_acquire);
        NEEDS(is_open(state));
        NEEDS(r.is == job_is::paused || in_child);
        paused += r.is == job_is::paused;
        with_fd += r.fd >= 0;
        if (r.is == job_is::paused && ((state & owed_mask) != r.seen ||
                                       (r.deadline_ns && r.deadline_ns < o.quiet_since_ns))) {
            if (here++ < 5)
                tell_lost(o, place);
        }
        if (r.is == job_is::paused && r.deadline_ns && r.deadline_ns < earliest_ns)
            earliest_ns = r.deadline_ns;
    }
    if (here) {
        lost += here;
        give_up("soak: owner %u: %u of %zu jobs lost", o.slot, here, o.places.size());
    }
    NEEDS(jobswitch_next_deadline() == earliest_ns);
    for (const pollfd &p : o.polled)
        NEEDS(!readable(p.fd));
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    NEEDS(jobswitch_get_stats(&stats));
    NEEDS(stats.jobs_paused == paused);
    NEEDS(stats.jobs_started == o.started);
    NEEDS(stats.jobs_finished == o.finished);
    NEEDS(stats.jobs_discarded == o.discarded);
    NEEDS(o.started == o.finished + o.discarded + stats.jobs_paused + stats.jobs_running);
    NEEDS(stats.stacks_mapped == stats.jobs_idle + stats.jobs_paused + stats.jobs_running);
    NEEDS(stats.descriptors_open > with_fd);
    if (!in_child)
        NEEDS(stats.jobs_running == 0);
}

static void owner_open(owner &o)
{
    o.places.clear();
    o.free_places.clear();
    for (uint32_t place = jobs_most; place-- > bell + 1;) {
        o.records[place].is = job_is::none; // the last owner may have left some
        o.free_places.push_back(place);
    }
    o.polled_changed = true;
    o.depth = 0;
    o.cancels_all = o.has_limit = false;
    o.started = o.finished = o.discarded = 0;
    if (o.random.one_in(2))
        owner_options(o);
    o.ready_fd = jobswitch_get_ready_fd();
    NEEDS(o.ready_fd >= 0);
    record &r = o.records[bell];
    r.is = job_is::running;
    r.cancelled = false;
    r.fd = -1;
    r.deadline_ns = 0;
    r.history_count = 0;
    owner *self = &o;
    jobswitch_job *handle = nullptr;
    int ret;
    int answer = jobswitch_start_job(&handle, &ret, bell_body, &self, sizeof self);
    NEEDS(answer == JOBSWITCH_PAUSE);
    o.started++;
    place_known(o, bell, handle);
}

// With nothing left, by the stats, but descriptors that a waker may be inside of just now.
static void owner_clean_up(owner &o)
{
    o.at = "cleanup_thread";
    jobswitch_cleanup_thread();
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    NEEDS(jobswitch_get_stats(&stats));
    NEEDS(stats.stacks_mapped == 0 && stats.jobs_paused == 0);
    NEEDS(stats.jobs_started == stats.jobs_finished + stats.jobs_discarded);
    NEEDS(stats.jobs_started == o.started && stats.jobs_finished == o.finished);
}

static void owner_leave(owner &o, leaving how)
{
    if (how == leaving::by_cancelling) {
        o.at = "cancel_all";
        o.cancels_all = true;
        size_t there = o.places.size();
        uint64_t before = o.finished;
        o.unwinds++;
        size_t ended = jobswitch_cancel_all();
        o.unwinds--;
        NEEDS(ended == there && o.finished == before + there && o.places.empty());
        count(counts.cancels, ended);
    }
    if (how != leaving::by_returning)
        owner_clean_up(o);
}

// ---- signals ----------------------------------------------------------------------------

static _Unwind_Reason_Code count_frame(_Unwind_Context *, void *number)
{
    return ++*static_cast<unsigned *>(number) < 2000 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

// Counts what cancels this thread, or a job on it. While the unwinder goes from frame to
// frame, there is no way through its own.
static thread_local const std::atomic<int> *unwinding;

// A backtrace, and now and then a wake.
static void profile_handler(int)
{
    static thread_local uint64_t turn;
    int keep = errno;
    unsigned frames = 0;
    if (!*unwinding) {
        _Unwind_Backtrace(count_frame, &frames);
        NEEDS(frames > 0 && frames < 2000);
    }
    jobswitch_job *self = jobswitch_get_current_job();
    NEEDS(!self == !jobswitch_in_job());
    turn++;
    if (stage_now() == runs && !in_child) {
        dice random = {turn * 0x9e3779b97f4a7c15 + uintptr_t(&turn)};
        if (turn % 2)
            record_wake(any_record(random), 200);
        else if (self)
            jobswitch_wake(self);
    }
    count(counts.signals);
    count(counts.frames, frames);
    errno = keep;
}

// Signals to the calling thread, from the clock.
struct profile {
    timer_t timer;
    bool runs = false;

    profile(bool wanted, const std::atomic<int> &unwinds)
    {
        if (!wanted)
            return;
        unwinding = &unwinds;
        sigevent to = {};
        to.sigev_notify = SIGEV_THREAD_ID;
        to.sigev_signo = SIGPROF;
        to._sigev_un._tid = pid_t(syscall(SYS_gettid));
        runs = timer_create(CLOCK_MONOTONIC, &to, &timer) == 0;
        NEEDS(runs);
        const long each_ns = 1'000'000'000 / long(options.hertz);
        itimerspec when = {{0, each_ns}, {0, each_ns}};
        NEEDS(timer_settime(timer, 0, &when, nullptr) == 0);
    }
    ~profile()
    {
        if (runs)
            timer_delete(timer);
    }
    profile(const profile &) = delete;
};

// ---- children ---------------------------------------------------------------------------

// The child of a thread that owns jobs uses them at once: all of them are told once more.
static void child_run(owner &o)
{
    alarm(unsigned(patience_ns / 2'000'000'000));
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    bool inside = jobswitch_in_job();
    NEEDS(jobswitch_get_ready_fd() == o.ready_fd);
    size_t told_in_ring = 0;
    polled_renew(o);
    for (auto [handle, place] : o.places) {
        record &r = o.records[place];
        r.state.fetch_add(1, std::memory_order_relaxed);
        jobswitch_wake(handle);
        told_in_ring += r.fd < 0;
    }
    for (size_t i = 0; i < o.polled.size(); i++)
        NEEDS(readable(o.polled[i].fd) || (i == 0 && !told_in_ring) ||
              o.records[o.polled_places[i]].is != job_is::paused);
    // Of another thread's jobs nothing comes.
    record_wake(ledger[(o.slot + 1) % options.owners][bell], 300);
    owner_drain(o);
    // A job that waits here keeps its wake, and the ring does not rest.
    if (!inside)
        owner_check(o);
    jobswitch_job *handle = nullptr;
    int ret = 0;
    auto body = [](void *) {
        jobswitch_pause_job();
        return 7;
    };
    int answer = jobswitch_start_job(&handle, &ret, body, nullptr, 0);
    if (answer == JOBSWITCH_PAUSE) {
        int fd = jobswitch_get_wait_fd(handle);
        NEEDS(fd >= 0 && !readable(fd));
        jobswitch_wake(handle);
        NEEDS(readable(fd));
        answer = jobswitch_start_job(&handle, &ret, nullptr, nullptr, 0);
        NEEDS(answer == JOBSWITCH_FINISH && ret == 7);
    } else {
        NEEDS(answer == JOBSWITCH_NO_JOBS && o.has_limit);
    }
    if (!inside) {
        jobswitch_cleanup_thread();
        jobswitch_stats stats = JOBSWITCH_STATS_INIT;
        NEEDS(jobswitch_get_stats(&stats));
        NEEDS(stats.stacks_mapped == 0 && stats.descriptors_open == 0 && !stats.jobs_paused);
        handle = nullptr;
        answer = jobswitch_start_job(&handle, &ret, body, nullptr, 0);
        NEEDS(answer == JOBSWITCH_PAUSE);
        jobswitch_cleanup(1);
    }
    _exit(0);
}

static void fork_now(owner &o)
{
    o.fork_wanted = fork_from::nowhere;
    children_alive.fetch_add(1);
    o.at = "fork";
    pid_t pid = fork();
    if (pid == 0) {
        in_child = true;
        child_run(o);
    }
    o.at = "loop";
    if (pid < 0)
        children_alive.fetch_sub(1); // the machine is out of something
    else
        count(counts.forks);
}

static void children_reap(bool wait)
{
    int status;
    for (pid_t pid; children_alive && (pid = waitpid(-1, &status, wait ? 0 : WNOHANG)) > 0;) {
        children_alive.fetch_sub(1);
        count(counts.children_ended);
        if (WIFSIGNALED(status))
            give_up("soak: a child of a fork %s (signal %d)",
                    WTERMSIG(status) == SIGALRM ? "hung" : "died", WTERMSIG(status));
        if (WEXITSTATUS(status))
            give_up("soak: a child of a fork found something, see above");
    }
}

// ---- threads ----------------------------------------------------------------------------

// However the thread ends: the ledger has none of its jobs any more. The library takes them
// back after this.
struct owner_end {
    owner &o;
    ~owner_end()
    {
        for (uint32_t place = 0; place < jobs_most; place++)
            record_close(o.records[place]);
        o.places.clear();
        o.at = "ends";
    }
};

static void *owner_main(void *arg)
{
    owner &o = *static_cast<owner *>(arg);
    owner_end end = {o};
    profile timer(has(signals), o.unwinds);
    owner_open(o);
    uint32_t answered = UINT32_MAX;
    for (;;) {
        leaving how = o.leave.load(std::memory_order_acquire);
        if (how != leaving::no) {
            owner_leave(o, how);
            return nullptr;
        }
        uint32_t now = phase.load(std::memory_order_seq_cst);
        if (now % 4 == runs) {
            owner_turn(o, true);
            pthread_testcancel();
            continue;
        }
        if (now != answered) {
            if (now % 4 == drains) {
                o.at = "drain";
                owner_drain(o);
                owner_check(o);
            }
            o.at = "rests";
            answered = now;
            o.answered.store(now, std::memory_order_release);
        }
        sleep_ns(100'000);
    }
}

struct waker {
    unsigned number;
    pthread_t thread;
    bool exists;
    dice random;
    std::atomic<const char *> at;
    std::atomic<int> unwinds;
    std::atomic<bool> leave;
};
static waker wakers[wakers_most];

// Wakes that the ledger does not know of, at full speed; then one for each that it does.
static void waker_rush(waker &w)
{
    unsigned slot = plan.target >= 0 ? unsigned(plan.target) : w.random.below(options.owners);
    record *records = ledger[slot];
    jobswitch_job *handles[128];
    uint32_t first = 1 + w.random.below(plan.jobs), some = 0;
    for (uint32_t i = 0; some < 128 && i < plan.jobs; i++) {
        record &r = records[1 + (first + i) % plan.jobs];
        if (is_open(r.state.load(std::memory_order_acquire)))
            handles[some++] = r.handle.load(std::memory_order_acquire);
    }
    const uint32_t wakes = 20000;
    for (uint32_t i = 0; some && i < wakes && !wakers_stop && !w.leave; i++)
        jobswitch_wake(handles[w.random.below(some)]);
    count(counts.wakes, some ? wakes : 0);
    for (uint32_t i = 0; i < 128; i++)
        record_wake(records[1 + (first + i) % plan.jobs], w.number);
}

static void waker_asks(waker &w)
{
    unsigned slot = w.random.below(options.owners);
    record &r = ledger[slot][1 + w.random.below(plan.jobs)];
    jobswitch_job *handle = record_add(r, [](uint64_t state) { return state | asked; });
    if (!handle)
        return;
    int fd = jobswitch_get_wait_fd(handle);
    NEEDS(fd >= 0 || jobswitch_last_error() == JOBSWITCH_E_FINISHED);
    owners[slot].asked_news.fetch_add(1, std::memory_order_release);
    record_wake(ledger[slot][bell], w.number);
}

static void *waker_main(void *arg)
{
    waker &w = *static_cast<waker *>(arg);
    profile timer(has(signals), w.unwinds);
    while (!wakers_stop && !w.leave) {
        unsigned style = plan.calm ? 2 : plan.rushes ? 0 : w.random.below(3);
        w.at = "wakes";
        if (style == 0) {
            waker_rush(w);
        } else if (style == 1) {
            for (unsigned i = 1u << w.random.below(12); i && !wakers_stop; i--)
                record_wake(any_record(w.random), w.number);
        } else {
            record &r = any_record(w.random);
            if (w.random.one_in(16)) // with a wake after it nothing is lost
                jobswitch_clear_wake(r.handle.load(std::memory_order_acquire));
            record_wake(r, w.number);
        }
        if (has(descriptors) && w.random.one_in(100)) {
            w.at = "asks";
            waker_asks(w);
        }
        w.at = "sleeps";
        if (style != 0)
            sleep_ns(w.random.below(plan.calm ? 2'000'000 : 200'000));
        pthread_testcancel();
    }
    w.at = "ends";
    return nullptr;
}

static void tell_threads()
{
    for (unsigned i = 0; i < options.owners; i++)
        if (owners[i].exists)
            fprintf(stderr, "soak: owner %u: %s, %s the phase\n", i, owners[i].at.load(),
                    owners[i].answered == phase ? "has answered" : "has not answered");
    for (unsigned i = 0; i < options.wakers; i++)
        if (wakers[i].exists)
            fprintf(stderr, "soak: waker %u: %s\n", i, wakers[i].at.load());
}

// ---- the course -------------------------------------------------------------------------

static dice fate;

template <class F> static void wait_until(const char *what, F done)
{
    uint64_t end_ns = clock_ns() + patience_ns;
    while (!done()) {
        children_reap(false);
        if (clock_ns() > end_ns)
            give_up("soak: after %" PRIu64 " s: %s", patience_ns / 1'000'000'000, what);
        sleep_ns(200'000);
    }
}

static void thread_create(pthread_t &thread, void *(*main)(void *), void *arg)
{
    int error = pthread_create(&thread, nullptr, main, arg);
    if (error)
        give_up("soak: no thread: %s", strerror(error));
}

static void thread_join(pthread_t thread, bool cancelled, const char *what)
{
    void *value = nullptr;
    wait_until(what, [&] { return pthread_tryjoin_np(thread, &value) == 0; });
    count(cancelled && value == PTHREAD_CANCELED ? counts.cancellations : counts.threads_ended);
}

static void owner_create(owner &o)
{
    o.random = {fate.next()};
    o.leave = leaving::no;
    o.fork_wanted = fork_from::nowhere;
    o.at = "begins";
    o.unwinds = 0;
    o.answered = UINT32_MAX;
    o.exists = true;
    thread_create(o.thread, owner_main, &o);
}

static void owner_end_now(owner &o, bool cancels)
{
    if (cancels) {
        o.unwinds++;
        pthread_cancel(o.thread);
    } else {
        static constexpr leaving ways[] = {leaving::by_cancelling, leaving::by_cleaning_up,
                                           leaving::by_returning};
        o.leave.store(ways[fate.below(3)], std::memory_order_seq_cst);
    }
    record_wake(o.records[bell], 400);
    thread_join(o.thread, cancels, "an owner that was told to end, and was woken, has not");
    o.exists = false;
}

static void waker_create(waker &w)
{
    w.random = {fate.next()};
    w.leave = false;
    w.unwinds = 0;
    w.at = "begins";
    w.exists = true;
    thread_create(w.thread, waker_main, &w);
}

static void waker_end_now(waker &w, bool cancels)
{
    if (cancels) {
        w.unwinds++;
        pthread_cancel(w.thread);
    }
    w.leave = true;
    thread_join(w.thread, cancels, "a waker has not ended");
    w.exists = false;
}

static void plan_make()
{
    // All features, half of them, or one alone.
    plan.features = options.features;
    unsigned how = fate.below(3);
    if (how == 0)
        plan.features &= unsigned(fate.next());
    while (how == 1 && plan.features & (plan.features - 1))
        plan.features &= ~(1u << fate.below(32));
    static constexpr unsigned jobs[] = {1, 20, 100, 100, 300, jobs_most - 1};
    plan.jobs = std::min(jobs[fate.below(6)], options.jobs);
    plan.turns = fate.one_in(4) ? 8 : 1000;
    unsigned pace = fate.below(4);
    plan.calm = pace == 0;
    plan.rushes = pace > 1;
    plan.target = plan.rushes || fate.one_in(2) ? int(fate.below(options.owners)) : -1;
    plan.wakers = plan.rushes ? 3 : 1 + fate.below(options.wakers);
    plan.wakers = std::min(plan.wakers, options.wakers);
}

static void phase_set(stage to, const char *what)
{
    uint32_t next = phase / 4 * 4 + to;
    phase.store(next, std::memory_order_seq_cst);
    if (to == hushed)
        for (unsigned i = 0; i < options.owners; i++)
            record_wake(ledger[i][bell], 500);
    wait_until(what, [next] {
        for (unsigned i = 0; i < options.owners; i++)
            if (owners[i].answered.load(std::memory_order_acquire) != next)
                return false;
        return true;
    });
}

static void round_run(double seconds)
{
    plan_make();
    wakers_stop = false;
    phase.store((phase / 4 + 1) * 4, std::memory_order_seq_cst);
    for (unsigned i = 0; i < options.owners; i++)
        if (!owners[i].exists)
            owner_create(owners[i]);
    for (unsigned i = 0; i < plan.wakers; i++)
        waker_create(wakers[i]);
    uint64_t end_ns = clock_ns() + uint64_t(seconds * 1e9);
    while (clock_ns() < end_ns) {
        sleep_ns(1'000'000);
        children_reap(false);
        if (has(forks) && children_alive < children_most && fate.one_in(20)) {
            owner &o = owners[fate.below(options.owners)];
            o.fork_wanted = fate.one_in(2) ? fork_from::thread : fork_from::job;
            record_wake(o.records[bell], 600);
        }
        unsigned what = fate.below(100);
        waker &w = wakers[fate.below(plan.wakers)];
        owner &o = owners[fate.below(options.owners)];
        if (what < 20 && has(thread_cancels)) {
            waker_end_now(w, true);
            waker_create(w);
        } else if (what < 24 && has(thread_ends)) {
            waker_end_now(w, false);
            waker_create(w);
        } else if (what < 25 && has(thread_ends)) {
            owner_end_now(o, false);
            owner_create(o);
        } else if (what < 26 && has(thread_cancels) && cancels_owners) {
            owner_end_now(o, true);
            owner_create(o);
        }
    }
    wakers_stop = true;
    for (unsigned i = 0; i < plan.wakers; i++)
        waker_end_now(wakers[i], false);
    phase_set(hushed, "an owner that was woken does not come");
    phase_set(drains, "an owner finds no end of ready jobs");
}

// What a process has: to compare with what it had.
struct holdings {
    int fds;
    size_t mappings, resident_kib;
};

// With no threads left.
static holdings all_end()
{
    phase.store((phase / 4 + 1) * 4, std::memory_order_seq_cst);
    for (unsigned i = 0; i < options.owners; i++)
        if (owners[i].exists)
            owner_end_now(owners[i], false);
    children_reap(true);
    if (values_alive)
        give_up("soak: %d local values were not destroyed", values_alive.load());
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return {open_fds(), mappings(), status_kib("VmRSS")};
}

static holdings at_start, when_warm, at_end;

static void print_summary(unsigned lost_jobs)
{
    auto n = [](const std::atomic<uint64_t> &number) { return number.load(); };
    char grown[128] = "not looked at";
    if (at_end.fds)
        snprintf(grown, sizeof grown, "%+d descriptors, %+ld mappings, %+ld KiB",
                 at_end.fds - at_start.fds, long(at_end.mappings) - long(when_warm.mappings),
                 long(at_end.resident_kib) - long(when_warm.resident_kib));
    printf("soak: %.1f s, seed %" PRIu64 ": %" PRIu64 " wakes, %" PRIu64 " told, %" PRIu64
           " resumes, %" PRIu64 " nested, %" PRIu64 " job cancels, %" PRIu64 " discards, %" PRIu64
           " deadlines, %" PRIu64 " values, %" PRIu64 " forks, %" PRIu64 " threads ended, %" PRIu64
           " cancellations, %" PRIu64 " signals with %" PRIu64 " frames, %u rounds; lost %u; "
           "grown: %s\n",
           options.seconds, options.seed, n(counts.wakes), n(counts.told), n(counts.resumes),
           n(counts.nested), n(counts.cancels), n(counts.discards), n(counts.deadlines),
           n(counts.values), n(counts.forks), n(counts.threads_ended), n(counts.cancellations),
           n(counts.signals), n(counts.frames), phase.load() / 4, lost_jobs, grown);
}

static void usage(const char *word)
{
    fprintf(stderr, "soak: not an option: %s; the head of test/soak.cpp names them\n", word);
    exit(2);
}

static void options_read(int argc, char **argv)
{
    if (const char *text = getenv("SOAK_SECONDS"))
        options.seconds = atof(text);
    unsigned only = 0;
    auto feature_of = [](const char *name) -> unsigned {
        for (auto &f : feature_names)
            if (!strcmp(f.name, name))
                return f.bit;
        return 0;
    };
    for (int i = 1; i < argc; i++) {
        std::string word = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        auto number = [&] { return i++, unsigned(strtoul(value, nullptr, 0)); };
        unsigned bit;
        if (word == "--seconds")
            options.seconds = atof(value), i++;
        else if (word == "--seed")
            options.seed = strtoull(value, nullptr, 0), i++;
        else if (word == "--owners")
            options.owners = std::min(std::max(number(), 1u), owners_most);
        else if (word == "--wakers")
            options.wakers = std::min(std::max(number(), 1u), wakers_most);
        else if (word == "--jobs")
            options.jobs = std::min(std::max(number(), 1u), jobs_most - 1);
        else if (word == "--hertz")
            options.hertz = std::max(number(), 2u);
        else if (word == "--forget-a-job")
            options.forgets = true;
        else if (word.starts_with("--without-") && (bit = feature_of(argv[i] + 10)))
            options.features &= ~bit;
        else if (word.starts_with("--only-") && (bit = feature_of(argv[i] + 7)))
            only |= bit;
        else if (word == "--only-wakes")
            only |= 1u << 31;
        else
            usage(argv[i]);
    }
    if (only)
        options.features &= only | growth;
    if (!options.seed)
        options.seed = clock_ns() & 0xffffff;
    fate = {options.seed};
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    printf("soak: seed %" PRIu64 "\n", options.seed);
    fflush(nullptr);
    for (unsigned i = 0; i < owners_most; i++) {
        owners[i].slot = i;
        owners[i].records = ledger[i];
    }
    for (unsigned i = 0; i < wakers_most; i++)
        wakers[i].number = i;
    for (jobswitch_key &key : keys)
        NEEDS(jobswitch_create_key(&key, value_ends));
    struct sigaction action = {};
    action.sa_handler = profile_handler;
    action.sa_flags = SA_RESTART;
    // The C library's signal is in this mask as well, which sigfillset() would leave out. It
    // lets a cancellation act at once, anywhere, while a cancellation point such as poll()
    // waits, and that is what the handler may have interrupted. See jobswitch_wake(3).
    memset(&action.sa_mask, 0xff, sizeof action.sa_mask);
    sigaction(SIGPROF, &action, nullptr);
    unsigned frames = 0;
    _Unwind_Backtrace(count_frame, &frames); // loads what it needs

    at_start = {open_fds(), 0, 0};
    const uint64_t began_ns = clock_ns();
    auto passed_s = [began_ns] { return double(clock_ns() - began_ns) / 1e9; };
    const double round_s = std::min(1.0, options.seconds / 12);
    while (passed_s() < options.seconds || !when_warm.fds) {
        if (!when_warm.fds && passed_s() > options.seconds * 0.4)
            when_warm = all_end();
        round_run(round_s * (0.25 + fate.below(75) / 100.0));
    }
    at_end = all_end();
    options.seconds = passed_s();
    print_summary(0);
    if (!(options.features & growth))
        return 0;
    if (at_end.fds != at_start.fds)
        give_up("soak: %d descriptors are left", at_end.fds - at_start.fds);
    // A thread's stack and an arena of malloc come and go, as memory that others kept.
    if (plain && at_end.mappings > when_warm.mappings + 40)
        give_up("soak: %zu mappings more", at_end.mappings - when_warm.mappings);
    if (plain && at_end.resident_kib > when_warm.resident_kib + 8192)
        give_up("soak: %zu KiB more", at_end.resident_kib - when_warm.resident_kib);
    return 0;
}
