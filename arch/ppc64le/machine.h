/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ppc64le: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child, 40 registers of 8 bytes and 12 of 16, and room up to what
 * makes a control block, which is a context and 48 bytes more, a power of two. */
#define JS_CONTEXT_BYTES 976
#define JS_JOB_BYTES 1024

#define JS_CTX_LINK 0
#define JS_CTX_R1 8
#define JS_CTX_LR 16
#define JS_CTX_R2 24
#define JS_CTX_CR 32
#define JS_CTX_R14 40
#define JS_CTX_F14 184
#define JS_CTX_V20 336
#define JS_CTX_CHILD 968

/* Back chain, CR, LR and TOC, at each stack pointer. */
#define JS_FRAME_HEADER_BYTES 32

#endif
