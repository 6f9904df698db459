//! One app that does nothing, no network, an image that is stored already:
//! from the command to its exit status.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::host::find_binary;
use tests::{Aci, Host, Rootfs};

use crate::containerd::Containerd;
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

    let title = "start of a stored busybox running true, no network";
    let mut report = Report::new(title, "ms", FLOOR);
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
    add(arena.first_that_works(nspawn(&rootfs)));
    let containerd = Containerd::start(&host);
    add(match &containerd {
        Ok(daemon) => arena.first_that_works(vec![ctr(daemon)]),
        Err(why) => Err((CTR.to_owned(), why.clone())),
    });
    let image = podman::image(&host);
    for runtime in ["crun", "runc"] {
        let ways = podman_ways(&host, runtime);
        let name = ways[0].name.clone();
        add(image
            .clone()
            .map_err(|why| (name, why))
            .and_then(|()| arena.first_that_works(ways)));
    }

    let has_rkt = contenders.iter().any(|c| c.name == RKT);
    // rkt leaves its exited pods to gc; they stay until all is measured, since a
    // file system may look twice at what was just deleted.
    interleave(&arena, &mut report, contenders, rounds, || {});
    let mut reports = vec![report];
    if has_rkt {
        let command = host.plain_rkt(["run", "--net=none", IMAGE]).into_command();
        reports.push(phases::run(&host, &command, rounds.min(20)));
    }
    podman::cleanup(&host);
    reports
}

const FLOOR: &str = "floor: bare system calls";
const RKT: &str = "rkt run --net=none";
const CTR: &str = "ctr run --rm";

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
    let program = floor::program().map_err(|e| (FLOOR.to_owned(), e))?;
    let scratch = host.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    Ok(Contender::new(
        FLOOR,
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
pub(crate) fn no_rlimits_no_resources(config: &mut Value) {
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
    vec![Contender::new("bwrap --unshare-all", words).note("without overlay, cgroup and seccomp")]
}

fn nspawn(rootfs: &Path) -> Vec<Contender> {
    let way = |note: &str| {
        let words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit"];
        let words = words.map(OsString::from).into_iter();
        let more = ["--private-network", "--volatile=no", "--pipe", "--as-pid2"];
        let more = more.map(OsString::from).into_iter();
        let words = words
            .chain(more)
            .chain(["--directory".into(), rootfs.into()]);
        let name = "systemd-nspawn --private-network";
        Contender::new(name, words.chain(["/bin/true".into()])).note(note)
    };
    vec![
        way(""),
        way("on a plain cgroup2").with_plain_cgroup2(),
        way("on a plain cgroup2, without seccomp")
            .with_plain_cgroup2()
            .env("SYSTEMD_SECCOMP", "0"),
        way("without seccomp").env("SYSTEMD_SECCOMP", "0"),
    ]
}

fn ctr(daemon: &Containerd) -> Contender {
    Contender::new(CTR, daemon.run()).note("containerd runs already, with a new shim and runc")
}

fn podman_ways(host: &Host, runtime: &str) -> Vec<Contender> {
    let way = |rlimits: bool, note: &str| {
        let mut words = podman::words(host, Some(runtime));
        words.extend(["run", "--rm", "--network=none"].map(Into::into));
        if !rlimits {
            words.push("--ulimit=host".into());
        }
        words.push(podman::IMAGE.into());
        let name = format!("podman run --rm --network=none, {runtime}");
        let contender = Contender::new(&name, words).note(note);
        match rlimits {
            true => contender,
            false => contender.env("CONTAINERS_CONF", podman::without_rlimits(host)),
        }
    };
    let mut without_cgroups = way(false, "on a plain cgroup2, without cgroups and rlimits");
    let image = without_cgroups.words.len() - 1;
    let none = "--cgroups=disabled".into();
    without_cgroups.words.insert(image, none);
    vec![
        way(true, ""),
        way(false, "without rlimits"),
        way(false, "on a plain cgroup2, without rlimits").with_plain_cgroup2(),
        // crun takes no hybrid hierarchy, and on cgroup2 its device rules are
        // BPF, which not every machine lets it load.
        without_cgroups.with_plain_cgroup2(),
    ]
}
