/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT:
 * FPCR, and the flags of exceptions, FPSR (Arm ARM, C5.2; the upper halves of both are reserved).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint64_t control, status;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    asm volatile("mrs %0, fpsr" : "=r"(status));
    return status << 32 | control;
}

inline void fp_control_write(uint64_t control)
{
    asm volatile("msr fpcr, %0" : : "r"(control & 0xffffffff));
    asm volatile("msr fpsr, %0" : : "r"(control >> 32));
}

#endif
