// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "event.h"
#include "pin.h"
#include "valgrind.h"

static constexpr size_t stack_bytes_default = 65536;
static constexpr size_t guard_bytes_default = 16384;

static constexpr uint32_t review_ends = 1024;
static constexpr uint32_t review_ends_trimming = 64;
static constexpr uint64_t review_ns = 1000000000;
static constexpr size_t trim_batch = 256;  // about 150 microseconds
static constexpr size_t refill_batch = 64;

// Copies: a plugin that has set one may be unloaded. They stay, for pools refer to them.
struct kept_tool {
    jobswitch_tool tool;
    kept_tool *next;
};
static constinit lock tools_guard;
static kept_tool *kept_tools;
static std::atomic<const jobswitch_tool *> tool_set;

bool pool_set_tool(const jobswitch_tool &tool, int *reason)
{
    lock_scope scope(tools_guard);
    kept_tool *kept = kept_tools;
    while (kept && memcmp(&kept->tool, &tool, sizeof tool) != 0)
        kept = kept->next;
    if (!kept) {
        void *memory = mmap(nullptr, sizeof *kept, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            *reason = JOBSWITCH_E_NO_MEMORY;
            return false;
        }
        kept = static_cast<kept_tool *>(memory);
        *kept = {tool, kept_tools};
        kept_tools = kept;
    }
    tool_set = &kept->tool;
    wait_announce(tool.acquire, tool.release);
    return true;
}

static uint64_t clock_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); // no system call
    return uint64_t(now.tv_sec) * 1000000000 + uint64_t(now.tv_nsec);
}
uint64_t (*pool_clock_ns)() = clock_ns;

// ---- lists -------------------------------------------------------------------

static void list_push(job_list &list, job &j)
{
    j.next = list.head;
    list.head = &j;
    list.count++;
}

static job *list_pop(job_list &list)
{
    job *j = list.head;
    if (j) {
        list.head = j->next;
        list.count--;
    }
    return j;
}

// Its jobs are none for the fast path.
static bool apart(const pool &p) { return p.tool || valgrind_build || p.keeps_fp; }

static job *hot_head(const pool &p)
{
    return apart(p) ? p.hot_apart
                    : p.here->hot.load(std::memory_order_relaxed);
}

static void hot_set(pool &p, job *head)
{
    if (apart(p))
        p.hot_apart = head;
    else
        p.here->hot.store(head, std::memory_order_relaxed);
}

static bool keeps_out(const pool &p) { return apart(p) || p.keep_out; }

static uint32_t gate_of_idle(const pool &p)
{
    return gate_secret | gate_first | (p.tool || valgrind_build ? gate_announced : 0) |
           (p.keeps_fp ? gate_fp : 0);
}

static uint64_t finished(const pool &p)
{
    return p.finished_before + (p.review_period - p.here->until_review);
}

// doomed ones are no longer of use
static size_t jobs_idle(const pool &p)
{
    return p.jobs_made - p.here->live - p.doomed.count;
}

// ---- blocks ------------------------------------------------------------------

// A block without a stack goes where it can be taken from again.
static void block_put(pool &p, job &j)
{
    j.pause_top = 0;
    j.key.store(key_secret, std::memory_order_relaxed);
    if (!wait_retired(j.wait))
        list_push(wait_begin(j.wait) ? p.bare : p.parked, j);
}

static constexpr size_t blocks_each_chunk = arena_chunk_bytes / JS_JOB_BYTES - 1;

// Blocks of a chunk, without its header, which has the size of one.
template <class F> static void for_each_block(arena_chunk *chunk, F f)
{
    auto base = reinterpret_cast<unsigned char *>(chunk);
    for (size_t at = arena_chunk_bytes; (at -= JS_JOB_BYTES) > 0;)
        f(*reinterpret_cast<job *>(base + at));
}

// Takes the entries of ended jobs out of the ready ring, for a program may never look at
// it. The others keep their order.
static void ring_sift(pool &p)
{
    uint64_t end = ready_end(p.waits.ready);
    while (uint32_t entry = ready_pop(p.waits.ready, end)) {
        job &j = job_of_entry(entry);
        if (pool_has(p, j))
            ready_push(p.waits.ready, entry);
        else
            wait_take_late(j.wait);
    }
}

// An ended thread's, or one's about to end: all entries are of ended jobs.
static void ring_empty(pool &p)
{
    while (uint32_t entry = ready_pop(p.waits.ready, ready_end(p.waits.ready)))
        wait_take_late(job_of_entry(entry).wait);
}

static void unpark(pool &p)
{
    job_list parked = p.parked;
    p.parked = {};
    while (job *j = list_pop(parked))
        block_put(p, *j);
}

static bool chunk_take(pool &p, int *reason)
{
    // Twice what there are, for fork() may leave a few of them there twice; and what is late,
    // of which there is no more than there are blocks.
    const size_t blocks = arena_look().bytes / JS_JOB_BYTES;
    const size_t late = p.late_entries < blocks ? p.late_entries : blocks;
    if (!ready_reserve(p.waits.ready, late + 2 * (p.chunks_held + 1) * blocks_each_chunk,
                       reason))
        return false;
    arena_chunk *chunk = arena_take(reason);
    if (!chunk)
        return false;
    p.chunks_held++;
    // Registers of paused jobs may hold the only pointer to something.
    if (p.tool && p.tool->root_add)
        p.tool->root_add(chunk, arena_chunk_bytes);
    chunk->next = p.chunks;
    chunk->owner.store(&p, std::memory_order_relaxed);
    p.chunks = chunk;
    // (Blocks may still be queued in the ring of the thread that had them before.)
    for_each_block(chunk, [&p](job &j) { block_put(p, j); });
    if (p.keep_out) // this thread finds no block by the fast path
        return true;
    p.here->arena_first =
        reinterpret_cast<context *>(arena_look().base + __builtin_offsetof(job, ctx));
    p.here->arena_mask = arena_offset_mask();
    return true;
}

static job *block_take(pool &p, int *reason)
{
    // Looked at each time while they are few; and before there are more chunks, all.
    constexpr size_t few = 16;
    if (p.parked.count && (p.parked.count <= few || !p.bare.head)) {
        if (!p.bare.head)
            ring_sift(p);
        unpark(p);
    }
    // (All blocks of a used chunk may be parked or retired.)
    while (!p.bare.head && chunk_take(p, reason)) {}
    return list_pop(p.bare);
}

pool *pool_of(const job &j)
{
    return static_cast<pool *>(
        arena_chunk_of(&j)->owner.load(std::memory_order_relaxed));
}

template <class F> static void for_each_job(pool &p, F f)
{
    for (arena_chunk *chunk = p.chunks; chunk; chunk = chunk->next)
        for_each_block(chunk, [&f](job &j) {
            if (j.pause_top)
                f(j);
        });
}

void pool_for_each_job(pool &p, void (*function)(job &, void *), void *with)
{
    for_each_job(p, [function, with](job &j) { function(j, with); });
}

// ---- making and dropping jobs --------------------------------------------------

// Whatever the caller's functions do, they find a pool that answers "not now".
struct calling_scope {
    pool &p;
    job *current = job_settle();
    job *hot = p.here->hot;
    int cancel_state; // a cancelled thread must not end in the middle of this
    explicit calling_scope(pool &p) : p(p)
    {
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
        p.calling = true;
        p.here->hot = nullptr; // the fast path finds nothing to start
        if (current)
            job_set_gate(*current, current->gate | gate_calling);
        else // or to resume
            p.here->root.child = &pool_nobody.root;
    }
    ~calling_scope()
    {
        p.calling = false;
        p.here->hot = hot;
        if (current)
            job_set_gate(*current, current->gate & ~gate_calling);
        else
            p.here->root.child = &p.here->root;
        pthread_setcancelstate(cancel_state, nullptr);
    }
};

// What a block becomes with a stack.
static void job_init(pool &p, job &j, void *top)
{
    j.ctx.link = &p.here->root;
    j.ctx.child = nullptr;
    job_renew_handle(j, keeps_out(p));
    j.flags = 0;
    j.timer = 0;
    j.pause_top = reinterpret_cast<uintptr_t>(top);
    job_set_gate(j, gate_of_idle(p));
}

static job *job_make(pool &p, const stack_shape &shape, int *reason)
{
    job *j = block_take(p, reason);
    if (!j)
        return nullptr;
    void *top;
    {
        calling_scope scope(p);
        top = stack_take(p.stacks, shape, reason);
    }
    if (!top) {
        block_put(p, *j);
        return nullptr;
    }
    job_init(p, *j, top);
    if (p.tool && p.tool->root_add) {
        stack_range range = stack_bounds(p.stacks, top);
        p.tool->root_add(range.low, range.bytes);
    }
    if (p.here->stack_span < shape.stack_bytes)
        p.here->stack_span = shape.stack_bytes;
    p.jobs_made++;
    return j;
}

static void forget_stack(pool &p, job &j)
{
    if (!p.tool)
        return;
    stack_range range = stack_bounds(p.stacks, job_stack_top(j));
    if (p.tool->stack_forget)
        p.tool->stack_forget(range.low, range.bytes);
    if (p.tool->root_remove)
        p.tool->root_remove(range.low, range.bytes);
}

// Ended or never started, out of all lists; its memory has been discarded.
static void job_drop(pool &p, job &j)
{
    forget_stack(p, j);
    {
        calling_scope scope(p);
        stack_give(p.stacks, job_stack_top(j));
    }
    block_put(p, j);
    p.jobs_made--;
}

// Gives back the memory of up to most jobs of a list; passes on each.
template <class F>
static size_t discard(pool &p, job_list &list, size_t most, F pass_on)
{
    constexpr size_t batch = 32; // this may be a small job's stack
    size_t done = 0;
    while (done < most && list.count) {
        job *jobs[batch];
        void *tops[batch];
        size_t count = 0;
        for (; count < batch && done + count < most && list.count; count++) {
            jobs[count] = list_pop(list);
            tops[count] = job_stack_top(*jobs[count]);
        }
        stack_discard(p.stacks, tops, count);
        for (size_t i = 0; i < count; i++)
            pass_on(*jobs[i]);
        done += count;
    }
    return done;
}

static void drop(pool &p, job_list &list, size_t most)
{
    discard(p, list, most, [&p](job &j) { job_drop(p, j); });
}

static void drop_doomed(pool &p)
{
    if (p.doomed.head)
        drop(p, p.doomed, p.doomed.count);
}

// A job with a stack of the caller's has no cold state: it is dropped.
static size_t give_back(pool &p, job_list &list, size_t most)
{
    return discard(p, list, most, [&p](job &j) {
        if (p.shape.alloc)
            job_drop(p, j);
        else
            list_push(p.cold, j);
    });
}

// The hot jobs as a list; they are hot no more.
static job_list cool_down(pool &p)
{
    job_list list = {hot_head(p), jobs_idle(p) - p.spare.count -
                                      p.surplus.count - p.cold.count};
    hot_set(p, nullptr);
    return list;
}

static void list_append(job_list &list, job_list &more)
{
    job **end = &list.head;
    while (*end)
        end = &(*end)->next;
    *end = more.head;
    list.count += more.count;
    more = {};
}

// ---- reviews -------------------------------------------------------------------

// Once every so many ends, while the job that ends still counts as live.
// Returns how many ends it is to the next.
static uint32_t review(pool &p)
{
    if (p.flags & JOBSWITCH_KEEP_WARM)
        return review_ends;
    size_t warm = jobs_idle(p) - p.cold.count;
    if (p.surplus.count && warm > p.initial_jobs && !p.shape.alloc) {
        size_t most = warm - p.initial_jobs;
        give_back(p, p.surplus, most < trim_batch ? most : trim_batch);
        return p.surplus.count ? review_ends_trimming : review_ends;
    }
    uint64_t now_ns = pool_clock_ns();
    if (now_ns - p.reviewed_ns < review_ns)
        return review_ends;
    p.reviewed_ns = now_ns;
    if (p.surplus.count)
        return review_ends; // kept, as initial_jobs or as the caller's stacks
    job_list was_hot = cool_down(p);
    p.surplus = p.spare;
    p.spare = was_hot;
    return p.surplus.count ? review_ends_trimming : review_ends;
}

static void count_end(pool &p)
{
    if (p.here->until_review > 1) {
        p.here->until_review--;
        return;
    }
    uint32_t next = review(p);
    p.finished_before += p.review_period;
    p.here->until_review = p.review_period = next;
}

// ---- taking and putting ----------------------------------------------------------

static bool refill(pool &p)
{
    job_list &from = p.spare.head     ? p.spare
                     : p.surplus.head ? p.surplus
                                      : p.cold;
    // In their order: the warmest is to come first.
    job *head = nullptr;
    job **end = &head;
    for (size_t i = 0; i < refill_batch && from.head; i++) {
        *end = list_pop(from);
        end = &(*end)->next;
    }
    *end = nullptr;
    hot_set(p, head);
    return head;
}

void pool_claim(pool &p, job &j)
{
    job *head = &j;
    if (p.here->hot.compare_exchange_strong(head, j.next, std::memory_order_relaxed))
        p.here->live++;
}

job *pool_take(pool &p, int *reason)
{
    drop_doomed(p);
    if (hot_head(p) || refill(p)) {
        job *j = hot_head(p);
        hot_set(p, j->next);
        return j;
    }
    if (p.max_jobs && p.jobs_made >= p.max_jobs) {
        *reason = JOBSWITCH_E_MAX_JOBS;
        return nullptr;
    }
    return job_make(p, p.shape, reason);
}

void pool_return(pool &p, job &j)
{
    j.next = hot_head(p);
    hot_set(p, &j);
}

// A waker is still inside the job's descriptor, or an entry is queued, or the last
// generation has ended: the block cannot be used now, but the stack can, with another block.
static job *rehouse(pool &p, job &j)
{
    int reason;
    job *other = block_take(p, &reason);
    if (!other)
        return nullptr;
    job_init(p, *other, job_stack_top(j));
    block_put(p, j);
    return other;
}

// What has ended waits for its next start.
static void recycle(pool &p, job &ended)
{
    p.here->live--;
    job *j = &ended;
    bool drop = (j->flags & flag_drop) ||
                ((j->flags & flag_drop_over) && p.max_jobs &&
                 p.jobs_made - p.doomed.count > p.max_jobs);
    const bool was_to_queue = j->gate & gate_queue;
    j->flags = 0;
    job_set_gate(*j, gate_of_idle(p));
    // A handle that nobody was given may serve again.
    if (!job_is_secret(*j)) {
        if (was_to_queue)
            wait_take(j->wait);
        bool usable = wait_end(j->wait, p.waits.descriptors);
        job_renew_handle(*j, keeps_out(p));
        if (!usable && !drop) {
            job *other = rehouse(p, *j);
            drop = !other;
            if (other)
                j = other;
        }
    }
    if (drop)
        list_push(p.doomed, *j);
    else
        pool_return(p, *j);
}

void pool_put(pool &p, job &ended)
{
    count_end(p);
    recycle(p, ended);
}

// ---- opening ---------------------------------------------------------------------

// New jobs, all or none.
static bool make_ahead(pool &p, const stack_shape &shape, uint64_t flags,
                       size_t count, job_list &made, int *reason)
{
    guard_method method = p.stacks.method;
    size_t span = p.here->stack_span;
    while (made.count < count) {
        job *j = job_make(p, shape, reason);
        if (!j) {
            drop(p, made, made.count);
            p.stacks.method = method;
            p.here->stack_span = span;
            return false;
        }
        list_push(made, *j);
    }
    if (flags & JOBSWITCH_PREFAULT)
        for (job *j = made.head; j; j = j->next)
            stack_prefault(p.stacks, job_stack_top(*j));
    return true;
}

static void mark_live(pool &p, uint32_t flag)
{
    for_each_job(p, [flag](job &j) {
        if (!job_is_secret(j))
            j.flags |= flag;
    });
}

bool pool_open(pool &p, const jobswitch_options &options, int *reason)
{
    stack_shape shape = {options.stack_bytes ? options.stack_bytes
                                             : stack_bytes_default,
                         options.guard_bytes ? options.guard_bytes
                                             : guard_bytes_default,
                         options.stack_alloc, options.stack_free,
                         options.stack_context};
    if (options.max_jobs && options.initial_jobs > options.max_jobs) {
        *reason = JOBSWITCH_E_INIT_OVER_MAX;
        return false;
    }
    if (!stack_shape_check(shape, reason))
        return false;
    if (options.initial_jobs > arena_blocks_most) {
        *reason = JOBSWITCH_E_NO_HANDLES;
        return false;
    }
    drop_doomed(p);
    if (!p.chunks)
        p.tool = p.locals.tool = tool_set;

    // What is missing comes first: it is all that can fail.
    const bool kept_fp = p.keeps_fp;
    const bool keeps_fp = options.flags & JOBSWITCH_FP_ENVIRONMENT;
    bool reshape = p.opened && (!(shape == p.shape) || keeps_fp != kept_fp);
    size_t kept = reshape ? p.here->live : p.jobs_made;
    size_t missing = options.initial_jobs > kept ? options.initial_jobs - kept : 0;
    job_list made = {};
    p.keeps_fp = keeps_fp; // which they are made for
    bool enough = make_ahead(p, shape, options.flags, missing, made, reason);
    p.keeps_fp = kept_fp;
    if (!enough)
        return false;

    // They are idle now, and in no list: nothing below may count them.
    p.jobs_made -= made.count;
    if (reshape) {
        job_list was_hot = cool_down(p);
        for (job_list *list : {&was_hot, &p.spare, &p.surplus, &p.cold})
            drop(p, *list, list->count);
        mark_live(p, flag_drop);
    }
    p.keeps_fp = keeps_fp;
    p.shape = shape;
    p.max_jobs = options.max_jobs;
    p.initial_jobs = options.initial_jobs;
    p.flags = options.flags;
    p.opened = true;
    if (p.max_jobs && p.jobs_made + made.count > p.max_jobs) {
        size_t over = p.jobs_made + made.count - p.max_jobs;
        job_list was_hot = cool_down(p);
        list_append(was_hot, p.spare);
        p.spare = was_hot;
        for (job_list *list : {&p.cold, &p.surplus, &p.spare}) {
            size_t most = list->count < over ? list->count : over;
            drop(p, *list, most);
            over -= most;
        }
        if (over)
            mark_live(p, flag_drop_over);
    }
    p.jobs_made += made.count;
    // The caller's stacks may be anything but cold: their tops are written.
    if (shape.alloc || (options.flags & JOBSWITCH_PREFAULT)) {
        while (job *j = list_pop(made))
            pool_return(p, *j);
    } else {
        list_append(made, p.cold);
        p.cold = made;
    }
    return true;
}

// ---- closing ---------------------------------------------------------------------

// Before any job is discarded, for destructors look at others'.
static void end_locals(pool &p, job &j)
{
    if (!job_locals(j))
        return;
    calling_scope scope(p);
    local_end(p.locals, job_locals(j));
    job_set_locals(j, 0);
}

static void discard_live(pool &p, job &j)
{
    if (job_is_secret(j))
        return;
    job_release_args(j);
    if (p.tool && p.tool->fiber_destroy)
        p.tool->fiber_destroy(j.fiber);
    if (j.gate & gate_queue)
        wait_take(j.wait);
    wait_end(j.wait, p.waits.descriptors);
    p.here->live--;
    p.discarded++;
}

void pool_tell_end(const pool &p, void *fiber, const stack_range &range)
{
    if (p.tool && p.tool->fiber_destroy)
        p.tool->fiber_destroy(fiber);
    if (p.tool && p.tool->stack_forget)
        p.tool->stack_forget(range.low, range.bytes);
}

void pool_discard(pool &p, job &j)
{
    end_locals(p, j);
    job_release_args(j);
    if (j.timer)
        timer_remove(p.timers, j.timer);
    j.timer = 0;
    pool_tell_end(p, j.fiber, stack_bounds(p.stacks, job_stack_top(j)));
    p.discarded++;
    recycle(p, j);
    drop_doomed(p);
}

// Blocks that have been given back while a waker was late, by all threads: none, as a rule.
static std::atomic<size_t> late_blocks;

// What is late still comes to this record's ring, whoever has the block then.
static void count_late(pool &p)
{
    for (job *j = p.parked.head; j; j = j->next)
        if (wait_is_late(j->wait)) {
            late_blocks++;
            p.late_entries += wait_queued(j->wait);
        }
}

// Of a dead thread the values stay as they are: their destructors want its thread.
static void close(pool &p, bool destroy_values)
{
    p.calling = false;
    // A longjmp may have left a job.
    job_settle();
    p.here->root.child = &p.here->root;
    p.jobs_waiting = 0;
    drop_doomed(p);
    if (destroy_values)
        for_each_job(p, [&p](job &j) { end_locals(p, j); });
    for_each_job(p, [&p](job &j) {
        discard_live(p, j);
        job_drop(p, j);
    });
    stack_source_close(p.stacks);
    ring_empty(p);
    ready_close(p.waits.ready);
    count_late(p);
    timer_close(p.timers);
    local_close(p.locals);
    wait_cache_close(p.waits.descriptors);
    while (arena_chunk *chunk = p.chunks) {
        p.chunks = chunk->next;
        if (p.tool && p.tool->root_remove)
            p.tool->root_remove(chunk, arena_chunk_bytes);
        chunk->owner.store(nullptr, std::memory_order_relaxed);
        arena_give(chunk);
    }
    p.chunks_held = 0;
    p.here->hot = nullptr;
    p.hot_apart = nullptr;
    p.spare = p.surplus = p.cold = p.parked = p.bare = {};
    p.stacks.method = guard_method::none;
    p.here->stack_span = 0;
    p.max_jobs = p.initial_jobs = 0;
    p.flags = 0;
    p.opened = false;
}

void pool_close(pool &p) { close(p, true); }

// ---- threads -----------------------------------------------------------------------

static constinit lock records_guard;
static pool *free_records, *all_records;
static pool *suspect; // where the next search for dead threads' records begins
static pthread_key_t key;
static bool key_made;

static void record_give(pool &p)
{
    lock_scope scope(records_guard);
    p.in_use = false;
    p.next_free = free_records;
    free_records = &p;
}

static void thread_ended(void *record)
{
    pool &p = *static_cast<pool *>(record);
    if (!job_is_none(job_locate()))
        context_unwound(); // the thread ends inside a job
    pool_close(p);
    pool_thread_state.pool = nullptr;
    pool_thread_state.root.link = pool_thread_state.root.child = &pool_nobody.root;
    record_give(p);
}

static int own_thread_id() { return int(syscall(SYS_gettid)); }

// A thread's list of mutexes that are given back when it dies; glibc has one for each. The
// kernel forgets it as the thread ends, before anything else.
static bool robust_list(int thread_id)
{
    void *head;
    size_t bytes;
    return syscall(SYS_get_robust_list, thread_id, &head, &bytes) == 0 && head;
}

// A thread whose very last destructor of thread-specific data used the library has ended
// without thread_ended. Nobody can have its place in memory, or its id, beside it.
static bool is_dead(const pool &p, const pool_thread &here)
{
    if (!p.in_use || p.waits.ready.orphaned)
        return false;
    if (p.here == &here || p.thread_id == own_thread_id())
        return true;
    // The process's first thread keeps its id until the process ends.
    if (p.thread_id == getpid())
        return p.has_robust_list && !robust_list(p.thread_id);
    return syscall(SYS_tgkill, getpid(), p.thread_id, 0) < 0 && errno == ESRCH;
}

// Locked. The record of a dead thread, or NULL. Looks at a few of them each time.
static pool *record_of_the_dead(const pool_thread &here)
{
    constexpr unsigned looks = 4;
    for (pool *p = all_records; p; p = p->next_record)
        if (p->here == &here && is_dead(*p, here))
            return p;
    for (unsigned i = 0; i < looks; i++) {
        if (!suspect && !(suspect = all_records))
            return nullptr;
        pool *p = suspect;
        suspect = p->next_record;
        if (is_dead(*p, here))
            return p;
    }
    return nullptr;
}

static pool *record_make()
{
    void *memory = mmap(nullptr, sizeof(pool), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return nullptr;
    pool *p = static_cast<pool *>(memory);
    p->next_record = all_records;
    std::atomic_signal_fence(std::memory_order_release); // a signal handler may call fork()
    all_records = p;
    return p;
}

static uint32_t low_half(const pool_thread *thread)
{
    return uint32_t(reinterpret_cast<uintptr_t>(thread));
}

// A record for the calling thread, or NULL. had_jobs: it is that of a dead thread, which
// has not been closed.
//
// A key is handle plus root: those of two pools are told apart by the lower half,
// unless the roots lie a multiple of 4 GiB apart, or at the same place (one of a
// thread that a forked child has not got). Then a handle of the one could pass
// for one of the other.
static pool *record_take(pool_thread &here, bool *had_jobs)
{
    lock_scope scope(records_guard);
    pool *p = record_of_the_dead(here);
    *had_jobs = p;
    if (!p && (p = free_records))
        free_records = p->next_free;
    if (!p && !(p = record_make()))
        return nullptr;
    p->keep_out = low_half(&pool_nobody) == low_half(&here);
    for (pool *other = all_records; other; other = other->next_record)
        if (other != p && other->in_use && low_half(other->here) == low_half(&here))
            p->keep_out = true;
    if (p->keep_out) {
        here.arena_first = &pool_nobody.root;
        here.arena_mask = 0;
    }
    // A signal handler may fork between any two of these. The child finds the record by both,
    // and takes it for another thread's until `here` is stored.
    p->here = &here;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    p->in_use = true;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (p->waits.ready.orphaned) // (else late wakers of others may look)
        p->waits.ready.orphaned = false;
    p->has_robust_list = robust_list(0);
    // The id that the child stores must not be overwritten by the parent's.
    int id;
    do {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        id = p->thread_id = own_thread_id();
        std::atomic_signal_fence(std::memory_order_seq_cst);
    } while (own_thread_id() != id);
    return p;
}

// ---- fork ------------------------------------------------------------------------------

// Of the thread that holds tools_guard, which comes first.
static bool forks;
static sigset_t signals_before;
static lock *held_by_another;

// False where the handlers have been registered twice (see fork_handlers), the second time.
static bool is_forking() { return lock_is_own(tools_guard) && forks; }

static void give_locks()
{
    local_fork(lock_after_fork);
    arena_fork(lock_after_fork);
    for (pool *p = all_records; p; p = p->next_record)
        lock_after_fork(p->waits.descriptors.guard);
    lock_after_fork(records_guard);
    lock_after_fork(tools_guard);
}

static void try_lock(lock &l)
{
    if (!held_by_another && !lock_before_fork(l))
        held_by_another = &l;
}

// All of them, or one that another thread holds.
static lock *take_locks()
{
    if (!lock_before_fork(tools_guard))
        return &tools_guard;
    if (!lock_before_fork(records_guard)) {
        lock_after_fork(tools_guard);
        return &records_guard;
    }
    held_by_another = nullptr;
    for (pool *p = all_records; p; p = p->next_record)
        try_lock(p->waits.descriptors.guard);
    arena_fork(try_lock);
    local_fork(try_lock);
    lock *held = held_by_another;
    if (held)
        give_locks();
    return held;
}

// From here on until a child is in order no signal handler comes: it could wake a job by a
// descriptor that is the parent's, or fork() itself. (What the code itself raises does come.)
// But handlers come while a lock is waited for, and no lock is held meanwhile: for whoever
// holds that one may itself be in a handler that waits for this thread, or forks.
static void before_fork()
{
    if (!lock_ever_taken() || is_forking())
        return;
    sigset_t all, before;
    sigfillset(&all);
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
        sigdelset(&all, signal);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (lock *held = take_locks()) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        lock_take(*held);
        lock_drop(*held);
        pthread_sigmask(SIG_SETMASK, &all, nullptr);
    }
    forks = true;
    signals_before = before;
}

static void after_fork()
{
    if (!is_forking())
        return;
    forks = false;
    sigset_t before = signals_before;
    give_locks();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// The blocks that have an entry in a pool's ring. Without memory for a bit each: not known.
struct entry_set {
    size_t bytes = arena_look().bytes / JS_JOB_BYTES / 8 + 1;
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);
    bool known = memory != MAP_FAILED;
    unsigned char *bits = static_cast<unsigned char *>(memory);

    explicit entry_set(const pool *p)
    {
        if (known && p)
            ready_for_each(p->waits.ready, [](uint32_t entry, void *bits) {
                static_cast<unsigned char *>(bits)[entry / 8] |= uint8_t(1u << entry % 8);
            }, bits);
    }
    entry_set(const entry_set &) = delete;
    entry_set &operator=(const entry_set &) = delete;
    ~entry_set()
    {
        if (known)
            munmap(memory, bytes);
    }
    bool has(uint32_t entry) const { return known && (bits[entry / 8] >> entry % 8 & 1); }
};

// Pushes what is marked as queued and has no entry: the waker that was to push it is not in
// the child. (If it is the calling thread, interrupted by a signal handler, there will be
// two entries. The second one finds no wake.)
static void requeue(pool &p, const entry_set &entries)
{
    for (arena_chunk *chunk = p.chunks; chunk; chunk = chunk->next)
        for_each_block(chunk, [&p, &entries](job &j) {
            uint32_t entry = job_entry(j);
            if (wait_queued(j.wait) && !(j.gate & gate_queue) && !entries.has(entry))
                ready_push(p.waits.ready, entry);
        });
}

// The same for what no thread has: who was late is not in the child.
static void release_late(const entry_set &entries)
{
    if (!late_blocks || !entries.known)
        return;
    arena_for_each_free([](arena_chunk *chunk, void *with) {
        for_each_block(chunk, [with](job &j) {
            if (wait_is_late(j.wait))
                wait_abandoned(j.wait, static_cast<const entry_set *>(with)->has(job_entry(j)));
        });
    }, const_cast<entry_set *>(&entries));
}

// In the child, which has the calling thread alone. A signal handler may have called
// fork() at any place here: what this thread is at, it goes on with.
static void forked()
{
    if (!is_forking())
        return;
    event_forked();
    pool *own = nullptr;
    for (pool *p = all_records; p; p = p->next_record) {
        if (!p->in_use) {
            if (!ready_is_clean(p->waits.ready)) { // (else the page stays the parent's)
                wait_owner_forked(p->waits);
                ring_empty(*p);
            }
        } else if (p->here != &pool_thread_state) {
            wait_owner_orphaned(p->waits);
        } else {
            own = p;
            p->thread_id = own_thread_id();
            wait_owner_forked(p->waits);
            for (arena_chunk *chunk = p->chunks; chunk; chunk = chunk->next)
                for_each_block(chunk, [p](job &j) { wait_forked(j.wait, p->waits); });
        }
    }
    const entry_set entries(own);
    if (own)
        requeue(*own, entries);
    release_late(entries);
    // Only now: a handler that comes before this one may have made a thread.
    after_fork();
}

// glibc's pthread_atfork is this, in an object file of its own that carries no mark of
// landing pads. A plugin that has this library inside gives its handle, so that the
// handlers go with it; the shared library, which stays, has none.
#ifdef __GLIBC__
extern "C" int __register_atfork(void (*)(), void (*)(), void (*)(), void *) noexcept;
extern "C" [[gnu::weak, gnu::visibility("hidden")]] void *__dso_handle;
static int register_atfork() { return __register_atfork(before_fork, after_fork, forked, &__dso_handle); }
#else
static int register_atfork() { return pthread_atfork(before_fork, after_fork, forked); }
#endif

// When the library is loaded, if nothing has used it before: so that between the library's
// handlers lies nothing but the fork, and those that the program registers find all in order.
// Two threads may come here at once, where memory was short at that time.
[[gnu::constructor(101)]] static bool fork_handlers()
{
    static std::atomic<bool> registered;
    if (!registered.load(std::memory_order_acquire) && register_atfork() == 0)
        registered.store(true, std::memory_order_release);
    return registered.load(std::memory_order_acquire);
}

// What the process needs once. What fails now may succeed later.
static bool make_key(int *reason)
{
    // Before any lock is taken, for without the handlers a fork now would leave it taken in
    // the child.
    if (!fork_handlers()) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        return false;
    }
    lock_scope scope(records_guard);
    if (key_made)
        return true;
    if (pthread_key_create(&key, thread_ended) != 0) {
        *reason = JOBSWITCH_E_NO_THREAD_KEY;
        return false;
    }
    return key_made = true;
}

pool *pool_here(int *reason)
{
    pool_thread &thread = pool_thread_state;
    if (thread.pool)
        return thread.pool;
    if (context_shadow_stack()) {
        *reason = JOBSWITCH_E_SHADOW_STACK;
        return nullptr;
    }
    pin_own_object(); // before it is called by the thread's end, or by fork()
    if (!make_key(reason))
        return nullptr;
    bool had_jobs;
    pool *p = record_take(thread, &had_jobs);
    if (!p || pthread_setspecific(key, p) != 0) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        if (p && !had_jobs) // else it is still to be closed, next time
            record_give(*p);
        return nullptr;
    }
    thread.root.link = thread.root.child = &thread.root;
    thread.pool = p;
    if (had_jobs)
        close(*p, false);
    p->here->live = p->finished_before = p->discarded = 0;
    p->here->until_review = p->review_period = review_ends;
    p->reviewed_ns = pool_clock_ns();
    p->root_stack_low = p->root_stack_high = 0;
    return p;
}

// ---- looking in, giving back -------------------------------------------------------

size_t pool_trim(pool &p, size_t keep_jobs)
{
    drop_doomed(p);
    job_list was_hot = cool_down(p);
    list_append(was_hot, p.spare);
    list_append(was_hot, p.surplus);
    p.spare = was_hot;
    // The warmest stay: they come first.
    job_list kept = {};
    job **end = &kept.head;
    while (kept.count < keep_jobs && p.spare.head) {
        *end = list_pop(p.spare);
        end = &(*end)->next;
        kept.count++;
    }
    *end = nullptr;
    size_t given = give_back(p, p.spare, p.spare.count);
    p.spare = kept;
    wait_cache_close(p.waits.descriptors);
    return given;
}

void pool_stats(pool &p, jobswitch_stats &stats)
{
    drop_doomed(p);
    size_t running = job_current() ? p.jobs_waiting + 1 : 0;
    stats.jobs_idle = jobs_idle(p);
    stats.jobs_running = running;
    stats.jobs_paused = p.here->live - running;
    stats.jobs_started = finished(p) + p.here->live + p.discarded;
    stats.jobs_finished = finished(p);
    stats.jobs_discarded = p.discarded;
    stats.stacks_mapped = p.jobs_made;
    stats.stack_bytes_resident_max = (p.jobs_made - p.cold.count) * p.here->stack_span;
    stats.descriptors_open = p.waits.descriptors.open + ready_has_descriptor(p.waits.ready);
    stats.guard_method = guard_method_name(p.stacks.method);
}
