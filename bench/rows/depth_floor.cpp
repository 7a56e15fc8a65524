// SPDX-License-Identifier: Apache-2.0
//
// The calls of the depth rows alone: one side's frames, then the other's.
#include "frames.h"

namespace {

template <bool> struct Leaf {
    static inline uint32_t called = 0;
    BENCH_INLINE static int call()
    {
        called++;
        return 1;
    }
};

template <int RESUME_FRAMES, int PAUSE_FRAMES> BENCH_LOOP Batch run(uint64_t operations)
{
    const uint32_t called_before = Leaf<true>::called;
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        if (Frames<Leaf<false>, RESUME_FRAMES>::call() != 1 + frames_sum(RESUME_FRAMES) ||
            Frames<Leaf<true>, PAUSE_FRAMES>::call() != 1 + frames_sum(PAUSE_FRAMES))
            return {0, "the frames were not returned through"};
        __asm__ volatile("" ::: "memory");
    }
    const uint64_t end = ticks_now();
    if (Leaf<true>::called - called_before != static_cast<uint32_t>(operations))
        return {0, "the frames were not called"};
    return {end - begin, nullptr};
}

void cells(const Scale &scale, std::vector<Cell> &out)
{
    frames_depths(scale, [&]<int RESUME_FRAMES, int PAUSE_FRAMES>() {
        Cell cell;
        cell.peer = "floor";
        cell.params = frames_params(RESUME_FRAMES, PAUSE_FRAMES);
        cell.run = run<RESUME_FRAMES, PAUSE_FRAMES>;
        out.push_back(std::move(cell));
    });
}

const RowRegister registered(row_depth, cells);

} // namespace
