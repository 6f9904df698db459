//! Running a program with a deadline and keeping all it said.
//!
//! Every wait here has an end: a command that hangs is killed and the test
//! fails with what the command had printed until then.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a command may take before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Program names that tests use and that live outside a user's PATH.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command about to be run, with an empty environment but for PATH, HOME and
/// the locale.
pub struct Cmd {
    words: Vec<OsString>,
    command: Command,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
}

impl Cmd {
    /// Runs `program` (a path, or a name looked up in the system's PATH).
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8");
        Self {
            words: vec![program.to_owned()],
            command,
            stdin: None,
            deadline: DEADLINE,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Becomes this user and group, without supplementary groups.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.command.uid(uid).gid(gid);
        self
    }

    /// Feeds these bytes, then end of file. Without it standard input is empty.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Changes how long the command may take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The command line, for messages.
    pub fn line(&self) -> String {
        self.words
            .iter()
            .map(|w| w.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The standard library's command, for callers that place the descriptors
    /// themselves.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it with its output captured.
    pub fn spawn(mut self) -> Running {
        let line = self.line();
        self.command
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start `{line}`: {e}"));
        if let (Some(bytes), Some(mut pipe)) = (self.stdin.take(), child.stdin.take()) {
            // A program that stops reading early is no failure of the test.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Running {
            stdout: Collector::new(child.stdout.take().unwrap()),
            stderr: Collector::new(child.stderr.take().unwrap()),
            child,
            line,
            deadline: self.deadline,
            over: false,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

/// Reads a pipe on a thread, so that a full pipe never blocks the program.
struct Collector {
    chunks: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Collector {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let (send, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 16384];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                if send.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            chunks,
            seen: Vec::new(),
        }
    }

    fn now(&mut self) -> &[u8] {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.seen.extend(chunk);
        }
        &self.seen
    }

    /// Everything up to end of file; `false` if somebody still holds the pipe.
    fn end(&mut self, until: Instant) -> bool {
        loop {
            match self
                .chunks
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(chunk) => self.seen.extend(chunk),
                Err(mpsc::RecvTimeoutError::Disconnected) => return true,
                Err(mpsc::RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// A command under way; killed when dropped.
pub struct Running {
    child: Child,
    line: String,
    stdout: Collector,
    stderr: Collector,
    deadline: Duration,
    over: bool,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal; the process may be gone already.
    pub fn signal(&self, signal: Signal) {
        // The child is not reaped before wait(), so the id cannot be another's.
        let _ = kill(self.pid(), signal);
    }

    /// Standard output so far.
    pub fn stdout(&mut self) -> String {
        String::from_utf8_lossy(self.stdout.now()).into_owned()
    }

    /// Standard error so far.
    pub fn stderr(&mut self) -> String {
        String::from_utf8_lossy(self.stderr.now()).into_owned()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until standard output contains `text`.
    pub fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + self.deadline;
        while !self.stdout().contains(text) {
            let alive = self.is_running();
            if self.stdout().contains(text) {
                return;
            }
            if !alive || Instant::now() > until {
                let said = self.transcript();
                panic!("`{}` did not print {text:?}; {said}", self.line);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn transcript(&mut self) -> String {
        format!(
            "it printed:\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout(),
            self.stderr()
        )
    }

    /// Waits for its end and the end of its output.
    pub fn wait(mut self) -> Output {
        let until = Instant::now() + self.deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let said = self.transcript();
                panic!(
                    "`{}` still runs after {:?}; {said}",
                    self.line, self.deadline
                );
            }
            thread::sleep(Duration::from_millis(1));
        };
        self.over = true;
        let until = until.max(Instant::now() + Duration::from_secs(2));
        let closed = self.stdout.end(until) && self.stderr.end(until);
        let output = Output {
            line: self.line.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        };
        assert!(
            closed,
            "{output}\nended, but a process that it left behind holds its output"
        );
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            // Told to stop first, so that a pod is taken down with its supervisor.
            self.signal(Signal::SIGTERM);
            let until = Instant::now() + Duration::from_secs(3);
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command said and how it ended.
pub struct Output {
    line: String,
    status: ExitStatus,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl Output {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The number of the signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// It must have ended with status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code_is(0)
    }

    /// It must have ended with this status.
    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// It must have failed with `code`, and standard error must be one line
    /// that starts with `prefix: ` and contains every one of `words`; before it
    /// may stand the steps of a fetch that were finished.
    #[track_caller]
    pub fn fails(self, code: i32, prefix: &str, words: &[&str]) -> Self {
        let out = self.code_is(code);
        let is_step = |line: &&str| {
            let rest = line.strip_prefix(prefix).unwrap_or_default();
            rest.starts_with(": layer ") && (rest.contains(" in ") || rest.ends_with("already"))
        };
        let lines: Vec<&str> = out.stderr.lines().skip_while(is_step).collect();
        assert_eq!(lines.len(), 1, "one line on stderr is wanted: {out}");
        assert!(
            lines[0].starts_with(&format!("{prefix}: ")),
            "wanted the prefix {prefix:?}: {out}"
        );
        for word in words {
            assert!(
                lines[0].to_lowercase().contains(&word.to_lowercase()),
                "the message does not say {word:?}: {out}"
            );
        }
        out
    }

    /// Standard output must be exactly this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "{self}");
        self
    }

    /// Standard output without white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// The last line of standard output.
    #[track_caller]
    pub fn last_line(&self) -> &str {
        self.stdout
            .lines()
            .last()
            .unwrap_or_else(|| panic!("nothing on stdout: {self}"))
    }

    /// Standard output, read as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\n$ {}\n[{}]\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.status, self.stdout, self.stderr
        )
    }
}

/// Writes a program that can be executed.
pub fn write_program(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Polls until `done` holds; fails after [`DEADLINE`] saying what was awaited.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
