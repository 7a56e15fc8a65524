// SPDX-License-Identifier: Apache-2.0
//
// arm: what an unwinder asks at the bottom of a job's stack. On this CPU there are no rows
// that it could read (rows are for debuggers): each frame's routine unwinds it.
// EHABI32 2023Q3: 8.2 (what is asked), 8.5 (registers), 9.2 (answers); the forced unwinds of
// pthread_exit and the walks of _Unwind_Backtrace, which are GNU's, set a further bit.
#include <cstdint>

#include "context.h"

extern "C" {
// Of the unwinder's library, which asks: where nobody unwinds, it need not be there.
[[gnu::weak]] int _Unwind_VRS_Get(void *registers, int kind, uint32_t number, int form,
                                  void *value);
[[gnu::weak]] int _Unwind_VRS_Set(void *registers, int kind, uint32_t number, int form,
                                  void *value);
[[gnu::visibility("hidden"), gnu::used]] int context_personality(unsigned state, void *exception,
                                                                 void *registers);
}

// What is compiled with tables asks the linker for these, which would bring in libgcc. The
// unwinder has its own, which it finds by their numbers; nobody calls them.
extern "C" {
[[gnu::visibility("hidden")]] void __aeabi_unwind_cpp_pr0();
[[gnu::visibility("hidden")]] void __aeabi_unwind_cpp_pr1();
[[gnu::visibility("hidden")]] void __aeabi_unwind_cpp_pr2();
}
void __aeabi_unwind_cpp_pr0() {}
void __aeabi_unwind_cpp_pr1() {}
void __aeabi_unwind_cpp_pr2() {}

static constexpr unsigned actions = 3, force_unwind = 8;         // of the state
static constexpr unsigned virtual_unwind_frame = 0;
static constexpr int end_of_stack = 5, continue_unwind = 8, failure = 9; // answers
static constexpr uint32_t number_sp = 13, number_pc = 15;

static uint32_t get(void *registers, uint32_t number)
{
    uint32_t value = 0;
    _Unwind_VRS_Get(registers, 0, number, 0, &value);
    return value;
}
static void set(void *registers, uint32_t number, uint32_t value)
{
    _Unwind_VRS_Set(registers, 0, number, 0, &value);
}
static uint32_t word_at(const context *c, unsigned at)
{
    return *reinterpret_cast<const uint32_t *>(reinterpret_cast<const unsigned char *>(c) + at);
}

// An exception is not to leave the job: the search fails, so that __cxa_throw terminates
// the program with the job's frames intact. A forced unwind is named and ended. A walk goes
// on in the starter while that waits for this job, and ends otherwise.
int context_personality(unsigned state, void *, void *registers)
{
    if (!(state & force_unwind))
        return failure;
    if ((state & actions) != virtual_unwind_frame)
        context_unwound();
    if (!_Unwind_VRS_Get || !_Unwind_VRS_Set)
        return end_of_stack;
    auto c = *reinterpret_cast<const context *const *>(get(registers, number_sp));
    const context *link = c->link;
    if (link->child != c)
        return end_of_stack;
    for (uint32_t i = 0; i < 8; i++)
        set(registers, 4 + i, word_at(link, JS_CTX_R4 + 4 * i));
    set(registers, number_sp, word_at(link, JS_CTX_SP));
    set(registers, number_pc, word_at(link, JS_CTX_LR));
    return continue_unwind;
}
