#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A debugger's view: a backtrace inside a job runs on into whoever started or
# resumed it, down to main or the thread's function, wherever the job's stack
# lies; a backtrace taken at each of the library's own entry points does so,
# too; and gdb finds the bounds of the hand-written functions.
set -u
. "$(dirname "$0")/support.sh"
no_tool
not_emulated "gdb would debug that"
[ "${ARCH:-}" != generic ] || none_of_it "the C library's walks end at the bottom of a job"
command -v gdb >/dev/null || none_of_it "no gdb here"

cat >"$OUT/debugged.c" <<'END'
#include <jobswitch/jobswitch.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#define FUNCTION __attribute__((noinline, noclone))
FUNCTION void stop_here(int where) { __asm__ volatile("" : : "r"(where) : "memory"); }
FUNCTION static int inner_job(void *arg)
{
    (void)arg;
    stop_here(3);
    jobswitch_pause_job();
    stop_here(4);
    return 3;
}
FUNCTION static int outer_job(void *arg)
{
    jobswitch_job *inner = NULL;
    int ret;
    (void)arg;
    stop_here(1);
    jobswitch_pause_job();
    stop_here(2);
    while (jobswitch_start_job(&inner, &ret, inner_job, NULL, 0) == JOBSWITCH_PAUSE)
        stop_here(5);
    return ret;
}
FUNCTION static int starter(void)
{
    jobswitch_job *job = NULL;
    int ret = 0;
    while (jobswitch_start_job(&job, &ret, outer_job, NULL, 0) == JOBSWITCH_PAUSE)
        __asm__ volatile("");
    return ret;
}
/* The jobs' stacks: above or below everything the thread has. */
static char *area, *next;
static void *take(size_t bytes, void *context)
{
    char *stack = next;
    (void)context;
    next += bytes;
    return stack;
}
static void give(void *stack, size_t bytes, void *context)
{
    (void)stack, (void)bytes, (void)context;
}
static void open_pool(void)
{
    jobswitch_options options = JOBSWITCH_OPTIONS_INIT;
    options.initial_jobs = 2;
    options.flags = JOBSWITCH_PREFAULT;
    if (next) {
        options.stack_alloc = take;
        options.stack_free = give;
    }
    jobswitch_init_thread_with(&options);
}
FUNCTION static void *thread_main(void *arg)
{
    long ret;
    (void)arg;
    open_pool();
    ret = starter();
    jobswitch_cleanup_thread();
    return (void *)ret;
}
int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    pthread_t thread;
    void *ret = NULL;
    const char *where = argc > 1 ? argv[1] : "";
    if (!strcmp(where, "main"))
        return thread_main(NULL) != (void *)3;
    pthread_attr_init(&attributes);
    area = mmap(NULL, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    next = area + (strcmp(where, "above") ? 0 : 2 << 20);
    pthread_attr_setstack(&attributes, area + (1 << 20), 1 << 20);
    pthread_create(&thread, &attributes, thread_main, NULL);
    pthread_join(thread, &ret);
    return ret != (void *)3;
}
END
if ! $CC -O1 -g -DJOBSWITCH_NO_INLINE -Iinclude -o "$OUT/debugged" "$OUT/debugged.c" "$BUILD/libjobswitch.a" -pthread >"$OUT/log" 2>&1; then
    bad "build" "$OUT/log"
    exit 1
fi
"$OUT/debugged" main && "$OUT/debugged" above && "$OUT/debugged" below || bad "the program by itself"

debug() { # LOG ARGUMENT COMMANDS...: gdb's words about a run
    local log=$1 argument=$2
    shift 2
    local options=()
    for command in "$@"; do options+=(-ex "$command"); done
    timeout 60 gdb -nx -q -batch -ex 'set confirm off' -ex 'set pagination off' \
        -ex 'set debuginfod enabled off' -ex 'set disable-randomization off' \
        -ex 'set print address off' -ex 'set width 0' \
        "${options[@]}" --args "$OUT/debugged" $argument >"$log" 2>&1 </dev/null
}

debug "$OUT/log" main 'break main' run 'print $pc'
if ! grep -q '^\$1 = ' "$OUT/log"; then
    echo "gdb cannot run a program here: $(grep -iE 'ptrace|permitted|warning' "$OUT/log" | head -n 1)"
    exit 77
fi

# frames LOG: the names in each backtrace, one a line, from the innermost on;
# what the C library has below main is left out
frames() {
    sed -n 's/^#0 /\n#0 /; s/^\(\n*\)#[0-9]*  *\(0x[0-9a-f]* in \)\{0,1\}\(<signal handler called>\|[a-z_0-9]*\).*/\1\3/p
            /Backtrace stopped/s/.*/STOPPED/p; /Cannot access/s/.*/CANNOT/p' "$1" |
        sed 's/<signal handler called>/=/' | awk 'NF == 0 {if (line) print line; line = ""; next}
            $1 ~ /^(start_thread|clone3*|__GI___clone3*|__clone3*|__libc_start.*|_start)$/ {next}
            {line = line (line ? " " : "") $1} END {print line}'
}

# The start routine at the bottom of a job shows as "=", for it is marked as a
# signal frame; the library's own frames are left out.
expect='stop_here outer_job = starter thread_main
stop_here outer_job = starter thread_main
stop_here inner_job = outer_job = starter thread_main
stop_here outer_job = starter thread_main
stop_here inner_job = outer_job = starter thread_main'
for where in main above below; do
    debug "$OUT/$where.log" $where 'break stop_here' run bt continue bt continue bt continue bt continue bt
    found=$(frames "$OUT/$where.log" | sed -E 's/ (start_new|resume|job_start|job_start_to|enter|run|context_switch|context_return|context_back|jobswitch_start_job)\b//g')
    wanted=$expect
    [ $where = main ] && wanted=$(echo "$wanted" | sed 's/$/ main/')
    if [ "$found" = "$wanted" ]; then
        ok "backtraces in jobs, $where"
    else
        diff <(echo "$wanted") <(echo "$found") >"$OUT/log"
        cat "$OUT/$where.log" >>"$OUT/log"
        bad "backtraces in jobs, $where (< expected, > found)" "$OUT/log"
    fi
done

# up: the starter's frame gives its own variables
debug "$OUT/log" main 'break stop_here' run 'frame function starter' 'info locals' 'print ret' 'frame function outer_job' 'print arg'
if grep -q '^job = ' "$OUT/log" && grep -q '^\$1 = 0$' "$OUT/log" && grep -q '^\$2 = ' "$OUT/log"; then
    ok "variables of the starter's frame"
else
    bad "variables of the starter's frame" "$OUT/log"
fi

# Each instruction of a pause and of the resume behind it. gdb steps; every
# backtrace reaches main.
cat >"$OUT/steps" <<'END'
break jobswitch_pause_job
run
delete
set $n = 0
while $n < 45
bt
stepi
set $n = $n + 1
end
break jobswitch_start_job
continue
delete
while $n < 90
bt
stepi
set $n = $n + 1
end
END
if [ -n "$inline" ]; then # (C++ cuts the link some instructions before it switches)
    debug "$OUT/log" main "source $OUT/steps"
    count=$(frames "$OUT/log" | grep -c .)
    wrong=$(frames "$OUT/log" | grep -vE 'starter thread_main main$')
    if [ "$count" = 90 ] && [ -z "$wrong" ]; then
        ok "backtraces at $count instructions of a pause and a resume"
    else
        { echo "$count backtraces, wrong are:"; echo "$wrong"; tail -n 20 "$OUT/log"; } >"$OUT/log2"
        bad "backtraces at each instruction of a pause and a resume" "$OUT/log2"
    fi
fi

# The functions as gdb sees them: each ends with its own last instruction.
if [ "${ARCH:-x86_64}" = x86_64 ]; then
    debug "$OUT/log" main 'disassemble jobswitch_pause_job' 'disassemble jobswitch_start_job' \
        'disassemble context_switch' 'disassemble context_jump' 'info symbol context_switch'
    if [ "$(grep -c 'Dump of assembler code' "$OUT/log")" = 4 ] && ! grep -qE '\(bad\)|No (symbol|function)|\.byte' "$OUT/log" &&
        grep -q '^context_switch in section .text' "$OUT/log"; then
        ok "disassembly of the hand-written functions"
    else
        bad "disassembly of the hand-written functions" "$OUT/log"
    fi
fi

finish
