// SPDX-License-Identifier: Apache-2.0
//
// What the kernel takes of a cold start, each system call by itself, on stacks
// laid out as jobswitch lays out its own.
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "row.h"

namespace {

constexpr Row row_cold_parts = {
    .key = "cold_parts",
    .title = "a cold stack, call by call",
    .group = "cold",
    .unit = "ns a stack",
    .note = "System calls alone, no runtime, for thousands of stacks of 64 KiB with "
            "their guards: one mapping for all or one each; guards by mprotect, by "
            "MADV_GUARD_INSTALL, or by 1,024 of these in one process_madvise; the page "
            "fault of a stack's first page. jobswitch pays mapping-one, guard-batch and "
            "first-touch where the kernel can, and its own work beside them; "
            "a runtime without guards has no such part.",
    .order = 310,
    .reference = "",
    .plausible_max = 1e6,
};

constexpr int ADVICE_GUARD_INSTALL = 102; // MADV_GUARD_INSTALL, Linux 6.13

const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
const size_t stack_bytes = 65536;
// An odd number of pages from stack to stack.
const size_t guard_bytes = std::max<size_t>(16384, page_bytes) +
                           (page_bytes < 16384 ? page_bytes : 0);
constexpr size_t BYTES_PER_STACK = 10000; // that become resident, at most
const size_t stride = stack_bytes + guard_bytes;

// Some emulators answer 0 and do nothing: a system call that writes finds out.
bool guard_install_works()
{
    void *const page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    const bool works = madvise(page, page_bytes, ADVICE_GUARD_INSTALL) == 0 &&
                       getrandom(page, 1, 0) < 0 && errno == EFAULT;
    munmap(page, page_bytes);
    return works;
}

// Whether all of them were guarded.
bool advise_many(unsigned char *from, size_t count)
{
    iovec ranges[1024]; // the most that the kernel takes
    const int self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
    if (self < 0)
        return false;
    bool advised = true;
    while (count > 0 && advised) {
        const size_t now = std::min<size_t>(count, 1024);
        for (size_t i = 0; i < now; i++)
            ranges[i] = {from + i * stride, guard_bytes};
        advised = syscall(SYS_process_madvise, self, ranges, now, ADVICE_GUARD_INSTALL,
                          0) == static_cast<long>(now * guard_bytes);
        from += now * stride;
        count -= now;
    }
    close(self);
    return advised;
}

struct Stacks {
    unsigned char *base = nullptr;
    size_t count;

    explicit Stacks(size_t how_many) : count(how_many) {}
    bool map()
    {
        void *const at = mmap(nullptr, count * stride, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            return false;
        base = static_cast<unsigned char *>(at);
        madvise(base, count * stride, MADV_NOHUGEPAGE);
        return mprotect(base, count * stride, PROT_READ | PROT_WRITE) == 0;
    }
    ~Stacks()
    {
        if (base)
            munmap(base, count * stride);
    }
};

const char *sample_of(Samples &samples, size_t count, uint64_t begin, uint64_t end)
{
    samples.add("time", "", ticks_to_ns(end - begin) / static_cast<double>(count));
    return nullptr;
}

const char *mapping_one(Samples &samples, size_t count)
{
    Stacks stacks(count);
    const uint64_t begin = ticks_now();
    if (!stacks.map())
        return "no mapping to be had";
    return sample_of(samples, count, begin, ticks_now());
}

const char *mapping_each(Samples &samples, size_t count)
{
    std::vector<void *> all(count, nullptr);
    const uint64_t begin = ticks_now();
    for (void *&stack : all) {
        stack = mmap(nullptr, stride, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (stack == MAP_FAILED)
            return "no mapping to be had";
    }
    const uint64_t end = ticks_now();
    for (void *const stack : all)
        munmap(stack, stride);
    return sample_of(samples, count, begin, end);
}

const char *guard_each(Samples &samples, size_t count, bool install)
{
    Stacks stacks(count);
    if (!stacks.map())
        return "no mapping to be had";
    const uint64_t begin = ticks_now();
    for (size_t i = 0; i < count; i++) {
        unsigned char *const guard = stacks.base + i * stride;
        if ((install ? madvise(guard, guard_bytes, ADVICE_GUARD_INSTALL)
                     : mprotect(guard, guard_bytes, PROT_NONE)) != 0)
            return "a guard cannot be had";
    }
    return sample_of(samples, count, begin, ticks_now());
}

const char *guard_batch(Samples &samples, size_t count)
{
    Stacks stacks(count);
    if (!stacks.map())
        return "no mapping to be had";
    const uint64_t begin = ticks_now();
    if (!advise_many(stacks.base, count))
        return "guards cannot be had";
    return sample_of(samples, count, begin, ticks_now());
}

const char *first_touch(Samples &samples, size_t count, bool guarded)
{
    Stacks stacks(count);
    if (!stacks.map())
        return "no mapping to be had";
    for (size_t i = 0; guarded && i < count; i++)
        if (madvise(stacks.base + i * stride, guard_bytes, ADVICE_GUARD_INSTALL) != 0)
            return "a guard cannot be had";
    const uint64_t begin = ticks_now();
    for (size_t i = 1; i <= count; i++)
        *static_cast<volatile unsigned char *>(stacks.base + i * stride - 64) = 1;
    return sample_of(samples, count, begin, ticks_now());
}

void cells(const Scale &scale, std::vector<Cell> &out)
{
    const size_t count = scale.of<size_t>(256, 2048, 4096);
    static const bool install = guard_install_works();
    static const bool batch = [] {
        Stacks one(1);
        return install && one.map() && advise_many(one.base, 1);
    }();
    const auto add = [&](const char *part, auto measure, const char *unavailable = "") {
        Cell cell;
        cell.peer = "kernel";
        cell.params = {{"part", part}};
        cell.unavailable = unavailable;
        cell.sample = [measure, count](Samples &samples) { return measure(samples, count); };
        cell.own_process = true;
        cell.rounds = 1;
        cell.processes = scale.of(1, 3, 0);
        cell.memory_bytes = count * BYTES_PER_STACK;
        out.push_back(std::move(cell));
    };
    const char *const no_install = install ? "" : "this kernel has no MADV_GUARD_INSTALL";
    add("mapping-one", mapping_one);
    add("mapping-each", mapping_each);
    add("guard-mprotect", [](Samples &s, size_t n) { return guard_each(s, n, false); });
    add("guard-install", [](Samples &s, size_t n) { return guard_each(s, n, true); }, no_install);
    add("guard-batch", guard_batch,
        batch ? "" : "this kernel does not install guards by process_madvise");
    add("first-touch", [](Samples &s, size_t n) { return first_touch(s, n, install); });
}

const RowRegister registered(row_cold_parts, cells);

} // namespace
