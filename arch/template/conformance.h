/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU: what test/conformance_test.cpp knows of this CPU; what each name is
 * for, and how the words of a call lie, is said there. For that test alone.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

/* Leave it out at first: all but the rows is tested then. */
#define JS_CONFORMANCE_TRAPS 1

#include <cstdint>
#include <elf.h>
#include <ucontext.h>

namespace cpu {

/* DOCUMENT, SECTION: the stack pointer besides. Write it from the document, not from
 * context.S: what is forgotten in both is found by nobody. */
struct saved_register {
    const char *name;
    uint64_t bits; /* that are preserved */
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"s0", ~uint64_t(0), 0},
};

inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 0;
inline constexpr unsigned first_frame_bytes = 16;

inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* Without what arithmetic sets. */
inline uint64_t fp_control();
inline void set_fp_control(uint64_t value);
inline constexpr uint64_t fp_controls[] = {0};

inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

inline constexpr unsigned dwarf_sp = 0, dwarf_ra = 0;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = false;
inline constexpr unsigned char trap[4] = {0};
inline unsigned instruction_bytes(const unsigned char *) { return 4; }
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c);
inline void set_program_counter(ucontext_t &c, uintptr_t pc);
inline void get_registers(const ucontext_t &c, row_registers &to);
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return value; }

} // namespace cpu

/* conformance_call(call *c): offsets of a call's words are 0 target, 8 to 40 args, 48 and
 * 56 result, 64 sp, 72 sp_after, 80 flags, 88 home, 96 noise, 104 before[], and behind
 * that after[].
 *
 *  1. save all that is preserved on this stack; home = the stack pointer
 *  2. noise in all registers that are nobody's; before[] in those that are preserved
 *  3. the stack pointer = sp; args in place; call target
 *  4. find the call by conformance_now, with registers that are nobody's; store sp_after,
 *     result, flags, after[]
 *  5. the stack pointer = home of that call; restore; return */
asm(R"(
        .pushsection .text
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, %function
conformance_call:
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, %function
conformance_entry:
        .size   conformance_entry, . - conformance_entry
        .popsection
)");

#endif
