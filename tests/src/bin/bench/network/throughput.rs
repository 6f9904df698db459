//! What goes through: iperf3 from pod to pod, from a pod to its host, and from
//! another host to a published port.
//!
//! iperf3 runs in the pods' network namespaces and otherwise on the host, so
//! that nothing but the network is compared.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::Host;

use super::scale::stop;
use super::{BACKENDS, IDLE, LAN, PORT, missing, output};
use crate::podman;
use crate::report::{Report, Row};

/// The address of this host towards the other one.
const HOST: &str = "192.0.2.1";
/// The other host's namespace.
const FAR: &str = "/run/netns/far";
const OWN: &str = "/proc/thread-self/ns/net";
/// How long one measurement takes.
const SECONDS: u32 = 2;

/// Two pods of one network; the first has a published port.
struct Pair {
    name: String,
    namespaces: [PathBuf; 2],
    address: String,
    gateway: String,
    published: u16,
    /// The pods, where they are our children.
    running: Vec<Child>,
    /// The containers' processes, where they are not.
    foreign: Vec<i32>,
}

/// Measures every pair, one after the other in each round.
pub(super) fn run(host: &Host, rounds: usize) -> Vec<Report> {
    let base = match missing("netavark") {
        None => "podman, netavark",
        Some(_) => "podman, cni",
    };
    let ways = [
        "pod to pod",
        "pod to its host",
        "another host to a published port",
    ];
    let mut reports = ways.map(|way| Report {
        title: format!("throughput of one TCP connection, {way} (more is better)"),
        unit: "Gbit/s",
        base,
        rows: Vec::new(),
        missing: Vec::new(),
    });
    let mut pairs = Vec::new();
    for (name, pair) in all(host) {
        match pair {
            Ok(pair) => pairs.push(pair),
            Err(why) => {
                for report in &mut reports {
                    report.missing.push((name.clone(), why.clone()));
                }
            }
        }
    }
    for _ in 0..rounds {
        for pair in &pairs {
            for (report, measured) in reports.iter_mut().zip(measure(pair)) {
                match measured {
                    Ok(rate) => add(report, &pair.name, rate),
                    Err(why) => report.missing.push((pair.name.clone(), why)),
                }
            }
        }
    }
    for pair in pairs {
        // Podman's are no children of ours: they are waited for by others.
        for pid in pair.foreign {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        stop(pair.running);
    }
    host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
    reports.into()
}

/// Every pair, or why there is none.
fn all(host: &Host) -> Vec<(String, Result<Pair, String>)> {
    let ready = output(Command::new("iperf3").arg("--version"))
        .map_err(|why| format!("iperf3: {why}"))
        .and_then(|_| other_host());
    let mut pairs = Vec::new();
    for (published, network) in (6001..).zip([LAN, "default"]) {
        let name = format!("rkt, {network}");
        let pair = ready
            .clone()
            .and_then(|()| rkt(host, &name, network, published));
        pairs.push((name, pair));
    }
    for (published, (backend, _)) in (6003..).zip(BACKENDS) {
        let name = format!("podman, {backend}");
        let there = ready.clone().and(missing(backend).map_or(Ok(()), Err));
        let pair = there.and_then(|()| podman_pair(host, &name, backend, published));
        pairs.push((name, pair));
    }
    pairs
}

fn add(report: &mut Report, name: &str, rate: f64) {
    match report.rows.iter_mut().find(|row| row.name == name) {
        Some(row) => row.samples.push(rate),
        None => report.rows.push(Row {
            name: name.to_owned(),
            samples: vec![rate],
            note: String::new(),
        }),
    }
}

fn measure(pair: &Pair) -> [Result<f64, String>; 3] {
    let [server, client] = &pair.namespaces;
    [
        rate(server, client, &pair.address, PORT),
        rate(Path::new(OWN), client, &pair.gateway, PORT),
        rate(server, Path::new(FAR), HOST, pair.published),
    ]
}

/// Gbit/s that a client in one namespace gets through to a server in another.
fn rate(server: &Path, client: &Path, address: &str, port: u16) -> Result<f64, String> {
    let within = |namespace: &Path| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display()));
        command.arg("iperf3");
        command
    };
    let mut serving = within(server)
        .args(["--server", "--one-off", "--port", &PORT.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let until = Instant::now() + Duration::from_secs(5);
    let measured = loop {
        let mut asking = within(client);
        asking.args(["--json", "--time", &SECONDS.to_string()]);
        asking.args(["--connect-timeout", "2000"]);
        asking.args(["--client", address, "--port", &port.to_string()]);
        match output(&mut asking).and_then(|said| gigabits(&said)) {
            // It does not listen yet.
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            other => break other,
        }
    };
    // It waits for ever for a client that could not come.
    let _ = serving.kill();
    let _ = serving.wait();
    measured
}

/// What iperf3 measured, by its own report, which may be one of an error.
fn gigabits(said: &str) -> Result<f64, String> {
    let value: Value = serde_json::from_str(said).map_err(|e| e.to_string())?;
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let bits = value["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.ok_or("iperf3 told no rate")? / 1e9)
}

/// A host on a wire to this one.
fn other_host() -> Result<(), String> {
    let script = format!(
        "ip netns add far && ip link add far0 type veth peer name eth0 netns far && \
         ip addr add {HOST}/24 dev far0 && ip link set far0 up && \
         ip -n far addr add 192.0.2.2/24 dev eth0 && ip -n far link set eth0 up"
    );
    output(Command::new("sh").args(["-ec", &script])).map(|_| ())
}

fn rkt(host: &Host, name: &str, network: &str, published: u16) -> Result<Pair, String> {
    let net = format!("--net={network}");
    let port = format!("--port=iperf:{published}");
    let mut running = Vec::new();
    let mut found = Vec::new();
    for number in 0..2 {
        let uuid = host.path().join(format!("uuid-{published}-{number}"));
        let save = format!("--uuid-file-save={}", uuid.display());
        let mut words = vec!["run", &net, &save];
        if number == 0 {
            words.push(&port);
        }
        words.push(IDLE);
        let mut command = host.plain_rkt(&words).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        running.push(command.spawn().map_err(|e| e.to_string())?);
        tests::cmd::eventually("the pod's UUID", || {
            std::fs::read(&uuid).is_ok_and(|text| text.len() == 36)
        });
        let file = format!("--uuid-file={}", uuid.display());
        let status = host.plain_rkt(["status", "--wait-ready=20s", &file]).run();
        let of = |key: &str| {
            let mut lines = status.stdout.lines();
            lines.find_map(|line| line.strip_prefix(key).map(str::to_owned))
        };
        let address = of(&format!("networks={network}:ip4="));
        let found_one = of("pid=").zip(address);
        found.push(found_one.ok_or_else(|| format!("rkt status: {status}"))?);
    }
    let address = found[0].1.clone();
    Ok(Pair {
        name: name.to_owned(),
        namespaces: [0, 1].map(|n: usize| namespace(&found[n].0)),
        gateway: gateway(&address),
        address,
        published,
        running,
        foreign: Vec::new(),
    })
}

fn podman_pair(host: &Host, name: &str, backend: &str, published: u16) -> Result<Pair, String> {
    let call = |words: &[&str]| {
        // runc works on every kind of hierarchy.
        let mut all = podman::words(host, Some("runc"));
        all.extend(words.iter().map(Into::into));
        output(
            Command::new(&all[0])
                .args(&all[1..])
                .env("CONTAINERS_CONF", podman::with_networks_by(host, backend)),
        )
    };
    let publish = format!("--publish={published}:{PORT}");
    let mut found = Vec::new();
    for number in 0..2 {
        let mut words = vec!["run", "--detach", "--ulimit=host"];
        if number == 0 {
            words.push(&publish);
        }
        words.extend([podman::IMAGE, "/bin/sleep", "10000"]);
        let id = call(&words)?;
        let format =
            "--format={{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let told = call(&["inspect", format, &id])?;
        let (pid, ip) = told.split_once(' ').ok_or("podman told no address")?;
        found.push((pid.to_owned(), ip.to_owned()));
    }
    let address = found[0].1.clone();
    Ok(Pair {
        name: name.to_owned(),
        namespaces: [0, 1].map(|n: usize| namespace(&found[n].0)),
        gateway: gateway(&address),
        address,
        published,
        running: Vec::new(),
        foreign: found
            .iter()
            .filter_map(|(pid, _)| pid.parse().ok())
            .collect(),
    })
}

fn namespace(pid: &str) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// The first address of the network, which is a /24, or a /16 of 10/8.
fn gateway(address: &str) -> String {
    let mut parts: Vec<&str> = address.split('.').collect();
    parts.pop();
    if parts.first() == Some(&"10") {
        parts.pop();
        parts.push("0");
    }
    format!("{}.1", parts.join("."))
}
