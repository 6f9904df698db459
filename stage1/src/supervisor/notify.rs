//! Where apps say that they are ready, as sd_notify(3) does.
//!
//! A datagram socket for each app that is [`Readiness::Notify`], in the pod
//! directory and mounted into that app alone, so who writes there is known.
//! What else apps say there is read and dropped, or they would wait for us.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manifests::engine::{NOTIFY_SOCKET, Readiness};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Error, Result};

/// Longest message that is understood; what is longer is cut.
const LONGEST: usize = 2048;

/// Makes the socket of an app that has one, in the working directory.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub(super) fn open(app: &str, ready: &Readiness) -> Result<Option<OwnedFd>> {
    if *ready != Readiness::Notify {
        return Ok(None);
    }
    let path = Path::new("apps").join(app).join(NOTIFY_SOCKET);
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

/// Reads what there is; whether one message said that the app is ready.
pub(super) fn hear(socket: &OwnedFd) -> bool {
    let mut ready = false;
    let mut message = [0; LONGEST];
    while let Ok((length, _)) = rustix::net::recv(socket, &mut message, RecvFlags::DONTWAIT) {
        ready |= message[..length]
            .split(|&byte| byte == b'\n')
            .any(|line| line == b"READY=1");
    }
    ready
}
