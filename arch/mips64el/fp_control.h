/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mips64el: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: of FCSR the ways to round, what traps, and whether numbers
 * that are too small are flushed (MIPS64 Architecture, volume I, table 5.6).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t word;
    asm volatile("cfc1 %0, $31" : "=r"(word));
    return word & 0x1000f83;
}

inline void fp_control_write(uint64_t control)
{
    uint32_t word;
    asm volatile("cfc1 %0, $31" : "=r"(word));
    // Without the causes: one that is set would trap here, if its trap is.
    word = (word & ~0x103ff83u) | uint32_t(control);
    asm volatile("ctc1 %0, $31" : : "r"(word));
}

#endif
