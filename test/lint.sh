#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Rules of the house that no compiler checks: who may include whom, white
# space, licence lines, headers that stand alone, exported names, notes of the
# objects, manual pages. A line for each fault; exit code 1 if there is any.
# Environment: BUILD, CC, CXX.
set -u
BUILD=${BUILD:-build/x86_64-release} CC=${CC:-gcc} CXX=${CXX:-g++}
mkdir -p "$BUILD"
faults=$BUILD/lint.faults # a file, for parts of this run in pipes
: >"$faults"
fault() { echo "lint: $*" | tee -a "$faults"; }
# faults_of WHAT: a fault for each line of standard input
faults_of() {
    local line
    while IFS= read -r line; do fault "$1: $line"; done
}

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files --cached --others --exclude-standard | while IFS= read -r f; do [ -f "$f" ] && echo "$f"; done)
else
    mapfile -t files < <(find . -type f -not -path './build/*' -not -path './.git/*' | sed 's|^\./||')
fi
[ ${#files[@]} -gt 20 ] || fault "no files to look at"
named() { printf '%s\n' "${files[@]}" | grep -E "$1"; }

# ---- who includes whom -----------------------------------------------------------

# The headers that a file may include of this project's own, by their names in
# #include lines. Leaves know what is below every part, and themselves.
base='machine.h layout.h jobswitch/jobswitch.h valgrind.h'
allowed() {
    case $1 in
    src/openssl/*) echo "jobswitch/jobswitch.h api.h libcrypto.h record.h slot.h stacks.h" ;;
    src/context.h | src/layout.h) echo "machine.h" ;;
    src/valgrind.h) ;;
    src/stack.h | src/stack.cpp) echo "$base stack.h" ;;
    src/lock.h | src/lock.cpp) echo "lock.h" ;;
    src/event.h | src/event.cpp) echo "jobswitch/jobswitch.h event.h" ;;
    src/ready.h | src/ready.cpp) echo "$base event.h ready.h" ;;
    src/wait.h | src/wait.cpp) echo "$base lock.h event.h ready.h wait.h" ;;
    src/timer.h | src/timer.cpp) echo "$base timer.h" ;;
    src/pin.h | src/pin.cpp) echo "pin.h" ;;
    src/local.h | src/local.cpp) echo "$base lock.h local.h" ;;
    src/arena.h | src/arena.cpp) echo "$base lock.h arena.h" ;;
    src/handle.h) echo "$base arena.h wait.h handle.h" ;;
    src/job.h | src/job.cpp | src/pool.h | src/pool.cpp)
        echo "$base context.h stack.h wait.h timer.h local.h arena.h handle.h pool.h job.h fp_control.h dit.h pin.h event.h" ;;
    src/loop.h | src/loop.cpp) echo "jobswitch/jobswitch.h pool.h job.h loop.h" ;;
    src/api.cpp | src/entry.cpp) echo "jobswitch/jobswitch.h handle.h pool.h job.h loop.h" ;;
    src/*) echo "none: no rule for this file" ;;
    arch/*/*.cpp | arch/generic/*) echo "context.h machine.h" ;;
    arch/*/*.h) ;;
    include/jobswitch/inline.h) echo "../../arch/x86_64/inline.h" ;;
    include/jobswitch/*) echo "jobswitch.h tool.h ../jobswitch/inline.h" ;;
    include/compat/*) echo "../../jobswitch/async.h" ;;
    # as users do
    bench/* | examples/*) echo "jobswitch/jobswitch.h jobswitch/async.h jobswitch/jobswitch.hpp" ;;
    test/*) echo "*" ;;
    *) echo "none: no rule for this file" ;;
    esac
}
own=$(named '^(src|arch/[^/]*|include)/.*\.(h|hpp)$' | sed -E 's@^(src|arch/[^/]*|include)/@@')
for f in $(named '\.(c|cpp|h|hpp)$'); do
    may=$(allowed "$f")
    [ "$may" = "*" ] && continue
    case $may in none:*) fault "layers: $f:${may#none:}" ;; esac
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*(["<])([^">]*)[">].*/\1 \2/p' "$f" | while read -r kind header; do
        # its own folder's, in bench/ and examples/; all of bench/ has that one's
        case $f:$header in
        bench/*:rows/*) [ "$kind" = '"' ] && [ -f "bench/$header" ] && continue ;;
        *:*/*) ;;
        bench/*/*:*) [ "$kind" = '"' ] && [ -f "bench/$header" ] && continue ;;
        bench/*:* | examples/*:*) [ "$kind" = '"' ] && [ -f "$(dirname "$f")/$header" ] && continue ;;
        esac
        # a header of this project, however it is spelled
        if [ "$kind" = '"' ] || echo "$own" | grep -qxF "$header"; then
            case " $may " in *" $header "*) ;; *) echo "$f includes $header" ;; esac
        fi
    done
done > >(sort -u >"$BUILD/lint.out")
wait
faults_of layers <"$BUILD/lint.out"
for f in $(named '^arch/.*\.(asm|inc|S)$'); do
    for header in $(sed -nE 's/^[ \t]*[%#.]include[ \t]+"([^"]*)".*/\1/p' "$f"); do
        [ "$header" = offsets.inc ] || [ -f "$(dirname "$f")/$header" ] || fault "layers: $f includes $header"
    done
done
# A CPU is chosen by its folder, never by the preprocessor.
named '^(src|include)/.*\.(h|hpp|cpp)$' | xargs grep -nE '__(x86_64|amd64|i386|aarch64|arm|riscv|powerpc64?|s390x|mips64|loongarch64)__' | faults_of "a CPU outside arch/"

# ---- text ---------------------------------------------------------------------------

text=$(printf '%s\n' "${files[@]}" | xargs -d '\n' grep -lI '')
# Tabs are for makefiles and the tables of manual pages.
echo "$text" | grep -vE '(^|/)(Makefile|LICENSE)$|\.mk$' | xargs -d '\n' grep -nP '^ *\t' | cut -c1-80 | faults_of "a tab as indentation"
named '\.(c|cpp|h|hpp|asm|inc|S)$' | xargs -d '\n' grep -nP '\t' | cut -c1-80 | faults_of tab
echo "$text" | xargs -d '\n' grep -nP '[ \t\r]$' | cut -c1-80 | faults_of "blank at the end of a line"
for f in $text; do
    [ -z "$(tail -c 1 "$f")" ] || fault "no newline at the end: $f"
    [ -n "$(tail -n 1 "$f")" ] || fault "empty line at the end: $f"
done
for f in $(named '\.(c|cpp|h|hpp|asm|inc|S|sh|mk|map|py|gp|[137])$|(^|/)Makefile$'); do
    # a page that is another one's second name
    case $f in doc/*) grep -q '^\.so ' "$f" && continue ;; esac
    head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || fault "no SPDX line: $f"
done
# (written so that this file is not one of them)
echo "$text" | xargs -d '\n' grep -nE '/(wor[k]|far[m]|roo[t])/' | cut -c1-100 | faults_of "a path of some machine"
for f in $(named '\.sh$|^\.ci/run$'); do
    bash -n "$f" 2>&1 | faults_of "shell"
done

# ---- headers alone --------------------------------------------------------------------

strict='-Wall -Wextra -Wpedantic -Werror -fsyntax-only'
arch=$(basename "$BUILD" | sed 's/-.*//')
# (inline.h is part of jobswitch.h)
for f in $(named '^include/.*\.h$' | grep -v '/inline\.h$'); do
    $CC -x c -std=c99 $strict -Iinclude -include "$f" /dev/null >"$BUILD/lint.out" 2>&1 ||
        fault "header does not compile alone as C99: $f: $(head -n 1 "$BUILD/lint.out")"
    $CXX -x c++ -std=c++11 $strict -Iinclude -include "$f" /dev/null >"$BUILD/lint.out" 2>&1 ||
        fault "header does not compile alone as C++11: $f: $(head -n 1 "$BUILD/lint.out")"
done
for f in $(named "^(src|arch/$arch)/[^/]*\.h\$|^include/.*\.hpp\$" | grep -v '/inline\.h$'); do
    $CXX -x c++ -std=c++20 $strict -Iinclude -Isrc "-Iarch/$arch" -DJOBSWITCH_BUILDING -include "$f" /dev/null >"$BUILD/lint.out" 2>&1 ||
        fault "header does not compile alone: $f: $(head -n 1 "$BUILD/lint.out")"
done

# ---- names ---------------------------------------------------------------------------

# What the stubs of a CPU's inline.h refer to, where that is built in, is nobody else's:
# it has no pages.
stubs=$([[ -f arch/$arch/inline.h && $BUILD != *-portable ]] && grep -oE 'jobswitch_inline_[a-z_]+(\(void\)|@GOTTPOFF)' "arch/$arch/inline.h" | sed 's/[(@].*//')
in_map=$(sed -n '/global:/,/local:/s/^ *\([A-Za-z_0-9]*\);.*/\1/p' src/jobswitch.map | sort)
[ -n "$stubs" ] || in_map=$(echo "$in_map" | grep -v '^jobswitch_inline_')
in_headers=$(for f in $(named '^include/jobswitch/.*\.h$' | grep -v '/inline\.h$'); do
    $CC -E -P -x c -DJOBSWITCH_BUILDING -Iinclude "$f"
done | tr '\n' ' ' | tr ';' '\n' | grep -vE 'typedef|\{' |
    sed -n 's/.*[ *]\(jobswitch_[a-z_0-9]*\) *(.*/\1/p' | cat - <(printf '%s\n' $stubs) | grep . | sort -u)
in_library=$("$($CC -print-prog-name=nm)" -D --defined-only "$BUILD/libjobswitch.so" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | sort)
case $BUILD in
*asan* | *tsan* | *ubsan*) in_library=$in_map ;; # a sanitizer's build exports more
esac
[ "$(echo "$in_map" | wc -l)" -gt 10 ] || fault "names: none in src/jobswitch.map"
comm -3 <(echo "$in_map") <(echo "$in_headers") | tr -d '\t' | faults_of "in the version script or a header, not in both"
comm -3 <(echo "$in_map") <(echo "$in_library") | tr -d '\t' | faults_of "in the version script or exported, not both"
echo "$in_map" | grep -v '^jobswitch_' | faults_of "exported without the prefix"
for name in $in_map; do
    case $name in jobswitch_inline_*) continue ;; esac
    [ -f "doc/man3/$name.3" ] || fault "no page doc/man3/$name.3"
done
for f in $(named '^doc/man3/jobswitch_.*\.3$'); do
    echo "$in_map" | grep -qxF "$(basename "$f" .3)" || fault "a page of nothing: $f"
done

# The template has all that a port has.
template() { # FILE NAME...
    local file=arch/template/$1 name
    shift
    [ "$#" -gt 3 ] || fault "no names for $file"
    for name; do
        grep -qw -- "$name" "$file" || fault "no $name in $file"
    done
}
template context.S $(sed -n 's/^[^/]*[ *]\(context_[a-z_]*\)(.*/\1/p' src/context.h)
template conformance.h $(grep -oE 'cpu::[a-z_]+' test/conformance_test.cpp | sed 's/cpu:://' | sort -u) conformance_call conformance_entry
template machine.h $(grep -ohE '\bJS_(CTX_(LINK|SP|CHILD)|CONTEXT_BYTES|JOB_BYTES)\b' arch/*/machine.h | sort -u) JS_MACHINE_H
template template.mk $(sed -n 's/^\(arch-[a-z]*\) *:=.*/\1/p' arch/[!t]*/arch.mk | sort -u | grep -vE 'nasm|entry|assembler|flags$')

# ---- objects --------------------------------------------------------------------------

objects=$(find "$BUILD/src" "$BUILD/arch" -name '*.o' 2>/dev/null)
[ -n "$objects" ] || fault "no objects in $BUILD"
for o in $objects; do
    readelf -W -S "$o" | grep -q '\.note\.GNU-stack' || fault "no GNU-stack note: $o"
    readelf -W -S "$o" | grep '\.note\.GNU-stack' | grep -qE ' [WA]*X[WA]* +[0-9]+ +[0-9]+ +[0-9]+$' && fault "asks for an executable stack: $o"
done

# ---- manual pages -----------------------------------------------------------------------

pages=$(named '^doc/man[137]/.*\.[137]$')
[ -n "$pages" ] || fault "no manual pages"
if command -v mandoc >/dev/null; then
    for f in $pages; do
        # a second name of another page
        also=$(sed -n 's/^\.so //p' "$f")
        if [ -n "$also" ]; then
            [ -f "doc/$also" ] || fault "no page doc/$also for $f"
        else
            mandoc -T lint -W warning "$f" 2>&1 | faults_of mandoc
        fi
    done
else
    fault "no mandoc here"
fi

count=$(wc -l <"$faults")
[ "$count" = 0 ] || echo "lint: $count faults"
[ "$count" = 0 ]
