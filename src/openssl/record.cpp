// SPDX-License-Identifier: Apache-2.0
#include "record.h"

#include <cerrno>
#include <cstdlib>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

// A record's holder is a thread's id, 0 if none has it; above it a count of changes, so that
// a look at an old holder never takes the record from a new one.
static constexpr uint64_t one_change = uint64_t(1) << 32;
static constexpr pid_t nobody = 0, lost = -1;
static pid_t thread_of(uint64_t holder) { return pid_t(uint32_t(holder)); }
static uint64_t changed(uint64_t holder, pid_t thread)
{
    return ((holder + one_change) & ~(one_change - 1)) | uint32_t(thread);
}

static std::atomic<record *> all; // never taken out
// Whether threads still live is asked of a few records each time, in turn from here.
static std::atomic<record *> ask_from;
static constexpr unsigned asks_each_time = 4;

// ---- fork --------------------------------------------------------------------------------

// The calling thread's id, once it has asked for a record. fork() gives it another.
[[gnu::tls_model("initial-exec")]] static thread_local std::atomic<pid_t> own_thread;
static pid_t ask_own_thread() { return pid_t(syscall(SYS_gettid)); }

// What was counted before the process was forked: its parent reports that.
static uint64_t started_before, paused_before;

// In the child. Other threads may have been anywhere in what is theirs, so their records are
// not taken over. This one may be anywhere, too, where a signal handler forks.
static void forked()
{
    const int keep = errno;
    const pid_t before = own_thread.load(std::memory_order_relaxed);
    const pid_t now = ask_own_thread();
    for (record *r = all.load(std::memory_order_relaxed); r; r = r->next) {
        const uint64_t holder = r->holder.load(std::memory_order_relaxed);
        const pid_t thread = thread_of(holder);
        if (thread != nobody)
            r->holder.store(changed(holder, thread == before ? now : lost),
                            std::memory_order_relaxed);
    }
    own_thread.store(now, std::memory_order_relaxed);
    uint64_t started, paused;
    record_sum(&started, &paused);
    started_before += started;
    paused_before += paused;
    errno = keep;
}

// pthread_atfork() asks the start files for this, which the library is linked without.
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] void *__dso_handle = nullptr;
}

// If there is no memory for it now, the next thread tries again.
static bool forks_are_handled()
{
    static std::atomic<bool> done;
    if (!done.load(std::memory_order_acquire)) {
        if (pthread_atfork(nullptr, nullptr, forked) != 0)
            return false;
        done.store(true, std::memory_order_release); // (twice does no harm)
    }
    return true;
}

// (A fork between the two steps leaves the parent's.)
static void learn_own_thread()
{
    do
        own_thread.store(ask_own_thread(), std::memory_order_relaxed);
    while (ask_own_thread() != own_thread.load(std::memory_order_relaxed));
}

// Sets the holder of a record that is this thread's, in whichever process that is by now.
static void sign(record &r)
{
    pid_t thread;
    do {
        thread = own_thread.load(std::memory_order_relaxed);
        r.holder.store(changed(r.holder.load(std::memory_order_relaxed), thread),
                       std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
    } while (own_thread.load(std::memory_order_relaxed) != thread);
}

// ---- taking -------------------------------------------------------------------------------

static bool has_ended(pid_t thread)
{
    return syscall(SYS_tgkill, getpid(), thread, 0) != 0 && errno == ESRCH;
}

// One that nobody has, or whose thread has ended; NULL: there is none. On the way it cleans a
// few others, so that they do not become many.
static record *take_over()
{
    const pid_t own = own_thread.load(std::memory_order_relaxed);
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
        if (thread > 0 && !dead && asks) {
            asks--;
            ask_from.store(next, std::memory_order_relaxed);
            dead = has_ended(thread);
        }
        if (((thread == nobody && !found) || dead) &&
            r->holder.compare_exchange_strong(holder, changed(holder, own),
                                              std::memory_order_acquire)) {
            sign(*r);
            slot_list_clear(r->slots);
            if (found)
                record_give(*r);
            else
                found = r;
        }
        r = next;
    } while (r != start && !(found && !asks));
    return found;
}

record *record_take()
{
    if (!forks_are_handled())
        return nullptr;
    const int keep = errno;
    learn_own_thread();
    record *r = all.load(std::memory_order_relaxed) ? take_over() : nullptr;
    errno = keep;
    if (r)
        return r;
    r = static_cast<record *>(calloc(1, sizeof(record)));
    if (!r)
        return nullptr;
    slot_list_init(r->slots);
    sign(*r);
    r->next = all.load(std::memory_order_relaxed);
    while (!all.compare_exchange_weak(r->next, r, std::memory_order_release)) {}
    sign(*r);
    return r;
}

void record_give(record &r)
{
    slot_list_close(r.slots);
    r.holder.store(changed(r.holder.load(std::memory_order_relaxed), nobody),
                   std::memory_order_release);
}

void record_sum(uint64_t *started, uint64_t *paused)
{
    *started = -started_before;
    *paused = -paused_before;
    for (record *r = all.load(std::memory_order_acquire); r; r = r->next) {
        *started += r->started.load(std::memory_order_relaxed);
        *paused += r->paused.load(std::memory_order_relaxed);
    }
}
