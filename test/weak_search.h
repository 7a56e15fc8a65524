// SPDX-License-Identifier: Apache-2.0
//
// A stateless model checker for sources compiled with weak.h. A test includes this file
// once and describes a few threads (a plan); search() runs them under all schedules, and
// lets each load return all values that C++20 allows.
//
// Threads are contexts of this library on one system thread. Every atomic operation and
// system call is a scheduling point. The search is depth first over the choices made in a
// run, and runs the plan again for each; it prunes states that were visited before. Limits
// bound the number of preemptions, of stale reads and of threads stalled for ever.
//
// Memory model. Each atomic object has its messages (stores) in modification order. A
// thread's view holds, for each object, the oldest message that the thread may still read.
// A release stores the view in the message, an acquire joins the message's view into the
// thread's. A read-modify-write reads the newest message and continues its release
// sequence. A plain store may take any place in modification order after the thread's
// view. A seq_cst operation also reads nothing older than the last seq_cst operation on
// the same object. Not modelled: consume, fences, loads that read from later stores, and
// read-modify-writes in the middle of modification order.
//
// The kernel promises what its locks imply and no more: read and write of an eventfd,
// FUTEX_WAIT and FUTEX_WAKE synchronize; poll does not. FUTEX_WAIT may read a stale value
// as long as the FUTEX_WAKE that follows the store has not been called.
#pragma once

#include <cstdarg>
#include <string>
#include <vector>

#include "context.h"
#include "weak.h"

namespace weak {

inline constexpr int threads_most = 8, places_most = 80, fds_most = 8, locks_most = 4;
inline constexpr unsigned messages_most = 200, steps_most = 3000;
inline constexpr size_t stack_bytes = 65536, arena_bytes = 1 << 20;

struct view {
    alignas(16) uint8_t at[places_most];
    void join(const view &other)
    {
        for (int i = 0; i < places_most; i++)
            at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
    }
};

struct message {
    uint64_t value;
    bool adjacent; // stored by a read-modify-write: nothing comes between it and the last
    view released;
};

struct place {
    uintptr_t address;
    unsigned bytes;
    uint8_t newest, sequential;
    message messages[messages_most];
};

// What a thread waits for.
enum class waits : uint8_t {
    nothing,
    lock,      // object: the mutex
    futex,     // object: the word
    readable,  // number: the descriptor
    others,    // yielded: until another thread has made a step
    condition, // condition(number)
    ended,
};

struct thread_plan {
    const char *name;
    void (*body)(int number);
    int number;
    int host = -1;          // a signal handler that interrupts this thread; -1: a thread
    bool may_stall = false; // may stop for ever at any point
};

struct plan {
    std::vector<thread_plan> threads;
    void (*begin)(); // sets the memory up, before any thread runs
    void (*end)();   // checks the memory when no thread can run any more
    void *memory;    // all memory that threads share, but for mappings
    size_t bytes;
    // A thread goes on: sets its thread-local variables. -1: no thread yet, in a new run.
    void (*enter)(int number) = nullptr;
};

struct limits {
    unsigned preemptions = UINT_MAX, stale = UINT_MAX, stalls = 0;
    size_t runs = SIZE_MAX;
    bool random = false;
    bool prunes = true; // visited states
};

struct result {
    std::string wrong; // the error and its trace; empty if there is none
    size_t runs = 0, states = 0, ends = 0;
    bool all = false; // searched to the end, within the limits
};

struct thread {
    context ctx;
    const thread_plan *what;
    waits want;
    const void *object;
    int number;
    bool (*condition)(int);
    bool begun, stalled, interrupted, chosen;
    bool spins; // runs again although no other thread can
    int kept_errno;
    uint64_t local; // a hash of all results it was given: determines its local state
    uint32_t others_before;
    view seen;
};

struct descriptor {
    bool open;
    uint64_t count;
    view released;
};

struct lock {
    const void *address;
    int holder; // the thread's number + 1
    view released;
};

struct region {
    uintptr_t begin;
    size_t bytes;
    bool mapped;
};

// By 64 bits of hash: of a few million states, no two are likely to meet.
class seen_states {
public:
    seen_states() : table(1 << 16) {}
    bool add(uint64_t hash)
    {
        if (size * 2 > table.size())
            grow();
        uint64_t *at = place(hash);
        if (*at)
            return false;
        *at = hash;
        size++;
        return true;
    }
    size_t size = 0;

private:
    uint64_t *place(uint64_t hash)
    {
        size_t i = size_t(hash) & (table.size() - 1);
        while (table[i] && table[i] != hash)
            i = (i + 1) & (table.size() - 1);
        return &table[i];
    }
    void grow()
    {
        std::vector<uint64_t> old(table.size() * 2);
        old.swap(table);
        for (uint64_t hash : old)
            if (hash)
                *place(hash) = hash;
    }
    std::vector<uint64_t> table;
};

inline struct machine {
    const plan *what;
    limits most;
    int running = -1; // -1: none, operations take effect at once
    int count;
    context home;
    thread threads[threads_most];
    descriptor fds[fds_most];
    lock locks[locks_most];
    view futexes; // of the kernel's lock
    std::vector<region> regions;
    size_t arena_used, arena_high;

    place places[places_most];
    int places_count;
    uint8_t place_of[256]; // by hash of the address; + 1

    struct choice {
        uint16_t count, taken;
    };
    std::vector<choice> path;
    size_t depth;
    uint64_t random;
    unsigned preempted, stale, stalls, steps, rounds;
    uint32_t moves[threads_most], moves_all;
    seen_states *seen;
    std::string wrong;
    bool traces;
    std::string trace;
    size_t ends;
} m;

alignas(64) inline unsigned char stacks[threads_most][stack_bytes];
alignas(4096) inline unsigned char arena[arena_bytes];

// ---- traces --------------------------------------------------------------------------

struct named {
    const void *begin;
    size_t each, count;
    const char *name;
};
inline std::vector<named> names;

inline std::string name_of(const void *at)
{
    auto address = reinterpret_cast<uintptr_t>(at);
    for (const named &n : names) {
        uintptr_t offset = address - reinterpret_cast<uintptr_t>(n.begin);
        if (offset < n.each * n.count)
            return n.count > 1 ? std::string(n.name) + "[" + std::to_string(offset / n.each) + "]"
                               : n.name;
    }
    for (size_t i = 0; i < m.regions.size(); i++)
        if (address - m.regions[i].begin < m.regions[i].bytes)
            return "mapping " + std::to_string(i) + " + " +
                   std::to_string(address - m.regions[i].begin);
    char text[32];
    snprintf(text, sizeof text, "%p", at);
    return text;
}

#define TRACE(...) (m.traces ? trace(__VA_ARGS__) : void())
[[gnu::format(printf, 1, 2)]] inline void trace(const char *format, ...)
{
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    m.trace += std::string("    ") + m.threads[m.running].what->name + ": " + text + "\n";
}

// ---- a run ends -----------------------------------------------------------------------

[[noreturn]] inline void leave()
{
    m.running = -1;
    context_jump(&m.home, {});
}

[[noreturn]] inline void end_wrong(const std::string &what)
{
    m.wrong = what;
    leave();
}

inline void check(bool right, const char *what)
{
    if (!right)
        end_wrong(m.running >= 0 ? std::string(m.threads[m.running].what->name) + ": " + what
                                 : what);
}

// ---- choices --------------------------------------------------------------------------

inline bool replays() { return m.depth < m.path.size(); }

inline unsigned dice(unsigned count)
{
    m.random ^= m.random << 13;
    m.random ^= m.random >> 7;
    m.random ^= m.random << 17;
    return unsigned((m.random >> 20) % count);
}

// A random search takes the first option first_weight times as often as each other.
inline unsigned choose(unsigned count, unsigned first_weight = 1)
{
    if (count == 1)
        return 0;
    if (!replays()) {
        unsigned taken = 0;
        if (m.most.random && dice(first_weight + count - 1) >= first_weight)
            taken = 1 + dice(count - 1);
        m.path.push_back({uint16_t(count), uint16_t(taken)});
    }
    return m.path[m.depth++].taken;
}

inline bool may_be_stale() { return m.stale < m.most.stale && !m.rounds; }

// 0: the newest message; else a stale one.
inline unsigned choose_stale(unsigned count)
{
    unsigned taken = choose(may_be_stale() ? count : 1, 8);
    m.stale += taken != 0;
    return taken;
}

inline uint64_t mix(uint64_t hash, uint64_t with)
{
    hash = (hash ^ with) * 0xff51afd7ed558ccd;
    return hash ^ hash >> 31;
}

// ---- states ---------------------------------------------------------------------------

inline const view &view_of(const thread &t)
{
    return t.what->host < 0 ? t.seen : m.threads[t.what->host].seen;
}

inline bool is_gone(const thread &t) { return t.want == waits::ended || t.stalled; }

inline uint64_t hash_of_bytes(uint64_t hash, const void *from, size_t bytes)
{
    auto at = static_cast<const unsigned char *>(from);
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t part;
        memcpy(&part, at, 8);
        hash = mix(hash, part);
    }
    for (; bytes; at++, bytes--)
        hash = mix(hash, *at);
    return hash;
}

inline bool is_enabled(int number);

// Equal for states with the same future. Messages that no thread can read any more do not
// count; of the others the order counts, not the number.
inline uint64_t state_hash()
{
    view low, newest;
    memset(&low, 0xff, sizeof low);
    for (int i = 0; i < m.count; i++)
        if (!is_gone(m.threads[i])) {
            const view &v = view_of(m.threads[i]);
            for (int k = 0; k < places_most; k++)
                low.at[k] = low.at[k] < v.at[k] ? low.at[k] : v.at[k];
        }
    memset(&newest, 0, sizeof newest);
    for (int i = 0; i < m.places_count; i++)
        newest.at[i] = m.places[i].newest;
    auto add_view = [&](uint64_t hash, const view &v) {
        view ago;
        for (int k = 0; k < places_most; k++) {
            uint8_t at = v.at[k] > low.at[k] ? v.at[k] : low.at[k];
            ago.at[k] = uint8_t(newest.at[k] > at ? newest.at[k] - at : 0);
        }
        return hash_of_bytes(hash, ago.at, size_t(m.places_count));
    };
    uint64_t hash = hash_of_bytes(0x9e3779b97f4a7c15, m.what->memory, m.what->bytes);
    // What is left of the limits belongs to the state.
    bool limited = m.most.preemptions != UINT_MAX || m.most.stalls;
    hash = mix(hash, limited ? uint64_t(m.running) << 32 | m.preempted : 0);
    hash = mix(hash, (m.most.stale != UINT_MAX ? m.stale << 16 : 0) | m.stalls << 8 | m.rounds);
    for (int i = 0; i < m.count; i++) {
        const thread &t = m.threads[i];
        bool may_run = t.want == waits::others && is_enabled(i);
        hash = mix(hash, uint64_t(t.want) << 8 | t.begun | t.stalled << 1 | t.interrupted << 2 |
                             t.chosen << 3 | t.spins << 4 | may_run << 5);
        if (is_gone(t))
            continue;
        hash = mix(hash, t.local);
        if (t.what->host < 0)
            hash = add_view(hash, t.seen);
    }
    for (int i = 0; i < m.places_count; i++) {
        const place &p = m.places[i];
        unsigned first = low.at[i] < p.newest ? low.at[i] : p.newest;
        hash = mix(hash, uint64_t(i) << 32 | (p.newest - first) << 8 |
                             (p.newest - (p.sequential > first ? p.sequential : first)));
        for (unsigned k = first; k <= p.newest; k++) {
            hash = mix(mix(hash, p.messages[k].value), p.messages[k].adjacent);
            hash = add_view(hash, p.messages[k].released);
        }
    }
    for (const descriptor &d : m.fds)
        if (d.open)
            hash = add_view(mix(hash, uint64_t(&d - m.fds) << 32 | d.count), d.released);
    for (const lock &l : m.locks)
        if (l.address)
            hash = add_view(mix(hash, uint64_t(l.holder)), l.released);
    hash = add_view(hash, m.futexes);
    for (const region &r : m.regions)
        hash = hash_of_bytes(mix(hash, r.begin ^ r.mapped),
                             reinterpret_cast<const void *>(r.begin),
                             r.bytes < 64 ? r.bytes : 64);
    return hash ? hash : 1;
}

// ---- threads --------------------------------------------------------------------------

inline lock &lock_of(const void *address)
{
    for (lock &l : m.locks)
        if (l.address == address || !l.address) {
            l.address = address;
            return l;
        }
    end_wrong("the model has too few locks");
}

inline bool has_handler(int number)
{
    for (int i = 0; i < m.count; i++)
        if (m.threads[i].what->host == number && m.threads[i].begun && !is_gone(m.threads[i]))
            return true;
    return false;
}

inline uint32_t moves_of_others(int number) { return m.moves_all - m.moves[number]; }

inline bool is_enabled(int number)
{
    const thread &t = m.threads[number];
    if (is_gone(t) || has_handler(number))
        return false;
    if (t.what->host >= 0 && !t.begun) {
        const thread &host = m.threads[t.what->host];
        return host.begun && !is_gone(host) && !has_handler(t.what->host);
    }
    switch (t.want) {
    case waits::nothing: return true;
    case waits::lock: return !lock_of(t.object).holder;
    case waits::futex: return false;
    case waits::readable: return m.fds[t.number].open && m.fds[t.number].count;
    case waits::others: return moves_of_others(number) > t.others_before;
    case waits::condition: return t.condition(t.number);
    case waits::ended: break;
    }
    return false;
}

inline void enter()
{
    if (m.what->enter)
        m.what->enter(m.running);
}

inline void go_to(int number)
{
    thread &from = m.threads[m.running], &to = m.threads[number];
    if (!to.begun) {
        to.begun = to.chosen = true;
        // A handler interrupts the system call its host waits in.
        if (to.what->host >= 0) {
            thread &host = m.threads[to.what->host];
            if (host.want == waits::futex || host.want == waits::readable) {
                host.want = waits::nothing;
                host.interrupted = true;
            }
        }
    }
    if (&to == &from)
        return;
    from.kept_errno = errno;
    m.running = number;
    enter();
    context_switch(&from.ctx, &to.ctx, {});
    errno = from.kept_errno;
}

// If only yielded threads are left, they run a few times more, without stale reads. If
// they still yield, they spin.
inline bool let_spin()
{
    bool any = false;
    for (int i = 0; i < m.count; i++)
        if (!is_gone(m.threads[i]) && m.threads[i].want == waits::others) {
            if (m.rounds >= 3)
                end_wrong(std::string(m.threads[i].what->name) +
                          " spins, and no other thread can run");
            m.threads[i].want = waits::nothing;
            m.threads[i].spins = any = true;
        }
    m.rounds++;
    return any;
}

inline void pick()
{
    constexpr int stall = -1;
    for (;;) {
        bool on = is_enabled(m.running);
        int options[threads_most + 1];
        unsigned count = 0;
        if (on)
            options[count++] = m.running;
        if (!on || m.preempted < m.most.preemptions)
            for (int i = 0; i < m.count; i++)
                if (i != m.running && is_enabled(i))
                    options[count++] = i;
        if (on && m.threads[m.running].what->may_stall && m.stalls < m.most.stalls)
            options[count++] = stall;
        if (!count) {
            if (let_spin())
                continue;
            m.ends++;
            m.running = -1;
            m.what->end();
            leave();
        }
        if (m.most.prunes && !replays() && !m.seen->add(state_hash()))
            leave();
        int next = options[choose(count, on ? 6 : 1)];
        if (next == stall) {
            TRACE("stalls for ever");
            m.threads[m.running].stalled = true;
            m.stalls++;
            continue;
        }
        m.preempted += on && next != m.running;
        go_to(next);
        return;
    }
}

inline void learn(uint64_t value)
{
    if (m.running < 0)
        return;
    uint64_t &local = m.threads[m.running].local;
    local = mix(local + 1, value);
}

// A scheduling point: comes before each operation that other threads can see.
inline void point()
{
    if (m.running < 0)
        return;
    thread &me = m.threads[m.running];
    if (me.chosen)
        me.chosen = false;
    else
        pick();
    learn(0); // where it is
    if (m.rounds && !me.spins) {
        m.rounds = 0;
        for (thread &t : m.threads)
            t.spins = false;
    }
    m.moves[m.running]++;
    m.moves_all++;
    if (++m.steps > steps_most)
        end_wrong(std::string(me.what->name) + " does not terminate");
}

// Returns true if a signal handler ended the wait.
inline bool block(waits want, const void *object, int number)
{
    thread &me = m.threads[m.running];
    me.want = want;
    me.object = object;
    me.number = number;
    me.interrupted = false;
    pick();
    bool interrupted = me.interrupted;
    me.want = waits::nothing;
    me.interrupted = false;
    me.chosen = true;
    learn(interrupted);
    return interrupted;
}

// ---- for the bodies of threads ---------------------------------------------------------

// The thread's local state is nothing but this place in the code: the rest is in the plan's
// memory. Lets more states be equal.
inline void forget(int where) { m.threads[m.running].local = uint64_t(where); }

inline unsigned decide(unsigned count)
{
    unsigned taken = choose(count);
    learn(taken);
    return taken;
}

inline void wait_until(bool (*condition)(int), int number)
{
    m.threads[m.running].condition = condition;
    block(waits::condition, nullptr, number);
}

inline size_t open_fds()
{
    size_t count = 0;
    for (const descriptor &d : m.fds)
        count += d.open;
    return count;
}
inline bool is_readable(int fd) { return m.fds[fd].open && m.fds[fd].count; }
// Like poll(): may return early after a signal handler.
inline void wait_readable(int fd)
{
    check(m.fds[fd].open, "polls a closed descriptor");
    block(waits::readable, nullptr, fd);
    TRACE("%d is readable", fd);
}

inline bool is_stalled(int number) { return m.threads[number].stalled; }
inline bool is_waiting(int number, waits want)
{
    return !is_gone(m.threads[number]) && m.threads[number].want == want;
}

// ---- memory ---------------------------------------------------------------------------

inline uint64_t raw(const void *at, unsigned bytes)
{
    switch (bytes) {
    case 1: return *static_cast<const uint8_t *>(at);
    case 2: return *static_cast<const uint16_t *>(at);
    case 4: return *static_cast<const uint32_t *>(at);
    default: return *static_cast<const uint64_t *>(at);
    }
}

inline void set_raw(void *at, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1: *static_cast<uint8_t *>(at) = uint8_t(value); break;
    case 2: *static_cast<uint16_t *>(at) = uint16_t(value); break;
    case 4: *static_cast<uint32_t *>(at) = uint32_t(value); break;
    default: *static_cast<uint64_t *>(at) = value;
    }
}

inline uint64_t cut(uint64_t value, unsigned bytes)
{
    return bytes < 8 ? value & ((uint64_t(1) << (8 * bytes)) - 1) : value;
}

inline bool is_there(uintptr_t address)
{
    if (address - reinterpret_cast<uintptr_t>(m.what->memory) < m.what->bytes)
        return true;
    for (const region &r : m.regions)
        if (r.mapped && address - r.begin < r.bytes)
            return true;
    return false;
}

inline void begin_place(place &p)
{
    p.newest = p.sequential = 0;
    p.messages[0] = {raw(reinterpret_cast<const void *>(p.address), p.bytes), false, {}};
}

inline int place_index(const void *at, unsigned bytes)
{
    auto address = reinterpret_cast<uintptr_t>(at);
    if (!is_there(address)) {
        TRACE("uses %s", name_of(at).c_str());
        check(false, "accesses unmapped memory");
    }
    for (unsigned i = unsigned(mix(0, address)) % 256;; i = (i + 1) % 256) {
        uint8_t &known = m.place_of[i];
        if (!known) {
            if (m.places_count == places_most)
                end_wrong("the model has too few atomic objects");
            known = uint8_t(++m.places_count);
            m.places[known - 1].address = address;
            m.places[known - 1].bytes = bytes;
            begin_place(m.places[known - 1]);
        }
        if (m.places[known - 1].address == address)
            return known - 1;
    }
}

inline view &my_view() { return const_cast<view &>(view_of(m.threads[m.running])); }

inline bool acquires(std::memory_order order)
{
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst || order == std::memory_order_consume;
}
inline bool releases(std::memory_order order)
{
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}
inline const char *name_of(std::memory_order order)
{
    static const char *const orders[] = {"relaxed", "consume", "acquire",
                                         "release", "acq_rel", "seq_cst"};
    return orders[int(order)];
}

inline unsigned oldest(const place &p, int index, std::memory_order order)
{
    unsigned low = my_view().at[index];
    return order == std::memory_order_seq_cst && p.sequential > low ? p.sequential : low;
}

inline uint64_t read_message(place &p, int index, unsigned number, std::memory_order order)
{
    view &v = my_view();
    v.at[index] = uint8_t(number);
    if (acquires(order))
        v.join(p.messages[number].released);
    if (order == std::memory_order_seq_cst && number > p.sequential)
        p.sequential = uint8_t(number);
    return p.messages[number].value;
}

inline void make_room(place &p, int index, unsigned number)
{
    if (p.newest + 1u == messages_most)
        end_wrong("the model has too few messages");
    for (unsigned i = ++p.newest; i > number; i--)
        p.messages[i] = p.messages[i - 1];
    if (number == p.newest)
        return;
    auto later = [&](view &v) { v.at[index] = uint8_t(v.at[index] + (v.at[index] >= number)); };
    for (int i = 0; i < m.count; i++)
        later(m.threads[i].seen);
    for (int i = 0; i < m.places_count; i++)
        for (unsigned k = 0; k <= m.places[i].newest; k++)
            later(m.places[i].messages[k].released);
    for (descriptor &d : m.fds)
        later(d.released);
    for (lock &l : m.locks)
        later(l.released);
    later(m.futexes);
    p.sequential = uint8_t(p.sequential + (p.sequential >= number));
}

inline void write_message(place &p, int index, unsigned number, uint64_t value, bool adjacent,
                          std::memory_order order)
{
    make_room(p, index, number);
    view &v = my_view();
    v.at[index] = uint8_t(number);
    message &made = p.messages[number];
    made = {value, adjacent, {}};
    if (adjacent)
        made.released = p.messages[number - 1].released;
    made.released.at[index] = uint8_t(number);
    if (releases(order))
        made.released.join(v);
    if (order == std::memory_order_seq_cst && number > p.sequential)
        p.sequential = uint8_t(number);
    if (number == p.newest)
        set_raw(reinterpret_cast<void *>(p.address), p.bytes, value);
}

uint64_t load(const void *at, unsigned bytes, std::memory_order order)
{
    if (m.running < 0)
        return raw(at, bytes);
    point();
    int index = place_index(at, bytes);
    place &p = m.places[index];
    unsigned number = p.newest - choose_stale(p.newest - oldest(p, index, order) + 1);
    uint64_t value = read_message(p, index, number, order);
    learn(value);
    TRACE("loads %s (%s): %#llx%s", name_of(at).c_str(), name_of(order),
         static_cast<unsigned long long>(value), number < p.newest ? " (stale)" : "");
    return value;
}

void store(void *at, unsigned bytes, uint64_t value, std::memory_order order)
{
    value = cut(value, bytes);
    if (m.running < 0)
        return set_raw(at, bytes, value);
    point();
    int index = place_index(at, bytes);
    place &p = m.places[index];
    // Any place after the view, but not between a read-modify-write and what it read.
    unsigned positions[messages_most], count = 1;
    positions[0] = p.newest + 1u;
    for (unsigned i = p.newest; i > oldest(p, index, order); i--)
        if (!p.messages[i].adjacent)
            positions[count++] = i;
    unsigned number = positions[choose_stale(count)];
    write_message(p, index, number, value, false, order);
    TRACE("stores %s (%s): %#llx%s", name_of(at).c_str(), name_of(order),
         static_cast<unsigned long long>(value),
         number < p.newest ? " (not the last in order)" : "");
}

inline uint64_t changed(step how, uint64_t value, uint64_t with)
{
    switch (how) {
    case step::exchange: return with;
    case step::add: return value + with;
    case step::sub: return value - with;
    case step::bit_and: return value & with;
    case step::bit_or: return value | with;
    case step::bit_xor: return value ^ with;
    }
    return 0;
}

uint64_t modify(void *at, unsigned bytes, step how, uint64_t with, std::memory_order order)
{
    uint64_t value, next;
    if (m.running < 0) {
        value = raw(at, bytes);
        set_raw(at, bytes, cut(changed(how, value, with), bytes));
        return value;
    }
    point();
    int index = place_index(at, bytes);
    place &p = m.places[index];
    value = read_message(p, index, p.newest, order);
    next = cut(changed(how, value, with), bytes);
    write_message(p, index, p.newest + 1u, next, true, order);
    learn(value);
    TRACE("changes %s (%s) from %#llx to %#llx", name_of(at).c_str(), name_of(order),
         static_cast<unsigned long long>(value), static_cast<unsigned long long>(next));
    return value;
}

bool exchange_if(void *at, unsigned bytes, uint64_t &expected, uint64_t next,
                        exchange_orders orders)
{
    expected = cut(expected, bytes);
    next = cut(next, bytes);
    if (m.running < 0) {
        uint64_t value = raw(at, bytes);
        bool same = value == expected;
        if (same)
            set_raw(at, bytes, next);
        expected = value;
        return same;
    }
    point();
    int index = place_index(at, bytes);
    place &p = m.places[index];
    // A stale value makes it fail if it differs; a weak one may also fail spuriously.
    unsigned numbers[messages_most + 1], count = 1;
    numbers[0] = p.newest;
    for (unsigned i = p.newest; i-- > oldest(p, index, orders.failure);)
        if (p.messages[i].value != expected)
            numbers[count++] = i;
    bool same = p.messages[p.newest].value == expected;
    if (orders.weak && same)
        numbers[count++] = p.newest;
    unsigned taken = choose_stale(count);
    if (same && taken == 0) {
        read_message(p, index, p.newest, orders.success);
        write_message(p, index, p.newest + 1u, next, true, orders.success);
        learn(1);
        TRACE("exchanges %s (%s) from %#llx to %#llx", name_of(at).c_str(),
             name_of(orders.success), static_cast<unsigned long long>(expected),
             static_cast<unsigned long long>(next));
        return true;
    }
    uint64_t value = read_message(p, index, numbers[taken], orders.failure);
    learn(value * 2);
    TRACE("does not exchange %s (%s): it is %#llx, not %#llx%s", name_of(at).c_str(),
         name_of(orders.failure), static_cast<unsigned long long>(value),
         static_cast<unsigned long long>(expected), taken ? " (stale)" : "");
    expected = value;
    return false;
}

// Relaxed accesses without a scheduling point, for data that the code under test is to
// order: least() reads the oldest value that the thread may still see.
inline void publish(void *at, uint32_t value, std::memory_order order = std::memory_order_relaxed)
{
    int index = place_index(at, sizeof value);
    write_message(m.places[index], index, m.places[index].newest + 1u, value, false, order);
}
inline uint32_t least(const void *at)
{
    int index = place_index(at, sizeof(uint32_t));
    return uint32_t(m.places[index].messages[my_view().at[index]].value);
}
// Acquires the newest value.
inline void receive(const void *at)
{
    int index = place_index(at, sizeof(uint32_t));
    read_message(m.places[index], index, m.places[index].newest, std::memory_order_acquire);
}

// ---- the system -----------------------------------------------------------------------

// A successful call may leave anything there.
inline void spoil_errno() { errno = ENOTTY; }

inline void meet(view &object)
{
    if (m.running < 0)
        return;
    my_view().join(object);
    object.join(my_view());
}

inline descriptor &descriptor_at(int fd)
{
    check(fd >= 0 && fd < fds_most && m.fds[fd].open, "uses a closed descriptor");
    return m.fds[fd];
}

ssize_t fake_write(int fd, const void *from, size_t bytes)
{
    point();
    descriptor &d = descriptor_at(fd);
    uint64_t count;
    check(bytes == sizeof count, "writes no 8-byte counter");
    memcpy(&count, from, sizeof count);
    d.count += count;
    meet(d.released);
    TRACE("write(%d)", fd);
    spoil_errno();
    return sizeof count;
}

ssize_t fake_read(int fd, void *to, size_t bytes)
{
    point();
    descriptor &d = descriptor_at(fd);
    check(bytes == sizeof d.count, "reads no 8-byte counter");
    uint64_t count = d.count;
    d.count = 0;
    meet(d.released);
    learn(count);
    TRACE("read(%d): %llu", fd, static_cast<unsigned long long>(count));
    spoil_errno();
    if (!count) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(to, &count, sizeof count);
    return sizeof count;
}

int fake_close(int fd)
{
    point();
    descriptor_at(fd) = {};
    TRACE("close(%d)", fd);
    spoil_errno();
    return 0;
}

int fake_eventfd(unsigned count, int flags)
{
    point();
    check(flags == (EFD_CLOEXEC | EFD_NONBLOCK), "makes an eventfd without its flags");
    for (int fd = 0; fd < fds_most; fd++)
        if (!m.fds[fd].open) {
            m.fds[fd] = {true, count, {}};
            learn(uint64_t(fd));
            TRACE("eventfd(%u): %d", count, fd);
            spoil_errno();
            return fd;
        }
    end_wrong("the model has too few descriptors");
}

void *fake_mmap(void *, size_t bytes, int, int, int, off_t)
{
    size_t taken = (bytes + 4095) / 4096 * 4096;
    if (m.arena_used + taken > arena_bytes)
        end_wrong("the model has too little memory");
    void *at = arena + m.arena_used;
    m.arena_used += taken;
    if (m.arena_used > m.arena_high)
        m.arena_high = m.arena_used;
    m.regions.push_back({reinterpret_cast<uintptr_t>(at), bytes, true});
    TRACE("mmap: mapping %zu", m.regions.size() - 1);
    spoil_errno();
    return at;
}

int fake_munmap(void *at, size_t bytes)
{
    point();
    for (region &r : m.regions)
        if (r.begin == reinterpret_cast<uintptr_t>(at)) {
            check(r.mapped && r.bytes == bytes, "unmaps a different range than was mapped");
            r.mapped = false;
            TRACE("munmap(%s)", name_of(at).c_str());
            spoil_errno();
            return 0;
        }
    check(false, "unmaps a different range than was mapped");
    return -1;
}

void *fake_mremap(void *, size_t, size_t, int, ...)
{
    end_wrong("mremap is not modelled");
}

inline int yield()
{
    if (m.running < 0)
        return 0;
    point();
    m.threads[m.running].others_before = moves_of_others(m.running);
    TRACE("yields");
    block(waits::others, nullptr, 0);
    spoil_errno();
    return 0;
}
int fake_nanosleep(const timespec *, timespec *) { return yield(); }
int fake_sched_yield() { return yield(); }

inline long futex_wait(const void *at, uint32_t value)
{
    point();
    my_view().join(m.futexes);
    int index = place_index(at, sizeof value);
    place &p = m.places[index];
    unsigned number =
        p.newest - choose_stale(p.newest - oldest(p, index, std::memory_order_relaxed) + 1);
    uint64_t now = read_message(p, index, number, std::memory_order_relaxed);
    m.futexes.join(my_view());
    learn(now);
    if (now != value) {
        TRACE("FUTEX_WAIT: it is %#llx, not %#x", static_cast<unsigned long long>(now), value);
        errno = EAGAIN;
        return -1;
    }
    TRACE("FUTEX_WAIT%s", number < p.newest ? " (stale)" : "");
    bool interrupted = block(waits::futex, at, 0);
    TRACE("FUTEX_WAIT ends%s", interrupted ? " by a signal" : "");
    errno = EINTR;
    return interrupted ? -1 : 0;
}

inline long futex_wake(const void *at, int most)
{
    point();
    meet(m.futexes);
    int woken = 0;
    for (int i = 0; i < m.count && woken < most; i++) {
        thread &t = m.threads[i];
        if (!is_gone(t) && t.want == waits::futex && t.object == at) {
            t.want = waits::nothing;
            woken++;
        }
    }
    learn(uint64_t(woken));
    TRACE("FUTEX_WAKE: %d", woken);
    spoil_errno();
    return woken;
}

long fake_syscall(long number, ...)
{
    va_list values;
    va_start(values, number);
    long done = -1;
    bool known = true;
#ifdef SYS_futex_time64
    known = number == SYS_futex || number == SYS_futex_time64;
#else
    known = number == SYS_futex;
#endif
    if (known) {
        const void *at = va_arg(values, void *);
        int how = va_arg(values, int) & ~FUTEX_PRIVATE_FLAG;
        int value = va_arg(values, int);
        if (m.running < 0)
            done = 0;
        else if (how == FUTEX_WAKE)
            done = futex_wake(at, value);
        else if (how == FUTEX_WAIT || how == FUTEX_WAIT_BITSET)
            done = futex_wait(at, uint32_t(value));
        else
            known = false;
    } else if (number == SYS_write || number == SYS_read) {
        int fd = va_arg(values, int);
        void *at = va_arg(values, void *);
        size_t bytes = va_arg(values, size_t);
        known = true;
        done = long(number == SYS_write ? fake_write(fd, at, bytes) : fake_read(fd, at, bytes));
    } else if (number == SYS_eventfd2) {
        unsigned count = va_arg(values, unsigned);
        known = true;
        done = fake_eventfd(count, va_arg(values, int));
    } else if (number == SYS_close) {
        known = true;
        done = fake_close(va_arg(values, int));
    }
    va_end(values);
    check(known, "makes a system call that is not modelled");
    return done;
}

inline bool take_lock(lock &l)
{
    if (l.holder)
        return false;
    l.holder = m.running + 1;
    my_view().join(l.released);
    return true;
}

int fake_mutex_lock(pthread_mutex_t *mutex)
{
    if (m.running < 0)
        return 0;
    point();
    lock &l = lock_of(mutex);
    check(l.holder != m.running + 1, "locks a mutex it holds");
    while (!take_lock(l))
        block(waits::lock, mutex, 0);
    TRACE("locks %s", name_of(mutex).c_str());
    return 0;
}

int fake_mutex_trylock(pthread_mutex_t *mutex)
{
    if (m.running < 0)
        return 0;
    point();
    if (take_lock(lock_of(mutex)))
        return 0;
    learn(1);
    return EBUSY;
}

int fake_mutex_unlock(pthread_mutex_t *mutex)
{
    if (m.running < 0)
        return 0;
    point();
    lock &l = lock_of(mutex);
    check(l.holder == m.running + 1, "unlocks a mutex it does not hold");
    l.holder = 0;
    l.released.join(my_view());
    TRACE("unlocks %s", name_of(mutex).c_str());
    return 0;
}

// ---- the search -----------------------------------------------------------------------

inline int run_thread(void *number)
{
    auto index = int(reinterpret_cast<uintptr_t>(number));
    thread &me = m.threads[index];
    me.what->body(me.what->number);
    me.want = waits::ended;
    me.local = 0;
    pick();
    abort(); // an ended thread is never resumed
}

// The state that plan.begin() made: every run starts from it.
struct beginning {
    std::vector<unsigned char> memory, mapped;
    std::vector<region> regions;
    descriptor fds[fds_most];
};

inline void begin_run(const beginning &b)
{
    memcpy(m.what->memory, b.memory.data(), b.memory.size());
    memcpy(arena, b.mapped.data(), b.mapped.size());
    memset(arena + b.mapped.size(), 0, m.arena_high - b.mapped.size());
    m.arena_used = m.arena_high = b.mapped.size();
    m.regions = b.regions;
    memcpy(m.fds, b.fds, sizeof m.fds);
    memset(m.locks, 0, sizeof m.locks);
    m.futexes = {};
    for (int i = 0; i < m.places_count; i++)
        begin_place(m.places[i]);
    m.depth = 0;
    m.preempted = m.stale = m.stalls = m.steps = m.rounds = 0;
    m.moves_all = 0;
    memset(m.moves, 0, sizeof m.moves);
    for (int i = 0; i < m.count; i++) {
        thread &t = m.threads[i];
        t = {};
        t.what = &m.what->threads[size_t(i)];
        context_make(&t.ctx, stacks[i] + stack_bytes, run_thread,
                     reinterpret_cast<void *>(uintptr_t(i)));
    }
}

inline void run(const beginning &b)
{
    begin_run(b);
    m.running = -1;
    enter();
    int enabled[threads_most];
    unsigned count = 0;
    for (int i = 0; i < m.count; i++)
        if (is_enabled(i))
            enabled[count++] = i;
    m.running = enabled[choose(count)];
    thread &first = m.threads[m.running];
    first.begun = first.chosen = true;
    enter();
    context_switch(&m.home, &first.ctx, {});
}

// The next path in depth-first order.
inline bool next_path()
{
    while (!m.path.empty()) {
        machine::choice &last = m.path.back();
        if (++last.taken < last.count)
            return true;
        m.path.pop_back();
    }
    return false;
}

inline result search(const plan &what, const limits &most)
{
    result r;
    seen_states seen;
    m.what = &what;
    m.most = most;
    m.most.prunes = most.prunes && !most.random;
    m.seen = &seen;
    m.count = int(what.threads.size());
    m.running = -1;
    m.places_count = 0;
    memset(m.place_of, 0, sizeof m.place_of);
    m.regions.clear();
    m.arena_used = m.arena_high = 0;
    memset(m.fds, 0, sizeof m.fds);
    memset(arena, 0, sizeof arena);
    m.path.clear();
    m.ends = 0;
    m.traces = false;
    m.random = 0x9e3779b97f4a7c15;
    m.wrong.clear();
    what.begin();
    beginning b;
    auto memory = static_cast<unsigned char *>(what.memory);
    b.memory.assign(memory, memory + what.bytes);
    b.mapped.assign(arena, arena + m.arena_used);
    b.regions = m.regions;
    memcpy(b.fds, m.fds, sizeof b.fds);
    bool more = true;
    while (more && r.runs < most.runs && m.wrong.empty()) {
        if (most.random)
            m.path.clear();
        run(b);
        r.runs++;
        more = most.random || !m.wrong.empty() || next_path();
    }
    r.all = !more;
    r.states = seen.size;
    r.ends = m.ends;
    if (!m.wrong.empty()) {
        // Once more, with a trace.
        m.traces = true;
        m.trace.clear();
        m.most.prunes = false;
        run(b);
        r.wrong = m.wrong + "\n" + m.trace;
    }
    return r;
}

} // namespace weak

// The CPU port refers to these; no thread of the model returns or is unwound.
void context_ended(context *, int) { abort(); }
void context_unwound() { abort(); }
