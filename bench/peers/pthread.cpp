// SPDX-License-Identifier: Apache-2.0
//
// Threads of the kernel that hand over to each other by POSIX semaphores. All
// are on one CPU, as the process is.
//
// Needs: semaphore.h libc6-dev -pthread
#include "peer.h"

#if __has_include(<semaphore.h>)

#include <pthread.h>
#include <semaphore.h>

namespace {

struct ThreadJob {
    sem_t resumed, answered;
    int (*func)(void *); // NULL: the thread is to end
    void *args;
    int ret;
    bool finished;
    pthread_t thread;
    ThreadJob *next;
};

thread_local ThreadJob *self = nullptr;
ThreadJob *idle = nullptr;

void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
    }
}

void *thread_run(void *arg)
{
    self = static_cast<ThreadJob *>(arg);
    for (;;) {
        wait_for(&self->resumed);
        if (!self->func)
            return nullptr;
        self->ret = self->func(self->args);
        self->finished = true;
        sem_post(&self->answered);
    }
}

struct Runtime : RuntimeDefaults {
    using Job = ThreadJob;
    static constexpr const char *NAME = "pthread";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";
    static constexpr bool KERNEL_SWITCHES = true;
    static constexpr size_t CROWD_MOST = 1000;
    static constexpr const char *CROWD_MOST_WHY = "too many threads";

    static Job *make()
    {
        Job *const job = new Job();
        sem_init(&job->resumed, 0, 0);
        sem_init(&job->answered, 0, 0);
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 64 << 10);
        const int error = pthread_create(&job->thread, &attr, thread_run, job);
        pthread_attr_destroy(&attr);
        if (error == 0)
            return job;
        delete job;
        return nullptr;
    }

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *made = idle;
        if (made)
            idle = made->next;
        else if (!(made = make()))
            return -1;
        made->func = func;
        made->args = args;
        made->finished = false;
        *job = made;
        return resume(job, ret, func);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        Job *const resumed = *job;
        sem_post(&resumed->resumed);
        wait_for(&resumed->answered);
        if (!resumed->finished)
            return PAUSE;
        *ret = resumed->ret;
        *job = nullptr;
        resumed->next = idle;
        idle = resumed;
        return FINISH;
    }
    BENCH_INLINE int pause() const
    {
        Job *const mine = self;
        sem_post(&mine->answered);
        wait_for(&mine->resumed);
        return 1;
    }

    static bool open(size_t) { return true; }
    static void close()
    {
        while (idle) {
            Job *const job = idle;
            idle = job->next;
            job->func = nullptr;
            sem_post(&job->resumed);
            pthread_join(job->thread, nullptr);
            delete job;
        }
    }
    static std::string reason() { return "no more threads can be had"; }
};

std::string library() { return "libc, " + environment_symbol_file("sem_post"); }

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "pthread hand-off",
                               .note = "a thread for each job, kept when it ends; two semaphores, so "
                                       "that each switch is a futex wake, a wait and the kernel's "
                                       "choice of whom to run",
                               .missing = "",
                               .library = library,
                               .order = 100});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "pthread",
                               .title = "pthread hand-off",
                               .note = "",
                               .missing = "a C library that has it",
                               .order = 100});
}

#endif
