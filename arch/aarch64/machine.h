/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and 21 registers, and room up to what makes a control
 * block, which is a context and 48 bytes more, a power of two. */
#define JS_CONTEXT_BYTES 208
#define JS_JOB_BYTES 256

#define JS_CTX_LINK 0
#define JS_CTX_SP 8
#define JS_CTX_FP 16
#define JS_CTX_LR 24
#define JS_CTX_X19 32
#define JS_CTX_X21 48
#define JS_CTX_X23 64
#define JS_CTX_X25 80
#define JS_CTX_X27 96
#define JS_CTX_D8 112
#define JS_CTX_D10 128
#define JS_CTX_D12 144
#define JS_CTX_D14 160
#define JS_CTX_CHILD 200

#endif
