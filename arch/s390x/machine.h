/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s390x: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child, 18 registers and where a result goes, and room up to what
 * makes a control block, which is a context and 48 bytes more, a power of two. */
#define JS_CONTEXT_BYTES 208
#define JS_JOB_BYTES 256

#define JS_CTX_LINK 0
#define JS_CTX_RESULT 8
#define JS_CTX_R6 16
#define JS_CTX_R14 80
#define JS_CTX_R15 88
#define JS_CTX_F8 96
#define JS_CTX_NOWHERE 160
#define JS_CTX_CHILD 200

/* What a function may write above its caller's stack pointer. */
#define JS_SAVE_AREA_BYTES 160

#endif
