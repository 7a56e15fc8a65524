#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Tools that follow the stack, on programs that use the library as it is
# released: such a program is built with a sanitizer, includes the ordinary
# header and links the ordinary library. Each tool must be silent on a right
# program that does all that jobs can, and must find a planted error inside a
# job and name the functions involved. Valgrind's part needs the library of
# MODE=valgrind, and runs in that mode.
set -u
. "$(dirname "$0")/support.sh"
not_emulated "the tools want the CPU itself"
[ "${ARCH:-$(uname -m)}" = "$(uname -m)" ] || none_of_it "the tools' compilers are for this machine's CPU"
unset ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS UBSAN_OPTIONS

# silent WHAT COMMAND...: ends with 0 and says nothing on standard error
silent() {
    local what=$1
    shift
    if timeout 120 env "$@" >"$OUT/out" 2>"$OUT/err" && [ ! -s "$OUT/err" ]; then
        ok "$what"
    else
        { echo "exit code $?"; cat "$OUT/err"; } >"$OUT/log"
        bad "$what" "$OUT/log"
    fi
}

# tells WHAT PATTERNS COMMAND...: fails, and each line of PATTERNS (an extended
# expression) is on standard error, in this order
tells() {
    local what=$1 patterns=$2 line at=1 found
    shift 2
    timeout 120 env "$@" >"$OUT/out" 2>"$OUT/err"
    local code=$?
    if [ $code = 0 ] || [ $code = 124 ]; then
        bad "$what: it ended with $code" "$OUT/err"
        return
    fi
    while IFS= read -r line; do
        found=$(tail -n +$at "$OUT/err" | grep -nE -m1 -- "$line" | cut -d: -f1)
        if [ -z "$found" ]; then
            bad "$what: no \"$line\" from line $at of the report on" "$OUT/err"
            return
        fi
        at=$((at + found))
    done <<<"$patterns"
    ok "$what"
}

# ---- the programs -------------------------------------------------------------

# A right program: all that jobs can, in each of two threads.
cat >"$OUT/right.cpp" <<'END'
#include <jobswitch/jobswitch.h>
#include <pthread.h>
#include <stdexcept>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#ifndef JOBS
#define JOBS 2000
#endif

static thread_local long shared; // by all jobs of a thread

[[gnu::noinline]] static int dig(int depth, int pauses)
{
    volatile unsigned char frame[400];
    memset((void *)frame, depth, sizeof frame);
    if (depth == 0) {
        while (pauses--)
            jobswitch_pause_job();
        return 0;
    }
    int below = dig(depth - 1, pauses);
    for (unsigned char c : frame)
        if (c != (unsigned char)depth)
            abort();
    return below + 1;
}

static int deep(void *arg)
{
    int depth = *(int *)arg % 60;
    shared++;
    return dig(depth, depth % 4) == depth ? 1 : -1;
}

static int thrower(void *arg)
{
    int n = *(int *)arg, sum = 0;
    for (int i = 0; i < 3; i++) {
        try {
            std::vector<int> local(10, n);
            jobswitch_pause_job();
            if (dig(20, 0) != 20)
                abort();
            throw std::runtime_error("inside");
        } catch (const std::exception &e) {
            sum += int(strlen(e.what()));
        }
    }
    shared++;
    return sum == 18 ? 1 : -1;
}

static int nester(void *arg)
{
    int n = *(int *)arg, ret = 0, left = n % 5;
    jobswitch_job *job = nullptr;
    if (left == 0)
        return deep(arg);
    left--;
    int answer;
    while ((answer = jobswitch_start_job(&job, &ret, left ? nester : thrower, &left,
                                         sizeof left)) == JOBSWITCH_PAUSE)
        jobswitch_pause_job();
    return answer == JOBSWITCH_FINISH ? ret : -1;
}

static int holder(void *)
{
    char text[200];
    memset(text, 'x', sizeof text);
    jobswitch_pause_job();
    return text[100] == 'x';
}

static void round(int jobs)
{
    int (*const functions[])(void *) = {deep, thrower, nester};
    std::vector<jobswitch_job *> job(size_t(jobs), nullptr);
    std::vector<int> ret(size_t(jobs), 0);
    int left = jobs, first = 1;
    while (left) {
        for (int i = 0; i < jobs; i++) {
            if (!first && !job[size_t(i)])
                continue;
            int answer = jobswitch_start_job(&job[size_t(i)], &ret[size_t(i)],
                                             functions[i % 3], &i, sizeof i);
            if (answer == JOBSWITCH_FINISH)
                left--;
            else if (answer != JOBSWITCH_PAUSE)
                exit(fprintf(stderr, "start: %s\n",
                             jobswitch_error_string(jobswitch_last_error())));
        }
        first = 0;
    }
    for (int r : ret)
        if (r != 1)
            exit(fprintf(stderr, "a job returned %d\n", r));
}

static void *work(void *)
{
    round(JOBS);
    // Paused jobs are thrown away with their frames, in which is nothing that
    // would be lost; the stacks serve again.
    for (int times = 0; times < 3; times++) {
        for (int i = 0; i < 50; i++) {
            jobswitch_job *job = nullptr;
            int ret;
            if (jobswitch_start_job(&job, &ret, i % 2 ? holder : deep, &i, sizeof i) ==
                JOBSWITCH_ERR)
                abort();
        }
        jobswitch_cleanup_thread();
        round(60);
        jobswitch_trim_thread(0);
        round(60);
    }
    return shared > JOBS / 2 ? (void *)1 : nullptr;
}

int main()
{
    pthread_t thread;
    void *right = nullptr;
    pthread_create(&thread, nullptr, work, nullptr);
    if (!work(nullptr))
        return 2;
    pthread_join(thread, &right);
    jobswitch_cleanup_thread();
    return right ? 0 : 3;
}
END

# One error, or one oddity that is none; argv[1] chooses.
cat >"$OUT/one.cpp" <<'END'
#include <jobswitch/jobswitch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION extern "C" [[gnu::noinline]]

static volatile int sink;
static char *volatile pointer;

// Whatever calls have left below the stack pointer goes, the red zone apart.
[[gnu::always_inline]] inline void wipe_below()
{
#if defined(__x86_64__) && !defined(NO_WIPE)
    asm volatile("lea -8192(%%rsp), %%rdi\n\tmov $1008, %%ecx\n\t"
                 "xor %%eax, %%eax\n\trep stosq"
                 : : : "rdi", "rcx", "rax", "cc", "memory");
#endif
}

static int run(int (*function)(void *), bool resume = true)
{
    jobswitch_job *job = nullptr;
    int ret = 0;
    while (jobswitch_start_job(&job, &ret, function, nullptr, 0) == JOBSWITCH_PAUSE)
        if (!resume)
            return 0;
    return ret;
}

FUNCTION void leaves_address()
{
    char local[64];
    memset(local, 1, sizeof local);
    pointer = local;
}
FUNCTION int uses_after_return(void *)
{
    jobswitch_pause_job();
    leaves_address();
    sink = pointer[5];
    return 1;
}
// the address of a frame of a job, used by the thread after the job's end
FUNCTION int leaves_frame(void *)
{
    leaves_address();
    return 1;
}

FUNCTION int allocates(void *)
{
    pointer = (char *)malloc(40);
    return 1;
}
FUNCTION int frees(void *)
{
    jobswitch_pause_job();
    free(pointer);
    return 1;
}
FUNCTION int uses(void *)
{
    jobswitch_pause_job();
    sink = pointer[7];
    return 1;
}
FUNCTION int overflows(void *)
{
    char local[32];
    memset(local, 1, sizeof local);
    jobswitch_pause_job();
    volatile int at = 32 + sink;
    sink = local[at];
    return 1;
}
FUNCTION int loses(void *)
{
    pointer = (char *)malloc(77);
    jobswitch_pause_job();
    pointer = nullptr;
    wipe_below(); // LeakSanitizer takes a job's whole stack for alive
    return 1;
}

// The thread's own frame knows of it, while a job ends the program.
FUNCTION int exits(void *) { exit(0); }
FUNCTION void keeps_and_exits()
{
    char *p = (char *)malloc(60), *q = (char *)malloc(61);
    pointer = (char *)&p;
    wipe_below();
    run(exits);
    free(p);
    free(q);
}

// Heap memory that only a paused job knows of: from a frame, and with more
// pointers than fit into registers the callee preserves, from those.
FUNCTION int keeps(void *)
{
    char *in_frame[3];
    for (char *&p : in_frame)
        p = (char *)malloc(50);
    pointer = (char *)in_frame; // it has an address
    jobswitch_pause_job();
    for (char *p : in_frame)
        free(p);
    return 1;
}
FUNCTION int keeps_in_registers(void *)
{
    char *a = (char *)malloc(51), *b = (char *)malloc(52), *c = (char *)malloc(53);
    char *d = (char *)malloc(54), *e = (char *)malloc(55), *f = (char *)malloc(56);
    wipe_below();
    asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    jobswitch_pause_job();
    asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    free(a), free(b), free(c), free(d), free(e), free(f);
    return 1;
}
FUNCTION int keeps_nested(void *)
{
    char *mine = (char *)malloc(57);
    run(keeps, false);
    run(keeps_in_registers, false);
    jobswitch_pause_job();
    free(mine);
    return 1;
}
FUNCTION int scrub(int depth)
{
    volatile char frame[256];
    memset((void *)frame, 0, sizeof frame);
    return depth ? scrub(depth - 1) + frame[0] : 0;
}

FUNCTION int overflows_int(void *)
{
    jobswitch_pause_job();
    volatile int most = INT_MAX;
    sink = most + 1;
    return 1;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "return"))
        run(uses_after_return);
    else if (!strcmp(what, "ended")) {
        run(leaves_frame);
        sink = pointer[5];
    } else if (!strcmp(what, "free")) {
        run(allocates);
        run(frees);
        run(uses);
    } else if (!strcmp(what, "overflow"))
        run(overflows);
    else if (!strcmp(what, "leak"))
        run(loses);
    else if (!strcmp(what, "keep"))
        for (int i = 0; i < 20; i++)
            run(keeps, false);
    else if (!strcmp(what, "keep-registers"))
        for (int i = 0; i < 20; i++)
            run(keeps_in_registers, false);
    else if (!strcmp(what, "exit"))
        keeps_and_exits();
    else if (!strcmp(what, "keep-nested"))
        for (int i = 0; i < 20; i++)
            run(keeps_nested, false);
    else if (!strcmp(what, "discard-leak")) {
        // what a discarded job alone knew of is lost
        run(keeps, false);
        jobswitch_cleanup_thread();
    } else if (!strcmp(what, "integer"))
        run(overflows_int);
    pointer = nullptr;
    sink = scrub(30);
    return 0;
}
END

# Two threads; argv[1]: race, or nothing wrong (a mutex, the jobs of a thread
# among themselves).
cat >"$OUT/threads.cpp" <<'END'
#include <jobswitch/jobswitch.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION extern "C" [[gnu::noinline]]
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static long counter, racy;
static bool race;

FUNCTION int counts_in_job(void *arg)
{
    long *of_thread = *(long **)arg;
    for (int i = 0; i < 3; i++) {
        ++*of_thread; // shared by the thread's jobs, no lock needed
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
        jobswitch_pause_job();
    }
    return 1;
}
FUNCTION void races_in_job_callee() { racy++; }
FUNCTION int races_in_job(void *)
{
    jobswitch_pause_job();
    races_in_job_callee();
    return 1;
}
FUNCTION void races_outside() { racy += 2; }

// The order of the two, that the tool is not to see.
static volatile bool raced;
__attribute__((no_sanitize("thread"))) static void has_raced() { raced = true; }
__attribute__((no_sanitize("thread"))) static void wait_for_racer()
{
    while (!raced)
        sched_yield();
}

static void *work(void *job_races)
{
    static const int jobs = 1500;
    long of_thread = 0, *address = &of_thread;
    jobswitch_job **job = (jobswitch_job **)calloc(jobs, sizeof *job);
    int ret;
    // where there is a race, these jobs stay paused meanwhile: they are in no
    // stack of the report
    for (int round = 0; round < (race ? 2 : 4); round++)
        for (int i = 0; i < jobs; i++)
            if (round == 0 || job[i])
                jobswitch_start_job(&job[i], &ret, counts_in_job, &address,
                                    sizeof address);
    free(job);
    if (race) {
        pthread_barrier_wait(&barrier);
        if (job_races) {
            jobswitch_job *racer = nullptr;
            while (jobswitch_start_job(&racer, &ret, races_in_job, nullptr, 0) ==
                   JOBSWITCH_PAUSE)
                ;
            has_raced();
        } else {
            wait_for_racer();
            races_outside();
        }
        // the tool forgets what the fibers of a clean-up did: not before it reports
        pthread_barrier_wait(&barrier);
    }
    jobswitch_cleanup_thread();
    return of_thread == 3 * jobs ? (void *)1 : nullptr;
}

int main(int argc, char **argv)
{
    race = argc > 1 && !strcmp(argv[1], "race");
    pthread_barrier_init(&barrier, nullptr, 2);
    pthread_t threads[2];
    void *right[2];
    pthread_create(&threads[0], nullptr, work, &race);
    pthread_create(&threads[1], nullptr, work, nullptr);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &right[i]);
    return right[0] && right[1] && counter == 9000 ? 0 : 2;
}
END

build() { # NAME COMPILER LIBRARY FLAGS...
    local name=$1 compiler=$2 library=$3
    shift 3
    case $library in
    *.so) library="$library -Wl,-rpath,$(cd "$BUILD" && pwd)" ;;
    esac
    # shellcheck disable=SC2086
    if ! $compiler -std=c++20 -g -Iinclude "$@" -o "$OUT/$name" "$OUT/${name%%-*}.cpp" $library -pthread >"$OUT/log" 2>&1; then
        bad "build of $name with $*" "$OUT/log"
        return 1
    fi
}

# ---- Valgrind --------------------------------------------------------------------

if [ "$MODE" = valgrind ]; then
    cat >"$OUT/memcheck.cpp" <<'END'
#include <jobswitch/jobswitch.h>
#include <stdio.h>
#include <stdlib.h>
extern "C" [[gnu::noinline]] int reads_uninitialised(void *)
{
    int *p = (int *)malloc(sizeof *p);
    jobswitch_pause_job();
    if (*p)
        puts("one");
    free(p);
    return 1;
}
extern "C" [[gnu::noinline]] int reads_uninitialised_frame(void *)
{
    volatile char frame[64];
    jobswitch_pause_job();
    if (frame[9])
        puts("two");
    return 1;
}
int main(int argc, char **)
{
    jobswitch_job *job = nullptr;
    int ret;
    while (jobswitch_start_job(&job, &ret,
                               argc > 1 ? reads_uninitialised_frame : reads_uninitialised,
                               nullptr, 0) == JOBSWITCH_PAUSE)
        ;
    return 0;
}
END
    valgrind='valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite'
    if ! command -v valgrind >/dev/null; then
        skip "no valgrind here"
    elif build right "${CXX:-g++}" "$BUILD/libjobswitch.a" -O1 -DJOBS=300 &&
        build memcheck "${CXX:-g++}" "$BUILD/libjobswitch.so" -O1 -w &&
        build one "${CXX:-g++}" "$BUILD/libjobswitch.a" -O1 -DNO_WIPE; then
        # "client switching stacks?" would be on standard error, too
        silent "valgrind: a right program" $valgrind "$OUT/right"
        silent "valgrind: memory that a paused job's frame knows of" $valgrind "$OUT/one" keep
        silent "valgrind: memory that a paused job's registers know of" $valgrind "$OUT/one" keep-registers
        tells "valgrind: an uninitialised read in a job" 'uninitialised value
reads_uninitialised' $valgrind "$OUT/memcheck"
        tells "valgrind: an uninitialised frame in a job" 'uninitialised value
reads_uninitialised_frame' $valgrind "$OUT/memcheck" 1
        tells "valgrind: a use after free in a job" 'Invalid read
: uses
free
: frees
malloc
: allocates' $valgrind "$OUT/one" free
        tells "valgrind: a leak in a job" 'definitely lost
: loses' $valgrind "$OUT/one" leak
    fi
    finish
fi
if [ "$MODE" != release ]; then
    echo "runs with MODE=release and MODE=valgrind"
    exit 77
fi

# ---- the library itself ----------------------------------------------------------

if [ "$(nm -D --defined-only "$BUILD/libjobswitch.so" | wc -l)" -lt 5 ]; then
    bad "no symbols to be seen in $BUILD/libjobswitch.so"
elif { nm -D "$BUILD/libjobswitch.so"; nm "$BUILD/libjobswitch.a"; } | grep -iE 'san_|sanitizer|valgrind|vgplain' >"$OUT/log"; then
    bad "the released library names a tool" "$OUT/log"
else
    ok "no tool's name in the released library"
fi
# Valgrind's requests begin with these rotations (valgrind.h).
if objdump -d "$BUILD/libjobswitch.so" | grep -A1 -E 'rol +\$0x3,%rdi' | grep -qE 'rol +\$0xd,%rdi'; then
    bad "requests to Valgrind in the released library"
else
    ok "no requests to Valgrind in the released library"
fi

# ---- AddressSanitizer, LeakSanitizer ---------------------------------------------

asan() {
    local compiler=$1 library=$2 name=$3
    build right "$compiler" "$library" -O1 -fsanitize=address || return
    build one "$compiler" "$library" -O2 -fno-inline -w -fsanitize=address || return
    local uar=ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1
    silent "$name: a right program" ASAN_OPTIONS=detect_leaks=0 "$OUT/right"
    silent "$name: a right program, with fake stacks" $uar "$OUT/right"
    tells "$name: a use after return in a job" 'stack-use-after-return
in uses_after_return
in leaves_address' $uar "$OUT/one" return
    # (a fake stack ends with its job: the address is no memory then)
    tells "$name: a use of a job's frame after its end" 'AddressSanitizer: (stack-use-after-return|SEGV)
in main' $uar "$OUT/one" ended
    tells "$name: a use after free across jobs" 'heap-use-after-free
in uses
freed by
in frees
allocated by
in allocates' "$OUT/one" free
    tells "$name: an overflow of a job's frame" 'stack-buffer-overflow
in overflows' ASAN_OPTIONS=detect_leaks=0 "$OUT/one" overflow

    # LeakSanitizer looks on by ptrace, which a container may forbid.
    local leaks=ASAN_OPTIONS=detect_leaks=1
    env $leaks "$OUT/one" >"$OUT/out" 2>"$OUT/err"
    if grep -q 'LeakSanitizer has encountered a fatal error' "$OUT/err"; then
        skip "$name: LeakSanitizer cannot run here"
        return
    fi
    silent "$name: no leak in a right program" $leaks "$OUT/right"
    silent "$name: memory that a paused job's frame knows of" $leaks "$OUT/one" keep
    silent "$name: memory that a paused job's registers know of" $leaks "$OUT/one" keep-registers
    silent "$name: memory that nested paused jobs know of" $leaks "$OUT/one" keep-nested
    silent "$name: memory that the thread knows of, at an exit in a job" $leaks "$OUT/one" exit
    silent "$name: registers, with fake stacks" $leaks:detect_stack_use_after_return=1 "$OUT/one" keep-registers
    tells "$name: a leak in a job" 'detected memory leaks
in loses' $leaks "$OUT/one" leak
    tells "$name: what a discarded job alone knew of" 'detected memory leaks
in keeps' $leaks "$OUT/one" discard-leak
}
echo 'int main() { return 0; }' >"$OUT/nothing.cpp"
if build nothing g++ "" -fsanitize=address 2>/dev/null >/dev/null && "$OUT/nothing"; then
    asan g++ "$BUILD/libjobswitch.a" "gcc's address, archive"
    asan g++ "$BUILD/libjobswitch.so" "gcc's address, shared library"
else
    skip "gcc's AddressSanitizer is not here"
fi

# ---- UndefinedBehaviorSanitizer -----------------------------------------------------

if build right g++ "$BUILD/libjobswitch.a" -O1 -fsanitize=undefined -fno-sanitize-recover=all &&
    build one g++ "$BUILD/libjobswitch.a" -O1 -w -fsanitize=undefined -fno-sanitize-recover=all; then
    silent "gcc's undefined: a right program" "$OUT/right"
    tells "gcc's undefined: an overflow in a job" 'signed integer overflow
in overflows_int' UBSAN_OPTIONS=print_stacktrace=1 "$OUT/one" integer
fi

# ---- ThreadSanitizer: clang's, for gcc 12's ends at 8,128 jobs ------------------------

if ! command -v clang++ >/dev/null; then
    skip "ThreadSanitizer: no clang here"
elif ! clang++ -fsanitize=thread -o "$OUT/nothing" "$OUT/nothing.cpp" 2>/dev/null || ! "$OUT/nothing" 2>/dev/null; then
    skip "clang's ThreadSanitizer is not here"
else
    # A thread that exists before the descriptors do, and hands over data: only
    # what the library tells of its own order makes this no race.
    cat >"$OUT/waker.cpp" <<'END'
#include <jobswitch/jobswitch.h>

#include <atomic>
#include <cstdio>
#include <poll.h>
#include <thread>

static std::atomic<jobswitch_job *> mail;
static int data, seen;

static int body(void *)
{
    jobswitch_job *self = jobswitch_get_current_job();
    mail = self;
    jobswitch_pause_job();
    jobswitch_clear_wake(self);
    seen = data;
    return 0;
}

int main()
{
    constexpr int rounds = 200;
    std::thread worker([] {
        for (int round = 1; round <= rounds; round++) {
            jobswitch_job *job;
            while (!(job = mail.exchange(nullptr)))
                std::this_thread::yield();
            data = round;
            jobswitch_wake(job);
        }
    });
    int bad = 0;
    for (int round = 1; round <= rounds; round++) {
        jobswitch_job *job = nullptr;
        int ret;
        bad += jobswitch_start_job(&job, &ret, body, nullptr, 0) != JOBSWITCH_PAUSE;
        pollfd woken = {jobswitch_get_wait_fd(job), POLLIN, 0};
        bad += poll(&woken, 1, 20000) != 1;
        bad += jobswitch_start_job(&job, &ret, body, nullptr, 0) != JOBSWITCH_FINISH;
        bad += seen != round;
    }
    worker.join();
    return bad != 0;
}
END
    for library in a so; do
        if build waker clang++ "$BUILD/libjobswitch.$library" -O1 -fsanitize=thread; then
            silent "clang's thread, .$library: a worker that wakes" TSAN_OPTIONS=halt_on_error=0 "$OUT/waker"
        fi
        if build right clang++ "$BUILD/libjobswitch.$library" -O1 -fsanitize=thread -DJOBS=1000 &&
            build threads clang++ "$BUILD/libjobswitch.$library" -O1 -fsanitize=thread; then
            silent "clang's thread, .$library: a right program" TSAN_OPTIONS=halt_on_error=0 "$OUT/right"
            silent "clang's thread, .$library: two threads, 3000 jobs" TSAN_OPTIONS=halt_on_error=0 "$OUT/threads"
            tells "clang's thread, .$library: a race with a job" 'WARNING: ThreadSanitizer: data race
races_outside
Previous write
races_in_job_callee
races_in_job' TSAN_OPTIONS=halt_on_error=1 "$OUT/threads" race
            # (a frame of theirs may show by its caller, the start routine)
            if grep -q counts_in_job "$OUT/err" || [ "$(grep -c context_start "$OUT/err")" -gt 2 ]; then
                bad "clang's thread, .$library: a paused job in a stack of the report" "$OUT/err"
            else
                ok "clang's thread, .$library: no other job in the stacks of the report"
            fi
        fi
    done
fi
finish
