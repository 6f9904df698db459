//! What watches over a pod, in proportional set size.

use std::fs;
use std::time::{Duration, Instant};

use crate::cmd::eventually;
use crate::{Aci, Compression, Host};

/// KiB of all engine processes (supervisor and init) of one idle pod that is
/// started for this and stopped again. The store must be able to take one more
/// image.
pub fn of_an_idle_pod(host: &Host) -> f64 {
    let aci = Aci::busybox("example.com/idle", &["/bin/sleep", "600"]);
    let file = aci.write(&host.images(), "idle", Compression::Plain);
    host.fetch(&file.to_string_lossy());
    let running = host.rkt(["run", "--net=none", "example.com/idle"]).spawn();
    // Between its clone and its exec the app still looks like the engine.
    let mut engine = Vec::new();
    eventually("the app to run, below supervisor and init", || {
        engine = host.processes();
        engine.len() == 2 && generations(running.pid().as_raw()) == 2
    });
    let total = settled(|| engine.iter().map(|(pid, _)| pss(*pid)).sum());
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    total
}

/// The value once it has not fallen for half a second: the engine drops what it
/// needed only to start when the pod has become idle.
fn settled(mut measure: impl FnMut() -> f64) -> f64 {
    let mut last = measure();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(50));
        let now = measure();
        if now < last {
            since = Instant::now();
        }
        last = now;
    }
    last
}

/// How many generations of processes are below `pid`: init, then the app.
fn generations(pid: i32) -> u32 {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .map(|p| 1 + generations(p))
        .max()
        .unwrap_or(0)
}

/// Proportional set size of a process in KiB.
pub fn pss(pid: i32) -> f64 {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("cannot read {file}: {e}"));
    text.lines()
        .find_map(|l| l.strip_prefix("Pss:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no Pss in {file}:\n{text}"))
}
