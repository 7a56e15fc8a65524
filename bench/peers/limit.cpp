// SPDX-License-Identifier: Apache-2.0
//
// The cheapest conceivable switch between stacks: no handle to check, no pool, no
// guard, no unwinding, no second thread. A switch stores and loads three
// registers in the job's one cache line and jumps. Whatever else is to outlive it
// the compiler saves, since the statement is said to change every register.
#include "peer.h"

#if defined(__x86_64__)

#include "stack_shelf.h"

namespace {

// What a context is while it does not run.
struct Saved {
    void *ip, *sp, *bp;
};

struct alignas(64) LimitJob {
    Saved job, starter;
    union {
        int (*func)(void *);
        int ret; // once it has finished
    };
    char *top; // of its stack
};
static_assert(sizeof(LimitJob) == 64);

#define LIMIT_CLOBBERS                                                         \
    "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", \
        "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",  \
        "memory", "cc"

// The job is in rdi on both sides, so that neither has to load where it is; eax
// is the answer. FROM and TO are offsets of its two contexts.
#define LIMIT_SWITCH(FROM, TO, job, answer)                                    \
    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"                                \
                     "mov %%rdx, " #FROM "(%%rdi)\n\t"                         \
                     "mov %%rsp, " #FROM "+8(%%rdi)\n\t"                       \
                     "mov %%rbp, " #FROM "+16(%%rdi)\n\t"                      \
                     "mov " #TO "+8(%%rdi), %%rsp\n\t"                         \
                     "mov " #TO "+16(%%rdi), %%rbp\n\t"                        \
                     "jmp *" #TO "(%%rdi)\n"                                   \
                     "1:"                                                      \
                     : "+D"(job), "+a"(answer)                                 \
                     :                                                         \
                     : LIMIT_CLOBBERS)

LimitJob *starting = nullptr;

[[noreturn]] __attribute__((noinline, used)) void first_frame(LimitJob *job)
{
    job->ret = job->func(nullptr);
    int answer = 1;
    LIMIT_SWITCH(0, 24, job, answer);
    __builtin_trap();
}

struct Runtime : RuntimeDefaults {
    using Job = LimitJob;
    static constexpr const char *NAME = "limit";
    static constexpr int PAUSE = 0;
    static constexpr int FINISH = 1;
    static constexpr const char *NO_POOL = "its limit is that of pause+resume";
    static constexpr bool LEAST_OF_PLACES = true;

    mutable Job *self = starting; // in a job: its own

    struct Stack {
        char *stack;
        Stack *next;
    };
    static inline StackShelf<Stack> stacks;
    static inline std::vector<Job *> blocks; // dense: 1,024 lines each
    static inline size_t used = 0;

    BENCH_INLINE static int enter(Job *&job)
    {
        int answer = PAUSE;
        LIMIT_SWITCH(24, 0, job, answer);
        return answer;
    }

    static inline std::vector<Job *> idle;

    __attribute__((noinline)) static void keep(Job *job) { idle.push_back(job); }

    __attribute__((noinline)) static Job *make(int (*func)(void *))
    {
        if (idle.empty() && !make_more())
            return nullptr;
        Job *const job = idle.back();
        idle.pop_back();
        job->job = {reinterpret_cast<void *>(first_frame), job->top, nullptr};
        job->func = func;
        starting = job;
        return job;
    }
    static bool make_more()
    {
        Stack *const stack = stacks.take();
        if (!stack)
            return false;
        if (used % 1024 == 0 && used / 1024 == blocks.size())
            blocks.push_back(new Job[1024]());
        Job *const job = &blocks[used / 1024][used % 1024];
        // Tops at one distance would meet in the same sets of the cache.
        // Aligned as after a call, with nowhere to return to: pages are zero.
        job->top = stack->stack + SHELF_STACK_BYTES - 64 - used % 24 * 128 - 8;
        used++;
        idle.push_back(job);
        return true;
    }

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *, size_t) const
    {
        *job = make(func);
        return *job ? resume(job, ret, func) : -1;
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *block = *job;
        const int answer = enter(block);
        if (answer == FINISH) [[unlikely]] {
            *ret = block->ret;
            *job = nullptr;
            keep(block);
            return FINISH;
        }
        *job = block;
        return PAUSE;
    }
    BENCH_INLINE int pause() const
    {
        Job *block = self;
        int answer = PAUSE;
        LIMIT_SWITCH(0, 24, block, answer);
        self = block;
        return 1;
    }

    static bool open(size_t) { return true; }
    static void close()
    {
        stacks.clear();
        for (Job *const block : blocks)
            delete[] block;
        blocks.clear();
        idle.clear();
        used = 0;
    }
    static std::string reason() { return "there is no memory"; }
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "the limit",
                               .note = "inlined on live registers only: no checks, no pool, "
                                       "no guard; the best of several places of the code in "
                                       "each process",
                               .missing = "",
                               .order = 5});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "limit",
                               .title = "the limit",
                               .note = "",
                               .missing = "x86_64",
                               .order = 5});
}

#endif
