#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Programs written for the ASYNC manual page run unchanged: its example prints
# what the page says, every name and constant of the page is there in C and
# C++, and the one thing such a program needs is an include path. OpenSSL's
# other headers, which include <openssl/async.h> themselves, compile beside it.
set -u
. "$(dirname "$0")/support.sh"

cat >"$OUT/expected" <<'END'
Executing within a job
Passed in message is: Hello world!
Job was paused
Waiting for the job to be woken up
Resumed the job after a pause
Job finished with return value 1
END
# prints WHAT COMMAND...: exactly the expected lines, and exit code 0
prints() {
    local what=$1
    shift
    # shellcheck disable=SC2086
    if timeout 60 $EMULATOR "$@" >"$OUT/out" 2>"$OUT/err" && cmp -s "$OUT/expected" "$OUT/out"; then
        ok "$what"
    else
        diff "$OUT/expected" "$OUT/out" | cat - "$OUT/err" >"$OUT/log"
        bad "$what" "$OUT/log"
    fi
}

# ---- the example of this project ------------------------------------------------

prints "examples/manpage" "$BUILD/examples/manpage"
link="$BUILD/libjobswitch.so -Wl,-rpath,$(cd "$BUILD" && pwd)"
# shellcheck disable=SC2086
if $CC $SANITIZE -std=c99 -Wall -Wextra -Wpedantic -Werror -D_POSIX_C_SOURCE=200809L -Iinclude \
    -o "$OUT/example" examples/manpage.c $link >"$OUT/log" 2>&1; then
    prints "examples/manpage.c as C99" "$OUT/example"
else
    bad "examples/manpage.c as C99" "$OUT/log"
fi

# ---- the page's own --------------------------------------------------------------

cat >"$OUT/page.c" <<'END'
#include <stdio.h>
#include <openssl/async.h>

int jobfunc(void *arg)
{
    ASYNC_JOB *currjob;
    unsigned char *msg;

    currjob = ASYNC_get_current_job();
    if (currjob != NULL) {
        printf("Executing within a job\n");
    } else {
        printf("Not executing within a job - should not happen\n");
        return 0;
    }

    msg = (unsigned char *)arg;
    printf("Passed in message is: %s\n", msg);

    /*
     * Normally some external event would cause this to happen at some
     * later point - but we do it here for demo purposes, i.e.
     * immediately signalling that the job is ready to be woken up after
     * we return to main via ASYNC_pause_job().
     */
    ASYNC_wake(currjob);

    /* Return control back to main */
    ASYNC_pause_job();

    /* Clear the wake signal */
    ASYNC_clear_wake(currjob);

    printf ("Resumed the job after a pause\n");

    return 1;
}

int main(void)
{
    ASYNC_JOB *job = NULL;
    int ret, waitfd;
    fd_set waitfdset;
    unsigned char msg[13] = "Hello world!";

    if (!ASYNC_init(1, 1, 1)) {
        printf("Error creating pool\n");
        goto end;
    }

    for (;;) {
        switch(ASYNC_start_job(&job, &ret, jobfunc, msg, sizeof(msg))) {
        case ASYNC_ERR:
        case ASYNC_NO_JOBS:
                printf("An error occurred\n");
                goto end;
        case ASYNC_PAUSE:
                printf("Job was paused\n");
                break;
        case ASYNC_FINISH:
                printf("Job finished with return value %d\n", ret);
                goto end;
        }

        /* Wait for the job to be woken */
        printf("Waiting for the job to be woken up\n");
        waitfd = ASYNC_get_wait_fd(job);
        FD_ZERO(&waitfdset);
        FD_SET(waitfd, &waitfdset);
        select(waitfd + 1, &waitfdset, NULL, NULL, NULL);
    }

end:
    ASYNC_cleanup(1);

    return 0;
}
END

# Every name, with the page's prototype; every constant; what they do.
cat >"$OUT/names.c" <<'END'
#include <openssl/async.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>

static int (*const init)(int, size_t, size_t) = ASYNC_init;
static void (*const cleanup)(int) = ASYNC_cleanup;
static int (*const init_thread)(size_t, size_t) = ASYNC_init_thread;
static void (*const cleanup_thread)(void) = ASYNC_cleanup_thread;
static int (*const start_job)(ASYNC_JOB **, int *, int (*)(void *), void *,
                              size_t) = ASYNC_start_job;
static int (*const pause_job)(void) = ASYNC_pause_job;
static int (*const in_job)(void) = ASYNC_in_job;
static int (*const get_wait_fd)(ASYNC_JOB *) = ASYNC_get_wait_fd;
static ASYNC_JOB *(*const get_current_job)(void) = ASYNC_get_current_job;
static void (*const wake)(ASYNC_JOB *) = ASYNC_wake;
static void (*const clear_wake)(ASYNC_JOB *) = ASYNC_clear_wake;
static void (*const block_pause)(void) = ASYNC_block_pause;
static void (*const unblock_pause)(void) = ASYNC_unblock_pause;

/* each of another value */
static int name_of(int answer)
{
    switch (answer) {
    case ASYNC_ERR: return 'e';
    case ASYNC_NO_JOBS: return 'n';
    case ASYNC_PAUSE: return 'p';
    case ASYNC_FINISH: return 'f';
    }
    return '?';
}

static int readable(int fd)
{
    fd_set set;
    struct timeval now = {0, 0};
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &now);
}

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            printf("line %d: %s\n", __LINE__, #condition);                     \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static int wrong_in_job;
static int job(void *arg)
{
    ASYNC_JOB *self = get_current_job();
    wrong_in_job += !in_job() || !self || *(int *)arg != 5;
    block_pause();
    wrong_in_job += pause_job() != 1; /* at once */
    unblock_pause();
    wrong_in_job += pause_job() != 1;
    clear_wake(self);
    return 9;
}

int main(void)
{
    ASYNC_JOB *first = NULL, *second = NULL;
    int ret = 0, arg = 5, fd;

    CHECK(init(1, 2, 1) == 1);
    CHECK(init_thread(1, 2) == 0); /* more at first than at most */
    CHECK(init_thread(1, 1) == 1);
    CHECK(!in_job() && !get_current_job() && pause_job() == 1);
    CHECK(name_of(start_job(&first, &ret, job, &arg, sizeof arg)) == 'p' && first);
    CHECK(name_of(start_job(&second, &ret, job, &arg, sizeof arg)) == 'n' && !second);
    CHECK(name_of(start_job(NULL, &ret, job, &arg, sizeof arg)) == 'e');
    fd = get_wait_fd(first);
    CHECK(fd >= 0 && readable(fd) == 0);
    wake(first);
    CHECK(readable(fd) == 1);
    clear_wake(first);
    CHECK(readable(fd) == 0);
    wake(first);
    CHECK(name_of(start_job(&first, &ret, job, &arg, sizeof arg)) == 'f');
    CHECK(!first && ret == 9 && wrong_in_job == 0);
    cleanup_thread();
    cleanup(0);
    return 0;
}
END

# Everything else of OpenSSL's, which has async.h included by itself.
cat >"$OUT/with_ssl.c" <<'END'
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/engine.h>
#include <openssl/async.h>
static int job(void *arg)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    SSL *ssl = context ? SSL_new(context) : NULL;
    int right;
    (void)arg;
    ASYNC_pause_job();
    right = ssl && SSL_get_error(ssl, -1) != SSL_ERROR_WANT_ASYNC && SSL_get_error(ssl, -1) != SSL_ERROR_WANT_ASYNC_JOB;
    SSL_free(ssl);
    SSL_CTX_free(context);
    return right ? 4 : 0;
}
int main(void)
{
    ASYNC_JOB *handle = NULL;
    int ret = 0, pauses = 0;
    OSSL_ASYNC_FD fd = 0;
    (void)fd;
    while (ASYNC_start_job(&handle, &ret, job, NULL, 0) == ASYNC_PAUSE)
        pauses++;
    ASYNC_cleanup(1);
    return ret == 4 && pauses == 1 ? 0 : 1;
}
END
for name in page names with_ssl; do cp "$OUT/$name.c" "$OUT/$name.cpp"; done

# build WHAT COMPILER STANDARD SOURCE MORE...: with the one option
build() {
    local what=$1 compiler=$2 standard=$3 source=$4
    shift 4
    # shellcheck disable=SC2086
    if $compiler $SANITIZE "-std=$standard" -Wall -Wextra -Wpedantic -Werror -Iinclude/compat -o "$OUT/program" "$source" $link "$@" >"$OUT/log" 2>&1; then
        return 0
    fi
    bad "$what: build" "$OUT/log"
    return 1
}
runs() { # WHAT
    # shellcheck disable=SC2086
    if timeout 60 $EMULATOR "$OUT/program" >"$OUT/log" 2>&1; then ok "$1"; else bad "$1" "$OUT/log"; fi
}

for standard in c99 gnu17 c++11 c++20; do
    case $standard in
    *++*) compiler=$CXX ending=cpp ;;
    *) compiler=$CC ending=c ;;
    esac
    what="the page's example as $standard"
    build "$what" "$compiler" $standard "$OUT/page.$ending" && prints "$what" "$OUT/program"
    what="the page's names as $standard"
    build "$what" "$compiler" $standard "$OUT/names.$ending" && runs "$what"
    what="beside <openssl/ssl.h> as $standard"
    if ! echo '#include <openssl/ssl.h>' | $CC -E -x c - >/dev/null 2>&1; then
        skip "$what: no headers of OpenSSL here"
    elif build "$what" "$compiler" $standard "$OUT/with_ssl.$ending" -lssl -lcrypto; then
        runs "$what"
    fi
done

# A name of libcrypto must not be what answers.
if "$NM" -D -u "$OUT/program" | grep -q ' ASYNC_'; then
    bad "the program takes ASYNC_ names from a library"
else
    ok "no ASYNC_ name in the program's symbols"
fi

finish
