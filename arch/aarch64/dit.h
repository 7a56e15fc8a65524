/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: data-independent timing (FEAT_DIT; Arm ARM, C5.2: DIT), which a program turns
 * on around what it does with secrets. A job that pauses there must neither leave it on
 * for others, which it slows down, nor go on without it.
 */
#ifndef JS_DIT_H
#define JS_DIT_H

#include <atomic>
#include <cstdint>
#include <sys/auxv.h>

/* AT_HWCAP has a bit for it. An emulator may leave that out (qemu-user 7.2 does), and say
 * so in the register alone: ID_AA64PFR0_EL1.DIT, which all may read where another bit
 * says so (Linux, cpu-feature-registers). */
inline bool dit_is_there()
{
    constexpr unsigned long dit = 1ul << 24, registers = 1ul << 11;
    const unsigned long has = getauxval(AT_HWCAP);
    uint64_t features = 0;
    if (!(has & dit) && (has & registers))
        asm volatile("mrs %0, ID_AA64PFR0_EL1" : "=r"(features));
    return (has & dit) || (features >> 48 & 15);
}

/* 0 where the CPU has none. DIT by its encoding, for assemblers that do not know it. */
inline uint64_t dit_read()
{
    static std::atomic<int> there; /* 0: not asked yet; 1: no; 2: yes */
    int known = there.load(std::memory_order_relaxed);
    if (!known)
        there.store(known = dit_is_there() ? 2 : 1, std::memory_order_relaxed);
    if (known == 1)
        return 0;
    uint64_t now;
    asm volatile("mrs %0, S3_3_C4_C2_5" : "=r"(now));
    return now;
}

/* What was read before. */
inline void dit_write(uint64_t value)
{
    if (dit_read() != value)
        asm volatile("msr S3_3_C4_C2_5, %0" : : "r"(value));
}

#endif
