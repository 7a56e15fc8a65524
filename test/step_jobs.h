// SPDX-License-Identifier: Apache-2.0
//
// The jobs of the step_*_test programs, and what is done with them: by the owner, by a waker,
// by a thread with a pool of its own. The threads are those of step.h.
#pragma once

#include "step.h"

#if STEP_IS_POSSIBLE

inline constexpr unsigned others_count = 64;
inline constexpr unsigned ring_slots = 1024; // the smallest capacity

// ---- the owner's jobs -----------------------------------------------------------------------

inline thread_local bool end_next;
inline thread_local uint64_t pause_until_ns; // the next pause; 0: without end

inline int idler(void *)
{
    while (!end_next) {
        uint64_t deadline_ns = pause_until_ns;
        pause_until_ns = 0;
        if (!(deadline_ns ? jobswitch_pause_until(deadline_ns) : jobswitch_pause_job()))
            break; // cancelled
    }
    end_next = false;
    return 7;
}

inline struct {
    jobswitch_job *slow[holders_most]; // what the holders wake
    jobswitch_job *others[others_count];
    jobswitch_job *with_fd;
    unsigned told_slow[holders_most], told[others_count], strange;
    int slow_fd[holders_most], fd, ready_fd;
    unsigned count; // of others
} w;
inline jobswitch_job *target[holders_most]; // w.slow, as the holders know it

// The functions from here on to "the conductor's" are the owner's.

inline void begin(jobswitch_job *&job, int (*function)(void *) = idler)
{
    int ret;
    job = nullptr;
    if (jobswitch_start_job(&job, &ret, function, nullptr, 0) != JOBSWITCH_PAUSE)
        found("a job cannot be started", "reason %d", jobswitch_last_error());
}

inline void finish(jobswitch_job *&job)
{
    int ret = 0;
    end_next = true;
    int answer = jobswitch_start_job(&job, &ret, nullptr, nullptr, 0);
    if (answer != JOBSWITCH_FINISH || ret != 7)
        found("a job cannot be ended", "answer %d, reason %d", answer, jobswitch_last_error());
}

inline int wait_fd(jobswitch_job *job)
{
    int fd = jobswitch_get_wait_fd(job);
    if (fd < 0)
        found("no wait descriptor", "reason %d", jobswitch_last_error());
    return fd;
}

inline void set_up(unsigned count)
{
    w = {};
    w.ready_fd = -1;
    for (int &fd : w.slow_fd)
        fd = -1;
    w.count = count;
    for (jobswitch_job *&job : w.slow)
        begin(job);
    for (unsigned i = 0; i < count; i++)
        begin(w.others[i]);
    begin(w.with_fd);
    w.fd = wait_fd(w.with_fd);
}

inline void set_up_all() { set_up(others_count); }
inline void set_up_few() { set_up(24); }
inline void set_up_least() { set_up(10); }

inline void tell(const jobswitch_job *job)
{
    for (unsigned i = 0; i < w.count; i++)
        if (w.others[i] == job) {
            w.told[i]++;
            return;
        }
    for (unsigned i = 0; i < holders_most; i++)
        if (w.slow[i] == job) {
            w.told_slow[i]++;
            return;
        }
    w.strange++;
}

inline void take_all()
{
    jobswitch_job *jobs[64];
    for (size_t count; (count = jobswitch_take_ready(jobs, 64)) > 0;)
        for (size_t i = 0; i < count; i++)
            tell(jobs[i]);
}

inline void forget_told()
{
    take_all();
    memset(w.told, 0, sizeof w.told);
    memset(w.told_slow, 0, sizeof w.told_slow);
    w.strange = 0;
}

inline void sleep_until_woken()
{
    jobswitch_job *jobs[64];
    size_t count;
    while ((count = jobswitch_wait_ready(jobs, 64, 60 * 1000000000ll)) == 0)
        ;
    for (size_t i = 0; i < count; i++)
        tell(jobs[i]);
}

inline void check_others(unsigned from, unsigned to, const char *when)
{
    for (unsigned i = from; i < to; i++)
        if (w.told[i] == 0)
            found("a wake of another job is lost or late", "job %u of %u..%u is not told, %s", i,
                  from, to, when);
        else if (w.told[i] > 1)
            found("told without a wake", "job %u, %u times, %s", i, w.told[i], when);
    if (w.strange)
        found("what is no job is told", "%u times, %s", w.strange, when);
}

// Own wakes that go round the ring: to where the slots of the holders' tickets come again.
inline void lap(unsigned rounds)
{
    constexpr unsigned batch = 32;
    for (unsigned turn = 0, turns = ring_slots * rounds - batch; turn < turns; turn += batch) {
        for (unsigned i = 0; i < batch; i++) {
            w.told[i] = 0;
            jobswitch_wake(w.others[i]);
        }
        take_all();
        check_others(0, batch, "in laps");
    }
}

inline void grow(unsigned jobs)
{
    if (!jobswitch_init_thread(0, jobs))
        found("no jobs can be made", "reason %d", jobswitch_last_error());
}

// ---- the conductor's ----------------------------------------------------------------------

inline void wake_others(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        w.told[i] = 0;
        jobswitch_wake(w.others[i]);
    }
}

inline void send_to_sleep(const char *when)
{
    static auto sleep = sleep_until_woken;
    owner.is_stepped = false;
    ask(owner, "jobswitch_wait_ready", sleep);
    for (long end = now_ms() + deadline_ms; owner.state == busy && !lies_still(owner);)
        if (now_ms() > end)
            found("the ring does not rest", "the owner does not sleep in jobswitch_wait_ready, %s",
                  when);
}

// By the wake of another job than those of the holders.
inline void wake_up(unsigned other, const char *when)
{
    wake_others(other, other + 1);
    if (!await_for(owner, deadline_ms))
        found("the owner is not woken up", "it sleeps in jobswitch_wait_ready, %s", when);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(other, other + 1, when);
}

inline void check_descriptor_rests(const char *when)
{
    if (w.ready_fd >= 0 && raw_readable(w.ready_fd))
        found("the ring does not rest",
              "the ready descriptor is readable after jobswitch_take_ready() returned 0, %s",
              when);
}

inline void check_rest(const char *when)
{
    on(owner, "jobswitch_take_ready", take_all);
    check_descriptor_rests(when);
    const unsigned one = w.count - 3, another = w.count - 2; // nobody else wakes them
    if (w.ready_fd >= 0) {
        wake_others(one, one + 1);
        if (!raw_readable(w.ready_fd))
            found("the owner is not woken up", "the ready descriptor is not readable, %s", when);
        on(owner, "jobswitch_take_ready", take_all);
        check_others(one, one + 1, when);
        check_descriptor_rests(when);
    }
    send_to_sleep(when);
    wake_up(another, when);
}

// A job that has a wake descriptor or not, woken and told.
inline void check_tells(jobswitch_job *job, int fd, const unsigned &told, const char *when)
{
    jobswitch_clear_wake(job);
    if (fd >= 0 && raw_readable(fd))
        found("a wait descriptor stays readable", "after jobswitch_clear_wake(), %s", when);
    on(owner, "jobswitch_take_ready", take_all);
    const unsigned before = told;
    jobswitch_wake(job);
    if (fd >= 0 && !raw_readable(fd))
        found("the wait descriptor does not tell", "after jobswitch_wake(), %s", when);
    on(owner, "jobswitch_take_ready", take_all);
    if (told - before != (fd < 0))
        found(fd < 0 && told == before ? "the woken job is not told" : "told without a wake",
              "%u times, %s", told - before, when);
    jobswitch_clear_wake(job);
}

inline void check_nothing_is_open()
{
    on(owner, "jobswitch_cleanup_thread", [] { jobswitch_cleanup_thread(); });
    int open_now = count_open();
    if (open_now != open_before)
        found("a descriptor is left open", "%d after all has been cleaned up",
              open_now - open_before);
    const unsigned count = w.count;
    on(owner, "new jobs", [count] { set_up(count); });
}

// ---- wakers that are held: operations --------------------------------------------------------

enum : unsigned {
    wakes = 1,
    clears = 2,
    asks = 4, // for the wait descriptor
    has_fd = 8,
    rests = 16,  // there is a ready descriptor, and it rests
    asleep = 32, // the owner is in jobswitch_wait_ready
    woken = 64,  // before
    core = 128,  // what most depends on
};
struct waker {
    const char *name;
    unsigned traits;
};
inline const waker wakers[] = {
    {"wake", wakes},
    {"wake, ring at rest", wakes | rests | core},
    {"wake, owner asleep", wakes | asleep | core},
    {"wake, owner asleep, ring at rest", wakes | asleep | rests},
    {"wake, woken before", wakes | woken | rests},
    {"wake, wait fd", wakes | has_fd | rests | core},
    {"wake, wait fd, woken before", wakes | has_fd | woken},
    {"clear_wake", clears | woken | rests},
    {"clear_wake, wait fd", clears | woken | has_fd},
    {"get_wait_fd, first", asks},
    {"get_wait_fd, first, woken", asks | woken | rests},
    {"get_wait_fd, again", asks | has_fd},
};

inline const waker *now; // what is held
inline bool renewed;     // w.slow[0] is another job than the one that is held up
inline bool woken_too;   // w.slow[0], by another thread

inline void prepare(const waker &o)
{
    now = &o;
    renewed = woken_too = false;
    on(owner, "preparing", [&o] {
        for (unsigned i = 0; i < holders_most; i++) {
            finish(w.slow[i]);
            begin(w.slow[i]);
            w.slow_fd[i] = o.traits & has_fd ? wait_fd(w.slow[i]) : -1;
        }
        if ((o.traits & rests) && (w.ready_fd = jobswitch_get_ready_fd()) < 0)
            found("no ready descriptor", "reason %d", jobswitch_last_error());
        forget_told();
    });
    check_descriptor_rests("before anything");
    memcpy(target, w.slow, sizeof target);
    if (o.traits & woken)
        jobswitch_wake(target[0]);
    if (o.traits & asleep)
        send_to_sleep("before anything");
}

inline void act_as_waker(actor &a)
{
    jobswitch_job *job = target[a.number];
    if (now->traits & wakes)
        jobswitch_wake(job);
    else if (now->traits & clears)
        jobswitch_clear_wake(job);
    else
        a.answer = jobswitch_get_wait_fd(job);
}

inline bool hold_waker(unsigned number, unsigned place)
{
    static auto act_now = [] { act_as_waker(*self); };
    return hold(holders[number], now->name, place, act_now);
}

// From a sleep that the held waker may have ended already.
inline void awaken(const char *when)
{
    if (now->traits & asleep)
        wake_up(w.count - 1, when);
}

inline void finish_holders(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        release(holders[i]);
        await(holders[i]);
        if ((now->traits & asks) && !renewed) {
            if (holders[i].answer < 0)
                found("no wait descriptor", "for a holder");
            if (w.slow_fd[i] >= 0 && w.slow_fd[i] != holders[i].answer)
                found("another wait descriptor", "%d, not %d", holders[i].answer, w.slow_fd[i]);
            w.slow_fd[i] = holders[i].answer;
        }
    }
}

// After the release: what the holders woke is told, and all is sound.
inline void verify(unsigned count)
{
    on(owner, "jobswitch_take_ready", take_all);
    if (w.strange)
        found("what is no job is told", "%u times, at the end", w.strange);
    for (unsigned i = 0; i < count && !renewed; i++) {
        const int fd = w.slow_fd[i];
        const bool is_woken = (now->traits & (wakes | woken)) || woken_too;
        const bool may_be_cleared = now->traits & clears;
        const bool told = w.told_slow[i] || (fd >= 0 && raw_readable(fd));
        if (is_woken && !may_be_cleared && !told)
            found("the held thread's job is not told", "it was woken");
        if (!is_woken && told)
            found("told without a wake", "the held thread's job");
        if (w.told_slow[i] > 1u + bool(now->traits & woken) + woken_too)
            found("told without a wake", "the held thread's job, %u times", w.told_slow[i]);
    }
    for (unsigned i = 0; i < count; i++)
        check_tells(w.slow[i], w.slow_fd[i], w.told_slow[i], "the waker's job, at the end");
    wake_others(0, 8);
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, 8, "at the end");
    check_descriptor_rests("at the end");
    check_tells(w.with_fd, w.fd, w.strange, "the job with a descriptor, at the end");
}

// ---- the owner is held ------------------------------------------------------------------------

enum : unsigned {
    plainly = 0,
    waits = 1,    // asleep in the kernel until somebody wakes a job
    ends = 2,     // all jobs do
    leaves = 4,   // the thread does
    grows = 8,    // each round needs a process of its own
    forkable = 16, // a handler may interrupt it and fork: it holds no lock
    locks = 32,    // what another thread may need at any time
};
struct owner_call {
    const char *name;
    void (*prepare)();
    void (*run)();
    unsigned traits = plainly;
};

inline jobswitch_job *extra;
inline bool slow_ends; // w.slow[0], by what the owner does

// Of w.others: those below are woken by the conductor, and behind them lie five for this and that.
inline unsigned woken_meanwhile() { return w.count - 8; }

inline void nothing_to_prepare() {}
inline void wake_three()
{
    for (unsigned i = woken_meanwhile() + 1; i < woken_meanwhile() + 4; i++)
        jobswitch_wake(w.others[i]);
}
inline void take_once()
{
    jobswitch_job *jobs[64];
    size_t count = jobswitch_take_ready(jobs, 64);
    for (size_t i = 0; i < count; i++)
        tell(jobs[i]);
}
inline void resume(jobswitch_job *&job)
{
    int ret;
    if (jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) != JOBSWITCH_PAUSE)
        found("a job cannot be resumed", "reason %d", jobswitch_last_error());
}
inline void resume_woken()
{
    jobswitch_outcome outcomes[64];
    size_t count = jobswitch_resume_ready(outcomes, 64);
    for (size_t i = 0; i < count; i++)
        if (outcomes[i].answer == JOBSWITCH_PAUSE)
            tell(outcomes[i].job);
}
inline void wait_a_moment()
{
    jobswitch_job *jobs[64];
    size_t count = jobswitch_wait_ready(jobs, 64, 50000);
    for (size_t i = 0; i < count; i++)
        tell(jobs[i]);
}
inline int return_at_once(void *) { return 5; }
inline void start_and_finish()
{
    jobswitch_job *job = nullptr;
    int ret = 0;
    if (jobswitch_start_job(&job, &ret, return_at_once, nullptr, 0) != JOBSWITCH_FINISH ||
        ret != 5)
        found("a job cannot be started", "reason %d", jobswitch_last_error());
}
inline void give_descriptor() { w.slow_fd[0] = wait_fd(w.slow[0]); }
inline void cancel_slow()
{
    int ret;
    slow_ends = true;
    if (jobswitch_cancel_job(&w.slow[0], &ret) != JOBSWITCH_FINISH)
        found("a job cannot be cancelled", "reason %d", jobswitch_last_error());
}
inline void discard_slow()
{
    slow_ends = true;
    if (!jobswitch_discard_job(&w.slow[0]))
        found("a job cannot be discarded", "reason %d", jobswitch_last_error());
}
inline void finish_slow()
{
    slow_ends = true;
    finish(w.slow[0]);
}
inline void clean_up() { jobswitch_cleanup_thread(); }

inline const owner_call owner_calls[] = {
    {"take_ready, three are woken", wake_three, take_once, forkable},
    {"take_ready, nobody is woken", nothing_to_prepare, take_once, forkable},
    {"take_ready, a deadline has come", [] { pause_until_ns = 1; resume(w.slow[1]); }, take_once,
     forkable},
    {"resume_ready", wake_three, resume_woken, forkable},
    {"wait_ready, without end", nothing_to_prepare, sleep_until_woken, waits},
    {"wait_ready, for a moment", nothing_to_prepare, wait_a_moment, forkable},
    {"get_ready_fd, first", [] { clean_up(); set_up(w.count); },
     [] { w.ready_fd = jobswitch_get_ready_fd(); }},
    {"start and finish", start_and_finish, start_and_finish, forkable},
    {"start", start_and_finish, [] { begin(extra); }, forkable},
    {"resume and pause", nothing_to_prepare, [] { resume(w.slow[0]); }, forkable},
    {"pause_until", nothing_to_prepare,
     [] { pause_until_ns = uint64_t(now_ms() + 3600000) * 1000000; resume(w.slow[0]); }},
    {"pause_until, the deadline has come", nothing_to_prepare,
     [] { pause_until_ns = 1; resume(w.slow[0]); }},
    {"finish", nothing_to_prepare, finish_slow, forkable},
    {"finish, wait fd", give_descriptor, finish_slow},
    {"cancel_job", nothing_to_prepare, cancel_slow},
    {"cancel_job, wait fd", give_descriptor, cancel_slow},
    {"discard_job", nothing_to_prepare, discard_slow},
    {"discard_job, wait fd", give_descriptor, discard_slow},
    {"get_wait_fd, first", nothing_to_prepare, give_descriptor},
    {"wake of an own job", nothing_to_prepare, [] { jobswitch_wake(w.slow[1]); },
     forkable},
    {"wake of an own job, wait fd", [] { w.slow_fd[1] = wait_fd(w.slow[1]); },
     [] { jobswitch_wake(w.slow[1]); }, forkable},
    {"clear_wake of an own job", [] { jobswitch_wake(w.slow[1]); },
     [] { jobswitch_clear_wake(w.slow[1]); w.told_slow[1]++; }, forkable},
    {"trim_thread", [] { begin(extra); wait_fd(extra); finish(extra); },
     [] { jobswitch_trim_thread(0); }},
    // (As long as a ring of 1,024 slots is for four chunks of 127 blocks.)
    {"the ring grows", [] { grow(508); }, [] { grow(509); }, grows},
    {"cleanup_thread", nothing_to_prepare, clean_up, ends},
    {"the thread's end", nothing_to_prepare, nothing_to_prepare, ends | leaves},
};

inline void prepare_owner(const owner_call &c)
{
    slow_ends = false;
    on(owner, "preparing", [&c] {
        for (unsigned i = 0; i < 2; i++) {
            finish(w.slow[i]);
            begin(w.slow[i]);
            w.slow_fd[i] = -1;
        }
        jobswitch_job *&asked = w.others[woken_meanwhile() + 4];
        finish(asked);
        begin(asked);
        if (extra)
            finish(extra);
        w.ready_fd = jobswitch_get_ready_fd();
        forget_told();
        c.prepare();
    });
    memcpy(target, w.slow, sizeof target);
}

inline bool hold_owner(const owner_call &c, unsigned place)
{
    owner.leaves = c.traits & leaves;
    static void (*run)();
    run = c.run;
    return hold(owner, c.name, place, run, c.traits & waits);
}

inline void wake_from_outside(const owner_call &c)
{
    const unsigned most = woken_meanwhile();
    wake_others(0, most / 2);
    await_place(owner, c.traits & waits); // it may have come to its place by that
    wake_others(most / 2, most);
    w.told[most] = 0;
    jobswitch_wake(w.others[most]);
    jobswitch_clear_wake(w.others[most]);
    jobswitch_wake(w.others[most]);
    jobswitch_wake(target[0]);
    jobswitch_wake(w.with_fd);
}

inline void check_woken_from_outside(const owner_call &c)
{
    const unsigned most = woken_meanwhile();
    bool pending = !slow_ends && w.slow_fd[0] < 0 && !w.told_slow[0];
    for (unsigned i = 0; i <= most; i++)
        pending |= !w.told[i];
    if (pending && w.ready_fd >= 0 && !raw_readable(w.ready_fd))
        found("the owner is not woken up", "its ready descriptor is not readable");
    on(owner, "jobswitch_take_ready", take_all);
    check_others(0, most, "woken while the owner was held");
    if (c.prepare == wake_three)
        check_others(most + 1, most + 4, "woken before the call");
    if (!w.told[most])
        found("a wake of another job is lost or late", "it was cleared, and woken again");
    if (!raw_readable(w.fd))
        found("the wait descriptor does not tell", "woken while the owner was held");
    jobswitch_clear_wake(w.with_fd);
    if (slow_ends)
        on(owner, "a new job", [] {
            begin(w.slow[0]);
            w.slow_fd[0] = -1;
        });
    else if (w.slow_fd[0] >= 0 ? !raw_readable(w.slow_fd[0]) : w.told_slow[0] != 1)
        found(w.told_slow[0] ? "told without a wake" : "the woken job is not told",
              "told %u times", w.told_slow[0]);
    check_tells(w.slow[0], w.slow_fd[0], w.told_slow[0], "at the end");
    check_tells(w.slow[1], w.slow_fd[1], w.told_slow[1], "at the end");
    check_rest("at the end");
}

// ---- a thread with a pool of its own -----------------------------------------------------------

// What a thread does with jobs of its own, or for all threads.
struct own_call {
    const char *name;
    void (*prepare)();
    void (*run)();
    unsigned traits = plainly;
};
inline struct {
    jobswitch_job *jobs[3];
} mine; // the holder's

inline void begin_mine()
{
    for (jobswitch_job *&job : mine.jobs)
        begin(job);
    wait_fd(mine.jobs[1]);
}
inline void wake_mine()
{
    begin_mine();
    for (jobswitch_job *job : mine.jobs)
        jobswitch_wake(job);
}
inline void take_mine()
{
    jobswitch_job *jobs[8];
    while (jobswitch_take_ready(jobs, 8))
        ;
}
inline void rest_mine()
{
    wake_mine();
    jobswitch_get_ready_fd();
    take_mine();
}
inline void use_key()
{
    jobswitch_key key;
    if (!jobswitch_create_key(&key, nullptr) || !jobswitch_delete_key(key))
        found("no key", "reason %d", jobswitch_last_error());
}

inline const own_call own_calls[] = {
    {"init_thread", nothing_to_prepare, [] { jobswitch_init_thread(0, 2); }, locks},
    {"the first start", nothing_to_prepare, [] { begin(mine.jobs[0]); }, locks},
    {"start and finish", begin_mine, start_and_finish},
    {"start with 17,000 bytes", begin_mine,
     [] {
         static char bytes[17000];
         jobswitch_job *job = nullptr;
         int ret;
         jobswitch_start_job(&job, &ret, return_at_once, bytes, sizeof bytes);
     },
     locks},
    {"finish, wait fd", wake_mine, [] { finish(mine.jobs[1]); }},
    {"cancel_job, wait fd", wake_mine,
     [] { int ret; jobswitch_cancel_job(&mine.jobs[1], &ret); }},
    {"cancel_all", wake_mine, [] { jobswitch_cancel_all(); }},
    {"discard_job, wait fd", wake_mine, [] { jobswitch_discard_job(&mine.jobs[1]); }},
    {"pause_until", begin_mine, [] { pause_until_ns = 1; resume(mine.jobs[0]); }},
    {"get_ready_fd", wake_mine, [] { jobswitch_get_ready_fd(); }},
    {"take_ready, the ring comes to rest",
     [] { jobswitch_get_ready_fd(); wake_mine(); }, take_mine},
    {"resume_ready", wake_mine,
     [] { jobswitch_outcome outcomes[8]; jobswitch_resume_ready(outcomes, 8); }},
    {"wait_ready, for a moment", rest_mine,
     [] { jobswitch_job *jobs[8]; jobswitch_wait_ready(jobs, 8, 1000000); }},
    {"wake at rest", rest_mine, [] { jobswitch_wake(mine.jobs[0]); }},
    {"wake, wait fd", rest_mine, [] { jobswitch_wake(mine.jobs[1]); }},
    {"clear_wake, wait fd", wake_mine, [] { jobswitch_clear_wake(mine.jobs[1]); }},
    {"get_wait_fd, woken", wake_mine, [] { wait_fd(mine.jobs[0]); }},
    {"trim_thread", [] { wake_mine(); finish(mine.jobs[1]); },
     [] { jobswitch_trim_thread(0); }, locks},
    {"get_stats", wake_mine,
     [] { jobswitch_stats stats = JOBSWITCH_STATS_INIT; jobswitch_get_stats(&stats); }},
    {"create_key and delete_key", begin_mine, use_key, locks},
    {"cleanup_thread", rest_mine, clean_up, locks},
    {"the thread's end", rest_mine, nothing_to_prepare, locks | leaves},
};

// Any lock that was left locked, and any list that was left half changed, would show here.
inline void use_from_a_new_thread()
{
    actor &a = holders[1];
    leave(a);
    join(a);
    create(a);
    on(a, "all on a new thread", [] {
        rest_mine();
        use_key();
        for (jobswitch_job *&job : mine.jobs)
            finish(job);
        jobswitch_cleanup_thread();
    });
}

#endif
