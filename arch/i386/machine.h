/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i386: what the host code must know of this CPU, and the slots of a context,
 * which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and 5 registers, and room up to what makes a control block,
 * which is a context and 40 bytes more, two cache lines. */
#define JS_CONTEXT_BYTES 88
#define JS_JOB_BYTES 128

#define JS_CTX_LINK 0
#define JS_CTX_SP 4
#define JS_CTX_EBX 8
#define JS_CTX_ESI 12
#define JS_CTX_EDI 16
#define JS_CTX_EBP 20
#define JS_CTX_CHILD 84

#endif
