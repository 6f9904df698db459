//! A command that is measured, and the place it is measured in.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::report::{Report, Row};

/// A command line with what it needs around it.
#[derive(Clone)]
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    /// How it differs from the plain way of running it.
    pub(crate) note: String,
    /// Program and arguments.
    pub(crate) words: Vec<OsString>,
    /// Added to an otherwise empty environment.
    pub(crate) env: Vec<(String, OsString)>,
    /// Run where `/sys/fs/cgroup` is a plain cgroup2.
    pub(crate) plain_cgroup2: bool,
}

impl Contender {
    /// `name` runs `words`.
    pub(crate) fn new<S: Into<OsString>>(name: &str, words: impl IntoIterator<Item = S>) -> Self {
        Self {
            name: name.into(),
            note: String::new(),
            words: words.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            plain_cgroup2: false,
        }
    }

    /// Says how it differs.
    pub(crate) fn note(mut self, note: &str) -> Self {
        self.note = note.into();
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Runs it in the mount namespace with a plain cgroup2.
    pub(crate) fn with_plain_cgroup2(mut self) -> Self {
        self.plain_cgroup2 = true;
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

/// A thread that runs commands and times them from before the fork to after
/// the wait.
struct Worker {
    ask: Sender<Command>,
    answer: Receiver<Result<Duration, String>>,
}

impl Worker {
    /// `prepare` runs once on the new thread.
    fn start(prepare: impl FnOnce() -> nix::Result<()> + Send + 'static) -> Self {
        let (ask, asked) = channel::<Command>();
        let (reply, answer) = channel();
        thread::spawn(move || {
            let ready = prepare().map_err(|e| format!("cannot set up its namespace: {e}"));
            for command in asked {
                let result = ready.clone().and_then(|()| time(command));
                if reply.send(result).is_err() {
                    break;
                }
            }
        });
        Self { ask, answer }
    }

    fn run(&self, command: Command) -> Result<Duration, String> {
        self.ask.send(command).map_err(|e| e.to_string())?;
        self.answer.recv().map_err(|e| e.to_string())?
    }
}

fn time(mut command: Command) -> Result<Duration, String> {
    // To a file, not a pipe: reading a pipe would be part of the measurement.
    let errors = tempfile::tempfile().map_err(|e| e.to_string())?;
    command.stderr(errors.try_clone().map_err(|e| e.to_string())?);
    let start = Instant::now();
    let status = command.status().map_err(|e| e.to_string())?;
    let took = start.elapsed();
    if status.success() {
        return Ok(took);
    }
    let mut text = String::new();
    let mut errors = errors;
    let _ = std::io::Seek::rewind(&mut errors);
    let _ = std::io::Read::read_to_string(&mut errors, &mut text);
    let line = text
        .lines()
        .last()
        .unwrap_or("no message")
        .trim()
        .to_owned();
    Err(format!("{status}: {line}"))
}

/// KiB that the largest process of the command has had resident at once.
/// Looked at all the time, so it is not for what is timed as well.
pub(crate) fn peak_memory(contender: &Contender) -> Result<f64, String> {
    let mut child = contender
        .command()
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let root = i32::try_from(child.id()).map_err(|e| e.to_string())?;
    let mut peak = 0.0_f64;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return match status.success() {
                true => Ok(peak),
                false => Err(status.to_string()),
            };
        }
        peak = peak.max(largest_below(root));
        thread::sleep(Duration::from_millis(2));
    }
}

/// The high-water mark of a process, or of one below it; none if it is gone.
fn largest_below(pid: i32) -> f64 {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let own = read("status").ok().and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    let children = read(&format!("task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|c| c.parse().ok());
    below.map(largest_below).fold(own.unwrap_or(0.0), f64::max)
}

/// Where contenders run.
pub(crate) struct Arena {
    host: Worker,
    plain_cgroup2: Worker,
}

impl Arena {
    /// Two places: the host as it is, and one with a plain cgroup2.
    pub(crate) fn new() -> Self {
        Self {
            host: Worker::start(|| Ok(())),
            plain_cgroup2: Worker::start(|| {
                // Of this thread alone; the mounts go with it.
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
                let none: Option<&str> = None;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH)?;
                mount(
                    Some("cgroup2"),
                    "/sys/fs/cgroup",
                    Some("cgroup2"),
                    MsFlags::empty(),
                    none,
                )
            }),
        }
    }

    /// Runs it once.
    pub(crate) fn time(&self, contender: &Contender) -> Result<Duration, String> {
        let worker = if contender.plain_cgroup2 {
            &self.plain_cgroup2
        } else {
            &self.host
        };
        worker.run(contender.command())
    }

    /// The first of several ways to run one contender that works here; the
    /// error is the plain (first) way's.
    pub(crate) fn first_that_works(
        &self,
        ways: Vec<Contender>,
    ) -> Result<Contender, (String, String)> {
        let mut why = None;
        for way in ways {
            match self.time(&way) {
                Ok(_) => return Ok(way),
                Err(e) => why = why.or(Some((way.name, e))),
            }
        }
        Err(why.unwrap_or_default())
    }
}

/// Waits until nothing else runs on this machine, and not for ever where
/// something always does. What a contender leaves behind for others to take
/// away, a network namespace for the kernel, a container for podman's helper,
/// is not the next contender's.
fn settle() {
    let until = Instant::now() + Duration::from_millis(500);
    let mut quiet = 0;
    while quiet < 5 && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
        quiet = if is_alone() { quiet + 1 } else { 0 };
    }
}

/// Whether no task but this one is running or wants to, by proc_stat(5).
fn is_alone() -> bool {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("procs_running ")) == Some("1")
}

/// Runs every contender once per round, `between` after each round, and fills
/// the report with milliseconds.
pub(crate) fn interleave(
    arena: &Arena,
    report: &mut Report,
    contenders: Vec<Contender>,
    rounds: usize,
    mut between: impl FnMut(),
) {
    let mut rows: Vec<(Contender, Vec<f64>, Option<String>)> = contenders
        .into_iter()
        .map(|c| (c, Vec::new(), None))
        .collect();
    for round in 0..=rounds {
        for (contender, samples, failed) in &mut rows {
            if failed.is_some() {
                continue;
            }
            settle();
            match arena.time(contender) {
                // The first round warms caches and is not counted.
                Ok(_) if round == 0 => {}
                Ok(took) => samples.push(took.as_secs_f64() * 1e3),
                Err(e) => *failed = Some(e),
            }
        }
        between();
    }
    for (contender, samples, failed) in rows {
        match failed {
            Some(why) => report.missing.push((contender.name, why)),
            None => report.rows.push(Row {
                name: contender.name,
                samples,
                note: contender.note,
            }),
        }
    }
}
