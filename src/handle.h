// SPDX-License-Identifier: Apache-2.0
//
// What a handle is made of: where in the arena the job's block lies, and which of the
// block's lives is meant.
//
//      63         32 31          0          31          17 16         0
//      generation    offset        or       generation     number of the block
//
// With 32 bits the generations of a block come round again; see wait.h.
#pragma once

#include <cstdint>

#include "arena.h"
#include "jobswitch/jobswitch.h"
#include "wait.h"

inline constexpr bool handle_is_wide = sizeof(uintptr_t) == 8;
inline constexpr unsigned handle_generation_at = handle_is_wide ? 32 : 17;
static_assert(handle_is_wide || arena_blocks_most <= uintptr_t(1) << handle_generation_at);
static_assert(wait_generation_most <= UINTPTR_MAX >> handle_generation_at);

inline uintptr_t handle_make(uint32_t offset, uint32_t generation)
{
    return uintptr_t(generation) << handle_generation_at |
           (handle_is_wide ? offset : offset / JS_JOB_BYTES);
}

inline uint32_t handle_generation(const jobswitch_job *handle)
{
    return uint32_t(reinterpret_cast<uintptr_t>(handle) >> handle_generation_at);
}

// Of a handle that somebody made up, it may be any.
inline uint32_t handle_offset(const jobswitch_job *handle)
{
    auto low = uint32_t(reinterpret_cast<uintptr_t>(handle));
    return handle_is_wide ? low : (low & ((1u << handle_generation_at) - 1)) * JS_JOB_BYTES;
}
