// SPDX-License-Identifier: Apache-2.0
//
// What a crowd costs without any switch: a line on each job's stack is read and
// written.
#include "crowd_cells.h"

#include <memory>
#include <sys/mman.h>

namespace {

// A stack of 64 KiB and a guard of five pages: an odd number, for all sets of the TLB.
constexpr size_t STRIDE_BYTES = 84 * 1024;

class Lines {
public:
    Lines(bool random, bool prefetch) : random(random), prefetch(prefetch) {}

    const char *make(size_t count)
    {
        bytes = count * STRIDE_BYTES;
        memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return "no memory can be had";
        madvise(memory, bytes, MADV_NOHUGEPAGE);
        auto *const end = static_cast<unsigned char *>(memory) + STRIDE_BYTES;
        for (size_t i = 0; i < count; i++) // tops in different sets of the caches
            lines.push_back(reinterpret_cast<volatile uint64_t *>(
                end + i * STRIDE_BYTES - 512 - i % 16 * 64));
        for (volatile uint64_t *const line : lines)
            *line = 0;
        lines.resize(count + CROWD_AHEAD, lines[0]);
        return nullptr;
    }
    Batch run(uint64_t operations)
    {
        const size_t size = lines.size() - CROWD_AHEAD;
        const uint64_t count = operations / size;
        if (random)
            crowd_shuffle(lines.data(), size, seed);
        const uint64_t begin = ticks_now();
        (prefetch ? visit<true> : visit<false>)(lines.data(), lines.data() + size, count);
        const uint64_t end = ticks_now();
        passes += count;
        return {end - begin, nullptr};
    }
    const char *unmake()
    {
        lines.resize(lines.size() - CROWD_AHEAD);
        bool touched = true;
        for (volatile uint64_t *const line : lines)
            touched = touched && *line == passes;
        lines.clear();
        munmap(memory, bytes);
        return touched ? nullptr : "a line was not touched once in every pass";
    }

private:
    const bool random, prefetch;
    void *memory = nullptr;
    size_t bytes = 0;
    uint64_t passes = 0, seed = 1;
    std::vector<volatile uint64_t *> lines; // in the order of the visits

    template <bool PREFETCH>
    BENCH_LOOP static void visit(volatile uint64_t *const *begin,
                                 volatile uint64_t *const *end, uint64_t count)
    {
        for (; count > 0; count--)
            for (auto line = begin; line != end; line++) {
                if (PREFETCH)
                    __builtin_prefetch(const_cast<uint64_t *>(line[CROWD_AHEAD]));
                **line = **line + 1;
            }
    }
};

void cells(const Scale &scale, std::vector<Cell> &out)
{
    crowd_cells(scale, [&](const Cell &crowd, size_t count, bool random) {
        for (const bool prefetch : {false, true}) {
            if (prefetch && count < 1000)
                continue;
            Cell cell = crowd;
            cell.peer = "floor";
            if (prefetch)
                cell.params.emplace_back("prefetch", "yes");
            const auto lines = std::make_shared<Lines>(random, prefetch);
            cell.open = [lines, count] { return lines->make(count); };
            cell.run = [lines](uint64_t operations) { return lines->run(operations); };
            cell.close = [lines] { return lines->unmake(); };
            out.push_back(std::move(cell));
        }
    });
}

const RowRegister registered(row_crowd, cells);

} // namespace
