// SPDX-License-Identifier: Apache-2.0
#include "local.h"

#include <atomic>
#include <cstdlib>
#include <sys/mman.h>

// As often as POSIX asks at least of a thread's (PTHREAD_DESTRUCTOR_ITERATIONS).
static constexpr unsigned destructor_rounds = 4;
static constexpr uint32_t places_first = 1024;

// ---- keys --------------------------------------------------------------------------

// A key is its number and, above that, how often the number has been given: an old one
// is none. use is odd while it is given.
static struct {
    std::atomic<uint32_t> use;
    std::atomic<void (*)(void *)> destructor;
} keys[local_keys_most];
static constinit lock keys_guard;
static constexpr uint32_t uses_most = UINT32_MAX / local_keys_most;

static uint32_t number_of(jobswitch_key key) { return key % local_keys_most; }

bool local_key_create(jobswitch_key *key, void (*destructor)(void *), int *reason)
{
    lock_scope scope(keys_guard);
    uint32_t number = 0;
    while (number < local_keys_most &&
           (keys[number].use % 2 || keys[number].use >= uses_most - 1))
        number++;
    if (number < local_keys_most) {
        // Whoever reads it finds the number's last use ended, too.
        keys[number].destructor.store(destructor, std::memory_order_release);
        *key = ++keys[number].use * local_keys_most + number;
    } else {
        *reason = JOBSWITCH_E_NO_KEYS;
    }
    return number < local_keys_most;
}

bool local_key_exists(jobswitch_key key)
{
    uint32_t use = keys[number_of(key)].use.load(std::memory_order_acquire);
    return use % 2 && use == key / local_keys_most;
}

bool local_key_delete(jobswitch_key key)
{
    lock_scope scope(keys_guard);
    bool exists = local_key_exists(key);
    if (exists)
        keys[number_of(key)].use++;
    return exists;
}

void local_fork(void (*step)(lock &)) { step(keys_guard); }

// ---- values ------------------------------------------------------------------------

struct local_value {
    jobswitch_key key;
    void *value;
};
struct local_values {
    uint32_t count;     // of the values, which lie behind this
    uint32_t next_free; // place + 1

    local_value &at(uint32_t number) // of the key
    {
        return reinterpret_cast<local_value *>(this + 1)[number];
    }
};
static_assert(sizeof(local_values) % alignof(local_value) == 0);

static size_t bytes_of(uint32_t count)
{
    return sizeof(local_values) + count * sizeof(local_value);
}

// An array that holds a number, with what the old one holds.
static local_values *values_with(local_values *old, uint32_t number)
{
    uint32_t count = old ? old->count : 4;
    while (count <= number)
        count *= 2;
    auto values = static_cast<local_values *>(realloc(old, bytes_of(count)));
    if (!values)
        return nullptr;
    for (uint32_t i = old ? values->count : 0; i < count; i++)
        values->at(i) = {};
    values->count = count;
    return values;
}

static void announce(const local_table &table,
                     void (*jobswitch_tool::*what)(const void *, size_t))
{
    if (table.tool && table.tool->*what && table.places)
        (table.tool->*what)(table.places, table.capacity * sizeof(void *));
}

static bool places_grow(local_table &table)
{
    uint32_t capacity = table.capacity ? table.capacity * 2 : places_first;
    announce(table, &jobswitch_tool::root_remove);
    void *memory =
        table.places
            ? mremap(static_cast<void *>(table.places), table.capacity * sizeof(void *),
                     capacity * sizeof(void *), MREMAP_MAYMOVE)
            : mmap(nullptr, capacity * sizeof(void *), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool grown = memory != MAP_FAILED;
    if (grown) {
        table.places = static_cast<local_values **>(memory);
        table.capacity = capacity;
    }
    announce(table, &jobswitch_tool::root_add);
    return grown;
}

static bool place_find(local_table &table, uint32_t &place)
{
    if (table.free) {
        place = table.free;
        table.free = table.places[place - 1]->next_free;
        return true;
    }
    if (table.count == table.capacity && !places_grow(table))
        return false;
    local_values *values = values_with(nullptr, 0);
    if (!values)
        return false;
    table.places[table.count++] = values;
    place = table.count;
    return true;
}

bool local_set(local_table &table, uint32_t &place, jobswitch_key key, void *value)
{
    if (!place && !place_find(table, place))
        return false;
    local_values *values = table.places[place - 1];
    uint32_t number = number_of(key);
    if (number >= values->count) {
        values = values_with(values, number);
        if (!values)
            return false;
        table.places[place - 1] = values;
    }
    values->at(number) = {key, value};
    return true;
}

void *local_get(const local_table &table, uint32_t place, jobswitch_key key)
{
    if (!place)
        return nullptr;
    local_values *values = table.places[place - 1];
    uint32_t number = number_of(key);
    bool is_there = number < values->count && values->at(number).key == key &&
                    local_key_exists(key);
    return is_there ? values->at(number).value : nullptr;
}

// NULL: there is none, or the key has been deleted. In this order: then a destructor of a
// later use of the number comes with the end of this one.
static auto destructor_of(jobswitch_key key) -> void (*)(void *)
{
    auto destructor = keys[number_of(key)].destructor.load(std::memory_order_acquire);
    return local_key_exists(key) ? destructor : nullptr;
}

// One round over all values; false if there was nothing to do. A destructor may set
// values, and so move the array.
static bool destroy(local_table &table, uint32_t place)
{
    bool any = false;
    for (uint32_t i = 0; i < table.places[place - 1]->count; i++) {
        auto [key, value] = table.places[place - 1]->at(i);
        if (!value)
            continue;
        table.places[place - 1]->at(i).value = nullptr;
        auto destructor = destructor_of(key);
        if (!destructor)
            continue;
        destructor(value);
        any = true;
    }
    return any;
}

void local_end(local_table &table, uint32_t place)
{
    for (unsigned round = 0; round < destructor_rounds && destroy(table, place); round++)
        ;
    local_values *values = table.places[place - 1];
    for (uint32_t i = 0; i < values->count; i++)
        values->at(i) = {};
    values->next_free = table.free;
    table.free = place;
}

void local_close(local_table &table)
{
    for (uint32_t i = 0; i < table.count; i++)
        free(table.places[i]);
    announce(table, &jobswitch_tool::root_remove);
    if (table.places)
        munmap(static_cast<void *>(table.places), table.capacity * sizeof(void *));
    table = {};
}
