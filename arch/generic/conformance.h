/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any CPU: what test/conformance_test.cpp can know of it; what each name is for, and how
 * the words of a call lie, is said there. For that test alone. Which registers are
 * preserved is not to be seen without knowing the CPU; where control goes is.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

#include <cstdint>

#include "context.h"

namespace cpu {

struct saved_register {
    const char *name;
    uint64_t bits;
};
inline constexpr saved_register saved[] = {{"no register", 0}};

inline constexpr unsigned entry_alignment = 1;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = JS_SWITCH_STACK_BYTES;
inline constexpr unsigned callee_area_bytes = 0;
inline constexpr unsigned first_frame_bytes = 0;

inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

inline uint64_t fp_control() { return 0; }
inline void set_fp_control(uint64_t) {}
inline constexpr uint64_t fp_controls[] = {0};

inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

} // namespace cpu

struct call;
extern "C" {
[[gnu::visibility("hidden")]] extern uint64_t conformance_seen[3];
int conformance_entered(void *);

/* On the caller's own stack, below where the call says it is made. */
[[gnu::visibility("hidden"), gnu::noinline]] void conformance_call(call *c)
{
    auto words = reinterpret_cast<uint64_t *>(c);
    auto target = reinterpret_cast<void *>(uintptr_t(words[0]));
    uintptr_t args[5];
    for (unsigned i = 0; i < 5; i++)
        args[i] = uintptr_t(words[1 + i]);
    if (target == reinterpret_cast<void *>(&context_switch)) {
        transfer got = context_switch(reinterpret_cast<context *>(args[0]),
                                      reinterpret_cast<context *>(args[1]), {args[2], args[3]});
        words[6] = got.answer;
        words[7] = got.payload;
    } else {
        words[6] = reinterpret_cast<uintptr_t (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t,
                                                  uintptr_t)>(target)(args[0], args[1], args[2],
                                                                      args[3], args[4]);
    }
    words[9] = words[8]; /* the stack pointer, which the compiler looks after */
    words[10] = 0;
}

[[gnu::visibility("hidden")]] int conformance_entry(void *arg)
{
    conformance_seen[0] = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    conformance_seen[1] = conformance_seen[2] = 0;
    return conformance_entered(arg);
}
}

#endif
