//! A unit of systemd for a pod that a shell starts.
//!
//! ```text
//! foreground   rkt ──StartTransientUnit──▶ scope around rkt, then exec
//! --detach     rkt ──StartTransientUnit──▶ service ── rkt-stage1
//!               └──────lock, log, sockets, pins──────────┘  (the socket "handover")
//! ```
//!
//! The manager is asked as soon as the pod has its directory, and its answer is
//! needed only when all else is ready. A pod of a unit that delegates its cgroup
//! has its unit already; a service that does not is left as it is.

use std::io::{self, IoSlice, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use manifests::appc::PodManifest;
use manifests::engine::HANDOVER_ENV;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::AtFlags;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use systemd::bus::Bus;
use systemd::manager::{Content, Job, Unit};
use systemd::unit::Standing;

use crate::pods::OwnedPod;
use crate::stage1::{PROGRAM, Stage1};

/// How long the manager may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket in the pod directory on which a service's supervisor is given
/// what it needs.
const HANDOVER: &str = "handover";

/// Most descriptors that the kernel passes at once (`SCM_MAX_FD`).
const MOST: usize = 253;

/// A unit that the manager was asked for.
#[derive(Debug)]
pub struct PodUnit {
    name: String,
    bus: Bus,
    job: Job,
    /// Where a service's supervisor comes; none for a scope.
    listener: Option<OwnedFd>,
}

impl PodUnit {
    /// Asks for what the pod needs, if it needs one: none where systemd is not,
    /// or where the pod's place is given. `tell` hears what the user should
    /// know.
    pub fn ask(
        pod: &OwnedPod,
        manifest: &PodManifest,
        stage1: &Stage1,
        detach: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Option<Self> {
        let standing = Standing::look();
        if standing == Standing::Service && !detach && is_main_process() {
            tell(
                "warning: the pod is outside of its unit's cgroup, so the unit's limits do not \
                 hold for it: set Delegate=yes in the unit's [Service] section",
            );
        }
        Self::ask_at(&standing, pod, manifest, stage1, detach).unwrap_or_else(|e| {
            tell(&format!(
                "warning: the pod runs without a unit of its own: cannot ask systemd: {e}"
            ));
            None
        })
    }

    fn ask_at(
        standing: &Standing,
        pod: &OwnedPod,
        manifest: &PodManifest,
        stage1: &Stage1,
        detach: bool,
    ) -> io::Result<Option<Self>> {
        let wanted = match standing {
            Standing::None | Standing::Delegated => false,
            // What a service starts without leaving it is the service's; but
            // shells of services without a session are shells.
            Standing::Service => detach || io::stdin().is_terminal(),
            Standing::Elsewhere => true,
        };
        if !wanted || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        // A system without a bus has no manager to ask.
        let Ok(mut bus) = Bus::connect() else {
            return Ok(None);
        };
        let name = name(pod, manifest, detach);
        let description = description(pod, manifest);
        let own = rustix::process::getpid().as_raw_nonzero().get();
        if !detach {
            let controller = bus.name(Instant::now() + PATIENCE)?;
            let content = Content::Process {
                pid: own.unsigned_abs(),
                controller: &controller,
            };
            return Self::start(name, &description, content, bus, None).map(Some);
        }
        let listener = listen(pod.dir())?;
        let path = format!("/proc/{own}/fd/{}", stage1.program().as_raw_fd());
        let handover = format!(
            "{HANDOVER_ENV}=/proc/{own}/fd/{}/{HANDOVER}",
            pod.dir().as_raw_fd()
        );
        let uuid = pod.uuid().to_string();
        let content = Content::Program {
            path: &path,
            arguments: &[PROGRAM, "run", &uuid],
            environment: &[&handover],
        };
        Self::start(name, &description, content, bus, Some(listener)).map(Some)
    }

    fn start(
        name: String,
        description: &str,
        content: Content<'_>,
        mut bus: Bus,
        listener: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let unit = Unit {
            name: &name,
            description,
            content,
        };
        let job = Job::start(&mut bus, &unit)?;
        Ok(Self {
            name,
            bus,
            job,
            listener,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until this process is in its scope; the connection on which the
    /// manager will say that the scope is to stop.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn enter(mut self) -> io::Result<OwnedFd> {
        self.job.wait(&mut self.bus, Instant::now() + PATIENCE)?;
        self.bus.into_descriptor()
    }

    /// Waits for the service's supervisor and gives it the pod: its lock, its
    /// log, the sockets of its apps and the pins of its images.
    ///
    /// # Errors
    /// Why it did not come.
    pub(super) fn hand_over(
        mut self,
        pod: &OwnedPod,
        log: BorrowedFd<'_>,
        sockets: &[BorrowedFd<'_>],
        pins: &[OwnedFd],
    ) -> io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Err(io::Error::other(format!("{} is no service", self.name)));
        };
        let mut descriptors = vec![pod.dir(), log];
        descriptors.extend(sockets);
        descriptors.extend(pins.iter().map(AsFd::as_fd));
        let supervisor = self.accept(&listener)?;
        // It is not needed again.
        let _removed = rustix::fs::unlinkat(pod.dir(), HANDOVER, AtFlags::empty());
        let text = format!("{} {}", sockets.len(), pins.len());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if descriptors.len() > MOST
            || !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors))
        {
            return Err(rustix::io::Errno::TOOBIG.into());
        }
        let text = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg(&supervisor, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn accept(&mut self, listener: &OwnedFd) -> io::Result<OwnedFd> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = vec![PollFd::new(listener, PollFlags::IN)];
            if said {
                polled.push(PollFd::new(&self.bus, PollFlags::IN));
            }
            match poll(&mut polled, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if !polled[0].revents().is_empty() {
                let flags = SocketFlags::CLOEXEC;
                let peer = rustix::net::accept_with(listener, flags)?;
                let who = rustix::net::sockopt::socket_peercred(&peer)?;
                if who.uid == rustix::process::geteuid() {
                    return Ok(peer);
                }
            }
            drop(polled);
            said = said && !self.job.is_done(&mut self.bus)?;
        }
    }
}

/// Whether we are what the service manager has executed (systemd.exec(5),
/// `$SYSTEMD_EXEC_PID`).
fn is_main_process() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    std::env::var_os("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == *own)
}

fn listen(pod: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let listener = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // However long the directory's own path is, and wherever it moves.
    let path = format!("/proc/self/fd/{}/{HANDOVER}", pod.as_raw_fd());
    rustix::net::bind(&listener, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&listener, 1)?;
    Ok(listener)
}

/// `rkt-APP-UUID8.scope`, or `.service`.
fn name(pod: &OwnedPod, manifest: &PodManifest, detach: bool) -> String {
    let app = manifest.apps.first().map_or("pod", |app| app.name.as_str());
    // The name of a unit has at most 255 bytes.
    let app = &app[..app.len().min(200)];
    let uuid = pod.uuid().to_string();
    let kind = if detach { "service" } else { "scope" };
    format!("rkt-{app}-{}.{kind}", &uuid[..8])
}

fn description(pod: &OwnedPod, manifest: &PodManifest) -> String {
    let apps: Vec<String> = manifest
        .apps
        .iter()
        .map(|app| match &app.image.name {
            Some(image) => format!("{} ({image})", app.name),
            None => app.name.to_string(),
        })
        .collect();
    match apps.is_empty() {
        true => format!("Pod {}", pod.uuid()),
        false => format!("Pod {}: {}", pod.uuid(), apps.join(", ")),
    }
}
