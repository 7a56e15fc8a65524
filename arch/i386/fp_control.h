/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i386: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: the x87 control word, and where the CPU has SSE, MXCSR
 * without its flags (Intel SDM, volume 1, 8.1.5 and 10.2.3).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <atomic>
#include <cpuid.h>
#include <cstdint>

/* As CPUID has it (leaf 1, edx): who compiled this for an older CPU may run beside code
 * that uses SSE. (Not from getauxval(): in AT_HWCAP, glibc has bits of its own on this
 * CPU.) Asked once, for a virtual machine leaves to its host for it. */
inline bool fp_control_has_mxcsr()
{
    static std::atomic<int> answer; /* 0: not asked yet */
    int known = answer.load(std::memory_order_relaxed);
    if (!known) {
        unsigned eax, ebx, ecx, edx;
        known = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && edx & bit_SSE ? 1 : -1;
        answer.store(known, std::memory_order_relaxed);
    }
    return known > 0;
}

inline uint64_t fp_control_read()
{
    uint32_t mxcsr = 0;
    uint16_t x87;
    asm volatile("fnstcw %0" : "=m"(x87));
    if (fp_control_has_mxcsr())
        asm volatile("stmxcsr %0" : "=m"(mxcsr));
    return uint64_t(x87) << 32 | (mxcsr & ~63u);
}

inline void fp_control_write(uint64_t control)
{
    auto x87 = uint16_t(control >> 32);
    asm volatile("fldcw %0" : : "m"(x87));
    if (!fp_control_has_mxcsr())
        return;
    uint32_t now;
    asm volatile("stmxcsr %0" : "=m"(now));
    uint32_t mxcsr = uint32_t(control) | (now & 63);
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
}

#endif
