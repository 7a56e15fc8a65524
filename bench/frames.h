// SPDX-License-Identifier: Apache-2.0
//
// A call through so many distinct frames, with work after each return.
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include "row.h"

// Leaf::call(args...) is inlined into the last frame, or into the caller where
// there is none. Each frame adds its number to what the leaf gives.
template <typename Leaf, int FRAMES, typename... Args> struct Frames {
    __attribute__((noinline)) static int frame(Args... args)
    {
        int sum = Frames<Leaf, FRAMES - 1, Args...>::call(args...);
        __asm__ volatile("" : "+r"(sum));
        return sum + FRAMES;
    }
    BENCH_INLINE static int call(Args... args) { return frame(args...); }
};
template <typename Leaf, typename... Args> struct Frames<Leaf, 0, Args...> {
    BENCH_INLINE static int call(Args... args) { return Leaf::call(args...); }
};

constexpr int frames_sum(int frames) { return frames * (frames + 1) / 2; }

// Calls cell.template operator()<RESUME_FRAMES, PAUSE_FRAMES>() for each depth.
template <typename F> void frames_depths(const Scale &scale, F cell)
{
    cell.template operator()<0, 0>();
    cell.template operator()<8, 0>();
    cell.template operator()<0, 8>();
    cell.template operator()<8, 8>();
    if (scale.mode != Mode::FULL)
        return;
    cell.template operator()<1, 0>();
    cell.template operator()<4, 0>();
    cell.template operator()<0, 1>();
    cell.template operator()<1, 1>();
    cell.template operator()<4, 1>();
    cell.template operator()<8, 1>();
    cell.template operator()<0, 4>();
    cell.template operator()<1, 4>();
    cell.template operator()<4, 4>();
    cell.template operator()<8, 4>();
    cell.template operator()<1, 8>();
    cell.template operator()<4, 8>();
}

inline Params frames_params(int resume_frames, int pause_frames)
{
    return {{"resume_frames", std::to_string(resume_frames)},
            {"pause_frames", std::to_string(pause_frames)}};
}

constexpr Row row_depth = {
    .key = "depth",
    .title = "pause+resume, from some frames deep",
    .group = "depth",
    .unit = "ns a round trip (2 switches)",
    .note = "Each round trip calls down so many frames, resumes there and returns "
            "through them; so does the job with its pause. Returns after a switch are "
            "where the predictor is wrong. The floor is the calls alone, with no switch.",
    .order = 130,
};

#endif
