//! The process that a pod's starter becomes: on the host, outside the pod.
//!
//! It holds the lock that says the pod is alive, makes the pod's init, and
//! then only passes things on: signals inwards, output and exit statuses
//! outwards. When the pod is over it gives back what the pod had of the host.
//!
//! SIGTERM or SIGINT   once: stop in order; twice: kill; thrice: kill PID 1
//! SIGABRT             stop in order, the app that speaks to the service manager
//!                     by SIGABRT: what a watchdog of systemd sends
//! other signals       passed on to the app that speaks to the service manager,
//!                     without one to all
//! SIGKILL             the init's parent-death signal kills the pod at once
//!
//! Invariant: the pod's record of cgroups is written before the first of them
//! is made, so that gc can undo what a killed supervisor could not.

mod app_record;
mod bus;
pub(crate) mod control;
mod guests;
pub mod hub;
mod inherited;
pub mod journal;
pub mod log;
mod manager;
mod network;
mod notify;
pub mod relay;
pub mod terminal;

use std::os::fd::OwnedFd;

use manifests::engine::{self, AppStatus, Ending, Logs, PID_FILE, PPID_FILE, Pod, Readiness};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitOptions, pidfd_send_signal, waitpid};
use sys::device_filter::Instruction;
use sys::process::{Fork, Namespaces, SingleThread};

use crate::cgroup::{self, Cgroups};
use crate::error::{Error, Result};
use crate::idle::wait;
use crate::init;
use crate::plan::{self, Plan};
use crate::rootfs::Sources;
use crate::timings::Timings;
use crate::users::Mapper;
use crate::wire::{self, End, Order, Received, Report};
use crate::{record, signals, stdio};
use app_record::AppRecord;
use bus::Systemd;
use control::{Control, Event};
use inherited::Inherited;
use manager::Manager;
use network::PodNetwork;
pub use network::{ask, check, collect};
use relay::Relay;
use terminal::RawTerminal;

/// Signals that the supervisor acts on or passes on.
const WATCHED: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGABRT,
    Signal::SIGWINCH,
];

/// Runs the pod whose directory is the working directory, to its end. Returns
/// its exit status: that of the first app that failed.
///
/// # Errors
/// [`Error`], when the pod cannot be run; nothing of it is left on the host
/// then but its directory.
pub fn run(uuid: &str) -> Result<i32> {
    // It may have been executed by a descriptor, whose number is no name.
    rustix::thread::set_name(c"rkt-stage1").map_err(Error::system("name", "the supervisor"))?;
    let inherited = Inherited::take()?;
    let timings = Timings::new(inherited.timings);
    timings.mark("plan");
    let proof = SingleThread::prove().map_err(Error::system("count", "the engine's threads"))?;
    let plan = Plan::new(read(uuid)?)?;
    let records = plan
        .apps
        .iter()
        .map(AppRecord::new)
        .collect::<Result<_>>()?;
    let mut cgroups = cgroup::Plan::new(uuid, plan.apps.iter().map(plan::App::wishes))?;
    let mut device_filters = cgroups.take_device_filters();
    let mapper = plan.users.map(Mapper::new).transpose()?;
    let network = PodNetwork::new(uuid, &plan.network)?;
    let (mutable, logs) = (plan.mutable, plan.logs);
    let interactive = plan.interactive;
    let attachable = plan.apps.iter().any(|app| app.streams.attachable()) && !interactive;
    let control = (mutable || attachable).then(Control::open).transpose()?;
    let mut relay = Relay::default();
    let stdio = stdio::open(&plan, &inherited.sockets, &mut relay)?;
    let signals = signals::watch(&WATCHED)?;
    let (wire, pod) = wire::pair().map_err(Error::system("make", "a socket pair"))?;
    let sources = match &mapper {
        Some(mapper) => Some(open_sources(&plan, mapper)?),
        None => None,
    };
    // Who is root in a user namespace only may not attach them.
    let own_filters = match &mapper {
        Some(_) => device_filters.iter_mut().map(Option::take).collect(),
        None => Vec::new(),
    };
    let namespaces = match &mapper {
        Some(_) => Namespaces::PID | Namespaces::USER,
        None => Namespaces::PID,
    };

    timings.mark("clone");
    let forked = sys::process::fork(&proof, namespaces, None)
        .map_err(Error::system("make", "the pod's first process"))?;
    let (pid, init) = match forked {
        Fork::Parent(pid, init) => (pid, init),
        Fork::Child => {
            drop((inherited.lock, inherited.bus, inherited.sockets));
            drop((wire, signals, relay, cgroups, network));
            drop::<(Vec<AppRecord>, _)>((records, control));
            drop((mapper, own_filters));
            let start = init::Start {
                plan,
                device_filters,
                sources,
                wire: pod,
                stdio,
                pins: inherited.pins,
                timings,
            };
            init::run(start, &proof)
        }
    };
    drop((pod, stdio, plan, device_filters, sources));
    let mut supervisor = Supervisor {
        uuid: uuid.to_owned(),
        mutable,
        interactive,
        logs,
        control,
        recorded: String::new(),
        unresolved: false,
        apps: records,
        wire: Some(wire),
        signals,
        init,
        pid,
        relay,
        raw: None,
        cgroups: None,
        network,
        mapper,
        manager: Manager::find(),
        systemd: Systemd::new(inherited.bus),
        pins: inherited.pins,
        sockets: match mutable {
            true => inherited.sockets,
            false => Vec::new(),
        },
        verdict: None,
        failure: None,
        asked: 0,
        killed: false,
    };
    let ran = supervisor
        .launch(cgroups, own_filters, &timings)
        .and_then(|()| supervisor.serve());
    if ran.is_err() {
        supervisor.kill_init();
    }
    timings.mark("teardown");
    let is_managed = supervisor.manager.is_there();
    let finished = supervisor.finish();
    timings.mark("end");
    drop(inherited.lock);
    ran?;
    let end = finished?;
    if let (End::Signal(signal), true) = (end, is_managed) {
        signals::die_of(signal);
    }
    Ok(end.status())
}

/// What the apps need from the host, mapped and cut off from it.
fn open_sources(plan: &Plan, mapper: &Mapper) -> Result<Vec<Sources>> {
    let open = |app: &plan::App| {
        let sources = Sources::open(app, Some(mapper))?;
        sources.cut_off().map(|()| sources)
    };
    let apps = plan.apps.iter();
    apps.map(|app| open(app).map_err(|e| e.of_app(&app.name)))
        .collect()
}

/// Tells of a failure that is no reason to end a pod that runs.
fn tell(result: Result<()>) {
    if let Err(error) = result {
        crate::error::say(format_args!("run: {}", error.line()));
    }
}

fn read(uuid: &str) -> Result<Pod> {
    let text = std::fs::read(engine::FILE).map_err(Error::system("read", engine::FILE))?;
    let pod: Pod = serde_json::from_slice(&text).map_err(|source| Error::Damaged {
        file: engine::FILE,
        source,
    })?;
    // It names cgroups, which gc removes by this name.
    let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
    if pod.uuid != uuid || uuid.len() != 36 || !uuid.bytes().all(plain) {
        return Err(Error::Refused {
            field: "uuid",
            value: pod.uuid,
            reason: "not the UUID of the pod that was to be run",
        });
    }
    Ok(pod)
}

#[derive(Debug)]
struct Supervisor {
    uuid: String,
    /// Apps come and go, and none of them ends the pod.
    mutable: bool,
    /// The one app has the caller's terminal, if the caller has one.
    interactive: bool,
    logs: Option<Logs>,
    control: Option<Control>,
    /// The pod's cgroups, as they are on record.
    recorded: String,
    /// The networks said nothing of name resolution.
    unresolved: bool,
    apps: Vec<AppRecord>,
    /// None once the pod's side is closed.
    wire: Option<OwnedFd>,
    signals: SignalFd,
    init: OwnedFd,
    pid: i32,
    relay: Relay,
    raw: Option<RawTerminal>,
    cgroups: Option<Cgroups>,
    network: Option<PodNetwork>,
    /// Of a pod with users of its own.
    mapper: Option<Mapper>,
    manager: Manager,
    systemd: Systemd,
    pins: Vec<OwnedFd>,
    /// Those that were passed for the apps, as long as there may come more.
    sockets: Vec<OwnedFd>,
    /// The end of the first app that failed.
    verdict: Option<End>,
    /// Why the whole pod failed, as its init told it.
    failure: Option<String>,
    /// How often we were asked to stop.
    asked: u32,
    /// It was us who killed the init.
    killed: bool,
}

impl Supervisor {
    /// Records the pod and lets its apps start.
    fn launch(
        &mut self,
        cgroups: cgroup::Plan,
        device_filters: Vec<Option<Vec<Instruction>>>,
        timings: &Timings,
    ) -> Result<()> {
        if let (Some(mapper), Some(wire)) = (&self.mapper, &self.wire) {
            mapper.admit(self.pid, wire)?;
        }
        timings.mark("cgroups");
        self.recorded = cgroups.record();
        record::cgroups(&self.recorded)?;
        self.cgroups = Some(cgroups.create()?);
        self.tell_lost();
        for (app, filter) in device_filters.iter().enumerate() {
            self.limit_devices(app, filter.as_deref())?;
        }
        self.unresolved = !self.join(timings)?;
        for index in 0..self.apps.len() {
            self.order_start(index as u16)?;
        }
        if self.apps.is_empty() {
            // There is no app whose readiness would be the pod's.
            tell(record::ready());
            self.manager.ready(0);
        }
        let boot_id = record::boot_id()?;
        record::process(PPID_FILE, std::process::id() as i32, &boot_id)?;
        record::process(PID_FILE, self.pid, &boot_id)?;
        self.systemd.register(&self.uuid, self.pid);
        Ok(())
    }

    /// Tells which limits the apps do without.
    fn tell_lost(&mut self) {
        let lost = self.cgroups.as_mut().map(Cgroups::take_lost);
        for cgroup::Lost { app: name, text } in lost.into_iter().flatten() {
            crate::error::say(format_args!("run: warning: app {name:?}: {text}"));
            if let Some(app) = self.apps.iter().position(|app| app.name == name) {
                self.note(app as u16, |status| status.unlimited.push(text));
            }
        }
    }

    /// Limits the devices of an app that may not do it itself, on v2.
    fn limit_devices(&self, app: usize, filter: Option<&[Instruction]>) -> Result<()> {
        match &self.cgroups {
            Some(cgroups) => cgroups.app(app).limit_devices(filter),
            None => Ok(()),
        }
    }

    /// Has the init start an app, and gives it the way into its cgroups.
    fn order_start(&self, app: u16) -> Result<()> {
        let (Some(cgroups), Some(wire)) = (&self.cgroups, &self.wire) else {
            return Ok(());
        };
        let cgroups = cgroups.app(usize::from(app));
        let procs = match &self.mapper {
            Some(_) => cgroups.procs()?,
            None => None,
        };
        let list = cgroups.entrance();
        let list = match &procs {
            Some(procs) => list.through(procs),
            None => list,
        };
        let order = Order::Start {
            app,
            unified: list.unified,
            devices: list.devices,
            unresolved: self.unresolved,
        };
        match wire::send(wire, &order, &list.descriptors) {
            // It failed, and has told why by now.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Error::system("start", "the apps")),
        }
    }

    /// Joins the pod's networks, if it has any, as soon as the init has made
    /// the namespace. Says whether the networks said how to resolve names.
    fn join(&mut self, timings: &Timings) -> Result<bool> {
        while self.network.as_ref().is_some_and(PodNetwork::is_waiting) && self.wire.is_some() {
            self.hear()?;
        }
        match &mut self.network {
            Some(network) => {
                timings.mark("network");
                network.join()
            }
            None => Ok(false),
        }
    }

    /// Until the init is over.
    fn serve(&mut self) -> Result<()> {
        let mut bloated = true;
        loop {
            let watched = self.relay.watched();
            let mut polled = vec![
                PollFd::new(&self.init, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            let wire_at = self.wire.as_ref().map(|_| polled.len());
            if let Some(wire) = &self.wire {
                polled.push(PollFd::new(wire, PollFlags::IN));
            }
            let alarm = self.network.as_ref().and_then(PodNetwork::alarm);
            let alarm_at = alarm.as_ref().map(|_| polled.len());
            polled.extend(alarm.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let systemd_at = polled.len();
            polled.extend(
                self.systemd
                    .watched()
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
            );
            let notify_at = polled.len();
            let notifying: Vec<u16> = (0..self.apps.len() as u16)
                .filter(|app| self.apps[usize::from(*app)].notify.is_some())
                .collect();
            polled.extend(
                self.apps
                    .iter()
                    .filter_map(|app| app.notify.as_ref())
                    .map(|socket| PollFd::new(socket, PollFlags::IN)),
            );
            let control_at = polled.len();
            polled.extend(
                self.control
                    .iter()
                    .flat_map(Control::watched)
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
            );
            let fixed = polled.len();
            polled.extend(watched.iter().map(|&watched| self.relay.poll_fd(watched)));
            wait(&mut polled, None, &mut bloated).map_err(Error::system("wait for", "the pod"))?;
            let ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(polled);
            let moving = watched.into_iter().zip(&ready[fixed..]);
            self.relay.advance(
                moving
                    .filter(|(_, ready)| **ready)
                    .map(|(w, _)| w)
                    .collect(),
            );
            if ready[1] {
                self.pass_signals()?;
                bloated = true;
            }
            if alarm_at.is_some_and(|at| ready[at])
                && let Some(network) = &mut self.network
            {
                network.restore();
            }
            if ready[systemd_at..notify_at].contains(&true) {
                if self.systemd.hear() {
                    self.stop()?;
                }
                bloated = true;
            }
            if wire_at.is_some_and(|at| ready[at]) {
                self.hear()?;
                bloated = true;
            }
            for app in notifying
                .into_iter()
                .zip(&ready[notify_at..control_at])
                .filter_map(|(app, ready)| ready.then_some(app))
            {
                self.listen_to(app);
            }
            if ready[control_at..fixed].contains(&true) {
                self.take_orders(&ready[control_at..fixed])?;
                bloated = true;
            }
            if ready[0] {
                return Ok(());
            }
        }
    }

    fn pass_signals(&mut self) -> Result<()> {
        while let Some(signal) = signals::next(&self.signals)? {
            match signal {
                libc::SIGWINCH => {
                    if let Some(terminal) = self.relay.terminal() {
                        terminal::copy_size(terminal);
                    }
                }
                libc::SIGTERM | libc::SIGINT => self.stop()?,
                libc::SIGABRT => {
                    self.asked += 1;
                    self.manager.stopping();
                    match self.speaker() {
                        Some(app) => self.order(&Order::Abort { app })?,
                        None => self.order(&Order::Kill)?,
                    }
                }
                signal => {
                    let app = self.speaker();
                    self.order(&Order::Signal { signal, app })?;
                }
            }
        }
        Ok(())
    }

    /// Somebody asks for the pod's end, more firmly each time.
    fn stop(&mut self) -> Result<()> {
        self.asked += 1;
        self.manager.stopping();
        match self.asked {
            1 => self.order(&Order::Stop)?,
            2 => self.order(&Order::Kill)?,
            _ => self.kill_init(),
        }
        Ok(())
    }

    /// The app that may speak to the service manager.
    fn speaker(&self) -> Option<u16> {
        let place = self.apps.iter().position(|app| app.speaks && !app.over)?;
        u16::try_from(place).ok()
    }

    /// Takes what an app says of itself.
    fn listen_to(&mut self, app: u16) {
        let index = usize::from(app);
        let (mut buffer, mut ready) = ([0; notify::LONGEST], false);
        let record = &self.apps[index];
        while let Some(said) = record
            .notify
            .as_ref()
            .and_then(|socket| notify::hear(socket, &mut buffer))
        {
            ready |= said.is_ready();
            if record.speaks {
                self.manager.pass_on(&said);
            }
        }
        if ready && record.ready == Readiness::Notify {
            self.note_ready(app);
        }
    }

    fn order(&self, order: &Order) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        match wire::send(wire, order, &[]) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Error::system("reach", "the pod's init")),
        }
    }

    fn kill_init(&mut self) {
        self.killed = true;
        // It may be over already.
        let _over = pidfd_send_signal(&self.init, rustix::process::Signal::KILL);
    }

    fn hear(&mut self) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        let received = wire::receive(wire).map_err(Error::system("hear", "the pod's init"))?;
        let Some(Received {
            message,
            mut descriptors,
            sender,
        }) = received
        else {
            self.wire = None;
            return Ok(());
        };
        match message {
            Report::Started { app } => {
                // The mounts are made, so the images need no pin of ours.
                self.pins.clear();
                self.note_start(app, sender);
                Ok(())
            }
            Report::Namespace => {
                if let (Some(network), Some(namespace)) = (&mut self.network, descriptors.pop()) {
                    network.has(namespace);
                }
                Ok(())
            }
            Report::Terminal { app } if !self.interactive => {
                if let Some(master) = descriptors.pop() {
                    self.relay
                        .add_channel_terminal(app, master)
                        .map_err(Error::system("take", "an app's terminal"))?;
                }
                Ok(())
            }
            Report::Terminal { .. } => {
                if let Some(master) = descriptors.pop() {
                    terminal::copy_size(&master);
                    self.raw = Some(RawTerminal::enter()?);
                    self.relay.add_terminal(master);
                }
                Ok(())
            }
            Report::Failed {
                app: Some(app),
                text,
            } => {
                crate::error::say(format_args!("run: {text}"));
                self.note(app, |status| status.error = Some(text));
                Ok(())
            }
            Report::Failed { app: None, text } => {
                self.failure.get_or_insert(text);
                Ok(())
            }
            Report::Exited {
                app,
                end,
                handler,
                again,
            } => {
                self.note_end(app, end, again);
                match handler {
                    true => Ok(()),
                    false => self.settle(app, again),
                }
            }
            Report::Settled { app, again } => self.settle(app, again),
            Report::PowerOff => self.stop(),
            Report::Ready { app } => {
                self.note_ready(app);
                Ok(())
            }
            Report::Weigh(value) => {
                let path = format!("/proc/{sender}/oom_score_adj");
                let done = std::fs::write(path, value.to_string());
                let number = done.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0);
                if let Some(answer) = descriptors.pop() {
                    // Who asked may be gone.
                    let _gone = rustix::io::write(answer, &number.to_le_bytes());
                }
                Ok(())
            }
        }
    }

    fn hear_all(&mut self) -> Result<()> {
        while self.wire.is_some() {
            self.hear()?;
        }
        Ok(())
    }

    fn note_start(&mut self, app: u16, pid: i32) {
        let Some(known) = self.apps.get(usize::from(app)) else {
            return;
        };
        let ready = known.ready.is_started();
        self.note(app, |status| {
            if let Some(finished) = status.finished.take() {
                status.restarts += 1;
                status.previous = Some(Ending {
                    finished,
                    exit_code: status.exit_code.take(),
                    signal: status.signal.take(),
                    oom_killed: std::mem::take(&mut status.oom_killed),
                });
                status.error = None;
            }
            status.restarting = false;
            status.started = Some(record::now());
            status.pid = Some(pid);
            // It may be over by now; then nobody looks for it.
            status.start_time = record::start_time(pid).ok();
            status.ready = ready;
        });
        if ready {
            self.reach(app);
        }
        guests::answer(&mut self.control, Event::Started(app), None);
    }

    fn note_ready(&mut self, app: u16) {
        let running = |app: &AppRecord| app.status.pid.is_some() && !app.status.ready;
        if self.apps.get(usize::from(app)).is_some_and(running) {
            self.note(app, |status| status.ready = true);
            self.reach(app);
        }
    }

    /// The app has been ready once; when all have, so has the pod.
    fn reach(&mut self, app: u16) {
        let Some(known) = self.apps.get_mut(usize::from(app)) else {
            return;
        };
        if !std::mem::replace(&mut known.reached, true) && self.apps.iter().all(|app| app.reached) {
            tell(record::ready());
            self.manager.ready(self.apps.len());
        }
    }

    fn note_end(&mut self, app: u16, end: End, again: bool) {
        if end.status() != 0 && !again && !self.mutable {
            self.verdict.get_or_insert(end);
        }
        let index = usize::from(app);
        let mut oom_killed = false;
        if let (Some(cgroups), Some(record)) = (&self.cgroups, self.apps.get_mut(index)) {
            let kills = cgroups.app(index).oom_kills();
            oom_killed = kills > record.oom_kills;
            record.oom_kills = kills;
        }
        self.note(app, |status| {
            status.pid = None;
            status.start_time = None;
            status.ready = false;
            status.restarting = again;
            status.finished = Some(record::now());
            status.oom_killed = oom_killed;
            match end {
                End::Code(code) => status.exit_code = Some(code),
                End::Signal(signal) => status.signal = Some(signal),
            }
        });
    }

    /// Nothing of an app is to run any more, or not until it is started again.
    fn settle(&mut self, app: u16, again: bool) -> Result<()> {
        let index = usize::from(app);
        let several = self.apps.len() > 1;
        let Some(record) = self.apps.get_mut(index) else {
            return Ok(());
        };
        record.over = !again;
        if let Some(cgroups) = &mut self.cgroups {
            // The rest of an only app dies with the init.
            if again || several || self.mutable {
                tell(cgroups.app(index).kill_rest());
            }
            if self.mutable && !again {
                cgroups.remove_app(index, &record.name);
            } else if self.apps.iter().all(|app| app.over) {
                cgroups.remove_empty();
            }
        }
        if again {
            return self.order(&Order::Again { app });
        }
        self.relay.drop_hub(app);
        let status = &self.apps[index].status;
        let failure = status.started.is_none().then(|| {
            let why = status.error.as_deref();
            why.unwrap_or("the app could not be started").to_owned()
        });
        guests::answer(&mut self.control, Event::Started(app), failure.as_deref());
        guests::answer(&mut self.control, Event::Over(app), None);
        Ok(())
    }

    /// Changes an app's status and writes it down.
    fn note(&mut self, app: u16, change: impl FnOnce(&mut AppStatus)) {
        if let Some(AppRecord { name, status, .. }) = self.apps.get_mut(usize::from(app)) {
            change(status);
            tell(record::status(name, status));
        }
    }

    /// Gives back what the pod had, and judges it.
    fn finish(mut self) -> Result<End> {
        let status = waitpid(Pid::from_raw(self.pid), WaitOptions::empty())
            .map_err(Error::system("wait for", "the pod's init"))?;
        let end = status.map_or(End::Code(0), |(_, status)| End::of(status));
        // What it said last is still to be heard.
        let heard = self.hear_all();
        if let Some(network) = self.network.take() {
            network.leave();
        }
        let removed = match self.cgroups.take() {
            Some(cgroups) => cgroups.remove(),
            None => Ok(()),
        };
        self.relay.finish();
        self.raw = None;
        if let Some(text) = self.failure.take() {
            crate::error::say(format_args!("run: {text}"));
        }
        if end != End::Code(0) {
            self.condemn(end);
        }
        for index in 0..self.apps.len() {
            if self.apps[index].status.restarting {
                self.note(index as u16, |status| status.restarting = false);
            }
        }
        heard.and(removed)?;
        Ok(self.verdict.unwrap_or(End::Code(0)))
    }

    /// The init did not end in order, and the apps with it.
    fn condemn(&mut self, end: End) {
        if let End::Signal(signal) = end
            && !self.killed
        {
            crate::error::say(format_args!(
                "run: the pod's init was killed by signal {signal}, and its apps with it"
            ));
        }
        self.verdict.get_or_insert(end);
        for index in 0..self.apps.len() {
            let status = &self.apps[index].status;
            if status.started.is_some() && status.finished.is_none() {
                self.note_end(index as u16, End::Signal(libc::SIGKILL), false);
            }
        }
    }
}
