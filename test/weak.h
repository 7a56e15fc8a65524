// SPDX-License-Identifier: Apache-2.0
//
// Compiling a source of src/ with `-include test/weak.h` replaces its machine: std::atomic
// becomes a modelled atomic, system calls and mutexes become fakes. weak_search.h
// implements both, and runs the source under every schedule.
//
// System headers are included first: the macros below would rename their functions.
#pragma once

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <type_traits>
#include <unistd.h>

namespace weak {

enum class step { exchange, add, sub, bit_and, bit_or, bit_xor };

// One operation of the running thread on the atomic object at an address.
uint64_t load(const void *at, unsigned bytes, std::memory_order order);
void store(void *at, unsigned bytes, uint64_t value, std::memory_order order);
uint64_t modify(void *at, unsigned bytes, step how, uint64_t with, std::memory_order order);
struct exchange_orders {
    std::memory_order success, failure;
    bool weak; // may fail spuriously
};
bool exchange_if(void *at, unsigned bytes, uint64_t &expected, uint64_t next,
                 exchange_orders orders);

// The failure order of a compare-exchange that is given one order.
constexpr std::memory_order failure_of(std::memory_order success)
{
    return success == std::memory_order_acq_rel   ? std::memory_order_acquire
           : success == std::memory_order_release ? std::memory_order_relaxed
                                                  : success;
}

// Pointers to functions are usually set before any thread runs, and then not worth a
// scheduling point.
inline bool functions_change = false;

// Has the layout of T, so zeroed memory is a valid object, as with std::atomic.
template <class T> class atomic {
    T value;
    using order_t = std::memory_order;
    static constexpr order_t strongest = std::memory_order_seq_cst;
    static bool is_fixed()
    {
        return std::is_function_v<std::remove_pointer_t<T>> && !functions_change;
    }

    static uint64_t bits_of(T v)
    {
        if constexpr (std::is_pointer_v<T>)
            return reinterpret_cast<uintptr_t>(v);
        else
            return uint64_t(v);
    }
    static T value_of(uint64_t bits)
    {
        if constexpr (std::is_pointer_v<T>)
            return reinterpret_cast<T>(uintptr_t(bits));
        else
            return T(bits);
    }
    T modified(step how, T with, order_t order)
    {
        return value_of(modify(&value, sizeof value, how, bits_of(with), order));
    }
    bool exchanged(T &expected, T next, exchange_orders orders)
    {
        uint64_t bits = bits_of(expected);
        bool done = exchange_if(&value, sizeof value, bits, bits_of(next), orders);
        expected = value_of(bits);
        return done;
    }

public:
    atomic() = default;
    constexpr atomic(T v) : value(v) {}
    atomic(const atomic &) = delete;
    atomic &operator=(const atomic &) = delete;

    T load(order_t order = strongest) const
    {
        return is_fixed() ? value : value_of(weak::load(&value, sizeof value, order));
    }
    void store(T v, order_t order = strongest)
    {
        if (is_fixed())
            value = v;
        else
            weak::store(&value, sizeof value, bits_of(v), order);
    }
    T exchange(T v, order_t order = strongest) { return modified(step::exchange, v, order); }
    T fetch_add(T v, order_t order = strongest) { return modified(step::add, v, order); }
    T fetch_sub(T v, order_t order = strongest) { return modified(step::sub, v, order); }
    T fetch_and(T v, order_t order = strongest) { return modified(step::bit_and, v, order); }
    T fetch_or(T v, order_t order = strongest) { return modified(step::bit_or, v, order); }
    T fetch_xor(T v, order_t order = strongest) { return modified(step::bit_xor, v, order); }
    bool compare_exchange_weak(T &expected, T next, order_t success, order_t failure)
    {
        return exchanged(expected, next, {success, failure, true});
    }
    bool compare_exchange_weak(T &expected, T next, order_t order = strongest)
    {
        return exchanged(expected, next, {order, failure_of(order), true});
    }
    bool compare_exchange_strong(T &expected, T next, order_t success, order_t failure)
    {
        return exchanged(expected, next, {success, failure, false});
    }
    bool compare_exchange_strong(T &expected, T next, order_t order = strongest)
    {
        return exchanged(expected, next, {order, failure_of(order), false});
    }
    operator T() const { return load(); }
    T operator=(T v)
    {
        store(v);
        return v;
    }
    T operator++() { return T(fetch_add(1) + 1); }
    T operator--() { return T(fetch_sub(1) - 1); }
    T operator++(int) { return fetch_add(1); }
    T operator--(int) { return fetch_sub(1); }
    T operator+=(T v) { return T(fetch_add(v) + v); }
    T operator-=(T v) { return T(fetch_sub(v) - v); }
    T operator&=(T v) { return T(fetch_and(v) & v); }
    T operator|=(T v) { return T(fetch_or(v) | v); }
    T operator^=(T v) { return T(fetch_xor(v) ^ v); }
};

// System calls and mutexes.
ssize_t fake_write(int fd, const void *from, size_t bytes);
ssize_t fake_read(int fd, void *to, size_t bytes);
int fake_close(int fd);
int fake_eventfd(unsigned count, int flags);
void *fake_mmap(void *where, size_t bytes, int protection, int flags, int fd, off_t offset);
int fake_munmap(void *at, size_t bytes);
void *fake_mremap(void *at, size_t bytes, size_t wanted, int flags, ...);
int fake_nanosleep(const timespec *time, timespec *left);
int fake_sched_yield();
long fake_syscall(long number, ...);
int fake_mutex_lock(pthread_mutex_t *mutex);
int fake_mutex_trylock(pthread_mutex_t *mutex);
int fake_mutex_unlock(pthread_mutex_t *mutex);

} // namespace weak

namespace std {
template <class T> using modelled_atomic = weak::atomic<T>;
}

#define atomic modelled_atomic
// Not modelled: code that uses one does not compile.
#define atomic_thread_fence no_model_of_atomic_thread_fence
#define atomic_ref no_model_of_atomic_ref
#define poll no_model_of_poll

#define write ::weak::fake_write
#define read ::weak::fake_read
#define close ::weak::fake_close
#define eventfd ::weak::fake_eventfd
#define mmap ::weak::fake_mmap
#define munmap ::weak::fake_munmap
#define mremap ::weak::fake_mremap
#define nanosleep ::weak::fake_nanosleep
#define sched_yield ::weak::fake_sched_yield
#define syscall ::weak::fake_syscall
#define pthread_mutex_lock ::weak::fake_mutex_lock
#define pthread_mutex_trylock ::weak::fake_mutex_trylock
#define pthread_mutex_unlock ::weak::fake_mutex_unlock

// A tiny ring: a few wakes go round it, a few more entries make it grow.
#define READY_CAPACITY_LEAST 1
