/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm: what test/conformance_test.cpp knows of this CPU; what each name is
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

/* AAPCS32, 6.1.1 and 6.1.2.1: sp besides. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"r4", 0xffffffff, 4}, {"r5", 0xffffffff, 5}, {"r6", 0xffffffff, 6},
    {"r7", 0xffffffff, 7}, {"r8", 0xffffffff, 8}, {"r9", 0xffffffff, 9},
    {"r10", 0xffffffff, 10}, {"r11", 0xffffffff, 11}, {"d8", ~uint64_t(0), 264},
    {"d9", ~uint64_t(0), 265}, {"d10", ~uint64_t(0), 266}, {"d11", ~uint64_t(0), 267},
    {"d12", ~uint64_t(0), 268}, {"d13", ~uint64_t(0), 269}, {"d14", ~uint64_t(0), 270},
    {"d15", ~uint64_t(0), 271},
};

/* 6.2.1.2: a multiple of 8; the return address is in a register. Above lies the argument
 * that has no register. */
inline constexpr unsigned entry_alignment = 8;
inline constexpr unsigned entry_remainder = 0;
inline constexpr unsigned switch_stack_bytes = 0;
inline constexpr unsigned callee_area_bytes = 8;
inline constexpr unsigned first_frame_bytes = 8;

/* The flags are nobody's at calls and returns. */
inline constexpr uint64_t flags_mask = 0;
inline constexpr uint64_t flags_value = 0;

/* FPSCR: the ways to round, and flushing to zero. */
inline uint64_t fp_control()
{
    uint32_t value;
    asm volatile("vmrs %0, fpscr" : "=r"(value));
    return value & 0x07c09f00;
}
inline void set_fp_control(uint64_t value)
{
    asm volatile("vmsr fpscr, %0" : : "r"(uint32_t(value)));
}
inline constexpr uint64_t fp_controls[] = {0, 1 << 22, 2 << 22, 3 << 22, 1 << 24, 7 << 22};

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

/* AADWARF32, 4.1. */
inline constexpr unsigned dwarf_sp = 13, dwarf_ra = 14;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 0;
inline constexpr bool transfer_by_address = true;
/* udf of Arm's instruction set, whose first half is one of Thumb's. */
inline constexpr unsigned char trap[4] = {0xf0, 0xde, 0xf0, 0xe7};
inline unsigned instruction_bytes(const unsigned char *) { return 4; }
inline uintptr_t local_entry(uintptr_t function) { return function & ~uintptr_t(1); }
inline uintptr_t program_counter(const ucontext_t &c) { return c.uc_mcontext.arm_pc; }
inline void set_program_counter(ucontext_t &c, uintptr_t pc) { c.uc_mcontext.arm_pc = pc; }
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    for (unsigned i = 0; i < 16; i++)
        to.value[i] = (&c.uc_mcontext.arm_r0)[i];
    /* Linux: struct vfp_sigframe */
    constexpr uint32_t vfp_magic = 0x56465001;
    const auto *at = reinterpret_cast<const unsigned char *>(c.uc_regspace);
    for (uint32_t head[2]; memcpy(head, at, sizeof head), head[0] && head[1]; at += head[1])
        if (head[0] == vfp_magic) {
            memcpy(&to.value[256], at + sizeof head, 32 * 8);
            return;
        }
}
/* Whose lowest bit tells the instruction set. */
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return uint32_t(value) & ~1u; }

} // namespace cpu

/* context_switch has one argument before the others, the address for its result. */
asm(R"(
        .pushsection .text
        .syntax unified
        .arm
        .p2align 2
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, %function
conformance_call:
        .fnstart
        .cfi_startproc
        push    {r4-r11, lr}
        .save   {r4-r11, lr}
        .cfi_adjust_cfa_offset 36
        .cfi_rel_offset 4, 0
        .cfi_rel_offset 5, 4
        .cfi_rel_offset 6, 8
        .cfi_rel_offset 7, 12
        .cfi_rel_offset 8, 16
        .cfi_rel_offset 9, 20
        .cfi_rel_offset 10, 24
        .cfi_rel_offset 11, 28
        .cfi_rel_offset 14, 32
        sub     sp, sp, 4
        .pad    #4
        .cfi_adjust_cfa_offset 4
        vpush   {d8-d15}
        .vsave  {d8-d15}
        .cfi_adjust_cfa_offset 64
        str     sp, [r0, 88]
        mov     ip, r0
        ldr     r3, [ip]
        ldr     r2, 9f
8:      add     r2, pc, r2
        cmp     r3, r2
        ldr     sp, [ip, 64]
        ldreq   r0, [ip, 32]
        ldrne   r0, [ip, 40]
        str     r0, [sp]
        add     r0, ip, 96              @ noise, for all that is nobody's
        vldr    d0, [r0]
        .irp    n, 1, 2, 3, 4, 5, 6, 7
        vmov.f64 d\n, d0
        .endr
        ldr     r4, [ip, 104]
        ldr     r5, [ip, 112]
        ldr     r6, [ip, 120]
        ldr     r7, [ip, 128]
        ldr     r8, [ip, 136]
        ldr     r9, [ip, 144]
        ldr     r10, [ip, 152]
        ldr     r11, [ip, 160]
        add     r0, ip, 168
        vldm    r0, {d8-d15}
        addeq   r0, ip, 80
        ldreq   r1, [ip, 8]
        ldreq   r2, [ip, 16]
        ldreq   r3, [ip, 24]
        ldrne   r0, [ip, 8]
        ldrne   r1, [ip, 16]
        ldrne   r2, [ip, 24]
        ldrne   r3, [ip, 32]
        ldr     ip, [ip]
        blx     ip
        ldr     ip, 11f
10:     add     ip, pc, ip
        ldr     ip, [ip]
        str     sp, [ip, 72]
        ldr     sp, [ip, 88]
        ldr     r3, [ip]
        ldr     r2, 13f
12:     add     r2, pc, r2
        cmp     r3, r2
        ldreq   r0, [ip, 80]
        ldreq   r1, [ip, 84]
        str     r0, [ip, 48]
        str     r1, [ip, 56]
        str     r4, [ip, 232]
        str     r5, [ip, 240]
        str     r6, [ip, 248]
        str     r7, [ip, 256]
        str     r8, [ip, 264]
        str     r9, [ip, 272]
        str     r10, [ip, 280]
        str     r11, [ip, 288]
        add     r0, ip, 296
        vstm    r0, {d8-d15}
        mov     r0, 0
        .irp    n, 52, 60, 76, 80, 84, 236, 244, 252, 260, 268, 276, 284, 292
        str     r0, [ip, \n]
        .endr
        vpop    {d8-d15}
        add     sp, sp, 4
        pop     {r4-r11, pc}
9:      .word   context_switch - 8b - 8
11:     .word   conformance_now - 10b - 8
13:     .word   context_switch - 12b - 8
        .cfi_endproc
        .fnend
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, %function
conformance_entry:
        .fnstart
        .cfi_startproc
        ldr     ip, 15f
14:     add     ip, pc, ip
        mov     r1, 0
        mov     r2, sp
        str     r2, [ip]
        str     r1, [ip, 4]
        str     r1, [ip, 8]
        str     r1, [ip, 12]
        str     r11, [ip, 16]
        str     r1, [ip, 20]
        b       conformance_entered
15:     .word   conformance_seen - 14b - 8
        .cfi_endproc
        .fnend
        .size   conformance_entry, . - conformance_entry
        .popsection
)");
#ifdef __thumb__
asm(".thumb");
#endif

#endif
