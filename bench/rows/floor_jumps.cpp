// SPDX-License-Identifier: Apache-2.0
//
// What it would cost if the code which switches lay in a library: four jumps a round
// trip, between two pieces of code at several distances.
#include "row.h"

#if defined(__x86_64__)

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr Row row_floor_jumps = {
    .key = "floor_jumps",
    .title = "four jumps and nothing else",
    .group = "floor",
    .unit = "ns an iteration (no switch)",
    .note = "Two times there and back, by jumps through memory that always lead to the "
            "same places, as a round trip would have between a program and a library "
            "that switches: within a page, to another page, and as far as a shared library "
            "lies from a program.",
    .order = 15,
};

// Each jump is `jmp *n(%rsi)`; the loop's end is `dec %rdi; jne; ret`.
class Jumps {
public:
    const char *make(ptrdiff_t distance_bytes)
    {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        here = map(nullptr, 2 * page);
        if (!here)
            return "no memory can be had";
        bytes = 2 * page;
        unsigned char *there = here + distance_bytes;
        if (static_cast<size_t>(distance_bytes) >= bytes) {
            // Off the same place in its page, or the predictor would mix them up.
            far = map(here - distance_bytes, page);
            if (!far)
                return "no memory can be had there";
            far_bytes = page;
            there = far + page / 2;
        }
        unsigned char *const back = here + 16, *const end = here + 32;
        jump(here, 0);
        jump(there, 8);
        jump(back, 16);
        jump(there + 16, 24);
        const unsigned char loop[] = {0x48, 0xff, 0xcf, 0x75,
                                      static_cast<unsigned char>(here - (end + 5)), 0xc3};
        memcpy(end, loop, sizeof loop);
        places[0] = there;
        places[1] = back;
        places[2] = there + 16;
        places[3] = end;
        if (mprotect(here, bytes, PROT_READ | PROT_EXEC) != 0 ||
            (far && mprotect(far, far_bytes, PROT_READ | PROT_EXEC) != 0))
            return "no memory may be made executable";
        return nullptr;
    }
    uint64_t run(uint64_t operations) const
    {
        const auto code = reinterpret_cast<void (*)(uint64_t, const void *const *)>(here);
        const uint64_t begin = ticks_now();
        code(operations, places);
        return ticks_now() - begin;
    }
    void unmake()
    {
        if (here)
            munmap(here, bytes);
        if (far)
            munmap(far, far_bytes);
        here = far = nullptr;
    }

private:
    unsigned char *here = nullptr, *far = nullptr;
    size_t bytes = 0, far_bytes = 0;
    const void *places[4];

    static unsigned char *map(void *wish, size_t size)
    {
        void *const memory = mmap(wish, size, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? nullptr : static_cast<unsigned char *>(memory);
    }
    static void jump(unsigned char *at, unsigned char offset)
    {
        const unsigned char code[] = {0xff, 0x66, offset};
        memcpy(at, code, sizeof code);
    }
};

template <ptrdiff_t DISTANCE_BYTES> void add(const char *distance, std::vector<Cell> &out)
{
    static Jumps jumps;
    Cell cell;
    cell.peer = "floor";
    cell.params = {{"distance", distance}};
    cell.open = [] { return jumps.make(DISTANCE_BYTES); };
    cell.run = [](uint64_t operations) { return Batch{jumps.run(operations), nullptr}; };
    cell.close = []() -> const char * {
        jumps.unmake();
        return nullptr;
    };
    out.push_back(std::move(cell));
}

void cells(const Scale &, std::vector<Cell> &out)
{
    add<64>("same-page", out);
    add<4096 + 640>("next-page", out);
    add<ptrdiff_t(1) << 30>("1-GiB", out);
    add<ptrdiff_t(1) << 43>("8-TiB", out);
}

const RowRegister registered(row_floor_jumps, cells);

} // namespace

#endif
