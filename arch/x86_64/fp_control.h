/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT:
 * MXCSR, the x87 control word, and the flags of exceptions in the x87 status word (Intel
 * SDM, volume 1, 10.2.3, 8.1.5 and 8.1.3; so are all sections here).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

/* Bits of the x87 status word (8.1.3). */
inline constexpr uint32_t x87_flags = 0x7f;     /* of exceptions, and of a stack fault */
inline constexpr uint32_t x87_summary = 0x8080; /* ES and B: one of them is unmasked */

/* FNSTENV and FLDENV: 28 bytes, in 64-bit mode too (8.1.10, figure 8-9; volume 2). */
struct x87_environment {
    uint32_t control, status, others[5];
};

/* A flag that is set and not masked traps at the next waiting instruction, and FLDCW and
 * FLDENV are such instructions (8.3.12; volume 2, FLDCW). So the flags of the context that
 * ran before are taken away first, by an instruction that does not wait. That is slow, and
 * left out where both contexts have the same flags and none is about to trap. */
inline void x87_write(uint16_t control, uint16_t flags)
{
    uint16_t now;
    asm volatile("fnstsw %0" : "=m"(now));
    if ((now & (x87_flags | x87_summary)) == flags) {
        asm volatile("fldcw %0" : : "m"(control));
    } else if (!flags) {
        asm volatile("fnclex\n\tfldcw %0" : : "m"(control));
    } else {
        x87_environment all;
        asm volatile("fnstenv %0" : "=m"(all)); /* and masks all exceptions */
        all.control = (all.control & 0xffff0000) | control;
        all.status = (all.status & ~(x87_flags | x87_summary)) | flags;
        asm volatile("fldenv %0" : : "m"(all));
    }
}

inline uint64_t fp_control_read()
{
    uint32_t mxcsr;
    uint16_t control, status;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    asm volatile("fnstcw %0" : "=m"(control));
    asm volatile("fnstsw %0" : "=m"(status));
    return uint64_t(status & x87_flags) << 48 | uint64_t(control) << 32 | mxcsr;
}

/* (A flag in MXCSR does not trap when it is unmasked: 10.2.3.1.) */
inline void fp_control_write(uint64_t control)
{
    auto mxcsr = uint32_t(control);
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    x87_write(uint16_t(control >> 32), uint16_t(control >> 48));
}

#endif
