// SPDX-License-Identifier: Apache-2.0
#include "libcrypto.h"

#include <dlfcn.h>

#include "api.h"

static constexpr int err_lib_async = 51;

// Beside those in everybody's view there is a libcrypto that somebody has loaded for himself.
static void *find(const char *name)
{
    const cancel_off off;
    if (void *found = dlsym(RTLD_NEXT, name))
        return found;
    for (const char *file : {"libcrypto.so.3", "libcrypto.so.4", "libcrypto.so.1.1"})
        if (void *library = dlopen(file, RTLD_LAZY | RTLD_NOLOAD)) {
            void *found = dlsym(library, name);
            dlclose(library);
            if (found)
                return found;
        }
    return nullptr;
}

// ---- errors ----------------------------------------------------------------------------

void libcrypto_raise(libcrypto_reason reason, const char *function)
{
    using err_new = void (*)();
    using err_set_debug = void (*)(const char *file, int line, const char *function);
    using err_set_error = void (*)(int library, int reason, const char *format, ...);
    using err_put_error = void (*)(int library, int function, int reason, const char *file,
                                   int line);
    const cancel_off off; // the first error of a thread may have libcrypto read files
    if (auto begin = reinterpret_cast<err_new>(find("ERR_new"))) {
        auto set_debug = reinterpret_cast<err_set_debug>(find("ERR_set_debug"));
        auto set_error = reinterpret_cast<err_set_error>(find("ERR_set_error"));
        if (!set_debug || !set_error)
            return;
        begin();
        set_debug("jobswitch", 0, function);
        set_error(err_lib_async, int(reason), nullptr);
    } else if (auto put = reinterpret_cast<err_put_error>(find("ERR_put_error"))) {
        put(err_lib_async, 0, int(reason), "jobswitch", 0); // 1.1
    }
}

// ---- the default library context ---------------------------------------------------------

using set_default = void *(*)(void *context);
std::atomic<bool> libcrypto_context_matters;
static std::atomic<set_default> real_set_default;
static std::atomic<void *> first_context; // that which all threads begin with

static set_default real()
{
    set_default found = real_set_default.load(std::memory_order_acquire);
    if (!found) {
        found = reinterpret_cast<set_default>(find("OSSL_LIB_CTX_set0_default"));
        real_set_default.store(found, std::memory_order_release);
    }
    return found;
}

void *OSSL_LIB_CTX_set0_default(void *context)
{
    set_default call = real();
    if (!call)
        return nullptr;
    if (context && !libcrypto_context_matters.load(std::memory_order_acquire)) {
        // Nobody has set one so far.
        first_context.store(call(nullptr), std::memory_order_relaxed);
        libcrypto_context_matters.store(true, std::memory_order_release);
    }
    return call(context);
}

void *libcrypto_context_read()
{
    set_default call = real();
    return call ? call(nullptr) : nullptr;
}

void libcrypto_context_write(void *context)
{
    if (!context)
        context = first_context.load(std::memory_order_relaxed);
    set_default call = real();
    if (call && context)
        call(context);
}

[[gnu::constructor]] static void look_who_stands_before()
{
    if (dlsym(RTLD_DEFAULT, "OSSL_LIB_CTX_set0_default") ==
        reinterpret_cast<void *>(&OSSL_LIB_CTX_set0_default))
        return;
    if (set_default call = real())
        first_context = call(nullptr);
    libcrypto_context_matters = true;
}
