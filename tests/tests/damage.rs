//! Killed at any moment, out of space, on a kernel that lacks something: the
//! store and the pods are as before or as after.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::shell::host;
use tests::{Aci, Compression, Host, OciImage, Rootfs};

/// How many times each campaign kills; `RKT_TEST_KILLS=5000` for a long one.
fn kills() -> u32 {
    std::env::var("RKT_TEST_KILLS")
        .ok()
        .map_or(25, |n| n.parse().expect("RKT_TEST_KILLS is a number"))
}

/// Spread over the whole length of the command, denser at its start.
fn moment(kill: u32, of: u32, whole: Duration) -> Duration {
    let part = f64::from(kill) / f64::from(of.max(1));
    whole.mul_f64(part * part * 1.1)
}

/// The states that are no lie for a pod whose `rkt run` was killed.
const TRUE_STATES: [&str; 6] = [
    "embryo",
    "preparing",
    "aborted prepare",
    "prepared",
    "running",
    "exited",
];

#[test]
fn rkt_run_killed_at_any_moment() {
    let host = host();
    let script = "echo ready; sleep 0.05";
    let started = Instant::now();
    host.rkt(["run", "--net=none", "example.com/sh", "--", script])
        .run()
        .ok();
    let whole = started.elapsed();
    for n in 0..kills() {
        let running = host
            .rkt(["run", "--net=none", "example.com/sh", "--", script])
            .spawn();
        std::thread::sleep(moment(n, kills(), whole));
        running.signal(Signal::SIGKILL);
        let out = running.wait();
        assert!(
            out.signal() == Some(9) || out.code() == Some(0),
            "kill {n}: {out}"
        );
        let list = host.rkt(["list", "--format=json"]).run().ok().json();
        for pod in list.as_array().into_iter().flatten() {
            let state = pod["state"].as_str().unwrap();
            assert!(TRUE_STATES.contains(&state), "kill {n}: {pod}");
        }
        // The apps die with their supervisor.
        tests::cmd::eventually("the pod's processes to be gone", || {
            host.processes().is_empty()
        });
        let list = host.rkt(["list", "--format=json"]).run().ok().json();
        for pod in list.as_array().into_iter().flatten() {
            assert_ne!(pod["state"], "running", "kill {n}: nothing runs any more");
        }
        host.rkt(["gc", "--grace-period=0s", "--expire-prepared=0s"])
            .run()
            .ok();
        host.assert_no_pods();
        host.assert_no_pod_leaks();
    }
    host.rkt(["run", "--net=none", "example.com/sh", "--", "echo fine"])
        .run()
        .ok()
        .prints("fine\n");
}

#[test]
fn rkt_gc_killed_at_any_moment() {
    let host = host();
    for n in 0..kills() {
        for _ in 0..3 {
            host.rkt(["run", "--net=none", "example.com/sh", "--", "true"])
                .run()
                .ok();
        }
        let gc = host.rkt(["gc", "--grace-period=0s"]).spawn();
        std::thread::sleep(moment(n, kills(), Duration::from_millis(30)));
        gc.signal(Signal::SIGKILL);
        gc.wait();
        host.rkt(["list"]).run().ok();
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pods();
    }
}

#[test]
fn rkt_prepare_killed_at_any_moment() {
    let host = host();
    let started = Instant::now();
    host.rkt(["prepare", "example.com/sh", "--", "true"])
        .run()
        .ok();
    let whole = started.elapsed();
    for n in 0..kills() {
        let prepare = host
            .rkt(["prepare", "--quiet", "example.com/sh", "--", "exit 9"])
            .spawn();
        std::thread::sleep(moment(n, kills(), whole));
        prepare.signal(Signal::SIGKILL);
        let out = prepare.wait();
        // A UUID that was printed is a pod that runs.
        if out.text().len() == 36 {
            host.rkt(["run-prepared", "--net=none", out.text()])
                .run()
                .code_is(9);
        }
        host.rkt(["gc", "--grace-period=0s", "--expire-prepared=0s"])
            .run()
            .ok();
        host.assert_no_pods();
    }
}

/// Every process of the pod in turn is killed while its app runs.
#[test]
fn killing_any_of_the_engines_processes_ends_the_pod() {
    let host = host();
    for which in 0..2 {
        let mut running = host
            .rkt([
                "run",
                "--net=none",
                "example.com/sh",
                "--",
                "echo ready; sleep 30",
            ])
            .spawn();
        running.wait_for("ready");
        let uuid = host.last_uuid();
        let mut processes = host.processes();
        processes.sort_unstable();
        let Some((pid, _)) = processes.get(which) else {
            panic!("wanted a supervisor and an init, found {processes:?}");
        };
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        let out = running.wait();
        assert_ne!(out.code(), Some(0), "{out}");
        tests::cmd::eventually("the pod's processes to be gone", || {
            host.processes().is_empty()
        });
        assert_eq!(host.state(&uuid), "exited");
        host.rkt(["gc", "--grace-period=0s"]).run().ok();
        host.assert_no_pod_leaks();
    }
}

mod full_disk {
    use super::*;

    #[test]
    fn fetch_says_so_and_leaves_nothing() {
        let host = Host::on_small_ext4(12);
        let big = Rootfs::busybox().file("big", 0o644, vec![1; 32 << 20]);
        let layout = OciImage::new(vec![big.tar("")], &["/bin/true"])
            .write(&host.images().join("layout"), "1");
        host.unsigned(["fetch", &layout.reference()])
            .run()
            .fails(254, "fetch", &["no space left"]);
        host.assert_store_is_empty();
        // What fits still works afterwards.
        let small =
            OciImage::busybox(&["/bin/echo", "fits"]).write(&host.images().join("small"), "1");
        let id = host.fetch(&small.reference());
        host.rkt(["run", "--net=none", &id])
            .run()
            .ok()
            .prints("fits\n");
    }

    #[test]
    fn run_says_so_and_leaves_nothing() {
        let host = Host::on_small_ext4(16);
        host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
        // To the last block, the ones reserved for root included.
        let filler = host.data().join("filler");
        let out = tests::Cmd::new("dd")
            .args(["if=/dev/zero", "bs=4k", &format!("of={}", filler.display())])
            .run();
        assert!(out.stderr.contains("No space left"), "{out}");
        let out = host
            .rkt(["run", "--net=none", "example.com/sh", "--", "true"])
            .run();
        if out.code() != Some(0) {
            let out = out.fails(254, "run", &["no space left"]);
            assert!(!out.stdout.contains("panicked"));
            host.assert_no_pod_leaks();
        }
        fs::remove_file(filler).unwrap();
        host.rkt(["run", "--net=none", "example.com/sh", "--", "echo fine"])
            .run()
            .ok()
            .prints("fine\n");
    }
}

mod without_erofs {
    use super::*;

    /// The kernel cannot mount EROFS from files on a tmpfs (ENOTBLK): the tree
    /// backend takes over, and says why in one line.
    #[test]
    fn the_tree_takes_over_and_says_so_once() {
        let host = Host::on_tmpfs("64M");
        let aci = Aci::busybox("example.com/sh", &["/bin/sh", "-c"]);
        let file = aci.write(&host.images(), "sh", Compression::Gzip);
        host.fetch(&file.to_string_lossy());
        let out = host
            .rkt(["run", "--net=none"])
            .args(["example.com/sh", "--name=a", "--", "echo one", "---"])
            .args(["example.com/sh", "--name=b", "--", "echo two"])
            .run()
            .ok();
        let mut lines: Vec<&str> = out.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[a] one", "[b] two"], "{out}");
        let said: Vec<&str> = out
            .stderr
            .lines()
            .filter(|l| l.to_lowercase().contains("erofs"))
            .collect();
        assert_eq!(
            said.len(),
            1,
            "said once, whatever the number of apps: {out}"
        );
        let mounts = tests::leaks::mounts(host.path());
        assert!(
            !mounts.iter().any(|m| m.contains("- erofs ")),
            "{mounts:#?}"
        );
    }
}

/// A byte of a stored layer flips: whatever the level of protection, the
/// change is never taken for the image.
#[test]
fn a_stored_object_keeps_its_digest() {
    let host = Host::new();
    let layout = OciImage::busybox(&["/bin/true"]).write(&host.images().join("layout"), "1");
    host.fetch(&layout.reference());
    for file in tests::leaks::files(&host.data().join("store/objects")) {
        let hex = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&file).unwrap();
        let digest = if file.to_string_lossy().contains("/sha512/") {
            tests::sha512(&bytes)
        } else {
            tests::sha256(&bytes)
        };
        assert_eq!(digest, hex, "{} is not what its name says", file.display());
        let mode = fs::metadata(&file).unwrap().permissions();
        assert!(mode.readonly(), "{} can be written", file.display());
    }
}
