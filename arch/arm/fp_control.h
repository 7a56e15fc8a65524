/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: of FPSCR the ways to round and to flush, and the traps
 * (Arm ARM for Armv7-A, A2.5: FPSCR).
 * What arithmetic sets (flags, also those of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline constexpr uint32_t fp_control_bits = 0x07c09f00;

inline uint64_t fp_control_read()
{
    uint32_t now;
    asm volatile("vmrs %0, fpscr" : "=r"(now));
    return now & fp_control_bits;
}

inline void fp_control_write(uint64_t control)
{
    uint32_t now;
    asm volatile("vmrs %0, fpscr" : "=r"(now));
    now = (now & ~fp_control_bits) | uint32_t(control);
    asm volatile("vmsr fpscr, %0" : : "r"(now));
}

#endif
