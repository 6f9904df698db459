//! One app that does nothing, no network, an image that is stored already:
//! from the command to its exit status.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::host::find_binary;
use tests::{Aci, Host, Rootfs};

use crate::contender::{Arena, Contender, interleave};
use crate::report::Report;
use crate::{floor, phases, podman};

/// Name of the image in rkt's store.
const IMAGE: &str = "example.com/busybox";

/// Measures everybody; the second report is where rkt's own time goes.
pub(crate) fn run(rounds: usize) -> Vec<Report> {
    let host = Host::new();
    let arena = Arena::new();
    let rootfs = host.path().join("bundle/rootfs");
    Rootfs::busybox().unpack(&rootfs);

    let mut report = Report {
        title: "start of a stored busybox running true, no network".into(),
        unit: "ms",
        base: "floor: bare system calls",
        rows: Vec::new(),
        missing: Vec::new(),
    };
    let mut contenders = Vec::new();
    let mut add = |ways: Result<Contender, (String, String)>| match ways {
        Ok(contender) => contenders.push(contender),
        Err(missing) => report.missing.push(missing),
    };
    add(floor_program(&host, &rootfs));
    add(rkt(&host));
    add(arena.first_that_works(crun(&host)));
    add(arena.first_that_works(runc(&host)));
    add(arena.first_that_works(bwrap(&rootfs)));
    add(podman::image(&host)
        .map_err(|why| (PODMAN.to_owned(), why))
        .and_then(|()| arena.first_that_works(podman_ways(&host))));

    let has_rkt = contenders.iter().any(|c| c.name == RKT);
    interleave(&arena, &mut report, contenders, rounds, || {
        if has_rkt {
            // Peers remove their container themselves; rkt leaves that to gc.
            host.plain_rkt(["gc", "--grace-period=0s"]).run().ok();
        }
    });
    let mut reports = vec![report];
    if has_rkt {
        let command = host.plain_rkt(["run", "--net=none", IMAGE]).into_command();
        reports.push(phases::run(&host, &command, rounds.min(20)));
    }
    podman::cleanup(&host);
    reports
}

const RKT: &str = "rkt run --net=none";

fn rkt(host: &Host) -> Result<Contender, (String, String)> {
    let failed = |why: String| (RKT.to_owned(), why);
    let aci = Aci::busybox(IMAGE, &["/bin/true"]);
    let file = aci.write(&host.images(), "busybox", tests::Compression::Plain);
    find_binary("rkt").map_err(failed)?;
    let fetched = host
        .plain_rkt(["--insecure-options=image", "fetch"])
        .arg(&file)
        .run();
    if fetched.code() != Some(0) {
        return Err(failed(fetched.stderr.trim().to_owned()));
    }
    let command = host.plain_rkt(["run", "--net=none", IMAGE]).into_command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<OsString> = words.map(Into::into).collect();
    Ok(Contender::new(RKT, words).note("the exited pod is left for gc"))
}

fn floor_program(host: &Host, rootfs: &Path) -> Result<Contender, (String, String)> {
    let name = "floor: bare system calls";
    let program = floor::build(host.path()).map_err(|e| (name.to_owned(), e))?;
    let scratch = host.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    Ok(Contender::new(
        name,
        [
            program.as_os_str(),
            rootfs.as_os_str(),
            scratch.as_os_str(),
            "/bin/true".as_ref(),
        ],
    ))
}

/// Writes `DIR/bundle-KIND/config.json` from the runtime's own template.
pub(crate) fn bundle(
    host: &Host,
    runtime: &str,
    kind: &str,
    change: impl FnOnce(&mut Value),
) -> Option<OsString> {
    let dir = host.path().join(format!("bundle-{kind}"));
    fs::create_dir_all(&dir).ok()?;
    let template = Command::new(runtime)
        .arg("spec")
        .current_dir(&dir)
        .output()
        .ok()?;
    template.status.success().then_some(())?;
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
    config["process"]["args"] = json!(["/bin/true"]);
    config["process"]["terminal"] = json!(false);
    config["root"]["path"] = json!(host.path().join("bundle/rootfs"));
    change(&mut config);
    fs::write(&file, serde_json::to_vec(&config).unwrap()).ok()?;
    Some(dir.into())
}

pub(crate) fn no_rlimits(config: &mut Value) {
    config["process"].as_object_mut().unwrap().remove("rlimits");
}

/// Without the device rules crun does not raise RLIMIT_MEMLOCK for BPF, which
/// needs CAP_SYS_RESOURCE.
fn no_rlimits_no_resources(config: &mut Value) {
    no_rlimits(config);
    config["linux"].as_object_mut().unwrap().remove("resources");
}

fn crun(host: &Host) -> Vec<Contender> {
    let way = |kind: &str, change: fn(&mut Value)| {
        let dir = bundle(host, "crun", kind, change).unwrap_or_default();
        let words: [OsString; 5] = [
            "crun".into(),
            "run".into(),
            "--bundle".into(),
            dir,
            "rkt-bench-crun".into(),
        ];
        Contender::new("crun run, ready bundle", words)
    };
    vec![
        way("crun", |_| {}),
        way("crun", |_| {})
            .with_plain_cgroup2()
            .note("on a plain cgroup2"),
        way("crun-plain", no_rlimits_no_resources)
            .with_plain_cgroup2()
            .note("on a plain cgroup2, without rlimits and device rules"),
    ]
}

fn runc(host: &Host) -> Vec<Contender> {
    let way = |kind: &str, change: fn(&mut Value)| {
        let dir = bundle(host, "runc", kind, change).unwrap_or_default();
        let words: [OsString; 5] = [
            "runc".into(),
            "run".into(),
            "--bundle".into(),
            dir,
            "rkt-bench-runc".into(),
        ];
        Contender::new("runc run, ready bundle", words)
    };
    vec![
        way("runc", |_| {}),
        way("runc-plain", no_rlimits).note("without rlimits"),
    ]
}

fn bwrap(rootfs: &Path) -> Vec<Contender> {
    let words = ["bwrap", "--unshare-all", "--bind"].map(OsString::from);
    let rest = ["/", "--proc", "/proc", "--dev", "/dev", "/bin/true"].map(OsString::from);
    let words = words.into_iter().chain([rootfs.into()]).chain(rest);
    vec![Contender::new("bwrap --unshare-all", words).note("no overlay, cgroup or seccomp")]
}

const PODMAN: &str = "podman run --rm --network none";

fn podman_ways(host: &Host) -> Vec<Contender> {
    let way = |runtime: Option<&str>, rlimits: bool| {
        let mut words = podman::words(host, runtime);
        words.extend(["run", "--rm", "--network=none"].map(Into::into));
        if !rlimits {
            words.push("--ulimit=host".into());
        }
        words.push(podman::IMAGE.into());
        let contender = Contender::new(PODMAN, words);
        if rlimits {
            return contender;
        }
        contender.env("CONTAINERS_CONF", podman::without_rlimits(host))
    };
    vec![
        way(None, true),
        way(None, false).note("without rlimits"),
        way(Some("runc"), false).note("with runc, without rlimits"),
    ]
}
