// SPDX-License-Identifier: Apache-2.0
//
// Any CPU: making, switching and starting contexts, as src/context.h asks, with the C
// library's ucontext.
//
// What differs from a port: a switch makes two system calls, since the signal mask goes
// with a ucontext, and is to stay the thread's; the ways to round are each context's own;
// a walk ends at the bottom of a job, also where its starter waits for it.
#include "context.h"

#include <csignal>
#include <cstdlib>
#include <new>
#include <ucontext.h>

// What an unwinder asks at the bottom of a job's stack, where its frame leads to this
// (C++ ABI for Itanium, Level I: 1.6.2). An exception is not to leave the job: the search
// ends in a fatal error, so that __cxa_throw terminates the program with the job's frames
// intact. A forced unwind is named and ended.
extern "C" [[gnu::visibility("hidden"), gnu::used]] int context_personality(int, int actions)
{
    constexpr int force_unwind = 8, fatal_phase1_error = 3;
    if (actions & force_unwind)
        context_unwound();
    return fatal_phase1_error;
}

namespace {

// What a context keeps, in context::saved. Where it stands is a ucontext on its own stack.
struct standing {
    ucontext_t *at; // NULL: nowhere yet
    unsigned char *top;
    int (*func)(void *);
    void *arg;
    transfer sent; // to it
};
static_assert(sizeof(standing) <= sizeof context::saved);
static_assert(__builtin_offsetof(context, saved) % alignof(standing) == 0);

standing &standing_of(const context *c)
{
    return *reinterpret_cast<standing *>(const_cast<unsigned char *>(c->saved));
}

// makecontext() passes on numbers of type int alone.
constexpr unsigned half_bits = 8 * sizeof(unsigned);

[[gnu::noinline]] void begin(unsigned high, unsigned low)
{
    uintptr_t address = low;
    if constexpr (sizeof(uintptr_t) > sizeof(unsigned))
        address |= uintptr_t(high) << half_bits;
    auto c = reinterpret_cast<context *>(address);
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
    asm volatile(".cfi_personality 0x1b, context_personality");
#endif
    standing &s = standing_of(c);
    context_ended(c, s.func(s.arg));
}

// Where `to` goes on; a fresh one is made in `fresh`. With the signal mask of this thread.
ucontext_t *target_of(context *to, ucontext_t *fresh)
{
    standing &s = standing_of(to);
    ucontext_t *const target = s.at ? s.at : fresh;
    if (target == fresh) {
        getcontext(target);
        constexpr size_t some_bytes = 4096; // only where they end matters
        target->uc_stack.ss_sp = s.top - some_bytes;
        target->uc_stack.ss_size = some_bytes;
        target->uc_link = nullptr;
        auto address = reinterpret_cast<uintptr_t>(to);
        unsigned high = 0;
        if constexpr (sizeof(uintptr_t) > sizeof(unsigned))
            high = unsigned(address >> half_bits);
        makecontext(target, reinterpret_cast<void (*)()>(begin), 2, high, unsigned(address));
    } else {
        sigprocmask(SIG_SETMASK, nullptr, &target->uc_sigmask);
    }
    return target;
}

} // namespace

void context_make(context *c, void *top, int (*func)(void *), void *arg)
{
    new (&standing_of(c)) standing{nullptr, static_cast<unsigned char *>(top), func, arg, {}};
    c->link = c;
    c->child = nullptr;
}

transfer context_switch(context *from, context *to, transfer sent)
{
    ucontext_t here, fresh;
    standing_of(to).sent = sent;
    ucontext_t *target = target_of(to, &fresh);
    standing_of(from).at = &here;
    swapcontext(&here, target);
    return standing_of(from).sent;
}

void context_jump(context *to, transfer sent)
{
    ucontext_t fresh;
    standing_of(to).sent = sent;
    setcontext(target_of(to, &fresh));
    abort();
}

// Below it lies what the switch has put there.
void *context_stack_pointer(const context *c)
{
    const standing &s = standing_of(c);
    return s.at ? static_cast<void *>(s.at) : s.top;
}

// The C library switches its own.
unsigned long context_shadow_stack() { return 0; }
