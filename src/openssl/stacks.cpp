// SPDX-License-Identifier: Apache-2.0
#include "stacks.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "api.h"
#include "jobswitch/jobswitch.h"

// ---- how large ------------------------------------------------------------------------

static constexpr size_t stack_bytes_default = 65536;
static std::atomic<size_t> stack_bytes; // 0: not asked for yet

static void complain(const char *text, const char *why)
{
    fprintf(stderr, "jobswitch-openssl: JOBSWITCH_STACK_BYTES=%s: %s; stacks have %zu bytes\n",
            text, why, stack_bytes_default);
}

static size_t stack_bytes_wanted()
{
    size_t known = stack_bytes.load(std::memory_order_relaxed);
    if (known)
        return known;
    size_t bytes = stack_bytes_default;
    if (const char *text = secure_getenv("JOBSWITCH_STACK_BYTES")) {
        char *end;
        errno = 0;
        unsigned long given = strtoul(text, &end, 10);
        if (errno || end == text || *end || *text == '-' || !given)
            complain(text, "not a number of bytes");
        else
            bytes = given;
    }
    stack_bytes.store(bytes, std::memory_order_relaxed);
    return bytes;
}

// ---- whose ------------------------------------------------------------------------------

// Those that there are until others are set: for who asks for them, and calls them himself.
static void *default_alloc(size_t *bytes) { return malloc(*bytes); }
static void default_free(void *stack) { free(stack); }

struct functions {
    ASYNC_stack_alloc_fn alloc;
    ASYNC_stack_free_fn free;
    const functions *before; // of another thread, which may still read them
};
static const functions defaults = {default_alloc, default_free, nullptr};

// The address of those that were set, or 0; plus 1 once there are stacks, and they stay as
// they are. One word, and no lock that a forked child might find held.
static std::atomic<uintptr_t> chosen;
static constexpr uintptr_t stacks_exist = 1;

static const functions *functions_of(uintptr_t word)
{
    auto set = reinterpret_cast<const functions *>(word & ~stacks_exist);
    return set ? set : &defaults;
}
static const functions *current_functions()
{
    return functions_of(chosen.load(std::memory_order_acquire));
}

int ASYNC_set_mem_functions(ASYNC_stack_alloc_fn alloc, ASYNC_stack_free_fn free)
{
    uintptr_t word = chosen.load(std::memory_order_acquire);
    functions *made = nullptr;
    while (!(word & stacks_exist)) {
        const functions *now = functions_of(word);
        functions wanted = {alloc ? alloc : now->alloc, free ? free : now->free, now};
        if (wanted.alloc == now->alloc && wanted.free == now->free)
            break;
        if (!made && !(made = static_cast<functions *>(malloc(sizeof *made))))
            return 0;
        *made = wanted;
        if (chosen.compare_exchange_weak(word, reinterpret_cast<uintptr_t>(made),
                                         std::memory_order_acq_rel))
            return 1;
    }
    ::free(made);
    return !(word & stacks_exist);
}

void ASYNC_get_mem_functions(ASYNC_stack_alloc_fn *alloc, ASYNC_stack_free_fn *free)
{
    const functions *now = current_functions();
    if (alloc)
        *alloc = now->alloc;
    if (free)
        *free = now->free;
}

static void *take_stack(size_t bytes, void *)
{
    const cancel_off off;
    const functions *now = current_functions();
    size_t given = bytes;
    void *stack = now->alloc(&given);
    if (stack && given < bytes) { // they may ask for more, and no pool has both
        now->free(stack);
        return nullptr;
    }
    return stack;
}
static void give_stack(void *stack, size_t, void *)
{
    const cancel_off off;
    current_functions()->free(stack);
}

// ---- the pool -----------------------------------------------------------------------------

bool stacks_open(unsigned long max_jobs, unsigned long initial_jobs)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = max_jobs;
    options.initial_jobs = initial_jobs;
    options.stack_bytes = stack_bytes_wanted();
    uintptr_t word = chosen.fetch_or(stacks_exist, std::memory_order_acq_rel);
    if (word & ~stacks_exist) {
        options.stack_alloc = take_stack;
        options.stack_free = give_stack;
    }
    if (jobswitch_init_thread_with(&options))
        return true;
    int reason = jobswitch_last_error();
    if (options.stack_bytes != stack_bytes_default &&
        (reason == JOBSWITCH_E_STACK_TOO_SMALL || reason == JOBSWITCH_E_SIZE)) {
        if (const char *text = secure_getenv("JOBSWITCH_STACK_BYTES"))
            complain(text, jobswitch_error_string(reason));
        options.stack_bytes = stack_bytes_default;
        stack_bytes.store(stack_bytes_default, std::memory_order_relaxed);
        if (jobswitch_init_thread_with(&options))
            return true;
    }
    // Those that are not made now are made when they are needed.
    options.initial_jobs = 0;
    return initial_jobs && jobswitch_init_thread_with(&options);
}
