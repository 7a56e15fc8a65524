// SPDX-License-Identifier: Apache-2.0
//
// The names of the drop-in's jobs: how many there can be at once, and what a start answers
// when there are no more.
#include <vector>

#include "openssl/slot.h"
#include "support.h"

static slot_list list;
// What is left to the main thread by the first test.
static constexpr size_t few = slot_chunk_slots;

static void test_more_than_a_million_at_once(void **)
{
    constexpr bool wide = sizeof(void *) == 8;
    constexpr size_t most = size_t(1) << 20; // with 32 bits
    std::vector<slot *> taken;
    std::vector<ASYNC_JOB *> names;
    slot_list_init(list);
    while (taken.size() < most + 1000 && slot_reserve(list, 1)) {
        taken.push_back(&slot_take(list, nullptr));
        names.push_back(slot_name(*taken.back()));
    }
    assert_int_equal(taken.size(), wide ? most + 1000 : most - few);
    for (size_t i = 0; i < taken.size(); i++)
        if (slot_find(names[i]) != taken[i])
            fail_msg("the name of slot %zu is that of another", i);
    // One that is given back is taken again, by another name.
    slot_give(*taken[5]);
    assert_null(slot_find(names[5]));
    assert_true(slot_reserve(list, 1));
    assert_ptr_equal(&slot_take(list, nullptr), taken[5]);
    assert_null(slot_find(names[5]));
    assert_ptr_equal(slot_find(slot_name(*taken[5])), taken[5]);
    slot_list_close(list);
    for (size_t i = 0; i < taken.size(); i += 997)
        assert_null(slot_find(names[i]));
}

static int pauses(void *) { return ASYNC_pause_job(); }
static int answer_inside;
static int starts_another(void *)
{
    ASYNC_JOB *inner = nullptr;
    int ret = 0;
    answer_inside = ASYNC_start_job(&inner, nullptr, &ret, pauses, nullptr, 0);
    return ASYNC_pause_job();
}

static void test_no_names_left(void **)
{
    ASYNC_JOB *jobs[few] = {}, *other = nullptr;
    int ret = 77;
    for (size_t i = 0; i < few - 1; i++)
        assert_int_equal(ASYNC_start_job(&jobs[i], nullptr, &ret, pauses, nullptr, 0), async_pause);
    // There is one for the outer job, which can still pause, and none for the inner.
    assert_int_equal(ASYNC_start_job(&jobs[few - 1], nullptr, &ret, starts_another, nullptr, 0),
                     async_pause);
    assert_int_equal(answer_inside, async_no_jobs);
    assert_int_equal(ASYNC_start_job(&other, nullptr, &ret, pauses, nullptr, 0), async_no_jobs);
    assert_null(other);
    assert_int_equal(ret, 77);
    assert_int_equal(ASYNC_start_job(&jobs[0], nullptr, &ret, nullptr, nullptr, 0), async_finish);
    assert_int_equal(ASYNC_start_job(&other, nullptr, &ret, pauses, nullptr, 0), async_pause);
    assert_int_equal(ASYNC_start_job(&other, nullptr, &ret, nullptr, nullptr, 0), async_finish);
    for (size_t i = 1; i < few; i++)
        assert_int_equal(ASYNC_start_job(&jobs[i], nullptr, &ret, nullptr, nullptr, 0),
                         async_finish);
    ASYNC_cleanup_thread();
}

// One whose wait context another thread frees is free when its owner has heard of that, and
// not before: it is on its way to the inbox.
static void test_freed_by_another_thread(void **)
{
    auto ctx = reinterpret_cast<ASYNC_WAIT_CTX *>(&list);
    slot_list_init(list);
    assert_true(slot_reserve(list, 1));
    slot &s = slot_take(list, ctx), *found;
    ASYNC_JOB *name = slot_name(s);
    assert_ptr_equal(slot_find_wait_ctx(name), ctx);
    found = slot_leave(nullptr, ctx, nullptr, 5); // looked for among all
    assert_ptr_equal(found, &s);
    assert_null(slot_find_wait_ctx(name));
    assert_ptr_equal(slot_find(name), &s);
    assert_null(slot_leave(name, ctx, nullptr, 5));
    slot_give(s);
    assert_ptr_not_equal(list.free, &s);
    slot_list_receive(list, 1);
    assert_ptr_equal(list.free, &s);
    assert_null(slot_list_oldest_abandoned(list));
    slot_list_close(list);
}

int main()
{
    slot_chunks_most = 1;
    const CMUnitTest small[] = {
        cmocka_unit_test(test_no_names_left),
    };
    int failed = cmocka_run_group_tests_name("few names", small, nullptr, nullptr);
    slot_chunks_most = slot_chunks_room;
    const CMUnitTest large[] = {
        cmocka_unit_test(test_freed_by_another_thread),
        cmocka_unit_test(test_more_than_a_million_at_once),
    };
    return failed + cmocka_run_group_tests_name("many names", large, nullptr, nullptr);
}
