// SPDX-License-Identifier: Apache-2.0
//
// All states that a small world can come to, one step of somebody at a time. A world is
// a struct without padding; it is remembered by 64 bits of hash: of a few million, no
// two are likely to meet.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "support.h"

template <class World> uint64_t hash_of(const World &w)
{
    static_assert(std::has_unique_object_representations_v<World>);
    uint64_t hash = 0x9e3779b97f4a7c15;
    unsigned char bytes[(sizeof w + 7) / 8 * 8] = {};
    memcpy(bytes, &w, sizeof w);
    for (size_t i = 0; i < sizeof bytes; i += 8) {
        uint64_t part;
        memcpy(&part, bytes + i, 8);
        hash = (hash ^ part) * 0xff51afd7ed558ccd;
        hash ^= hash >> 32;
        hash *= 0xc4ceb9fe1a85ec53;
        hash ^= hash >> 29;
    }
    return hash ? hash : 1;
}

class seen_states {
public:
    seen_states() : table(1 << 16) {}
    bool add(uint64_t hash)
    {
        if (size * 2 > table.size())
            grow();
        uint64_t *at = place(hash);
        if (*at)
            return false;
        *at = hash;
        size++;
        return true;
    }
    size_t size = 0;

private:
    uint64_t *place(uint64_t hash)
    {
        size_t i = size_t(hash) & (table.size() - 1);
        while (table[i] && table[i] != hash)
            i = (i + 1) & (table.size() - 1);
        return &table[i];
    }
    void grow()
    {
        std::vector<uint64_t> old(table.size() * 2);
        old.swap(table);
        for (uint64_t hash : old)
            if (hash)
                *place(hash) = hash;
    }
    std::vector<uint64_t> table;
};

// States to explore at most. Where a tool makes everything slow it is not all of them,
// and what is asserted of all is not asserted.
inline size_t states_most()
{
    size_t scale = test_scale();
    return scale > 1 ? 400000 / scale : SIZE_MAX;
}

struct exploration {
    size_t states = 0;
    size_t ends = 0; // states from which nothing goes on
};

// From a world on. expand(world, reach) calls reach(next) for each world that is one
// step on; false: it has seen enough.
template <class World, class Expand>
exploration explore_all(const World &first, Expand expand)
{
    seen_states seen;
    std::vector<World> open = {first};
    exploration result;
    seen.add(hash_of(first));
    while (!open.empty() && seen.size < states_most()) {
        World w = open.back();
        open.pop_back();
        bool moved = false;
        auto reach = [&](const World &next) {
            moved = true;
            if (seen.add(hash_of(next)))
                open.push_back(next);
        };
        if (!expand(w, reach))
            break;
        result.ends += !moved;
    }
    result.states = seen.size;
    return result;
}
