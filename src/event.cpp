// SPDX-License-Identifier: Apache-2.0
#include "event.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jobswitch/jobswitch.h"

static int make(bool readable)
{
    return int(syscall(SYS_eventfd2, readable, EFD_CLOEXEC | EFD_NONBLOCK));
}

int event_open(bool readable, int *reason)
{
    int fd = make(readable);
    if (fd < 0)
        *reason = errno == EMFILE || errno == ENFILE ? JOBSWITCH_E_NO_DESCRIPTORS
                                                     : JOBSWITCH_E_NO_MEMORY;
    return fd;
}

void event_set(int fd)
{
    uint64_t one = 1;
    // EAGAIN: the counter is at its end, so it is readable.
    syscall(SYS_write, fd, &one, sizeof one);
}

void event_clear(int fd)
{
    uint64_t count;
    syscall(SYS_read, fd, &count, sizeof count);
}

void event_close(int fd) { syscall(SYS_close, fd); }

bool event_reopen(int fd, bool readable)
{
    // Closed first, for there may be no number to spare; usually it is given out again.
    event_close(fd);
    int made = make(readable);
    if (made < 0 || made == fd)
        return made == fd;
    bool moved = syscall(SYS_dup3, made, fd, O_CLOEXEC) == fd;
    event_close(made);
    return moved;
}

// ---- fork in the middle of a call ------------------------------------------------------

[[gnu::tls_model("initial-exec")]] static thread_local constinit event_use *innermost = nullptr;

event_use::event_use(int fd) : fd(fd), outer(innermost)
{
    std::atomic_signal_fence(std::memory_order_release);
    innermost = this;
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

event_use::~event_use()
{
    std::atomic_signal_fence(std::memory_order_seq_cst);
    innermost = outer;
}

void event_forked()
{
    for (event_use *use = innermost; use; use = use->outer)
        event_reopen(use->fd, false);
}
