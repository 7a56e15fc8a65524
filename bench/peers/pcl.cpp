// SPDX-License-Identifier: Apache-2.0
//
// The Portable Coroutine Library.
//
// Needs: pcl.h libpcl1-dev -lpcl
#include "peer.h"

#if __has_include(<pcl.h>)

#include <pcl.h>

#include "stack_shelf.h"

namespace {

struct PclJob {
    coroutine_t coroutine;
    int (*func)(void *);
    void *args;
    int ret;
    bool finished;
    char *stack;
    PclJob *next;
};

StackShelf<PclJob> shelf;

void job_enter(void *arg)
{
    PclJob *const job = static_cast<PclJob *>(arg);
    job->ret = job->func(job->args);
    job->finished = true; // and the return takes the coroutine away
}

struct Runtime : RuntimeDefaults {
    using Job = PclJob;
    static constexpr const char *NAME = "pcl";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *const made = shelf.take();
        if (!made)
            return -1;
        made->func = func;
        made->args = args;
        made->finished = false;
        made->coroutine = co_create(job_enter, made, made->stack, SHELF_STACK_BYTES);
        if (!made->coroutine)
            return -1;
        *job = made;
        return resume(job, ret, func);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *const resumed = *job;
        co_call(resumed->coroutine);
        if (!resumed->finished)
            return PAUSE;
        *ret = resumed->ret;
        *job = nullptr;
        shelf.give(resumed);
        return FINISH;
    }
    BENCH_INLINE int pause() const
    {
        co_resume();
        return 1;
    }

    static bool open(size_t initial_jobs)
    {
        return co_thread_init() == 0 && shelf.reserve(initial_jobs);
    }
    static void close()
    {
        shelf.clear();
        co_thread_cleanup();
    }
    static std::string reason() { return "PCL gives no reason"; }
};

std::string library() { return "libpcl, " + environment_symbol_file("co_call"); }

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "PCL",
                               .note = "Debian's build switches by swapcontext(), with its system "
                                       "call; no guard, stacks from the suite's free list",
                               .missing = "",
                               .library = library,
                               .order = 90});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "pcl",
                               .title = "PCL",
                               .note = "",
                               .missing = "libpcl1-dev",
                               .order = 90});
}

#endif
