// SPDX-License-Identifier: Apache-2.0
//
// A thread is held at every single instruction of a call while others go on: what the
// step_*_test programs need for that. What they hold, and what goes on, is in step_jobs.h.
//
// The thread is stepped by the trap flag. At the instruction that a round asks for, the handler
// of SIGTRAP waits until the thread is released. An operation is the call that is held; a
// scenario is what goes on meanwhile. Each pair of them is a case. A case runs in a child, one
// round for each place. A round that finds something ends its child, and the next child goes on
// at the next place. So a crash, or a thread that hangs, costs one round.
//
// The parts: the conductor is the child's first thread; it runs the scenario and has no pool.
// The owner has the jobs. The holders are held, but in some operations the owner is. All use
// the public header alone.
//
// A place is an instruction of the library, or of libc below it. Of an address that comes
// again in one call, as in a loop, only the first visits are places.
//
// Environment:
//   STEP_FULL=1         every place of every case, and every finding. Without it a long case
//                       visits places spread over the call until its time is over, the places
//                       about atomic instructions and system calls first; and a case that
//                       finds much ends early.
//   STEP_OPERATION=     only operations of which this is a part of the name: 'wait fd'
//   STEP_DEADLINE_MS    after how long a thread is said to hang (default 5000)
#pragma once

#include "jobswitch/jobswitch.h"
#include "support.h"

#if defined(__x86_64__) && !defined(JOBSWITCH_WITH_ASAN) && !defined(JOBSWITCH_WITH_TSAN)
#define STEP_IS_POSSIBLE 1
#else
#define STEP_IS_POSSIBLE 0
// The programs' main function where nothing can be held.
#define STEP_SKIPS                                                                             \
    int main()                                                                                 \
    {                                                                                          \
        puts("needs x86_64, and no sanitizer that delays signals");                            \
        return 77;                                                                             \
    }
#endif

#if STEP_IS_POSSIBLE

#include <atomic>
#include <climits>
#include <ctime>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>

inline bool full;
inline long deadline_ms = 5000;

inline constexpr long moment_ms = 20; // for what may have to wait for a held thread
inline constexpr unsigned holders_most = 5;

// ---- what a child tells its parent ---------------------------------------------------

enum exit_code { all_done = 0, has_found = 1, go_on = 2 };

inline constexpr unsigned places_most = 16384; // there may be more: those are left out

struct shared_page {
    unsigned round;  // of this case
    unsigned places; // of the operation, from its first run, which is not held
    unsigned place;  // of this round; 0: not held
    uintptr_t ip;    // where that is
    unsigned held;   // rounds in which the thread was held
    bool orders[places_most + 1]; // by place: an atomic instruction, or a system call, is next
    unsigned after_orders;        // how many places come right behind those
    bool ordered;                 // the next is known
    unsigned short order[places_most]; // in which places are visited

    const char *asked;        // the last thing that a thread was asked for
    char kind[80], text[240]; // of a finding

    std::atomic<int> phase; // of a child that was forked in a round, and its parent
    const char *doing;      // that child
};
inline shared_page *page;

// The first finding counts: it ends this process.
[[noreturn, gnu::format(printf, 2, 3)]] inline void found(const char *kind, const char *why, ...)
{
    static std::atomic<bool> once;
    if (once.exchange(true))
        for (;;)
            pause();
    va_list values;
    va_start(values, why);
    snprintf(page->kind, sizeof page->kind, "%s", kind);
    vsnprintf(page->text, sizeof page->text, why, values);
    va_end(values);
    _exit(has_found);
}

// ---- waiting -----------------------------------------------------------------------------

inline long now_ms()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Raw calls: they are no cancellation points, and keep clear of libc's locks.
inline void futex_wait(std::atomic<int> &word, int value, long ms)
{
    timespec time = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

inline void set(std::atomic<int> &word, int value)
{
    word = value;
    syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

inline bool raw_readable(int fd)
{
    pollfd look = {fd, POLLIN, 0};
    return syscall(SYS_poll, &look, 1, 0) == 1 && (look.revents & POLLIN);
}

inline bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

inline int count_open()
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += is_open(fd);
    return count;
}

// ---- threads that can be held --------------------------------------------------------------

enum : int { idle, busy, held, gone };

struct visit {
    uintptr_t ip;
    unsigned run, times;
};

struct actor {
    unsigned number;
    pthread_t thread;
    std::atomic<pid_t> tid;
    std::atomic<int> state, released;
    void (*call)(void *);
    void *argument;
    const char *doing;
    bool leaves;      // the thread ends after this call
    bool cancellable; // it looks for a cancellation after this call

    bool is_stepped, stepping;
    bool forks;        // at the place where it would be held
    unsigned hold_at;  // the place; 0: nowhere
    unsigned places;   // so far
    std::atomic<unsigned long> steps;
    unsigned run;
    visit visits[4096];
    pid_t child;

    int answer; // of what it did
    volatile bool came_back;
};
inline actor owner, holders[holders_most];
inline thread_local actor *self;
inline thread_local bool forked_here; // a child of the handler's fork
inline int open_before; // descriptors, before there was any pool
inline pthread_key_t end_key;

extern "C" char __executable_start, etext;
extern "C" const Elf64_Ehdr __ehdr_start;

// The first few visits of an address, in one call.
inline bool is_place(actor &a, uintptr_t ip)
{
    const bool own = ip - uintptr_t(&__executable_start) <
                     uintptr_t(&etext) - uintptr_t(&__executable_start);
    constexpr unsigned entries = sizeof a.visits / sizeof *a.visits;
    for (unsigned i = 0, at = unsigned(ip * 2654435761u) % entries; i < 8; i++) {
        visit &v = a.visits[(at + i) % entries];
        if (v.run != a.run)
            v = {ip, a.run, 0};
        if (v.ip == ip)
            return ++v.times <= (own ? 4 : 2);
    }
    return false;
}

// An atomic instruction, or a system call.
inline bool is_ordering(const unsigned char *code)
{
    constexpr unsigned char lock = 0xf0, xchg = 0x87, rex = 0x40, syscall_code[] = {0x0f, 0x05};
    return code[0] == lock || code[0] == xchg || ((code[0] & 0xf0) == rex && code[1] == xchg) ||
           memcmp(code, syscall_code, sizeof syscall_code) == 0;
}

inline void trapped(int, siginfo_t *, void *machine)
{
    auto &registers = static_cast<ucontext_t *>(machine)->uc_mcontext.gregs;
    constexpr long long trap_flag = 0x100;
    actor *a = self;
    if (!a || !a->stepping) {
        registers[REG_EFL] &= ~trap_flag;
        return;
    }
    const auto ip = uintptr_t(registers[REG_RIP]);
    a->steps++;
    if (!is_place(*a, ip))
        return;
    if (++a->places != a->hold_at) {
        if (!a->hold_at && !a->number && a->places <= places_most)
            page->orders[a->places] = is_ordering(reinterpret_cast<const unsigned char *>(ip));
        return;
    }
    const int keep = errno;
    a->stepping = false; // the rest runs freely
    registers[REG_EFL] &= ~trap_flag;
    if (!a->number)
        page->ip = ip;
    if (a->forks && !(a->child = fork())) {
        alarm(unsigned(deadline_ms / 1000 + 1));
        forked_here = true;
        errno = keep;
        return;
    }
    set(a->state, held);
    while (!a->released)
        futex_wait(a->released, 0, 1000);
    set(a->state, busy);
    errno = keep;
}

#define TRAP_FLAG(change)                                                                      \
    __asm__ volatile("lea -256(%%rsp), %%rsp; pushfq; " change ", (%%rsp); popfq; "            \
                     "lea 256(%%rsp), %%rsp" ::: "memory", "cc")

[[gnu::noinline]] inline void call_stepped(actor &a)
{
    a.stepping = true;
    TRAP_FLAG("orq $0x100");
    a.call(a.argument);
    TRAP_FLAG("andq $~0x100");
    a.stepping = false;
}

// After the library's own destructor, whose key is older.
inline void thread_ends(void *to)
{
    auto a = static_cast<actor *>(to);
    a->stepping = false;
    set(a->state, gone);
}

inline void (*go_on_in_child)(actor &); // does not return

inline void *act(void *to)
{
    actor &a = *static_cast<actor *>(to);
    self = &a;
    a.tid = pid_t(syscall(SYS_gettid));
    for (;;) {
        for (int state; (state = a.state) != busy;)
            futex_wait(a.state, state, 1000);
        if (a.is_stepped && !a.leaves)
            call_stepped(a);
        else
            a.call(a.argument);
        if (forked_here)
            go_on_in_child(a);
        a.came_back = true;
        if (a.cancellable)
            pthread_testcancel();
        if (a.leaves)
            break;
        set(a.state, idle);
    }
    pthread_setspecific(end_key, &a);
    if (a.is_stepped) {
        a.stepping = true;
        TRAP_FLAG("orq $0x100");
    }
    return nullptr;
}

inline void create(actor &a)
{
    a.state = idle;
    a.leaves = a.cancellable = a.is_stepped = a.forks = false;
    a.tid = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 262144);
    if (pthread_create(&a.thread, &small, act, &a) != 0)
        found("no thread", "pthread_create: %d", errno);
    pthread_attr_destroy(&small);
}

// Until it is done, or held. False: it is still busy.
inline bool await_for(actor &a, long ms)
{
    const long end = now_ms() + ms;
    for (int state; (state = a.state) == busy || (state == held && a.released);) {
        long left = end - now_ms();
        if (left <= 0)
            return false;
        futex_wait(a.state, state, left);
    }
    return true;
}

[[noreturn]] inline void hangs(const actor &a)
{
    found("a thread hangs", "%s %u, in: %s", &a == &owner ? "the owner" : "holder", a.number,
          a.doing);
}

inline void await(actor &a)
{
    if (!await_for(a, deadline_ms))
        hangs(a);
}

template <class F> inline void ask(actor &a, const char *doing, F &f)
{
    a.doing = page->asked = doing;
    a.call = [](void *argument) { (*static_cast<F *>(argument))(); };
    a.argument = &f;
    a.came_back = false;
    set(a.state, busy);
}

// On a thread, until it is done.
template <class F> inline void on(actor &a, const char *doing, F f)
{
    a.is_stepped = false;
    ask(a, doing, f);
    await(a);
}

inline void release(actor &a) { set(a.released, 1); }

inline void release_all()
{
    for (actor &a : holders)
        release(a);
}

// What takes a lock may wait for a thread that is held with that lock.
template <class F> inline void on_released(actor &a, const char *doing, F f)
{
    a.is_stepped = false;
    ask(a, doing, f);
    if (!await_for(a, moment_ms)) {
        release_all();
        await(a);
    }
}

inline void join(actor &a)
{
    timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += deadline_ms / 1000 + 1;
    if (pthread_timedjoin_np(a.thread, nullptr, &end) != 0)
        hangs(a);
    set(a.state, gone);
}

inline void leave(actor &a)
{
    static auto nothing = [] {};
    a.leaves = true;
    a.is_stepped = false;
    ask(a, "the thread's end", nothing);
}

// The thread lies still in the kernel. It is not enough that it is found asleep: one that
// looks, sleeps a moment and looks again is that, too.
inline bool lies_still(const actor &a)
{
    static char name[64], text[4096];
    snprintf(name, sizeof name, "/proc/self/task/%d/status", a.tid.load());
    auto look = [](unsigned long &switches) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        ssize_t bytes = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
        close(fd);
        text[bytes > 0 ? bytes : 0] = 0;
        const char *state = strstr(text, "\nState:\t");
        const char *counted = strstr(text, "\nvoluntary_ctxt_switches:\t");
        switches = counted ? strtoul(counted + 26, nullptr, 10) : 0;
        return state && state[8] == 'S';
    };
    unsigned long before, after;
    if (!look(before))
        return false;
    timespec a_while = {0, 300000};
    nanosleep(&a_while, nullptr);
    return look(after) && before == after;
}

// It is held, or has done all, or (waits) is asleep in the kernel. A thread that is stepped may
// take its time, as long as it takes steps.
inline void await_place(actor &a, bool waits)
{
    if (!waits) {
        for (unsigned long steps = a.steps; !await_for(a, deadline_ms); steps = a.steps)
            if (a.steps == steps)
                hangs(a);
        return;
    }
    for (long end = now_ms() + deadline_ms; a.state == busy && !lies_still(a);)
        if (now_ms() > end)
            hangs(a);
}

// What it does may go on until the actor is released. Returns whether it is held.
template <class F>
inline bool hold(actor &a, const char *doing, unsigned place, F &f, bool waits = false)
{
    a.is_stepped = true;
    a.hold_at = place;
    a.places = 0;
    a.run++;
    a.released = 0;
    ask(a, doing, f);
    await_place(a, waits);
    const bool is_held = a.state == held;
    page->held += is_held && !a.number;
    return is_held;
}

// ---- the cases ----------------------------------------------------------------------------------

inline struct {
    char kind[80], first[480];
    unsigned count;
} classes[32];
inline unsigned cases, findings, cases_in_all, findings_in_all;
inline unsigned places_held, places_seen, held_in_all, seen_in_all;

inline void describe(uintptr_t ip, char *text, size_t bytes)
{
    const auto base = uintptr_t(&__ehdr_start);
    Dl_info info = {};
    const char *name = nullptr;
    uintptr_t begin = 0;
    if (ip - base >= uintptr_t(&etext) - base) {
        if (dladdr(reinterpret_cast<void *>(ip), &info) && info.dli_sname) {
            name = info.dli_sname;
            begin = uintptr_t(info.dli_saddr);
        }
    } else if (int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); fd >= 0) {
        // Most names here are no dynamic symbols.
        const size_t size = size_t(lseek(fd, 0, SEEK_END));
        auto file = static_cast<const char *>(mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0));
        close(fd);
        auto sections =
            reinterpret_cast<const Elf64_Shdr *>(file + __ehdr_start.e_shoff);
        for (int i = 0; file != MAP_FAILED && i < __ehdr_start.e_shnum; i++) {
            if (sections[i].sh_type != SHT_SYMTAB)
                continue;
            auto symbols = reinterpret_cast<const Elf64_Sym *>(file + sections[i].sh_offset);
            const char *names = file + sections[sections[i].sh_link].sh_offset;
            for (size_t j = 0; j < sections[i].sh_size / sizeof *symbols; j++) {
                const uintptr_t at = base + symbols[j].st_value;
                if (ELF64_ST_TYPE(symbols[j].st_info) == STT_FUNC && at <= ip && at > begin) {
                    begin = at;
                    name = names + symbols[j].st_name;
                }
            }
        }
    }
    char *plain_name = name ? abi::__cxa_demangle(name, nullptr, nullptr, nullptr) : nullptr;
    if (!name && info.dli_fname) {
        const char *slash = strrchr(info.dli_fname, '/');
        name = slash ? slash + 1 : info.dli_fname;
        begin = uintptr_t(info.dli_fbase);
    }
    snprintf(text, bytes, "%#lx %.100s+%#lx", ip - base,
             plain_name ? plain_name : name ? name : "?", ip - begin);
    free(plain_name);
}

inline void note_finding(const char *operation, const char *scenario)
{
    char where[160] = "not held";
    if (page->ip)
        describe(page->ip, where, sizeof where);
    char line[480];
    snprintf(line, sizeof line, "%s; %s; instruction %u: %s: %s", operation, scenario,
             page->place, where, page->text);
    findings++;
    if (full)
        print_message("    %s; %s\n", page->kind, line);
    for (auto &c : classes) {
        if (c.count && strcmp(c.kind, page->kind) != 0)
            continue;
        if (!c.count++) {
            memcpy(c.kind, page->kind, sizeof c.kind);
            memcpy(c.first, line, sizeof c.first);
        }
        return;
    }
}

// First the places right behind instructions that others may notice: of all states that others
// can find, most are there. Then those near such instructions, then all others. Each kind is
// spread over the call, however many rounds there will be.
inline void order_places()
{
    static unsigned short behind[places_most], near[places_most], far[places_most];
    unsigned near_count = 0, far_count = 0, count = 0;
    constexpr unsigned before = 3, after = 12;
    page->after_orders = 0;
    page->places = std::min(page->places, places_most);
    for (unsigned place = 1; place <= page->places; place++) {
        const unsigned from = place > after ? place - after : 1;
        const unsigned to = std::min(place + before, page->places) + 1;
        const bool is_near = std::find(page->orders + from, page->orders + to, true) !=
                             page->orders + to;
        unsigned short &next = page->orders[place - 1] ? behind[page->after_orders++]
                               : is_near               ? near[near_count++]
                                                       : far[far_count++];
        next = static_cast<unsigned short>(place);
    }
    auto spread = [&count](const unsigned short *places, unsigned number) {
        auto common = [](unsigned a, unsigned b) {
            while (b) {
                unsigned rest = a % b;
                a = b;
                b = rest;
            }
            return a;
        };
        unsigned step = unsigned(number * 0.618) | 1;
        while (number && common(step, number) != 1)
            step++;
        for (unsigned i = 0; i < number; i++)
            page->order[count++] = places[uint64_t(i) * step % number];
    };
    spread(behind, page->after_orders);
    spread(near, near_count);
    spread(far, far_count);
    page->ordered = true;
}

struct way {
    void (*set_up)(); // the owner's jobs
    long budget_ms = 0;
    unsigned rounds_least = 0; // however long they take
    bool fresh = false;        // each round needs a process of its own
    bool steps = true;         // somebody is held
};

template <class F>
inline int run_rounds(const way &how, bool first, long end_ms, F &round)
{
    for (int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL})
        signal(number, SIG_DFL); // instead of CMocka's
    const unsigned limit_s = unsigned(12 * deadline_ms / 1000 + 10);
    struct sigaction action = {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, nullptr);
    alarm(limit_s);
    open_before = count_open();
    create(owner);
    for (unsigned i = 0; i < holders_most; i++) {
        holders[i].number = i;
        create(holders[i]);
    }
    if (how.set_up)
        on(owner, "the first jobs", how.set_up);
    pthread_key_create(&end_key, thread_ends);
    if (first) {
        page->place = 0;
        round(0u);
        if (how.fresh)
            return page->places ? go_on : all_done;
    }
    if (!page->ordered)
        order_places();
    const unsigned least = std::min(page->after_orders, how.rounds_least);
    while (page->round < page->places &&
           (full || page->round < least || !page->held || now_ms() < end_ms)) {
        alarm(limit_s);
        page->place = page->order[page->round];
        page->ip = 0;
        round(page->place);
        page->round++;
        if (how.fresh)
            return go_on;
    }
    return all_done;
}

template <class F>
inline void run_case(const char *operation, const char *scenario, const way &how, F round)
{
    constexpr unsigned findings_enough = 4;
    const char *only = getenv("STEP_OPERATION");
    if (only && !strstr(operation, only))
        return;
    memset(static_cast<void *>(page), 0, sizeof *page);
    const long end_ms = now_ms() + how.budget_ms;
    unsigned found_here = 0;
    cases++;
    for (bool first = true;; first = false) {
        page->kind[0] = 0;
        const long began_ms = now_ms();
        int status = child([&] { return run_rounds(how, first, end_ms, round); }, 600);
        if (WIFEXITED(status) && WEXITSTATUS(status) == all_done)
            break;
        if (WIFEXITED(status) && WEXITSTATUS(status) == go_on)
            continue;
        if (WIFSIGNALED(status)) {
            snprintf(page->kind, sizeof page->kind, "%s",
                     WTERMSIG(status) == SIGALRM ? "a wake, a clear or a fork does not return"
                                                 : "the process is killed");
            snprintf(page->text, sizeof page->text, "by signal %d (%s), after: %s",
                     WTERMSIG(status), strsignal(WTERMSIG(status)), page->asked);
        }
        note_finding(operation, scenario);
        found_here++;
        if (page->place)
            page->round++;
        else if (!page->places)
            break;
        if (!full && (found_here == findings_enough || now_ms() - began_ms > deadline_ms))
            break;
    }
    places_held += page->held;
    places_seen += page->places;
    if (how.steps && !page->held && !found_here)
        fail_msg("%s; %s: nobody was held", operation, scenario);
}

// Of a group of cases: one test.
inline void conclude()
{
    print_message("  %u cases, %u of %u places held, %u findings\n", cases, places_held,
                  places_seen, findings);
    cases_in_all += cases;
    held_in_all += places_held;
    seen_in_all += places_seen;
    findings_in_all += findings;
    for (auto &c : classes)
        if (c.count)
            print_message("    %4u  %s\n          first: %s\n", c.count, c.kind, c.first);
    const unsigned count = findings;
    cases = findings = places_held = places_seen = 0;
    memset(classes, 0, sizeof classes);
    if (count)
        fail_msg("%u findings", count);
}

inline int set_up_steps(void **)
{
    void *memory = mmap(nullptr, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);
    if (memory == MAP_FAILED)
        return -1;
    page = static_cast<shared_page *>(memory);
    // The first cancellation of a process loads a library; children find it loaded.
    pthread_t thread;
    auto wait_for_it = [](void *) -> void * {
        for (;;)
            pause();
    };
    if (pthread_create(&thread, nullptr, wait_for_it, nullptr) != 0)
        return -1;
    pthread_cancel(thread);
    pthread_join(thread, nullptr);
    return 0;
}

inline int tell_of_steps(void **)
{
    print_message("%u cases, %u of %u places held, %u findings in all\n", cases_in_all, held_in_all,
                  seen_in_all, findings_in_all);
    return 0;
}

// What main() is for: PROGRAM [NAME], of the tests only those of that name; * stands for any
// letters. 77: nothing can be held here.
#define STEP_MAIN(name, tests, set_up)                                                         \
    int main(int argc, char **argv)                                                            \
    {                                                                                          \
        if (!step_is_possible(argc, argv))                                                     \
            return 77;                                                                         \
        return cmocka_run_group_tests_name(name, tests, set_up, tell_of_steps);                \
    }
inline bool step_is_possible(int argc, char **argv)
{
    if (!plain) {
        puts("needs a processor that steps: no Valgrind, no emulator");
        return false;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const char *text = getenv("STEP_FULL");
    full = text && *text == '1';
    if ((text = getenv("STEP_DEADLINE_MS")))
        deadline_ms = strtol(text, nullptr, 10);
    return true;
}

#endif
