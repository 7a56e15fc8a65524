#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Holds the manual pages and README.md to what they say:
#  - each exported function of the headers has a page in section 3, with the
#    header's prototype and all sections;
#  - each program in a page or in README.md compiles without a warning, runs,
#    exits with 0 and prints exactly what stands below it;
#  - names and numbers of reasons in the pages are those of the header.
#
# Run from the top folder. Environment, all optional:
#   CC        the compiler (cc)
#   CFLAGS    more flags for compiling
#   LDFLAGS   more flags for linking
#   SANITIZE  more flags for both
#   BUILD     where the library was built (build/x86_64-release)
#   LIB       the library, .a or .so ($BUILD/libjobswitch.a)
#   OUT       a folder for what this test builds ($BUILD/doc_test)
#   EMULATOR  words before a program, where this machine's CPU cannot run it
#   TIMEOUT_S seconds a program may run (20)
#
# How programs are marked: in a page, a block .EX to .EE that includes a header
# is a program, and the block after "This prints:" is what it writes to
# standard output; a program without such a block writes nothing. In README.md,
# a fence "```c run" is a program and the next fence "```text prints" its output.
set -u

CC=${CC:-cc}
CFLAGS=${CFLAGS:-}
LDFLAGS=${LDFLAGS:-}
SANITIZE=${SANITIZE:-}
EMULATOR=${EMULATOR:-}
BUILD=${BUILD:-build/x86_64-release}
LIB=${LIB:-$BUILD/libjobswitch.a}
OUT=${OUT:-$BUILD/doc_test}
timeout_s=${TIMEOUT_S:-20}
sections='NAME LIBRARY SYNOPSIS DESCRIPTION RETURN_VALUE ERRORS THREADS EXAMPLE SEE_ALSO'

passed=0
failed=0
names=

# result STATUS WHAT [FILE]: one line, and what went wrong
result() {
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok    $2"
    else
        failed=$((failed + 1))
        names="$names
      $2"
        echo "FAIL  $2"
        if [ -s "${3:-/dev/null}" ]; then
            sed 's/^/      /' "$3"
        fi
    fi
}

# ---- what the headers export -------------------------------------------------

# "name prototype" a line; the prototype without white space.
exported() {
    cat include/jobswitch/*.h | awk '
        /^[ \t]*#/ { skip = 1 }
        skip { skip = /\\$/; next }
        { text = text $0 "\n" }
        END {
            while ((from = index(text, "/*")) > 0) {
                rest = substr(text, from + 2)
                text = substr(text, 1, from - 1) " " substr(rest, index(rest, "*/") + 2)
            }
            count = split(text, statements, ";")
            for (i = 1; i <= count; i++) {
                s = statements[i]
                gsub(/__attribute__\(\(visibility\("default"\)\)\)/, "JOBSWITCH_API", s)
                if (!match(s, /JOBSWITCH_API/))
                    continue
                s = substr(s, RSTART + RLENGTH)
                match(s, /jobswitch_[a-z0-9_]+[ \t\n]*\(/)
                name = substr(s, RSTART, RLENGTH)
                gsub(/[ \t\n(]/, "", name)
                gsub(/[ \t\n]/, "", s)
                print name, s ";"
            }
        }'
}

# "name number" a line: the reasons in the header
reasons_of_header() {
    awk '$1 == "#define" && $2 ~ /^JOBSWITCH_E_/ { print $2, $3 }' \
        include/jobswitch/jobswitch.h
}

# ---- a page --------------------------------------------------------------------

# The page's own text: a page that is only a link is read through it.
page_source() {
    target=$(sed -n 's/^\.so //p' "$1")
    if [ -n "$target" ]; then
        cat "doc/$target"
    else
        cat "$1"
    fi
}

# Text of a page with the escapes taken back.
unescape() {
    sed -e 's/^\\&//' -e 's/\\-/-/g' -e "s/\\\\(aq/'/g" -e 's/\\(ga/`/g' \
        -e 's/\\(ha/^/g' -e 's/\\(ti/~/g' -e 's/\\(dq/"/g' -e 's/\\e/\\/g'
}

# check_page NAME PROTOTYPE: complaints about doc/man3/NAME.3
check_page() {
    page=doc/man3/$1.3
    if [ ! -f "$page" ]; then
        echo "there is no page $page"
        return
    fi
    grep -q 'SPDX-License-Identifier: Apache-2.0' "$page" ||
        echo "there is no line with the licence"
    page_source "$page" >"$OUT/page" 2>&1
    for section in $sections; do
        title=$(echo "$section" | tr _ ' ')
        awk -v title="$title" '
            $1 == ".SH" { here = substr($0, 5) == title; next }
            here && !/^\./ { lines++ }
            here && /^\.(B|BI|BR|IR|I) / { lines++ }
            END { exit lines == 0 }' "$OUT/page" ||
            echo "section $title is missing or empty"
    done
    # NAME names the function before the dash.
    awk '$1 == ".SH" { here = $2 == "NAME"; next } here' "$OUT/page" |
        sed 's/ \\- .*//' | tr ',' '\n' | tr -d ' ' | grep -qx "$1" ||
        echo "section NAME does not name $1"
    # The prototype, word for word but for white space.
    awk '$1 == ".SH" { here = $2 == "SYNOPSIS"; next }
         here && /^\.(B|BI|BR) / {
             sub(/^\.[BIR]+ /, "")
             gsub(/[" \t]/, "")
             printf "%s%s", $0, /;$/ ? "\n" : ""
         }' "$OUT/page" | sed 's/^#include<[^>]*>//' >"$OUT/prototypes"
    grep -qxF "$2" "$OUT/prototypes" ||
        echo "the prototype is not that of the header: $2"
    case $(sed -n '/^\.TH /p' "$OUT/page") in
    *"\"$(version_of_header)\""*) ;;
    *) echo "the version in .TH is not that of the header" ;;
    esac
}

version_of_header() {
    sed -n 's/^#define JOBSWITCH_VERSION_STRING "\(.*\)"/jobswitch \1/p' \
        include/jobswitch/jobswitch.h
}

# Complaints about one file's words.
check_words() {
    # Reasons are those of the header.
    unescape <"$1" | grep -o 'JOBSWITCH_E_[A-Z_]*' | sort -u |
        while read -r reason; do
            grep -q "^$reason " "$OUT/reasons" || echo "$reason is not in the header"
        done
    # So are functions and pages that are named; a prefix ends in an underscore.
    sed 's/\\f[BIPR]//g' "$1" | grep -o 'jobswitch_[a-z0-9_]*([2-9])' | sort -u |
        while read -r reference; do
            name=${reference%(*}
            section=${reference#*(}
            [ -f "doc/man${section%)}/$name.${section%)}" ] ||
                echo "$reference is referred to, and is no page"
        done
    # In a program, these would come out of a formatter as other characters.
    awk -v quote="'" '
        /^\.EX/ { here = 1; next }
        /^\.EE/ { here = 0 }
        here {
            line = $0
            gsub(/\\(-|e|&|\(aq|\(ga|\(ha|\(ti)/, "", line)
            if (line ~ /[-`^~\\]/ || index(line, quote))
                print "line " NR ": write \\- \\e \\(aq \\(ga \\(ha \\(ti in programs"
        }' "$1"
}

# ---- programs ------------------------------------------------------------------

# Writes BASE.N.c and BASE.N.out for the programs of a page, and complaints to
# standard output. A block of section EXAMPLE must be a program or an output.
extract_page() {
    unescape <"$1" | awk -v base="$2" '
        /^\.SH/ { example = $2 == "EXAMPLE"; prints = 0 }
        /^This prints:$/ { prints = 1; next }
        /^\.EX/ { here = 1; text = ""; first = NR; next }
        /^\.EE/ {
            here = 0
            if (prints) {
                if (!n || has_output) {
                    print "line " first ": an output without a program"
                } else {
                    printf "%s", text > (base "." n ".out")
                    has_output = 1
                }
            } else if (text ~ /#include </) {
                n++
                has_output = 0
                printf "%s", text > (base "." n ".c")
                printf "" > (base "." n ".out")
            } else if (example) {
                print "line " first ": neither a program nor an output"
            }
            prints = 0
            next
        }
        here { text = text $0 "\n" }
        END { if (!n) print "there is no program in this page" }'
}

extract_readme() {
    awk -v base="$2" '
        /^```/ && !here {
            here = 1
            kind = $0
            if (kind == "```c run") {
                n++
                file = base "." n ".c"
                printf "" > file
                printf "" > (base "." n ".out")
            } else if (kind == "```text prints") {
                file = base "." n ".out"
                if (!n) print "line " NR ": an output without a program"
            } else {
                file = ""
                if (kind ~ /^```c/) print "line " NR ": a program that is not marked \"c run\""
            }
            next
        }
        /^```$/ { here = 0; next }
        here && file { print > file }
        END { if (!n) print "there is no program in this file" }' "$1"
}

# run_program BASE: compiles BASE.c, runs it, compares with BASE.out. Its
# complaints go to standard output; the answer tells how it went.
run_program() {
    case $LIB in
    *.so | *.so.*) path=$(cd "$(dirname "$LIB")" && pwd) ;;
    *) path= ;;
    esac
    # Flags are lists of words.
    # shellcheck disable=SC2086
    $CC -std=gnu99 -Wall -Wextra -Wpedantic -Werror -Iinclude $CFLAGS $SANITIZE \
        -o "$1.exe" "$1.c" $LDFLAGS "$LIB" -pthread >"$1.log" 2>&1 || {
        cat "$1.log"
        return 1
    }
    LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
        timeout "$timeout_s" $EMULATOR "$1.exe" >"$1.got" 2>"$1.log" </dev/null
    status=$?
    if [ $status -ne 0 ]; then
        echo "exit status $status (124: no end within $timeout_s s)"
        cat "$1.log"
        return 1
    fi
    diff "$1.out" "$1.got" >"$1.log" || {
        echo "what it prints (>) is not what stands there (<):"
        cat "$1.log"
        return 1
    }
}

# ---- all of it -----------------------------------------------------------------

[ -f include/jobswitch/jobswitch.h ] || {
    echo "doc_test: run it from the top folder" >&2
    exit 2
}
[ -f "$LIB" ] || {
    echo "doc_test: there is no library $LIB" >&2
    exit 2
}
mkdir -p "$OUT"
rm -f "$OUT"/*.c "$OUT"/*.out "$OUT"/*.exe "$OUT"/*.got "$OUT"/*.log

exported >"$OUT/exported"
reasons_of_header >"$OUT/reasons"
[ -s "$OUT/exported" ] && [ -s "$OUT/reasons" ]
result $? "the headers export functions and reasons"

while read -r name prototype; do
    check_page "$name" "$prototype" >"$OUT/complaints"
    [ ! -s "$OUT/complaints" ]
    result $? "page of $name" "$OUT/complaints"
done <"$OUT/exported"

for page in doc/man3/*.3; do
    name=$(basename "$page" .3)
    grep -q "^$name " "$OUT/exported" || {
        echo "no header exports $name" >"$OUT/complaints"
        result 1 "$page" "$OUT/complaints"
    }
done

# Every reason with its number in the page that lists them, and in the page of
# a call that can leave it.
while read -r reason number; do
    unescape <doc/man3/jobswitch_last_error.3 |
        grep -q "^$number	$reason	" ||
        echo "$reason is not listed as $number in jobswitch_last_error(3)"
    [ "$reason" = JOBSWITCH_E_NONE ] || grep -qx "\.B $reason" doc/man3/*.3 ||
        echo "$reason stands in no section ERRORS"
done <"$OUT/reasons" >"$OUT/complaints"
[ ! -s "$OUT/complaints" ]
result $? "reasons and their numbers" "$OUT/complaints"

for page in doc/man1/*.1 doc/man3/*.3 doc/man7/*.7; do
    name=$(basename "$page")
    if grep -q '^\.so ' "$page"; then
        continue # looked at with the page of its function
    fi
    {
        check_words "$page"
        if command -v mandoc >/dev/null; then
            mandoc -T lint -W warning "$page"
        fi
        # (Examples of commands are in section 1.)
        case $page in *.1) ;; *) extract_page "$page" "$OUT/$name" ;; esac
    } >"$OUT/complaints" 2>&1
    [ ! -s "$OUT/complaints" ]
    result $? "words of $name" "$OUT/complaints"
done
extract_readme README.md "$OUT/README.md" >"$OUT/complaints" 2>&1
[ ! -s "$OUT/complaints" ]
result $? "words of README.md" "$OUT/complaints"

for program in "$OUT"/*.c; do
    base=${program%.c}
    run_program "$base" >"$OUT/complaints" 2>&1
    result $? "program $(basename "$base")" "$OUT/complaints"
done

[ $failed -eq 0 ] || echo "these failed:$names"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
