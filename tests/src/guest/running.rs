//! A guest under way, and what it leaves.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::nspawn::Cgroups;
use crate::cmd;

/// Longest that boot and power-off together may take, emulated on a busy machine.
pub(super) const BOOT: Duration = Duration::from_secs(90);

/// Where the results of a run come from once the guest has ended.
pub(super) enum Results {
    /// A directory that the guest wrote into.
    Directory(PathBuf),
    /// A tar on a raw disk, unpacked into the directory.
    Disk { tar: PathBuf, into: PathBuf },
}

/// A started guest; killed when dropped.
pub struct Running {
    // In this order: the process ends, then what it was in goes.
    process: Option<cmd::Running>,
    pub(super) cgroups: Option<Cgroups>,
    dir: TempDir,
    results: Results,
    pub(super) marks: PathBuf,
    console: PathBuf,
    until: Instant,
    started: Instant,
}

impl Running {
    pub(super) fn new(
        process: cmd::Running,
        dir: TempDir,
        results: Results,
        script: Duration,
    ) -> Self {
        let started = Instant::now();
        Self {
            process: Some(process),
            cgroups: None,
            marks: dir.path().join("marks"),
            console: dir.path().join("console"),
            dir,
            results,
            until: started + BOOT + script,
            started,
        }
    }

    /// Waits until the script calls `mark WORD` with this word, or `BOOTED`,
    /// which the guest itself says before the script begins.
    ///
    /// # Panics
    /// When the guest ends or its time is up before.
    #[track_caller]
    pub fn wait_for_mark(&mut self, word: &str) {
        self.wait_for_one_of(&[word]);
    }

    /// Waits for the first of these marks and gives it; panics as
    /// [`Running::wait_for_mark`].
    #[track_caller]
    pub fn wait_for_one_of(&mut self, words: &[&str]) -> String {
        loop {
            let alive = self.is_running();
            let marks = self.marks();
            if let Some(mark) = marks.into_iter().find(|m| words.contains(&m.as_str())) {
                return mark;
            }
            if !alive || Instant::now() > self.until {
                panic!("the guest did not come to {words:?}; {}", self.transcript());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where this run's files are on the host; its cgroups have the same name.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// All marks so far.
    pub fn marks(&self) -> Vec<String> {
        String::from_utf8_lossy(&fs::read(&self.marks).unwrap_or_default())
            .lines()
            .map(|l| l.trim_end().to_owned())
            .collect()
    }

    /// Whether the guest has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(cmd::Running::is_running)
    }

    /// Pulls the plug: nothing in the guest gets to do anything any more. What
    /// it had not flushed to its [`super::Disk`] is lost.
    ///
    /// # Panics
    /// When the guest had already ended, as then nothing was cut.
    #[track_caller]
    pub fn cut(mut self) {
        assert!(
            self.is_running() && !self.marks().iter().any(|m| m == "DONE"),
            "the guest ended before the power was cut; {}",
            self.transcript()
        );
        self.kill();
    }

    /// Waits for the script's end and the power-off.
    ///
    /// # Panics
    /// When the guest does not get there in time, with all that it said.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        while self.is_running() {
            if Instant::now() > self.until {
                let said = self.transcript();
                self.kill();
                panic!(
                    "the guest still runs after {:?}; {said}",
                    self.started.elapsed()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
        let process = self.process.take().expect("only cut() and this take it");
        let ended = process.wait();
        let out = self.collect();
        let read =
            |name: &str| fs::read(out.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned());
        let Some(status) = read("status").ok().and_then(|s| s.trim().parse().ok()) else {
            panic!(
                "the guest powered off before its script was done: {ended}\n{}",
                self.transcript()
            );
        };
        Output {
            status,
            stdout: read("stdout").unwrap_or_default(),
            stderr: read("stderr").unwrap_or_default(),
            files: out.join("files"),
            took: self.started.elapsed(),
            marks: self.marks(),
            console: self.console(),
            _dir: self.dir,
        }
    }

    fn collect(&self) -> PathBuf {
        match &self.results {
            Results::Directory(out) => out.clone(),
            Results::Disk { tar, into } => {
                fs::create_dir_all(into).unwrap();
                // A guest that did not come to its end wrote no tar.
                let _ = cmd::Cmd::new("tar")
                    .arg("-xf")
                    .arg(tar)
                    .arg("-C")
                    .arg(into)
                    .run();
                into.clone()
            }
        }
    }

    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::SIGKILL);
            process.wait();
        }
    }

    fn console(&self) -> String {
        tail(&fs::read(&self.console).unwrap_or_default())
    }

    fn transcript(&mut self) -> String {
        let engine = self
            .process
            .as_mut()
            .map_or_else(String::new, |p| p.stdout() + &p.stderr());
        format!(
            "marks: {:?}\n--- console\n{}\n--- engine\n{engine}",
            self.marks(),
            self.console()
        )
    }
}

/// The end of what a console said, without terminal control sequences.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(60);
    lines[last..]
        .iter()
        .map(|l| l.replace('\x1b', "") + "\n")
        .collect()
}

/// How a script ended and what it left.
pub struct Output {
    /// Exit status of the script; 124 when its deadline was over.
    pub status: i32,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    /// What the script wrote into its working directory.
    pub files: PathBuf,
    /// From the start to the end of the guest.
    pub took: Duration,
    marks: Vec<String>,
    console: String,
    _dir: TempDir,
}

impl Output {
    /// The script must have ended with status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self}");
        self
    }

    /// Standard output without the last newline.
    pub fn text(&self) -> &str {
        self.stdout.trim_end()
    }

    /// The value of the line `NAME=VALUE` that the script printed.
    #[track_caller]
    pub fn value(&self, name: &str) -> &str {
        self.stdout
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("no line {name}=…: {self}"))
    }

    /// A file that the script wrote into its working directory, as text.
    #[track_caller]
    pub fn file(&self, name: impl AsRef<Path>) -> String {
        let path = self.files.join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: {self}", path.display()))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the guest's script ended with {} after {:?}, marks {:?}\n--- stdout\n{}\n--- stderr\n{}\n--- console\n{}",
            self.status, self.took, self.marks, self.stdout, self.stderr, self.console
        )
    }
}
