/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ppc64le: what test/conformance_test.cpp knows of this CPU; what each name is
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

/* ELF V2 ABI, 2.2.1.1: r1 besides. Of CR, fields 2 to 4. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"r2", ~uint64_t(0), 2}, {"r14", ~uint64_t(0), 14}, {"r15", ~uint64_t(0), 15},
    {"r16", ~uint64_t(0), 16}, {"r17", ~uint64_t(0), 17}, {"r18", ~uint64_t(0), 18},
    {"r19", ~uint64_t(0), 19}, {"r20", ~uint64_t(0), 20}, {"r21", ~uint64_t(0), 21},
    {"r22", ~uint64_t(0), 22}, {"r23", ~uint64_t(0), 23}, {"r24", ~uint64_t(0), 24},
    {"r25", ~uint64_t(0), 25}, {"r26", ~uint64_t(0), 26}, {"r27", ~uint64_t(0), 27},
    {"r28", ~uint64_t(0), 28}, {"r29", ~uint64_t(0), 29}, {"r30", ~uint64_t(0), 30},
    {"r31", ~uint64_t(0), 31}, {"cr2", 0xf00000, 70}, {"cr3", 0xf0000, 71},
    {"cr4", 0xf000, 72}, {"f14", ~uint64_t(0), 46}, {"f15", ~uint64_t(0), 47},
    {"f16", ~uint64_t(0), 48}, {"f17", ~uint64_t(0), 49}, {"f18", ~uint64_t(0), 50},
    {"f19", ~uint64_t(0), 51}, {"f20", ~uint64_t(0), 52}, {"f21", ~uint64_t(0), 53},
    {"f22", ~uint64_t(0), 54}, {"f23", ~uint64_t(0), 55}, {"f24", ~uint64_t(0), 56},
    {"f25", ~uint64_t(0), 57}, {"f26", ~uint64_t(0), 58}, {"f27", ~uint64_t(0), 59},
    {"f28", ~uint64_t(0), 60}, {"f29", ~uint64_t(0), 61}, {"f30", ~uint64_t(0), 62},
    {"f31", ~uint64_t(0), 63}, {"v20", ~uint64_t(0), 97},
    {"v20 upper", ~uint64_t(0), row_registers::upper + 97}, {"v21", ~uint64_t(0), 98},
    {"v21 upper", ~uint64_t(0), row_registers::upper + 98}, {"v22", ~uint64_t(0), 99},
    {"v22 upper", ~uint64_t(0), row_registers::upper + 99}, {"v23", ~uint64_t(0), 100},
    {"v23 upper", ~uint64_t(0), row_registers::upper + 100}, {"v24", ~uint64_t(0), 101},
    {"v24 upper", ~uint64_t(0), row_registers::upper + 101}, {"v25", ~uint64_t(0), 102},
    {"v25 upper", ~uint64_t(0), row_registers::upper + 102}, {"v26", ~uint64_t(0), 103},
    {"v26 upper", ~uint64_t(0), row_registers::upper + 103}, {"v27", ~uint64_t(0), 104},
    {"v27 upper", ~uint64_t(0), row_registers::upper + 104}, {"v28", ~uint64_t(0), 105},
    {"v28 upper", ~uint64_t(0), row_registers::upper + 105}, {"v29", ~uint64_t(0), 106},
    {"v29 upper", ~uint64_t(0), row_registers::upper + 106}, {"v30", ~uint64_t(0), 107},
    {"v30 upper", ~uint64_t(0), row_registers::upper + 107}, {"v31", ~uint64_t(0), 108},
    {"v31 upper", ~uint64_t(0), row_registers::upper + 108},
};

/* 2.2.2: a multiple of 16; the return address is in a register, and a called function may
 * write to its caller's frame header. */
inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 32;
inline constexpr unsigned first_frame_bytes = 48;

/* Flags are CR's other fields, and nobody's at calls and returns. */
inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* FPSCR: what traps, and the ways to round (Power ISA, Book I, 4.2.2). */
inline uint64_t fp_control()
{
    double word;
    uint64_t value;
    asm volatile("mffs %0" : "=d"(word));
    memcpy(&value, &word, sizeof value);
    return value & 0xfb;
}
inline void set_fp_control(uint64_t value)
{
    double word;
    memcpy(&word, &value, sizeof word);
    asm volatile("mtfsf 0xff, %0" : : "d"(word));
}
inline constexpr uint64_t fp_controls[] = {0, 1, 2, 3, 0x80, 0x13};

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

/* 2.4: r0 to r31 are 0 to 31, f0 to f31 32 to 63, CR2 to CR4 70 to 72, v0 to v31 77 to
 * 108. */
inline constexpr unsigned dwarf_sp = 1, dwarf_ra = 65;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = false;
inline constexpr unsigned char trap[4] = {0x08, 0x00, 0xe0, 0x7f};
inline unsigned instruction_bytes(const unsigned char *) { return 4; }
inline uintptr_t local_entry(uintptr_t function)
{
    /* 3.4.1: after the two instructions that set r2, if it has them */
    return function + (*reinterpret_cast<const uint16_t *>(function + 2) == 0x3c4c ? 8 : 0);
}
inline uintptr_t program_counter(const ucontext_t &c) { return c.uc_mcontext.gp_regs[PT_NIP]; }
inline void set_program_counter(ucontext_t &c, uintptr_t pc)
{
    c.uc_mcontext.gp_regs[PT_NIP] = pc;
}
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 0; i < 32; i++) {
        to.value[i] = c.uc_mcontext.gp_regs[i];
        memcpy(&to.value[32 + i], &c.uc_mcontext.fp_regs[i], 8);
        memcpy(&to.value[77 + i], &c.uc_mcontext.v_regs->vrregs[i], 8);
        memcpy(&to.value[row_registers::upper + 77 + i],
               reinterpret_cast<const char *>(&c.uc_mcontext.v_regs->vrregs[i]) + 8, 8);
    }
    to.value[dwarf_ra] = c.uc_mcontext.gp_regs[PT_LNK];
    for (unsigned i = 0; i < 8; i++)
        to.value[68 + i] = c.uc_mcontext.gp_regs[PT_CCR];
}
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return value; }

} // namespace cpu

/* A vector goes by way of 16 aligned bytes at r1 + 512. */
asm(R"(
        .pushsection .text
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, @function
conformance_call:
        .cfi_startproc
        mflr    0
        std     0, 16(1)
        .cfi_offset 65, 16
        mfcr    0
        stw     0, 8(1)
        .cfi_offset 70, 8
        .cfi_offset 71, 8
        .cfi_offset 72, 8
        stdu    1, -528(1)
        .cfi_def_cfa_offset 528
        std     2, 24(1)
        .cfi_offset 2, -504
        .irp    n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        std     \n, 32 + 8 * (\n - 14)(1)
        .cfi_offset \n, -496 + 8 * (\n - 14)
        stfd    \n, 176 + 8 * (\n - 14)(1)
        .cfi_offset 32 + \n, -352 + 8 * (\n - 14)
        .endr
        .irp    n, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        li      0, 320 + 16 * (\n - 20)
        stvx    \n, 1, 0
        .cfi_offset 77 + \n, -208 + 16 * (\n - 20)
        .endr
        std     1, 88(3)
        ld      0, 96(3)                # noise, for all that is nobody's
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
        mtvsrd  \n, 0
        .endr
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
        mtvsrd  32 + \n, 0
        .endr
        mtcrf   0xff, 0
        .irp    n, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        ld      11, 424 + 16 * (\n - 20)(3)
        std     11, 512(1)
        ld      11, 432 + 16 * (\n - 20)(3)
        std     11, 520(1)
        li      11, 512
        lvx     \n, 1, 11
        .endr
        ld      11, 256(3)
        ld      12, 264(3)
        or      11, 11, 12
        ld      12, 272(3)
        or      11, 11, 12
        mtcrf   0x38, 11
        .irp    n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        ld      \n, 112 + 8 * (\n - 14)(3)
        lfd     \n, 280 + 8 * (\n - 14)(3)
        .endr
        mr      8, 0
        mr      9, 0
        mr      10, 0
        mr      11, 0
        ld      2, 104(3)
        ld      1, 64(3)
        ld      12, 0(3)
        mtctr   12
        ld      4, 16(3)
        ld      5, 24(3)
        ld      6, 32(3)
        ld      7, 40(3)
        ld      3, 8(3)
        bctrl
        bcl     20, 31, 1f
1:      mflr    12
        addis   12, 12, conformance_now - 1b@ha
        addi    12, 12, conformance_now - 1b@l
        ld      12, 0(12)
        std     1, 72(12)
        ld      1, 88(12)
        std     3, 48(12)
        std     4, 56(12)
        li      0, 0
        std     0, 80(12)
        std     2, 616(12)
        ld      11, 0(12)               # who sets r2 where called by pointer
        lwz     11, 0(11)               # leaves it to its callers to keep
        srwi    11, 11, 16
        cmplwi  11, 0x3c4c              # addis r2, r12
        mfcr    0                       # (of CR0 nobody asks)
        bne     2f
        ld      11, 104(12)
        std     11, 616(12)
2:
        std     0, 768(12)
        std     0, 776(12)
        std     0, 784(12)
        .irp    n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        std     \n, 624 + 8 * (\n - 14)(12)
        stfd    \n, 792 + 8 * (\n - 14)(12)
        .endr
        .irp    n, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        li      11, 512
        stvx    \n, 1, 11
        ld      11, 512(1)
        std     11, 936 + 16 * (\n - 20)(12)
        ld      11, 520(1)
        std     11, 944 + 16 * (\n - 20)(12)
        .endr
        ld      2, 24(1)
        .irp    n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        ld      \n, 32 + 8 * (\n - 14)(1)
        lfd     \n, 176 + 8 * (\n - 14)(1)
        .endr
        .irp    n, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        li      0, 320 + 16 * (\n - 20)
        lvx     \n, 1, 0
        .endr
        addi    1, 1, 528
        .cfi_def_cfa_offset 0
        lwz     0, 8(1)
        mtcrf   0x38, 0
        ld      0, 16(1)
        mtlr    0
        blr
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, @function
conformance_entry:
        .cfi_startproc
        addis   2, 12, .TOC. - conformance_entry@ha
        addi    2, 2, .TOC. - conformance_entry@l
        .localentry conformance_entry, . - conformance_entry
        addis   12, 2, conformance_seen@toc@ha
        addi    12, 12, conformance_seen@toc@l
        std     1, 0(12)
        li      0, 0
        std     0, 8(12)
        ld      0, 0(1)                 # no frame above
        std     0, 16(12)
        b       conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .popsection
)");

#endif
