// SPDX-License-Identifier: Apache-2.0
//
// What several test programs need: cmocka, the tool that the build is for,
// skipping with a word, TEST_SCALE, children, and what the kernel says of this
// process. Include it after the C++ headers: cmocka makes a macro of fail.
#pragma once

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unwind.h>
extern "C" {
#include <cmocka.h>
}

#include "jobswitch/jobswitch.h"
#include "machine.h"

#ifdef JOBSWITCH_VALGRIND
#include <valgrind/memcheck.h>
#endif

// ---- the build -------------------------------------------------------------------

#if defined(JOBSWITCH_WITH_ASAN) || defined(JOBSWITCH_WITH_TSAN)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#ifdef JOBSWITCH_VALGRIND
inline constexpr bool valgrind = true;
#else
inline constexpr bool valgrind = false;
#endif
// Under qemu-user, as test/run.sh says. It is a process with memory and limits of its
// own, and passes no advice about memory on to the kernel.
inline bool is_emulated()
{
    const char *emulator = getenv("EMULATOR");
    return emulator && *emulator;
}
inline const bool emulated = is_emulated();
// Numbers about the process are the tool's as much as ours.
inline const bool plain = !sanitized && !valgrind && !emulated;

// No port of ours, but the C library's: what that promises is less.
#ifdef JS_UCONTEXT
inline constexpr bool by_ucontext = true;
#else
inline constexpr bool by_ucontext = false;
#endif

// The unwinder of the program goes by rows, and not by EHABI's tables.
#ifdef __ARM_EABI_UNWINDER__
inline constexpr bool unwinds_by_rows = false;
#else
inline constexpr bool unwinds_by_rows = true;
#endif
// How a walk of a whole thread ends. (By EHABI it fails.)
inline constexpr int walk_end = unwinds_by_rows ? int(_URC_END_OF_STACK) : 9;
// Where a function begins. (Of an address in Thumb the lowest bit says that.)
inline uintptr_t begin_of(uintptr_t function) { return function & ~uintptr_t(!unwinds_by_rows); }
inline uintptr_t begin_of(auto *function)
{
    return begin_of(reinterpret_cast<uintptr_t>(function));
}

// Its line begins as test/run.sh expects it.
[[gnu::format(printf, 1, 2)]] inline void skip_because(const char *why, ...)
{
    va_list values;
    va_start(values, why);
    print_message("skipped: ");
    vprint_message(why, values);
    print_message("\n");
    va_end(values);
    skip();
}

// What TEST_SCALE divides numbers by: 1 or more.
inline unsigned long test_scale()
{
    const char *text = getenv("TEST_SCALE");
    unsigned long scale = text ? strtoul(text, nullptr, 10) : 1;
    return scale ? scale : 1;
}

// A number of rounds, divided, rounded up.
template <class N> N scaled(N count)
{
    N scale = N(test_scale());
    return (count + scale - 1) / scale;
}

// ---- children --------------------------------------------------------------------

// In a child: the first thing that is not so ends it.
#define CHILD_NEEDS(what)                                                      \
    do {                                                                       \
        if (!(what)) {                                                         \
            dprintf(STDERR_FILENO, "%s:%d: not so: %s (reason %d)\n",          \
                    __FILE__, __LINE__, #what, jobswitch_last_error());        \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

// The status of a child that runs the function and ends with its value.
template <class F> int child(F body, unsigned seconds = 120)
{
    fflush(nullptr);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(seconds);
        _exit(body());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

// ---- what the kernel says --------------------------------------------------------

// A number of /proc/self/status. Without malloc, for there may be no memory.
inline size_t status_kib(const char *key)
{
    static char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    text[bytes > 0 ? bytes : 0] = 0;
    char name[32];
    snprintf(name, sizeof name, "\n%s:", key);
    const char *found = strstr(text, name);
    return found ? strtoul(found + strlen(name), nullptr, 10) : 0;
}

inline size_t mappings()
{
    static char text[65536];
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t lines = 0;
    for (ssize_t bytes; fd >= 0 && (bytes = read(fd, text, sizeof text)) > 0;)
        lines += size_t(std::count(text, text + bytes, '\n'));
    if (fd >= 0)
        close(fd);
    return lines;
}

// Of mappings that a process may have.
inline size_t mappings_limit()
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    size_t limit = 0;
    if (!file || fscanf(file, "%zu", &limit) != 1)
        limit = 0;
    if (file)
        fclose(file);
    return limit ? limit : SIZE_MAX;
}

// To compare with itself: a few more than there are.
inline int open_fds()
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (list && readdir(list))
        count++;
    if (list)
        closedir(list);
    return count;
}

inline bool readable(int fd)
{
    pollfd look = {fd, POLLIN, 0};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLIN);
}

// Does a system call that writes a byte here fail with EFAULT?
inline bool kernel_refuses(const void *address)
{
    return syscall(SYS_getrandom, address, 1, 0) == -1 && errno == EFAULT;
}

// Under Valgrind, which would report that call: does it know of the guard?
inline bool guarded(const void *address)
{
#ifdef JOBSWITCH_VALGRIND
    unsigned char bits;
    return VALGRIND_GET_VBITS(address, &bits, 1) == 3;
#else
    return kernel_refuses(address);
#endif
}
