// SPDX-License-Identifier: Apache-2.0
//
// Keys of jobs that are taken for others': a fast path adds a handle and an address, the
// child of its own thread's root, and compares the sum with the key of the block. Where two
// such addresses lie a multiple of 4 GiB apart, the sums of two generations are equal. Here
// threads are put so, by their stacks, for their thread-local storage lies there; then a
// handle whose sum is right is tried, by the function and by the stub.
//
// A mistake runs a job on a thread that is not its own, so each case is a child's.
#include <atomic>
#include <pthread.h>
#include <sys/mman.h>
#include <thread>

#include "handle.h"
#include "jobswitch/jobswitch.h"
#include "pool.h"
#include "support.h"

// ---- threads at chosen places ------------------------------------------------------

static constexpr size_t stack_bytes = 1 << 20;
static constexpr uint64_t apart = uint64_t(1) << 32;

static uintptr_t address_of(const void *at) { return reinterpret_cast<uintptr_t>(at); }
static uintptr_t root_here() { return address_of(&pool_thread_state.root); }

// A thread on the stack that ends here; memory is mapped for it unless it is taken.
struct thread_at {
    pthread_t thread;
    bool started = false;

    template <class F> thread_at(uintptr_t end, F &body)
    {
        uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
        auto low = reinterpret_cast<void *>((end - stack_bytes) & ~(page - 1));
        void *got = mmap(low, stack_bytes + 2 * page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED)
            return;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        if (got == low)
            pthread_attr_setstack(&attributes, reinterpret_cast<void *>(end - stack_bytes),
                                  stack_bytes);
        auto run = [](void *f) -> void * {
            (*static_cast<F *>(f))();
            return nullptr;
        };
        started = got == low && pthread_create(&thread, &attributes, run, &body) == 0;
        pthread_attr_destroy(&attributes);
        if (!started)
            munmap(got, stack_bytes + 2 * page);
    }
    void join()
    {
        if (started)
            pthread_join(thread, nullptr);
    }
};

// How far a thread's root lies below the end of its stack.
static uintptr_t root_below_end()
{
    void *memory = mmap(nullptr, 2 * stack_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(memory, 2 * stack_bytes);
    uintptr_t end = address_of(memory) + stack_bytes, root = 0;
    auto looks = [&] { root = root_here(); };
    thread_at trial(end, looks);
    trial.join();
    return end - root;
}

// A thread whose root has the lower half of this address, as near as roots can lie.
// False: it cannot be put there.
template <class F> static bool run_at(uintptr_t address, F body)
{
    uintptr_t below = root_below_end();
    uintptr_t wanted = (address & ~uintptr_t(63)) + root_here() % 64;
    bool there = false;
    auto checked = [&] {
        there = uint32_t(root_here()) == uint32_t(wanted);
        if (there)
            body();
    };
    for (uint64_t i = 1; i < 200; i++)
        for (uintptr_t root : {wanted - i * apart, wanted + i * apart}) {
            if (root >> 47)
                continue;
            thread_at thread(root + below, checked);
            thread.join();
            if (thread.started)
                return there;
        }
    return false;
}

// ---- what is tried -----------------------------------------------------------------

static int pauses(void *) { return jobswitch_pause_job(); }

// Paused, of a generation that has many before and after it.
static jobswitch_job *paused()
{
    jobswitch_job *job = nullptr;
    int ret;
    do {
        if (job)
            CHILD_NEEDS(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) ==
                        JOBSWITCH_FINISH);
        CHILD_NEEDS(jobswitch_start_job(&job, &ret, pauses, nullptr, 0) == JOBSWITCH_PAUSE);
    } while (handle_generation(job) < 300);
    return job;
}

static void finish(jobswitch_job *job)
{
    int ret = -1;
    CHILD_NEEDS(jobswitch_start_job(&job, &ret, nullptr, nullptr, 0) == JOBSWITCH_FINISH);
    CHILD_NEEDS(ret == 1);
}

// The handle whose sum with one address is that of another handle with its own; and the
// nearest of the same block.
static int wrong_resumes(jobswitch_job *job, uintptr_t root, uintptr_t child)
{
    static int (*const volatile function)(jobswitch_job **, int *, int (*)(void *), void *,
                                          size_t) = jobswitch_start_job;
    uintptr_t sum = address_of(job) + root - child;
    int wrong = 0;
    for (uintptr_t value : {sum, (sum & ~(apart - 1)) + handle_offset(job)})
        for (bool inlined : {false, true}) {
            auto handle = reinterpret_cast<jobswitch_job *>(value), before = handle;
            if (handle == job)
                continue;
            int ret = 4711;
            int answer = inlined ? jobswitch_start_job(&handle, &ret, nullptr, nullptr, 0)
                                 : function(&handle, &ret, nullptr, nullptr, 0);
            wrong += answer != JOBSWITCH_ERR || handle != before || ret != 4711;
        }
    return wrong;
}

// ---- the cases ---------------------------------------------------------------------

static constexpr int not_there = 77;

// One thread runs, the other waits for it with a paused job.
struct turns {
    std::atomic<int> turn{0};
    void wait_for(int number)
    {
        while (turn != number)
            std::this_thread::yield();
    }
};

static uintptr_t child_here() { return address_of(pool_thread_state.root.child); }

// Tried from inside a job of the first thread, whose context lies as the second's root does.
static int from_a_running_job()
{
    struct shared {
        jobswitch_job *other;
        uintptr_t other_root, child;
        int wrong;
    } s = {}, *to = &s;
    auto tries = [](void *args) {
        shared &s = **static_cast<shared **>(args);
        s.child = child_here();
        jobswitch_pause_job();
        CHILD_NEEDS(child_here() == s.child);
        s.wrong = wrong_resumes(s.other, s.other_root, s.child);
        return 0;
    };
    jobswitch_job *own = nullptr;
    int ret;
    CHILD_NEEDS(jobswitch_start_job(&own, &ret, tries, &to, sizeof to) == JOBSWITCH_PAUSE);
    turns t;
    std::atomic<bool> there = false;
    std::thread placer([&] {
        if (run_at(s.child, [&] {
                s.other_root = root_here();
                s.other = paused();
                there = true;
                t.turn = 1;
                t.wait_for(2);
                finish(s.other);
            }))
            return;
        t.turn = 1;
    });
    t.wait_for(1);
    if (there)
        CHILD_NEEDS(jobswitch_start_job(&own, &ret, nullptr, nullptr, 0) == JOBSWITCH_FINISH);
    t.turn = 2;
    placer.join();
    return there ? s.wrong : not_there;
}

// Tried by each of two threads whose roots lie so, on a job of the other.
static int from_another_root()
{
    jobswitch_job *first = paused();
    uintptr_t first_root = root_here();
    int wrong = 0;
    turns t;
    jobswitch_job *second = nullptr;
    uintptr_t second_root = 0;
    std::thread placer([&] {
        if (!run_at(first_root, [&] {
                second_root = root_here();
                second = paused();
                wrong += wrong_resumes(first, first_root, second_root);
                t.turn = 1;
                t.wait_for(2);
                finish(second);
            }))
            t.turn = 1;
    });
    t.wait_for(1);
    if (second)
        wrong += wrong_resumes(second, second_root, first_root);
    t.turn = 2;
    placer.join();
    finish(first);
    return second ? wrong : not_there;
}

// Tried while the fast path is to keep out, and the child is pool_nobody's root.
static int from_nobodys_root()
{
    struct shared {
        jobswitch_job *other;
        uintptr_t other_root;
        int wrong, tries;
        static void *alloc(size_t bytes, void *) { return malloc(bytes); }
        static void free(void *stack, size_t, void *context)
        {
            shared &s = *static_cast<shared *>(context);
            CHILD_NEEDS(child_here() == address_of(&pool_nobody.root));
            s.wrong += wrong_resumes(s.other, s.other_root, child_here());
            s.tries++;
            ::free(stack);
        }
    } s = {};
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.stack_alloc = s.alloc;
    options.stack_free = s.free;
    options.stack_context = &s;
    options.initial_jobs = 1;
    CHILD_NEEDS(jobswitch_init_thread_with(&options) == 1);
    turns t;
    std::thread placer([&] {
        if (!run_at(address_of(&pool_nobody.root), [&] {
                s.other_root = root_here();
                s.other = paused();
                t.turn = 1;
                t.wait_for(2);
                finish(s.other);
            }))
            t.turn = 1;
    });
    t.wait_for(1);
    if (!s.other)
        _exit(not_there);
    jobswitch_cleanup_thread();
    t.turn = 2;
    placer.join();
    CHILD_NEEDS(s.tries == 1);
    return s.wrong;
}

static void run_case(int (*body)())
{
    if (!handle_is_wide)
        skip_because("no fast path compares keys");
    if (valgrind)
        skip_because("no fast path with Valgrind");
    int status = child([body] {
        for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGABRT})
            signal(number, SIG_DFL); // not cmocka's
        return body();
    });
    if (WIFEXITED(status) && WEXITSTATUS(status) == not_there)
        skip_because("no thread can be put there");
    assert_int_equal(status, 0);
}

static void a_running_jobs_context(void **) { run_case(from_a_running_job); }
static void another_threads_root(void **) { run_case(from_another_root); }
static void nobodys_root(void **) { run_case(from_nobodys_root); }

// Why the first of these cases cannot be brought about at all.
static void a_root_lies_as_no_context_does(void **)
{
    jobswitch_job *job = nullptr;
    int ret, reason;
    assert_int_equal(jobswitch_start_job(&job, &ret, pauses, nullptr, 0), JOBSWITCH_PAUSE);
    uintptr_t context = address_of(&job_find(job, &reason)->ctx);
    if (handle_is_wide) {
        constexpr uintptr_t align = alignof(pool_thread);
        assert_int_not_equal(context % align, root_here() % align);
        assert_int_equal(root_here() % align, address_of(&pool_nobody.root) % align);
    }
    assert_int_equal(jobswitch_discard_job(&job), 1);
    jobswitch_cleanup_thread();
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(a_root_lies_as_no_context_does),
        cmocka_unit_test(a_running_jobs_context),
        cmocka_unit_test(another_threads_root),
        cmocka_unit_test(nobodys_root),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
