/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ppc64le: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT: the
 * FPSCR, which has what traps, the ways to round, binary and decimal, and the flags of
 * exceptions (Power ISA, Book I, 4.2.2 and 4.6.8).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    union {
        double word;
        uint64_t bits;
    } fpscr;
    asm volatile("mffs %0" : "=d"(fpscr.word));
    return fpscr.bits;
}

inline void fp_control_write(uint64_t control)
{
    union {
        uint64_t bits;
        double word;
    } fpscr = {control};
    // All 64 bits at once (L = 1): a flag traps as soon as its enable bit is set, too (FEX),
    // so the flags of one context must never meet the enable bits of another.
    asm volatile("mtfsf 0xff, %0, 1, 0" : : "d"(fpscr.word));
}

#endif
