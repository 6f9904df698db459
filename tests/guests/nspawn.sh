#!/bin/sh
# Becomes a booted systemd-nspawn guest. Runs in a mount namespace of its own,
# which takes all mounts made here away with it.
#
#   nspawn.sh IMAGE RUN NAME CGROUP...
#
# RUN holds in.tar and gets out/. /var is a copy, not part of the overlay: pods
# have overlay upper directories in it, and those cannot lie on an overlay.
set -eu
image=$1 run=$2 name=$3
shift 3
for cgroup in "$@"; do
    echo 0 >"$cgroup/cgroup.procs"
done
mkdir "$run/lower" "$run/upper" "$run/work" "$run/root" "$run/var"
mount -t ext4 -o loop,ro,noload "$image" "$run/lower"
mount -t overlay -o "lowerdir=$run/lower,upperdir=$run/upper,workdir=$run/work" overlay "$run/root"
cp -a "$run/lower/var/." "$run/var"
mount --bind "$run/var" "$run/root/var"
tar -xf "$run/in.tar" -C "$run/root"

keep=--keep-unit
if [ -d /run/systemd/system ]; then
    keep=
fi
# shellcheck disable=SC2086 # one word or none
SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn \
    --quiet --directory="$run/root" --machine="$name" --register=no $keep \
    --link-journal=no --console=pipe --private-network --capability=all \
    --bind=/dev/fuse --bind=/dev/net/tun --bind=/dev/loop-control \
    --bind="$run/var:/var" --bind="$run/out:/out" --boot </dev/null
