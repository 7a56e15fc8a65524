// SPDX-License-Identifier: Apache-2.0
//
// C++20's coroutines, as the compiler makes them: without stacks. A job can
// pause in its own frame only, so the loops of the others, in which a pause is
// a call, are written anew here.
#include <coroutine>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "frames.h"
#include "job_args.h"
#include "peer.h"

// The rows' names and words, without their cells.
#undef BENCH_ROW
#define BENCH_ROW(row, Template)
#include <bench_rows.h>

namespace {

constexpr const char *NAME = "coroutine";

struct Task {
    struct promise_type {
        int ret = 0;
        Task get_return_object()
        {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_value(int value) { ret = value; }
        void unhandled_exception() { std::terminate(); }
    };
    std::coroutine_handle<promise_type> handle;
};
using Handle = std::coroutine_handle<Task::promise_type>;

uint32_t ran = 0;
bool told = false;

__attribute__((noinline)) Task job_until_told()
{
    uint32_t own = 0;
    do {
        ran++;
        own++;
        co_await std::suspend_always();
    } while (!told);
    co_return static_cast<int>(own);
}

struct Resume {
    BENCH_INLINE static int call(Handle handle)
    {
        handle.resume();
        return handle.done();
    }
};

template <int RESUME_FRAMES> BENCH_LOOP Batch run_pause_resume(uint64_t operations)
{
    told = false;
    const Handle handle = job_until_told().handle;
    const uint32_t ran_before = ran;
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++)
        if (Frames<Resume, RESUME_FRAMES, Handle>::call(handle) != frames_sum(RESUME_FRAMES))
            return {0, "the job did not pause"};
    const uint64_t end = ticks_now();
    const uint32_t ran_after = ran;
    told = true;
    handle.resume();
    const uint32_t round_trips = static_cast<uint32_t>(operations);
    const bool right = handle.done() && ran_after - ran_before == round_trips &&
                       static_cast<uint32_t>(handle.promise().ret) == round_trips + 1;
    handle.destroy();
    if (!right)
        return {0, "the job was not resumed as often as asked"};
    return {end - begin, nullptr};
}

// Args are copied into the frame, as parameters are.
template <size_t WORDS>
__attribute__((noinline)) Task job_args(JobArgs<WORDS> args, bool pausing)
{
    if (pausing)
        co_await std::suspend_always();
    co_return static_cast<int>(args.sum());
}
__attribute__((noinline)) Task job_plain(bool pausing)
{
    const uint32_t mine = ++ran;
    if (pausing)
        co_await std::suspend_always();
    co_return static_cast<int>(mine);
}

template <size_t WORDS, bool PAUSING> BENCH_LOOP Batch run_life(uint64_t operations)
{
    uint32_t sum = 0, expected = 0;
    JobArgs<WORDS ? WORDS : 1> args = {};
    const uint32_t ran_before = ran;
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        Handle handle;
        if constexpr (WORDS > 0) {
            args.fill(i);
            handle = job_args<WORDS>(args, PAUSING).handle;
        } else {
            handle = job_plain(PAUSING).handle;
        }
        if (PAUSING)
            handle.resume();
        if (!handle.done())
            return {0, "a job did not finish"};
        sum += static_cast<uint32_t>(handle.promise().ret);
        handle.destroy();
    }
    const uint64_t end = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        if (WORDS > 0)
            args.fill(i);
        expected += WORDS ? args.sum() : ran_before + 1 + static_cast<uint32_t>(i);
    }
    if (sum != expected)
        return {0, "the jobs' return values are wrong"};
    return {end - begin, nullptr};
}

struct CoroutineCrowd {
    std::vector<Handle> jobs;
    uint32_t passes = 0;
    uint64_t seed = 1;

    const char *gather(size_t count)
    {
        told = false;
        jobs.clear();
        for (size_t i = 0; i < count; i++)
            jobs.push_back(job_until_told().handle);
        return nullptr;
    }
    BENCH_LOOP static bool visit(Handle *const begin, Handle *const end, uint64_t count)
    {
        for (; count > 0; count--)
            for (Handle *job = begin; job != end; job++) {
                job->resume();
                if (job->done())
                    return false;
            }
        return true;
    }
    Batch run(uint64_t operations, bool random)
    {
        const uint64_t count = operations / jobs.size();
        for (size_t i = jobs.size(); random && i > 1; i--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            std::swap(jobs[i - 1], jobs[(seed >> 33) % i]);
        }
        const uint64_t begin = ticks_now();
        if (!visit(jobs.data(), jobs.data() + jobs.size(), count))
            return {0, "a job did not pause"};
        const uint64_t end = ticks_now();
        passes += static_cast<uint32_t>(count);
        return {end - begin, nullptr};
    }
    const char *dismiss()
    {
        bool right = true;
        told = true;
        for (const Handle job : jobs) {
            job.resume();
            right &= job.done() &&
                     static_cast<uint32_t>(job.promise().ret) == passes + 1;
            job.destroy();
        }
        told = false;
        return right ? nullptr : "a job was not resumed once in every pass";
    }
};

void add(std::vector<Cell> &out, const Params &params, Batch (*run)(uint64_t))
{
    Cell cell;
    cell.peer = NAME;
    cell.params = params;
    cell.run = run;
    out.push_back(std::move(cell));
}

void cells_pause_resume(const Scale &, std::vector<Cell> &out)
{
    add(out, {}, run_pause_resume<0>);
}

template <bool PAUSING> void cells_life(const Scale &, std::vector<Cell> &out)
{
    add(out, {{"args", "0"}}, run_life<0, PAUSING>);
    add(out, {{"args", "40"}}, run_life<5, PAUSING>);
    add(out, {{"args", "1024"}}, run_life<128, PAUSING>);
}

void cells_depth(const Scale &scale, std::vector<Cell> &out)
{
    frames_depths(scale, [&]<int RESUME_FRAMES, int PAUSE_FRAMES>() {
        const Params params = frames_params(RESUME_FRAMES, PAUSE_FRAMES);
        if constexpr (PAUSE_FRAMES > 0)
            out.push_back(peer_cell_unavailable(NAME, params, "pauses in its own frame only"));
        else
            add(out, params, run_pause_resume<RESUME_FRAMES>);
    });
}

void cells_crowd(const Scale &scale, std::vector<Cell> &out)
{
    // The cells, their sizes and orders are the row's.
    crowd_cells(scale, [&](Cell cell, size_t count, bool random) {
        const auto crowd = std::make_shared<CoroutineCrowd>();
        cell.peer = NAME;
        cell.open = [crowd, count] { return crowd->gather(count); };
        cell.run = [crowd, random](uint64_t n) { return crowd->run(n, random); };
        cell.close = [crowd] { return crowd->dismiss(); };
        out.push_back(std::move(cell));
    });
}

const RowRegister pause_resume(row_pause_resume, cells_pause_resume);
const RowRegister start_finish(row_start_finish, cells_life<false>);
const RowRegister start_pause_resume_finish(row_start_pause_resume_finish, cells_life<true>);
const RowRegister depth(row_depth, cells_depth);
const RowRegister crowd(row_crowd, cells_crowd);

const PeerRegister registered({.name = NAME,
                               .title = "C++20 coroutine",
                               .note = "stackless: a job cannot pause in a function that it calls, "
                                       "and has its few bytes on the heap; no handle checks; loops "
                                       "of its own, at one place",
                               .missing = "",
                               .order = 35});

} // namespace
