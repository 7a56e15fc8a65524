/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU: what of floating point a job keeps in a pool with JOBSWITCH_FP_ENVIRONMENT: its
 * control words and the flags of exceptions that have happened: WHICH (DOCUMENT, SECTION).
 *
 * Can a flag trap when it is unmasked later (DOCUMENT, SECTION)? Then the flags of one
 * context must never meet the masks of another.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read();
inline void fp_control_write(uint64_t control);

#endif
