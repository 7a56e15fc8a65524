// SPDX-License-Identifier: Apache-2.0
#include "stacks.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>

#include "api.h"
#include "jobswitch/jobswitch.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool stacks_exist; // the functions stay as they are

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

static ASYNC_stack_alloc_fn stack_alloc = default_alloc;
static ASYNC_stack_free_fn stack_free = default_free;

int ASYNC_set_mem_functions(ASYNC_stack_alloc_fn alloc, ASYNC_stack_free_fn free)
{
    pthread_mutex_lock(&lock);
    bool may = !stacks_exist;
    if (may && alloc)
        stack_alloc = alloc;
    if (may && free)
        stack_free = free;
    pthread_mutex_unlock(&lock);
    return may;
}

void ASYNC_get_mem_functions(ASYNC_stack_alloc_fn *alloc, ASYNC_stack_free_fn *free)
{
    pthread_mutex_lock(&lock);
    if (alloc)
        *alloc = stack_alloc;
    if (free)
        *free = stack_free;
    pthread_mutex_unlock(&lock);
}

static void *take_stack(size_t bytes, void *)
{
    const cancel_off off;
    size_t given = bytes;
    void *stack = stack_alloc(&given);
    if (stack && given < bytes) { // they may ask for more, and no pool has both
        stack_free(stack);
        return nullptr;
    }
    return stack;
}
static void give_stack(void *stack, size_t, void *)
{
    const cancel_off off;
    stack_free(stack);
}

// ---- the pool -----------------------------------------------------------------------------

bool stacks_open(unsigned long max_jobs, unsigned long initial_jobs)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.max_jobs = max_jobs;
    options.initial_jobs = initial_jobs;
    options.stack_bytes = stack_bytes_wanted();
    pthread_mutex_lock(&lock);
    stacks_exist = true;
    if (stack_alloc != default_alloc || stack_free != default_free) {
        options.stack_alloc = take_stack;
        options.stack_free = give_stack;
    }
    pthread_mutex_unlock(&lock);
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
