// SPDX-License-Identifier: Apache-2.0
//
// State Threads: each side signals the other's condition and waits for its own.
//
// Needs: st.h libst-dev -lst
#include "peer.h"

#if __has_include(<st.h>)

#include <st.h>

namespace {

struct StateJob {
    st_cond_t resumed; // what the job waits for
    int (*func)(void *);
    void *args;
    int ret;
    bool finished;
    StateJob *next;
};

st_cond_t answered = nullptr; // what who started or resumed a job waits for
StateJob *current = nullptr;
StateJob *idle = nullptr;

void *job_enter(void *arg)
{
    StateJob *const job = static_cast<StateJob *>(arg);
    job->ret = job->func(job->args);
    job->finished = true;
    st_cond_signal(answered);
    return nullptr;
}

struct Runtime : RuntimeDefaults {
    using Job = StateJob;
    static constexpr const char *NAME = "state-threads";
    static constexpr int PAUSE = 2;
    static constexpr int FINISH = 3;
    static constexpr const char *NO_ARGS = "copies no args";
    static constexpr size_t CROWD_MOST = 10000;
    static constexpr const char *CROWD_MOST_WHY =
        "three mappings a stack: the kernel's limit";

    BENCH_INLINE int start(Job **job, int *ret, int (*func)(void *), void *args,
                           size_t) const
    {
        Job *made = idle;
        if (made)
            idle = made->next;
        else
            made = new Job{st_cond_new(), nullptr, nullptr, 0, false, nullptr};
        made->func = func;
        made->args = args;
        made->finished = false;
        *job = made;
        current = made;
        if (!st_thread_create(job_enter, made, 0, 64 << 10))
            return -1;
        return answer(job, ret);
    }
    BENCH_INLINE int resume(Job **job, int *ret, int (*)(void *)) const
    {
        current = *job;
        st_cond_signal((*job)->resumed);
        return answer(job, ret);
    }
    BENCH_INLINE int pause() const
    {
        st_cond_signal(answered);
        return st_cond_wait(current->resumed) == 0;
    }
    BENCH_INLINE static int answer(Job **job, int *ret)
    {
        if (st_cond_wait(answered) != 0)
            return -1;
        Job *const answering = *job;
        if (!answering->finished)
            return PAUSE;
        *ret = answering->ret;
        *job = nullptr;
        answering->next = idle;
        idle = answering;
        return FINISH;
    }

    static bool open(size_t)
    {
        if (!answered && st_init() == 0)
            answered = st_cond_new();
        return answered != nullptr;
    }
    static void close()
    {
        while (idle) {
            Job *const job = idle;
            idle = job->next;
            st_cond_destroy(job->resumed);
            delete job;
        }
    }
    static std::string reason() { return "State Threads gives no reason"; }
};

std::string library() { return "State Threads, " + environment_symbol_file("st_cond_wait"); }

const PeerRegister registered({.name = Runtime::NAME,
                               .title = "State Threads",
                               .note = "its scheduler between the two: a condition is signalled and "
                                       "another waited for at each switch; stacks with guards, "
                                       "kept by the library",
                               .missing = "",
                               .library = library,
                               .order = 80});

} // namespace

#include <bench_rows.h>

#else

namespace {
const PeerRegister registered({.name = "state-threads",
                               .title = "State Threads",
                               .note = "",
                               .missing = "libst-dev",
                               .order = 80});
}

#endif
