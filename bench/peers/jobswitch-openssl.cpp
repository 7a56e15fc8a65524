// SPDX-License-Identifier: Apache-2.0
//
// The drop-in for OpenSSL's jobs: the same calls as of openssl.cpp, in a process where it is
// preloaded, as programs have it that cannot be rebuilt.
//
// Needs: openssl/async.h libssl-dev -lcrypto
#include "peer.h"

#if __has_include(<openssl/async.h>)

#include <dlfcn.h>
#include <unistd.h>

#include "openssl_runtime.h"

namespace {

// The folders in which this program's libraries are looked for; "": in none.
std::string drop_in_file()
{
    Dl_serinfo size;
    void *const self = dlopen(nullptr, RTLD_LAZY);
    if (!self || dlinfo(self, RTLD_DI_SERINFOSIZE, &size) != 0)
        return "";
    std::vector<char> room(size.dls_size);
    const auto folders = reinterpret_cast<Dl_serinfo *>(room.data());
    dlinfo(self, RTLD_DI_SERINFOSIZE, folders);
    if (dlinfo(self, RTLD_DI_SERINFO, folders) != 0)
        return "";
    for (unsigned i = 0; i < folders->dls_cnt; i++) {
        const std::string file =
            std::string(folders->dls_serpath[i].dls_name) + "/libjobswitch-openssl.so.1";
        if (access(file.c_str(), R_OK) == 0)
            return file;
    }
    return "";
}

struct Runtime : OpensslRuntime {
    static constexpr const char *NAME = "jobswitch-openssl";
    static constexpr bool PRELOADS = true;
    static std::string preload() { return drop_in_file(); }

    static bool open(size_t initial_jobs)
    {
        return environment_symbol_file("ASYNC_start_job").find("libjobswitch-openssl") !=
                   std::string::npos &&
               OpensslRuntime::open(initial_jobs);
    }
};

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "jobswitch for OpenSSL",
                               .note = "the drop-in, preloaded: OpenSSL's own functions, on "
                                       "this runtime; in processes of its own",
                               .missing = "",
                               .library = drop_in_file,
                               .order = 25});

} // namespace

// (What libssl does with jobs; the rest is in the rows of the library below it.)
#include "rows/pause_resume.h"
#include "rows/start_finish.h"
#include "rows/start_pause_resume_finish.h"

#else

namespace {
const PeerRegister registered({.name = "jobswitch-openssl",
                               .title = "jobswitch for OpenSSL",
                               .note = "",
                               .missing = "libssl-dev",
                               .order = 25});
}

#endif
