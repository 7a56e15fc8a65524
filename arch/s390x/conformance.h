/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s390x: what test/conformance_test.cpp knows of this CPU; what each name is
 * for, and how the words of a call lie, is said there. For that test alone.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

#define JS_CONFORMANCE_TRAPS 1

#include <cstdint>
#include <elf.h>
#include <ucontext.h>

namespace cpu {

/* s390x ABI, 1.2.2.1: r15 besides. r6 is also the fifth argument. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"r6", ~uint64_t(0), 6}, {"r7", ~uint64_t(0), 7}, {"r8", ~uint64_t(0), 8},
    {"r9", ~uint64_t(0), 9}, {"r10", ~uint64_t(0), 10}, {"r11", ~uint64_t(0), 11},
    {"r12", ~uint64_t(0), 12}, {"r13", ~uint64_t(0), 13}, {"f8", ~uint64_t(0), 24},
    {"f9", ~uint64_t(0), 28}, {"f10", ~uint64_t(0), 25}, {"f11", ~uint64_t(0), 29},
    {"f12", ~uint64_t(0), 26}, {"f13", ~uint64_t(0), 30}, {"f14", ~uint64_t(0), 27},
    {"f15", ~uint64_t(0), 31},
};

/* 1.2.2: a multiple of 8; the return address is in a register, and 160 bytes from the
 * stack pointer on are for the function that is called. */
inline constexpr unsigned entry_alignment = 8;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 160;
inline constexpr unsigned first_frame_bytes = 176;

/* The condition code is nobody's at calls and returns. */
inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* The FPC: the ways to round, and masks of exceptions (Principles of Operation, chapter
 * 9). */
inline uint64_t fp_control()
{
    uint32_t value;
    asm volatile("stfpc %0" : "=Q"(value));
    return value & 0xf8000007;
}
inline void set_fp_control(uint64_t value)
{
    uint32_t word = uint32_t(value);
    asm volatile("lfpc %0" : : "Q"(word));
}
inline constexpr uint64_t fp_controls[] = {0, 1, 2, 3, 0x80000000, 0x40000003};

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }


/* 1.2.2.1: r0 to r15 are 0 to 15; f0, f2, f4, f6, f1, f3, f5, f7 are 16 to 23, and so on. */
inline constexpr unsigned dwarf_sp = 15, dwarf_ra = 14;
inline constexpr bool sp_is_cfa = false; /* a rule as any register's */
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = true;
inline constexpr unsigned char trap[2] = {0x00, 0x01};
/* Principles of Operation, 5: the first two bits tell. */
inline unsigned instruction_bytes(const unsigned char *code)
{
    return *code < 0x40 ? 2 : *code < 0xc0 ? 4 : 6;
}
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c) { return c.uc_mcontext.psw.addr; }
inline void set_program_counter(ucontext_t &c, uintptr_t pc) { c.uc_mcontext.psw.addr = pc; }
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned place = 16 + i / 8 * 8 + i % 8 / 2 + i % 2 * 4;
        to.value[i] = c.uc_mcontext.gregs[i];
        memcpy(&to.value[place], &c.uc_mcontext.fpregs.fprs[i], 8);
    }
}
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return value; }

} // namespace cpu

/* context_switch has its words behind pointers: args[2] and args[3] of the call are what
 * is sent, and result is where its result goes. */
asm(R"(
        .pushsection .text
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, @function
conformance_call:
        .cfi_startproc
        stmg    %r6, %r15, 48(%r15)
        .cfi_offset 6, -112
        .cfi_offset 7, -104
        .cfi_offset 8, -96
        .cfi_offset 9, -88
        .cfi_offset 10, -80
        .cfi_offset 11, -72
        .cfi_offset 12, -64
        .cfi_offset 13, -56
        .cfi_offset 14, -48
        .cfi_offset 15, -40
        aghi    %r15, -224
        .cfi_adjust_cfa_offset 224
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        std     %f\n, 160 + 8 * (\n - 8)(%r15)
        .endr
        .cfi_offset 24, -224
        .cfi_offset 28, -216
        .cfi_offset 25, -208
        .cfi_offset 29, -200
        .cfi_offset 26, -192
        .cfi_offset 30, -184
        .cfi_offset 27, -176
        .cfi_offset 31, -168
        stg     %r15, 88(%r2)
        lg      %r0, 96(%r2)            # noise, for all that is nobody's
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        ldgr    %f\n, %r0
        .endr
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        ld      %f\n, 168 + 8 * (\n - 8)(%r2)
        .endr
        lmg     %r6, %r13, 104(%r2)
        lg      %r14, 40(%r2)
        ltgr    %r14, %r14
        je      1f
        lgr     %r6, %r14               # a fifth argument
        stg     %r14, 104(%r2)
1:      lg      %r15, 64(%r2)
        lg      %r1, 0(%r2)
        larl    %r14, context_switch
        cgr     %r1, %r14
        je      2f
        lg      %r3, 16(%r2)
        lg      %r4, 24(%r2)
        lg      %r5, 32(%r2)
        lg      %r2, 8(%r2)
        j       3f
2:      lg      %r3, 8(%r2)
        lg      %r4, 16(%r2)
        la      %r5, 24(%r2)
        la      %r2, 48(%r2)
3:      basr    %r14, %r1
        lgrl    %r1, conformance_now
        stg     %r15, 72(%r1)
        larl    %r14, context_switch
        cg      %r14, 0(%r1)
        je      4f
        stg     %r2, 48(%r1)
4:      lg      %r15, 88(%r1)
        stmg    %r6, %r13, 232(%r1)
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        std     %f\n, 296 + 8 * (\n - 8)(%r1)
        .endr
        lghi    %r0, 0
        stg     %r0, 80(%r1)
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        ld      %f\n, 160 + 8 * (\n - 8)(%r15)
        .endr
        lmg     %r6, %r15, 272(%r15)
        .cfi_adjust_cfa_offset -224
        br      %r14
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, @function
conformance_entry:
        .cfi_startproc
        larl    %r1, conformance_seen
        lghi    %r0, 0
        stg     %r15, 0(%r1)
        stg     %r0, 8(%r1)
        stg     %r0, 16(%r1)
        jg      conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .popsection
)");

#endif
