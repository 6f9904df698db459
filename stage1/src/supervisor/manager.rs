//! Telling the service manager how the pod is doing.
//!
//! A unit of `Type=notify` counts as started when its main process, which the
//! supervisor is, says so: when every app is ready. Source: sd_notify(3).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::notify::Said;

/// The variable that names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager, if there is one that wants to hear.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    ready: bool,
    /// The app that may has told its status, so ours is not wanted.
    told: bool,
}

impl Manager {
    /// Finds the manager's socket. One that cannot be used is none: the
    /// manager notices that itself, and says so.
    pub(super) fn find() -> Self {
        let address = std::env::var_os(SOCKET).as_ref().and_then(address);
        Self {
            socket: address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))),
            ready: false,
            told: false,
        }
    }

    /// There is one.
    pub(super) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// All apps are ready. Said once.
    pub(super) fn ready(&mut self, apps: usize) {
        if !std::mem::replace(&mut self.ready, true) {
            let s = if apps == 1 { "" } else { "s" };
            match self.told {
                true => self.tell(b"READY=1"),
                false => self.tell(format!("READY=1\nSTATUS={apps} app{s} running").as_bytes()),
            }
        }
    }

    /// What the app that may speak to the manager says. That it is ready is
    /// heard from it when all are, and after that at the end of each reload.
    pub(super) fn pass_on(&mut self, said: &Said<'_>) {
        let mut lines: Vec<&[u8]> = said.passed_on().collect();
        self.told |= lines.iter().any(|line| line.starts_with(b"STATUS="));
        if self.ready && said.is_ready() {
            lines.push(b"READY=1");
        }
        if !lines.is_empty() {
            self.tell(&lines.join(&b'\n'));
        }
    }

    /// The pod is told to stop.
    pub(super) fn stopping(&self) {
        self.tell(b"STOPPING=1\nSTATUS=stopping the apps");
    }

    fn tell(&self, state: &[u8]) {
        if let Some((socket, address)) = &self.socket {
            // A manager that is gone has no use for it.
            let _unheard = socket.send_to_addr(state, address);
        }
    }
}

/// `/path`, or `@name` of an abstract socket.
fn address(value: &OsString) -> Option<SocketAddr> {
    match value.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_and_readiness_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let mut manager = Manager {
            socket: Some((
                UnixDatagram::unbound().unwrap(),
                address(&path.into_os_string()).unwrap(),
            )),
            ready: false,
            told: false,
        };
        manager.ready(1);
        manager.ready(1);
        manager.stopping();
        let mut heard = [0; 200];
        let length = listening.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1\nSTATUS=1 app running");
        let length = listening.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"STOPPING=1\nSTATUS=stopping the apps");
    }

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        assert!(address(&"@systemd".into()).is_some());
        assert!(address(&"/run/systemd/notify".into()).is_some());
        assert!(address(&"vsock:2:1234".into()).is_none());
        Manager::default().ready(1);
    }
}
