#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the libraries are to a linker and a loader: needed libraries, names and
# versions, what may be executed, landing pads, constructors; that each header
# compiles alone in every language version; that C and C++ programs link either
# library; that an installed library is found by pkg-config and goes again.
set -u
. "$(dirname "$0")/support.sh"
so=$BUILD/libjobswitch.so.1 a=$BUILD/libjobswitch.a
headers=$(ls include/jobswitch/*.h | grep -v /inline.h) # (part of jobswitch.h)

# try WHAT COMMAND...
try() {
    local what=$1
    shift
    if "$@" >"$OUT/log" 2>&1; then ok "$what"; else bad "$what" "$OUT/log"; fi
}

# ---- names --------------------------------------------------------------------

# What the stubs that inline.h brings refer to, where this build has them: their bodies,
# and the thread's state.
stubs=$([ -z "$inline" ] || grep -oE 'jobswitch_inline_[a-z_]+(\(void\)|@GOTTPOFF)' "$inline" | sed 's/[(@].*//')
in_map=$(sed -n '/global:/,/local:/s/^ *\(jobswitch_[a-z_0-9]*\);.*/\1/p' src/jobswitch.map | sort)
# (the version script names them in any build)
[ -n "$inline" ] || in_map=$(echo "$in_map" | grep -v '^jobswitch_inline_')
in_headers=$(for h in $headers; do
    $CC -E -P -x c -DJOBSWITCH_BUILDING -Iinclude "$h"
done | tr '\n' ' ' | tr ';' '\n' | grep -vE 'typedef|\{' |
    sed -n 's/.*[ *]\(jobswitch_[a-z_0-9]*\) *(.*/\1/p' | cat - <(printf '%s\n' $stubs) | grep . | sort -u)
[ "$(echo "$in_map" | wc -l)" -gt 10 ] || bad "no names found in src/jobswitch.map"
libc=libc.so.6
[ "${LIBC:-}" != musl ] || libc=libc.so
same "the names of the headers are those of the version script" "$in_map" "$in_headers"

case $MODE in
asan | tsan | ubsan)
    skip "what else a sanitizer's build exports and needs is its own"
    ;;
*)
    # NAME@@VERSION; the version's own symbol is absolute, and a section's has no name
    # (and on ppc64le there is a column in brackets)
    symbols=$(readelf -W --dyn-syms "$so" | sed 's/\[<[^]]*\] *//')
    exported=$(echo "$symbols" | awk '$7 != "UND" && $7 != "ABS" && $4 != "SECTION" && NR > 4 {print $8}' | sort)
    same "exported: the version script's names, each as JOBSWITCH_1.0" \
        "$(echo "$in_map" | sed 's/$/@@JOBSWITCH_1.0/')" "$exported"
    same "kind and visibility of what is exported" "FUNC GLOBAL DEFAULT" \
        "$(echo "$symbols" | awk '$8 ~ /^jobswitch_/ && $8 !~ /^jobswitch_inline_thread@/ {print $4, $5, $6}' | sort -u)"
    [ -z "$inline" ] || same "kind and visibility of the thread's state" "TLS GLOBAL DEFAULT" \
        "$(echo "$symbols" | awk '$8 ~ /^jobswitch_inline_thread@/ {print $4, $5, $6}')"
    # (without optimization there are weak ones of the C++ headers besides; and see
    # arch-renames in the Makefile)
    same "the archive's global names" "$in_map" \
        "$("$NM" -g --defined-only "$a" | awk 'NF == 3 && $2 !~ /[WVu]/ && $3 !~ /^jobswitch_inner_/ {print $3}' | sort)"

    # A program made of libc alone takes all of the archive.
    # (what it would take if that were there does not count)
    "$NM" -u "$a" | awk 'NF == 2 && $1 != "w" {print $2}' | grep -v '^_GLOBAL_OFFSET_TABLE_$' | sort -u >"$OUT/undefined"
    echo 'int main(void) { return 0; }' >"$OUT/empty.c"
    # (A CPU of 32 bits divides longer numbers by the compiler's own routines.)
    arithmetic=$(readelf -h "$so" | grep -q ELF32 && echo -lgcc)
    try "the archive needs nothing but libc" $CC -nodefaultlibs -o "$OUT/whole" "$OUT/empty.c" \
        -Wl,--whole-archive "$a" -Wl,--no-whole-archive $arithmetic -lc
    if grep -E '^(_Z|__cxa|__gxx|__gcc|_Unwind|__dso)' "$OUT/undefined" >"$OUT/log"; then
        bad "the archive needs a language's runtime" "$OUT/log"
    else
        ok "no language's runtime in what the archive needs ($(wc -l <"$OUT/undefined") names)"
    fi

    # ---- the dynamic section --------------------------------------------------
    dynamic=$(readelf -W -d "$so")
    tag() { echo "$dynamic" | sed -n "s/.*($1) *//p"; }
    same "NEEDED" "Shared library: [$libc]" "$(tag NEEDED)"
    same "SONAME" "Library soname: [libjobswitch.so.1]" "$(tag SONAME)"
    same "flags" "NODELETE NOW" "$(tag FLAGS_1 | grep -oE 'NODELETE|NOW' | sort | tr '\n' ' ' | sed 's/ $//')"
    same "no text relocations, no RPATH, no executable static data" "" \
        "$(echo "$dynamic" | grep -E 'TEXTREL|RPATH|RUNPATH')"
    # The one registers handlers for fork(), and has to come before the program's own.
    pointer_bytes=$(readelf -h "$so" | grep -q ELF32 && echo 4 || echo 8)
    same "one constructor" "$pointer_bytes (bytes)" "$(tag INIT_ARRAYSZ)"
    same "none of another kind, and no destructors" "" \
        "$(echo "$dynamic" | grep -E '\((INIT|FINI|FINI_ARRAY|PREINIT_ARRAY)\)')"
    same "one constructor in the archive" ".init_array.00101" \
        "$(readelf -W -S "$a" | grep -oE ' \.(init|fini|preinit)_array[^ ]*| \.ctors[^ ]*' | tr -d ' ')"
    segments=$(readelf -W -l "$so")
    same "the stack's flags" "RW" "$(echo "$segments" | awk '$1 == "GNU_STACK" {print $7}')"
    same "no segment both writable and executable" "" "$(echo "$segments" | grep -E '^ *[A-Z].* (RWE|WE)')"
    same "read-only after relocation" "1" "$(echo "$segments" | grep -c GNU_RELRO)"
    # by the relocations: not for each CPU does the linker set the flag STATIC_TLS
    same "initial-exec TLS" "TP" "$(readelf -W -r "$so" | grep -oE 'R_[A-Z0-9_]*(TLS|TP(OFF|REL)|DTP)[A-Z0-9_]*' |
        sed -E 's/.*_TP(OFF|REL)(32|64)?$/TP/' | sort -u)"
    ;;
esac

# ---- each object -----------------------------------------------------------------

objects=$(find "$BUILD/src" "$BUILD/arch" -name '*.o' ! -name launcher.c.o)
[ "$(echo "$objects" | wc -l)" -ge 6 ] || bad "no objects to look at in $BUILD"
# a missing note means an executable stack, too
same "each object says that its stack is not executable" "" "$(for o in $objects; do
    readelf -W -S "$o" | awk -v o="$o" '/\.note\.GNU-stack/ {found = 1; if ($0 ~ / [WA]*X[A]* /) print o ": executable"} END {if (!found) print o ": no note"}'
done)"
# Landing pads and the like. One object without it costs the whole output its mark.
mark=$(sed -n 's/^arch-mark := //p' "arch/$ARCH/arch.mk")
if [ -n "$mark" ]; then
    mark_of() { readelf -W -n "$1" 2>/dev/null | sed -n "s/.*\(${mark%%:*}: .*[^ ]\) *\$/\1/p"; }
    same "each object's mark is: $mark" "" "$(for o in $objects "$BUILD"/jobswitch.o; do
        [ "$(mark_of "$o")" = "$mark" ] || echo "$o: $(mark_of "$o")"
    done)"
    case $MODE in
    asan | tsan | ubsan) ;;
    *) same "so is the shared library's" "$mark" "$(mark_of "$so")" ;;
    esac
fi

# ---- headers alone -----------------------------------------------------------------

# alone COMPILER LANGUAGE STANDARD
alone() {
    local h
    for h in $headers include/compat/openssl/async.h; do
        $1 -x "$2" -std="$3" -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only \
            -include "$h" /dev/null || return 1
    done
}
compilers=
for c in gcc clang; do
    if command -v $c >/dev/null; then compilers="$compilers $c"; else skip "no $c here"; fi
done
for c in $compilers; do
    for standard in c99 c11 c17; do try "headers with $c as $standard" alone $c c $standard; done
    for standard in c++11 c++14 c++17 c++20; do try "headers with $c as $standard" alone $c c++ $standard; done
done

# ---- programs ------------------------------------------------------------------------

cat >"$OUT/program.c" <<'END'
#ifdef THROUGH_COMPAT
#include <openssl/async.h>
#else
#include <jobswitch/jobswitch.h>
#endif
static int job(void *arg)
{
    jobswitch_pause_job();
    return *(const int *)arg + 1;
}
int main(void)
{
    jobswitch_job *handle = NULL;
    int ret = 0, arg = 41;
    if (jobswitch_version() != JOBSWITCH_VERSION)
        return 2;
    while (jobswitch_start_job(&handle, &ret, job, &arg, sizeof arg) == JOBSWITCH_PAUSE)
        ;
    jobswitch_cleanup_thread();
    return ret == 42 ? 0 : 1;
}
END
cp "$OUT/program.c" "$OUT/program.cpp"
# the library's inner names are nobody's business
cat >"$OUT/same_names.c" <<'END'
#include <jobswitch/jobswitch.h>
int job_start(void);
int job_start(void) { return 1; }
int context_switch(void);
int context_switch(void) { return 2; }
static int job(void *arg) { (void)arg; jobswitch_pause_job(); return job_start() + context_switch(); }
int main(void)
{
    jobswitch_job *handle = NULL;
    int ret = 0;
    while (jobswitch_start_job(&handle, &ret, job, NULL, 0) == JOBSWITCH_PAUSE)
        ;
    return ret == 3 ? 0 : 1;
}
END
links() { # COMPILER SOURCE FLAGS...
    local compiler=$1 source=$2
    shift 2
    # shellcheck disable=SC2086
    $compiler $SANITIZE -Wall -Wextra -Wpedantic -Werror -o "$OUT/program" "$source" "$@" && $EMULATOR "$OUT/program"
}
if_cxx() { # COMMAND...: where there is a C++ library
    if [ "${LIBC:-}" = musl ]; then skip "$2: no C++ library for musl here"; else "$@"; fi
}
rpath=-Wl,-rpath,$(cd "$BUILD" && pwd)
try "a C program and the archive" links "$CC" "$OUT/program.c" -Iinclude "$a" -pthread
try "a C program and the shared library" links "$CC" "$OUT/program.c" -Iinclude "$BUILD/libjobswitch.so" "$rpath"
if_cxx try "a C++ program and the archive" links "$CXX" "$OUT/program.cpp" -Iinclude "$a" -pthread
if_cxx try "a C++ program and the shared library" links "$CXX" "$OUT/program.cpp" -Iinclude "$BUILD/libjobswitch.so" "$rpath"
try "a program with names like the library's inner ones" links "$CC" "$OUT/same_names.c" -Iinclude "$a" -pthread
case $MODE in
asan | tsan | ubsan) ;;
*)
    try "a static program" links "$CC" "$OUT/program.c" -static -Iinclude "$a" -pthread
    same "what the linker says of it" "" "$(cat "$OUT/log")"
    try "a program that is not position-independent" links "$CC" "$OUT/program.c" -no-pie -fno-pie -Iinclude "$a" -pthread
    # C needs no C++ runtime library with the archive
    $CC -o "$OUT/program" "$OUT/program.c" -Iinclude "$a" -pthread
    same "what a C program with the archive needs" "$libc" \
        "$(readelf -d "$OUT/program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')"
    ;;
esac

# ---- a plugin ---------------------------------------------------------------------------

# It holds the archive and is closed while a thread that had jobs lives on: the thread's end
# still finds the code.
cat >"$OUT/plugin.c" <<'END'
#include <jobswitch/jobswitch.h>
static int job(void *arg) { (void)arg; jobswitch_pause_job(); return 42; }
int run(void);
int run(void)
{
    jobswitch_job *handle = NULL;
    int ret = 0;
    while (jobswitch_start_job(&handle, &ret, job, NULL, 0) == JOBSWITCH_PAUSE)
        ;
    return ret;
}
END
cat >"$OUT/host.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
static const char *path;
static int bad = 1;
static void *uses_plugin(void *arg)
{
    void *plugin = dlopen(path, RTLD_NOW);
    int (*run)(void) = plugin ? (int (*)(void))dlsym(plugin, "run") : NULL;
    (void)arg;
    if (!run) {
        puts(dlerror());
        return NULL;
    }
    bad = run() != 42 || dlclose(plugin) || dlerror();
    return NULL;
}
int main(int count, char **values)
{
    pthread_t thread;
    int i;
    path = values[count - 1];
    for (i = 0; i < 2 && !pthread_create(&thread, NULL, uses_plugin, NULL); i++)
        pthread_join(thread, NULL);
    return bad;
}
END
plugin() { # HOW-TO-OPEN MORE-OF-THE-PLUGIN...
    local path=$1
    shift
    # shellcheck disable=SC2086
    $CC $SANITIZE -Wall -Wextra -Werror -shared -fPIC -o "$OUT/plugin.so" "$OUT/plugin.c" -Iinclude "$@" -pthread &&
        $CC $SANITIZE -Wall -Wextra -Werror -o "$OUT/host" "$OUT/host.c" -pthread -ldl &&
        (cd "$OUT" && $EMULATOR ./host "$path")
}
if [ "$MODE" = tsan ]; then
    skip "a sanitizer's runtime in a plugin"
elif [ "${LIBC:-}" = musl ]; then
    skip "musl opens no object that has thread-local variables of the initial-exec model"
else
    try "a plugin that holds the archive" plugin ./plugin.so "$a"
    try "one that is found by its full path" plugin "$(cd "$OUT" && pwd)/plugin.so" "$a"
    try "a plugin and the shared library" plugin ./plugin.so "$BUILD/libjobswitch.so" "$rpath"
fi

# ---- installed ----------------------------------------------------------------------------

root=$(cd "$OUT" && pwd) || exit 1 # the folder may be gone, and nothing above it is ours
root=$root/installed
rm -rf "$root"
install() { # [un]install; nothing of an outer make
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s --no-print-directory "$1" ARCH="$ARCH" MODE="$MODE" \
        LIBC="${LIBC:-}" ENTRY="$(echo "$BUILD" | sed -n 's/.*-portable$/portable/p')" CC="$CC" CXX="$CXX" \
        DESTDIR="$root" PREFIX=/usr
}
try "make install" install install
programs=$(cd "$BUILD" && ls bench/jobswitch-bench jobswitch-openssl 2>/dev/null | sed 's|^\(.*/\)*|usr/bin/|')
bench_so=
[ ! -x "$BUILD/bench/jobswitch-bench" ] || bench_so='usr/lib/libjobswitch-bench-openssl.so
'
same "what is installed, but for man pages" "$programs${programs:+
}usr/include/jobswitch-compat/openssl/async.h
$(for h in $headers $inline; do echo "usr/include/jobswitch/$(basename "$h")"; done | LC_ALL=C sort)
${bench_so}usr/lib/libjobswitch-openssl.so
usr/lib/libjobswitch-openssl.so.1
usr/lib/libjobswitch-openssl.so.1.0.0
usr/lib/libjobswitch.a
usr/lib/libjobswitch.so
usr/lib/libjobswitch.so.1
usr/lib/libjobswitch.so.1.0.0
usr/lib/pkgconfig/jobswitch-openssl.pc
usr/lib/pkgconfig/jobswitch.pc" "$(cd "$root" && find . ! -type d ! -path './usr/share/man/*' | sed 's|^\./||' | LC_ALL=C sort)"
same "a man page for each function" "$(echo "$in_map" | grep -v '^jobswitch_inline_')" \
    "$(cd "$root/usr/share/man/man3" && ls | sed 's/\.3$//' | grep '^jobswitch_' | sort)"
try "its programs do not look into the source tree" sh -c "! grep -rlF \"$(pwd)\" '$root/usr/include' '$root/usr/lib/pkgconfig'"
case $MODE in
asan | tsan) ;; # (there are none then)
*)
    [ -z "$inline" ] || try "its header inlines" sh -c "$CC -O2 -I'$root/usr/include' -c -o '$OUT/inlines.o' '$OUT/program.c' &&
        $NM -u '$OUT/inlines.o' | grep -q jobswitch_inline_"
    ;;
esac
if ! command -v pkg-config >/dev/null; then
    skip "no pkg-config here"
else
    packaged() { # COMPILER SOURCE MORE...
        local compiler=$1 source=$2 flags
        shift 2
        flags=$(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig \
            PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
            pkg-config --cflags --libs $static jobswitch) || return 1
        # shellcheck disable=SC2086
        (cd "$OUT" && $compiler $SANITIZE -Wall -Wextra -Wpedantic -Werror -o packaged "$source" "$@" $flags &&
            LD_LIBRARY_PATH=$root/usr/lib $EMULATOR ./packaged)
    }
    static=
    try "a C program, by pkg-config" packaged "$CC" program.c
    if_cxx try "a C++ program, by pkg-config" packaged "$CXX" program.cpp
    try "one that includes <openssl/async.h>" packaged "$CC" program.c -DTHROUGH_COMPAT "-I$root/usr/include/jobswitch-compat"
    same "the version by pkg-config" "1.0.0" "$(PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig pkg-config --modversion jobswitch)"
    case $MODE in
    asan | tsan | ubsan) ;;
    *)
        static=--static
        rm "$root"/usr/lib/libjobswitch.so*
        try "a static program, by pkg-config --static" packaged "$CC" program.c -static
        try "make install again" install install
        ;;
    esac
fi
try "make uninstall" install uninstall
same "what make uninstall leaves" "" "$(find "$root" ! -type d)"

finish
