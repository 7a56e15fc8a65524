/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any CPU: what of floating point a job keeps is the C library's business. Its ucontext
 * has control words and flags, whether a pool asks for that or not.
 */
#ifndef JS_FP_CONTROL_H
#define JS_FP_CONTROL_H

#include <cstdint>

inline uint64_t fp_control_read() { return 0; }
inline void fp_control_write(uint64_t) {}

#endif
