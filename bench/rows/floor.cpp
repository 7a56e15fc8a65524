// SPDX-License-Identifier: Apache-2.0
//
// What the loops around a switch, and the least that a switch must do, cost.
#include "row.h"

namespace {

constexpr Row row_floor = {
    .key = "floor",
    .title = "the floor",
    .group = "floor",
    .unit = "ns an iteration (no switch)",
    .note = "No switch at all: an empty loop; a call and its return; two indirect "
            "jumps through memory, which the predictor knows, as a round trip has.",
    .order = 10,
};

BENCH_LOOP Batch empty_loop(uint64_t operations)
{
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++)
        __asm__ volatile("" ::: "memory");
    return {ticks_now() - begin, nullptr};
}

uint64_t called = 0;
BENCH_LOOP void callee() { called = called + 1; }

BENCH_LOOP Batch call_return(uint64_t operations)
{
    const uint64_t called_before = called;
    const uint64_t begin = ticks_now();
    for (uint64_t i = 0; i < operations; i++) {
        callee();
        __asm__ volatile("" ::: "memory");
    }
    const uint64_t end = ticks_now();
    if (called - called_before != operations)
        return {0, "the function was not called"};
    return {end - begin, nullptr};
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" // a label's address, and goto to it
BENCH_LOOP Batch two_jumps(uint64_t operations)
{
    void *volatile there = &&job;
    void *volatile back = &&starter;
    uint64_t i = 0, landed = 0;
    const uint64_t begin = ticks_now();
again:
    goto *there;
job:
    landed++;
    __asm__ volatile("" : "+r"(landed));
    goto *back;
starter:
    if (++i < operations)
        goto again;
    const uint64_t end = ticks_now();
    if (landed != operations)
        return {0, "the jumps did not land"};
    return {end - begin, nullptr};
}
#pragma GCC diagnostic pop

void cells(const Scale &, std::vector<Cell> &out)
{
    const auto add = [&](const char *what, Batch (*run)(uint64_t)) {
        Cell cell;
        cell.peer = "floor";
        cell.params = {{"what", what}};
        cell.run = run;
        out.push_back(std::move(cell));
    };
    add("empty-loop", empty_loop);
    add("call-return", call_return);
    add("two-indirect-jumps", two_jumps);
}

const RowRegister registered(row_floor, cells);

} // namespace
