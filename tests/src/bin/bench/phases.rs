//! Where the time of one `rkt run` goes, as the engine itself tells it.
//!
//! The engine writes a line when a phase begins to the descriptor that
//! [`TIMINGS_FD_ENV`] names; without that variable it writes and measures
//! nothing. Phases of different processes overlap: each is counted until the
//! next one begins, whosever that is.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use manifests::engine::TIMINGS_FD_ENV;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tests::Host;

use crate::report::{Report, Row};

/// The time before the engine's first line.
const BEFORE: &str = "rkt: words, image, pod directory, exec";

/// Runs `command` so many times and reports each phase's milliseconds.
pub(crate) fn run(host: &Host, command: &Command, rounds: usize) -> Report {
    let mut report = Report {
        title: "phases of rkt run, each until the next begins".into(),
        unit: "ms",
        base: "",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    for _ in 0..rounds {
        let phases = match trace(host, command) {
            Ok(phases) => phases,
            Err(why) => {
                report.missing.push(("phases".into(), why));
                return report;
            }
        };
        for (name, milliseconds) in phases {
            match report.rows.iter_mut().find(|r| r.name == name) {
                Some(row) => row.samples.push(milliseconds),
                None => report.rows.push(Row {
                    name,
                    samples: vec![milliseconds],
                    note: String::new(),
                }),
            }
        }
    }
    report
}

/// One run: the phases in the order they began, with their milliseconds.
fn trace(host: &Host, command: &Command) -> Result<Vec<(String, f64)>, String> {
    let path = host.path().join("timings");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&path)
        .map_err(|e| e.to_string())?;
    let append = File::options()
        .append(true)
        .open(&path)
        .map_err(|e| e.to_string())?;
    drop(file);
    // For the one child only: the descriptor is closed when this returns.
    fcntl(&append, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| e.to_string())?;
    let mut child = Command::new(command.get_program());
    child
        .args(command.get_args())
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env(TIMINGS_FD_ENV, append.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let start = monotonic();
    let out = child.output().map_err(|e| e.to_string())?;
    let end = monotonic();
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).trim().to_owned());
    }
    let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
    let mut marks = vec![(start, BEFORE.to_owned())];
    for line in text.lines() {
        let mark: Value = serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}"))?;
        let at = mark["at"]
            .as_i64()
            .ok_or_else(|| format!("no time in {line:?}"))?;
        let name = mark["phase"]
            .as_str()
            .ok_or_else(|| format!("no name in {line:?}"))?;
        marks.push((at, format!("stage1: {name}")));
    }
    if marks.len() == 1 {
        return Err(format!("the engine wrote nothing to {TIMINGS_FD_ENV}"));
    }
    marks.sort();
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([end]);
    Ok(marks
        .iter()
        .zip(ends)
        .map(|((at, name), end)| {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
            let milliseconds = (end - at) as f64 / 1e6;
            (name.clone(), milliseconds)
        })
        .collect())
}

/// Nanoseconds on the clock that the engine uses.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
