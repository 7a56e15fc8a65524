/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riscv64: what test/conformance_test.cpp knows of this CPU; what each name is
 * for, and how the words of a call lie, is said there. For that test alone.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

#define JS_CONFORMANCE_TRAPS 1

#include <cstdint>
#include <elf.h>
#include <ucontext.h>

namespace cpu {

/* RISC-V ELF psABI, Register Convention: sp besides. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"s0", ~uint64_t(0), 8}, {"s1", ~uint64_t(0), 9}, {"s2", ~uint64_t(0), 18},
    {"s3", ~uint64_t(0), 19}, {"s4", ~uint64_t(0), 20}, {"s5", ~uint64_t(0), 21},
    {"s6", ~uint64_t(0), 22}, {"s7", ~uint64_t(0), 23}, {"s8", ~uint64_t(0), 24},
    {"s9", ~uint64_t(0), 25}, {"s10", ~uint64_t(0), 26}, {"s11", ~uint64_t(0), 27},
    {"fs0", ~uint64_t(0), 40}, {"fs1", ~uint64_t(0), 41}, {"fs2", ~uint64_t(0), 50},
    {"fs3", ~uint64_t(0), 51}, {"fs4", ~uint64_t(0), 52}, {"fs5", ~uint64_t(0), 53},
    {"fs6", ~uint64_t(0), 54}, {"fs7", ~uint64_t(0), 55}, {"fs8", ~uint64_t(0), 56},
    {"fs9", ~uint64_t(0), 57}, {"fs10", ~uint64_t(0), 58}, {"fs11", ~uint64_t(0), 59},
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

/* fcsr.frm: the ways to round. */
inline uint64_t fp_control()
{
    uint64_t value;
    asm volatile("frrm %0" : "=r"(value));
    return value;
}
inline void set_fp_control(uint64_t value) { asm volatile("fsrm %0" : : "r"(value)); }
inline constexpr uint64_t fp_controls[] = {0, 1, 2, 3, 4};

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }


/* DWARF Register Numbers: x0 to x31 are 0 to 31, f0 to f31 are 32 to 63. */
inline constexpr unsigned dwarf_sp = 2, dwarf_ra = 1;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = false;
inline constexpr unsigned char trap[4] = {0x73, 0x00, 0x10, 0x00}; /* ebreak */
inline unsigned instruction_bytes(const unsigned char *) { return 4; }
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c)
{
    return c.uc_mcontext.__gregs[REG_PC];
}
inline void set_program_counter(ucontext_t &c, uintptr_t pc)
{
    c.uc_mcontext.__gregs[REG_PC] = pc;
}
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 1; i < 32; i++)
        to.value[i] = c.uc_mcontext.__gregs[i];
    for (unsigned i = 0; i < 32; i++)
        to.value[32 + i] = c.uc_mcontext.__fpregs.__d.__f[i];
}
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return value; }

} // namespace cpu

asm(R"(
        .pushsection .text
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, %function
conformance_call:
        .cfi_startproc
        addi    sp, sp, -208
        .cfi_def_cfa_offset 208
        sd      ra, 200(sp)
        .cfi_offset 1, -8
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        sd      s\n, 8 * \n(sp)
        fsd     fs\n, 96 + 8 * \n(sp)
        .endr
        .cfi_offset 8, -208
        .cfi_offset 9, -200
        .cfi_offset 18, -192
        .cfi_offset 19, -184
        .cfi_offset 20, -176
        .cfi_offset 21, -168
        .cfi_offset 22, -160
        .cfi_offset 23, -152
        .cfi_offset 24, -144
        .cfi_offset 25, -136
        .cfi_offset 26, -128
        .cfi_offset 27, -120
        .cfi_offset 40, -112
        .cfi_offset 41, -104
        .cfi_offset 50, -96
        .cfi_offset 51, -88
        .cfi_offset 52, -80
        .cfi_offset 53, -72
        .cfi_offset 54, -64
        .cfi_offset 55, -56
        .cfi_offset 56, -48
        .cfi_offset 57, -40
        .cfi_offset 58, -32
        .cfi_offset 59, -24
        sd      sp, 88(a0)
        ld      t1, 96(a0)              # noise, for all that is nobody's
        .irp    r, t2, t3, t4, t5, t6, a5, a6, a7
        mv      \r, t1
        .endr
        .irp    r, ft0, ft1, ft2, ft3, ft4, ft5, ft6, ft7, ft8, ft9, ft10, ft11, fa0, fa1, fa2, fa3, fa4, fa5, fa6, fa7
        fmv.d.x \r, t1
        .endr
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ld      s\n, 104 + 8 * \n(a0)
        fld     fs\n, 200 + 8 * \n(a0)
        .endr
        ld      sp, 64(a0)
        ld      t0, 0(a0)
        ld      a1, 16(a0)
        ld      a2, 24(a0)
        ld      a3, 32(a0)
        ld      a4, 40(a0)
        ld      a0, 8(a0)
        jalr    t0
        lla     t0, conformance_now
        ld      t0, 0(t0)
        sd      sp, 72(t0)
        ld      sp, 88(t0)
        sd      a0, 48(t0)
        sd      a1, 56(t0)
        sd      zero, 80(t0)
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        sd      s\n, 296 + 8 * \n(t0)
        fsd     fs\n, 392 + 8 * \n(t0)
        .endr
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        ld      s\n, 8 * \n(sp)
        fld     fs\n, 96 + 8 * \n(sp)
        .endr
        ld      ra, 200(sp)
        addi    sp, sp, 208
        .cfi_def_cfa_offset 0
        ret
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, %function
conformance_entry:
        .cfi_startproc
        lla     t0, conformance_seen
        sd      sp, 0(t0)
        sd      zero, 8(t0)
        sd      s0, 16(t0)
        tail    conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .popsection
)");

#endif
