// SPDX-License-Identifier: Apache-2.0
//
// A lock that knows its holder, so that fork() may be called anywhere. Knows no jobs.
//
// In the child only the thread that called fork() goes on. A lock that another thread
// held would stay held for ever, and what it guards would stay half changed: so fork
// takes each lock first, and gives it back on both sides. A lock that the forking thread
// holds itself (a signal handler called fork()) is left alone: its holder goes on in both.
#pragma once

#include <atomic>
#include <cstdint>

struct lock {
    std::atomic<uint32_t> word = 0; // 0: free; else its holder's number and, in bit 0, "contended"
    bool held_for_fork = false;
};

// No cancellation points; errno is kept. Not for signal handlers.
void lock_take(lock &l);
void lock_drop(lock &l);

struct lock_scope {
    lock &l;
    explicit lock_scope(lock &l) : l(l) { lock_take(l); }
    lock_scope(const lock_scope &) = delete;
    lock_scope &operator=(const lock_scope &) = delete;
    ~lock_scope() { lock_drop(l); }
};

bool lock_is_own(const lock &l); // the calling thread's
bool lock_ever_taken(); // any, by any thread

// For the handlers of pthread_atfork(), and after the fork in the parent and in the child.
// False: another thread holds it.
bool lock_before_fork(lock &l);
void lock_after_fork(lock &l);
