// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's ASYNC functions, used as libssl uses them: the wait context is made once and
// handed to every start. Whose they are is decided when the process starts.
#ifndef BENCH_OPENSSL_RUNTIME_H
#define BENCH_OPENSSL_RUNTIME_H

#include <openssl/async.h>
#include <openssl/err.h>

#include "peer.h"

namespace {

thread_local ASYNC_WAIT_CTX *thread_wait_ctx = nullptr;

struct OpensslRuntime : RuntimeDefaults {
    using Job = ASYNC_JOB;
    static constexpr const char *NO_THREADS = nullptr;
    static constexpr int PAUSE = ASYNC_PAUSE;
    static constexpr int FINISH = ASYNC_FINISH;

    // A copy, which the compiler can keep in a register over the loop.
    ASYNC_WAIT_CTX *const wait_ctx = thread_wait_ctx;

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t size) const
    {
        return ASYNC_start_job(job, wait_ctx, ret, func, args, size);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*func)(void *)) const
    {
        return ASYNC_start_job(job, wait_ctx, ret, func, nullptr, 0);
    }
    BENCH_INLINE int pause() const { return ASYNC_pause_job(); }

    static bool open(size_t initial_jobs)
    {
        if (!ASYNC_is_capable())
            return false;
        thread_wait_ctx = ASYNC_WAIT_CTX_new();
        // A maximum of 0, no limit, it takes with no jobs to begin with only.
        (void)initial_jobs;
        return thread_wait_ctx && ASYNC_init_thread(0, 0) == 1;
    }
    static void close()
    {
        ASYNC_cleanup_thread();
        ASYNC_WAIT_CTX_free(thread_wait_ctx);
        thread_wait_ctx = nullptr;
    }
    static std::string reason()
    {
        const unsigned long code = ERR_peek_last_error();
        const char *const text = code ? ERR_reason_error_string(code) : nullptr;
        return text ? text : "OpenSSL gives no reason";
    }
};

} // namespace

#endif
