#!/bin/sh
# Makes the root file system that the benchmark's peers run in, so that they
# are Debian's newest stable ones on every host: OUT/root, and OUT/versions with
# a line "PACKAGE VERSION" for each.
#
#   peers.sh SUITE MIRROR KEYRING OUT
set -eu
suite=$1 mirror=$2 keyring=$3 out=$4

peers="bubblewrap conmon containerd containernetworking-plugins crun netavark"
peers="$peers podman runc skopeo systemd-container umoci"
tools="aardvark-dns busybox-static ca-certificates docker-registry"
tools="$tools golang-github-containers-common iperf3 iproute2 iptables nftables util-linux"

mmdebstrap --quiet --mode=root --variant=essential \
    --include="$(echo "$peers $tools" | tr ' ' ',')" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$out/root" "deb [signed-by=$keyring] $mirror $suite main"
# shellcheck disable=SC2086 # a list of words
dpkg-query --admindir="$out/root/var/lib/dpkg" -W -f '${Package} ${Version}\n' $peers >"$out/versions"
# systemd-nspawn asks for one.
echo 5f1d0c6e2f0b4f0f8a3c0d9b7e4a1c55 >"$out/root/etc/machine-id"
rm -rf "$out/root"/var/cache/apt/* "$out/root"/var/lib/apt/lists/*
