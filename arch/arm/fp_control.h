/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT: FPSCR,
 * which has the ways to round and to flush, the traps, and the flags of exceptions (Arm
 * ARM for Armv7-A, A2.5: FPSCR).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t word;
    asm volatile("vmrs %0, fpscr" : "=r"(word));
    return word;
}

inline void fp_control_write(uint64_t control)
{
    asm volatile("vmsr fpscr, %0" : : "r"(uint32_t(control)));
}

#endif
