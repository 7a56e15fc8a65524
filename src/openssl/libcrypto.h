// SPDX-License-Identifier: Apache-2.0
//
// What is asked of libcrypto, where it is in the process: this library is not linked with
// it, and serves any version. Knows no jobs.
#pragma once

#include <atomic>

// OpenSSL's numbers.
enum class libcrypto_reason : int {
    failed_to_set_pool = 101,
    failed_to_swap_context = 102,
    invalid_pool_size = 103,
    init_failed = 105,
};

// To the error queue of the thread.
void libcrypto_raise(libcrypto_reason reason, const char *function);

// The default library context belongs to a thread, and each job is to have its own. To ask
// for it takes longer than a job switch, and hardly anybody sets one: so this library
// stands before libcrypto's OSSL_LIB_CTX_set0_default, and nothing is asked before
// somebody has called that. (Where it does not stand there, always.)
extern std::atomic<bool> libcrypto_context_matters;

// The calling thread's; NULL: that which all threads begin with.
void *libcrypto_context_read();
void libcrypto_context_write(void *context);
