/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ppc64le: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: of the FPSCR what traps and the ways to round, binary
 * and decimal (Power ISA, Book I, 4.2.2 and 4.6.8).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
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
    return fpscr.bits & 0x7000000ff;
}

inline void fp_control_write(uint64_t control)
{
    union {
        uint64_t bits;
        double word;
    } fpscr = {control};
    // The two lowest fields of the lower word, and the lowest of the upper one.
    asm volatile("mtfsf 3, %0, 0, 0\n\tmtfsf 1, %0, 0, 1" : : "d"(fpscr.word));
}

#endif
