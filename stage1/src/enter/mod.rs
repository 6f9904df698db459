//! A program beside an app that runs: `rkt enter` and `rkt app exec`.
//!
//!     rkt enter ──exec──▶ enter ──clone──▶ program
//!                        (host)            (in the app's everything)
//!
//! What goes in is a process of the app in every respect: its cgroups, its
//! namespaces, its user, its capabilities, its filter and its limits, and
//! nothing besides. The process that waits outside, and copies between the
//! caller's terminal and the program's, is in the app's namespaces too, but
//! not among the pod's processes, so no app sees it.
//!
//! Invariants: an app is a pidfd whose start time fits the pod's record, so a
//! recycled number is nobody; what the program may do is taken from what the
//! pod was started with and not from the app's process, which may have given
//! up or gained something since; a terminal's descriptor never goes in.

mod cgroups;
mod limits;

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use manifests::engine::{self, AppStatus, PID_FILE, Pod, STATUS_FILE, Users};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitOptions, pidfd_open, set_dumpable_behavior, waitpid,
};
use sys::process::{Fork, Namespaces, SingleThread};

use crate::error::{Error, Result};
use crate::idle::wait;
use crate::plan::{Capabilities, Process, ThisHost};
use crate::protection::{Protection, is_left_out};
use crate::stdio::{self, Stdio};
use crate::supervisor::relay::Relay;
use crate::supervisor::terminal::{self, RawTerminal};
use crate::wire::{self, End, Report};
use crate::{app, identity, init, record, rootfs, signals, users};
use cgroups::Place;

/// Signals that are passed on to the program.
const PASSED: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The namespaces that a program shares with its app and is born in. The cgroup
/// namespace is not among them: where it is a border (the mount option
/// `nsdelegate` of cgroups(7)), nobody gets into a cgroup from inside it who
/// is not below its root already. So the program is born in its cgroup, and
/// then enters the namespace.
const SHARED: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWNET);

/// The `TERM` of a program with a terminal when the caller has none.
const TERM: &str = "vt100";

/// Runs a program in an app of the pod whose directory is the working
/// directory. Returns its exit status; ends by the signal that ended it.
///
/// # Errors
/// [`Error`], when it cannot be run; [`Error::NotRunning`] for an app that
/// does not run.
pub fn run(name: &str, argv: Vec<OsString>) -> Result<i32> {
    sys::descriptors::inherit(&[]).map_err(Error::system("close", "the caller's descriptors"))?;
    let proof = SingleThread::prove().map_err(Error::system("count", "the engine's threads"))?;
    // Nobody in the pod may trace what is born there before it executes its
    // program.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::system("hide", "the entering process"))?;
    let app = Running::find(name)?;
    let with_terminal = stdio::caller_has_terminal();
    let (mut process, users) = process(name, argv, with_terminal, &app)?;
    let place = match is_left_out(Protection::EnterCgroups) {
        true => Place::default(),
        false => Place::of(app.pid, users.is_some())?,
    };
    let signals = signals::watch(&PASSED)?;
    let (wire, pod) = wire::pair().map_err(Error::system("make", "a socket pair"))?;
    let mut relay = Relay::default();
    let mut shared = SHARED;
    if users.is_some() {
        shared |= CloneFlags::CLONE_NEWUSER;
        // Inside nobody may write there; who waits out here has the same
        // weight then.
        weigh(&mut process)?;
    }
    let plain = match with_terminal {
        true => None,
        false => {
            let owner = stdio::owner(&process, users);
            Some(stdio::without_terminals(&mut relay, owner)?)
        }
    };
    // By its number, which is its own if it lives when we enter the others.
    let namespace = fs::File::open(format!("/proc/{}/ns/cgroup", app.pid));
    let namespace: OwnedFd = namespace.map_err(|e| gone(name, e))?.into();
    nix::sched::setns(&app.pidfd, shared).map_err(|e| gone(name, e.into()))?;
    let inner = match plain {
        Some(stdio) => Inner::Plain(stdio),
        // Only who is a user of the pod's can own one there.
        None if users.is_some() => Inner::OwnTerminal,
        None => {
            let (master, slave) = open_terminal()?;
            add_terminal(&mut relay, master)?;
            Inner::Terminal(slave)
        }
    };
    init::hide_environment(&proof);
    let forked = sys::process::fork(&proof, Namespaces::empty(), place.unified())
        .map_err(|e| gone(name, e))?;
    let (pid, program) = match forked {
        Fork::Parent(pid, program) => (pid, program),
        Fork::Child => {
            drop((wire, relay, signals, app));
            born(&process, users.is_some(), (place, namespace), &inner, &pod)
        }
    };
    drop(pod);
    let mut failure = None;
    if matches!(inner, Inner::OwnTerminal) {
        match wire::receive::<Report>(&wire) {
            Ok(Some(received)) => match (received.message, received.descriptors.into_iter().next())
            {
                (Report::Terminal { .. }, Some(master)) => add_terminal(&mut relay, master)?,
                (Report::Failed { text, .. }, _) => failure = Some(text),
                _ => {}
            },
            Ok(None) => {}
            Err(e) => return Err(Error::system("hear", "the program")(e)),
        }
    }
    drop((place, inner, app));
    let raw = with_terminal.then(RawTerminal::enter).transpose()?;
    let attended = attend(&mut relay, &signals, &program, pid);
    let end = match attended {
        Ok(()) => reap(pid),
        Err(error) => Err(error),
    };
    relay.finish();
    drop(raw);
    tell_failure(&wire, failure);
    match end? {
        End::Code(code) => Ok(code),
        End::Signal(signal) => mirror(signal),
    }
}

/// An app that runs.
struct Running {
    pid: i32,
    pidfd: OwnedFd,
    /// The pod's PID 1.
    init: i32,
}

impl Running {
    /// Takes hold of the app's main process, or of nobody.
    fn find(name: &str) -> Result<Self> {
        let not_running = || Error::NotRunning {
            app: name.to_owned(),
        };
        let file = Path::new("apps").join(name).join(STATUS_FILE);
        let status: AppStatus = match fs::read(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(not_running()),
            other => parse(
                "status",
                &other.map_err(Error::system("read", file.display()))?,
            )?,
        };
        let (Some(number), Some(start_time)) = (status.pid, status.start_time) else {
            return Err(not_running());
        };
        let pid = Pid::from_raw(number)
            .filter(|_| number > 0)
            .ok_or_else(not_running)?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Err(not_running()),
            other => other.map_err(Error::system("open process", number))?,
        };
        // The descriptor holds whoever has the number now; only the start
        // time tells whether that is still the one we mean.
        if record::start_time(number).ok() != Some(start_time) {
            return Err(not_running());
        }
        let text = fs::read(PID_FILE).map_err(Error::system("read", PID_FILE))?;
        let init: engine::Process = parse(PID_FILE, &text)?;
        Ok(Self {
            pid: number,
            pidfd,
            init: init.pid,
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(file: &'static str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| Error::Damaged { file, source })
}

/// What the app was started with: from the pod's file, or its own when it was
/// added later.
fn specification(name: &str) -> Result<(engine::App, Option<Users>)> {
    let text = fs::read(engine::FILE).map_err(Error::system("read", engine::FILE))?;
    let pod: Pod = parse(engine::FILE, &text)?;
    if let Some(app) = pod.apps.into_iter().find(|app| app.name == name) {
        return Ok((app, pod.users));
    }
    let path = Path::new("apps").join(name).join(engine::APP_FILE);
    let text = fs::read(&path).map_err(Error::system("read", path.display()))?;
    Ok((parse(engine::APP_FILE, &text)?, pod.users))
}

/// The app's process with another program, and the users of its pod.
fn process(
    name: &str,
    argv: Vec<OsString>,
    with_terminal: bool,
    app: &Running,
) -> Result<(Process, Option<Users>)> {
    let argv = argv
        .into_iter()
        .map(|word| {
            CString::new(word.into_vec()).map_err(|e| Error::Refused {
                field: "argument",
                value: String::from_utf8_lossy(&e.into_vec()).into_owned(),
                reason: "a NUL byte ends it early",
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let term = std::env::var("TERM").ok();
    let term = term.or_else(|| with_terminal.then(|| TERM.to_owned()));
    let (app_as_written, users) = specification(name)?;
    let process = Process::new(&app_as_written.spec, &ThisHost)?;
    let mut process = process.command(argv, term.as_deref())?;
    limits::take_over(&mut process, app.init)?;
    if is_left_out(Protection::EnterCapabilities) {
        process.capabilities = Capabilities::ALL;
    }
    if is_left_out(Protection::EnterFilter) {
        process.filter = None;
    }
    Ok((process, users))
}

/// Gives this process, and who is born of it, the program's weight when the
/// kernel looks for a process to kill.
fn weigh(process: &mut Process) -> Result<()> {
    match process.oom_score_adj.take() {
        Some(value) => fs::write("/proc/self/oom_score_adj", value.to_string())
            .map_err(Error::system("set process.oomScoreAdj to", value)),
        None => Ok(()),
    }
}

/// What the kernel says of namespaces that end just now.
fn gone(name: &str, error: io::Error) -> Error {
    match error.raw_os_error() {
        // No such process; a PID namespace without its init; a cgroup that
        // was removed.
        Some(libc::ESRCH | libc::ENOMEM | libc::ENODEV | libc::ENOENT) => Error::NotRunning {
            app: name.to_owned(),
        },
        _ => Error::system("enter", format!("app {name:?}"))(error),
    }
}

/// What the program has as its standard descriptors.
enum Inner {
    /// The slave of a terminal of the app's own.
    Terminal(OwnedFd),
    /// The same, which the program's process is to open.
    OwnTerminal,
    /// The caller's where they are no terminals, else pipes.
    Plain(Stdio),
}

/// Master and slave.
fn open_terminal() -> Result<(OwnedFd, OwnedFd)> {
    let root = rustix::fs::openat(
        CWD,
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::system("open", "the app's root"))?;
    rootfs::new_terminal(&root)
}

fn add_terminal(relay: &mut Relay, master: OwnedFd) -> Result<()> {
    // What the program leaves behind may keep the terminal open; that must
    // not keep us.
    rustix::io::ioctl_fionbio(&master, true).map_err(Error::system("set up", "a terminal"))?;
    terminal::copy_size(&master);
    relay.add_terminal(master);
    Ok(())
}

/// In the new process: becomes the program.
fn born(
    process: &Process,
    foreign: bool,
    (place, namespace): (Place, OwnedFd),
    inner: &Inner,
    pod: &OwnedFd,
) -> ! {
    let become_it = move || -> Result<std::convert::Infallible> {
        place.join()?;
        nix::sched::setns(&namespace, CloneFlags::CLONE_NEWCGROUP)
            .map_err(Error::system("enter", "the app's cgroup namespace"))?;
        drop(namespace);
        if foreign {
            users::become_root()?;
        }
        app::leave_session()?;
        match inner {
            Inner::Terminal(slave) => app::take_terminal(slave, process.uid)?,
            Inner::OwnTerminal => {
                let (master, slave) = open_terminal()?;
                app::take_terminal(&slave, process.uid)?;
                let report = Report::Terminal { app: 0 };
                wire::send(pod, &report, &[master.as_fd()])
                    .map_err(Error::system("reach", "the caller"))?;
            }
            Inner::Plain(stdio) => stdio.take()?,
        }
        let proc = identity::needs_proc(process)
            .then(identity::private_proc)
            .transpose()?;
        identity::become_process(process, proc.as_ref(), || Ok(()))
    };
    let failed = match become_it() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let text = failed.line();
    let _gone = wire::send(pod, &Report::Failed { app: None, text }, &[]);
    sys::process::exit(failed.exit_status())
}

/// Copies and passes signals on until the program has ended.
fn attend(relay: &mut Relay, signals: &SignalFd, program: &OwnedFd, pid: i32) -> Result<()> {
    loop {
        let watched = relay.watched();
        let mut polled = vec![
            PollFd::new(program, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        polled.extend(watched.iter().map(|&watched| relay.poll_fd(watched)));
        wait(&mut polled, None, &mut false).map_err(Error::system("wait for", "the program"))?;
        let ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let moving = watched.into_iter().zip(&ready[2..]);
        relay.advance(
            moving
                .filter(|(_, ready)| **ready)
                .map(|(w, _)| w)
                .collect(),
        );
        if ready[1] {
            while let Some(signal) = signals::next(signals)? {
                match (signal, relay.terminal()) {
                    (libc::SIGWINCH, Some(terminal)) => terminal::copy_size(terminal),
                    (libc::SIGWINCH, None) => {}
                    // It is not reaped yet, so the number is its own.
                    _ => {
                        let _over = sys::signals::send(pid, signal);
                    }
                }
            }
        }
        if ready[0] {
            return Ok(());
        }
    }
}

fn reap(pid: i32) -> Result<End> {
    let status = waitpid(Pid::from_raw(pid), WaitOptions::empty())
        .map_err(Error::system("wait for", "the program"))?;
    Ok(status.map_or(End::Code(0), |(_, status)| End::of(status)))
}

/// Prints why the program could not be executed, if it could not; `failure`
/// is what was heard before.
fn tell_failure(wire: &OwnedFd, failure: Option<String>) {
    let last = || match wire::receive::<Report>(wire).ok()??.message {
        Report::Failed { text, .. } => Some(text),
        _ => None,
    };
    if let Some(text) = failure.or_else(last) {
        crate::error::say(format_args!("enter: {text}"));
    }
}

/// Ends this process by the same signal; it cannot dump core, for it is not
/// dumpable. A signal that does not end a process is told as shells do.
fn mirror(signal: i32) -> Result<i32> {
    sys::signals::reset_dispositions();
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(Error::system("reset", "the signal mask"))?;
    sys::signals::send(std::process::id() as i32, signal)
        .map_err(Error::system("end by signal", signal))?;
    Ok(128 + signal)
}
