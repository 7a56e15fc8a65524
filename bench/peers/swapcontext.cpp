// SPDX-License-Identifier: Apache-2.0
//
// The C library's makecontext() and swapcontext().
//
// Needs: ucontext.h libc6-dev
#include "peer.h"

#if __has_include(<ucontext.h>)

#include <ucontext.h>

#include <cstdint>

#include "stack_shelf.h"

namespace {

struct ContextJob {
    ucontext_t context; // where it paused
    ucontext_t starter;
    int (*func)(void *);
    void *args;
    int ret;
    bool finished;
    char *stack;
    ContextJob *next;
};

StackShelf<ContextJob> shelf;
ContextJob *current = nullptr;

void job_enter()
{
    ContextJob *const job = current;
    job->ret = job->func(job->args);
    job->finished = true;
    setcontext(&job->starter);
}

struct Runtime : RuntimeDefaults {
    using Job = ContextJob;
    static constexpr const char *NAME = "swapcontext";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";

    // Not inlined: getcontext() returns twice, for all that the compiler knows.
    __attribute__((noinline)) static bool prepare(Job *job)
    {
        if (getcontext(&job->context) != 0)
            return false;
        job->context.uc_stack.ss_sp = job->stack;
        job->context.uc_stack.ss_size = SHELF_STACK_BYTES;
        job->context.uc_link = nullptr;
        makecontext(&job->context, job_enter, 0);
        return true;
    }
    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *const made = shelf.take();
        if (!made || !prepare(made))
            return -1;
        made->func = func;
        made->args = args;
        made->finished = false;
        *job = made;
        return resume(job, ret, func);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *const resumed = *job;
        current = resumed;
        if (swapcontext(&resumed->starter, &resumed->context) != 0)
            return -1;
        if (!resumed->finished)
            return PAUSE;
        *ret = resumed->ret;
        *job = nullptr;
        shelf.give(resumed);
        return FINISH;
    }
    BENCH_INLINE int pause() const
    {
        Job *const self = current;
        return swapcontext(&self->context, &self->starter) == 0;
    }

    static bool open(size_t initial_jobs) { return shelf.reserve(initial_jobs); }
    static void close() { shelf.clear(); }
    static std::string reason() { return "swapcontext() gives no reason"; }
};

std::string library() { return "libc, " + environment_symbol_file("swapcontext"); }

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "glibc swapcontext",
                               .note = "a system call for the signal mask at each switch; saves the "
                                       "FP environment; no guard, stacks from the suite's free list",
                               .missing = "",
                               .library = library,
                               .order = 70});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "swapcontext",
                               .title = "glibc swapcontext",
                               .note = "",
                               .missing = "a C library that has it",
                               .order = 70});
}

#endif
