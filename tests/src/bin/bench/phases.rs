//! Where the time of one `rkt run` goes, seen from outside with strace.
//!
//! strace stops the processes only at the few calls that mark a phase
//! (`--seccomp-bpf`), so the shares are close to those of an undisturbed run;
//! the total is a little longer.

use std::fs;
use std::process::{Command, Stdio};

use tests::Host;

use crate::report::{Report, Row};

/// A phase ends with the next of these events.
const PHASES: [&str; 5] = [
    "rkt: command line, store, pod directory",
    "stage1: plan, cgroups, to clone3",
    "pod: namespaces, mounts, walls",
    "the app itself",
    "stage1: wait, record, clean up",
];

/// Traces `command` so many times and reports each phase's milliseconds.
pub(crate) fn run(host: &Host, command: &Command, rounds: usize) -> Report {
    let mut report = Report {
        title: "phases of rkt run, under strace".into(),
        unit: "ms",
        base: "",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let mut samples = vec![Vec::new(); PHASES.len()];
    for _ in 0..rounds {
        match trace(host, command) {
            Ok(times) => {
                for (row, pair) in samples.iter_mut().zip(times.windows(2)) {
                    row.push((pair[1] - pair[0]) * 1e3);
                }
            }
            Err(why) => {
                report.missing.push(("phases".into(), why));
                return report;
            }
        }
        host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
    }
    report.rows = PHASES
        .iter()
        .zip(samples)
        .map(|(name, samples)| Row {
            name: (*name).into(),
            samples,
            note: String::new(),
        })
        .collect();
    report
}

/// Seconds of: rkt exec'ed, stage1 exec'ed, pod cloned, app exec'ed, app gone,
/// supervisor gone.
fn trace(host: &Host, command: &Command) -> Result<Vec<f64>, String> {
    let log = host.path().join("strace");
    let out = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-qq", "-ttt", "-o"])
        .arg(&log)
        .args(["-e", "trace=execve,execveat,clone3,exit_group"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run strace: {e}"))?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).trim().to_owned());
    }
    let text = fs::read_to_string(&log).map_err(|e| e.to_string())?;
    parse(&text).ok_or_else(|| format!("did not find the phases in:\n{text}"))
}

fn parse(log: &str) -> Option<Vec<f64>> {
    let events: Vec<(&str, f64, &str)> = log
        .lines()
        .filter_map(|line| {
            let (pid, rest) = line.split_once(' ')?;
            let (time, call) = rest.trim_start().split_once(' ')?;
            Some((pid, time.parse().ok()?, call))
        })
        .collect();
    let execs: Vec<_> = events
        .iter()
        .filter(|e| e.2.starts_with("execve"))
        .collect();
    let supervisor = execs.first()?.0;
    let stage1 = execs.iter().skip(1).find(|e| e.0 == supervisor)?;
    let clone = events
        .iter()
        .find(|e| e.0 == supervisor && e.1 > stage1.1 && e.2.starts_with("clone3"))?;
    let app = execs.iter().rev().find(|e| e.0 != supervisor)?;
    let gone = |pid: &str| {
        events
            .iter()
            .rev()
            .find(|e| e.0 == pid && e.2.starts_with("exit_group"))
            .map(|e| e.1)
    };
    Some(vec![
        execs[0].1,
        stage1.1,
        clone.1,
        app.1,
        gone(app.0)?,
        gone(supervisor)?,
    ])
}
