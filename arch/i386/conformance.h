/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i386: what test/conformance_test.cpp knows of this CPU; what each name is
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

/* System V ABI, Intel386 Supplement, 2.3.1: esp besides. */
struct saved_register {
    const char *name;
    uint64_t bits;
    unsigned dwarf;
};
inline constexpr saved_register saved[] = {
    {"ebx", 0xffffffff, 3}, {"esi", 0xffffffff, 6},
    {"edi", 0xffffffff, 7}, {"ebp", 0xffffffff, 5},
};

/* 2.2.2: a multiple of 16 before the call, which pushes the return address. Above lie
 * the arguments, up to five words here and the address for a result. */
inline constexpr unsigned entry_alignment = 16;
inline constexpr unsigned entry_remainder = 12;
inline constexpr unsigned switch_stack_bytes = 4;
inline constexpr unsigned callee_area_bytes = 32;
inline constexpr unsigned first_frame_bytes = 64;

/* 2.3.1: the direction flag is clear on entry and on return. */
inline constexpr uint64_t flags_mask = 0x400;
inline constexpr uint64_t flags_value = 0;

/* The x87 control word, and MXCSR without the flags that arithmetic sets. (Whatever runs
 * this test has it.) */
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

/* No property note. */
inline constexpr uint32_t property_type = 0, property_bits = 0;
inline bool is_landing_pad(const unsigned char *) { return true; }

/* 2.4, table 2.14. */
inline constexpr unsigned dwarf_sp = 4, dwarf_ra = 8;
inline constexpr bool sp_is_cfa = true;
inline constexpr unsigned switch_pops_bytes = 4;
inline constexpr unsigned char trap[1] = {0xcc}; /* int3 */

/* Intel SDM, volume 2, 2.1 and appendix A, as far as the port goes. 0: not known. */
inline unsigned modrm_bytes(const unsigned char *at)
{
    unsigned mode = *at >> 6, base = *at & 7;
    if (mode == 3)
        return 1;
    unsigned bytes = 1 + (base == 4);
    if (mode == 1)
        bytes += 1;
    if (mode == 2 || (mode == 0 && base == 5) || (mode == 0 && base == 4 && (at[1] & 7) == 5))
        bytes += 4;
    return bytes;
}
inline unsigned instruction_bytes(const unsigned char *code)
{
    switch (code[0]) {
    case 0x0f: return 2;                                /* ud2 */
    case 0x31: case 0x89: case 0x8b: case 0x8d: case 0xff:
        return 1 + modrm_bytes(code + 1);               /* xor, mov, lea, call */
    case 0x83: return 2 + modrm_bytes(code + 1);        /* add and sub of a byte */
    case 0xc7: case 0xf7: return 5 + modrm_bytes(code + 1); /* mov and test of a word */
    case 0x74: case 0x75: case 0xeb: return 2;
    case 0xb8: case 0xb9: case 0xba: case 0xe8: case 0xe9: return 5;
    case 0xc2: return 3;                                /* ret n */
    case 0x5a: case 0x90: case 0xc3: return 1;          /* pop edx, nop, ret */
    }
    return 0;
}
inline uintptr_t local_entry(uintptr_t function) { return function; }
inline uintptr_t program_counter(const ucontext_t &c)
{
    return uintptr_t(c.uc_mcontext.gregs[REG_EIP]);
}
inline void set_program_counter(ucontext_t &c, uintptr_t pc)
{
    c.uc_mcontext.gregs[REG_EIP] = greg_t(pc);
}
inline void get_registers(const ucontext_t &c, row_registers &to)
{
    constexpr int order[] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX,
                             REG_ESP, REG_EBP, REG_ESI, REG_EDI};
    for (unsigned i = 0; i < 8; i++)
        to.value[i] = uint32_t(c.uc_mcontext.gregs[order[i]]);
}
inline uint64_t return_address(uint64_t value, bool, uint64_t) { return uint32_t(value); }

} // namespace cpu

/* Arguments go to the stack. context_switch has one more before them, the address for its
 * result, which it pops. */
asm(R"(
        .pushsection .text
        .intel_syntax noprefix
        .macro  got r                   # into a register
        call    conformance_here_\r
        add     \r, offset flat:_GLOBAL_OFFSET_TABLE_
        .endm
        .irp    r, ebx, ecx, edx
conformance_here_\r:
        .cfi_startproc
        mov     \r, [esp]
        ret
        .cfi_endproc
        .endr
        .globl  conformance_call
        .hidden conformance_call
        .type   conformance_call, @function
conformance_call:
        .cfi_startproc
        .irp    r, ebx, ebp, esi, edi
        push    \r
        .cfi_adjust_cfa_offset 4
        .cfi_rel_offset \r, 0
        .endr
        mov     ecx, [esp + 20]
        mov     [ecx + 88], esp
        mov     esp, [ecx + 64]
        mov     edi, esp
        got     edx
        lea     edx, [edx + context_switch@gotoff]
        cmp     edx, [ecx]
        jne     2f
        lea     edx, [ecx + 80]
        mov     [edi], edx
        add     edi, 4
2:      .irp    n, 0, 1, 2, 3, 4
        mov     edx, [ecx + 8 + 8 * \n]
        mov     [edi + 4 * \n], edx
        .endr
        mov     eax, [ecx + 96]         # noise, for all that is nobody's
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        movd    xmm\n, eax
        .endr
        mov     edx, eax
        mov     ebx, [ecx + 104]
        mov     esi, [ecx + 112]
        mov     edi, [ecx + 120]
        mov     ebp, [ecx + 128]
        call    [ecx]
        got     ecx
        mov     ecx, [ecx + conformance_now@gotoff]
        mov     [ecx + 136], ebx
        mov     [ecx + 144], esi
        mov     [ecx + 152], edi
        mov     [ecx + 160], ebp
        xor     ebx, ebx
        .irp    n, 140, 148, 156, 164, 52, 60, 76
        mov     [ecx + \n], ebx
        .endr
        mov     esi, esp
        mov     esp, [ecx + 88]
        got     ebx
        lea     ebx, [ebx + context_switch@gotoff]
        cmp     ebx, [ecx]
        jne     5f
        sub     esi, 4                  # it has popped that
        mov     edx, [eax + 4]
        mov     eax, [eax]
5:      mov     [ecx + 72], esi
        mov     [ecx + 48], eax
        mov     [ecx + 56], edx
        pushfd
        pop     eax
        mov     [ecx + 80], eax
        mov     dword ptr [ecx + 84], 0
        cld
        .irp    r, edi, esi, ebp, ebx
        pop     \r
        .cfi_adjust_cfa_offset -4
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
        got     edx
        mov     ecx, esp
        pushfd
        pop     eax
        cld
        mov     [edx + conformance_seen@gotoff], ecx
        mov     [edx + conformance_seen@gotoff + 8], eax
        mov     eax, [ebp]              # the frame pointer leads to the last
        mov     [edx + conformance_seen@gotoff + 16], eax
        jmp     conformance_entered
        .cfi_endproc
        .size   conformance_entry, . - conformance_entry
        .att_syntax
        .popsection
)");

#endif
