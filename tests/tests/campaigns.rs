//! A store that nothing breaks: killed at random moments, used by a crowd, out
//! of space at every size.
//!
//! The usual run is short. For a long one:
//!
//! ```text
//! RKT_TEST_KILLS=5000 RKT_TEST_CROWD_SECONDS=3600 cargo nextest run --profile=long -p tests --test campaigns
//! ```
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::oci::Layout;
use tests::{Aci, Compression, Host, OciImage, Rootfs, leaks};

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |n| {
        n.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}

/// xorshift64*, from a seed that a failure names.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        let seed = number("RKT_TEST_SEED", u64::from(now.subsec_nanos()) | 1);
        eprintln!("RKT_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit.max(1)
    }
}

/// Two images with a layer in common, each with one of its own of some MiB.
fn overlapping(host: &Host) -> [Layout; 2] {
    let base = Rootfs::busybox();
    ["one", "two"].map(|name| {
        let mut noise = Random(name.len() as u64 + u64::from(name.as_bytes()[0]));
        let bytes: Vec<u8> = (0..2 << 20).map(|_| noise.below(64) as u8).collect();
        let top = Rootfs::new().file(name, 0o644, bytes);
        let image = OciImage::new(vec![base.tar(""), top.tar("")], &["/bin/cat", "/etc/group"]);
        image.write(&host.images().join(name), name)
    })
}

/// Every image is whole; gives their ids.
#[track_caller]
fn assert_sound(host: &Host, when: &str) -> Vec<String> {
    let list = host.rkt(["image", "list", "--format=json"]).run().ok();
    assert_eq!(list.stderr, "", "{when}: {list}");
    let json = list.json();
    let listed = json.as_array().into_iter().flatten();
    let ids: Vec<String> = listed
        .map(|image| image["id"].as_str().unwrap().to_owned())
        .collect();
    let out = host.rkt(["image", "verify", "--all"]).run();
    assert_eq!(out.code(), Some(0), "{when}: {out}");
    ids
}

fn staged(host: &Host) -> Vec<std::path::PathBuf> {
    leaks::files(&host.data().join("store/staging"))
}

#[test]
fn a_fetch_killed_at_random_points_leaves_a_sound_store() {
    let host = Host::new();
    let layouts = overlapping(&host);
    let mut random = Random::seeded();
    let started = Instant::now();
    host.fetch(&layouts[0].reference());
    let whole = started.elapsed();
    let [mut killed, mut complete, mut swept] = [0, 0, 0];
    let kills = number("RKT_TEST_KILLS", 100);
    for n in 0..kills {
        let layout = &layouts[random.below(2) as usize];
        let moment = whole.mul_f64(random.below(1100) as f64 / 1000.0);
        let when = format!("kill {n} after {moment:?}");
        let fetch = host.unsigned(["fetch", &layout.reference()]).spawn();
        std::thread::sleep(moment);
        fetch.signal(Signal::SIGKILL);
        let out = fetch.wait();
        killed += u32::from(out.signal() == Some(9));
        let ids = assert_sound(&host, &when);
        let there = ids.contains(&layout.id());
        complete += u32::from(there);
        assert!(
            there || out.code() != Some(0),
            "{when}: done, but not listed"
        );
        if !staged(&host).is_empty() {
            swept += 1;
        }
        // Half of the time the next one finds what this one left.
        if random.below(2) == 0 {
            host.rkt(["gc"]).run().ok();
            assert_eq!(staged(&host), Vec::<std::path::PathBuf>::new(), "{when}");
        }
        if random.below(3) == 0 {
            assert_eq!(host.fetch(&layout.reference()), layout.id(), "{when}");
        }
        for id in ids {
            host.rkt(["image", "rm", &id]).run().ok();
        }
    }
    eprintln!(
        "{kills} moments: {killed} fetches killed, {complete} images complete, {swept} times \
         something in staging, no image partial"
    );
    for layout in &layouts {
        assert_eq!(host.fetch(&layout.reference()), layout.id());
        host.rkt(["run", "--net=none", &layout.id()]).run().ok();
        host.rkt(["image", "rm", &layout.id()]).run().ok();
    }
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
    host.rkt(["image", "gc", "--grace-period=0s"]).run().ok();
    host.assert_store_is_empty();
}

/// What may be said to somebody who lost a race.
fn is_fair(said: &str) -> bool {
    ["in use", "no image", "not found", "cannot find"]
        .iter()
        .any(|fair| said.contains(fair))
}

#[test]
fn a_crowd_fetches_removes_and_collects_at_once() {
    let host = Host::new();
    let layouts = overlapping(&host);
    let seconds = number("RKT_TEST_CROWD_SECONDS", 15);
    let until = Instant::now() + Duration::from_secs(seconds);
    let failed = AtomicBool::new(false);
    let complaints = Mutex::new(Vec::new());
    let counts: [AtomicU64; 4] = Default::default();
    let path = |layout: &Layout| (layout.reference(), layout.id());
    let images: Vec<(String, String)> = layouts.iter().map(path).collect();
    let flags: Vec<String> = {
        let line = host.plain_rkt(["--insecure-options=image"]).into_command();
        line.get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    };
    let rkt = |count: usize, words: &[&str]| {
        let cmd = tests::Cmd::new(tests::host::binary("rkt")).args(&flags);
        let out = cmd.args(words).run();
        counts[count].fetch_add(1, Ordering::Relaxed);
        if out.code() == Some(0) {
            return Some(out);
        }
        if !is_fair(&out.stderr) {
            failed.store(true, Ordering::Relaxed);
            complaints.lock().unwrap().push(format!("{words:?}: {out}"));
        }
        None
    };
    let busy = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (rkt, busy, images) = (&rkt, &busy, &images);
            scope.spawn(move || {
                let mut turn = worker;
                while busy() {
                    let (reference, id) = &images[turn % 2];
                    turn += 1;
                    if let Some(out) = rkt(0, &["fetch", "--full", reference]) {
                        assert_eq!(out.text(), id);
                    }
                }
            });
        }
        scope.spawn(|| {
            while busy() {
                rkt(1, &["image", "gc", "--grace-period=0s"]);
            }
        });
        scope.spawn(|| {
            let mut turn = 0;
            while busy() {
                rkt(2, &["image", "rm", &images[turn % 2].1]);
                turn += 1;
                rkt(3, &["gc", "--grace-period=0s"]);
            }
        });
    });
    let [fetches, collections, removals, pods] = counts.map(AtomicU64::into_inner);
    eprintln!(
        "{seconds} s: {fetches} fetches, {collections} image gc, {removals} image rm, {pods} gc"
    );
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(fetches > 0 && collections > 0 && removals > 0);
    for (reference, id) in &images {
        assert_eq!(&host.fetch(reference), id);
    }
    let ids = assert_sound(&host, "afterwards");
    assert_eq!(ids.len(), 2);
    for id in &ids {
        host.rkt(["run", "--net=none", id]).run().ok();
    }
    host.rkt(["gc", "--grace-period=0s"]).run().ok();
}

/// A layer that another process is fetching is waited for, and for whom is said.
#[test]
fn a_fetch_waits_for_another_one_of_the_same_layers() {
    let host = Host::new();
    let layer = Rootfs::busybox().tar("");
    let image = OciImage::new(vec![layer.clone()], &["/bin/true"]);
    let layout = image.write(&host.images().join("layout"), "1");
    // The claim of another process, which is this one.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let staging = host.data().join("store/staging").join(boot.trim());
    fs::create_dir_all(&staging).unwrap();
    for below in ["objects", "images", "names", "trees"] {
        fs::create_dir_all(host.data().join("store").join(below)).unwrap();
    }
    let claim = staging.join(format!("claim-sha256-{}", tests::sha256(&layer)));
    fs::write(&claim, std::process::id().to_string()).unwrap();
    let file = fs::File::open(&claim).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();

    let mut fetch = host.unsigned(["fetch", &layout.reference()]).spawn();
    let whom = format!("waiting for process {}", std::process::id());
    tests::cmd::eventually("the fetch to say for whom it waits", || {
        fetch.stderr().contains(&whom)
    });
    assert!(fetch.is_running());
    // The other one fails.
    fs::remove_file(&claim).unwrap();
    drop(lock);
    fetch.wait().ok();
    let ids = assert_sound(&host, "afterwards");
    assert_eq!(ids, [layout.id()]);
}

mod no_space {
    use super::*;

    /// As much as an ACI and an OCI image need together, and a little more.
    fn try_on(host: &Host, aci: &Path, layout: &Layout) -> bool {
        let reference = layout.reference();
        let mut fits = true;
        for reference in [aci.to_str().unwrap(), &reference] {
            let out = host.unsigned(["fetch", "--full", reference]).run();
            let ids = assert_sound(host, reference);
            if out.code() == Some(0) {
                assert!(ids.contains(&out.text().to_owned()), "{out}");
                continue;
            }
            fits = false;
            out.fails(254, "fetch", &["no space left"]);
            assert_eq!(staged(host), Vec::<std::path::PathBuf>::new());
        }
        fits
    }

    fn images(host: &Host) -> (std::path::PathBuf, Layout) {
        let aci = Aci::busybox("example.com/sh", &["/bin/sh"]);
        let aci = aci.write(&host.images(), "sh", Compression::Gzip);
        let big = Rootfs::new().file("big", 0o644, vec![7; 1 << 20]);
        let image = OciImage::new(vec![Rootfs::busybox().tar(""), big.tar("")], &["/bin/true"]);
        (aci, image.write(&host.images().join("layout"), "1"))
    }

    /// Each size of a tmpfs stops the fetch at another write.
    #[test]
    fn at_every_size_of_a_tmpfs() {
        let images_of = Host::new();
        let (aci, layout) = images(&images_of);
        let (mut full, mut fit) = (0, 0);
        for kib in (16..).step_by(148).take_while(|kib| *kib < 9000) {
            let host = Host::on_tmpfs(&format!("{kib}k"));
            match try_on(&host, &aci, &layout) {
                true => fit += 1,
                false => full += 1,
            }
            if fit > 2 {
                break;
            }
        }
        eprintln!("{full} sizes too small, {fit} large enough");
        assert!(full > 10 && fit > 0, "{full} too small, {fit} large enough");
    }

    /// And each number of free inodes.
    #[test]
    fn at_every_number_of_inodes() {
        let images_of = Host::new();
        let (aci, layout) = images(&images_of);
        for (full, inodes) in (2..60).enumerate() {
            let host = Host::on_tmpfs(&format!("32M,nr_inodes={inodes}"));
            if try_on(&host, &aci, &layout) {
                assert!(full > 5, "{full} numbers of inodes were too small");
                return;
            }
        }
        panic!("60 inodes are not enough for two images");
    }

    /// A journal and delayed allocation tell of a full disk at other moments.
    #[test]
    fn at_some_sizes_of_an_ext4() {
        for mebibytes in [2, 3, 4, 6, 8] {
            let host = Host::on_small_ext4(mebibytes);
            let (aci, layout) = images(&host);
            try_on(&host, &aci, &layout);
        }
        let host = Host::on_small_ext4(32);
        let (aci, layout) = images(&host);
        assert!(try_on(&host, &aci, &layout));
        fs::metadata(host.data().join("store/images")).unwrap();
    }
}
