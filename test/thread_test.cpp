// SPDX-License-Identifier: Apache-2.0
//
// Threads and their pools: side by side, ending in every way, and with the
// shared library loaded late.
//
// Nothing is asserted on a job's stack, on another thread or in a child: it is
// counted there and asserted after.
//
// Environment:
//   BUILD       where libjobswitch.so.1 is; without it one test is skipped
//   TEST_SCALE  divides the numbers of rounds (default 1)
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <functional>
#include <future>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "jobswitch/jobswitch.h"
#include "stack.h"
#include "support.h"

static int pause_once(void *)
{
    jobswitch_pause_job();
    return 5;
}

static int return_at_once(void *) { return 6; }

static int start(jobswitch_job **job, int *ret, int (*func)(void *) = pause_once)
{
    *job = nullptr;
    return jobswitch_start_job(job, ret, func, nullptr, 0);
}

// ---- ends of the process (first: they fork, best with one thread) -------------------

// The exit code of a child that does this; 256 + signal if one killed it.
static int in_child(void (*what)(), std::string *errors = nullptr)
{
    int ends[2] = {-1, -1};
    if (errors && pipe(ends) != 0)
        return -1;
    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        if (errors)
            dup2(ends[1], STDERR_FILENO);
        alarm(120);
        what();
        _exit(99);
    }
    if (errors) {
        close(ends[1]);
        char part[256];
        for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;)
            errors->append(part, size_t(got));
        close(ends[0]);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static jobswitch_job *left_paused[3];

static int leave_some_paused()
{
    int ret, bad = 0;
    for (jobswitch_job *&job : left_paused)
        bad += start(&job, &ret) != JOBSWITCH_PAUSE;
    bad += jobswitch_get_wait_fd(left_paused[0]) < 0;
    jobswitch_wake(left_paused[0]);
    jobswitch_wake(left_paused[1]);
    return bad;
}

static void use_at_exit()
{
    jobswitch_job *job;
    int ret = 0;
    if (start(&job, &ret, return_at_once) != JOBSWITCH_FINISH || ret != 6)
        _exit(41);
    if (jobswitch_start_job(&left_paused[2], &ret, nullptr, nullptr, 0) !=
            JOBSWITCH_FINISH ||
        ret != 5)
        _exit(42);
}

static void the_process_ends_with_jobs_paused(void **)
{
    assert_int_equal(in_child([] {
        if (leave_some_paused())
            _exit(40);
        atexit(use_at_exit);
        exit(0);
    }), 0);
    assert_int_equal(in_child([] {
        if (leave_some_paused())
            _exit(40);
        _exit(0);
    }), 0);
    // Other threads have some, too.
    assert_int_equal(in_child([] {
        std::promise<void> ready;
        std::thread([&ready] {
            jobswitch_job *job;
            int ret;
            start(&job, &ret);
            ready.set_value();
            for (;;)
                pause();
        }).detach();
        ready.get_future().wait();
        atexit(use_at_exit);
        exit(leave_some_paused());
    }), 0);
}

static void the_main_thread_ends_before_the_others(void **)
{
    if (sanitized)
        skip_because("sanitizers want their main thread");
    assert_int_equal(in_child([] {
        if (leave_some_paused())
            _exit(40);
        std::thread([] {
            while (jobswitch_get_wait_fd(left_paused[1]) != -1)
                sched_yield();
            jobswitch_wake(left_paused[0]);
            if (jobswitch_last_error() != JOBSWITCH_E_FINISHED)
                _exit(41);
            jobswitch_job *job;
            int ret;
            if (start(&job, &ret) != JOBSWITCH_PAUSE)
                _exit(42);
            _exit(0);
        }).detach();
        pthread_exit(nullptr);
    }), 0);
}

static int end_the_thread(void *) { pthread_exit(nullptr); }

static void a_thread_cannot_end_inside_a_job(void **)
{
    if (sanitized || valgrind)
        skip_because("it ends with a signal");
    std::string errors;
    assert_int_equal(in_child([] {
        std::thread([] {
            jobswitch_job *job;
            int ret;
            start(&job, &ret, end_the_thread);
        }).join();
    }, &errors), 256 + SIGABRT);
    if (errors.find("pthread_exit") == std::string::npos)
        fail_msg("it said \"%s\"", errors.c_str());
}

// ---- side by side -------------------------------------------------------------------------

static int add_up(void *args)
{
    int sum = 0;
    for (int i = 1; i <= *static_cast<int *>(args); i++) {
        sum += i;
        jobswitch_pause_job();
    }
    return sum;
}

static int bad_pool(size_t limit, int rounds)
{
    int bad = 0, ret = 0;
    bad += jobswitch_init_thread(limit, limit / 2) != 1;
    std::vector<jobswitch_job *> jobs(limit);
    for (int round = 0; round < rounds; round++) {
        int pauses = int(limit) + round % 3;
        for (jobswitch_job *&job : jobs) {
            job = nullptr;
            bad += jobswitch_start_job(&job, &ret, add_up, &pauses, sizeof pauses) !=
                   JOBSWITCH_PAUSE;
        }
        jobswitch_job *more;
        bad += start(&more, &ret) != JOBSWITCH_NO_JOBS || more;
        for (int i = 1; i < pauses; i++)
            for (jobswitch_job *&job : jobs)
                bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                       JOBSWITCH_PAUSE;
        for (jobswitch_job *&job : jobs) {
            bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                   JOBSWITCH_FINISH;
            bad += ret != pauses * (pauses + 1) / 2;
        }
    }
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    bad += jobswitch_get_stats(&stats) != 1;
    bad += stats.jobs_started != limit * size_t(rounds);
    bad += stats.jobs_finished != stats.jobs_started;
    bad += stats.jobs_idle != limit || stats.stacks_mapped != limit;
    bad += stats.jobs_paused + stats.jobs_running + stats.descriptors_open != 0;
    return bad;
}

static void pools_side_by_side(void **)
{
    std::atomic<int> bad(0);
    std::vector<std::thread> threads;
    for (size_t limit = 2; limit < 8; limit++)
        threads.emplace_back([limit, &bad] { bad += bad_pool(limit, scaled(3000)); });
    for (std::thread &t : threads)
        t.join();
    assert_int_equal(bad.load(), 0);
}

static void a_thread_per_pool_many_times(void **)
{
    std::atomic<int> bad(0);
    for (int i = 0; i < scaled(100); i++) {
        std::vector<std::thread> threads;
        for (size_t limit = 2; limit < 6; limit++)
            threads.emplace_back([limit, &bad] { bad += bad_pool(limit, 2); });
        for (std::thread &t : threads)
            t.join();
    }
    assert_int_equal(bad.load(), 0);
}

static int bad_refusal(jobswitch_job *theirs, int reason)
{
    jobswitch_job *job = theirs;
    int ret = 1234, bad = 0;
    bad += jobswitch_start_job(&job, &ret, pause_once, nullptr, 0) != JOBSWITCH_ERR;
    bad += jobswitch_last_error() != reason;
    bad += job != theirs || ret != 1234;
    return bad;
}

static int refuse_inside(void *args)
{
    return bad_refusal(*static_cast<jobswitch_job **>(args), JOBSWITCH_E_WRONG_THREAD);
}

static void a_job_of_another_thread_is_refused(void **)
{
    std::promise<jobswitch_job *> made;
    std::promise<void> tried;
    int bad_owner = 0, bad = 0, ret = 0;
    std::thread owner([&] {
        jobswitch_job *job;
        bad_owner += start(&job, &ret) != JOBSWITCH_PAUSE;
        made.set_value(job);
        tried.get_future().wait();
        // Nothing has happened to it.
        bad_owner += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                     JOBSWITCH_FINISH;
        bad_owner += ret != 5;
    });
    jobswitch_job *theirs = made.get_future().get();
    std::thread([&] { bad += bad_refusal(theirs, JOBSWITCH_E_WRONG_THREAD); }).join();
    std::thread([&] {
        bad += jobswitch_init_thread(0, 1) != 1;
        bad += bad_refusal(theirs, JOBSWITCH_E_WRONG_THREAD);
        jobswitch_job *job = nullptr;
        int refused = -1;
        bad += jobswitch_start_job(&job, &refused, refuse_inside, &theirs,
                                   sizeof theirs) != JOBSWITCH_FINISH;
        bad += refused;
    }).join();
    tried.set_value();
    owner.join();
    bad += bad_refusal(theirs, JOBSWITCH_E_FINISHED);
    assert_int_equal(bad_owner, 0);
    assert_int_equal(bad, 0);
}

// ---- ends of a thread ------------------------------------------------------------------------

static int bad_leaving(std::vector<jobswitch_job *> &handles)
{
    int ret, bad = 0;
    for (int i = 0; i < 5; i++) {
        jobswitch_job *job;
        bad += start(&job, &ret) != JOBSWITCH_PAUSE;
        handles.push_back(job);
        if (i % 2)
            bad += jobswitch_get_wait_fd(job) < 0;
        if (i % 3)
            jobswitch_wake(job);
    }
    jobswitch_job *job = handles[1];
    bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) != JOBSWITCH_FINISH;
    return bad;
}

static void a_thread_that_does_not_clean_up(void **)
{
    int bad = 0, fds_before = open_fds(), mappings_before = 0;
    int rounds = scaled(300);
    for (int i = -20; i < rounds; i++) {
        if (i == 0)
            mappings_before = mappings();
        std::vector<jobswitch_job *> handles;
        std::thread([&] { bad += bad_leaving(handles); }).join();
        for (jobswitch_job *job : handles) {
            jobswitch_wake(job);
            bad += bad_refusal(job, JOBSWITCH_E_FINISHED);
            bad += jobswitch_get_wait_fd(job) != -1;
        }
    }
    assert_int_equal(bad, 0);
    assert_int_equal(open_fds(), fds_before);
    // What a thread has mapped is unmapped, or used by the next.
    if (!sanitized && !valgrind)
        assert_in_range(mappings(), 0, mappings_before + 16);
}

// A destructor that uses jobs, in as many rounds as the system has.
struct late_user {
    int rounds;       // to come
    bool clean;       // by itself
    int used;         // rounds
    int bad;
    pthread_key_t key;
    std::vector<jobswitch_job *> handles;
};

static void use_late(void *p)
{
    late_user &user = *static_cast<late_user *>(p);
    jobswitch_job *paused, *ended;
    int ret = 0;
    user.used++;
    user.bad += start(&ended, &ret, return_at_once) != JOBSWITCH_FINISH || ret != 6;
    user.bad += start(&paused, &ret) != JOBSWITCH_PAUSE;
    user.bad += jobswitch_get_wait_fd(paused) < 0;
    jobswitch_wake(paused);
    user.handles.push_back(paused);
    if (user.clean)
        jobswitch_cleanup_thread();
    if (--user.rounds > 0)
        pthread_setspecific(user.key, &user);
}

// Made before the library makes one, so its destructors come first in each
// round; and made after.
static pthread_key_t early_key, late_key;

struct object_with_destructor {
    late_user *user = nullptr;
    ~object_with_destructor()
    {
        if (user)
            use_late(user);
    }
};
static thread_local object_with_destructor object;

// ThreadSanitizer lets go of the thread in the last round, in which the library
// may still have to clean up after the one before.
static constexpr int rounds_most = PTHREAD_DESTRUCTOR_ITERATIONS - (sanitized ? 2 : 0);

static void destructors_that_use_jobs(void **)
{
    assert_int_equal(jobswitch_init(0, 0, 0), 1);
    assert_int_equal(pthread_key_create(&late_key, use_late), 0);
    struct {
        const char *name;
        int rounds;
        bool clean, late, by_object, own_pool;
    } const cases[] = {
        {"an earlier key", 1, false, false, false, true},
        {"an earlier key, in each round", rounds_most, false, false, false, true},
        {"an earlier key, in a thread without pool", 1, false, false, false, false},
        {"a later key", 1, false, true, false, true},
        {"a later key, in all rounds but the last", rounds_most - 1, false, true, false,
         true},
        {"a later key, in each round, with clean-up", rounds_most, true, true, false,
         true},
        {"a later key, in a thread without pool", 1, false, true, false, false},
        {"a C++ object", 1, false, false, true, true},
        {"a C++ object, in a thread without pool", 1, false, false, true, false},
    };
    int fds_before = open_fds();
    for (auto &c : cases) {
        late_user user = {c.rounds, c.clean, 0, 0, c.late ? late_key : early_key, {}};
        std::vector<jobswitch_job *> handles;
        int bad = 0;
        std::thread([&] {
            if (c.by_object)
                object.user = &user;
            else
                pthread_setspecific(user.key, &user);
            if (c.own_pool)
                bad += bad_leaving(handles);
        }).join();
        for (jobswitch_job *job : user.handles)
            handles.push_back(job);
        for (jobswitch_job *job : handles)
            bad += bad_refusal(job, JOBSWITCH_E_FINISHED);
        if (bad || user.bad || user.used != c.rounds || open_fds() != fds_before)
            fail_msg("%s: %d and %d wrong, %d rounds, %d descriptors more", c.name, bad,
                     user.bad, user.used, open_fds() - fds_before);
    }
    pthread_key_delete(late_key);
}

static void cleaning_up_oneself(void **)
{
    int fds_before = open_fds(), bad = 0;
    std::vector<jobswitch_job *> handles;
    std::thread([&] {
        jobswitch_cleanup_thread(); // without a pool: nothing
        for (int i = 0; i < 3; i++) {
            handles.clear();
            bad += bad_leaving(handles);
            jobswitch_cleanup(1);
            bad += open_fds() != fds_before;
            for (jobswitch_job *job : handles)
                bad += bad_refusal(job, JOBSWITCH_E_FINISHED);
            jobswitch_cleanup_thread();
        }
    }).join();
    assert_int_equal(bad, 0);
    assert_int_equal(open_fds(), fds_before);
}

// ---- the shared library, late ---------------------------------------------------------------------

struct library {
    void *handle;
    decltype(&jobswitch_start_job) start_job;
    decltype(&jobswitch_pause_job) pause_job;
    decltype(&jobswitch_get_wait_fd) get_wait_fd;
    decltype(&jobswitch_wake) wake;
};
static library loaded;

static int pause_in_library(void *)
{
    loaded.pause_job();
    return 8;
}

static bool load(const char *path)
{
    loaded.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!loaded.handle)
        return false;
    auto find = [](auto &f, const char *name) {
        f = reinterpret_cast<std::remove_reference_t<decltype(f)>>(
            dlsym(loaded.handle, name));
        return f != nullptr;
    };
    return find(loaded.start_job, "jobswitch_start_job") &&
           find(loaded.pause_job, "jobswitch_pause_job") &&
           find(loaded.get_wait_fd, "jobswitch_get_wait_fd") &&
           find(loaded.wake, "jobswitch_wake");
}

static int bad_in_library(jobswitch_job *&left)
{
    int bad = 0, ret = 0;
    for (int i = 0; i < 100; i++) {
        jobswitch_job *job = nullptr;
        bad += loaded.start_job(&job, &ret, pause_in_library, nullptr, 0) !=
               JOBSWITCH_PAUSE;
        loaded.wake(job);
        bad += loaded.start_job(&job, &ret, nullptr, nullptr, 0) != JOBSWITCH_FINISH;
        bad += ret != 8;
    }
    left = nullptr;
    bad += loaded.start_job(&left, &ret, pause_in_library, nullptr, 0) !=
           JOBSWITCH_PAUSE;
    bad += loaded.get_wait_fd(left) < 0;
    return bad;
}

static void the_shared_library_comes_late(void **)
{
    const char *build = getenv("BUILD");
    std::string path = std::string(build ? build : ".") + "/libjobswitch.so.1";
    if (sanitized || !build || access(path.c_str(), R_OK) != 0)
        skip_because("needs %s, and no sanitizer", path.c_str());
    int fds_before = open_fds();
    constexpr int threads_count = 4;
    std::atomic<int> bad(0), used(0);
    std::promise<void> is_loaded, is_closed;
    auto loaded_future = is_loaded.get_future().share();
    auto closed_future = is_closed.get_future().share();
    std::vector<jobswitch_job *> left(threads_count);
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_count; i++)
        threads.emplace_back([&, i] { // before the library is there
            loaded_future.wait();
            auto at = size_t(i);
            bad += bad_in_library(left[at]);
            used++;
            closed_future.wait();
            // It is still there: with pools of threads that live.
            int ret = 0;
            bad += loaded.start_job(&left[at], &ret, nullptr, nullptr, 0) !=
                       JOBSWITCH_FINISH ||
                   ret != 8;
            bad += bad_in_library(left[at]);
        });
    bool found = false;
    std::string error;
    std::thread([&] {
        found = load(path.c_str());
        if (!found)
            error = dlerror();
    }).join();
    library first = loaded;
    if (found)
        is_loaded.set_value();
    else
        fail_msg("%s", error.c_str()); // the others wait on; the process ends
    while (used < threads_count)
        sched_yield();
    assert_int_equal(dlclose(loaded.handle), 0);
    is_closed.set_value();
    for (std::thread &t : threads)
        t.join();
    // They ended after it was closed, and were cleaned up.
    assert_int_equal(bad.load(), 0);
    assert_int_equal(open_fds(), fds_before);
    for (jobswitch_job *job : left)
        assert_int_equal(first.get_wait_fd(job), -1);
    // Loaded again it is the same one.
    assert_true(load(path.c_str()));
    assert_true(loaded.start_job == first.start_job);
    // It is another library than the one in this program, with jobs of its own.
    assert_true(loaded.start_job != jobswitch_start_job);
    jobswitch_job *mine = nullptr, *ours;
    int ret;
    assert_int_equal(start(&ours, &ret), JOBSWITCH_PAUSE);
    assert_int_equal(loaded.start_job(&mine, &ret, pause_in_library, nullptr, 0),
                     JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_start_job(&ours, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 5);
    assert_int_equal(loaded.start_job(&mine, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    assert_int_equal(ret, 8);
    dlclose(loaded.handle);
}

// What makes stacks and gives their memory back, on a thread whose cancellation is pending.
static int calls_done;
static void *calls_while_cancelled(void *)
{
    pthread_cancel(pthread_self());
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.initial_jobs = 100;
    options.flags = JOBSWITCH_PREFAULT;
    calls_done += jobswitch_init_thread_with(&options);
    calls_done += jobswitch_trim_thread(0) == 100;
    jobswitch_cleanup_thread();
    calls_done++;
    pthread_testcancel();
    return nullptr;
}
static void a_cancellation_waits_for_stacks(void **)
{
    for (guard_method method : {guard_method::none, guard_method::prot_none}) {
        stack_force_method(method);
        stack_force_mappings(0);
        int fds_before = open_fds();
        pthread_t thread;
        void *result;
        calls_done = 0;
        assert_int_equal(pthread_create(&thread, nullptr, calls_while_cancelled, nullptr), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal(calls_done, 3);
        assert_ptr_equal(result, PTHREAD_CANCELED);
        assert_int_equal(open_fds(), fds_before);
    }
    stack_force_method(guard_method::none);
}

// thread_test [PATTERN]: the tests of that name alone
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (pthread_key_create(&early_key, use_late) != 0)
        return 1;
    const CMUnitTest tests[] = {
        cmocka_unit_test(the_process_ends_with_jobs_paused),
        cmocka_unit_test(the_main_thread_ends_before_the_others),
        cmocka_unit_test(a_thread_cannot_end_inside_a_job),
        cmocka_unit_test(pools_side_by_side),
        cmocka_unit_test(a_thread_per_pool_many_times),
        cmocka_unit_test(a_job_of_another_thread_is_refused),
        cmocka_unit_test(a_thread_that_does_not_clean_up),
        cmocka_unit_test(destructors_that_use_jobs),
        cmocka_unit_test(cleaning_up_oneself),
        cmocka_unit_test(a_cancellation_waits_for_stacks),
        cmocka_unit_test(the_shared_library_comes_late),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
