//! Whoever is attached to an app's streams.
//!
//! Each of the app's streams goes to everybody who is attached to it, and to
//! nobody when there is none: the app does not wait for somebody to come. Who
//! does not read for so long that its socket is full is let go, for the others
//! and the app shall not wait for it either. What people type goes straight
//! into the app's pipe or terminal, of which they get a descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

/// Bytes that a socket may hold which nobody reads.
const BUFFER: usize = 1 << 20;

/// A stream to which one can attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output, or what a terminal shows.
    Output,
    /// Standard error.
    Error,
}

/// The streams of one app.
#[derive(Debug)]
pub struct Hub {
    /// The app's place in the pod's list.
    pub app: u16,
    /// Where what is typed goes.
    pub input: Option<OwnedFd>,
    /// It is a terminal.
    pub terminal: bool,
    /// Which of the app's streams come here.
    pub channels: Vec<Channel>,
    attached: Vec<(Channel, OwnedFd)>,
}

impl Hub {
    /// Nobody is attached yet.
    pub fn new(app: u16) -> Self {
        Self {
            app,
            input: None,
            terminal: false,
            channels: Vec::new(),
            attached: Vec::new(),
        }
    }

    /// Passes data on to everybody.
    pub fn send(&mut self, channel: Channel, data: &[u8]) {
        self.attached.retain(|(theirs, socket)| {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            *theirs != channel || rustix::net::send(socket, data, flags).is_ok()
        });
    }

    /// The descriptors for somebody who wants these streams, each with its
    /// name; those that the app does not have are left out.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn attach(&mut self, wants: &[&str]) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let mut given = Vec::new();
        let any = |names: &[&str]| names.iter().any(|name| wants.contains(name));
        if let Some(input) = &self.input {
            let (name, wanted) = match self.terminal {
                true => ("tty-in", any(&["tty", "tty-in", "auto"])),
                false => ("stdin", any(&["stdin", "auto"])),
            };
            if wanted {
                given.push((name, input.try_clone()?));
            }
        }
        for channel in self.channels.clone() {
            let (name, wanted) = match (self.terminal, channel) {
                (true, _) => ("tty-out", any(&["tty", "tty-out", "auto"])),
                (false, Channel::Output) => ("stdout", any(&["stdout", "auto"])),
                (false, Channel::Error) => ("stderr", any(&["stderr", "auto"])),
            };
            if wanted {
                given.push((name, self.listen(channel)?));
            }
        }
        Ok(given)
    }

    fn listen(&mut self, channel: Channel) -> io::Result<OwnedFd> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::sockopt::set_socket_send_buffer_size(ours.as_fd(), BUFFER)?;
        self.attached.push((channel, ours));
        Ok(theirs)
    }
}
