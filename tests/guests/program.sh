#!/bin/sh
# Unpacks one program of a Debian package, for hosts whose own release does not
# have it: OUT/PROGRAM.
#
#   program.sh PACKAGE PROGRAM SUITE MIRROR KEYRING OUT
#
# The program must need no libraries beyond the C library (Go's do not). apt
# runs on directories of its own: the host's sources, lists and status are
# neither read nor written.
set -eu
package=$1 program=$2 suite=$3 mirror=$4 keyring=$5 out=$6
work=$out/work
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"

echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
Dir::Etc::preferences "$work/none";
Dir::Etc::preferencesparts "$work/parts";
Dir::State::lists "$work/lists";
Dir::State::status "/dev/null";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get -qq update
if ! apt-cache show "$package" >/dev/null 2>&1; then
    echo "the Debian mirror of this host has no $package in $suite" >&2
    exit 75
fi
(cd "$work" && apt-get -qq download "$package")
dpkg-deb -x "$work/$package"_*.deb "$work/tree"
cp "$work/tree/usr/bin/$program" "$out/$program"
rm -rf "$work"
