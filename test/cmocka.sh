#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# cmocka.sh FOLDER: CMocka's source, for CPUs of which there is no package: fetched by
# apt-get from Debian's sources of the release that is installed here, and unpacked to
# FOLDER/src and FOLDER/include. Needs no rights, and changes nothing of apt's own.
#
# Without apt: unpack a CMocka 1.1 there by hand.
set -eu
folder=$1
stop() {
    echo "no source of CMocka: $*; unpack one to $folder by hand (src/ and include/)" >&2
    exit 1
}
[ "${DEPS:-}" != no ] || stop "DEPS=no"
command -v apt-get >/dev/null || stop "no apt-get here"

mkdir -p "$folder"
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
mkdir -p "$here/lists/partial" "$here/cache/archives/partial"
# The machine's own places, asked for sources.
sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/*.sources >"$here/own.sources" 2>/dev/null || :
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^deb\(-src\)\{0,1\} /deb-src /p' | sort -u >"$here/own.list"
for kind in sources list; do
    [ -s "$here/own.$kind" ] || continue
    set -- -q -o "Dir::Etc::sourcelist=$here/own.$kind" -o Dir::Etc::sourceparts=- \
        -o "Dir::State::lists=$here/lists" -o "Dir::Cache=$here/cache" \
        -o APT::Sandbox::User=root
    (cd "$here" && apt-get "$@" update && apt-get "$@" source --download-only cmocka) \
        >"$here/log" 2>&1 || :
    archive=$(find "$here" -name 'cmocka_*.orig.tar.*z' | head -n 1)
    [ -z "$archive" ] || break
done
if [ -z "${archive:-}" ]; then
    tail -n 5 "$here/log" >&2 || :
    stop "apt-get has none"
fi
tar -xf "$archive" -C "$here"
cp -r "$here"/cmocka-*/include "$here"/cmocka-*/src "$folder"
