/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what test/conformance_test.cpp knows of this CPU; what each name is
 * for, and how the words of a call lie, is said there. For that test alone.
 */
#ifndef JS_CONFORMANCE_H
#define JS_CONFORMANCE_H

#include <cstdint>
#include <cstring>
#include <elf.h>

namespace cpu {

/* System V ABI for AMD64, 3.2.1, figure 3.4: rsp and the control words besides. */
struct saved_register {
    const char *name;
    uint64_t bits;
};
inline constexpr saved_register saved[] = {
    {"rbx", ~uint64_t(0)}, {"rbp", ~uint64_t(0)}, {"r12", ~uint64_t(0)},
    {"r13", ~uint64_t(0)}, {"r14", ~uint64_t(0)}, {"r15", ~uint64_t(0)},
};

/* 3.2.2: a multiple of 16 before the call; which pushes the return address. */
inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 8;
inline constexpr unsigned switch_stack_bytes = 8;
inline constexpr unsigned callee_area_bytes = 0;
inline constexpr unsigned first_frame_bytes = 64;

/* The direction flag: clear on entry and on return (3.2.1). */
inline constexpr uint64_t flags_mask = 0x400;
inline constexpr uint64_t flags_value = 0;

/* MXCSR without the flags that arithmetic sets, and above it the x87 control
 * word. */
inline uint64_t fp_control()
{
    uint32_t mxcsr;
    uint16_t x87;
    asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
    return (mxcsr & ~0x3fu) | uint64_t(x87) << 32;
}
inline void set_fp_control(uint64_t value)
{
    uint32_t mxcsr = uint32_t(value);
    uint16_t x87 = uint16_t(value >> 32);
    asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(x87));
}
/* As a thread begins; then the other ways to round, flushing to zero and less
 * precision. */
inline constexpr uint64_t fp_controls[] = {
    0x037f'0000'1f80, 0x0f7f'0000'3f80, 0x077f'0000'5f80, 0x0a7f'0000'7f80,
    0x037f'0000'ffc0, 0x0c7f'0000'1f80,
};

/* IBT in the property note (x86-64 Linux extensions to the ABI), endbr64 where
 * functions begin. */
inline constexpr uint32_t property_type = 0xc0000002, property_bits = 1;
inline bool is_landing_pad(const unsigned char *code)
{
    return memcmp(code, "\xf3\x0f\x1e\xfa", 4) == 0;
}

} // namespace cpu

asm(R"(
        .pushsection .text
        .intel_syntax noprefix
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, @function
conformance_call:
        .cfi_startproc
        endbr64
        .irp    r, rbx, rbp, r12, r13, r14, r15
        push    \r
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \r, 0
        .endr
        mov     [rdi + 88], rsp
        mov     rax, [rdi + 96]         # noise, for all that is nobody's
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movq    xmm\n, rax
        punpcklqdq xmm\n, xmm\n
        .endr
        mov     r9, rax
        mov     r10, rax
        mov     rbx, [rdi + 104]
        mov     rbp, [rdi + 112]
        mov     r12, [rdi + 120]
        mov     r13, [rdi + 128]
        mov     r14, [rdi + 136]
        mov     r15, [rdi + 144]
        mov     rsp, [rdi + 64]
        mov     r11, [rdi]
        mov     rsi, [rdi + 16]
        mov     rdx, [rdi + 24]
        mov     rcx, [rdi + 32]
        mov     r8,  [rdi + 40]
        mov     rdi, [rdi + 8]
        call    r11
        mov     rcx, [rip + conformance_now]
        mov     [rcx + 72], rsp
        mov     rsp, [rcx + 88]
        mov     [rcx + 48], rax
        mov     [rcx + 56], rdx
        pushfq
        pop     rax
        mov     [rcx + 80], rax
        cld
        mov     [rcx + 152], rbx
        mov     [rcx + 160], rbp
        mov     [rcx + 168], r12
        mov     [rcx + 176], r13
        mov     [rcx + 184], r14
        mov     [rcx + 192], r15
        .irp    r, r15, r14, r13, r12, rbp, rbx
        pop     \r
        .cfi_adjust_cfa_offset -8
        .cfi_restore \r
        .endr
        ret
        .cfi_endproc
        .size   conformance_call, . - conformance_call

        .globl  conformance_entry
        .hidden conformance_entry
        .type   conformance_entry, @function
conformance_entry:
        .cfi_startproc
        endbr64
        mov     [rip + conformance_seen], rsp
        pushfq
        .cfi_adjust_cfa_offset 8
        pop     rax
        .cfi_adjust_cfa_offset -8
        cld
        mov     [rip + conformance_seen + 8], rax
        mov     [rip + conformance_seen + 16], rbp
        jmp     conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .att_syntax
        .popsection
)");

#endif
