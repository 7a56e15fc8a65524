// SPDX-License-Identifier: Apache-2.0
//
// Wake state and wait descriptors: src/wait directly, and through the public
// functions. Descriptors are looked at from outside (poll, fcntl, the list of
// the process's open files), so that what is said of them is what the kernel
// says.
//
// This program stands before event_set, event_clear, event_close (by the linker's --wrap)
// and eventfd: they hold a thread up between choosing a descriptor and using it, which is where a
// descriptor can come to belong to somebody else.
//
// Nothing is asserted on a job's stack or on another thread: it is counted there
// and asserted after.
//
// Environment: TEST_SCALE divides the numbers of rounds (default 1).
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "arena.h"
#include "handle.h"
#include "job.h"
#include "jobswitch/jobswitch.h"
#include "support.h"
#include "wait.h"

static constexpr int patience_s = 60;

// ---- holding a thread up -------------------------------------------------------

// The thread that is given one stops in its next call of the kind.
struct hold {
    char kind = 0; // 'w' write, 'r' read, 'c' close, 'e' eventfd
    hold *then = nullptr;
    int fd = -1;   // where it stopped
    sem_t arrived, go;
    hold()
    {
        sem_init(&arrived, 0, 0);
        sem_init(&go, 0, 0);
    }
    ~hold()
    {
        sem_destroy(&arrived);
        sem_destroy(&go);
    }
};
static thread_local hold *held;
static thread_local int eventfd_errno; // not 0: eventfd fails with it
static thread_local unsigned dawdle;   // not 0: often gives way before a call

static void await(sem_t &semaphore)
{
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += patience_s;
    while (sem_timedwait(&semaphore, &until) != 0)
        if (errno != EINTR) {
            static const char text[] = "waited in vain\n";
            (void)!syscall(SYS_write, STDERR_FILENO, text, sizeof text - 1);
            abort();
        }
}

static void stop_here(char kind, int fd)
{
    if (dawdle && (dawdle = dawdle * 1664525 + 1013904223) >> 29 == 0)
        sched_yield();
    hold *h = held;
    if (!h || h->kind != kind)
        return;
    held = h->then;
    h->fd = fd;
    sem_post(&h->arrived);
    await(h->go);
}

extern "C" {
void __real__Z9event_seti(int fd);
void __wrap__Z9event_seti(int fd)
{
    stop_here('w', fd);
    __real__Z9event_seti(fd);
}

void __real__Z11event_cleari(int fd);
void __wrap__Z11event_cleari(int fd)
{
    stop_here('r', fd);
    __real__Z11event_cleari(fd);
}

void __real__Z11event_closei(int fd);
void __wrap__Z11event_closei(int fd)
{
    stop_here('c', fd);
    __real__Z11event_closei(fd);
}
}

static std::atomic<int> eventfds; // calls that have been made

extern "C" long __real_syscall(long, ...);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number != SYS_eventfd2)
        return __real_syscall(number, a, b, c, d, e, f);
    eventfds++;
    stop_here('e', -1);
    if (eventfd_errno) {
        errno = eventfd_errno;
        return -1;
    }
    return __real_syscall(number, a, b);
}

// ---- looking -----------------------------------------------------------------------

static bool is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

static int stranger()
{
    return int(__real_syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static size_t descriptors_open()
{
    jobswitch_stats stats = {};
    stats.size = sizeof stats;
    return jobswitch_get_stats(&stats) ? stats.descriptors_open : SIZE_MAX;
}

static uint32_t block_of(jobswitch_job *handle)
{
    return handle_offset(handle);
}

static job &inside(jobswitch_job *handle)
{
    return *reinterpret_cast<job *>(arena_look().base + block_of(handle));
}

// A thread that does what it is told. After a failed assertion, which leaves the
// test by longjmp, it goes on waiting.
class helper {
public:
    helper() : shared(new state), thread(serve, shared)
    {
    }
    ~helper()
    {
        if (thread.joinable()) {
            tell_to_end();
            thread.join();
        }
        delete shared;
    }
    void post(std::function<void()> f)
    {
        shared->what = std::move(f);
        sem_post(&shared->ask);
    }
    void wait() { await(shared->answer); }
    void run(std::function<void()> f)
    {
        post(std::move(f));
        wait();
    }
    void tell_to_end() { post(nullptr); }
    void join() { thread.join(); }

private:
    struct state {
        std::function<void()> what;
        sem_t ask, answer;
        state()
        {
            sem_init(&ask, 0, 0);
            sem_init(&answer, 0, 0);
        }
        ~state()
        {
            sem_destroy(&ask);
            sem_destroy(&answer);
        }
    };
    static void serve(state *s)
    {
        for (;;) {
            while (sem_wait(&s->ask) != 0) {
            }
            if (!s->what)
                return;
            s->what();
            sem_post(&s->answer);
        }
    }
    state *shared;
    std::thread thread;
};

// ---- jobs -----------------------------------------------------------------------------

static int sleep_until_told(void *args)
{
    int *stop = *static_cast<int **>(args);
    while (!*stop)
        jobswitch_pause_job();
    return 7;
}

struct sleeper {
    jobswitch_job *handle = nullptr;
    int stop = 0;
    int ret = 0;
    int start()
    {
        stop = 0;
        handle = nullptr;
        int *at = &stop;
        return jobswitch_start_job(&handle, &ret, sleep_until_told, &at, sizeof at);
    }
    int resume() { return jobswitch_start_job(&handle, &ret, nullptr, nullptr, 0); }
    int finish()
    {
        stop = 1;
        return resume();
    }
};

// ---- src/wait by itself ------------------------------------------------------------------

static void every_short_sequence_of_a_state(void **)
{
    // What the state must do, in two lines: a wake sets the mark, a clear and an
    // end take it back; the descriptor is readable while it is set.
    enum { wake, clear, get, end, late_wake, late_clear, ops };
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    assert_true(wait_begin(state));
    int fds_before = open_fds(), bad = 0, the_fd = -1;
    int reason;
    uint32_t generation = 1;
    for (int length = 1; length <= 5; length++) {
        int sequences = 1;
        for (int i = 0; i < length; i++)
            sequences *= ops;
        for (int sequence = 0; sequence < sequences; sequence++) {
            bool woken = false, last_get = false;
            int fd = -1;
            for (int i = 0, rest = sequence; i <= length; i++, rest /= ops) {
                last_get = i == length;
                switch (last_get ? get : rest % ops) {
                case wake:
                    bad += !wait_wake(state, generation, owner, 1);
                    woken = true;
                    break;
                case clear:
                    bad += !wait_clear(state, generation, owner);
                    woken = false;
                    break;
                case get: {
                    int got = wait_descriptor(state, generation, owner, &reason);
                    // There is one alone, and it comes again.
                    bad += got < 0 || (fd >= 0 && got != fd) ||
                           (the_fd >= 0 && got != the_fd);
                    fd = the_fd = got;
                    break;
                }
                case end:
                    wait_end(state, cache);
                    wait_take(state);
                    bad += !wait_begin(state);
                    generation++;
                    woken = false;
                    fd = -1;
                    break;
                case late_wake:
                    bad += wait_wake(state, generation - 1, owner, 1);
                    break;
                case late_clear:
                    bad += wait_clear(state, generation - 1, owner);
                    break;
                }
                if (fd >= 0)
                    bad += readable(fd) != woken;
            }
            // (It may be queued, and then must be taken first.)
            bad += wait_end(state, cache) == wait_queued(state);
            wait_take(state);
            bad += !wait_begin(state);
            generation++;
            // What lies in the cache is not readable.
            bad += the_fd < 0 || readable(the_fd);
            if (bad)
                fail_msg("length %d, sequence %d", length, sequence);
        }
    }
    assert_int_equal(open_fds(), fds_before + 1);
    assert_int_equal(cache.open.load(), 1);
    reason = 0;
    assert_int_equal(wait_descriptor(state, generation - 1, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_FINISHED);
    wait_cache_close(cache);
    assert_int_equal(open_fds(), fds_before);
    assert_int_equal(cache.open.load(), 0);
}

static void the_descriptor_is_made_when_asked_for(void **)
{
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason = 0, fds_before = open_fds();
    assert_true(wait_begin(state));
    assert_true(wait_wake(state, 1, owner, 1));
    assert_true(wait_clear(state, 1, owner));
    assert_int_equal(open_fds(), fds_before);

    eventfd_errno = EMFILE;
    assert_int_equal(wait_descriptor(state, 1, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_NO_DESCRIPTORS);
    eventfd_errno = ENFILE;
    assert_int_equal(wait_descriptor(state, 1, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_NO_DESCRIPTORS);
    eventfd_errno = ENOMEM;
    assert_int_equal(wait_descriptor(state, 1, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_NO_MEMORY);
    eventfd_errno = 0;
    assert_int_equal(cache.open.load(), 0);
    assert_true(wait_wake(state, 1, owner, 1));

    int fd = wait_descriptor(state, 1, owner, &reason);
    assert_true(fd >= 0);
    assert_int_equal(open_fds(), fds_before + 1);
    assert_true(readable(fd));
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(wait_descriptor(state, 1, owner, &reason), fd);
    assert_true(wait_clear(state, 1, owner));

    // The counter at its end: a wake has no room, and needs none.
    uint64_t most = UINT64_MAX - 1;
    assert_int_equal(syscall(SYS_write, fd, &most, sizeof most), sizeof most);
    errno = 77;
    assert_true(wait_wake(state, 1, owner, 1));
    assert_int_equal(errno, 77);
    assert_true(readable(fd));
    assert_true(wait_clear(state, 1, owner));
    assert_false(readable(fd));
    // Nothing to read: EAGAIN, which is not the caller's business either.
    assert_true(wait_clear(state, 1, owner));
    assert_int_equal(errno, 77);

    // (An entry of its first wake is queued.)
    assert_false(wait_end(state, cache));
    assert_false(wait_begin(state));
    assert_false(wait_take(state));
    assert_true(wait_begin(state));
    wait_cache_close(cache);
    assert_false(is_open(fd));
}

// As a forked child has it, where the parent's descriptors are the child's, too.
static void a_forked_state_has_descriptors_of_its_own(void **)
{
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state used = {}, kept = {}, left = {}, none = {};
    int reason, fds_before = open_fds();
    int fds[3], parents[3];
    wait_state *states[] = {&used, &kept, &left};
    for (int i = 0; i < 3; i++) {
        assert_true(wait_begin(*states[i]));
        fds[i] = wait_descriptor(*states[i], 1, owner, &reason);
        parents[i] = dup(fds[i]);
        assert_true(fds[i] >= 0 && parents[i] >= 0);
    }
    assert_true(wait_end(kept, cache)); // its descriptor is kept for others
    assert_true(wait_wake(used, 1, owner, 1));
    // A waker that the child has not got is inside, and the generation ends.
    hold h;
    h.kind = 'w';
    std::thread waker([&] {
        held = &h;
        wait_wake(left, 1, owner, 2);
    });
    await(h.arrived);
    assert_false(wait_end(left, cache));
    assert_false(wait_begin(left));

    wait_owner_forked(owner);
    for (wait_state *state : {&used, &kept, &left, &none})
        wait_forked(*state, owner);
    assert_true(readable(fds[0])); // woken, as before
    assert_true(wait_clear(used, 1, owner));
    assert_false(readable(fds[0]));
    assert_true(readable(parents[0])); // the parent's is as it was
    assert_true(wait_wake(used, 1, owner, 1));
    assert_true(readable(fds[0]));
    assert_int_equal(wait_descriptor(used, 1, owner, &reason), fds[0]);
    assert_true(wait_begin(left));
    assert_false(is_open(fds[2]));
    assert_true(wait_end(used, cache));
    assert_true(wait_begin(kept));
    int fd = wait_descriptor(kept, 2, owner, &reason);
    assert_true(wait_wake(kept, 2, owner, 3));
    assert_true(readable(fd) && !readable(parents[1]));
    assert_true(wait_end(kept, cache));
    wait_cache_close(cache);
    assert_int_equal(cache.open.load(), 0);
    // The waker's pin is none any more. (Its descriptor is closed: a number of nobody's.)
    sem_post(&h.go);
    waker.join();
    assert_true(wait_begin(left));
    assert_int_equal(cache.open.load(), 0);
    for (int parent : parents)
        close(parent);
    assert_int_equal(open_fds(), fds_before);
}

// What the word says of a generation.
static void known_and_ended(void **)
{
    constexpr uint64_t retired = 8, known = 32, repeated = 64, fifth = uint64_t(5) << 32;
    constexpr uint64_t last = uint64_t(wait_generation_most) << 32;
    assert_true(wait_known(fifth | known, 5));
    assert_false(wait_known(fifth | known, 4));
    assert_false(wait_known(fifth, 5));
    assert_false(wait_known(fifth | known | retired, 5));
    for (uint32_t generation : {0u, 1u, 4u, 5u, 6u}) {
        const bool is_earlier = generation && generation < 5;
        assert_int_equal(wait_has_ended(fifth, generation), is_earlier);
        assert_int_equal(wait_has_ended(fifth | known, generation), is_earlier);
        assert_int_equal(wait_has_ended(fifth | repeated, generation), generation != 0);
    }
    for (bool is_over : {false, true}) {
        const uint64_t word = last | (is_over ? retired : 0);
        assert_true(wait_has_ended(word, wait_generation_most - 1));
        assert_int_equal(wait_has_ended(word, wait_generation_most), is_over);
        if (wait_generations_repeat)
            assert_false(wait_has_ended(word, wait_generation_most + 1));
    }
    // It is known to one generation: also where a waker is inside as that ends.
    for (bool is_held : {false, true}) {
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state state = {};
        int reason;
        assert_true(wait_begin(state));
        assert_true(wait_descriptor(state, 1, owner, &reason) >= 0);
        assert_false(wait_known(state.word, 1));
        hold h;
        h.kind = is_held ? 'w' : 0;
        std::thread waker([&] {
            held = &h;
            wait_wake(state, 1, owner, 1);
        });
        if (is_held)
            await(h.arrived);
        else
            waker.join();
        assert_true(wait_known(state.word, 1));
        assert_int_equal(wait_end(state, owner.descriptors), !is_held);
        if (is_held) {
            sem_post(&h.go);
            waker.join();
        }
        assert_true(wait_begin(state));
        assert_int_equal(state.word.load(), uint64_t(2) << 32);
        wait_cache_close(owner.descriptors);
        assert_int_equal(owner.descriptors.open.load(), 0);
    }
}

// It is not asked of the kernel, and the next generation's is not given out for it.
static void an_ended_generation_gets_no_descriptor(void **)
{
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason = 0;
    assert_true(wait_begin(state));
    assert_true(wait_end(state, owner.descriptors) && wait_begin(state));
    for (bool with_fd : {false, true}) {
        assert_true(!with_fd || wait_descriptor(state, 2, owner, &reason) >= 0);
        const uint64_t word = state.word;
        const int made = eventfds;
        reason = 0;
        for (uint32_t generation : {1, 3}) {
            assert_int_equal(wait_descriptor(state, generation, owner, &reason), -1);
            assert_int_equal(reason, JOBSWITCH_E_FINISHED);
            assert_false(wait_wake(state, generation, owner, 1));
            assert_false(wait_clear(state, generation, owner));
        }
        assert_int_equal(eventfds, made);
        assert_int_equal(state.word.load(), word);
    }
    assert_true(wait_end(state, owner.descriptors));
    wait_cache_close(owner.descriptors);
    if (!wait_generations_repeat) {
        state.word = uint64_t(wait_generation_most) << 32;
        assert_false(wait_end(state, owner.descriptors));
        const uint64_t word = state.word;
        const int made = eventfds;
        assert_int_equal(wait_descriptor(state, wait_generation_most, owner, &reason), -1);
        assert_false(wait_wake(state, wait_generation_most, owner, 1));
        assert_false(wait_clear(state, wait_generation_most, owner));
        assert_int_equal(eventfds, made);
        assert_int_equal(state.word.load(), word);
    }
    assert_int_equal(owner.descriptors.open.load(), 0);
}

// What a tool such as ThreadSanitizer is told: a step has what came before it behind it, and
// who has looked, what others did.
static struct {
    int acquired, released, bad;
    wait_state *state;
} told;

static void a_tool_is_told_of_each_step(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool is told already");
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason;
    assert_true(wait_begin(state));
    told = {0, 0, 0, &state};
    wait_announce([](void *at) { told.acquired++; told.bad += at != &told.state->word; },
                  [](void *at) { told.released++; told.bad += at != &told.state->word; });
    // (A step that fails for no reason is tried again, and then is told of again.)
#define TELLS(what)                                                                            \
    told.acquired = told.released = 0;                                                         \
    what;                                                                                      \
    assert_true(told.acquired > 0 && told.released >= told.acquired);
    TELLS(assert_true(wait_wake(state, 1, owner, 1)))
    TELLS(assert_true(wait_take(state)))
    TELLS(assert_true(wait_clear(state, 1, owner)))
    TELLS(assert_true(wait_descriptor(state, 1, owner, &reason) >= 0))
    told.acquired = 0;
    assert_true(wait_descriptor(state, 1, owner, &reason) >= 0); // it is there
    assert_int_equal(told.acquired, 1);
    TELLS(assert_true(wait_wake(state, 1, owner, 1)))
    TELLS(assert_true(wait_clear(state, 1, owner)))
    TELLS(assert_true(wait_end(state, owner.descriptors)))
#undef TELLS
    assert_int_equal(told.bad, 0);
    wait_announce(nullptr, nullptr);
    told.acquired = told.released = 0;
    assert_true(wait_wake(state, 2, owner, 1));
    assert_int_equal(told.acquired + told.released, 0);
    wait_cache_close(owner.descriptors);
}

// A fork comes while a descriptor is put back: the child's cache must not keep the parent's.
static void a_fork_while_a_descriptor_is_put_back(void **)
{
    const int fds_before = open_fds();
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason, done = -1;
    assert_true(wait_begin(state));
    const int fd = wait_descriptor(state, 1, owner, &reason);
    assert_true(fd >= 0 && wait_wake(state, 1, owner, 1));
    hold h;
    h.kind = 'r';
    std::thread ends([&] {
        held = &h;
        done = wait_end(state, owner.descriptors);
    });
    await(h.arrived);
    wait_owner_forked(owner);
    wait_forked(state, owner);
    sem_post(&h.go);
    ends.join();
    assert_int_equal(done, 1);
    assert_false(is_open(fd));
    assert_int_equal(owner.descriptors.open.load(), 0);
    assert_int_equal(owner.descriptors.count, 0);
    wait_cache_close(owner.descriptors);
    assert_int_equal(open_fds(), fds_before);
}

static void nothing_stays_open(wait_owner &owner, int fds_before)
{
    wait_cache_close(owner.descriptors);
    assert_int_equal(owner.descriptors.open.load(), 0);
    assert_int_equal(open_fds(), fds_before);
}

// A fork comes while a descriptor is made: it may be the parent's, too, and is made again.
static void a_fork_while_a_descriptor_is_made(void **)
{
    for (bool is_woken : {false, true}) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state state = {};
        int reason, fd = -1;
        assert_true(wait_begin(state));
        hold h;
        h.kind = 'e';
        std::thread asks([&] {
            held = &h;
            fd = wait_descriptor(state, 1, owner, &reason);
        });
        await(h.arrived);
        wait_owner_forked(owner);
        wait_forked(state, owner);
        if (is_woken)
            assert_true(wait_wake(state, 1, owner, 1));
        const int made = eventfds;
        sem_post(&h.go);
        asks.join();
        assert_true(fd >= 0);
        assert_int_equal(eventfds - made, 1);
        assert_int_equal(readable(fd), is_woken);
        assert_int_equal(owner.descriptors.open.load(), 1);
        // Its pin was taken back by the fork, and is not taken back again.
        assert_true(wait_clear(state, 1, owner));
        assert_int_equal(wait_end(state, owner.descriptors), !is_woken);
        wait_take(state);
        assert_true(wait_begin(state));
        nothing_stays_open(owner, fds_before);
    }
}

// A descriptor that nobody has woken is not readable after a fork, cleared or never asked.
static void a_fork_wakes_nobody(void **)
{
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    for (bool was_woken : {false, true}) {
        wait_state state = {};
        int reason;
        assert_true(wait_begin(state));
        const int fd = wait_descriptor(state, 1, owner, &reason);
        if (was_woken)
            assert_true(wait_wake(state, 1, owner, 1) && wait_clear(state, 1, owner));
        wait_owner_forked(owner);
        wait_forked(state, owner);
        assert_false(readable(fd));
        assert_true(wait_end(state, owner.descriptors));
    }
    wait_cache_close(owner.descriptors);
    assert_int_equal(owner.descriptors.open.load(), 0);
}

// Who asks for a descriptor while the generation ends gets none, and it is not kept.
static void a_generation_ends_while_its_descriptor_is_made(void **)
{
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason = 0, fd = 0, fds_before = open_fds();
    assert_true(wait_begin(state));
    hold h;
    h.kind = 'e';
    std::thread asks([&] {
        held = &h;
        fd = wait_descriptor(state, 1, owner, &reason);
    });
    await(h.arrived);
    assert_false(wait_end(state, owner.descriptors));
    sem_post(&h.go);
    asks.join();
    assert_int_equal(fd, -1);
    assert_int_equal(reason, JOBSWITCH_E_FINISHED);
    assert_int_equal(open_fds(), fds_before);
    assert_int_equal(owner.descriptors.open.load(), 0);
    assert_true(wait_begin(state));
}

// What is kept of the parent's is closed by the first call that needs the cache; what the
// child keeps from then on is used again.
static void a_fork_and_what_is_kept(void **)
{
    for (bool asks_first : {false, true}) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        wait_cache &cache = owner.descriptors;
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state used = {}, kept = {};
        int reason;
        assert_true(wait_begin(used) && wait_begin(kept));
        assert_true(wait_descriptor(used, 1, owner, &reason) >= 0);
        const int parents = dup(wait_descriptor(kept, 1, owner, &reason));
        assert_true(wait_end(kept, cache) && wait_begin(kept));
        wait_owner_forked(owner);
        wait_forked(used, owner);
        wait_forked(kept, owner);
        if (asks_first) {
            assert_true(wait_descriptor(kept, 2, owner, &reason) >= 0);
            assert_true(wait_wake(kept, 2, owner, 1));
            assert_false(readable(parents));
            assert_true(wait_end(kept, cache) && wait_begin(kept));
        }
        assert_true(wait_end(used, cache) && wait_begin(used));
        assert_int_equal(cache.open.load(), asks_first ? 2 : 1);
        const int made = eventfds;
        for (uint32_t generation = 2; generation < 5; generation++) {
            assert_true(wait_descriptor(used, generation, owner, &reason) >= 0);
            assert_true(wait_end(used, cache) && wait_begin(used));
        }
        assert_int_equal(eventfds, made);
        wait_cache_close(cache);
        assert_int_equal(cache.open.load(), 0);
        close(parents);
        assert_int_equal(open_fds(), fds_before);
    }
}

// A descriptor that there is no room to keep is closed.
static void no_memory_for_the_cache(void **)
{
    if (!plain)
        skip_because("the tool needs memory");
    const int status = child([] {
        static wait_owner owner;
        static wait_state state;
        int reason;
        CHILD_NEEDS(ready_reserve(owner.ready, 1, nullptr) && wait_begin(state));
        const int fd = wait_descriptor(state, 1, owner, &reason);
        const rlimit none = {4096, 4096};
        CHILD_NEEDS(fd >= 0 && setrlimit(RLIMIT_AS, &none) == 0);
        CHILD_NEEDS(wait_end(state, owner.descriptors));
        CHILD_NEEDS(!is_open(fd) && owner.descriptors.open.load() == 0);
        CHILD_NEEDS(!owner.descriptors.fds && !owner.descriptors.capacity);
        return 0;
    });
    assert_int_equal(status, 0);
}

// The child clears what a waker, who goes on there, is still about to write: what is readable
// then is marked, and the next job that gets the descriptor does not find it so.
static void a_fork_while_a_waker_is_held(void **)
{
    const int fds_before = open_fds();
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason;
    assert_true(wait_begin(state));
    const int fd = wait_descriptor(state, 1, owner, &reason);
    hold h;
    h.kind = 'w';
    std::thread waker([&] {
        held = &h;
        wait_wake(state, 1, owner, 1);
    });
    await(h.arrived);
    const int rings = ready_descriptor(owner.ready, &reason);
    ready_rest(owner.ready);
    assert_false(readable(rings));
    wait_owner_forked(owner);
    assert_true(readable(rings)); // the owner's ring is told, too
    ready_close(owner.ready);
    wait_forked(state, owner);
    assert_true(readable(fd));
    assert_true(wait_clear(state, 1, owner));
    assert_false(readable(fd));
    sem_post(&h.go);
    waker.join();
    assert_true(readable(fd));
    assert_true(wait_end(state, owner.descriptors));
    assert_false(readable(fd));
    assert_true(wait_begin(state));
    assert_int_equal(wait_descriptor(state, 2, owner, &reason), fd);
    assert_true(wait_end(state, owner.descriptors));
    nothing_stays_open(owner, fds_before);
}

// A waker from before a fork comes back when the state has a later generation, with a waker
// of its own: that one's pin stays, and what it closes is closed once.
static void a_fork_and_a_waker_of_the_next_generation(void **)
{
    enum { lives, rests, closes, ends };
    for (int at = lives; at < ends; at++) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state state = {};
        int reason;
        assert_true(wait_begin(state));
        assert_true(wait_descriptor(state, 1, owner, &reason) >= 0);
        hold first, second, closing;
        first.kind = second.kind = 'w';
        closing.kind = 'c';
        second.then = at == closes ? &closing : nullptr;
        std::thread early([&] {
            held = &first;
            wait_wake(state, 1, owner, 1);
        });
        await(first.arrived);
        wait_owner_forked(owner);
        wait_forked(state, owner);
        assert_true(wait_end(state, owner.descriptors) && wait_begin(state));
        const int fd = wait_descriptor(state, 2, owner, &reason);
        assert_true(fd >= 0);
        std::thread late([&] {
            held = &second;
            wait_wake(state, 2, owner, 1);
        });
        await(second.arrived);
        if (at == lives) {
            sem_post(&first.go);
            early.join();
        }
        assert_false(wait_end(state, owner.descriptors));
        assert_false(wait_begin(state));
        if (at == rests) {
            sem_post(&first.go);
            early.join();
        }
        assert_false(wait_begin(state));
        assert_true(is_open(fd));
        sem_post(&second.go);
        if (at == closes) {
            await(closing.arrived);
            sem_post(&first.go);
            early.join();
            assert_int_equal(owner.descriptors.open.load(), 0); // it is the waker's
            // The number is in its hands alone: a child of a fork here leaves it alone.
            wait_forked(state, owner);
            assert_true(is_open(fd) && wait_begin(state));
            sem_post(&closing.go);
        }
        late.join();
        assert_false(is_open(fd));
        assert_true(wait_begin(state));
        nothing_stays_open(owner, fds_before);
    }
}

// As many forks, each in the child of the one before, as a pin can tell apart, and more.
static void many_forks_while_a_waker_is_held(void **)
{
    for (int forks : {31, 32, 33}) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state state = {};
        int reason;
        assert_true(wait_begin(state));
        const int fd = wait_descriptor(state, 1, owner, &reason);
        hold h;
        h.kind = 'w';
        std::thread waker([&] {
            held = &h;
            wait_wake(state, 1, owner, 1);
        });
        await(h.arrived);
        for (int i = 0; i < forks; i++) {
            wait_owner_forked(owner);
            wait_forked(state, owner);
        }
        sem_post(&h.go);
        waker.join();
        assert_true(readable(fd));
        assert_true(wait_known(state.word, 1));
        assert_int_equal(wait_descriptor(state, 1, owner, &reason), fd);
        assert_true(wait_end(state, owner.descriptors) && wait_begin(state));
        nothing_stays_open(owner, fds_before);
    }
}

// A signal handler forks between a step and the call on the descriptor that follows. In the
// child the call would be on the parent's.
static wait_owner *forks_now;
static bool forks_as_owner;
static void forks_between(void *)
{
    wait_owner *owner = forks_now;
    forks_now = nullptr;
    if (owner)
        (forks_as_owner ? wait_owner_forked : wait_owner_orphaned)(*owner);
}
static void a_fork_between_a_step_and_its_call(void **)
{
    if (sanitized || valgrind)
        skip_because("the tool is told already");
    enum { wakes, clears, asks, ends, cases };
    for (int at = wakes; at < cases; at++) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state state = {};
        int reason = 0, fd = -1;
        assert_true(wait_begin(state));
        if (at != asks)
            fd = dup(wait_descriptor(state, 1, owner, &reason));
        if (at == clears || at == ends)
            assert_true(wait_wake(state, 1, owner, 1));
        wait_announce(forks_between, nullptr);
        forks_now = &owner;
        forks_as_owner = at == ends;
        if (at == wakes)
            wait_wake(state, 1, owner, 1);
        if (at == clears)
            wait_clear(state, 1, owner);
        if (at == asks) {
            assert_int_equal(wait_descriptor(state, 1, owner, &reason), -1);
            assert_int_equal(reason, JOBSWITCH_E_WRONG_THREAD);
        }
        if (at == ends)
            assert_true(wait_end(state, owner.descriptors));
        wait_announce(nullptr, nullptr);
        assert_null(forks_now);
        if (fd >= 0) {
            assert_int_equal(readable(fd), at == clears || at == ends);
            close(fd);
        }
        if (at == wakes || at == clears)
            close(state.fd);
        assert_int_equal(open_fds(), fds_before);
    }
}

// There is no descriptor for the child: what was woken is queued, and the next who asks gets
// one.
static void a_fork_without_descriptors(void **)
{
    const int fds_before = open_fds();
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 2, nullptr));
    wait_state woken = {}, other = {};
    int reason;
    for (wait_state *state : {&woken, &other}) {
        assert_true(wait_begin(*state));
        assert_true(wait_descriptor(*state, 1, owner, &reason) >= 0);
    }
    assert_true(wait_wake(woken, 1, owner, 1));
    wait_owner_forked(owner);
    eventfd_errno = ENOMEM;
    wait_forked(woken, owner);
    wait_forked(other, owner);
    eventfd_errno = 0;
    assert_int_equal(open_fds(), fds_before);
    assert_int_equal(owner.descriptors.open.load(), 0);
    assert_true(wait_queued(woken) && !wait_queued(other));
    const int fd = wait_descriptor(woken, 1, owner, &reason);
    assert_true(fd >= 0 && readable(fd));
    assert_false(wait_take(woken)); // the descriptor tells
    assert_true(wait_wake(other, 1, owner, 2) && wait_take(other));
    assert_true(wait_end(woken, owner.descriptors) && wait_end(other, owner.descriptors));
    nothing_stays_open(owner, fds_before);
}

// What nobody owns in the child, and wakers of the parent's were late for.
static void abandoned_states(void **)
{
    for (bool has_entry : {false, true}) {
        const int fds_before = open_fds();
        wait_owner owner = {};
        assert_true(ready_reserve(owner.ready, 1, nullptr));
        wait_state rests = {}, queues = {}, quiet = {};
        int reason;
        for (wait_state *state : {&rests, &queues, &quiet})
            assert_true(wait_begin(*state));
        assert_true(wait_descriptor(rests, 1, owner, &reason) >= 0);
        rests.word += uint64_t(1) << 12; // a waker is inside
        assert_true(wait_wake(queues, 1, owner, 1));
        for (wait_state *state : {&rests, &queues, &quiet})
            assert_int_equal(wait_end(*state, owner.descriptors), state == &quiet);
        assert_true(wait_is_late(rests) && wait_is_late(queues) && !wait_is_late(quiet));
        for (wait_state *state : {&rests, &queues})
            wait_abandoned(*state, has_entry);
        assert_true(wait_begin(rests));
        assert_int_equal(wait_begin(queues), !has_entry);
        nothing_stays_open(owner, fds_before);
    }
}

// What a child's thread does with the jobs of a thread that is not there.
static void states_of_an_orphan(void **)
{
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 2, nullptr));
    wait_state without = {}, with = {};
    int reason;
    assert_true(wait_begin(without) && wait_begin(with));
    const int fd = wait_descriptor(with, 1, owner, &reason);
    const int rings = ready_descriptor(owner.ready, &reason);
    assert_true(fd >= 0 && rings >= 0);
    wait_owner_orphaned(owner);
    assert_false(ready_has_descriptor(owner.ready));
    assert_false(wait_wake(with, 1, owner, 1));
    assert_false(readable(fd)); // which is the parent's
    assert_false(wait_clear(with, 1, owner));
    assert_true(wait_wake(without, 1, owner, 2));
    assert_true(wait_queued(without));
    assert_true(wait_clear(without, 1, owner));
    reason = 0;
    assert_int_equal(wait_descriptor(without, 1, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_WRONG_THREAD);
    close(fd);
    close(rings);
}

// Room for descriptors, to its last place, and what is left of it when the cache is closed.
static void room_of_the_cache(void **)
{
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason;
    assert_true(wait_begin(state));
    uint32_t generation = 1;
    for (int round = 0; round < 2; round++) {
        const size_t kib_before = status_kib("VmSize");
        const int fd = wait_descriptor(state, generation++, owner, &reason);
        assert_true(wait_end(state, cache) && wait_begin(state));
        assert_int_equal(cache.count, 1);
        for (int grown = 0; grown < 3; grown++) {
            const size_t full = cache.capacity;
            for (size_t i = 0; i < full; i++)
                cache.fds[i] = grown ? cache.fds[i] : fd;
            cache.count = full - 1; // as if all were kept
            assert_int_equal(wait_descriptor(state, generation++, owner, &reason), fd);
            cache.count = full;
            assert_true(wait_end(state, cache) && wait_begin(state));
            assert_true(cache.capacity > full);
            assert_int_equal(cache.count, full + 1);
            for (size_t i = 0; i <= full; i++)
                assert_int_equal(cache.fds[i], fd);
            for (size_t i = full; i < cache.capacity; i++)
                cache.fds[i] = fd;
        }
        cache.count = 1;
        wait_cache_close(cache);
        assert_false(is_open(fd));
        assert_null(cache.fds);
        assert_int_equal(cache.capacity + cache.count + cache.open, 0);
        if (plain)
            assert_int_equal(status_kib("VmSize"), kib_before);
    }
}

// A program may have closed its standard input.
static void a_descriptor_whose_number_is_0(void **)
{
    const int status = child([] {
        close(0);
        wait_owner owner = {};
        wait_state state = {};
        int reason;
        CHILD_NEEDS(ready_reserve(owner.ready, 1, nullptr));
        CHILD_NEEDS(wait_begin(state));
        CHILD_NEEDS(wait_descriptor(state, 1, owner, &reason) == 0);
        CHILD_NEEDS(owner.descriptors.open.load() == 1);
        CHILD_NEEDS(wait_wake(state, 1, owner, 1) && readable(0));
        CHILD_NEEDS(wait_end(state, owner.descriptors) && !readable(0));
        CHILD_NEEDS(wait_descriptor(state, 2, owner, &reason) == 0);
        CHILD_NEEDS(wait_end(state, owner.descriptors));
        wait_cache_close(owner.descriptors);
        CHILD_NEEDS(owner.descriptors.open.load() == 0 && !is_open(0));
        return 0;
    });
    assert_int_equal(status, 0);
}

static void more_descriptors_than_the_first_page_of_the_cache(void **)
{
    constexpr size_t count = 17000; // 16384 fit
    rlimit before, raised;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    raised = before;
    raised.rlim_cur = raised.rlim_cur > count + 100 ? raised.rlim_cur : count + 100;
    if (raised.rlim_cur > raised.rlim_max || setrlimit(RLIMIT_NOFILE, &raised) != 0)
        skip_because("needs %zu descriptors", count + 100);
    int fds_before = open_fds(), reason, bad = 0;
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    std::vector<wait_state> states(count);
    for (wait_state &s : states) {
        bad += !wait_begin(s);
        bad += wait_descriptor(s, 1, owner, &reason) < 0;
        bad += !wait_wake(s, 1, owner, 1);
    }
    assert_int_equal(bad, 0);
    assert_int_equal(open_fds(), fds_before + int(count));
    for (wait_state &s : states)
        bad += !wait_end(s, cache) || !wait_begin(s);
    for (wait_state &s : states) {
        int fd = wait_descriptor(s, 2, owner, &reason);
        bad += fd < 0 || readable(fd);
    }
    assert_int_equal(bad, 0);
    assert_int_equal(open_fds(), fds_before + int(count));
    for (wait_state &s : states)
        bad += !wait_end(s, cache);
    assert_int_equal(bad, 0);
    wait_cache_close(cache);
    assert_int_equal(cache.open.load(), 0);
    assert_int_equal(open_fds(), fds_before);
    setrlimit(RLIMIT_NOFILE, &before);
}

// ---- through the public functions ---------------------------------------------------------

enum { op_wake, op_clear, op_get, op_pause, op_finish, op_count };

struct sequence_run {
    int ops[6];
    int length, at;
    jobswitch_job *handle;
    bool woken, at_end;
    int fd, the_fd, bad;
    void signal(int op)
    {
        if (op == op_wake) {
            jobswitch_wake(handle);
            woken = true;
        } else if (op == op_clear) {
            jobswitch_clear_wake(handle);
            woken = false;
        } else {
            int got = jobswitch_get_wait_fd(handle);
            bad += got < 0 || (fd >= 0 && got != fd) || (the_fd >= 0 && got != the_fd);
            fd = the_fd = got;
        }
        look();
    }
    void look()
    {
        if (fd >= 0)
            bad += readable(fd) != woken;
    }
};

// Does the steps up to the next pause or its end by itself, if by_job.
static int sequence_job(void *args)
{
    sequence_run &run = **static_cast<sequence_run **>(args);
    bool by_job = run.at >= 0;
    for (;;) {
        if (by_job) {
            run.handle = jobswitch_get_current_job();
            while (run.at < run.length && run.ops[run.at] < op_pause)
                run.signal(run.ops[run.at++]);
            if (run.at < run.length && run.ops[run.at] == op_finish)
                return 0;
            run.at_end = run.at == run.length;
        } else if (run.at_end) {
            return 0;
        }
        jobswitch_pause_job();
        if (by_job) {
            if (run.at_end)
                return 0;
            run.at++;
        }
    }
}

enum class actor { starter, job, thread };

static void run_sequence(sequence_run &run, actor who, helper *other)
{
    sequence_run *args = &run;
    jobswitch_job *late = nullptr, *job = nullptr;
    int ret;
    run.woken = run.at_end = false;
    run.fd = -1;
    int at = 0;
    bool over = false;
    while (!over) {
        run.at = who == actor::job ? at : -1;
        job = nullptr;
        int answer = jobswitch_start_job(&job, &ret, sequence_job, &args, sizeof args);
        if (who == actor::job) {
            while (answer == JOBSWITCH_PAUSE && !run.at_end) {
                run.look();
                answer = jobswitch_start_job(&job, &ret, nullptr, nullptr, 0);
            }
            run.bad += answer == JOBSWITCH_ERR;
            over = run.at_end;
            if (!over) { // it has finished
                run.woken = false;
                run.fd = -1;
            }
        } else {
            run.bad += answer != JOBSWITCH_PAUSE;
            run.handle = job;
        }
        if (late) {
            // Too late, and the next job may be in the same place.
            jobswitch_wake(late);
            run.look();
            jobswitch_clear_wake(late);
            run.look();
            run.bad += jobswitch_get_wait_fd(late) != -1 ||
                       jobswitch_last_error() != JOBSWITCH_E_FINISHED;
            late = nullptr;
        }
        bool finished = who == actor::job && !over;
        if (finished) {
            late = run.handle;
            at = run.at + 1;
        }
        while (who != actor::job && !finished && !over) {
            over = at == run.length;
            if (over)
                break;
            int op = run.ops[at++];
            if (op == op_pause) {
                run.bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                           JOBSWITCH_PAUSE;
            } else if (op == op_finish) {
                run.at_end = true;
                late = job;
                run.bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) !=
                           JOBSWITCH_FINISH;
                run.at_end = false;
                finished = true;
            } else if (who == actor::thread) {
                other->run([&run, op] { run.signal(op); });
            } else {
                run.signal(op);
            }
            if (!finished)
                run.look();
        }
        if (finished) {
            run.woken = false;
            run.fd = -1;
        }
    }
    // Whoever has not asked yet asks now.
    run.handle = job;
    run.signal(op_get);
    run.at_end = true;
    run.bad += jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) != JOBSWITCH_FINISH;
    run.bad += readable(run.the_fd);
}

static void every_short_sequence_of_calls(void **)
{
    for (actor who : {actor::starter, actor::job, actor::thread}) {
        helper other;
        int fds_before = open_fds();
        int longest = scaled(5) < 5 && who == actor::thread ? 3 : 5;
        sequence_run run = {};
        run.the_fd = -1;
        for (run.length = 1; run.length <= longest; run.length++) {
            int sequences = 1;
            for (int i = 0; i < run.length; i++)
                sequences *= op_count;
            for (int sequence = 0; sequence < sequences; sequence++) {
                for (int i = 0, rest = sequence; i < run.length; i++, rest /= op_count)
                    run.ops[i] = rest % op_count;
                run_sequence(run, who, &other);
                if (run.bad)
                    fail_msg("actor %d, length %d, sequence %d", int(who), run.length,
                             sequence);
            }
        }
        // One after the other they had one descriptor between them.
        assert_int_equal(descriptors_open(), 1);
        jobswitch_cleanup_thread();
        assert_int_equal(open_fds(), fds_before);
    }
}

static void descriptors_are_kept_for_reuse(void **)
{
    int fds_before = open_fds();
    sleeper a, b;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    assert_int_equal(b.start(), JOBSWITCH_PAUSE);
    jobswitch_wake(a.handle);
    jobswitch_clear_wake(b.handle);
    assert_int_equal(open_fds(), fds_before);
    int fd_a = jobswitch_get_wait_fd(a.handle);
    assert_int_equal(open_fds(), fds_before + 1);
    int fd_b = jobswitch_get_wait_fd(b.handle);
    assert_int_equal(open_fds(), fds_before + 2);
    assert_int_equal(fcntl(fd_a, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd_a, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_true(readable(fd_a));
    assert_false(readable(fd_b));
    assert_int_equal(descriptors_open(), 2);

    // Woken and never cleared: the next job gets it unreadable all the same.
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    assert_int_equal(descriptors_open(), 2);
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_get_wait_fd(a.handle), fd_a);
    assert_false(readable(fd_a));
    assert_int_equal(open_fds(), fds_before + 2);

    // trim closes what no job uses, and that alone.
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    jobswitch_trim_thread(10);
    assert_false(is_open(fd_a));
    assert_true(is_open(fd_b));
    assert_int_equal(descriptors_open(), 1);
    jobswitch_wake(b.handle);
    assert_true(readable(fd_b));

    // Discarded: closed.
    jobswitch_cleanup_thread();
    assert_false(is_open(fd_b));
    assert_int_equal(descriptors_open(), 0);
    jobswitch_wake(b.handle);
    assert_int_equal(jobswitch_get_wait_fd(b.handle), -1);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
    assert_int_equal(open_fds(), fds_before);
}

// A child after fork that cleans up takes nothing from what its parent waits for.
static void a_child_after_fork(void **)
{
    sleeper a;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    int fd = jobswitch_get_wait_fd(a.handle);
    jobswitch_wake(a.handle);
    int status = child([] {
        jobswitch_cleanup_thread();
        return 0;
    });
    assert_int_equal(status, 0);
    assert_true(readable(fd));
    jobswitch_clear_wake(a.handle);
    assert_false(readable(fd));
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    jobswitch_cleanup_thread();
}

static void no_descriptor_to_be_had(void **)
{
    sleeper a;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    eventfd_errno = EMFILE;
    assert_int_equal(jobswitch_get_wait_fd(a.handle), -1);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NO_DESCRIPTORS);
    jobswitch_wake(a.handle);
    assert_int_equal(a.resume(), JOBSWITCH_PAUSE);
    eventfd_errno = 0;
    int fd = jobswitch_get_wait_fd(a.handle);
    assert_true(fd >= 0);
    assert_true(readable(fd));
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    assert_int_equal(a.ret, 7);
    jobswitch_cleanup_thread();
}

static void set_another_reason(int than)
{
    if (than != JOBSWITCH_E_NULL) {
        jobswitch_get_stats(nullptr);
    } else {
        jobswitch_stats stats = {};
        jobswitch_get_stats(&stats);
    }
}

static void handles_that_are_none(void **)
{
    sleeper a;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    int fd = jobswitch_get_wait_fd(a.handle);
    auto good = reinterpret_cast<uintptr_t>(a.handle);
    uintptr_t beyond = uint32_t(arena_look().bytes);
    const uint32_t offset = handle_offset(a.handle), generation = handle_generation(a.handle);
    const uintptr_t none[] = {
        0, 1, UINTPTR_MAX, good + 1, good - 1, good + 64,
        handle_make(offset, 0),
        handle_make(offset, generation + 1),
        handle_make(0, generation), // a chunk's header
        handle_make(beyond, generation),
        handle_make((arena_blocks_most - 1) * JS_JOB_BYTES, generation),
        handle_is_wide ? handle_make(UINT32_MAX & ~uint32_t(127), generation) : 0,
        handle_is_wide ? reinterpret_cast<uintptr_t>(&a) : 0,
    };
    for (uintptr_t value : none) {
        auto handle = reinterpret_cast<jobswitch_job *>(value);
        int reason = value ? JOBSWITCH_E_UNKNOWN_JOB : JOBSWITCH_E_NULL;
        set_another_reason(reason);
        jobswitch_wake(handle);
        assert_int_equal(jobswitch_last_error(), reason);
        assert_false(readable(fd));
        set_another_reason(reason);
        jobswitch_clear_wake(handle);
        assert_int_equal(jobswitch_last_error(), reason);
        set_another_reason(reason);
        assert_int_equal(jobswitch_get_wait_fd(handle), -1);
        assert_int_equal(jobswitch_last_error(), reason);
    }
    // That a job has ended is an answer of get_wait_fd alone.
    jobswitch_job *late = a.handle;
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    jobswitch_get_stats(nullptr);
    jobswitch_wake(late);
    jobswitch_clear_wake(late);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_NULL);
    assert_int_equal(jobswitch_get_wait_fd(late), -1);
    assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
    jobswitch_cleanup_thread();
}

// A thread without a pool, for a job that runs, waits for another, or is paused.
struct nest {
    helper *other;
    jobswitch_job *outer, *inner;
    int bad;
};

static void other_thread_on(helper &other, jobswitch_job *job, int &bad)
{
    int fd = -1;
    other.run([&] { fd = jobswitch_get_wait_fd(job); });
    bad += fd < 0 || readable(fd);
    other.run([&] { jobswitch_wake(job); });
    bad += !readable(fd);
    other.run([&] { jobswitch_wake(job); });
    other.run([&] { jobswitch_clear_wake(job); });
    bad += readable(fd);
    bad += jobswitch_get_wait_fd(job) != fd;
    jobswitch_wake(job);
    bad += !readable(fd);
    other.run([&] { jobswitch_clear_wake(job); });
    bad += readable(fd);
}

static int nested_inner(void *args)
{
    nest &n = **static_cast<nest **>(args);
    n.inner = jobswitch_get_current_job();
    other_thread_on(*n.other, n.inner, n.bad);
    other_thread_on(*n.other, n.outer, n.bad);
    return 0;
}

static int nested_outer(void *args)
{
    nest &n = **static_cast<nest **>(args);
    n.outer = jobswitch_get_current_job();
    other_thread_on(*n.other, n.outer, n.bad);
    jobswitch_job *job = nullptr;
    int ret;
    n.bad += jobswitch_start_job(&job, &ret, nested_inner, args, sizeof(nest *)) !=
             JOBSWITCH_FINISH;
    jobswitch_pause_job();
    return 0;
}

static void another_thread_in_every_state_of_a_job(void **)
{
    helper other;
    nest n = {&other, nullptr, nullptr, 0};
    nest *args = &n;
    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(jobswitch_start_job(&job, &ret, nested_outer, &args, sizeof args),
                     JOBSWITCH_PAUSE);
    other_thread_on(other, job, n.bad);
    assert_ptr_equal(job, n.outer);
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    int fd = 0, reason = 0;
    other.run([&] {
        jobswitch_wake(n.outer);
        jobswitch_clear_wake(n.inner);
        fd = jobswitch_get_wait_fd(n.outer);
        reason = jobswitch_last_error();
    });
    assert_int_equal(fd, -1);
    assert_int_equal(reason, JOBSWITCH_E_FINISHED);
    assert_int_equal(n.bad, 0);
    jobswitch_cleanup_thread();
}

// ---- signal handlers ------------------------------------------------------------------------

static std::atomic<jobswitch_job *> signal_target;
static std::atomic<jobswitch_job *> signal_woke;
static std::atomic<int> signals_seen, signals_bad;

static void wake_target(int)
{
    int keep = errno;
    errno = 77;
    jobswitch_job *job = signal_target.load();
    if (job) {
        jobswitch_wake(job);
        signals_bad += errno != 77;
        signal_woke.store(job);
    }
    signals_seen++;
    errno = keep;
}

static int raise_inside(void *)
{
    signal_target = jobswitch_get_current_job();
    errno = 78;
    raise(SIGUSR1);
    signals_bad += errno != 78;
    jobswitch_pause_job();
    raise(SIGUSR1);
    return 0;
}

static void a_signal_handler_wakes(void **)
{
    struct sigaction action = {}, before_usr;
    action.sa_handler = wake_target;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, &before_usr);
    sigaction(SIGALRM, &action, nullptr);
    signals_seen = signals_bad = 0;

    jobswitch_job *job = nullptr;
    int ret;
    assert_int_equal(jobswitch_start_job(&job, &ret, raise_inside, nullptr, 0),
                     JOBSWITCH_PAUSE);
    assert_true(signal_woke.load() == job);
    int fd = jobswitch_get_wait_fd(job);
    assert_true(readable(fd));
    jobswitch_clear_wake(job);
    raise(SIGUSR1);
    assert_true(readable(fd));
    jobswitch_clear_wake(job);
    assert_int_equal(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0),
                     JOBSWITCH_FINISH);
    raise(SIGUSR1); // too late
    assert_false(readable(fd));
    assert_int_equal(signals_seen.load(), 4);

    // A timer, while jobs start, pause and finish: wherever it comes.
    int most = scaled(1000), start = signals_seen;
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t give_up = now.tv_sec + patience_s;
    itimerval timer = {{0, 100}, {0, 100}}, off = {};
    setitimer(ITIMER_REAL, &timer, nullptr);
    int invented = 0, lost = 0, wrong = 0;
    for (unsigned round = 0; signals_seen - start < most; round++) {
        sleeper a;
        wrong += a.start() != JOBSWITCH_PAUSE;
        // Every fourth job is nobody's target: the last target is an old one.
        bool silent = round % 4 == 0;
        if (!silent)
            signal_target = a.handle;
        int got = round % 2 ? jobswitch_get_wait_fd(a.handle) : -1;
        wrong += a.resume() != JOBSWITCH_PAUSE;
        bool was_woken = signal_woke.load() == a.handle;
        got = jobswitch_get_wait_fd(a.handle);
        wrong += got < 0;
        invented += silent && readable(got);
        lost += was_woken && !readable(got);
        if (round % 3 == 0)
            jobswitch_clear_wake(a.handle);
        wrong += a.finish() != JOBSWITCH_FINISH;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > give_up)
            break;
    }
    setitimer(ITIMER_REAL, &off, nullptr);
    signal_target = nullptr;
    sigaction(SIGUSR1, &before_usr, nullptr);
    // Not as before: the last one may be still to come.
    signal(SIGALRM, SIG_IGN);
    assert_true(signals_seen - start >= most);
    assert_int_equal(signals_bad.load(), 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(invented, 0);
    assert_int_equal(lost, 0);
    assert_int_equal(descriptors_open(), 1);
    jobswitch_cleanup_thread();
}

// A handler may ask for the current job at any moment, also at the last: what it
// got is the handle of that job, and of no other.
static std::atomic<jobswitch_job *> signal_found;

static void find_current(int)
{
    if (jobswitch_job *job = jobswitch_get_current_job())
        signal_found.store(job, std::memory_order_relaxed);
    signals_seen++;
}

static int return_at_once(void *) { return 0; }

static void a_signal_handler_asks_for_the_current_job(void **)
{
    struct sigaction action = {};
    action.sa_handler = find_current;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, nullptr);
    int most = scaled(2000), found = 0, lasting = 0, wrong = 0;
    signals_seen = 0;
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t give_up = now.tv_sec + patience_s;
    itimerval timer = {{0, 100}, {0, 100}}, off = {};
    setitimer(ITIMER_REAL, &timer, nullptr);
    for (unsigned round = 1; signals_seen < most; round++) {
        jobswitch_job *job = nullptr;
        int ret;
        wrong += jobswitch_start_job(&job, &ret, return_at_once, nullptr, 0) !=
                 JOBSWITCH_FINISH;
        jobswitch_job *late = signal_found.load(std::memory_order_relaxed);
        if (late) {
            found++;
            lasting += jobswitch_get_wait_fd(late) != -1 ||
                       jobswitch_last_error() != JOBSWITCH_E_FINISHED;
            signal_found.store(nullptr, std::memory_order_relaxed);
        }
        if (round % 65536 == 0) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec > give_up)
                break;
        }
    }
    setitimer(ITIMER_REAL, &off, nullptr);
    signal(SIGALRM, SIG_IGN);
    jobswitch_cleanup_thread();
    print_message("  %d signals found a job\n", found);
    assert_int_equal(wrong, 0);
    assert_int_equal(lasting, 0);
}

// ---- the held caller ---------------------------------------------------------------------------

enum class ending { finish, finish_then_cleanup, cleanup, finish_then_end, thread_end };

static const char *const ending_names[] = {"finish", "finish, clean-up", "clean-up",
                                           "finish, thread end", "thread end"};

struct held_call {
    hold at;
    std::thread thread;
    int result = 0, reason = 0;
    // kind: 'w' jobswitch_wake, 'c' jobswitch_clear_wake, 'g'
    // jobswitch_get_wait_fd as it makes the descriptor, 'G' as it makes it readable
    void start(char kind, jobswitch_job *job)
    {
        at.kind = kind == 'w' || kind == 'G' ? 'w' : kind == 'c' ? 'r' : 'e';
        thread = std::thread([this, kind, job] {
            held = &at;
            errno = 77;
            if (kind == 'w')
                jobswitch_wake(job);
            else if (kind == 'c')
                jobswitch_clear_wake(job);
            else
                result = jobswitch_get_wait_fd(job);
            if (kind == 'w' || kind == 'c')
                result = errno;
            reason = jobswitch_last_error();
            held = nullptr;
        });
        await(at.arrived);
    }
    void release()
    {
        sem_post(&at.go);
        thread.join();
    }
};

struct strangers {
    std::vector<int> fds;
    bool got(int number) const
    {
        for (int fd : fds)
            if (fd == number)
                return true;
        return false;
    }
    // Every other one is readable.
    void open(int count)
    {
        uint64_t one = 1;
        for (int i = 0; i < count; i++) {
            fds.push_back(stranger());
            if (fds.size() % 2)
                (void)!syscall(SYS_write, fds.back(), &one, sizeof one);
        }
    }
    bool as_they_were() const
    {
        for (size_t i = 0; i < fds.size(); i++)
            if (readable(fds[i]) != (i % 2 == 0))
                return false;
        return true;
    }
    ~strangers()
    {
        for (int fd : fds)
            close(fd);
    }
};

static void hold_up(const char *kinds, ending end)
{
    bool getter = kinds[0] == 'g' || kinds[0] == 'G';
    int fds_before = open_fds();
    {
        helper owner;
        sleeper job, next;
        int fd = -1, next_fd = -1, answer = 0;
        owner.run([&] {
            answer = job.start();
            if (!getter)
                fd = jobswitch_get_wait_fd(job.handle);
        });
        jobswitch_job *handle = job.handle;
        assert_int_equal(answer, JOBSWITCH_PAUSE);
        jobswitch_wake(handle);

        size_t calls = strlen(kinds);
        std::vector<held_call> held_calls(calls);
        for (size_t i = 0; i < calls; i++) {
            held_calls[i].start(kinds[i], handle);
            if (!getter)
                assert_int_equal(held_calls[i].at.fd, fd);
        }

        // Meanwhile the job ends. A clean-up waits for whoever makes a
        // descriptor; everything else waits for nobody.
        bool lives = end != ending::finish_then_end && end != ending::thread_end;
        if (end != ending::cleanup && end != ending::thread_end) {
            owner.run([&] { answer = job.finish(); });
            assert_int_equal(answer, JOBSWITCH_FINISH);
            assert_int_equal(job.ret, 7);
            assert_int_equal(jobswitch_get_wait_fd(handle), -1);
            assert_int_equal(jobswitch_last_error(), JOBSWITCH_E_FINISHED);
        }
        bool cleanup = end == ending::cleanup || end == ending::finish_then_cleanup;
        if (cleanup) {
            owner.post([] { jobswitch_cleanup_thread(); });
            if (!getter)
                owner.wait();
        } else if (!lives) {
            owner.tell_to_end();
            if (!getter)
                owner.join();
        } else {
            owner.run([&] {
                answer = next.start();
                if (!getter)
                    next_fd = jobswitch_get_wait_fd(next.handle);
            });
            assert_int_equal(answer, JOBSWITCH_PAUSE);
            if (!getter) {
                assert_int_not_equal(block_of(next.handle), block_of(handle));
                assert_true(next_fd >= 0 && next_fd != fd);
                assert_false(readable(next_fd));
            }
        }
        int reason;
        while (job_find(handle, &reason)) // a clean-up may have just begun
            sched_yield();
        jobswitch_wake(handle);

        strangers others;
        others.open(64);
        if (!getter) {
            assert_false(others.got(fd));
            assert_true(is_open(fd));
        }
        for (size_t i = 0; i < calls; i++) {
            if (!getter) {
                // Held by one of several still.
                others.open(8);
                assert_false(others.got(fd));
                assert_true(is_open(fd));
            }
            held_calls[i].release();
            if (getter) {
                assert_int_equal(held_calls[i].result, -1);
                assert_int_equal(held_calls[i].reason, JOBSWITCH_E_FINISHED);
            } else {
                assert_int_equal(held_calls[i].result, 77); // errno
                assert_int_equal(held_calls[i].reason, JOBSWITCH_E_NONE);
            }
            assert_true(others.as_they_were());
        }
        if (!getter)
            assert_false(is_open(fd));
        if (getter && cleanup)
            owner.wait();
        if (getter && !lives)
            owner.join();

        // The block comes again, on the thread that takes over if need be, and
        // knows nothing of before.
        helper successor;
        helper &user = lives ? owner : successor;
        bool again = false, fresh = true;
        size_t descriptors = 0, expected = next_fd >= 0;
        user.run([&] {
            descriptors = descriptors_open();
            if (getter && end == ending::finish) {
                // What it made in vain was closed.
                next_fd = jobswitch_get_wait_fd(next.handle);
                fresh = next_fd >= 0 && !readable(next_fd) && descriptors_open() == 1;
                expected = 0;
            }
            std::vector<sleeper> more(2000);
            size_t i = 0;
            // (Or it has come already: who makes a descriptor need not hold it.)
            again = next.handle && block_of(next.handle) == block_of(handle);
            while (i < more.size() && !again) {
                if (more[i].start() != JOBSWITCH_PAUSE)
                    break;
                again = block_of(more[i++].handle) == block_of(handle);
            }
            if (i > 0 && again) {
                jobswitch_job *reborn = more[i - 1].handle;
                int reborn_fd = jobswitch_get_wait_fd(reborn);
                fresh = fresh && reborn != handle && reborn_fd >= 0 &&
                        !readable(reborn_fd);
                jobswitch_wake(handle);
                fresh = fresh && !readable(reborn_fd);
                jobswitch_wake(reborn);
                fresh = fresh && readable(reborn_fd);
            }
            while (i > 0)
                fresh = more[--i].finish() == JOBSWITCH_FINISH && fresh;
        });
        assert_int_equal(descriptors, expected);
        assert_true(again);
        assert_true(fresh);
        if (next_fd >= 0)
            assert_false(readable(next_fd));
        assert_true(others.as_they_were());
    }
    assert_int_equal(open_fds(), fds_before);
}

static void a_held_caller(const char *kinds)
{
    for (int end = 0; end < 5; end++) {
        print_message("  %s held, %s\n", kinds, ending_names[end]);
        hold_up(kinds, ending(end));
    }
}

static void a_held_waker(void **) { a_held_caller("w"); }
static void two_held_wakers(void **) { a_held_caller("ww"); }
static void a_held_clearer(void **) { a_held_caller("c"); }
static void a_held_waker_and_clearer(void **)
{
    a_held_caller("wc");
    a_held_caller("cw");
}
static void a_held_getter(void **)
{
    a_held_caller("g");
    a_held_caller("G");
}

// A wake and a clear that come while a descriptor is being made show on it.
static void wakes_while_a_descriptor_is_made(void **)
{
    for (int wakes = 0; wakes < 8; wakes++) {
        sleeper a;
        assert_int_equal(a.start(), JOBSWITCH_PAUSE);
        if (wakes & 1)
            jobswitch_wake(a.handle);
        held_call call;
        call.start('g', a.handle);
        if (wakes & 2)
            jobswitch_clear_wake(a.handle);
        if (wakes & 4)
            jobswitch_wake(a.handle);
        call.release();
        assert_true(call.result >= 0);
        assert_int_equal(readable(call.result), (wakes & 4) || wakes == 1);
        assert_int_equal(jobswitch_get_wait_fd(a.handle), call.result);
        jobswitch_cleanup_thread();
    }
}

// The writer is held, a clear comes and finds nothing: the wake is later than
// the clear then, and must show; and what is written must be taken back when
// the job has ended.
static void a_clear_while_a_waker_is_held(void **)
{
    sleeper a;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    int fd = jobswitch_get_wait_fd(a.handle);
    held_call call;
    call.start('w', a.handle);
    jobswitch_clear_wake(a.handle);
    assert_false(readable(fd));
    call.release();
    assert_true(readable(fd));
    assert_int_equal(a.finish(), JOBSWITCH_FINISH);
    assert_false(readable(fd));
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    assert_int_equal(jobswitch_get_wait_fd(a.handle), fd);
    assert_false(readable(fd));
    jobswitch_cleanup_thread();
}

// While one waker has yet to write, another must not take the mark for the deed.
static void a_wake_beside_a_held_waker(void **)
{
    sleeper a;
    assert_int_equal(a.start(), JOBSWITCH_PAUSE);
    int fd = jobswitch_get_wait_fd(a.handle);
    held_call call;
    call.start('w', a.handle);
    jobswitch_wake(a.handle);
    assert_true(readable(fd));
    call.release();
    jobswitch_clear_wake(a.handle);
    assert_false(readable(fd));
    jobswitch_cleanup_thread();
}

// ---- the last generation ------------------------------------------------------------------------

// Where handles have few bits for them.
static void generations_that_come_round(void **)
{
    wait_owner owner = {};
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    state.word = uint64_t(wait_generation_most) << 32;
    assert_true(wait_begin(state));
    assert_false(wait_has_ended(state.word, wait_generation_most));
    assert_true(wait_has_ended(state.word, 1));
    assert_true(wait_wake(state, wait_generation_most, owner, 1));
    assert_false(wait_end(state, owner.descriptors));
    assert_false(wait_begin(state)); // queued
    assert_false(wait_take(state));
    assert_true(wait_begin(state));
    assert_false(wait_retired(state));
    assert_int_equal(wait_generation(state.word), 1);
    assert_false(wait_wake(state, wait_generation_most, owner, 1));
    for (uint32_t generation : {2u, 700u, wait_generation_most})
        assert_true(wait_has_ended(state.word, generation));
    for (uint32_t generation : {0u, wait_generation_most + 1})
        assert_false(wait_has_ended(state.word, generation));
    assert_true(wait_wake(state, 1, owner, 1));
    assert_false(wait_end(state, owner.descriptors));
    assert_true(wait_has_ended(state.word, 700));
    wait_cache_close(owner.descriptors);
}

static void the_last_generation(void **)
{
    if (wait_generations_repeat)
        return generations_that_come_round(nullptr);
    wait_owner owner = {};
    wait_cache &cache = owner.descriptors;
    assert_true(ready_reserve(owner.ready, 1, nullptr));
    wait_state state = {};
    int reason = 0;
    state.word = uint64_t(wait_generation_most) << 32;
    assert_true(wait_begin(state));
    assert_true(wait_wake(state, wait_generation_most, owner, 1));
    int fd = wait_descriptor(state, wait_generation_most, owner, &reason);
    assert_true(fd >= 0 && readable(fd));
    assert_false(wait_end(state, cache));
    assert_false(readable(fd));
    assert_true(wait_retired(state));
    assert_false(wait_begin(state));
    assert_false(wait_wake(state, wait_generation_most, owner, 1));
    assert_false(wait_clear(state, wait_generation_most, owner));
    assert_int_equal(wait_descriptor(state, wait_generation_most, owner, &reason), -1);
    assert_int_equal(reason, JOBSWITCH_E_FINISHED);
    wait_cache_close(cache);

    // With a waker inside: it closes, and the state stays retired.
    state.word = uint64_t(wait_generation_most) << 32;
    fd = wait_descriptor(state, wait_generation_most, owner, &reason);
    hold h;
    h.kind = 'w';
    std::thread waker([&] {
        held = &h;
        wait_wake(state, wait_generation_most, owner, 1);
    });
    await(h.arrived);
    assert_false(wait_end(state, cache));
    assert_false(wait_begin(state));
    assert_false(wait_wake(state, wait_generation_most, owner, 1));
    assert_true(is_open(fd));
    sem_post(&h.go);
    waker.join();
    assert_false(is_open(fd));
    assert_int_equal(cache.open.load(), 0);
    assert_true(wait_retired(state));
    assert_false(wait_begin(state));
}

static void age(jobswitch_job *&handle)
{
    job &j = inside(handle);
    j.wait.word = uint64_t(wait_generation_most) << 32;
    job_renew_handle(j, j.gate & gate_announced);
    handle = job_reveal(j);
}

// Of a job: with and without a descriptor, and of all blocks that a thread has.
static void jobs_of_the_last_generation(void **)
{
    helper owner;
    int bad = 0;
    owner.run([&] {
        for (int with_fd = 0; with_fd < 2; with_fd++) {
            sleeper a, b;
            bad += a.start() != JOBSWITCH_PAUSE;
            age(a.handle);
            jobswitch_job *late = a.handle;
            bad += a.resume() != JOBSWITCH_PAUSE || a.handle != late;
            int fd = with_fd ? jobswitch_get_wait_fd(late) : -1;
            jobswitch_wake(late);
            bad += with_fd && !readable(fd);
            bad += a.finish() != JOBSWITCH_FINISH;
            bad += jobswitch_get_wait_fd(late) != -1 ||
                   jobswitch_last_error() != JOBSWITCH_E_FINISHED;
            a.handle = late;
            bad += a.resume() != JOBSWITCH_ERR ||
                   jobswitch_last_error() != JOBSWITCH_E_FINISHED;
            bad += b.start() != JOBSWITCH_PAUSE ||
                   (block_of(b.handle) == block_of(late) && !wait_generations_repeat);
            bad += b.finish() != JOBSWITCH_FINISH;
        }
    });
    assert_int_equal(bad, 0);
    owner.run([&] {
        // All blocks of the chunks in use retire; the chunks go back, and come
        // again at the next start.
        jobswitch_cleanup_thread();
        std::vector<sleeper> jobs(arena_chunk_bytes / JS_JOB_BYTES);
        for (sleeper &s : jobs) {
            bad += s.start() != JOBSWITCH_PAUSE;
            age(s.handle);
        }
        for (sleeper &s : jobs)
            bad += s.finish() != JOBSWITCH_FINISH;
        jobswitch_cleanup_thread();
        for (int i = 0; i < 3; i++)
            bad += jobs[size_t(i)].start() != JOBSWITCH_PAUSE;
    });
    assert_int_equal(bad, 0);
}

// ---- what a wake makes visible --------------------------------------------------------------------

// "The usual place for jobswitch_clear_wake is right after the pause, before the
// job looks at what it waited for, so that a wake that comes in between is
// seen." So of a wake that meets a clear, one of two must be true: the job is
// still woken, or it sees what was written before the wake - also where the
// mark was set already.
alignas(64) static std::atomic<int> news;
alignas(64) static std::atomic<int> round_begun;
alignas(64) static std::atomic<int> round_done;
alignas(64) static std::atomic<int> rounds_off;

// (Valgrind runs one thread at a time: who waits there only keeps the other off.)
static void spin_until(std::atomic<int> &is, int value)
{
    constexpr unsigned spins = valgrind ? 1 : 4096;
    for (unsigned i = 1; is.load() != value; i++)
        if (i % spins == 0)
            sched_yield();
}

static int lost_news(int rounds, bool with_fd)
{
    sleeper a;
    if (a.start() != JOBSWITCH_PAUSE)
        return -1;
    jobswitch_job *handle = a.handle;
    int fd = with_fd ? jobswitch_get_wait_fd(handle) : -1;
    round_begun = round_done = 0;
    std::thread waker([rounds, handle] {
        for (int round = 1; round <= rounds; round++) {
            spin_until(round_begun, round);
            news.store(1, std::memory_order_release);
            jobswitch_wake(handle);
            round_done.store(round);
        }
    });
    int lost = 0;
    for (int round = 1; round <= rounds; round++) {
        news.store(0);
        jobswitch_wake(handle); // the mark is set already
        round_begun.store(round);
        for (int i = round % 64; i > 0; i--)
            rounds_off.store(i, std::memory_order_relaxed);
        jobswitch_clear_wake(handle);
        int seen = news.load(std::memory_order_acquire);
        spin_until(round_done, round);
        bool woken = with_fd ? readable(fd) : inside(handle).wait.word.load() & 1;
        lost += !seen && !woken;
    }
    waker.join();
    a.finish();
    return lost;
}

static void a_clear_sees_what_the_waker_wrote(void **)
{
    // One CPU's store that another does not see yet is what may lose the news;
    // Valgrind has no two at once, and each round costs two turns of its lock.
    assert_int_equal(lost_news(valgrind ? 1000 : scaled(1500000), false), 0);
    assert_int_equal(lost_news(valgrind ? 1000 : scaled(100000), true), 0);
    jobswitch_cleanup_thread();
}

// ---- a job that ends while it is looked for --------------------------------------------------------

// It has ended then; it was never unknown.
static void a_job_that_ends_meanwhile_has_ended(void **)
{
    std::atomic<jobswitch_job *> shown(nullptr);
    std::atomic<bool> over(false);
    int unknown = 0, others = 0;
    std::thread waker([&] {
        while (!over.load(std::memory_order_relaxed)) {
            jobswitch_job *handle = shown.load();
            if (!handle)
                continue;
            set_another_reason(JOBSWITCH_E_UNKNOWN_JOB);
            jobswitch_wake(handle);
            jobswitch_clear_wake(handle);
            unknown += jobswitch_last_error() != JOBSWITCH_E_NULL;
        }
    });
    int rounds = scaled(1000000);
    for (int round = 0; round < rounds; round++) {
        sleeper a;
        others += a.start() != JOBSWITCH_PAUSE;
        shown.store(a.handle);
        for (int i = round % 64; i > 0; i--)
            rounds_off.store(i, std::memory_order_relaxed);
        others += a.finish() != JOBSWITCH_FINISH;
    }
    over = true;
    waker.join();
    jobswitch_cleanup_thread();
    assert_int_equal(others, 0);
    assert_int_equal(unknown, 0);
}

// ---- all at once -------------------------------------------------------------------------------------

// What others may do to a job.
enum { loud, sticky, silent, classes }; // anything; wake and ask; clear and ask

static constexpr int stress_owners = 2, stress_slots = 9, stress_wakers = 3;
static std::atomic<jobswitch_job *> board[stress_owners][stress_slots];
static std::atomic<int> stress_over;
static std::atomic<int> bad_birth, bad_silent, bad_sticky, bad_stranger, bad_answer;
static std::atomic<int> woken_checks;

struct random_source {
    uint64_t state;
    unsigned operator()(unsigned below)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return unsigned(state >> 33) % below;
    }
};

struct stress_slot {
    sleeper job;
    bool live = false, woken = false;
};

static void check_slot(stress_slot &slot, int kind)
{
    int fd = jobswitch_get_wait_fd(slot.job.handle);
    if (fd < 0) {
        bad_answer++;
        return;
    }
    if (kind == silent)
        bad_silent += readable(fd);
    if (kind == sticky) {
        jobswitch_wake(slot.job.handle);
        slot.woken = true;
    }
    if (slot.woken) {
        bad_sticky += !readable(fd);
        woken_checks++;
    }
}

static void stress_owner(int owner, int segment, int rounds)
{
    random_source random = {uint64_t(owner) * 1000 + uint64_t(segment)};
    std::vector<stress_slot> slots(stress_slots);
    dawdle = unsigned(random(1u << 30)) | 1;
    for (int round = 0; round < rounds; round++) {
        unsigned at = random(stress_slots);
        int kind = int(at) % classes;
        stress_slot &slot = slots[at];
        auto &shown = board[owner][at];
        if (!slot.live) {
            bad_answer += slot.job.start() != JOBSWITCH_PAUSE;
            slot.live = true;
            slot.woken = false;
            // Nobody has the handle yet.
            if (random(2)) {
                int fd = jobswitch_get_wait_fd(slot.job.handle);
                bad_answer += fd < 0;
                bad_birth += fd >= 0 && readable(fd);
            }
            shown.store(slot.job.handle);
        } else if (unsigned what = random(8); what < 3) {
            bad_answer += slot.job.resume() != JOBSWITCH_PAUSE;
        } else if (what < 5) {
            check_slot(slot, kind);
        } else {
            if (slot.woken)
                check_slot(slot, kind);
            if (random(2))
                shown.store(nullptr); // others come late now and then
            bad_answer += slot.job.finish() != JOBSWITCH_FINISH;
            slot.live = false;
        }
        if (random(512) == 0)
            jobswitch_trim_thread(2);
        if (random(2048) == 0) {
            jobswitch_cleanup_thread();
            for (stress_slot &s : slots)
                s.live = false;
        }
    }
    // Ends with jobs paused.
}

static void stress_waker(int number)
{
    random_source random = {uint64_t(number) + 77};
    struct known {
        jobswitch_job *job;
        int kind;
    };
    known memory[64] = {};
    dawdle = unsigned(number) | 1;
    while (!stress_over) {
        known &k = memory[random(64)];
        if (!k.job || random(4)) {
            unsigned at = random(stress_slots);
            k = {board[random(stress_owners)][at].load(), int(at) % classes};
        }
        if (!k.job)
            continue;
        unsigned what = random(5);
        if (what == 0) {
            if (jobswitch_get_wait_fd(k.job) < 0)
                bad_answer += jobswitch_last_error() != JOBSWITCH_E_FINISHED;
        } else if (k.kind == silent || (k.kind == loud && what < 3)) {
            jobswitch_clear_wake(k.job);
        } else {
            jobswitch_wake(k.job);
        }
        if (random(64) == 0)
            sched_yield();
        // All were handles of jobs, whatever has become of those.
        bad_answer += jobswitch_last_error() == JOBSWITCH_E_UNKNOWN_JOB;
    }
}

// Somebody with descriptors of their own, who takes every number that is free.
static void stress_stranger()
{
    random_source random = {5};
    std::vector<int> fds(12, -1);
    while (!stress_over) {
        int &fd = fds[random(unsigned(fds.size()))];
        if (fd >= 0) {
            bad_stranger += readable(fd);
            close(fd);
        }
        fd = stranger();
        sched_yield();
    }
    for (int fd : fds)
        if (fd >= 0) {
            bad_stranger += readable(fd);
            close(fd);
        }
}

static void everything_at_once(void **)
{
    int fds_before = open_fds();
    stress_over = bad_birth = bad_silent = bad_sticky = bad_stranger = bad_answer = 0;
    woken_checks = 0;
    std::vector<std::thread> owners, others;
    for (int w = 0; w < stress_wakers; w++)
        others.emplace_back(stress_waker, w);
    others.emplace_back(stress_stranger);
    for (int o = 0; o < stress_owners; o++)
        owners.emplace_back([o] {
            for (int segment = 0; segment < 8; segment++)
                std::thread(stress_owner, o, segment, scaled(8000)).join();
        });
    for (std::thread &t : owners)
        t.join();
    stress_over = 1;
    for (std::thread &t : others)
        t.join();
    assert_int_equal(bad_birth.load(), 0);
    assert_int_equal(bad_silent.load(), 0);
    assert_int_equal(bad_sticky.load(), 0);
    assert_int_equal(bad_stranger.load(), 0);
    assert_int_equal(bad_answer.load(), 0);
    assert_true(woken_checks.load() > 0);
    assert_int_equal(open_fds(), fds_before);
}

// wait_test [PATTERN]: the tests of that name alone
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(every_short_sequence_of_a_state),
        cmocka_unit_test(the_descriptor_is_made_when_asked_for),
        cmocka_unit_test(a_forked_state_has_descriptors_of_its_own),
        cmocka_unit_test(known_and_ended),
        cmocka_unit_test(an_ended_generation_gets_no_descriptor),
        cmocka_unit_test(a_tool_is_told_of_each_step),
        cmocka_unit_test(a_fork_while_a_descriptor_is_put_back),
        cmocka_unit_test(a_fork_while_a_descriptor_is_made),
        cmocka_unit_test(a_fork_wakes_nobody),
        cmocka_unit_test(a_generation_ends_while_its_descriptor_is_made),
        cmocka_unit_test(a_fork_and_what_is_kept),
        cmocka_unit_test(no_memory_for_the_cache),
        cmocka_unit_test(a_fork_while_a_waker_is_held),
        cmocka_unit_test(a_fork_and_a_waker_of_the_next_generation),
        cmocka_unit_test(many_forks_while_a_waker_is_held),
        cmocka_unit_test(a_fork_between_a_step_and_its_call),
        cmocka_unit_test(a_fork_without_descriptors),
        cmocka_unit_test(abandoned_states),
        cmocka_unit_test(states_of_an_orphan),
        cmocka_unit_test(room_of_the_cache),
        cmocka_unit_test(a_descriptor_whose_number_is_0),
        cmocka_unit_test(more_descriptors_than_the_first_page_of_the_cache),
        cmocka_unit_test(every_short_sequence_of_calls),
        cmocka_unit_test(descriptors_are_kept_for_reuse),
        cmocka_unit_test(a_child_after_fork),
        cmocka_unit_test(no_descriptor_to_be_had),
        cmocka_unit_test(handles_that_are_none),
        cmocka_unit_test(another_thread_in_every_state_of_a_job),
        cmocka_unit_test(a_signal_handler_wakes),
        cmocka_unit_test(a_signal_handler_asks_for_the_current_job),
        cmocka_unit_test(a_held_waker),
        cmocka_unit_test(two_held_wakers),
        cmocka_unit_test(a_held_clearer),
        cmocka_unit_test(a_held_waker_and_clearer),
        cmocka_unit_test(a_held_getter),
        cmocka_unit_test(wakes_while_a_descriptor_is_made),
        cmocka_unit_test(a_clear_while_a_waker_is_held),
        cmocka_unit_test(a_wake_beside_a_held_waker),
        cmocka_unit_test(the_last_generation),
        cmocka_unit_test(jobs_of_the_last_generation),
        cmocka_unit_test(a_clear_sees_what_the_waker_wrote),
        cmocka_unit_test(a_job_that_ends_meanwhile_has_ended),
        cmocka_unit_test(everything_at_once),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
