/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any CPU: what the host code must know of it. What a context keeps is in context.cpp.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context, and room up to what makes a control block, which is a context and 48 bytes
 * more (40 with 32 bits), a power of two. */
#if __SIZEOF_POINTER__ == 8
#define JS_CONTEXT_BYTES 80
#define JS_JOB_BYTES 128
#else
#define JS_CONTEXT_BYTES 88
#define JS_JOB_BYTES 128
#endif

/* For tests, which can expect less. */
#define JS_UCONTEXT 1

/* A switch needs so much of the stack that it leaves: two ucontexts (of 1 KiB on x86_64, of
 * 4.5 on aarch64) and the C library's frames. */
#define JS_SWITCH_STACK_BYTES 12288

#endif
