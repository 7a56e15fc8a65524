// SPDX-License-Identifier: Apache-2.0
//
// Proves a CPU port: what src/context.h promises, on bare contexts, and what
// the two entry functions owe their callers. Of the CPU it knows src/context.h
// and arch/<cpu>/conformance.h, which gives
//
//   cpu::saved             the callee-saved registers but the stack pointer; of
//                          each its name and the bits that are preserved. One
//                          of 128 bits is two, "v20" and "v20 high"
//   cpu::entry_alignment, entry_remainder
//                          the stack pointer where a function is entered:
//                          so much more than a multiple of that
//   cpu::switch_stack_bytes how far below its caller's stack pointer
//                          context_switch may write
//   cpu::callee_area_bytes from its caller's stack pointer up, what belongs to a
//                          function that is called
//   cpu::first_frame_bytes how far below its stack's end a context's function may be
//                          entered
//   cpu::flags_mask, flags_value
//                          of the flags' register: what the ABI fixes at calls
//                          and returns. A mask of 0: nothing
//   cpu::fp_control(), set_fp_control()
//                          the control words of floating point, without what
//                          arithmetic sets
//   cpu::fp_controls       values of them, the first as a thread begins
//   cpu::property_type, property_bits
//                          of .note.gnu.property. No bits: no such note
//   cpu::is_landing_pad()  whether a function may begin so
//
// (with JS_UCONTEXT in machine.h: as far as that goes without knowing the CPU)
//
// and, where instructions can be stepped on by traps (else test/unwind_test.cpp does it),
// with JS_CONFORMANCE_TRAPS defined:
//
//   cpu::saved[].dwarf     the register's number for DWARF
//   cpu::dwarf_sp, dwarf_ra, sp_is_cfa
//                          the numbers of the stack pointer and of what holds the
//                          return address; whether the caller's stack pointer is the
//                          CFA where no rule says anything
//   cpu::switch_pops_bytes how much higher a caller of context_switch finds the stack
//                          pointer when that has returned
//   cpu::trap              the bytes of the shortest instruction that traps
//   cpu::instruction_bytes() how long the instruction there is
//   cpu::local_entry()     where a call from the same module enters a function
//   cpu::program_counter(), get_registers()
//                          of a signal's context
//   cpu::return_address()  as rows say it is stored, checked where it is signed
//
// and two routines in assembly:
//
//   void conformance_call(call *)
//                          calls call->target(args...) on the stack at
//                          call->sp, with `before` in the callee-saved
//                          registers and `noise` in all others; whatever call
//                          comes back is noted in conformance_now, by which the
//                          routine finds its own stack again: so a register
//                          that was not preserved, the stack pointer too, does
//                          no harm until it has been named
//   int conformance_entry(void *arg)
//                          a function for context_make: stores the stack
//                          pointer, the flags and the frame pointer (0 where the
//                          ABI has none) in conformance_seen and jumps to
//                          conformance_entered(arg)
//
// TEST_SEED: the seed of the random patterns; TEST_SCALE divides the number of
// switches.
#include "jobswitch/jobswitch.h"

#if defined(JOBSWITCH_WITH_ASAN) || defined(JOBSWITCH_WITH_TSAN) || defined(JOBSWITCH_VALGRIND)

#include <stdio.h>

int main()
{
    puts("sanitizers and Valgrind do not know these stacks");
    return 77;
}

#else

#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <exception>
#include <glob.h>
#include <inttypes.h>
#include <link.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unwind.h>

#include "rows.h"

#include "conformance.h"
#include "context.h"
#include "support.h"

static constexpr unsigned saved_count = sizeof cpu::saved / sizeof *cpu::saved;

// All of 8 bytes on every CPU, so the offsets are the same.
struct call {
    uint64_t target;
    uint64_t args[5];
    uint64_t result[2];
    uint64_t sp; // where the call is made
    uint64_t sp_after;
    uint64_t flags; // after it
    uint64_t home;  // conformance_call's own stack pointer
    uint64_t noise;
    uint64_t before[saved_count];
    uint64_t after[saved_count];
};
static_assert(offsetof(call, args) == 8 && offsetof(call, result) == 48 &&
              offsetof(call, sp) == 64 && offsetof(call, sp_after) == 72 &&
              offsetof(call, flags) == 80 && offsetof(call, home) == 88 &&
              offsetof(call, noise) == 96 && offsetof(call, before) == 104 &&
              offsetof(call, after) == 104 + 8 * saved_count);

extern "C" {
[[gnu::visibility("hidden")]] call *conformance_now;
[[gnu::visibility("hidden")]] uint64_t conformance_seen[3];
void conformance_call(call *);
int conformance_entry(void *);
[[gnu::visibility("hidden")]] int conformance_entered(void *);
}

// ---- what is wrong -----------------------------------------------------------------

// From any stack; shown at the end of the test. After the first nothing is to be
// relied on, so contexts go home.
static unsigned long wrong;
static char first_wrong[300];

[[gnu::format(printf, 1, 2)]] static void report(const char *format, ...)
{
    if (wrong++)
        return;
    va_list values;
    va_start(values, format);
    vsnprintf(first_wrong, sizeof first_wrong, format, values);
    va_end(values);
}
static void verify()
{
    if (wrong)
        fail_msg("%lu times wrong; first: %s", wrong, first_wrong);
}
#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition))                                                      \
            report("line %d: not so: %s", __LINE__, #condition);               \
    } while (0)

static uint64_t random_state;
static uint64_t random_word()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}
static unsigned random_below(unsigned n) { return unsigned((random_word() >> 33) % n); }

static uint64_t word_of(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// ---- calls -------------------------------------------------------------------------

// Words beside something, which nobody is to touch.
template <unsigned count> struct guard {
    uint64_t words[count];
    static constexpr uint64_t filling = 0x5a5a'0000'0000'0000;
    void fill()
    {
        for (unsigned i = 0; i < count; i++)
            words[i] = filling + i;
    }
    // How far from their end, and from their start, words are not as filled
    unsigned touched_from_end() const
    {
        for (unsigned i = 0; i < count; i++)
            if (words[i] != filling + i)
                return count - i;
        return 0;
    }
    unsigned touched_from_start() const
    {
        for (unsigned i = count; i > 0; i--)
            if (words[i - 1] != filling + i - 1)
                return i;
        return 0;
    }
};

template <unsigned bytes> struct callee_area {
    unsigned char words[bytes];
};
template <> struct callee_area<0> {};

// Where calls are made: on the caller's stack, between words that are watched. The
// room is what the function called, and what it calls, may need.
template <unsigned room_bytes> struct call_site {
    alignas(64) unsigned char room[room_bytes];
    guard<32> below; // a multiple of 64
    [[no_unique_address]] callee_area<cpu::callee_area_bytes> area;
    guard<16> above;

    uint64_t sp() const { return word_of(&below + 1); }
};

static void fill_call(call &c)
{
    c.noise = random_word();
    for (unsigned i = 0; i < saved_count; i++) {
        c.before[i] = random_word() & cpu::saved[i].bits;
        c.after[i] = ~c.before[i];
    }
    c.sp_after = 0;
}

static void check_call(const call &c, const char *what, unsigned who)
{
    for (unsigned i = 0; i < saved_count; i++)
        if ((c.after[i] & cpu::saved[i].bits) != c.before[i])
            report("%s did not preserve %s in context %u: %" PRIx64 ", not %" PRIx64, what,
                   cpu::saved[i].name, who, c.after[i], c.before[i]);
    if (c.sp_after != c.sp)
        report("%s did not preserve the stack pointer in context %u: %" PRIx64
               ", not %" PRIx64, what, who, c.sp_after, c.sp);
    if ((c.flags & cpu::flags_mask) != cpu::flags_value)
        report("%s returned with flags %" PRIx64 " in context %u", what, c.flags, who);
}

static int (*entered)(void *); // what runs in a fresh context

int conformance_entered(void *arg)
{
    if (conformance_seen[0] % cpu::entry_alignment != cpu::entry_remainder)
        report("a context's function is entered with a stack pointer of %" PRIx64,
               conformance_seen[0]);
    if ((conformance_seen[1] & cpu::flags_mask) != cpu::flags_value)
        report("a context's function is entered with flags %" PRIx64, conformance_seen[1]);
    return entered(arg);
}

// ---- contexts ----------------------------------------------------------------------

static constexpr unsigned places = 25;
static constexpr size_t stack_bytes = 64 * 1024;
// The last bytes are a guard above the last stack.
alignas(4096) static unsigned char stacks[places][stack_bytes + 128];

enum class state { idle, fresh, paused, running };
struct place {
    guard<8> before;
    context ctx;
    guard<8> after;
    state now;
    call *paused_in;
};
// The hub, where a test itself stands, has no stack of its own here; but it may
// stand on the one in the middle, which is nobody else's.
static place contexts[places + 1];
static constexpr unsigned middle = places / 2, hub = places;

// A multiple of 64, and now and then of no more
static unsigned char *stack_top(unsigned k)
{
    auto top = reinterpret_cast<uintptr_t>(stacks[k] + stack_bytes) & ~uintptr_t(127);
    return reinterpret_cast<unsigned char *>(top - (k & 1 ? 64 : 0));
}

static void check_beside(unsigned k)
{
    if (contexts[k].before.touched_from_end() || contexts[k].after.touched_from_start())
        report("words beside context %u were written", k);
}

// Makes it, and looks at what was written.
static void make(unsigned k, int (*function)(void *), void *arg)
{
    constexpr unsigned watched = 256, written = 64, above = 64;
    unsigned char *top = stack_top(k), *low = top - watched;
    place &p = contexts[k];
    p.before.fill();
    p.after.fill();
    memset(&p.ctx, 0x77, sizeof p.ctx);
    memset(low, 0xa5, watched + above);
    context_make(&p.ctx, top, function, arg);
    for (unsigned i = 0; i < watched + above; i++)
        if ((i < watched - written || i >= watched) && low[i] != 0xa5)
            report("context_make wrote the byte at the stack's end %+d",
                   int(i) - int(watched));
    check_beside(k);
    CHECK(p.ctx.link == &p.ctx);
    CHECK(p.ctx.child == nullptr);
    auto sp = static_cast<unsigned char *>(context_stack_pointer(&p.ctx));
    CHECK(sp <= top && sp >= top - cpu::first_frame_bytes);
    p.now = state::fresh;
}

static void reset()
{
    wrong = 0;
    random_state = 20240229;
    if (const char *text = getenv("TEST_SEED"))
        random_state = strtoull(text, nullptr, 10);
    random_state = random_state * 0x9e3779b97f4a7c15 + 1;
    for (place &p : contexts) {
        memset(&p, 0, sizeof p);
        p.before.fill();
        p.after.fill();
    }
}

static unsigned place_of(const void *arg)
{
    for (unsigned k = 0; k < places; k++)
        if (arg == &contexts[k])
            return k;
    report("a context's function is given %p", arg);
    return 0;
}

static bool stands_on(unsigned k)
{
    auto here = static_cast<unsigned char *>(__builtin_frame_address(0));
    return here > stacks[k] && here < stack_top(k);
}

// The library's own contexts end in the library: the linker sends all calls here.
static void (*ended)(unsigned k, int value);
extern "C" {
[[noreturn]] void __real_context_ended(context *, int);
[[noreturn]] void __wrap_context_ended(context *, int);
}
void __wrap_context_ended(context *c, int value)
{
    for (unsigned k = 0; k < places; k++)
        if (c == &contexts[k].ctx) {
            if (!stands_on(k))
                report("the end of context %u is not told on its stack", k);
            contexts[k].now = state::idle;
            ended(k, value);
            abort();
        }
    __real_context_ended(c, value);
}

// ---- switches in random order, against a model ---------------------------------------

// What is on its way, from whom to whom.
static struct {
    unsigned from, to;
    transfer sent;
    uint64_t fp_control;
    int value; // that a context returns
} model;
static unsigned long switches_left, begun, resumed, ends;

// Has control arrived where it was sent?
static void check_arrival(unsigned me)
{
    if (model.to != me)
        report("context %u goes on, not %u", me, model.to);
    if (cpu::fp_control() != model.fp_control)
        report("the FP control words changed on the way: %" PRIx64 ", not %" PRIx64,
               cpu::fp_control(), model.fp_control);
    check_beside(model.from);
    check_beside(me);
    contexts[me].now = state::running;
}

static bool is_over() { return switches_left == 0 || wrong; }

// Who goes on when `me` leaves: at last the hub has the others end.
static unsigned pick(unsigned me)
{
    if (!is_over())
        for (;;) {
            unsigned to = random_below(places + 1);
            if (to != me && to != middle)
                return to;
        }
    if (me == hub)
        for (unsigned k = 0; k < places; k++)
            if (contexts[k].now == state::paused)
                return k;
    return hub;
}

// Gets `to` ready, and the model.
static void depart(unsigned me, unsigned to)
{
    place &p = contexts[to];
    conformance_now = p.paused_in;
    if (p.now == state::idle) {
        make(to, conformance_entry, &p);
        conformance_now = contexts[me].paused_in; // if it comes back here at once
    } else {
        uint64_t sp = word_of(context_stack_pointer(&p.ctx));
        CHECK(sp <= p.paused_in->sp && sp >= p.paused_in->sp - cpu::switch_stack_bytes);
    }
    model.from = me;
    model.to = to;
    model.sent = {uintptr_t(random_word()), uintptr_t(random_word())};
    model.fp_control =
        cpu::fp_controls[random_below(sizeof cpu::fp_controls / sizeof *cpu::fp_controls)];
    cpu::set_fp_control(model.fp_control);
    if (switches_left)
        switches_left--;
}

[[gnu::noinline]] static void go(unsigned me, unsigned to)
{
    call_site<1024> site;
    site.below.fill();
    site.above.fill();
    call c;
    fill_call(c);
    c.sp = site.sp();
    c.target = word_of(reinterpret_cast<const void *>(&context_switch));
    contexts[me].paused_in = &c;
    depart(me, to);
    contexts[me].now = state::paused;
    c.args[0] = word_of(&contexts[me].ctx);
    c.args[1] = word_of(&contexts[to].ctx);
    c.args[2] = model.sent.answer;
    c.args[3] = model.sent.payload;
    conformance_call(&c);
    check_arrival(me);
    check_call(c, "context_switch", me);
    if (c.result[0] != model.sent.answer || c.result[1] != model.sent.payload)
        report("context %u is sent %" PRIx64 " and %" PRIx64 ", not %" PRIx64
               " and %" PRIx64, me, c.result[0], c.result[1], uint64_t(model.sent.answer),
               uint64_t(model.sent.payload));
    if (site.above.touched_from_start())
        report("words above the stack pointer of context %u were written", me);
    if (site.below.touched_from_end() > (cpu::switch_stack_bytes + 7) / 8)
        report("%u words below the stack pointer of context %u were written",
               site.below.touched_from_end(), me);
    resumed++;
}

static int walker(void *arg)
{
    unsigned me = place_of(arg);
    if (conformance_seen[2] != 0)
        report("frame pointers go on from the first frame, to %" PRIx64, conformance_seen[2]);
    check_arrival(me);
    if (!stands_on(me))
        report("context %u does not run on its stack", me);
    begun++;
    for (unsigned turns = random_below(20); turns && !is_over(); turns--)
        go(me, pick(me));
    model.from = me;
    return model.value = int(random_word() >> 16);
}

[[noreturn]] static void walker_ended(unsigned me, int value)
{
    if (me != model.from || value != model.value)
        report("context %u ends with %d, not %u with %d", me, value, model.from,
               model.value);
    ends++;
    unsigned to = pick(me);
    contexts[me].paused_in = nullptr;
    depart(me, to);
    context_jump(&contexts[to].ctx, model.sent);
}

static void run_model()
{
    uint64_t control = cpu::fp_control();
    entered = walker;
    ended = walker_ended;
    begun = resumed = ends = 0;
    switches_left = scaled(20000ul);
    contexts[hub].now = state::running;
    for (;;) {
        unsigned to = pick(hub);
        if (to == hub || wrong)
            break;
        go(hub, to);
    }
    cpu::set_fp_control(control);
}

static void check_model()
{
    verify();
    for (const place &p : contexts)
        assert_true(p.now == state::idle || &p == &contexts[hub] || &p == &contexts[middle]);
    assert_true(begun == ends && begun > scaled(500ul) && resumed > scaled(5000ul));
}

// The thread's own stack lies above those here.
static void test_switches(void **)
{
    reset();
    run_model();
    check_model();
}

static context outside;
static int runs_model(void *arg)
{
    unsigned me = place_of(arg);
    if (!stands_on(me))
        report("context %u does not run on its stack", me);
    run_model();
    context_switch(&contexts[me].ctx, &outside, {});
    abort();
}
static void test_switches_between_stacks(void **)
{
    reset();
    make(middle, conformance_entry, &contexts[middle]);
    entered = runs_model;
    context_switch(&outside, &contexts[middle].ctx, {});
    check_model();
}

// ---- unwinding -----------------------------------------------------------------------

// What the unwinder asks of the port's routine at the bottom of a job, and the answer that
// ends a search. (Where it does not go by rows, that routine is C++.)
#ifdef __ARM_EABI_UNWINDER__
static constexpr uint64_t search[2] = {0, 0}, forced[2] = {9, 0};
static constexpr int search_ends = 9;
#else
static constexpr uint64_t search[2] = {1, 1}, forced[2] = {1, 8};
static constexpr int search_ends = 3;
#endif

// A context that these tests begin and that goes back to the hub
static void leave(unsigned me) { context_switch(&contexts[me].ctx, &contexts[hub].ctx, {}); }
static void enter(unsigned k)
{
    contexts[k].now = state::running;
    context_switch(&contexts[hub].ctx, &contexts[k].ctx, {});
}
static int end_value[places];
[[noreturn]] static void ended_to_hub(unsigned me, int value)
{
    end_value[me] = value;
    context_jump(&contexts[hub].ctx, {});
}
static void begin(unsigned k, int (*function)(void *))
{
    make(k, conformance_entry, &contexts[k]);
    entered = function;
    ended = ended_to_hub;
    end_value[k] = -1;
    enter(k);
}

static unsigned destroyed;
struct counted {
    ~counted() { destroyed++; }
};
// Who handles an exception. The C++ runtime keeps one list of those for the thread,
// so nobody else is to run while one does.
static unsigned handling;
static constexpr unsigned nobody = places, rounds = 3;

// Throws, catches, throws again, and leaves wherever it can.
static int thrower(void *arg)
{
    unsigned me = place_of(arg);
    const std::string text = "thrown in " + std::to_string(me);
    int caught = 0;
    for (unsigned i = 0; i < rounds; i++)
        try {
            counted outer;
            leave(me);
            try {
                counted inner;
                leave(me);
                throw std::runtime_error(text);
            } catch (const std::runtime_error &e) {
                handling = me;
                leave(me);
                caught += e.what() == text;
                throw;
            }
        } catch (const std::exception &e) {
            leave(me);
            caught += e.what() == text;
            handling = nobody;
        }
    return caught;
}

static void test_exceptions(void **)
{
    reset();
    destroyed = 0;
    handling = nobody;
    static const unsigned throwers[] = {3, 20, 7};
    unsigned left = 0, turns = 0;
    for (unsigned k : throwers) {
        begin(k, thrower);
        left++;
    }
    while (left && turns < 1000) {
        unsigned k = handling == nobody ? throwers[turns % 3] : handling;
        turns++;
        if (contexts[k].now != state::idle) {
            enter(k);
            left -= contexts[k].now == state::idle;
        }
    }
    verify();
    assert_int_equal(left, 0);
    assert_int_equal(destroyed, 3 * rounds * 2);
    for (unsigned k : throwers)
        assert_int_equal(end_value[k], 2 * rounds);
}

// What a walk has met.
static struct {
    int code;
    unsigned frames;
    bool body, starter, starter_first;
} walked;
extern "C" [[gnu::noinline]] int conformance_walks(void *);
extern "C" [[gnu::noinline]] void conformance_starts(unsigned, bool);

static _Unwind_Reason_Code walk_step(_Unwind_Context *frame, void *)
{
    if (walked.frames++ == 100)
        return _URC_FOREIGN_EXCEPTION_CAUGHT; // anything that stops the walk
    uintptr_t ip = _Unwind_GetIP(frame), function = ip ? _Unwind_GetRegionStart(frame) : 0;
    walked.body |= function == begin_of(&conformance_walks);
    walked.starter |= function == begin_of(&conformance_starts);
    walked.starter_first |= walked.starter && !walked.body;
    return _URC_NO_REASON;
}
static void walk()
{
    walked = {};
    walked.code = _Unwind_Backtrace(walk_step, nullptr);
}

// At first of its own, then as a child of the hub.
int conformance_walks(void *arg)
{
    unsigned me = place_of(arg);
    walk();
    leave(me);
    walk();
    leave(me);
    return 0;
}
void conformance_starts(unsigned k, bool linked)
{
    if (!linked)
        return begin(k, conformance_walks);
    contexts[k].ctx.link = &contexts[hub].ctx;
    contexts[hub].ctx.child = &contexts[k].ctx;
    enter(k);
    contexts[hub].ctx.child = nullptr;
    contexts[k].ctx.link = &contexts[k].ctx;
    asm volatile("");
}

static void test_walks(void **)
{
    reset();
    for (unsigned k = 0; k < 2; k++) { // both kinds of a stack's end
        conformance_starts(k, false);
        assert_int_equal(walked.code, _URC_END_OF_STACK);
        assert_true(walked.body);
        assert_false(walked.starter);
        assert_in_range(walked.frames, unwinds_by_rows ? 3 : 2, 6);
        conformance_starts(k, true);
        assert_int_equal(walked.code, walk_end);
        // (The C library's walks end at the bottom of a job.)
        assert_true(walked.body && walked.starter == !by_ucontext && !walked.starter_first);
        enter(k);
    }
    verify();
}

// ---- rows, at every instruction ---------------------------------------------------------

// A trap takes the place of one instruction after the other; a scenario runs over it;
// in the handler of the trap the rows are obeyed, from the instruction to the
// conformance_call that is open on that stack, and what they give is compared.

static const char *const stepped[] = {"context_make", "context_start", "context_switch",
                                      "context_jump", "context_stack_pointer",
                                      "context_shadow_stack",
#ifndef __ARM_EABI_UNWINDER__
                                      "context_personality"
#endif
};
extern "C" {
[[noreturn]] void __wrap_context_unwound();
int context_personality(int, int, uint64_t, void *, void *);
}
static void (*unwound)();
void __wrap_context_unwound()
{
    unwound();
    abort();
}

#ifdef JS_CONFORMANCE_TRAPS

struct function_range {
    uintptr_t low, high;
};
static function_range range_of(const char *name)
{
    function_range found = {};
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat info = {};
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    void *mapped = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    auto file = static_cast<const unsigned char *>(mapped);
    auto elf = reinterpret_cast<const ElfW(Ehdr) *>(file);
    auto sections = reinterpret_cast<const ElfW(Shdr) *>(file + elf->e_shoff);
    uintptr_t base = 0;
    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < elf->e_shnum; i++) {
            if (sections[i].sh_type != SHT_SYMTAB)
                continue;
            auto symbols = reinterpret_cast<const ElfW(Sym) *>(file + sections[i].sh_offset);
            auto strings = reinterpret_cast<const char *>(
                file + sections[sections[i].sh_link].sh_offset);
            for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++) {
                const char *here = strings + symbols[k].st_name;
                if (pass == 0 && strcmp(here, "conformance_call") == 0)
                    base = reinterpret_cast<uintptr_t>(&conformance_call) - symbols[k].st_value;
                if (pass == 1 && strcmp(here, name) == 0)
                    found = {uintptr_t(base + symbols[k].st_value),
                             uintptr_t(base + symbols[k].st_value + symbols[k].st_size)};
            }
        }
    munmap(mapped, size_t(info.st_size));
    return found;
}

static const row_table *rows;
static function_range caller_range, start_range, leaving_range;
static function_range stepped_range[sizeof stepped / sizeof *stepped];
static call *open_call[places + 1]; // of each stack the innermost
static constexpr unsigned runner = 5;
static bool linked;

// Where the trap is, what was there, and which function it is in.
static struct {
    volatile uintptr_t address;
    unsigned char bytes[sizeof cpu::trap];
    const char *function;
    uintptr_t begins;
    volatile bool hit;
} trap;

static sigjmp_buf after_fault;
static volatile bool walking;

static void write_code(uintptr_t at, const unsigned char *bytes)
{
    auto code = reinterpret_cast<unsigned char *>(at);
    memcpy(code, bytes, sizeof cpu::trap);
    __builtin___clear_cache(reinterpret_cast<char *>(code),
                            reinterpret_cast<char *>(code + sizeof cpu::trap));
}

#define ROW_REPORT(format, ...)                                                \
    report("rows at %s+0x%lx: " format, trap.function,                         \
           (unsigned long)(trap.address - trap.begins) __VA_OPT__(, ) __VA_ARGS__)

[[gnu::noinline]] static void walk_rows(row_registers registers)
{
    uint64_t sp = registers.value[cpu::dwarf_sp];
    unsigned who = hub;
    for (unsigned k = 0; k < places; k++)
        if (sp > word_of(stacks[k]) && sp <= word_of(stack_top(k)))
            who = k;
    const call *expected = open_call[who];
    bool ends = !expected && !linked;
    if (!expected)
        expected = open_call[hub];
    uint64_t lookup = trap.address;
    for (unsigned depth = 0; depth < 4; depth++) {
        row_step s = rows->step(lookup, registers, cpu::dwarf_sp, cpu::dwarf_ra,
                                cpu::sp_is_cfa);
        if (s.wrong)
            return ROW_REPORT("%s (frame %u)", s.wrong, depth);
        bool at_start = lookup + 1 >= start_range.low && lookup < start_range.high;
        if (s.is_signal_frame != at_start || s.has_personality != (at_start && unwinds_by_rows))
            return ROW_REPORT("another kind of frame (frame %u)", depth);
        uint64_t address = cpu::return_address(registers.value[cpu::dwarf_ra],
                                               s.signs_return_address, s.cfa);
        if (address == 0 && ends)
            return;
        if (address > caller_range.low && address < caller_range.high) {
            if (ends)
                return ROW_REPORT("the walk goes on from a context that nobody runs");
            const unsigned popped = s.is_signal_frame ? cpu::switch_pops_bytes : 0;
            if (registers.value[cpu::dwarf_sp] != expected->sp + popped)
                return ROW_REPORT("the caller's stack pointer is %" PRIx64 ", not %" PRIx64,
                                  registers.value[cpu::dwarf_sp], expected->sp);
            for (unsigned i = 0; i < saved_count; i++) {
                uint64_t got = registers.value[cpu::saved[i].dwarf] & cpu::saved[i].bits;
                if (got != expected->before[i])
                    return ROW_REPORT("the caller's %s is %" PRIx64 ", not %" PRIx64,
                                      cpu::saved[i].name, got, expected->before[i]);
            }
            return;
        }
        // Who leaves for good is no traced call, to be told from where control goes on.
        if (address > leaving_range.low && address <= leaving_range.high && depth == 0 &&
            who == runner)
            return;
        bool of_port = false;
        for (function_range f : stepped_range)
            of_port |= address >= f.low && address < f.high;
        if (!of_port)
            return ROW_REPORT("the caller is at %" PRIx64 " (frame %u)", address, depth);
        lookup = s.is_signal_frame ? address : address - 1;
    }
    ROW_REPORT("the walk does not end");
}

static void faulted(int number)
{
    if (walking)
        siglongjmp(after_fault, 1);
    signal(number, SIG_DFL);
}

static void trapped(int number, siginfo_t *, void *context)
{
    auto &machine = *static_cast<ucontext_t *>(context);
    uintptr_t at = cpu::program_counter(machine);
    if (trap.hit || (at != trap.address && at != trap.address + sizeof cpu::trap)) {
        signal(number, SIG_DFL);
        return;
    }
    write_code(trap.address, trap.bytes);
    cpu::set_program_counter(machine, trap.address);
    trap.hit = true;
    row_registers registers;
    cpu::get_registers(machine, registers);
    walking = true;
    if (sigsetjmp(after_fault, 1) == 0)
        walk_rows(registers);
    else
        ROW_REPORT("rows lead to where there is no memory");
    walking = false;
}

// Calls target in a place of its own on this stack. Control comes back to `back`, which
// is this call where that is NULL.
[[gnu::noinline]] static uint64_t traced(unsigned me, const void *target, call *back,
                                         std::initializer_list<uint64_t> args)
{
    call_site<8192> site;
    call c, *outer = open_call[me];
    fill_call(c);
    c.sp = site.sp();
    c.target = word_of(target);
    std::fill(c.args, c.args + 5, 0);
    std::copy(args.begin(), args.end(), c.args);
    open_call[me] = &c;
    conformance_now = back ? back : &c;
    conformance_call(&c);
    check_call(c, trap.function, me);
    open_call[me] = outer;
    return c.result[0];
}
static const void *code_of(auto *function) { return reinterpret_cast<const void *>(function); }

static void traced_switch(unsigned from, unsigned to)
{
    traced(from, code_of(&context_switch), open_call[to],
           {word_of(&contexts[from].ctx), word_of(&contexts[to].ctx), 1, 2});
}

// The trap is set once, when the scenario has come so far.
enum phase { whole, back_to_hub, once_more, phases };
static phase trap_phase;
static void reach(phase now)
{
    if (now == trap_phase)
        write_code(trap.address, cpu::trap);
}

static int runs_and_returns(void *)
{
    reach(back_to_hub);
    traced_switch(runner, hub);
    return 7;
}
extern "C" [[noreturn, gnu::noinline]] void conformance_leaves();
void conformance_leaves()
{
    conformance_now = open_call[hub];
    context_jump(&contexts[hub].ctx, {1, 2});
}
static int unwinds(void *)
{
    traced(runner, code_of(&context_personality), nullptr, {forced[0], forced[1]});
    return 0;
}
[[noreturn]] static void ends_by_jump(unsigned, int) { conformance_leaves(); }

static void make_runner(int (*function)(void *))
{
    context &c = contexts[runner].ctx;
    entered = function;
    open_call[runner] = nullptr;
    traced(hub, code_of(&context_make), nullptr,
           {word_of(&c), word_of(stack_top(runner)), word_of(code_of(&conformance_entry)),
            word_of(&contexts[runner])});
    if (linked) {
        c.link = &contexts[hub].ctx;
        contexts[hub].ctx.child = &c;
    }
}

static void run_scenario()
{
    ended = ends_by_jump;
    unwound = conformance_leaves;
    open_call[hub] = nullptr;
    reach(whole);
    make_runner(runs_and_returns);
    traced_switch(hub, runner);
    reach(once_more);
    traced_switch(hub, runner);
    traced(hub, code_of(&context_stack_pointer), nullptr, {word_of(&contexts[runner].ctx)});
    traced(hub, code_of(&context_shadow_stack), nullptr, {});
    CHECK(int(traced(hub, code_of(&context_personality), nullptr, {search[0], search[1]})) ==
          search_ends);
    make_runner(unwinds);
    traced_switch(hub, runner);
    contexts[hub].ctx.child = nullptr;
}

// With a trap in the place of this instruction; how often that was met.
static unsigned visit(uintptr_t at, const char *function, uintptr_t begins)
{
    size_t page = size_t(sysconf(_SC_PAGESIZE));
    uintptr_t low = at & ~(page - 1);
    size_t bytes = at + sizeof cpu::trap > low + page ? 2 * page : page;
    assert_int_equal(mprotect(reinterpret_cast<void *>(low), bytes,
                              PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    trap.function = function;
    trap.begins = begins;
    trap.address = at;
    memcpy(trap.bytes, reinterpret_cast<void *>(at), sizeof trap.bytes);
    unsigned hits = 0;
    for (int run = 0; run < 2 * phases; run++) {
        linked = run % 2;
        trap_phase = phase(run / 2);
        trap.hit = false;
        run_scenario();
        if (!trap.hit)
            write_code(at, trap.bytes);
        hits += trap.hit;
    }
    mprotect(reinterpret_cast<void *>(low), bytes, PROT_READ | PROT_EXEC);
    return hits;
}

static void test_rows(void **)
{
    reset();
    row_table table;
    rows = &table;
    caller_range = range_of("conformance_call");
    start_range = range_of("context_start");
    leaving_range = range_of("conformance_leaves");
    for (unsigned i = 0; i < sizeof stepped / sizeof *stepped; i++)
        stepped_range[i] = range_of(stepped[i]);
    struct sigaction action = {}, fault = {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    fault.sa_handler = faulted;
    fault.sa_flags = SA_ONSTACK;
    // Below the calls there is no room for a handler.
    alignas(64) static unsigned char handler_stack[256 * 1024];
    stack_t on_handler_stack = {}, before = {};
    on_handler_stack.ss_sp = handler_stack;
    on_handler_stack.ss_size = sizeof handler_stack;
    sigaltstack(&on_handler_stack, &before);
    for (int number : {SIGTRAP, SIGILL})
        sigaction(number, &action, nullptr);
    for (int number : {SIGSEGV, SIGBUS})
        sigaction(number, &fault, nullptr);
    unsigned visited = 0;
    for (unsigned i = 0; i < sizeof stepped / sizeof *stepped; i++) {
        function_range f = stepped_range[i];
        assert_true(f.low && f.high > f.low);
        for (uintptr_t at = f.low, next; at < f.high && !wrong; at = next) {
            next = at + cpu::instruction_bytes(reinterpret_cast<unsigned char *>(at));
            unsigned hits = visit(at, stepped[i], f.low);
            // What follows a call that does not return
            bool never = next == f.high && (f.low == start_range.low ||
                                            strcmp(stepped[i], "context_personality") == 0);
            if (!hits != never)
                ROW_REPORT("%s", never ? "a call that does not return does"
                                       : "nobody comes here");
            visited += hits;
        }
    }
    // What the port calls, where it begins: then its callers stand in their calls.
    for (const char *name : {"__wrap_context_ended", "__wrap_context_unwound"}) {
        uintptr_t at = cpu::local_entry(range_of(name).low);
        if (!unwinds_by_rows && strcmp(name, "__wrap_context_unwound") == 0)
            continue; // its caller is not stepped on
        if (!wrong && !visit(at, name, at))
            ROW_REPORT("nobody comes here");
    }
    for (int number : {SIGTRAP, SIGILL, SIGSEGV, SIGBUS})
        signal(number, SIG_DFL);
    sigaltstack(&before, nullptr);
    verify();
    assert_true(visited > 50);
}

#else

static void test_rows(void **)
{
#ifdef JS_UCONTEXT
    skip_because("the C library's rows are not ours");
#else
    skip_because("unwind_test steps by the trap flag on this CPU");
#endif
}

#endif

// ---- the entry functions ---------------------------------------------------------------

static constexpr unsigned job_count = 10;
struct job_order {
    unsigned number, pauses;
};
static struct {
    jobswitch_job *handle;
    call *paused_in;
    unsigned pauses_left;
    int value;
} jobs[job_count];
static call *starter_call;

static void check_control(const char *where)
{
    if (cpu::fp_control() != model.fp_control)
        report("the FP control words changed on the way %s: %" PRIx64 ", not %" PRIx64,
               where, cpu::fp_control(), model.fp_control);
}
static void change_control()
{
    model.fp_control =
        cpu::fp_controls[random_below(sizeof cpu::fp_controls / sizeof *cpu::fp_controls)];
    cpu::set_fp_control(model.fp_control);
}

static int job_body(void *arg)
{
    job_order o = *static_cast<job_order *>(arg);
    check_control("to a new job");
    for (unsigned i = 0; i < o.pauses; i++) {
        call_site<16384> site;
        call c;
        site.above.fill();
        fill_call(c);
        c.target = word_of(reinterpret_cast<const void *>(&jobswitch_pause_job));
        c.sp = site.sp();
        jobs[o.number].paused_in = &c;
        conformance_now = starter_call;
        change_control();
        conformance_call(&c);
        check_control("to a job");
        check_call(c, "jobswitch_pause_job", o.number);
        if (int(c.result[0]) != 1)
            report("a pause returns %d", int(c.result[0]));
        if (site.above.touched_from_start())
            report("words above the stack pointer of a job were written");
    }
    // Whatever is there, in the end it is NULL.
    jobs[o.number].handle = reinterpret_cast<jobswitch_job *>(&jobs);
    conformance_now = starter_call;
    change_control();
    return jobs[o.number].value = int(random_word() >> 16);
}

static void start_or_resume(unsigned k)
{
    auto &j = jobs[k];
    call_site<32768> site;
    call c;
    int ret = -1;
    site.above.fill();
    fill_call(c);
    bool fresh = !j.handle;
    if (fresh)
        j.pauses_left = random_below(6);
    job_order o = {k, j.pauses_left};
    starter_call = &c;
    conformance_now = fresh ? &c : j.paused_in;
    c.target = word_of(reinterpret_cast<const void *>(&jobswitch_start_job));
    c.sp = site.sp();
    c.args[0] = word_of(&j.handle);
    c.args[1] = word_of(&ret);
    c.args[2] = word_of(reinterpret_cast<const void *>(&conformance_entry));
    c.args[3] = word_of(&o);
    c.args[4] = sizeof o;
    change_control();
    conformance_call(&c);
    check_control("to the starter");
    check_call(c, "jobswitch_start_job", k);
    if (site.above.touched_from_start())
        report("words above the starter's stack pointer were written");
    int answer = int(c.result[0]);
    if (j.pauses_left ? answer != JOBSWITCH_PAUSE || ret != -1 || !j.handle
                      : answer != JOBSWITCH_FINISH || ret != j.value || j.handle)
        report("a job with %u pauses left answers %d, returns %d", j.pauses_left, answer,
               ret);
    if (j.pauses_left)
        j.pauses_left--;
}

static void test_entry_functions(void **)
{
    reset();
    uint64_t control = cpu::fp_control();
    entered = job_body;
    for (unsigned long i = scaled(3000ul); i && !wrong; i--)
        start_or_resume(random_below(job_count));
    for (unsigned k = 0; k < job_count; k++)
        while (jobs[k].handle && !wrong)
            start_or_resume(k);
    cpu::set_fp_control(control);
    verify();
    jobswitch_cleanup_thread();
}

// ---- the port's objects ------------------------------------------------------------------

// What has to be in them, as functions.
static const char *const contract[] = {"context_make", "context_switch", "context_jump",
                                       "context_stack_pointer", "context_shadow_stack"};
static unsigned contract_seen;

using header = ElfW(Ehdr);
using section = ElfW(Shdr);
using symbol = ElfW(Sym);

static uint64_t begin_in(const symbol &s) { return begin_of(uintptr_t(s.st_value)); }

// Functions in the order of their addresses, without gaps that alignment does not
// account for; hidden but for the public ones, and with a landing pad where others
// may call them.
static void check_functions(const char *path, const unsigned char *file,
                            const section *sections, unsigned at, const section &table)
{
    const section &code = sections[at];
    auto symbols = reinterpret_cast<const symbol *>(file + table.sh_offset);
    auto names = reinterpret_cast<const char *>(file + sections[table.sh_link].sh_offset);
    for (const symbol *s = symbols; s < symbols + table.sh_size / sizeof *s; s++)
        if (s->st_shndx == at && (s->st_info & 15) == STT_OBJECT)
            report("%s: %s is code and no function", path, names + s->st_name);
    for (uint64_t place = 0; place < code.sh_size;) {
        const symbol *next = nullptr;
        for (const symbol *s = symbols; s < symbols + table.sh_size / sizeof *s; s++)
            if (s->st_shndx == at && (s->st_info & 15) == STT_FUNC && begin_in(*s) >= place &&
                (!next || begin_in(*s) < begin_in(*next)))
                next = s;
        uint64_t gap = (next ? begin_in(*next) : code.sh_size) - place;
        if (gap > code.sh_addralign)
            report("%s: %" PRIu64 " bytes of code from %" PRIx64 " on are in no function",
                   path, gap, place);
        if (!next)
            break;
        const char *name = names + next->st_name;
        place = begin_in(*next) + next->st_size;
        if (next->st_size == 0 || place > code.sh_size)
            return report("%s: the size of %s is %" PRIu64, path, name,
                          uint64_t(next->st_size));
        for (const symbol *s = symbols; s < symbols + table.sh_size / sizeof *s; s++)
            if (s->st_shndx == at && (s->st_info & 15) == STT_FUNC &&
                begin_in(*s) > begin_in(*next) && begin_in(*s) < place)
                report("%s: %s begins inside %s", path, names + s->st_name, name);
        bool exported = strncmp(name, "jobswitch_", 10) == 0, called = exported;
        for (const char *wanted : contract)
            if (strcmp(name, wanted) == 0) {
                contract_seen++;
                called = true;
            }
        if (strncmp(name, "jobswitch_inline_", 17) == 0)
            called = false; // a stub's body, which is jumped to
        if (strcmp(name, "context_personality") == 0)
            called = true; // by the unwinder
        const bool local = ELF64_ST_BIND(next->st_info) == STB_LOCAL;
        if (!local && (next->st_other & 3) != (exported ? STV_DEFAULT : STV_HIDDEN))
            report("%s: the visibility of %s is %u", path, name, next->st_other & 3u);
        if (called && cpu::property_bits &&
            !cpu::is_landing_pad(file + code.sh_offset + begin_in(*next)))
            report("%s: %s begins without a landing pad", path, name);
    }
}

// The bits of the note's property of this CPU's type
static uint32_t property_bits(const unsigned char *note, size_t bytes)
{
    uint32_t words[4]; // name's size, data's size, type, name
    constexpr size_t step = sizeof(void *);
    if (bytes < sizeof words)
        return 0;
    memcpy(words, note, sizeof words);
    if (words[2] != 5 || memcmp(note + 12, "GNU", 4) != 0)
        return 0;
    for (size_t at = 16; at + 12 <= bytes && at < 16 + size_t(words[1]);) {
        uint32_t property[3]; // type, size, bits
        memcpy(property, note + at, sizeof property);
        if (property[0] == cpu::property_type)
            return property[2];
        at += 8 + (property[1] + step - 1) / step * step;
    }
    return 0;
}

static void check_object(const char *file_name)
{
    const char *path = strrchr(file_name, '/') + 1; // for reports
    int fd = open(file_name, O_RDONLY | O_CLOEXEC);
    struct stat info = {};
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    void *mapped = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    close(fd);
    auto file = static_cast<const unsigned char *>(mapped);
    auto elf = reinterpret_cast<const header *>(file);
    auto sections = reinterpret_cast<const section *>(file + elf->e_shoff);
    auto names = reinterpret_cast<const char *>(file + sections[elf->e_shstrndx].sh_offset);
    bool stack_note = false, rows = false;
    uint32_t bits = 0;
    const section *table = nullptr;
    for (unsigned i = 0; i < elf->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB)
            table = &sections[i];
    assert_non_null(table);
    for (unsigned i = 0; i < elf->e_shnum; i++) {
        const section &s = sections[i];
        const char *name = names + s.sh_name;
        if (strcmp(name, ".note.GNU-stack") == 0) {
            stack_note = true;
            if (s.sh_flags & SHF_EXECINSTR)
                report("%s asks for an executable stack", path);
        } else if (strcmp(name, ".note.gnu.property") == 0) {
            bits |= property_bits(file + s.sh_offset, s.sh_size);
        } else if (strcmp(name, unwinds_by_rows ? ".eh_frame" : ".debug_frame") == 0) {
            rows = s.sh_size > 0;
        }
        if ((s.sh_flags & SHF_EXECINSTR) && (s.sh_flags & SHF_WRITE))
            report("%s: %s is writable code", path, name);
        if ((s.sh_flags & SHF_EXECINSTR) && s.sh_size)
            check_functions(path, file, sections, i, *table);
    }
    if (!stack_note)
        report("%s says nothing of its stack", path);
    if (!rows)
        report("%s has no unwind rows", path);
    if ((bits & cpu::property_bits) != cpu::property_bits)
        report("%s: the property note's bits are %x", path, bits);
    munmap(mapped, size_t(info.st_size));
}

static void test_objects(void **)
{
    char pattern[4096] = "";
    ssize_t bytes = readlink("/proc/self/exe", pattern, sizeof pattern - 32);
    assert_true(bytes > 0);
    pattern[bytes] = 0;
    char *end = strrchr(pattern, '/');
    assert_non_null(end);
    strcpy(end, "/../arch/*/*.o");
    glob_t found = {};
    assert_int_equal(glob(pattern, 0, nullptr, &found), 0);
    wrong = contract_seen = 0;
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_object(found.gl_pathv[i]);
    globfree(&found);
    verify();
    assert_int_equal(contract_seen, sizeof contract / sizeof *contract);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_switches_between_stacks),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_entry_functions),
    };
    return cmocka_run_group_tests_name("conformance", tests, nullptr, nullptr);
}

#endif
