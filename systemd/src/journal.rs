//! journald's native protocol: a message is a datagram of fields.
//!
//! Source: systemd's "Native Journal Protocol", sd-daemon(3) for the prefixes
//! of lines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

/// Where journald takes messages.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// What systemd gives services as standard output: `/run/systemd/journal/stdout`,
/// or `/run/systemd/journal.NAMESPACE/stdout` with `LogNamespace=`.
const STREAMS: (&str, &str) = ("/run/systemd/journal", "/stdout");

/// Priority of a line without a prefix, as for services (`SyslogLevel=`).
pub const INFO: u8 = 6;

/// Facility of what services write: `daemon`.
const FACILITY: &str = "3";

/// Whether there is a journald.
pub fn is_present() -> bool {
    Path::new(SOCKET).exists()
}

/// Whether this descriptor is a stream to journald, as services have it for
/// standard output.
pub fn is_stream(descriptor: BorrowedFd<'_>) -> bool {
    let Ok(copy) = descriptor.try_clone_to_owned() else {
        return false;
    };
    // Something else than a socket has no peer.
    let peer = UnixStream::from(copy).peer_addr();
    peer.is_ok_and(|address| {
        address
            .as_pathname()
            .and_then(Path::to_str)
            .is_some_and(|path| path.starts_with(STREAMS.0) && path.ends_with(STREAMS.1))
    })
}

/// Splits a line into its priority, if it has the prefix `<0>` to `<7>`, and
/// the rest.
pub fn priority(line: &[u8]) -> (Option<u8>, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (Some(digit - b'0'), rest),
        _ => (None, line),
    }
}

/// Adds a field to a message. The name is one that journald takes from
/// clients: capitals, digits and underscores, and no underscore first.
pub fn add(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

/// The fields of a line that come after those that all lines of its writer
/// have.
pub fn add_line(message: &mut Vec<u8>, priority: u8, line: &[u8]) {
    add(message, "PRIORITY", &[b'0' + priority.min(7)]);
    add(message, "SYSLOG_FACILITY", FACILITY.as_bytes());
    add(message, "MESSAGE", line);
}

/// A way to journald.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Finds journald.
    ///
    /// # Errors
    /// What the kernel says of its socket.
    pub fn connect() -> io::Result<Self> {
        Self::connect_to(Path::new(SOCKET))
    }

    /// Finds one that listens elsewhere.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_to(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Many lines may wait there while journald is busy.
        let _smaller = rustix::net::sockopt::set_socket_send_buffer_size(&socket, 8 << 20);
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self { socket })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when journald has to catch up first, which
    /// poll(2) tells; else that it cannot be reached or does not take it.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self.socket.send(message) {
            // There is another one behind the same path.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotConnected
                ) =>
            {
                *self = Self::connect()?;
                self.socket.send(message)
            }
            other => other,
        }?;
        Ok(())
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn fields_are_text_unless_they_have_lines() {
        let mut message = Vec::new();
        add(&mut message, "A", b"b=c");
        add(&mut message, "B", b"x\ny");
        add_line(&mut message, 3, b"last");
        let expected =
            b"A=b=c\nB\n\x03\0\0\0\0\0\0\0x\ny\nPRIORITY=3\nSYSLOG_FACILITY=3\nMESSAGE=last\n";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_prefix_is_one_digit_in_angle_brackets() {
        for (line, priority_of, rest) in [
            ("<3>bad", Some(3), "bad"),
            ("<7>", Some(7), ""),
            ("<8>no", None, "<8>no"),
            ("<30>no", None, "<30>no"),
            (" <3>no", None, " <3>no"),
            ("<3", None, "<3"),
        ] {
            assert_eq!(priority(line.as_bytes()), (priority_of, rest.as_bytes()));
        }
    }

    #[test]
    fn what_is_sent_arrives_whole_and_a_full_socket_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listening = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::connect_to(&path).unwrap();
        let mut sent = 0;
        let full = loop {
            match journal.send(b"MESSAGE=x\n") {
                Ok(()) => sent += 1,
                Err(e) => break e.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
        listening.set_nonblocking(true).unwrap();
        let mut heard = [0; 64];
        let mut got = 0;
        while let Ok(length) = listening.recv(&mut heard) {
            assert_eq!(&heard[..length], b"MESSAGE=x\n");
            got += 1;
        }
        assert_eq!(sent, got);
    }

    #[test]
    fn a_stream_is_told_by_whom_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let _listening = UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        assert!(!is_stream(stream.as_fd()));
        let (read, _write) = std::io::pipe().unwrap();
        assert!(!is_stream(read.as_fd()));
    }
}
