// SPDX-License-Identifier: Apache-2.0
//
// A thread is held at every single instruction of a wake, and of whatever else can go on beside
// one, while others go on. No wake may be lost or late but that of the held waker, no job may be
// told that nobody woke, the ring comes to rest, and nobody hangs. How it is done, and the
// environment: step.h.
#include "step_jobs.h"

#if !STEP_IS_POSSIBLE
STEP_SKIPS
#else

// ---- wakers that are held: what goes on meanwhile ----------------------------------------------

struct scenario {
    const char *name;
    void (*meanwhile)(unsigned place);
    unsigned for_traits; // of an operation, any of them
    unsigned not_for = 0;
    unsigned holders = 1; // in all; all but the first are held by meanwhile
    bool fresh = false;   // each round needs a process of its own
    void (*after)() = nullptr;
};

static void go_on_and_rest(unsigned)
{
    awaken("while a waker is held");
    wake_others(0, 5);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 5, "while a waker is held");
    check_rest("while a waker is held");
}

template <unsigned rounds> static void go_round(unsigned)
{
    awaken("before laps");
    on(owner, "wakes and takes", [] { lap(rounds); });
    wake_others(0, 60);
    finish_holders(1);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 60, "woken after laps, taken after the release");
}

template <unsigned rounds_before> static void go_on_growing(unsigned)
{
    awaken("before growth");
    if (rounds_before)
        on(owner, "wakes and takes", [] {
            lap(rounds_before);
            lap(1); // over the place where the ticket's mark comes again
        });
    for (unsigned jobs = 600; jobs <= 2700; jobs *= 2) {
        on(owner, "jobswitch_init_thread", [jobs] { grow(jobs); });
        wake_others(0, 60);
        on(owner, "jobswitch_take_ready", take_all);
        check_others(0, 60, "after growth");
        on(owner, "wakes and takes", [] { lap(2); });
    }
    wake_others(0, 60);
    finish_holders(1);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 60, "woken after growth, taken after the release");
}

// Every way out, and the next job has the same block.
static void end_and_begin(unsigned)
{
    awaken("before the job ends");
    for (int way = 0; way < 4; way++) {
        auto end = [way] {
            int ret;
            w.told_slow[0] = 0;
            if (way == 0)
                finish(w.slow[0]);
            else if (way == 1 && jobswitch_cancel_job(&w.slow[0], &ret) != JOBSWITCH_FINISH)
                found("a job cannot be cancelled", "reason %d", jobswitch_last_error());
            else if (way == 2 && !jobswitch_discard_job(&w.slow[0]))
                found("a job cannot be discarded", "reason %d", jobswitch_last_error());
            else if (way == 3)
                finish(w.slow[0]);
            begin(w.slow[0]);
            w.slow_fd[0] = now->traits & has_fd ? wait_fd(w.slow[0]) : -1;
        };
        if (now->traits & asks)
            on_released(owner, "the end of a job", end);
        else
            on(owner, "the end of a job", end);
        renewed = true;
        if (w.slow_fd[0] >= 0 && raw_readable(w.slow_fd[0]))
            found("a late wake comes to another job", "by its wait descriptor");
        on(owner, "jobswitch_take_ready", take_all);
        if (w.told_slow[0])
            found("a late wake comes to another job", "the next job of the block is told");
        if (way < 3) {
            jobswitch_wake(w.slow[0]);
            on(owner, "jobswitch_take_ready", take_all);
            const bool told = w.slow_fd[0] >= 0 ? raw_readable(w.slow_fd[0]) : w.told_slow[0];
            if (!told)
                found("the next job of the block waits for a held waker", "number %d of them",
                      way + 1);
        }
    }
    finish_holders(1);
    on(owner, "jobswitch_take_ready", take_all);
    if (w.told_slow[0] || (w.slow_fd[0] >= 0 && raw_readable(w.slow_fd[0])))
        found("a late wake comes to another job", "after the release");
}

static void set_up_again(void (*end)(), const char *what)
{
    awaken("before the end of all jobs");
    if (now->traits & asks)
        on_released(owner, what, end);
    else
        on(owner, what, end);
    renewed = true;
}

static void use_anew(const char *when)
{
    const unsigned count = w.count;
    on(owner, "new jobs", [count] {
        set_up(count);
        if (now->traits & has_fd)
            w.slow_fd[0] = wait_fd(w.slow[0]);
        if (now->traits & rests)
            w.ready_fd = jobswitch_get_ready_fd();
        take_all();
        check_others(0, 0, "nobody has been woken");
    });
    for (unsigned i = 0; i < w.count; i++)
        if (w.told[i])
            found("a late wake comes to another job", "%s", when);
    check_rest(when);
    wake_others(0, w.count);
    for (jobswitch_job *job : w.slow)
        jobswitch_wake(job);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, w.count, when);
    for (unsigned i = 0; i < holders_most; i++)
        if (!(w.slow_fd[i] >= 0 && i == 0 ? raw_readable(w.slow_fd[0]) : w.told_slow[i]))
            found("the next job of the block waits for a held waker", "%s", when);
    jobswitch_clear_wake(w.slow[0]);
    finish_holders(1);
    memset(w.told, 0, sizeof w.told);
    memset(w.told_slow, 0, sizeof w.told_slow);
    on(owner, "jobswitch_take_ready", take_all);
    for (unsigned i = 0; i < w.count + holders_most; i++)
        if (i < w.count ? w.told[i] : w.told_slow[i - w.count])
            found("a late wake comes to another job", "after the release, %s", when);
    if (w.slow_fd[0] >= 0 && raw_readable(w.slow_fd[0]))
        found("a late wake comes to another job", "by its wait descriptor, %s", when);
}

static void clean_up_and_begin(unsigned)
{
    set_up_again([] { jobswitch_cleanup_thread(); }, "jobswitch_cleanup_thread");
    use_anew("after a clean-up");
}

static void end_thread_and_begin(unsigned)
{
    awaken("before the owner's end");
    leave(owner);
    if (!await_for(owner, now->traits & asks ? moment_ms : deadline_ms)) {
        if (!(now->traits & asks))
            hangs(owner);
        release_all();
    }
    join(owner);
    create(owner);
    renewed = true;
    use_anew("after the end of the owner");
}

// The same job: its own wake may be late, but is told in the end.
static void wake_it_as_well(unsigned)
{
    awaken("before a second wake");
    jobswitch_wake(target[0]);
    woken_too = true;
    wake_others(0, 5);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 5, "behind a second wake");
}

static void ask_for_its_descriptor(unsigned)
{
    awaken("before the descriptor is asked for");
    on(owner, "jobswitch_take_ready", take_all);
    on_released(owner, "jobswitch_get_wait_fd", [] { w.slow_fd[0] = wait_fd(w.slow[0]); });
    wake_others(0, 5);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 5, "with a new wait descriptor");
}

static void clear_it(unsigned)
{
    awaken("before a clear");
    jobswitch_clear_wake(target[0]);
    wake_others(0, 5);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 5, "behind a clear");
    finish_holders(1);
    on(owner, "jobswitch_take_ready", take_all);
    // Which of the two was first is open: its wake may have been taken back.
    check_tells(w.slow[0], w.slow_fd[0], w.told_slow[0], "after a clear");
    renewed = true;
}

// Each wakes a job of its own, or all the same, at this place or one after the other.
template <bool one_job, bool in_a_row> static void hold_several(unsigned place)
{
    if (one_job)
        for (jobswitch_job *&job : target)
            job = target[0];
    awaken("while one of several is held");
    for (unsigned i = 1; i < holders_most; i++)
        hold_waker(i, !place ? 0 : in_a_row ? place + i : place);
    go_on_and_rest(place);
    on(owner, "wakes and takes", [] { lap(1); });
    wake_others(0, 60);
    for (unsigned i = 0; i < holders_most; i++) {
        unsigned next = place % 2 ? i : holders_most - 1 - i;
        release(holders[next]);
        await(holders[next]);
    }
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 60, "behind several held wakers");
    for (unsigned i = 0; i < holders_most; i++)
        if (one_job ? i == 0 && !w.told_slow[0] : w.told_slow[i] != 1)
            found("the held thread's job is not told", "waker %u of several, told %u times", i,
                  w.told_slow[i]);
    renewed = true;
}

static const scenario rest_scenarios[] = {
    {"others are woken, the ring rests", go_on_and_rest, wakes | clears | asks},
    {"a second wake of the job", wake_it_as_well, wakes | clears | asks},
    {"its descriptor is asked for", ask_for_its_descriptor, wakes, has_fd},
    {"it is cleared", clear_it, wakes | clears | asks, has_fd},
};
static const scenario lap_scenarios[] = {
    {"one lap", go_round<1>, wakes, has_fd},
    {"two laps", go_round<2>, wakes, has_fd},
    {"255 laps", go_round<255>, wakes, has_fd | asleep | woken},
    {"256 laps", go_round<256>, wakes, has_fd | asleep | woken | rests},
    {"257 laps", go_round<257>, wakes, has_fd | asleep | woken | rests},
};
static const scenario growth_scenarios[] = {
    {"the ring grows", go_on_growing<0>, wakes, has_fd | asleep | woken, 1, true},
    {"255 laps, and the ring grows", go_on_growing<255>, wakes, has_fd | asleep | woken | rests, 1,
     true},
};
static const scenario end_scenarios[] = {
    {"the job ends, its block goes on", end_and_begin, wakes | clears | asks},
    {"the owner cleans up", clean_up_and_begin, wakes | clears | asks, 0, 1, false,
     check_nothing_is_open},
    {"the owner ends, its record goes on", end_thread_and_begin, wakes | clears | asks, 0, 1,
     false, check_nothing_is_open},
};
static const scenario several_scenarios[] = {
    {"five are held", hold_several<false, false>, wakes, has_fd | woken, holders_most},
    {"five are held in a row", hold_several<false, true>, wakes, has_fd | woken | asleep,
     holders_most},
    {"five wake one job", hold_several<true, false>, wakes, has_fd | woken | asleep,
     holders_most},
};

static void waker_round(const waker &o, const scenario &s, unsigned place)
{
    prepare(o);
    hold_waker(0, place);
    if (!place)
        page->places = holders[0].places;
    s.meanwhile(place);
    finish_holders(s.holders);
    verify(1);
    if (s.after)
        s.after();
}

// ---- the owner is held ------------------------------------------------------------------------

static void owner_round(const owner_call &c, unsigned place)
{
    prepare_owner(c);
    hold_owner(c, place);
    wake_from_outside(c);
    const jobswitch_job *asked = w.others[woken_meanwhile() + 4];
    auto ask_for_fd = [asked] {
        self->answer = jobswitch_get_wait_fd(const_cast<jobswitch_job *>(asked));
    };
    holders[0].is_stepped = false;
    ask(holders[0], "jobswitch_get_wait_fd", ask_for_fd);
    await_for(holders[0], moment_ms);
    release(owner);
    await(owner);
    if (!place)
        page->places = owner.places;
    await(holders[0]);
    if (!(c.traits & ends)) {
        if (holders[0].answer < 0)
            found("no wait descriptor", "for another thread");
        return check_woken_from_outside(c);
    }
    if (c.traits & leaves) {
        join(owner);
        create(owner);
    }
    const unsigned count = w.count;
    on(owner, "new jobs", [count] {
        set_up(count);
        w.ready_fd = jobswitch_get_ready_fd();
        take_all();
        for (unsigned told : w.told)
            if (told)
                found("a late wake comes to another job", "after the end");
    });
    check_rest("after the end");
    wake_others(0, count);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, count, "after the end");
    on(owner, "jobswitch_cleanup_thread", clean_up);
    if (count_open() != open_before)
        found("a descriptor is left open", "%d after all has been cleaned up",
              count_open() - open_before);
    on(owner, "new jobs", [count] { set_up(count); });
}

// ---- a job that runs is woken ------------------------------------------------------------------

static void sleep_in_job()
{
    jobswitch_job *jobs[8];
    size_t count;
    take_all();
    while ((count = jobswitch_wait_ready(jobs, 8, 60 * 1000000000ll)) == 0)
        ;
    for (size_t i = 0; i < count; i++)
        tell(jobs[i]);
    take_all();
    check_descriptor_rests("in a job that is woken");
}

enum : int { by_itself = 1, by_another = 2, in_nested = 4 };
static int running_how;

static int nested_sleeper(void *)
{
    sleep_in_job();
    jobswitch_pause_job();
    return 7;
}

static int running_and_woken(void *)
{
    w.slow[0] = jobswitch_get_current_job();
    if (running_how & by_itself)
        jobswitch_wake(w.slow[0]);
    if (running_how & in_nested)
        begin(w.slow[1], nested_sleeper);
    else
        sleep_in_job();
    jobswitch_pause_job();
    return 7;
}

static void running_round(int how)
{
    running_how = how;
    auto run = [] {
        w.ready_fd = jobswitch_get_ready_fd();
        finish(w.slow[0]);
        finish(w.slow[1]);
        forget_told();
        begin(w.slow[0], running_and_woken);
    };
    owner.is_stepped = false;
    ask(owner, "jobswitch_wait_ready in a job", run);
    auto await_sleep = [] {
        for (long end = now_ms() + deadline_ms; !lies_still(owner);)
            if (now_ms() > end)
                found("the thread spins", "in jobswitch_wait_ready, in a job that is woken");
    };
    await_sleep();
    if (running_how & by_another) {
        jobswitch_wake(w.slow[0]);
        await_sleep();
        jobswitch_wake(w.slow[0]);
        await_sleep();
    }
    if (owner.state != busy)
        found("told without a wake", "a job that runs");
    wake_others(0, 1);
    if (!await_for(owner, deadline_ms))
        found("the owner is not woken up", "it sleeps in a job that is woken");
    if (w.told_slow[0])
        found("told without a wake", "a job that runs");
    if (!raw_readable(w.ready_fd))
        found("the owner is not woken up", "a job that was woken as it ran has paused");
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 1, "while a job that is woken runs");
    if (w.told_slow[0] != 1)
        found("the woken job is not told", "it was running; told %u times", w.told_slow[0]);
    check_tells(w.slow[0], -1, w.told_slow[0], "after it ran");
    if (how & in_nested)
        check_tells(w.slow[1], -1, w.told_slow[1], "after it ran");
    check_rest("after it ran");
}

// ---- the tests --------------------------------------------------------------------------------

// How long a case may take. The last is enough for all places of a wake, in release.
static constexpr long short_ms = 100, long_ms = 400, all_ms = 5000;
static constexpr unsigned rounds_least = 12; // more than a wake has atomic instructions

// all: for those operations that most depends on.
static void run_wakers(const scenario &s, bool all, long budget_ms = short_ms)
{
    for (const waker &o : wakers)
        if ((o.traits & s.for_traits) && !(o.traits & s.not_for))
            run_case(o.name, s.name,
                     {s.after ? set_up_few : set_up_all,
                      all && (o.traits & core) ? all_ms : budget_ms, rounds_least, s.fresh},
                     [&](unsigned place) { waker_round(o, s, place); });
}

static void others_are_told_and_the_ring_rests(void **)
{
    for (const scenario &s : rest_scenarios)
        run_wakers(s, &s == rest_scenarios);
    conclude();
}

static void laps_overwrite_nothing(void **)
{
    for (const scenario &s : lap_scenarios)
        run_wakers(s, &s == lap_scenarios + 1, 2 * short_ms);
    conclude();
}

static void growth_loses_nothing(void **)
{
    for (const scenario &s : growth_scenarios)
        run_wakers(s, false, long_ms);
    conclude();
}

static void blocks_and_records_go_on(void **)
{
    for (const scenario &s : end_scenarios)
        run_wakers(s, &s == end_scenarios);
    conclude();
}

static void several_wakers_are_held(void **)
{
    for (const scenario &s : several_scenarios)
        run_wakers(s, false, long_ms);
    conclude();
}

static void wakes_reach_a_held_owner(void **)
{
    for (const owner_call &c : owner_calls)
        run_case(c.name, "wakes from outside",
                 {c.traits & ends ? set_up_least : set_up_few, 2 * short_ms, 2,
                  bool(c.traits & grows)},
                 [&](unsigned place) { owner_round(c, place); });
    conclude();
}

static void a_woken_job_that_runs_lets_the_thread_sleep(void **)
{
    for (int how : {int(by_itself), int(by_another), by_itself | in_nested,
                    by_another | in_nested})
        run_case(how & in_nested ? "it started a job that waits" : "it waits",
                 how & by_itself ? "it wakes itself" : "another thread wakes it",
                 {set_up_few, 0, 0, false, false},
                 [how](unsigned) { running_round(how); });
    conclude();
}

static const CMUnitTest tests[] = {
    cmocka_unit_test(others_are_told_and_the_ring_rests),
    cmocka_unit_test(laps_overwrite_nothing),
    cmocka_unit_test(growth_loses_nothing),
    cmocka_unit_test(blocks_and_records_go_on),
    cmocka_unit_test(several_wakers_are_held),
    cmocka_unit_test(wakes_reach_a_held_owner),
    cmocka_unit_test(a_woken_job_that_runs_lets_the_thread_sleep),
};
STEP_MAIN("step", tests, set_up_steps)

#endif
