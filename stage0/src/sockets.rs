//! Listening sockets that a service manager passes to rkt, for apps with
//! socket-activated ports.
//!
//! A socket belongs to the app whose port has the socket's number: on the host
//! where `--port` says one, else its own. What is forwarded otherwise is not
//! then, because the host's port is the socket's already.
//!
//! Source: sd_listen_fds(3); rkt's pod reference, "Socket activation".

use std::os::fd::{AsFd, OwnedFd};

use manifests::appc::{App, PodManifest};
use manifests::engine::{self, Protocol};
use rustix::net::sockopt::socket_type;
use rustix::net::{SocketType, getsockname};

/// The sockets, in the order in which they were passed.
#[derive(Debug, Default)]
pub struct Passed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    descriptor: OwnedFd,
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
        Ok(Self(taken.into_iter().map(Socket::new).collect()))
    }

    /// None was passed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.0.iter().map(|socket| &socket.descriptor)
    }

    /// The sockets of an app.
    pub(crate) fn of_app(&self, manifest: &PodManifest, app: &App) -> Vec<engine::Socket> {
        let mut sockets = Vec::new();
        for port in app.ports.iter().filter(|port| port.socket_activated) {
            let Ok(protocol) = port.protocol.parse::<Protocol>() else {
                continue;
            };
            let exposed = manifest.ports.iter().find(|e| e.name == port.name);
            let first = exposed.map_or(port.port, |exposed| exposed.host_port);
            let ours = |socket: &Socket| {
                socket.at.is_some_and(|(p, number)| {
                    p == protocol && number.checked_sub(first).is_some_and(|n| n < port.count)
                })
            };
            let numbered = (0..).zip(&self.0).filter(|(_, socket)| ours(socket));
            sockets.extend(numbered.map(|(index, _)| engine::Socket {
                index,
                name: port.name.as_str().to_owned(),
            }));
        }
        sockets
    }

    /// The places of the sockets that were not `given` to anybody.
    pub(crate) fn unused(&self, given: &[engine::Socket]) -> Vec<String> {
        let is_given = |index: u16| given.iter().any(|socket| socket.index == index);
        let unused = (0..).zip(&self.0).filter(|(index, _)| !is_given(*index));
        unused
            .map(|(index, socket)| match socket.at {
                Some((protocol, port)) => format!("number {index}, {protocol} port {port}"),
                None => format!("number {index}, on no port"),
            })
            .collect()
    }
}

impl Socket {
    fn new(descriptor: OwnedFd) -> Self {
        let at = || {
            let protocol = match socket_type(descriptor.as_fd()).ok()? {
                SocketType::STREAM => Protocol::Tcp,
                SocketType::DGRAM => Protocol::Udp,
                _ => return None,
            };
            let address = std::net::SocketAddr::try_from(getsockname(&descriptor).ok()?).ok()?;
            Some((protocol, address.port()))
        };
        Self {
            at: at(),
            descriptor,
        }
    }
}
