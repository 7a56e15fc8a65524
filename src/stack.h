// SPDX-License-Identifier: Apache-2.0
//
// Guarded stacks. Knows no jobs. A source belongs to one thread and deals in
// stacks by their top: the address below which frames go, coloured and a
// multiple of 64.
//
// A slab is one mapping of many stacks, each with its guard below it:
//
//      +---------+-------+----------------+-------+----------------+----
//      | header  | guard | stack 0        | guard | stack 1        | ...
//      +---------+-------+----------------+-------+----------------+----
//                        ^ low        top ^
//
// From stack to stack it is an odd number of pages, and tops lie 0 to 15 cache
// lines below the end: stacks at equal distances would share few cache sets
// (measured: 25 to 30 % and up to 2.5 times at 30,000 stacks).
#pragma once

#include <cstddef>
#include <cstdint>

// guard_install: by advice, where the kernel knows that, and up to 1 MiB; else prot_none, by
// protection. The one takes page tables for the whole guard, the other two mappings a stack.
enum class guard_method { none, guard_install, prot_none, caller };

const char *guard_method_name(guard_method method);

// What a stack is to be like; the sizes in whole pages, but for those of the
// caller's own stacks.
struct stack_shape {
    size_t stack_bytes;
    size_t guard_bytes;
    void *(*alloc)(size_t bytes, void *context); // both or neither
    void (*free)(void *stack, size_t bytes, void *context);
    void *context;

    bool operator==(const stack_shape &) const = default;
};

// Rounds the sizes; false with a reason (JOBSWITCH_E_SIZE, _STACK_TOO_SMALL).
bool stack_shape_check(stack_shape &shape, int *reason);

struct stack_slab;

struct stack_source {
    stack_slab *slabs; // the newest first
    size_t slab_stacks; // stacks that the slabs have room for
    guard_method method; // of the latest stack
};

// A stack of this shape, its memory untouched or given back before. NULL with
// a reason (JOBSWITCH_E_NO_MEMORY, _NO_MAPPINGS, _NO_STACK).
void *stack_take(stack_source &source, const stack_shape &shape, int *reason);

// It may be taken again; its memory stays until stack_discard. A stack of the
// caller's goes to the caller's free.
void stack_give(stack_source &source, void *top);

// The bounds of the stack with this top.
struct stack_range {
    unsigned char *low;
    size_t bytes;
};
stack_range stack_bounds(const stack_source &source, void *top);

// Gives back the memory of idle stacks, in batches. Those of the caller's are
// left alone.
void stack_discard(const stack_source &source, void *const *tops, size_t count);

// Touches the whole stack.
void stack_prefault(const stack_source &source, void *top);

// Unmaps all slabs.
void stack_source_close(stack_source &source);

// For tests: use this method instead of what the probe finds; none: probe.
void stack_force_method(guard_method method);
// For tests: so many mappings may guards take; 0: half of the system's limit.
void stack_force_mappings(size_t most);
