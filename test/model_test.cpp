// SPDX-License-Identifier: Apache-2.0
//
// Random operations on many jobs of one thread against a model: starts,
// pauses and resumes in any order and at any depth, blocks, wakes, stale
// handles, new limits, trims, clean-ups. The model says what each call must
// answer. Every call that switches is made with known callee-saved registers,
// on both sides; each job carries locals and a computation through its pauses.
//
// TEST_SEED: the seed, which is printed; TEST_SCALE: divides the number of
// operations.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <vector>

#include "jobswitch/jobswitch.h"
#include "support.h"

// ---- a call with known registers ---------------------------------------------------

struct checked_call {
    const void *func;
    uint64_t args[5];
    uint64_t seed; // the registers hold what follows it
    uint64_t differ; // bits that were not the same after the call
};

#ifdef __x86_64__
// int call_checked(checked_call *): rbx, rbp, r12 to r15 are seed + 1 to seed + 6
// around the call; the stack pointer must be the same for the pops to fit.
asm(R"(
        .pushsection .text
        .type call_checked, @function
call_checked:
        .cfi_startproc
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushq %rdi
        .cfi_def_cfa_offset 64
        movq 48(%rdi), %rax
        leaq 1(%rax), %rbx
        leaq 2(%rax), %rbp
        leaq 3(%rax), %r12
        leaq 4(%rax), %r13
        leaq 5(%rax), %r14
        leaq 6(%rax), %r15
        movq (%rdi), %rax
        movq 16(%rdi), %rsi
        movq 24(%rdi), %rdx
        movq 32(%rdi), %rcx
        movq 40(%rdi), %r8
        movq 8(%rdi), %rdi
        callq *%rax
        movq (%rsp), %rdi
        movq 48(%rdi), %rsi
        subq %rsi, %rbx
        subq %rsi, %rbp
        subq %rsi, %r12
        subq %rsi, %r13
        subq %rsi, %r14
        subq %rsi, %r15
        xorq $1, %rbx
        xorq $2, %rbp
        xorq $3, %r12
        xorq $4, %r13
        xorq $5, %r14
        xorq $6, %r15
        orq %rbp, %rbx
        orq %r12, %rbx
        orq %r13, %rbx
        orq %r14, %rbx
        orq %r15, %rbx
        movq %rbx, 56(%rdi)
        popq %rdi
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        .cfi_def_cfa_offset 8
        retq
        .cfi_endproc
        .size call_checked, . - call_checked
        .popsection
)");
extern "C" int call_checked(checked_call *call);
#else
static int call_checked(checked_call *call)
{
    auto &a = call->args;
    return reinterpret_cast<int (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)>(
        reinterpret_cast<uintptr_t>(call->func))(uintptr_t(a[0]), uintptr_t(a[1]), uintptr_t(a[2]),
                                                 uintptr_t(a[3]), uintptr_t(a[4]));
}
#endif

// ---- the model ---------------------------------------------------------------------

enum class state { running, waiting, paused, finished };

struct model_job {
    jobswitch_job *handle; // NULL: not told yet
    state is;
    int id;
    int value; // what it returns
    unsigned blocks;
    bool woken;
    int fd; // -1: not asked for
    size_t args_size;
};

static struct {
    std::vector<model_job> jobs; // those that live
    std::vector<jobswitch_job *> stale; // the latest
    std::vector<int> current; // ids, innermost last
    size_t max_jobs;
    size_t descriptors_kept; // of jobs that have ended
    uint64_t started, finished, discarded;
    int last_id;
    uint64_t operations, left;
    uint64_t random;
    uint64_t counts[16];
    std::string wrong; // the first thing that was not so
} model;

static uint64_t random_next()
{
    uint64_t &x = model.random;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x * 0x2545f4914f6cdd1d >> 11;
}
static size_t random_below(size_t n) { return size_t(random_next() % n); }

// On any stack: recorded, and asserted by the root.
#define CHECK(...) check(__LINE__, #__VA_ARGS__, __VA_ARGS__)

static void check(int line, const char *what, bool so, long a = 0, long b = 0)
{
    if (so || !model.wrong.empty())
        return;
    char text[300];
    snprintf(text, sizeof text,
             "line %d, operation %" PRIu64 ", depth %zu: not %s (%ld, %ld)", line,
             model.operations, model.current.size(), what, a, b);
    model.wrong = text;
}

static model_job *model_find(int id)
{
    for (model_job &j : model.jobs)
        if (j.id == id)
            return &j;
    return nullptr;
}

static void model_stale(jobswitch_job *handle)
{
    if (!handle)
        return;
    if (model.stale.size() < 64)
        model.stale.push_back(handle);
    else
        model.stale[random_below(64)] = handle;
}

static void model_end(int id)
{
    for (size_t i = 0; i < model.jobs.size(); i++)
        if (model.jobs[i].id == id) {
            model_stale(model.jobs[i].handle);
            model.descriptors_kept += model.jobs[i].fd >= 0;
            model.jobs[i] = model.jobs.back();
            model.jobs.pop_back();
            return;
        }
    CHECK(false, id); // it is not known
}

// ---- what a job does -----------------------------------------------------------------

struct job_args {
    int id;
    uint64_t salt;
};

static unsigned char args_byte(uint64_t salt, size_t i)
{
    return static_cast<unsigned char>(salt * (i + 1) >> 16);
}

static void act();

static void pause_checked(uint64_t seed)
{
    checked_call call = {reinterpret_cast<const void *>(jobswitch_pause_job), {}, seed, 0};
    int answer = call_checked(&call);
    CHECK(answer == 1, answer);
    CHECK(call.differ == 0, long(call.differ));
}

static int job_body(void *args)
{
    alignas(64) volatile unsigned char aligned[64];
    job_args mine;
    memcpy(&mine, args, sizeof mine);
    model_job *self = model_find(mine.id);
    CHECK(self, mine.id);
    if (!self)
        return -1;
    const int id = mine.id, value = self->value;
    const size_t size = self->args_size;
    auto bytes = static_cast<const unsigned char *>(args);
    CHECK(reinterpret_cast<uintptr_t>(args) % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(&aligned) % 64 == 0);
#ifdef __x86_64__
    // The ABI's frame: rsp was a multiple of 16 where func was called.
    CHECK(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) % 16 == 0);
#endif
    jobswitch_job *handle = nullptr;
    int locals[8];
    double sum = 0.5 * id;
    float product = 1;
    for (int i = 0; i < 8; i++)
        locals[i] = id * 31 + i;
    size_t steps = random_below(7);
    for (size_t step = 0; step < steps && model.left; step++) {
        CHECK(jobswitch_in_job() == 1);
        CHECK(model.current.back() == id, model.current.back(), id);
        if (random_below(3) == 0) {
            jobswitch_job *now = jobswitch_get_current_job();
            self = model_find(id);
            CHECK(now && (!self->handle || self->handle == now));
            CHECK(!handle || handle == now);
            self->handle = handle = now;
        }
        size_t what = random_below(5);
        if (what < 2) {
            self = model_find(id);
            model.left--, model.operations++;
            if (self->blocks == 0) {
                self->is = state::paused;
                model.current.pop_back();
                pause_checked(random_next());
                // Whoever resumed it has made it current.
                self = model_find(id);
                CHECK(self && self->is == state::running);
                CHECK(model.current.back() == id, model.current.back(), id);
            } else {
                pause_checked(random_next());
                CHECK(model.current.back() == id);
                model.counts[0]++;
            }
        } else if (what == 2) {
            self = model_find(id);
            if (random_below(2)) {
                jobswitch_block_pause();
                self->blocks++;
            } else {
                jobswitch_unblock_pause();
                self->blocks -= self->blocks > 0;
            }
        } else if (model.current.size() < 40) {
            act();
        }
        sum = sum * 1.25 + double(step);
        product = product * 0.75f + float(id % 97);
    }
    double sum_again = 0.5 * id;
    float product_again = 1;
    for (size_t step = 0; step < steps; step++) {
        sum_again = sum_again * 1.25 + double(step);
        product_again = product_again * 0.75f + float(id % 97);
    }
    CHECK(sum == sum_again || !model.left);
    CHECK(product == product_again || !model.left);
    for (int i = 0; i < 8; i++)
        CHECK(locals[i] == id * 31 + i, locals[i]);
    for (size_t i = sizeof mine; i < size; i++)
        CHECK(bytes[i] == args_byte(mine.salt, i), long(i), long(size));
    self = model_find(id);
    CHECK(self && self->is == state::running);
    CHECK(model.current.back() == id);
    model.current.pop_back();
    if (self)
        self->is = state::finished;
    return value;
}

// ---- operations ---------------------------------------------------------------------

// A start or resume of a job that the model lets run.
static void run_job(int id, jobswitch_job **handle, void *args, size_t size)
{
    if (!model.current.empty())
        model_find(model.current.back())->is = state::waiting;
    model_job *j = model_find(id);
    j->is = state::running;
    jobswitch_job *known = j->handle;
    model.current.push_back(id);
    size_t depth = model.current.size();
    int ret = -987654;
    checked_call call = {
        reinterpret_cast<const void *>(jobswitch_start_job),
        {reinterpret_cast<uintptr_t>(handle), reinterpret_cast<uintptr_t>(&ret),
         reinterpret_cast<uintptr_t>(job_body), reinterpret_cast<uintptr_t>(args), size},
        random_next(),
        0};
    int answer = call_checked(&call);
    CHECK(call.differ == 0, long(call.differ));
    CHECK(model.current.size() == depth - 1, long(model.current.size()), long(depth));
    j = model_find(id);
    CHECK(j, id);
    if (!j)
        return;
    if (answer == JOBSWITCH_FINISH) {
        CHECK(j->is == state::finished);
        CHECK(ret == j->value, ret, j->value);
        CHECK(!*handle);
        if (known && !j->handle)
            j->handle = known;
        model.finished++;
        model_end(id);
    } else {
        CHECK(answer == JOBSWITCH_PAUSE, answer, jobswitch_last_error());
        CHECK(j->is == state::paused);
        CHECK(ret == -987654, ret);
        CHECK(*handle && (!j->handle || *handle == j->handle));
        j->handle = *handle;
    }
    if (!model.current.empty()) {
        model_find(model.current.back())->is = state::running;
        CHECK(jobswitch_in_job());
    } else {
        CHECK(!jobswitch_in_job());
    }
}

static void do_start()
{
    static const size_t extra[] = {0, 1, 3, 7, 8, 16, 17, 31, 40, 63, 64,
                                   100, 500, 1007, 1008, 1009, 5000, 20000};
    job_args mine = {++model.last_id, random_next()};
    size_t size = sizeof mine + extra[random_below(sizeof extra / sizeof *extra)];
    std::vector<unsigned char> args(size);
    for (size_t i = 0; i < size; i++)
        args[i] = args_byte(mine.salt, i);
    memcpy(args.data(), &mine, sizeof mine);
    jobswitch_job *handle = nullptr;
    if (model.max_jobs && model.jobs.size() >= model.max_jobs) {
        int ret = 3;
        int answer = jobswitch_start_job(&handle, &ret, job_body, args.data(), size);
        CHECK(answer == JOBSWITCH_NO_JOBS, answer);
        CHECK(jobswitch_last_error() == JOBSWITCH_E_MAX_JOBS);
        CHECK(!handle && ret == 3);
        model.counts[1]++;
        return;
    }
    model.jobs.push_back({nullptr, state::running, mine.id,
                          int(random_next()), 0, false, -1, size});
    model.started++;
    run_job(mine.id, &handle, args.data(), size);
}

static void do_resume()
{
    if (model.jobs.empty())
        return;
    const model_job &j = model.jobs[random_below(model.jobs.size())];
    jobswitch_job *handle = j.handle;
    if (!handle)
        return;
    if (j.is == state::paused) {
        run_job(j.id, &handle, nullptr, 0);
        model.counts[2]++;
        return;
    }
    int ret = 3;
    int answer = jobswitch_start_job(&handle, &ret, job_body, nullptr, 0);
    int reason = j.is == state::running ? JOBSWITCH_E_RUNNING : JOBSWITCH_E_WAITING;
    CHECK(answer == JOBSWITCH_ERR, answer);
    CHECK(jobswitch_last_error() == reason, jobswitch_last_error(), reason);
    CHECK(handle == j.handle && ret == 3);
    model.counts[j.is == state::running ? 3 : 4]++;
}

static void do_stale()
{
    if (model.stale.empty())
        return;
    jobswitch_job *stale = model.stale[random_below(model.stale.size())], *handle = stale;
    int ret = 3;
    int answer = jobswitch_start_job(&handle, &ret, job_body, nullptr, 0);
    CHECK(answer == JOBSWITCH_ERR, answer);
    CHECK(jobswitch_last_error() == JOBSWITCH_E_FINISHED, jobswitch_last_error());
    CHECK(handle == stale && ret == 3);
    jobswitch_wake(stale); // for nobody: the models of all others show it
    CHECK(jobswitch_get_wait_fd(stale) == -1);
    model.counts[5]++;
}

static void do_wake()
{
    if (model.jobs.empty())
        return;
    model_job &j = model.jobs[random_below(model.jobs.size())];
    if (!j.handle)
        return;
    switch (random_below(3)) {
    case 0:
        jobswitch_wake(j.handle);
        j.woken = true;
        break;
    case 1:
        jobswitch_clear_wake(j.handle);
        j.woken = false;
        break;
    default:
        int fd = jobswitch_get_wait_fd(j.handle);
        CHECK(fd >= 0 && (j.fd < 0 || j.fd == fd), fd, j.fd);
        for (const model_job &other : model.jobs)
            CHECK(other.id == j.id || other.fd != fd, fd);
        if (j.fd < 0 && model.descriptors_kept)
            model.descriptors_kept--;
        j.fd = fd;
    }
    if (j.fd >= 0) {
        pollfd entry = {j.fd, POLLIN, 0};
        int ready = poll(&entry, 1, 0);
        CHECK(ready == int(j.woken), ready, j.woken);
        model.counts[6]++;
    }
}

static void do_limits()
{
    size_t max = random_below(4) ? 1 + random_below(60) : 0;
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = max;
    options.initial_jobs = random_below(max ? max + 1 : 40);
    if (random_below(2))
        options.stack_bytes = 131072;
    if (random_below(4) == 0) {
        // Refused, and nothing has changed: the model has not.
        options.initial_jobs = max + 1;
        int answer = jobswitch_init_thread_with(&options);
        CHECK(answer == (max == 0), answer);
        if (max != 0)
            return;
    } else {
        int answer = jobswitch_init_thread_with(&options);
        CHECK(answer == 1, answer, jobswitch_last_error());
    }
    model.max_jobs = max;
    model.counts[7]++;
}

static void do_stats()
{
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    CHECK(jobswitch_get_stats(&stats) == 1);
    size_t running = model.current.size(), live = model.jobs.size();
    CHECK(stats.jobs_running == running, long(stats.jobs_running), long(running));
    CHECK(stats.jobs_paused == live - running, long(stats.jobs_paused),
          long(live - running));
    CHECK(stats.jobs_started == model.started, long(stats.jobs_started),
          long(model.started));
    CHECK(stats.jobs_finished == model.finished, long(stats.jobs_finished),
          long(model.finished));
    CHECK(stats.jobs_discarded == model.discarded, long(stats.jobs_discarded),
          long(model.discarded));
    CHECK(stats.jobs_idle + live <= stats.stacks_mapped, long(stats.jobs_idle),
          long(stats.stacks_mapped));
    if (model.max_jobs)
        CHECK(stats.jobs_idle + live <= std::max(model.max_jobs, live),
              long(stats.jobs_idle), long(live));
    size_t with_fd = 0;
    for (const model_job &j : model.jobs)
        with_fd += j.fd >= 0;
    CHECK(stats.descriptors_open == with_fd + model.descriptors_kept,
          long(stats.descriptors_open), long(with_fd + model.descriptors_kept));
}

static void do_trim()
{
    (void)jobswitch_trim_thread(random_below(20));
    model.descriptors_kept = 0;
}

static void do_clean_up()
{
    if (!model.current.empty()) {
        jobswitch_cleanup_thread();
        CHECK(jobswitch_last_error() == JOBSWITCH_E_IN_JOB, jobswitch_last_error());
        model.counts[8]++;
        return;
    }
    jobswitch_cleanup_thread();
    model.discarded += model.jobs.size();
    for (const model_job &j : model.jobs) {
        model_stale(j.handle);
        CHECK(j.fd < 0 || fcntl(j.fd, F_GETFD) == -1, j.fd);
    }
    model.jobs.clear();
    model.max_jobs = model.descriptors_kept = 0;
    model.counts[9]++;
    if (random_below(2))
        do_limits();
}

// One operation, by the root or by a job.
static void act()
{
    if (!model.left)
        return;
    model.left--, model.operations++;
    size_t what = random_below(1000);
    if (what < 330)
        do_start();
    else if (what < 760)
        do_resume();
    else if (what < 820)
        do_stale();
    else if (what < 940)
        do_wake();
    else if (what < 970)
        do_stats();
    else if (what < 985)
        do_limits();
    else if (what < 994)
        do_trim();
    else
        do_clean_up();
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 0) : otherwise;
}

static void random_operations(void **)
{
    uint64_t seed = environment("TEST_SEED", 20240229);
    uint64_t scale = test_scale();
    for (uint64_t round = 0; round < 10; round++) {
        jobswitch_cleanup_thread();
        jobswitch_stats stats = {};
        stats.size = sizeof stats;
        assert_int_equal(jobswitch_get_stats(&stats), 1);
        model = {};
        model.started = stats.jobs_started;
        model.finished = stats.jobs_finished;
        model.discarded = stats.jobs_discarded;
        model.random = (seed + round) * 0x9e3779b97f4a7c15 + 1;
        model.left = 100000 / scale + 100;
        print_message("TEST_SEED=%" PRIu64 "\n", seed + round);
        while (model.left && model.wrong.empty())
            act();
        // The rest is resumed to its end.
        model.left = 0;
        while (!model.jobs.empty() && model.wrong.empty()) {
            jobswitch_job *handle = model.jobs.back().handle;
            run_job(model.jobs.back().id, &handle, nullptr, 0);
        }
        if (!model.wrong.empty())
            fail_msg("TEST_SEED=%" PRIu64 " TEST_SCALE=%" PRIu64 ": %s", seed + round,
                     scale, model.wrong.c_str());
        do_stats();
        assert_string_equal(model.wrong.c_str(), "");
        // Each kind of operation has been tried.
        if (scale <= 10)
            for (size_t i = 0; i < 10; i++)
                if (model.counts[i] == 0)
                    fail_msg("operation %zu never came", i);
    }
    jobswitch_cleanup_thread();
}

// ---- the tools of this test -------------------------------------------------------------

#ifdef __x86_64__
// A function that does not keep a register is found out.
extern "C" void spoil_rbx(), spoil_rbp(), spoil_r12(), spoil_r13(), spoil_r14(),
    spoil_r15(), spoil_nothing();
#define SPOILER(r)                                                             \
    asm(".pushsection .text\nspoil_" #r ": notq %" #r "\nretq\n.popsection\n")
SPOILER(rbx);
SPOILER(rbp);
SPOILER(r12);
SPOILER(r13);
SPOILER(r14);
SPOILER(r15);
asm(".pushsection .text\nspoil_nothing: retq\n.popsection\n");

static void a_spoiled_register_is_seen(void **)
{
    void (*const spoilers[])() = {spoil_rbx, spoil_rbp, spoil_r12,
                                  spoil_r13, spoil_r14, spoil_r15};
    checked_call call = {reinterpret_cast<const void *>(spoil_nothing), {}, 1234567, 99};
    call_checked(&call);
    assert_int_equal(call.differ, 0);
    for (auto spoiler : spoilers) {
        call.func = reinterpret_cast<const void *>(spoiler);
        call_checked(&call);
        assert_int_not_equal(call.differ, 0);
    }
}
#else
static void a_spoiled_register_is_seen(void **)
{
    skip_because("registers around the calls are looked at on x86_64");
}
#endif

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(a_spoiled_register_is_seen),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
