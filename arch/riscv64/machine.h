/* SPDX-License-Identifier: Apache-2.0 */
/*
 * riscv64: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and 26 registers (14 where the ABI keeps no floating-point
 * register), and room up to what makes a control block, which is a context and 48 bytes
 * more, a power of two. */
#define JS_CONTEXT_BYTES 464
#define JS_JOB_BYTES 512

#define JS_CTX_LINK 0
#define JS_CTX_SP 8
#define JS_CTX_RA 16
#define JS_CTX_S0 24
#define JS_CTX_FS0 120
#define JS_CTX_CHILD 456

#endif
