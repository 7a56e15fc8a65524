// SPDX-License-Identifier: Apache-2.0
//
// Jobs that wait with a descriptor each: the peer's own where it has such, else
// an eventfd of the program's, which is what a program must do there.
#ifndef BENCH_WAITER_H
#define BENCH_WAITER_H

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "peer.h"
#include "process.h"

template <typename R> struct Waiter {
    typename R::Job *job = nullptr; // paused
    int fd = -1;

    bool open()
    {
        if constexpr (R::HAS_WAIT_FD)
            fd = R::wait_fd(job);
        else
            fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return fd >= 0;
    }
    // From any thread.
    BENCH_INLINE void wake() const
    {
        const uint64_t one = 1;
        if constexpr (R::HAS_WAIT_FD)
            R::wake(job);
        else if (write(fd, &one, sizeof one) != sizeof one)
            __builtin_trap();
    }
    BENCH_INLINE void clear() const
    {
        uint64_t count;
        if constexpr (R::HAS_WAIT_FD)
            R::clear_wake(job);
        else if (read(fd, &count, sizeof count) != sizeof count)
            __builtin_trap();
    }
    void close()
    {
        if constexpr (!R::HAS_WAIT_FD)
            ::close(fd);
    }
};

// Waiters in one epoll set, each with its address as data; level-triggered.
template <typename R> struct Waiters {
    std::vector<Waiter<R>> all;
    int epoll = -1;
    bool ring = false; // no descriptors: the runtime's queue tells

    const char *open(const std::vector<typename R::Job *> &jobs)
    {
        epoll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll < 0)
            return "epoll cannot be had";
        all.resize(jobs.size());
        for (size_t i = 0; i < all.size(); i++) {
            all[i].job = jobs[i];
            if (ring)
                continue;
            epoll_event event = {};
            event.events = EPOLLIN;
            event.data.ptr = &all[i];
            if (!all[i].open() || epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0)
                return "a descriptor cannot be had";
        }
        return nullptr;
    }
    // Before the jobs end, after which their descriptors are not theirs.
    void close()
    {
        ::close(epoll);
        for (Waiter<R> &waiter : all)
            waiter.close();
    }

    static std::string unavailable(size_t count)
    {
        if (R::NO_CROWD)
            return R::NO_CROWD;
        if (count + 100 > process_descriptors_most())
            return "needs more descriptors than RLIMIT_NOFILE allows";
        return "";
    }
};

#endif
