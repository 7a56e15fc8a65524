/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86_64: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names. Lines of the form
 * "#define NAME value" are turned into an include for NASM as they stand.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and eight registers. A control block is a context and
 * 48 bytes more: two cache lines, of which a resume and a pause by the inlined
 * stubs touch the first alone. */
#define JS_CONTEXT_BYTES 80
#define JS_JOB_BYTES 128

#define JS_CTX_LINK 0
#define JS_CTX_IP 8
#define JS_CTX_SP 16
#define JS_CTX_RBP 24
#define JS_CTX_RBX 32
#define JS_CTX_R12 40
#define JS_CTX_R13 48
#define JS_CTX_R14 56
#define JS_CTX_R15 64
#define JS_CTX_CHILD 72

#define JS_THREAD_ALIGN 64

#endif
