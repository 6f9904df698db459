#!/bin/sh
# Unpacks one Debian cloud kernel for QEMU's -kernel: OUT/vmlinux (uncompressed,
# so that nothing is inflated under emulation), OUT/initrd and OUT/modules.ext4.
#
#   kernel.sh VERSION SUITE MIRROR KEYRING INIT OUT
#
# VERSION is the first two numbers (6.12); the newest package of that series in
# SUITE is taken.
set -eu
version=$1 suite=$2 mirror=$3 keyring=$4 init=$5 out=$6
work=$out/work
# shellcheck source=tests/guests/apt.sh
. "$(dirname "$0")/apt.sh"
package=$(apt-cache pkgnames "linux-image-$version." | grep -- '-cloud-amd64$' | sort -V | tail -n 1)
if [ -z "$package" ]; then
    echo "the Debian mirror of this host has no kernel $version in $suite" >&2
    exit 75
fi
(cd "$work" && apt-get -qq download "$package")
dpkg-deb -x "$work"/linux-image-*.deb "$work/tree"
release=${package#linux-image-}

# Merged /usr came to this package late: 6.12 still ships /lib/modules.
modules=$work/modules
mkdir -p "$modules/lib/modules"
for place in "$work/tree/lib/modules" "$work/tree/usr/lib/modules"; do
    if [ -d "$place/$release" ]; then
        cp -a "$place/$release" "$modules/lib/modules/"
    fi
done
find "$modules" -name '*.ko.xz' -print0 | xargs -0 -r -P 2 -n 64 xz -d
depmod -b "$modules" "$release"
truncate -s 512M "$out/modules.ext4"
mkfs.ext4 -q -F -O ^has_journal -m 0 -d "$modules/lib/modules" "$out/modules.ext4"

# The boot protocol's header (Documentation/arch/x86/boot.rst) says where the
# compressed kernel lies; its last four bytes are the unpacked size.
image=$work/tree/boot/vmlinuz-$release
field() { od -An -j "$1" -N "$2" -t "u$2" "$image" | tr -d ' '; }
start=$((($(field 497 1) + 1) * 512 + $(field 584 4)))
length=$(($(field 588 4) - 4))
tail -c +$((start + 1)) "$image" | head -c "$length" >"$work/payload"
case $(od -An -N 4 -t x1 "$work/payload" | tr -d ' ') in
28b52ffd) zstd -qdc "$work/payload" >"$out/vmlinux" ;;
02214c18) lz4 -dc "$work/payload" >"$out/vmlinux" ;;
*)
    echo "$image: the payload is neither zstd nor lz4" >&2
    exit 1
    ;;
esac

initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/proc" "$initrd/sys" "$initrd/root" "$initrd/modules"
cp "$(command -v busybox)" "$initrd/bin/busybox"
cp "$init" "$initrd/init"
modprobe -d "$modules" -S "$release" -a --show-depends virtio_pci virtio_blk |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$work/order"
number=100
while read -r module; do
    cp "$module" "$initrd/modules/$number-${module##*/}"
    number=$((number + 1))
done <"$work/order"
(cd "$initrd" && find . | cpio --quiet -o -H newc) >"$out/initrd"

echo "$release" >"$out/release"
rm -rf "$work"
