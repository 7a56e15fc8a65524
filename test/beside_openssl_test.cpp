// SPDX-License-Identifier: Apache-2.0
//
// One source file, one process, two runtimes for jobs: OpenSSL's own
// <openssl/async.h> with libcrypto behind it, and jobswitch. Jobs of each run
// beside, inside and through jobs of the other, and each keeps its own idea of
// where it is.
//
// Needs: openssl/opensslconf.h libssl-dev -lcrypto
// (Of OpenSSL's headers this is one that each CPU has its own of.)
#include <stdio.h>

#if !__has_include(<openssl/opensslconf.h>)

int main()
{
    puts("no OpenSSL for this CPU here");
    return 77;
}

#else

#include <dlfcn.h>
#include <openssl/async.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <jobswitch/jobswitch.h>

#include "support.h"

// What happens, in a word each: jobs write, the test compares afterwards.
static char story[2000];
static void tell(const char *word)
{
    if (strlen(story) + strlen(word) + 2 < sizeof story)
        strcat(strcat(story, word), " ");
}

// Who is where: S inside a job of jobswitch, O inside one of OpenSSL.
static void tell_where()
{
    bool ours = jobswitch_in_job(), theirs = ASYNC_get_current_job() != nullptr;
    tell(ours && theirs ? "[SO]" : ours ? "[S]" : theirs ? "[O]" : "[]");
}

static bool digest_right()
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    static const unsigned char abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    return EVP_Digest("abc", 3, digest, &length, EVP_sha256(), nullptr) == 1 &&
           length == 32 && memcmp(digest, abc, sizeof abc) == 0;
}

static const char *reason_to_skip()
{
#ifdef JOBSWITCH_WITH_TSAN
    return "ThreadSanitizer is not told of the switches of OpenSSL's jobs";
#else
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        return "Valgrind is not told of the stacks of OpenSSL's jobs";
    return ASYNC_is_capable() ? nullptr : "this libcrypto has no jobs";
#endif
}

// ---- OpenSSL's job, with a wait descriptor by OpenSSL's own means ------------------

static int openssl_pauses(void *arg)
{
    int times = *static_cast<int *>(arg);
    tell("o-starts");
    tell_where();
    for (int i = 0; i < times; i++) {
        ASYNC_pause_job();
        tell("o-resumed");
        tell_where();
    }
    if (!digest_right())
        tell("wrong-digest");
    return 100 + times;
}

static int jobswitch_pauses(void *arg)
{
    int times = *static_cast<int *>(arg);
    tell("s-starts");
    tell_where();
    for (int i = 0; i < times; i++) {
        jobswitch_pause_job();
        tell("s-resumed");
        tell_where();
    }
    if (!digest_right())
        tell("wrong-digest");
    return 200 + times;
}

struct openssl_round {
    ASYNC_JOB *job = nullptr;
    ASYNC_WAIT_CTX *wait = ASYNC_WAIT_CTX_new();
    int ret = 0;
    int run(int (*function)(void *), int arg)
    {
        return ASYNC_start_job(&job, wait, &ret, function, &arg, sizeof arg);
    }
    ~openssl_round() { ASYNC_WAIT_CTX_free(wait); }
};
struct jobswitch_round {
    jobswitch_job *job = nullptr;
    int ret = 0;
    int run(int (*function)(void *), int arg)
    {
        return jobswitch_start_job(&job, &ret, function, &arg, sizeof arg);
    }
};

// ---- beside each other ------------------------------------------------------------

static void test_beside(void **)
{
    story[0] = 0;
    openssl_round o;
    jobswitch_round s;
    assert_int_equal(o.run(openssl_pauses, 2), ASYNC_PAUSE);
    assert_int_equal(s.run(jobswitch_pauses, 2), JOBSWITCH_PAUSE);
    assert_int_equal(o.run(openssl_pauses, 2), ASYNC_PAUSE);
    assert_int_equal(s.run(jobswitch_pauses, 2), JOBSWITCH_PAUSE);
    assert_int_equal(s.run(jobswitch_pauses, 2), JOBSWITCH_FINISH);
    assert_int_equal(o.run(openssl_pauses, 2), ASYNC_FINISH);
    assert_int_equal(o.ret, 102);
    assert_int_equal(s.ret, 202);
    assert_string_equal(story, "o-starts [O] s-starts [S] o-resumed [O] s-resumed [S] "
                               "s-resumed [S] o-resumed [O] ");
}

// ---- OpenSSL's jobs inside a job of jobswitch -----------------------------------------

// Runs an OpenSSL job to its end; for each of its pauses it pauses itself.
static int runs_openssl(void *arg)
{
    openssl_round o;
    int answer;
    tell("s-outer");
    while ((answer = o.run(openssl_pauses, *static_cast<int *>(arg))) == ASYNC_PAUSE) {
        tell_where();
        jobswitch_pause_job();
        tell("s-again");
    }
    return answer == ASYNC_FINISH ? 1000 + o.ret : -1;
}

static void test_openssl_inside(void **)
{
    story[0] = 0;
    jobswitch_round s;
    assert_int_equal(s.run(runs_openssl, 1), JOBSWITCH_PAUSE);
    assert_null(ASYNC_get_current_job());
    assert_false(jobswitch_in_job());
    assert_int_equal(s.run(runs_openssl, 1), JOBSWITCH_FINISH);
    assert_int_equal(s.ret, 1101);
    assert_string_equal(story, "s-outer o-starts [SO] [S] s-again o-resumed [SO] ");
}

// ---- and the reverse --------------------------------------------------------------------

static int runs_jobswitch(void *arg)
{
    jobswitch_round s;
    int answer;
    tell("o-outer");
    while ((answer = s.run(jobswitch_pauses, *static_cast<int *>(arg))) ==
           JOBSWITCH_PAUSE) {
        tell_where();
        ASYNC_pause_job();
        tell("o-again");
    }
    return answer == JOBSWITCH_FINISH ? 2000 + s.ret : -1;
}

static void test_jobswitch_inside(void **)
{
    story[0] = 0;
    openssl_round o;
    assert_int_equal(o.run(runs_jobswitch, 2), ASYNC_PAUSE);
    assert_null(ASYNC_get_current_job());
    assert_false(jobswitch_in_job());
    assert_int_equal(o.run(runs_jobswitch, 2), ASYNC_PAUSE);
    assert_int_equal(o.run(runs_jobswitch, 2), ASYNC_FINISH);
    assert_int_equal(o.ret, 2202);
    assert_string_equal(story, "o-outer s-starts [SO] [O] o-again s-resumed [SO] [O] "
                               "o-again s-resumed [SO] ");
}

// ---- a pause of one through a running job of the other -----------------------------------

// On a stack of OpenSSL's, inside a job of jobswitch: the pause leaves both
// stacks standing and goes to the starter of the jobswitch job.
static int openssl_pauses_ours(void *)
{
    tell("o-in-s");
    tell_where();
    tell(jobswitch_pause_job() == 1 ? "s-resumed" : "s-refused");
    tell_where();
    return 7;
}
static int runs_through(void *)
{
    openssl_round o;
    int answer = o.run(openssl_pauses_ours, 0);
    return answer == ASYNC_FINISH && o.ret == 7 ? 77 : -1;
}
static void test_pause_through_openssl(void **)
{
    story[0] = 0;
    jobswitch_round s;
    assert_int_equal(s.run(runs_through, 0), JOBSWITCH_PAUSE);
    assert_false(jobswitch_in_job());
    // OpenSSL believes that its job still runs; nothing of it may be called here
    assert_int_equal(s.run(runs_through, 0), JOBSWITCH_FINISH);
    assert_int_equal(s.ret, 77);
    assert_string_equal(story, "o-in-s [SO] s-resumed [SO] ");
    assert_null(ASYNC_get_current_job());
}

// ---- many, from two threads --------------------------------------------------------------

static void *many(void *)
{
    constexpr int count = 40;
    openssl_round o[count];
    jobswitch_round s[count];
    intptr_t wrong = 0;
    for (int round = 0; round <= 3; round++)
        for (int i = 0; i < count; i++) {
            int expected = round < 3 ? ASYNC_PAUSE : ASYNC_FINISH;
            wrong += o[i].run(i % 2 ? runs_jobswitch : openssl_pauses, 3) != expected;
            wrong += s[i].run(i % 2 ? runs_openssl : jobswitch_pauses, 3) != expected;
        }
    for (int i = 0; i < count; i++) {
        wrong += o[i].ret != (i % 2 ? 2203 : 103);
        wrong += s[i].ret != (i % 2 ? 1103 : 203);
    }
    ASYNC_cleanup_thread();
    jobswitch_cleanup_thread();
    return reinterpret_cast<void *>(wrong);
}

// tell() is not for two threads: the story is full from here on.
static void test_threads(void **)
{
    memset(story, 'x', sizeof story - 2);
    story[sizeof story - 1] = 0;
    pthread_t threads[2];
    void *wrong;
    for (pthread_t &t : threads)
        assert_int_equal(pthread_create(&t, nullptr, many, nullptr), 0);
    for (pthread_t t : threads) {
        pthread_join(t, &wrong);
        assert_null(wrong);
    }
    story[0] = 0;
}

// ---- names ----------------------------------------------------------------------------------

// Each name comes from its own library, and there is one of it.
static void test_names(void **)
{
    Dl_info ours, theirs;
    assert_int_not_equal(dladdr(reinterpret_cast<void *>(&jobswitch_start_job), &ours), 0);
    assert_int_not_equal(dladdr(reinterpret_cast<void *>(&ASYNC_start_job), &theirs), 0);
    assert_non_null(strstr(ours.dli_fname, "libjobswitch"));
    assert_non_null(strstr(theirs.dli_fname, "libcrypto"));
    void *library = dlopen(ours.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(library);
    assert_ptr_not_equal(dlsym(library, "jobswitch_start_job"), nullptr);
    assert_null(dlsym(library, "ASYNC_start_job"));
    dlclose(library);
    static_assert(ASYNC_ERR == JOBSWITCH_ERR && ASYNC_NO_JOBS == JOBSWITCH_NO_JOBS &&
                  ASYNC_PAUSE == JOBSWITCH_PAUSE && ASYNC_FINISH == JOBSWITCH_FINISH);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_beside),
        cmocka_unit_test(test_openssl_inside),
        cmocka_unit_test(test_jobswitch_inside),
        cmocka_unit_test(test_pause_through_openssl),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_names),
    };
    if (const char *reason = reason_to_skip()) {
        puts(reason);
        return 77;
    }
    return cmocka_run_group_tests_name("beside_openssl", tests, nullptr, nullptr);
}

#endif
