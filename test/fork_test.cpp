// SPDX-License-Identifier: Apache-2.0
//
// fork(), where wakers are late or signal handlers come in between, and what a pool leaves
// to later ones while a waker is late. (Each step of a fork beside each step of a wake:
// step_fork_test.) A waker is held up by the calls that this program stands before, by the
// linker's --wrap.
//
// Nothing is asserted on another thread or in a child: it is counted there and asserted
// after.
#include <climits>
#include <functional>
#include <pthread.h>
#include <semaphore>
#include <thread>
#include <vector>

#include "support.h"

#include <sys/resource.h>

#include "event.h"
#include "lock.h"
#include "pool.h"
#include "ready.h"

static int pause_once(void *)
{
    jobswitch_pause_job();
    return 0;
}

static jobswitch_job *begin()
{
    jobswitch_job *job = nullptr;
    int ret;
    jobswitch_start_job(&job, &ret, pause_once, nullptr, 0);
    return job;
}

static bool finish(jobswitch_job *job)
{
    int ret;
    return jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) == JOBSWITCH_FINISH;
}

static size_t take_all()
{
    jobswitch_job *ready[64];
    size_t count = 0, more;
    while ((more = jobswitch_take_ready(ready, 64)))
        count += more;
    return count;
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// ---- standing before calls -------------------------------------------------------------

struct late_push {
    ready_ring *ring;
    uint32_t entry;
};
static thread_local std::vector<late_push> *keeps; // pushes are kept here, not done
static thread_local void (*at_event)(); // once, before the next call on a descriptor
static thread_local void (*after_event)(); // once, after it
static void (*at_lock)(); // each time, when fork() has taken one
static int locks_taken;
static void (*at_death)(); // once, when a thread turns out to be dead

static void once(void (*&what)())
{
    void (*call)() = what;
    what = nullptr;
    if (call)
        call();
}

void __real__Z10ready_pushR10ready_ringj(ready_ring &, uint32_t) asm("__real__Z10ready_pushR10ready_ringj");
void __wrap__Z10ready_pushR10ready_ringj(ready_ring &, uint32_t) asm("__wrap__Z10ready_pushR10ready_ringj");
void __wrap__Z10ready_pushR10ready_ringj(ready_ring &ring, uint32_t entry)
{
    if (keeps)
        keeps->push_back({&ring, entry});
    else
        __real__Z10ready_pushR10ready_ringj(ring, entry);
}

static void push_late(const std::vector<late_push> &kept)
{
    for (const late_push &late : kept)
        __real__Z10ready_pushR10ready_ringj(*late.ring, late.entry);
}

void __real__Z9event_seti(int fd) asm("__real__Z9event_seti");
void __wrap__Z9event_seti(int fd) asm("__wrap__Z9event_seti");
void __wrap__Z9event_seti(int fd)
{
    once(at_event);
    __real__Z9event_seti(fd);
    once(after_event);
}

void __real__Z11event_cleari(int fd) asm("__real__Z11event_cleari");
void __wrap__Z11event_cleari(int fd) asm("__wrap__Z11event_cleari");
void __wrap__Z11event_cleari(int fd)
{
    once(at_event);
    __real__Z11event_cleari(fd);
    once(after_event);
}

bool __real__Z16lock_before_forkR4lock(lock &) asm("__real__Z16lock_before_forkR4lock");
bool __wrap__Z16lock_before_forkR4lock(lock &) asm("__wrap__Z16lock_before_forkR4lock");
bool __wrap__Z16lock_before_forkR4lock(lock &l)
{
    bool taken = __real__Z16lock_before_forkR4lock(l);
    locks_taken += taken && l.held_for_fork;
    if (at_lock)
        at_lock();
    return taken;
}

void __real__Z15lock_after_forkR4lock(lock &) asm("__real__Z15lock_after_forkR4lock");
void __wrap__Z15lock_after_forkR4lock(lock &) asm("__wrap__Z15lock_after_forkR4lock");
void __wrap__Z15lock_after_forkR4lock(lock &l)
{
    locks_taken -= l.held_for_fork;
    __real__Z15lock_after_forkR4lock(l);
}

extern "C" long __real_syscall(long, ...);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result = __real_syscall(number, a, b, c, d, e, f);
    if (number == SYS_tgkill && result < 0 && errno == ESRCH && at_death) {
        once(at_death);
        errno = ESRCH;
    }
    return result;
}

// ---- the program's own handlers ----------------------------------------------------------

// Registered as most programs do, before they use the library.
static void (*own_prepare)(), (*own_child)();
static void call_own_prepare() { own_prepare ? own_prepare() : void(); }
static void call_own_child() { own_child ? own_child() : void(); }
[[gnu::constructor]] static void register_own()
{
    pthread_atfork(call_own_prepare, nullptr, call_own_child);
}

// And before the library's, as where that is loaded late.
static void (*early_child)();
static void call_early_child() { early_child ? early_child() : void(); }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wprio-ctor-dtor"
[[gnu::constructor(100)]] static void register_early()
{
    pthread_atfork(nullptr, nullptr, call_early_child);
}
#pragma GCC diagnostic pop

static std::thread *worker;
static std::binary_semaphore worker_may_end(0);
static void end_worker()
{
    if (!worker)
        return;
    worker_may_end.release();
    worker->join();
    worker = nullptr;
}

static jobswitch_job *of_child;
static void use_in_child() { of_child = begin(); }

// Before a fork threads with pools end, and in the child jobs are used.
static void handlers_that_use_the_library(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow threads of a child");
    assert_int_equal(child([] {
        jobswitch_job *job = begin();
        std::binary_semaphore has_pool(0);
        std::thread thread([&] {
            begin();
            has_pool.release();
            worker_may_end.acquire();
        });
        has_pool.acquire();
        worker = &thread;
        own_prepare = end_worker;
        own_child = use_in_child;
        pid_t pid = fork();
        if (pid == 0)
            _exit(!(of_child && finish(of_child) && finish(job)));
        int status = -1;
        waitpid(pid, &status, 0);
        return status || !finish(job);
    }), 0);
}

static jobswitch_job *woken_in_child;
static void wake_in_child() { jobswitch_wake(woken_in_child); }

// What the child's handler wakes is told in the child alone.
static void a_childs_handler_wakes(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow jobs into a child");
    jobswitch_job *job = woken_in_child = begin();
    const int fd = jobswitch_get_ready_fd();
    take_all();
    assert_false(readable(fd));
    own_child = wake_in_child;
    assert_int_equal(child([job] {
        CHILD_NEEDS(readable(jobswitch_get_ready_fd()) && take_all() == 1 && finish(job));
        return 0;
    }), 0);
    own_child = nullptr;
    assert_false(readable(fd));
    assert_true(finish(job));
    jobswitch_cleanup_thread();
}

// A handler that comes before the library's makes a thread in the child. That thread may use
// jobs, and the one that forked keeps its own.
static pthread_t made_in_child;
static void *starts_in_child(void *)
{
    jobswitch_job *job = begin();
    bool good = job && jobswitch_get_wait_fd(job) >= 0;
    jobswitch_cleanup_thread();
    return good ? &made_in_child : nullptr;
}
static void makes_a_thread_in_child()
{
    // On one processor, so that it goes on as soon as it is let, before the one that lets it.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    pthread_create(&made_in_child, nullptr, starts_in_child, nullptr);
    const timespec while_it_begins = {0, 2000000};
    nanosleep(&while_it_begins, nullptr);
}
static void a_childs_early_handler_makes_threads(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow threads of a child");
    jobswitch_job *job = begin();
    early_child = makes_a_thread_in_child;
    for (size_t i = 0; i < scaled<size_t>(40); i++)
        assert_int_equal(child([job] {
            void *good = nullptr;
            CHILD_NEEDS(pthread_join(made_in_child, &good) == 0 && good);
            CHILD_NEEDS(finish(job));
            return 0;
        }), 0);
    early_child = nullptr;
    assert_true(finish(job));
    jobswitch_cleanup_thread();
}

// ---- signal handlers -----------------------------------------------------------------------

static int handled, handled_inside;
static void notes_down(int)
{
    handled++;
    handled_inside += locks_taken != 0;
}

// No signal handler comes while the library's locks are taken, and what was blocked before is
// blocked after.
static void a_signal_while_fork_takes_locks(void **)
{
    begin();
    struct sigaction action = {}, before;
    action.sa_handler = notes_down;
    sigaction(SIGUSR1, &action, &before);
    sigset_t blocked, old;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    handled = handled_inside = locks_taken = 0;
    at_lock = [] { raise(SIGUSR1); };
    const int status = child([] {
        sigset_t now;
        pthread_sigmask(SIG_SETMASK, nullptr, &now);
        CHILD_NEEDS(!handled_inside && !locks_taken);
        CHILD_NEEDS(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1));
        return 0;
    });
    at_lock = nullptr;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, &old, &now);
    sigaction(SIGUSR1, &before, nullptr);
    assert_int_equal(status, 0);
    assert_true(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1));
    assert_true(handled > 0);
    assert_int_equal(handled_inside, 0);
    jobswitch_cleanup_thread();
}

// Threads that fork at the same time: each has its own signals back.
static void forks_side_by_side(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow a child that leaves threads");
    begin();
    std::atomic<int> bad = 0;
    std::vector<std::thread> threads;
    for (int signal : {SIGUSR1, SIGUSR2})
        threads.emplace_back([&bad, signal] {
            sigset_t own, now;
            sigemptyset(&own);
            sigaddset(&own, signal);
            pthread_sigmask(SIG_SETMASK, &own, nullptr);
            jobswitch_job *job = begin();
            for (unsigned i = 0; i < scaled(200u); i++) {
                const pid_t pid = fork();
                if (pid == 0)
                    _exit(!finish(job));
                pthread_sigmask(SIG_SETMASK, nullptr, &now);
                for (int other : {SIGUSR1, SIGUSR2, SIGTERM})
                    bad += sigismember(&now, other) != (other == signal);
                int status = -1;
                waitpid(pid, &status, 0);
                bad += status != 0;
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    assert_int_equal(bad.load(), 0);
    jobswitch_cleanup_thread();
}

// A thread that holds one of the library's locks is in a signal handler, which has another
// thread's handler run that forks, and then forks itself: each fork waits for the other's lock.
static pthread_t forking;
static std::atomic<bool> comes, came, other_forks;
static void forks_and_ends()
{
    const pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    int status = -1;
    waitpid(pid, &status, 0);
}
static void forks_with_a_lock()
{
    comes = true;
    while (!other_forks)
        sched_yield();
    pthread_kill(forking, SIGUSR1);
    while (!came)
        sched_yield();
    forks_and_ends();
}
static void forks_that_wait_for_each_other(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow a child that leaves threads");
    assert_int_equal(child([] {
        forking = pthread_self();
        signal(SIGUSR1, [](int) { came = true; });
        jobswitch_job *job = begin();
        jobswitch_wake(job);
        std::thread asks([job] {
            at_event = forks_with_a_lock;
            jobswitch_get_wait_fd(job);
        });
        while (!comes)
            sched_yield();
        at_lock = [] { other_forks = true; };
        forks_and_ends();
        at_lock = nullptr;
        asks.join();
        CHILD_NEEDS(readable(jobswitch_get_wait_fd(job)) && finish(job));
        return 0;
    }, 20), 0);
}

// A call is under way, and a signal handler of the same thread forks: the child comes back to
// it when the parent is past it, and must not do it on the parent's descriptor.
static int child_goes_on[2];
static pid_t forked_child;
static void forks_here()
{
    forked_child = fork();
    if (forked_child == 0) {
        char word;
        (void)!read(child_goes_on[0], &word, 1);
        after_event = [] { _exit(0); };
    }
}
static void child_goes_on_and_ends()
{
    (void)!write(child_goes_on[1], "", 1);
    int status = -1;
    waitpid(forked_child, &status, 0);
    assert_int_equal(status, 0);
}
static void on_a_thread_that_forks(const std::function<void()> &what)
{
    std::thread([&what] {
        at_event = forks_here;
        what();
    }).join();
}

static void a_fork_inside_a_call(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow a child that leaves a thread");
    assert_int_equal(pipe(child_goes_on), 0);
    jobswitch_job *job = begin();
    const int ready_fd = jobswitch_get_ready_fd();
    take_all();
    assert_false(readable(ready_fd));
    on_a_thread_that_forks([job] { jobswitch_wake(job); });
    assert_true(readable(ready_fd));
    assert_int_equal(take_all(), 1);
    assert_int_equal(take_all(), 0);
    assert_false(readable(ready_fd));
    child_goes_on_and_ends();
    assert_false(readable(ready_fd));

    const int fd = jobswitch_get_wait_fd(job);
    on_a_thread_that_forks([job] { jobswitch_wake(job); });
    jobswitch_clear_wake(job);
    assert_false(readable(fd));
    child_goes_on_and_ends();
    assert_false(readable(fd));

    on_a_thread_that_forks([job] { jobswitch_clear_wake(job); });
    jobswitch_wake(job);
    child_goes_on_and_ends();
    assert_true(readable(fd));

    // The owner's own, at the end of a job whose descriptor the next one gets.
    at_event = forks_here;
    assert_true(finish(job));
    job = begin();
    assert_int_equal(jobswitch_get_wait_fd(job), fd);
    jobswitch_wake(job);
    child_goes_on_and_ends();
    assert_true(readable(fd));
    assert_true(finish(job));
    jobswitch_cleanup_thread();
    close(child_goes_on[0]);
    close(child_goes_on[1]);
}

// ---- wakers that are late -----------------------------------------------------------------

// They push after the pool has ended, and others after the next: all into one ring, which has
// room for them beside its own.
static void late_wakers_of_earlier_lives(void **)
{
    constexpr size_t first_lives = 508, second_lives = 20;
    std::vector<late_push> late;
    std::vector<std::thread> keepers;
    std::counting_semaphore<2> keepers_have(0), keepers_may_end(0);
    for (size_t jobs : {first_lives, second_lives}) {
        std::vector<jobswitch_job *> woken(jobs);
        for (jobswitch_job *&job : woken)
            job = begin();
        keeps = &late;
        for (jobswitch_job *job : woken)
            jobswitch_wake(job);
        keeps = nullptr;
        jobswitch_cleanup_thread();
        // The blocks are others' from now on.
        keepers.emplace_back([&] {
            for (size_t i = 0; i < 128; i++)
                begin();
            keepers_have.release();
            keepers_may_end.acquire();
        });
        keepers_have.acquire();
    }
    assert_int_equal(late.size(), first_lives + second_lives);
    std::vector<jobswitch_job *> jobs(first_lives);
    for (jobswitch_job *&job : jobs)
        job = begin();
    for (bool are_late : {true, false}) {
        for (jobswitch_job *job : jobs)
            jobswitch_wake(job);
        if (are_late)
            push_late(late);
        assert_int_equal(take_all(), jobs.size());
    }
    keepers_may_end.release(2);
    for (std::thread &keeper : keepers)
        keeper.join();
    jobswitch_cleanup_thread();
}

// An entry lies in the ring of a thread that has ended (or the forking thread itself is still
// about to push it); its block is another's. In the child neither a new thread is told of it,
// nor is a job forgotten.
template <bool by_forking_thread> static void a_fork_with_an_entry_in_an_ended_threads_ring(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow threads of a child");
    begin();
    std::vector<late_push> late;
    std::thread([&late] {
        jobswitch_job *job = begin();
        keeps = &late;
        jobswitch_wake(job);
        keeps = nullptr;
    }).join();
    assert_int_equal(late.size(), 1);
    for (size_t i = 0; i < 300; i++)
        begin(); // also in what that thread has given back
    if (!by_forking_thread)
        push_late(late);
    assert_int_equal(child([&late] {
        constexpr size_t more = 300; // one of them in that block
        take_all();
        jobswitch_job *jobs[more];
        for (jobswitch_job *&job : jobs)
            job = begin();
        for (jobswitch_job *job : jobs)
            jobswitch_wake(job);
        if (by_forking_thread)
            push_late(late);
        size_t told = 0;
        std::thread([&told] {
            begin();
            told = take_all();
        }).join();
        CHILD_NEEDS(told == 0 && take_all() == more);
        return 0;
    }), 0);
    jobswitch_cleanup_thread();
}

// An entry is left of a pool that has been cleaned up, and the block is nobody's. In the child
// another thread takes it: the entry tells nothing of that one's jobs.
static void a_fork_with_an_entry_of_a_block_that_nobody_has(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow threads of a child");
    jobswitch_cleanup_thread();
    std::vector<late_push> late;
    jobswitch_job *job = begin();
    keeps = &late;
    jobswitch_wake(job);
    keeps = nullptr;
    jobswitch_cleanup_thread();
    push_late(late);
    assert_int_equal(child([] {
        constexpr size_t count = 200; // one of them in that block, but for its entry
        size_t told = 0;
        std::binary_semaphore woken(0), taken(0);
        std::thread other([&] {
            jobswitch_job *jobs[count];
            for (jobswitch_job *&job : jobs)
                job = begin();
            for (jobswitch_job *job : jobs)
                jobswitch_wake(job);
            woken.release();
            taken.acquire();
            told = take_all();
        });
        woken.acquire();
        begin();
        CHILD_NEEDS(take_all() == 0);
        taken.release();
        other.join();
        CHILD_NEEDS(told == count);
        return 0;
    }), 0);
    take_all();
    jobswitch_cleanup_thread();
}

// Wakers are inside of what an ended pool has left. The child, which has not got them, ends
// that in their place: descriptors are closed, and the blocks serve again.
static std::counting_semaphore<2> inside(0), may_go_on(0);
static std::vector<std::thread> wakers;
static size_t leaves_all(std::vector<late_push> &late)
{
    jobswitch_job *with_fd = begin(), *without = begin(), *marked = begin();
    jobswitch_get_wait_fd(with_fd);
    jobswitch_get_ready_fd();
    take_all();
    take_all();
    for (jobswitch_job *job : {with_fd, without}) {
        wakers.emplace_back([job] {
            at_event = [] {
                inside.release();
                may_go_on.acquire();
            };
            jobswitch_wake(job);
        });
        inside.acquire();
    }
    keeps = &late;
    jobswitch_wake(marked);
    keeps = nullptr;
    const size_t chunks = pool_thread_state.pool->chunks_held;
    jobswitch_cleanup_thread();
    return chunks;
}

static void a_fork_beside_what_is_left(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow a child that leaves threads");
    for (bool thread_ends : {false, true}) {
        jobswitch_cleanup_thread();
        const int before = open_fds();
        std::vector<late_push> late;
        size_t chunks = 0;
        auto leave = [&] { chunks = leaves_all(late); };
        if (thread_ends)
            std::thread(leave).join();
        else
            leave();
        const int left = open_fds();
        const int status = child([before, chunks] {
            CHILD_NEEDS(open_fds() == before);
            for (size_t i = 0; i < chunks * (arena_chunk_bytes / JS_JOB_BYTES - 1); i++)
                CHILD_NEEDS(begin());
            CHILD_NEEDS(pool_thread_state.pool->chunks_held == chunks);
            jobswitch_cleanup_thread();
            CHILD_NEEDS(open_fds() == before);
            return 0;
        });
        may_go_on.release(2);
        for (std::thread &waker : wakers)
            waker.join();
        wakers.clear();
        push_late(late);
        assert_int_equal(status, 0);
        assert_int_equal(left, before + 2);
        assert_int_equal(open_fds(), before);
    }
}

// ---- shortage ------------------------------------------------------------------------------

// A descriptor cannot be had again in the child, for its number is beyond a new limit: the
// wake is told all the same, and whoever asks gets one of another number.
static void a_fork_beyond_a_limit(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool needs descriptors itself");
    assert_int_equal(child([] {
        const int first = dup(0);
        constexpr int more = 40;
        for (int i = 0; i < more; i++)
            dup(0);
        jobswitch_job *woken = begin(), *other = begin();
        const int woken_fd = jobswitch_get_wait_fd(woken);
        const int other_fd = jobswitch_get_wait_fd(other);
        const int ready_fd = jobswitch_get_ready_fd();
        jobswitch_wake(woken);
        for (int i = 0; i <= more; i++)
            close(first + i);
        const rlimit limit = {rlim_t(first + more), rlim_t(first + more)};
        setrlimit(RLIMIT_NOFILE, &limit);
        const int status = child([=] {
            for (int fd : {woken_fd, other_fd, ready_fd})
                CHILD_NEEDS(!is_open(fd));
            jobswitch_stats stats = JOBSWITCH_STATS_INIT;
            CHILD_NEEDS(jobswitch_get_stats(&stats) && stats.descriptors_open == 0);
            const int fd = jobswitch_get_ready_fd();
            CHILD_NEEDS(fd >= 0 && fd < first + more && readable(fd));
            const int of_other = jobswitch_get_wait_fd(other);
            CHILD_NEEDS(of_other >= 0 && !readable(of_other));
            jobswitch_wake(other);
            CHILD_NEEDS(readable(of_other));
            CHILD_NEEDS(take_all() == 1 && finish(woken) && finish(other));
            return 0;
        });
        return status != 0;
    }), 0);
}

// ---- threads that are dead -----------------------------------------------------------------

// A thread's very last destructor uses the library, which nobody ends any more.
static pthread_key_t last_key;
static int rounds;
static jobswitch_job *left_job;
static void use_in_last_round(void *value)
{
    if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(last_key, value);
    else
        left_job = begin();
}
static void end_with_a_job()
{
    rounds = 0;
    pthread_setspecific(last_key, &rounds);
}
static void last_key_make()
{
    // After the library's own key.
    std::thread([] { begin(); }).join();
    assert_int_equal(pthread_key_create(&last_key, use_in_last_round), 0);
}

// Also the first of the process, whose id stays.
static void the_first_thread_is_dead(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool wants its main thread");
    void *head = nullptr;
    size_t bytes;
    if (syscall(SYS_get_robust_list, 0, &head, &bytes) != 0 || !head)
        skip_because("the system tells nothing of it");
    last_key_make();
    assert_int_equal(child([] {
        const pid_t first = pid_t(syscall(SYS_gettid));
        std::thread([first] {
            char path[64], status[128];
            snprintf(path, sizeof path, "/proc/self/task/%d/stat", first);
            for (bool has_ended = false; !has_ended;) {
                FILE *file = fopen(path, "r");
                has_ended = file && fgets(status, sizeof status, file) && strstr(status, ") Z");
                if (file)
                    fclose(file);
                sched_yield();
            }
            CHILD_NEEDS(left_job && jobswitch_get_wait_fd(left_job) >= 0);
            std::thread([] { begin(); }).join(); // looks for records
            CHILD_NEEDS(jobswitch_get_wait_fd(left_job) == -1);
            CHILD_NEEDS(jobswitch_last_error() == JOBSWITCH_E_FINISHED);
            _exit(0);
        }).detach();
        end_with_a_job();
        pthread_exit(nullptr);
        return 1;
    }), 0);
    pthread_key_delete(last_key);
}

// A thread has found a dead one's record, and a signal handler forks: the child goes on with
// it as the parent does.
static pid_t of_handler;
static void a_fork_beside_a_dead_threads_record(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool does not follow threads of a child");
    last_key_make();
    assert_int_equal(child([] {
        of_handler = -1;
        int bad = 0;
        const pid_t own = getpid();
        // Made before the other has ended, for they must not lie in the same place; and
        // several, for each looks at a few records only.
        std::counting_semaphore<> may_begin(0);
        std::vector<std::thread> threads;
        for (int i = 0; i < 16; i++)
            threads.emplace_back([&bad, &may_begin] {
                may_begin.acquire();
                jobswitch_job *job = begin();
                bad += !job || jobswitch_get_wait_fd(job) < 0 || !finish(job);
                if (of_handler == 0)
                    _exit(bad);
                may_begin.release(); // the next one
            });
        std::thread(end_with_a_job).join();
        at_death = [] { of_handler = fork(); };
        may_begin.release();
        for (std::thread &thread : threads)
            thread.join();
        CHILD_NEEDS(of_handler > 0 && own == getpid());
        int status = -1;
        waitpid(of_handler, &status, 0);
        return bad || status;
    }), 0);
    pthread_key_delete(last_key);
}

// fork_test [PATTERN]: the tests of that name alone
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(handlers_that_use_the_library),
        cmocka_unit_test(a_childs_handler_wakes),
        cmocka_unit_test(a_childs_early_handler_makes_threads),
        cmocka_unit_test(a_signal_while_fork_takes_locks),
        cmocka_unit_test(forks_side_by_side),
        cmocka_unit_test(forks_that_wait_for_each_other),
        cmocka_unit_test(a_fork_inside_a_call),
        cmocka_unit_test(late_wakers_of_earlier_lives),
        cmocka_unit_test(a_fork_with_an_entry_in_an_ended_threads_ring<false>),
        cmocka_unit_test(a_fork_with_an_entry_in_an_ended_threads_ring<true>),
        cmocka_unit_test(a_fork_with_an_entry_of_a_block_that_nobody_has),
        cmocka_unit_test(a_fork_beside_what_is_left),
        cmocka_unit_test(a_fork_beyond_a_limit),
        cmocka_unit_test(the_first_thread_is_dead),
        cmocka_unit_test(a_fork_beside_a_dead_threads_record),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
