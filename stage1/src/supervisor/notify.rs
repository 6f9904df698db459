//! Where apps say how they are doing, as sd_notify(3) does.
//!
//! A datagram socket for each app that is [`Readiness::Notify`] or speaks to
//! the service manager, in the pod directory and mounted into that app alone,
//! so who writes there is known. What nobody may or wants to hear is read and
//! dropped, or apps would wait for us; so are descriptors, which the kernel
//! closes, and that is all that the barrier of sd_notify_barrier(3) wants.
//!
//! [`Readiness::Notify`]: manifests::engine::Readiness::Notify

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manifests::engine::{NOTIFY_SOCKET, Readiness};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Error, Result};
use crate::plan;

/// Longest message that is understood; what is longer is cut.
pub(super) const LONGEST: usize = 2048;

/// What the service manager is told of what an app says. Not among them:
/// which process is the main one and who may speak, for that is ours to say,
/// and descriptors to keep, which would not come back to the app.
const PASSED_ON: [&[u8]; 8] = [
    b"STATUS",
    b"ERRNO",
    b"BUSERROR",
    b"RELOADING",
    b"MONOTONIC_USEC",
    b"WATCHDOG",
    b"WATCHDOG_USEC",
    b"EXTEND_TIMEOUT_USEC",
];

/// Makes the socket of an app that has one, in the working directory.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub(super) fn open(app: &plan::App) -> Result<Option<OwnedFd>> {
    if app.ready != Readiness::Notify && !app.speaks {
        return Ok(None);
    }
    let path = Path::new("apps").join(&app.name).join(NOTIFY_SOCKET);
    let make = || -> io::Result<OwnedFd> {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
        // Whatever user the app is.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(socket)
    };
    make()
        .map(Some)
        .map_err(Error::system("make the socket", path.display()))
}

/// One message: lines of `NAME=VALUE`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a>(&'a [u8]);

impl<'a> Said<'a> {
    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b'\n')
    }

    /// The app is ready, or has been reloaded.
    pub(super) fn is_ready(self) -> bool {
        self.lines().any(|line| line == b"READY=1")
    }

    /// What of it the service manager may hear.
    pub(super) fn passed_on(self) -> impl Iterator<Item = &'a [u8]> {
        self.lines().filter(|line| {
            let name = line.split(|&byte| byte == b'=').next();
            name.is_some_and(|name| name.len() < line.len() && PASSED_ON.contains(&name))
        })
    }
}

/// Reads a message, if there is one.
pub(super) fn hear<'a>(socket: &OwnedFd, buffer: &'a mut [u8; LONGEST]) -> Option<Said<'a>> {
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
    Some(Said(&buffer[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_speaks_of_itself_and_of_nothing_else() {
        let said = Said(b"READY=1\nSTATUS=a=b\nMAINPID=1\nWATCHDOG=1\nFDSTORE=1\nWATCHDOG\n");
        assert!(said.is_ready());
        let heard: Vec<_> = said.passed_on().collect();
        assert_eq!(heard, [b"STATUS=a=b".as_slice(), b"WATCHDOG=1"]);
        assert!(!Said(b"READY=10\nREADY=").is_ready());
    }
}
