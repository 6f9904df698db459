//! The pod's PID 1.
//!
//! It exists because a PID namespace needs one: it holds the pod's
//! namespaces, starts the apps, reaps whoever is orphaned, and decides when
//! the pod is over. It waits for the supervisor's orders and for children,
//! and for nothing else. When it ends, the kernel kills whatever is left.
//!
//!     running ──an app failed for good, Stop──▶ stopping ──all over──▶ exit
//!
//! What becomes of one app is the business of [`life`].
//!
//! Invariant: nothing of the host is reachable from here once the first app
//! runs: its root is an empty directory, and the only descriptors are its end
//! of the wire, the null device, and the ways into the apps: their cgroups,
//! their mounts and their pipes, for as long as something is to be run there.

mod life;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use manifests::engine::{EXIT_EXEC, Ipc, Network};
use nix::sched::CloneFlags;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::CWD;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use sys::device_filter::Instruction;
use sys::mount_attributes::{Change, MountAttributes, Propagation, set_mount_attributes};
use sys::process::SingleThread;

use crate::app::Surroundings;
use crate::cgroup::Entrance;
use crate::error::{Error, Result};
use crate::parcel::Parcel;
use crate::plan::{self, Parameter, Plan};
use crate::protection::{Protection, is_left_out};
use crate::resolve::{self, Kind};
use crate::rootfs::Sources;
use crate::stdio::Stdio;
use crate::timings::Timings;
use crate::wire::{self, End, Order, Received, Report};
use crate::{identity, idle, mounting, signals, users};
use life::{App, Rest};

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
    /// What the apps need from the host, where the init could not open it.
    pub sources: Option<Vec<Sources>>,
    /// What keeps the images mounted until we have mounts of our own.
    pub pins: Vec<OwnedFd>,
    /// Where phases are noted.
    pub timings: Timings,
}

/// Runs the pod, in the process that [`fork`](sys::process::fork) made in a
/// new PID namespace; ends with it.
pub fn run(start: Start, proof: &SingleThread) -> ! {
    hide_environment(proof);
    let around = Surroundings {
        wire: start.wire,
        proc: None,
        timings: start.timings,
        own_users: start.plan.users.is_some(),
    };
    let given = start.stdio.into_iter().zip(start.device_filters).collect();
    let status = match prepare(start.plan, given, start.sources, start.pins, around) {
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

/// What the pod was started with is no app's business, though it may look at
/// its init.
pub(crate) fn hide_environment(proof: &SingleThread) {
    if !is_left_out(Protection::Environment) {
        sys::process::erase_environment(b"RKT_", proof);
    }
}

#[derive(Debug)]
struct Init {
    /// By their places in the supervisor's list.
    apps: BTreeMap<u16, App>,
    around: Surroundings,
    children: SignalFd,
    /// Whoever asks for our end from outside.
    power_off: OwnedFd,
    stopping: bool,
    /// It has apps for as long as it is not stopped, though it be none.
    mutable: bool,
    /// The parts of an app that is being added.
    pieces: Vec<OwnedFd>,
    /// What the apps share as POSIX shared memory.
    shm: Option<OwnedFd>,
    /// The null device, for whoever has nothing to say.
    quiet: Stdio,
    /// The caller's descriptors are ours no more.
    aloof: bool,
    /// There may be memory to give back.
    bloated: bool,
}

/// The failure and what is needed to tell of it.
type Refusal = (Error, Surroundings);

fn prepare(
    plan: Plan,
    given: Vec<(Stdio, Option<Vec<Instruction>>)>,
    sources: Option<Vec<Sources>>,
    pins: Vec<OwnedFd>,
    mut around: Surroundings,
) -> std::result::Result<Init, Refusal> {
    match namespaces(&plan, &around).and_then(|()| mounts(&plan, sources, &mut around)) {
        Ok((sources, quiet, (children, power_off), shm)) => {
            drop(pins);
            let apps = plan
                .apps
                .into_iter()
                .zip(sources)
                .zip(given)
                .map(|((app, sources), (stdio, device_filter))| {
                    App::new(app, sources, stdio, device_filter)
                })
                .enumerate()
                .map(|(index, app)| (index as u16, app))
                .collect();
            Ok(Init {
                apps,
                around,
                children,
                power_off,
                stopping: false,
                mutable: plan.mutable,
                pieces: Vec::new(),
                shm,
                quiet,
                aloof: false,
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
    if plan.users.is_some() {
        // First of all: the kernel forgets what is said below when the user
        // changes.
        users::await_ids(&around.wire)?;
    }
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

/// What [`mounts`] leaves: what the apps need of the host, the null device,
/// where children's ends and the wish for ours are told, and the apps' shared
/// memory.
type Held = (Vec<Sources>, Stdio, (SignalFd, OwnedFd), Option<OwnedFd>);

/// Takes hold of what comes from the host, then lets go of the host's tree.
fn mounts(plan: &Plan, sources: Option<Vec<Sources>>, around: &mut Surroundings) -> Result<Held> {
    around.timings.mark("mounts");
    let quiet = Stdio::quiet()?;
    // Mounts that appear on the host below a volume travel in, nothing
    // travels out.
    let inwards = Change {
        propagation: Some(Propagation::Slave),
        recursive: true,
        ..Change::default()
    };
    set_mount_attributes(CWD, c"/", inwards)
        .map_err(Error::system("cut off", "the pod's mounts"))?;
    let mut sources = match sources {
        Some(sources) => sources,
        None => plan
            .apps
            .iter()
            .map(|app| Sources::open(app, None).map_err(|e| e.of_app(&app.name)))
            .collect::<Result<Vec<_>>>()?,
    };
    if plan.mutable || plan.apps.iter().any(plan::App::needs_proc) {
        around.proc = Some(identity::private_proc()?);
    }
    let attributes = MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
    let nothing = mounting::new_file_system(c"tmpfs", &[], attributes)
        .map_err(Error::system("mount", "an empty root"))?;
    let warrants = match plan.users {
        Some(_) => Warrants::make(plan)?,
        None => Warrants::default(),
    };
    mounting::attach_over_root(&nothing)
        .and_then(|()| mounting::pivot(&nothing))
        .map_err(Error::system("pivot to", "an empty root"))?;
    warrants.keep(&nothing)?;
    let mut shm = None;
    if let Some(parameters) = &plan.shm {
        let made = shared_memory(parameters)?;
        for (app, sources) in plan.apps.iter().zip(&mut sources) {
            sources.share_shm(app, &made)?;
        }
        shm = Some(made);
    } else if plan.mutable {
        // An app that comes later may want some.
        resolve::mount_point(&nothing, Path::new(SHM), Kind::Directory)
            .map_err(Error::system("make", SHM))?;
    }
    mounting::change(
        &nothing,
        MountAttributes::READ_ONLY,
        MountAttributes::empty(),
        false,
    )
    .map_err(Error::system("make read-only", "the empty root"))?;
    let children = signals::watch(&[nix::sys::signal::Signal::SIGCHLD])?;
    let power_off =
        sys::signals::watch(signals::POWER_OFF).map_err(Error::system("watch", "signals"))?;
    Ok((sources, quiet, (children, power_off), shm))
}

/// In a user namespace the kernel mounts `/proc` and `/sys` only for who sees
/// them already, whole (user_namespaces(7)); the init keeps them where its
/// apps are born, and no app keeps that.
#[derive(Debug, Default)]
struct Warrants(Vec<(&'static str, OwnedFd)>);

impl Warrants {
    fn make(plan: &Plan) -> Result<Self> {
        let attributes =
            MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
        let mut made = vec![("/proc", c"proc")];
        // The file system of devices is the network namespace's owner's.
        if plan.network != Network::Host {
            made.push(("/sys", c"sysfs"));
        }
        let make = |(place, fs_type): (&'static str, &std::ffi::CStr)| {
            mounting::new_file_system(fs_type, &[], attributes)
                .map(|mount| (place, mount))
                .map_err(Error::system("mount the pod's", place))
        };
        Ok(Self(made.into_iter().map(make).collect::<Result<_>>()?))
    }

    fn keep(self, root: &OwnedFd) -> Result<()> {
        for (place, mount) in self.0 {
            resolve::mount_point(root, Path::new(place), Kind::Directory)
                .and_then(|at| mounting::attach(mount, at))
                .map_err(Error::system("keep the pod's", place))?;
        }
        Ok(())
    }
}

/// Where the apps' shared memory is in the init's root.
const SHM: &str = "/shm";

/// A tmpfs in the init's root, where apps' mounts can be copied from.
fn shared_memory(parameters: &[Parameter]) -> Result<OwnedFd> {
    let make = || -> std::io::Result<OwnedFd> {
        let attributes =
            MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
        let shm = mounting::new_file_system(c"tmpfs", parameters, attributes)?;
        let place = resolve::mount_point(CWD, Path::new(SHM), Kind::Directory)?;
        mounting::attach(&shm, place)?;
        Ok(shm)
    };
    make().map_err(Error::system("mount", "the pod's shared memory"))
}

impl Init {
    /// Until the pod is over.
    fn serve(&mut self, proof: &SingleThread) -> Result<()> {
        self.around.timings.mark("ready");
        while !self.over() {
            let (wire, children, power_off) = self.wait()?;
            self.bloated |= children || wire;
            if power_off && signals::came_from_outside(&self.power_off) {
                wire::send(&self.around.wire, &Report::PowerOff, &[])
                    .map_err(Error::system("reach", "the supervisor"))?;
            }
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
            self.tick(proof)?;
        }
        Ok(())
    }

    /// Does what it is time for.
    fn tick(&mut self, proof: &SingleThread) -> Result<()> {
        if self.stopping {
            for app in self.apps.values_mut() {
                if matches!(app.rest, Rest::Held | Rest::Due(_)) {
                    app.forget();
                }
            }
            if let Some(app) = self.apps.values_mut().rev().find(|app| app.main.is_some()) {
                app.stop();
            }
        }
        for (&index, app) in &mut self.apps {
            if app.condemned {
                app.stop();
            }
            app.tick(index, &self.quiet, &self.around, proof)?;
        }
        self.let_go()
    }

    /// Waits for the wire, for children and for somebody who asks for the end,
    /// and tells which it was.
    fn wait(&mut self) -> Result<(bool, bool, bool)> {
        let deadline = self.apps.values().filter_map(App::alarm).min();
        let mut polled = [
            PollFd::new(&self.around.wire, PollFlags::IN),
            PollFd::new(&self.children, PollFlags::IN),
            PollFd::new(&self.power_off, PollFlags::IN),
        ];
        idle::wait(&mut polled, deadline, &mut self.bloated)
            .map_err(Error::system("wait for", "the apps"))?;
        let [wire, children, power_off] = polled.map(|fd| !fd.revents().is_empty());
        Ok((wire, children, power_off))
    }

    fn over(&self) -> bool {
        let over = self.apps.values().all(|app| app.is_over(self.stopping));
        over && (self.stopping || !self.mutable)
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
                    if unresolved && let Some(app) = self.apps.get_mut(&app) {
                        app.keep_resolv_conf();
                    }
                    let entrance = Entrance::from_list(descriptors, unified, devices);
                    if let Some(life) = self.apps.get_mut(&app) {
                        life.start(app, entrance, &self.around, proof)?;
                    }
                    self.let_go()?;
                }
            }
            Order::Signal { signal, app: only } => {
                for (index, app) in &self.apps {
                    if let Some(pid) = app.main
                        && only.is_none_or(|only| only == *index)
                    {
                        kill(pid, signal);
                    }
                }
            }
            Order::Abort { app } => {
                self.stopping = true;
                if let Some(app) = self.apps.get_mut(&app) {
                    app.abort();
                }
            }
            Order::Again { app } => {
                if let Some(app) = self.apps.get_mut(&app) {
                    app.release();
                }
            }
            // Said once, before there was an init to say it to.
            Order::Mapped => {}
            Order::Piece => self.pieces.extend(descriptors),
            Order::Add { app } => self.add(app)?,
            Order::StopApp { app: index } => {
                let Some(app) = self.apps.get_mut(&index) else {
                    return Ok(());
                };
                app.condemned = true;
                if matches!(app.rest, Rest::Held | Rest::Due(_)) {
                    app.forget();
                    self.tell(&Report::Settled {
                        app: index,
                        again: false,
                    })?;
                }
            }
            Order::Stop => self.stopping = true,
            Order::Kill => {
                self.stopping = true;
                for app in self.apps.values_mut() {
                    if let Some(pid) = app.main {
                        kill(pid, libc::SIGKILL);
                        app.deadline = Some(Instant::now());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes an app in; what is wrong with it is its own failure.
    fn add(&mut self, index: u16) -> Result<()> {
        let pieces = std::mem::take(&mut self.pieces);
        let parcel = Parcel::open(pieces).and_then(|mut parcel| {
            if self.shm.is_none()
                && let Some(parameters) = parcel.app.shared_memory()
            {
                self.shm = Some(shared_memory(parameters)?);
            }
            if let Some(shm) = &self.shm {
                parcel.sources.share_shm(&parcel.app, shm)?;
            }
            Ok(parcel)
        });
        let Parcel {
            app,
            sources,
            stdio,
            device_filter,
        } = match parcel {
            Ok(parcel) => parcel,
            Err(error) => {
                self.around.report_failure(Some(index), &error);
                return self.tell(&Report::Exited {
                    app: index,
                    end: End::Code(error.exit_status()),
                    handler: false,
                    again: false,
                });
            }
        };
        let app = App::new(app, sources, stdio, device_filter);
        self.apps.insert(index, app);
        Ok(())
    }

    /// Lets go of the caller's standard descriptors when nobody is left who
    /// would be born with them, and of the privileges that births need.
    fn let_go(&mut self) -> Result<()> {
        if self.aloof || !self.apps.values().all(App::is_barren) {
            return Ok(());
        }
        self.aloof = true;
        if !self.mutable && !is_left_out(Protection::IdleInit) {
            identity::renounce()?;
        }
        self.quiet.take()
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
        for (&index, app) in &mut self.apps {
            if app.main == Some(pid) {
                let (handler, again) = app.ended(index, end, self.stopping, &self.around, proof)?;
                self.stopping |= end.status() != 0 && !again && !self.mutable;
                return self.tell(&Report::Exited {
                    app: index,
                    end,
                    handler,
                    again,
                });
            }
            if app.handler == Some(pid) {
                let again = app.settle();
                // That it could not be executed was told by itself.
                if !matches!(end.status(), 0 | EXIT_EXEC) {
                    let error = Error::Handler {
                        handler: "post-stop",
                        outcome: format!("ended with status {}", end.status()),
                    };
                    self.around.report_failure(Some(index), &error);
                }
                return self.tell(&Report::Settled { app: index, again });
            }
            match app.probed(pid, end) {
                Some(true) => return self.tell(&Report::Ready { app: index }),
                Some(false) => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    fn tell(&self, report: &Report) -> Result<()> {
        wire::send(&self.around.wire, report, &[]).map_err(Error::system("reach", "the supervisor"))
    }
}

/// The process may be over already; that is what the signal was for.
fn kill(pid: Pid, signal: i32) {
    let _over = sys::signals::send(pid.as_raw_nonzero().get(), signal);
}
