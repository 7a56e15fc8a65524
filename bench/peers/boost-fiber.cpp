// SPDX-License-Identifier: Apache-2.0
//
// Boost.Fiber: fibers that yield to a scheduler. A job is a fiber; whoever
// resumes it is the thread's main fiber, and each yields for the other.
//
// Needs: boost/fiber/fiber.hpp libboost-fiber-dev -lboost_fiber -lboost_context
#include "peer.h"

#if __has_include(<boost/fiber/fiber.hpp>)

#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/version.hpp>

#include "stack_shelf.h"

namespace {

struct YieldingJob {
    boost::fibers::fiber fiber;
    int ret;
    bool finished;
    char *stack;
    YieldingJob *next;
};

StackShelf<YieldingJob> shelf;

// The library frees a stack some time after its job was joined, so a stack is
// not its job's own. Its list reads from the stack.
struct FreeStack {
    FreeStack *next;
};
FreeStack *stacks = nullptr;

struct PooledStack {
    boost::context::stack_context allocate()
    {
        if (!stacks) {
            YieldingJob *const more = shelf.take();
            if (!more)
                throw std::bad_alloc();
            give(more->stack + SHELF_STACK_BYTES);
        }
        boost::context::stack_context stack;
        stack.size = SHELF_STACK_BYTES;
        stack.sp = stacks + 1;
        stacks = stacks->next;
        return stack;
    }
    void deallocate(boost::context::stack_context &stack) { give(stack.sp); }
    static void give(void *top)
    {
        FreeStack *const last = static_cast<FreeStack *>(top) - 1;
        last->next = stacks;
        stacks = last;
    }
};

YieldingJob *idle = nullptr;

struct Runtime : RuntimeDefaults {
    using Job = YieldingJob;
    static constexpr const char *NAME = "boost-fiber";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";
    static constexpr const char *NO_CROWD = "its scheduler chooses who is next";

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *const made = idle ? idle : new Job();
        idle = nullptr;
        made->finished = false;
        made->fiber = boost::fibers::fiber(boost::fibers::launch::dispatch,
                                           std::allocator_arg, PooledStack(),
                                           [made, func, args] {
                                               made->ret = func(args);
                                               made->finished = true;
                                           });
        *job = made;
        return answer(job, ret);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        boost::this_fiber::yield();
        return answer(job, ret);
    }
    BENCH_INLINE int pause() const
    {
        boost::this_fiber::yield();
        return 1;
    }
    BENCH_INLINE static int answer(Job **job, int *ret)
    {
        Job *const answering = *job;
        if (!answering->finished)
            return PAUSE;
        answering->fiber.join();
        *ret = answering->ret;
        *job = nullptr;
        if (idle)
            delete answering;
        else
            idle = answering;
        return FINISH;
    }

    static bool open(size_t initial_jobs) { return shelf.reserve(initial_jobs); }
    static void close()
    {
        // Twice, for the scheduler to give back what has ended.
        boost::this_fiber::yield();
        boost::this_fiber::yield();
        delete idle;
        idle = nullptr;
        stacks = nullptr;
        shelf.clear();
    }
    static std::string reason() { return "Boost.Fiber gives no reason"; }
};

std::string library()
{
    return "Boost " BOOST_LIB_VERSION ", " +
           environment_symbol_file("_ZN5boost6fibers7context5yieldEv");
}

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "Boost.Fiber",
                               .note = "a scheduler between the two, which has its own fiber run in "
                                       "each turn; its start comes with a join; no guard, stacks "
                                       "from the suite's free list",
                               .missing = "",
                               .library = library,
                               .order = 60});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "boost-fiber",
                               .title = "Boost.Fiber",
                               .note = "",
                               .missing = "libboost-fiber-dev",
                               .order = 60});
}

#endif
