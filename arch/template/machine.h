/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU: what the host code must know of this CPU, and the slots of a
 * context, which only the assembly here names.
 */
#ifndef JS_MACHINE_H
#define JS_MACHINE_H

/* A context: link, child and N registers, and room up to what makes a control block,
 * which is a context and 48 bytes more (40 on a CPU of 32 bits), a power of two. (A context
 * begins 8 bytes behind a multiple of 16: no instruction may want more of its slots.) */
#define JS_CONTEXT_BYTES 208
#define JS_JOB_BYTES 256

/* The first is the host code's, as is the last, which is at the very end. */
#define JS_CTX_LINK 0
#define JS_CTX_SP 8
/* ... one for each register that context_switch keeps */
#define JS_CTX_CHILD 200

#endif
