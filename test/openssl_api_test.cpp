// SPDX-License-Identifier: Apache-2.0
//
// OpenSSL's released ASYNC API. This program is linked twice: with libcrypto alone
// (openssl_own_test), and with the drop-in before it (openssl_api_test). Both must give the
// same outcomes, but where a line says differs(NAME, OpenSSL's, the drop-in's): those are
// listed in doc/OPENSSL.md, each with its reason, by the same names; test/openssl_test.sh
// compares the names.
#include <dlfcn.h>
#include <errno.h>
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

// (Behind the C++ headers: it makes macros of their words.)
extern "C" {
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
}

namespace {

bool is_drop_in()
{
    Dl_info info = {};
    void *const start = dlsym(RTLD_DEFAULT, "ASYNC_start_job");
    assert_true(start && dladdr(start, &info) && info.dli_fname);
    return strstr(info.dli_fname, "libjobswitch-openssl") != nullptr;
}

// What is expected where the two are not alike.
template <typename T> T differs(const char *name, T of_openssl, T of_drop_in)
{
    (void)name;
    return is_drop_in() ? of_drop_in : of_openssl;
}

// Outcomes of what may end the process, in one of its own: the exit code, or this.
constexpr int crash = 1000;
template <typename F> int outcome(F body)
{
    const pid_t child = fork();
    if (child == 0) {
        const rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        for (int number : {SIGSEGV, SIGBUS, SIGABRT, SIGILL})
            signal(number, SIG_DFL); // CMocka's would go on in the parent's tests
        alarm(30);
        _exit(body());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : crash;
}

ASYNC_WAIT_CTX *ctx;
int open_ctx(void **)
{
    ERR_clear_error();
    return !(ctx = ASYNC_WAIT_CTX_new());
}
int close_ctx(void **)
{
    ASYNC_WAIT_CTX_free(ctx);
    ctx = nullptr;
    ASYNC_cleanup_thread();
    return 0;
}

int start(ASYNC_JOB **job, int *ret, int (*func)(void *), void *args = nullptr, size_t size = 0)
{
    return ASYNC_start_job(job, ctx, ret, func, args, size);
}

// The reason of ERR_LIB_ASYNC that was queued last, and no other; 0: none.
int reason()
{
    const unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    assert_true(code == 0 || ERR_GET_LIB(code) == ERR_LIB_ASYNC);
    return ERR_GET_REASON(code);
}

int pauses_once(void *)
{
    return ASYNC_pause_job() == 1 ? 7 : 8;
}
int returns_5(void *)
{
    return 5;
}

// ---- start, pause, resume, finish ------------------------------------------------------------

void test_outside_a_job(void **)
{
    assert_int_equal(ASYNC_is_capable(), 1);
    assert_int_equal(ASYNC_pause_job(), 1);
    assert_null(ASYNC_get_current_job());
    ASYNC_block_pause();
    ASYNC_unblock_pause();
    ASYNC_unblock_pause();
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(reason(), 0);
}

void test_finish(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 77;
    assert_int_equal(start(&job, &ret, returns_5), ASYNC_FINISH);
    assert_int_equal(ret, 5);
    assert_null(job);
    assert_int_equal(ASYNC_start_job(&job, nullptr, &ret, returns_5, nullptr, 0), ASYNC_FINISH);
}

void test_pause(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 77;
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(ret, 77);
    assert_non_null(job);
    // What else a resume is given has no effect.
    ASYNC_WAIT_CTX *const other = ASYNC_WAIT_CTX_new();
    ASYNC_JOB *const same = job;
    assert_ptr_equal(ASYNC_get_wait_ctx(job), ctx);
    assert_ptr_equal(job, same);
    assert_int_equal(ASYNC_start_job(&job, other, &ret, returns_5, &ret, sizeof ret),
                     ASYNC_FINISH);
    assert_int_equal(ret, 7);
    assert_null(job);
    ASYNC_WAIT_CTX_free(other);
}

struct args {
    char text[40];
    const void *address;
};
int looks_at_args(void *copy)
{
    auto given = static_cast<args *>(copy);
    const void *const address = given->address;
    if (copy == address || strcmp(given->text, "hello") != 0)
        return 0;
    ASYNC_pause_job();
    return strcmp(given->text, "hello") == 0 && given->address == address;
}
int is_null(void *copy)
{
    return copy == nullptr;
}

void test_args_are_copied(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    args given = {"hello", &given};
    assert_int_equal(start(&job, &ret, looks_at_args, &given, sizeof given), ASYNC_PAUSE);
    memset(static_cast<void *>(&given), 0, sizeof given);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
    assert_int_equal(start(&job, &ret, is_null, nullptr, 100), ASYNC_FINISH);
    assert_int_equal(ret, 1);
}

int sums(void *copy)
{
    unsigned sum = 0;
    for (int i = 0; i < 200000; i++)
        sum += static_cast<unsigned char *>(copy)[i];
    return int(sum & 0xffff);
}
void test_large_args(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    std::vector<unsigned char> bytes(200000);
    unsigned sum = 0;
    for (size_t i = 0; i < bytes.size(); i++)
        sum += bytes[i] = (unsigned char)(i * 7);
    assert_int_equal(start(&job, &ret, sums, bytes.data(), bytes.size()), ASYNC_FINISH);
    assert_int_equal(ret, int(sum & 0xffff));
}

void test_no_args_but_their_address(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, returns_5, &ret, 0), ASYNC_FINISH);
    assert_int_equal(ret, 5);
}

int counts(void *copy)
{
    const int base = *static_cast<int *>(copy);
    int sum = 0;
    for (int i = 0; i < 10; i++) {
        sum += base;
        if (ASYNC_pause_job() != 1)
            return -1;
    }
    return sum;
}
void test_many_at_once(void **)
{
    constexpr int many = 500;
    std::vector<ASYNC_JOB *> jobs(many, nullptr);
    for (int round = 0; round <= 10; round++)
        for (int i = 0; i < many; i++) {
            int ret = -1;
            const int answer = start(&jobs[size_t(i)], &ret, counts, &i, sizeof i);
            assert_int_equal(answer, round < 10 ? ASYNC_PAUSE : ASYNC_FINISH);
            assert_int_equal(ret, round < 10 ? -1 : 10 * i);
        }
}

ASYNC_JOB *seen;
int sees_itself(void *)
{
    seen = ASYNC_get_current_job();
    const bool right = seen && ASYNC_get_wait_ctx(seen) == ctx;
    ASYNC_pause_job();
    return right && ASYNC_get_current_job() == seen && ASYNC_get_wait_ctx(seen) == ctx;
}
void test_current_job(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, sees_itself), ASYNC_PAUSE);
    assert_ptr_equal(job, seen);
    assert_null(ASYNC_get_current_job());
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
}

// ---- blocked pauses ------------------------------------------------------------------------

int blocks_twice(void *)
{
    int went_on = 0;
    ASYNC_block_pause();
    ASYNC_block_pause();
    went_on += ASYNC_pause_job();
    ASYNC_unblock_pause();
    went_on += ASYNC_pause_job();
    ASYNC_unblock_pause();
    ASYNC_unblock_pause(); // one too many
    ASYNC_pause_job();
    return went_on;
}
void test_block(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, blocks_twice), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 2);
}

int ends_blocked(void *)
{
    ASYNC_block_pause();
    return 0;
}
void test_block_ends_with_its_job(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        if (start(&job, &ret, ends_blocked) != ASYNC_FINISH)
            return 100;
        return start(&job, &ret, pauses_once);
    });
    assert_int_equal(answer, differs("block-outlives-its-job", ASYNC_FINISH, ASYNC_PAUSE));
}

// ---- a thread's pool -----------------------------------------------------------------------

void test_limit(void **)
{
    ASYNC_JOB *first = nullptr, *second = nullptr;
    int ret = 77;
    assert_int_equal(ASYNC_init_thread(1, 1), 1);
    assert_int_equal(start(&first, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&second, &ret, pauses_once), ASYNC_NO_JOBS);
    assert_null(second);
    assert_int_equal(reason(), 0);
    assert_int_equal(ret, 77);
    assert_int_equal(start(&first, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(start(&second, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&second, &ret, nullptr), ASYNC_FINISH);
    // Another limit.
    assert_int_equal(ASYNC_init_thread(2, 0), 1);
    assert_int_equal(start(&first, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&second, &ret, pauses_once), ASYNC_PAUSE);
    assert_int_equal(start(&first, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(start(&second, &ret, nullptr), ASYNC_FINISH);
}

void test_sizes_of_a_pool(void **)
{
    assert_int_equal(ASYNC_init_thread(2, 3), 0);
    assert_int_equal(reason(), 103);
    assert_int_equal(ASYNC_init_thread(0, 0), 1);
    ASYNC_cleanup_thread();
    assert_int_equal(ASYNC_init_thread(0, 3), differs("initial-jobs-without-a-limit", 0, 1));
    assert_int_equal(reason(), differs("initial-jobs-without-a-limit", 103, 0));
    assert_int_equal(ASYNC_init_thread(3, 3), 1);
}

void test_clean_up(void **)
{
    ASYNC_cleanup_thread();
    ASYNC_cleanup_thread();
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, returns_5), ASYNC_FINISH);
    ASYNC_cleanup_thread();
    assert_int_equal(start(&job, &ret, returns_5), ASYNC_FINISH);
}

// ---- wait contexts ---------------------------------------------------------------------------

int keys[4], cleaned[4];
void clean(ASYNC_WAIT_CTX *c, const void *key, OSSL_ASYNC_FD fd, void *data)
{
    assert_ptr_equal(c, ctx);
    assert_int_equal(fd, 100 + (static_cast<const int *>(key) - keys));
    assert_ptr_equal(data, &cleaned[static_cast<const int *>(key) - keys]);
    ++*static_cast<int *>(data);
}
void add(int i)
{
    assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &keys[i], 100 + i, &cleaned[i], clean), 1);
}
using Fds = std::vector<int>;
Fds all()
{
    size_t count = 77, again = 77;
    assert_int_equal(ASYNC_WAIT_CTX_get_all_fds(ctx, nullptr, &count), 1);
    Fds fds(count + 1, -1);
    assert_int_equal(ASYNC_WAIT_CTX_get_all_fds(ctx, fds.data(), &again), 1);
    assert_int_equal(again, count);
    assert_int_equal(fds.back(), -1);
    fds.pop_back();
    return fds;
}
void changed(const Fds &expected_added, const Fds &expected_deleted)
{
    size_t added = 77, deleted = 77;
    assert_int_equal(ASYNC_WAIT_CTX_get_changed_fds(ctx, nullptr, &added, nullptr, &deleted), 1);
    Fds more(added + 1, -1), fewer(deleted + 1, -1);
    assert_int_equal(
        ASYNC_WAIT_CTX_get_changed_fds(ctx, more.data(), &added, fewer.data(), &deleted), 1);
    more.pop_back();
    fewer.pop_back();
    assert_true(more == expected_added);
    assert_true(fewer == expected_deleted);
}

void test_descriptors(void **)
{
    OSSL_ASYNC_FD fd = -1;
    void *data = nullptr;
    memset(cleaned, 0, sizeof cleaned);
    assert_true(all().empty());
    changed({}, {});
    assert_int_equal(ASYNC_WAIT_CTX_get_fd(ctx, &keys[0], &fd, &data), 0);
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[0]), 0);
    for (int i = 0; i < 3; i++)
        add(i);
    assert_true((all() == Fds{102, 101, 100}));
    changed({102, 101, 100}, {});
    assert_int_equal(ASYNC_WAIT_CTX_get_fd(ctx, &keys[1], &fd, &data), 1);
    assert_true(fd == 101 && data == &cleaned[1]);
    // One that was added in this period goes without a word.
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[1]), 1);
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[1]), 0);
    assert_int_equal(ASYNC_WAIT_CTX_get_fd(ctx, &keys[1], &fd, &data), 0);
    assert_true((all() == Fds{102, 100}));
    changed({102, 100}, {});
    assert_int_equal(cleaned[1], 0);
    ASYNC_WAIT_CTX_free(ctx);
    assert_true(cleaned[0] == 1 && cleaned[1] == 0 && cleaned[2] == 1);
    ctx = nullptr;
    ASYNC_WAIT_CTX_free(nullptr);
}

void test_same_key_twice(void **)
{
    OSSL_ASYNC_FD fd = -1;
    void *data = nullptr;
    assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &keys[0], 100, nullptr, nullptr), 1);
    assert_int_equal(ASYNC_WAIT_CTX_set_wait_fd(ctx, &keys[0], 200, nullptr, nullptr), 1);
    assert_true((all() == Fds{200, 100}));
    assert_int_equal(ASYNC_WAIT_CTX_get_fd(ctx, &keys[0], &fd, &data), 1);
    assert_int_equal(fd, 200);
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[0]), 1);
    assert_true((all() == Fds{100}));
}

// The periods in which descriptors count as changed.
int changes(void *)
{
    add(0);
    add(1);
    ASYNC_pause_job();
    if (all() != Fds{101, 100})
        return 0;
    changed({}, {});
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[0]), 1);
    assert_int_equal(ASYNC_WAIT_CTX_clear_fd(ctx, &keys[0]), 0);
    add(2);
    ASYNC_pause_job();
    changed({}, {});
    add(3);
    return 1;
}
void test_periods(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    memset(cleaned, 0, sizeof cleaned);
    assert_int_equal(start(&job, &ret, changes), ASYNC_PAUSE);
    changed({101, 100}, {});
    changed({101, 100}, {}); // to ask ends nothing
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_PAUSE);
    changed({102}, {100});
    assert_true((all() == Fds{102, 101}));
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
    changed({103}, {});
    // Nor does the start of the next job.
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    changed({103}, {});
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    changed({}, {});
    assert_true((all() == Fds{103, 102, 101}));
    ASYNC_WAIT_CTX_free(ctx);
    ctx = nullptr;
    assert_true(cleaned[0] == 0 && cleaned[1] == 1 && cleaned[2] == 1 && cleaned[3] == 1);
}

int clears_and_ends(void *)
{
    add(0);
    ASYNC_pause_job();
    return ASYNC_WAIT_CTX_clear_fd(ctx, &keys[0]);
}
void test_free_with_a_deletion_not_told(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    memset(cleaned, 0, sizeof cleaned);
    assert_int_equal(start(&job, &ret, clears_and_ends), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
    changed({}, {100});
    ASYNC_WAIT_CTX_free(ctx);
    ctx = nullptr;
    assert_int_equal(cleaned[0], 0);
}

int called_with_ctx(void *)
{
    return 1;
}
void test_callback_and_status(void **)
{
    ASYNC_callback_fn callback = nullptr;
    void *arg = nullptr;
    assert_int_equal(ASYNC_WAIT_CTX_get_callback(ctx, &callback, &arg), 0);
    assert_int_equal(ASYNC_WAIT_CTX_get_status(ctx), ASYNC_STATUS_UNSUPPORTED);
    assert_int_equal(ASYNC_WAIT_CTX_set_callback(ctx, called_with_ctx, &keys), 1);
    assert_int_equal(ASYNC_WAIT_CTX_get_callback(ctx, &callback, &arg), 1);
    assert_true(callback == called_with_ctx && arg == &keys);
    for (int status : {ASYNC_STATUS_ERR, ASYNC_STATUS_OK, ASYNC_STATUS_EAGAIN}) {
        assert_int_equal(ASYNC_WAIT_CTX_set_status(ctx, status), 1);
        assert_int_equal(ASYNC_WAIT_CTX_get_status(ctx), status);
    }
    assert_int_equal(ASYNC_WAIT_CTX_set_callback(ctx, nullptr, nullptr), 1);
    assert_int_equal(ASYNC_WAIT_CTX_get_callback(ctx, &callback, &arg), 0);
    assert_int_equal(ASYNC_WAIT_CTX_set_callback(nullptr, called_with_ctx, nullptr), 0);
}

// The answer in the lower digits, the reason above: what is told of a mistake.
int told(int answer)
{
    return answer + 10 * (reason() & 15);
}
// ---- stacks of the program's ------------------------------------------------------------------

size_t asked_bytes;
int allocated, freed;
void *stack_alloc(size_t *bytes)
{
    asked_bytes = *bytes;
    if (is_drop_in())
        *bytes += 65536; // it may be larger
    allocated++;
    return malloc(*bytes);
}
void *stack_alloc_less(size_t *bytes)
{
    return malloc(*bytes /= 2);
}
void stack_free(void *stack)
{
    freed++;
    free(stack);
}
void test_stacks_of_ones_own(void **)
{
    const auto set = reinterpret_cast<int (*)(void *(*)(size_t *), void (*)(void *))>(
        dlsym(RTLD_DEFAULT, "ASYNC_set_mem_functions"));
    const auto get = reinterpret_cast<void (*)(void *(**)(size_t *), void (**)(void *))>(
        dlsym(RTLD_DEFAULT, "ASYNC_get_mem_functions"));
    if (!set || !get) { // OpenSSL 3.2 has it
        assert_false(is_drop_in());
        skip();
    }
    const int answer = outcome([set, get] {
        void *(*alloc)(size_t *) = nullptr;
        void (*release)(void *) = nullptr;
        get(&alloc, &release);
        if (!alloc || !release || alloc == stack_alloc)
            return 20;
        if (set(stack_alloc, nullptr) != 1 || set(nullptr, stack_free) != 1)
            return 21;
        get(&alloc, &release);
        if (alloc != stack_alloc || release != stack_free)
            return 22;
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        if (start(&job, &ret, pauses_once) != ASYNC_PAUSE ||
            start(&job, &ret, nullptr) != ASYNC_FINISH)
            return 23;
        if (allocated != 1 || asked_bytes != size_t(differs("stack-size", 32768, 65536)))
            return 24;
        if (set(stack_alloc, stack_free) != 0) // there are stacks already
            return 25;
        ASYNC_cleanup_thread();
        return freed == 1 ? 0 : 26;
    });
    assert_int_equal(answer, 0);
    const int with_less = outcome([set] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        if (set(stack_alloc_less, stack_free) != 1)
            return 20;
        const int of_start = start(&job, &ret, pauses_once);
        return told(of_start) + 10 * (is_drop_in() && freed != 1);
    });
    assert_int_equal(with_less, differs("smaller-stacks", int{ASYNC_PAUSE}, int{ASYNC_NO_JOBS}));
}

// ---- what is switched with a job, and what is not ----------------------------------------------

OSSL_LIB_CTX *of_thread, *of_job;
OSSL_LIB_CTX *library_context()
{
    return OSSL_LIB_CTX_set0_default(nullptr);
}
int sets_library_context(void *)
{
    if (library_context() != of_thread)
        return 0;
    OSSL_LIB_CTX_set0_default(of_job);
    ASYNC_pause_job();
    if (library_context() != of_job)
        return 0;
    ASYNC_pause_job();
    return library_context() == of_job;
}
void test_library_context(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        OSSL_LIB_CTX *const first = library_context();
        of_thread = OSSL_LIB_CTX_new();
        of_job = OSSL_LIB_CTX_new();
        if (!first || !of_thread || !of_job)
            return 20;
        if (OSSL_LIB_CTX_set0_default(of_thread) != first)
            return 21;
        if (start(&job, &ret, sets_library_context) != ASYNC_PAUSE ||
            library_context() != of_thread)
            return 22;
        OSSL_LIB_CTX_set0_default(first);
        if (start(&job, &ret, nullptr) != ASYNC_PAUSE || library_context() != first)
            return 23;
        if (start(&job, &ret, nullptr) != ASYNC_FINISH || library_context() != first)
            return 24;
        return ret == 1 ? 0 : 25;
    });
    assert_int_equal(answer, 0);
}
// A job is the first to set one.
int sets_the_first(void *)
{
    OSSL_LIB_CTX_set0_default(of_job);
    ASYNC_pause_job();
    return library_context() == of_job;
}
void test_library_context_of_a_job_first(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr, *other = nullptr;
        int ret = 0;
        OSSL_LIB_CTX *const first = library_context();
        of_job = OSSL_LIB_CTX_new();
        if (start(&other, &ret, pauses_once) != ASYNC_PAUSE)
            return 20;
        if (start(&job, &ret, sets_the_first) != ASYNC_PAUSE || library_context() != first)
            return 21;
        if (start(&other, &ret, nullptr) != ASYNC_FINISH || library_context() != first)
            return 22;
        if (start(&job, &ret, nullptr) != ASYNC_FINISH || library_context() != first)
            return 23;
        return ret == 1 ? 0 : 24;
    });
    assert_int_equal(answer, 0);
}

int leaves_traces(void *)
{
    ERR_raise(ERR_LIB_USER, 42);
    errno = EXDEV;
    ASYNC_pause_job();
    return ERR_peek_error() == 0;
}
void test_error_queue_and_errno(void **)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    errno = 0;
    assert_int_equal(start(&job, &ret, leaves_traces), ASYNC_PAUSE);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(ERR_GET_REASON(ERR_get_error()), 42);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
}

// ---- mistakes ------------------------------------------------------------------------------

constexpr int refused = ASYNC_ERR + 10 * (102 & 15);

void test_resume_of_a_finished_job(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr, *kept;
        int ret = 0;
        if (start(&job, &ret, pauses_once) != ASYNC_PAUSE)
            return 200;
        kept = job;
        if (start(&job, &ret, nullptr) != ASYNC_FINISH)
            return 201;
        return told(start(&kept, &ret, nullptr));
    });
    assert_int_equal(answer, differs("resume-of-a-finished-job", ASYNC_FINISH, refused));
}

int starts_another(void *)
{
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    const int answer = start(&job, &ret, returns_5);
    return answer == ASYNC_FINISH && ret == 5 ? 0 : 202;
}
void test_job_in_a_job(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        const int of_start = start(&job, &ret, starts_another);
        return of_start == ASYNC_FINISH ? ret : 201;
    });
    assert_int_equal(answer, differs("job-in-a-job", crash, 0));
}

struct of_other_thread {
    ASYNC_JOB *job;
    int answer, ret;
};
void *resumes(void *arg)
{
    auto o = static_cast<of_other_thread *>(arg);
    o->answer = told(start(&o->job, &o->ret, nullptr));
    return nullptr;
}
void test_resume_on_another_thread(void **)
{
    const int answer = outcome([] {
        of_other_thread o = {nullptr, 0, 0};
        pthread_t thread;
        if (start(&o.job, &o.ret, pauses_once) != ASYNC_PAUSE)
            return 200;
        pthread_create(&thread, nullptr, resumes, &o);
        pthread_join(thread, nullptr);
        if (o.answer != refused)
            return 201;
        return start(&o.job, &o.ret, nullptr) == ASYNC_FINISH && o.ret == 7 ? 0 : 202;
    });
    assert_int_equal(answer, differs("resume-on-another-thread", crash, 0));
}

void test_no_function(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        return told(start(&job, &ret, nullptr));
    });
    assert_int_equal(answer, differs("no-function", crash, refused));
}

void test_no_job(void **)
{
    const int answer = outcome([] { return ASYNC_get_wait_ctx(nullptr) == nullptr ? 0 : 1; });
    assert_int_equal(answer, differs("wait-context-of-no-job", crash, 0));
}

int cleans_up(void *)
{
    ASYNC_cleanup_thread();
    ASYNC_pause_job();
    return 3;
}
void test_clean_up_in_a_job(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        const int first = start(&job, &ret, cleans_up);
        if (first != ASYNC_PAUSE)
            return 100 + first;
        return start(&job, &ret, nullptr) == ASYNC_FINISH ? ret : 201;
    });
    assert_int_equal(answer, differs("clean-up-in-a-job", 100 + ASYNC_FINISH, 3));
}

void test_clean_up_with_a_paused_job(void **)
{
    const int answer = outcome([] {
        ASYNC_JOB *job = nullptr;
        int ret = 0;
        if (start(&job, &ret, pauses_once) != ASYNC_PAUSE)
            return 200;
        ASYNC_cleanup_thread();
        return told(start(&job, &ret, nullptr));
    });
    // (It goes on, and says at its end that it has no pool to go to.)
    assert_int_equal(answer, differs("clean-up-with-a-paused-job",
                                     ASYNC_FINISH + 10 * (ERR_R_INTERNAL_ERROR & 15), refused));
}

// As an engine's thread may ask that comes late.
void test_name_of_a_finished_job(void **)
{
    ASYNC_JOB *job = nullptr, *kept;
    int ret = 0;
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    kept = job;
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_null(ASYNC_get_wait_ctx(kept));
    assert_int_equal(start(&job, &ret, pauses_once), ASYNC_PAUSE);
    assert_ptr_equal(ASYNC_get_wait_ctx(kept),
                     differs<ASYNC_WAIT_CTX *>("name-of-a-finished-job", ctx, nullptr));
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
}

int takes_stack(void *)
{
    volatile char large[45000];
    memset(const_cast<char *>(large), 1, sizeof large);
    ASYNC_pause_job();
    return large[100];
}
volatile bool for_ever = true;
int recurses(void *arg)
{
    volatile char some[512];
    memset(const_cast<char *>(some), 1, sizeof some);
    return for_ever ? recurses(arg) + some[3] : 0;
}
void test_stack(void **)
{
    if (!is_drop_in()) // whatever lies below its 32 KiB is written over
        skip();
    ASYNC_JOB *job = nullptr;
    int ret = 0;
    assert_int_equal(start(&job, &ret, takes_stack), ASYNC_PAUSE);
    assert_int_equal(start(&job, &ret, nullptr), ASYNC_FINISH);
    assert_int_equal(ret, 1);
    const int answer = outcome([] {
        ASYNC_JOB *another = nullptr;
        int of_it = 0;
        return start(&another, &of_it, recurses);
    });
    assert_int_equal(answer, crash);
}

} // namespace

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ctx, close_ctx)

int main()
{
    const CMUnitTest tests[] = {
        TEST(test_stacks_of_ones_own), // as long as there is no stack
        TEST(test_outside_a_job),
        TEST(test_finish),
        TEST(test_pause),
        TEST(test_args_are_copied),
        TEST(test_large_args),
        TEST(test_no_args_but_their_address),
        TEST(test_many_at_once),
        TEST(test_current_job),
        TEST(test_block),
        TEST(test_block_ends_with_its_job),
        TEST(test_limit),
        TEST(test_sizes_of_a_pool),
        TEST(test_clean_up),
        TEST(test_descriptors),
        TEST(test_same_key_twice),
        TEST(test_periods),
        TEST(test_free_with_a_deletion_not_told),
        TEST(test_callback_and_status),
        TEST(test_library_context),
        TEST(test_library_context_of_a_job_first),
        TEST(test_error_queue_and_errno),
        TEST(test_resume_of_a_finished_job),
        TEST(test_job_in_a_job),
        TEST(test_resume_on_another_thread),
        TEST(test_no_function),
        TEST(test_no_job),
        TEST(test_clean_up_in_a_job),
        TEST(test_clean_up_with_a_paused_job),
        TEST(test_name_of_a_finished_job),
        TEST(test_stack),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
