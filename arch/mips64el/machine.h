/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mips64el: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and 20 registers, and room up to what makes a control block,
 * which is a context and 48 bytes more, a power of two. */
#define JS_CONTEXT_BYTES 208
#define JS_JOB_BYTES 256

#define JS_CTX_LINK 0
#define JS_CTX_SP 8
#define JS_CTX_RA 16
#define JS_CTX_GP 24
#define JS_CTX_S0 32
#define JS_CTX_S8 96
#define JS_CTX_F24 104
#define JS_CTX_CHILD 200

#endif
