/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mips64el: what test/conformance_test.cpp knows of this CPU; what each name is
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

/* N32 ABI Handbook, tables 2-1 and 2-2: sp besides. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"s0", ~uint64_t(0), 16}, {"s1", ~uint64_t(0), 17}, {"s2", ~uint64_t(0), 18},
    {"s3", ~uint64_t(0), 19}, {"s4", ~uint64_t(0), 20}, {"s5", ~uint64_t(0), 21},
    {"s6", ~uint64_t(0), 22}, {"s7", ~uint64_t(0), 23}, {"gp", ~uint64_t(0), 28},
    {"s8", ~uint64_t(0), 30}, {"f24", ~uint64_t(0), 56}, {"f25", ~uint64_t(0), 57},
    {"f26", ~uint64_t(0), 58}, {"f27", ~uint64_t(0), 59}, {"f28", ~uint64_t(0), 60},
    {"f29", ~uint64_t(0), 61}, {"f30", ~uint64_t(0), 62}, {"f31", ~uint64_t(0), 63},
};

/* A multiple of 16; the return address is in a register. */
inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 0;
inline constexpr unsigned first_frame_bytes = 16;

/* There are no flags. */
inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* FCSR: the ways to round, and what traps (MIPS64 Architecture, volume I, table 5.6). */
inline uint64_t fp_control()
{
    uint32_t value;
    asm volatile("cfc1 %0, $31" : "=r"(value));
    return value & 0x1000f83;
}
inline void set_fp_control(uint64_t value)
{
    asm volatile("ctc1 %0, $31" : : "r"(uint32_t(value)));
}
inline constexpr uint64_t fp_controls[] = {0, 1, 2, 3, 0x80, 0x1000803};

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

/* $0 to $31 are 0 to 31, f0 to f31 are 32 to 63. */
inline constexpr unsigned dwarf_sp = 29, dwarf_ra = 31;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = false;
inline constexpr unsigned char trap[4] = {0x0d, 0x00, 0x00, 0x00}; /* break */
/* A jump, and the nop in the slot behind it: a trap there would be told of as one at the
 * jump. */
inline unsigned instruction_bytes(const unsigned char *code)
{
    uint32_t word;
    memcpy(&word, code, sizeof word);
    bool is_jump = (word >> 26 == 0 && ((word & 63) == 8 || (word & 63) == 9)) || /* jr, jalr */
                   (word >> 26 == 1 && (word >> 16 & 31) == 17) ||                /* bal */
                   word >> 26 == 5;                                               /* bne */
    return is_jump ? 8 : 4;
}
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c) { return c.uc_mcontext.pc; }
inline void set_program_counter(ucontext_t &c, uintptr_t pc) { c.uc_mcontext.pc = pc; }
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 0; i < 32; i++) {
        to.value[i] = c.uc_mcontext.gregs[i];
        memcpy(&to.value[32 + i], &c.uc_mcontext.fpregs.fp_r.fp_dregs[i], 8);
    }
}
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return value; }

} // namespace cpu

asm(R"(
        .pushsection .text
        .set    push
        .set    noreorder
        .set    noat
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, @function
conformance_call:
        .cfi_startproc
        daddiu  $sp, $sp, -160
        .cfi_def_cfa_offset 160
        sd      $31, 152($sp)
        .cfi_offset 31, -8
        sd      $28, 144($sp)
        .cfi_offset 28, -16
        sd      $30, 136($sp)
        .cfi_offset 30, -24
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23
        sd      $\n, 8 * (\n - 16)($sp)
        .cfi_offset \n, -160 + 8 * (\n - 16)
        .endr
        .irp    n, 24, 25, 26, 27, 28, 29, 30, 31
        sdc1    $f\n, 64 + 8 * (\n - 24)($sp)
        .cfi_offset 32 + \n, -96 + 8 * (\n - 24)
        .endr
        sd      $sp, 88($4)
        ld      $2, 96($4)              # noise, for all that is nobody's
        .irp    n, 1, 3, 10, 11, 12, 13, 14, 15, 24
        move    $\n, $2
        .endr
        mthi    $2
        mtlo    $2
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23
        dmtc1   $2, $f\n
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23
        ld      $\n, 104 + 8 * (\n - 16)($4)
        .endr
        .irp    n, 24, 25, 26, 27, 28, 29, 30, 31
        ldc1    $f\n, 184 + 8 * (\n - 24)($4)
        .endr
        ld      $28, 168($4)
        ld      $30, 176($4)
        ld      $sp, 64($4)
        ld      $25, 0($4)
        ld      $5, 16($4)
        ld      $6, 24($4)
        ld      $7, 32($4)
        ld      $8, 40($4)
        ld      $4, 8($4)
        jalr    $25
        nop
        move    $15, $28
        bal     1f
        nop
1:      daddiu  $31, $31, conformance_call - 1b
        lui     $28, %hi(%neg(%gp_rel(conformance_call)))
        daddiu  $28, $28, %lo(%neg(%gp_rel(conformance_call)))
        daddu   $28, $28, $31
        ld      $12, %got_disp(conformance_now)($28)
        ld      $12, 0($12)
        sd      $sp, 72($12)
        ld      $sp, 88($12)
        sd      $2, 48($12)
        sd      $3, 56($12)
        sd      $0, 80($12)
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23
        sd      $\n, 248 + 8 * (\n - 16)($12)
        .endr
        sd      $15, 312($12)
        sd      $30, 320($12)
        .irp    n, 24, 25, 26, 27, 28, 29, 30, 31
        sdc1    $f\n, 328 + 8 * (\n - 24)($12)
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23
        ld      $\n, 8 * (\n - 16)($sp)
        .endr
        .irp    n, 24, 25, 26, 27, 28, 29, 30, 31
        ldc1    $f\n, 64 + 8 * (\n - 24)($sp)
        .endr
        ld      $31, 152($sp)
        ld      $28, 144($sp)
        ld      $30, 136($sp)
        daddiu  $sp, $sp, 160
        .cfi_def_cfa_offset 0
        jr      $31
        nop
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, @function
conformance_entry:
        .cfi_startproc
        lui     $2, %hi(%neg(%gp_rel(conformance_entry)))
        daddiu  $2, $2, %lo(%neg(%gp_rel(conformance_entry)))
        daddu   $2, $2, $25
        ld      $12, %got_disp(conformance_seen)($2)
        sd      $sp, 0($12)
        sd      $0, 8($12)
        sd      $30, 16($12)
        ld      $25, %got_disp(conformance_entered)($2)
        jr      $25
        nop
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .set    pop
        .popsection
)");

#endif
