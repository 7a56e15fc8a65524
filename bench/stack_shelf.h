// SPDX-License-Identifier: Apache-2.0
//
// Stacks for peers that bring none: 64 KiB each, without a guard, from a free
// list whose head is the one last given back. So such a peer's start from a warm
// pool costs what the peer itself needs, and a few instructions.
#ifndef BENCH_STACK_SHELF_H
#define BENCH_STACK_SHELF_H

#include <sys/mman.h>

#include <cstddef>
#include <vector>

#include "row.h" // BENCH_INLINE

namespace {

constexpr size_t SHELF_STACK_BYTES = 64 << 10;

// Job has members `char *stack` (its low end) and `Job *next`.
template <typename Job> class StackShelf {
public:
    // Reserves memory for so many more at once; false: there is none.
    bool reserve(size_t count)
    {
        void *const low = mmap(nullptr, count * SHELF_STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (low == MAP_FAILED)
            return false;
        Job *const jobs = new Job[count]();
        slabs.push_back({static_cast<char *>(low), jobs, count});
        for (size_t i = count; i-- > 0;) {
            jobs[i].stack = slabs.back().low + i * SHELF_STACK_BYTES;
            give(&jobs[i]);
        }
        return true;
    }
    // NULL: no memory.
    BENCH_INLINE Job *take()
    {
        if (!free && !reserve(slabs.empty() ? 16 : 1024))
            return nullptr;
        Job *const job = free;
        free = job->next;
        return job;
    }
    BENCH_INLINE void give(Job *job)
    {
        job->next = free;
        free = job;
    }
    // All of them, also what was not given back.
    void clear()
    {
        for (const Slab &slab : slabs) {
            munmap(slab.low, slab.count * SHELF_STACK_BYTES);
            delete[] slab.jobs;
        }
        slabs.clear();
        free = nullptr;
    }

private:
    struct Slab {
        char *low;
        Job *jobs;
        size_t count;
    };
    Job *free = nullptr;
    std::vector<Slab> slabs;
};

} // namespace

#endif
