//! Stopping a pod from outside.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use uuid::Uuid;

use crate::boot;
use crate::pods::{Pod, PodError, State};

/// How long a supervisor may take to write down what became of its apps once
/// they are killed, and to clear their cgroups: more than it takes itself
/// before it gives up.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// Why a pod could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// It never ran.
    #[error("pod \"{0}\" is not running")]
    NotRunning(Uuid),
    /// It starts just now: there is nobody to tell yet.
    #[error("pod \"{0}\" is still starting: its supervisor is not known yet (try again)")]
    Starting(Uuid),
    /// Its files cannot be read.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The supervisor could not be told.
    #[error("error stopping \"{uuid}\": cannot signal process {pid}")]
    Signal {
        /// The pod.
        uuid: Uuid,
        /// The process.
        pid: i32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The supervisor was told, or killed.
    Now,
    /// It was over before.
    Already,
}

/// Asks the pod's supervisor for an orderly end; with `force`, kills the pod.
/// Returns when the signal is sent; with `force`, when the pod is gone.
///
/// # Errors
/// A pod that is not running, or a supervisor that cannot be signalled.
pub fn stop(pod: &Pod, force: bool) -> Result<Stopped, StopError> {
    match pod.state() {
        State::Running => {}
        state if state.has_exited() => return Ok(Stopped::Already),
        _ => return Err(StopError::NotRunning(pod.uuid())),
    }
    let supervisor = pod
        .supervisor()?
        .ok_or_else(|| StopError::Starting(pod.uuid()))?;
    let failed = |pid| {
        move |source: io::Error| StopError::Signal {
            uuid: pod.uuid(),
            pid,
            source,
        }
    };
    let Some(fd) = boot::open_process(&supervisor).map_err(failed(supervisor.pid))? else {
        return Ok(Stopped::Already);
    };
    if !force {
        return send(&fd, Signal::TERM).map_err(failed(supervisor.pid));
    }
    // PID 1 first: with it every process of the pod dies, and the supervisor
    // lives to write that down.
    if let Some(init) = pod.init()?
        && let Some(fd) = boot::open_process(&init).map_err(failed(init.pid))?
    {
        send(&fd, Signal::KILL).map_err(failed(init.pid))?;
    }
    if !wait(&fd, LAST_WORDS).map_err(failed(supervisor.pid))? {
        send(&fd, Signal::KILL).map_err(failed(supervisor.pid))?;
    }
    Ok(Stopped::Now)
}

fn send(process: &OwnedFd, signal: Signal) -> io::Result<Stopped> {
    match pidfd_send_signal(process, signal) {
        Ok(()) => Ok(Stopped::Now),
        Err(Errno::SRCH) => Ok(Stopped::Already),
        Err(e) => Err(e.into()),
    }
}

/// Waits for the end of a process; `false` if it takes longer than `patience`.
fn wait(process: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
