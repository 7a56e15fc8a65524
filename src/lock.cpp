// SPDX-License-Identifier: Apache-2.0
#include "lock.h"

#include <cerrno>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static constexpr uint32_t contended = 1;

// A thread's number, and not its id in the system: that changes in a forked child, and with
// it a lock would lose its holder.
static std::atomic<uint32_t> numbers;
[[gnu::tls_model("initial-exec")]] static thread_local constinit uint32_t own_number = 0;

static uint32_t own_word()
{
    while (!own_number)
        own_number = numbers.fetch_add(1, std::memory_order_relaxed) + 1;
    return own_number << 1;
}

static void futex(std::atomic<uint32_t> &word, int operation, uint32_t value)
{
    int keep = errno;
#ifdef SYS_futex
    syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
#else
    syscall(SYS_futex_time64, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
#endif
    errno = keep;
}

void lock_take(lock &l)
{
    uint32_t own = own_word();
    uint32_t word = 0;
    while (!l.word.compare_exchange_strong(word, own, std::memory_order_acquire,
                                           std::memory_order_relaxed)) {
        // Others may wait, too: from here on the lock counts as contended.
        own |= contended;
        if (word && ((word & contended) || l.word.compare_exchange_strong(
                                               word, word | contended,
                                               std::memory_order_relaxed)))
            futex(l.word, FUTEX_WAIT, word | contended);
        word = 0;
    }
}

void lock_drop(lock &l)
{
    if (l.word.exchange(0, std::memory_order_release) & contended)
        futex(l.word, FUTEX_WAKE, 1);
}

bool lock_is_own(const lock &l)
{
    return own_number && l.word.load(std::memory_order_relaxed) >> 1 == own_number;
}

bool lock_ever_taken() { return numbers.load(std::memory_order_relaxed); }

bool lock_before_fork(lock &l)
{
    if (lock_is_own(l))
        return true;
    uint32_t word = 0;
    if (!l.word.compare_exchange_strong(word, own_word(), std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return false;
    return l.held_for_fork = true;
}

void lock_after_fork(lock &l)
{
    if (!l.held_for_fork)
        return;
    l.held_for_fork = false;
    lock_drop(l);
}
