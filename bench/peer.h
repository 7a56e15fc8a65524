// SPDX-License-Identifier: Apache-2.0
//
// Peers: whose jobs are measured. Adding one is adding a file peers/NAME.cpp,
// which the Makefile finds and compiles with the flags of all others:
//
//   // Needs: openssl/async.h libssl-dev -lcrypto
//
// in its head names the header, the Debian package that has it, and what to
// link. Where the header is missing the file is to compile to a PeerRegister
// that says so (`#if __has_include`), and nothing is linked. The file then
//   1. defines `struct Runtime : RuntimeDefaults` in an anonymous namespace,
//   2. registers itself with a `const PeerRegister`,
//   3. includes <bench_rows.h>, which the Makefile makes: all of rows/*.h, as
//      templates over that Runtime, so that every peer gets the same loops.
// A peer that cannot run the loops leaves 3 out and registers cells of its own
// with the rows' keys (RowRegister); a peer that can run some of them says why
// not the others, in Runtime.
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "environment.h"
#include "row.h"

// Runtime:
//   using Job                         what a handle points to
//   PAUSE, FINISH                     what start() and resume() answer
//   NAME                              the peer's name
//   start(&job, &ret, func, args, n)  a new job from the pool; job was NULL
//   resume(&job, &ret, func)          the same as if called again; func is what
//                                     the job was started with
//   pause()                           in a job; 1 once resumed
//   static open(initial_jobs)         prepares this thread; false: see reason()
//   static close()
//   static reason()                   why the last call failed
// start, resume and pause are const members, BENCH_INLINE, and the ordinary
// calls that any program would make. Each loop makes a Runtime object, after open(); what
// it keeps of the thread's or the job's state is in a register there; functions
// that a loop calls get a copy. A finished job's handle becomes NULL.
struct RuntimeDefaults {
    // Reasons why a group of loops cannot be run; NULL: it can. A row tests
    // them by `if constexpr`, so the calls need not exist then.
    static constexpr const char *NO_POOL = nullptr;  // start from a warm pool
    static constexpr const char *NO_ARGS = nullptr;  // start with args copied
    static constexpr const char *NO_CROWD = nullptr; // many jobs paused at once
    // Unless the peer says otherwise: open(), close() and what a Runtime object
    // keeps must be each thread's own.
    static constexpr const char *NO_THREADS = "not tried on more than one thread";

    // Another peer is the same library: rows about memory have that one only. (Nor
    // have those rows, and the ones about waiting, peers without a pool or args.)
    static constexpr bool SAME_POOL = false;

    // What few peers have; a row asks by `if constexpr`.
    static constexpr bool HAS_TRIM = false;     // static trim(): idle stacks' memory back
    static constexpr bool HAS_PREFETCH = false; // prefetch(job), ahead of resume
    // static wait_fd(job), wake(job), clear_wake(job): a descriptor for each job
    static constexpr bool HAS_WAIT_FD = false;
    // static take_ready(jobs, max), wait_ready(jobs, max, timeout_ns): woken jobs by a
    // queue of the thread
    static constexpr bool HAS_READY = false;

    // So many at most, and why no more.
    static constexpr size_t CROWD_MOST = SIZE_MAX;
    static constexpr const char *CROWD_MOST_WHY = "";
    // Each process tells the best of all places, not that of one: for a bound.
    static constexpr bool LEAST_OF_PLACES = false;
    // The kernel switches between its jobs: that counts as no interruption.
    static constexpr bool KERNEL_SWITCHES = false;
    // static preload(): a file that its processes have in LD_PRELOAD; "": there is none
    static constexpr bool PRELOADS = false;
};

struct Peer {
    std::string name;    // in cells' names: [a-z0-9-]+
    std::string title;   // "OpenSSL ASYNC"
    std::string note;    // its advantages and handicaps
    std::string missing; // "": built. Else the package that is missing
    std::string (*library)() = nullptr; // version, and the file it came from
    int order = 1000;
};

struct PeerRegister {
    PeerRegister(const Peer &peer);
};

// All peers, by order and name.
std::vector<Peer> peers_all();

// A peer whose loops lie elsewhere: they make a Runtime object where they begin,
// and what is skipped there shifts the rest of the loop's function.
template <typename R, size_t PLACE> struct Placed : R {
    BENCH_INLINE Placed()
    {
        if constexpr (PLACE > 0)
            __asm__ volatile(".skip %c0, 0x90" : : "i"(64 / PLACES * PLACE));
    }
};

template <typename R> struct Unplaced {
    using Type = R;
};
template <typename R, size_t PLACE> struct Unplaced<Placed<R, PLACE>> {
    using Type = R;
};

// What a row's template, which templated() names for a Runtime, has for cells.
template <typename R, typename F>
void placed_cells(const Scale &scale, std::vector<Cell> &out, F templated)
{
    using CellsOf = void (*)(const Scale &, std::vector<Cell> &);
    const auto all = [&]<size_t... I>(std::index_sequence<I...>) {
        return std::vector<CellsOf>{
            CellsOf{templated.template operator()<Placed<R, I>>()}...};
    }(std::make_index_sequence<PLACES>());
    const size_t from = out.size();
    all[scale.place % PLACES](scale, out);
    if constexpr (R::LEAST_OF_PLACES)
        for (size_t place = 1; place < PLACES; place++) {
            std::vector<Cell> more;
            all[(scale.place + place) % PLACES](scale, more);
            for (size_t i = 0; i < more.size(); i++)
                if (more[i].run)
                    out[from + i].alternatives.push_back(std::move(more[i]));
        }
    for (size_t i = from; i < out.size(); i++) {
        out[i].kernel_switches = R::KERNEL_SWITCHES;
        if constexpr (R::PRELOADS) {
            out[i].preload = R::preload();
            if (out[i].preload.empty())
                out[i].unavailable = "its library is not to be found";
        }
    }
}

// A pool that the cells of a process share: the first opens, the last closes.
template <typename R> struct PeerPoolOf {
    static inline int users = 0;
    static const char *open()
    {
        if (users == 0 && !R::open(1))
            return "a pool cannot be made";
        users++;
        return nullptr;
    }
    static const char *close()
    {
        if (--users == 0)
            R::close();
        return nullptr;
    }
};

template <typename R> using PeerPool = PeerPoolOf<typename Unplaced<R>::Type>;

// A cell of R, with the pool.
template <typename R> Cell peer_cell(const Params &params, Batch (*run)(uint64_t))
{
    return {.peer = R::NAME,
            .params = params,
            .open = PeerPool<R>::open,
            .run = run,
            .close = PeerPool<R>::close,
            .reason = R::reason};
}

inline Cell peer_cell_unavailable(const char *peer, const Params &params,
                                  const char *reason)
{
    return {.peer = peer, .params = params, .unavailable = reason};
}

#endif
