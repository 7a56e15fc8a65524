// SPDX-License-Identifier: Apache-2.0
//
// The drop-in in forked children: a child uses jobs at once and cleans up, wherever the other
// threads of its parent were, and also where a signal handler forks in the middle of the
// drop-in. Without libcrypto in the process.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <link.h>
#include <ucontext.h>
#endif

#include "openssl/api.h"

// (Behind the C++ headers: it makes macros of their words. support.h wants the runtime's
// names, which the drop-in keeps to itself.)
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN
#elif defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN
#elif __has_feature(address_sanitizer)
#define WITH_ASAN
#endif
#endif

// What TEST_SCALE divides numbers by: 1 or more.
static unsigned test_scale()
{
    const char *text = getenv("TEST_SCALE");
    const unsigned long scale = text ? strtoul(text, nullptr, 10) : 1;
    return scale ? unsigned(scale) : 1;
}

// In a child.
#define NEED(what)                                                                               \
    do {                                                                                         \
        if (!(what)) {                                                                           \
            dprintf(STDERR_FILENO, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);            \
            return 1;                                                                            \
        }                                                                                        \
    } while (0)

static int pauses(void *) { return ASYNC_pause_job() + 6; }

static bool start(ASYNC_JOB **job, ASYNC_WAIT_CTX *ctx)
{
    int ret = 0;
    *job = nullptr;
    return ASYNC_start_job(job, ctx, &ret, pauses, nullptr, 0) == async_pause;
}
static bool resume(ASYNC_JOB **job)
{
    int ret = 0;
    return ASYNC_start_job(job, nullptr, &ret, nullptr, nullptr, 0) == async_finish && ret == 7;
}
static bool is_refused(ASYNC_JOB *job)
{
    int ret = 0;
    return ASYNC_start_job(&job, nullptr, &ret, nullptr, nullptr, 0) == async_err;
}

// Uses what several threads meet at. Wait contexts are from before: a thread that is held
// inside malloc() holds up a child's.
static bool work(ASYNC_WAIT_CTX *ctx, ASYNC_WAIT_CTX *goes)
{
    ASYNC_stack_alloc_fn alloc;
    ASYNC_stack_free_fn release;
    ASYNC_JOB *job, *left;
    ASYNC_get_mem_functions(&alloc, &release);
    if (ASYNC_set_mem_functions(alloc, release) || !ASYNC_init_thread(0, 0) ||
        !start(&job, ctx) || ASYNC_get_wait_ctx(job) != ctx || !start(&left, goes))
        return false;
    ASYNC_WAIT_CTX_free(goes);
    return !ASYNC_get_wait_ctx(left) && resume(&left) && resume(&job);
}

static void *works_once(void *arg)
{
    ASYNC_JOB *job;
    return start(&job, nullptr) && resume(&job) ? arg : nullptr;
}

// What the child does; these are its parent's, of the thread that forks. Some children do
// more: a refusal without libcrypto looks for that in many folders.
static ASYNC_JOB *kept[2];
static std::atomic<ASYNC_JOB *> of_other_thread;
static int use_all(bool more)
{
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *goes = ASYNC_WAIT_CTX_new();
    NEED(work(ctx, goes));
    NEED(!kept[0] || resume(&kept[0]));
    if (more) {
        pthread_t thread;
        void *good = nullptr;
        NEED(pthread_create(&thread, nullptr, works_once, &good) == 0);
        NEED(pthread_join(thread, &good) == 0 && good);
    }
    // That thread has not taken over what is this one's.
    NEED(!kept[1] || resume(&kept[1]));
    NEED(!more || is_refused(of_other_thread));
    NEED(start(&job, ctx));
    ASYNC_cleanup_thread();
    NEED(!ASYNC_get_wait_ctx(job));
    NEED(!more || (start(&job, ctx) && resume(&job)));
    ASYNC_WAIT_CTX_free(ctx);
    return 0;
}

static bool child_is_good(pid_t child)
{
    if (child < 0)
        return false;
    int status = 0;
    while (waitpid(child, &status, 0) != child)
        if (errno != EINTR)
            return false;
    return status == 0;
}

static int open_jobs(void **)
{
    return !start(&kept[0], nullptr) || !start(&kept[1], nullptr);
}
static int close_jobs(void **)
{
    ASYNC_cleanup_thread();
    return 0;
}

// ---- threads anywhere -----------------------------------------------------------------------

static std::atomic<bool> ends;
static std::atomic<unsigned> rounds;
static sem_t begun;
static void *works_on(void *arg)
{
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    bool good = start(&job, ctx);
    of_other_thread = job;
    sem_post(&begun);
    for (; good && !ends; rounds++)
        good = work(ctx, ASYNC_WAIT_CTX_new());
    ASYNC_WAIT_CTX_free(ctx);
    return good ? arg : nullptr;
}

static void skip_with_some_tools()
{
#ifdef WITH_TSAN
    print_message("skipped: ThreadSanitizer does not follow jobs into a forked child\n");
    skip();
#endif
    const char *emulator = getenv("EMULATOR");
    if (!emulator || !*emulator)
        return;
    print_message("skipped: qemu-user itself does not survive a fork while threads run\n");
    skip();
}

static void test_while_threads_work(void **)
{
    skip_with_some_tools();
    pthread_t threads[3];
    sem_init(&begun, 0, 0);
    ends = false;
    for (pthread_t &thread : threads)
        assert_int_equal(pthread_create(&thread, nullptr, works_on, &rounds), 0);
    for (int i = 0; i < 3; i++)
        while (sem_wait(&begun) != 0) {}
    for (unsigned i = 0; i < 100; i += test_scale()) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);
            _exit(use_all(true));
        }
        assert_true(child_is_good(child));
    }
    ends = true;
    for (pthread_t thread : threads) {
        void *good = nullptr;
        assert_int_equal(pthread_join(thread, &good), 0);
        assert_non_null(good);
    }
    assert_true(rounds > 100);
}

// A tool has instructions of its own.
#if defined(__x86_64__) && !defined(WITH_TSAN) && !defined(WITH_ASAN) &&                        \
    !defined(JOBSWITCH_VALGRIND)
#define BY_STEPS

// ---- a thread at each instruction ---------------------------------------------------------------

// The processor traps after each instruction. Those of the drop-in count.
static uintptr_t code_low, code_high;
static int find_code(dl_phdr_info *info, size_t, void *)
{
    if (!strstr(info->dlpi_name, "libjobswitch-openssl"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            code_low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            code_high = code_low + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

static void step(bool on)
{
    if (on)
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    else
        __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static void (*at_an_instruction)(ucontext_t *);
static unsigned steps, every;
static bool visits[1 << 20]; // a loop is left alone after its first round
static uintptr_t bad_at; // of the first one where the child was not good
static void trapped(int, siginfo_t *, void *context)
{
    auto c = static_cast<ucontext_t *>(context);
    const auto ip = uintptr_t(c->uc_mcontext.gregs[REG_RIP]);
    if (ip - code_low >= code_high - code_low)
        return;
    bool &seen = visits[(ip - code_low) % sizeof visits];
    if (seen)
        return;
    seen = true;
    if (steps++ % every)
        return;
    const int keep = errno;
    at_an_instruction(c);
    errno = keep;
}
static void note(ucontext_t *c, bool good)
{
    if (!good && !bad_at)
        bad_at = uintptr_t(c->uc_mcontext.gregs[REG_RIP]) - code_low;
}

static void begin_steps(void (*function)(ucontext_t *))
{
    assert_int_equal(dl_iterate_phdr(find_code, nullptr), 1);
    at_an_instruction = function;
    steps = 0;
    // A fork takes milliseconds, and there are thousands of instructions.
    const char *mode = getenv("MODE");
    every = !mode || strcmp(mode, "release") == 0 ? test_scale() : 16;
    bad_at = 0;
    memset(visits, 0, sizeof visits);
    struct sigaction action = {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, nullptr);
}
static void end_steps()
{
    signal(SIGTRAP, SIG_DFL);
    if (bad_at)
        fail_msg("a child was not good, of a fork at %#zx in the library", size_t(bad_at));
    assert_in_range(steps, 300, 100000);
}

// Another thread forks while this one is there.
static sem_t held, released;
static std::atomic<bool> child_was_good, finished;
static void hold(ucontext_t *c)
{
    sem_post(&held);
    while (sem_wait(&released) != 0) {}
    note(c, child_was_good);
}
static void *works_in_steps(void *arg)
{
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *goes = ASYNC_WAIT_CTX_new();
    auto of_main = static_cast<ASYNC_WAIT_CTX *>(arg);
    bool good = start(&job, ctx);
    of_other_thread = job;
    step(true);
    good = good && work(ctx, goes);
    ASYNC_WAIT_CTX_free(of_main);
    step(false);
    ASYNC_WAIT_CTX_free(ctx);
    finished = true;
    sem_post(&held);
    return good ? &ends : nullptr;
}

static void test_while_a_thread_is_at_each_instruction(void **)
{
    skip_with_some_tools();
    pthread_t thread;
    void *good = nullptr;
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    begin_steps(hold);
    assert_true(start(&job, ctx));
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    finished = false;
    assert_int_equal(pthread_create(&thread, nullptr, works_in_steps, ctx), 0);
    for (unsigned i = 0;; i++) {
        while (sem_wait(&held) != 0) {}
        if (finished)
            break;
        const pid_t child = bad_at ? -1 : fork();
        if (child == 0) {
            alarm(20);
            _exit(use_all(i % 16 == 0));
        }
        child_was_good = bad_at || child_is_good(child);
        sem_post(&released);
    }
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    assert_null(ASYNC_get_wait_ctx(job));
    assert_true(resume(&job));
    end_steps();
}

// The thread forks itself there, and the child goes on.
static std::atomic<bool> is_child;
static void fork_here(ucontext_t *c)
{
    if (bad_at)
        return;
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        is_child = true;
        c->uc_mcontext.gregs[REG_EFL] &= ~0x100;
        return;
    }
    note(c, child_is_good(child));
}
static void *forks_in_steps(void *arg)
{
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new(), *goes = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *job;
    auto of_main = static_cast<ASYNC_WAIT_CTX *>(arg);
    step(true);
    bool good = work(ctx, goes); // the first on this thread
    ASYNC_WAIT_CTX_free(of_main);
    good = good && start(&job, ctx);
    ASYNC_cleanup_thread();
    step(false);
    if (is_child) {
        kept[0] = kept[1] = nullptr; // another thread's
        _exit(good ? use_all(steps % 16 == 0) : 1);
    }
    ASYNC_WAIT_CTX_free(ctx);
    return good ? &ends : nullptr;
}

static void test_fork_at_each_instruction(void **)
{
    skip_with_some_tools();
    pthread_t thread;
    void *good = nullptr;
    ASYNC_JOB *job;
    ASYNC_WAIT_CTX *ctx = ASYNC_WAIT_CTX_new();
    begin_steps(fork_here);
    assert_true(start(&job, ctx));
    assert_int_equal(pthread_create(&thread, nullptr, forks_in_steps, ctx), 0);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
    assert_true(resume(&job));
    end_steps();
}

#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_jobs, close_jobs)
int main()
{
    const CMUnitTest tests[] = {
        TEST(test_while_threads_work),
#ifdef BY_STEPS
        TEST(test_while_a_thread_is_at_each_instruction),
        TEST(test_fork_at_each_instruction),
#endif
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
