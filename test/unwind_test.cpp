// SPDX-License-Identifier: Apache-2.0
//
// The unwind rows of the hand-written assembly, and what its switch owes to the
// ABI. The thread is single-stepped (trap flag) through start, pause, resume
// and finish; at every instruction of the CPU's folder the signal handler walks
// the stack and compares: which frames there are, where they lie, and the
// callee-saved registers that the walk recovers. At the end every row must have
// been stepped on, so that a row nobody needs is found, too.
//
// How a walk knows what is right: all calls that matter go through
// traced_call(), which loads the callee-saved registers with values of its own.
// A walk must meet exactly the traced calls that are open on the way down, each
// with its values, and then the function below. What is open depends on the
// stack that rsp lies in; the stacks are this file's.
#include "jobswitch/jobswitch.h"

#include "machine.h"

#if !defined(__x86_64__) || defined(JS_UCONTEXT) || defined(JOBSWITCH_WITH_ASAN) || defined(JOBSWITCH_WITH_TSAN)

#include <stdio.h>

int main()
{
    puts("needs x86_64, its own assembly, and no sanitizer");
    return 77;
}

#else

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "context.h"
#include "pool.h"
#include "support.h"

// ---- a call with known registers ------------------------------------------------

static const char *const saved_name[6] = {"rbx", "rbp", "r12", "r13", "r14", "r15"};
static const int saved_dwarf[6] = {3, 6, 12, 13, 14, 15};

struct traced {
    const void *target;
    uint64_t args[5];
    uint64_t before[6];
    uint64_t after[6];
    uint64_t rsp; // where the call is made
    uint64_t rax;
    uint64_t flags; // after the call
    uint64_t step;  // single-step it?
    uint64_t form;  // a call, or a jump to a stub's body
    uint64_t rdx;
};
static_assert(offsetof(traced, before) == 48 && offsetof(traced, after) == 96 &&
              offsetof(traced, rsp) == 144 && offsetof(traced, step) == 168 &&
              offsetof(traced, form) == 176 && offsetof(traced, rdx) == 184);

// By the library's function; by one of ours with a stub inlined, which gives up all
// registers but rsp and rbp, or does not give up rbx either; by the body of such a stub.
// The last two are jumped to.
enum : uint64_t { by_function, by_stub, by_stub_rbx, by_body, by_body_rbx, forms };
static bool keeps_rbx(uint64_t form) { return form == by_stub_rbx || form == by_body_rbx; }
static bool is_preserved(const traced &t, int saved)
{
    return t.form < by_body || saved == 1 || (saved == 0 && keeps_rbx(t.form));
}

extern "C" void traced_call(traced *);
extern "C" void call_elsewhere(traced *, void *top, void (*)(traced *));
extern "C" const char traced_call_return[];
asm(R"(
        .text
        .intel_syntax noprefix
        .globl  traced_call
        .hidden traced_call
        .type   traced_call, @function
traced_call:
        .cfi_startproc
        endbr64
        .irp    r, rbx, rbp, r12, r13, r14, r15, rdi
        push    \r
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \r, 0
        .endr
        mov     [rdi + 144], rsp
        mov     rbx, [rdi + 48]
        mov     rbp, [rdi + 56]
        mov     r12, [rdi + 64]
        mov     r13, [rdi + 72]
        mov     r14, [rdi + 80]
        mov     r15, [rdi + 88]
        mov     rsi, [rdi + 16]
        mov     rdx, [rdi + 24]
        mov     rcx, [rdi + 32]
        mov     r8,  [rdi + 40]
        mov     rax, [rdi]
        mov     r9,  [rdi + 168]
        mov     r10, [rdi + 176]
        mov     rdi, [rdi + 8]
        test    r9, r9
        jz      1f
        pushfq
        or      qword ptr [rsp], 0x100
        popfq
1:      cmp     r10, 2
        jbe     5f
        lea     rdx, [rip + traced_call_return]
        notrack jmp rax
5:      call    rax
        .globl  traced_call_return
        .hidden traced_call_return
traced_call_return:
        mov     rcx, [rsp]
        mov     [rcx + 152], rax
        mov     [rcx + 184], rdx
        pushfq
        pop     rax
        mov     [rcx + 160], rax
        cmp     qword ptr [rcx + 168], 0
        je      2f
        pushfq
        and     qword ptr [rsp], -0x101
        popfq
2:      mov     [rcx + 96], rbx
        mov     [rcx + 104], rbp
        mov     [rcx + 112], r12
        mov     [rcx + 120], r13
        mov     [rcx + 128], r14
        mov     [rcx + 136], r15
        add     rsp, 8
        .cfi_adjust_cfa_offset -8
        .irp    r, r15, r14, r13, r12, rbp, rbx
        pop     \r
        .cfi_adjust_cfa_offset -8
        .cfi_restore \r
        .endr
        ret
        .cfi_endproc
        .size   traced_call, . - traced_call

# Calls rdx(rdi) on the stack that ends at rsi.
        .globl  call_elsewhere
        .hidden call_elsewhere
        .type   call_elsewhere, @function
call_elsewhere:
        .cfi_startproc
        endbr64
        push    rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        mov     rbp, rsp
        .cfi_def_cfa_register rbp
        mov     rsp, rsi
        call    rdx
        leave
        .cfi_def_cfa rsp, 8
        .cfi_restore rbp
        ret
        .cfi_endproc
        .size   call_elsewhere, . - call_elsewhere

# What a job's function finds when it is entered.
        .globl  probe_entry
        .hidden probe_entry
        .type   probe_entry, @function
probe_entry:
        .cfi_startproc
        endbr64
        lea     rax, [rip + probe_seen]
        mov     [rax], rsp
        pushfq
        pop     rcx
        mov     [rax + 8], rcx
        mov     [rax + 16], rdi
        stmxcsr [rax + 24]
        fnstcw  [rax + 28]
        mov     eax, 77
        ret
        .cfi_endproc
        .size   probe_entry, . - probe_entry

# A leaf that keeps its data in the red zone: bytes 1 to 16 below rsp to 128.
        .globl  red_zone_leaf
        .hidden red_zone_leaf
        .type   red_zone_leaf, @function
red_zone_leaf:
        .cfi_startproc
        endbr64
        mov     ecx, 16
3:      mov     rax, rcx
        neg     rax
        mov     [rsp + rax * 8], rcx
        dec     ecx
        jnz     3b
        xor     eax, eax
        mov     ecx, 16
4:      mov     rdx, rcx
        neg     rdx
        add     rax, [rsp + rdx * 8]
        dec     ecx
        jnz     4b
        ret
        .cfi_endproc
        .size   red_zone_leaf, . - red_zone_leaf

# A job's function that clobbers what it may and puts rbx out of order: a test
# of the test.
        .globl  clobber_rbx
        .hidden clobber_rbx
        .type   clobber_rbx, @function
clobber_rbx:
        .cfi_startproc
        endbr64
        xor     ebx, ebx
        mov     eax, 1
        ret
        .cfi_endproc
        .size   clobber_rbx, . - clobber_rbx

# Pushes a word without a row: a test of the test. Never called but stepped.
        .globl  bad_row
        .hidden bad_row
        .type   bad_row, @function
bad_row:
        .cfi_startproc
        endbr64
        push    0
        nop
        pop     rcx
        ret
        .cfi_endproc
        .globl  bad_row_end
        .hidden bad_row_end
bad_row_end:
        .size   bad_row, . - bad_row
        .att_syntax
)");
struct probe {
    uint64_t rsp, flags, arg;
    uint32_t mxcsr;
    uint16_t x87;
};
extern "C" {
[[gnu::visibility("hidden")]] probe probe_seen;
int probe_entry(void *);
uint64_t red_zone_leaf();
int clobber_rbx(void *);
void bad_row();
extern const char bad_row_end[];
void context_start();
int context_personality(int, int, uint64_t, void *, void *);
}

#ifdef JOBSWITCH_STUBS
// Functions that save what a stub gives up, as a compiler does. (Naked, with a statement
// that has no operands: what GCC makes of it is the text.)
#define PUSH(r) "\tpush\t%%" r "\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_rel_offset " r ", 0\n"
#define POP(r) "\tpop\t%%" r "\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore " r "\n"
#define SAVE PUSH("r12") PUSH("r13") PUSH("r14") PUSH("r15")
#define RESTORE POP("r15") POP("r14") POP("r13") POP("r12")
#define FUNCTION_OF(name, statement)                                           \
    extern "C" [[gnu::naked, gnu::used]] void name()                           \
    {                                                                          \
        asm volatile(statement "\tret\n" ::);                                  \
    }
#define GIVES_RBX(stub)                                                        \
    PUSH("rbx") SAVE stub(JOBSWITCH_STUB_SAVE, JOBSWITCH_STUB_ARRIVE) RESTORE POP("rbx")
#define KEEPS_RBX(stub)                                                        \
    SAVE stub(JOBSWITCH_STUB_SAVE_RBX, JOBSWITCH_STUB_ARRIVE_RBX) RESTORE
FUNCTION_OF(stub_of_resume, GIVES_RBX(JOBSWITCH_STUB_RESUME))
FUNCTION_OF(stub_of_resume_rbx, KEEPS_RBX(JOBSWITCH_STUB_RESUME))
FUNCTION_OF(stub_of_pause, GIVES_RBX(JOBSWITCH_STUB_PAUSE))
FUNCTION_OF(stub_of_pause_rbx, KEEPS_RBX(JOBSWITCH_STUB_PAUSE))
#endif

// ---- where the assembly lies ------------------------------------------------------

struct code {
    const char *name;
    uintptr_t low, high;
    bool is_switch; // context_switch, context_jump
};
static code arch_code[32];
static int arch_codes;
static unsigned char *stepped_on; // a byte for each address between text_low..
static uintptr_t text_low, text_high, main_function;
static bool portable; // the entry functions are C++

// The sizes are in the symbol table of this program.
static void find_arch_code()
{
    static const char *const names[] = {
        "context_make", "context_start", "context_switch", "context_return",
        "context_jump", "context_stack_pointer", "context_shadow_stack",
        "context_personality", "jobswitch_start_job", "jobswitch_pause_job",
        // not in the portable build
        "job_end_known", "jobswitch_inline_start", "jobswitch_inline_resume",
        "jobswitch_inline_pause", "jobswitch_inline_start_rbx",
        "jobswitch_inline_resume_rbx", "jobswitch_inline_pause_rbx",
        "stub_return_rbx", "stub_start", "stub_pause", "stub_of_resume",
        "stub_of_resume_rbx", "stub_of_pause", "stub_of_pause_rbx"};
    constexpr int names_portable = 10, names_all = sizeof names / sizeof *names;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat info = {};
    assert_int_equal(fstat(fd, &info), 0);
    auto file = static_cast<const unsigned char *>(
        mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0));
    close(fd);
    assert_ptr_not_equal(file, MAP_FAILED);
    auto header = reinterpret_cast<const Elf64_Ehdr *>(file);
    auto sections = reinterpret_cast<const Elf64_Shdr *>(file + header->e_shoff);
    uintptr_t base = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < header->e_shnum; i++) {
            if (sections[i].sh_type != SHT_SYMTAB)
                continue;
            auto symbols =
                reinterpret_cast<const Elf64_Sym *>(file + sections[i].sh_offset);
            auto strings = reinterpret_cast<const char *>(
                file + sections[sections[i].sh_link].sh_offset);
            for (size_t s = 0; s < sections[i].sh_size / sizeof *symbols; s++) {
                const char *name = strings + symbols[s].st_name;
                uintptr_t at = symbols[s].st_value;
                if (pass == 0 && strcmp(name, "traced_call") == 0)
                    base = reinterpret_cast<uintptr_t>(&traced_call) - at;
                if (pass == 1 && strcmp(name, "main") == 0)
                    main_function = base + at;
                for (const char *wanted : names)
                    if (pass == 1 && strcmp(name, wanted) == 0)
                        arch_code[arch_codes++] = {
                            wanted, base + at, base + at + symbols[s].st_size,
                            strcmp(name, "context_switch") == 0 ||
                                strcmp(name, "context_jump") == 0};
            }
        }
    munmap(const_cast<unsigned char *>(file), size_t(info.st_size));
    text_low = UINTPTR_MAX;
    for (int i = 0; i < arch_codes; i++)
        if (strcmp(arch_code[i].name, "jobswitch_start_job") == 0)
            portable = arch_code[i].high - arch_code[i].low < 100;
    assert_int_equal(arch_codes, portable ? names_portable : names_all);
    for (int i = 0; i < arch_codes; i++) {
        if (arch_code[i].low < text_low)
            text_low = arch_code[i].low;
        if (arch_code[i].high > text_high)
            text_high = arch_code[i].high;
    }
    stepped_on = static_cast<unsigned char *>(calloc(text_high - text_low, 1));
    assert_non_null(stepped_on);
}

static const code *code_at(uintptr_t address)
{
    for (int i = 0; i < arch_codes; i++)
        if (address >= arch_code[i].low && address < arch_code[i].high)
            return &arch_code[i];
    return nullptr;
}

// ---- what a walk is to find -----------------------------------------------------------

// The first is for a starter that is to lie below its jobs.
static constexpr size_t stack_bytes = 128 * 1024;
static constexpr int stack_count = 5;
alignas(4096) static unsigned char stacks[stack_count][stack_bytes];
static bool stack_taken[stack_count];

static void *stack_alloc(size_t, void *)
{
    for (int i = 1; i < stack_count; i++)
        if (!stack_taken[i]) {
            stack_taken[i] = true;
            return stacks[i];
        }
    return nullptr;
}
static void stack_free(void *stack, size_t, void *)
{
    for (int i = 1; i < stack_count; i++)
        if (stack == stacks[i])
            stack_taken[i] = false;
}

// 1.. for a job's stack, 0 for the starter's
static int stack_of(uintptr_t address)
{
    for (int i = 1; i < stack_count; i++) {
        auto low = reinterpret_cast<uintptr_t>(stacks[i]);
        if (address > low && address <= low + stack_bytes)
            return i;
    }
    return 0;
}

// Open traced calls from the innermost on, and what is below them: the function
// `below` and further down `bottom`; or a return address of 0.
struct side {
    bool known;
    bool ends; // at a start routine without a starter
    const traced *calls[4];
};
static side on_stack[stack_count];
// In context_switch and context_jump where a job pauses or ends through C++:
// the link has been cut before, and a walk ends at the start routine. Set by
// the job before it leaves, cleared by start().
static side leaving[stack_count];
static uintptr_t below, bottom;

static side walk_of(const traced *a = nullptr, const traced *b = nullptr,
                    const traced *c = nullptr)
{
    return {true, false, {a, b, c, nullptr}};
}
static side end_after(const traced *a = nullptr)
{
    return {true, true, {a, nullptr}};
}

// All stacks: the open calls of the starter. That is what a fresh job shows.
static void expect(const side &all)
{
    for (side &s : on_stack)
        s = all;
    for (side &s : leaving)
        s = {};
}

// ---- the walk ----------------------------------------------------------------------------

struct frame {
    uintptr_t ip, cfa, function;
    uint64_t saved[6];
    int before_instruction;
};
struct walk {
    frame frames[64];
    int count;
};

// A wrong row may send the unwinder anywhere.
static sigjmp_buf after_fault;
static volatile bool walking;
static const char *volatile reading;
static void faulted(int signal_number)
{
    if (walking)
        siglongjmp(after_fault, 1);
    signal(signal_number, SIG_DFL);
}

static _Unwind_Reason_Code walk_step(_Unwind_Context *context, void *to)
{
    walk &w = *static_cast<walk *>(to);
    if (w.count == 64)
        return _URC_NORMAL_STOP;
    frame &f = w.frames[w.count++];
    f = {};
    f.ip = _Unwind_GetIPInfo(context, &f.before_instruction);
    f.cfa = _Unwind_GetCFA(context);
    f.function = f.ip ? _Unwind_GetRegionStart(context) : 0;
    if (f.ip == reinterpret_cast<uintptr_t>(traced_call_return))
        for (int i = 0; i < 6; i++) {
            reading = saved_name[i];
            f.saved[i] = _Unwind_GetGR(context, saved_dwarf[i]);
        }
    reading = nullptr;
    return _URC_NO_REASON;
}

static unsigned long steps, walks, wrong;
static char first_wrong[400];

static void report(uintptr_t ip, const char *format, ...)
{
    if (wrong++)
        return;
    const code *c = code_at(ip);
    int used = snprintf(first_wrong, sizeof first_wrong, "%s+0x%lx: ",
                        c ? c->name : "?", ip - (c ? c->low : 0));
    va_list args;
    va_start(args, format);
    vsnprintf(first_wrong + used, sizeof first_wrong - size_t(used), format, args);
    va_end(args);
}

static void check_walk(uintptr_t ip, const side &expected, const walk &w,
                       _Unwind_Reason_Code code)
{
    if (code != _URC_END_OF_STACK)
        return report(ip, "the walk ended with code %d after %d frames", code, w.count);
    int at = 0;
    while (at < w.count && !(w.frames[at].ip == ip && w.frames[at].before_instruction))
        at++;
    if (at == w.count)
        return report(ip, "the interrupted frame is not in the walk");
    // From a start routine the walk goes on at a place that is no return address, as
    // from a signal frame. (gdb needs that where a job lies above its starter.)
    for (int i = at + 1; i < w.count && w.frames[i].ip; i++)
        if (stack_of(w.frames[i].cfa) != stack_of(w.frames[i - 1].cfa) &&
            w.frames[i - 1].function != reinterpret_cast<uintptr_t>(&call_elsewhere) &&
            !w.frames[i].before_instruction)
            return report(ip, "the start routine is no signal frame");
    int found = 0;
    for (at++; at < w.count; at++) {
        const frame &f = w.frames[at];
        if (f.ip != reinterpret_cast<uintptr_t>(traced_call_return))
            continue;
        const traced *t = expected.calls[found];
        if (!t)
            return report(ip, "traced call %d is one too many (cfa %lx)", found, f.cfa);
        if (f.cfa != t->rsp)
            return report(ip, "CFA of traced call %d is %lx, not %lx", found, f.cfa,
                          t->rsp);
        for (int i = 0; i < 6; i++)
            if (is_preserved(*t, i) && f.saved[i] != t->before[i])
                return report(ip, "%s of traced call %d is %lx, not %lx",
                              saved_name[i], found, f.saved[i], t->before[i]);
        found++;
        if (!expected.calls[found])
            break;
    }
    if (expected.calls[found])
        return report(ip, "%d traced calls of the walk are missing", 1);
    if (expected.ends) {
        const frame &last = w.frames[w.count - 1];
        if (last.ip != 0)
            return report(ip, "the walk ends at %lx, not at 0", last.ip);
        if (w.count < 2 || !code_at(w.frames[w.count - 2].ip))
            return report(ip, "the walk does not end at the start routine");
        return;
    }
    bool seen_below = false, seen_bottom = false;
    for (at++; at < w.count; at++) {
        const frame &f = w.frames[at];
        if (f.ip == reinterpret_cast<uintptr_t>(traced_call_return))
            return report(ip, "the walk meets more traced calls");
        seen_below |= f.function == below;
        seen_bottom |= seen_below && f.function == bottom;
    }
    if (!seen_below)
        return report(ip, "the walk does not reach the test's function");
    if (!seen_bottom)
        return report(ip, "the walk does not reach the thread's first function");
}

static uintptr_t also_low, also_high; // more code to walk from

static void trapped(int, siginfo_t *, void *machine)
{
    auto &registers = static_cast<ucontext_t *>(machine)->uc_mcontext.gregs;
    auto ip = uintptr_t(registers[REG_RIP]);
    steps++;
    (void)jobswitch_in_job(); // any handler may ask, anywhere
    if (wrong > 2) { // enough is known
        registers[REG_EFL] &= ~0x100ll;
        return;
    }
    const code *c = code_at(ip);
    if (!c && !(ip >= also_low && ip < also_high))
        return;
    if (c)
        stepped_on[ip - text_low] = 1;
    int stack = stack_of(uintptr_t(registers[REG_RSP]));
    static thread_local const side *expected;
    static thread_local walk w;
    expected = c && c->is_switch && leaving[stack].known ? &leaving[stack]
                                                         : &on_stack[stack];
    w.count = 0;
    walks++;
    reading = nullptr;
    if (sigsetjmp(after_fault, 1) == 0) {
        walking = true;
        _Unwind_Reason_Code answer = _Unwind_Backtrace(walk_step, &w);
        walking = false;
        check_walk(ip, *expected, w, answer);
    } else {
        walking = false;
        report(ip, "the walk faults after %d frames, at %s", w.count,
               reading ? reading : "the next one");
    }
}

// ---- calls ------------------------------------------------------------------------------

static void set_call(traced &t, uint64_t pattern, const void *target, bool step,
                     uint64_t a = 0, uint64_t b = 0, uint64_t c = 0,
                     uint64_t d = 0, uint64_t e = 0)
{
    t = {};
    t.target = target;
    t.args[0] = a;
    t.args[1] = b;
    t.args[2] = c;
    t.args[3] = d;
    t.args[4] = e;
    for (unsigned i = 0; i < 6; i++)
        t.before[i] = pattern << 32 | 0x1111 * (i + 1);
    t.step = step;
}

// For use on any stack: what was not preserved, and DF.
static void check_preserved(const traced &t, const char *what)
{
    for (int i = 0; i < 6; i++)
        if (is_preserved(t, i) && t.after[i] != t.before[i])
            report(0, "%s did not preserve %s: %lx, not %lx", what, saved_name[i],
                   t.after[i], t.before[i]);
    if (t.flags & 0x400)
        report(0, "%s returned with DF set", what);
}

// What is called or jumped to, by forms
#ifdef JOBSWITCH_STUBS
static void (*const start_by[forms])() = {nullptr, jobswitch_inline_start,
                                          jobswitch_inline_start_rbx,
                                          jobswitch_inline_start,
                                          jobswitch_inline_start_rbx};
static void (*const resume_by[forms])() = {nullptr, stub_of_resume, stub_of_resume_rbx,
                                           jobswitch_inline_resume,
                                           jobswitch_inline_resume_rbx};
static void (*const pause_by[forms])() = {nullptr, stub_of_pause, stub_of_pause_rbx,
                                          jobswitch_inline_pause,
                                          jobswitch_inline_pause_rbx};
#else
static void (*const start_by[forms])() = {};
static void (*const resume_by[forms])() = {};
static void (*const pause_by[forms])() = {};
#endif

// How the scenarios start and resume, and how their jobs pause.
static uint64_t start_form, pause_form;

// What a stub answers: in CF that the job has paused, in ZF that it was resumed,
// else in rax.
static bool answer_in(const traced &t, uint64_t flag) { return t.flags & flag; }
static constexpr uint64_t carry = 1, zero = 0x40;

static int start(traced &t, uint64_t pattern, jobswitch_job **job, int *ret,
                 int (*function)(void *), const void *args = nullptr,
                 size_t size = 0, bool step = true)
{
    for (side &s : leaving)
        s = {};
    if (start_form == by_function || !job || !ret) {
        set_call(t, pattern, reinterpret_cast<const void *>(&jobswitch_start_job), step,
                 reinterpret_cast<uint64_t>(job), reinterpret_cast<uint64_t>(ret),
                 reinterpret_cast<uint64_t>(function), reinterpret_cast<uint64_t>(args),
                 size);
        traced_call(&t);
        check_preserved(t, "jobswitch_start_job");
        return int(t.rax);
    }
    bool fresh = !*job;
    if (fresh)
        set_call(t, pattern, reinterpret_cast<const void *>(start_by[start_form]),
                 step, reinterpret_cast<uint64_t>(args),
                 reinterpret_cast<uint64_t>(function), 0, size, ~uint64_t(0) << 20);
    else
        set_call(t, pattern, reinterpret_cast<const void *>(resume_by[start_form]),
                 step, reinterpret_cast<uint64_t>(*job));
    // (a start's stub is a jump to its body)
    t.form = !fresh ? start_form : keeps_rbx(start_form) ? by_body_rbx : by_body;
    traced_call(&t);
    check_preserved(t, fresh ? "jobswitch_inline_start" : "jobswitch_inline_resume");
    int answer = answer_in(t, carry) ? JOBSWITCH_PAUSE : int(t.rax);
    if (answer == JOBSWITCH_PAUSE && fresh)
        *job = reinterpret_cast<jobswitch_job *>(t.rdx);
    if (answer == JOBSWITCH_FINISH) {
        *job = nullptr;
        *ret = int(t.rdx);
    }
    return answer;
}

static int pause(traced &t, uint64_t pattern, bool step = false)
{
    set_call(t, pattern,
             pause_form == by_function
                 ? reinterpret_cast<const void *>(&jobswitch_pause_job)
                 : reinterpret_cast<const void *>(pause_by[pause_form]),
             step);
    t.form = pause_form;
    traced_call(&t);
    check_preserved(t, pause_form == by_function ? "jobswitch_pause_job"
                                                 : "jobswitch_inline_pause");
    return pause_form != by_function && answer_in(t, zero) ? 1 : int(t.rax);
}

static int stack_here()
{
    return stack_of(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
}

// In a job, just before its pause in `call`, started through the calls `then`.
static void about_to_pause(const traced &call, const traced *then,
                           const traced *then2 = nullptr)
{
    on_stack[stack_here()] = walk_of(&call, then, then2);
    leaving[stack_here()] = end_after(&call);
}

// and before its end
static void about_to_end(const traced *starter, const traced *then = nullptr)
{
    on_stack[stack_here()] = walk_of(starter, then);
    leaving[stack_here()] = end_after();
}

// The library is asked for stacks of this file's.
static void open_pool(size_t jobs, bool warm)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.initial_jobs = jobs;
    options.stack_bytes = stack_bytes;
    options.stack_alloc = stack_alloc;
    options.stack_free = stack_free;
    options.flags = warm ? JOBSWITCH_PREFAULT : 0;
    if (!jobswitch_init_thread_with(&options))
        report(0, "no pool: %s", jobswitch_error_string(jobswitch_last_error()));
}

#define HERE(function) reinterpret_cast<uintptr_t>(&function)
#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition))                                                      \
            report(0, "line %d: %s", __LINE__, #condition);                    \
    } while (0)
#define SCENARIO extern "C" [[gnu::noinline]] void

// The traced call that the thread itself makes, for the jobs' functions.
static traced *starter_call;

// ---- scenarios: the thread starts and resumes -----------------------------------------------

static size_t args_size;
static unsigned char args_bytes[4096];
static bool args_right, args_aligned;

static int check_args(void *args)
{
    args_right = args_size == SIZE_MAX ? args == nullptr
                                       : args && memcmp(args, args_bytes, args_size) == 0;
    args_aligned = reinterpret_cast<uintptr_t>(args) % 64 == 0;
    about_to_end(starter_call);
    return 5;
}

SCENARIO scenario_start_finish()
{
    below = HERE(scenario_start_finish);
    open_pool(2, true);
    static const size_t sizes[] = {
        SIZE_MAX, 0,  1,  2,  3,  4,   5,   7,   8,   9,   15,   16,   17,   31,  32, 33,
        47,       48, 49, 63, 64, 65,  95,  96,  97,  127, 128,  129,  500,  1000,
        1023,     1024, 1025, 4000};
    unsigned char first = 0;
    for (size_t size : sizes) {
        first++; // so that what was left on the stack is not right
        for (size_t i = 0; i < sizeof args_bytes; i++)
            args_bytes[i] = static_cast<unsigned char>(i * 7 + first);
        traced t;
        starter_call = &t;
        jobswitch_job *job = nullptr;
        int ret = -1;
        args_size = size;
        expect(walk_of(&t));
        int answer = start(t, 0xa1, &job, &ret, check_args,
                           size == SIZE_MAX ? nullptr : args_bytes,
                           size == SIZE_MAX ? 0 : size);
        CHECK(answer == JOBSWITCH_FINISH && ret == 5 && !job);
        if (!args_right)
            report(0, "args of %zu bytes are not what was passed", size);
        if (!args_aligned)
            report(0, "args of %zu bytes are not aligned", size);
        if (wrong)
            return;
    }
    jobswitch_cleanup_thread();
}

static traced job_call; // of the job that pauses
static int pause_answers[2 * forms];

// Pauses as often as its argument says.
static int pauser(void *arg)
{
    int times = *static_cast<int *>(arg);
    for (int i = 0; i < times; i++) {
        about_to_pause(job_call, starter_call);
        pause_answers[i] = pause(job_call, 0xb1 + uint64_t(i));
    }
    about_to_end(starter_call);
    return 40 + times;
}

static void run_pauser(int times, size_t size = sizeof(int),
                       int (*function)(void *) = pauser, bool step = true)
{
    memcpy(args_bytes, &times, sizeof times);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    expect(walk_of(&t));
    CHECK(start(t, 0xa2, &job, &ret, function, args_bytes, size, step) ==
          JOBSWITCH_PAUSE);
    for (int i = 1; i <= times; i++) {
        CHECK(job && ret == -1);
        // a walk from the job shows its call, and behind it another one of ours
        int answer =
            start(t, 0xc0 + uint64_t(i), &job, &ret, nullptr, nullptr, 0, step);
        CHECK(pause_answers[i - 1] == 1);
        CHECK(answer == (i < times ? JOBSWITCH_PAUSE : JOBSWITCH_FINISH));
    }
    CHECK(!job && ret == 40 + times);
}

SCENARIO scenario_pause_resume()
{
    below = HERE(scenario_pause_resume);
    open_pool(2, true);
    for (int times = 1; times <= 3; times++)
        run_pauser(times);
    jobswitch_cleanup_thread();
}

// Each pause by another form than the last, and from another depth: none finds in its
// context what it would have left there.
[[gnu::noinline]] static int pause_deeper(uint64_t pattern)
{
    volatile char below_us[512];
    below_us[0] = 0;
    return pause(job_call, pattern) + below_us[0];
}
static int pauser_in_turn(void *arg)
{
    int times = *static_cast<int *>(arg);
    for (int i = 0; i < times; i++) {
        pause_form = uint64_t(i) % forms;
        about_to_pause(job_call, starter_call);
        pause_answers[i] = i % 2 ? pause(job_call, 0xb1 + uint64_t(i))
                                 : pause_deeper(0xb1 + uint64_t(i));
    }
    about_to_end(starter_call);
    return 40 + times;
}
SCENARIO scenario_pauses_in_turn()
{
    below = HERE(scenario_pauses_in_turn);
    open_pool(1, true);
    run_pauser(2 * forms, sizeof(int), pauser_in_turn);
    jobswitch_cleanup_thread();
}

// What the fast path does not know starts through C++: an idle job that is not warm,
// large arguments.
SCENARIO scenario_cold()
{
    below = HERE(scenario_cold);
    open_pool(0, false);
    run_pauser(2);
    run_pauser(2, 2000);
    jobswitch_cleanup_thread();
}

// A job on a stack of its own making pauses there through C++, and is resumed by the
// fast path.
static int pauser_elsewhere(void *arg)
{
    int times = *static_cast<int *>(arg);
    int home = stack_here(), away = stack_count - 1;
    for (int i = 0; i < times; i++) {
        on_stack[home] = on_stack[away] = walk_of(&job_call, starter_call);
        leaving[away] = end_after(&job_call);
        set_call(job_call, 0xb1 + uint64_t(i),
                 pause_form == by_function
                     ? reinterpret_cast<const void *>(&jobswitch_pause_job)
                     : reinterpret_cast<const void *>(pause_by[pause_form]),
                 false);
        job_call.form = pause_form;
        call_elsewhere(&job_call, stacks[away] + stack_bytes, &traced_call);
        check_preserved(job_call, "a pause elsewhere");
        pause_answers[i] = pause_form != by_function && answer_in(job_call, zero)
                               ? 1
                               : int(job_call.rax);
    }
    about_to_end(starter_call);
    return 40 + times;
}

SCENARIO scenario_elsewhere()
{
    below = HERE(scenario_elsewhere);
    open_pool(1, true);
    // Where the thread's stack lies is asked of the system once, in very many steps.
    run_pauser(1, sizeof(int), pauser_elsewhere, false);
    run_pauser(2, sizeof(int), pauser_elsewhere);
    jobswitch_cleanup_thread();
}

static int revealed(void *)
{
    int answer = jobswitch_get_current_job() ? 6 : 0;
    about_to_end(starter_call);
    return answer;
}
static int with_descriptor(void *)
{
    int answer = jobswitch_get_wait_fd(jobswitch_get_current_job()) >= 0 ? 7 : 0;
    about_to_end(starter_call);
    return answer;
}
static int blocked(void *)
{
    jobswitch_block_pause();
    on_stack[stack_here()] = walk_of(&job_call, starter_call);
    pause_answers[0] = pause(job_call, 0xb7);
    jobswitch_unblock_pause();
    about_to_end(starter_call);
    return 8;
}

SCENARIO scenario_other_ends()
{
    below = HERE(scenario_other_ends);
    open_pool(2, true);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    expect(walk_of(&t));
    CHECK(start(t, 0xa3, &job, &ret, revealed) == JOBSWITCH_FINISH && ret == 6);
    expect(walk_of(&t));
    CHECK(start(t, 0xa4, &job, &ret, with_descriptor) == JOBSWITCH_FINISH && ret == 7);
    expect(walk_of(&t));
    CHECK(start(t, 0xa5, &job, &ret, blocked) == JOBSWITCH_FINISH && ret == 8);
    CHECK(pause_answers[0] == 1);

    // outside a job, and what is refused
    expect(walk_of(&t));
    CHECK(pause(t, 0xa6, true) == 1);
    CHECK(start(t, 0xa7, nullptr, &ret, revealed) == JOBSWITCH_ERR);
    CHECK(start(t, 0xa8, &job, nullptr, revealed) == JOBSWITCH_ERR);
    CHECK(start(t, 0xa9, &job, &ret, nullptr) == JOBSWITCH_ERR);
    auto stale = reinterpret_cast<jobswitch_job *>(uintptr_t(12345));
    CHECK(start(t, 0xaa, &stale, &ret, revealed) == JOBSWITCH_ERR);

    jobswitch_cleanup_thread();
}

// The pool's own review comes with every so many ends: of a job whose handle nobody
// knows, and of one that was asked for it.
static int plain_end(void *)
{
    about_to_end(starter_call);
    return 14;
}
static void run_to_review(int (*function)(void *), int value)
{
    open_pool(1, true);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    pool_thread_state.until_review = 3;
    for (int i = 0; i < 4; i++) {
        ret = -1;
        expect(walk_of(&t));
        CHECK(start(t, 0xab, &job, &ret, function) == JOBSWITCH_FINISH && ret == value);
    }
    CHECK(pool_thread_state.until_review > 3);
    jobswitch_cleanup_thread();
}
SCENARIO scenario_review()
{
    below = HERE(scenario_review);
    run_to_review(plain_end, 14);
    run_to_review(revealed, 6);
    asm volatile(""); // not a jump, which would leave no frame
}

// ---- scenarios: jobs in jobs ---------------------------------------------------------------

static traced outer_call, inner_call;
static jobswitch_job *inner_job;
static int inner_answers[2], inner_ret;

// Pauses twice: inner is resumed by outer, then by the thread itself.
static int inner(void *)
{
    for (uint64_t i = 0; i < 2; i++) {
        about_to_pause(inner_call, &outer_call, starter_call);
        pause(inner_call, 0xe1 + i);
    }
    about_to_end(starter_call);
    return 9;
}

static int outer(void *)
{
    for (int i = 1; i < stack_count; i++)
        on_stack[i] = walk_of(&outer_call, starter_call);
    inner_answers[0] =
        start(outer_call, 0xf1, &inner_job, &inner_ret, inner, nullptr, 0, false);
    inner_answers[1] =
        start(outer_call, 0xf2, &inner_job, &inner_ret, nullptr, nullptr, 0, false);
    about_to_end(starter_call);
    return 10;
}

SCENARIO scenario_nested()
{
    below = HERE(scenario_nested);
    open_pool(3, true);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    inner_job = nullptr;
    expect(walk_of(&t));
    CHECK(start(t, 0xa1, &job, &ret, outer) == JOBSWITCH_FINISH && ret == 10);
    CHECK(inner_answers[0] == JOBSWITCH_PAUSE && inner_answers[1] == JOBSWITCH_PAUSE);
    CHECK(inner_job);
    for (int i = 1; i < stack_count; i++)
        on_stack[i] = walk_of(&inner_call, &t);
    CHECK(start(t, 0xa2, &inner_job, &ret, nullptr) == JOBSWITCH_FINISH && ret == 9);
    jobswitch_cleanup_thread();
}

static int inner_ends(void *)
{
    about_to_end(&outer_call, starter_call);
    return 11;
}
static int outer_of_end(void *)
{
    for (int i = 1; i < stack_count; i++)
        on_stack[i] = walk_of(&outer_call, starter_call);
    inner_answers[0] =
        start(outer_call, 0xf3, &inner_job, &inner_ret, inner_ends, nullptr, 0, false);
    about_to_end(starter_call);
    return 12;
}
SCENARIO scenario_nested_end()
{
    below = HERE(scenario_nested_end);
    open_pool(3, true);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    inner_job = nullptr;
    expect(walk_of(&t));
    CHECK(start(t, 0xa1, &job, &ret, outer_of_end) == JOBSWITCH_FINISH && ret == 12);
    CHECK(inner_answers[0] == JOBSWITCH_FINISH && inner_ret == 11 && !inner_job);
    jobswitch_cleanup_thread();
}

// Started by the thread itself, resumed to its end by another job.
static int ends_in_another(void *)
{
    about_to_pause(inner_call, starter_call);
    pause(inner_call, 0xe3);
    about_to_end(&outer_call, starter_call);
    return 11;
}
static int outer_of_other(void *)
{
    int home = stack_here();
    on_stack[home] = walk_of(&outer_call, starter_call);
    for (int i = 1; i < stack_count; i++)
        if (i != home)
            on_stack[i] = walk_of(&inner_call, &outer_call, starter_call);
    inner_answers[0] =
        start(outer_call, 0xf4, &inner_job, &inner_ret, nullptr, nullptr, 0, true);
    about_to_end(starter_call);
    return 12;
}
SCENARIO scenario_end_in_another()
{
    below = HERE(scenario_end_in_another);
    open_pool(3, true);
    traced t = {};
    starter_call = &t;
    jobswitch_job *job = nullptr;
    int ret = -1;
    inner_job = nullptr;
    expect(walk_of(&t));
    CHECK(start(t, 0xa3, &inner_job, &ret, ends_in_another) == JOBSWITCH_PAUSE);
    CHECK(start(t, 0xa4, &job, &ret, outer_of_other) == JOBSWITCH_FINISH && ret == 12);
    CHECK(inner_answers[0] == JOBSWITCH_FINISH && inner_ret == 11 && !inner_job);
    jobswitch_cleanup_thread();
}

// ---- scenarios: bare contexts ------------------------------------------------------------

static context main_context, bare_context;
static int bare_arg, bare_value, bare_payload;

// A stepped call on the bare context's stack
static void bare_walks(const side &expected)
{
    on_stack[stack_here()] = expected;
    set_call(job_call, 0xd6, reinterpret_cast<const void *>(&context_stack_pointer), true,
             reinterpret_cast<uint64_t>(&main_context));
    traced_call(&job_call);
    check_preserved(job_call, "context_stack_pointer");
}

static int bare(void *arg)
{
    bare_arg = *static_cast<int *>(arg);
    int here = stack_here();
    // No link: a walk ends at the start routine, with this call before it.
    on_stack[here] = end_after(&job_call);
    set_call(job_call, 0xd7, reinterpret_cast<const void *>(&context_switch), false,
             reinterpret_cast<uint64_t>(&bare_context),
             reinterpret_cast<uint64_t>(&main_context), 21, 121);
    traced_call(&job_call);
    bare_value = int(job_call.rax);
    bare_payload = int(job_call.rdx);
    check_preserved(job_call, "context_switch");
    // With a link, of which it is the child, it runs on into the starter; not so
    // with either alone.
    main_context.child = &bare_context;
    bare_walks(end_after(&job_call));
    bare_context.link = &main_context;
    main_context.child = nullptr;
    bare_walks(end_after(&job_call));
    main_context.child = &bare_context;
    on_stack[here] = walk_of(&job_call, starter_call);
    set_call(job_call, 0xd8, reinterpret_cast<const void *>(&context_switch), false,
             reinterpret_cast<uint64_t>(&bare_context),
             reinterpret_cast<uint64_t>(&main_context), 22, 122);
    traced_call(&job_call);
    set_call(job_call, 0xd9, reinterpret_cast<const void *>(&context_jump), false,
             reinterpret_cast<uint64_t>(&main_context), 23, 123);
    traced_call(&job_call); // does not return
    abort();
}

SCENARIO scenario_bare()
{
    below = HERE(scenario_bare);
    traced t = {};
    starter_call = &t;
    int arg = 20;
    expect(walk_of(&t));
    set_call(t, 0xa1, reinterpret_cast<const void *>(&context_make), true,
             reinterpret_cast<uint64_t>(&bare_context),
             reinterpret_cast<uint64_t>(stacks[1] + stack_bytes),
             reinterpret_cast<uint64_t>(&bare), reinterpret_cast<uint64_t>(&arg));
    traced_call(&t);
    check_preserved(t, "context_make");
    CHECK(bare_context.link == &bare_context);
    set_call(t, 0xa2, reinterpret_cast<const void *>(&context_stack_pointer), true,
             reinterpret_cast<uint64_t>(&bare_context));
    traced_call(&t);
    check_preserved(t, "context_stack_pointer");
    CHECK(stack_of(t.rax) == 1);

    // A fresh context, which is its own link: the walk ends cleanly.
    for (int i = 1; i < stack_count; i++)
        on_stack[i] = end_after();
    set_call(t, 0xa3, reinterpret_cast<const void *>(&context_switch), true,
             reinterpret_cast<uint64_t>(&main_context),
             reinterpret_cast<uint64_t>(&bare_context), 0, 0);
    traced_call(&t);
    check_preserved(t, "context_switch");
    CHECK(t.rax == 21 && t.rdx == 121 && bare_arg == 20);
    // Twice more: the second time it has a link, at the third it leaves.
    for (uint64_t i = 0; i < 2; i++) {
        set_call(t, 0xa4 + i, reinterpret_cast<const void *>(&context_switch), true,
                 reinterpret_cast<uint64_t>(&main_context),
                 reinterpret_cast<uint64_t>(&bare_context), 31 + i, 131 + i);
        on_stack[1] = i ? walk_of(&job_call, &t) : end_after(&job_call);
        traced_call(&t);
        check_preserved(t, "context_switch");
        CHECK(t.rax == 22 + i && t.rdx == 122 + i);
    }
    CHECK(bare_value == 31 && bare_payload == 131);

    expect(walk_of(&t));
    set_call(t, 0xa6, reinterpret_cast<const void *>(&context_shadow_stack), true);
    traced_call(&t);
    check_preserved(t, "context_shadow_stack");
    CHECK(t.rax == 0);
    set_call(t, 0xa7, reinterpret_cast<const void *>(&context_personality), true, 1, 1);
    traced_call(&t);
    check_preserved(t, "context_personality");
    CHECK(t.rax == _URC_FATAL_PHASE1_ERROR);
}

// The answer to a forced unwind ends the process by abort().
static sigjmp_buf after_abort;
static void aborted(int) { siglongjmp(after_abort, 1); }

SCENARIO scenario_forced()
{
    below = HERE(scenario_forced);
    static traced t = {};
    expect(walk_of(&t));
    int error = dup(2), nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 2);
    signal(SIGABRT, aborted);
    if (sigsetjmp(after_abort, 1) == 0) {
        set_call(t, 0xa1, reinterpret_cast<const void *>(&context_personality), true,
                 1, 8 | 2);
        traced_call(&t);
        report(0, "context_personality returned from a forced unwind");
    }
    signal(SIGABRT, SIG_DFL);
    dup2(error, 2);
    close(error);
    close(nowhere);
}

// ---- every row was stepped on ----------------------------------------------------------

static uint64_t read_uleb(const unsigned char *&at)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        unsigned char b = *at++;
        value |= uint64_t(b & 127) << shift;
        if (!(b & 128))
            return value;
    }
}

struct dwarf_eh_bases {
    void *tbase, *dbase, *func;
};
extern "C" const void *_Unwind_Find_FDE(void *pc, dwarf_eh_bases *bases);

static unsigned rows, rows_missed, uncovered;
static char missed[400];

// A row that holds from `at` to `end`. What is before a place where a context goes
// on is a nop that never runs.
static void note_row(uintptr_t at, uintptr_t end)
{
    if (at == end)
        return;
    rows++;
    if (*reinterpret_cast<const unsigned char *>(at) == 0x90 && at + 1 < end)
        at++;
    if (!code_at(at) || stepped_on[at - text_low])
        return;
    rows_missed++;
    size_t used = strlen(missed);
    snprintf(missed + used, sizeof missed - used, " %s+0x%lx", code_at(at)->name,
             at - code_at(at)->low);
}

// The rows of a description written by unwind.inc: few of DWARF's operations.
static void note_rows(const unsigned char *fde, uintptr_t begin)
{
    uint32_t bytes, span;
    memcpy(&bytes, fde, 4);
    memcpy(&span, fde + 12, 4);
    const unsigned char *end = fde + 4 + bytes, *at = fde + 16;
    at += read_uleb(at);
    uintptr_t place = begin;
    auto advance = [&place](uintptr_t by) {
        note_row(place, place + by);
        place += by;
    };
    while (at < end) {
        unsigned char op = *at++;
        switch (op >> 6 ? op & 0xc0 : op) {
        case 0x00: break;
        case 0x40: advance(op & 63); break;
        case 0x80: read_uleb(at); break;
        case 0xc0: break;
        case 0x02: advance(*at++); break;
        case 0x03: advance(at[0] | unsigned(at[1]) << 8); at += 2; break;
        case 0x07: case 0x08: case 0x0e: case 0x0d: read_uleb(at); break;
        case 0x0a: case 0x0b: break;
        case 0x05: case 0x09: case 0x0c: read_uleb(at); read_uleb(at); break;
        case 0x0f: { uint64_t n = read_uleb(at); at += n; break; }
        case 0x10: case 0x16: { read_uleb(at); uint64_t n = read_uleb(at); at += n; break; }
        default: report(begin, "unknown DWARF operation %x", op); return;
        }
    }
    note_row(place, begin + span);
}

static void note_all_rows()
{
    uintptr_t last = 0;
    for (int i = 0; i < arch_codes; i++) {
        if (portable && arch_code[i].name[0] == 'j')
            continue; // the compiler's rows
        for (uintptr_t at = arch_code[i].low; at < arch_code[i].high; at++) {
            dwarf_eh_bases bases = {};
            auto fde = static_cast<const unsigned char *>(
                _Unwind_Find_FDE(reinterpret_cast<void *>(at), &bases));
            if (!fde) {
                uncovered++;
                continue;
            }
            auto begin = reinterpret_cast<uintptr_t>(bases.func);
            if (begin != last)
                note_rows(fde, begin);
            last = begin;
        }
    }
}

// ---- the tests ---------------------------------------------------------------------------

static int set_up(void **)
{
    find_arch_code();
    struct sigaction action = {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, nullptr);
    return 0;
}

static void verify(const char *what, unsigned long walks_least)
{
    if (wrong)
        fail_msg("%s: %lu times wrong; first %s", what, wrong, first_wrong);
    if (walks < walks_least)
        fail_msg("%s: %lu walks are too few", what, walks);
}

static void reset()
{
    walks = wrong = 0;
    bottom = main_function;
    signal(SIGSEGV, faulted); // cmocka sets its own before each test
    signal(SIGBUS, faulted);
}

static void from_main_thread(void (*scenario)(), const char *name, unsigned long least)
{
    reset();
    scenario();
    verify(name, least);
}

#define STEPPED(scenario, least)                                               \
    static void test_##scenario(void **)                                       \
    {                                                                          \
        from_main_thread(scenario, #scenario, least);                          \
    }
STEPPED(scenario_start_finish, 800)
STEPPED(scenario_pause_resume, 100)
STEPPED(scenario_cold, 50)
STEPPED(scenario_elsewhere, 50)
STEPPED(scenario_other_ends, 150)
STEPPED(scenario_review, 200)
STEPPED(scenario_nested, 100)
STEPPED(scenario_nested_end, 50)
STEPPED(scenario_end_in_another, 100)
STEPPED(scenario_bare, 50)
STEPPED(scenario_forced, 5)

// What meets most rows comes first.
static void all_scenarios()
{
    scenario_pause_resume();
    scenario_start_finish();
    scenario_cold();
    scenario_elsewhere();
    scenario_other_ends();
    scenario_review();
    scenario_nested();
    scenario_nested_end();
    scenario_end_in_another();
}

// In the forms of the stubs
static void from_stubs(uint64_t form)
{
    if (portable)
        skip_because("no stubs in the portable build");
    reset();
    start_form = pause_form = form;
    all_scenarios();
    start_form = pause_form = by_function;
    verify("stubs", 2000);
}
static void test_stubs(void **)
{
    from_stubs(by_stub);
    from_stubs(by_body);
}
static void test_stubs_rbx(void **)
{
    from_stubs(by_stub_rbx);
    from_stubs(by_body_rbx);
}

// A start by one form after a start by another, which left other things where it saves
SCENARIO scenario_in_turn()
{
    below = HERE(scenario_in_turn);
    open_pool(1, true);
    for (uint64_t i = 0; i < 6; i++) {
        traced t = {};
        starter_call = &t;
        jobswitch_job *job = nullptr;
        int ret = -1;
        start_form = i % 2 ? by_body + i / 2 % 2 : uint64_t(by_function);
        expect(walk_of(&t));
        CHECK(start(t, 0xac + i, &job, &ret, plain_end) == JOBSWITCH_FINISH && ret == 14);
    }
    start_form = by_function;
    jobswitch_cleanup_thread();
}

// With starter and job in different ones
static void test_stubs_mixed(void **)
{
    if (portable)
        skip_because("no stubs in the portable build");
    reset();
    scenario_in_turn();
    for (start_form = by_stub; start_form < forms; start_form++)
        scenario_pauses_in_turn();
    pause_form = by_function;
    for (uint64_t started = 0; started < forms && !wrong; started++)
        for (uint64_t paused = 0; paused < forms; paused++) {
            if (started == paused)
                continue;
            start_form = started;
            pause_form = paused;
            scenario_pause_resume();
            scenario_cold();
            scenario_nested();
            if (wrong)
                fail_msg("form %lu starts, form %lu pauses: %lu times wrong; first %s",
                         started, paused, wrong, first_wrong);
        }
    start_form = pause_form = by_function;
    verify("mixed stubs", 2000);
}

// Again where the starter's stack lies below those of the jobs: in the main
// thread it lies above.
extern "C" [[gnu::noinline]] void *thread_main(void *)
{
    all_scenarios();
    if (!portable)
        for (uint64_t form = by_stub; form < forms; form++) {
            start_form = pause_form = form;
            all_scenarios();
        }
    start_form = pause_form = by_function;
    scenario_bare();
    asm volatile("");
    return nullptr;
}

static void test_starter_below_jobs(void **)
{
    reset();
    bottom = HERE(thread_main);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, stacks[0], stack_bytes), 0);
    assert_int_equal(pthread_create(&thread, &attributes, thread_main, nullptr), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    verify("starter below its jobs", 2000);
}

// Code that was not stepped on, of more bytes than an instruction has: a fast path that
// is never taken would otherwise go unnoticed. (Single instructions go by: of those some
// are for signals at one place, and some never return.)
static void test_every_path(void **)
{
    for (int i = 0; i < arch_codes && !portable; i++) {
        unsigned bytes = 0;
        for (uintptr_t at = arch_code[i].low; at < arch_code[i].high; at++) {
            if (stepped_on[at - text_low])
                bytes = 0;
            else if (*reinterpret_cast<const unsigned char *>(at) != 0x90)
                bytes++;
            if (bytes > 15)
                fail_msg("the code before %s+0x%lx was not stepped on", arch_code[i].name,
                         at + 1 - arch_code[i].low);
        }
    }
}

static void test_every_row(void **)
{
    wrong = 0;
    note_all_rows();
    if (wrong)
        fail_msg("%s", first_wrong);
    if (uncovered)
        fail_msg("%u bytes of code have no unwind row", uncovered);
    // The portable build answers in rax alone: not by context_back's flags.
    if (rows_missed != (portable ? 2 : 0))
        fail_msg("%u of %u rows were not stepped on:%s", rows_missed, rows, missed);
    print_message("%lu steps, all %u rows\n", steps, rows);
    assert_true(rows >= (portable ? 10 : 60));
}

// ---- does the test notice? -----------------------------------------------------------------

SCENARIO scenario_bad_row()
{
    below = HERE(scenario_bad_row);
    traced t = {};
    expect(walk_of(&t));
    set_call(t, 0xa1, reinterpret_cast<const void *>(&bad_row), true);
    traced_call(&t);
}

SCENARIO scenario_clobber()
{
    open_pool(1, true);
    traced t = {};
    jobswitch_job *job = nullptr;
    int ret;
    (void)start(t, 0xa1, &job, &ret, clobber_rbx, nullptr, 0, false);
    jobswitch_cleanup_thread();
}

static void test_notices_bad_row(void **)
{
    reset();
    also_low = HERE(bad_row);
    also_high = reinterpret_cast<uintptr_t>(bad_row_end);
    scenario_bad_row();
    also_low = also_high = 0;
    assert_true(walks >= 4);
    // wrong after the push and after the nop, right before and behind
    assert_int_equal(wrong, 2);
}

static void test_notices_clobbered_register(void **)
{
    if (portable)
        skip_because("the portable end restores every register");
    reset();
    scenario_clobber();
    assert_int_equal(wrong, 1);
    assert_non_null(strstr(first_wrong, "did not preserve rbx"));
}

// ---- what a job finds and leaves ---------------------------------------------------------------

static uint32_t mxcsr_now()
{
    uint32_t value;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}
static void mxcsr_set(uint32_t value) { asm volatile("ldmxcsr %0" : : "m"(value)); }
static uint16_t x87_now()
{
    uint16_t value;
    asm volatile("fnstcw %0" : "=m"(value));
    return value;
}
static void x87_set(uint16_t value) { asm volatile("fldcw %0" : : "m"(value)); }

static int sets_control_words(void *)
{
    mxcsr_set(0x7f80); // round to zero
    x87_set(0x0f7f);   // too
    jobswitch_pause_job();
    mxcsr_set(0x3f80); // down
    x87_set(0x077f);
    return 0;
}

static void entry_state(bool warm)
{
    wrong = 0;
    open_pool(1, warm);
    uint32_t mxcsr = mxcsr_now();
    uint16_t x87 = x87_now();
    static const size_t sizes[] = {0, 1, 8, 24, 40, 100, 1024};
    for (size_t size : sizes) {
        traced t;
        jobswitch_job *job = nullptr;
        int ret = 0;
        mxcsr_set(0x5f80); // up
        x87_set(0x0a7f);   // up, double
        probe_seen = {};
        int answer = start(t, 0xa1, &job, &ret, probe_entry, args_bytes, size, false);
        uint32_t mxcsr_after = mxcsr_now();
        uint16_t x87_after = x87_now();
        mxcsr_set(mxcsr);
        x87_set(x87);
        if (!warm) // the job is warm now
            jobswitch_cleanup_thread();
        assert_int_equal(answer, JOBSWITCH_FINISH);
        assert_int_equal(ret, 77);
        assert_int_not_equal(stack_of(probe_seen.rsp), 0);
        assert_int_equal(probe_seen.rsp % 16, 8);
        assert_int_equal(probe_seen.arg % 16, 0);
        assert_int_equal(probe_seen.flags & 0x400, 0);
        assert_int_equal(probe_seen.mxcsr, 0x5f80);
        assert_int_equal(probe_seen.x87, 0x0a7f);
        assert_int_equal(mxcsr_after, 0x5f80);
        assert_int_equal(x87_after, 0x0a7f);
        if (!warm)
            open_pool(1, false);
    }
    jobswitch_cleanup_thread();
    if (wrong)
        fail_msg("%s", first_wrong);
}

static void test_entry_state_warm(void **) { entry_state(true); }
static void test_entry_state_cold(void **) { entry_state(false); }

// They belong to the thread: a job's change stays.
static void test_control_words(void **)
{
    uint32_t mxcsr = mxcsr_now();
    uint16_t x87 = x87_now();
    jobswitch_job *job = nullptr;
    int ret;
    (void)jobswitch_start_job(&job, &ret, sets_control_words, nullptr, 0);
    uint32_t mxcsr_paused = mxcsr_now();
    uint16_t x87_paused = x87_now();
    (void)jobswitch_start_job(&job, &ret, nullptr, nullptr, 0);
    uint32_t mxcsr_after = mxcsr_now();
    uint16_t x87_after = x87_now();
    mxcsr_set(mxcsr);
    x87_set(x87);
    assert_int_equal(mxcsr_paused & ~0x3fu, 0x7f80);
    assert_int_equal(x87_paused, 0x0f7f);
    assert_int_equal(mxcsr_after & ~0x3fu, 0x3f80);
    assert_int_equal(x87_after, 0x077f);
    jobswitch_cleanup_thread();
}

// A signal handler runs below the red zone, on a job's stack as elsewhere.
static uint64_t red_zone_sum;
static int red_zone_job(void *)
{
    traced t = {};
    set_call(t, 0xb1, reinterpret_cast<const void *>(&red_zone_leaf), true);
    traced_call(&t);
    red_zone_sum = t.rax;
    return 0;
}
static void test_red_zone(void **)
{
    jobswitch_job *job = nullptr;
    int ret;
    unsigned long before = steps;
    (void)jobswitch_start_job(&job, &ret, red_zone_job, nullptr, 0);
    assert_int_equal(red_zone_sum, 136);
    assert_true(steps - before > 100);
    jobswitch_cleanup_thread();
}

// ---- the list ---------------------------------------------------------------------------------

// unwind_test [NAME]: of the tests only those of that name; * stands for any letters
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_notices_bad_row),
        cmocka_unit_test(test_notices_clobbered_register),
        cmocka_unit_test(test_scenario_start_finish),
        cmocka_unit_test(test_scenario_pause_resume),
        cmocka_unit_test(test_scenario_cold),
        cmocka_unit_test(test_scenario_elsewhere),
        cmocka_unit_test(test_scenario_other_ends),
        cmocka_unit_test(test_scenario_review),
        cmocka_unit_test(test_scenario_nested),
        cmocka_unit_test(test_scenario_nested_end),
        cmocka_unit_test(test_scenario_end_in_another),
        cmocka_unit_test(test_scenario_bare),
        cmocka_unit_test(test_scenario_forced),
        cmocka_unit_test(test_stubs),
        cmocka_unit_test(test_stubs_rbx),
        cmocka_unit_test(test_stubs_mixed),
        cmocka_unit_test(test_starter_below_jobs),
        cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_every_path),
        cmocka_unit_test(test_entry_state_warm),
        cmocka_unit_test(test_entry_state_cold),
        cmocka_unit_test(test_control_words),
        cmocka_unit_test(test_red_zone),
    };
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload")) {
        puts("Valgrind knows no trap flag and no x87 precision");
        return 77;
    }
    return cmocka_run_group_tests_name("unwind", tests, set_up, nullptr);
}

#endif
