/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riscv64: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT:
 * fcsr, which has the way to round and the flags of exceptions; nothing traps on this CPU
 * (RISC-V unprivileged ISA, F extension).
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read()
{
    uint64_t control = 0;
#ifndef __riscv_float_abi_soft
    asm volatile("frcsr %0" : "=r"(control));
#endif
    return control;
}

inline void fp_control_write(uint64_t control)
{
#ifndef __riscv_float_abi_soft
    asm volatile("fscsr %0" : : "r"(control));
#else
    (void)control;
#endif
}

#endif
