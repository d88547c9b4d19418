#!/bin/sh
# Puts the release binaries and the shared libraries that they need into ./image, for the Dockerfile beside this script.
# Usage: stage.sh [DIRECTORY WITH THE BINARIES]   (default: target/release of this repository)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
built=${1:-$here/../../target/release}
image=$here/image
rm -rf "$image"
mkdir -p "$image/usr/bin" "$image/tmp"
for name in warifu-node warifu-coordinator; do
    cp "$built/$name" "$image/usr/bin/"
    # The words of ldd's lines that are paths.
    ldd "$built/$name" | tr ' \t' '\n\n' | grep '^/' | while read -r library; do
        mkdir -p "$image$(dirname "$library")"
        cp -L "$library" "$image$library"
    done
done
echo "staged in $image"
