// SPDX-License-Identifier: Apache-2.0
//
// Boost.Context's assembly, below its C++ classes.
//
// Needs: boost/context/detail/fcontext.hpp libboost-context-dev -lboost_context
#include "peer.h"

#if __has_include(<boost/context/detail/fcontext.hpp>)

#include <boost/context/detail/fcontext.hpp>
#include <boost/version.hpp>

#include "stack_shelf.h"

namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::transfer_t;

struct FcontextJob {
    fcontext_t context; // where it paused
    fcontext_t starter;
    int (*func)(void *);
    void *args;
    int ret;
    bool finished;
    char *stack;
    FcontextJob *next;
};

StackShelf<FcontextJob> shelf;
FcontextJob *current = nullptr;

void job_enter(transfer_t transfer)
{
    FcontextJob *const job = static_cast<FcontextJob *>(transfer.data);
    job->starter = transfer.fctx;
    job->ret = job->func(job->args);
    job->finished = true;
    jump_fcontext(job->starter, nullptr);
}

struct Runtime : RuntimeDefaults {
    using Job = FcontextJob;
    static constexpr const char *NAME = "boost-fcontext";
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
        made->context = boost::context::detail::make_fcontext(
            made->stack + SHELF_STACK_BYTES, SHELF_STACK_BYTES, job_enter);
        *job = made;
        return resume(job, ret, func);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *const resumed = *job;
        current = resumed;
        resumed->context = jump_fcontext(resumed->context, resumed).fctx;
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
        self->starter = jump_fcontext(self->starter, nullptr).fctx;
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
                               .title = "Boost.Context fcontext",
                               .note = "the bare switch: no checks, no guard, stacks from the "
                                       "suite's free list; it does switch the FP control words",
                               .missing = "",
                               .library = library,
                               .order = 40});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "boost-fcontext",
                               .title = "Boost.Context fcontext",
                               .note = "",
                               .missing = "libboost-context-dev",
                               .order = 40});
}

#endif
