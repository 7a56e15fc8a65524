/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s390x: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: of the FPC the masks of exceptions and the ways to
 * round, binary and decimal (Principles of Operation, chapter 9).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t word;
    asm volatile("stfpc %0" : "=Q"(word));
    return word & 0xf8000077;
}

inline void fp_control_write(uint64_t control)
{
    uint32_t word;
    asm volatile("stfpc %0" : "=Q"(word));
    word = (word & ~0xf8000077u) | uint32_t(control);
    asm volatile("lfpc %0" : : "Q"(word));
}

#endif
