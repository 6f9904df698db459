//! Many pods: listing a thousand, collecting five hundred, starting sixteen at
//! once, entering one, and five hundred that idle.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::host::find_binary;
use tests::{Aci, Cmd, Compression, Host, Rootfs, leaks, memory};

use crate::contender::{Arena, Contender, interleave};
use crate::report::{Report, Row};
use crate::{floor, start};

const LISTED: usize = 1000;
const COLLECTED: usize = 500;
const AT_ONCE: usize = 16;
const IDLE: usize = 500;

/// Starts that are measured when nothing runs beside them, and when all do.
const AT_EACH_END: usize = 20;

/// Containers of podman's where it would take minutes to make as many.
const PEERS: usize = 20;

const IMAGE: &str = "example.com/idle";

/// Measures; `rounds` is for what can be repeated cheaply.
pub(crate) fn run(rounds: usize) -> Vec<Report> {
    if let Err(why) = find_binary("rkt") {
        let mut report = report("many pods", "ms", "");
        report.missing.push(("rkt".into(), why));
        return vec![report];
    }
    let podman = Podman::new();
    vec![
        list(rounds, &podman),
        collect(rounds.min(3)),
        at_once(rounds.min(5), &podman),
        enter(rounds, &podman),
        idle(&podman),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn report(title: &str, unit: &'static str, base: &'static str) -> Report {
    Report {
        title: title.into(),
        unit,
        base,
        rows: Vec::new(),
        missing: Vec::new(),
    }
}

fn row(name: &str, samples: Vec<f64>, note: &str) -> Row {
    Row {
        name: name.into(),
        samples,
        note: note.into(),
    }
}

fn host() -> Host {
    let host = Host::new();
    let aci = Aci::busybox(IMAGE, &["/bin/sleep", "100000"]);
    let file = aci.write(&host.images(), "idle", Compression::Plain);
    host.fetch(&file.to_string_lossy());
    host
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From before the fork to after the wait.
fn time(mut command: Command) -> f64 {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap();
    let took = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    milliseconds(took)
}

fn rkt(host: &Host, words: &[&str]) -> Command {
    host.plain_rkt(words).into_command()
}

/// Exited pods without running each: copies of one that was.
fn exited_pods(host: &Host, count: usize) {
    host.rkt(["run", "--net=none", IMAGE, "--exec=/bin/true"])
        .run()
        .ok();
    let one = host.data().join("pods/run").join(host.last_uuid());
    for n in 1..count {
        let copy = one.with_file_name(format!("00000000-0000-4000-8000-{n:012}"));
        Cmd::new("cp").arg("-a").arg(&one).arg(copy).run().ok();
    }
}

fn list(rounds: usize, podman: &Podman) -> Vec<Report> {
    let host = host();
    exited_pods(&host, LISTED - 2);
    let wedged = stopped_while_it_starts(&host);
    let mut cut_off = rkt(&host, &["run", "--net=none", IMAGE])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(3));
    cut_off.kill().unwrap();
    cut_off.wait().unwrap();
    let title = format!("list of {LISTED} pods, one stopped while it starts, one killed half-way");
    let mut report = report(&title, "ms", "rkt list");
    for (name, words) in [
        ("rkt list", &["list"][..]),
        ("rkt list --format=json", &["list", "--format=json"]),
    ] {
        let samples = (0..rounds).map(|_| time(rkt(&host, words))).collect();
        report.rows.push(row(name, samples, ""));
    }
    let pid = Pid::from_raw(i32::try_from(wedged.id()).unwrap());
    kill(pid, Signal::SIGCONT).unwrap();
    end(wedged);
    podman.measure(
        &mut report,
        "podman ps --all",
        &format!("{PEERS} containers"),
        |podman| {
            for _ in 0..PEERS {
                podman.command(&["create", podman.image, "true"])?;
            }
            Ok((0..rounds)
                .map(|_| time(podman.words(&["ps", "--all"])))
                .collect())
        },
    );
    stop_all(&host);
    vec![report]
}

/// As early as it can be caught.
fn stopped_while_it_starts(host: &Host) -> Child {
    let places = ["embryo", "prepare"].map(|place| host.data().join("pods").join(place));
    let child = rkt(host, &["run", "--net=none", IMAGE])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_millis(200);
    while places.iter().all(|place| leaks::names(place).is_empty()) && Instant::now() < until {}
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGSTOP,
    )
    .unwrap();
    child
}

fn end(mut child: Child) {
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    thread::sleep(Duration::from_millis(200));
    let _ended = child.kill();
    child.wait().unwrap();
}

fn stop_all(host: &Host) {
    let running: Vec<String> = host
        .rkt(["list", "--format=json"])
        .run()
        .ok()
        .json()
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["state"] == "running")
        .filter_map(|pod| pod["name"].as_str().map(str::to_owned))
        .collect();
    for uuids in running.chunks(50) {
        host.rkt(["stop", "--force"]).args(uuids).run().ok();
    }
}

fn collect(rounds: usize) -> Vec<Report> {
    let host = host();
    let mut report = report(&format!("gc of {COLLECTED} exited pods"), "ms", "");
    let samples = (0..rounds)
        .map(|_| {
            exited_pods(&host, COLLECTED);
            time(rkt(&host, &["gc", "--grace-period=0s"]))
        })
        .collect();
    report
        .rows
        .push(row("rkt gc --grace-period=0s", samples, ""));
    vec![report]
}

fn at_once(rounds: usize, podman: &Podman) -> Vec<Report> {
    let host = host();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let used = cores.min(AT_ONCE);
    let title = format!("{AT_ONCE} starts at once: time of one on each of {used} cores");
    let mut report = report(&title, "ms", "rkt: one alone");
    let words = ["run", "--net=none", IMAGE, "--exec=/bin/true"];
    let alone = (0..rounds * 4).map(|_| time(rkt(&host, &words))).collect();
    report.rows.push(row("rkt: one alone", alone, ""));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = used as f64 / AT_ONCE as f64;
    let together = |make: &dyn Fn() -> Command| {
        let start = Instant::now();
        let children: Vec<Child> = (0..AT_ONCE)
            .map(|_| {
                make()
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        milliseconds(start.elapsed()) * share
    };
    let samples = (0..rounds)
        .map(|_| together(&|| rkt(&host, &words)))
        .collect();
    report.rows.push(row("rkt: each of them", samples, ""));
    podman.measure(&mut report, "podman: each of them", "", |podman| {
        let words = ["run", "--rm", "--net=none", podman.image, "true"];
        podman.command(&words)?;
        Ok(vec![together(&|| podman.words(&words))])
    });
    vec![report]
}

fn enter(rounds: usize, podman: &Podman) -> Vec<Report> {
    let host = host();
    let mut report = report("a program in a pod that runs: true", "ms", "rkt enter");
    let words = ["run", "--detach", "--net=none", IMAGE];
    host.plain_rkt(words).run().ok();
    let uuid = host.rkt(["list", "--format=json"]).run().ok().json()[0]["name"].clone();
    let words = ["enter", uuid.as_str().unwrap_or_default(), "/bin/true"];
    let samples = (0..rounds).map(|_| time(rkt(&host, &words))).collect();
    report.rows.push(row("rkt enter", samples, ""));
    stop_all(&host);
    podman.measure(&mut report, "podman exec", "", |podman| {
        let start = ["run", "--detach", "--net=none", "--name=idle", podman.image];
        podman.command(&[&start[..], &["sleep", "1000"]].concat())?;
        Ok((0..rounds)
            .map(|_| time(podman.words(&["exec", "idle", "true"])))
            .collect())
    });
    if let Err(missing) = crun_exec(&mut report, rounds) {
        report.missing.push(missing);
    }
    vec![report]
}

/// The container that [`crun_exec`] enters.
const CRUN: &str = "rkt-bench-exec";

/// Adds the row of `crun exec`, or comes back with why there is none.
fn crun_exec(report: &mut Report, rounds: usize) -> Result<(), (String, String)> {
    let (host, arena) = (Host::new(), Arena::new());
    Rootfs::busybox().unpack(&host.path().join("bundle/rootfs"));
    let way = |kind: &str, change: fn(&mut Value)| {
        let bundle = start::bundle(&host, "crun", kind, |config| {
            change(config);
            config["process"]["args"] = json!(["/bin/sleep", "1000"]);
        });
        let words = ["crun", "run", "--detach", "--bundle"].map(OsString::from);
        let words = words.into_iter().chain([bundle.unwrap_or_default()]);
        Contender::new("crun exec", words.chain([CRUN.into()]))
    };
    let running = arena.first_that_works(vec![
        way("crun", |_| {}),
        way("crun-plain", start::no_rlimits_no_resources)
            .with_plain_cgroup2()
            .note("on a plain cgroup2, without rlimits and device rules"),
    ])?;
    let words = |words: &[&str]| Contender {
        words: words.iter().map(Into::into).collect(),
        ..running.clone()
    };
    let exec = words(&["crun", "exec", CRUN, "/bin/true"]);
    interleave(&arena, report, vec![exec], rounds, || {});
    // It goes with the benchmark at the latest.
    let _gone = arena.time(&words(&["crun", "delete", "--force", CRUN]));
    Ok(())
}

fn idle(podman: &Podman) -> Vec<Report> {
    let host = host();
    let mut starts = report(
        &format!("start of a pod beside others that idle, of {IDLE} (run --detach)"),
        "ms",
        "rkt: the first 20",
    );
    let words = ["run", "--detach", "--net=none", IMAGE];
    let start = || time(rkt(&host, &words));
    let floor = floor_program(&host);
    // Each beside the other, so that what grows can be told from what the
    // kernel lets grow.
    let pairs = || -> (Vec<f64>, Vec<f64>) {
        let bare = || floor.as_ref().map_or(0.0, |floor| time(floor()));
        (0..AT_EACH_END).map(|_| (start(), bare())).unzip()
    };
    let (first, bare_first) = pairs();
    for _ in 2 * AT_EACH_END..IDLE {
        start();
    }
    let (last, bare_last) = pairs();
    starts.rows.push(row("rkt: the first 20", first, ""));
    starts.rows.push(row("rkt: the last 20", last, ""));
    match &floor {
        Ok(_) => {
            let note = "bare system calls, to the end";
            starts
                .rows
                .push(row("floor: beside the first", bare_first, note));
            starts
                .rows
                .push(row("floor: beside all others", bare_last, note));
        }
        Err(why) => starts.missing.push(("floor".into(), why.clone())),
    }
    // The engine gives memory back when its pod has become idle.
    thread::sleep(Duration::from_secs(2));
    let mut weight = report(
        "memory of the processes that watch over an idle pod, PSS",
        "KiB",
        "",
    );
    let engine = host.processes();
    let total: f64 = engine.iter().map(|(pid, _)| memory::pss(*pid)).sum();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let each = total / IDLE as f64;
    let note = format!("{} processes of {IDLE} pods", engine.len());
    weight
        .rows
        .push(row("rkt: supervisor and init", vec![each], &note));
    stop_all(&host);
    podman.measure(
        &mut weight,
        "podman: conmon",
        &format!("of {PEERS} containers"),
        |podman| {
            for _ in 0..PEERS {
                podman.command(&[
                    "run",
                    "--detach",
                    "--net=none",
                    podman.image,
                    "sleep",
                    "1000",
                ])?;
            }
            let watchers = processes_named("conmon");
            let total: f64 = watchers.iter().map(|pid| memory::pss(*pid)).sum();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let each = total / PEERS as f64;
            Ok(vec![each])
        },
    );
    vec![starts, weight]
}

/// A command of the bare system calls of one pod.
fn floor_program(host: &Host) -> Result<impl Fn() -> Command, String> {
    let program = floor::program()?;
    let (rootfs, scratch) = (
        host.path().join("floor/root"),
        host.path().join("floor/scratch"),
    );
    Rootfs::busybox().unpack(&rootfs);
    fs::create_dir(&scratch).map_err(|e| e.to_string())?;
    Ok(move || {
        let mut command = Command::new(&program);
        command.arg(&rootfs).arg(&scratch).arg("/bin/true");
        command
    })
}

fn processes_named(name: &str) -> Vec<i32> {
    let pids = leaks::names("/proc".as_ref());
    pids.iter()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid: &i32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim() == name
        })
        .collect()
}

/// podman with a store of its own, if it works here.
struct Podman {
    dir: tempfile::TempDir,
    image: &'static str,
    runtime: &'static str,
    broken: Option<String>,
}

impl Podman {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut podman = Self {
            dir,
            image: "localhost/bench:1",
            runtime: "crun",
            broken: None,
        };
        podman.broken = podman.import().err();
        if podman.broken.is_some() {
            podman.runtime = "runc";
            podman.broken = podman.import().err();
        }
        podman
    }

    fn import(&self) -> Result<(), String> {
        let conf = "[containers]\ndefault_ulimits=[]\n";
        fs::write(self.dir.path().join("containers.conf"), conf).unwrap();
        let tar = self.dir.path().join("rootfs.tar");
        fs::write(&tar, tests::Rootfs::busybox().tar("")).unwrap();
        let tar = tar.to_string_lossy().into_owned();
        self.command(&["import", &tar, self.image])?;
        self.command(&["run", "--rm", "--net=none", self.image, "true"])
    }

    fn words(&self, words: &[&str]) -> Command {
        let path = |name: &str| -> PathBuf { self.dir.path().join(name) };
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", path("containers.conf"))
            .arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"))
            .arg(format!("--runtime={}", self.runtime))
            .args(["--cgroup-manager=cgroupfs", "--events-backend=none"])
            .arg(words[0]);
        if matches!(words[0], "run" | "create") {
            // Raising limits is not allowed everywhere, and costs nothing.
            command.arg("--ulimit=host");
        }
        command.args(&words[1..]);
        command
    }

    fn command(&self, words: &[&str]) -> Result<(), String> {
        let output = self.words(words).output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("no message").to_owned())
    }

    /// Adds a row, or why there is none; leaves no container behind.
    fn measure(
        &self,
        report: &mut Report,
        name: &str,
        note: &str,
        measure: impl FnOnce(&Self) -> Result<Vec<f64>, String>,
    ) {
        let samples = match &self.broken {
            Some(why) => Err(why.clone()),
            None => measure(self),
        };
        match samples {
            Ok(samples) => report.rows.push(row(name, samples, note)),
            Err(why) => report.missing.push((name.into(), why)),
        }
        let _cleaned = self.command(&["rm", "--all", "--force", "--time=0"]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Nothing to reset where it never worked.
        let _cleaned = self.command(&["system", "reset", "--force"]);
    }
}
