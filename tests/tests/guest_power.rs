//! Pulling the plug: what a store holds after a power cut is what it held
//! before, or what it was about to hold, and nothing between; and of the pods
//! that it cut off, nothing stays but the word that they ended.
//!
//! `RKT_TEST_POWER_CUTS` says at how many moments pods are cut off.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tests::guest::{Disk, Guest, Kernel, Output, WriteLog};
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

const WEB: &str = "
[Pod]
Network=none
InsecureOptions=image
[App web]
Image=example.com/sh
Arguments='trap \"exit 0\" TERM; while :; do sleep 0.1; done'
[Install]
WantedBy=multi-user.target
";

/// Pods of every kind come and go as fast as they can, beside the declared one.
/// The disk is told to commit often, so that cuts find more than the start.
const PODS_FOREVER: &str = "
    mount -o remount,commit=1 /var/lib/rkt
    run() { rkt --insecure-options=image run --net=none \"$@\"; }
    round=0
    while :; do
        cut=$(run --detach example.com/sh -- 'while :; do sleep 1; done')
        run example.com/sh -- 'exit 3'
        rkt prepare --quiet --insecure-options=image example.com/sh
        systemctl daemon-reload &
        old=$(run --detach example.com/sh -- 'true')
        rkt gc --mark-only
        rkt stop --force $cut
        rkt rm $cut
        rkt gc --grace-period=0s --expire-prepared=0s
        round=$((round + 1))
        mark round$round
    done
";

/// The states of pods that nobody runs, on a disk that was cut off.
const ENDED: [&str; 8] = [
    "embryo",
    "aborted prepare",
    "prepared",
    "exited",
    "exited garbage",
    "exited deleting",
    "garbage",
    "deleting",
];

/// A data directory that some cut left, looked at on the host.
struct Left<'a> {
    data: &'a Path,
    cut: String,
}

impl Left<'_> {
    fn rkt(&self, words: &[&str]) -> String {
        let out = Cmd::new(binary("rkt"))
            .arg(format!("--dir={}", self.data.display()))
            .args(words)
            .run();
        assert_eq!(out.code(), Some(0), "{}: {words:?}: {out}", self.cut);
        out.stdout
    }

    /// What is told of each pod: its state, and the reason if there is one.
    fn pods(&self) -> Vec<String> {
        let pods: Vec<serde_json::Value> =
            serde_json::from_str(&self.rkt(&["list", "--format=json"])).unwrap();
        let told = |pod: &serde_json::Value| {
            let state = pod["state"].as_str().unwrap();
            assert!(
                ENDED.contains(&state) && pod.get("errors").is_none(),
                "{}: {pod}",
                self.cut
            );
            let began = |app: &serde_json::Value| app.get("started_at").is_some();
            let over = |app: &serde_json::Value| app.get("finished_at").is_some();
            let apps = pod["apps"].as_array().unwrap();
            let reason = pod.get("reason").map(|reason| reason.as_str().unwrap());
            if apps.iter().any(|app| began(app) && !over(app)) {
                assert_eq!(reason, Some("host restarted"), "{}: {pod}", self.cut);
            }
            match reason {
                Some(reason) => format!("{state}: {reason}"),
                None => state.to_owned(),
            }
        };
        pods.iter().map(told).collect()
    }

    fn assert_cleanable(&self) {
        self.rkt(&["image", "verify", "--all"]);
        self.rkt(&["gc", "--grace-period=0s", "--expire-prepared=0s"]);
        self.rkt(&["image", "gc"]);
        assert!(self.pods().is_empty(), "{}: {:?}", self.cut, self.pods());
        let left = Cmd::new("find")
            .arg(self.data)
            .args(["-path", "*/data/pods/*/*", "-o"])
            .args(["-path", "*/data/store/staging/*/*"])
            .run()
            .ok()
            .stdout;
        assert_eq!(left, "", "{}", self.cut);
        self.rkt(&["image", "verify", "--all"]);
    }
}

/// Looks at `cuts` states of the disk, at random moments in the order of time,
/// and gives what was told of the pods at each. The last is in `crashed`
/// afterwards, as the guest's next boot would find it.
fn cut_off(writes: &mut WriteLog, cuts: usize, crashed: &Path, data: &Path) -> Vec<Vec<String>> {
    let scratch = crashed.with_extension("scratch");
    let part = writes.len() / cuts;
    let mut told = Vec::new();
    for cut in 0..cuts {
        let last = cut + 1 == cuts;
        let within = usize::try_from(RandomState::new().hash_one(cut) % part.max(1) as u64);
        let at = if last {
            writes.len()
        } else {
            writes.len() * cut / cuts + within.unwrap()
        };
        let random = RandomState::new();
        let mut nth = 0_u32;
        writes.crash(at, crashed, || {
            nth += 1;
            last || random.hash_one(nth).is_multiple_of(2)
        });
        Cmd::new("cp")
            .arg("--sparse=always")
            .args([crashed, &scratch])
            .run()
            .ok();
        let mounted = LoopMount::new(&scratch, data);
        let cut = format!("cut {} of {cuts}, before write {at}", cut + 1);
        let left = Left { data, cut };
        let pods = left.pods();
        println!("{}: {pods:?}", left.cut);
        left.assert_cleanable();
        drop(mounted);
        told.push(pods);
    }
    told
}

/// The plug is pulled while pods are run, stopped, removed and collected. At
/// every moment that this could have been the store is whole, no pod is told to
/// run, gc leaves nothing; and after the next boot the declared pod runs.
#[test]
fn no_pod_outlives_a_power_cut_but_the_declared_one_comes_back() {
    let cuts = std::env::var("RKT_TEST_POWER_CUTS")
        .map_or(24, |n| n.parse().expect("RKT_TEST_POWER_CUTS is a number"));
    // Each round is some 15 writes to cut before.
    let rounds = 5.max(cuts / 10);
    let disk = Disk::recorded(256);
    let image = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
    let with_declared_pod = |disk: &Disk| {
        let generator = "/usr/lib/systemd/system-generators/rkt-generator";
        Some(
            guest_with(disk, &[("sh", &image)])?
                .text(
                    generator,
                    0o755,
                    "#!/bin/sh\nexec /usr/bin/rkt generator \"$@\"\n",
                )
                .text("/etc/rkt/pods/web.pod", 0o644, WEB)
                .deadline(Duration::from_secs(60 + 15 * rounds as u64)),
        )
    };
    let Some(guest) = with_declared_pod(&disk) else {
        return;
    };
    // Unsealed, as this machine reads it.
    let mut running = guest.start(&format!(
        "set -e
        rkt --verity=off --insecure-options=image fetch /in/sh.aci
        systemctl reset-failed
        systemctl start web.service || (journalctl --no-pager -u web.service -u web-fetch.service >&2; false)
        set +e
        {PODS_FOREVER}"
    ));
    if running.wait_for_one_of(&[&format!("round{rounds}"), "DONE"]) == "DONE" {
        panic!("nothing was cut: {}", running.wait());
    }
    thread::sleep(random(Duration::from_secs(3)));
    running.cut();

    let (mut writes, dir) = disk.into_writes();
    let next = Disk::new(256);
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let told = cut_off(&mut writes, cuts, &next.path(), &data);
    let restarted = |pod: &&String| *pod == "exited: host restarted";
    let at_most = told
        .iter()
        .map(|pods| pods.iter().filter(restarted).count());
    assert!(
        at_most.max() >= Some(2),
        "no cut found a pod beside the declared one midway: {told:?}"
    );
    let kinds: BTreeSet<_> = told.iter().collect();
    assert!(kinds.len() >= 3, "too few kinds of moments: {told:?}");

    let out = with_declared_pod(&next)
        .expect("the first guest was to be had")
        .run(
            "
            for _ in $(seq 400); do
                systemctl is-active -q web.service && break; sleep 0.1
            done
            echo web=$(systemctl is-active web.service)
            echo restarts=$(systemctl show --value -p NRestarts web.service)
            rkt list --no-legend
            rkt list --format=json >before
            rkt image verify --all || echo verify=damaged
            rkt gc --grace-period=0s --expire-prepared=0s || echo gc=failed
            rkt image gc || echo gc=failed
            rkt list --format=json >after
            echo left=$(find /var/lib/rkt/pods -mindepth 2 -maxdepth 2 | wc -l)
            echo staged=$(find /var/lib/rkt/store/staging -mindepth 2 | wc -l)
            echo still=$(systemctl is-active web.service)
            ",
        )
        .ok();
    assert_eq!(out.value("web"), "active", "{out}");
    assert_eq!(out.value("restarts"), "0", "{out}");
    assert!(!out.stdout.contains("=damaged"), "{out}");
    assert!(!out.stdout.contains("gc=failed"), "{out}");
    let states = |file: &str| -> Vec<String> {
        let pods: Vec<serde_json::Value> = serde_json::from_str(&out.file(file)).unwrap();
        let mut states: Vec<String> = pods
            .iter()
            .map(|pod| {
                assert!(pod.get("errors").is_none(), "{pod}: {out}");
                let reason = pod
                    .get("reason")
                    .map_or("", |reason| reason.as_str().unwrap());
                format!("{}: {reason}", pod["state"].as_str().unwrap())
            })
            .collect();
        states.sort();
        states
    };
    let before = states("before");
    let running = before.iter().filter(|state| *state == "running: ").count();
    assert_eq!(running, 1, "{before:?}: {out}");
    assert!(
        before.iter().any(|state| state == "exited: host restarted"),
        "{before:?}: {out}"
    );
    assert_eq!(states("after"), ["running: "], "{out}");
    assert_eq!(out.value("left"), "1", "{out}");
    assert_eq!(out.value("staged"), "0", "{out}");
    assert_eq!(out.value("still"), "active", "{out}");
}
