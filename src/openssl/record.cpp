// SPDX-License-Identifier: Apache-2.0
#include "record.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <sys/syscall.h>
#include <unistd.h>

// A record's holder is a thread's id, 0 if none has it; above it a count of changes, so that
// a look at an old holder never takes the record from a new one.
static constexpr uint64_t one_change = uint64_t(1) << 32;
static pid_t thread_of(uint64_t holder) { return pid_t(uint32_t(holder)); }
static uint64_t changed(uint64_t holder, pid_t thread)
{
    return ((holder + one_change) & ~(one_change - 1)) | uint32_t(thread);
}

static std::atomic<record *> all; // never taken out
// Whether threads still live is asked of a few records each time, in turn from here.
static std::atomic<record *> ask_from;
static constexpr unsigned asks_each_time = 4;

static bool has_ended(pid_t thread)
{
    return syscall(SYS_tgkill, getpid(), thread, 0) != 0 && errno == ESRCH;
}

// One that nobody has, or whose thread has ended; NULL: there is none. On the way it cleans a
// few others, so that they do not become many.
static record *take_over(pid_t own)
{
    record *const first = all.load(std::memory_order_acquire);
    record *const from = ask_from.load(std::memory_order_relaxed);
    record *const start = from ? from : first;
    record *found = nullptr, *r = start;
    unsigned asks = asks_each_time;
    do {
        record *next = r->next ? r->next : first;
        uint64_t holder = r->holder.load(std::memory_order_acquire);
        const pid_t thread = thread_of(holder);
        // (One that has this thread's id had it before.)
        bool dead = thread == own;
        if (thread && !dead && asks) {
            asks--;
            ask_from.store(next, std::memory_order_relaxed);
            dead = has_ended(thread);
        }
        if ((!thread && !found) || dead) {
            if (r->holder.compare_exchange_strong(holder, changed(holder, own),
                                                  std::memory_order_acquire)) {
                slot_list_clear(r->slots);
                if (found)
                    record_give(*r);
                else
                    found = r;
            }
        }
        r = next;
    } while (r != start && !(found && !asks));
    return found;
}

record *record_take()
{
    const int keep = errno;
    const auto own = pid_t(syscall(SYS_gettid));
    record *r = all.load(std::memory_order_relaxed) ? take_over(own) : nullptr;
    errno = keep;
    if (r)
        return r;
    r = static_cast<record *>(calloc(1, sizeof(record)));
    if (!r)
        return nullptr;
    slot_list_init(r->slots);
    r->holder.store(changed(0, own), std::memory_order_relaxed);
    r->next = all.load(std::memory_order_relaxed);
    while (!all.compare_exchange_weak(r->next, r, std::memory_order_release)) {}
    return r;
}

void record_give(record &r)
{
    slot_list_close(r.slots);
    r.holder.store(changed(r.holder.load(std::memory_order_relaxed), 0),
                   std::memory_order_release);
}

void record_sum(uint64_t *started, uint64_t *paused)
{
    *started = *paused = 0;
    for (record *r = all.load(std::memory_order_acquire); r; r = r->next) {
        *started += r->started.load(std::memory_order_relaxed);
        *paused += r->paused.load(std::memory_order_relaxed);
    }
}
