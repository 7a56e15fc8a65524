// SPDX-License-Identifier: Apache-2.0
//
// Values by key, for owners that have room for a number alone: keys are the process's,
// values lie in a table of the thread. Knows no jobs. But for keys, one thread's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jobswitch/jobswitch.h"
#include "lock.h"

inline constexpr uint32_t local_keys_most = 1024;

bool local_key_create(jobswitch_key *key, void (*destructor)(void *), int *reason);
// Values that are there are not destroyed, nor seen again.
bool local_key_delete(jobswitch_key key);
bool local_key_exists(jobswitch_key key);

// What one owner has. It stays when the owner has gone, for the next.
struct local_values;
struct local_table {
    const jobswitch_tool *tool; // is told of places, which alone lead to the values
    local_values **places;
    uint32_t count, capacity;
    uint32_t free; // the first free place + 1
};

// Places count from 1; 0: none yet, and local_set finds one. False: no memory.
bool local_set(local_table &table, uint32_t &place, jobswitch_key key, void *value);
void *local_get(const local_table &table, uint32_t place, jobswitch_key key);
// Calls the destructors of what is not NULL, once more for what they set, a few times;
// the place is free after that.
void local_end(local_table &table, uint32_t place);

void local_close(local_table &table);

// The keys' lock, before and after a fork; see lock.h.
void local_fork(void (*step)(lock &));
