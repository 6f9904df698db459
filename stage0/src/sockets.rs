//! Listening sockets that a service manager passes to rkt, for apps with
//! socket-activated ports.
//!
//! A socket belongs to the app with a socket-activated port that has the
//! socket's name (`FileDescriptorName=`) or its number: on the host where
//! `--port` says one, else its own. What is forwarded otherwise is not then,
//! because the host's port is the socket's already. Any other socket goes to
//! the app that asks for it by name, or to a pod's only app.
//!
//! Source: sd_listen_fds(3); rkt's pod reference, "Socket activation".

use std::os::fd::{AsFd, OwnedFd};

use manifests::appc::{App, PodManifest};
use manifests::engine::{self, Protocol};
use rustix::net::sockopt::socket_type;
use rustix::net::{SocketType, getsockname};
use serde::{Deserialize, Serialize};

use crate::behaviour::Names;

/// What one is called that has no name (sd_listen_fds_with_names(3)).
const UNNAMED: &str = "unknown";

/// The sockets, in the order in which they were passed.
#[derive(Debug, Default)]
pub struct Passed {
    descriptors: Vec<OwnedFd>,
    list: List,
}

/// What is known of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct List(Vec<Socket>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Socket {
    /// What the service manager calls it.
    name: String,
    /// What it listens on, where that is a port.
    at: Option<(Protocol, u16)>,
}

impl Passed {
    /// Takes over what was passed to this process; to be called before it opens
    /// anything.
    ///
    /// # Errors
    /// `EBADF` when fewer were passed than `LISTEN_FDS` says.
    pub fn take() -> std::io::Result<Self> {
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let (pid, count) = (number("LISTEN_PID"), number("LISTEN_FDS"));
        if pid != Some(std::process::id()) {
            return Ok(Self::default());
        }
        let taken = sys::descriptors::take_passed(count.unwrap_or(0) as usize)?;
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let named = names.split(':').chain(std::iter::repeat(UNNAMED));
        let sockets = taken.iter().zip(named);
        Ok(Self {
            list: List(sockets.map(|(fd, name)| Socket::new(fd, name)).collect()),
            descriptors: taken,
        })
    }

    /// None was passed.
    pub fn is_empty(&self) -> bool {
        self.descriptors.is_empty()
    }

    /// The descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.descriptors.iter()
    }

    /// What is known of them.
    pub(crate) fn list(&self) -> &List {
        &self.list
    }
}

impl List {
    /// The sockets that an app's ports ask for.
    pub(crate) fn of_ports(&self, manifest: &PodManifest, app: &App) -> Vec<engine::Socket> {
        let mut sockets = Vec::new();
        for port in app.ports.iter().filter(|port| port.socket_activated) {
            let Ok(protocol) = port.protocol.parse::<Protocol>() else {
                continue;
            };
            let exposed = manifest.ports.iter().find(|e| e.name == port.name);
            let first = exposed.map_or(port.port, |exposed| exposed.host_port);
            let ours = |socket: &Socket| {
                let by_number = |(p, number): (Protocol, u16)| {
                    p == protocol && number.checked_sub(first).is_some_and(|n| n < port.count)
                };
                socket.name == port.name.as_str() || socket.at.is_some_and(by_number)
            };
            let numbered = (0..).zip(&self.0).filter(|(_, socket)| ours(socket));
            sockets.extend(numbered.map(|(index, _)| engine::Socket {
                index,
                name: port.name.as_str().to_owned(),
            }));
        }
        sockets
    }

    /// The sockets that an app asks for by name, besides those that ports ask
    /// for.
    pub(crate) fn of_names(
        &self,
        wanted: Option<&Names>,
        by_ports: &[engine::Socket],
        app: &engine::App,
        tell: &mut dyn FnMut(&str),
    ) -> Vec<engine::Socket> {
        let wants = |name: &str| match wanted {
            None => false,
            Some(Names::All) => true,
            Some(Names::Of(names)) => names.iter().any(|wanted| wanted == name),
        };
        if let Some(Names::Of(names)) = wanted {
            for name in names
                .iter()
                .filter(|n| !self.0.iter().any(|s| s.name == **n))
            {
                tell(&format!(
                    "warning: app {:?} asks for a socket {name:?}, which was not passed",
                    app.name
                ));
            }
        }
        let taken = |index: u16| by_ports.iter().any(|socket| socket.index == index);
        let free = (0..).zip(&self.0);
        free.filter(|(index, socket)| wants(&socket.name) && !taken(*index))
            .map(|(index, socket)| engine::Socket {
                index,
                name: socket.name.clone(),
            })
            .collect()
    }

    /// The places of the sockets that were not `given` to anybody.
    pub(crate) fn unused(&self, given: &[engine::Socket]) -> Vec<String> {
        let is_given = |index: u16| given.iter().any(|socket| socket.index == index);
        let unused = (0..).zip(&self.0).filter(|(index, _)| !is_given(*index));
        unused
            .map(|(index, socket)| match socket.at {
                Some((protocol, port)) => {
                    format!("number {index} ({}), {protocol} port {port}", socket.name)
                }
                None => format!("number {index} ({}), on no port", socket.name),
            })
            .collect()
    }
}

impl Socket {
    fn new(descriptor: &OwnedFd, name: &str) -> Self {
        let at = || {
            let protocol = match socket_type(descriptor.as_fd()).ok()? {
                SocketType::STREAM => Protocol::Tcp,
                SocketType::DGRAM => Protocol::Udp,
                _ => return None,
            };
            let address = std::net::SocketAddr::try_from(getsockname(descriptor).ok()?).ok()?;
            Some((protocol, address.port()))
        };
        Self {
            at: at(),
            name: name.to_owned(),
        }
    }
}
