/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: MXCSR without its flags, and the x87 control word
 * (Intel SDM, volume 1, 10.2.3 and 8.1.5).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t mxcsr;
    uint16_t x87;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    asm volatile("fnstcw %0" : "=m"(x87));
    return uint64_t(x87) << 32 | (mxcsr & ~63u);
}

inline void fp_control_write(uint64_t control)
{
    uint32_t now;
    asm volatile("stmxcsr %0" : "=m"(now));
    uint32_t mxcsr = uint32_t(control) | (now & 63);
    auto x87 = uint16_t(control >> 32);
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    asm volatile("fldcw %0" : : "m"(x87));
}

#endif
