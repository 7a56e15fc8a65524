// SPDX-License-Identifier: Apache-2.0
//
// Model-checks the lock-free core: src/ready.cpp and src/wait.cpp themselves, compiled with
// weak.h, under all schedules and with C++20's memory model (see weak_search.h). Wakers run
// against an owner that takes, sleeps, polls, ends generations, grows the ring and closes
// it. When no thread can run any more, each job must have seen all that was written before
// each wake of it.
//
// First, tests of the checker: litmus tests with known outcomes, and programs with a bug.
#include <set>

#include "support.h"

#include "weak_search.h"

#include "wait.h"

// Included, for its thread-local variable: here, threads share those of the test's.
#include "../src/event.cpp"
#include "../src/lock.cpp"

// ---- litmus tests ----------------------------------------------------------------------
//
// The search must find each outcome that C++20 allows, and no other.

static constexpr auto relaxed = std::memory_order_relaxed, acquire = std::memory_order_acquire,
                      release = std::memory_order_release, acq_rel = std::memory_order_acq_rel,
                      seq_cst = std::memory_order_seq_cst;

static struct {
    std::atomic<uint32_t> x, y;
    uint32_t seen[4];
} lit;
static std::set<std::string> outcomes;

static void lit_begins() { memset(static_cast<void *>(&lit), 0, sizeof lit); }
static void lit_ends()
{
    std::string outcome;
    for (uint32_t s : lit.seen)
        outcome += char('0' + s);
    outcomes.insert(outcome);
}

using body = void (*)(int);

static std::string outcomes_of(std::initializer_list<body> bodies, weak::limits most = {})
{
    weak::plan p = {{}, lit_begins, lit_ends, &lit, sizeof lit};
    for (body b : bodies)
        p.threads.push_back({"a thread", b, int(p.threads.size())});
    outcomes.clear();
    weak::result r = weak::search(p, most);
    assert_string_equal(r.wrong.c_str(), "");
    assert_true(r.all);
    std::string all;
    for (const std::string &outcome : outcomes)
        all += (all.empty() ? "" : " ") + outcome;
    return all;
}

template <std::memory_order order> static void stores_x(int) { lit.x.store(1, order); }
template <std::memory_order order> static void stores_y(int) { lit.y.store(1, order); }
template <std::memory_order order> static void stores_both(int)
{
    lit.x.store(1, relaxed);
    lit.y.store(1, order);
}
template <std::memory_order order> static void loads_y_then_x(int)
{
    lit.seen[0] = lit.y.load(order);
    lit.seen[1] = lit.x.load(relaxed);
}
template <std::memory_order order> static void stores_x_loads_y(int)
{
    lit.x.store(1, order);
    lit.seen[0] = lit.y.load(order);
}
template <std::memory_order order> static void stores_y_loads_x(int)
{
    lit.y.store(1, order);
    lit.seen[1] = lit.x.load(order);
}
template <int at, std::memory_order order> static void loads_x_then_y(int)
{
    lit.seen[at] = lit.x.load(order);
    lit.seen[at + 1] = lit.y.load(order);
}
template <int at, std::memory_order order> static void loads_y_then_x_at(int)
{
    lit.seen[at] = lit.y.load(order);
    lit.seen[at + 1] = lit.x.load(order);
}

static void release_and_acquire_pass_messages(void **)
{
    auto weakest = outcomes_of({stores_both<relaxed>, loads_y_then_x<relaxed>});
    assert_string_equal(weakest.c_str(), "0000 0100 1000 1100");
    auto half = outcomes_of({stores_both<release>, loads_y_then_x<relaxed>});
    assert_string_equal(half.c_str(), "0000 0100 1000 1100");
    half = outcomes_of({stores_both<relaxed>, loads_y_then_x<acquire>});
    assert_string_equal(half.c_str(), "0000 0100 1000 1100");
    auto whole = outcomes_of({stores_both<release>, loads_y_then_x<acquire>});
    assert_string_equal(whole.c_str(), "0000 0100 1100");
}

static void only_seq_cst_forbids_store_buffering(void **)
{
    auto buffered = outcomes_of({stores_x_loads_y<acq_rel>, stores_y_loads_x<acq_rel>});
    assert_string_equal(buffered.c_str(), "0000 0100 1000 1100");
    auto sequential = outcomes_of({stores_x_loads_y<seq_cst>, stores_y_loads_x<seq_cst>});
    assert_string_equal(sequential.c_str(), "0100 1000 1100");
}

static void only_seq_cst_makes_readers_agree(void **)
{
    auto weaker = outcomes_of({stores_x<release>, stores_y<release>, loads_x_then_y<0, acquire>,
                               loads_y_then_x_at<2, acquire>});
    assert_true(weaker.find("1010") != std::string::npos);
    auto sequential = outcomes_of({stores_x<seq_cst>, stores_y<seq_cst>,
                                   loads_x_then_y<0, seq_cst>, loads_y_then_x_at<2, seq_cst>});
    assert_true(sequential.find("1010") == std::string::npos);
    assert_true(sequential.find("1011") != std::string::npos);
}

// An acquire load may be stale although all stores are seq_cst.
static void seq_cst_orders_no_other_operations(void **)
{
    auto mixed = outcomes_of({[](int) {
                                  lit.x.store(1, seq_cst);
                                  lit.seen[0] = lit.y.load(acquire);
                              },
                              [](int) {
                                  lit.y.store(1, seq_cst);
                                  lit.seen[1] = lit.x.load(acquire);
                              }});
    assert_string_equal(mixed.c_str(), "0000 0100 1000 1100");
}

static void each_object_has_one_modification_order(void **)
{
    auto once = outcomes_of({stores_x<relaxed>, [](int) {
                                 lit.seen[0] = lit.x.load(relaxed);
                                 lit.seen[1] = lit.x.load(relaxed);
                             }});
    assert_string_equal(once.c_str(), "0000 0100 1100");
    // Two stores come in the same order for all readers.
    auto two = outcomes_of({[](int) { lit.x.store(1, relaxed); },
                            [](int) { lit.x.store(2, relaxed); },
                            [](int) {
                                lit.seen[0] = lit.x.load(relaxed);
                                lit.seen[1] = lit.x.load(relaxed);
                            },
                            [](int) {
                                lit.seen[2] = lit.x.load(relaxed);
                                lit.seen[3] = lit.x.load(relaxed);
                            }});
    assert_true(two.find("1221") == std::string::npos);
    assert_true(two.find("1212") != std::string::npos);
    // But stores to two objects need not: 2+2W.
    auto crossed = outcomes_of({[](int) {
                                    lit.x.store(1, relaxed);
                                    lit.y.store(2, relaxed);
                                    weak::wait_until([](int) { return lit.seen[3] != 0; }, 0);
                                    lit.seen[0] = lit.x.load(relaxed);
                                    lit.seen[1] = lit.y.load(relaxed);
                                },
                                [](int) {
                                    lit.y.store(1, relaxed);
                                    lit.x.store(2, relaxed);
                                    lit.seen[3] = 1;
                                }});
    assert_true(crossed.find("1101") != std::string::npos);
}

static void read_modify_writes_continue_a_release_sequence(void **)
{
    auto carried = outcomes_of({[](int) {
                                    lit.x.store(1, relaxed);
                                    lit.y.store(1, release);
                                },
                                [](int) { lit.y.fetch_add(1, relaxed); },
                                [](int) {
                                    lit.seen[0] = lit.y.load(acquire);
                                    lit.seen[1] = lit.x.load(relaxed);
                                }});
    // 10: the increment came first and released nothing.
    assert_string_equal(carried.c_str(), "0000 0100 1000 1100 2100");
    auto stored = outcomes_of({[](int) {
                                   lit.x.store(1, relaxed);
                                   lit.y.store(1, release);
                               },
                               [](int) {
                                   if (lit.y.load(relaxed))
                                       lit.y.store(2, relaxed);
                               },
                               [](int) {
                                   lit.seen[0] = lit.y.load(acquire);
                                   lit.seen[1] = lit.x.load(relaxed);
                               }});
    assert_string_equal(stored.c_str(), "0000 0100 1100 2000 2100");
}

static void read_modify_writes_are_atomic(void **)
{
    auto adds = [](int number) { lit.seen[number] = lit.x.fetch_add(1, relaxed); };
    auto exchanges = [](int number) {
        uint32_t &x = lit.seen[number] = lit.x.load(relaxed);
        while (!lit.x.compare_exchange_weak(x, x + 1, relaxed))
            continue;
    };
    weak::limits most;
    most.stale = 3;
    auto all = outcomes_of({adds, exchanges, exchanges}, most);
    assert_string_equal(all.c_str(), "0120 0210 1020 1200 2010 2100");
}

// ---- programs with a bug -----------------------------------------------------------------

static struct {
    std::atomic<uint32_t> flag, word, *mapped;
    pthread_mutex_t lock, other;
    int fd;
} mis;

static void mis_begins()
{
    memset(static_cast<void *>(&mis), 0, sizeof mis);
    mis.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mis.mapped = static_cast<std::atomic<uint32_t> *>(mmap(nullptr, 4096, 0, 0, -1, 0));
}
static void mis_ends()
{
    weak::check(!weak::is_waiting(0, weak::waits::futex), "sleeps for ever");
    weak::check(!weak::is_waiting(0, weak::waits::readable), "polls for ever");
    weak::check(!weak::is_waiting(0, weak::waits::lock), "deadlock");
}
static void takes_two(pthread_mutex_t &first, pthread_mutex_t &second)
{
    pthread_mutex_lock(&first);
    pthread_mutex_lock(&second);
    pthread_mutex_unlock(&second);
    pthread_mutex_unlock(&first);
}

static const struct {
    const char *what;
    body first, second;
    bool stalls;
} mistakes[] = {
    {"sleeps for ever", // it does not look again after it has announced its sleep
     [](int) {
         if (!mis.word.load()) {
             mis.flag.store(1);
             syscall(SYS_futex, &mis.flag, FUTEX_WAIT_PRIVATE, 1, nullptr);
         }
     },
     [](int) {
         mis.word.store(1);
         if (mis.flag.exchange(0))
             syscall(SYS_futex, &mis.flag, FUTEX_WAKE_PRIVATE, 1);
     }, false},
    {"polls for ever", // both reads are stale
     [](int) {
         mis.flag.store(1, release);
         if (!mis.word.load(acquire))
             weak::wait_readable(mis.fd);
     },
     [](int) {
         uint64_t one = 1;
         mis.word.store(1, release);
         if (mis.flag.load(acquire))
             (void)!write(mis.fd, &one, sizeof one);
     }, false},
    {"first spins, and no other thread can run",
     [](int) {
         while (!mis.word.load())
             sched_yield();
     },
     [](int) {
         mis.flag.load();
         mis.word.store(1);
     }, true},
    {"first does not terminate",
     [](int) {
         while (!mis.word.load())
             continue;
     },
     [](int) {}, false},
    {"deadlock", [](int) { takes_two(mis.lock, mis.other); },
     [](int) { takes_two(mis.other, mis.lock); }, false},
    {"first: uses a closed descriptor",
     [](int) {
         uint64_t one = 1;
         if (!mis.flag.load())
             (void)!write(mis.fd, &one, sizeof one);
     },
     [](int) {
         mis.flag.store(1);
         close(mis.fd);
     }, false},
    {"first: accesses unmapped memory",
     [](int) {
         if (!mis.flag.load())
             mis.mapped->store(1);
     },
     [](int) {
         mis.flag.store(1);
         munmap(static_cast<void *>(mis.mapped), 4096);
     }, false},
    {"first: unlocks a mutex it does not hold",
     [](int) {
         pthread_mutex_lock(&mis.other);
         pthread_mutex_unlock(&mis.lock);
     },
     [](int) {}, false},
};

static void each_bug_is_found(void **)
{
    for (auto &mistake : mistakes) {
        weak::plan p = {{{"first", mistake.first, 0},
                         {"second", mistake.second, 1, -1, mistake.stalls}},
                        mis_begins, mis_ends, &mis, sizeof mis};
        weak::limits most;
        most.stalls = mistake.stalls;
        weak::result r = weak::search(p, most);
        std::string said = r.wrong.substr(0, r.wrong.find('\n'));
        print_message("  %-60s %6zu runs\n", said.c_str(), r.runs);
        assert_string_equal(said.c_str(), mistake.what);
        assert_true(r.wrong.size() > said.size() + 20); // and its trace
        most.random = true;
        most.runs = 10000;
        assert_true(weak::search(p, most).wrong.compare(0, said.size(), said) == 0);
    }
}

// ---- the ring and its jobs -------------------------------------------------------------------

static constexpr int jobs_most = 3, wakers_most = 4;

// The ring and the wait states of the code under test, and what the test knows of them.
static struct {
    wait_owner owner;
    wait_state states[jobs_most];
    std::atomic<uint32_t> news[wakers_most]; // written before each wake: its number
    uint8_t seen[wakers_most];     // the number its job saw when it was told
    uint8_t returned[wakers_most]; // wakes that have returned
    uint8_t begun[jobs_most], ended[jobs_most]; // generations
    std::atomic<uint32_t> handed[jobs_most];    // publishes begun to the wakers
    uint8_t woken[jobs_most]; // a wake of this generation has begun
    uint8_t script;           // how many of the owner's actions are done
    uint8_t fd;               // the ring's
    int8_t watched[wakers_most];
} w;

struct waker {
    uint8_t job, generation, turns;
    bool paced, watches;
};
static std::vector<waker> wakers; // thread i + 1 runs wakers[i]
static int jobs;

struct scenario {
    const char *name;
    // For each waker: job, generation, number of wakes, flags. p: paced, wakes again after
    // its job has seen the last wake; s: may stall for ever; h: a signal handler on the
    // owner's thread; d: not a waker, polls the job's descriptor and clears.
    const char *wakers;
    // How the owner waits, s: sleeps; p: polls the ring's descriptor; b: sleeps, and has a
    // descriptor. Then its actions, each done once, in this order, at any time. E: ends
    // job 0, whose next generation begins as soon as it may; R: reserves more room; B:
    // begins job 2, which has not begun before; W: wakes job 1; C: closes the ring while no job lives, and opens it again.
    const char *owner;
    size_t room;
    weak::limits most;
};
static const scenario *scene;

static bool lives(int job, int generation)
{
    return w.begun[job] == generation && w.ended[job] < generation;
}

static void wakes_once(int job, int generation)
{
    if (lives(job, generation))
        w.woken[job] = 1;
    errno = E2BIG;
    bool answer = wait_wake(w.states[job], uint32_t(generation), w.owner, uint32_t(job) + 1);
    weak::check(errno == E2BIG, "a wake changed errno");
    weak::check(answer || w.ended[job] >= generation, "a wake of a living generation was refused");
}

// Waits until it is given the handle.
static const waker &comes(int number)
{
    const waker &me = wakers[size_t(number)];
    weak::wait_until([](int n) {
        const waker &waits = wakers[size_t(n)];
        return w.begun[waits.job] >= waits.generation;
    }, number);
    weak::receive(&w.handed[me.job]);
    return me;
}

static void wakes(int number)
{
    const waker &me = comes(number);
    while (w.returned[number] < me.turns) {
        weak::forget(w.returned[number]);
        weak::publish(&w.news[number], w.returned[number] + 1u);
        wakes_once(me.job, me.generation);
        w.returned[number]++;
        if (me.paced)
            weak::wait_until([](int n) {
                const waker &waits = wakers[size_t(n)];
                return w.seen[n] == w.returned[n] || !lives(waits.job, waits.generation);
            }, number);
    }
}

// The job is told, and looks at what its wakers wrote.
static void told(int job)
{
    weak::check(w.woken[job], "told a job that nobody woke");
    for (size_t i = 0; i < wakers.size(); i++)
        if (wakers[i].job == job) {
            uint32_t news = weak::least(&w.news[i]);
            w.seen[i] = uint8_t(news > w.seen[i] ? news : w.seen[i]);
        }
}

static void watches(int number)
{
    const waker &me = comes(number);
    wait_state &state = w.states[me.job];
    int reason;
    int fd = wait_descriptor(state, me.generation, w.owner, &reason);
    weak::check(fd >= 0 || !lives(me.job, me.generation), "a job has no descriptor");
    for (w.watched[number] = int8_t(fd); fd >= 0;) {
        weak::forget(1);
        weak::wait_until([](int n) {
            const waker &waits = wakers[size_t(n)];
            return !lives(waits.job, waits.generation) || weak::is_readable(w.watched[n]);
        }, number);
        if (!lives(me.job, me.generation))
            break;
        bool answer = wait_clear(state, me.generation, w.owner);
        if (!lives(me.job, me.generation))
            break;
        weak::check(answer, "a clear of a living generation was refused");
        told(me.job);
    }
}

static bool take_all()
{
    ready_ring &ring = w.owner.ready;
    uint64_t end = ready_end(ring);
    bool any = false;
    while (uint32_t entry = ready_pop(ring, end)) {
        weak::check(entry <= jobs_most, "took an entry that is no job's");
        any = true;
        if (wait_take(w.states[entry - 1]) && lives(int(entry) - 1, w.begun[entry - 1]))
            told(int(entry) - 1);
    }
    return any;
}

static void open_descriptor()
{
    int reason;
    int fd = ready_descriptor(w.owner.ready, &reason);
    weak::check(fd >= 0, "the ring has no descriptor");
    w.fd = uint8_t(fd);
}

static void begin_job(int job)
{
    // A state that is still queued must not start another job: its entry is a stale wake.
    wait_state &state = w.states[job];
    if (w.begun[job] == w.ended[job] && wait_begin(state) && !wait_queued(state)) {
        w.begun[job]++;
        if (weak::m.running >= 0)
            weak::publish(&w.handed[job], w.begun[job], release);
        w.woken[job] = 0;
    }
}

static void end_job(int job)
{
    w.ended[job] = w.begun[job];
    wait_end(w.states[job], w.owner.descriptors);
}

static void acts(char what)
{
    ready_ring &ring = w.owner.ready;
    int reason;
    switch (what) {
    case 'E': end_job(0); break;
    case 'R': {
        const uint64_t before = ring.tail >> 59;
        weak::check(ready_reserve(ring, 2 * scene->room, &reason), "no room");
        weak::check(ring.tail >> 59 > before, "the ring has not grown");
        break;
    }
    case 'B': begin_job(2); break;
    case 'W': wakes_once(1, 1); break;
    case 'C':
        while (uint32_t entry = ready_pop(ring, ready_end(ring)))
            wait_take(w.states[entry - 1]);
        ready_close(ring);
        wait_cache_close(w.owner.descriptors);
        open_descriptor();
        break;
    }
}

static void owns(int)
{
    for (;;) {
        weak::forget(0);
        if (scene->owner[1 + w.script] && weak::decide(2))
            acts(scene->owner[1 + w.script++]);
        if (scene->owner[1 + w.script] != 'C')
            begin_job(0);
        if (take_all())
            continue;
        ready_rest(w.owner.ready);
        // Readable although nothing was there: an event loop would come back at once.
        if (*scene->owner != 'p')
            ready_sleep(w.owner.ready, UINT64_MAX);
        else if (weak::is_readable(w.fd))
            weak::yield();
        else
            weak::wait_readable(w.fd);
    }
}

// What is thread-local in the code under test. (A handler goes on as its thread.)
static event_use *uses[weak::threads_most];
static int entered;
static void enters(int number)
{
    if (number < 0) { // a new run
        memset(uses, 0, sizeof uses);
        innermost = nullptr;
        return;
    }
    int host = weak::m.what->threads[size_t(number)].host;
    uses[entered] = innermost;
    entered = host < 0 ? number : host;
    innermost = uses[entered];
    own_number = uint32_t(entered) + 1;
}

static void ring_begins()
{
    memset(static_cast<void *>(&w), 0, sizeof w);
    int reason;
    weak::check(ready_reserve(w.owner.ready, scene->room, &reason), "no room");
    if (*scene->owner != 's')
        open_descriptor();
    for (int job = 0; job < (strchr(scene->owner, 'B') ? 2 : jobs); job++)
        begin_job(job);
}

static std::set<uint64_t> *final_states; // collected here unless NULL

// No thread can run any more.
static void ring_ends()
{
    if (final_states)
        final_states->insert(weak::state_hash());
    bool late[jobs_most] = {};
    for (size_t i = 0; i < wakers.size(); i++)
        if (weak::is_stalled(int(i) + 1))
            late[wakers[i].job] = true;
    for (size_t i = 0; i < wakers.size(); i++) {
        weak::check(!weak::is_waiting(int(i) + 1, weak::waits::futex), "deadlock");
        if (!late[wakers[i].job] && lives(wakers[i].job, wakers[i].generation))
            weak::check(w.seen[i] >= w.returned[i], "a wake was lost");
    }
    weak::waits rest = *scene->owner == 'p' ? weak::waits::readable : weak::waits::futex;
    weak::check(weak::is_waiting(0, rest), "the owner does not rest");
    size_t open = w.owner.descriptors.open + ready_has_descriptor(w.owner.ready);
    weak::check(open == weak::open_fds(), "a descriptor leaked or is not counted");
}

static weak::result explore(const scenario &s, const weak::limits &most)
{
    static const char *const waker_names[] = {"1st", "2nd", "3rd", "4th"};
    scene = &s;
    wakers.clear();
    jobs = 1;
    weak::plan p = {{{"the owner", owns, 0}}, ring_begins, ring_ends, &w, sizeof w, enters};
    weak::names = {{&w.owner.ready, 1, sizeof w.owner.ready, "ring"},
                   {w.states, sizeof *w.states, jobs_most, "state"},
                   {w.news, sizeof *w.news, wakers_most, "news"}};
    for (const char *at = s.wakers; *at; at += *at == ' ') {
        waker made = {};
        made.job = uint8_t(at[0] - '0');
        made.generation = uint8_t(at[1] - '0');
        made.turns = uint8_t(at[2] - '0');
        weak::thread_plan t = {waker_names[wakers.size()], wakes, int(wakers.size())};
        for (at += 3; *at && *at != ' '; at++) {
            made.paced |= *at == 'p';
            t.may_stall |= *at == 's';
            t.host = *at == 'h' ? 0 : t.host;
            made.watches |= *at == 'd';
        }
        jobs = made.job + 1 > jobs ? made.job + 1 : jobs;
        t.body = made.watches ? watches : wakes;
        wakers.push_back(made);
        p.threads.push_back(t);
    }
    return weak::search(p, most);
}

// Pruning finds the same final states as a search without it.
static void pruning_loses_no_final_state(void **)
{
    scenario s = {"", "011 021", "bE", 4, {1, 1}};
    std::set<uint64_t> all, pruned;
    final_states = &pruned;
    weak::result r = explore(s, s.most);
    final_states = &all;
    s.most.prunes = false;
    weak::result whole = explore(s, s.most);
    final_states = nullptr;
    assert_true(r.wrong.empty() && r.all && whole.wrong.empty() && whole.all);
    print_message("  %zu final states by %zu runs, and by %zu\n", all.size(), whole.runs, r.runs);
    assert_true(all == pruned);
    assert_true(all.size() > 50 && whole.runs > 2 * r.runs);
}

// Searched completely, within limits: preemptions, stale reads, stalls.
static const scenario scenarios[] = {
    {"one waker", "012", "b", 4, {3, 2}},
    {"two wakers of one job, the owner sleeps", "011 011", "s", 4, {2, 2}},
    {"two wakers of two jobs, the owner sleeps", "011 111", "s", 4, {3, 1}},
    {"two wakers of two jobs, the owner polls", "011 111", "p", 4, {3, 1}},
    {"two wakers of two jobs, the owner does both", "011 111", "b", 4, {2, 2}},
    {"three wakers, the owner sleeps", "011 011 111", "s", 4, {2, 1}},
    {"three wakers, the owner polls", "011 011 111", "p", 4, {2, 1}},
    {"wakers of two generations, the owner sleeps", "011 021 111", "sE", 4, {1, 1}},
    {"wakers of two generations, the owner polls", "011 021", "pE", 4, {2, 2}},
    {"the ring is closed in between", "011 021", "bEC", 4, {2, 2}},
    {"the ring grows", "012 111", "sR", 2, {2, 1}},
    {"the ring grows and is filled", "011 111 211", "sRB", 2, {2, 0}},
    {"the owner wakes, and a signal handler", "011 111h", "bW", 4, {2, 2}},
    {"a descriptor", "011 010d", "s", 4, {2, 2}},
    {"a descriptor and two wakers", "011 011 010d", "p", 4, {1, 2}},
    {"a descriptor asked for twice", "011 010d 010d", "s", 4, {2, 1}},
    {"a descriptor of two generations", "011 010d 021 020d", "sE", 4, {1, 1}},
    {"a descriptor, and all is closed", "011 010d 021 020d", "pEC", 4, {1, 1}},
};

// Too large to search completely: random runs.
static const scenario large_scenarios[] = {
    {"all at once, the owner sleeps", "012 023 112 010d", "sEWR", 2, {}},
    {"all at once, the owner polls", "012 023 113h 020d", "pERW", 2, {}},
    {"two generations and the end of all", "012 010d 022 020d", "bEC", 4, {}},
};

static bool is_right(const scenario &s, const weak::limits &most)
{
    weak::result r = explore(s, most);
    print_message("  %-45s %8zu runs, %8zu states, %7zu ends\n", s.name, r.runs, r.states,
                  r.ends);
    if (!r.wrong.empty())
        printf("%s: %s", s.name, r.wrong.c_str());
    fflush(stdout);
    return r.wrong.empty() && r.ends > 10 && (r.all || most.runs != SIZE_MAX);
}

// WEAK_FULL=1: with all the preemptions that the scenarios name, which takes minutes.
static bool in_full() { return getenv("WEAK_FULL"); }

static void no_schedule_loses_a_wake(void **)
{
    int wrong = 0;
    for (const scenario &s : scenarios) {
        weak::limits most = s.most;
        if (!in_full() && most.preemptions > 1)
            most.preemptions--;
        if (test_scale() > 1)
            most.runs = scaled<size_t>(100000);
        wrong += !is_right(s, most);
    }
    assert_int_equal(wrong, 0);
}

static void no_random_schedule_loses_a_wake(void **)
{
    int wrong = 0;
    for (const scenario &s : large_scenarios) {
        weak::limits most;
        most.random = true;
        most.stale = 5;
        most.runs = scaled<size_t>(in_full() ? 200000 : 20000);
        wrong += !is_right(s, most);
    }
    assert_int_equal(wrong, 0);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(release_and_acquire_pass_messages),
        cmocka_unit_test(only_seq_cst_forbids_store_buffering),
        cmocka_unit_test(only_seq_cst_makes_readers_agree),
        cmocka_unit_test(seq_cst_orders_no_other_operations),
        cmocka_unit_test(each_object_has_one_modification_order),
        cmocka_unit_test(read_modify_writes_continue_a_release_sequence),
        cmocka_unit_test(read_modify_writes_are_atomic),
        cmocka_unit_test(pruning_loses_no_final_state),
        cmocka_unit_test(each_bug_is_found),
        cmocka_unit_test(no_schedule_loses_a_wake),
        cmocka_unit_test(no_random_schedule_loses_a_wake),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
