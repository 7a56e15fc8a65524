/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a compiler makes of the inlined start and pause: values that live across
 * them on both sides, in registers of every kind, in aligned frames and below
 * the stack pointer; the plain functions beside the stubs; arguments of many
 * sizes; misuse. C99 and C++11 alike: test/inline_test.sh compiles it in many
 * ways. The exit code is 0 if all is well.
 */
#include <jobswitch/jobswitch.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            printf("line %d: not so: %s (reason %d)\n", __LINE__, #what,       \
                   jobswitch_last_error());                                    \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#if defined(__AVX512F__)
typedef double numbers __attribute__((vector_size(64)));
#elif defined(__AVX2__)
typedef double numbers __attribute__((vector_size(32)));
#else
typedef double numbers __attribute__((vector_size(16)));
#endif

/* Through a pointer: never inlined. */
static int (*volatile start_function)(jobswitch_job **, int *, int (*)(void *),
                                      void *, size_t) = jobswitch_start_job;
static int (*volatile pause_function)(void) = jobswitch_pause_job;
static volatile unsigned any = 3; /* a number the compiler does not know */

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

enum way { not_at_all, by_stub, by_function, in_turn };

/* ---- live values in jobs ------------------------------------------------------ */

/* The same with and without pauses. */
static NOINLINE int work(unsigned seed, int pauses, enum way way)
{
    unsigned a = seed, b = seed ^ 0x55, c = seed * 3, d = seed + 7, e = ~seed,
             f = seed << 3, g = seed >> 1;
    double x = seed * 0.5, y = seed + 0.25;
    float z = (float)(seed & 1023), w = 1.5f;
    long double u = seed;
    numbers v = {x, y}, t = {y, x};
    int i;

    for (i = 0; i < pauses; i++) {
        if (way == by_stub || (way == in_turn && i % 2 == 0))
            CHECK(jobswitch_pause_job() == 1);
        else if (way != not_at_all)
            CHECK(pause_function() == 1);
        a += b ^ (unsigned)i;
        b = b * 5 + c;
        c ^= d + a;
        d += e * 3;
        e ^= f + (a >> 3);
        f += g;
        g = g * 7 + a;
        x = x * 0.75 + y;
        y = y * 0.5 + 1.0;
        z = z * 0.5f + w;
        w += 0.25f;
        u = u * 0.5L + 3;
        v = v * 0.5 + t;
        t = t + 0.125;
    }
    return (int)((a ^ b ^ c ^ d ^ e ^ f ^ g) + (unsigned)(int)x + (unsigned)(int)y +
                 (unsigned)(int)z + (unsigned)(int)w + (unsigned)(int)u +
                 (unsigned)(int)(v[0] * 8) + (unsigned)(int)(v[1] * 8) +
                 (unsigned)(int)(t[0] * 8) + (unsigned)(int)(t[1] * 8));
}

struct order {
    unsigned seed;
    int pauses;
    enum way way;
};
static int worker(void *arg)
{
    struct order o = *(struct order *)arg;
    return work(o.seed, o.pauses, o.way);
}

enum { slots = 12 };
static jobswitch_job *jobs[slots];
static struct order orders[slots];
static int turns_left[slots];
static unsigned long ways_seen[3][4];

static int quick(void *arg)
{
    (void)arg;
    return 12;
}

/* One start or resume of a slot, the way it is told. */
static inline __attribute__((always_inline)) void turn(int k, enum way way,
                                                       unsigned *state)
{
    int ret = -77, answer;
    jobswitch_job *before = jobs[k];

    if (next_random(state) % 8 == 0) { /* and one without arguments */
        jobswitch_job *job = NULL;
        if (way == by_stub)
            answer = jobswitch_start_job(&job, &ret, quick, NULL, 0);
        else
            answer = start_function(&job, &ret, quick, NULL, 0);
        CHECK(answer == JOBSWITCH_FINISH && !job && ret == 12);
        ret = -77;
    }
    if (!before) {
        orders[k].seed = next_random(state);
        orders[k].pauses = turns_left[k] = (int)(next_random(state) % 6);
        orders[k].way = (enum way)(by_stub + next_random(state) % 3);
    }
    if (way == by_stub)
        answer = jobswitch_start_job(&jobs[k], &ret, worker, &orders[k], sizeof orders[k]);
    else
        answer = start_function(&jobs[k], &ret, worker, &orders[k], sizeof orders[k]);
    ways_seen[way][orders[k].way]++;
    if (turns_left[k]-- > 0) {
        CHECK(answer == JOBSWITCH_PAUSE && ret == -77 && jobs[k]);
        CHECK(!before || jobs[k] == before);
    } else {
        CHECK(answer == JOBSWITCH_FINISH && !jobs[k]);
        CHECK(ret == work(orders[k].seed, orders[k].pauses, not_at_all));
    }
}

/* The same with and without jobs. */
static NOINLINE unsigned drive(unsigned seed, int rounds, int real)
{
    unsigned a = seed, b = seed ^ 9, c = seed * 3, d = ~seed, e = seed + 4, f = seed << 2;
    double x = seed, y = 0.5;
    float z = 2.5f;
    numbers v = {1.0, 2.0}, t = {0.5, 0.25};
    unsigned state = seed;
    int i;

    for (i = 0; i < rounds; i++) {
        if (real) {
            int k = (int)(next_random(&state) % slots);
            if (next_random(&state) & 1)
                turn(k, by_stub, &state);
            else
                turn(k, by_function, &state);
        }
        a += b ^ (unsigned)i;
        b = b * 5 + c;
        c ^= d + a;
        d += e * 3;
        e ^= f + (a >> 3);
        f = f * 7 + a;
        x = x * 0.75 + y;
        y = y * 0.5 + 1.0;
        z = z * 0.5f + 1.0f;
        v = v * 0.5 + t;
        t = t * 0.75 + 0.125;
    }
    return (a ^ b ^ c ^ d ^ e ^ f) + (unsigned)(int)x + (unsigned)(int)y +
           (unsigned)(int)(z * 8) + (unsigned)(int)(v[0] * 64) +
           (unsigned)(int)(v[1] * 64) + (unsigned)(int)(t[0] * 64);
}

static void live_values(void)
{
    int k, i;
    for (i = 0; i < 4; i++)
        CHECK(drive(any + (unsigned)i, 3000, 1) == drive(any + (unsigned)i, 3000, 0));
    for (k = 0; k < slots; k++) {
        unsigned state = 1;
        while (jobs[k])
            turn(k, by_stub, &state);
    }
    for (i = by_stub; i <= by_function; i++)
        CHECK(ways_seen[i][by_stub] > 500 && ways_seen[i][by_function] > 500 &&
              ways_seen[i][in_turn] > 500);
}

/* ---- frames --------------------------------------------------------------------- */

/* A frame of variable size with an aligned variable. */
static NOINLINE int large_frame(unsigned n, enum way way, int start)
{
    unsigned char *variable = (unsigned char *)__builtin_alloca(n);
    unsigned aligned[64] __attribute__((aligned(64)));
    unsigned i, bad = 0;
    struct order o = {n, 2, by_stub};
    jobswitch_job *job = NULL;
    int ret = 0, turns = 0;

    for (i = 0; i < n; i++)
        variable[i] = (unsigned char)(i * 7 + n);
    for (i = 0; i < 64; i++)
        aligned[i] = i * n;
    __asm__ volatile("" : : "r"(variable), "r"(aligned) : "memory");
    if (start) {
        do {
            turns++;
            for (i = 0; i < 64; i++)
                bad += aligned[i] != i * n;
        } while ((way == by_stub
                      ? jobswitch_start_job(&job, &ret, worker, &o, sizeof o)
                      : start_function(&job, &ret, worker, &o, sizeof o)) ==
                 JOBSWITCH_PAUSE);
        CHECK(turns == 3 && ret == work(n, 2, not_at_all));
    } else {
        CHECK(jobswitch_pause_job() == 1);
    }
    __asm__ volatile("" : : "r"(variable), "r"(aligned) : "memory");
    for (i = 0; i < n; i++)
        bad += variable[i] != (unsigned char)(i * 7 + n);
    for (i = 0; i < 64; i++)
        bad += aligned[i] != i * n;
    bad += (uintptr_t)aligned % 64 != 0;
    return (int)bad;
}
static int large_frame_job(void *arg)
{
    return large_frame(*(unsigned *)arg, by_stub, 0);
}

/* A leaf's variables lie below the stack pointer. */
static NOINLINE unsigned leaf_pause(unsigned seed)
{
    volatile unsigned local[20];
    unsigned i, sum = 0;
    for (i = 0; i < 20; i++)
        local[i] = seed + i;
    jobswitch_pause_job();
    for (i = 0; i < 20; i++)
        sum += local[i] * (i + 1);
    return sum;
}
static NOINLINE unsigned leaf_start(unsigned seed)
{
    volatile unsigned local[16];
    unsigned i, sum = 0;
    jobswitch_job *job = NULL;
    int ret = 0;
    for (i = 0; i < 16; i++)
        local[i] = seed + i;
    (void)jobswitch_start_job(&job, &ret, quick, NULL, 0);
    for (i = 0; i < 16; i++)
        sum += local[i] * (i + 1);
    return sum + (unsigned)ret;
}
static int leaf_start_job(void *arg)
{
    return (int)leaf_start(*(unsigned *)arg);
}
static int leaf_job(void *arg)
{
    return (int)leaf_pause(*(unsigned *)arg);
}

static void frames(void)
{
    unsigned n, seed = any, sum = 0, i;
    jobswitch_job *job = NULL;
    int ret = 0;

    for (n = 1; n < 3000; n += 411) {
        CHECK(large_frame(n, by_stub, 1) == 0);
        CHECK(large_frame(n, by_function, 1) == 0);
        CHECK(jobswitch_start_job(&job, &ret, large_frame_job, &n, sizeof n) ==
              JOBSWITCH_PAUSE);
        CHECK(large_frame(n + 1, by_stub, 1) == 0);
        CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH);
        CHECK(ret == 0);
    }
    for (i = 0; i < 16; i++)
        sum += (seed + i) * (i + 1);
    CHECK(leaf_start(seed) == sum + 12);
    CHECK(jobswitch_start_job(&job, &ret, leaf_start_job, &seed, sizeof seed) ==
          JOBSWITCH_FINISH);
    CHECK((unsigned)ret == sum + 12);
    for (; i < 20; i++)
        sum += (seed + i) * (i + 1);
    CHECK(leaf_pause(seed) == sum); /* outside a job it does nothing */
    CHECK(jobswitch_start_job(&job, &ret, leaf_job, &seed, sizeof seed) == JOBSWITCH_PAUSE);
    CHECK(leaf_start(seed) != 0);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH);
    CHECK((unsigned)ret == sum);
}

/* ---- arguments, nested jobs ---------------------------------------------------- */

static unsigned char bytes[100000];
static size_t bytes_size;
static int takes_bytes(void *arg)
{
    CHECK(arg && memcmp(arg, bytes, bytes_size) == 0);
    CHECK(arg != bytes && (uintptr_t)arg % 16 == 0);
    jobswitch_pause_job();
    CHECK(memcmp(arg, bytes, bytes_size) == 0);
    return 21;
}
static int takes_null(void *arg) { return arg ? 1 : 22; }

static void arguments(void)
{
    static const size_t sizes[] = {0, 1, 3, 8, 40, 64, 65, 1024, 1025, 100000};
    jobswitch_job *job = NULL;
    size_t i;
    int ret = 0;

    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 13 + 5);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bytes_size = sizes[i];
        CHECK(jobswitch_start_job(&job, &ret, takes_bytes, bytes, sizes[i]) ==
              JOBSWITCH_PAUSE);
        CHECK(jobswitch_start_job(&job, &ret, takes_bytes, bytes, sizes[i]) ==
              JOBSWITCH_FINISH);
        CHECK(ret == 21 && !job);
    }
    CHECK(jobswitch_start_job(&job, &ret, takes_null, NULL, 50) == JOBSWITCH_FINISH);
    CHECK(ret == 22);
}

static int nest(void *arg)
{
    int depth = *(int *)arg - 1, ret = 0, sum = 0;
    jobswitch_job *job = NULL;
    if (depth < 0) {
        CHECK(jobswitch_pause_job() == 1);
        return 1;
    }
    while (jobswitch_start_job(&job, &ret, nest, &depth, sizeof depth) == JOBSWITCH_PAUSE) {
        sum += 100;
        CHECK(jobswitch_pause_job() == 1);
    }
    return sum + ret + 1;
}
static void nested(void)
{
    int depth = 4, ret = 0, turns = 0;
    jobswitch_job *job = NULL;
    while (jobswitch_start_job(&job, &ret, nest, &depth, sizeof depth) == JOBSWITCH_PAUSE)
        turns++;
    CHECK(turns == 1 && ret == 405);
}

/* ---- misuse ----------------------------------------------------------------------- */

static NOINLINE void refused(jobswitch_job *handle, int reason)
{
    jobswitch_job *job = handle;
    int ret = -5;
    CHECK(jobswitch_start_job(&job, &ret, quick, NULL, 0) == JOBSWITCH_ERR);
    CHECK(job == handle && ret == -5 && jobswitch_last_error() == reason);
    CHECK(start_function(&job, &ret, quick, NULL, 0) == JOBSWITCH_ERR);
    CHECK(job == handle && ret == -5 && jobswitch_last_error() == reason);
}

static jobswitch_job *outer_handle;
static int tries_itself(void *arg)
{
    (void)arg;
    refused(jobswitch_get_current_job(), JOBSWITCH_E_RUNNING);
    jobswitch_pause_job();
    refused(jobswitch_get_current_job(), JOBSWITCH_E_RUNNING);
    return 31;
}
static int tries_outer(void *arg)
{
    (void)arg;
    refused(outer_handle, JOBSWITCH_E_WAITING);
    return 32;
}
static int outer(void *arg)
{
    jobswitch_job *job = NULL;
    int ret = 0;
    (void)arg;
    outer_handle = jobswitch_get_current_job();
    CHECK(jobswitch_start_job(&job, &ret, tries_outer, NULL, 0) == JOBSWITCH_FINISH);
    return ret;
}
static int blocks(void *arg)
{
    (void)arg;
    jobswitch_block_pause();
    CHECK(jobswitch_pause_job() == 1);
    CHECK(pause_function() == 1);
    jobswitch_unblock_pause();
    CHECK(jobswitch_pause_job() == 1);
    return 33;
}
static void *foreigner(void *handle)
{
    jobswitch_job *job = NULL;
    int ret = 0;
    refused((jobswitch_job *)handle, JOBSWITCH_E_WRONG_THREAD);
    CHECK(jobswitch_pause_job() == 1);
    CHECK(jobswitch_start_job(&job, &ret, quick, NULL, 0) == JOBSWITCH_FINISH);
    refused((jobswitch_job *)handle, JOBSWITCH_E_WRONG_THREAD);
    jobswitch_cleanup_thread();
    return handle;
}

static void misuse(void)
{
    static const uintptr_t garbage[] = {1, 127, 128, 12345, 0xffffffffu, (uintptr_t)1 << 32,
                                        ~(uintptr_t)0, (uintptr_t)1 << 63};
    struct order o = {5, 1, by_stub};
    jobswitch_job *job = NULL, *stale;
    pthread_t thread;
    size_t i;
    int ret = -5;

    CHECK(jobswitch_start_job(NULL, &ret, quick, NULL, 0) == JOBSWITCH_ERR);
    CHECK(jobswitch_last_error() == JOBSWITCH_E_NULL);
    CHECK(jobswitch_start_job(&job, NULL, quick, NULL, 0) == JOBSWITCH_ERR);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_ERR);
    CHECK(jobswitch_last_error() == JOBSWITCH_E_NULL);
    CHECK(jobswitch_start_job(&job, &ret, quick, bytes, ~(size_t)0) == JOBSWITCH_ERR);
    CHECK(jobswitch_last_error() == JOBSWITCH_E_SIZE && ret == -5 && !job);
    CHECK(jobswitch_pause_job() == 1);
    for (i = 0; i < sizeof garbage / sizeof *garbage; i++)
        refused((jobswitch_job *)garbage[i], JOBSWITCH_E_UNKNOWN_JOB);

    CHECK(jobswitch_start_job(&job, &ret, worker, &o, sizeof o) == JOBSWITCH_PAUSE);
    stale = job;
    CHECK(pthread_create(&thread, NULL, foreigner, job) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    refused((jobswitch_job *)((uintptr_t)job + 1), JOBSWITCH_E_UNKNOWN_JOB);
    refused((jobswitch_job *)((uintptr_t)job + ((uintptr_t)1 << 40)), JOBSWITCH_E_UNKNOWN_JOB);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH);
    refused(stale, JOBSWITCH_E_FINISHED);
    CHECK(jobswitch_start_job(&job, &ret, worker, &o, sizeof o) == JOBSWITCH_PAUSE);
    refused(stale, JOBSWITCH_E_FINISHED);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH);

    CHECK(jobswitch_start_job(&job, &ret, tries_itself, NULL, 0) == JOBSWITCH_PAUSE);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH && ret == 31);
    CHECK(jobswitch_start_job(&job, &ret, outer, NULL, 0) == JOBSWITCH_FINISH && ret == 32);
    CHECK(jobswitch_start_job(&job, &ret, blocks, NULL, 0) == JOBSWITCH_PAUSE);
    CHECK(jobswitch_start_job(&job, &ret, NULL, NULL, 0) == JOBSWITCH_FINISH && ret == 33);
}

/* ---- exceptions ------------------------------------------------------------------- */

#ifdef __cplusplus
struct counted {
    int *count;
    ~counted() { ++*count; }
};
static int unwound;
static NOINLINE void pause_and_throw(int value)
{
    counted local = {&unwound};
    int kept = value * 3;
    jobswitch_pause_job();
    throw kept + *local.count;
}
static int thrower(void *arg)
{
    int number = *(int *)arg, sum = 0;
    for (int i = 0; i < 3; i++) {
        try {
            pause_and_throw(number);
        } catch (int value) {
            jobswitch_pause_job();
            sum += value;
        }
    }
    return sum;
}
static void exceptions()
{
    jobswitch_job *job = nullptr;
    int number = 100, ret = 0, turns = 0;
    try {
        while (jobswitch_start_job(&job, &ret, thrower, &number, sizeof number) ==
               JOBSWITCH_PAUSE)
            turns++;
        throw ret;
    } catch (int value) {
        CHECK(value == 903 && turns == 6 && unwound == 3);
    }
}
#else
static void exceptions(void) {}
#endif

int main(void)
{
    misuse(); /* without a pool at first */
    live_values();
    frames();
    arguments();
    nested();
    exceptions();
    jobswitch_cleanup_thread();
    misuse();
    jobswitch_cleanup_thread();
    return 0;
}
