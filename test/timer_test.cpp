// SPDX-License-Identifier: Apache-2.0
//
// src/timer.h against a model of it: random timers are added, removed and taken, while what
// is next, which ids are in use and how much memory is mapped must be as the model says. Each
// mapping lies between pages that nobody may touch, and can be refused.
#include <map>
#include <set>
#include <vector>

#include "support.h"

#include <sys/mman.h>

#include "timer.h"

// ---- memory --------------------------------------------------------------------------------

static std::map<void *, size_t> mapped; // bytes, by address
static unsigned maps;                   // how often
static bool refuses;
static bool watches; // from main() on: with a tool, memory is mapped before `mapped` is built

static size_t room_of(size_t bytes)
{
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

extern "C" {
void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!watches)
        return __real_mmap(address, bytes, protection, flags, fd, offset);
    const size_t page = room_of(1), room = room_of(bytes);
    if (refuses) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *all = __real_mmap(address, room + 2 * page, protection, flags, fd, offset);
    if (all == MAP_FAILED)
        return all;
    char *memory = static_cast<char *>(all) + page;
    assert_int_equal(mprotect(all, page, PROT_NONE), 0);
    assert_int_equal(mprotect(memory + room, page, PROT_NONE), 0);
    mapped[memory] = bytes;
    maps++;
    return memory;
}

int __wrap_munmap(void *memory, size_t bytes)
{
    auto found = mapped.find(memory);
    assert_true(found != mapped.end());
    assert_int_equal(bytes, found->second);
    mapped.erase(found);
    const size_t page = room_of(1);
    return __real_munmap(static_cast<char *>(memory) - page, room_of(bytes) + 2 * page);
}
}

// ---- the model -----------------------------------------------------------------------------

struct model {
    struct timer {
        uint64_t deadline_ns;
        uint32_t value;
        bool has_come_up;
    };
    std::map<uint32_t, timer> timers; // by id
    std::multiset<uint64_t> deadlines; // of those that have not come up
    size_t ids_most = 0;              // in use at once
    uint32_t values = 0;
    timer_queue queue = {};

    void looks_right() const
    {
        assert_int_equal(timer_next(queue), deadlines.empty() ? UINT64_MAX : *deadlines.begin());
        assert_int_equal(queue.count, deadlines.size());
        assert_int_equal(mapped.size(), queue.capacity != 0);
    }
    void add(uint64_t deadline_ns)
    {
        const unsigned maps_before = maps;
        const uint32_t capacity_before = queue.capacity;
        const uint32_t id = timer_add(queue, deadline_ns, ++values);
        assert_in_range(id, 1, queue.ids);
        assert_true(timers.insert({id, {deadline_ns, values, false}}).second);
        deadlines.insert(deadline_ns);
        // Ids that are free are used again, and room is made only when there is none.
        ids_most = std::max(ids_most, timers.size());
        assert_int_equal(queue.ids, ids_most);
        assert_true(queue.ids < queue.capacity);
        assert_int_equal(maps - maps_before, queue.ids >= capacity_before);
        looks_right();
    }
    void take()
    {
        const uint64_t next_ns = timer_next(queue);
        const uint32_t value = timer_take(queue);
        auto found = timers.begin();
        while (found != timers.end() && found->second.value != value)
            ++found;
        assert_true(found != timers.end());
        assert_false(found->second.has_come_up);
        assert_int_equal(found->second.deadline_ns, next_ns);
        found->second.has_come_up = true;
        deadlines.erase(deadlines.begin());
        looks_right();
    }
    void remove(std::map<uint32_t, timer>::iterator which)
    {
        auto [id, timer] = *which;
        assert_int_equal(timer_remove(queue, id), !timer.has_come_up);
        if (!timer.has_come_up)
            deadlines.erase(deadlines.find(timer.deadline_ns));
        timers.erase(which);
        looks_right();
    }
    void close()
    {
        timer_close(queue);
        assert_null(queue.heap);
        assert_null(queue.place_of);
        assert_int_equal(queue.capacity + queue.ids + queue.free_id, 0);
        timers.clear();
        deadlines.clear();
        ids_most = 0;
        looks_right();
    }
};

struct random_source {
    uint64_t state;
    uint32_t operator()(uint32_t below)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return uint32_t((state >> 33) % below);
    }
};

// ---- tests ---------------------------------------------------------------------------------

// So few at a time that each shape of a small heap comes often.
static void few_timers(void **)
{
    random_source random = {1};
    model m;
    m.looks_right();
    for (int i = 0; i < scaled(100000); i++) {
        const unsigned most = 1 + unsigned(i / 8) % 32, kinds = i % 3 ? 8 : 1000000;
        if (m.timers.size() < most && random(2))
            m.add(random(8) ? 1000 + random(kinds) : random(2) ? 0 : UINT64_MAX - 1);
        else if (!m.deadlines.empty() && random(3) == 0)
            m.take();
        else if (!m.timers.empty())
            m.remove(std::next(m.timers.begin(), random(uint32_t(m.timers.size()))));
        if (random(4096) == 0)
            m.close();
    }
    m.close();
}

// So many that the room grows more than once, with free ids and ids that have come up.
static void many_timers(void **)
{
    random_source random = {2};
    model m;
    for (int round = 0; round < 3; round++) {
        while (m.timers.size() < 5000) {
            m.add(random(100000));
            if (random(8) == 0)
                m.remove(std::next(m.timers.begin(), random(16)));
            if (random(16) == 0)
                m.take();
        }
        while (m.deadlines.size() > size_t(1000 * (2 - round))) {
            if (random(2))
                m.take();
            else
                m.remove(m.timers.lower_bound(1 + random(std::prev(m.timers.end())->first)));
        }
    }
    assert_true(m.queue.capacity >= 5000);
    m.close();
}

// They come up in the order of their deadlines, in whatever order they were added.
static void deadlines_up_and_down(void **)
{
    for (bool up : {true, false}) {
        model m;
        for (unsigned i = 0; i < 1500; i++)
            m.add(up ? i : 1500 - i);
        while (!m.deadlines.empty())
            m.take();
        while (!m.timers.empty())
            m.remove(m.timers.begin());
        m.add(1);
        m.close();
    }
}

// A timer that finds no room is not there, and the others are as before.
static void no_memory(void **)
{
    model m;
    refuses = true;
    assert_int_equal(timer_add(m.queue, 1, 1), 0);
    m.looks_right();
    refuses = false;
    m.add(7);
    const uint32_t capacity = m.queue.capacity;
    for (uint32_t i = 2; i < capacity; i++)
        m.add(i % 10);
    refuses = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(timer_add(m.queue, 0, 1), 0);
        assert_int_equal(m.queue.capacity, capacity);
        m.looks_right();
    }
    // What one gives up, another has.
    m.remove(m.timers.find(capacity / 2));
    m.add(3);
    assert_int_equal(timer_add(m.queue, 0, 1), 0);
    refuses = false;
    // The last one before the room grows is still to be found.
    m.add(0);
    m.remove(m.timers.find(capacity - 1));
    for (uint32_t i = 0; i < capacity; i++)
        m.add(i % 20);
    while (!m.deadlines.empty())
        m.take();
    m.close();
}

int main()
{
    watches = true;
    const CMUnitTest tests[] = {
        cmocka_unit_test(few_timers),
        cmocka_unit_test(many_timers),
        cmocka_unit_test(deadlines_up_and_down),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
