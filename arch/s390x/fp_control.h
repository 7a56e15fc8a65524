/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s390x: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT: the
 * FPC, which has the masks of exceptions, their flags, and the ways to round, binary and
 * decimal (Principles of Operation, chapter 9). LFPC does not trap on a flag.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t word;
    asm volatile("stfpc %0" : "=Q"(word));
    return word;
}

inline void fp_control_write(uint64_t control)
{
    auto word = uint32_t(control);
    asm volatile("lfpc %0" : : "Q"(word));
}

#endif
