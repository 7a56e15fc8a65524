#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# g++ with the C library's headers of musl-gcc: compiles C++ that needs no C++ library.
# Headers of the kernel come after musl's own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
specs=$(sed -n 's/.*-specs[ =]"\{0,1\}\([^" ]*\).*/\1/p' "$(command -v musl-gcc)")
set -- "$@" -specs "$specs"
for folder in $(g++ -E -v -x c++ /dev/null 2>&1 | sed -n '/^#include </,/^End/s/^ //p'); do
    case $folder in
    */c++/*) set -- "$@" -isystem "$folder" ;;
    /usr/include | /usr/include/*) set -- "$@" -idirafter "$folder" ;;
    esac
done
exec g++ "$@" -include "$here/musl_g++.h"
