//! The processes of an app, from their birth in the pod's init to the
//! execution of their program.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::PipeFlags;
use rustix::process::{WaitOptions, waitpid};
use sys::device_filter::Instruction;
use sys::process::{Fork, Namespaces, SingleThread};

use crate::cgroup::Entrance;
use crate::error::{Error, Result};
use crate::identity;
use crate::plan::{App, Process};
use crate::protection::{Protection, is_left_out};
use crate::rootfs::{self, Sources};
use crate::stdio::Stdio;
use crate::timings::Timings;
use crate::wire::{self, End, Report};

/// What every process of the pod shares with its init.
#[derive(Debug)]
pub struct Surroundings {
    /// The pod's end of the wire.
    pub wire: OwnedFd,
    /// A procfs of the pod's PID namespace that is mounted nowhere.
    pub proc: Option<OwnedFd>,
    /// Where phases are noted.
    pub timings: Timings,
    /// The pod has users of its own.
    pub own_users: bool,
}

impl Surroundings {
    /// Tells the supervisor why an app, or without one the pod, failed.
    /// When the supervisor is gone, so is everybody who could be told.
    pub fn report_failure(&self, app: Option<u16>, error: &Error) {
        let text = error.line();
        let _gone = wire::send(&self.wire, &Report::Failed { app, text }, &[]);
    }

    /// Becomes the main program of the app with this place, and tells the
    /// supervisor when nothing but that is left.
    fn become_main(&self, app: u16, process: &Process, stdio: &Stdio) -> Result<Infallible> {
        let mut announced = stdio.announce(process)?;
        if let (true, Some(value)) = (self.own_users, announced.oom_score_adj) {
            self.weigh(value)
                .map_err(Error::system("set process.oomScoreAdj to", value))?;
            announced.to_mut().oom_score_adj = None;
        }
        identity::become_process(&announced, self.proc.as_ref(), || {
            self.timings.mark("execute");
            wire::send(&self.wire, &Report::Started { app }, &[])
                .map_err(Error::system("reach", "the supervisor"))?;
            stdio.pass_sockets()
        })
    }
}

impl Surroundings {
    /// Becomes a program beside an app's main one.
    fn become_other(&self, process: &Process) -> Result<Infallible> {
        let mut process = process.clone();
        if self.own_users {
            process.oom_score_adj = None;
        }
        identity::become_process(&process, self.proc.as_ref(), || Ok(()))
    }

    /// Has the supervisor give the calling process its `oom_score_adj`.
    fn weigh(&self, value: i32) -> std::io::Result<()> {
        let (answer, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        wire::send(&self.wire, &Report::Weigh(value), &[write.as_fd()])?;
        drop(write);
        let mut number = [0; 4];
        match rustix::io::read(&answer, &mut number)? {
            4 => match i32::from_le_bytes(number) {
                0 => Ok(()),
                number => Err(std::io::Error::from_raw_os_error(number)),
            },
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What an app's first process is born with.
#[derive(Debug)]
pub struct Birth<'a> {
    /// The app's place in the pod's list.
    pub index: u16,
    /// Its standard descriptors.
    pub stdio: &'a Stdio,
    /// The way into its cgroups.
    pub entrance: &'a Entrance,
    /// Where it says that its root is built, if anybody asks.
    pub built: Option<OwnedFd>,
    /// The program that limits its devices, on cgroup v2.
    pub device_filter: Option<&'a [Instruction]>,
    /// What it shares with the init.
    pub around: &'a Surroundings,
    /// That it has one thread.
    pub proof: &'a SingleThread,
}

impl Birth<'_> {
    /// Builds the app's root and executes its program. Ends the process when
    /// it cannot.
    pub fn run(self, app: &App, sources: Sources) -> ! {
        let failed = match self.start(app, sources) {
            Ok(never) => match never {},
            Err(error) => error.of_app(&app.name),
        };
        self.around.report_failure(Some(self.index), &failed);
        sys::process::exit(failed.exit_status())
    }

    fn start(&self, app: &App, sources: Sources) -> Result<Infallible> {
        let around = self.around;
        self.entrance.join()?;
        leave_session()?;
        around.timings.mark("root");
        let confine = || confine(self.entrance, self.device_filter);
        let terminal = rootfs::build(app, sources, self.stdio.terminal, confine)?;
        if let Some(built) = &self.built {
            rustix::io::write(built, &[1]).map_err(Error::system("reach", "the pod's init"))?;
        }
        around.timings.mark("process");
        match terminal {
            Some((master, slave)) => {
                take_terminal(&slave, app.process.uid)?;
                send_terminal(around, self.index, &master)?;
            }
            None => self.stdio.take()?,
        }
        for (file, value) in &app.sysctls {
            let path = format!("sys/{}", file.display());
            identity::write_proc(around.proc.as_ref(), &path, value)
                .map_err(Error::system("set linux.sysctl", file.display()))?;
        }
        if let Some(handler) = &app.pre_start {
            run_handler(handler, around, self.proof)?;
        }
        around.become_main(self.index, &app.process, self.stdio)
    }
}

/// Puts the process, which is in the app's cgroups, under its limit of
/// devices, and makes its cgroups the top of what it sees of the hierarchies.
fn confine(entrance: &Entrance, device_filter: Option<&[Instruction]>) -> Result<()> {
    entrance.limit_devices(device_filter)?;
    if is_left_out(Protection::CgroupNamespace) {
        return Ok(());
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)
        .map_err(Error::system("make", "a cgroup namespace"))
}

/// Leaves the caller's session and its terminal.
pub(crate) fn leave_session() -> Result<()> {
    if is_left_out(Protection::Terminal) {
        return Ok(());
    }
    rustix::process::setsid().map_err(Error::system("make", "a session"))?;
    Ok(())
}

pub(crate) fn take_terminal(slave: &OwnedFd, uid: u32) -> Result<()> {
    let failed = || Error::attempt("take", "the terminal");
    // Standard input is the caller's terminal still. The supervisor keeps the
    // size up to date, but hears of the terminal while the app runs already.
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        rustix::termios::tcsetwinsize(slave, size).map_err(|e| failed().because(e))?;
    }
    let owner = Some(rustix::process::Uid::from_raw(uid));
    rustix::fs::fchown(slave, owner, None).map_err(|e| failed().because(e))?;
    rustix::process::ioctl_tiocsctty(slave).map_err(|e| failed().because(e))?;
    rustix::stdio::dup2_stdin(slave).map_err(|e| failed().because(e))?;
    rustix::stdio::dup2_stdout(slave).map_err(|e| failed().because(e))?;
    rustix::stdio::dup2_stderr(slave).map_err(|e| failed().because(e))
}

fn send_terminal(around: &Surroundings, app: u16, master: &OwnedFd) -> Result<()> {
    wire::send(&around.wire, &Report::Terminal { app }, &[master.as_fd()])
        .map_err(Error::system("reach", "the supervisor"))
}

/// Runs the pre-start handler to its end, as a child of the app's process.
fn run_handler(handler: &Process, around: &Surroundings, proof: &SingleThread) -> Result<()> {
    let failed = || Error::attempt("run", "the pre-start handler");
    let pid = match sys::process::fork(proof, Namespaces::empty(), None)
        .map_err(|e| failed().because(e))?
    {
        Fork::Child => handle(handler, around),
        Fork::Parent(pid, _) => pid,
    };
    let pid = rustix::process::Pid::from_raw(pid);
    let status = waitpid(pid, WaitOptions::empty()).map_err(|e| failed().because(e))?;
    let outcome = match status.map(|(_, status)| End::of(status)) {
        None | Some(End::Code(0)) => return Ok(()),
        Some(End::Code(code)) => format!("exited with status {code}"),
        Some(End::Signal(signal)) => format!("was killed by signal {signal}"),
    };
    Err(Error::Handler {
        handler: "pre-start",
        outcome,
    })
}

fn handle(handler: &Process, around: &Surroundings) -> ! {
    let failed = match around.become_other(handler) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    around.report_failure(None, &failed);
    sys::process::exit(failed.exit_status())
}

/// A program that comes into an app after its first one: its handler, a probe,
/// or its own program once more.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The app's name.
    pub name: &'a str,
    /// The program.
    pub process: &'a Process,
    /// Run to its end before it.
    pub pre_start: Option<&'a Process>,
    /// It is the app's main program, and this is the app's place in the pod's
    /// list.
    pub announce: Option<u16>,
    /// Its failure is told, as that of the app with this place.
    pub tell: Option<u16>,
    /// The app's mount namespace.
    pub mounts: &'a OwnedFd,
    /// The way into the app's cgroups.
    pub entrance: &'a Entrance,
    /// Its standard descriptors.
    pub stdio: &'a Stdio,
    /// What it shares with the init.
    pub around: &'a Surroundings,
    /// That it has one thread.
    pub proof: &'a SingleThread,
}

impl Visit<'_> {
    /// In a new process of the init: enters the mount namespace that the app
    /// has, and executes the program. Ends the process when it cannot.
    pub fn run(self) -> ! {
        let failed = match self.enter() {
            Ok(never) => match never {},
            Err(error) => error.of_app(self.name),
        };
        if self.tell.is_some() {
            self.around.report_failure(self.tell, &failed);
        }
        sys::process::exit(failed.exit_status())
    }

    fn enter(&self) -> Result<Infallible> {
        nix::sched::setns(self.mounts, nix::sched::CloneFlags::CLONE_NEWNS)
            .map_err(Error::system("enter", "the app's mounts"))?;
        self.entrance.join()?;
        confine(self.entrance, None)?;
        leave_session()?;
        self.stdio.take()?;
        if let Some(handler) = self.pre_start {
            run_handler(handler, self.around, self.proof)?;
        }
        match self.announce {
            Some(app) => self.around.become_main(app, self.process, self.stdio),
            None => self.around.become_other(self.process),
        }
    }
}
