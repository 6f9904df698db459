//! Many pods on one bridge: whether the last one takes longer than the first.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Host;

use super::{IDLE, LAN};
use crate::report::{Report, Row};

const PODS: usize = 200;
/// How many at either end make a row.
const SOME: usize = 20;

/// From the command to the first line that the app prints, while those before
/// go on.
pub(super) fn run(host: &Host) -> Report {
    let mut report = Report {
        title: format!("start of one more pod on a bridge until its app prints, {PODS} in all"),
        unit: "ms",
        base: "the first 20 pods",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let mut running = Vec::new();
    let mut samples = Vec::new();
    for number in 0..=PODS {
        match start(host) {
            Ok((child, milliseconds)) => {
                running.push(child);
                // One before the first makes the bridge and mounts the image.
                if number > 0 {
                    samples.push(milliseconds);
                }
            }
            Err(why) => {
                report.missing.push((format!("pod {number}"), why));
                break;
            }
        }
    }
    if samples.len() == PODS {
        let parts = [
            ("first", &samples[..SOME]),
            ("last", &samples[PODS - SOME..]),
        ];
        report.rows.extend(parts.map(|(which, part)| Row {
            name: format!("the {which} {SOME} pods"),
            samples: part.to_vec(),
            note: String::new(),
        }));
    }
    stop(running);
    host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
    report
}

fn start(host: &Host) -> Result<(Child, f64), String> {
    let net = format!("--net={LAN}");
    let mut command = host.plain_rkt(["run", &net, IDLE]).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let mut line = String::new();
    if let Some(pipe) = &mut child.stdout {
        BufReader::new(pipe)
            .read_line(&mut line)
            .map_err(|e| e.to_string())?;
    }
    let took = began.elapsed().as_secs_f64() * 1e3;
    if line == "ready\n" {
        return Ok((child, took));
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    Err(format!("it ended: {status}"))
}

/// Stops pods, all at once.
pub(super) fn stop(running: Vec<Child>) {
    for child in &running {
        // Nobody has waited for it, so the number is its own.
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    }
    for mut child in running {
        child.wait().unwrap();
    }
}
