/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: FPCR (Arm ARM, C5.2).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint64_t control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}

inline void fp_control_write(uint64_t control) { asm volatile("msr fpcr, %0" : : "r"(control)); }

#endif
