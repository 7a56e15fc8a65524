// SPDX-License-Identifier: Apache-2.0
#include "ready.h"

#include <cerrno>
#include <ctime>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jobswitch/jobswitch.h"

// The one whose timespec the C library has.
#ifdef SYS_futex_time64
static constexpr long futex_call =
    sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex;
#else
static constexpr long futex_call = SYS_futex;
#endif
static constexpr unsigned capacity_shift = 59;
static constexpr uint64_t sleeping = uint64_t(1) << 58;
static constexpr uint64_t fd_rests = uint64_t(1) << 57;
static constexpr uint64_t position_mask = fd_rests - 1;
static constexpr unsigned capacity_least = 10; // a page

static unsigned capacity_of(uint64_t tail) { return unsigned(tail >> capacity_shift); }

static std::atomic<uint32_t> *slot_of(const ready_ring &ring, unsigned capacity,
                                      uint64_t position)
{
    uint64_t mask = (uint64_t(1) << capacity) - 1;
    return &ring.slots[capacity].load(std::memory_order_acquire)[position & mask];
}

// What a slot holds for a position: the entry, and above it the round, which is never 0.
static uint32_t mark_of(unsigned capacity, uint64_t position)
{
    return uint32_t((position >> capacity) % 255 + 1) << 24;
}

// The entry at a position; 0: it is not there.
static uint32_t entry_at(const ready_ring &ring, unsigned capacity, uint64_t position)
{
    uint32_t mark = mark_of(capacity, position);
    uint32_t word = slot_of(ring, capacity, position)->load(std::memory_order_acquire);
    return (word & ~ready_entry_most) == mark ? word - mark : 0;
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

// Where the older slots have all been taken, nobody writes to them any more.
static void leave_older_slots(ready_ring &ring)
{
    while (ring.head == ring.head_end) {
        munmap(static_cast<void *>(ring.slots[ring.head_capacity].load()),
               sizeof(uint32_t) << ring.head_capacity);
        ring.slots[ring.head_capacity] = nullptr;
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
    while (wanted < 31 && entries > size_t(1) << wanted)
        wanted++;
    if (capacity >= wanted)
        return true;
    void *memory = mmap(nullptr, sizeof(uint32_t) << wanted, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        return false;
    }
    ring.slots[wanted].store(static_cast<std::atomic<uint32_t> *>(memory),
                             std::memory_order_release);
    // Tickets from here on stand for the new slots.
    uint64_t tail = ring.tail.load(std::memory_order_relaxed);
    uint64_t next;
    do
        next = (tail & ~(~uint64_t(0) << capacity_shift)) | uint64_t(wanted) << capacity_shift;
    while (!ring.tail.compare_exchange_weak(tail, next, std::memory_order_acq_rel));
    ring.begins[wanted] = tail & position_mask;
    if (!ring.head_capacity)
        ring.head_capacity = wanted;
    find_head_end(ring);
    if (ring.head == ring.head_end && !ring.holes_count)
        leave_older_slots(ring);
    return true;
}

// ---- pushing ---------------------------------------------------------------------

static void make_readable(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static void make_unreadable(int fd)
{
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
}

static int descriptor_of(const ready_ring &ring)
{
    return ring.fd_after.load(std::memory_order_acquire) - 1;
}

static void call_owner(ready_ring &ring, uint64_t how)
{
    int keep = errno;
    if (how & sleeping) {
        ring.asleep.store(0, std::memory_order_seq_cst);
        syscall(futex_call, &ring.asleep, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    if (how & fd_rests)
        make_readable(descriptor_of(ring));
    errno = keep;
}

void ready_push(ready_ring &ring, uint32_t entry)
{
    uint64_t ticket = ring.tail.fetch_add(1, std::memory_order_acq_rel);
    uint64_t how = ticket & (sleeping | fd_rests);
    if (how) {
        // Before the entry can be seen, for after that the owner may rest anew: what is
        // done here would be to the wrong rest.
        ring.calling.fetch_add(1, std::memory_order_seq_cst);
        ring.tail.fetch_and(~how, std::memory_order_acq_rel);
    }
    unsigned capacity = capacity_of(ticket);
    uint64_t position = ticket & position_mask;
    slot_of(ring, capacity, position)
        ->store(mark_of(capacity, position) + entry, std::memory_order_release);
    if (how) {
        call_owner(ring, how);
        ring.calling.fetch_sub(1, std::memory_order_seq_cst);
    }
}

// ---- taking ------------------------------------------------------------------------

static uint32_t take_from_holes(ready_ring &ring)
{
    for (uint32_t i = 0; i < ring.holes_count; i++)
        if (uint32_t entry = entry_at(ring, ring.head_capacity, ring.holes[i])) {
            ring.holes_count--;
            for (; i < ring.holes_count; i++)
                ring.holes[i] = ring.holes[i + 1];
            return entry;
        }
    return 0;
}

uint32_t ready_pop(ready_ring &ring, uint64_t end)
{
    constexpr uint32_t holes_most = sizeof ring.holes / sizeof *ring.holes;
    if (ring.holes_count)
        if (uint32_t entry = take_from_holes(ring))
            return entry;
    while (ring.head < end) {
        if (ring.head == ring.head_end) {
            if (ring.holes_count)
                return 0;
            leave_older_slots(ring);
        }
        uint32_t entry = entry_at(ring, ring.head_capacity, ring.head);
        if (!entry && ring.holes_count == holes_most)
            return 0;
        if (!entry)
            ring.holes[ring.holes_count++] = ring.head;
        ring.head++;
        if (entry)
            return entry;
    }
    return 0;
}

uint32_t ready_peek(const ready_ring &ring, size_t places, uint64_t end)
{
    uint64_t position = ring.head + places;
    return position < end && position < ring.head_end
               ? entry_at(ring, ring.head_capacity, position)
               : 0;
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
    fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        *reason = errno == EMFILE || errno == ENFILE ? JOBSWITCH_E_NO_DESCRIPTORS
                                                     : JOBSWITCH_E_NO_MEMORY;
        return -1;
    }
    ring.fd_after.store(fd + 1, std::memory_order_release);
    return fd;
}

bool ready_has_descriptor(const ready_ring &ring) { return descriptor_of(ring) >= 0; }

// Nobody is about to call the owner, so nothing of an earlier rest comes late. Returns
// the tail as of then, if there is no entry; else 0.
static uint64_t nobody_comes(ready_ring &ring)
{
    if (ring.calling.load(std::memory_order_seq_cst) != 0)
        return 0;
    uint64_t tail = ring.tail.load(std::memory_order_seq_cst);
    return ready_is_taken(ring, tail & position_mask) ? tail : 0;
}

void ready_rest(ready_ring &ring)
{
    int fd = descriptor_of(ring);
    uint64_t tail;
    if (fd < 0 || !(tail = nobody_comes(ring)) || (tail & fd_rests))
        return;
    make_unreadable(fd);
    if (!ring.tail.compare_exchange_strong(tail, tail | fd_rests, std::memory_order_seq_cst))
        make_readable(fd);
}

void ready_sleep(ready_ring &ring, uint64_t deadline_ns)
{
    uint64_t tail = nobody_comes(ring);
    if (!tail) {
        // A waker between its two steps, or before its last. It may need this very
        // processor, and have no right to it while this thread asks again and again.
        timespec moment = {0, 20000};
        nanosleep(&moment, nullptr);
        return;
    }
    ring.asleep.store(1, std::memory_order_relaxed);
    if (!ring.tail.compare_exchange_strong(tail, tail | sleeping, std::memory_order_seq_cst))
        return;
    // (Seconds of 32 bits end before the clock's nanoseconds of 64 do.)
    constexpr uint64_t seconds_most =
        sizeof(time_t) < 8 ? uint64_t(INT32_MAX) : uint64_t(INT64_MAX);
    const uint64_t seconds = deadline_ns / 1000000000;
    timespec until = {time_t(seconds), long(deadline_ns % 1000000000)};
    bool has_end = deadline_ns != UINT64_MAX && seconds <= seconds_most;
    syscall(futex_call, &ring.asleep, FUTEX_WAIT_BITSET_PRIVATE, 1,
            has_end ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
    ring.tail.fetch_and(~sleeping, std::memory_order_acq_rel);
}

void ready_close(ready_ring &ring)
{
    int fd = descriptor_of(ring);
    uint64_t tail = nobody_comes(ring);
    if (fd < 0 || !tail)
        return;
    // A waker that is late finds no rest, and calls nobody.
    if (!ring.tail.compare_exchange_strong(tail, tail & ~fd_rests, std::memory_order_seq_cst))
        return;
    ring.fd_after.store(0, std::memory_order_release);
    close(fd);
}
