//! The file system around the app: the kernel's, devices, volumes, the root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::table::{Row, row};

/// A directory `volume` with a file, a directory that is another mount's, and
/// links.
fn volume(here: &Path) {
    let volume = here.join("volume");
    if !volume.exists() {
        fs::create_dir_all(volume.join("below")).unwrap();
        fs::write(volume.join("file"), "from the host\n").unwrap();
        symlink("/etc/passwd", volume.join("link")).unwrap();
    }
}

/// A device like `/dev/full`, under another number than any default: memory
/// that is never there.
fn device(here: &Path) {
    let path = here.join("loop-control");
    if !path.exists() {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&path, SFlag::S_IFCHR, mode, makedev(10, 237)).unwrap();
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = kernel();
    rows.extend(devices());
    rows.extend(volumes());
    rows.extend([
        row("root-written")
            .sees("write /new x", "ok")
            .sees_in("mount /", "overlay rw"),
        row("root-read-only")
            .with("--readonly-rootfs=true")
            .sees("write /new x", "EROFS")
            .sees("write /dev/shm/new x", "ok")
            .sees("rewrite /etc/passwd", "EROFS")
            .sees_in("mount /", "overlay ro"),
        row("root-unpacked")
            .with_pod("--no-overlay")
            .sees("write /new x", "ok")
            .sees_not("mount /", "overlay"),
    ]);
    rows
}

fn kernel() -> Vec<Row> {
    const READ_ONLY: &str = "proc ro,nosuid,nodev,noexec,relatime";
    const NULL: &str = "c 666 0 0 1:3";
    vec![
        row("kernel-files")
            .sees("mount /proc", "proc rw,nosuid,nodev,noexec,relatime")
            .sees("mount /proc/sys", READ_ONLY)
            .sees("mount /proc/irq", READ_ONLY)
            .sees("mount /proc/bus", READ_ONLY)
            .sees("mount /proc/fs", READ_ONLY)
            .sees("rewrite /proc/sys/kernel/core_pattern", "EROFS")
            .sees("rewrite /proc/sys/vm/overcommit_memory", "EROFS")
            .where_there("/proc/sysrq-trigger", |row| {
                row.sees("mount /proc/sysrq-trigger", READ_ONLY)
                    .sees("open /proc/sysrq-trigger w", "EROFS")
            })
            .where_there("/proc/kcore", |row| {
                row.sees("stat /proc/kcore", NULL)
                    .sees("read /proc/kcore", "")
            })
            .where_there("/proc/sys/kernel/modprobe", |row| {
                row.sees("rewrite /proc/sys/kernel/modprobe", "EROFS")
            })
            .sees("stat /proc/keys", NULL)
            .sees("stat /proc/timer_list", NULL)
            .sees("list /proc/acpi", json!([]))
            .sees("write /proc/acpi/x x", "EROFS")
            .sees("mount /sys", "sysfs ro,nosuid,nodev,noexec,relatime")
            .sees("list /sys/firmware", json!([]))
            .sees("list /sys/fs", json!([]))
            .sees("list /sys/module", json!([]))
            .sees("list /sys/power", json!([]))
            .sees(
                "rewrite /sys/kernel/mm/transparent_hugepage/enabled",
                "EROFS",
            ),
        // A file below it may be written by who needs no capability for that.
        row("kernel-files-open")
            .with_pod("--insecure-options=paths")
            .sees("mount /proc/sys", json!(null))
            .sees("rewrite /proc/sys/vm/overcommit_memory", "ok")
            .sees_in("mount /sys", "sysfs rw")
            .sees_not("stat /proc/kcore", "1:3"),
        // The pod's own procfs: its processes and no others.
        row("processes-of-the-pod").sees("link /proc/self", "2"),
    ]
}

fn devices() -> Vec<Row> {
    const ALL: [&str; 15] = [
        "console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
        "stdin", "stdout", "tty", "urandom", "zero",
    ];
    vec![
        row("devices")
            .sees("list /dev", json!(ALL))
            .sees("stat /dev/null", "c 666 0 0 1:3")
            .sees("open /dev/null rw", "ok")
            .sees("open /dev/full rw", "ok")
            .sees("open /dev/ptmx rw", "ok")
            .sees("open /dev/tty rw", "ENXIO")
            .sees("mount /dev", "tmpfs rw,nosuid")
            .sees("mount /dev/pts", "devpts rw,nosuid,noexec,relatime")
            .sees("mount /dev/shm", "tmpfs rw,nosuid,nodev,noexec,relatime")
            .sees(
                "mount /dev/mqueue",
                "mqueue rw,nosuid,nodev,noexec,relatime",
            )
            // CAP_MKNOD is the app's; the list of devices is in the way.
            .sees("call mknod /tmp/full 0x21b6 0x107", "ok")
            .sees("open /tmp/full rw", "ok")
            .sees("call mknod /tmp/control 0x21b6 0xaed", "EPERM")
            .sees("call mknod /tmp/disk 0x61b6 0x800", "EPERM")
            .sees("call mknod /tmp/mem 0x21b6 0x101", "EPERM"),
        row("device-volume")
            .before(device)
            .with_pod("--volume=control,kind=host,source=HOST/loop-control")
            .with("--mount=volume=control,target=/dev/control")
            .sees("stat /dev/control", "c 644 0 0 10:237")
            .sees("open /dev/control rw", "ok")
            .sees("call mknod /tmp/other 0x21b6 0xaed", "EPERM"),
        row("device-volume-read-only")
            .before(device)
            .with_pod("--volume=control,kind=host,source=HOST/loop-control,readOnly=true")
            .with("--mount=volume=control,target=/dev/control")
            .sees("open /dev/control r", "ok")
            .sees("open /dev/control rw", "EPERM"),
        row("devices-open")
            .with_pod("--insecure-options=paths")
            .sees("call mknod /tmp/control 0x21b6 0xaed", "ok")
            .sees("open /tmp/control rw", "ok"),
    ]
}

fn volumes() -> Vec<Row> {
    const TEXT: &str = "from the host";
    let host = |name, options: &str| {
        let flag = format!("--volume=data,kind=host,source=HOST/volume{options}");
        row(name).before(volume).with_pod(&flag)
    };
    let point = |read_only: bool| json!([{"name": "data", "path": "/data", "readOnly": read_only}]);
    const MOUNT: &str = "--mount=volume=data,target=/data";
    vec![
        host("volume-host", "")
            .flag(MOUNT)
            .image("mountPoints", point(false))
            .sees("read /data/file", TEXT)
            .sees("rewrite /data/file", "ok")
            .sees_in("mount /data", "rw")
            // What the host mounts there later is seen; never the reverse.
            .sees_not("mount /data", "shared")
            // A link of the host's leads into the app's files.
            .sees_in("read /data/link", "app:x:1000"),
        host("volume-read-only", ",readOnly=true")
            .flag(MOUNT)
            .image("mountPoints", point(false))
            .sees("read /data/file", TEXT)
            .sees("rewrite /data/file", "EROFS")
            .sees("write /data/new x", "EROFS"),
        host("volume-read-only-by-image", "")
            .image("mountPoints", point(true))
            .sees("rewrite /data/file", "EROFS"),
        host("volume-not-recursive", ",recursive=false")
            .with(MOUNT)
            .sees("read /data/file", TEXT),
        row("volume-file")
            .before(volume)
            .with_pod("--volume=data,kind=host,source=HOST/volume/file")
            .with("--mount=volume=data,target=/etc/deep/file")
            .sees("read /etc/deep/file", TEXT)
            .sees("rewrite /etc/deep/file", "ok"),
        row("volume-missing")
            .with_pod("--volume=data,kind=host,source=/nosuch/volume")
            .with(MOUNT)
            .refused(&["data", "/nosuch/volume"]),
        row("volume-empty")
            .with_pod("--volume=data,kind=empty,mode=1751,uid=1234,gid=5678")
            .flag(MOUNT)
            .image("mountPoints", point(false))
            .sees("stat /data", "d 1751 1234 5678")
            .sees("list /data", json!([]))
            .sees("write /data/new x", "ok"),
        row("volume-empty-plain")
            .with_pod("--volume=data,kind=empty")
            .with(MOUNT)
            .sees("stat /data", "d 755 0 0"),
        // Nobody said what is behind the image's mount point.
        row("volume-implicit")
            .image("mountPoints", point(false))
            .sees("stat /data", "d 755 0 0")
            .sees("write /data/new x", "ok")
            .sees_not("mount /data", "overlay"),
        row("volume-implicit-read-only")
            .image("mountPoints", point(true))
            .sees("write /data/new x", "EROFS"),
        row("mount-on-nothing")
            .with("--mount=volume=data,target=/data")
            .refused(&["data"]),
        row("mount-outside")
            .before(volume)
            .with_pod("--volume=data,kind=host,source=HOST/volume")
            .with("--mount=volume=data,target=/../data/..")
            .refused(&["probe"]),
        row("mount-through-a-link")
            .before(volume)
            .with_pod("--volume=data,kind=host,source=HOST/volume")
            .with("--mount=volume=data,target=/out/data")
            .files(|mut aci| {
                aci.rootfs = aci.rootfs.symlink("out", "../../../../tmp");
                aci
            })
            .sees("read /tmp/data/file", TEXT),
    ]
}
