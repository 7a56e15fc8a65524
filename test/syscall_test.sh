#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Warm means free: once stacks are warm, start, pause, resume and finish make no
# system call and allocate nothing. A program does many rounds between two
# markers (system calls that nobody else makes); strace must see nothing
# between them, and the program's own malloc must not have been called.
set -u
. "$(dirname "$0")/support.sh"
no_tool
not_emulated "strace would see its system calls"
[ "${ARCH:-}" != generic ] || none_of_it "the C library's switch makes system calls"
command -v strace >/dev/null || none_of_it "no strace here"
strace -o "$OUT/strace" true 2>"$OUT/log" || none_of_it "strace cannot trace here: $(head -n 1 "$OUT/log")"

cat >"$OUT/warm.c" <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <jobswitch/jobswitch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every way to memory goes by here. */
static volatile unsigned long allocations;
#define COUNTED(type, name, parameters, arguments)                             \
    extern type __libc_##name parameters;                                      \
    type name parameters                                                       \
    {                                                                          \
        allocations++;                                                         \
        return __libc_##name arguments;                                        \
    }
COUNTED(void *, malloc, (size_t n), (n))
COUNTED(void *, calloc, (size_t n, size_t m), (n, m))
COUNTED(void *, realloc, (void *p, size_t n), (p, n))
COUNTED(void *, memalign, (size_t a, size_t n), (a, n))
COUNTED(void, free, (void *p), (p))
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n)
{
    *p = memalign(a, n);
    return *p ? 0 : ENOMEM;
}
void *mmap(void *at, size_t bytes, int rights, int flags, int fd, off_t offset)
{
    allocations++;
#ifdef SYS_mmap2 /* where the plain one is another */
    return (void *)syscall(SYS_mmap2, at, bytes, rights, flags, fd, offset / 4096);
#else
    return (void *)syscall(SYS_mmap, at, bytes, rights, flags, fd, offset);
#endif
}
int munmap(void *at, size_t bytes)
{
    allocations++;
    return (int)syscall(SYS_munmap, at, bytes);
}
int madvise(void *at, size_t bytes, int advice)
{
    allocations++;
    return (int)syscall(SYS_madvise, at, bytes, advice);
}
int pthread_mutex_lock(pthread_mutex_t *lock)
{
    extern int __pthread_mutex_lock(pthread_mutex_t *);
    allocations++;
    (void)lock;
    return 0; /* one thread; only to be counted */
}

#define ROUNDS 100000
static int mistakes;
static unsigned char args[1024];
static size_t args_size;

static int plain(void *arg)
{
    if (args_size && memcmp(arg, args, args_size))
        mistakes++;
    return 7;
}
static int pauses(void *arg)
{
    jobswitch_pause_job();
    return plain(arg);
}
static int wakes(void *arg)
{
    jobswitch_job *self = jobswitch_get_current_job();
    (void)arg;
    jobswitch_wake(self);
    jobswitch_pause_job();
    jobswitch_clear_wake(self);
    return 7;
}
static int blocks(void *arg)
{
    (void)arg;
    jobswitch_block_pause();
    jobswitch_pause_job();
    jobswitch_unblock_pause();
    return jobswitch_in_job() ? 7 : 0;
}
static int nests(void *arg)
{
    jobswitch_job *inner = NULL;
    int ret = 0;
    while (jobswitch_start_job(&inner, &ret, pauses, arg, args_size) == JOBSWITCH_PAUSE)
        jobswitch_pause_job();
    return ret;
}

static void rounds(int count, int (*job)(void *), const void *arg)
{
    int i;
    for (i = 0; i < count; i++) {
        jobswitch_job *handle = NULL;
        int ret = 0, answer;
        while ((answer = jobswitch_start_job(&handle, &ret, job, (void *)arg, args_size)) ==
               JOBSWITCH_PAUSE)
            ;
        if (answer != JOBSWITCH_FINISH || ret != 7)
            mistakes++;
    }
}
/* Many alive at once, in two orders. */
static void crowd(int count)
{
    static jobswitch_job *handle[64];
    int i, ret = 0;
    while (count-- > 0) {
        for (i = 0; i < 64; i++)
            if (jobswitch_start_job(&handle[i], &ret, pauses, args, args_size) != JOBSWITCH_PAUSE)
                mistakes++;
        for (i = 63; i >= 0; i--)
            if (jobswitch_start_job(&handle[i], &ret, NULL, NULL, 0) != JOBSWITCH_FINISH)
                mistakes++;
    }
}

static void mark(const char *name) { syscall(SYS_access, name, 12345); }

#define MEASURE(name, size, warm_up, work)                                     \
    do {                                                                       \
        unsigned long before;                                                  \
        args_size = size;                                                      \
        warm_up;                                                               \
        mark("begin " name);                                                   \
        before = allocations;                                                  \
        work;                                                                  \
        before = allocations - before;                                         \
        mark("end " name);                                                     \
        printf("%s: %lu allocations, %d mistakes\n", name, before, mistakes);  \
    } while (0)
#define JOBS(name, size, job)                                                  \
    MEASURE(name, size, rounds(10, job, args), rounds(ROUNDS, job, args))

int main(int argc, char **argv)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    size_t i;
    for (i = 0; i < sizeof args; i++)
        args[i] = (unsigned char)(i * 3);
    setvbuf(stdout, NULL, _IOLBF, 4096);
    puts("starts"); /* its buffer */
    if (argc > 1 && !strcmp(argv[1], "guilty")) {
        MEASURE("guilty", 0, (void)0, (getpid(), syscall(SYS_getppid), free(malloc(5))));
        return 0;
    }
    options.flags = JOBSWITCH_KEEP_WARM;
    if (!jobswitch_init_thread_with(&options))
        return 1;
    JOBS("finish, no args", 0, plain);
    JOBS("finish, 40 bytes", 40, plain);
    JOBS("finish, 1024 bytes", 1024, plain);
    JOBS("pause, no args", 0, pauses);
    JOBS("pause, 40 bytes", 40, pauses);
    JOBS("pause, 1024 bytes", 1024, pauses);
    JOBS("wake and clear_wake", 0, wakes);
    JOBS("blocked", 0, blocks);
    JOBS("nested", 40, nests);
    MEASURE("a crowd", 40, crowd(2), crowd(1000));
    jobswitch_cleanup_thread();

    /* Prefaulted, not warmed by use. */
    options.flags = JOBSWITCH_PREFAULT | JOBSWITCH_KEEP_WARM;
    options.initial_jobs = 64;
    if (!jobswitch_init_thread_with(&options))
        return 1;
    MEASURE("prefaulted", 1024, (void)0, crowd(100));
    return mistakes != 0;
}
END

measure() { # LIBRARY FLAGS WHAT
    local wrong line name
    # shellcheck disable=SC2086
    if ! $CC -O2 -w -fno-builtin-malloc -Iinclude -o "$OUT/warm" "$OUT/warm.c" $1 -pthread >"$OUT/log" 2>&1; then
        bad "build with $1" "$OUT/log"
        return
    fi
    strace -f -o "$OUT/strace" "$OUT/warm" ${2:-} >"$OUT/out" 2>"$OUT/log"
    echo "exit code $?" >>"$OUT/out"
    # from one marker to the other, without them
    sed -nE '/access\("begin /,/access\("end /{/access\("begin /h;/access\(/!{G;s/\n/  in: /;p}}' "$OUT/strace" >"$OUT/between"
}

# Does this test notice?
measure "$BUILD/libjobswitch.a" guilty
if grep -q getppid "$OUT/between" && grep -q 'guilty: 2 allocations' "$OUT/out"; then
    ok "a system call and an allocation are noticed"
else
    bad "a system call or an allocation is not noticed" "$OUT/out"
fi

for library in "$BUILD/libjobswitch.a" "$BUILD/libjobswitch.so -Wl,-rpath,$(cd "$BUILD" && pwd)"; do
    name=$(basename "${library%% *}")
    measure "$library"
    markers=$(grep -c 'access("begin ' "$OUT/strace")
    if [ "$markers" = 11 ] && [ ! -s "$OUT/between" ]; then
        ok "$name: no system calls in $markers measurements"
    else
        bad "$name: system calls in $markers measurements" "$OUT/between"
    fi
    if [ "$(grep -c ': 0 allocations, 0 mistakes$' "$OUT/out")" = 11 ] && grep -q '^exit code 0$' "$OUT/out"; then
        ok "$name: no allocations, no locks, right results"
    else
        bad "$name: allocations, locks or wrong results" "$OUT/out"
    fi
done
finish
