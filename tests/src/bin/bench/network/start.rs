//! One app that does nothing, in a network of its own: from the command to its
//! exit status.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tests::{Host, Rootfs};

use super::{BACKENDS, TRUE, missing};
use crate::contender::{Arena, Contender, interleave};
use crate::report::{Report, Row};
use crate::start::{bundle, no_rlimits};
use crate::{phases, podman};

/// The first word by which this program does what [`runc_with_cni`] does.
pub(crate) const RUNC_WITH_CNI: &str = "runc-with-cni";

const BASE: &str = "rkt run (--net=default)";
const RUNC: &str = "runc run + CNI ptp executed";

/// So many starts in a row make one sample of [`in_a_row`].
const IN_A_ROW: u32 = 10;

/// Measures everybody; then rkt and runc when each start comes right behind the
/// last, whose network the kernel is still taking apart; then where rkt's own
/// time goes.
pub(super) fn run(host: &Host, rounds: usize) -> Vec<Report> {
    let arena = Arena::new();
    let mut report = Report {
        title: "start of a stored busybox running true, with a private network".into(),
        unit: "ms",
        base: BASE,
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let mut contenders = vec![
        rkt(host, BASE, &["run"]),
        rkt(host, "rkt run --net=none", &["run", "--net=none"]),
    ];
    let image = podman::image(host);
    for (backend, _) in BACKENDS {
        let name = format!("podman run --rm, {backend}");
        let there = image.clone().and(missing(backend).map_or(Ok(()), Err));
        let way = there
            .map_err(|why| (name.clone(), why))
            .and_then(|()| arena.first_that_works(podman_ways(host, &name, backend)));
        match way {
            Ok(contender) => contenders.push(contender),
            Err(why) => report.missing.push(why),
        }
    }
    let mut few = contenders[..1].to_vec();
    match runc(host).and_then(|way| arena.first_that_works(vec![way]).map_err(|(_, why)| why)) {
        Ok(contender) => {
            few.push(contender.clone());
            contenders.push(contender);
        }
        Err(why) => report.missing.push((RUNC.to_owned(), why)),
    }
    interleave(&arena, &mut report, contenders, rounds, || {
        host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
    });
    let command = host.plain_rkt(["run", TRUE]).into_command();
    let mut phases = phases::run(host, &command, rounds);
    phases.title += ", with a private network";
    vec![report, in_a_row(host, &arena, &few, rounds.min(5)), phases]
}

/// Each start's share of several in a row.
fn in_a_row(host: &Host, arena: &Arena, contenders: &[Contender], rounds: usize) -> Report {
    let mut report = Report {
        title: format!("one of {IN_A_ROW} such starts, each right behind the last"),
        unit: "ms",
        base: BASE,
        rows: Vec::new(),
        missing: Vec::new(),
    };
    for contender in contenders {
        let sample = || {
            let took = (0..IN_A_ROW).map(|_| arena.time(contender));
            let sum = took.sum::<Result<Duration, String>>();
            host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
            Ok::<f64, String>(sum?.as_secs_f64() * 1e3 / f64::from(IN_A_ROW))
        };
        match (0..rounds).map(|_| sample()).collect() {
            Ok(samples) => report.rows.push(Row {
                name: contender.name.clone(),
                samples,
                note: contender.note.clone(),
            }),
            Err(why) => report.missing.push((contender.name.clone(), why)),
        }
    }
    report
}

fn rkt(host: &Host, name: &str, words: &[&str]) -> Contender {
    let command = host.plain_rkt(words.iter().chain([&TRUE])).into_command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<OsString> = words.map(Into::into).collect();
    Contender::new(name, words).note("the exited pod is left for gc")
}

fn podman_ways(host: &Host, name: &str, backend: &str) -> Vec<Contender> {
    let way = |runtime: Option<&str>, note: &str| {
        let mut words = podman::words(host, runtime);
        words.extend(["run", "--rm", "--ulimit=host", podman::IMAGE].map(Into::into));
        Contender::new(name, words)
            .env("CONTAINERS_CONF", podman::with_networks_by(host, backend))
            .note(note)
    };
    vec![
        way(None, "without rlimits"),
        way(Some("runc"), "with runc, without rlimits"),
    ]
}

/// Where the bundle of [`runc_with_cni`] finds its network namespace.
const NAMESPACE: &str = "/run/netns/rkt-bench";

fn runc(host: &Host) -> Result<Contender, String> {
    Rootfs::busybox().unpack(&host.path().join("bundle/rootfs"));
    let dir = bundle(host, "runc", "runc-cni", |config: &mut Value| {
        no_rlimits(config);
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        for namespace in namespaces {
            if namespace["type"] == "network" {
                namespace["path"] = json!(NAMESPACE);
            }
        }
    })
    .ok_or("runc cannot write a template")?;
    let config = host.path().join("cni.json");
    let text = json!({
        "cniVersion": "0.4.0", "name": "rkt-bench", "type": "ptp", "ipMasq": true,
        "ipam": {"type": "host-local", "subnet": "10.45.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
    });
    fs::write(&config, text.to_string()).unwrap();
    let myself = std::env::current_exe().map_err(|e| e.to_string())?;
    let words: [OsString; 4] = [myself.into(), RUNC_WITH_CNI.into(), dir, config.into()];
    Ok(Contender::new(RUNC, words).note("ready bundle, without rlimits"))
}

/// `bench runc-with-cni BUNDLE CONFIG`: makes a network namespace, has CNI's
/// plugin connect it, runs the bundle in it, and undoes that: what has to be
/// done around an engine that knows no networks.
pub(crate) fn runc_with_cni() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(2).collect();
    let [bundle, config] = words.as_slice() else {
        return ExitCode::from(2);
    };
    match run_with_network(Path::new(bundle), Path::new(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run_with_network(bundle: &Path, config: &Path) -> Result<(), String> {
    let config = fs::read(config).map_err(|e| e.to_string())?;
    fs::create_dir_all("/run/netns").map_err(|e| e.to_string())?;
    File::create(NAMESPACE).map_err(|e| e.to_string())?;
    // The namespace of a thread, so that ours stays what it is.
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let own = Some("/proc/thread-self/ns/net");
        mount(own, NAMESPACE, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    })
    .join()
    .map_err(|_| "the thread died")?
    .map_err(|e| e.to_string())?;
    let ran = plugin("ADD", &config).and_then(|()| {
        let status = Command::new("runc")
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg("rkt-bench-cni")
            .stdin(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(e) => Err(e.to_string()),
        }
    });
    let undone = plugin("DEL", &config);
    umount2(NAMESPACE, MntFlags::MNT_DETACH).map_err(|e| e.to_string())?;
    fs::remove_file(NAMESPACE).map_err(|e| e.to_string())?;
    ran.and(undone)
}

fn plugin(command: &str, config: &[u8]) -> Result<(), String> {
    let directories = ["/usr/lib/cni", "/opt/cni/bin"].map(PathBuf::from);
    let path = directories
        .iter()
        .find(|dir| dir.join("ptp").exists())
        .ok_or("there is no /usr/lib/cni/ptp")?;
    let mut child = Command::new(path.join("ptp"))
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", "rkt-bench")
        .env("CNI_NETNS", NAMESPACE)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(config).map_err(|e| e.to_string())?;
    }
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    if out.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&out.stdout).replace('\n', " ");
        Err(format!("{command}: {said}"))
    }
}
