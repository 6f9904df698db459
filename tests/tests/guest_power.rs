//! Pulling the plug: what a store holds after a power cut is what it held
//! before, or what it was about to hold, and nothing between.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tests::guest::{Disk, Guest, Kernel, Output};
use tests::host::binary;
use tests::{Aci, Cmd, Compression, Rootfs};

/// An image that takes a while to store: 24 MiB that do not compress.
fn slow_image(name: &str, seed: u64) -> Aci {
    let mut state = seed;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift64: cheap, and different for each image.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(3 << 20)
    .flatten()
    .collect();
    let rootfs = Rootfs::busybox().file("noise", 0o644, noise);
    Aci::new(name, &["/bin/sh", "-c"], rootfs)
}

fn random(below: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_micros(random % u64::try_from(below.as_micros()).unwrap())
}

/// A file system image, mounted while this lives.
struct LoopMount(PathBuf);

impl LoopMount {
    fn new(image: &Path, at: &Path) -> Self {
        Cmd::new("mount")
            .args(["-o", "loop"])
            .args([image, at])
            .run()
            .ok();
        Self(at.to_owned())
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let unmounted = Cmd::new("umount").arg(&self.0).run();
        assert!(
            thread::panicking() || unmounted.code() == Some(0),
            "{unmounted}"
        );
    }
}

/// What every boot finds: all that is listed is whole and runs, gc finds
/// nothing to complain about and leaves nothing in staging.
const CHECK: &str = "
    check() {
        rkt image list --no-legend --fields=name || return 1
        for name in $(rkt image list --no-legend --fields=name); do
            rkt image verify ${name%:*} || { echo damaged: $name; return 1; }
        done
        rkt list --no-legend || return 1
        rkt gc --grace-period=0s --expire-prepared=0s || return 1
        rkt image gc || return 1
        find /var/lib/rkt/store/staging -mindepth 2 | sed 's/^/left: /'
    }
";

/// Boots on the disk, checks it, then runs `more` until `delay` after its mark
/// `cut`; the check's output is told when it failed.
fn boot_and_cut(guest: &Guest, more: &str, delay: Duration) {
    let script = format!("{CHECK}\nif check >&2; then mark sound; {more}; else mark damaged; fi");
    let mut running = guest.start(&script);
    let verdict = running.wait_for_one_of(&["sound", "damaged"]);
    if verdict == "damaged" {
        panic!("after a power cut: {}", running.wait());
    }
    running.wait_for_mark("cut");
    thread::sleep(delay);
    running.cut();
}

fn boot_and_check(guest: &Guest, more: &str) -> Output {
    guest.run(&format!("set -e\n{CHECK}\ncheck\n{more}")).ok()
}

fn guest_with(disk: &Disk, images: &[(&str, &Aci)]) -> Option<Guest> {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = Guest::qemu(Kernel::V6_12)?.rkt()?.disk(disk);
    for (file, aci) in images {
        let bytes = std::fs::read(aci.write(dir.path(), file, Compression::Plain)).unwrap();
        guest = guest.bytes(&format!("/in/{file}.aci"), 0o644, bytes);
    }
    Some(guest)
}

/// What `rkt fetch` said is stored is stored: the plug is pulled as soon as it
/// has said so.
#[test]
fn an_image_whose_fetch_is_over_survives_a_power_cut() {
    let disk = Disk::new(256);
    let image = Aci::busybox("example.com/kept", &["/bin/echo", "kept"]);
    let Some(guest) = guest_with(&disk, &[("kept", &image)]) else {
        return;
    };
    let fetch = "rkt --insecure-options=image fetch /in/kept.aci";
    boot_and_cut(
        &guest,
        &format!("{fetch} && mark cut; sleep 60"),
        Duration::ZERO,
    );
    let out = boot_and_check(&guest, "rkt run --net=none example.com/kept");
    assert!(out.stdout.ends_with("kept\n"), "{out}");
}

/// Crashes at every kind of moment while images come and go, with any of the
/// writes since the last flush missing. Looked at on the host, as one guest
/// gives them all.
#[test]
fn a_store_is_sound_whatever_of_the_unflushed_is_missing() {
    const CRASHES: usize = 40;
    let disk = Disk::recorded(512);
    let one = slow_image("example.com/one", 1);
    let two = slow_image("example.com/two", 2);
    let Some(guest) = guest_with(&disk, &[("one", &one), ("two", &two)]) else {
        return;
    };
    // Unsealed: this machine reads the disk afterwards, and a kernel without
    // fs-verity cannot open what one with it has sealed.
    let fetch = "rkt --verity=off --insecure-options=image fetch";
    guest
        .run(&format!(
            "set -e\n{fetch} /in/one.aci\n{fetch} /in/two.aci\n\
             rkt image rm example.com/one\nrkt image gc\n{fetch} /in/one.aci"
        ))
        .ok();

    let (mut writes, dir) = disk.into_writes();
    let crashed = dir.path().join("crashed.ext4");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut listed = BTreeSet::new();
    for crash in 1..=CRASHES {
        let at = writes.len() * crash / CRASHES;
        let random = RandomState::new();
        let mut nth = 0_u32;
        writes.crash(at, &crashed, || {
            nth += 1;
            random.hash_one(nth).is_multiple_of(2)
        });
        let mounted = LoopMount::new(&crashed, &data);
        let rkt = |words: &[&str]| {
            let out = Cmd::new(binary("rkt"))
                .arg(format!("--dir={}", data.display()))
                .args(words)
                .run();
            assert_eq!(
                out.code(),
                Some(0),
                "crash {crash} of {CRASHES}, before write {at}: {out}"
            );
            out
        };
        let names = rkt(&["image", "list", "--no-legend", "--fields=name"]).stdout;
        for name in names.lines() {
            rkt(&["image", "verify", name.trim()]);
        }
        rkt(&["gc"]);
        rkt(&["image", "gc"]);
        drop(mounted);
        listed.insert(names);
    }
    assert!(
        listed.contains(""),
        "no crash before the first image: {listed:?}"
    );
    assert!(listed.len() >= 3, "too few kinds of moments: {listed:?}");
}

/// Two cuts while images are fetched over and over: in the middle of a write,
/// of a sync, of a rename, wherever the moment falls.
#[test]
fn a_power_cut_during_fetch_leaves_the_store_sound() {
    let disk = Disk::new(512);
    let kept = Aci::busybox("example.com/kept", &["/bin/echo", "kept"]);
    let one = slow_image("example.com/one", 1);
    let two = slow_image("example.com/two", 2);
    let images = [("kept", &kept), ("one", &one), ("two", &two)];
    let Some(guest) = guest_with(&disk, &images) else {
        return;
    };

    let fetch = "rkt --insecure-options=image fetch";
    boot_and_check(&guest, &format!("{fetch} /in/kept.aci"));
    for round in 0..2 {
        let delay = random(Duration::from_secs(3));
        println!("round {round}: the power goes {delay:?} after the fetch began");
        let more = format!(
            "mark cut; while :; do {fetch} /in/one.aci /in/two.aci; \
             rkt image rm example.com/one example.com/two; done"
        );
        boot_and_cut(&guest, &more, delay);
        disk.assert_sound();
    }
    let out = boot_and_check(
        &guest,
        &format!(
            "{fetch} /in/one.aci /in/two.aci
             check
             rkt run --net=none example.com/kept
             rkt run --net=none example.com/two -- 'wc -c </noise'"
        ),
    );
    assert!(out.stdout.contains("kept\n"), "{out}");
    assert!(out.stdout.ends_with(&format!("{}\n", 24 << 20)), "{out}");
}
