//! The pod's PID 1.
//!
//! It exists because a PID namespace needs one: it holds the pod's
//! namespaces, starts the apps, reaps whoever is orphaned, and decides when
//! the pod is over. It waits for the supervisor's orders and for children,
//! and for nothing else. When it ends, the kernel kills whatever is left.
//!
//! An app:   waiting ──Start──▶ running ──▶ ended [──▶ post-stop] ──▶ over
//! The pod:  running ──an app failed, Stop──▶ stopping ──all over──▶ exit
//!
//! Invariant: nothing of the host is reachable from here once the first app
//! runs: its root is an empty directory, and the only descriptors are its end
//! of the wire and the way into the apps' cgroups.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use manifests::engine::{Ipc, Network};
use nix::sched::CloneFlags;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use sys::device_filter::Instruction;
use sys::mount_attributes::{Change, MountAttributes, Propagation, set_mount_attributes};
use sys::process::{Fork, Namespaces, SingleThread};

use crate::app::{self, Surroundings};
use crate::cgroup::Entrance;
use crate::error::{Error, Result};
use crate::plan::{self, Plan};
use crate::rootfs::Sources;
use crate::stdio::Stdio;
use crate::timings::Timings;
use crate::wire::{self, End, Order, Received, Report};
use crate::{identity, idle, mounting, signals};

/// What the supervisor hands over.
#[derive(Debug)]
pub struct Start {
    /// The pod.
    pub plan: Plan,
    /// The programs that limit the apps' devices.
    pub device_filters: Vec<Option<Vec<Instruction>>>,
    /// The pod's end of the wire.
    pub wire: OwnedFd,
    /// The apps' standard descriptors.
    pub stdio: Vec<Stdio>,
    /// What keeps the images mounted until we have mounts of our own.
    pub pins: Vec<OwnedFd>,
    /// Where phases are noted.
    pub timings: Timings,
}

/// Runs the pod, in the process that [`fork`](sys::process::fork) made in a
/// new PID namespace; ends with it.
pub fn run(start: Start, proof: &SingleThread) -> ! {
    let around = Surroundings {
        wire: start.wire,
        proc: None,
        timings: start.timings,
    };
    let given = start.stdio.into_iter().zip(start.device_filters).collect();
    let status = match prepare(start.plan, given, start.pins, around) {
        Ok(mut init) => match init.serve(proof) {
            Ok(()) => 0,
            Err(error) => {
                init.around.report_failure(None, &error);
                error.exit_status()
            }
        },
        Err((error, around)) => {
            around.report_failure(None, &error);
            error.exit_status()
        }
    };
    sys::process::exit(status)
}

/// The life of one app, as the init sees it.
#[derive(Debug)]
struct App {
    /// What to start, until it is started.
    waiting: Option<(plan::App, Sources)>,
    stdio: Stdio,
    device_filter: Option<Vec<Instruction>>,
    main: Option<Pid>,
    stop_signal: i32,
    grace: Duration,
    /// When it is killed, once it was asked to stop.
    deadline: Option<Instant>,
    /// What runs after it, and where.
    post_stop: Option<PostStop>,
    handler: Option<Pid>,
}

impl App {
    /// Leaves the image's own `resolv.conf` visible.
    fn keep_resolv_conf(&mut self) {
        if let Some((plan, sources)) = &mut self.waiting {
            sources.leave_out(plan, |mount| mount.is_resolv_conf_of_pod());
        }
    }
}

#[derive(Debug)]
struct PostStop {
    name: String,
    process: plan::Process,
    mounts: Option<OwnedFd>,
    entrance: Entrance,
}

#[derive(Debug)]
struct Init {
    apps: Vec<App>,
    around: Surroundings,
    children: SignalFd,
    stopping: bool,
    /// The null device, until it replaces the caller's descriptors.
    null: Option<OwnedFd>,
    /// There may be memory to give back.
    bloated: bool,
}

/// The failure and what is needed to tell of it.
type Refusal = (Error, Surroundings);

fn prepare(
    plan: Plan,
    given: Vec<(Stdio, Option<Vec<Instruction>>)>,
    pins: Vec<OwnedFd>,
    mut around: Surroundings,
) -> std::result::Result<Init, Refusal> {
    match namespaces(&plan, &around).and_then(|()| mounts(&plan, &mut around)) {
        Ok((sources, null, children)) => {
            drop(pins);
            let apps = plan
                .apps
                .into_iter()
                .zip(sources)
                .zip(given)
                .map(|((mut app, sources), (stdio, device_filter))| App {
                    stdio,
                    device_filter,
                    main: None,
                    stop_signal: app.stop_signal,
                    grace: Duration::from_secs(app.stop_timeout.into()),
                    deadline: None,
                    post_stop: app.post_stop.take().map(|process| PostStop {
                        name: app.name.clone(),
                        process,
                        mounts: None,
                        entrance: Entrance::default(),
                    }),
                    handler: None,
                    waiting: Some((app, sources)),
                })
                .collect();
            Ok(Init {
                apps,
                around,
                children,
                stopping: false,
                null: Some(null),
                bloated: true,
            })
        }
        Err(error) => Err((error, around)),
    }
}

/// Makes the pod's namespaces, but for that of processes, which is there. It
/// is done here and not at the clone so that the supervisor can make the
/// cgroups meanwhile.
fn namespaces(plan: &Plan, around: &Surroundings) -> Result<()> {
    die_with_the_supervisor(&around.wire)?;
    identity::set_name(c"rkt-init")?;
    around.timings.mark("namespaces");
    let mut wanted = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    if plan.ipc == Ipc::Private {
        wanted |= CloneFlags::CLONE_NEWIPC;
    }
    if plan.network != Network::Host {
        wanted |= CloneFlags::CLONE_NEWNET;
    }
    nix::sched::unshare(wanted).map_err(Error::system("make", "the pod's namespaces"))?;
    if let Network::Private(_) = plan.network {
        // The supervisor joins networks with it while we make the mounts.
        let path = "/proc/thread-self/ns/net";
        let namespace = std::fs::File::open(path).map_err(Error::system("open", path))?;
        wire::send(&around.wire, &Report::Namespace, &[namespace.as_fd()])
            .map_err(Error::system("reach", "the supervisor"))?;
    }
    rustix::system::sethostname(plan.hostname.as_bytes())
        .map_err(Error::system("set the host name", &plan.hostname))?;
    if let Some(name) = plan.apps.iter().rev().find_map(|a| a.domain_name.as_ref()) {
        sys::process::set_domain_name(name.as_bytes())
            .map_err(Error::system("set the domain name", name))?;
    }
    if plan.network == Network::None {
        let failed = || Error::attempt("bring up", "the loopback interface");
        let kind = SocketType::DGRAM;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)
            .map_err(|e| failed().because(e))?;
        sys::network::bring_loopback_up(socket.as_fd()).map_err(|e| failed().because(e))?;
    }
    Ok(())
}

/// Without the supervisor there is nobody to clean up after the pod, and
/// nobody who holds it for alive.
fn die_with_the_supervisor(wire: &OwnedFd) -> Result<()> {
    let failed = || Error::attempt("tie", "the pod to its supervisor");
    // Nobody in the pod may trace its init or look at its files.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| failed().because(e))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| failed().because(e))?;
    // It may have died just before that.
    let mut byte = [0; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(wire, &mut byte, flags) {
        Ok((0, _)) => sys::process::exit(0),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(e) => Err(failed().because(e)),
    }
}

/// Takes hold of what comes from the host, then lets go of the host's tree.
fn mounts(plan: &Plan, around: &mut Surroundings) -> Result<(Vec<Sources>, OwnedFd, SignalFd)> {
    around.timings.mark("mounts");
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::openat(CWD, c"/dev/null", flags, Mode::empty())
        .map_err(Error::system("open", "/dev/null"))?;
    // Mounts that appear on the host below a volume travel in, nothing
    // travels out.
    let inwards = Change {
        propagation: Some(Propagation::Slave),
        recursive: true,
        ..Change::default()
    };
    set_mount_attributes(CWD, c"/", inwards)
        .map_err(Error::system("cut off", "the pod's mounts"))?;
    let sources = plan
        .apps
        .iter()
        .map(|app| Sources::open(app).map_err(|e| e.of_app(&app.name)))
        .collect::<Result<Vec<_>>>()?;
    if plan.apps.iter().any(plan::App::needs_proc) {
        around.proc = Some(identity::private_proc()?);
    }
    let attributes = MountAttributes::READ_ONLY
        | MountAttributes::NO_SUID
        | MountAttributes::NO_DEV
        | MountAttributes::NO_EXEC;
    let nothing = mounting::new_file_system(c"tmpfs", &[], attributes)
        .map_err(Error::system("mount", "an empty root"))?;
    mounting::attach_over_root(&nothing)
        .and_then(|()| mounting::pivot(&nothing))
        .map_err(Error::system("pivot to", "an empty root"))?;
    let children = signals::watch(&[nix::sys::signal::Signal::SIGCHLD])?;
    Ok((sources, null, children))
}

impl Init {
    /// Until the pod is over.
    fn serve(&mut self, proof: &SingleThread) -> Result<()> {
        self.around.timings.mark("ready");
        while !self.over() {
            let (wire, children) = self.wait()?;
            self.bloated |= children || wire;
            if children {
                signals::clear(&self.children)?;
                self.reap(proof)?;
            }
            if wire {
                let received = wire::receive(&self.around.wire)
                    .map_err(Error::system("hear", "the supervisor"))?;
                let Some(Received {
                    message,
                    descriptors,
                    ..
                }) = received
                else {
                    // The supervisor is gone; the kernel is about to kill us.
                    return Ok(());
                };
                self.obey(message, descriptors, proof)?;
            }
            if self.stopping {
                self.stop_next();
            }
        }
        Ok(())
    }

    /// Waits for the wire and for children, and tells which it was.
    fn wait(&mut self) -> Result<(bool, bool)> {
        let deadline = self.apps.iter().filter_map(|app| app.deadline).min();
        let mut polled = [
            PollFd::new(&self.around.wire, PollFlags::IN),
            PollFd::new(&self.children, PollFlags::IN),
        ];
        idle::wait(&mut polled, deadline, &mut self.bloated)
            .map_err(Error::system("wait for", "the apps"))?;
        let [wire, children] = &polled;
        Ok((!wire.revents().is_empty(), !children.revents().is_empty()))
    }

    fn over(&self) -> bool {
        self.apps.iter().all(|app| {
            app.main.is_none() && app.handler.is_none() && (app.waiting.is_none() || self.stopping)
        })
    }

    fn obey(
        &mut self,
        order: Order,
        descriptors: Vec<OwnedFd>,
        proof: &SingleThread,
    ) -> Result<()> {
        match order {
            Order::Start {
                app,
                unified,
                devices,
                unresolved,
            } => {
                if !self.stopping {
                    if unresolved && let Some(app) = self.apps.get_mut(usize::from(app)) {
                        app.keep_resolv_conf();
                    }
                    let entrance = Entrance::from_list(descriptors, unified, devices);
                    self.start(app, entrance, proof)?;
                }
            }
            Order::Signal(signal) => {
                for pid in self.apps.iter().filter_map(|app| app.main) {
                    kill(pid, signal);
                }
            }
            Order::Stop => self.stopping = true,
            Order::Kill => {
                self.stopping = true;
                for app in &mut self.apps {
                    if let Some(pid) = app.main {
                        kill(pid, libc::SIGKILL);
                        app.deadline = Some(Instant::now());
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, index: u16, entrance: Entrance, proof: &SingleThread) -> Result<()> {
        let Some(app) = self.apps.get_mut(usize::from(index)) else {
            return Ok(());
        };
        let Some((plan, sources)) = app.waiting.take() else {
            return Ok(());
        };
        let failed = || Error::attempt("start", "its process");
        let unified = entrance.unified.as_ref().map(AsFd::as_fd);
        let forked = sys::process::fork(proof, Namespaces::MOUNT, unified)
            .map_err(|e| failed().because(e).of_app(&plan.name))?;
        let pid = match forked {
            Fork::Child => {
                let birth = app::Birth {
                    index,
                    stdio: &app.stdio,
                    entrance: &entrance,
                    device_filter: app.device_filter.as_deref(),
                    around: &self.around,
                    proof,
                };
                birth.run(&plan, sources)
            }
            Fork::Parent(pid, _) => pid,
        };
        app.main = Pid::from_raw(pid);
        match &mut app.post_stop {
            // The handler wants the app's mounts when the app is gone.
            Some(post_stop) => {
                post_stop.mounts = Some(
                    mounts_of(&self.around, pid)
                        .map_err(|e| failed().because(e).of_app(&plan.name))?,
                );
                post_stop.entrance = entrance;
            }
            // Or the supervisor would wait for us to write.
            None => app.stdio = Stdio::default(),
        }
        self.let_go()
    }

    /// Lets go of the caller's standard descriptors when nobody is left who
    /// would be born with them.
    fn let_go(&mut self) -> Result<()> {
        let born = |app: &App| app.waiting.is_none() && app.post_stop.is_none();
        if !self.apps.iter().all(born) {
            return Ok(());
        }
        if let Some(null) = self.null.take() {
            let failed = || Error::attempt("let go of", "the caller's descriptors");
            rustix::stdio::dup2_stdin(&null).map_err(|e| failed().because(e))?;
            rustix::stdio::dup2_stdout(&null).map_err(|e| failed().because(e))?;
            rustix::stdio::dup2_stderr(&null).map_err(|e| failed().because(e))?;
        }
        Ok(())
    }

    /// Takes the status of every child that ended.
    fn reap(&mut self, proof: &SingleThread) -> Result<()> {
        loop {
            let ended = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(e) => return Err(Error::system("wait for", "a process")(e)),
            };
            self.note(ended.0, End::of(ended.1), proof)?;
        }
    }

    fn note(&mut self, pid: Pid, end: End, proof: &SingleThread) -> Result<()> {
        for (index, app) in self.apps.iter_mut().enumerate() {
            if app.main == Some(pid) {
                app.main = None;
                app.deadline = None;
                if end.status() != 0 {
                    self.stopping = true;
                }
                if let Some(handler) = app.post_stop.take() {
                    app.handler = post_stop(&handler, &app.stdio, &self.around, proof)?;
                    app.stdio = Stdio::default();
                }
                let report = Report::Exited {
                    app: index as u16,
                    end,
                };
                return wire::send(&self.around.wire, &report, &[])
                    .map_err(Error::system("reach", "the supervisor"));
            }
            if app.handler == Some(pid) {
                app.handler = None;
                if end.status() != 0 {
                    let error = Error::Handler {
                        handler: "post-stop",
                        outcome: format!("ended with status {}", end.status()),
                    };
                    self.around.report_failure(Some(index as u16), &error);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks the last app that still runs to stop, and kills it when its time
    /// is over.
    fn stop_next(&mut self) {
        let Some(app) = self.apps.iter_mut().rev().find(|app| app.main.is_some()) else {
            return;
        };
        let Some(pid) = app.main else { return };
        match app.deadline {
            None => {
                kill(pid, app.stop_signal);
                // A stopped process would not notice.
                kill(pid, libc::SIGCONT);
                app.deadline = Some(Instant::now() + app.grace);
            }
            Some(deadline) if deadline <= Instant::now() => {
                kill(pid, libc::SIGKILL);
                app.deadline = Some(Instant::now() + Duration::from_secs(1));
            }
            Some(_) => {}
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

fn post_stop(
    handler: &PostStop,
    stdio: &Stdio,
    around: &Surroundings,
    proof: &SingleThread,
) -> Result<Option<Pid>> {
    let Some(mounts) = &handler.mounts else {
        return Ok(None);
    };
    let entrance = &handler.entrance;
    let unified = entrance.unified.as_ref().map(AsFd::as_fd);
    let forked = sys::process::fork(proof, Namespaces::empty(), unified)
        .map_err(Error::system("run", "the post-stop handler"))?;
    match forked {
        Fork::Child => app::run_post_stop(
            &handler.name,
            &handler.process,
            mounts,
            stdio,
            entrance,
            around,
        ),
        Fork::Parent(pid, _) => Ok(Pid::from_raw(pid)),
    }
}

/// The process may be over already; that is what the signal was for.
fn kill(pid: Pid, signal: i32) {
    let _over = sys::signals::send(pid.as_raw_nonzero().get(), signal);
}
