// SPDX-License-Identifier: Apache-2.0
//
// Model-checks the keys of src/local.cpp itself, as test/weak_memory_test.cpp does the ready
// ring: under all schedules, with C++20's memory model. A thread that destroys a job's values
// asks for a key's destructor while another deletes that key and makes the next one, which
// gets the same number.
#include "support.h"

#include "weak_search.h"

// One thread changes keys: its lock is nobody else's.
struct lock;
void lock_take(lock &) {}
void lock_drop(lock &) {}

#include "local.cpp"

static void destroys_first(void *) {}
static void destroys_second(void *) {}
static jobswitch_key first;
static bool found, not_found; // in some schedule

static void begins()
{
    int reason;
    memset(static_cast<void *>(keys), 0, sizeof keys);
    local_key_create(&first, destroys_first, &reason);
}
static void ends() {}

static void asks(int)
{
    auto destructor = destructor_of(first);
    weak::check(!destructor || destructor == destroys_first,
                "a value is given to a later key's destructor");
    (destructor ? found : not_found) = true;
}

static void changes(int)
{
    jobswitch_key second;
    int reason;
    weak::check(local_key_delete(first), "the key is not there");
    weak::check(local_key_create(&second, destroys_second, &reason), "there is no key");
    weak::check(second != first && number_of(second) == number_of(first), "another number");
    weak::check(destructor_of(second) == destroys_second, "its own destructor");
}

static void a_value_meets_its_own_keys_destructor(void **)
{
    weak::functions_change = true;
    weak::plan p = {{{"asks", asks, 0}, {"changes", changes, 1}}, begins, ends, keys, sizeof *keys};
    weak::result r = weak::search(p, {});
    assert_string_equal(r.wrong.c_str(), "");
    assert_true(r.all && found && not_found);
    print_message("  %zu runs, %zu states\n", r.runs, r.states);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(a_value_meets_its_own_keys_destructor),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
