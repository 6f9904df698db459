//! Many commands at once on one data directory, some killed half-way, and then
//! the books are checked.
//!
//! `RKT_TEST_CHAOS_SECONDS=600 cargo nextest run -p tests --test chaos` is a long
//! campaign; `RKT_TEST_CHAOS_SEED=N` repeats the choices of one that failed.
#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; the panic is the message"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::cmd::eventually;
use tests::{Aci, Host, Running, leaks};

/// Commands under way at one moment.
const AT_ONCE: usize = 6;

/// What a command that was not killed may say when another was faster.
const FASTER: [&str; 21] = [
    "is not running",
    "is not prepared",
    "is still starting",
    "was not present",
    "no matches found",
    "in use by another command",
    "cannot transition to run",
    "currently running",
    "currently being",
    "did not start",
    "is not exited",
    "keeps no logs",
    "is damaged: file \"pod\": it is missing",
    "gc: pod",
    "isn't currently running",
    "immutable",
    "nonexistent app",
    "multiple apps with name",
    "not yet ready",
    "has no app",
    "its pod is being stopped",
];

/// xorshift64*: the same seed makes the same choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.below(all.len())])
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

struct Chaos {
    host: Host,
    dice: Dice,
    under_way: Vec<(String, Running, bool)>,
    /// Pods that nobody is told to touch: they must live to the end.
    sacred: Vec<String>,
    commands: u32,
    kills: u32,
}

impl Chaos {
    fn pods(&self, place: &str) -> Vec<String> {
        let names = leaks::names(&self.host.data().join("pods").join(place));
        names
            .into_iter()
            .filter(|uuid| !self.sacred.contains(uuid))
            .collect()
    }

    fn step(&mut self) {
        let (prepared, run) = (self.pods("prepared"), self.pods("run"));
        let some = self.dice.one_of(&run).cloned();
        let waiting = self.dice.one_of(&prepared).cloned();
        let script = [
            "sleep 1000",
            "true",
            "exit 3",
            "sleep 0.2",
            "echo x; sleep 0.5",
        ];
        let script = script[self.dice.below(script.len())];
        let image = ["example.com/sh", "--", script];
        let words: Vec<&str> = match (self.dice.below(19), &some, &waiting) {
            (0 | 1, ..) => [&["run", "--detach", "--net=none"], &image[..]].concat(),
            (2, ..) => [
                &["run", "--net=none"],
                &["example.com/sh", "--", "sleep 0.1"][..],
            ]
            .concat(),
            (3, ..) => [&["prepare", "--quiet"], &image[..]].concat(),
            (4, _, Some(uuid)) => vec!["run-prepared", "--detach", "--net=none", uuid],
            (5, Some(uuid), _) => vec!["stop", uuid],
            (6, Some(uuid), _) => vec!["stop", "--force", uuid],
            (7, Some(uuid), _) => vec!["rm", uuid],
            (8, Some(uuid), _) => vec!["rm", "--force", uuid],
            (8, _, Some(uuid)) => vec!["rm", uuid],
            (9, ..) => vec!["gc", "--grace-period=0s", "--expire-prepared=1s"],
            (10, ..) => vec!["list", "--format=json"],
            (11, Some(uuid), _) => vec!["status", uuid],
            (12, Some(uuid), _) => vec!["logs", uuid],
            (13, Some(uuid), _) => {
                let file = if self.dice.below(2) == 0 {
                    "ppid"
                } else {
                    "pid"
                };
                if let Some(pid) = process(&self.host.data().join("pods/run").join(uuid).join(file))
                {
                    let _gone = kill(pid, Signal::SIGKILL);
                    self.kills += 1;
                }
                return;
            }
            (14, ..) => vec!["app", "sandbox", "--detach", "--net=none"],
            (15, Some(uuid), _) => [&["app", "add", uuid], &image[..]].concat(),
            (16, Some(uuid), _) => vec!["app", "start", uuid, "--app=sh"],
            (17, Some(uuid), _) => vec!["app", "rm", uuid, "--app=sh"],
            (18, Some(uuid), _) => vec!["enter", "--app=sh", uuid, "sleep", "0.1"],
            _ => vec!["gc", "--mark-only"],
        };
        let command = self.host.rkt(&words);
        self.under_way
            .push((words.join(" "), command.spawn(), false));
        self.commands += 1;
    }

    fn harvest(&mut self) {
        let mut going = Vec::new();
        for (line, mut running, killed) in std::mem::take(&mut self.under_way) {
            if running.is_running() {
                going.push((line, running, killed));
                continue;
            }
            let out = running.wait();
            if killed || matches!(out.code(), Some(0 | 3 | 9 | 137)) {
                continue;
            }
            // The last line counts the failures that the lines before it tell.
            let excused = out.stderr.lines().all(|line| {
                FASTER.iter().any(|word| line.contains(word)) || line.contains("failed to ")
            });
            assert!(excused, "{line} failed for no good reason: {out}");
        }
        self.under_way = going;
    }
}

/// The process that a pod's file names, if it is still that one and more than
/// a number that nobody has asked for yet.
fn process(file: &Path) -> Option<Pid> {
    let named: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let pid = named["pid"].as_i64()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let started: u64 = fields.nth(18)?.parse().ok()?;
    (named["startTime"].as_u64() == Some(started)).then(|| Pid::from_raw(pid as i32))
}

fn processes_in(cgroups: &Path) -> usize {
    let listed = fs::read_to_string(cgroups).unwrap_or_default();
    let count = |dir: &str| {
        let mut todo = vec![PathBuf::from(dir)];
        let mut count = 0;
        while let Some(dir) = todo.pop() {
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            count += procs.lines().count();
            todo.extend(
                leaks::names(&dir)
                    .iter()
                    .map(|n| dir.join(n))
                    .filter(|p| p.is_dir()),
            );
        }
        count
    };
    listed.lines().map(count).sum()
}

#[test]
fn many_commands_some_killed_keep_the_books() {
    let seed = number("RKT_TEST_CHAOS_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64 | 1
    });
    eprintln!("RKT_TEST_CHAOS_SEED={seed}");
    let seconds = number("RKT_TEST_CHAOS_SECONDS").unwrap_or(20);
    let host = Host::new();
    host.fetch_aci(&Aci::busybox("example.com/sh", &["/bin/sh", "-c"]));
    let detach = |script| {
        let words = [
            "run",
            "--detach",
            "--net=none",
            "example.com/sh",
            "--",
            script,
        ];
        host.rkt(words).run().ok().text().to_owned()
    };
    let sacred = vec![
        detach("sleep 100000"),
        detach("while :; do echo alive; sleep 0.1; done"),
    ];
    let mut chaos = Chaos {
        host,
        dice: Dice(seed),
        under_way: Vec::new(),
        sacred,
        commands: 0,
        kills: 0,
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        chaos.harvest();
        if chaos.under_way.len() < AT_ONCE {
            chaos.step();
        }
        if chaos.dice.below(6) == 0 && !chaos.under_way.is_empty() {
            let index = chaos.dice.below(chaos.under_way.len());
            let (_, running, killed) = &mut chaos.under_way[index];
            // A run in the foreground is its pod's supervisor by now, or not yet.
            running.signal(Signal::SIGKILL);
            *killed = true;
            chaos.kills += 1;
        }
        std::thread::sleep(Duration::from_millis(chaos.dice.below(20) as u64));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !chaos.under_way.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} never ended",
            chaos.under_way[0].0
        );
        chaos.harvest();
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{} commands, {} kills", chaos.commands, chaos.kills);
    assert!(
        chaos.commands as u64 > seconds,
        "the machine is too slow for this test"
    );
    check(&chaos);
    for uuid in leaks::names(&chaos.host.data().join("pods/run")) {
        chaos.host.rkt(["stop", "--force", &uuid]).run().ok();
    }
    // What is left then is checked when the host goes out of scope.
}

/// No pod is lost and none is in a wrong state.
fn check(chaos: &Chaos) {
    let host = &chaos.host;
    let listed = host.rkt(["list", "--format=json"]).run().ok().json();
    let listed = listed.as_array().unwrap();
    let uuids: Vec<&str> = listed
        .iter()
        .map(|pod| pod["name"].as_str().unwrap())
        .collect();
    for place in ["prepare", "prepared", "run", "exited-garbage"] {
        for uuid in leaks::names(&host.data().join("pods").join(place)) {
            assert!(
                uuids.contains(&uuid.as_str()),
                "{uuid} in {place} is not listed"
            );
        }
    }
    for pod in listed {
        let (uuid, state) = (
            pod["name"].as_str().unwrap(),
            pod["state"].as_str().unwrap(),
        );
        let dir = host.data().join("pods/run").join(uuid);
        match state {
            "running" => {
                assert!(process(&dir.join("ppid")).is_some(), "no supervisor: {pod}");
                assert!(process(&dir.join("pid")).is_some(), "no init: {pod}");
            }
            "exited" => {
                // The lock is free a little before the process is gone.
                eventually(&format!("the end of the processes of {pod}"), || {
                    process(&dir.join("ppid")).is_none()
                        && process(&dir.join("pid")).is_none()
                        && processes_in(&dir.join("cgroup")) == 0
                });
            }
            "prepared" | "aborted prepare" | "exited garbage" => {}
            other => panic!("a pod is {other} though nobody works on it: {pod}"),
        }
    }
    for uuid in &chaos.sacred {
        assert_eq!(
            host.state(uuid),
            "running",
            "nobody was told to touch {uuid}"
        );
    }
    let last = host.rkt(["logs", "--lines=1", &chaos.sacred[1]]).run().ok();
    assert_eq!(last.text(), "alive");
}
