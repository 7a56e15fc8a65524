// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

#include "arena.h"
#include "fp_control.h"
#include "handle.h"
#include "pool.h"
#include "valgrind.h"

// A mode of the CPU that is each job's own, where there is one.
#if __has_include("dit.h")
#include "dit.h"
#else
static uint64_t dit_read() { return 0; }
static void dit_write(uint64_t) {}
#endif

// What layout.h tells assembly is what the compiler did.
#if UINTPTR_MAX == UINT64_MAX
#define AT(type, member, offset)                                               \
    static_assert(__builtin_offsetof(type, member) == (offset))
#define AT_OF_JOB(member, offset)                                              \
    AT(job, member, int(__builtin_offsetof(job, ctx)) + (offset))
AT(job, ctx, JS_JOB_CONTEXT);
AT_OF_JOB(key, JS_JOB_KEY);
AT_OF_JOB(pause_top, JS_JOB_PAUSE_TOP);
AT_OF_JOB(gate, JS_JOB_GATE);
AT_OF_JOB(flags, JS_JOB_FLAGS);
AT_OF_JOB(wait, JS_JOB_WAIT);
AT_OF_JOB(next, JS_JOB_NEXT);
#define AT_OF_ROOT(member, offset)                                             \
    AT(pool_thread, member, int(__builtin_offsetof(pool_thread, root)) + (offset))
AT(pool_thread, root, JS_THREAD_ROOT);
AT_OF_ROOT(no_pause_top, JS_ROOT_PAUSE_TOP);
AT_OF_ROOT(hot, JS_ROOT_HOT);
AT_OF_ROOT(stack_span, JS_ROOT_STACK_SPAN);
AT_OF_ROOT(live, JS_ROOT_LIVE);
AT_OF_ROOT(until_review, JS_ROOT_UNTIL_REVIEW);
AT_OF_ROOT(arena_first, JS_ROOT_ARENA_FIRST);
AT_OF_ROOT(arena_mask, JS_ROOT_ARENA_MASK);
AT_OF_ROOT(job_out, JS_ROOT_JOB_OUT);
AT_OF_ROOT(ret_out, JS_ROOT_RET_OUT);
static_assert(sizeof(pool_thread) == JS_THREAD_BYTES);
#undef AT_OF_JOB
#undef AT_OF_ROOT
#undef AT
#endif

static constexpr context *nobodys_root = &pool_nobody.root;
constinit pool_thread pool_nobody = {
    0, 1, ~uintptr_t(0), 0, 0, {nobodys_root, {}, nobodys_root}, {}, 0, 0, 0,
    nullptr, 0, nullptr, nullptr,
    nullptr, 0, 0, {}};

int job_fail(int reason, int answer)
{
    pool_thread_state.last_error = reason;
    return answer;
}

// ---- finding -----------------------------------------------------------------

job *job_find(jobswitch_job *handle, int *reason)
{
    uint32_t offset = handle_offset(handle);
    uint32_t generation = handle_generation(handle);
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
    uint64_t word = j->wait.word.load(std::memory_order_acquire);
    // A waker had better not look at the key: its line is its owner's, who writes there
    // at each pause.
    if (wait_known(word, generation))
        return j;
    if (generation == wait_generation(word) && !wait_retired(j->wait) && !job_is_secret(*j))
        return j;
    // It may have ended since.
    word = j->wait.word.load(std::memory_order_acquire);
    *reason = wait_has_ended(word, generation) ? JOBSWITCH_E_FINISHED
                                               : JOBSWITCH_E_UNKNOWN_JOB;
    return nullptr;
}

static uintptr_t handle_of(const job &j)
{
    uint64_t word = j.wait.word.load(std::memory_order_relaxed);
    return handle_make(arena_offset(&j), wait_generation(word));
}

jobswitch_job *job_handle(const job &j)
{
    return reinterpret_cast<jobswitch_job *>(handle_of(j));
}

// The first block of all is a header: none is 0.
static_assert(arena_blocks_most <= ready_entry_most);
uint32_t job_entry(const job &j) { return arena_offset(&j) / JS_JOB_BYTES; }

job &job_of_entry(uint32_t entry)
{
    return *reinterpret_cast<job *>(arena_look().base + size_t(entry) * JS_JOB_BYTES);
}

// A fast path compares a key with a handle and the child of its own thread's root. If that
// lies a multiple of 4 GiB from the key's root, the sums are equal for some other generation.
// A running job's context never lies so, as is asserted here; another thread's root may, and
// then the key keeps out.
static_assert(!handle_is_wide ||
              (__builtin_offsetof(pool_thread, root) - __builtin_offsetof(job, ctx)) %
                  alignof(pool_thread) != 0);
static_assert(JS_JOB_BYTES % alignof(pool_thread) == 0);

void job_renew_handle(job &j, bool keep_out)
{
    auto root = reinterpret_cast<uintptr_t>(j.ctx.link);
    // (With 32 bits there is no fast path that compares it, and no room in a handle.)
    uintptr_t own = handle_is_wide ? handle_of(j) + root : 0;
    j.key.store(own + key_secret + (keep_out ? key_keep_out : 0),
                std::memory_order_release); // after the end of the last one
}

// In two steps, for where the stack is to be loaded from stands in the block: asked
// at once, the processor would have to wait for that.
void job_prefetch(jobswitch_job *handle)
{
    pool_thread &here = pool_thread_state;
    if (!here.arena_mask)
        return; // no blocks yet
    // A hint may be anything; and not every CPU reads words that lie anyhow.
    constexpr uintptr_t block_mask = ~uintptr_t(JS_JOB_BYTES - 1);
    auto offset = uint32_t(handle_offset(handle) & here.arena_mask & block_mask);
    auto block = reinterpret_cast<unsigned char *>(here.arena_first) + offset -
                 __builtin_offsetof(job, ctx);
    // What the stubs read of it fits a line; the rest would push out other jobs'.
    __builtin_prefetch(block);
    context *&slot = here.ahead[here.ahead_at++ % (sizeof here.ahead / sizeof *here.ahead)];
    context *earlier = slot;
    slot = reinterpret_cast<context *>(block + __builtin_offsetof(job, ctx));
    if (earlier)
        job_prefetch_stack(earlier);
}

void job_prefetch_block(const job &j)
{
    __builtin_prefetch(&j);
    __builtin_prefetch(&j.wait, 1); // a wake is taken there
}

void job_prefetch_stack(const context *c)
{
    auto stack = static_cast<unsigned char *>(context_stack_pointer(c));
    if (!stack)
        return; // no job has been there, as behind a handle that somebody made up
    __builtin_prefetch(stack);
    __builtin_prefetch(stack + 64);
}

// One that can be resumed here and now.
static job *find_paused(jobswitch_job *handle, int *reason)
{
    job *j = job_find(handle, reason);
    if (!j)
        return nullptr;
    if (pool_of(*j) != pool_thread_state.pool || !pool_thread_state.pool)
        *reason = JOBSWITCH_E_WRONG_THREAD;
    else if (j == job_current())
        *reason = JOBSWITCH_E_RUNNING;
    else if (j->gate & gate_waiting)
        *reason = JOBSWITCH_E_WAITING;
    else
        return j;
    return nullptr;
}

static job *job_of(pool &p, context *c)
{
    return c == &p.here->root ? nullptr : &job_of_context(*c);
}

// Each of these changes what job_current() finds in one step, for signal handlers ask
// anywhere: a job is the innermost before another waits for it.
static void child_set(pool &p, context *starter, job &j)
{
    p.innermost = &j.ctx;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    starter->child = &j.ctx;
}

static void child_clear(pool &p, context *starter)
{
    p.innermost = starter;
    starter->child = starter == &p.here->root ? starter : nullptr;
}

job *job_current()
{
    pool_thread &here = pool_thread_state;
    context *c = here.root.child;
    if (!here.pool || c == &here.root || c == &pool_nobody.root)
        return nullptr;
    return &job_of_context(c->child ? *here.pool->innermost : *c);
}

job *job_caller() { return pool_is_calling() ? nullptr : job_current(); }

jobswitch_job *job_reveal(job &j)
{
    // Each step may have been done by a signal handler in between.
    if (j.gate & gate_secret) {
        pool_claim(*pool_of(j), j);
        job_set_gate(j, j.gate & ~gate_secret);
    }
    j.key.store(j.key.load(std::memory_order_relaxed) & ~key_secret,
                std::memory_order_relaxed);
    return reinterpret_cast<jobswitch_job *>(handle_of(j));
}

job *job_settle()
{
    job *j = job_caller();
    if (j)
        job_reveal(*j);
    return j;
}

// ---- a job left by longjmp -------------------------------------------------------

static bool is_within(uintptr_t address, uintptr_t low, uintptr_t high)
{
    return address >= low && address < high;
}

static bool on_stack_of(const pool &p, const job &j, uintptr_t address)
{
    stack_range range = stack_bounds(p.stacks, job_stack_top(j));
    auto low = reinterpret_cast<uintptr_t>(range.low);
    return is_within(address, low, low + range.bytes);
}

static bool on_root_stack(pool &p, uintptr_t address)
{
    if (p.root_stack_high == 0) {
        pthread_attr_t attributes;
        void *low;
        size_t bytes;
        int cancel_state; // a file may have to be read
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            if (pthread_attr_getstack(&attributes, &low, &bytes) == 0) {
                p.root_stack_low = reinterpret_cast<uintptr_t>(low);
                p.root_stack_high = p.root_stack_low + bytes;
            }
            pthread_attr_destroy(&attributes);
        }
        pthread_setcancelstate(cancel_state, nullptr);
    }
    if (p.root_stack_high == 0) {
        // Not to be learnt here (no /proc, no descriptor): it is about where
        // the thread stood when it ran the job.
        constexpr uintptr_t below = 65536, above = 8 << 20;
        auto stood = reinterpret_cast<uintptr_t>(context_stack_pointer(&p.here->root));
        return address - (stood - below) < below + above; // round the end of memory, too
    }
    return is_within(address, p.root_stack_low, p.root_stack_high);
}

// A job may run on a stack of its own making (another coroutine library's) and
// pause there. But on the thread's stack, or on that of a job which waits for
// this one, only a longjmp can have brought it.
job_place job_locate()
{
    job *current = job_current();
    if (!current)
        return job_place::outside;
    pool &p = *pool_thread_state.pool;
    auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    if (on_stack_of(p, *current, here))
        return job_place::inside;
    for (job *j = current; (j = job_of(p, j->ctx.link));)
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
            range = stack_bounds(p.stacks, job_stack_top(*j));
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
    if (from == &p.here->root) {
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
        if (!tool || !tool->root_add || job_current() ||
            !on_root_stack(p, here - frame_bytes) || !p.root_stack_high)
            return;
        low = reinterpret_cast<const unsigned char *>(here - frame_bytes);
        bytes = p.root_stack_high - (here - frame_bytes);
        tool->root_add(low, bytes);
        tool->root_add(&p.here->root, sizeof p.here->root);
    }
    ~starter_roots()
    {
        if (!bytes)
            return;
        tool->root_remove(&p.here->root, sizeof p.here->root);
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
        static_cast<unsigned char *>(job_stack_top(j)) - start_record_bytes);
}

// The first thing on the job's stack.
SWITCHES static int run(void *arg)
{
    job &j = *static_cast<job *>(arg);
    announce_enter(*pool_of(j), j.ctx.link, nullptr);
    start_record *record = record_of(j);
    return record->func(record->args);
}

// Lays out the stack: the record, the arguments, the first frame. Arguments
// that would fill much of the stack get memory of their own.
static bool prepare(pool &p, job &j, int (*func)(void *), const void *args,
                    size_t size, int *reason)
{
    stack_range range = stack_bounds(p.stacks, job_stack_top(j));
    void *heap = nullptr;
    if (size > JS_ENTRY_ARGS_BYTES && size > range.bytes / 4) {
        heap = aligned_alloc(64, (size + 63) & ~size_t(63));
        if (!heap) {
            *reason = JOBSWITCH_E_NO_MEMORY;
            return false;
        }
    }
    valgrind_stack_reused(range.low, static_cast<size_t>(
        static_cast<unsigned char *>(job_stack_top(j)) - range.low));
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
SWITCHES static transfer enter(pool &p, job &j, bool fresh, int answer)
{
    job *starter = job_settle();
    context *here = starter ? &starter->ctx : &p.here->root;
    job_set_gate(j, (j.gate & ~gate_nested) | (starter ? gate_nested : 0));
    j.ctx.link = here;

    const jobswitch_tool *tool = p.tool;
    starter_roots roots(p, tool);
    stack_range range = {};
    void *fiber = nullptr;
    if (tool) {
        range = stack_bounds(p.stacks, job_stack_top(j));
        if (tool->fiber_current && !starter)
            p.root_fiber = tool->fiber_current();
        if (tool->fiber_create && fresh)
            j.fiber = tool->fiber_create(0);
        fiber = j.fiber;
    }
    if (starter) {
        job_set_gate(*starter, starter->gate | gate_waiting);
        p.jobs_waiting++;
    }
    child_set(p, here, j);
    const bool keeps_fp = j.gate & gate_fp; // the job may be gone afterwards
    const uint64_t fp_control = keeps_fp ? fp_control_read() : 0;
    const uint64_t dit = dit_read();
    void *keep = nullptr;
    announce_leave(p, &j.ctx, &keep);
    transfer got = context_switch(here, &j.ctx, {uintptr_t(answer), 0});
    dit_write(dit);
    if (keeps_fp)
        fp_control_write(fp_control);
    if (starter) {
        job_set_gate(*starter, starter->gate & ~gate_waiting);
        p.jobs_waiting--;
    }
    announce_enter(p, nullptr, keep);
    if (tool && got.answer == JOBSWITCH_FINISH)
        pool_tell_end(p, fiber, range);
    return got;
}

static transfer refuse(int reason)
{
    int answer = reason == JOBSWITCH_E_MAX_JOBS ? JOBSWITCH_NO_JOBS : JOBSWITCH_ERR;
    return {uintptr_t(job_fail(reason, answer)), 0};
}

static transfer start_new(int (*func)(void *), const void *args, size_t size)
{
    if (!func)
        return refuse(JOBSWITCH_E_NULL);
    if (!args)
        size = 0;
    if (size > SIZE_MAX / 2)
        return refuse(JOBSWITCH_E_SIZE);
    int reason;
    job_settle();
    pool *p = pool_here(&reason);
    if (!p)
        return refuse(reason);
    if (!p->opened) {
        jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
        if (!pool_open(*p, options, &reason))
            return refuse(reason);
    }
    job *j = pool_take(*p, &reason);
    if (!j)
        return refuse(reason);
    if (!prepare(*p, *j, func, args, size, &reason)) {
        pool_return(*p, *j);
        return refuse(reason);
    }
    p->here->live++;
    return enter(*p, *j, true, 1);
}

// Why no job can be entered from here; 0: it can.
static int entry_forbidden()
{
    if (pool_is_calling())
        return JOBSWITCH_E_REENTERED;
    return job_is_left(job_locate()) ? JOBSWITCH_E_JOB_LEFT : 0;
}

static transfer resume(jobswitch_job *handle, bool cancel)
{
    int reason = entry_forbidden();
    job *j = reason ? nullptr : find_paused(handle, &reason);
    if (!j)
        return refuse(reason);
    if (cancel) {
        job_set_gate(*j, j->gate | gate_cancelled);
        job_fail(JOBSWITCH_E_CANCELLED, 0); // the reason of its pause
    }
    transfer got = enter(*pool_thread_state.pool, *j, false, !cancel);
    // A pause by the fast path tells it only once.
    if (got.answer == JOBSWITCH_PAUSE)
        got.payload = reinterpret_cast<uintptr_t>(handle);
    return got;
}

transfer job_start(jobswitch_job *handle, int (*func)(void *), void *args,
                   size_t size)
{
    if (handle)
        return resume(handle, false);
    int reason = entry_forbidden();
    return reason ? refuse(reason) : start_new(func, args, size);
}

static int tell(transfer got, jobswitch_job **handle, int *ret)
{
    if (got.answer == JOBSWITCH_PAUSE) {
        *handle = reinterpret_cast<jobswitch_job *>(got.payload);
    } else if (got.answer == JOBSWITCH_FINISH) {
        *handle = nullptr;
        *ret = int(got.payload);
    }
    return int(got.answer);
}

int job_cancel_to(jobswitch_job **handle, int *ret)
{
    if (!handle || !ret || !*handle)
        return job_fail(JOBSWITCH_E_NULL, JOBSWITCH_ERR);
    return tell(resume(*handle, true), handle, ret);
}

int job_discard(jobswitch_job **handle)
{
    if (!handle || !*handle)
        return job_fail(JOBSWITCH_E_NULL, 0);
    int reason = entry_forbidden();
    job *j = reason ? nullptr : find_paused(*handle, &reason);
    if (!j)
        return job_fail(reason, 0);
    *handle = nullptr;
    job_settle();
    pool_discard(*pool_thread_state.pool, *j);
    return 1;
}

int job_start_to(jobswitch_job **handle, int *ret, int (*func)(void *),
                 void *args, size_t size)
{
    if (!handle || !ret)
        return job_fail(JOBSWITCH_E_NULL, JOBSWITCH_ERR);
    return tell(job_start(*handle, func, args, size), handle, ret);
}

// ---- pause and end -------------------------------------------------------------------

SWITCHES int job_pause()
{
    if (pool_is_calling())
        return job_fail(JOBSWITCH_E_REENTERED, 0);
    job *j = job_current();
    if (!j)
        return 1;
    if (j->gate & gate_cancelled)
        return job_fail(JOBSWITCH_E_CANCELLED, 0);
    if (j->gate & gate_blocks)
        return 1;
    pool &p = *pool_thread_state.pool;
    if (job_is_left(job_locate()))
        return job_fail(JOBSWITCH_E_JOB_LEFT, 0);
    context *starter = j->ctx.link;
    auto handle = reinterpret_cast<uintptr_t>(job_reveal(*j));
    if (j->gate & gate_queue)
        ready_push(p.waits.ready, job_entry(*j));
    job_set_gate(*j, j->gate & ~(gate_nested | gate_first | gate_queue));
    void *keep = nullptr;
    announce_leave(p, starter, &keep);
    child_clear(p, starter);
    j->ctx.link = &p.here->root;
    const uint64_t fp_control = j->gate & gate_fp ? fp_control_read() : 0;
    const uint64_t dit = dit_read();
    transfer got = context_switch(&j->ctx, starter, {JOBSWITCH_PAUSE, handle});
    dit_write(dit);
    if (j->gate & gate_fp)
        fp_control_write(fp_control);
    announce_enter(p, j->ctx.link, keep);
    return int(got.answer);
}

int job_pause_until(uint64_t deadline_ns)
{
    job *j = job_caller();
    if (!j || (j->gate & (gate_cancelled | gate_blocks)))
        return job_pause();
    timer_queue &timers = pool_of(*j)->timers;
    j->timer = timer_add(timers, deadline_ns, job_entry(*j));
    if (!j->timer)
        return job_fail(JOBSWITCH_E_NO_MEMORY, 0);
    int answer = job_pause();
    bool expired = !timer_remove(timers, j->timer);
    j->timer = 0;
    return expired && answer == 1 ? JOBSWITCH_EXPIRED : answer;
}

SWITCHES void context_ended(context *c, int value)
{
    job &j = job_of_context(*c);
    pool &p = *pool_thread_state.pool;
    if (j.gate & gate_waiting)
        die("jobswitch: a job ends that waits for another, which longjmp has "
            "left\n");
    if (job_locals(j)) {
        // The destructors run in the job, which pauses no more.
        job_settle();
        job_set_gate(j, (j.gate & ~gate_blocks) | gate_blocks);
        int cancel_state;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
        local_end(p.locals, job_locals(j));
        pthread_setcancelstate(cancel_state, nullptr);
        job_set_locals(j, 0);
    }
    job_release_args(j);
    context *starter = c->link;
    child_clear(p, starter);
    // From here on no signal handler is given the handle.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    c->link = &p.here->root;
    pool_claim(p, j);
    pool_put(p, j);
    announce_leave(p, starter, nullptr);
    context_jump(starter, {JOBSWITCH_FINISH, uintptr_t(unsigned(value))});
}
