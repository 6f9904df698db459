//! What an app reads from and writes to.
//!
//! An app gets the caller's own descriptors where that is safe and nobody
//! else writes there: one app, and no terminal, for with a terminal's
//! descriptor an app could read what is typed elsewhere on it, or type itself.
//! Otherwise it gets pipes or a terminal of its own, and the supervisor
//! copies.
//!
//! A pod that keeps logs has pipes too: the supervisor, the only writer of the
//! files, gives each line its time and begins a new file before one grows too
//! long, which apps that wrote into a file themselves could not be held to; or
//! it gives each line the app's fields and sends it to journald.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use manifests::engine::{Input, Logs, Output, Socket, Users};
use manifests::log::Stream;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Uid};

use crate::error::{Error, Result};
use crate::plan::{App, Plan, Process, c_string};
use crate::protection::{Protection, is_left_out};
use crate::supervisor::hub::Channel;
use crate::supervisor::log::Log;
use crate::supervisor::relay::{Relay, Target};

/// The standard descriptors of one app; none means the caller's.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input.
    pub input: Option<OwnedFd>,
    /// Standard output.
    pub output: Option<OwnedFd>,
    /// Standard error.
    pub error: Option<OwnedFd>,
    /// The app makes a terminal, and has it as all three.
    pub terminal: bool,
    /// Listening sockets, which the app has as descriptors 3 and so on.
    pub sockets: Vec<(OwnedFd, String)>,
}

impl Stdio {
    /// The null device, for one that has nothing to say.
    ///
    /// # Errors
    /// [`Error::System`] when it cannot be opened.
    pub fn quiet() -> Result<Self> {
        let failed = || Error::attempt("open", "/dev/null");
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = rustix::fs::openat(CWD, c"/dev/null", flags, Mode::empty())
            .map_err(|e| failed().because(e))?;
        Ok(Self {
            input: Some(null.try_clone().map_err(|e| failed().because(e))?),
            output: Some(null.try_clone().map_err(|e| failed().because(e))?),
            error: Some(null),
            terminal: false,
            sockets: Vec::new(),
        })
    }

    /// Puts them in place of the calling process's own.
    ///
    /// # Errors
    /// [`Error::System`] with what dup2(2) says.
    pub fn take(&self) -> Result<()> {
        let failed = || Error::attempt("set", "the standard descriptors");
        if let Some(input) = &self.input {
            rustix::stdio::dup2_stdin(input).map_err(|e| failed().because(e))?;
        }
        if let Some(output) = &self.output {
            rustix::stdio::dup2_stdout(output).map_err(|e| failed().because(e))?;
        }
        if let Some(error) = &self.error {
            rustix::stdio::dup2_stderr(error).map_err(|e| failed().because(e))?;
        }
        Ok(())
    }
}

impl Stdio {
    /// The process with the variables added that tell it of its sockets; it is
    /// the calling one.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name that no variable can hold.
    pub fn announce<'a>(&self, process: &'a Process) -> Result<Cow<'a, Process>> {
        if self.sockets.is_empty() {
            return Ok(Cow::Borrowed(process));
        }
        let mut process = process.clone();
        let names: Vec<&str> = self.sockets.iter().map(|(_, name)| name.as_str()).collect();
        let variables = [
            format!("LISTEN_PID={}", rustix::process::getpid()),
            format!("LISTEN_FDS={}", names.len()),
            format!("LISTEN_FDNAMES={}", names.join(":")),
        ];
        for variable in variables {
            process.env.push(c_string("process.env", variable)?);
        }
        Ok(Cow::Owned(process))
    }

    /// Puts the sockets from descriptor 3 on. Nothing may follow but the
    /// execution of the program.
    ///
    /// # Errors
    /// [`Error::System`] with what dup2(2) says.
    pub fn pass_sockets(&self) -> Result<()> {
        let sockets: Vec<_> = self
            .sockets
            .iter()
            .map(|(socket, _)| socket.as_fd())
            .collect();
        sys::descriptors::pass_on(&sockets).map_err(Error::system("pass on", "the sockets"))
    }
}

/// What an app's standard descriptors depend on beside the app.
#[derive(Debug, Clone, Copy)]
pub struct Pod {
    /// Where what apps write is kept.
    pub logs: Option<Logs>,
    /// The one app has the caller's standard input.
    pub interactive: bool,
    /// And a terminal of its own.
    pub terminal: bool,
    /// Others write too.
    pub several: bool,
    /// The pod has users of its own.
    pub users: Option<Users>,
}

impl Pod {
    /// The owner of what this process is to open again by its path.
    fn owner(&self, process: &Process) -> (u32, u32) {
        owner(process, self.users)
    }
}

/// The host's ids of a process's user and group.
pub fn owner(process: &Process, users: Option<Users>) -> (u32, u32) {
    let outside = |id| users.map_or(id, |users| users.outside(id));
    (outside(process.uid), outside(process.gid))
}

/// Decides for every app, and adds what the supervisor copies to `relay`.
///
/// # Errors
/// [`Error::System`] when a pipe or the null device cannot be opened.
pub fn open(plan: &Plan, sockets: &[OwnedFd], relay: &mut Relay) -> Result<Vec<Stdio>> {
    let pod = Pod {
        logs: plan.logs,
        interactive: plan.interactive,
        terminal: plan.interactive && caller_has_terminal(),
        several: plan.apps.len() > 1,
        users: plan.users,
    };
    plan.apps
        .iter()
        .zip(0..)
        .map(|(app, index)| {
            Ok(Stdio {
                sockets: sockets_of(app, sockets)?,
                ..open_app(app, index, pod, relay)?
            })
        })
        .collect()
}

/// The sockets of an app among those that were passed.
///
/// Copies have higher numbers than those that they are to have in the app,
/// which the originals take: nothing that is needed until then is in the way.
///
/// # Errors
/// [`Error::System`] when one is not there or cannot be copied.
pub fn sockets_of(app: &App, sockets: &[OwnedFd]) -> Result<Vec<(OwnedFd, String)>> {
    let failed = || Error::attempt("pass on", "a socket");
    let copy = |wanted: &Socket| {
        let socket = sockets.get(usize::from(wanted.index));
        let socket = socket.ok_or_else(|| failed().because(rustix::io::Errno::BADF))?;
        let copy = socket.try_clone().map_err(|e| failed().because(e))?;
        Ok((copy, wanted.name.clone()))
    };
    app.sockets.iter().map(copy).collect()
}

/// Decides for one app, which has this place in the pod's list.
///
/// # Errors
/// As [`open`].
pub fn open_app(app: &App, index: u16, pod: Pod, relay: &mut Relay) -> Result<Stdio> {
    let mut stdio = Stdio {
        terminal: pod.terminal,
        ..Stdio::default()
    };
    if pod.interactive {
        return Ok(stdio);
    }
    if app.streams.input == Input::Tty {
        stdio.terminal = true;
        return Ok(stdio);
    }
    let owner = pod.owner(&app.process);
    stdio.input = Some(match app.streams.input {
        Input::Stream => {
            let (read, write) = input_pipe(owner)?;
            relay.add_channel_input(index, write);
            read
        }
        Input::Null | Input::Tty => null()?,
    });
    let mut logged = Vec::new();
    stdio.output = match app.streams.output {
        Output::Log => log(app, pod, Stream::Output, relay, &mut logged)?,
        other => Some(other_than_log(
            other,
            owner,
            (index, Channel::Output),
            relay,
        )?),
    };
    stdio.error = match app.streams.error {
        Output::Log => log(app, pod, Stream::Error, relay, &mut logged)?,
        other => Some(other_than_log(
            other,
            owner,
            (index, Channel::Error),
            relay,
        )?),
    };
    match pod.logs {
        _ if logged.is_empty() => {}
        Some(Logs::Files { limit }) => relay.add_log(Log::create(&app.name, limit)?, logged),
        Some(Logs::Journal { .. }) => relay.add_journal(&app.name, &app.log_fields, logged)?,
        None => {}
    }
    Ok(stdio)
}

/// What goes where the supervisor's own output goes, or into the pod's log;
/// none for the supervisor's own descriptor.
fn log(
    app: &App,
    pod: Pod,
    stream: Stream,
    relay: &mut Relay,
    logged: &mut Vec<(OwnedFd, Stream)>,
) -> Result<Option<OwnedFd>> {
    let (target, ours) = match stream {
        Stream::Output => (Target::Output, rustix::stdio::stdout()),
        Stream::Error => (Target::Error, rustix::stdio::stderr()),
    };
    let kept = match (pod.logs, stream) {
        (None, _) => false,
        (Some(Logs::Files { .. }), _) => true,
        (Some(Logs::Journal { output, .. }), Stream::Output) => output,
        (Some(Logs::Journal { error, .. }), Stream::Error) => error,
    };
    // The caller's own descriptor belongs to nobody whom such a pod knows.
    let own = pod.users.is_some();
    if !kept && !pod.several && !own && !is_terminal(ours) {
        return Ok(None);
    }
    let (write, read) = pipe(pod.owner(&app.process))?;
    if kept {
        logged.push((read, stream));
    } else {
        let label = pod.several.then_some(app.name.as_str());
        relay.add_pipe(read, target, label);
    }
    Ok(Some(write))
}

fn other_than_log(
    output: Output,
    owner: (u32, u32),
    (app, channel): (u16, Channel),
    relay: &mut Relay,
) -> Result<OwnedFd> {
    if output != Output::Stream {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        return rustix::fs::openat(CWD, c"/dev/null", flags, Mode::empty())
            .map_err(Error::system("open", "/dev/null"));
    }
    let (write, read) = pipe(owner)?;
    relay.add_channel(app, read, channel);
    Ok(write)
}

/// A pipe for an app to read from, and the end to write to.
fn input_pipe((uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd)> {
    let failed = || Error::attempt("make", "a pipe");
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed().because(e))?;
    if uid != 0 {
        rustix::fs::fchown(&read, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| failed().because(e))?;
    }
    Ok((read, write))
}

/// Whether the caller talks to us by a terminal.
pub fn caller_has_terminal() -> bool {
    is_terminal(rustix::stdio::stdin()) && is_terminal(rustix::stdio::stdout())
}

/// Whether an app must not have it.
fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd) && !is_left_out(Protection::Terminal)
}

/// The caller's own descriptors, with a pipe of this owner's for each that is
/// a terminal.
///
/// # Errors
/// [`Error::System`] when a pipe cannot be made.
pub fn without_terminals(relay: &mut Relay, owner: (u32, u32)) -> Result<Stdio> {
    let tty = rustix::termios::isatty;
    let mut stdio = Stdio::default();
    if tty(rustix::stdio::stdin()) {
        let failed = || Error::attempt("make", "a pipe");
        let (read, write) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed().because(e))?;
        relay.add_input(write);
        stdio.input = Some(read);
    }
    if tty(rustix::stdio::stdout()) {
        let (output, written) = pipe(owner)?;
        stdio.output = Some(output);
        relay.add_pipe(written, Target::Output, None);
    }
    if tty(rustix::stdio::stderr()) {
        let (error, written) = pipe(owner)?;
        stdio.error = Some(error);
        relay.add_pipe(written, Target::Error, None);
    }
    Ok(stdio)
}

fn null() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, c"/dev/null", flags, Mode::empty())
        .map_err(Error::system("open", "/dev/null"))
}

/// A pipe for an app to write to, and the end that the supervisor reads. It
/// belongs to the app's user, or the app could not open `/dev/stdout`.
fn pipe((uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd)> {
    let failed = || Error::attempt("make", "a pipe");
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed().because(e))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(|e| failed().because(e))?;
    if uid != 0 {
        rustix::fs::fchown(&write, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|e| failed().because(e))?;
    }
    Ok((write, read))
}
