/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: what test/conformance_test.cpp knows of this CPU; what each name is
 * for, and how the words of a call lie, is said there. For that test alone.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

#define JS_CONFORMANCE_TRAPS 1

#include <cstdint>
#include <cstring>
#include <elf.h>
#include <ucontext.h>

namespace cpu {

/* AAPCS64, 6.1.1 and 6.1.2: sp besides, and of v8 to v15 the lower halves. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"x19", ~uint64_t(0), 19}, {"x20", ~uint64_t(0), 20}, {"x21", ~uint64_t(0), 21},
    {"x22", ~uint64_t(0), 22}, {"x23", ~uint64_t(0), 23}, {"x24", ~uint64_t(0), 24},
    {"x25", ~uint64_t(0), 25}, {"x26", ~uint64_t(0), 26}, {"x27", ~uint64_t(0), 27},
    {"x28", ~uint64_t(0), 28}, {"x29", ~uint64_t(0), 29}, {"d8", ~uint64_t(0), 72},
    {"d9", ~uint64_t(0), 73}, {"d10", ~uint64_t(0), 74}, {"d11", ~uint64_t(0), 75},
    {"d12", ~uint64_t(0), 76}, {"d13", ~uint64_t(0), 77}, {"d14", ~uint64_t(0), 78},
    {"d15", ~uint64_t(0), 79},
};

/* 6.2.2: a multiple of 16; the return address is in a register. */
inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 0;
inline constexpr unsigned first_frame_bytes = 16;

/* The flags are nobody's at calls and returns (6.1.1). */
inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* FPCR: the ways to round, and flushing to zero (Arm ARM, C5.2). */
inline uint64_t fp_control()
{
    uint64_t value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
inline void set_fp_control(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
inline constexpr uint64_t fp_controls[] = {0, 1 << 22, 2 << 22, 3 << 22, 1 << 24, 7 << 22};

/* BTI and PAC in the property note (AAELF64), bti c or paciasp where functions
 * begin. */
inline constexpr uint32_t property_type = 0xc0000000, property_bits = 3;
inline bool is_landing_pad(const unsigned char *code)
{
    return memcmp(code, "\x5f\x24\x03\xd5", 4) == 0 || memcmp(code, "\x3f\x23\x03\xd5", 4) == 0;
}


/* AADWARF64, 4.1: x0 to x30 and sp are 0 to 31, v0 to v31 are 64 to 95. */
inline constexpr unsigned dwarf_sp = 31, dwarf_ra = 30;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = false;
inline constexpr unsigned char trap[4] = {0x00, 0x00, 0x20, 0xd4}; /* brk 0 */
inline unsigned instruction_bytes(const unsigned char *) { return 4; }
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c) { return c.uc_mcontext.pc; }
inline void set_program_counter(ucontext_t &c, uintptr_t pc) { c.uc_mcontext.pc = pc; }
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 0; i < 31; i++)
        to.value[i] = c.uc_mcontext.regs[i];
    to.value[31] = c.uc_mcontext.sp;
    for (auto at = c.uc_mcontext.__reserved;;) {
        _aarch64_ctx head;
        memcpy(&head, at, sizeof head);
        if (!head.magic)
            return;
        if (head.magic == FPSIMD_MAGIC) {
            fpsimd_context floats;
            memcpy(&floats, at, sizeof floats);
            for (unsigned i = 0; i < 32; i++)
                to.value[64 + i] = uint64_t(floats.vregs[i]);
        }
        at += head.size;
    }
}
/* Signed with key A for the CFA; a CPU without signatures passes over both hints. What
 * is not signed must be as it is without a signature. */
inline uint64_t return_address(uint64_t value, bool is_signed, uint64_t cfa)
{
    register uint64_t x17 asm("x17") = value;
    register uint64_t x16 asm("x16") = cfa;
    if (is_signed) {
        asm("hint 12" : "+r"(x17) : "r"(x16)); /* autia1716 */
        return x17;
    }
    return value;
}

} // namespace cpu

asm(R"(
        .pushsection .text
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, %function
conformance_call:
        .cfi_startproc
        hint    #34                     // bti c
        stp     x29, x30, [sp, -160]!
        .cfi_def_cfa_offset 160
        .cfi_offset 29, -160
        .cfi_offset 30, -152
        stp     x19, x20, [sp, 16]
        .cfi_offset 19, -144
        .cfi_offset 20, -136
        stp     x21, x22, [sp, 32]
        .cfi_offset 21, -128
        .cfi_offset 22, -120
        stp     x23, x24, [sp, 48]
        .cfi_offset 23, -112
        .cfi_offset 24, -104
        stp     x25, x26, [sp, 64]
        .cfi_offset 25, -96
        .cfi_offset 26, -88
        stp     x27, x28, [sp, 80]
        .cfi_offset 27, -80
        .cfi_offset 28, -72
        stp     d8, d9, [sp, 96]
        .cfi_offset 72, -64
        .cfi_offset 73, -56
        stp     d10, d11, [sp, 112]
        .cfi_offset 74, -48
        .cfi_offset 75, -40
        stp     d12, d13, [sp, 128]
        .cfi_offset 76, -32
        .cfi_offset 77, -24
        stp     d14, d15, [sp, 144]
        .cfi_offset 78, -16
        .cfi_offset 79, -8
        mov     x9, sp
        str     x9, [x0, 88]
        ldr     x9, [x0, 96]            // noise, for all that is nobody's
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        dup     v\n\().2d, x9
        .endr
        .irp    n, 8, 9, 10, 11, 12, 13, 14, 15
        ldr     x10, [x0, 192 + 8 * (\n - 8)]
        mov     v\n\().d[0], x10
        .endr
        .irp    n, 5, 6, 7, 8, 11, 12, 13, 14, 15, 17
        mov     x\n, x9
        .endr
        ldp     x19, x20, [x0, 104]
        ldp     x21, x22, [x0, 120]
        ldp     x23, x24, [x0, 136]
        ldp     x25, x26, [x0, 152]
        ldp     x27, x28, [x0, 168]
        ldr     x29, [x0, 184]
        ldr     x10, [x0, 64]
        mov     sp, x10
        mov     x10, x9
        ldr     x16, [x0]
        ldp     x1, x2, [x0, 16]
        ldp     x3, x4, [x0, 32]
        ldr     x0, [x0, 8]
        blr     x16
        adrp    x9, conformance_now
        ldr     x9, [x9, :lo12:conformance_now]
        mov     x10, sp
        str     x10, [x9, 72]
        ldr     x10, [x9, 88]
        mov     sp, x10
        stp     x0, x1, [x9, 48]
        str     xzr, [x9, 80]
        add     x9, x9, 256
        stp     x19, x20, [x9]
        stp     x21, x22, [x9, 16]
        stp     x23, x24, [x9, 32]
        stp     x25, x26, [x9, 48]
        stp     x27, x28, [x9, 64]
        str     x29, [x9, 80]
        str     d8, [x9, 88]
        stp     d9, d10, [x9, 96]
        stp     d11, d12, [x9, 112]
        stp     d13, d14, [x9, 128]
        str     d15, [x9, 144]
        ldp     d14, d15, [sp, 144]
        ldp     d12, d13, [sp, 128]
        ldp     d10, d11, [sp, 112]
        ldp     d8, d9, [sp, 96]
        ldp     x27, x28, [sp, 80]
        ldp     x25, x26, [sp, 64]
        ldp     x23, x24, [sp, 48]
        ldp     x21, x22, [sp, 32]
        ldp     x19, x20, [sp, 16]
        ldp     x29, x30, [sp], 160
        .cfi_def_cfa_offset 0
        ret
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, %function
conformance_entry:
        .cfi_startproc
        hint    #34                     // bti c
        adrp    x9, conformance_seen
        add     x9, x9, :lo12:conformance_seen
        mov     x10, sp
        stp     x10, xzr, [x9]
        str     x29, [x9, 16]
        b       conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .popsection
)");

#endif
