// SPDX-License-Identifier: Apache-2.0
//
// A thread with a pending cancellation calls the library, or is cancelled while it is held at
// an instruction of a call. A cancellation never acts inside the library: no wake is lost, no
// descriptor is left open, no lock stays locked, and the call returns. How it is done: step.h.
#include "step_jobs.h"

#if !STEP_IS_POSSIBLE
STEP_SKIPS
#else

// A cancellation is pending when the call begins (place 0), or comes at the place.
static void end_cancelled(actor &a, const char *name, unsigned place, void (*&run)())
{
    a.cancellable = !a.leaves;
    if (!place) {
        pthread_cancel(a.thread);
        a.is_stepped = false;
        ask(a, name, run);
    } else {
        const bool is_held = hold(a, name, place, run);
        pthread_cancel(a.thread);
        release(a);
        if (!is_held && !a.leaves) // it had been done before
            leave(a);
    }
    join(a);
}

template <class F>
static void count_places(actor &a, const char *name, F &run)
{
    hold(a, name, 0, run);
    page->places = a.places;
}

static void cancelled_waker_round(const waker &o, unsigned place)
{
    actor &a = holders[0];
    static void (*run)() = [] { act_as_waker(*self); };
    if (!place) {
        prepare(o);
        count_places(a, o.name, run);
        awaken("after an ordinary call");
    }
    leave(a);
    join(a);
    prepare(o);
    create(a);
    end_cancelled(a, o.name, place, run);
    const bool came_back = a.came_back;
    awaken("after a waker was cancelled");
    if (came_back && (o.traits & asks))
        w.slow_fd[0] = a.answer;
    else if (o.traits & asks)
        on(owner, "jobswitch_get_wait_fd", [] { w.slow_fd[0] = wait_fd(w.slow[0]); });
    create(a);
    verify(1);
    check_rest("after a waker was cancelled");
    check_nothing_is_open();
    if (!came_back)
        found("a cancellation acts inside the library", "the call does not return");
}

static void cancelled_own_round(const own_call &c, unsigned place)
{
    actor &a = holders[0];
    static void (*run)();
    run = c.run;
    if (!place && !(c.traits & leaves)) {
        on(a, "preparing", c.prepare);
        count_places(a, c.name, run);
    }
    leave(a);
    join(a);
    const int open_others = count_open();
    create(a);
    on(a, "preparing", c.prepare);
    if (!place && (c.traits & leaves)) {
        a.leaves = true;
        count_places(a, c.name, run);
        join(a);
        create(a);
        on(a, "preparing", c.prepare);
    }
    a.leaves = c.traits & leaves;
    end_cancelled(a, c.name, place, run);
    const bool came_back = a.came_back;
    create(a);
    use_from_a_new_thread();
    if (count_open() != open_others)
        found("a descriptor is left open", "%d by a thread that was cancelled",
              count_open() - open_others);
    if (!came_back)
        found("a cancellation acts inside the library", "the call does not return");
}

// How long a case may take.
static constexpr long short_ms = 100;

static void a_cancellation_waits_for_the_end_of_a_call(void **)
{
    for (const waker &o : wakers)
        run_case(o.name, "cancellation", {set_up_few, 2 * short_ms, 12},
                 [&](unsigned place) { cancelled_waker_round(o, place); });
    for (const own_call &c : own_calls)
        run_case(c.name, "cancellation", {set_up_few, short_ms, 2},
                 [&](unsigned place) { cancelled_own_round(c, place); });
    conclude();
}

static const CMUnitTest tests[] = {
    cmocka_unit_test(a_cancellation_waits_for_the_end_of_a_call),
};
STEP_MAIN("step_cancel", tests, set_up_steps)

#endif
