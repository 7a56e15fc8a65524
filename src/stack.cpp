// SPDX-License-Identifier: Apache-2.0
#include "stack.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "jobswitch/jobswitch.h"
#include "layout.h"
#include "valgrind.h"

// Linux's, for headers that are older.
static constexpr int advice_guard_install = 102; // MADV_GUARD_INSTALL, 6.13
static constexpr int advice_populate_write = 23; // MADV_POPULATE_WRITE, 5.14
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static constexpr size_t colour_bytes = 64;
static constexpr size_t colours = 16;
static constexpr size_t guards_most = 1024; // made at a time
// Ranges in one call: their list lies on a stack that may be a job's.
static constexpr size_t batch_most = 32;
static constexpr size_t slab_stacks_least = 64;
static constexpr size_t slab_stacks_most = 262144;
// Of address space, if it is more than one stack: 1 TiB, or 128 MiB of 32 bits.
static constexpr size_t slab_bytes_most = SIZE_MAX / (sizeof(size_t) == 8 ? 1 << 24 : 1 << 5);
// The kernel writes an entry of its page tables for each page of a guard that is made by
// advice: 2 KiB for this much, with pages of 4 KiB.
static constexpr size_t guard_advised_most = size_t(1) << 20;

// System calls by their numbers, where the C library's function is a cancellation point: a
// thread that has been cancelled would end in it, in the middle of what is done here.

static size_t page_bytes()
{
    static std::atomic<size_t> known;
    size_t bytes = known.load(std::memory_order_relaxed);
    if (bytes == 0)
        known.store(bytes = size_t(sysconf(_SC_PAGESIZE)),
                    std::memory_order_relaxed);
    return bytes;
}

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

const char *guard_method_name(guard_method method)
{
    switch (method) {
    case guard_method::guard_install: return "guard-install";
    case guard_method::prot_none: return "prot-none";
    case guard_method::caller: return "caller";
    case guard_method::none: break;
    }
    return "none";
}

// ---- shapes ----------------------------------------------------------------

// A signal may arrive at any time, and its frame holds all vector registers;
// the rest is room for the arguments, the colour, and whatever the library does
// on a job's stack (start a job and map its stack, end and trim).
#ifdef JS_SWITCH_STACK_BYTES
static constexpr size_t switch_bytes = JS_SWITCH_STACK_BYTES;
#else
static constexpr size_t switch_bytes = 0;
#endif
static size_t stack_bytes_least()
{
    size_t frame = getauxval(AT_MINSIGSTKSZ);
    if (frame < 2048)
        frame = 2048;
    return frame + JS_ENTRY_ARGS_BYTES + colours * colour_bytes + 2048 + switch_bytes;
}

bool stack_shape_check(stack_shape &shape, int *reason)
{
    constexpr size_t most = SIZE_MAX / 4;
    if (shape.stack_bytes > most || shape.guard_bytes > most) {
        *reason = JOBSWITCH_E_SIZE;
        return false;
    }
    if (shape.stack_bytes < stack_bytes_least()) {
        *reason = JOBSWITCH_E_STACK_TOO_SMALL;
        return false;
    }
    if (shape.alloc) {
        shape.guard_bytes = 0; // theirs
    } else {
        shape.stack_bytes = round_up(shape.stack_bytes, page_bytes());
        shape.guard_bytes = round_up(shape.guard_bytes, page_bytes());
        // The odd page goes to the guard.
        if ((shape.stack_bytes + shape.guard_bytes) / page_bytes() % 2 == 0)
            shape.guard_bytes += page_bytes();
    }
    return true;
}

// ---- which guards ------------------------------------------------------------

static std::atomic<guard_method> method_found{guard_method::none};
static std::atomic<size_t> mappings_most;
static std::atomic<size_t> mappings_used;

// Whether advice makes guards, by what it does, not by what it answers: an emulator may say
// yes and do nothing. A system call that writes to a guarded page fails with EFAULT. None:
// this could not be found out now.
static guard_method guard_install_try()
{
    void *page = mmap(nullptr, page_bytes(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (page == MAP_FAILED)
        return guard_method::none;
    munlock(page, page_bytes()); // guards and locked memory exclude each other
    guard_method found = guard_method::none;
    if (madvise(page, page_bytes(), advice_guard_install) != 0) {
        if (errno == EINVAL) // no such advice
            found = guard_method::prot_none;
    } else if (syscall(SYS_getrandom, page, size_t(1), 0) == 1) {
        found = guard_method::prot_none;
    } else if (errno == EFAULT) {
        found = guard_method::guard_install;
    }
    munmap(page, page_bytes());
    return found;
}

static guard_method method_probe()
{
    guard_method method = method_found.load(std::memory_order_relaxed);
    if (method == guard_method::none) {
        int keep = errno;
        method = guard_install_try();
        errno = keep;
        if (method != guard_method::none)
            method_found.store(method, std::memory_order_relaxed);
    }
    // Not known: for this slab what works everywhere, and the next slab tries again.
    return method == guard_method::none ? guard_method::prot_none : method;
}

static guard_method method_for(const stack_shape &shape)
{
    // (A shape's guard may have a page more than was asked for.)
    if (shape.guard_bytes > guard_advised_most + page_bytes())
        return guard_method::prot_none;
    return method_probe();
}

void stack_force_method(guard_method method) { method_found = method; }
void stack_force_mappings(size_t most) { mappings_most = most; }

// A PROT_NONE guard splits its mapping: two for each stack. Half of what the
// system allows is left for everything else in the process, which would fail
// in odd places (malloc, pthread_create) once there are none.
static size_t mappings_budget()
{
    size_t most = mappings_most.load(std::memory_order_relaxed);
    if (most)
        return most;
    auto fd = int(syscall(SYS_openat, AT_FDCWD, "/proc/sys/vm/max_map_count",
                          O_RDONLY | O_CLOEXEC));
    char text[24] = "";
    if (fd >= 0) {
        if (syscall(SYS_read, fd, text, sizeof text - 1) > 0)
            most = strtoul(text, nullptr, 10) / 2;
        syscall(SYS_close, fd);
    }
    if (most == 0)
        return 65530 / 2; // this time: there may be a descriptor, or memory, later
    mappings_most.store(most, std::memory_order_relaxed);
    return most;
}

static bool mappings_reserve(size_t count)
{
    size_t used = mappings_used.load(std::memory_order_relaxed);
    do
        if (used + count > mappings_budget())
            return false;
    while (!mappings_used.compare_exchange_weak(used, used + count));
    return true;
}

// ---- slabs -------------------------------------------------------------------

struct stack_slab {
    stack_slab *next;
    size_t bytes;       // of the whole mapping
    size_t header_bytes;
    size_t stack_bytes; // of each stack
    size_t stride;      // from stack to stack: guard and stack
    size_t stacks;      // room for so many
    size_t guarded;     // of these, from the first: readable, writable, guarded
    size_t fresh;       // never taken, from here to guarded
    size_t free_count;  // taken and given back: set in free_bits
    size_t free_hint;   // no bit is set in words below this
    guard_method method;
    valgrind_stacks tool;

    // Behind the struct: a bit for each stack.
    uint64_t &free_bits(size_t word)
    {
        return reinterpret_cast<uint64_t *>(this + 1)[word];
    }
    unsigned char *low(size_t i)
    {
        return reinterpret_cast<unsigned char *>(this) + header_bytes +
               (i + 1) * stride - stack_bytes;
    }
    void *top(size_t i)
    {
        return low(i) + stack_bytes - i % colours * colour_bytes;
    }
    bool fits(const stack_shape &shape) const
    {
        return stack_bytes == shape.stack_bytes &&
               stride == shape.stack_bytes + shape.guard_bytes;
    }
};

static size_t header_bytes_for(size_t stacks)
{
    return round_up(sizeof(stack_slab) + (stacks + 63) / 64 * sizeof(uint64_t),
                    page_bytes());
}

// Only reserved: neither populated where memory is locked on arrival, nor
// counted where it is promised strictly.
static stack_slab *slab_reserve(size_t stacks, const stack_shape &shape)
{
    size_t stride = shape.stack_bytes + shape.guard_bytes;
    size_t header = header_bytes_for(stacks);
    if (stacks > (SIZE_MAX / 2 - header) / stride)
        return nullptr;
    size_t bytes = header + stacks * stride;
    void *base = mmap(nullptr, bytes, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return nullptr;
    munlock(base, bytes);
    madvise(base, bytes, MADV_NOHUGEPAGE); // before the guards, or it splits
    if (mprotect(base, header, PROT_READ | PROT_WRITE) != 0) {
        munmap(base, bytes);
        return nullptr;
    }
    auto slab = static_cast<stack_slab *>(base);
    slab->bytes = bytes;
    slab->header_bytes = header;
    slab->stack_bytes = shape.stack_bytes;
    slab->stride = stride;
    slab->stacks = stacks;
    slab->method = method_for(shape);
    return slab;
}

// As large as all slabs so far, so that they stay few; as small as one stack
// where that is large or address space is short.
static stack_slab *slab_add(stack_source &source, const stack_shape &shape)
{
    size_t stacks = source.slab_stacks;
    if (stacks < slab_stacks_least)
        stacks = slab_stacks_least;
    if (stacks > slab_stacks_most)
        stacks = slab_stacks_most;
    size_t fit = slab_bytes_most / (shape.stack_bytes + shape.guard_bytes);
    if (stacks > fit)
        stacks = fit ? fit : 1;
    for (; stacks > 0; stacks /= 2) {
        stack_slab *slab = slab_reserve(stacks, shape);
        if (!slab)
            continue;
        slab->next = source.slabs;
        source.slabs = slab;
        source.slab_stacks += stacks;
        return slab;
    }
    return nullptr;
}

// Advice for many ranges at once, to ourselves; where the kernel does not
// know that, one by one.
class adviser {
public:
    adviser() = default;
    adviser(const adviser &) = delete;
    adviser &operator=(const adviser &) = delete;
    ~adviser()
    {
        if (self >= 0)
            syscall(SYS_close, self);
    }
    bool advise(const iovec *ranges, size_t count, int advice)
    {
        if (count > few && advise_at_once(ranges, count, advice))
            return true;
        for (size_t i = 0; i < count; i++)
            if (madvise(ranges[i].iov_base, ranges[i].iov_len, advice) != 0)
                return false;
        return true;
    }

private:
    static constexpr size_t few = 4; // for which a descriptor does not pay
    int self = -1; // a descriptor of this process, once it is needed

    bool advise_at_once(const iovec *ranges, size_t count, int advice)
    {
        static std::atomic<bool> missing{valgrind_build};
        if (missing.load(std::memory_order_relaxed))
            return false;
        if (self < 0)
            self = int(syscall(SYS_pidfd_open, getpid(), 0));
        long advised = self < 0 ? -1
                                : syscall(SYS_process_madvise, self, ranges, count,
                                          advice, 0);
        if (advised < 0) {
            if (errno == ENOSYS || (self >= 0 && errno == EPERM))
                missing = true;
            return false;
        }
        size_t bytes = 0;
        for (size_t i = 0; i < count; i++)
            bytes += ranges[i].iov_len;
        return size_t(advised) == bytes;
    }
};

static bool install_guards(stack_slab *slab, unsigned char *from, size_t count)
{
    adviser kernel;
    iovec guards[batch_most];
    size_t guard_bytes = slab->stride - slab->stack_bytes;
    while (count) {
        size_t filled = 0;
        for (; filled < batch_most && filled < count; filled++)
            guards[filled] = {from + filled * slab->stride, guard_bytes};
        if (!kernel.advise(guards, filled, advice_guard_install))
            return false;
        from += filled * slab->stride;
        count -= filled;
    }
    return true;
}

static bool guard_by_advice(stack_slab *slab, size_t first, size_t count)
{
    unsigned char *from = slab->low(first) + slab->stack_bytes - slab->stride;
    if (mprotect(from, count * slab->stride, PROT_READ | PROT_WRITE) != 0)
        return false;
    if (install_guards(slab, from, count))
        return true;
    // Locked meanwhile? Once more without.
    munlock(from, count * slab->stride);
    if (install_guards(slab, from, count))
        return true;
    mprotect(from, count * slab->stride, PROT_NONE);
    return false;
}

static bool guard_by_protection(stack_slab *slab, size_t first, size_t count,
                                int *reason)
{
    if (!mappings_reserve(2 * count)) {
        *reason = JOBSWITCH_E_NO_MAPPINGS;
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (mprotect(slab->low(first + i), slab->stack_bytes,
                     PROT_READ | PROT_WRITE) != 0) {
            *reason = errno == ENOMEM ? JOBSWITCH_E_NO_MAPPINGS
                                      : JOBSWITCH_E_NO_MEMORY;
            mprotect(slab->low(first), i * slab->stride, PROT_NONE);
            mappings_used -= 2 * count;
            return false;
        }
    return true;
}

// Makes more of the slab's stacks usable: as many as there are already, so
// that the first costs little and the thousandth comes in a batch.
static bool slab_guard_more(stack_slab *slab, int *reason)
{
    size_t first = slab->guarded;
    size_t count = first < 8 ? 8 : first;
    if (count > guards_most)
        count = guards_most;
    if (count > slab->stacks - first)
        count = slab->stacks - first;
    *reason = JOBSWITCH_E_NO_MEMORY;
    for (; count > 0; count /= 2) {
        bool done = slab->method == guard_method::guard_install
                        ? guard_by_advice(slab, first, count)
                        : guard_by_protection(slab, first, count, reason);
        if (!done)
            continue;
        slab->guarded += count;
        for (size_t i = 0; i < count; i++)
            valgrind_stack_made(slab->tool, slab->low(first + i),
                                slab->stack_bytes,
                                slab->stride - slab->stack_bytes);
        return true;
    }
    return false;
}

static void *slab_take_freed(stack_slab *slab)
{
    size_t word = slab->free_hint;
    while (slab->free_bits(word) == 0)
        word++;
    // (The compiler's count of zeroes is a call where the CPU cannot count.)
    size_t bit = 0;
    while (!(slab->free_bits(word) >> bit & 1))
        bit++;
    slab->free_bits(word) &= slab->free_bits(word) - 1;
    slab->free_hint = word;
    slab->free_count--;
    return slab->top(word * 64 + bit);
}

static void *slab_stack_take(stack_source &source, const stack_shape &shape,
                             int *reason)
{
    stack_slab *room = nullptr;
    for (stack_slab *slab = source.slabs; slab; slab = slab->next) {
        if (!slab->fits(shape))
            continue;
        if (slab->free_count)
            return slab_take_freed(slab);
        if (slab->fresh < slab->guarded)
            return slab->top(slab->fresh++);
        if (slab->guarded < slab->stacks && !room)
            room = slab;
    }
    if (!room && !(room = slab_add(source, shape))) {
        *reason = JOBSWITCH_E_NO_MEMORY;
        return nullptr;
    }
    source.method = room->method;
    if (!slab_guard_more(room, reason))
        return nullptr;
    return room->top(room->fresh++);
}

static stack_slab *slab_of(const stack_source &source, void *top)
{
    auto p = static_cast<unsigned char *>(top);
    for (stack_slab *slab = source.slabs; slab; slab = slab->next) {
        auto base = reinterpret_cast<unsigned char *>(slab);
        if (p > base && p <= base + slab->bytes)
            return slab;
    }
    return nullptr;
}

static size_t slab_index(stack_slab *slab, void *top)
{
    auto end = static_cast<unsigned char *>(top) + (colours - 1) * colour_bytes;
    return size_t(end - slab->low(0) - slab->stack_bytes) / slab->stride;
}

// ---- the caller's stacks -------------------------------------------------------

// Lies above the top of a stack that came from the caller.
struct caller_stack {
    void *low;
    size_t bytes;
    void (*free)(void *stack, size_t bytes, void *context);
    void *context;
};
static_assert(sizeof(caller_stack) <= 64);

static void *caller_stack_take(stack_source &source, const stack_shape &shape,
                               int *reason)
{
    void *low = shape.alloc(shape.stack_bytes, shape.context);
    if (!low) {
        *reason = JOBSWITCH_E_NO_STACK;
        return nullptr;
    }
    auto end = reinterpret_cast<uintptr_t>(low) + shape.stack_bytes;
    void *top = reinterpret_cast<void *>((end - sizeof(caller_stack)) & ~uintptr_t(63));
    *static_cast<caller_stack *>(top) = {low, shape.stack_bytes, shape.free,
                                         shape.context};
    source.method = guard_method::caller;
    return top;
}

// ---- the source ----------------------------------------------------------------

void *stack_take(stack_source &source, const stack_shape &shape, int *reason)
{
    return shape.alloc ? caller_stack_take(source, shape, reason)
                       : slab_stack_take(source, shape, reason);
}

void stack_give(stack_source &source, void *top)
{
    stack_slab *slab = slab_of(source, top);
    if (!slab) {
        caller_stack stack = *static_cast<caller_stack *>(top);
        stack.free(stack.low, stack.bytes, stack.context);
        return;
    }
    size_t i = slab_index(slab, top);
    slab->free_bits(i / 64) |= uint64_t(1) << i % 64;
    slab->free_count++;
    if (i / 64 < slab->free_hint)
        slab->free_hint = i / 64;
}

stack_range stack_bounds(const stack_source &source, void *top)
{
    if (stack_slab *slab = slab_of(source, top))
        return {slab->low(slab_index(slab, top)), slab->stack_bytes};
    auto stack = static_cast<caller_stack *>(top);
    return {static_cast<unsigned char *>(stack->low), stack->bytes};
}

// The program has locked all it had (mlockall).
static void discard_locked(iovec *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        munlock(ranges[i].iov_base, ranges[i].iov_len);
        madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED);
    }
}

void stack_discard(const stack_source &source, void *const *tops, size_t count)
{
    adviser kernel;
    iovec ranges[batch_most];
    size_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (slab_of(source, tops[i])) {
            stack_range range = stack_bounds(source, tops[i]);
            ranges[filled++] = {range.low, range.bytes};
        }
        if (filled == batch_most || (filled && i + 1 == count)) {
            if (!kernel.advise(ranges, filled, MADV_DONTNEED))
                discard_locked(ranges, filled);
            filled = 0;
        }
    }
}

void stack_prefault(const stack_source &source, void *top)
{
    stack_range range = stack_bounds(source, top);
    if (slab_of(source, top) &&
        madvise(range.low, range.bytes, advice_populate_write) == 0)
        return;
    for (size_t at = 0; at < range.bytes; at += page_bytes())
        if (range.low + at < static_cast<unsigned char *>(top))
            static_cast<volatile unsigned char *>(range.low)[at] = 0;
}

void stack_source_close(stack_source &source)
{
    while (stack_slab *slab = source.slabs) {
        source.slabs = slab->next;
        if (slab->method == guard_method::prot_none)
            mappings_used -= 2 * slab->guarded;
        valgrind_stacks_gone(slab->tool);
        munmap(slab, slab->bytes);
    }
    source.slab_stacks = 0;
}
