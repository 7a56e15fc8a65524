// SPDX-License-Identifier: Apache-2.0
//
// A fuzzer over the public functions: the bytes of an input are calls, and a model says
// what must come of each. Jobs read on in the same input, and so do destructors, and a
// second thread, which has jobs of its own and runs only while the first waits for it.
// What is not so ends the program, with the line of this file.
//
// It is libFuzzer's, see test/fuzz_test.sh. FUZZ_COUNTS in the environment: at the end,
// how often each operation came, and each of the cases below. FUZZ_TRACE: each operation, as
// it begins.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "jobswitch/jobswitch.h"

#define NEEDS(what) ((what) ? void() : broken(__LINE__, #what))

[[noreturn]] static void broken(int line, const char *what)
{
    fprintf(stderr, "fuzz_api.cpp:%d: not so: %s (reason: %s)\n", line, what,
            jobswitch_error_string(jobswitch_last_error()));
    abort();
}

// ---- cases ------------------------------------------------------------------------------

// What a good input leads to, beside the operations themselves.
enum outcome {
    no_jobs_left,
    refused_wrong_thread,
    refused_running,
    refused_waiting,
    expired,
    expired_at_descriptor,
    cancelled_pause,
    cancelled_by_all,
    resumed_by_ready,
    ended_by_ready,
    started_at_depth_5,
    discarded_in_job,
    destroyed_in_job,
    destroyed_outside,
    destroyed_at_thread_end,
    destroyed_in_4_rounds,
    woken_by_partner,
    woken_while_running,
    taken_all,
    taken_some,
    outcomes,
};
static constexpr const char *outcome_names[] = {
    "no jobs left",
    "refused: wrong thread",
    "refused: running",
    "refused: waiting",
    "expired",
    "expired, told at a descriptor",
    "a pause of a cancelled job",
    "cancelled by cancel_all",
    "resumed by resume_ready",
    "ended in resume_ready",
    "a start at depth 5",
    "discarded in a job",
    "destroyed in the job",
    "destroyed outside the job",
    "destroyed at the thread's end",
    "destroyed in four rounds",
    "woken by the other thread",
    "woken while it runs",
    "all that is ready taken",
    "some of what is ready taken",
};
static_assert(sizeof outcome_names / sizeof *outcome_names == outcomes);
static unsigned long outcome_counts[outcomes];
static void came(outcome o, bool it_did = true) { outcome_counts[o] += it_did; }

// ---- the input --------------------------------------------------------------------------

static struct {
    const uint8_t *at;
    size_t left;

    uint8_t byte()
    {
        if (!left)
            return 0;
        left--;
        return *at++;
    }
} input;

// ---- the model --------------------------------------------------------------------------

static constexpr int jobs_most = 20, keys_most = 5, depth_most = 24, threads = 2;
static constexpr unsigned destructor_rounds = 4;

enum class job_is { none, running, waiting, paused, ended };
enum class deadline { none, set, found };

struct model_job {
    job_is is;
    jobswitch_job *handle; // NULL: nobody has been given it
    int starter;           // a job of the same thread, or -1
    bool woken, cancelled;
    bool ending; // its function has returned, or is about to
    bool has_fd;
    int fd;
    unsigned blocks;
    deadline timer;
    uint64_t deadline_ns;
    int ret;
    unsigned args_bytes, salt;
    std::array<void *, keys_most> values;
    unsigned destroyed; // calls of destructors
    unsigned events;    // the last that took it out of what is ready
};

// Calls that resume jobs by themselves.
struct resumer {
    bool cancels;
    int base; // the job that calls, or -1
    size_t resumed;
};

struct model_thread {
    std::array<model_job, jobs_most> jobs;
    int current = -1;
    // The next that starts or goes on, where the caller has named it.
    int named = -1;
    std::vector<resumer> resumers;
    int depth;
    size_t max_jobs;
    uint64_t started, finished, discarded;
    int ready_fd;
    bool has_ready_fd;
    bool takes_back; // destructors run for jobs that do not
    long stacks;     // of the model's own that the library holds
};

static model_thread model[threads];
static model_thread *here = &model[0];

// Of a call that runs jobs: they may pause at any depth.
struct depth_kept {
    model_thread &thread = *here;
    const int depth = thread.depth;
    ~depth_kept() { thread.depth = depth; }
};

static jobswitch_key keys[keys_most], deleted_key;
static bool partner_runs, partner_ends;
static std::vector<jobswitch_job *> dead; // handles
static uint16_t serial;

static void interpret(unsigned calls);

static void event(model_job &j)
{
    static unsigned events;
    j.events = ++events;
}

static bool is_live(const model_job &j) { return j.is != job_is::none && j.is != job_is::ended; }
static bool has_handle(const model_job &j) { return is_live(j) && j.handle; }
static bool is_ready(const model_job &j)
{
    return j.is == job_is::paused && j.woken && !j.has_fd;
}

static int number_of(const model_job &j) { return int(&j - here->jobs.data()); }

static model_job *find(jobswitch_job *handle)
{
    for (model_job &j : here->jobs)
        if (j.is != job_is::none && j.handle == handle)
            return &j;
    return nullptr;
}

static size_t count_of(job_is is)
{
    size_t count = 0;
    for (const model_job &j : here->jobs)
        count += j.is == is;
    return count;
}
static size_t running() { return count_of(job_is::running) + count_of(job_is::waiting); }
static size_t live() { return running() + count_of(job_is::paused); }

static void buried(jobswitch_job *handle)
{
    if (!handle)
        return;
    if (dead.size() == 64)
        dead.erase(dead.begin());
    dead.push_back(handle);
}

// ---- jobs begin, pause and end ----------------------------------------------------------

static void job_arrives(model_job &j)
{
    j.starter = here->current;
    if (j.starter >= 0)
        here->jobs[size_t(j.starter)].is = job_is::waiting;
    j.is = job_is::running;
    here->current = number_of(j);
}

static void job_leaves(model_job &j, job_is becomes)
{
    NEEDS(here->current == number_of(j) && j.is == job_is::running);
    j.is = becomes;
    here->current = j.starter;
    if (j.starter >= 0)
        here->jobs[size_t(j.starter)].is = job_is::running;
}

static void values_are_gone(const model_job &j)
{
    // What destructors have set in the last round is dropped. (The last key has none.)
    for (size_t key = 0; key < keys_most - 1; key++)
        NEEDS(!j.values[key] || j.destroyed >= destructor_rounds);
}

// It has returned and its destructors have run; its end is still to be told.
static void job_ended(model_job &j)
{
    NEEDS(j.ending);
    values_are_gone(j);
    job_leaves(j, job_is::ended);
    here->finished++;
}

// The end has been told.
static void job_forgotten(model_job &j)
{
    buried(j.handle);
    j = {};
    event(j);
}

// A job that resume_ready or cancel_all has resumed may have ended.
static void resumed_settle(int base)
{
    if (here->current != base) {
        model_job &j = here->jobs[size_t(here->current)];
        NEEDS(j.starter == base);
        job_ended(j);
    }
}

static void came_back(model_job &j, int answer, jobswitch_job *handle, int ret)
{
    if (answer == JOBSWITCH_FINISH) {
        NEEDS(!handle && ret == j.ret);
        job_ended(j);
        job_forgotten(j);
    } else {
        NEEDS(answer == JOBSWITCH_PAUSE && ret == -1);
        NEEDS(j.is == job_is::paused && (!j.handle || j.handle == handle));
        j.handle = handle;
    }
}

static unsigned char args_byte(unsigned salt, size_t i)
{
    return (unsigned char)(salt * 7 + i * 13);
}

static int body(void *args)
{
    model_job &j = here->jobs[size_t(std::exchange(here->named, -1))];
    job_arrives(j);
    here->started++;
    came(started_at_depth_5, here->depth >= 5);
    NEEDS(jobswitch_in_job() == 1);
    NEEDS(uintptr_t(args) % alignof(max_align_t) == 0);
    NEEDS(!args == !j.args_bytes);
    here->depth++;
    interpret(input.byte() % 16u + 1);
    NEEDS(here->current == number_of(j));
    for (size_t i = 0; i < j.args_bytes; i++)
        NEEDS(static_cast<unsigned char *>(args)[i] == args_byte(j.salt, i));
    j.ending = true;
    j.ret = int(serial++ * 2654435761u);
    return j.ret;
}

static void do_start(unsigned x)
{
    model_job *unused = nullptr;
    for (model_job &j : here->jobs)
        if (j.is == job_is::none)
            unused = &j;
    if (!unused || here->depth >= depth_most)
        return;
    model_job &j = *unused;
    static constexpr unsigned sizes[] = {0, 1, 8, 17, 64, 300, 1008, 1009, 5000, 30000};
    static unsigned char args[30000];
    const bool is_full = here->max_jobs && live() >= here->max_jobs;
    j = {};
    event(j);
    j.args_bytes = sizes[x % 10];
    j.salt = serial++;
    for (size_t i = 0; i < j.args_bytes; i++)
        args[i] = args_byte(j.salt, i);
    here->named = number_of(j);
    depth_kept kept;
    jobswitch_job *handle = nullptr;
    int ret = -1;
    int answer = jobswitch_start_job(&handle, &ret, body, j.args_bytes ? args : nullptr,
                                     j.args_bytes);
    if (answer == JOBSWITCH_NO_JOBS) {
        NEEDS(is_full && jobswitch_last_error() == JOBSWITCH_E_MAX_JOBS);
        came(no_jobs_left);
        NEEDS(!handle && ret == -1);
        here->named = -1;
        j = {};
        return;
    }
    NEEDS(!is_full);
    came_back(j, answer, handle, ret);
}

// Why a live job cannot be resumed, cancelled or discarded here.
static int refusal_of(const model_job &j)
{
    bool is_here = &j >= here->jobs.data() && &j < here->jobs.data() + jobs_most;
    if (!is_here)
        return JOBSWITCH_E_WRONG_THREAD;
    return j.is == job_is::running   ? JOBSWITCH_E_RUNNING
           : j.is == job_is::waiting ? JOBSWITCH_E_WAITING
                                     : 0;
}

enum class way { resume, cancel, discard };

static int call(way w, jobswitch_job **handle, int *ret)
{
    switch (w) {
    case way::resume: return jobswitch_start_job(handle, ret, nullptr, nullptr, 0);
    case way::cancel: return jobswitch_cancel_job(handle, ret);
    case way::discard: return jobswitch_discard_job(handle);
    }
    return -1;
}

static void is_refused(way w, jobswitch_job *handle, int reason)
{
    jobswitch_job *given = handle;
    int ret = -1;
    NEEDS(call(w, &given, &ret) == 0);
    NEEDS(jobswitch_last_error() == reason);
    NEEDS(given == handle && ret == -1);
    came(refused_wrong_thread, reason == JOBSWITCH_E_WRONG_THREAD);
    came(refused_running, reason == JOBSWITCH_E_RUNNING);
    came(refused_waiting, reason == JOBSWITCH_E_WAITING);
}

static void on_one(way w, model_job &j)
{
    if (!has_handle(j))
        return;
    if (int reason = refusal_of(j))
        return is_refused(w, j.handle, reason);
    jobswitch_job *handle = j.handle;
    int ret = -1;
    event(j);
    if (w == way::discard) {
        here->takes_back = true;
        NEEDS(call(w, &handle, &ret) == 1);
        here->takes_back = false;
        NEEDS(!handle);
        values_are_gone(j);
        here->discarded++;
        came(discarded_in_job, here->current >= 0);
        job_forgotten(j);
        return;
    }
    here->named = number_of(j);
    depth_kept kept;
    j.cancelled |= w == way::cancel;
    int answer = call(w, &handle, &ret);
    NEEDS(w != way::cancel || answer == JOBSWITCH_FINISH);
    came_back(j, answer, handle, ret);
}

// One that somebody has the handle of, now and then one of the other thread's. Or none.
static model_job &any_job(unsigned x)
{
    static model_job nobody;
    model_thread &t = x >= 208 ? model[here == &model[0]] : *here;
    model_job *with_handle[jobs_most];
    unsigned count = 0;
    for (model_job &j : t.jobs)
        if (has_handle(j))
            with_handle[count++] = &j;
    return count ? *with_handle[x % count] : nobody;
}

static void do_resume(unsigned x) { on_one(way::resume, any_job(x)); }
static void do_cancel(unsigned x) { on_one(way::cancel, any_job(x)); }
static void do_discard(unsigned x) { on_one(way::discard, any_job(x)); }

static void do_pause(unsigned x)
{
    const bool until = x & 1, soon = x & 2;
    const uint64_t at_ns = soon ? 1 + x : UINT64_MAX - x / 4;
    auto pause = [&] { return until ? jobswitch_pause_until(at_ns) : jobswitch_pause_job(); };
    if (here->current < 0) {
        NEEDS(pause() == 1);
        return;
    }
    model_job &j = here->jobs[size_t(here->current)];
    if (j.cancelled) {
        NEEDS(pause() == 0 && jobswitch_last_error() == JOBSWITCH_E_CANCELLED);
        came(cancelled_pause);
        return;
    }
    if (j.blocks || j.ending) {
        NEEDS(pause() == 1);
        return;
    }
    j.timer = until ? deadline::set : deadline::none;
    j.deadline_ns = at_ns;
    job_leaves(j, job_is::paused);
    int answer = pause();
    here->depth++;
    if (here->named >= 0) {
        NEEDS(here->named == number_of(j));
        here->named = -1;
    } else {
        NEEDS(!here->resumers.empty());
        resumer &r = here->resumers.back();
        resumed_settle(r.base);
        r.resumed++;
        event(j);
        came(r.cancels ? cancelled_by_all : resumed_by_ready);
        if (r.cancels) {
            j.cancelled = true;
        } else {
            NEEDS(is_ready(j));
            j.woken = false;
        }
    }
    job_arrives(j);
    if (j.cancelled)
        NEEDS(answer == 0 && jobswitch_last_error() == JOBSWITCH_E_CANCELLED);
    else
        NEEDS(answer == (j.timer == deadline::found ? JOBSWITCH_EXPIRED : 1));
    came(expired, answer == JOBSWITCH_EXPIRED);
    came(expired_at_descriptor, answer == JOBSWITCH_EXPIRED && j.has_fd);
    j.timer = deadline::none;
    jobswitch_job *now = jobswitch_get_current_job();
    NEEDS(now && (!j.handle || j.handle == now));
    j.handle = now;
}

static void do_block(unsigned x)
{
    if (here->current >= 0) {
        model_job &j = here->jobs[size_t(here->current)];
        if (x & 1)
            j.blocks++;
        else
            j.blocks -= j.blocks > 0;
        // (While its destructors run, its pauses are blocked for good.)
        if (j.ending)
            return;
    }
    if (x & 1)
        jobswitch_block_pause();
    else
        jobswitch_unblock_pause();
}

// ---- waking -----------------------------------------------------------------------------

static void do_wake(unsigned x)
{
    model_job &j = any_job(x);
    if (!has_handle(j))
        return;
    int reason = jobswitch_last_error();
    errno = EXDEV;
    jobswitch_wake(j.handle);
    NEEDS(errno == EXDEV && jobswitch_last_error() == reason);
    j.woken = true;
    came(woken_by_partner, here == &model[1] && refusal_of(j) == JOBSWITCH_E_WRONG_THREAD);
    came(woken_while_running, j.is != job_is::paused);
}

static void do_clear(unsigned x)
{
    model_job &j = any_job(x);
    if (!has_handle(j))
        return;
    int reason = jobswitch_last_error();
    errno = EXDEV;
    jobswitch_clear_wake(j.handle);
    NEEDS(errno == EXDEV && jobswitch_last_error() == reason);
    j.woken = false;
    event(j);
}

static bool is_readable(int fd)
{
    pollfd p = {fd, POLLIN, 0};
    int ready = poll(&p, 1, 0);
    NEEDS(ready == 0 || (ready == 1 && p.revents == POLLIN));
    return ready;
}

static void do_wait_fd(unsigned x)
{
    model_job &j = any_job(x);
    if (!has_handle(j))
        return;
    int reason = jobswitch_last_error();
    int fd = jobswitch_get_wait_fd(j.handle);
    NEEDS(fd >= 0 && jobswitch_last_error() == reason);
    NEEDS(!j.has_fd || fd == j.fd);
    NEEDS(fcntl(fd, F_GETFD) & FD_CLOEXEC && fcntl(fd, F_GETFL) & O_NONBLOCK);
    for (const model_thread &t : model)
        for (const model_job &other : t.jobs)
            NEEDS(&other == &j || !is_live(other) || !other.has_fd || other.fd != fd);
    j.has_fd = true;
    j.fd = fd;
    event(j);
    NEEDS(is_readable(fd) == j.woken);
}

static void do_poll(unsigned)
{
    for (const model_job &j : here->jobs)
        if (is_live(j) && j.has_fd)
            NEEDS(is_readable(j.fd) == j.woken);
}

// ---- the event loop ---------------------------------------------------------------------

static void do_ready_fd(unsigned)
{
    int fd = jobswitch_get_ready_fd();
    NEEDS(fd >= 0);
    NEEDS(!here->has_ready_fd || fd == here->ready_fd);
    here->has_ready_fd = true;
    here->ready_fd = fd;
    for (const model_job &j : here->jobs)
        if (is_ready(j))
            NEEDS(is_readable(fd));
}

// Each of the functions that take begins with this.
static void deadlines_found()
{
    for (model_job &j : here->jobs)
        if (j.is == job_is::paused && j.timer == deadline::set && j.deadline_ns < 1000) {
            j.timer = deadline::found;
            j.woken = true;
        }
}

static size_t count_ready()
{
    size_t count = 0;
    for (const model_job &j : here->jobs)
        count += is_ready(j);
    return count;
}

// A take has found nothing.
static void ready_rests()
{
    NEEDS(!here->has_ready_fd || !is_readable(here->ready_fd));
}

static void do_take(unsigned x)
{
    jobswitch_job *taken[8] = {};
    size_t most = 1 + x % 8;
    deadlines_found();
    size_t ready = count_ready();
    static constexpr int64_t waits_ns[] = {0, 20000, -1, INT64_MAX};
    size_t n = x & 64 ? jobswitch_wait_ready(taken, most, waits_ns[x / 8 % (ready ? 4 : 2)])
                      : jobswitch_take_ready(taken, most);
    NEEDS(n == (ready < most ? ready : most));
    came(n < ready ? taken_some : taken_all, n > 0);
    for (size_t i = 0; i < n; i++) {
        model_job *j = find(taken[i]);
        NEEDS(j && is_ready(*j));
        j->woken = false;
        event(*j);
    }
    for (size_t i = n; i < 8; i++)
        NEEDS(!taken[i]);
    if (!n)
        ready_rests();
}

// The jobs that the next call must resume, but for what happens to them meanwhile.
struct awaited {
    std::array<unsigned, jobs_most> events;
    std::array<bool, jobs_most> is;

    explicit awaited(bool (*which)(const model_job &))
    {
        for (size_t i = 0; i < jobs_most; i++) {
            events[i] = here->jobs[i].events;
            is[i] = which(here->jobs[i]);
        }
    }
    void all_came()
    {
        for (size_t i = 0; i < jobs_most; i++)
            NEEDS(!is[i] || here->jobs[i].events != events[i]);
    }
};

static void do_resume_ready(unsigned x)
{
    if (here->depth >= depth_most)
        return;
    jobswitch_outcome outcomes[6];
    size_t most = 1 + x % 6;
    const int base = here->current;
    deadlines_found();
    awaited ready(is_ready);
    here->resumers.push_back({false, base, 0});
    depth_kept kept;
    size_t n = jobswitch_resume_ready(outcomes, most);
    resumed_settle(base);
    NEEDS(n == here->resumers.back().resumed && n <= most);
    here->resumers.pop_back();
    for (size_t i = 0; i < n; i++) {
        const jobswitch_outcome &o = outcomes[i];
        model_job *j = find(o.job);
        if (o.answer == JOBSWITCH_FINISH) {
            NEEDS(j && j->is == job_is::ended && j->ret == o.ret);
            came(ended_by_ready);
            job_forgotten(*j);
        } else {
            NEEDS(o.answer == JOBSWITCH_PAUSE);
        }
    }
    if (n < most)
        ready.all_came();
    if (!n)
        ready_rests();
}

static void do_cancel_all(unsigned x)
{
    if (here->current >= 0) {
        NEEDS(jobswitch_cancel_all() == 0 && jobswitch_last_error() == JOBSWITCH_E_IN_JOB);
        return;
    }
    if (x % 4)
        return; // it ends all that the input has built
    awaited paused([](const model_job &j) { return j.is == job_is::paused; });
    here->resumers.push_back({true, -1, 0});
    depth_kept kept;
    size_t n = jobswitch_cancel_all();
    resumed_settle(-1);
    NEEDS(n == here->resumers.back().resumed);
    here->resumers.pop_back();
    paused.all_came();
    for (model_job &j : here->jobs)
        if (j.is == job_is::ended)
            job_forgotten(j);
}

static void do_deadline(unsigned)
{
    uint64_t earliest_ns = UINT64_MAX;
    for (const model_job &j : here->jobs)
        if (j.is == job_is::paused && j.timer == deadline::set && j.deadline_ns < earliest_ns)
            earliest_ns = j.deadline_ns;
    NEEDS(jobswitch_next_deadline() == earliest_ns);
}

// ---- what a job keeps -------------------------------------------------------------------

// A value names its thread, job and key, so that a destructor can tell.
static void *value_make(int job, int key)
{
    return reinterpret_cast<void *>(uintptr_t(++serial) << 16 | 1u << 15 |
                                    uintptr_t(here == &model[1]) << 14 | uintptr_t(job) << 4 |
                                    uintptr_t(key));
}

template <int key> static void destroy(void *value)
{
    auto bits = reinterpret_cast<uintptr_t>(value);
    NEEDS((bits & 1u << 15) && (bits & 15) == key);
    NEEDS(here == &model[bits >> 14 & 1]);
    model_job &j = here->jobs[bits >> 4 & 255];
    NEEDS(j.values[key] == value);
    j.values[key] = nullptr;
    came(destroyed_in_4_rounds, ++j.destroyed == destructor_rounds);
    if (here->takes_back) {
        came(partner_ends ? destroyed_at_thread_end : destroyed_outside);
        unsigned x = input.byte();
        if (x & 1)
            do_wake(x);
        jobswitch_job *handle = nullptr;
        int ret = -1;
        if (x & 2) {
            NEEDS(jobswitch_start_job(&handle, &ret, body, nullptr, 0) == JOBSWITCH_ERR);
            NEEDS(jobswitch_last_error() == JOBSWITCH_E_REENTERED && !handle && ret == -1);
            NEEDS(jobswitch_take_ready(&handle, 1) == 0);
            NEEDS(jobswitch_last_error() == JOBSWITCH_E_REENTERED && !handle);
        }
        return;
    }
    came(destroyed_in_job);
    NEEDS(here->current == number_of(j) && j.ending);
    NEEDS(jobswitch_get_local(keys[key]) == nullptr);
    depth_kept kept;
    here->depth++;
    if (here->depth < depth_most)
        interpret(input.byte() % 4u);
}

static void key_create(int key)
{
    static void (*const destructors[keys_most])(void *) = {destroy<0>, destroy<1>, destroy<2>,
                                                           destroy<3>, nullptr};
    NEEDS(jobswitch_create_key(&keys[key], destructors[key]) == 1 && keys[key]);
}

static void do_key(unsigned x)
{
    if (x % 4)
        return;
    int key = int(x / 4 % keys_most);
    deleted_key = keys[key];
    NEEDS(jobswitch_delete_key(deleted_key) == 1);
    for (model_thread &t : model)
        for (model_job &j : t.jobs)
            j.values[size_t(key)] = nullptr;
    NEEDS(jobswitch_delete_key(deleted_key) == 0);
    NEEDS(jobswitch_last_error() == JOBSWITCH_E_UNKNOWN_KEY);
    key_create(key);
    NEEDS(keys[key] != deleted_key);
}

static void do_set(unsigned x)
{
    auto key = x % keys_most;
    if (deleted_key) {
        NEEDS(jobswitch_set_local(deleted_key, &input) == 0);
        NEEDS(jobswitch_last_error() == JOBSWITCH_E_UNKNOWN_KEY);
    }
    if (here->current < 0) {
        NEEDS(jobswitch_set_local(keys[key], &input) == 0);
        NEEDS(jobswitch_last_error() == JOBSWITCH_E_NO_JOB);
        return;
    }
    void *value = x & 128 ? nullptr : value_make(here->current, int(key));
    NEEDS(jobswitch_set_local(keys[key], value) == 1);
    here->jobs[size_t(here->current)].values[key] = value;
    // (No destructor: nothing takes it back.)
    if (key == keys_most - 1 && here->jobs[size_t(here->current)].ending)
        here->jobs[size_t(here->current)].values[key] = nullptr;
}

static void do_get(unsigned)
{
    if (deleted_key)
        NEEDS(!jobswitch_get_local(deleted_key));
    NEEDS(!jobswitch_get_local(0));
    for (size_t key = 0; key < keys_most; key++) {
        if (key == keys_most - 1 && here->current >= 0 &&
            here->jobs[size_t(here->current)].ending)
            continue; // whether its turn has come is not said
        void *value = jobswitch_get_local(keys[key]);
        NEEDS(value == (here->current < 0 ? nullptr
                                          : here->jobs[size_t(here->current)].values[key]));
    }
}

// ---- handles that are none --------------------------------------------------------------

static void do_stale(unsigned x)
{
    if (dead.empty())
        return;
    jobswitch_job *handle = dead[x % dead.size()];
    for (way w : {way::resume, way::cancel, way::discard})
        is_refused(w, handle, JOBSWITCH_E_FINISHED);
    NEEDS(jobswitch_get_wait_fd(handle) == -1);
    NEEDS(jobswitch_last_error() == JOBSWITCH_E_FINISHED);
    // That it has ended is no error.
    jobswitch_start_job(nullptr, nullptr, nullptr, nullptr, 0);
    jobswitch_wake(handle);
    jobswitch_clear_wake(handle);
    NEEDS(jobswitch_last_error() == JOBSWITCH_E_NULL);
    jobswitch_prefetch_job(handle);
}

static void do_forged(unsigned x)
{
    uintptr_t bits = reinterpret_cast<uintptr_t>(any_job(x).handle);
    switch (input.byte() % 4) {
    case 0: bits += 1 + x % 63; break;                               // within a block
    case 1: bits = 1 + x % 127; break;                               // of no generation
    case 2: bits |= uintptr_t(1) << (8 * sizeof bits - 3); break;    // of a later one
    default: bits = ~uintptr_t(63) >> 33 << 6 | (bits & ~uintptr_t(UINT32_MAX)); // too far
    }
    auto handle = reinterpret_cast<jobswitch_job *>(bits);
    if (!bits)
        return;
    for (way w : {way::resume, way::cancel, way::discard})
        is_refused(w, handle, JOBSWITCH_E_UNKNOWN_JOB);
    auto reason_is = [](int reason) {
        NEEDS(jobswitch_last_error() == reason);
        jobswitch_start_job(nullptr, nullptr, nullptr, nullptr, 0);
    };
    reason_is(JOBSWITCH_E_UNKNOWN_JOB);
    NEEDS(jobswitch_get_wait_fd(handle) == -1);
    reason_is(JOBSWITCH_E_UNKNOWN_JOB);
    jobswitch_wake(handle);
    reason_is(JOBSWITCH_E_UNKNOWN_JOB);
    jobswitch_clear_wake(handle);
    reason_is(JOBSWITCH_E_UNKNOWN_JOB);
    jobswitch_prefetch_job(handle);
}

// A reason that no call leaves that is made with NULL.
static void reason_other() { NEEDS(!jobswitch_delete_key(0)); }
#define NULL_REFUSED(answer, ...)                                                     \
    do {                                                                              \
        reason_other();                                                               \
        NEEDS((__VA_ARGS__) == (answer));                                             \
        NEEDS(jobswitch_last_error() == JOBSWITCH_E_NULL);                            \
    } while (0)

static void do_null(unsigned)
{
    jobswitch_job *none = nullptr;
    int ret = -1;
    NULL_REFUSED(JOBSWITCH_ERR, jobswitch_start_job(nullptr, &ret, body, nullptr, 0));
    NULL_REFUSED(JOBSWITCH_ERR, jobswitch_start_job(&none, nullptr, body, nullptr, 0));
    NULL_REFUSED(JOBSWITCH_ERR, jobswitch_start_job(&none, &ret, nullptr, nullptr, 0));
    NULL_REFUSED(JOBSWITCH_ERR, jobswitch_cancel_job(&none, &ret));
    NULL_REFUSED(JOBSWITCH_ERR, jobswitch_cancel_job(nullptr, &ret));
    NULL_REFUSED(0, jobswitch_discard_job(&none));
    NULL_REFUSED(0, jobswitch_discard_job(nullptr));
    NULL_REFUSED(-1, jobswitch_get_wait_fd(nullptr));
    NULL_REFUSED(0u, jobswitch_take_ready(nullptr, 1));
    NULL_REFUSED(0u, jobswitch_wait_ready(nullptr, 1, 0));
    NULL_REFUSED(0u, jobswitch_resume_ready(nullptr, 1));
    NULL_REFUSED(0, jobswitch_get_stats(nullptr));
    NULL_REFUSED(0, jobswitch_init_thread_with(nullptr));
    NULL_REFUSED(0, jobswitch_create_key(nullptr, nullptr));
    NULL_REFUSED(0, jobswitch_set_tool(nullptr));
    NULL_REFUSED(0, (jobswitch_wake(nullptr), 0));
    NULL_REFUSED(0, (jobswitch_clear_wake(nullptr), 0));
    NEEDS(!none && ret == -1);
    NEEDS(jobswitch_start_job(&none, &ret, body, &ret, SIZE_MAX - 64) == JOBSWITCH_ERR);
    NEEDS(jobswitch_last_error() == JOBSWITCH_E_SIZE && !none && ret == -1);
}

// ---- pools ------------------------------------------------------------------------------

// Stacks of the program's own. Neither function may call the library; that is answered.
static void stack_calls()
{
    jobswitch_job *none = nullptr;
    int ret = -1, named = here->named;
    NEEDS(jobswitch_start_job(&none, &ret, body, nullptr, 0) == JOBSWITCH_ERR);
    NEEDS(jobswitch_last_error() == JOBSWITCH_E_REENTERED && !none && ret == -1);
    here->named = named;
}
static void *stack_alloc(size_t bytes, void *refuses)
{
    stack_calls();
    if (refuses)
        return nullptr;
    here->stacks++;
    return aligned_alloc(64, bytes);
}
static void stack_free(void *stack, size_t, void *)
{
    stack_calls();
    here->stacks--;
    free(stack);
}

static void do_options(unsigned x)
{
    jobswitch_options o = JOBSWITCH_OPTIONS_INIT;
    unsigned y = input.byte();
    o.max_jobs = x & 1 ? 0 : 3 + x / 2 % 18;
    o.initial_jobs = y % 4;
    o.stack_bytes = 65536 + 16384 * (y / 4 % 3);
    o.flags = y >> 5;
    if (x & 128) {
        o.stack_alloc = stack_alloc;
        o.stack_free = stack_free;
    }
    if (y & 16) {
        NEEDS(jobswitch_init_thread_with(&o) == 1);
    } else if (y & 32) {
        NEEDS(jobswitch_init_thread(o.max_jobs, o.initial_jobs) == 1);
    } else if (y & 64) {
        NEEDS(jobswitch_init(1, o.max_jobs, o.initial_jobs) == 1);
    } else {
        NEEDS(jobswitch_init(0, 1, 2) == 1); // the limits are ignored
        return;
    }
    here->max_jobs = o.max_jobs;
}

static void do_bad_options(unsigned x)
{
    struct {
        jobswitch_options o = JOBSWITCH_OPTIONS_INIT;
        size_t more[2] = {};
    } later;
    jobswitch_options &o = later.o;
    int reason = 0;
    switch (x % 11) {
    case 0: o.size = 0; reason = JOBSWITCH_E_STRUCT_SIZE; break;
    case 1: o.size = 5000; reason = JOBSWITCH_E_STRUCT_SIZE; break;
    case 2: o.flags = 8; reason = JOBSWITCH_E_OPTION; break;
    case 3: o.stack_alloc = stack_alloc; reason = JOBSWITCH_E_ALLOCATOR; break;
    case 4: o.stack_free = stack_free; reason = JOBSWITCH_E_ALLOCATOR; break;
    case 5: o.max_jobs = 2; o.initial_jobs = 3; reason = JOBSWITCH_E_INIT_OVER_MAX; break;
    case 6: o.stack_bytes = 512; reason = JOBSWITCH_E_STACK_TOO_SMALL; break;
    case 7: o.stack_bytes = SIZE_MAX; reason = JOBSWITCH_E_SIZE; break;
    case 8: o.guard_bytes = SIZE_MAX; reason = JOBSWITCH_E_SIZE; break;
    case 9:
        o.size = sizeof later;
        later.more[1] = 1;
        reason = JOBSWITCH_E_OPTION;
        break;
    default:
        o.stack_alloc = stack_alloc;
        o.stack_free = stack_free;
        o.stack_context = &o; // it refuses
        o.initial_jobs = live() + 25;
        reason = JOBSWITCH_E_NO_STACK;
        // (As many may be there already, made by the same functions.)
        if (here->stacks)
            return;
    }
    NEEDS(jobswitch_init_thread_with(&o) == 0 && jobswitch_last_error() == reason);
}

static void do_stats(unsigned x)
{
    jobswitch_stats s = JOBSWITCH_STATS_INIT;
    if (x % 8 == 0) {
        s.size = x & 16 ? 0 : 4097;
        NEEDS(jobswitch_get_stats(&s) == 0 && jobswitch_last_error() == JOBSWITCH_E_STRUCT_SIZE);
        s.size = sizeof s;
    }
    NEEDS(jobswitch_get_stats(&s) == 1 && s.size == sizeof s);
    NEEDS(s.jobs_paused == count_of(job_is::paused) && s.jobs_running == running());
    NEEDS(s.jobs_started == here->started && s.jobs_finished == here->finished);
    NEEDS(s.jobs_discarded == here->discarded);
    NEEDS(s.jobs_started == s.jobs_finished + s.jobs_discarded + live());
    NEEDS(s.stacks_mapped == s.jobs_idle + live());
    NEEDS(!here->max_jobs || s.jobs_idle == 0 || s.stacks_mapped <= here->max_jobs);
    size_t descriptors = here->has_ready_fd;
    for (const model_job &j : here->jobs)
        descriptors += is_live(j) && j.has_fd;
    NEEDS(s.descriptors_open >= descriptors);
    if (x & 1) {
        // All but what is in use is given back.
        size_t given = jobswitch_trim_thread(x / 2 % 6);
        NEEDS(given <= s.jobs_idle);
        NEEDS(jobswitch_get_stats(&s) == 1 && s.descriptors_open == descriptors);
    }
}

static void do_clean_up(unsigned x)
{
    if (here->current >= 0) {
        if (x & 1)
            jobswitch_cleanup_thread();
        else
            jobswitch_cleanup(int(x & 2));
        NEEDS(jobswitch_last_error() == JOBSWITCH_E_IN_JOB);
        return;
    }
    if (x % 4)
        return jobswitch_cleanup(0);
    here->takes_back = true;
    jobswitch_cleanup(1);
    here->takes_back = false;
    for (model_job &j : here->jobs) {
        if (j.is == job_is::none)
            continue;
        NEEDS(j.is == job_is::paused);
        values_are_gone(j);
        NEEDS(!j.has_fd || fcntl(j.fd, F_GETFD) == -1);
        here->discarded++;
        job_forgotten(j);
    }
    NEEDS(!here->has_ready_fd || fcntl(here->ready_fd, F_GETFD) == -1);
    NEEDS(here->stacks == 0);
    here->has_ready_fd = false;
    here->max_jobs = 0;
}

// ---- looking in -------------------------------------------------------------------------

static void do_look(unsigned x)
{
    NEEDS(jobswitch_version() == JOBSWITCH_VERSION && jobswitch_error_string(int(x) - 100));
    int reason = jobswitch_last_error();
    jobswitch_prefetch_job(any_job(x).handle);
    NEEDS(jobswitch_last_error() == reason);
    jobswitch_job *handle = jobswitch_get_current_job();
    NEEDS(!handle == (here->current < 0) && jobswitch_in_job() == (here->current >= 0));
    if (handle) {
        model_job &j = here->jobs[size_t(here->current)];
        NEEDS(!j.handle || j.handle == handle);
        j.handle = handle;
        NEEDS(jobswitch_job_cancelled() == j.cancelled);
    } else {
        NEEDS(jobswitch_job_cancelled() == 0);
    }
}

static void do_return(unsigned) {} // see interpret

static void do_partner(unsigned x);
static void do_partner_end(unsigned x);

// ---- operations -------------------------------------------------------------------------

static struct operation {
    const char *name;
    void (*act)(unsigned x);
    unsigned weight;
    unsigned long count = 0;
} operations[] = {
    {"start", do_start, 4},
    {"resume", do_resume, 4},
    {"pause", do_pause, 6},
    {"wake", do_wake, 4},
    {"clear", do_clear, 2},
    {"take", do_take, 2},
    {"resume ready", do_resume_ready, 3},
    {"wait fd", do_wait_fd, 2},
    {"poll", do_poll, 1},
    {"ready fd", do_ready_fd, 1},
    {"cancel", do_cancel, 1},
    {"cancel all", do_cancel_all, 1},
    {"discard", do_discard, 1},
    {"deadline", do_deadline, 1},
    {"block", do_block, 2},
    {"key", do_key, 1},
    {"set", do_set, 2},
    {"get", do_get, 1},
    {"stale", do_stale, 1},
    {"forged", do_forged, 1},
    {"null", do_null, 1},
    {"options", do_options, 1},
    {"bad options", do_bad_options, 1},
    {"stats", do_stats, 2},
    {"clean up", do_clean_up, 1},
    {"look", do_look, 2},
    {"return", do_return, 2},
    {"partner", do_partner, 1},
    {"partner ends", do_partner_end, 1},
};

static bool traces;

static void interpret(unsigned calls)
{
    static std::vector<operation *> by_byte;
    if (by_byte.empty())
        for (operation &o : operations)
            by_byte.insert(by_byte.end(), o.weight, &o);
    for (; calls && input.left; calls--) {
        operation &o = *by_byte[input.byte() % by_byte.size()];
        o.count++;
        unsigned x = input.byte();
        if (traces)
            fprintf(stderr, "%*sthread %d, job %d: %s %u\n", here->depth, "",
                    here == &model[1], here->current, o.name, x);
        o.act(x);
        if (o.act == do_return && here->current >= 0)
            return;
    }
}

// ---- the other thread -------------------------------------------------------------------

static struct {
    pthread_t thread;
    sem_t go, done;
    unsigned calls; // 0: it ends
} partner;

static void *partner_main(void *)
{
    for (;;) {
        while (sem_wait(&partner.go) != 0)
            ;
        if (!partner.calls)
            return nullptr; // with whatever jobs there are
        interpret(partner.calls);
        sem_post(&partner.done);
    }
}

static void do_partner(unsigned x)
{
    if (here != &model[0])
        return;
    if (!partner_runs) {
        NEEDS(pthread_create(&partner.thread, nullptr, partner_main, nullptr) == 0);
        partner_runs = true;
    }
    here = &model[1];
    partner.calls = 1 + x % 64;
    sem_post(&partner.go);
    while (sem_wait(&partner.done) != 0)
        ;
    here = &model[0];
}

static void do_partner_end(unsigned)
{
    if (here != &model[0] || !partner_runs)
        return;
    here = &model[1];
    here->takes_back = partner_ends = true;
    partner.calls = 0;
    sem_post(&partner.go);
    pthread_join(partner.thread, nullptr);
    partner_runs = partner_ends = false;
    for (model_job &j : here->jobs) {
        values_are_gone(j);
        if (j.is != job_is::none)
            NEEDS(j.is == job_is::paused && (!j.has_fd || fcntl(j.fd, F_GETFD) == -1));
        job_forgotten(j);
    }
    NEEDS(!here->has_ready_fd || fcntl(here->ready_fd, F_GETFD) == -1);
    NEEDS(here->stacks == 0);
    *here = {};
    here = &model[0];
}

// ---- an input ---------------------------------------------------------------------------

static void counts_print()
{
    for (const operation &o : operations)
        fprintf(stderr, "count: %s: %lu\n", o.name, o.count);
    for (int i = 0; i < outcomes; i++)
        fprintf(stderr, "count: %s: %lu\n", outcome_names[i], outcome_counts[i]);
}

static void begin()
{
    for (int key = 0; key < keys_most; key++)
        key_create(key);
    sem_init(&partner.go, 0, 0);
    sem_init(&partner.done, 0, 0);
    traces = getenv("FUZZ_TRACE");
    if (getenv("FUZZ_COUNTS"))
        atexit(counts_print);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun = (begin(), true);
    (void)begun;
    input = {data, size};
    dead.clear();
    deleted_key = 0;
    serial = 0;
    NEEDS(here == &model[0] && here->depth == 0);
    while (input.left)
        interpret(UINT32_MAX);
    // What is left ends by itself, in both threads.
    do_partner_end(0);
    do_cancel_all(0);
    NEEDS(live() == 0);
    do_stats(1);
    do_clean_up(0);
    do_stats(0);
    jobswitch_stats s = JOBSWITCH_STATS_INIT;
    NEEDS(jobswitch_get_stats(&s) && s.stacks_mapped == 0 && s.descriptors_open == 0);
    return 0;
}
