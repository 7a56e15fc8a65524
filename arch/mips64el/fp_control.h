/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mips64el: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT:
 * FCSR, which has the ways to round, what traps, whether numbers that are too small are
 * flushed, and the flags of exceptions (MIPS64 Architecture, volume I, table 5.6).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint32_t word;
    asm volatile("cfc1 %0, $31" : "=r"(word));
    // Without the cause bits, which are those of the last operation alone: CTC1 traps if
    // it writes one together with its enable bit. The flag bits never trap.
    return word & ~0x3f000u;
}

inline void fp_control_write(uint64_t control)
{
    asm volatile("ctc1 %0, $31" : : "r"(uint32_t(control)));
}

#endif
