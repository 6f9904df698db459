//! The guests themselves: that they are what the tests inside them assume.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::time::Duration;

use tests::cmd::Cmd;
use tests::guest::{Debian, Disk, Guest, Kernel};

/// What a booted guest says of itself.
const LOOK: &str = "
    systemctl is-system-running --wait
    echo kernel=$(uname -r)
    echo systemd=$(systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p')
    echo init=$(cat /proc/1/comm)
    echo cgroups=$(stat -fc %T /sys/fs/cgroup)
    echo controllers=$(cat /sys/fs/cgroup/cgroup.controllers)
    echo links=$(ls /sys/class/net)
    logger -t guest-test heard && journalctl --sync && echo journal=$(journalctl -t guest-test -o cat)
    busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager ListMachines >&2 && echo machined=yes
    systemctl list-units --failed --no-legend
    echo unit=$(sed -n 's/^0:://p' /proc/self/cgroup)
    cat /etc/brought > left
";

fn assert_is_whole(guest: Guest) -> tests::guest::Output {
    let systemd = guest.debian().systemd().to_string();
    let out = guest.text("/etc/brought", 0o640, "along\n").run(LOOK).ok();
    assert_eq!(out.stdout.lines().next(), Some("running"), "{out}");
    assert_eq!(out.value("systemd"), systemd, "{out}");
    assert_eq!(out.value("init"), "systemd", "{out}");
    assert_eq!(out.value("cgroups"), "cgroup2fs", "{out}");
    assert_eq!(out.value("links"), "lo", "a guest has no network: {out}");
    assert_eq!(out.value("journal"), "heard", "{out}");
    assert_eq!(out.value("machined"), "yes", "{out}");
    assert_eq!(out.value("unit"), "/system.slice/guest.service", "{out}");
    assert_eq!(out.file("left"), "along\n", "{out}");
    out
}

#[test]
fn nspawn_boots_debian_12() {
    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    assert_is_whole(guest);
}

#[test]
fn nspawn_boots_debian_13() {
    let Some(guest) = Guest::nspawn(Debian::Trixie) else {
        return;
    };
    assert_is_whole(guest);
}

/// A kernel of its own, with every controller that pods use.
fn assert_boots(kernel: Kernel) {
    let Some(guest) = Guest::qemu(kernel) else {
        return;
    };
    let out = assert_is_whole(guest);
    let release = out.value("kernel");
    assert!(
        release.starts_with(&format!("{}.", kernel.series())),
        "{out}"
    );
    let controllers: Vec<&str> = out.value("controllers").split(' ').collect();
    for wanted in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
        assert!(controllers.contains(&wanted), "no {wanted}: {out}");
    }
}

#[test]
fn qemu_boots_linux_6_1_with_systemd_252() {
    assert_boots(Kernel::V6_1);
}

#[test]
fn qemu_boots_linux_6_12_with_systemd_252() {
    assert_boots(Kernel::V6_12);
}

#[test]
fn qemu_boots_linux_6_18_with_systemd_257() {
    assert_boots(Kernel::V6_18);
}

#[test]
fn units_that_a_test_brings_are_in_force_at_boot() {
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    let generator = "#!/bin/sh\nmkdir -p $1/multi-user.target.wants\n\
                     ln -s /etc/systemd/system/brought.service $1/multi-user.target.wants/\n";
    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    let out = guest
        .text("/etc/systemd/system/brought.service", 0o644, unit)
        .text(
            "/usr/lib/systemd/system-generators/brought",
            0o755,
            generator,
        )
        .run("systemctl is-system-running --wait; systemctl is-active brought.service")
        .ok();
    assert_eq!(out.text(), "running\nactive", "{out}");
}

#[test]
fn a_script_that_fails_or_hangs_is_told_with_what_it_said() {
    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    let out = guest.run("echo out; echo err >&2; exit 7");
    assert_eq!(
        (out.status, out.text(), out.stderr.trim()),
        (7, "out", "err"),
        "{out}"
    );

    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    let out = guest
        .deadline(Duration::from_secs(1))
        .run("echo before; sleep 60");
    assert_eq!((out.status, out.text()), (124, "before"), "{out}");
}

/// The promise of [`tests::guest`]: nothing of a guest stays on the host.
#[test]
fn a_killed_guest_leaves_nothing() {
    let Some(guest) = Guest::nspawn(Debian::Bookworm) else {
        return;
    };
    let mut running = guest.start("mark up; sleep 60");
    running.wait_for_mark("up");
    let dir = running.directory().to_owned();
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap().to_owned();
    let traces = || {
        let cgroups = Cmd::new("find")
            .args(["/sys/fs/cgroup", "-name", &name])
            .run()
            .ok();
        let processes = Cmd::new("pgrep").args(["-f", &name]).run();
        (
            !cgroups.text().is_empty(),
            !processes.text().is_empty(),
            dir.exists(),
        )
    };
    assert_eq!(
        traces(),
        (true, true, true),
        "else this looks in the wrong place"
    );
    running.cut();
    tests::cmd::eventually("the guest's traces to go", || {
        traces() == (false, false, false)
    });
}

/// What a power cut takes and what it leaves: the flushed stays.
#[test]
fn a_power_cut_loses_what_was_not_flushed_and_nothing_else() {
    let disk = Disk::new(64);
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let guest = guest.disk(&disk);
    let mut running = guest.start(
        "cd /var/lib/rkt; echo safe >flushed; sync; echo lost >unflushed; mark written; sleep 60",
    );
    running.wait_for_mark("written");
    running.cut();
    disk.assert_sound();

    let out = guest.run("cd /var/lib/rkt; cat flushed; ls -s unflushed");
    assert!(out.stdout.starts_with("safe\n"), "{out}");
    assert!(!out.stdout.contains("unflushed"), "{out}");
}

/// The writes of a recorded disk lead to its end, and on the way there a
/// flushed file is never without its content.
#[test]
fn a_recorded_disk_gives_every_crash_between_its_flushes() {
    let disk = Disk::recorded(64);
    let Some(guest) = Guest::qemu(Kernel::V6_12) else {
        return;
    };
    let script = "cd /var/lib/rkt
        for n in 1 2 3 4 5 6 7 8; do echo content >new; sync new; mv new $n; sync .; done
        cd /; umount /var/lib/rkt";
    guest.disk(&disk).run(script).ok();

    let (mut writes, dir) = disk.into_writes();
    assert!(writes.len() > 20, "{} writes", writes.len());
    let crashed = dir.path().join("crashed.ext4");
    let mut seen = Vec::new();
    for step in 0..=20 {
        let mut coin = step;
        writes.crash(writes.len() * step / 20, &crashed, || {
            coin = coin * 5 + 3;
            coin % 7 < 4
        });
        // It replays the journal, then reads without mounting.
        Cmd::new("e2fsck").arg("-fp").arg(&crashed).run();
        Cmd::new("e2fsck").arg("-fn").arg(&crashed).run().ok();
        let debugfs = |request: &str| {
            Cmd::new("debugfs")
                .args(["-R", request])
                .arg(&crashed)
                .run()
        };
        // /INODE/MODE/UID/GID/NAME/SIZE/
        let listing = debugfs("ls -p /").stdout;
        let files: Vec<u32> = listing
            .lines()
            .filter_map(|l| l.split('/').nth(5)?.parse().ok())
            .collect();
        for n in &files {
            assert_eq!(
                debugfs(&format!("cat /{n}")).stdout,
                "content\n",
                "file {n} at {step}"
            );
        }
        seen.push(files.len());
    }
    assert_eq!((seen[0], seen[20]), (0, 8), "{seen:?}");
    assert!(seen.is_sorted(), "a flushed file was lost: {seen:?}");
    assert!(
        seen.iter().any(|n| (1..8).contains(n)),
        "no crash between: {seen:?}"
    );
}
