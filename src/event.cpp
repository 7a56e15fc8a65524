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

// ---- uses ------------------------------------------------------------------------------

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
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (closes)
        event_close(fd);
}

// The outermost use of that number; NULL: none.
static event_use *use_of(int fd)
{
    event_use *found = nullptr;
    for (event_use *use = innermost; use; use = use->outer)
        if (use->fd == fd)
            found = use;
    return found;
}

void event_close(int fd)
{
    if (event_use *use = use_of(fd))
        use->closes = true;
    else
        syscall(SYS_close, fd);
}

// ---- fork ------------------------------------------------------------------------------

static bool move(int from, int to)
{
    bool moved = syscall(SYS_dup3, from, to, O_CLOEXEC) == to;
    syscall(SYS_close, from);
    return moved;
}

bool event_reopen(int fd, bool readable)
{
    // Closed first, for there may be no number to spare; and it is given out again, if there
    // is no lower one.
    syscall(SYS_close, fd);
    int made = make(readable);
    if (made == fd || (made >= 0 && move(made, fd)))
        return true;
    while (event_use *use = use_of(fd))
        use->fd = -1;
    return false;
}

void event_forked()
{
    for (event_use *use = innermost; use; use = use->outer)
        if (use->fd >= 0)
            event_reopen(use->fd, false);
}
