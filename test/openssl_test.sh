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
# The report, without the process's number, and with its program as it was named.
report() {
    sed "s@ process [1-9][0-9]* program $(cd "$OUT" && pwd)/@ of @" "$OUT/report" 2>&1
}
said=$(timeout 60 env "LD_PRELOAD=$drop_in" "JOBSWITCH_OPENSSL_REPORT=$OUT/report" "$OUT/program" 2>&1)
same "jobs, wait contexts and mistakes" right "$said"
same "the report: it was this library" "jobs started 5 pauses 5 of program" "$(report)"

# Each process counts its own jobs; none is lost with a thread, however late that used it.
rm -f "$OUT/report"
cat >"$OUT/forks and ends.c" <<'END'
#include <openssl/async.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_key_t late;
static int rounds;
static int pauses(void *args)
{
    (void)args;
    return ASYNC_pause_job();
}
static void once(void)
{
    ASYNC_JOB *job = NULL;
    int ret;
    ASYNC_start_job(&job, NULL, &ret, pauses, NULL, 0);
    ASYNC_start_job(&job, NULL, &ret, NULL, NULL, 0);
}
static void again(void *value)
{
    once();
    if (++rounds < 4) /* as many as there are */
        pthread_setspecific(late, value);
}
static void *thread(void *arg)
{
    once();
    if (arg)
        pthread_setspecific(late, arg);
    return NULL;
}

int main(void)
{
    pthread_t id;
    pid_t child;
    once(); /* its keys come before this one's */
    pthread_key_create(&late, again);
    pthread_create(&id, NULL, thread, &late);
    pthread_join(id, NULL); /* 1 and 4 */
    pthread_create(&id, NULL, thread, NULL);
    pthread_join(id, NULL);
    child = fork();
    if (child == 0) {
        once();
        once();
        exit(0);
    }
    return waitpid(child, NULL, 0) != child;
}
END
$CC -o "$OUT/forks and ends" "$OUT/forks and ends.c" -lcrypto -pthread &&
    timeout 60 env "LD_PRELOAD=$drop_in" "JOBSWITCH_OPENSSL_REPORT=$OUT/report" "$OUT/forks and ends"
same "the report of threads and a child" "jobs started 2 pauses 2 of forks and ends
jobs started 7 pauses 7 of forks and ends" "$(report)"
rm -f "$OUT/report"

said=$(timeout 60 env "LD_PRELOAD=$drop_in" JOBSWITCH_STACK_BYTES=12k "$OUT/program" 2>&1)
same "a size of stacks that is none" "jobswitch-openssl: JOBSWITCH_STACK_BYTES=12k: not a number of bytes; stacks have 65536 bytes
right" "$said"

# ---- the launcher ------------------------------------------------------------------------

launcher=$BUILD/jobswitch-openssl
# launched CODE PATTERN COMMAND...: how it ends, and a line on either stream
launched() {
    local expected=$1 pattern=$2 code
    shift 2
    timeout 60 "$@" >"$OUT/log" 2>&1 </dev/null
    code=$?
    if [ $code = "$expected" ] && grep -qE -- "$pattern" "$OUT/log"; then
        ok "launcher: $pattern"
    else
        echo "exit code $code; $*" >>"$OUT/log"
        bad "launcher: $expected, $pattern" "$OUT/log"
    fi
}
rm -f "$OUT/report"
launched 0 '^right$' env "JOBSWITCH_OPENSSL_REPORT=$OUT/report" "$launcher" "$OUT/program"
same "launched, it was this library" "jobs started 5 pauses 5 of program" "$(report)"
launched 0 'program: [1-9][0-9]* references to OpenSSL.s jobs, all of them to /.*/libjobswitch-openssl.so.1' \
    "$launcher" --check "$OUT/program"
launched 3 '^said a  b$' "$launcher" sh -c 'echo "said $1"; exit 3' sh 'a  b'
launched 0 'does not use OpenSSL.s jobs when it starts' "$launcher" --check sh
printf '#!%s\n' "$(cd "$OUT" && pwd)/program" >"$OUT/script" && chmod +x "$OUT/script"
launched 0 '^right$' "$launcher" "$OUT/script"
launched 0 '/script: is a script, run by /.*/program$' "$launcher" --check "$OUT/script"
launched 0 '/program: [1-9][0-9]* references to OpenSSL.s jobs' "$launcher" --check "$OUT/script"
printf '#!/usr/bin/env -S A=B program -x\n' >"$OUT/script" && chmod +x "$OUT/script"
launched 0 '^right$' env "PATH=$OUT:$PATH" "$launcher" "$OUT/script"
launched 0 '/script: is a script, run by .*/program$' env "PATH=$OUT:$PATH" "$launcher" --check "$OUT/script"
printf '#!no/such -x\n' >"$OUT/script"
launched 127 'no/such: cannot be looked at' "$launcher" --check "$OUT/script"
printf '#! \n' >"$OUT/script"
launched 125 'neither a program nor a script' "$launcher" "$OUT/script"
launched 0 "^jobswitch-openssl $(sed -n 's/.*VERSION_STRING "\(.*\)"/\1/p' include/jobswitch/jobswitch.h)\$" "$launcher" --version
launched 0 '^usage: ' "$launcher" --help
launched 125 'no option --wrong' "$launcher" --wrong
launched 125 'no program is named' "$launcher"
launched 127 'nothing-like-that: not found' "$launcher" nothing-like-that
launched 127 'no/such: cannot be looked at: No such file' "$launcher" no/such
cp "$OUT/program" "$OUT/not_executable" && chmod -x "$OUT/not_executable"
launched 126 'not_executable: Permission denied' "$launcher" "$OUT/not_executable"
echo text >"$OUT/text"
launched 125 'neither a program nor a script' "$launcher" "$OUT/text"

# Nothing can stand before these.
echo 'int main(void) { return 0; }' >"$OUT/main.c"
$CC -static -o "$OUT/static" "$OUT/main.c" && launched 125 'static: is statically linked' "$launcher" "$OUT/static"
$CC -static -o "$OUT/static" "$OUT/program.c" -lcrypto -pthread 2>/dev/null &&
    launched 125 'static: is statically linked' "$launcher" "$OUT/static"
if $CC -o "$OUT/built_in" "$OUT/program.c" "$($CC -print-file-name=libcrypto.a)" -pthread -ldl 2>"$OUT/log"; then
    launched 125 'built_in: has an OpenSSL of its own built in' "$launcher" "$OUT/built_in"
else
    bad "build with OpenSSL's archive" "$OUT/log"
fi
# The same in a library.
echo 'int ASYNC_is_capable(void); int uses(void) { return ASYNC_is_capable(); }' >"$OUT/uses.c"
echo 'int uses(void); int main(void) { return !uses(); }' >"$OUT/calls.c"
$CC -fPIC -shared -o "$OUT/libuses.so" "$OUT/uses.c" -Wl,-Bsymbolic -Wl,--exclude-libs,ALL "$($CC -print-file-name=libcrypto.a)" -pthread -ldl &&
    $CC -o "$OUT/calls" "$OUT/calls.c" -L"$OUT" -luses -Wl,-rpath,'$ORIGIN'
launched 125 'libuses.so has an OpenSSL of its own built in' "$launcher" "$OUT/calls"
# Somebody stands before it.
echo 'int ASYNC_is_capable(void) { return 0; }' >"$OUT/before.c"
$CC -fPIC -shared -o "$OUT/before.so" "$OUT/before.c"
launched 125 'it does not take hold: ASYNC_is_capable of .*/program is taken from .*/before.so' \
    env "LD_PRELOAD=$OUT/before.so" "$launcher" "$OUT/program"
$CC -fPIC -shared -o "$OUT/libuses2.so" "$OUT/uses.c" -lcrypto
$CC -rdynamic -o "$OUT/own" "$OUT/calls.c" "$OUT/before.c" -L"$OUT" -luses2 -Wl,-rpath,'$ORIGIN'
launched 125 'it does not take hold: ASYNC_is_capable of .*/libuses2.so is taken from .*/own' "$launcher" "$OUT/own"
# Paths may have in them what stands between paths in the words of the dynamic linker.
count=$("$launcher" --check "$OUT/program" 2>&1 | sed -n 's/.*program: \([0-9]*\) references.*/\1/p')
for name in 'a [0] to b' '[x] => (0x1)' 'a: b  c' $'two\nlines'; do
    odd=$OUT/$name
    mkdir -p "$odd"
    cp "$OUT/program" "$OUT/own" "$OUT/libuses2.so" "$odd"
    same "a program in '$name'" "$count" \
        "$("$launcher" --check "$odd/program" 2>&1 | sed -n 's/.*program: \([0-9]*\) references.*/\1/p; s/.*lines.program//')"
    launched 0 '^right$' "$launcher" "$odd/program"
    launched 125 'it does not take hold: ASYNC_is_capable' "$launcher" "$odd/own"
    rm -r "$odd"
done
# A library whose names have another version is passed by, in silence but for this.
mkdir -p "$OUT/versioned"
sed 's/^{/OTHER_1.0 {/' src/openssl/openssl.map >"$OUT/versioned/map"
echo 'int ASYNC_is_capable(void) { return 1; } int ASYNC_start_job(void) { return 1; }' |
    $CC -fPIC -shared -x c -o "$OUT/versioned/libjobswitch-openssl.so.1" - -Wl,--version-script,"$OUT/versioned/map" \
        -Wl,-soname,libjobswitch-openssl.so.1
launched 125 'it does not take hold: ASYNC_.* is taken from .*libcrypto.so' \
    env "LD_LIBRARY_PATH=$OUT/versioned" "$launcher" "$OUT/program"
launched 125 'must not have a blank or a colon in its path' env "LD_LIBRARY_PATH=$OUT/with blank" sh -c \
    'mkdir -p "$1" && cp "$2" "$1" && exec "$3" --check sh' sh "$OUT/with blank" "$drop_in.1" "$launcher"
case $(uname -m) in
x86_64)
    head -c 4 "$OUT/program" >"$OUT/other_cpu"
    printf '\001' >>"$OUT/other_cpu"
    tail -c +6 "$OUT/program" >>"$OUT/other_cpu"
    launched 125 'is for another kind of CPU' "$launcher" "$OUT/other_cpu"
    ;;
esac
sed 's|/ld-linux-x86-64.so.2|/ld-another-libc.so.1|' "$OUT/program" >"$OUT/other_libc"
cmp -s "$OUT/program" "$OUT/other_libc" ||
    launched 125 'is for another C library' "$launcher" "$OUT/other_libc"
# (Only root can make what belongs to another.)
if [ "$(id -u)" = 0 ]; then
    cp "$OUT/program" "$OUT/setuid" && chown 65534 "$OUT/setuid" && chmod 4755 "$OUT/setuid"
    launched 125 'setuid: is setuid or setgid' "$launcher" "$OUT/setuid"
    chown 0:65534 "$OUT/setuid" && chmod 2755 "$OUT/setuid"
    launched 125 'setuid: is setuid or setgid' "$launcher" "$OUT/setuid"
else
    skip "a setuid program: not root"
fi

# ---- other versions of OpenSSL -----------------------------------------------------------

# Programs that were linked with them, as far as the dynamic linker sees it: names with their
# versions, and what errors are told to. Nothing else of those libraries is there.
cat >"$OUT/stub.h" <<'END'
#include <stddef.h>
#ifdef OLD
#define ASYNC_set_mem_functions NULL
#else
int ASYNC_set_mem_functions(void *(*alloc)(size_t *), void (*release)(void *));
#endif
void *ASYNC_WAIT_CTX_new(void);
int ASYNC_start_job(void **job, void *ctx, int *ret, int (*func)(void *), void *args, size_t size);
int ASYNC_pause_job(void);
extern int stub_reason, stub_library;
END
cat >"$OUT/old_program.c" <<'END'
#include "stub.h"
#include <stdio.h>
static int (*volatile set_mem)(void *(*)(size_t *), void (*)(void *)) = ASYNC_set_mem_functions;
static int pauses(void *args)
{
    (void)args;
    return ASYNC_pause_job();
}
int main(void)
{
    void *job = NULL, *kept, *ctx = ASYNC_WAIT_CTX_new();
    int ret = 0, set = set_mem ? set_mem(NULL, NULL) : 1;
    int first = ASYNC_start_job(&job, ctx, &ret, pauses, NULL, 0);
    kept = job;
    int second = ASYNC_start_job(&job, ctx, &ret, NULL, NULL, 0);
    int third = ASYNC_start_job(&kept, ctx, &ret, NULL, NULL, 0);
    printf("%d %d %d %d, error %d of library %d\n", set, first, second, third, stub_reason, stub_library);
    return 0;
}
END
cat >"$OUT/stub.c" <<'END'
#include "stub.h"
int stub_reason, stub_library;
void *ASYNC_WAIT_CTX_new(void) { return NULL; }
int ASYNC_start_job(void **job, void *ctx, int *ret, int (*func)(void *), void *args, size_t size)
{
    (void)job, (void)ctx, (void)ret, (void)func, (void)args, (void)size;
    return 99;
}
int ASYNC_pause_job(void) { return 99; }
#ifdef OLD
void ERR_put_error(int library, int function, int reason, const char *file, int line)
{
    (void)function, (void)file, (void)line;
    stub_library = library, stub_reason = reason;
}
#else
int ASYNC_set_mem_functions(void *(*alloc)(size_t *), void (*release)(void *))
{
    (void)alloc, (void)release;
    return 99;
}
void ERR_new(void) {}
void ERR_set_debug(const char *file, int line, const char *function)
{
    (void)file, (void)line, (void)function;
}
void ERR_set_error(int library, int reason, const char *format, ...)
{
    (void)format;
    stub_library = library, stub_reason = reason;
}
#endif
END
for old in '1.1 OPENSSL_1_1_0 OLD 1' '4 OPENSSL_4.0.0 NEW 99'; do
    read -r soname version define set <<<"$old"
    folder=$OUT/libcrypto-$soname
    mkdir -p "$folder"
    echo "$version { global: *; };" >"$OUT/stub.map"
    if $CC "-D$define" -fPIC -shared -o "$folder/libcrypto.so.$soname" "$OUT/stub.c" \
        -Wl,-soname,"libcrypto.so.$soname" -Wl,--version-script,"$OUT/stub.map" >"$OUT/log" 2>&1 &&
        $CC "-D$define" -o "$OUT/old_program" "$OUT/old_program.c" "$folder/libcrypto.so.$soname" \
            -Wl,-rpath,"\$ORIGIN/libcrypto-$soname" >>"$OUT/log" 2>&1; then
        same "a program of $version by itself" "$set 99 99 99, error 0 of library 0" "$("$OUT/old_program" 2>&1)"
        launched 0 '^1 2 3 0, error 102 of library 51$' "$launcher" "$OUT/old_program"
    else
        bad "build of a program of $version" "$OUT/log"
    fi
done

# The engine of the other tests also compiles against 1.1.1: with its number, and its
# <openssl/async.h>, before this machine's other headers.
mkdir -p "$OUT/1.1.1/openssl"
cat >"$OUT/1.1.1/openssl/opensslv.h" <<'END'
#include_next <openssl/opensslv.h>
#undef OPENSSL_VERSION_NUMBER
#define OPENSSL_VERSION_NUMBER 0x1010117fL
END
cat >"$OUT/1.1.1/openssl/async.h" <<'END'
#pragma once
#include <stdlib.h>
typedef struct async_job_st ASYNC_JOB;
typedef struct async_wait_ctx_st ASYNC_WAIT_CTX;
#define OSSL_ASYNC_FD int
ASYNC_WAIT_CTX *ASYNC_WAIT_CTX_new(void);
void ASYNC_WAIT_CTX_free(ASYNC_WAIT_CTX *ctx);
int ASYNC_WAIT_CTX_set_wait_fd(ASYNC_WAIT_CTX *ctx, const void *key, OSSL_ASYNC_FD fd, void *data,
                               void (*cleanup)(ASYNC_WAIT_CTX *, const void *, OSSL_ASYNC_FD, void *));
int ASYNC_WAIT_CTX_get_fd(ASYNC_WAIT_CTX *ctx, const void *key, OSSL_ASYNC_FD *fd, void **data);
int ASYNC_WAIT_CTX_clear_fd(ASYNC_WAIT_CTX *ctx, const void *key);
int ASYNC_pause_job(void);
ASYNC_JOB *ASYNC_get_current_job(void);
ASYNC_WAIT_CTX *ASYNC_get_wait_ctx(ASYNC_JOB *job);
END
if $CC -Wall -Wextra -Werror -I"$OUT/1.1.1" -fsyntax-only test/pausing_engine.c >"$OUT/log" 2>&1; then
    ok "the pausing engine, against the declarations of 1.1.1"
else
    bad "the pausing engine, against the declarations of 1.1.1" "$OUT/log"
fi

# The functions of 1.1.0 that block pauses call each other directly, if it is linked so.
for how in -Bsymbolic -O1; do # (or by nothing in particular)
    folder=$OUT/libcrypto$how
    mkdir -p "$folder"
    echo 'OPENSSL_1_1_0 { global: *; };' >"$OUT/stub.map"
    { cat "$OUT/stub.c"; echo 'const char stub_version[] = "OpenSSL 1.1.0l  10 Sep 2019";'; } >"$OUT/stub_1_1_0.c"
    if $CC -DOLD -I"$OUT" -fPIC -shared -o "$folder/libcrypto.so.1.1" "$OUT/stub_1_1_0.c" -Wl,$how \
        -Wl,-soname,libcrypto.so.1.1 -Wl,--version-script,"$OUT/stub.map" >"$OUT/log" 2>&1 &&
        $CC -DOLD -o "$OUT/old_program" "$OUT/old_program.c" "$folder/libcrypto.so.1.1" \
            -Wl,-rpath,"\$ORIGIN/libcrypto$how" >>"$OUT/log" 2>&1; then
        case $how in
        -Bsymbolic)
            launched 125 'libcrypto.so.1.1 is OpenSSL 1.1.0 linked with -Bsymbolic' "$launcher" "$OUT/old_program"
            launched 125 'libcrypto.so.1.1 is OpenSSL 1.1.0 linked with -Bsymbolic' "$launcher" --check "$OUT/old_program"
            ;;
        *) launched 0 '^1 2 3 0, error 102 of library 51$' "$launcher" "$OUT/old_program" ;;
        esac
    else
        bad "build of a program of 1.1.0, $how" "$OUT/log"
    fi
done

# ---- what is different, is written ------------------------------------------------------------

same "the differences that tests know are those of doc/OPENSSL.md" \
    "$(sed -n 's/^| `\([a-z-]*\)` |.*|.*|.*|$/\1/p' doc/OPENSSL.md | sort)" \
    "$(grep -oE 'differs(<[^>]*>)?\(\s*"[a-z-]*"' test/openssl_api_test.cpp | sed 's/.*"\(.*\)"/\1/' | sort -u)"

# ---- linked instead -------------------------------------------------------------------------

if command -v pkg-config >/dev/null; then
    root=$(cd "$OUT" && pwd) || exit 1
    root=$root/installed
    rm -rf "$root" "$OUT/report"
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s --no-print-directory install DESTDIR="$root" PREFIX=/usr \
        ARCH="$ARCH" MODE="$MODE" CC="$CC" CXX="$CXX" ENTRY="$(echo "$BUILD" | sed -n 's/.*-portable$/portable/p')" >"$OUT/log" 2>&1 ||
        bad "make install" "$OUT/log"
    flags=$(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
        pkg-config --cflags --libs jobswitch-openssl)
    # shellcheck disable=SC2086
    $CC -o "$OUT/linked" "$OUT/program.c" -Wl,--as-needed $flags -lcrypto -pthread &&
        said=$(LD_LIBRARY_PATH=$root/usr/lib JOBSWITCH_OPENSSL_REPORT=$OUT/report timeout 60 "$OUT/linked" 2>&1)
    same "linked by pkg-config" "right, jobs started 5 pauses 5 of linked" "$said, $(report)"
    launched 0 'all of them to .*/installed/usr/lib/libjobswitch-openssl.so.1' "$root/usr/bin/jobswitch-openssl" --check "$OUT/program"
    rm -rf "$root"
else
    skip "no pkg-config here"
fi
finish
