// SPDX-License-Identifier: Apache-2.0
//
// The protocol of src/ready.cpp, with the part of src/wait.cpp that feeds it, run in
// every order: wakers of two jobs against an owner who takes, falls asleep (in
// ready_sleep, or in a poll of the descriptor after ready_rest) and ends generations.
// Each atomic step is one step of the model, with the line that it stands for beside
// it. Where nobody can go on, no wake may be left that the owner has not taken.
//
// Then the same with a mistake made in the protocol on purpose: each must be found.
#include "explore.h"

// ---- mistakes -------------------------------------------------------------------

enum mistake {
    none,
    sleep_without_look,
    rest_without_look,
    rest_reads_late,
    rest_forgets_to_write,
    rest_ignores_callers,
    rest_forgets_the_hole,
    caller_not_counted,
    caller_counted_late,
    push_calls_nobody,
    wake_queues_twice,
    wake_does_not_mark,
    take_keeps_queued,
    take_keeps_woken,
    end_forgets_queued,
    end_keeps_woken,
    mistakes,
    // No mistakes, it turns out; see variants_that_change_nothing.
    push_calls_before_the_entry,
    push_clears_after_the_entry,
};
static const char *const mistake_names[] = {
    "none",
    "the owner sleeps without a second look",
    "the descriptor rests without a second look",
    "rest reads the descriptor after it has told so",
    "rest leaves the descriptor unreadable where it fails",
    "rest ignores who is about to call",
    "the owner rests with a hole behind it",
    "who is about to call is not counted",
    "who is about to call is counted after its entry",
    "push calls nobody",
    "wake queues what is queued",
    "wake of what is queued leaves no mark",
    "take leaves it queued",
    "take leaves the mark",
    "end forgets that it is queued",
    "end keeps the mark",
};
static_assert(sizeof mistake_names / sizeof *mistake_names == mistakes);

// ---- the world ---------------------------------------------------------------------

static constexpr uint8_t woken = 1, queued = 2, next_generation = 4;
static constexpr int jobs = 2, wakers_most = 3, slots = 4;

struct process {
    uint8_t job, generation; // a waker's
    uint8_t at;
    uint8_t ticket, how; // a waker's; the owner's: tail as it was seen
    uint8_t entry;
    uint8_t turns; // a waker's wakes to come
    uint8_t done;
};

struct world {
    uint8_t word[jobs]; // woken, queued, generation
    uint8_t tail, bits; // position, sleeping and fd_rests: one word in truth
    uint8_t slot[slots], mark[slots]; // an entry, and the position it is for, + 1
    uint8_t calling, asleep, readable, head;
    uint8_t hole; // its position + 1; the model has room for one
    uint8_t called; // the futex's: whoever waits at it has been woken
    uint8_t owed;   // a bit each: a wake has begun and was not taken
    uint8_t ended;  // generations of job 0
    uint8_t unused;
    process owner;
    process wakers[wakers_most];
};

struct scenario {
    const char *name;
    const char *wakers; // job, generation and number of wakes, each
    bool polls;         // the owner rests by descriptor, else it sleeps
    bool ends;          // the owner ends job 0 once, whenever it has the turn
};

static constexpr uint8_t sleeping = 1, fd_rests = 2;

static mistake made;
static const scenario *scene;
static const char *wrong;
static int count;

static void check(bool right, const char *what)
{
    if (!right && !wrong)
        wrong = what;
}

// ---- a waker ---------------------------------------------------------------------

enum : uint8_t {
    mark,
    take_ticket,
    count_in,
    take_bits_back,
    publish,
    let_go,
    call_futex,
    call_write,
    count_out,
};

static void after_push(process &p)
{
    p.at = mark;
    p.done = --p.turns == 0;
}

static bool waker_step(world &w, process &p)
{
    bool calls = p.how && made != push_calls_nobody;
    switch (p.at) {
    case mark: {
        // if (wait_generation(word) != generation || (word & retired))
        uint8_t &word = w.word[p.job];
        if (word / next_generation < p.generation)
            return false; // nobody has the handle yet
        if (word / next_generation > p.generation) {
            p.done = 1;
            break;
        }
        // change(state, word, word | woken | queued)
        bool pushes = !(word & queued) || made == wake_queues_twice;
        if (!(word & queued) || made != wake_does_not_mark)
            word |= woken;
        word |= queued;
        w.owed |= uint8_t(1 << p.job);
        // if (!(word & queued)) ready_push(owner.ready, entry);
        if (pushes)
            p.at = take_ticket;
        else
            after_push(p);
        break;
    }
    case take_ticket:
        // ring.tail.fetch_add(1)
        p.ticket = w.tail++;
        p.how = w.bits;
        p.at = p.how && made != caller_counted_late ? count_in : publish;
        break;
    case count_in:
        // ring.calling.fetch_add(1)
        if (made != caller_not_counted)
            w.calling++;
        p.at = made == push_clears_after_the_entry ? publish : take_bits_back;
        break;
    case take_bits_back:
        // ring.tail.fetch_and(~how)
        w.bits &= uint8_t(~p.how);
        p.at = made == push_calls_before_the_entry || made == push_clears_after_the_entry ||
                       made == caller_counted_late
                   ? let_go
                   : publish;
        break;
    case publish:
        // slot.store(entry)
        check(w.head > p.ticket - slots || p.ticket < slots, "an entry was overwritten");
        w.slot[p.ticket % slots] = uint8_t(p.job + 1);
        w.mark[p.ticket % slots] = uint8_t(p.ticket + 1);
        if (!p.how)
            after_push(p);
        else if (made == push_clears_after_the_entry)
            p.at = take_bits_back;
        else if (made == caller_counted_late)
            p.at = count_in;
        else
            p.at = calls && made != push_calls_before_the_entry ? let_go : count_out;
        break;
    case let_go:
        // ring.asleep.store(0)
        w.asleep = 0;
        p.at = p.how & sleeping ? call_futex : call_write;
        break;
    case call_futex:
        // FUTEX_WAKE_PRIVATE
        w.called = 1;
        p.at = p.how & fd_rests ? call_write : count_out;
        if (made == push_calls_before_the_entry)
            p.at = publish;
        break;
    case call_write:
        // make_readable(descriptor_of(ring))
        w.readable = 1;
        p.at = made == push_calls_before_the_entry ? publish : count_out;
        break;
    case count_out:
        // ring.calling.fetch_sub(1)
        if (made != caller_not_counted)
            w.calling--;
        after_push(p);
        break;
    }
    return true;
}

// ---- the owner -------------------------------------------------------------------

enum : uint8_t {
    pop,
    pop_head,
    pop_behind,
    take,
    nobody_calls,
    nobody_came,
    prepare,
    fall_asleep,
    futex_wait,
    wait_futex,
    get_up,
    read_late,
    write_again,
    poll_fd,
};

static uint8_t entry_at(const world &w, uint8_t position)
{
    return w.mark[position % slots] == position + 1 ? w.slot[position % slots] : 0;
}

// Returns false where it can only wait.
static bool owner_step(world &w, process &p)
{
    switch (p.at) {
    case pop:
        // take_from_holes()
        p.at = pop_head;
        if (w.hole && entry_at(w, uint8_t(w.hole - 1))) {
            p.entry = entry_at(w, uint8_t(w.hole - 1));
            w.hole = 0;
            p.at = take;
        }
        break;
    case pop_head:
        // entry_at(ring, ring.head_capacity, ring.head); ring.head++
        p.entry = entry_at(w, w.head);
        p.at = p.entry ? take : pop_behind;
        w.head = uint8_t(w.head + (p.entry != 0));
        break;
    case pop_behind:
        // take_past_holes()
        p.at = nobody_calls;
        if (!w.hole && entry_at(w, uint8_t(w.head + 1))) {
            p.entry = entry_at(w, uint8_t(w.head + 1));
            w.hole = uint8_t(w.head + 1);
            w.head = uint8_t(w.head + 2);
            p.at = take;
        }
        break;
    case take: {
        // taken = (word & woken); word & ~(queued | woken)
        uint8_t &word = w.word[p.entry - 1];
        check(word & queued || made == take_keeps_queued, "taken, and not queued");
        if (word & woken) {
            check(w.owed >> (p.entry - 1) & 1, "woken, and nobody has");
            w.owed &= uint8_t(~(1 << (p.entry - 1)));
        }
        if (made != take_keeps_queued)
            word &= uint8_t(~queued);
        if (made != take_keeps_woken)
            word &= uint8_t(~woken);
        check(!(word & woken), "taken, and still marked");
        p.at = pop;
        break;
    }
    case nobody_calls:
        // ring.calling.load() != 0
        p.at = w.calling && made != rest_ignores_callers ? pop : nobody_came;
        break;
    case nobody_came:
        // (tail & position_mask) == ring.head
        p.ticket = w.tail;
        p.how = w.bits;
        if (w.tail != w.head || (w.hole && made != rest_forgets_the_hole))
            p.at = pop;
        else if (scene->polls && (w.bits & fd_rests))
            p.at = poll_fd;
        else
            p.at = prepare;
        break;
    case prepare:
        if (!scene->polls) // ring.asleep.store(1)
            w.asleep = 1;
        else if (made != rest_reads_late) // make_unreadable(fd)
            w.readable = 0;
        p.at = fall_asleep;
        break;
    case fall_asleep: {
        // ring.tail.compare_exchange_strong(tail, tail | sleeping)
        bool same = w.tail == p.ticket && w.bits == p.how;
        if (made == (scene->polls ? rest_without_look : sleep_without_look))
            same = true;
        if (same)
            w.bits |= scene->polls ? fd_rests : sleeping;
        if (scene->polls)
            p.at = same ? made == rest_reads_late ? read_late : poll_fd : write_again;
        else
            p.at = same ? futex_wait : pop;
        break;
    }
    case futex_wait:
        // FUTEX_WAIT: not if the word has changed; who calls from here on is heard
        w.called = 0;
        p.at = w.asleep ? wait_futex : get_up;
        break;
    case wait_futex: // until called, or until its deadline
        if (!w.called && (!scene->ends || w.ended))
            return false;
        p.at = get_up;
        break;
    case get_up:
        // ring.tail.fetch_and(~sleeping)
        w.bits &= uint8_t(~sleeping);
        p.at = pop;
        break;
    case read_late:
        w.readable = 0;
        p.at = poll_fd;
        break;
    case write_again:
        // make_readable(fd)
        if (made != rest_forgets_to_write)
            w.readable = 1;
        p.at = poll_fd;
        break;
    case poll_fd:
        if (!w.readable)
            return false;
        p.at = pop;
        break;
    }
    return true;
}

// wait_end of job 0, by the owner between two of its calls
static bool owner_ends(world &w)
{
    bool between = w.owner.at == pop || w.owner.at == poll_fd;
    if (!scene->ends || w.ended || !between)
        return false;
    uint8_t keep = made == end_forgets_queued ? 0 : queued;
    if (made == end_keeps_woken)
        keep |= woken;
    w.word[0] = uint8_t((w.word[0] & keep) + 2 * next_generation);
    w.owed &= uint8_t(~1);
    w.ended = 1;
    return true;
}

// ---- all orders --------------------------------------------------------------------

static size_t explored, ends;

// Returns what went wrong, or NULL.
static const char *explore(const scenario &s, mistake m)
{
    made = m;
    scene = &s;
    wrong = nullptr;
    world first;
    memset(&first, 0, sizeof first);
    first.word[0] = first.word[1] = next_generation;
    first.readable = 1; // as the descriptor is made
    count = 0;
    for (const char *at = s.wakers; *at; at += 3 + (at[3] == ' ')) {
        process &p = first.wakers[count++];
        p.job = uint8_t(at[0] - '0');
        p.generation = uint8_t(at[1] - '0');
        p.turns = uint8_t(at[2] - '0');
    }
    exploration result = explore_all(first, [](const world &w, auto reach) {
        bool moved = false;
        auto stepped = [&](const world &next) {
            moved = true;
            reach(next);
        };
        world next = w;
        if (owner_step(next, next.owner))
            stepped(next);
        next = w;
        if (owner_ends(next))
            stepped(next);
        bool all_done = true;
        for (int i = 0; i < count && !wrong; i++) {
            all_done = all_done && w.wakers[i].done;
            next = w;
            if (!w.wakers[i].done && waker_step(next, next.wakers[i]))
                stepped(next);
        }
        check(!(w.bits & fd_rests) || !w.readable || w.owner.at == read_late,
              "the descriptor rests, and is readable");
        if (!moved) {
            check(all_done, "a waker waits");
            check(!w.owed, "a wake was lost");
            check(!w.calling, "somebody is still counted");
        }
        return !wrong;
    });
    explored += result.states;
    ends += result.ends;
    return wrong;
}

static const scenario scenarios[] = {
    {"two wakers of one job, the owner sleeps", "012 012", false, false},
    {"two wakers of two jobs, the owner sleeps", "012 112", false, false},
    {"two wakers of two jobs, the owner polls", "012 112", true, false},
    {"two wakers of one job, the owner polls", "012 012", true, false},
    {"three wakers, the owner sleeps", "011 011 112", false, false},
    {"three wakers, the owner polls", "011 011 112", true, false},
    {"wakers of two generations, the owner sleeps", "012 021 111", false, true},
    {"wakers of two generations, the owner polls", "012 021 111", true, true},
};

static void no_order_loses_a_wake(void **)
{
    for (const scenario &s : scenarios) {
        explored = ends = 0;
        const char *what = explore(s, none);
        print_message("  %-50s %8zu states, %zu ends\n", s.name, explored, ends);
        if (what)
            fail_msg("%s: %s", s.name, what);
        assert_true(explored > 200);
        assert_true(ends > 0 || states_most() != SIZE_MAX);
    }
}

static void every_mistake_is_found(void **)
{
    int missed = 0;
    for (int m = none + 1; m < mistakes; m++) {
        const char *what = nullptr;
        const scenario *where = scenarios;
        for (const scenario &s : scenarios)
            if (!what && (what = explore(s, mistake(m))))
                where = &s;
        print_message("  %-55s %s%s%s\n", mistake_names[m], what ? what : "NOT FOUND",
                      what ? ": " : "", what ? where->name : "");
        missed += !what;
    }
    if (states_most() == SIZE_MAX)
        assert_int_equal(missed, 0);
}

// What one might take for needed: the owner does not rest while somebody is about to call
// it, and so what is done to its rest is done in time wherever it is done.
static void variants_that_change_nothing(void **)
{
    for (const scenario &s : scenarios) {
        assert_null(explore(s, push_calls_before_the_entry));
        assert_null(explore(s, push_clears_after_the_entry));
    }
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(no_order_loses_a_wake),
        cmocka_unit_test(every_mistake_is_found),
        cmocka_unit_test(variants_that_change_nothing),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
