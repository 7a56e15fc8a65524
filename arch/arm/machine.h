/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm: what the host code must know of this CPU, and the slots of a context,
 * which only the assembly here names (and personality.cpp).
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child, 19 registers and room for two words, and what is missing to
 * make a control block, which is a context and 40 bytes more, a power of two. */
#define JS_CONTEXT_BYTES 216
#define JS_JOB_BYTES 256

#define JS_CTX_LINK 0
#define JS_CTX_SP 4
#define JS_CTX_LR 8
#define JS_CTX_RESULT 12
#define JS_CTX_R4 16
#define JS_CTX_D8 48
#define JS_CTX_SENT 112
#define JS_CTX_CHILD 212

#endif
