/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU: what of floating point's control a job keeps in a pool with
 * JOBSWITCH_FP_ENVIRONMENT: WHICH (DOCUMENT, SECTION).
 * What arithmetic sets (flags of exceptions that happened) is left alone.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read();
inline void fp_control_write(uint64_t control);

#endif
