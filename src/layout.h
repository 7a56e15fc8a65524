/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where assembly finds what the host code keeps: one list for every CPU,
 * asserted by the compiler in job.cpp. Only "#define NAME value" lines, so that
 * every assembler can be given them.
 */
#ifndef JS_LAYOUT_H
#define JS_LAYOUT_H

/* struct job: a context, and behind it */
#define JS_JOB_HANDLE (JS_CONTEXT_BYTES + 0)
#define JS_JOB_OWNER (JS_CONTEXT_BYTES + 8)
#define JS_JOB_NEXT (JS_CONTEXT_BYTES + 16)
#define JS_JOB_GATE (JS_CONTEXT_BYTES + 24)
#define JS_JOB_FLAGS (JS_CONTEXT_BYTES + 28)
#define JS_JOB_WAIT (JS_CONTEXT_BYTES + 32)
#define JS_JOB_STACK_TOP (JS_CONTEXT_BYTES + 48)

/* job.handle: nobody has been given it */
#define JS_HANDLE_SECRET 1

/* job.wait: the generation in the upper half; in the lower half */
#define JS_WAIT_WOKEN 1

/* struct pool: the thread's own context, and behind it */
#define JS_POOL_IDLE (JS_CONTEXT_BYTES + 0)
#define JS_POOL_JOB_OUT (JS_CONTEXT_BYTES + 8)
#define JS_POOL_RET_OUT (JS_CONTEXT_BYTES + 16)
#define JS_POOL_STARTED (JS_CONTEXT_BYTES + 24)
#define JS_POOL_ARENA (JS_CONTEXT_BYTES + 32)
#define JS_POOL_ARENA_BYTES (JS_CONTEXT_BYTES + 40)
#define JS_POOL_STACK_SPAN (JS_CONTEXT_BYTES + 48)
#define JS_POOL_UNTIL_REVIEW (JS_CONTEXT_BYTES + 56)

/* struct pool_thread, thread-local; defined beside the entry functions */
#define JS_THREAD_POOL 0
#define JS_THREAD_CURRENT 8
#define JS_THREAD_BYTES 24

/* args of at most so many bytes are copied by the entry itself; the smallest
 * stack allows for them */
#define JS_ENTRY_ARGS_BYTES 1024

#endif
