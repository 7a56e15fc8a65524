// SPDX-License-Identifier: Apache-2.0
//
// boost::context::fiber, Boost.Context's C++ class.
//
// Needs: boost/context/fiber.hpp libboost-context-dev -lboost_context
#include "peer.h"

#if __has_include(<boost/context/fiber.hpp>)

#include <boost/context/fiber.hpp>
#include <boost/version.hpp>

#include "stack_shelf.h"

namespace {

using boost::context::fiber;

struct FiberJob {
    fiber context; // where it paused; empty once it has finished
    fiber starter;
    int ret;
    char *stack;
    FiberJob *next;
};

StackShelf<FiberJob> shelf;
FiberJob *current = nullptr;

// The stack that fits in with a job.
struct JobStack {
    FiberJob *job;
    boost::context::stack_context allocate()
    {
        boost::context::stack_context stack;
        stack.size = SHELF_STACK_BYTES;
        stack.sp = job->stack + SHELF_STACK_BYTES;
        return stack;
    }
    void deallocate(boost::context::stack_context &) {}
};

struct Runtime : RuntimeDefaults {
    using Job = FiberJob;
    static constexpr const char *NAME = "boost-context";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *const made = shelf.take();
        if (!made)
            return -1;
        made->context = fiber(std::allocator_arg, JobStack{made},
                              [made, func, args](fiber &&starter) {
                                  made->starter = std::move(starter);
                                  made->ret = func(args);
                                  return std::move(made->starter);
                              });
        *job = made;
        return resume(job, ret, func);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *const resumed = *job;
        current = resumed;
        resumed->context = std::move(resumed->context).resume();
        if (resumed->context)
            return PAUSE;
        *ret = resumed->ret;
        *job = nullptr;
        shelf.give(resumed);
        return FINISH;
    }
    BENCH_INLINE int pause() const
    {
        Job *const self = current;
        self->starter = std::move(self->starter).resume();
        return 1;
    }

    static bool open(size_t initial_jobs) { return shelf.reserve(initial_jobs); }
    static void close() { shelf.clear(); }
    static std::string reason() { return "there is no memory"; }
};

std::string library()
{
    return "Boost " BOOST_LIB_VERSION ", " + environment_symbol_file("jump_fcontext");
}

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "Boost.Context fiber",
                               .note = "an object that moves at each switch, and a control block "
                                       "made at each start; no handle to check, no guard, stacks "
                                       "from the suite's free list; switches the FP control words",
                               .missing = "",
                               .library = library,
                               .order = 50});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "boost-context",
                               .title = "Boost.Context fiber",
                               .note = "",
                               .missing = "libboost-context-dev",
                               .order = 50});
}

#endif
