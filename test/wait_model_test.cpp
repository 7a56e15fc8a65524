// SPDX-License-Identifier: Apache-2.0
//
// The protocol of src/wait.cpp, run in every order. Each atomic step of it - a
// load, a compare-exchange, a system call, a section under the lock - is one step
// of a model, with the line that it stands for beside it; all interleavings of a
// few callers on one state are explored, while its owner ends a generation and
// begins the next. What is closed counts as a stranger's at once, and the lowest
// closed number is the next to be opened, as in the kernel.
//
// Memory is sequentially consistent but for one thing: what a waker wrote just
// before its wake lies in a store buffer, as on x86, until that processor does
// an atomic read-modify-write, or sooner.
//
// Then the same with a mistake made in the protocol on purpose: each must be found.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>

#include "explore.h"
#include "support.h"

// ---- mistakes -------------------------------------------------------------------

enum mistake {
    none,
    wake_without_pin,
    clear_without_pin,
    get_without_lock,
    unpin_without_mark,
    unpin_marks_after,
    unpin_closes_early,
    unpin_never_closes,
    unpin_rests_for_ever,
    begin_ignores_resting,
    end_ignores_pins,
    end_stores,
    end_forgets_fd,
    end_leaves_readable,
    end_forgets_retired,
    attach_ignores_woken,
    attach_ignores_end,
    attach_stores_fd_late,
    attach_stores_has_fd,
    attach_gives_back_readable,
    wake_trusts_the_mark,
    wake_trusts_the_mark_with_fd,
    wake_ignores_generation,
    clear_ignores_generation,
    clear_stores,
    mistakes,
    // No mistakes, it turns out; see variants_that_change_nothing.
    unpin_marks_while_resting,
    get_without_pin,
};

static const char *const mistake_names[] = {
    "none",
    "wake without pin",
    "clear without pin",
    "get without lock",
    "unpin does not mark again",
    "unpin marks in a step of its own, after the pin",
    "unpin closes while others are pinned",
    "unpin does not close",
    "unpin does not end the rest",
    "begin ignores resting",
    "end ignores pins",
    "end stores instead of exchanging",
    "end forgets the descriptor",
    "end leaves the descriptor readable",
    "end forgets retired",
    "attach ignores woken",
    "attach ignores that the generation has ended",
    "attach stores the number after has_fd",
    "attach stores the word instead of exchanging",
    "attach gives a readable descriptor back",
    "wake believes the mark and writes nothing to the word",
    "wake believes the mark and writes nothing to the descriptor",
    "wake ignores the generation",
    "clear ignores the generation",
    "clear stores instead of exchanging",
};
static_assert(sizeof mistake_names / sizeof *mistake_names == mistakes);

// ---- the world ---------------------------------------------------------------------

static constexpr uint16_t woken = 1, has_fd = 2, resting = 4, retired = 8;
static constexpr uint16_t pin = 1 << 4, pins_mask = 0xf0;
static constexpr uint16_t generation_mask = 0xff00, next_generation = 1 << 8;
static int generation_of(uint16_t word) { return word >> 8; }

static constexpr int fds_first = 1, fds_most = 7, processes_most = 5;

// Whose a descriptor is.
enum : uint8_t { closed, cached, in_hand, attached }; // attached + generation

struct process {
    uint8_t kind; // see below
    uint8_t generation;
    uint8_t at;
    uint8_t fd;
    uint16_t word; // as it was last seen
    uint8_t script;
    uint8_t mark : 1;     // what unpin is given
    uint8_t readable : 1; // attach_descriptor's
    uint8_t active : 1;   // within wake or clear
    uint8_t tainted : 1;  // overlapped by one of the other kind
    uint8_t buffered : 1; // what it wrote is in its store buffer
    uint8_t done : 1;
    uint8_t unused : 2;
};

struct world {
    uint16_t word;
    uint8_t fd;
    uint8_t lock; // whose, + 1
    uint8_t cache[fds_most];
    uint8_t cached_count, open;
    uint8_t owner[fds_most];
    uint8_t readable; // a bit each
    uint8_t born, ended; // generations
    uint8_t news, seen;  // what wakers wrote; what the clearer saw
    // For each generation, from outside:
    uint8_t wake_begun; // ever
    uint8_t owed;       // a wake has returned, and no clear has begun since it began
    uint8_t quiet;      // a clear has returned, and no wake has begun since it began
    process processes[processes_most];
};
static_assert(std::has_unique_object_representations_v<world>); // to be hashed

struct scenario {
    const char *name;
    const char *processes; // kind and generation: w1 wake, c1 clear, g1 get
    const char *owner;     // B begin, E end, X the cache is closed
    int last_generation;
};

static mistake made;
static const scenario *scene;
static const char *wrong;
static int count;

static void check(bool right, const char *what)
{
    if (!right && !wrong)
        wrong = what;
}

static bool is_readable(const world &w, int fd) { return w.readable >> fd & 1; }
static void set_readable(world &w, int fd, bool on)
{
    w.readable = uint8_t(on ? w.readable | 1 << fd : w.readable & ~(1 << fd));
}

static bool exchange(world &w, process &p, uint16_t next)
{
    if (p.buffered) { // an atomic read-modify-write empties the store buffer
        p.buffered = 0;
        w.news |= uint8_t(1 << (&p - w.processes));
    }
    if (w.word != p.word) {
        p.word = w.word;
        return false;
    }
    w.word = next;
    return true;
}

static void close_fd(world &w, int fd, const char *what)
{
    check(w.owner[fd] != closed, what);
    w.owner[fd] = closed;
    set_readable(w, fd, false);
}

static bool ended(uint16_t word, int generation)
{
    return generation_of(word) != generation || (word & retired);
}

// ---- what is seen from outside -----------------------------------------------------------

// Of a wake and a clear that overlap, either may count as the later one.
static void call_begins(world &w, process &p, char against, uint8_t &over)
{
    over = over & uint8_t(~(1 << p.generation));
    p.active = 1;
    p.tainted = 0;
    for (process &q : w.processes)
        if (q.active && q.kind == against && q.generation == p.generation)
            q.tainted = p.tainted = 1;
}

static void wake_begins(world &w, process &p)
{
    w.wake_begun |= uint8_t(1 << p.generation);
    p.buffered = 1;
    call_begins(w, p, 'c', w.quiet);
}

static void clear_begins(world &w, process &p)
{
    call_begins(w, p, 'w', w.owed);
}

static void call_ends(world &w, process &p, bool answer)
{
    check(answer || w.ended >= p.generation, "a call for a living generation was refused");
    p.active = 0;
    p.done = 1;
    if (!p.tainted && p.kind == 'w')
        w.owed |= uint8_t(1 << p.generation);
    if (!p.tainted && p.kind == 'c')
        w.quiet |= uint8_t(1 << p.generation);
}

static bool shows_woken(const world &w)
{
    return w.word & has_fd ? is_readable(w, w.fd) : w.word & woken;
}

static void check_world(const world &w)
{
    for (int i = 0; i < w.cached_count; i++) {
        check(w.owner[w.cache[i]] == cached, "the cache holds what it does not own");
        check(!is_readable(w, w.cache[i]), "the cache holds a readable descriptor");
    }
    int g = w.born;
    if (!g || w.ended >= g)
        return;
    uint8_t bit = uint8_t(1 << g);
    check(generation_of(w.word) == g, "the generation is another");
    if (w.word & has_fd)
        check(w.owner[w.fd] == attached + g, "the state's descriptor is not its own");
    if (wrong)
        return;
    if (w.owed & bit)
        check(shows_woken(w), "a wake was lost");
    if (w.quiet & bit)
        check(!shows_woken(w), "woken after a clear, by nobody");
    if (!(w.wake_begun & bit))
        check(!shows_woken(w) && !(w.word & woken), "woken, and nobody has");
    if (!(w.word & pins_mask) && (w.word & has_fd) && !(w.word & woken))
        check(!is_readable(w, w.fd), "readable, and the word does not say so");
}

static void check_end(const world &w)
{
    check(!(w.word & (pins_mask | resting)), "pinned or resting at the end");
    int open = 0, in_use = 0;
    for (uint8_t owner : w.owner) {
        open += owner != closed;
        in_use += owner != closed && owner != cached;
    }
    bool lives = w.born > w.ended;
    check(in_use == (lives && (w.word & has_fd)), "a descriptor leaked");
    check(open == w.open, "the count of open descriptors is wrong");
    check(open - in_use == w.cached_count, "the cache has lost a descriptor");
    check(!strchr(scene->owner, 'X') || open == 0, "not all is closed at the end");
    for (int i = 0; lives && i < count; i++) {
        const process &p = w.processes[i];
        bool cleared = false;
        for (const process &q : w.processes)
            cleared |= q.kind == 'c';
        if (p.kind == 'w' && p.generation == w.born && cleared)
            check((w.seen >> i & 1) || shows_woken(w),
                  "neither woken nor seen: a wake was lost");
    }
}

// ---- the steps -----------------------------------------------------------------------------

// Where a process is.
enum : uint8_t {
    begin,
    loaded,
    pinned,
    chosen,
    unpin_load,
    unpin_exchange,
    unpin_mark,
    unpin_close,
    unpin_count,
    unpin_store,
    look,
    get_load,
    get_pin,
    get_there,
    take,
    store_fd,
    attach_load,
    attach,
    attach_late,
    attach_failed,
    put_back,
    unlock,
    end_exchange,
    end_fd,
    end_read,
    end_put,
};

static void after_unpin(world &w, process &p)
{
    if (p.kind == 'g')
        p.at = unlock;
    else if (p.kind == 'c')
        p.at = look;
    else
        call_ends(w, p, true);
}

static void unpin_step(world &w, process &p)
{
    switch (p.at) {
    case unpin_load:
        // uint64_t word = state.word.load(std::memory_order_relaxed);
        p.word = w.word;
        p.at = unpin_exchange;
        break;
    case unpin_exchange: {
        // next = (word & resting ? word : word | mark) - pin;
        // while (!state.word.compare_exchange_weak(word, next,
        bool marks = p.mark && made != unpin_without_mark && made != unpin_marks_after &&
                     (!(p.word & resting) || made == unpin_marks_while_resting);
        uint16_t next = uint16_t((marks ? p.word | woken : p.word) - pin);
        check(p.word & pins_mask, "unpinned once too often");
        if (wrong || !exchange(w, p, next))
            break;
        p.word = next;
        // if (!(next & resting) || (next & pins_mask))
        //     return;
        if (!(next & resting) ||
            ((next & pins_mask) && made != unpin_closes_early)) {
            if (made == unpin_marks_after && p.mark && !(next & resting))
                p.at = unpin_mark;
            else
                after_unpin(w, p);
        } else {
            // if (next & has_fd) {
            p.at = next & has_fd && made != unpin_never_closes ? unpin_close
                                                               : unpin_store;
        }
        break;
    }
    case unpin_mark:
        w.word |= woken;
        after_unpin(w, p);
        break;
    case unpin_close:
        // close(state.fd.load(std::memory_order_relaxed));
        check(w.owner[w.fd] == attached + p.generation, "closed what is another's");
        close_fd(w, w.fd, "closed twice");
        p.at = unpin_count;
        break;
    case unpin_count:
        // cache.open--;
        w.open--;
        p.at = unpin_store;
        break;
    case unpin_store:
        // state.word.store(next & (generation_mask | retired),
        if (made != unpin_rests_for_ever)
            w.word = p.word & (generation_mask | retired);
        after_unpin(w, p);
        break;
    }
}

static bool signal_step(world &w, process &p)
{
    bool wake = p.kind == 'w';
    switch (p.at) {
    case begin:
        if (w.born < p.generation)
            return false; // nobody has the handle yet
        wake ? wake_begins(w, p) : clear_begins(w, p);
        p.at = loaded;
        // uint64_t word = state.word.load(std::memory_order_acquire);
        // In the step of its beginning: nothing is seen of that but by loads.
        p.word = w.word;
        break;
    case loaded: {
        // if (wait_generation(word) != generation || (word & retired))
        //     return false;
        bool ignores = made == (wake ? wake_ignores_generation : clear_ignores_generation);
        if (ended(p.word, p.generation) && !ignores) {
            call_ends(w, p, false);
            break;
        }
        if (wake && !(p.word & has_fd)) {
            // if (state.word.compare_exchange_weak(word, word | woken,
            //     return true;
            if ((p.word & woken) && made == wake_trusts_the_mark)
                call_ends(w, p, true);
            else if (exchange(w, p, p.word | woken))
                call_ends(w, p, true);
            break;
        }
        if (wake && (p.word & woken) && made == wake_trusts_the_mark_with_fd) {
            call_ends(w, p, true);
            break;
        }
        // wake:  word, (word | woken) + pin
        // clear: next = word & ~woken; if (word & has_fd) next += pin;
        uint16_t next = uint16_t(wake ? p.word | woken : p.word & ~woken);
        bool pins = (p.word & has_fd) &&
                    made != (wake ? wake_without_pin : clear_without_pin);
        if (pins)
            next = uint16_t(next + pin);
        bool had_fd = p.word & has_fd;
        if (!wake && made == clear_stores && !had_fd)
            w.word = next;
        else if (!exchange(w, p, next))
            break;
        p.at = had_fd ? pinned : look;
        break;
    }
    case pinned:
        // state.fd.load(std::memory_order_relaxed)
        p.fd = w.fd;
        p.at = chosen;
        break;
    case chosen:
        // make_readable(fd); make_unreadable(fd);
        check(w.owner[p.fd] != closed, "used a closed number");
        check(w.owner[p.fd] == attached + p.generation, "used another's descriptor");
        set_readable(w, p.fd, wake);
        // unpin(state, cache, woken); unpin(state, cache, 0);
        p.mark = wake;
        p.at = unpin_load;
        if (made == (wake ? wake_without_pin : clear_without_pin))
            after_unpin(w, p);
        break;
    case look:
        // The caller of clear, who looks at what it waits for.
        w.seen = w.news;
        call_ends(w, p, true);
        break;
    default:
        unpin_step(w, p);
    }
    return true;
}

static bool take_lock(world &w, int who)
{
    if (w.lock)
        return false;
    w.lock = uint8_t(who + 1);
    return true;
}

static bool get_step(world &w, process &p, int who)
{
    switch (p.at) {
    case begin:
        // pthread_mutex_lock(&cache.lock);
        if (w.born < p.generation)
            return false;
        if (made != get_without_lock && !take_lock(w, who))
            return false;
        p.at = get_load;
        break;
    case get_load:
        // uint64_t word = state.word.load(std::memory_order_acquire);
        p.word = w.word;
        p.at = get_pin;
        break;
    case get_pin:
        // if (wait_generation(word) != generation || (word & retired)) {
        if (ended(p.word, p.generation)) {
            check(w.ended >= p.generation, "a get for a living generation was refused");
            p.at = unlock;
        } else if (p.word & has_fd) {
            p.at = get_there;
        } else {
            // if (state.word.compare_exchange_weak(word, word + pin,
            uint16_t next = uint16_t(made == get_without_pin ? p.word : p.word + pin);
            if (exchange(w, p, next))
                p.at = take;
        }
        break;
    case get_there:
        // fd = state.fd.load(std::memory_order_relaxed);
        if (w.ended < p.generation)
            check(w.owner[w.fd] == attached + p.generation, "got another's descriptor");
        p.at = unlock;
        break;
    case take:
        // int fd = cache_take(cache, reason);
        if (w.cached_count) {
            p.fd = w.cache[--w.cached_count];
            w.cache[w.cached_count] = 0;
        } else {
            p.fd = fds_first;
            while (p.fd < fds_most && w.owner[p.fd] != closed)
                p.fd++;
            check(p.fd < fds_most, "too few numbers for the model");
            if (wrong)
                break;
            w.open++;
        }
        w.owner[p.fd] = in_hand;
        p.at = made == attach_stores_fd_late ? attach_load : store_fd;
        break;
    case store_fd:
        // state.fd.store(fd, std::memory_order_relaxed);
        w.fd = p.fd;
        p.at = attach_load;
        break;
    case attach_load:
        // uint64_t word = state.word.load(std::memory_order_acquire);
        p.word = w.word;
        p.readable = 0;
        p.at = attach;
        break;
    case attach:
        // while (wait_generation(word) == generation && !(word & retired)) {
        if (ended(p.word, p.generation) && made != attach_ignores_end) {
            p.at = attach_failed;
            break;
        }
        // if (readable != bool(word & woken)) {
        //     (readable ? make_readable : make_unreadable)(fd);
        if (p.readable != (p.word & woken) && made != attach_ignores_woken) {
            check(w.owner[p.fd] == in_hand, "made readable what is another's");
            p.readable = p.word & woken;
            set_readable(w, p.fd, p.readable);
            break;
        }
        // if (state.word.compare_exchange_weak(word, word | has_fd,
        if (made == attach_stores_has_fd)
            w.word = p.word | has_fd;
        else if (!exchange(w, p, p.word | has_fd))
            break;
        check(w.ended < p.generation, "attached after the end");
        w.owner[p.fd] = uint8_t(attached + p.generation);
        if (made == attach_stores_fd_late) {
            p.at = attach_late;
        } else {
            p.mark = 0;
            p.at = made == get_without_pin ? unlock : unpin_load;
        }
        break;
    case attach_late:
        w.fd = p.fd;
        p.mark = 0;
        p.at = unpin_load;
        break;
    case attach_failed:
        // if (readable) make_unreadable(fd);
        check(w.owner[p.fd] == in_hand, "read what is another's");
        if (p.readable && made != attach_gives_back_readable)
            set_readable(w, p.fd, false);
        p.at = put_back;
        break;
    case put_back:
        // cache_put(cache, fd);
        w.owner[p.fd] = cached;
        w.cache[w.cached_count++] = p.fd;
        p.mark = 0;
        p.at = made == get_without_pin ? unlock : unpin_load;
        break;
    case unlock:
        // pthread_mutex_unlock(&cache.lock);
        if (made != get_without_lock)
            w.lock = 0;
        p.done = 1;
        break;
    default:
        unpin_step(w, p);
    }
    return true;
}

static bool owner_step(world &w, process &p)
{
    auto next_line = [&p] {
        p.at = begin;
        p.script++;
        p.done = scene->owner[p.script] == 0;
    };
    switch (scene->owner[p.script]) {
    case 'B':
        // if (word & (resting | retired))
        //     return false;
        if ((w.word & retired) ||
            ((w.word & resting) && made != begin_ignores_resting))
            return false;
        check(!(w.word & 0xff), "born with something left over");
        w.born++;
        next_line();
        return true;
    case 'X':
        // wait_cache_close: all under the lock.
        if (w.lock)
            return false;
        for (; w.cached_count; w.open--) {
            close_fd(w, w.cache[--w.cached_count], "the cache closed twice");
            w.cache[w.cached_count] = 0;
        }
        next_line();
        return true;
    }
    switch (p.at) {
    case begin:
        // uint64_t word = state.word.load(std::memory_order_acquire);
        p.word = w.word;
        p.at = end_exchange;
        break;
    case end_exchange: {
        // next = last ? (word & generation_mask) | retired
        //             : (word & generation_mask) + next_generation;
        bool last = generation_of(p.word) == scene->last_generation;
        uint16_t next = uint16_t(
            last && made != end_forgets_retired ? (p.word & generation_mask) | retired
            : last ? (p.word & generation_mask)
                   : (p.word & generation_mask) + next_generation);
        // if (word & pins_mask)
        //     next |= (word & (pins_mask | has_fd)) | resting;
        if ((p.word & pins_mask) && made != end_ignores_pins)
            next |= (p.word & (pins_mask | has_fd)) | resting;
        uint16_t word = p.word;
        if (made == end_stores)
            w.word = next;
        else if (!exchange(w, p, next))
            break;
        w.ended = w.born;
        // if (next & resting)
        //     return false;
        if ((next & resting) || !(word & has_fd) || made == end_forgets_fd)
            next_line();
        else
            p.at = end_fd;
        break;
    }
    case end_fd:
        // int fd = state.fd.load(std::memory_order_relaxed);
        p.fd = w.fd;
        check(w.owner[p.fd] == attached + w.born, "ended with another's descriptor");
        w.owner[p.fd] = in_hand;
        p.at = end_read;
        break;
    case end_read:
        // if ((word & woken) && !cache.shared)
        //     make_unreadable(fd);
        check(w.owner[p.fd] == in_hand, "read what is another's");
        if ((p.word & woken) && made != end_leaves_readable)
            set_readable(w, p.fd, false);
        p.at = end_put;
        break;
    case end_put:
        // cache_put(cache, fd); under the lock
        if (w.lock)
            return false;
        w.owner[p.fd] = cached;
        w.cache[w.cached_count++] = p.fd;
        next_line();
        break;
    }
    return true;
}

static bool step(world &w, int who)
{
    process &p = w.processes[who];
    if (p.done)
        return false;
    switch (p.kind) {
    case 'w':
    case 'c': return signal_step(w, p);
    case 'g': return get_step(w, p, who);
    default: return owner_step(w, p);
    }
}

// ---- all orders --------------------------------------------------------------------------------

static size_t explored, ends;

// Returns what went wrong, or NULL.
static const char *explore(const scenario &s, mistake m)
{
    made = m;
    scene = &s;
    wrong = nullptr;
    world first;
    memset(&first, 0, sizeof first);
    first.word = next_generation;
    count = 0;
    for (const char *at = s.processes; *at; at += 2 + (at[2] == ' ')) {
        first.processes[count].kind = uint8_t(at[0]);
        first.processes[count].generation = uint8_t(at[1] - '0');
        count++;
    }
    first.processes[count++].kind = 'o';

    exploration result = explore_all(first, [](const world &w, auto reach) {
        bool moved = false, all_done = true;
        for (int i = 0; i < count && !wrong; i++) {
            world next = w;
            if (step(next, i)) {
                moved = true;
                check_world(next);
                reach(next);
            }
            all_done = all_done && w.processes[i].done;
            if (w.processes[i].buffered && !wrong) {
                next = w;
                next.processes[i].buffered = 0;
                next.news |= uint8_t(1 << i);
                moved = true;
                check_world(next);
                reach(next);
            }
        }
        if (!wrong && !moved) {
            check(all_done, "somebody waits for ever");
            if (!wrong)
                check_end(w);
        }
        return !wrong;
    });
    explored += result.states;
    ends += result.ends;
    return wrong;
}

static const scenario scenarios[] = {
    {"two wakers, a getter, and the next generation's", "w1 w1 g1 g2", "BEBEX", 99},
    {"wakers and getters of two generations", "w1 w2 g1 g2", "BEBEX", 99},
    {"waker, clearer, getter, and the next getter", "w1 c1 g1 g2", "BEBEX", 99},
    {"two getters, a waker, and the next getter", "g1 g1 w1 g2", "BEBEX", 99},
    {"two clearers, a waker, a getter of a job that stays", "c1 c1 w1 g1", "B", 99},
    {"two wakers, a clearer and a getter of a job that stays", "w1 w1 c1 g1", "B", 99},
    {"two wakers and a clearer without descriptor", "w1 w1 c1", "B", 99},
    {"two wakers, two getters of a job that stays", "w1 w1 g1 g1", "B", 99},
    {"waker, clearer, getter of the last generation", "w1 c1 g1", "BEX", 1},
    {"the cache closed while a getter of the next comes", "w1 g1 g2", "BEXBEX", 99},
};

static void no_order_breaks_the_protocol(void **)
{
    for (const scenario &s : scenarios) {
        explored = ends = 0;
        const char *what = explore(s, none);
        print_message("  %-55s %8zu states, %zu ends\n", s.name, explored, ends);
        if (what)
            fail_msg("%s: %s", s.name, what);
        // It was not over before it began.
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
        print_message("  %-58s %s%s%s\n", mistake_names[m], what ? what : "NOT FOUND",
                      what ? ": " : "", what ? where->name : "");
        missed += !what;
    }
    if (states_most() == SIZE_MAX)
        assert_int_equal(missed, 0);
}

// What one might take for needed.
static void variants_that_change_nothing(void **)
{
    for (const scenario &s : scenarios) {
        // The last to leave wipes the mark.
        assert_null(explore(s, unpin_marks_while_resting));
        // has_fd is set under the lock alone, and nobody looks at the number
        // before.
        assert_null(explore(s, get_without_pin));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(no_order_breaks_the_protocol),
        cmocka_unit_test(every_mistake_is_found),
        cmocka_unit_test(variants_that_change_nothing),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
