// SPDX-License-Identifier: Apache-2.0
//
// What quick.cpp asks of a runtime, and the loops that it times.
//
// The loops are written once, as a template over the runtime's own calls, so
// that every peer gets the same machine code around them. Each peer has a
// translation unit of its own, peer_NAME.cpp, compiled with the same flags, and
// reaches its library through the ordinary call that any program would make.
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

enum Row : int {
    START_FINISH,
    START_FINISH_ARGS,
    PAUSE_RESUME,
    START_PAUSE_RESUME_FINISH,
    ROWS
};

// What a batch of operations took. `failure` is NULL if every call answered
// what it should and the jobs' own counts prove that they ran.
struct Batch {
    uint64_t elapsed_ns;
    const char *failure;
};

struct Peer {
    const char *name;
    std::string (*library)();  // version, and the file it was loaded from
    std::string (*reason)();   // why the runtime's last call failed
    bool (*open)(size_t max_jobs, size_t initial_jobs); // this thread's pool
    void (*close)();
    Batch (*run[ROWS])(uint64_t operations);
    // Many paused jobs: started, resumed once each in random order, ended.
    Batch (*crowd_gather)(size_t jobs);
    Batch (*crowd_pass)(uint64_t seed);
    Batch (*crowd_dismiss)();
};

extern const Peer peer_jobswitch;
extern const Peer peer_openssl;

// The path of the file that the dynamic linker took `symbol` from.
std::string symbol_file(const char *symbol);

inline uint64_t clock_ns()
{
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000 +
           static_cast<uint64_t>(now.tv_nsec);
}

// Five words: what libssl hands to its jobs.
struct Args {
    uint64_t word[5];
};
static_assert(sizeof(Args) == 40);

// Both peers' loops start at a cache line, so that neither has better luck.
#define BENCH_LOOP __attribute__((noinline, aligned(64)))
#define BENCH_INLINE __attribute__((always_inline))

// Runtime: Job, PAUSE, FINISH, start(&job, &ret, func, args, size), pause().
template <typename Runtime> struct Loops {
    using Job = typename Runtime::Job;

    static inline uint32_t ran = 0;   // counted by the jobs
    static inline bool told = false;  // the jobs are to end
    static inline std::vector<Job *> crowd;
    static inline uint32_t crowd_passes = 0;

    static constexpr Batch failed(const char *what) { return {0, what}; }

    // ---- start+finish

    BENCH_LOOP static int job_once(void *) { return static_cast<int>(++ran); }

    BENCH_LOOP static Batch start_finish(uint64_t operations)
    {
        const Runtime runtime;
        Job *job = nullptr;
        int ret = 0;
        uint32_t sum = 0, expected = 0;
        const uint32_t ran_before = ran;
        const uint64_t begin_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.start(&job, &ret, job_once, nullptr, 0) !=
                Runtime::FINISH)
                return failed("a job did not finish");
            sum += static_cast<uint32_t>(ret);
        }
        const uint64_t end_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++)
            expected += ran_before + 1 + static_cast<uint32_t>(i);
        if (sum != expected || job != nullptr)
            return failed("the jobs' return values are wrong");
        return {end_ns - begin_ns, nullptr};
    }

    // ---- start+finish with 40 bytes of args

    BENCH_LOOP static int job_args(void *args)
    {
        const Args &a = *static_cast<const Args *>(args);
        return static_cast<int>(a.word[0] + a.word[1] + a.word[2] + a.word[3] +
                                a.word[4]);
    }

    BENCH_LOOP static Batch start_finish_args(uint64_t operations)
    {
        const Runtime runtime;
        Job *job = nullptr;
        int ret = 0;
        uint32_t sum = 0, expected = 0;
        const uint64_t begin_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++) {
            // Filled anew each time, as libssl does it.
            Args args = {{i, 1, i, 2, i}};
            if (runtime.start(&job, &ret, job_args, &args, sizeof args) !=
                Runtime::FINISH)
                return failed("a job did not finish");
            sum += static_cast<uint32_t>(ret);
        }
        const uint64_t end_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++)
            expected += 3 * static_cast<uint32_t>(i) + 3;
        if (sum != expected || job != nullptr)
            return failed("the jobs' return values are wrong");
        return {end_ns - begin_ns, nullptr};
    }

    // ---- pause+resume: one job for the whole batch

    BENCH_LOOP static int job_until_told(void *)
    {
        const Runtime runtime;
        uint32_t own = 0;
        do {
            ran++;
            own++;
        } while (runtime.pause() == 1 && !told);
        return static_cast<int>(own);
    }

    BENCH_LOOP static Batch pause_resume(uint64_t operations)
    {
        const Runtime runtime;
        Job *job = nullptr;
        int ret = 0;
        told = false;
        if (runtime.start(&job, &ret, job_until_told, nullptr, 0) !=
            Runtime::PAUSE)
            return failed("the job did not pause");
        const uint32_t ran_before = ran;
        const uint64_t begin_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.start(&job, &ret, job_until_told, nullptr, 0) !=
                Runtime::PAUSE)
                return failed("the job did not pause");
        }
        const uint64_t end_ns = clock_ns();
        const uint32_t ran_after = ran;
        told = true;
        if (runtime.start(&job, &ret, job_until_told, nullptr, 0) !=
            Runtime::FINISH)
            return failed("the job did not finish");
        const uint32_t round_trips = static_cast<uint32_t>(operations);
        if (ran_after - ran_before != round_trips || job != nullptr ||
            static_cast<uint32_t>(ret) != round_trips + 1)
            return failed("the job was not resumed as often as asked");
        return {end_ns - begin_ns, nullptr};
    }

    // ---- start+pause+resume+finish: a life with one wait

    BENCH_LOOP static int job_pausing_once(void *)
    {
        const Runtime runtime;
        const uint32_t mine = ++ran;
        if (runtime.pause() != 1)
            return 0;
        return static_cast<int>(mine);
    }

    BENCH_LOOP static Batch start_pause_resume_finish(uint64_t operations)
    {
        const Runtime runtime;
        Job *job = nullptr;
        int ret = 0;
        uint32_t sum = 0, expected = 0;
        const uint32_t ran_before = ran;
        const uint64_t begin_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++) {
            if (runtime.start(&job, &ret, job_pausing_once, nullptr, 0) !=
                Runtime::PAUSE)
                return failed("a job did not pause");
            if (runtime.start(&job, &ret, job_pausing_once, nullptr, 0) !=
                Runtime::FINISH)
                return failed("a job did not finish");
            sum += static_cast<uint32_t>(ret);
        }
        const uint64_t end_ns = clock_ns();
        for (uint64_t i = 0; i < operations; i++)
            expected += ran_before + 1 + static_cast<uint32_t>(i);
        if (sum != expected || job != nullptr)
            return failed("the jobs' return values are wrong");
        return {end_ns - begin_ns, nullptr};
    }

    // ---- a crowd of paused jobs, resumed in random order

    BENCH_LOOP static int job_in_crowd(void *)
    {
        const Runtime runtime;
        // On its own stack, so that every resume reads and writes there.
        volatile uint32_t own = 0;
        do
            own = own + 1;
        while (runtime.pause() == 1 && !told);
        return static_cast<int>(own);
    }

    static Batch crowd_gather(size_t jobs)
    {
        const Runtime runtime;
        int ret = 0;
        told = false;
        crowd_passes = 0;
        crowd.assign(jobs, nullptr);
        const uint64_t begin_ns = clock_ns();
        for (Job *&job : crowd)
            if (runtime.start(&job, &ret, job_in_crowd, nullptr, 0) !=
                Runtime::PAUSE)
                return failed("a job could not be started");
        return {clock_ns() - begin_ns, nullptr};
    }

    BENCH_LOOP static Batch crowd_pass(uint64_t seed)
    {
        const Runtime runtime;
        int ret = 0;
        // The handles themselves are shuffled: they lie in the order of the
        // visits, as in an event loop's list of what is ready.
        for (size_t i = crowd.size(); i > 1; i--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            std::swap(crowd[i - 1], crowd[(seed >> 33) % i]);
        }
        Job **job = crowd.data();
        Job **const end = job + crowd.size();
        const uint64_t begin_ns = clock_ns();
        for (; job != end; job++) {
            if (runtime.start(job, &ret, job_in_crowd, nullptr, 0) !=
                Runtime::PAUSE)
                return failed("a job did not pause");
        }
        const uint64_t end_ns = clock_ns();
        crowd_passes++;
        return {end_ns - begin_ns, nullptr};
    }

    static Batch crowd_dismiss()
    {
        const Runtime runtime;
        told = true;
        const uint64_t begin_ns = clock_ns();
        for (Job *&job : crowd) {
            int ret = 0;
            if (runtime.start(&job, &ret, job_in_crowd, nullptr, 0) !=
                Runtime::FINISH)
                return failed("a job did not finish");
            if (static_cast<uint32_t>(ret) != crowd_passes + 1)
                return failed("a job was not resumed once in every pass");
        }
        return {clock_ns() - begin_ns, nullptr};
    }

    static constexpr Peer peer(const char *name, std::string (*library)(),
                               std::string (*reason)(),
                               bool (*open)(size_t, size_t), void (*close)())
    {
        return {name,
                library,
                reason,
                open,
                close,
                {start_finish, start_finish_args, pause_resume,
                 start_pause_resume_finish},
                crowd_gather,
                crowd_pass,
                crowd_dismiss};
    }
};

#endif
