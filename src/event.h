// SPDX-License-Identifier: Apache-2.0
//
// Event descriptors (eventfd(2)): close-on-exec, non-blocking. Knows no jobs.
//
// The C library's write, read and close are cancellation points: a thread that has been
// cancelled could end inside of them, and leave half done what it was about to do. These
// functions use system calls that are none.
#pragma once

// A new descriptor, readable or not; -1 with a reason.
int event_open(bool readable, int *reason);
// Also in a signal handler; errno is the caller's to keep.
void event_set(int fd);   // makes it readable
void event_clear(int fd); // makes it unreadable
void event_close(int fd);

// In a forked child, whose descriptor is its parent's, too: gives the number a new one.
void event_reopen(int fd, bool readable);
