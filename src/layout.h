/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where assembly finds what the host code keeps: one list for every CPU of 64 bits,
 * asserted by the compiler in job.cpp. Only "#define NAME value" lines, so that
 * every assembler can be given them. (A CPU's inline.h has some of them once more, as
 * programs have been built with them; see there.)
 */
#ifndef JS_LAYOUT_H
#define JS_LAYOUT_H

/* struct job: its context lies so far inside, and the rest is counted from
 * there */
#define JS_JOB_CONTEXT 24
#define JS_JOB_KEY (-24)
#define JS_JOB_PAUSE_TOP (-16)
#define JS_JOB_GATE (-8)
#define JS_JOB_FLAGS (-4)
#define JS_JOB_WAIT (JS_CONTEXT_BYTES + 0)
#define JS_JOB_NEXT (JS_CONTEXT_BYTES + 16)

/* job.key: nobody has been given the handle */
#define JS_KEY_SECRET 1
/* job.gate: the same; and it has not paused yet. The number of the bit in
 * job.pause_top that is set where the gate is not 0 */
#define JS_GATE_SECRET (1 << 27)
#define JS_GATE_FIRST (1 << 26)
#define JS_GATE_FRESH (3 << 26)
#define JS_PAUSE_TOP_GATED 63

/* job.wait: the generation in the upper half; in the lower half what ends with it,
 * wait.h's woken and known. Where there is more, the end is not simply an end. */
#define JS_WAIT_ENDING 33

/* struct pool_thread, thread-local, defined beside the entry functions: the
 * thread's own context lies so far inside, and the rest is counted from there */
#define JS_THREAD_BYTES (JS_CONTEXT_BYTES + 176)
#define JS_THREAD_ROOT 32
#define JS_ROOT_PAUSE_TOP (-16)
#define JS_ROOT_HOT (JS_CONTEXT_BYTES + 0)
#define JS_ROOT_STACK_SPAN (JS_CONTEXT_BYTES + 8)
#define JS_ROOT_LIVE (JS_CONTEXT_BYTES + 16)
#define JS_ROOT_UNTIL_REVIEW (JS_CONTEXT_BYTES + 24)
#define JS_ROOT_ARENA_FIRST (JS_CONTEXT_BYTES + 32)
#define JS_ROOT_ARENA_MASK (JS_CONTEXT_BYTES + 40)
#define JS_ROOT_JOB_OUT (JS_CONTEXT_BYTES + 48)
#define JS_ROOT_RET_OUT (JS_CONTEXT_BYTES + 56)

/* args of at most so many bytes are copied by the entry itself; the smallest
 * stack allows for them */
#define JS_ENTRY_ARGS_BYTES 1024

#endif
