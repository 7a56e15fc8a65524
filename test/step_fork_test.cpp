// SPDX-License-Identifier: Apache-2.0
//
// A process forks while a thread is held at an instruction of a call: another thread forks, or
// the held thread itself, in a signal handler. The child's thread uses the library at once. Its
// jobs go on with descriptors of their own, whatever other threads had just been about to do to
// them; locks that other threads held hold nobody up. How it is done: step.h.
#include "step_jobs.h"

#if !STEP_IS_POSSIBLE
STEP_SKIPS
#else

// ---- the child -------------------------------------------------------------------------------

#define NEEDS(what, kind)                                                                      \
    do {                                                                                       \
        if (!(what))                                                                           \
            found(kind, "not so: %s (in the child, reason %d)", #what, jobswitch_last_error()); \
    } while (0)

static bool child_has_no_parent; // who takes part

static void meet(int phase)
{
    if (child_has_no_parent)
        return;
    set(page->phase, phase);
    while (page->phase == phase)
        futex_wait(page->phase, phase, 1000);
}

static bool waits_for_descriptor; // what is held asks for the first time, for w.slow[0]

// With the parent, which does its part in converse(). Each has its own descriptors.
static void child_apart_from_parent()
{
    page->doing = "what was woken before the fork";
    take_all();
    jobswitch_clear_wake(w.with_fd);
    NEEDS(jobswitch_get_wait_fd(w.with_fd) == w.fd, "child: another descriptor's number");
    if (w.ready_fd >= 0) {
        NEEDS(jobswitch_get_ready_fd() == w.ready_fd, "child: another descriptor's number");
        take_all();
        NEEDS(!raw_readable(w.ready_fd), "child: the ring does not rest");
    }
    NEEDS(!raw_readable(w.fd), "child: a wait descriptor stays readable");
    page->doing = "the parent";
    meet(1);
    // The parent has woken two.
    NEEDS(w.ready_fd < 0 || !raw_readable(w.ready_fd), "child: a wake in the parent is seen");
    NEEDS(!raw_readable(w.fd), "child: a wake in the parent is seen");
    w.told[0] = w.told[1] = 0;
    jobswitch_wake(w.others[1]);
    jobswitch_wake(w.with_fd);
    NEEDS(w.ready_fd < 0 || raw_readable(w.ready_fd), "child: the ready descriptor does not tell");
    NEEDS(raw_readable(w.fd), "child: the wait descriptor does not tell");
    meet(3);
    // The parent has taken and cleared all.
    NEEDS(w.ready_fd < 0 || raw_readable(w.ready_fd), "child: a take in the parent is seen");
    NEEDS(raw_readable(w.fd), "child: a clear in the parent is seen");
    take_all();
    NEEDS(w.told[1] == 1, "child: a wake is lost");
    NEEDS(w.told[0] == 0, "child: a wake in the parent is seen");
    NEEDS(w.ready_fd < 0 || !raw_readable(w.ready_fd), "child: the ring does not rest");
    jobswitch_clear_wake(w.with_fd);
    NEEDS(!raw_readable(w.fd), "child: a wait descriptor stays readable");
    page->phase = 5;
}

// The job that the held thread was about to wake, or to ask.
static void child_goes_on_with_slow()
{
    page->doing = "the job of the second held thread";
    if (w.slow_fd[1] < 0) {
        jobswitch_clear_wake(w.slow[1]);
        take_all();
        w.told_slow[1] = 0;
        jobswitch_wake(w.slow[1]);
        take_all();
        NEEDS(w.told_slow[1] == 1, "child: a wake is lost");
    }
    page->doing = "the job of the held thread";
    int &fd = w.slow_fd[0];
    if (waits_for_descriptor)
        NEEDS((fd = jobswitch_get_wait_fd(w.slow[0])) >= 0, "child: no wait descriptor");
    if (fd >= 0)
        NEEDS(jobswitch_get_wait_fd(w.slow[0]) == fd, "child: another descriptor's number");
    for (int i = 0; i < 2; i++) {
        jobswitch_clear_wake(w.slow[0]);
        NEEDS(fd < 0 || !raw_readable(fd), "child: a wait descriptor stays readable");
        take_all();
        w.told_slow[0] = 0;
        jobswitch_wake(w.slow[0]);
        NEEDS(fd < 0 || raw_readable(fd), "child: the wait descriptor does not tell");
        take_all();
        NEEDS(fd >= 0 || w.told_slow[0] == 1, "child: a wake is lost");
    }
    page->doing = "the next jobs in its block";
    for (int i = 0; i < 3; i++) {
        finish(w.slow[0]);
        begin(w.slow[0]);
        w.told_slow[0] = 0;
        if (i == 1) {
            NEEDS((fd = jobswitch_get_wait_fd(w.slow[0])) >= 0, "child: no wait descriptor");
            NEEDS(!raw_readable(fd), "child: a late wake comes to another job");
        }
        take_all();
        NEEDS(w.told_slow[0] == 0, "child: a late wake comes to another job");
        jobswitch_wake(w.slow[0]);
        take_all();
        NEEDS(i == 1 ? raw_readable(fd) : w.told_slow[0] == 1, "child: a wake is lost");
    }
    fd = -1;
}

static void *child_thread(void *)
{
    jobswitch_wake(w.others[2]);
    jobswitch_job *job;
    begin(job);
    wait_fd(job);
    finish(job);
    return nullptr;
}

static void child_uses_all()
{
    page->doing = "jobswitch_wait_ready";
    jobswitch_job *jobs[8];
    take_all();
    NEEDS(jobswitch_wait_ready(jobs, 8, 500000) == 0, "child: told without a wake");
    page->doing = "a deadline";
    pause_until_ns = uint64_t(now_ms() + 1) * 1000000;
    resume(w.others[3]);
    NEEDS(jobswitch_wait_ready(jobs, 8, 2000000000) == 1 && jobs[0] == w.others[3],
          "child: a deadline is lost");
    page->doing = "ends of jobs";
    int ret;
    NEEDS(jobswitch_cancel_job(&w.others[4], &ret) == JOBSWITCH_FINISH, "child: no cancel");
    NEEDS(jobswitch_discard_job(&w.others[5]), "child: no discard");
    finish(w.others[6]);
    page->doing = "many new jobs";
    constexpr int count = 140; // more than fit one chunk of blocks
    static jobswitch_job *many[count];
    if (page->place % 8 == 0) { // it is long
        for (jobswitch_job *&job : many)
            begin(job);
        for (jobswitch_job *job : many)
            jobswitch_wake(job);
        w.strange = 0;
        take_all();
        NEEDS(w.strange == count, "child: a wake is lost");
        for (jobswitch_job *&job : many)
            finish(job);
    }
    page->doing = "keys";
    use_key();
    page->doing = "jobswitch_trim_thread";
    jobswitch_trim_thread(0);
    page->doing = "a thread of the child";
    w.told[2] = 0;
    pthread_t thread;
    NEEDS(pthread_create(&thread, nullptr, child_thread, nullptr) == 0, "child: no thread");
    pthread_join(thread, nullptr);
    take_all();
    NEEDS(w.told[2] == 1, "child: a wake is lost");
}

static int count_own()
{
    jobswitch_stats stats = JOBSWITCH_STATS_INIT;
    NEEDS(jobswitch_get_stats(&stats), "child: no stats");
    return int(stats.descriptors_open);
}

// foreign: how many descriptors are open that are not this thread's.
static void child_cleans_up(int foreign)
{
    page->doing = "jobswitch_cleanup_thread";
    jobswitch_cleanup_thread();
    NEEDS(!is_open(w.fd), "child: a descriptor is left open");
    NEEDS(w.ready_fd < 0 || !is_open(w.ready_fd), "child: a descriptor is left open");
    // One may have been made by a thread that is no more, and had not told of it yet.
    const int left = count_open() - foreign;
    NEEDS(left <= waits_for_descriptor, "child: a descriptor is left open");
    page->doing = "a job after the clean-up";
    set_up_least();
    w.ready_fd = jobswitch_get_ready_fd();
    take_all();
    wake_others(0, w.count);
    NEEDS(raw_readable(w.ready_fd), "child: the ready descriptor does not tell");
    take_all();
    check_others(0, w.count, "in the child, after a clean-up");
    jobswitch_cleanup_thread();
}

// What the child of a fork is to show. Where its thread has no jobs of its own, it starts some.
enum : int { comes_apart, goes_on };
static int child_shows;

[[noreturn]] static void child_main(bool own)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGALRM, SIG_DFL);
    alarm(unsigned(deadline_ms / 1000 + 1));
    int foreign;
    if (own) {
        page->doing = "jobswitch_get_stats";
        foreign = count_open() - count_own();
        if (!w.slow[0])
            begin(w.slow[0]);
        if (child_shows == comes_apart) {
            child_apart_from_parent();
            _exit(0);
        }
        page->doing = "what was woken before the fork";
        forget_told();
        jobswitch_clear_wake(w.with_fd);
    } else {
        // Another thread's jobs: nothing comes of it, and nobody hangs.
        page->doing = "jobs of other threads";
        meet(1);
        jobswitch_wake(w.with_fd);
        jobswitch_wake(w.others[0]);
        jobswitch_clear_wake(w.others[0]);
        page->doing = "the first jobs of this thread";
        foreign = count_open();
        set_up_least();
        w.ready_fd = jobswitch_get_ready_fd();
    }
    child_goes_on_with_slow();
    child_uses_all();
    child_cleans_up(foreign);
    _exit(0);
}

// ---- its parent ------------------------------------------------------------------------------

static pid_t child_pid;
static void fork_here()
{
    child_pid = fork();
    if (child_pid == 0)
        child_main(true);
}

static bool child_is_done()
{
    if (child_pid <= 0)
        return true;
    int status;
    if (waitpid(child_pid, &status, WNOHANG) != child_pid)
        return false;
    child_pid = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        found("child: it hangs", "in: %s", page->doing);
    if (WIFSIGNALED(status))
        found("child: it is killed", "by signal %d, in: %s", WTERMSIG(status), page->doing);
    if (WEXITSTATUS(status) == has_found)
        _exit(has_found); // it has said what
    return true;
}

static void await_phase(int phase)
{
    for (long end = now_ms() + 2 * deadline_ms; page->phase < phase;) {
        if (child_is_done() || now_ms() > end)
            found("child: it hangs", "before phase %d, in: %s", phase, page->doing);
        futex_wait(page->phase, page->phase, 1);
    }
}

static void await_child()
{
    for (long end = now_ms() + 3 * deadline_ms; !child_is_done(); sched_yield())
        if (now_ms() > end)
            found("child: it hangs", "in: %s", page->doing);
}

// The parent's part of child_apart_from_parent(). exact: nobody else wakes meanwhile.
static void converse(bool exact, bool owner_is_free, bool ready_before, bool fd_before)
{
    auto ready_now = [] { return w.ready_fd >= 0 && raw_readable(w.ready_fd); };
    await_phase(1);
    if (exact && (ready_now() != ready_before || raw_readable(w.fd) != fd_before))
        found("child: its takes and clears are seen in the parent", "ready %d, wait fd %d",
              ready_now(), raw_readable(w.fd));
    w.told[0] = w.told[1] = 0;
    jobswitch_wake(w.others[0]);
    jobswitch_wake(w.with_fd);
    set(page->phase, 2);
    await_phase(3);
    if (!raw_readable(w.fd))
        found("the wait descriptor does not tell", "in the parent, after a fork");
    if (owner_is_free) {
        on(owner, "jobswitch_take_ready", take_all);
        if (w.told[0] != 1)
            found("a wake of another job is lost or late", "in the parent, after a fork");
        if (w.told[1])
            found("child: a wake in the child is seen in the parent", "it is told");
    }
    jobswitch_clear_wake(w.with_fd);
    if (raw_readable(w.fd))
        found("child: a wake in the child is seen in the parent", "by a wait descriptor");
    if (exact && owner_is_free && ready_now())
        found("child: a wake in the child is seen in the parent", "by the ready descriptor");
    set(page->phase, 4);
}

// ---- rounds ----------------------------------------------------------------------------------

// The owner forks while holders are held. A fork may wait a moment for them.
static void fork_owner()
{
    page->phase = 0;
    const bool ready_before = w.ready_fd >= 0 && raw_readable(w.ready_fd);
    const bool fd_before = raw_readable(w.fd);
    static auto act_now = fork_here;
    owner.is_stepped = false;
    ask(owner, "fork", act_now);
    const bool freely = await_for(owner, moment_ms);
    if (!freely) {
        release_all();
        await(owner);
    }
    if (child_shows == comes_apart)
        converse(freely, true, ready_before, fd_before);
    await_child();
}

static void forked_waker_round(const waker &o, unsigned place)
{
    constexpr unsigned further = 7; // where a second one is held, if it takes no lock
    const unsigned count = o.traits & asks ? 1 : 2;
    prepare(o);
    waits_for_descriptor = (o.traits & asks) && !(o.traits & has_fd);
    hold_waker(0, place);
    if (!place)
        page->places = holders[0].places;
    if (count == 2)
        hold_waker(1, place ? place + further : 0);
    fork_owner();
    finish_holders(count);
    for (unsigned i = 0; i < count; i++)
        w.told_slow[i] = w.told_slow[i] > 0;
    verify(count);
}

// Whatever takes a lock, by another thread with jobs of its own.
static void forked_lock_round(const own_call &c, unsigned place)
{
    actor &a = holders[0];
    static void (*run)();
    run = c.run;
    leave(a);
    join(a);
    create(a);
    on(a, "preparing", c.prepare);
    on(owner, "preparing", [] {
        finish(w.slow[0]);
        begin(w.slow[0]);
        forget_told();
    });
    waits_for_descriptor = false;
    a.leaves = c.traits & leaves;
    hold(a, c.name, place, run);
    if (!place)
        page->places = a.places;
    fork_owner();
    release(a);
    await(a);
    if (c.traits & leaves) {
        join(a);
        create(a);
    }
    use_from_a_new_thread();
    check_rest("after a fork");
}

// The held thread is the one that forks, in a signal handler.
static void fork_in_handler(actor &a, bool own)
{
    bool ready_before = w.ready_fd >= 0 && raw_readable(w.ready_fd);
    const bool fd_before = raw_readable(w.fd);
    child_pid = a.child;
    if (own) {
        if (child_shows == comes_apart)
            converse(false, false, ready_before, fd_before);
        await_child();
    } else {
        // The held wake has come to its end in the child. What it did is done here, too.
        await_phase(1);
        ready_before = w.ready_fd >= 0 && raw_readable(w.ready_fd);
        set(page->phase, 2);
        await_child();
        // (An owner that has just been woken goes on by itself.)
        const bool exact = child_shows == comes_apart && !(now->traits & asleep);
        if (exact && w.ready_fd >= 0 && raw_readable(w.ready_fd) != ready_before)
            found("child: a wake of another thread's job is seen in the parent",
                  "by the ready descriptor");
        if (exact && raw_readable(w.fd) != fd_before)
            found("child: a wake of another thread's job is seen in the parent",
                  "by a wait descriptor");
    }
}

static void forking_waker_round(const waker &o, unsigned place)
{
    prepare(o);
    waits_for_descriptor = false;
    actor &a = holders[0];
    a.forks = true;
    page->phase = 0;
    if (hold_waker(0, place))
        fork_in_handler(a, false);
    a.forks = false;
    if (!place)
        page->places = a.places;
    awaken("after a fork");
    finish_holders(1);
    verify(1);
}

static void forking_owner_round(const owner_call &c, unsigned place)
{
    prepare_owner(c);
    waits_for_descriptor = false;
    owner.forks = true;
    page->phase = 0;
    if (hold_owner(c, place))
        fork_in_handler(owner, true);
    owner.forks = false;
    wake_from_outside(c);
    release(owner);
    await(owner);
    if (!place)
        page->places = owner.places;
    check_woken_from_outside(c);
}

// The first use of the process, by two threads at once.
static void forked_first_round(unsigned place)
{
    static void (*run)() = [] { begin(mine.jobs[0]); };
    actor &a = holders[0];
    hold(a, "the first start of all", place, run);
    if (!place)
        page->places = a.places;
    waits_for_descriptor = false;
    on_released(owner, "fork", [] {
        child_pid = fork();
        if (child_pid == 0) {
            w = {};
            child_has_no_parent = true;
            child_main(false);
        }
    });
    await_child();
    release(a);
    await(a);
    on(owner, "the first jobs of this thread", set_up_few);
    check_rest("after a fork");
}

// ---- the tests -------------------------------------------------------------------------------

// How long a case may take.
static constexpr long short_ms = 200, long_ms = 800;
static constexpr unsigned rounds_least = 12; // more than a wake has atomic instructions
static long budget_of(const waker &o) { return o.traits & core ? long_ms : short_ms; }

template <int shown> static void a_fork_beside_a_held_waker(void **)
{
    child_shows = shown;
    for (const waker &o : wakers)
        if (!(o.traits & asleep))
            run_case(o.name, "the owner forks", {set_up_few, budget_of(o), rounds_least},
                     [&](unsigned place) { forked_waker_round(o, place); });
    conclude();
}

static void a_fork_beside_a_held_lock(void **)
{
    child_shows = goes_on;
    for (const own_call &c : own_calls)
        if (c.traits & locks)
            run_case(c.name, "another thread forks", {set_up_few, long_ms, 2},
                     [&](unsigned place) { forked_lock_round(c, place); });
    run_case("the first start of all", "another thread forks", {nullptr, long_ms, 2, true},
             forked_first_round);
    conclude();
}

template <int shown> static void a_fork_in_the_middle_of_a_wake(void **)
{
    child_shows = shown;
    for (const waker &o : wakers)
        if (!(o.traits & asks))
            run_case(o.name, "its thread forks", {set_up_few, budget_of(o), rounds_least},
                     [&](unsigned place) { forking_waker_round(o, place); });
    conclude();
}

template <int shown> static void a_fork_in_the_middle_of_a_call(void **)
{
    child_shows = shown;
    for (const owner_call &c : owner_calls)
        if (c.traits & forkable)
            run_case(c.name, "the owner forks in it", {set_up_few, short_ms, 2},
                     [&](unsigned place) { forking_owner_round(c, place); });
    conclude();
}

static int set_up_forks(void **state)
{
    go_on_in_child = [](actor &a) { child_main(&a == &owner); };
    return set_up_steps(state);
}

static const CMUnitTest tests[] = {
    cmocka_unit_test(a_fork_beside_a_held_waker<goes_on>),
    cmocka_unit_test(a_fork_beside_a_held_waker<comes_apart>),
    cmocka_unit_test(a_fork_beside_a_held_lock),
    cmocka_unit_test(a_fork_in_the_middle_of_a_wake<goes_on>),
    cmocka_unit_test(a_fork_in_the_middle_of_a_wake<comes_apart>),
    cmocka_unit_test(a_fork_in_the_middle_of_a_call<goes_on>),
    cmocka_unit_test(a_fork_in_the_middle_of_a_call<comes_apart>),
};
STEP_MAIN("step_fork", tests, set_up_forks)

#endif
