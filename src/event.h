// SPDX-License-Identifier: Apache-2.0
//
// Event descriptors (eventfd(2)): close-on-exec, non-blocking. Knows no jobs.
//
// The C library's write, read and close are cancellation points: a thread that has been
// cancelled could end inside of them, and leave half done what it was about to do. These
// functions use system calls that are none. So is eventfd(), but a tool that follows numbers
// from their begin to their end, as ThreadSanitizer does, is to see both or neither.
#pragma once

// A new descriptor, readable or not; -1 with a reason.
int event_open(bool readable, int *reason);
// Also in a signal handler; errno is the caller's to keep.
void event_set(int fd);   // makes it readable
void event_clear(int fd); // makes it unreadable
void event_close(int fd);

// In a forked child, whose descriptor is its parent's, too: gives the number a new one. False:
// it cannot be had (a limit, or no memory), and the number is closed.
bool event_reopen(int fd, bool readable);

// Around calls on a descriptor whose owner may be another thread. Where a signal handler forks
// inside, its child comes back to here, and must not call by what is the parent's:
// event_forked gives it an own one under that number (or makes it -1), and whoever closes that
// number while it is used, does so when the use ends. A fork before this is the user's to
// look for, inside.
struct event_use {
    int fd;
    bool closes = false;
    event_use *outer; // which a signal handler has interrupted
    explicit event_use(int fd);
    event_use(const event_use &) = delete;
    event_use &operator=(const event_use &) = delete;
    ~event_use();
};
void event_forked();
