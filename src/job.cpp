// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

#include "arena.h"
#include "pool.h"
#include "valgrind.h"

// What layout.h tells assembly is what the compiler did.
#define AT(type, member, offset)                                               \
    static_assert(__builtin_offsetof(type, member) == (offset))
AT(job, handle, JS_JOB_HANDLE);
AT(job, owner, JS_JOB_OWNER);
AT(job, next, JS_JOB_NEXT);
AT(job, gate, JS_JOB_GATE);
AT(job, flags, JS_JOB_FLAGS);
AT(job, wait, JS_JOB_WAIT);
AT(job, stack_top, JS_JOB_STACK_TOP);
AT(pool, root, 0);
AT(pool, hot, JS_POOL_IDLE);
AT(pool, job_out, JS_POOL_JOB_OUT);
AT(pool, ret_out, JS_POOL_RET_OUT);
AT(pool, started, JS_POOL_STARTED);
AT(pool, arena, JS_POOL_ARENA);
AT(pool, arena_bytes, JS_POOL_ARENA_BYTES);
AT(pool, stack_span, JS_POOL_STACK_SPAN);
AT(pool, until_review, JS_POOL_UNTIL_REVIEW);
AT(pool_thread, pool, JS_THREAD_POOL);
AT(pool_thread, current, JS_THREAD_CURRENT);
static_assert(sizeof(pool_thread) == JS_THREAD_BYTES);
#undef AT

int job_fail(int reason, int answer)
{
    pool_thread_state.last_error = reason;
    return answer;
}

// ---- finding -----------------------------------------------------------------

job *job_find(jobswitch_job *handle, int *reason)
{
    auto value = reinterpret_cast<uintptr_t>(handle);
    auto offset = uint32_t(value);
    auto generation = uint32_t(value >> 32);
    arena_view view = arena_look();
    if (!handle) {
        *reason = JOBSWITCH_E_NULL;
        return nullptr;
    }
    // The first block of a chunk is its header.
    if (offset >= view.bytes || offset % JS_JOB_BYTES ||
        offset % arena_chunk_bytes == 0) {
        *reason = JOBSWITCH_E_UNKNOWN_JOB;
        return nullptr;
    }
    job *j = reinterpret_cast<job *>(view.base + offset);
    // The job may end at any time from here on: what is done with it is done
    // for this generation.
    uint32_t now = wait_generation(j->wait.word.load(std::memory_order_acquire));
    if (generation == now && !wait_retired(j->wait) && !job_is_secret(*j))
        return j;
    // It may have ended since.
    now = wait_generation(j->wait.word.load(std::memory_order_acquire));
    *reason = generation >= now || generation == 0 ? JOBSWITCH_E_UNKNOWN_JOB
                                                   : JOBSWITCH_E_FINISHED;
    if (wait_retired(j->wait) && generation == now)
        *reason = JOBSWITCH_E_FINISHED;
    return nullptr;
}

void job_renew_handle(job &j)
{
    uint64_t word = j.wait.word.load(std::memory_order_relaxed);
    j.handle.store(uintptr_t(wait_generation(word)) << 32 | arena_offset(&j) |
                       JS_HANDLE_SECRET,
                   std::memory_order_release); // after the end of the last one
}

// One that can be resumed here and now.
static job *find_paused(jobswitch_job *handle, int *reason)
{
    job *j = job_find(handle, reason);
    if (!j)
        return nullptr;
    if (job_owner(*j) != pool_thread_state.pool || !pool_thread_state.pool)
        *reason = JOBSWITCH_E_WRONG_THREAD;
    else if (j == pool_thread_state.current)
        *reason = JOBSWITCH_E_RUNNING;
    else if (j->ctx.link)
        *reason = JOBSWITCH_E_WAITING;
    else
        return j;
    return nullptr;
}

static job *job_of(pool &p, context *c)
{
    return c == &p.root ? nullptr : reinterpret_cast<job *>(c);
}

// ---- a job left by longjmp -------------------------------------------------------

static bool is_within(uintptr_t address, uintptr_t low, uintptr_t high)
{
    return address >= low && address < high;
}

static bool on_stack_of(const pool &p, const job &j, uintptr_t address)
{
    stack_range range = stack_bounds(p.stacks, j.stack_top);
    auto low = reinterpret_cast<uintptr_t>(range.low);
    return is_within(address, low, low + range.bytes);
}

static bool on_root_stack(pool &p, uintptr_t address)
{
    if (p.root_stack_high == 0) {
        pthread_attr_t attributes;
        void *low;
        size_t bytes;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            if (pthread_attr_getstack(&attributes, &low, &bytes) == 0) {
                p.root_stack_low = reinterpret_cast<uintptr_t>(low);
                p.root_stack_high = p.root_stack_low + bytes;
            }
            pthread_attr_destroy(&attributes);
        }
    }
    if (p.root_stack_high == 0) {
        // Not to be learnt here (no /proc, no descriptor): it is about where
        // the thread stood when it ran the job.
        constexpr uintptr_t below = 65536, above = 8 << 20;
        auto stood = reinterpret_cast<uintptr_t>(context_stack_pointer(&p.root));
        return is_within(address, stood - below, stood + above);
    }
    return is_within(address, p.root_stack_low, p.root_stack_high);
}

// A job may run on a stack of its own making (another coroutine library's) and
// pause there. But on the thread's stack, or on that of a job which waits for
// this one, only a longjmp can have brought it.
job_place job_locate()
{
    job *current = pool_thread_state.current;
    if (!current)
        return job_place::outside;
    pool &p = *job_owner(*current);
    auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    if (on_stack_of(p, *current, here))
        return job_place::inside;
    for (job *j = job_of(p, current->ctx.link); j; j = job_of(p, j->ctx.link))
        if (on_stack_of(p, *j, here))
            return job_place::left_to_job;
    return on_root_stack(p, here) ? job_place::left_to_thread
                                  : job_place::inside;
}

// For what cannot be answered, since nobody is left to whom.
[[noreturn]] static void die(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
    abort();
}

void context_unwound()
{
    die("jobswitch: pthread_exit or cancellation inside a job: the thread "
        "cannot end on a job's stack\n");
}

// ---- announcing to a tool ----------------------------------------------------------

// Whoever switches is not instrumented by AddressSanitizer: that may keep
// variables apart from the stack, in memory that goes when a stack is left for
// good.
#define SWITCHES [[gnu::no_sanitize_address]]

// Inlined, or a tool that follows calls would see one enter on one stack and
// return on another.
#define ANNOUNCE [[gnu::always_inline]] SWITCHES static inline

// Just before a switch from here to a context; keep: NULL if this stack ends.
ANNOUNCE void announce_leave(pool &p, context *to, void **keep)
{
    const jobswitch_tool *tool = p.tool;
    if (!tool)
        return;
    job *j = job_of(p, to);
    if (tool->stack_leave) {
        stack_range range = {};
        if (j)
            range = stack_bounds(p.stacks, j->stack_top);
        tool->stack_leave(keep, j ? range.low : p.root_low,
                          j ? range.bytes : p.root_bytes);
    }
    if (tool->fiber_switch)
        tool->fiber_switch(j ? j->fiber : p.root_fiber, 0);
}

// Just after one; from: the context that was left, if it is known to the job.
ANNOUNCE void announce_enter(pool &p, const context *from, void *keep)
{
    const jobswitch_tool *tool = p.tool;
    if (!tool || !tool->stack_enter)
        return;
    const void *low = nullptr;
    size_t bytes = 0;
    tool->stack_enter(keep, &low, &bytes);
    if (from == &p.root) {
        p.root_low = low;
        p.root_bytes = bytes;
    }
}

// While a job runs, a tool takes the job's stack for all that the thread has:
// the thread's own, and its registers, are memory to look for pointers in.
struct starter_roots {
    const jobswitch_tool *tool;
    const pool &p;
    const unsigned char *low;
    size_t bytes = 0;

    starter_roots(pool &p, const jobswitch_tool *tool) : tool(tool), p(p)
    {
        constexpr uintptr_t frame_bytes = 1024; // of whoever switches
        auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
        if (!tool || !tool->root_add || pool_thread_state.current ||
            !on_root_stack(p, here - frame_bytes) || !p.root_stack_high)
            return;
        low = reinterpret_cast<const unsigned char *>(here - frame_bytes);
        bytes = p.root_stack_high - (here - frame_bytes);
        tool->root_add(low, bytes);
        tool->root_add(&p.root, sizeof p.root);
    }
    ~starter_roots()
    {
        if (!bytes)
            return;
        tool->root_remove(&p.root, sizeof p.root);
        tool->root_remove(low, bytes);
    }
};

// ---- start -------------------------------------------------------------------------

// What a start leaves at the end of the job's stack, below the arguments.
struct start_record {
    int (*func)(void *);
    void *args;
    void *heap; // args in memory of their own
};
static constexpr size_t start_record_bytes = 64;
static_assert(sizeof(start_record) <= start_record_bytes);

static start_record *record_of(const job &j)
{
    return reinterpret_cast<start_record *>(
        static_cast<unsigned char *>(j.stack_top) - start_record_bytes);
}

// The first thing on the job's stack.
SWITCHES static int run(void *arg)
{
    job &j = *static_cast<job *>(arg);
    announce_enter(*job_owner(j), j.ctx.link, nullptr);
    start_record *record = record_of(j);
    return record->func(record->args);
}

// Lays out the stack: the record, the arguments, the first frame. Arguments
// that would fill much of the stack get memory of their own.
static bool prepare(pool &p, job &j, int (*func)(void *), const void *args,
                    size_t size, int *reason)
{
    stack_range range = stack_bounds(p.stacks, j.stack_top);
    void *heap = nullptr;
    if (size > JS_ENTRY_ARGS_BYTES && size > range.bytes / 4) {
        heap = aligned_alloc(64, (size + 63) & ~size_t(63));
        if (!heap) {
            *reason = JOBSWITCH_E_NO_MEMORY;
            return false;
        }
    }
    valgrind_stack_reused(range.low, static_cast<size_t>(
        static_cast<unsigned char *>(j.stack_top) - range.low));
    start_record *record = record_of(j);
    auto end = reinterpret_cast<unsigned char *>(record);
    void *copy = heap;
    if (args && !heap) {
        end -= (size + 63) & ~size_t(63);
        copy = end;
    }
    if (size)
        memcpy(copy, args, size);
    *record = {func, copy, heap};
    j.flags |= heap ? flag_args_heap : 0;
    context_make(&j.ctx, end, run, &j);
    return true;
}

void job_release_args(job &j)
{
    if (j.flags & flag_args_heap)
        free(record_of(j)->heap);
    j.flags &= ~flag_args_heap;
}

// Runs a job, fresh or paused, until it pauses or ends.
SWITCHES static int enter(pool &p, job &j, bool fresh,
                          jobswitch_job **handle, int *ret)
{
    job *starter = pool_thread_state.current;
    context *here = starter ? &starter->ctx : &p.root;
    jobswitch_job **outer_handle = p.job_out;
    int *outer_ret = p.ret_out;
    p.job_out = handle;
    p.ret_out = ret;
    j.gate = (j.gate & ~gate_nested) | (starter ? gate_nested : 0);
    j.ctx.link = here;

    const jobswitch_tool *tool = p.tool;
    starter_roots roots(p, tool);
    stack_range range = {};
    void *fiber = nullptr;
    if (tool) {
        range = stack_bounds(p.stacks, j.stack_top);
        if (tool->fiber_current && !starter)
            p.root_fiber = tool->fiber_current();
        if (tool->fiber_create && fresh)
            j.fiber = tool->fiber_create(0);
        fiber = j.fiber;
    }
    pool_thread_state.current = &j;
    if (starter)
        starter->gate |= gate_waiting;
    void *keep = nullptr;
    announce_leave(p, &j.ctx, &keep);
    int answer = context_switch(here, &j.ctx, 1);
    if (starter)
        starter->gate &= ~gate_waiting;
    // The other side has written *handle and *ret and set the current job.
    announce_enter(p, nullptr, keep);
    if (tool && answer == JOBSWITCH_FINISH) {
        if (tool->fiber_destroy)
            tool->fiber_destroy(fiber);
        if (tool->stack_forget)
            tool->stack_forget(range.low, range.bytes);
    }
    p.job_out = outer_handle;
    p.ret_out = outer_ret;
    return answer;
}

static int start_new(jobswitch_job **handle, int *ret, int (*func)(void *),
                     const void *args, size_t size)
{
    if (!func)
        return job_fail(JOBSWITCH_E_NULL, JOBSWITCH_ERR);
    if (!args)
        size = 0;
    if (size > SIZE_MAX / 2)
        return job_fail(JOBSWITCH_E_SIZE, JOBSWITCH_ERR);
    int reason;
    pool *p = pool_here(&reason);
    if (!p)
        return job_fail(reason, JOBSWITCH_ERR);
    if (!p->opened) {
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        if (!pool_open(*p, options, &reason))
            return job_fail(reason, JOBSWITCH_ERR);
    }
    job *j = pool_take(*p, &reason);
    if (!j)
        return job_fail(reason, reason == JOBSWITCH_E_MAX_JOBS ? JOBSWITCH_NO_JOBS
                                                               : JOBSWITCH_ERR);
    if (!prepare(*p, *j, func, args, size, &reason)) {
        pool_return(*p, *j);
        return job_fail(reason, JOBSWITCH_ERR);
    }
    p->started++;
    return enter(*p, *j, true, handle, ret);
}

int job_start(jobswitch_job **handle, int *ret, int (*func)(void *), void *args,
              size_t size)
{
    if (!handle || !ret)
        return job_fail(JOBSWITCH_E_NULL, JOBSWITCH_ERR);
    pool *p = pool_thread_state.pool;
    if (p && p->calling)
        return job_fail(JOBSWITCH_E_REENTERED, JOBSWITCH_ERR);
    if (job_is_left(job_locate()))
        return job_fail(JOBSWITCH_E_JOB_LEFT, JOBSWITCH_ERR);
    if (!*handle)
        return start_new(handle, ret, func, args, size);
    int reason;
    job *j = find_paused(*handle, &reason);
    if (!j)
        return job_fail(reason, JOBSWITCH_ERR);
    return enter(*p, *j, false, handle, ret);
}

// ---- pause and end -------------------------------------------------------------------

SWITCHES int job_pause()
{
    job *j = pool_thread_state.current;
    if (!j || (j->gate & gate_blocks))
        return 1;
    pool &p = *job_owner(*j);
    if (p.calling)
        return job_fail(JOBSWITCH_E_REENTERED, 0);
    if (job_is_left(job_locate()))
        return job_fail(JOBSWITCH_E_JOB_LEFT, 0);
    context *starter = j->ctx.link;
    *p.job_out = job_reveal(*j);
    j->gate &= ~gate_nested;
    pool_thread_state.current = job_of(p, starter);
    void *keep = nullptr;
    announce_leave(p, starter, &keep);
    j->ctx.link = nullptr;
    int answer = context_switch(&j->ctx, starter, JOBSWITCH_PAUSE);
    announce_enter(p, j->ctx.link, keep);
    return answer;
}

SWITCHES void context_ended(context *c, int value)
{
    job &j = *reinterpret_cast<job *>(c);
    pool &p = *job_owner(j);
    context *starter = c->link;
    if (pool_thread_state.current != &j)
        die("jobswitch: a job ends that waits for another, which longjmp has "
            "left\n");
    *p.ret_out = value;
    *p.job_out = nullptr;
    job_release_args(j);
    pool_thread_state.current = job_of(p, starter);
    // From here on no signal handler is given the handle.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    c->link = nullptr;
    pool_put(p, j);
    announce_leave(p, starter, nullptr);
    context_jump(starter, JOBSWITCH_FINISH);
}
