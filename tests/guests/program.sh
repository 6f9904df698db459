#!/bin/sh
# Unpacks one program of a Debian package, for hosts whose own release does not
# have it: OUT/PROGRAM.
#
#   program.sh PACKAGE PROGRAM SUITE MIRROR KEYRING OUT
#
# The program must need no libraries beyond the C library (Go's do not).
set -eu
package=$1 program=$2 suite=$3 mirror=$4 keyring=$5 out=$6
work=$out/work
# shellcheck source=tests/guests/apt.sh
. "$(dirname "$0")/apt.sh"
if ! apt-cache show "$package" >/dev/null 2>&1; then
    echo "the Debian mirror of this host has no $package in $suite" >&2
    exit 75
fi
(cd "$work" && apt-get -qq download "$package")
dpkg-deb -x "$work/$package"_*.deb "$work/tree"
cp "$work/tree/usr/bin/$program" "$out/$program"
rm -rf "$work"
