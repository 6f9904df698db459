//! The life of one app, as the pod's init sees it.
//!
//!     waiting ──Start──▶ running ──▶ ended [──▶ post-stop] ──▶ over
//!                           ▲                       │
//!                           └─ due ◀─Again── resting ┘
//!
//! An app that is started again keeps its root and its cgroups: only its
//! program is new. The supervisor kills what is left of the one before, then
//! says [`Order::Again`](crate::wire::Order::Again); only the delay is ours.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use manifests::engine::Restart;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use sys::device_filter::Instruction;
use sys::process::{Fork, Namespaces, SingleThread};

use crate::app::{self, Surroundings, Visit};
use crate::cgroup::Entrance;
use crate::error::{Error, Result};
use crate::plan::{self, Process};
use crate::rootfs::Sources;
use crate::stdio::Stdio;
use crate::wire::End;

/// Before the first restart in a row; each further one waits twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Longest wait before a restart.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// An app that ran for so long has not failed in a row.
const STEADY: Duration = Duration::from_secs(10);

/// Between two looks at whether an app is ready.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// Longest that one look may take.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// One app.
#[derive(Debug)]
pub(super) struct App {
    /// What to start, until it is started.
    pub(super) waiting: Option<(plan::App, Sources)>,
    /// What it is born with.
    pub(super) stdio: Stdio,
    device_filter: Option<Vec<Instruction>>,
    /// Its first process.
    pub(super) main: Option<Pid>,
    stop_signal: i32,
    grace: Duration,
    /// When it is killed, once it was asked to stop.
    pub(super) deadline: Option<Instant>,
    /// It was asked to stop, so it is not started again.
    pub(super) condemned: bool,
    /// What runs in it besides and after its first process, if anything.
    later: Option<Later>,
    /// Its post-stop handler, while it runs.
    pub(super) handler: Option<Pid>,
    /// What comes when it has ended.
    pub(super) rest: Rest,
    probe: Option<Probe>,
}

/// What comes after an app's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Over,
    /// It will be started again, and the handler runs before that.
    Again,
    /// It will be started again so long after its end, when the supervisor
    /// has killed what is left of it.
    Held,
    /// It is started again then.
    Due(Instant),
}

#[derive(Debug)]
struct Later {
    name: String,
    process: Process,
    pre_start: Option<Process>,
    post_stop: Option<Process>,
    probe: Option<Process>,
    restart: Restart,
    /// How often it was started again in a row.
    times: u32,
    started: Instant,
    ended: Instant,
    inside: Option<Inside>,
}

/// The way into an app that was started.
#[derive(Debug)]
struct Inside {
    mounts: OwnedFd,
    entrance: Entrance,
    /// Something is to be read here when the root was built.
    built: Option<OwnedFd>,
}

/// Looking whether an app is ready.
#[derive(Debug)]
struct Probe {
    running: Option<Pid>,
    /// When the next one starts, or this one is killed.
    at: Instant,
    /// A failure to execute it was told.
    told: bool,
}

impl App {
    pub(super) fn new(
        mut plan: plan::App,
        sources: Sources,
        stdio: Stdio,
        device_filter: Option<Vec<Instruction>>,
    ) -> Self {
        let (post_stop, probe) = (plan.post_stop.take(), plan.probe.take());
        let wanted = post_stop.is_some() || probe.is_some() || !plan.restart.is_no();
        let now = Instant::now();
        Self {
            stdio,
            device_filter,
            main: None,
            stop_signal: plan.stop_signal,
            grace: Duration::from_secs(plan.stop_timeout.into()),
            deadline: None,
            condemned: false,
            later: wanted.then(|| Later {
                name: plan.name.clone(),
                process: plan.process.clone(),
                pre_start: plan.pre_start.clone(),
                post_stop,
                probe,
                restart: plan.restart,
                times: 0,
                started: now,
                ended: now,
                inside: None,
            }),
            handler: None,
            rest: Rest::Over,
            probe: None,
            waiting: Some((plan, sources)),
        }
    }

    /// Leaves the image's own `resolv.conf` visible.
    pub(super) fn keep_resolv_conf(&mut self) {
        if let Some((plan, sources)) = &mut self.waiting {
            sources.leave_out(plan, |mount| mount.is_resolv_conf_of_pod());
        }
    }

    /// Nobody will be born into it any more.
    pub(super) fn is_barren(&self) -> bool {
        self.waiting.is_none() && self.later.is_none()
    }

    /// Nothing of it runs or will run; `stopping` pods start nothing.
    pub(super) fn is_over(&self, stopping: bool) -> bool {
        self.main.is_none()
            && self.handler.is_none()
            && (self.waiting.is_none() || stopping)
            && self.rest == Rest::Over
    }

    /// When there is something to do though nothing happens.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let due = match self.rest {
            Rest::Due(at) => Some(at),
            _ => None,
        };
        let probe = self.probe.as_ref().map(|probe| probe.at);
        [self.deadline, due, probe].into_iter().flatten().min()
    }

    /// Starts it for the first time.
    pub(super) fn start(
        &mut self,
        index: u16,
        entrance: Entrance,
        around: &Surroundings,
        proof: &SingleThread,
    ) -> Result<()> {
        let Some((plan, sources)) = self.waiting.take() else {
            return Ok(());
        };
        let failed = |e| {
            Error::attempt("start", "its process")
                .because(e)
                .of_app(&plan.name)
        };
        let (built, mark) = match self.later {
            Some(_) => {
                let (read, write) =
                    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
                        .map_err(|e| failed(e.into()))?;
                (Some(read), Some(write))
            }
            None => (None, None),
        };
        let unified = entrance.unified.as_ref().map(AsFd::as_fd);
        let forked = sys::process::fork(proof, Namespaces::MOUNT, unified).map_err(failed)?;
        let pid = match forked {
            Fork::Child => {
                let birth = app::Birth {
                    index,
                    stdio: &self.stdio,
                    entrance: &entrance,
                    device_filter: self.device_filter.as_deref(),
                    built: mark,
                    around,
                    proof,
                };
                birth.run(&plan, sources)
            }
            Fork::Parent(pid, _) => pid,
        };
        self.main = Pid::from_raw(pid);
        match &mut self.later {
            // Who comes later wants its mounts when it is gone.
            Some(later) => {
                later.inside = Some(Inside {
                    mounts: mounts_of(around, pid).map_err(failed)?,
                    entrance,
                    built,
                });
                later.started = Instant::now();
            }
            // Or the supervisor would wait for us to write.
            None => self.stdio = Stdio::default(),
        }
        self.begin_probe();
        Ok(())
    }

    fn begin_probe(&mut self) {
        let wanted = self
            .later
            .as_ref()
            .is_some_and(|later| later.probe.is_some());
        self.probe = wanted.then(|| Probe {
            running: None,
            at: Instant::now(),
            told: false,
        });
    }

    /// Its first process has ended. Starts its handler; says whether there is
    /// one, and whether the app is started again.
    pub(super) fn ended(
        &mut self,
        index: u16,
        end: End,
        stopping: bool,
        around: &Surroundings,
        proof: &SingleThread,
    ) -> Result<(bool, bool)> {
        self.main = None;
        self.deadline = None;
        self.probe = None;
        let again = self.later.as_mut().is_some_and(Later::was_built) && {
            let failed = end.status() != 0;
            let wants = self.later.as_mut().is_some_and(|later| later.wants(failed));
            wants && !stopping && !self.condemned
        };
        self.rest = if again { Rest::Again } else { Rest::Over };
        self.handler = match &self.later {
            Some(later) => match &later.post_stop {
                Some(handler) => later.fork(handler, &self.stdio, around, proof, Some(index))?,
                None => None,
            },
            None => None,
        };
        if self.handler.is_none() {
            self.settle();
        }
        Ok((self.handler.is_some(), again))
    }

    /// Its handler, if there was one, has ended too. Says whether the app is
    /// started again.
    pub(super) fn settle(&mut self) -> bool {
        self.handler = None;
        match self.rest {
            Rest::Again if !self.condemned => {
                self.rest = Rest::Held;
                true
            }
            _ => {
                self.forget();
                false
            }
        }
    }

    /// It is not started any more.
    pub(super) fn forget(&mut self) {
        self.rest = Rest::Over;
        self.later = None;
        self.stdio = Stdio::default();
    }

    /// What was left of it is killed, so it may be started again.
    pub(super) fn release(&mut self) {
        if let (Rest::Held, Some(later)) = (self.rest, &self.later) {
            self.rest = Rest::Due(later.ended + later.delay());
        }
    }

    /// Does what it is time for; a probe has `quiet` as its descriptors.
    pub(super) fn tick(
        &mut self,
        index: u16,
        quiet: &Stdio,
        around: &Surroundings,
        proof: &SingleThread,
    ) -> Result<()> {
        let now = Instant::now();
        if matches!(self.rest, Rest::Due(at) if at <= now) {
            self.start_again(index, around, proof)?;
        }
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.at <= now) else {
            return Ok(());
        };
        match probe.running {
            Some(pid) => {
                super::kill(pid, libc::SIGKILL);
                probe.at = now + PROBE_PERIOD;
            }
            None => {
                let (Some(later), told) = (&self.later, probe.told) else {
                    return Ok(());
                };
                let Some(process) = &later.probe else {
                    return Ok(());
                };
                probe.running =
                    later.fork(process, quiet, around, proof, (!told).then_some(index))?;
                probe.told = true;
                probe.at = now + PROBE_LIMIT;
            }
        }
        Ok(())
    }

    /// Takes the end of its probe; says whether the app is ready. `None` when
    /// it was no probe of its.
    pub(super) fn probed(&mut self, pid: Pid, end: End) -> Option<bool> {
        let probe = self.probe.as_mut().filter(|p| p.running == Some(pid))?;
        probe.running = None;
        probe.at = Instant::now() + PROBE_PERIOD;
        let ready = end == End::Code(0);
        if ready {
            self.probe = None;
        }
        Some(ready)
    }

    fn start_again(
        &mut self,
        index: u16,
        around: &Surroundings,
        proof: &SingleThread,
    ) -> Result<()> {
        self.rest = Rest::Over;
        let Some(later) = &mut self.later else {
            return Ok(());
        };
        later.times = later.times.saturating_add(1);
        later.started = Instant::now();
        self.main = later.fork_main(&self.stdio, index, around, proof)?;
        self.begin_probe();
        Ok(())
    }

    /// Asks it to end with a trace of where it hangs, unless it was asked to
    /// end already.
    pub(super) fn abort(&mut self) {
        self.stop_signal = libc::SIGABRT;
        self.condemned = true;
        if self.deadline.is_none() {
            self.stop();
        }
    }

    /// Asks it to stop, or kills it when its time is over.
    pub(super) fn stop(&mut self) {
        let Some(pid) = self.main else { return };
        match self.deadline {
            None => {
                super::kill(pid, self.stop_signal);
                // A stopped process would not notice.
                super::kill(pid, libc::SIGCONT);
                self.deadline = Some(Instant::now() + self.grace);
            }
            Some(deadline) if deadline <= Instant::now() => {
                super::kill(pid, libc::SIGKILL);
                self.deadline = Some(Instant::now() + Duration::from_secs(1));
            }
            Some(_) => {}
        }
    }
}

impl Later {
    /// Whether the root was built; where it was not, nothing can run in it.
    fn was_built(&mut self) -> bool {
        let Some(inside) = &mut self.inside else {
            return false;
        };
        let Some(built) = inside.built.take() else {
            return true;
        };
        let mut byte = [0; 1];
        let whole = matches!(rustix::io::read(&built, &mut byte), Ok(1));
        if !whole {
            self.inside = None;
        }
        whole
    }

    fn wants(&mut self, failed: bool) -> bool {
        self.ended = Instant::now();
        if self.ended.duration_since(self.started) >= STEADY {
            self.times = 0;
        }
        self.restart.wants(failed, self.times)
    }

    fn delay(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX).max(1);
        FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
    }

    /// Runs a program beside or after the app, if its root was built. A
    /// failure to execute it is told of the app with this place, if any.
    fn fork(
        &self,
        process: &Process,
        stdio: &Stdio,
        around: &Surroundings,
        proof: &SingleThread,
        tell: Option<u16>,
    ) -> Result<Option<Pid>> {
        self.visit(proof, |inside| Visit {
            name: &self.name,
            process,
            pre_start: None,
            announce: None,
            tell,
            mounts: &inside.mounts,
            entrance: &inside.entrance,
            stdio,
            around,
            proof,
        })
    }

    /// Runs the app's own program once more.
    fn fork_main(
        &self,
        stdio: &Stdio,
        index: u16,
        around: &Surroundings,
        proof: &SingleThread,
    ) -> Result<Option<Pid>> {
        self.visit(proof, |inside| Visit {
            name: &self.name,
            process: &self.process,
            pre_start: self.pre_start.as_ref(),
            announce: Some(index),
            tell: Some(index),
            mounts: &inside.mounts,
            entrance: &inside.entrance,
            stdio,
            around,
            proof,
        })
    }

    fn visit<'a>(
        &'a self,
        proof: &SingleThread,
        visit: impl FnOnce(&'a Inside) -> Visit<'a>,
    ) -> Result<Option<Pid>> {
        let Some(inside) = &self.inside else {
            return Ok(None);
        };
        let unified = inside.entrance.unified.as_ref().map(AsFd::as_fd);
        let forked = sys::process::fork(proof, Namespaces::empty(), unified).map_err(|e| {
            Error::attempt("start", "its process")
                .because(e)
                .of_app(&self.name)
        })?;
        match forked {
            Fork::Child => visit(inside).run(),
            Fork::Parent(pid, _) => Ok(Pid::from_raw(pid)),
        }
    }
}

fn mounts_of(around: &Surroundings, pid: i32) -> std::io::Result<OwnedFd> {
    let proc = around.proc.as_ref().ok_or(rustix::io::Errno::BADF)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        proc,
        format!("{pid}/ns/mnt"),
        flags,
        Mode::empty(),
    )?)
}
