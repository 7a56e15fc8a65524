// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's own ASYNC runtime, libcrypto's.
//
// Needs: openssl/async.h libssl-dev -lcrypto
#include "peer.h"

#if __has_include(<openssl/async.h>)

#include <openssl/crypto.h>

#include "openssl_runtime.h"

namespace {

struct Runtime : OpensslRuntime {
    static constexpr const char *NAME = "openssl";
};

std::string library()
{
    return std::string(OpenSSL_version(OPENSSL_VERSION)) + ", " +
           environment_symbol_file("ASYNC_start_job");
}

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "OpenSSL ASYNC",
                               .note = "keeps a wait context and swaps the default library "
                                       "context at each switch; stacks of 32 KiB, no guard",
                               .missing = "",
                               .library = library,
                               .order = 30});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "openssl",
                               .title = "OpenSSL ASYNC",
                               .note = "",
                               .missing = "libssl-dev",
                               .order = 30});
}

#endif
