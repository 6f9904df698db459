//! `rkt attach`: the caller's terminal or pipes, at the streams of an app that
//! runs.
//!
//! The supervisor gives descriptors; from there on this process and the app
//! have the streams between them. It ends when the first stream of the app's
//! does, or when the caller detaches; the app runs on.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use manifests::engine::CONTROL_SOCKET;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::error::{Error, Result};
use crate::signals;
use crate::supervisor::control::GIFTS;
use crate::supervisor::terminal::{RawTerminal, copy_size};

/// What is typed three times within a second to detach from a terminal: `^]`.
const ESCAPE: u8 = 0x1d;

/// How long the three may take.
const ESCAPE_TIME: Duration = Duration::from_secs(1);

/// Longest answer of the supervisor.
const LONGEST: usize = 4096;

/// Attaches to these streams, joined by commas, of an app of the pod whose
/// directory is the working directory, until one of them ends.
///
/// # Errors
/// [`Error::Answer`] with the supervisor's reason, [`Error::System`] with the
/// kernel's.
pub fn run(name: &str, wants: &str) -> Result<i32> {
    sys::descriptors::inherit(&[]).map_err(Error::system("close", "the caller's descriptors"))?;
    let (names, descriptors) = ask(name, wants)?;
    let mut input = None;
    let mut outputs = Vec::new();
    let mut terminal = false;
    for (name, descriptor) in names.iter().zip(descriptors) {
        match name.as_str() {
            "stdin" => input = Some(descriptor),
            "tty-in" => {
                terminal = true;
                input = Some(descriptor);
            }
            "stderr" => outputs.push((descriptor, rustix::stdio::stderr())),
            _ => outputs.push((descriptor, rustix::stdio::stdout())),
        }
    }
    let raw = match terminal && rustix::termios::isatty(rustix::stdio::stdin()) {
        true => Some(RawTerminal::enter()?),
        false => None,
    };
    let signals = signals::watch(&[Signal::SIGWINCH])?;
    if let (Some(input), true) = (&input, raw.is_some()) {
        copy_size(input);
    }
    let mut escapes = Escapes::default();
    let failed = || Error::attempt("copy", "the app's streams");
    let mut reading = input.is_some();
    loop {
        let mut polled = vec![PollFd::new(&signals, PollFlags::IN)];
        polled.extend(
            outputs
                .iter()
                .map(|(from, _)| PollFd::new(from, PollFlags::IN)),
        );
        let stdin = rustix::stdio::stdin();
        if reading {
            polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(failed().because(e)),
        }
        let ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        if ready[0] {
            signals::clear(&signals)?;
            if let (Some(input), true) = (&input, raw.is_some()) {
                copy_size(input);
            }
        }
        for ((from, to), _) in outputs.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            match copy(from.as_fd(), *to, &mut Escapes::default()) {
                Ok(Copied::Some) => {}
                Ok(_) => return Ok(0),
                Err(e) => return Err(failed().because(e)),
            }
        }
        if let (Some(input), Some(true)) = (&input, ready.get(1 + outputs.len())) {
            let escapes = if raw.is_some() {
                &mut escapes
            } else {
                &mut Escapes::off()
            };
            match copy(stdin, input.as_fd(), escapes) {
                Ok(Copied::Some) => {}
                // Others may type on; the app's input does not end.
                Ok(Copied::End) => reading = false,
                Ok(Copied::Detached) => return Ok(0),
                Err(e) => return Err(failed().because(e)),
            }
            if !reading && outputs.is_empty() {
                return Ok(0);
            }
        }
    }
}

fn ask(name: &str, wants: &str) -> Result<(Vec<String>, Vec<OwnedFd>)> {
    let failed = || Error::attempt("reach", "the pod's supervisor");
    let connect = || -> io::Result<OwnedFd> {
        let kind = SocketType::SEQPACKET;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(CONTROL_SOCKET)?)?;
        Ok(socket)
    };
    let socket = match connect() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let reason = format!("app {name:?} has no stream to attach to");
            return Err(Error::Answer { reason });
        }
        other => other.map_err(|e| failed().because(e))?,
    };
    let request = format!("attach {name} {wants}");
    rustix::net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL)
        .map_err(|e| failed().because(e))?;
    let mut text = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIFTS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })
    .map_err(|e| failed().because(e))?;
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    let text = String::from_utf8_lossy(&text[..got.bytes]).into_owned();
    match text.strip_prefix("ok ") {
        Some(names) => Ok((names.split(' ').map(str::to_owned).collect(), descriptors)),
        None => Err(Error::Answer { reason: text }),
    }
}

/// What came of copying once.
enum Copied {
    Some,
    End,
    Detached,
}

/// Counts what is typed to detach.
#[derive(Default)]
struct Escapes {
    off: bool,
    since: Option<Instant>,
    count: u32,
}

impl Escapes {
    fn off() -> Self {
        Self {
            off: true,
            ..Self::default()
        }
    }

    /// Whether this makes three in time.
    fn detach(&mut self, typed: &[u8]) -> bool {
        for &byte in typed {
            let now = Instant::now();
            let in_time = self.since.is_some_and(|since| now - since < ESCAPE_TIME);
            self.count = match (byte == ESCAPE, in_time) {
                (true, true) => self.count + 1,
                (true, false) => 1,
                (false, _) => 0,
            };
            if self.count == 1 {
                self.since = Some(now);
            }
            if self.count == 3 {
                return !self.off;
            }
        }
        false
    }
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, escapes: &mut Escapes) -> io::Result<Copied> {
    let mut chunk = [0; LONGEST];
    let length = match rustix::io::read(from, &mut chunk) {
        // A terminal that hung up.
        Ok(0) | Err(Errno::IO | Errno::CONNRESET) => return Ok(Copied::End),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Copied::Some),
        other => other?,
    };
    if escapes.detach(&chunk[..length]) {
        return Ok(Copied::Detached);
    }
    let mut rest = &chunk[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            // Nobody reads there any more.
            Err(Errno::PIPE | Errno::IO) => return Ok(Copied::End),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Copied::Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_escapes_in_a_row_detach() {
        let mut escapes = Escapes::default();
        assert!(!escapes.detach(b"a\x1d\x1d"));
        assert!(!escapes.detach(b"b\x1d"));
        assert!(escapes.detach(b"\x1d\x1d"));
        assert!(!Escapes::off().detach(b"\x1d\x1d\x1d"));
    }
}
