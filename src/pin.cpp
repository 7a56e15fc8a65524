// SPDX-License-Identifier: Apache-2.0
#include "pin.h"

#include <atomic>
#include <cstdint>
#include <dlfcn.h>
#include <sys/auxv.h>

// Weak: a static program has no loader and needs none. For the same reason dlopen is looked
// up by name: the linker warns of each static program that refers to it.
#pragma weak dladdr
#pragma weak dlsym

// The program's headers lie at its beginning, and it stays anyhow.
static bool is_program(const void *object)
{
    return getauxval(AT_PHDR) - reinterpret_cast<uintptr_t>(object) < 4096;
}

void pin_own_object()
{
    static std::atomic<bool> pinned;
    if (pinned.load(std::memory_order_relaxed))
        return;
    Dl_info own;
    if (dladdr && dlsym && dladdr(reinterpret_cast<void *>(&pin_own_object), &own) &&
        !is_program(own.dli_fbase)) {
        auto *open = reinterpret_cast<decltype(&dlopen)>(dlsym(RTLD_DEFAULT, "dlopen"));
        // Never closed. It is loaded, so it is found by the name it was loaded by.
        if (open)
            open(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
    pinned.store(true, std::memory_order_relaxed);
}
