// SPDX-License-Identifier: Apache-2.0
#include "pin.h"

#include <atomic>
#include <cstdint>
#include <dlfcn.h>
#include <sys/auxv.h>

// Weak: a static program has no loader and needs none, nor the linker's warning about one.
#pragma weak dladdr
#pragma weak dlopen

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
    if (dladdr && dlopen && dladdr(reinterpret_cast<void *>(&pin_own_object), &own) &&
        !is_program(own.dli_fbase))
        // Never closed. It is loaded, so it is found by the name it was loaded by.
        (void)!dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    pinned.store(true, std::memory_order_relaxed);
}
