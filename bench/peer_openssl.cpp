// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's own ASYNC runtime as quick.cpp's peer: libcrypto's functions, used
// as libssl uses them. The wait context is made once and handed to every start.
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "peer.h"

namespace {

ASYNC_WAIT_CTX *thread_wait_ctx = nullptr;

struct Openssl {
    using Job = ASYNC_JOB;
    static constexpr int PAUSE = ASYNC_PAUSE;
    static constexpr int FINISH = ASYNC_FINISH;

    // A copy, which the compiler can keep in a register over the loop.
    ASYNC_WAIT_CTX *const wait_ctx = thread_wait_ctx;

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t size) const
    {
        return ASYNC_start_job(job, wait_ctx, ret, func, args, size);
    }
    BENCH_INLINE int pause() const { return ASYNC_pause_job(); }
};

std::string library()
{
    return std::string(OpenSSL_version(OPENSSL_VERSION)) + ", " +
           symbol_file("ASYNC_start_job");
}

std::string reason()
{
    const unsigned long code = ERR_peek_last_error();
    const char *const text = code ? ERR_reason_error_string(code) : nullptr;
    return text ? text : "OpenSSL gives no reason";
}

bool open(size_t max_jobs, size_t initial_jobs)
{
    if (!ASYNC_is_capable())
        return false;
    thread_wait_ctx = ASYNC_WAIT_CTX_new();
    return thread_wait_ctx && ASYNC_init_thread(max_jobs, initial_jobs) == 1;
}

void close()
{
    ASYNC_cleanup_thread();
    ASYNC_WAIT_CTX_free(thread_wait_ctx);
    thread_wait_ctx = nullptr;
}

} // namespace

const Peer peer_openssl =
    Loops<Openssl>::peer("OpenSSL ASYNC", library, reason, open, close);
