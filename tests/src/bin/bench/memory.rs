//! What watches over one idle pod, in proportional set size: rkt's supervisor
//! and init together, beside podman's conmon.

use std::fs;

use tests::cmd::eventually;
use tests::host::find_binary;
use tests::{Aci, Host};

use crate::report::{Report, Row};

/// Measures `rounds` pods, one after the other.
pub(crate) fn run(rounds: usize) -> Report {
    let host = Host::new();
    let mut report = Report {
        title: "memory of the processes that watch over one idle pod, PSS".into(),
        unit: "KiB",
        base: "rkt: supervisor and init",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    match rkt(&host, rounds) {
        Ok(samples) => report.rows.push(Row {
            name: report.base.into(),
            samples,
            note: String::new(),
        }),
        Err(why) => report.missing.push((report.base.into(), why)),
    }
    report
}

fn rkt(host: &Host, rounds: usize) -> Result<Vec<f64>, String> {
    find_binary("rkt")?;
    let aci = Aci::busybox("example.com/idle", &["/bin/sleep", "600"]);
    let file = aci.write(&host.images(), "idle", tests::Compression::Plain);
    let fetched = host
        .plain_rkt(["--insecure-options=image", "fetch"])
        .arg(&file)
        .run();
    if fetched.code() != Some(0) {
        return Err(fetched.stderr.trim().to_owned());
    }
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let running = host
            .plain_rkt(["run", "--net=none", "example.com/idle"])
            .spawn();
        eventually("the app to run", || children(running.pid().as_raw()) == 2);
        let total: f64 = host.processes().iter().map(|(pid, _)| pss(*pid)).sum();
        samples.push(total);
        running.signal(nix::sys::signal::Signal::SIGTERM);
        running.wait();
    }
    Ok(samples)
}

/// How many generations of processes are below `pid`: init, then the app.
fn children(pid: i32) -> u32 {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .map(|p| 1 + children(p))
        .max()
        .unwrap_or(0)
}

/// Proportional set size in KiB.
fn pss(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix("Pss:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
