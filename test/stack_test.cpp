// SPDX-License-Identifier: Apache-2.0
//
// Tests src/stack.cpp by itself: what guards stop, how stacks lie, what they
// cost in mappings and memory, and what happens where there is no more.
//
// Whether memory can be touched is asked of the kernel, by a system call that
// would write there: it answers EFAULT and nobody dies. That a plain access
// dies is tried as well, in children.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <set>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "jobswitch/jobswitch.h"
#include "stack.h"
#include "support.h"

// ---- the page size -------------------------------------------------------------

// Stands before the C library's, so that the program can be told of larger
// pages. Multiples of the real ones do no harm.
static long page_bytes_told;

#ifndef JOBSWITCH_WITH_TSAN // asks before it can be asked itself
extern "C" long sysconf(int name) noexcept
{
    static auto real = reinterpret_cast<long (*)(int)>(dlsym(RTLD_NEXT, "sysconf"));
    if (name == _SC_PAGESIZE && page_bytes_told)
        return page_bytes_told;
    return real(name);
}
#endif

static size_t page_bytes() { return size_t(sysconf(_SC_PAGESIZE)); }

// ---- shortages -------------------------------------------------------------------

// These stand before the C library's, too: one system call fails, by its number.
static constexpr long no_call = -1; // (0 is a system call's number)
static long failing = no_call;
static int failing_errno, calls_before;
static const char *limit_told; // of the system's mappings

static bool fails_now(long call)
{
    if (failing != call || calls_before-- > 0)
        return false;
    failing = no_call;
    errno = failing_errno;
    return true;
}
static void fail_once(long call, int error, int after = 0)
{
    failing = call;
    failing_errno = error;
    calls_before = after;
}
static constexpr bool can_fail = !sanitized; // whose calls these are
#ifdef SYS_mmap2
static constexpr long call_mmap = SYS_mmap2;
#else
static constexpr long call_mmap = SYS_mmap;
#endif

#if !defined(JOBSWITCH_WITH_ASAN) && !defined(JOBSWITCH_WITH_TSAN)
template <class F> static F *real(const char *name)
{
    return reinterpret_cast<F *>(dlsym(RTLD_NEXT, name));
}
extern "C" void *mmap(void *address, size_t bytes, int rights, int flags, int fd,
                      off_t offset) noexcept
{
    static auto next = real<decltype(mmap)>("mmap");
    return fails_now(call_mmap) ? MAP_FAILED
                                : next(address, bytes, rights, flags, fd, offset);
}
extern "C" int madvise(void *address, size_t bytes, int advice) noexcept
{
    static auto next = real<decltype(madvise)>("madvise");
    return fails_now(SYS_madvise) ? -1 : next(address, bytes, advice);
}
extern "C" long syscall(long number, ...) noexcept
{
    static auto next = real<long(long, long, long, long, long, long, long)>("syscall");
    long a[6];
    va_list values;
    va_start(values, number);
    for (long &value : a)
        value = va_arg(values, long);
    va_end(values);
    if (fails_now(number))
        return -1;
    long got = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_read && limit_told && got > 0)
        memcpy(reinterpret_cast<void *>(a[1]), limit_told, size_t(got = long(strlen(limit_told))));
    return got;
}
#endif

// ---- helpers -------------------------------------------------------------------

// "rw-p" and the like; empty where nothing is mapped.
static const char *permissions(const void *address)
{
    static char found[5];
    FILE *file = fopen("/proc/self/maps", "re");
    char line[512];
    found[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        unsigned long low, high;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &low, &high, rights) == 3 &&
            uintptr_t(address) >= low && uintptr_t(address) < high)
            strcpy(found, rights);
    }
    if (file)
        fclose(file);
    return found;
}

static size_t resident_pages(const void *low, size_t bytes)
{
    size_t real = size_t(getpagesize());
    std::vector<unsigned char> pages(bytes / real);
    assert_int_equal(mincore(const_cast<void *>(low), bytes, pages.data()), 0);
    return size_t(std::count_if(pages.begin(), pages.end(),
                                [](unsigned char page) { return page & 1; }));
}

#define CHECK CHILD_NEEDS

static stack_shape shape_of(size_t stack_bytes, size_t guard_bytes)
{
    stack_shape shape = {stack_bytes, guard_bytes, nullptr, nullptr, nullptr};
    int reason = 0;
    if (!stack_shape_check(shape, &reason))
        fail_msg("%zu bytes of stack: reason %d", stack_bytes, reason);
    return shape;
}

static stack_shape usual_shape() { return shape_of(65536, 16384); }

static void *take(stack_source &source, const stack_shape &shape)
{
    int reason = 0;
    void *top = stack_take(source, shape, &reason);
    if (!top)
        fail_msg("no stack: reason %d", reason);
    return top;
}

static unsigned char *low_of(const stack_source &source, void *top)
{
    return stack_bounds(source, top).low;
}

static bool guard_whole(const stack_source &source, const stack_shape &shape,
                        void *top)
{
    unsigned char *low = low_of(source, top);
    for (size_t down = 1; down <= shape.guard_bytes; down += page_bytes())
        if (!guarded(low - down))
            return false;
    return guarded(low - shape.guard_bytes);
}

// What the kernel can do, tried without the library.
static bool kernel_installs_guards()
{
    size_t bytes = size_t(getpagesize());
    void *page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    bool works = madvise(page, bytes, 102) == 0 && kernel_refuses(page);
    munmap(page, bytes);
    return works;
}

static std::vector<guard_method> methods()
{
    if (kernel_installs_guards())
        return {guard_method::guard_install, guard_method::prot_none};
    return {guard_method::prot_none};
}

static int reset(void **)
{
    stack_force_method(guard_method::none);
    stack_force_mappings(0);
    return 0;
}

// ---- guards --------------------------------------------------------------------

static void test_probe(void **)
{
    if (valgrind)
        skip_because("Valgrind's own view of guards stands in between");
    stack_source source = {};
    void *top = take(source, usual_shape());
    assert_int_equal(int(source.method),
                     int(kernel_installs_guards() ? guard_method::guard_install
                                                  : guard_method::prot_none));
    assert_true(guarded(low_of(source, top) - 1));
    stack_source_close(source);
    assert_string_equal(guard_method_name(guard_method::guard_install),
                        "guard-install");
    assert_string_equal(guard_method_name(guard_method::prot_none), "prot-none");
    assert_string_equal(guard_method_name(guard_method::caller), "caller");
    assert_string_equal(guard_method_name(guard_method::none), "none");
}

// What one call says in a shortage does not decide for ever.
static int shortage_of_probe(long call, int error, int after)
{
    stack_source short_of = {}, later = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason;
    CHECK(stack_shape_check(shape, &reason));
    fail_once(call, error, after);
    void *top = stack_take(short_of, shape, &reason);
    CHECK(failing == no_call && top);
    CHECK(short_of.method == guard_method::prot_none);
    CHECK(guarded(low_of(short_of, top) - 1));
    CHECK(stack_take(later, shape, &reason));
    CHECK(later.method == guard_method::guard_install);
    stack_source_close(short_of);
    stack_source_close(later);
    return 0;
}
static void test_shortage_of_probe(void **)
{
    if (!can_fail || !kernel_installs_guards())
        skip_because("the kernel knows no such guards, or a tool stands between");
    // (The first of each pair is the slab's.)
    assert_int_equal(child([] { return shortage_of_probe(call_mmap, ENOMEM, 1); }), 0);
    assert_int_equal(child([] { return shortage_of_probe(SYS_madvise, ENOMEM, 1); }), 0);
    assert_int_equal(child([] { return shortage_of_probe(SYS_getrandom, EINTR, 0); }), 0);
}

static int shortage_of_budget(long call, int error)
{
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason;
    CHECK(stack_shape_check(shape, &reason));
    stack_force_method(guard_method::prot_none);
    limit_told = "1000\n";
    fail_once(call, error);
    CHECK(stack_take(source, shape, &reason));
    CHECK(failing == no_call);
    size_t taken = 1;
    while (taken < 1000 && stack_take(source, shape, &reason))
        taken++;
    CHECK(taken == 1000 / 4 && reason == JOBSWITCH_E_NO_MAPPINGS);
    stack_source_close(source);
    return 0;
}
static void test_shortage_of_budget(void **)
{
    if (!can_fail)
        skip_because("a tool stands between");
    assert_int_equal(child([] { return shortage_of_budget(SYS_openat, EMFILE); }), 0);
    assert_int_equal(child([] { return shortage_of_budget(SYS_read, ENOMEM); }), 0);
}

static void *volatile *fault_address; // shared with children

static void note_fault(int, siginfo_t *info, void *)
{
    *fault_address = info->si_addr;
    _exit(42);
}

static int touch(unsigned char *address, bool write)
{
    static unsigned char other_stack[65536];
    stack_t alternate = {};
    alternate.ss_sp = other_stack; // (fields come in another order on MIPS)
    alternate.ss_size = sizeof other_stack;
    CHECK(sigaltstack(&alternate, nullptr) == 0);
    struct sigaction action = {};
    action.sa_sigaction = note_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
    CHECK(sigaction(SIGBUS, &action, nullptr) == 0);
    auto at = static_cast<volatile unsigned char *>(address);
    if (write)
        *at = 1;
    else
        (void)*at;
    return 0; // survived
}

static void test_guard_hit(void **)
{
    if (valgrind)
        skip_because("Valgrind reports what this test does on purpose");
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        stack_shape shape = usual_shape();
        void *tops[20];
        for (void *&top : tops)
            top = take(source, shape);
        for (size_t i = 0; i < 20; i++) {
            unsigned char *low = low_of(source, tops[i]);
            unsigned char *hits[] = {low - 1, low - shape.guard_bytes,
                                     low - shape.guard_bytes / 2};
            for (unsigned char *hit : hits) {
                *fault_address = nullptr;
                int status = child([&] { return touch(hit, i % 2); });
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), 42);
                // Or its page, where the CPU tells no more.
                auto page = uintptr_t(hit) & ~uintptr_t(page_bytes() - 1);
                assert_true(*fault_address == hit || uintptr_t(*fault_address) == page);
            }
            // And no fault a byte above.
            int status = child([&] { return touch(low, i % 2); });
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        stack_source_close(source);
    }
}

static void test_guard_in_system_call(void **)
{
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        const stack_shape shapes[] = {usual_shape(), shape_of(16384, 1),
                                      shape_of(65536, 1), shape_of(131072, 65536)};
        std::vector<std::pair<void *, const stack_shape *>> all;
        for (int i = 0; i < 300; i++)
            for (const stack_shape &shape : shapes)
                all.emplace_back(take(source, shape), &shape);
        assert_int_equal(int(source.method), int(method));
        for (auto [top, shape] : all) {
            assert_true(guard_whole(source, *shape, top));
            assert_false(guarded(low_of(source, top)));
        }
        stack_source_close(source);
    }
}

// ---- how they lie ----------------------------------------------------------------

static void test_layout(void **)
{
    struct { size_t stack, guard; } sizes[] = {
        {65536, 16384}, {65536, 4096}, {16384, 4096}, {16384, 1},
        {20480, 4096}, {69632, 16384}, {1000000, 100000}};
    for (guard_method method : methods())
        for (auto size : sizes) {
            stack_force_method(method);
            stack_shape shape = shape_of(size.stack, size.guard);
            assert_true(shape.stack_bytes >= size.stack);
            assert_true(shape.stack_bytes < size.stack + page_bytes());
            assert_true(shape.guard_bytes >= size.guard);
            assert_true(shape.guard_bytes < size.guard + 2 * page_bytes());
            assert_int_equal(shape.stack_bytes % page_bytes(), 0);
            assert_int_equal(shape.guard_bytes % page_bytes(), 0);

            stack_source source = {};
            constexpr size_t count = 64; // the first slab
            std::vector<unsigned char *> lows;
            size_t colours[16] = {};
            for (size_t i = 0; i < count; i++) {
                void *top = take(source, shape);
                stack_range range = stack_bounds(source, top);
                assert_int_equal(range.bytes, shape.stack_bytes);
                assert_int_equal(uintptr_t(top) % 64, 0);
                assert_int_equal(uintptr_t(range.low) % size_t(getpagesize()), 0);
                size_t down = size_t(range.low + range.bytes -
                                     static_cast<unsigned char *>(top));
                assert_true(down / 64 < 16);
                colours[down / 64]++;
                lows.push_back(range.low);
            }
            for (size_t seen : colours)
                assert_int_equal(seen, count / 16);
            std::sort(lows.begin(), lows.end());
            for (size_t i = 1; i < count; i++) {
                size_t stride = size_t(lows[i] - lows[i - 1]);
                assert_int_equal(stride, shape.stack_bytes + shape.guard_bytes);
                assert_int_equal(stride / page_bytes() % 2, 1);
            }
            stack_source_close(source);
        }
}

static void test_usable_not_executable(void **)
{
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        stack_shape shape = usual_shape();
        void *tops[100];
        for (void *&top : tops) {
            top = take(source, shape);
            stack_range range = stack_bounds(source, top);
            // Up to the end, for the colour is room of the library's.
            for (size_t i = 0; i < range.bytes; i += 512)
                assert_int_equal(range.low[i], 0);
            memset(range.low, int(&top - tops), range.bytes);
        }
        for (void *&top : tops) {
            stack_range range = stack_bounds(source, top);
            assert_int_equal(range.low[0], int(&top - tops));
            assert_int_equal(range.low[range.bytes - 1], int(&top - tops));
            assert_int_equal(static_cast<unsigned char *>(top)[-1], int(&top - tops));
        }
        assert_string_equal(permissions(low_of(source, tops[0])), "rw-p");
        assert_string_equal(permissions(low_of(source, tops[99])), "rw-p");
        // Not a page of the process is both writable and executable, but for the main
        // thread's stack where the C library's own start files ask for that (MIPS).
        bool libc_asks = false;
        dl_iterate_phdr(
            [](dl_phdr_info *info, size_t, void *asks) {
                for (int i = 0; i < info->dlpi_phnum; i++)
                    if (info->dlpi_phdr[i].p_type == PT_GNU_STACK)
                        *static_cast<bool *>(asks) |= info->dlpi_phdr[i].p_flags & PF_X;
                return 1; // of the program
            },
            &libc_asks);
        FILE *file = fopen("/proc/self/maps", "re");
        char line[512], rights[5];
        assert_non_null(file);
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "%*s %4s", rights) == 1 && !valgrind &&
                !(libc_asks && strstr(line, "[stack]")))
                assert_false(rights[1] == 'w' && rights[2] == 'x');
        fclose(file);
        stack_source_close(source);
    }
}

static void test_page_size_is_asked_for(void **)
{
    if (valgrind)
        skip_because("Valgrind reports what this test does on purpose");
#ifdef JOBSWITCH_WITH_TSAN
    skip_because("ThreadSanitizer does not start with a sysconf of the test's");
#endif
    // The library asks once in a process: programs of their own.
    for (const char *size : {"8192", "16384", "65536"}) {
        int status = child([size] {
            if (!emulated)
                execl("/proc/self/exe", "stack_test", "--page-size", size, nullptr);
            // That would be the emulator's name.
            char self[4096] = {};
            if (readlink("/proc/self/exe", self, sizeof self - 1) > 0)
                execl("/bin/sh", "sh", "-c", "exec $EMULATOR \"$0\" --page-size $1",
                      self, size, nullptr);
            return 1;
        });
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static int page_size_program(const char *size)
{
    page_bytes_told = atol(size);
    size_t page = size_t(page_bytes_told);
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        for (size_t guard : {size_t(1), page, page + 1}) {
            stack_shape shape = {65536, guard, nullptr, nullptr, nullptr};
            int reason;
            CHECK(stack_shape_check(shape, &reason));
            CHECK(shape.stack_bytes % page == 0 && shape.stack_bytes >= 65536);
            CHECK(shape.guard_bytes % page == 0 && shape.guard_bytes >= guard);
            CHECK((shape.stack_bytes + shape.guard_bytes) / page % 2 == 1);
            unsigned char *before = nullptr;
            for (int i = 0; i < 64; i++) {
                void *top = stack_take(source, shape, &reason);
                CHECK(top);
                stack_range range = stack_bounds(source, top);
                CHECK(guarded(range.low - 1));
                CHECK(guarded(range.low - shape.guard_bytes));
                memset(range.low, 1, range.bytes);
                size_t stride = size_t(std::max(range.low, before) -
                                       std::min(range.low, before));
                CHECK(!before || stride / page % 2 == 1);
                CHECK(!before || stride % page == 0);
                before = range.low;
            }
        }
        stack_source_close(source);
    }
    return 0;
}

// ---- taking and giving ---------------------------------------------------------

static uint64_t random_state;
static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return size_t(random_state >> 33) % n;
}

struct held_stack {
    void *top;
    const stack_shape *shape;
    uint64_t mark;
};

// At the first and the last byte that the stack may use, and between.
static uint64_t *marks_of(const stack_source &source, void *top, size_t which)
{
    stack_range range = stack_bounds(source, top);
    unsigned char *at[] = {range.low, range.low + range.bytes / 2,
                           static_cast<unsigned char *>(top) - 8};
    return reinterpret_cast<uint64_t *>(at[which]);
}

static void test_random_takes_and_gives(void **)
{
    for (guard_method method : methods()) {
        stack_force_method(method);
        random_state = 7;
        stack_source source = {};
        // One source deals in several shapes when a pool takes new options.
        const stack_shape shapes[] = {usual_shape(), shape_of(16384, 4096)};
        std::vector<held_stack> held;
        std::set<unsigned char *> free_lows, lows;
        uint64_t next_mark = 1;
        size_t most = valgrind ? 200 : 3000;
        size_t steps = valgrind ? 2000 : 30000;
        for (size_t step = 0; step < steps; step++) {
            // Grows and shrinks in turn.
            bool growing = step / (most * 2) % 2 == 0;
            if (held.empty() || (held.size() < most && random_below(10) < (growing ? 7 : 3))) {
                const stack_shape &shape = shapes[random_below(8) == 0];
                void *top = take(source, shape);
                unsigned char *low = low_of(source, top);
                // One that was known is one that was free.
                if (!lows.insert(low).second)
                    assert_int_equal(free_lows.erase(low), 1);
                held.push_back({top, &shape, next_mark++});
                for (size_t i = 0; i < 3; i++)
                    *marks_of(source, top, i) = held.back().mark;
            } else {
                size_t i = random_below(held.size());
                held_stack stack = held[i];
                held[i] = held.back();
                held.pop_back();
                for (size_t k = 0; k < 3; k++)
                    assert_int_equal(*marks_of(source, stack.top, k), stack.mark);
                assert_true(guard_whole(source, *stack.shape, stack.top));
                assert_true(free_lows.insert(low_of(source, stack.top)).second);
                stack_give(source, stack.top);
                if (random_below(4) == 0)
                    stack_discard(source, &stack.top, 1);
            }
        }
        // None lies in another or in another's guard.
        std::vector<std::pair<unsigned char *, unsigned char *>> ranges;
        for (const held_stack &stack : held) {
            stack_range range = stack_bounds(source, stack.top);
            ranges.emplace_back(range.low - stack.shape->guard_bytes,
                                range.low + range.bytes);
            for (size_t k = 0; k < 3; k++)
                assert_int_equal(*marks_of(source, stack.top, k), stack.mark);
            assert_true(guard_whole(source, *stack.shape, stack.top));
        }
        std::sort(ranges.begin(), ranges.end());
        for (size_t i = 1; i < ranges.size(); i++)
            assert_true(ranges[i - 1].second <= ranges[i].first);
        // What was given is taken again before anything new is made.
        size_t known = lows.size();
        for (const held_stack &stack : held)
            stack_give(source, stack.top);
        size_t of_shape[2] = {};
        for (const held_stack &stack : held)
            of_shape[stack.shape - shapes]++;
        for (size_t k = 0; k < 2; k++)
            for (size_t i = 0; i < of_shape[k]; i++)
                lows.insert(low_of(source, take(source, shapes[k])));
        assert_int_equal(lows.size(), known);
        stack_source_close(source);
    }
}

static void test_methods_in_one_source(void **)
{
    if (methods().size() < 2 || valgrind)
        skip_because("only one method here");
    stack_source source = {};
    stack_shape shape = usual_shape();
    std::vector<void *> tops;
    // More than a slab of each.
    for (guard_method method : {guard_method::guard_install, guard_method::prot_none,
                                guard_method::guard_install}) {
        stack_force_method(method);
        for (int i = 0; i < 200; i++)
            tops.push_back(take(source, shape));
    }
    for (void *top : tops) {
        assert_true(guard_whole(source, shape, top));
        low_of(source, top)[0] = 1;
    }
    stack_source_close(source);
}

// ---- mappings -------------------------------------------------------------------

static void test_mappings_with_guard_install(void **)
{
    if (!kernel_installs_guards() || valgrind)
        skip_because("no installed guards here");
    stack_force_method(guard_method::guard_install);
    constexpr size_t count = 20000;
    std::vector<void *> tops;
    tops.reserve(count);
    stack_source source = {};
    stack_shape shape = usual_shape();
    size_t before = mappings(), size_before = status_kib("VmSize");
    for (size_t i = 0; i < count; i++) {
        tops.push_back(take(source, shape));
        if (i % 16 == 0) // some use, for what is touched merges less
            static_cast<unsigned char *>(tops.back())[-1] = 1;
    }
    size_t more = mappings() - before;
    print_message("%zu stacks: %zu mappings\n", count, more);
    assert_true(more <= 20);
    for (size_t i = 0; i < count; i += 97)
        assert_true(guard_whole(source, shape, tops[i]));
    stack_source_close(source);
    if (!sanitized) { // whose shadow stays
        assert_true(mappings() <= before + 1); // the heap may have grown by one
        assert_true(status_kib("VmSize") <= size_before + 2048);
    }
}

// Page tables do not grow with the size of a guard, whatever that is.
static int enormous_guards()
{
    size_t before_kib = status_kib("VmPTE");
    for (unsigned bit = 20; bit < sizeof(size_t) * 8; bit++) {
        if ((valgrind || emulated) && bit == 28) // which keep a note of each page
            break;
        stack_shape shape = {65536, size_t(1) << bit, nullptr, nullptr, nullptr};
        stack_source source = {};
        int reason = 0;
        if (!stack_shape_check(shape, &reason)) {
            CHECK(reason == JOBSWITCH_E_SIZE && bit >= sizeof(size_t) * 8 - 2);
            continue;
        }
        void *top = stack_take(source, shape, &reason);
        CHECK(top || (reason == JOBSWITCH_E_NO_MEMORY && bit > 27));
        if (top) {
            unsigned char *low = low_of(source, top);
            low[0] = 1;
            for (size_t down : {size_t(1), shape.guard_bytes / 2, shape.guard_bytes})
                CHECK(guarded(low - down));
            CHECK(bit == 20 || source.method == guard_method::prot_none);
        }
        // (Eight stacks of 2^20 at once, and the tables above)
        size_t more_kib = status_kib("VmPTE") - before_kib;
        if (more_kib > 200 && plain) {
            dprintf(STDERR_FILENO, "guards of 2^%u: %zu KiB of page tables\n", bit, more_kib);
            return 1;
        }
        stack_source_close(source);
    }
    return 0;
}
static void test_enormous_guards(void **)
{
    assert_int_equal(child(enormous_guards), 0);
}

// One thread's slab leaves address space to the next.
static void test_enormous_guards_of_many(void **)
{
    if (sizeof(size_t) < 8 || !plain)
        skip_because("not as much address space");
    stack_shape shape = shape_of(65536, size_t(1) << 38);
    stack_source sources[40] = {};
    for (stack_source &source : sources)
        take(source, shape);
    for (stack_source &source : sources)
        stack_source_close(source);
}

static void test_mappings_budget(void **)
{
    stack_force_method(guard_method::prot_none);
    stack_force_mappings(200);
    stack_shape shape = usual_shape();
    // Again and again: what is not returned is missed soon.
    for (int round = 0; round < 5; round++) {
        stack_source source = {}, other = {};
        std::vector<void *> tops;
        size_t before = mappings();
        int reason = 0;
        while (void *top = stack_take(source, shape, &reason))
            tops.push_back(top);
        assert_int_equal(reason, JOBSWITCH_E_NO_MAPPINGS);
        assert_int_equal(tops.size(), 100);
        assert_true(mappings() <= before + 200 + 8);
        // The budget is the process's.
        reason = 0;
        assert_null(stack_take(other, shape, &reason));
        assert_int_equal(reason, JOBSWITCH_E_NO_MAPPINGS);
        // What is given back can be taken again, and no more than that.
        for (int i = 0; i < 10; i++) {
            stack_give(source, tops.back());
            tops.pop_back();
        }
        for (int i = 0; i < 10; i++)
            tops.push_back(take(source, shape));
        assert_null(stack_take(source, shape, &reason));
        for (void *top : tops)
            assert_true(guard_whole(source, shape, top));
        // A part of the process closes its stacks; another gets the mappings.
        stack_source_close(source);
        for (int i = 0; i < 100; i++)
            take(other, shape);
        assert_null(stack_take(other, shape, &reason));
        stack_source_close(other);
    }
    // A budget of an odd number, and one below the smallest batch.
    for (size_t budget : {1, 2, 3, 7}) {
        stack_force_mappings(budget);
        stack_source source = {};
        size_t taken = 0;
        int reason = 0;
        while (stack_take(source, shape, &reason))
            taken++;
        assert_int_equal(reason, JOBSWITCH_E_NO_MAPPINGS);
        assert_int_equal(taken, budget / 2);
        stack_source_close(source);
    }
    stack_force_mappings(0);
}

// By default guards leave half of the system's mappings alone.
static void test_mappings_half_of_the_system(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool's own mappings count");
    size_t limit = mappings_limit();
    if (limit > 200000)
        skip_because("the system's limit is unknown, or large");
    stack_force_method(guard_method::prot_none);
    stack_source source = {};
    stack_shape shape = shape_of(16384, 4096);
    size_t taken = 0;
    int reason = 0;
    while (stack_take(source, shape, &reason))
        taken++;
    assert_int_equal(reason, JOBSWITCH_E_NO_MAPPINGS);
    assert_true(taken <= limit / 4);
    assert_true(taken >= limit / 4 - 16);
    size_t used = mappings();
    assert_true(used <= limit / 2 + 200);
    stack_source_close(source);
    assert_true(mappings() < 200);
}

// All mappings are used up, by somebody else: an answer, no missing guard, and
// all is well when they are free again.
static int without_mappings(guard_method method)
{
    stack_force_method(method);
    stack_force_mappings(SIZE_MAX);
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    static void *tops[40000];
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    size_t taken = 0;
    for (; taken < 10; taken++)
        CHECK((tops[taken] = stack_take(source, shape, &reason)));
    // Each second page, or they would merge. Six are left.
    size_t page = page_bytes();
    size_t pages = 400000;
    auto field = static_cast<unsigned char *>(
        mmap(nullptr, pages * page, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    CHECK(field != MAP_FAILED);
    size_t split = 0;
    while (split + 2 < pages &&
           mprotect(field + split * page, page, PROT_READ) == 0)
        split += 2;
    CHECK(split + 2 < pages && errno == ENOMEM);
    for (size_t i = 1; i <= 3; i++)
        CHECK(mprotect(field + (split - 2 * i) * page, page, PROT_NONE) == 0);

    while (taken < 40000 && (tops[taken] = stack_take(source, shape, &reason)))
        taken++;
    CHECK(taken < 40000);
    CHECK(reason == JOBSWITCH_E_NO_MAPPINGS || reason == JOBSWITCH_E_NO_MEMORY);
    for (size_t i = 0; i < taken; i++) {
        stack_range range = stack_bounds(source, tops[i]);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        memset(range.low, 1, range.bytes);
    }
    munmap(field, pages * page);
    for (size_t i = 0; i < 500; i++) {
        void *top = stack_take(source, shape, &reason);
        CHECK(top);
        stack_range range = stack_bounds(source, top);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        memset(range.low, 1, range.bytes);
    }
    stack_source_close(source);
    // What failed half way has not kept its share of the budget.
    stack_force_method(guard_method::prot_none);
    stack_force_mappings(20);
    for (size_t i = 0; i < 10; i++)
        CHECK(stack_take(source, shape, &reason));
    CHECK(!stack_take(source, shape, &reason));
    return 0;
}

static void test_without_mappings(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool itself needs mappings");
    if (mappings_limit() > 70000)
        skip_because("the system's limit is unknown, or large");
    for (guard_method method : methods()) {
        int status = child([method] { return without_mappings(method); });
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

// ---- sizes ----------------------------------------------------------------------

static void test_sizes(void **)
{
    const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4095, SIZE_MAX / 2,
                             SIZE_MAX / 2 + 1, SIZE_MAX / 4 + 1};
    for (size_t size : absurd) {
        stack_shape big_stack = {size, 16384, nullptr, nullptr, nullptr};
        stack_shape big_guard = {65536, size, nullptr, nullptr, nullptr};
        stack_shape both = {size, size, nullptr, nullptr, nullptr};
        for (stack_shape *shape : {&big_stack, &big_guard, &both}) {
            int reason = 0;
            assert_false(stack_shape_check(*shape, &reason));
            assert_int_equal(reason, JOBSWITCH_E_SIZE);
        }
    }
    // Beyond any address space, yet no overflow: refused when it is wanted.
    // (With 32 bits there is room for one of any size that is let through.)
    if (!sanitized && sizeof(size_t) == 8)
        for (size_t size : {SIZE_MAX / 4, SIZE_MAX / 8, SIZE_MAX / 16 / 64 * 64,
                            SIZE_MAX / 64 + 1, SIZE_MAX / 16384 + 1})
            for (bool guard : {false, true}) {
                stack_shape shape = shape_of(guard ? 65536 : size, guard ? size : 16384);
                stack_source source = {};
                int reason = 0;
                assert_null(stack_take(source, shape, &reason));
                assert_int_equal(reason, JOBSWITCH_E_NO_MEMORY);
                assert_null(source.slabs);
                shape = shape_of(size, size);
                assert_null(stack_take(source, shape, &reason));
                stack_source_close(source);
            }
    size_t least = 0;
    for (size_t size : {size_t(0), size_t(1), size_t(2048), size_t(4095)}) {
        stack_shape shape = {size, 16384, nullptr, nullptr, nullptr};
        int reason = 0;
        assert_false(stack_shape_check(shape, &reason));
        assert_int_equal(reason, JOBSWITCH_E_STACK_TOO_SMALL);
    }
    for (least = 1;; least++) {
        stack_shape shape = {least, 1, nullptr, nullptr, nullptr};
        int reason = 0;
        if (stack_shape_check(shape, &reason))
            break;
        assert_true(least < 65536);
    }
    // A signal's frame fits below the arguments and the colour.
    assert_true(least >= 2048 + 1024 + 15 * 64);
    stack_source source = {};
    void *top = take(source, shape_of(least, 1));
    assert_true(stack_bounds(source, top).bytes >= least);
    assert_true(guarded(low_of(source, top) - 1));
    stack_source_close(source);
}

// ---- memory ---------------------------------------------------------------------

static void test_discard(void **)
{
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        stack_shape shape = usual_shape();
        size_t pages = shape.stack_bytes / page_bytes();
        std::vector<void *> tops;
        for (size_t i = 0; i < 600; i++) {
            tops.push_back(take(source, shape));
            stack_range range = stack_bounds(source, tops[i]);
            memset(range.low, int(i | 1) & 0xff, range.bytes);
        }
        size_t full_kib = status_kib("VmRSS");
        // One, a few, more than a batch: every second of each.
        size_t at = 0;
        for (size_t count : {1, 3, 5, 128, 129}) {
            std::vector<void *> some;
            for (size_t i = 0; i < count; i++, at += 2)
                some.push_back(tops[at]);
            stack_discard(source, some.data(), some.size());
        }
        assert_true(at < tops.size());
        stack_discard(source, nullptr, 0);
        for (size_t i = 0; i < tops.size(); i++) {
            unsigned char *low = low_of(source, tops[i]);
            bool gone = i < at && i % 2 == 0;
            assert_int_equal(resident_pages(low, shape.stack_bytes), gone ? 0 : pages);
        }
        if (!sanitized)
            assert_true(status_kib("VmRSS") + at / 2 * 64 < full_kib + 2048);
        for (size_t i = 0; i < tops.size(); i++) {
            bool gone = i < at && i % 2 == 0;
            stack_range range = stack_bounds(source, tops[i]);
            int value = gone ? 0 : int(i | 1) & 0xff;
            for (size_t byte = 0; byte < range.bytes; byte += 4095)
                assert_int_equal(range.low[byte], value);
            assert_true(guard_whole(source, shape, tops[i]));
            memset(range.low, 1, range.bytes);
        }
        stack_source_close(source);
    }
}

// A huge page under a stack would make its first byte cost 2 MiB, and take the
// memory of neighbours back only in such pieces.
static void test_no_huge_pages(void **)
{
    if (valgrind || emulated)
        skip_because("the tool does not pass the advice on");
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (!file)
        skip_because("this kernel has no huge pages");
    fclose(file);
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        stack_shape shape = shape_of(16 << 20, 16384);
        void *top = take(source, shape);
        static_cast<unsigned char *>(top)[-1] = 1;
        low_of(source, top)[8 << 20] = 1;
        assert_int_equal(resident_pages(low_of(source, top), shape.stack_bytes), 2);
        // As advised, whatever the system's setting is.
        file = fopen("/proc/self/smaps", "re");
        assert_non_null(file);
        char line[512];
        bool here = false, advised = false;
        while (fgets(line, sizeof line, file)) {
            unsigned long low, high;
            if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
                here = uintptr_t(top) - 1 >= low && uintptr_t(top) - 1 < high;
            else if (here && strncmp(line, "VmFlags:", 8) == 0)
                advised = strstr(line, " nh");
        }
        fclose(file);
        assert_true(advised);
        stack_source_close(source);
    }
}

static void test_prefault(void **)
{
    if (emulated)
        skip_because("the emulator does not touch memory on advice");
    for (guard_method method : methods()) {
        stack_force_method(method);
        stack_source source = {};
        stack_shape shape = usual_shape();
        size_t pages = shape.stack_bytes / page_bytes();
        void *tops[33];
        for (void *&top : tops)
            top = take(source, shape);
        for (size_t i = 0; i < 33; i++)
            if (i % 2)
                stack_prefault(source, tops[i]);
        for (size_t i = 0; i < 33; i++) {
            unsigned char *low = low_of(source, tops[i]);
            assert_int_equal(resident_pages(low, shape.stack_bytes), i % 2 ? pages : 0);
            assert_true(guard_whole(source, shape, tops[i]));
        }
        if (!valgrind && !sanitized) {
            rusage before, after;
            getrusage(RUSAGE_SELF, &before);
            for (size_t i = 1; i < 33; i += 2)
                memset(low_of(source, tops[i]), 1, shape.stack_bytes);
            getrusage(RUSAGE_SELF, &after);
            assert_true(after.ru_minflt - before.ru_minflt < 32);
        }
        stack_source_close(source);
    }
}

// ---- the caller's stacks ---------------------------------------------------------

struct caller_log {
    size_t allocated, freed;
    bool empty;
    bool mismatch;
    std::set<void *> live;
};

static void *caller_alloc(size_t bytes, void *context)
{
    auto log = static_cast<caller_log *>(context);
    if (log->empty)
        return nullptr;
    void *stack = malloc(bytes);
    log->allocated++;
    log->live.insert(stack);
    return stack;
}

static void caller_free(void *stack, size_t bytes, void *context)
{
    auto log = static_cast<caller_log *>(context);
    log->freed++;
    log->mismatch |= log->live.erase(stack) != 1 || bytes != 30001;
    free(stack);
}

static void test_caller_stacks(void **)
{
    caller_log log = {};
    stack_shape shape = {30001, 5, caller_alloc, caller_free, &log};
    int reason = 0;
    assert_true(stack_shape_check(shape, &reason));
    assert_int_equal(shape.stack_bytes, 30001); // theirs, to the byte
    stack_source source = {};
    void *slab_top = take(source, usual_shape());
    std::vector<void *> tops;
    for (int i = 0; i < 50; i++) {
        void *top = take(source, shape);
        assert_int_equal(int(source.method), int(guard_method::caller));
        stack_range range = stack_bounds(source, top);
        assert_int_equal(range.bytes, 30001);
        assert_true(log.live.count(range.low) == 1);
        assert_int_equal(uintptr_t(top) % 64, 0);
        auto high = static_cast<unsigned char *>(top);
        assert_true(high > range.low && high < range.low + range.bytes);
        assert_true(high >= range.low + range.bytes - 128);
        stack_prefault(source, top);
        memset(range.low, 7, size_t(high - range.low));
        tops.push_back(top);
    }
    stack_discard(source, tops.data(), tops.size()); // leaves them alone
    for (void *top : tops)
        for (auto at = low_of(source, top); at < top; at += 1000)
            assert_int_equal(*at, 7);
    log.empty = true;
    assert_null(stack_take(source, shape, &reason));
    assert_int_equal(reason, JOBSWITCH_E_NO_STACK);
    for (void *top : tops)
        stack_give(source, top);
    stack_give(source, slab_top);
    assert_int_equal(log.allocated, 50);
    assert_int_equal(log.freed, 50);
    assert_false(log.mismatch);
    stack_source_close(source);
}

// ---- locked memory ---------------------------------------------------------------

static int locked(guard_method method, bool have_slab)
{
    // May fail, and need not succeed where the process may lock what it likes.
    rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    stack_force_method(method);
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    constexpr size_t count = 2000;
    static void *tops[count];
    size_t taken = 0;
    if (have_slab)
        CHECK((tops[taken++] = stack_take(source, shape, &reason)));
    // With a slab: it is locked, and more of it is wanted.
    if (mlockall(have_slab ? MCL_CURRENT | MCL_FUTURE : MCL_FUTURE) != 0)
        return 77;
    size_t locked_kib = status_kib("VmLck"), rss_kib = status_kib("VmRSS");
    for (; taken < count; taken++)
        CHECK((tops[taken] = stack_take(source, shape, &reason)));
    for (void *top : tops) {
        stack_range range = stack_bounds(source, top);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        static_cast<unsigned char *>(top)[-1] = 1;
        range.low[0] = 1;
    }
    locked_kib = status_kib("VmLck") - std::min(locked_kib, status_kib("VmLck"));
    rss_kib = status_kib("VmRSS") - rss_kib;
    // Two pages each were touched; whole, they would be 125 MiB.
    CHECK(locked_kib < 8 << 10);
    CHECK(rss_kib < (20 << 10));
    // What is not locked can be given back.
    size_t full_kib = status_kib("VmRSS");
    stack_discard(source, tops + 100, count - 100);
    CHECK(status_kib("VmRSS") + (count - 100) * 7 < full_kib);
    stack_source_close(source);
    return 0;
}

// Stacks that were used already, and then locked with all else, go back as well.
static int locked_later(guard_method method)
{
    rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    stack_force_method(method);
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    static void *tops[100];
    for (void *&top : tops) {
        CHECK((top = stack_take(source, shape, &reason)));
        stack_range range = stack_bounds(source, top);
        memset(range.low, 1, range.bytes);
    }
    if (mlockall(MCL_CURRENT) != 0)
        return 77;
    size_t full_kib = status_kib("VmRSS");
    stack_discard(source, tops, 100);
    CHECK(status_kib("VmRSS") + 100 * 60 < full_kib);
    for (void *top : tops) {
        stack_range range = stack_bounds(source, top);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        CHECK(range.low[0] == 0);
    }
    stack_source_close(source);
    return 0;
}

// The probe must not say no because of the lock.
static int locked_probe()
{
    if (mlockall(MCL_FUTURE) != 0)
        return 77;
    stack_force_method(guard_method::none);
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    CHECK(stack_take(source, shape, &reason));
    CHECK(source.method == guard_method::guard_install);
    return 0;
}

// Without the right to lock much, a mapping that would be locked on arrival is
// refused beyond the limit.
static int locked_unprivileged()
{
    rlimit limit = {4 << 20, 4 << 20};
    if (geteuid() != 0 || setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
        setresuid(65534, 65534, 65534) != 0)
        return 77;
    if (mlockall(MCL_FUTURE) != 0)
        return 77;
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    for (int i = 0; i < 1000; i++) {
        void *top = stack_take(source, shape, &reason);
        CHECK(top);
        unsigned char *low = low_of(source, top);
        CHECK(guarded(low - 1) && guarded(low - shape.guard_bytes));
        low[0] = 1;
    }
    return 0;
}

static void expect_locked(int status)
{
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip_because("memory cannot be locked here");
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_locked_memory(void **)
{
    if (!plain)
        skip_because("the tool takes mlockall for itself");
    for (guard_method method : methods()) {
        for (bool have_slab : {false, true})
            expect_locked(child([=] { return locked(method, have_slab); }));
        expect_locked(child([=] { return locked_later(method); }));
    }
    if (kernel_installs_guards())
        expect_locked(child(locked_probe));
    expect_locked(child(locked_unprivileged));
}

// ---- address space ----------------------------------------------------------------

static int little_address_space(size_t room_bytes, guard_method method)
{
    stack_force_method(method);
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    CHECK(stack_shape_check(shape, &reason));
    stack_source source = {};
    static void *tops[4096];
    rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    rlimit small = {(status_kib("VmSize") << 10) + room_bytes, limit.rlim_max};
    CHECK(setrlimit(RLIMIT_AS, &small) == 0);
    size_t taken = 0;
    while (taken < 4096 && (tops[taken] = stack_take(source, shape, &reason)))
        taken++;
    CHECK(reason == JOBSWITCH_E_NO_MEMORY);
    // Down to single stacks: little of the room is left over.
    size_t stride = shape.stack_bytes + shape.guard_bytes;
    CHECK(taken * stride <= room_bytes);
    CHECK((taken + 2) * stride + taken / 16 * page_bytes() + 65536 >= room_bytes);
    CHECK(!stack_take(source, shape, &reason)); // and again
    for (size_t i = 0; i < taken; i++) {
        stack_range range = stack_bounds(source, tops[i]);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        memset(range.low, int(i), range.bytes);
    }
    for (size_t i = 0; i < taken; i++)
        CHECK(low_of(source, tops[i])[0] == (i & 0xff));
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (size_t i = 0; i < 2000; i++) {
        void *top = stack_take(source, shape, &reason);
        CHECK(top);
        CHECK(guarded(low_of(source, top) - 1));
        low_of(source, top)[0] = 1;
    }
    stack_source_close(source);
    return 0;
}

static void test_little_address_space(void **)
{
    if (!plain)
        skip_because("the tool needs address space itself");
    for (guard_method method : methods())
        for (size_t room : {size_t(0), size_t(65536), size_t(100000), size_t(300000),
                            size_t(1) << 20, size_t(3) << 20, size_t(11) << 20,
                            size_t(50) << 20, size_t(200) << 20}) {
            int status = child([=] { return little_address_space(room, method); });
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
}

// Without a descriptor to be had, batches fall back to one by one.
static int without_descriptors()
{
    rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 0;
    stack_source source = {};
    stack_shape shape = {65536, 16384, nullptr, nullptr, nullptr};
    int reason = 0;
    static void *tops[500];
    CHECK(stack_shape_check(shape, &reason));
    stack_force_method(guard_method::none);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (void *&top : tops) {
        CHECK((top = stack_take(source, shape, &reason)));
        stack_range range = stack_bounds(source, top);
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
        memset(range.low, 1, range.bytes);
    }
    stack_discard(source, tops, 500);
    for (void *top : tops) {
        stack_range range = stack_bounds(source, top);
        unsigned char pages[16];
        CHECK(mincore(range.low, range.bytes, pages) == 0);
        for (unsigned char page : pages)
            CHECK(!(page & 1));
        CHECK(guarded(range.low - 1) && guarded(range.low - shape.guard_bytes));
    }
    return 0;
}

static void test_without_descriptors(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool needs descriptors itself");
    int status = child(without_descriptors);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int count, char **words)
{
    fault_address = static_cast<void *volatile *>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (count == 3 && strcmp(words[1], "--page-size") == 0)
        return page_size_program(words[2]);
#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, reset)
    const CMUnitTest tests[] = {
        TEST(test_probe),
        TEST(test_guard_hit),
        TEST(test_guard_in_system_call),
        TEST(test_layout),
        TEST(test_usable_not_executable),
        TEST(test_page_size_is_asked_for),
        TEST(test_random_takes_and_gives),
        TEST(test_methods_in_one_source),
        TEST(test_mappings_with_guard_install),
        TEST(test_shortage_of_probe),
        TEST(test_shortage_of_budget),
        TEST(test_enormous_guards),
        TEST(test_enormous_guards_of_many),
        TEST(test_mappings_budget),
        TEST(test_mappings_half_of_the_system),
        TEST(test_without_mappings),
        TEST(test_sizes),
        TEST(test_discard),
        TEST(test_no_huge_pages),
        TEST(test_prefault),
        TEST(test_caller_stacks),
        TEST(test_locked_memory),
        TEST(test_little_address_space),
        TEST(test_without_descriptors),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
