#!/bin/sh
# Makes the root file system that all guests of one Debian release share, as an
# ext4 image: OUT/root.ext4.
#
#   root.sh SUITE MIRROR KEYRING EXTRA OUT
#
# EXTRA is laid over the packages' files: the agent and what makes systemd boot
# in a third of the time under emulation, without taking away what a pod needs
# (journald, machined, D-Bus, sockets, timers stay).
set -eu
suite=$1 mirror=$2 keyring=$3 extra=$4 out=$5

packages=acl,apparmor,attr,busybox-static,dbus,e2fsprogs,fsverity,iproute2,kmod,libcap2-bin
packages=$packages,mount,nftables,procps,systemd,systemd-container,systemd-sysv
packages=$packages,util-linux

mmdebstrap --quiet --mode=root --variant=essential --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$out/tree" "deb [signed-by=$keyring] $mirror $suite main"

tree=$out/tree
rm -rf "$tree"/var/lib/dpkg "$tree"/var/lib/apt "$tree"/var/cache/* "$tree"/boot
mkdir -p "$tree/in" "$tree/out" "$tree/usr/lib/modules" "$tree/etc/systemd/system" "$tree/var/lib/rkt"
cp -a "$extra/." "$tree/"
# Same id in every guest: a first boot would set one up, which takes seconds.
echo 5f1d0c6e2f0b4f0f8a3c0d9b7e4a1c55 >"$tree/etc/machine-id"
echo guest >"$tree/etc/hostname"
ln -sf ../guest.service "$tree/etc/systemd/system/multi-user.target.wants/guest.service"
ln -sf /lib/systemd/system/multi-user.target "$tree/etc/systemd/system/default.target"
while read -r unit; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done <"$(dirname "$0")/masked"
# Each is a process at every boot and none has anything to say here; the
# directory stays for those that a test brings.
rm -f "$tree"/usr/lib/systemd/system-generators/*
# The first boot after an install would run ldconfig, sysusers, hwdb and the like.
touch "$tree/etc/.updated" "$tree/var/.updated"

truncate -s 1G "$out/root.ext4"
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -O verity -m 0 -d "$tree" "$out/root.ext4"
rm -rf "$tree"
