// SPDX-License-Identifier: Apache-2.0
//
// src/ready.h by one thread, call by call: what test/weak_memory_test.cpp has no schedules
// for. The ring against a model of it, while it grows and goes round; what becomes of its
// descriptor, also with a waker that is inside of it or after a fork; and what the kernel is
// asked for. A waker that is held up is a number that the test changes.
#include <deque>
#include <vector>

#include "support.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "event.h"
#include "ready.h"

// ---- what the kernel is asked for ------------------------------------------------------------

static struct {
    int waits, wakes;
    bool has_end;
    int64_t end_s, end_ns;
    void (*meanwhile)(); // instead of a sleep
    void (*at_wake)();
    void (*at_close)(); // once
    size_t mapped_bytes; // by the last one
    bool maps_refused;
} kernel;

extern "C" {
void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    kernel.mapped_bytes = bytes;
    if (kernel.maps_refused) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(address, bytes, protection, flags, fd, offset);
}

#ifdef SYS_futex_time64
static constexpr long futex_call =
    sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex;
#else
static constexpr long futex_call = SYS_futex;
#endif
long __real_syscall(long, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SYS_close && kernel.at_close) {
        auto at_close = kernel.at_close;
        kernel.at_close = nullptr;
        at_close();
    }
    if (number != futex_call)
        return __real_syscall(number, a, b, c, d, e, f);
    if (b == FUTEX_WAIT_BITSET_PRIVATE) {
        kernel.waits++;
        auto until = reinterpret_cast<const timespec *>(d);
        kernel.has_end = until;
        kernel.end_s = until ? until->tv_sec : 0;
        kernel.end_ns = until ? until->tv_nsec : 0;
        if (uint32_t(f) != FUTEX_BITSET_MATCH_ANY || *reinterpret_cast<uint32_t *>(a) != c)
            kernel.waits = -1000;
        if (kernel.meanwhile)
            kernel.meanwhile();
        return 0;
    }
    kernel.wakes += b == FUTEX_WAKE_PRIVATE && c >= 1;
    if (kernel.at_wake)
        kernel.at_wake();
    errno = E2BIG;
    return 0;
}
}

static ready_ring ring;
static constexpr size_t first_room = 1024;
static int reason;

static void ring_begins()
{
    memset(static_cast<void *>(&ring), 0, sizeof ring);
    kernel = {};
    assert_true(ready_reserve(ring, 1, &reason));
    assert_true(kernel.mapped_bytes >= first_room * sizeof(uint64_t));
}

static int descriptor()
{
    int fd = ready_descriptor(ring, &reason);
    assert_true(fd >= 0);
    return fd;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void pop_all()
{
    while (ready_pop(ring, ready_end(ring)))
        continue;
}

// A waker that has taken a ticket, and is held up before it fills the slot.
static void held_ticket() { ring.tail.fetch_add(1); }

// A waker that is inside a call of the owner.
static constexpr uint64_t one_begun = 1 << 24, one_fork = uint64_t(1) << 48;
static void held_call() { ring.calls.fetch_add(one_begun); }
static void held_call_never_was() { ring.calls.fetch_sub(one_begun); }
static bool all_calls_are_done()
{
    const uint64_t calls = ring.calls.load();
    return (calls >> 24 & 0xffffff) == (calls & 0xffffff);
}

// ---- entries ---------------------------------------------------------------------------------

struct random_source {
    uint64_t state;
    uint32_t operator()(uint32_t below)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return uint32_t((state >> 33) % below);
    }
};

struct model {
    std::deque<uint32_t> places; // from the head on; 0: a ticket that is held
    std::vector<uint64_t> grown; // at these positions
    uint64_t head = 0;
    size_t room = first_room;
    uint32_t entry = 0;

    void push(bool held)
    {
        const uint64_t end = ready_end(ring);
        entry = entry % ready_entry_most + 1;
        if (held)
            held_ticket();
        else
            ready_push(ring, entry);
        places.push_back(held ? 0 : entry);
        assert_int_equal(ready_end(ring), end + 1);
    }
    void pop(uint64_t end)
    {
        uint32_t expected = 0;
        for (; !expected && head < end; head++) {
            expected = places.front();
            places.pop_front();
        }
        assert_int_equal(ready_pop(ring, end), expected);
        assert_int_equal(ring.head, head);
    }
    // Behind the place where the ring has grown, nothing has to be seen yet.
    void peek(size_t at, uint64_t end) const
    {
        const uint32_t found = ready_peek(ring, at, end);
        const bool is_there = at < places.size() && head + at < end;
        bool may_be_unseen = false;
        for (uint64_t position : grown)
            may_be_unseen |= head <= position && position <= head + at;
        if (!may_be_unseen || found)
            assert_int_equal(found, is_there ? places[at] : 0);
    }
    void each() const
    {
        std::vector<uint32_t> all;
        ready_for_each(ring, [](uint32_t e, void *with) {
            static_cast<std::vector<uint32_t> *>(with)->push_back(e);
        }, &all);
        size_t count = 0;
        for (uint32_t e : places)
            if (e) {
                assert_true(count < all.size());
                assert_int_equal(all[count++], e);
            }
        assert_int_equal(all.size(), count);
    }
    void grow(size_t entries)
    {
        kernel.mapped_bytes = 0;
        assert_true(ready_reserve(ring, entries, &reason));
        if (kernel.mapped_bytes)
            grown.push_back(ready_end(ring));
        assert_true(kernel.mapped_bytes || entries <= 4 * room);
        if (entries > room)
            room = entries;
    }
};

// Nobody looks, but the room that was asked for is used to the last place.
static void the_ring_against_a_model(void **)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        random_source random = {seed};
        ring_begins();
        model m;
        for (int step = 0; step < 300; step++) {
            const size_t left = m.room - m.places.size();
            size_t pushes = random(3) ? random(8) : random(8) ? random(1 + uint32_t(left)) : left;
            for (pushes = std::min(pushes, left); pushes; pushes--)
                m.push(random(16) == 0);
            const uint64_t end = m.head + random(1 + uint32_t(m.places.size()));
            for (int i = 0; i < 4; i++)
                m.peek(random(random(2) ? 4 : uint32_t(m.places.size()) + 4),
                       random(2) ? end : ready_end(ring));
            m.peek(end - m.head, end);
            size_t pops = random(3) ? random(8) : random(uint32_t(m.places.size()) + 1);
            while (pops--)
                m.pop(random(8) ? ready_end(ring) : end > m.head ? end : m.head);
            if (random(60) == 0 && m.room < 10000)
                m.grow(m.room + random(uint32_t(3 * m.room)));
            if (random(30) == 0)
                m.grow(1 + random(uint32_t(m.room)));
            if (random(8) == 0)
                while (!m.places.empty())
                    m.pop(ready_end(ring));
            if (random(4) == 0)
                m.each();
        }
    }
}

// Each number of entries that may be asked for, to the last place.
static void room_for_as_many_as_asked_for(void **)
{
    for (size_t entries : {1024, 1025, 2048, 4096, 4097, 16384, 16385, 40000}) {
        ring_begins();
        model m;
        m.push(false);
        m.pop(1);
        m.grow(entries);
        m.each();
        for (size_t i = 0; i < entries; i++)
            m.push(false);
        m.each();
        for (size_t i = 0; i <= entries; i++)
            m.pop(ready_end(ring));
        kernel.mapped_bytes = 0;
        assert_true(ready_reserve(ring, entries, &reason) && ready_reserve(ring, 1, &reason));
        assert_int_equal(kernel.mapped_bytes, 0);
    }
}

// A ring that grows more than once before its owner comes to the first new place.
static void grown_twice_at_once(void **)
{
    for (unsigned between : {0, 1, 5}) {
        ring_begins();
        model m;
        for (int i = 0; i < 3; i++)
            m.push(false);
        m.grow(2000);
        for (unsigned i = 0; i < between; i++)
            m.push(false);
        m.grow(5000);
        for (int i = 0; i < 4000; i++)
            m.push(i % 8 == 0);
        for (size_t at = 0; at < 20; at++)
            m.peek(at, ready_end(ring));
        m.each();
        while (!m.places.empty()) {
            m.pop(ready_end(ring));
            m.peek(0, ready_end(ring));
        }
    }
}

static void no_memory(void **)
{
    ring_begins();
    kernel.maps_refused = true;
    reason = 0;
    assert_false(ready_reserve(ring, 1025, &reason));
    assert_int_equal(reason, JOBSWITCH_E_NO_MEMORY);
    // Of the most that can be asked for, the slots can still be counted.
    if (sizeof(size_t) == 8) {
        assert_false(ready_reserve(ring, SIZE_MAX, &reason));
        assert_true(kernel.mapped_bytes <= size_t(16) << 30);
    }
    model m;
    for (size_t i = 0; i < first_room; i++)
        m.push(false);
    m.each();
    while (!m.places.empty())
        m.pop(ready_end(ring));
}

// After so many wakes that the number of the round begins again.
static void rounds_come_round(void **)
{
    ring_begins();
    constexpr uint64_t round = (uint64_t(1) << 40) - 3, position = round << 10;
    ring.tail.store((ring.tail.load() & ~(position | (position - 1))) | position);
    ring.head = position;
    for (size_t i = 0; i < first_room; i++)
        ring.slots[10].load()[i].store(round << 24 | 77); // as the round before has left them
    model m;
    m.head = position;
    random_source random = {9};
    for (int i = 0; i < 8000; i++) {
        m.push(random(16) == 0);
        m.peek(0, ready_end(ring));
        m.peek(1, ready_end(ring) + 1);
        if (m.places.size() == first_room || random(2))
            m.pop(ready_end(ring));
        if (i % 64 == 0)
            m.each();
    }
}

static void the_largest_entry(void **)
{
    memset(static_cast<void *>(&ring), 0, sizeof ring);
    ready_prefetch(ring); // no slots yet
    ring_begins();
    ready_prefetch(ring);
    ready_push(ring, ready_entry_most);
    assert_int_equal(ready_peek(ring, 0, 1), ready_entry_most);
    assert_int_equal(ready_pop(ring, 1), ready_entry_most);
    assert_int_equal(ready_pop(ring, 1), 0);
}

// ---- rests -----------------------------------------------------------------------------------

static void a_descriptor(void **)
{
    ring_begins();
    assert_false(ready_has_descriptor(ring));
    ready_rest(ring);
    const int fd = descriptor();
    assert_true(ready_has_descriptor(ring));
    assert_int_equal(descriptor(), fd);
    assert_true(readable(fd));
    ready_push(ring, 1);
    ready_rest(ring); // there is an entry
    assert_true(readable(fd));
    pop_all();
    for (int i = 0; i < 3; i++) {
        ready_rest(ring);
        assert_false(readable(fd));
        const uint64_t rests = ring.rests.load(), calls = ring.calls.load();
        ready_rest(ring); // it does already
        assert_int_equal(ring.rests.load(), rests);
        errno = EDOM;
        ready_push(ring, 1);
        assert_int_equal(errno, EDOM);
        assert_true(readable(fd));
        assert_int_equal(ring.calls.load(), calls + one_begun + 1);
        ready_push(ring, 2); // it has been called
        assert_int_equal(ring.calls.load(), calls + one_begun + 1);
        pop_all();
    }
    held_ticket();
    ready_rest(ring);
    assert_true(readable(fd));
    pop_all();
    ready_rest(ring);
    assert_false(readable(fd));
    assert_int_equal(kernel.wakes + kernel.waits, 0);
    ready_close(ring);
    assert_false(is_open(fd));
}

// What a waker that is still inside does to the descriptor is seen by the next rest.
static void a_rest_beside_a_call(void **)
{
    ring_begins();
    const int fd = descriptor();
    ready_push(ring, 1);
    pop_all();
    held_call();
    ready_rest(ring);
    assert_false(readable(fd));
    event_set(fd);
    ready_rest(ring);
    assert_false(readable(fd));
    event_set(fd);
    ring.calls.fetch_add(1); // it has left
    ready_rest(ring);
    assert_false(readable(fd));
    const uint64_t rests = ring.rests.load();
    ready_rest(ring);
    assert_int_equal(ring.rests.load(), rests);
    ready_close(ring);
    assert_false(is_open(fd));
}

// It wakes the owner, which sleeps.
static void pushes_twice()
{
    assert_true(ring.rests.load() % 2 && ring.asleep.load());
    for (uint32_t entry : {1, 2}) {
        errno = EDOM;
        ready_push(ring, entry);
        assert_int_equal(errno, EDOM);
        assert_int_equal(kernel.wakes, 1);
        assert_int_equal(ring.asleep.load(), 0);
    }
}

static void sleeps(void **)
{
    for (bool with_fd : {false, true}) {
        ring_begins();
        const int fd = with_fd ? descriptor() : -1;
        pop_all();
        ready_rest(ring);
        ready_push(ring, 1);
        ready_sleep(ring, UINT64_MAX); // there is an entry
        assert_int_equal(kernel.waits, 0);
        pop_all();
        for (int i = 0; i < 2; i++) {
            ready_rest(ring);
            const int wakes = kernel.wakes;
            ready_sleep(ring, UINT64_MAX);
            assert_int_equal(kernel.waits, 1 + 4 * i);
            assert_false(kernel.has_end);
            ready_sleep(ring, 5000000123);
            assert_true(kernel.has_end);
            assert_int_equal(kernel.end_s, 5);
            assert_int_equal(kernel.end_ns, 123);
            ready_sleep(ring, 4000000000'000000007);
            assert_int_equal(kernel.has_end, sizeof(time_t) == 8);
            if (kernel.has_end) {
                assert_int_equal(kernel.end_s, 4000000000);
                assert_int_equal(kernel.end_ns, 7);
            }
            // It is awake, and need not be called; but a descriptor has to become readable.
            ready_push(ring, 1);
            assert_int_equal(kernel.wakes - wakes, with_fd);
            assert_true(!with_fd || readable(fd));
            pop_all();
            ready_rest(ring);
            kernel.wakes = 0;
            kernel.meanwhile = pushes_twice;
            ready_sleep(ring, UINT64_MAX);
            kernel.meanwhile = nullptr;
            assert_int_equal(kernel.waits, 4 + 4 * i);
            assert_true(!with_fd || readable(fd));
            ready_push(ring, 3);
            assert_int_equal(kernel.wakes, 1);
            pop_all();
        }
        ready_close(ring);
    }
}

// ---- the end ---------------------------------------------------------------------------------

static void closing(void **)
{
    const int before = open_fds();
    ring_begins();
    ready_close(ring); // there is none
    assert_false(ready_has_descriptor(ring));
    held_call();
    ready_close(ring);
    held_call_never_was();
    int fd = descriptor();
    ready_rest(ring);
    ready_close(ring);
    assert_false(is_open(fd));
    ready_push(ring, 1);
    pop_all();
    fd = descriptor();
    assert_true(readable(fd));
    ready_rest(ring); // a new one is not what has been looked at
    assert_false(readable(fd));
    ready_push(ring, 1);
    assert_true(readable(fd));
    pop_all();
    ready_close(ring);
    assert_int_equal(open_fds(), before);
}

// While wakers are inside of them, descriptors stay open; the last waker closes all.
static void closing_beside_a_call(void **)
{
    const int before = open_fds();
    constexpr int most = sizeof ring.fds_left / sizeof *ring.fds_left;
    ring_begins();
    for (int round = 0; round < 2; round++) {
        held_call();
        int fds[most + 1];
        for (int i = 0; i <= most; i++) {
            fds[i] = descriptor();
            ready_close(ring);
            for (int k = 0; k <= i; k++)
                assert_true(is_open(fds[k]));
            assert_int_equal(ready_has_descriptor(ring), i == most);
        }
        assert_int_equal(descriptor(), fds[most]); // no room to leave it: it is used again
        ready_rest(ring);
        assert_false(readable(fds[most]));
        held_call_never_was();
        ready_push(ring, 1); // the last to leave
        for (int k = 0; k < most; k++)
            assert_false(is_open(fds[k]));
        assert_true(readable(fds[most]));
        pop_all();
        ready_close(ring);
        assert_int_equal(open_fds(), before);
    }
}

// A waker that has found all calls done is late to close what was left. What is left
// meanwhile is another waker's, who is inside of it.
static int left_meanwhile[2];
static void closing_beside_a_late_close(void **)
{
    const int before = open_fds();
    ring_begins();
    held_call();
    descriptor();
    ready_close(ring);
    descriptor();
    ready_close(ring);
    held_call_never_was();
    descriptor();
    ready_rest(ring);
    kernel.at_close = [] {
        held_call();
        for (int &fd : left_meanwhile) {
            fd = ready_descriptor(ring, &reason);
            ready_close(ring);
        }
    };
    ready_push(ring, 1);
    assert_null(kernel.at_close);
    for (int fd : left_meanwhile)
        assert_true(is_open(fd));
    held_call_never_was();
    descriptor();
    ready_rest(ring);
    pop_all();
    ready_rest(ring);
    ready_push(ring, 1); // the last to leave
    for (int fd : left_meanwhile)
        assert_false(is_open(fd));
    pop_all();
    ready_close(ring);
    assert_int_equal(open_fds(), before);
}

// What is left in the same place, by the same number, is told apart from what was.
static void each_left_descriptor_is_another(void **)
{
    ring_begins();
    std::vector<uint64_t> words;
    for (int i = 0; i < 5; i++) {
        held_call();
        descriptor();
        ready_close(ring);
        for (uint64_t word : words)
            assert_true(word != ring.fds_left[0]);
        words.push_back(ring.fds_left[0]);
        held_call_never_was();
        descriptor();
        ready_rest(ring);
        ready_push(ring, 1);
        pop_all();
        ready_close(ring);
    }
}

static void a_clean_ring(void **)
{
    ring_begins();
    assert_true(ready_is_clean(ring));
    ready_push(ring, 1);
    assert_false(ready_is_clean(ring));
    pop_all();
    assert_true(ready_is_clean(ring));
    held_call();
    assert_false(ready_is_clean(ring));
    const int left = descriptor();
    assert_false(ready_is_clean(ring));
    ready_close(ring);
    ring.calls = 0; // all calls are done, and what was left not yet closed
    assert_false(ready_is_clean(ring));
    ready_forked(ring);
    assert_false(is_open(left));
    assert_true(ready_is_clean(ring));
    const int fd = descriptor();
    assert_false(ready_is_clean(ring));
    ready_close(ring);
    assert_false(is_open(fd));
    assert_true(ready_is_clean(ring));
}

// ---- fork ------------------------------------------------------------------------------------

static void a_fork(void **)
{
    const int before = open_fds();
    ring_begins();
    for (int forks = 1; forks <= 3; forks++) {
        held_call();
        const int left = descriptor();
        ready_close(ring);
        const int fd = descriptor();
        ready_rest(ring);
        assert_false(readable(fd));
        held_call(); // both are not there afterwards
        ready_push(ring, 1);
        pop_all();
        ready_rest(ring);
        assert_false(readable(fd));
        ready_forked(ring);
        assert_true(all_calls_are_done());
        assert_int_equal(ring.calls.load() / one_fork, forks);
        assert_false(is_open(left));
        assert_int_equal(descriptor(), fd);
        assert_true(readable(fd));
        const uint64_t calls = ring.calls.load();
        ready_push(ring, 1); // as if all had called
        assert_int_equal(ring.calls.load(), calls);
        pop_all();
        ready_rest(ring);
        assert_false(readable(fd));
        ready_push(ring, 1);
        assert_true(readable(fd));
        pop_all();
        ready_close(ring);
        assert_int_equal(open_fds(), before);
    }
}

static void forks_in_its_sleep()
{
    kernel.meanwhile = nullptr;
    ready_forked(ring);
    assert_int_equal(ring.asleep.load(), 0);
    ready_push(ring, 1);
    assert_int_equal(kernel.wakes, 0);
}

static void a_fork_by_a_handler_in_a_sleep(void **)
{
    ring_begins();
    kernel.meanwhile = forks_in_its_sleep;
    ready_sleep(ring, UINT64_MAX);
    assert_int_equal(kernel.waits, 1);
    assert_int_equal(ready_pop(ring, ready_end(ring)), 1);
}

// A waker's own handler forks: in the child its call is none of those that count.
static void a_fork_by_a_handler_in_a_call(void **)
{
    ring_begins();
    const int fd = descriptor();
    ready_rest(ring);
    kernel.at_wake = [] { ready_forked(ring); };
    kernel.meanwhile = [] { ready_push(ring, 1); };
    ready_sleep(ring, UINT64_MAX);
    kernel.at_wake = kernel.meanwhile = nullptr;
    assert_int_equal(kernel.wakes, 1);
    assert_true(all_calls_are_done());
    assert_int_equal(ring.calls.load() / one_fork, 1);
    assert_true(readable(fd));
    pop_all();
    ready_rest(ring);
    assert_false(readable(fd));
    ready_close(ring);
    assert_false(is_open(fd));
}

static void an_orphan(void **)
{
    ring_begins();
    const int fd = descriptor();
    ready_rest(ring);
    held_call();
    ready_orphaned(ring);
    assert_false(ready_has_descriptor(ring));
    assert_true(all_calls_are_done());
    const uint64_t calls = ring.calls.load();
    assert_int_equal(calls / one_fork, 1);
    ready_push(ring, 1);
    assert_int_equal(ring.calls.load(), calls); // nobody is called
    assert_int_equal(kernel.wakes, 0);
    assert_true(is_open(fd));
    event_close(fd);
}

// A number that is used is closed when its last use ends; and one that a child cannot have
// again is used no more.
static void uses_of_a_descriptor(void **)
{
    const int fd = event_open(true, &reason), other = event_open(false, &reason);
    {
        event_use outer(fd);
        {
            event_use inner(fd), more(other);
            event_close(fd);
            assert_true(is_open(fd));
        }
        assert_true(is_open(fd) && is_open(other));
    }
    assert_false(is_open(fd));
    event_close(other);
    assert_false(is_open(other));
    assert_int_equal(child([] {
        const int used = event_open(false, &reason), spare = event_open(false, &reason);
        event_use use(used), again(used), kept(spare);
        event_set(used);
        event_forked();
        CHILD_NEEDS(use.fd == used && again.fd == used && !readable(used));
        const rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        CHILD_NEEDS(!event_reopen(used, true) && !is_open(used));
        CHILD_NEEDS(use.fd == -1 && again.fd == -1 && kept.fd == spare);
        return 0;
    }), 0);
}

// A program may have closed its standard input.
static void a_descriptor_whose_number_is_0(void **)
{
    const int status = child([] {
        close(0);
        memset(static_cast<void *>(&ring), 0, sizeof ring);
        CHILD_NEEDS(ready_reserve(ring, 1, &reason));
        CHILD_NEEDS(ready_descriptor(ring, &reason) == 0);
        CHILD_NEEDS(ready_descriptor(ring, &reason) == 0);
        ready_rest(ring);
        CHILD_NEEDS(ready_has_descriptor(ring) && !readable(0));
        ready_push(ring, 1);
        CHILD_NEEDS(readable(0));
        pop_all();
        ready_rest(ring);
        CHILD_NEEDS(!readable(0));
        ready_forked(ring);
        CHILD_NEEDS(readable(0));
        ready_close(ring);
        CHILD_NEEDS(!is_open(0));
        return 0;
    });
    assert_int_equal(status, 0);
}

static void no_descriptor(void **)
{
    ring_begins();
    const int status = child([] {
        const rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        CHILD_NEEDS(ready_descriptor(ring, &reason) == -1);
        CHILD_NEEDS(reason == JOBSWITCH_E_NO_DESCRIPTORS && !ready_has_descriptor(ring));
        return 0;
    });
    assert_int_equal(status, 0);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(the_ring_against_a_model),
        cmocka_unit_test(room_for_as_many_as_asked_for),
        cmocka_unit_test(grown_twice_at_once),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(rounds_come_round),
        cmocka_unit_test(the_largest_entry),
        cmocka_unit_test(a_descriptor),
        cmocka_unit_test(a_rest_beside_a_call),
        cmocka_unit_test(sleeps),
        cmocka_unit_test(closing),
        cmocka_unit_test(closing_beside_a_call),
        cmocka_unit_test(closing_beside_a_late_close),
        cmocka_unit_test(each_left_descriptor_is_another),
        cmocka_unit_test(a_clean_ring),
        cmocka_unit_test(a_fork),
        cmocka_unit_test(a_fork_by_a_handler_in_a_sleep),
        cmocka_unit_test(a_fork_by_a_handler_in_a_call),
        cmocka_unit_test(an_orphan),
        cmocka_unit_test(uses_of_a_descriptor),
        cmocka_unit_test(a_descriptor_whose_number_is_0),
        cmocka_unit_test(no_descriptor),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
