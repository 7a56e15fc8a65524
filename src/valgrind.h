// SPDX-License-Identifier: Apache-2.0
//
// Stacks announced to Valgrind, in a build that asks for it (MODE=valgrind);
// empty otherwise. Knows no jobs.
#pragma once

#include <cstddef>

#ifdef JOBSWITCH_VALGRIND

#include <cstdlib>
#include <valgrind/memcheck.h>

inline constexpr bool valgrind_build = true;

// The numbers by which Valgrind knows the stacks of a slab.
struct valgrind_stacks {
    unsigned *ids;
    size_t count;
};

// Valgrind takes a guard for memory that can be read, and its leak check, which
// looks for pointers there, would meet a fault in every word.
inline void valgrind_stack_made(valgrind_stacks &stacks, unsigned char *low,
                                size_t bytes, size_t guard_bytes)
{
    (void)VALGRIND_MAKE_MEM_NOACCESS(low - guard_bytes, guard_bytes);
    stacks.ids = static_cast<unsigned *>(
        realloc(stacks.ids, (stacks.count + 1) * sizeof(unsigned)));
    stacks.ids[stacks.count++] = unsigned(VALGRIND_STACK_REGISTER(low, low + bytes - 1));
}

inline void valgrind_stacks_gone(valgrind_stacks &stacks)
{
    for (size_t i = 0; i < stacks.count; i++)
        VALGRIND_STACK_DEREGISTER(stacks.ids[i]);
    free(stacks.ids);
}

// Frames of a job that has ended leave the stack marked as unaddressable.
inline void valgrind_stack_reused(void *low, size_t bytes)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(low, bytes);
}

#else

inline constexpr bool valgrind_build = false;

struct valgrind_stacks {};
inline void valgrind_stack_made(valgrind_stacks &, unsigned char *, size_t, size_t) {}
inline void valgrind_stacks_gone(valgrind_stacks &) {}
inline void valgrind_stack_reused(void *, size_t) {}

#endif
