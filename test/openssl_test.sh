#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The drop-in for OpenSSL's jobs, as a program meets it that was built for libcrypto: by
# LD_PRELOAD. What it exports and needs; and what a job, its wait context and mistakes do.
set -u
. "$(dirname "$0")/support.sh"
no_tool
not_emulated "the drop-in is tried with this machine's libcrypto"
drop_in=$BUILD/libjobswitch-openssl.so
[ -e "$drop_in" ] || none_of_it "not built here"
echo '#include <openssl/async.h>' | $CC -E -x c - >/dev/null 2>&1 || none_of_it "no headers of OpenSSL here"

exported=$(nm -D --defined-only "$drop_in" | awk '{print $3}')
same "exported, without a version" "22 1" \
    "$(grep -cx 'ASYNC_[A-Za-z_]*' <<<"$exported") $(grep -cvx 'ASYNC_[A-Za-z_]*' <<<"$exported")"
same "needs libc alone" "libc.so.6" "$(readelf -d "$drop_in" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')"

rm -f "$OUT/report"
cat >"$OUT/program.c" <<'END'
#include <openssl/async.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NEED(condition) \
    do { if (!(condition)) { printf("line %d: not so: %s\n", __LINE__, #condition); exit(1); } } while (0)

static ASYNC_WAIT_CTX *ctx;
static int key, cleaned;
static void clean(ASYNC_WAIT_CTX *c, const void *k, int fd, void *data)
{
    (void)c, (void)k, (void)data;
    cleaned++;
    close(fd);
}

static int body(void *args)
{
    int ends[2];
    NEED(!memcmp(args, "hello", 6));
    NEED(ASYNC_get_wait_ctx(ASYNC_get_current_job()) == ctx);
    NEED(!pipe(ends));
    NEED(ASYNC_WAIT_CTX_set_wait_fd(ctx, &key, ends[0], NULL, clean));
    NEED(ASYNC_pause_job() == 1);
    NEED(ASYNC_WAIT_CTX_clear_fd(ctx, &key));
    NEED(ASYNC_pause_job() == 1);
    ASYNC_block_pause();
    NEED(ASYNC_pause_job() == 1); /* and goes on, and the count ends with the job */
    return 5;
}
static int pauses(void *args)
{
    NEED(args == NULL);
    return ASYNC_pause_job();
}
static int starts_another(void *args)
{
    ASYNC_JOB *inner = NULL;
    int ret = 0;
    (void)args;
    NEED(ASYNC_start_job(&inner, ctx, &ret, pauses, NULL, 0) == ASYNC_PAUSE);
    NEED(ASYNC_get_current_job() && ASYNC_get_current_job() != inner);
    NEED(ASYNC_start_job(&inner, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH);
    return ret + 1;
}

static void refused(ASYNC_JOB *job)
{
    ASYNC_JOB *kept = job;
    int ret = 77;
    ERR_clear_error();
    NEED(ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_ERR);
    NEED(job == kept && ret == 77);
    NEED(ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_ASYNC && ERR_GET_REASON(ERR_peek_error()) == 102);
    ERR_clear_error();
}
static void *other_thread(void *job)
{
    refused(job);
    return NULL;
}

int main(void)
{
    ASYNC_JOB *job = NULL, *kept, *second = NULL;
    int ret = 0, fds[4];
    size_t added, deleted;
    pthread_t thread;

    NEED((ctx = ASYNC_WAIT_CTX_new()) && ASYNC_is_capable());
    NEED(ASYNC_pause_job() == 1 && !ASYNC_get_current_job());
    NEED(!ASYNC_init_thread(1, 2) && ERR_GET_REASON(ERR_peek_error()) == 103);
    ERR_clear_error();
    NEED(ASYNC_init_thread(1, 1));

    NEED(ASYNC_start_job(&job, ctx, &ret, body, "hello", 6) == ASYNC_PAUSE);
    kept = job;
    NEED(ASYNC_WAIT_CTX_get_changed_fds(ctx, fds, &added, NULL, &deleted) && added == 1 && !deleted);
    NEED(ASYNC_start_job(&second, ctx, &ret, pauses, NULL, 0) == ASYNC_NO_JOBS);
    NEED(!second && !ERR_peek_error());
    NEED(!pthread_create(&thread, NULL, other_thread, job) && !pthread_join(thread, NULL));
    NEED(ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_PAUSE && job == kept);
    NEED(ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, fds, &deleted) && !added && deleted == 1);
    NEED(ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 5 && !job);
    refused(kept);
    NEED(ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &added) && added == 0);
    NEED(cleaned == 0);

    /* Nor does a late name mean the next job, which has all that the first had. */
    NEED(ASYNC_start_job(&second, ctx, &ret, pauses, NULL, 0) == ASYNC_PAUSE && second != kept);
    refused(kept);
    NEED(!ASYNC_get_wait_ctx(kept) && ASYNC_get_wait_ctx(second) == ctx);
    NEED(ASYNC_start_job(&second, ctx, &ret, NULL, NULL, 0) == ASYNC_FINISH && ret == 1);

    /* Pauses are not blocked any more, nor is a job in the way of one that it starts. */
    NEED(ASYNC_init_thread(0, 0));
    NEED(ASYNC_start_job(&job, ctx, &ret, starts_another, NULL, 0) == ASYNC_FINISH && ret == 2);

    /* A paused job whose wait context goes. */
    NEED(ASYNC_start_job(&job, ctx, &ret, pauses, NULL, 0) == ASYNC_PAUSE);
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_WAIT_CTX_free(NULL);
    NEED(!ASYNC_get_wait_ctx(job));
    ASYNC_cleanup_thread();
    kept = job;
    refused(kept);
    puts("right");
    return 0;
}
END
if $CC -Wall -Wextra -o "$OUT/program" "$OUT/program.c" -lcrypto -pthread >"$OUT/log" 2>&1; then
    ok "build of a program for libcrypto"
else
    bad "build of a program for libcrypto" "$OUT/log"
fi
said=$(timeout 60 env "LD_PRELOAD=$drop_in" "JOBSWITCH_OPENSSL_REPORT=$OUT/report" "$OUT/program" 2>&1)
same "jobs, wait contexts and mistakes" right "$said"
same "the report: it was this library" "jobs started 5 pauses 5" "$(cat "$OUT/report" 2>&1)"
said=$(timeout 60 env "LD_PRELOAD=$drop_in" JOBSWITCH_STACK_BYTES=12k "$OUT/program" 2>&1)
same "a size of stacks that is none" "jobswitch-openssl: JOBSWITCH_STACK_BYTES=12k: not a number of bytes; stacks have 65536 bytes
right" "$said"
finish
