// SPDX-License-Identifier: Apache-2.0
#include "ready.h"

#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "event.h"
#include "jobswitch/jobswitch.h"

// The futex call that matches the C library's time_t.
#ifdef SYS_futex_time64
static constexpr long futex_call =
    sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex;
#else
static constexpr long futex_call = SYS_futex;
#endif
static constexpr unsigned capacity_shift = 59;
static constexpr uint64_t position_mask = (uint64_t(1) << capacity_shift) - 1;
#ifndef READY_CAPACITY_LEAST // test/weak.h defines a smaller one
#define READY_CAPACITY_LEAST 10
#endif
static constexpr unsigned capacity_least = READY_CAPACITY_LEAST;
static constexpr unsigned capacity_step = 2; // four times as many: older slots stay mapped
static constexpr unsigned round_shift = 24;
static_assert(ready_entry_most == (1u << round_shift) - 1);

using ready_slot = std::atomic<uint64_t>;

static unsigned capacity_of(uint64_t tail) { return unsigned(tail >> capacity_shift); }

static ready_slot &slot_of(const ready_ring &ring, unsigned capacity, uint64_t position)
{
    uint64_t mask = (uint64_t(1) << capacity) - 1;
    return ring.slots[capacity].load(std::memory_order_acquire)[position & mask];
}

// What a slot holds for a position, but for the entry. Never 0 at first: fresh memory is of
// an earlier round than any.
static uint64_t round_of(unsigned capacity, uint64_t position)
{
    return ((position >> capacity) + 1) << round_shift;
}

// The rounds come round, after more wakes than a thread will see: so it is the distance
// that counts.
static bool is_earlier(uint64_t word, uint64_t round)
{
    return int64_t((word & ~uint64_t(ready_entry_most)) - round) < 0;
}

// ---- room ----------------------------------------------------------------------

static void find_head_end(ready_ring &ring)
{
    ring.head_end = UINT64_MAX;
    for (uint32_t next = ring.head_capacity + 1; next < 32; next++)
        if (ring.slots[next].load(std::memory_order_relaxed)) {
            ring.head_end = ring.begins[next];
            return;
        }
}

// The older slots stay mapped, for wakers that are late.
static void leave_older_slots(ready_ring &ring)
{
    while (ring.head == ring.head_end) {
        do
            ring.head_capacity++;
        while (!ring.slots[ring.head_capacity].load(std::memory_order_relaxed));
        find_head_end(ring);
    }
}

bool ready_reserve(ready_ring &ring, size_t entries, int *reason)
{
    unsigned capacity = capacity_of(ring.tail.load(std::memory_order_relaxed));
    unsigned wanted = capacity_least;
    while (wanted < 31 - capacity_step && entries > size_t(1) << wanted)
        wanted += capacity_step;
    if (capacity >= wanted)
        return true;
    void *memory = mmap(nullptr, sizeof(ready_slot) << wanted, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        return false;
    }
    ring.slots[wanted].store(static_cast<ready_slot *>(memory), std::memory_order_release);
    // Tickets from here on stand for the new slots.
    uint64_t tail = ring.tail.load(std::memory_order_relaxed);
    uint64_t next;
    do
        next = (tail & position_mask) | uint64_t(wanted) << capacity_shift;
    while (!ring.tail.compare_exchange_weak(tail, next, std::memory_order_acq_rel));
    ring.begins[wanted] = tail & position_mask;
    if (!ring.head_capacity)
        ring.head_capacity = wanted;
    find_head_end(ring);
    leave_older_slots(ring);
    return true;
}

// ---- calling the owner -----------------------------------------------------------

// How many calls have begun and how many are done, and since which fork: in a child, calls
// of threads that it has not got are never done.
//
//      63      48 47       24 23       0
//      forks      begun       done
static constexpr uint64_t calls_done_mask = (1 << 24) - 1;
static constexpr uint64_t calls_begun_one = 1 << 24;
static constexpr uint64_t calls_begun_mask = calls_done_mask << 24;
static constexpr uint64_t calls_fork_one = uint64_t(1) << 48;
static constexpr uint64_t calls_unknown = UINT64_MAX; // as after 65,535 forks: never seen

static bool calls_are_done(uint64_t calls)
{
    return ((calls & calls_begun_mask) >> 24) == (calls & calls_done_mask);
}

// Returns the forks so far.
static uint64_t call_begin(ready_ring &ring)
{
    uint64_t calls = ring.calls.load(std::memory_order_relaxed);
    uint64_t next;
    do
        next = (calls & ~calls_begun_mask) | ((calls + calls_begun_one) & calls_begun_mask);
    while (!ring.calls.compare_exchange_weak(calls, next, std::memory_order_seq_cst));
    return calls / calls_fork_one;
}

// A left descriptor is what an earlier owner's was: who begins a call after it was left does
// not find it. So each is closed if all calls are done after it was looked at; else the last
// of them closes it. The upper half counts what has been left in this place, for the same
// number may be left there again.
static void close_left(ready_ring &ring)
{
    for (std::atomic<uint64_t> &left : ring.fds_left) {
        uint64_t after = left.load(std::memory_order_seq_cst);
        if (uint32_t(after) && calls_are_done(ring.calls.load(std::memory_order_seq_cst)) &&
            left.compare_exchange_strong(after, after & ~uint64_t(UINT32_MAX),
                                         std::memory_order_acq_rel, std::memory_order_relaxed))
            event_close(int(uint32_t(after)) - 1);
    }
}

static void call_end(ready_ring &ring, uint64_t forks)
{
    uint64_t calls = ring.calls.load(std::memory_order_relaxed);
    uint64_t next;
    do {
        if (calls / calls_fork_one != forks)
            return;
        next = (calls & ~calls_done_mask) | ((calls + 1) & calls_done_mask);
    } while (!ring.calls.compare_exchange_weak(calls, next, std::memory_order_seq_cst));
    if (calls_are_done(next))
        close_left(ring);
}

static int descriptor_of(const ready_ring &ring)
{
    return ring.fd_after.load(std::memory_order_seq_cst) - 1;
}

// Called by each waker that comes while the owner rests, until the first call is done.
[[gnu::noinline]] static void call_owner(ready_ring &ring, uint64_t rest)
{
    int keep = errno;
    uint64_t forks = call_begin(ring);
    if (rest % 2) {
        ring.asleep.store(0, std::memory_order_seq_cst);
        syscall(futex_call, &ring.asleep, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    int fd = descriptor_of(ring);
    if (fd >= 0) {
        event_use use(fd);
        if (!ring.orphaned)
            event_set(use.fd);
    }
    call_end(ring, forks);
    ring.called.store(rest, std::memory_order_release);
    errno = keep;
}

// ---- pushing ---------------------------------------------------------------------

void ready_prefetch(const ready_ring &ring)
{
    __builtin_prefetch(&ring.tail, 1);
    uint64_t tail = ring.tail.load(std::memory_order_acquire);
    if (unsigned capacity = capacity_of(tail))
        __builtin_prefetch(&slot_of(ring, capacity, tail & position_mask), 1);
}

// False: the owner has gone past that ticket.
static bool publish(ready_ring &ring, uint64_t ticket, uint32_t entry)
{
    unsigned capacity = capacity_of(ticket);
    uint64_t position = ticket & position_mask;
    uint64_t round = round_of(capacity, position);
    ready_slot &slot = slot_of(ring, capacity, position);
    uint64_t word = slot.load(std::memory_order_relaxed);
    while (is_earlier(word, round))
        if (slot.compare_exchange_weak(word, round + entry, std::memory_order_release,
                                       std::memory_order_relaxed))
            return true;
    return false;
}

void ready_push(ready_ring &ring, uint32_t entry)
{
    uint64_t ticket;
    do
        ticket = ring.tail.fetch_add(1, std::memory_order_acq_rel);
    while (!publish(ring, ticket, entry));
    uint64_t rest = ring.rests.load(std::memory_order_acquire);
    if (ring.called.load(std::memory_order_acquire) != rest)
        call_owner(ring, rest);
}

// ---- taking ------------------------------------------------------------------------

// How often the owner looks at an empty slot before it voids the ticket. A waker that has
// its processor fills it meanwhile, and is spared a second ticket.
static constexpr unsigned looks = 64;

// The entry at the head; 0: its ticket is void.
static uint32_t entry_of_head(ready_ring &ring)
{
    uint64_t round = round_of(ring.head_capacity, ring.head);
    ready_slot &slot = slot_of(ring, ring.head_capacity, ring.head);
    uint64_t word = slot.load(std::memory_order_acquire);
    for (unsigned i = 0; i < looks && is_earlier(word, round); i++)
        word = slot.load(std::memory_order_acquire);
    if (is_earlier(word, round) &&
        slot.compare_exchange_strong(word, round, std::memory_order_acq_rel,
                                     std::memory_order_acquire))
        return 0;
    return uint32_t(word & ready_entry_most);
}

uint32_t ready_pop(ready_ring &ring, uint64_t end)
{
    uint32_t entry = 0;
    while (!entry && ring.head < end) {
        leave_older_slots(ring);
        entry = entry_of_head(ring);
        ring.head++;
    }
    return entry;
}

uint32_t ready_peek(const ready_ring &ring, size_t places, uint64_t end)
{
    uint64_t position = ring.head + places;
    if (position >= end || position >= ring.head_end)
        return 0;
    uint64_t word =
        slot_of(ring, ring.head_capacity, position).load(std::memory_order_acquire);
    return is_earlier(word, round_of(ring.head_capacity, position))
               ? 0
               : uint32_t(word & ready_entry_most);
}

uint64_t ready_end(const ready_ring &ring)
{
    return ring.tail.load(std::memory_order_acquire) & position_mask;
}

// ---- resting -------------------------------------------------------------------------

int ready_descriptor(ready_ring &ring, int *reason)
{
    int fd = descriptor_of(ring);
    if (fd >= 0)
        return fd;
    fd = event_open(true, reason);
    if (fd < 0)
        return -1;
    ring.calls_seen = calls_unknown;
    ring.fd_after.store(fd + 1, std::memory_order_release);
    return fd;
}

bool ready_has_descriptor(const ready_ring &ring) { return descriptor_of(ring) >= 0; }

// True if no ticket has been taken since `tail` was all: who comes later sees the rest,
// and calls.
static bool begin_rest(ready_ring &ring, uint64_t tail, bool sleeps)
{
    uint64_t rests = ring.rests.load(std::memory_order_relaxed);
    uint64_t next = (rests | 1) + 1 + sleeps;
    ring.rests.store(next, std::memory_order_release);
    return ring.tail.compare_exchange_strong(tail, tail, std::memory_order_acq_rel);
}

// As if a waker had called.
static void end_rest(ready_ring &ring)
{
    ring.called.store(ring.rests.load(std::memory_order_relaxed), std::memory_order_release);
}

void ready_rest(ready_ring &ring)
{
    int fd = descriptor_of(ring);
    uint64_t tail = ring.tail.load(std::memory_order_acquire);
    uint64_t calls = ring.calls.load(std::memory_order_acquire);
    if (fd < 0 || (tail & position_mask) != ring.head || calls == ring.calls_seen)
        return;
    event_clear(fd);
    // What a call of an earlier rest may still do to the descriptor is looked at next time.
    ring.calls_seen = calls_are_done(calls) ? calls : calls_unknown;
    if (begin_rest(ring, tail, false))
        return;
    ring.calls_seen = calls_unknown;
    event_set(fd);
    end_rest(ring);
}

void ready_sleep(ready_ring &ring, uint64_t deadline_ns)
{
    uint64_t tail = ring.tail.load(std::memory_order_acquire);
    if ((tail & position_mask) != ring.head)
        return;
    ring.asleep.store(1, std::memory_order_relaxed);
    if (begin_rest(ring, tail, true)) {
        // (Seconds of 32 bits end before the clock's nanoseconds of 64 do.)
        constexpr uint64_t seconds_most =
            sizeof(time_t) < 8 ? uint64_t(INT32_MAX) : uint64_t(INT64_MAX);
        const uint64_t seconds = deadline_ns / 1000000000;
        timespec until = {time_t(seconds), long(deadline_ns % 1000000000)};
        bool has_end = deadline_ns != UINT64_MAX && seconds <= seconds_most;
        syscall(futex_call, &ring.asleep, FUTEX_WAIT_BITSET_PRIVATE, 1,
                has_end ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
    }
    // With a descriptor that is not readable, the next waker is to call all the same.
    if (!ready_has_descriptor(ring))
        end_rest(ring);
}

void ready_close(ready_ring &ring)
{
    const int after = ring.fd_after.load(std::memory_order_relaxed);
    std::atomic<uint64_t> *left = ring.fds_left,
                          *end = left + sizeof ring.fds_left / sizeof *left;
    while (left < end && uint32_t(left->load(std::memory_order_relaxed)))
        left++;
    // (All that owners before have left are still there: this one stays for the next.)
    if (!after || left == end)
        return;
    // Either a waker counts itself first, and is seen here, or it finds no descriptor. And
    // either its end is seen here, or it sees what was left.
    ring.fd_after.store(0, std::memory_order_seq_cst);
    const uint64_t times = left->load(std::memory_order_relaxed) >> 32;
    left->store((times + 1) << 32 | uint32_t(after), std::memory_order_seq_cst);
    if (calls_are_done(ring.calls.load(std::memory_order_seq_cst)))
        close_left(ring);
    ring.calls_seen = calls_unknown;
}

bool ready_is_clean(const ready_ring &ring)
{
    uint32_t descriptors = uint32_t(ring.fd_after.load(std::memory_order_relaxed));
    for (const std::atomic<uint64_t> &left : ring.fds_left)
        descriptors |= uint32_t(left.load(std::memory_order_relaxed));
    return !descriptors && ring.head == ready_end(ring) &&
           calls_are_done(ring.calls.load(std::memory_order_relaxed));
}

void ready_for_each(const ready_ring &ring, void (*function)(uint32_t, void *), void *with)
{
    unsigned capacity = ring.head_capacity;
    const uint64_t end = ready_end(ring);
    for (uint64_t position = ring.head; position < end; position++) {
        for (unsigned next = capacity + 1; next < 32; next++)
            if (ring.slots[next].load(std::memory_order_relaxed) &&
                ring.begins[next] <= position)
                capacity = next;
        uint64_t word = slot_of(ring, capacity, position).load(std::memory_order_relaxed);
        if (!is_earlier(word, round_of(capacity, position)) && (word & ready_entry_most))
            function(uint32_t(word & ready_entry_most), with);
    }
}

// ---- fork ------------------------------------------------------------------------------

// (Whatever step this thread may be at itself, if a signal handler has called fork().)
static void forget_calls(ready_ring &ring)
{
    uint64_t calls = ring.calls.load(std::memory_order_relaxed);
    uint64_t begun = (calls & calls_begun_mask) >> 24;
    // One more, for the descriptor has changed.
    begun = (begun + 1) & calls_done_mask;
    ring.calls.store((calls / calls_fork_one + 1) * calls_fork_one | begun << 24 | begun,
                     std::memory_order_relaxed);
}

void ready_forked(ready_ring &ring)
{
    forget_calls(ring);
    close_left(ring);
    int fd = descriptor_of(ring);
    if (fd >= 0 && !event_reopen(fd, true))
        ring.fd_after.store(0, std::memory_order_relaxed);
    // As if all wakers had called, even in the middle of ready_rest or ready_sleep.
    ring.asleep.store(0, std::memory_order_relaxed);
    end_rest(ring);
}

void ready_orphaned(ready_ring &ring)
{
    ring.orphaned = true;
    forget_calls(ring);
    ring.fd_after.store(0, std::memory_order_relaxed);
    end_rest(ring);
}
