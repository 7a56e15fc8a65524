/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switches announced to a tool that follows the stack: AddressSanitizer,
 * LeakSanitizer, ThreadSanitizer. Included by jobswitch.h, not by programs.
 *
 * The library calls no sanitizer by name. A program that is built with one
 * hands over the functions below, from the part of this header that only such
 * a build compiles; from then on every switch of threads that get their pool
 * takes the announcing path. An ordinary build compiles a type and a
 * declaration, and the library's fast path stays as it is.
 */
#ifndef JOBSWITCH_TOOL_H
#define JOBSWITCH_TOOL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Each member may be NULL. */
typedef struct jobswitch_tool {
    size_t size; /* bytes of this struct, as the caller knows it */
    /* before a switch: where to keep what belongs to the stack that is left
     * (NULL: it ends), and the stack that is entered */
    void (*stack_leave)(void **keep, const void *low, size_t bytes);
    /* after it: what was kept, and where to store the stack that was left */
    void (*stack_enter)(void *keep, const void **low, size_t *bytes);
    /* memory of a stack that holds no frames any more */
    void (*stack_forget)(void const volatile *low, size_t bytes);
    /* memory that may hold the only pointer to something */
    void (*root_add)(const void *low, size_t bytes);
    void (*root_remove)(const void *low, size_t bytes);
    /* a thread of execution of the tool's own */
    void *(*fiber_current)(void);
    void *(*fiber_create)(unsigned flags);
    void (*fiber_destroy)(void *fiber);
    void (*fiber_switch)(void *fiber, unsigned flags);
    /* what the library orders between threads, by an address they share */
    void (*acquire)(void *address);
    void (*release)(void *address);
} jobswitch_tool;

/* Takes effect for pools made after it. *tool is copied; its functions must
 * stay. Returns 1, or 0 with a reason. Threads: any; signal handlers: no. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int jobswitch_set_tool(const jobswitch_tool *tool);

#ifdef __cplusplus
}
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define JOBSWITCH_WITH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define JOBSWITCH_WITH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define JOBSWITCH_WITH_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define JOBSWITCH_WITH_TSAN 1
#endif

#if (defined(JOBSWITCH_WITH_ASAN) || defined(JOBSWITCH_WITH_TSAN)) &&         \
    !defined(JOBSWITCH_BUILDING)
#if defined(JOBSWITCH_WITH_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
static const jobswitch_tool jobswitch_tool_of_this_build = {
    sizeof(jobswitch_tool),        __sanitizer_start_switch_fiber,
    __sanitizer_finish_switch_fiber, __asan_unpoison_memory_region,
    __lsan_register_root_region,   __lsan_unregister_root_region,
    NULL, NULL, NULL, NULL, NULL, NULL};
#else
#include <sanitizer/tsan_interface.h>
static const jobswitch_tool jobswitch_tool_of_this_build = {
    sizeof(jobswitch_tool), NULL, NULL, NULL, NULL, NULL,
    __tsan_get_current_fiber, __tsan_create_fiber,
    __tsan_destroy_fiber,   __tsan_switch_to_fiber,
    __tsan_acquire,         __tsan_release};
#endif
/* Before the program's own constructors, which may start jobs. */
__attribute__((constructor(101))) static void jobswitch_announce_switches(void)
{
    (void)jobswitch_set_tool(&jobswitch_tool_of_this_build);
}
#endif

#endif
