//! The system bus.
//!
//! Everything up to the first call is sent at once, without waiting for what
//! the bus says of it; sd-bus does the same. A bus that cannot take that at
//! once is as good as none.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::wire::{Call, Kind, Message, Writer};

/// Where the bus listens (D-Bus Specification, "Well-known Message Bus
/// Instances").
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// Read at once.
const CHUNK: usize = 4096;

/// A connection.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    received: Vec<u8>,
    /// What the bus says of who we are was heard.
    admitted: bool,
    serial: u32,
}

impl Bus {
    /// Connects and says hello.
    ///
    /// # Errors
    /// There is no bus, or it takes nothing just now.
    pub fn connect() -> io::Result<Self> {
        Self::connect_to(SOCKET)
    }

    fn connect_to(path: &str) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let mut bus = Self {
            socket,
            received: Vec::new(),
            admitted: false,
            serial: 0,
        };
        // The user's number in decimal, each digit in hexadecimal.
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.put(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        bus.call_bus("Hello", "", Writer::default())?;
        Ok(bus)
    }

    /// Goes on with the connection of somebody who was admitted.
    pub fn inherited(socket: OwnedFd) -> Self {
        Self {
            socket,
            received: Vec::new(),
            admitted: true,
            // Beyond what the other has used.
            serial: 1 << 16,
        }
    }

    /// Gives the connection to somebody else; waits until there is nothing
    /// that came in part.
    ///
    /// # Errors
    /// The connection broke.
    pub fn into_descriptor(mut self) -> io::Result<OwnedFd> {
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.received.is_empty() {
            self.wait(deadline)?;
        }
        Ok(self.socket)
    }

    /// The name that the bus has given us; waits for it. To be asked before
    /// any other call.
    ///
    /// # Errors
    /// It was not told in time, or we are not admitted.
    pub fn name(&mut self, deadline: Instant) -> io::Result<String> {
        loop {
            let message = self.wait(deadline)?;
            match message.kind {
                Kind::Return => return message.reader().string(),
                Kind::Error => return Err(io::Error::other(message.text())),
                Kind::Call | Kind::Signal => {}
            }
        }
    }

    /// Has the bus pass on the signals that match.
    pub(crate) fn subscribe(&mut self, rule: &str) -> io::Result<()> {
        let mut body = Writer::default();
        body.string(rule);
        self.call_bus("AddMatch", "s", body)
    }

    fn call_bus(&mut self, member: &str, signature: &str, body: Writer) -> io::Result<()> {
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature,
            body,
        };
        self.call(&call)?;
        Ok(())
    }

    /// Sends a call; its answer will be to this number.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> io::Result<u32> {
        self.serial += 1;
        self.put(&call.encode(self.serial))?;
        Ok(self.serial)
    }

    fn put(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// The next message that has come, if one has.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if self.is_admitted()?
                && let Some(message) = Message::take(&mut self.received)?
            {
                return Ok(Some(message));
            }
            let mut chunk = [0; CHUNK];
            match rustix::io::read(&self.socket, &mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The bus answers who we are with a line.
    fn is_admitted(&mut self) -> io::Result<bool> {
        if self.admitted {
            return Ok(true);
        }
        let Some(end) = self.received.iter().position(|&byte| byte == b'\n') else {
            return Ok(false);
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        if !line.starts_with(b"OK ") {
            let line = String::from_utf8_lossy(&line);
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the system bus does not admit us: {}", line.trim_end()),
            ));
        }
        self.admitted = true;
        Ok(true)
    }

    /// The next message, waited for.
    pub(crate) fn wait(&mut self, deadline: Instant) -> io::Result<Message> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn who_is_not_admitted_hears_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        let listening = UnixListener::bind(&path).unwrap();
        let mut bus = Bus::connect_to(path.to_str().unwrap()).unwrap();
        let (mut peer, _) = listening.accept().unwrap();
        let mut heard = [0; 200];
        let length = peer.read(&mut heard).unwrap();
        assert!(heard[..length].starts_with(b"\0AUTH EXTERNAL 3"));
        peer.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        let error = bus.name(soon()).unwrap_err().to_string();
        assert!(error.ends_with("REJECTED EXTERNAL"), "{error}");
    }

    #[test]
    fn a_bus_that_goes_or_is_silent_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus");
        assert!(Bus::connect_to(path.to_str().unwrap()).is_err());
        let listening = UnixListener::bind(&path).unwrap();
        let mut bus = Bus::connect_to(path.to_str().unwrap()).unwrap();
        let late = bus.wait(Instant::now()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(listening.accept().unwrap());
        let gone = bus.wait(soon()).unwrap_err();
        assert!(
            matches!(
                gone.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ),
            "{gone}"
        );
    }
}
