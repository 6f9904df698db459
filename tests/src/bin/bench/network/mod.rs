//! Networks: a start with one, how the cost grows with the pods, and what goes
//! through it; beside podman with either of its backends, and runc with CNI's
//! own plugins.
//!
//! All of it happens in a network, a `/run` and a `/var/lib` that end with the
//! measurement.

mod scale;
mod start;
mod throughput;

use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;

use tests::{Aci, Host};

use crate::podman;
use crate::report::Report;

pub(crate) use start::{RUNC_WITH_CNI, runc_with_cni};

/// Name of an image that runs `true`.
const TRUE: &str = "example.com/true";

/// Name of an image that says "ready" and waits, and has a port `iperf`.
const IDLE: &str = "example.com/idle";

/// Name of a network by a bridge, as podman's is.
const LAN: &str = "lan";

/// The port that an iperf3 in a pod listens on.
const PORT: u16 = 5201;

/// Measures everything.
pub(crate) fn run(rounds: usize) -> Vec<Report> {
    // Threads that it starts are in its network too.
    std::thread::spawn(move || {
        let host = Host::with_own_network();
        prepare(&host);
        let mut reports = start::run(&host, rounds);
        reports.push(scale::run(&host));
        reports.extend(throughput::run(&host, rounds.clamp(1, 5)));
        podman::cleanup(&host);
        reports
    })
    .join()
    .unwrap()
}

fn prepare(host: &Host) {
    host.fetch_aci(&Aci::busybox(TRUE, &["/bin/true"]));
    let wait = ["/bin/sh", "-c", "echo ready; exec sleep 10000"];
    let mut idle = Aci::busybox(IDLE, &wait);
    idle.manifest["app"]["ports"] =
        serde_json::json!([{"name": "iperf", "protocol": "tcp", "port": PORT}]);
    host.fetch_aci(&idle);
    let configuration = serde_json::json!({
        "cniVersion": "1.0.0", "name": LAN, "type": "bridge", "bridge": "rkt-lan",
        "isDefaultGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "subnet": "10.44.0.0/16"},
    });
    std::fs::create_dir(host.config().join("net.d")).unwrap();
    let file = host.config().join("net.d/10-lan.conf");
    std::fs::write(file, configuration.to_string()).unwrap();
}

/// Podman's backends: name, and the files of which one says that it is there.
const BACKENDS: [(&str, &[&str]); 2] = [
    (
        "netavark",
        &["/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"],
    ),
    ("cni", &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"]),
];

/// Why podman has no such backend here.
fn missing(backend: &str) -> Option<String> {
    let (_, files) = BACKENDS.iter().find(|(name, _)| *name == backend)?;
    let there = files.iter().any(|file| Path::new(file).exists());
    (!there).then(|| format!("there is no {}", files[0]))
}

/// Runs a program that has to work; what it prints.
fn output(command: &mut Command) -> Result<String, String> {
    // To a file: what podman leaves running keeps a pipe open.
    let mut errors = tempfile::tempfile().map_err(|e| e.to_string())?;
    command.stderr(errors.try_clone().map_err(|e| e.to_string())?);
    let out = command.output().map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let mut said = String::new();
    let read = errors
        .rewind()
        .and_then(|()| errors.read_to_string(&mut said));
    read.map_err(|e| e.to_string())?;
    let last = said.lines().last().unwrap_or("no message");
    Err(format!("{}: {}", out.status, last.trim()))
}
