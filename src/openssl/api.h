// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's released ASYNC API, as far as the drop-in gives it: the declarations of
// <openssl/async.h> of 1.1.1 to 4.x in one, for those headers differ and may not be
// there. And what the files here have in common.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <pthread.h>

struct async_job_st;
struct async_wait_ctx_st;
using ASYNC_JOB = async_job_st;
using ASYNC_WAIT_CTX = async_wait_ctx_st;

#define ASYNC_EXPORT [[gnu::visibility("default")]]

extern "C" {
using ASYNC_callback_fn = int (*)(void *arg);
using ASYNC_stack_alloc_fn = void *(*)(size_t *bytes);
using ASYNC_stack_free_fn = void (*)(void *stack);
using async_cleanup_fn = void (*)(ASYNC_WAIT_CTX *, const void *key, int fd, void *data);

ASYNC_EXPORT int ASYNC_init_thread(size_t max_size, size_t init_size);
ASYNC_EXPORT void ASYNC_cleanup_thread();
ASYNC_EXPORT int ASYNC_is_capable();
ASYNC_EXPORT int ASYNC_set_mem_functions(ASYNC_stack_alloc_fn alloc, ASYNC_stack_free_fn free);
ASYNC_EXPORT void ASYNC_get_mem_functions(ASYNC_stack_alloc_fn *alloc, ASYNC_stack_free_fn *free);
ASYNC_EXPORT int ASYNC_start_job(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx, int *ret,
                                 int (*func)(void *), void *args, size_t size);
ASYNC_EXPORT int ASYNC_pause_job();
ASYNC_EXPORT ASYNC_JOB *ASYNC_get_current_job();
ASYNC_EXPORT ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job);
ASYNC_EXPORT void ASYNC_block_pause();
ASYNC_EXPORT void ASYNC_unblock_pause();

ASYNC_EXPORT ASYNC_WAIT_CTX *ASYNC_WAIT_CTX_new();
ASYNC_EXPORT void ASYNC_WAIT_CTX_free(ASYNC_WAIT_CTX *ctx);
ASYNC_EXPORT int ASYNC_WAIT_CTX_set_wait_fd(ASYNC_WAIT_CTX *ctx, const void *key, int fd,
                                            void *data, async_cleanup_fn cleanup);
ASYNC_EXPORT int ASYNC_WAIT_CTX_get_fd(ASYNC_WAIT_CTX *ctx, const void *key, int *fd,
                                       void **data);
ASYNC_EXPORT int ASYNC_WAIT_CTX_get_all_fds(ASYNC_WAIT_CTX *ctx, int *fds, size_t *count);
ASYNC_EXPORT int ASYNC_WAIT_CTX_get_changed_fds(ASYNC_WAIT_CTX *ctx, int *added,
                                                size_t *added_count, int *deleted,
                                                size_t *deleted_count);
ASYNC_EXPORT int ASYNC_WAIT_CTX_clear_fd(ASYNC_WAIT_CTX *ctx, const void *key);
ASYNC_EXPORT int ASYNC_WAIT_CTX_set_callback(ASYNC_WAIT_CTX *ctx, ASYNC_callback_fn callback,
                                             void *arg);
ASYNC_EXPORT int ASYNC_WAIT_CTX_get_callback(ASYNC_WAIT_CTX *ctx, ASYNC_callback_fn *callback,
                                             void **arg);
ASYNC_EXPORT int ASYNC_WAIT_CTX_set_status(ASYNC_WAIT_CTX *ctx, int status);
ASYNC_EXPORT int ASYNC_WAIT_CTX_get_status(ASYNC_WAIT_CTX *ctx);

// Not of that API, but of libcrypto 3: see libcrypto.h.
ASYNC_EXPORT void *OSSL_LIB_CTX_set0_default(void *library_context);
}

inline constexpr int async_err = 0, async_no_jobs = 1, async_pause = 2, async_finish = 3;

// ---- between the files here ------------------------------------------------------------

// While this lives, a pthread_cancel of the thread waits: around functions of the caller's,
// and around calls that are cancellation points.
struct cancel_off {
    int before;
    cancel_off() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); }
    ~cancel_off()
    {
        int disabled;
        pthread_setcancelstate(before, &disabled);
    }
    cancel_off(const cancel_off &) = delete;
    cancel_off &operator=(const cancel_off &) = delete;
};

// A job that has this wait context has paused, by that name.
void wait_ctx_job_paused(ASYNC_WAIT_CTX *ctx, ASYNC_JOB *job);
// It was resumed: the period in which a descriptor counts as added or deleted ends.
void wait_ctx_job_resumed(ASYNC_WAIT_CTX *ctx);

// A wait context goes while its jobs are paused, `jobs` of them, `last` the last, which
// will not be resumed any more. woken: what they waited for has come.
void job_abandon(ASYNC_WAIT_CTX *ctx, unsigned jobs, ASYNC_JOB *last, bool woken);
