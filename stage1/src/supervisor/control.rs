//! The socket on which the supervisor of a pod takes orders, where there can
//! be any: its apps come and go, or one can attach to them.
//!
//!     rkt app start ──"start NAME"──▶ supervisor ──▶ init
//!                   ◀──"ok"───────────
//!
//! Sequenced packets in the pod directory, one request a connection, answered
//! when it is done: "ok", or why not. Who may connect is root; who asked and
//! went away is forgotten. A crash of either side leaves nothing: what counts
//! is in the pod's files.

use std::fs::{self, Permissions};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use manifests::engine::CONTROL_SOCKET;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, acceptfrom_with,
};

use crate::error::{Error, Result};

/// Most descriptors in an answer.
pub(crate) const GIFTS: usize = 3;

/// Longest request.
const LONGEST: usize = 512;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Connections at a time; further ones are closed.
const MOST: usize = 64;

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Start this app.
    Start(String),
    /// Stop this app.
    Stop(String),
    /// Forget this app, which is over.
    Remove(String),
    /// Give descriptors of these streams, joined by commas, of this app.
    Attach(String, String),
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The program of the app with this place was started, or never will be.
    Started(u16),
    /// The app with this place is over.
    Over(u16),
}

/// The socket and whoever is connected.
#[derive(Debug)]
pub(super) struct Control {
    listener: OwnedFd,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    waits_for: Option<Event>,
    gone: bool,
}

impl Request {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let (verb, app) = text.split_once(' ').unwrap_or((text, ""));
        let app = app.to_owned();
        match verb {
            "start" => Ok(Self::Start(app)),
            "stop" => Ok(Self::Stop(app)),
            "remove" => Ok(Self::Remove(app)),
            "attach" => match app.split_once(' ') {
                Some((app, wants)) => Ok(Self::Attach(app.to_owned(), wants.to_owned())),
                None => Err("attach to what?".to_owned()),
            },
            _ => Err(format!("unknown request {verb:?}")),
        }
    }
}

impl Control {
    /// Makes the socket in the working directory.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub(super) fn open() -> Result<Self> {
        let make = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let kind = SocketType::SEQPACKET;
            let listener = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            rustix::net::bind(&listener, &SocketAddrUnix::new(CONTROL_SOCKET)?)?;
            fs::set_permissions(CONTROL_SOCKET, Permissions::from_mode(0o600))?;
            rustix::net::listen(&listener, BACKLOG)?;
            Ok(listener)
        };
        Ok(Self {
            listener: make().map_err(Error::system("make the socket", CONTROL_SOCKET))?,
            clients: Vec::new(),
        })
    }

    /// What to wait for: first who connects, then who is connected.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let clients = self.clients.iter().map(|client| client.socket.as_fd());
        std::iter::once(self.listener.as_fd()).chain(clients)
    }

    /// Takes what came, where `ready` says so of each in the order of
    /// [`Self::watched`]. Each request comes with the place of its client.
    pub(super) fn hear(&mut self, ready: &[bool]) -> Vec<(usize, Request)> {
        let mut requests = Vec::new();
        for (index, client) in self.clients.iter_mut().enumerate() {
            if !ready.get(index + 1).is_some_and(|ready| *ready) {
                continue;
            }
            let mut bytes = [0; LONGEST];
            match rustix::net::recv(&client.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((length @ 1.., _)) if client.waits_for.is_none() => {
                    let text = String::from_utf8_lossy(&bytes[..length]);
                    match Request::parse(&text) {
                        Ok(request) => requests.push((index, request)),
                        Err(reason) => client.answer(&reason),
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                _ => client.gone = true,
            }
        }
        if ready.first().is_some_and(|ready| *ready) {
            while let Ok(socket) =
                acceptfrom_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
                    .map(|(socket, _)| socket)
            {
                let root = rustix::net::sockopt::socket_peercred(&socket)
                    .is_ok_and(|peer| peer.uid.is_root());
                if root && self.clients.len() < MOST {
                    self.clients.push(Client {
                        socket,
                        waits_for: None,
                        gone: false,
                    });
                }
            }
        }
        requests
    }

    /// Answers a client now.
    pub(super) fn answer(&mut self, client: usize, text: &str) {
        self.clients[client].answer(text);
    }

    /// Answers a client with descriptors.
    pub(super) fn give(&mut self, client: usize, text: &str, descriptors: &[OwnedFd]) {
        let client = &mut self.clients[client];
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIFTS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            let _gone = rustix::net::sendmsg(
                &client.socket,
                &[IoSlice::new(text.as_bytes())],
                &mut ancillary,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            );
        }
        client.gone = true;
    }

    /// Answers a client when this happens.
    pub(super) fn wait(&mut self, client: usize, event: Event) {
        self.clients[client].waits_for = Some(event);
    }

    /// It happened.
    pub(super) fn happened(&mut self, event: Event, text: &str) {
        for client in &mut self.clients {
            if client.waits_for == Some(event) {
                client.answer(text);
            }
        }
    }

    /// Forgets who has gone; places of clients change.
    pub(super) fn tidy(&mut self) {
        self.clients.retain(|client| !client.gone);
    }
}

impl Client {
    /// One answer, and the connection is over. Who does not take it is gone.
    fn answer(&mut self, text: &str) {
        let _gone = rustix::net::send(
            &self.socket,
            text.as_bytes(),
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        self.gone = true;
    }
}
