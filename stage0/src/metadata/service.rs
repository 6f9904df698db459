//! The sockets of the service: one thread a connection, not many at once.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::http::{self, Request, Response};
use super::registry::{KEY, Registry};
use super::{MetadataError, PORT};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that are served at once; others wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// What is told of every request.
type Tell = dyn Fn(&str) + Send + Sync;

/// A service that listens.
#[derive(Debug)]
pub struct Service {
    registration: UnixListener,
    /// To be removed at the end; none if systemd made the socket.
    socket: Option<PathBuf>,
    public: TcpListener,
    port: u16,
}

impl Service {
    /// Listens for pods on the unix socket, or the one systemd gave us as the
    /// descriptor `given`, and for apps on `port` (0: any) of all addresses.
    ///
    /// # Errors
    /// Another service listens, or a socket cannot be made.
    pub fn listen(
        socket: &Path,
        given: Option<OwnedFd>,
        port: Option<u16>,
    ) -> Result<Self, MetadataError> {
        let address = (Ipv4Addr::UNSPECIFIED, port.unwrap_or(PORT));
        let public =
            TcpListener::bind(address).map_err(MetadataError::io("listen on port", address.1))?;
        let port = public
            .local_addr()
            .map_err(MetadataError::io("look at port", address.1))?
            .port();
        let (registration, socket) = match given {
            Some(given) => (UnixListener::from(given), None),
            None => (bind(socket)?, Some(socket.to_owned())),
        };
        for done in [
            registration.set_nonblocking(true),
            public.set_nonblocking(true),
        ] {
            done.map_err(MetadataError::io("set up", "the sockets"))?;
        }
        Ok(Self {
            registration,
            socket,
            public,
            port,
        })
    }

    /// The port for apps.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers until SIGTERM or SIGINT. `tell` hears of every request, without
    /// the tokens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn serve(self, tell: impl Fn(&str) + Send + Sync + 'static) -> Result<(), MetadataError> {
        let mut key = [0; KEY];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
            .map_err(MetadataError::io("get", "random numbers"))?;
        let signals = signals().map_err(MetadataError::io("watch for", "signals"))?;
        let shared = Arc::new(Shared {
            registry: Mutex::new(Registry::new(key, self.port)),
            busy: AtomicUsize::new(0),
            tell: Box::new(tell),
        });
        loop {
            let mut polled = [
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
                PollFd::new(&self.registration, PollFlags::IN),
                PollFd::new(&self.public, PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(MetadataError::io("wait for", "requests")(e)),
            }
            let ready = polled.map(|fd| !fd.revents().is_empty());
            if ready[0] {
                return Ok(());
            }
            // A connection that is gone again is no failure of the service.
            if ready[1]
                && let Ok((stream, _)) = self.registration.accept()
            {
                let timeouts = stream
                    .set_read_timeout(Some(PATIENCE))
                    .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                let _alive = timeouts.map(|()| Shared::serve(&shared, stream, true));
            }
            if ready[2]
                && let Ok((stream, _)) = self.public.accept()
            {
                let timeouts = stream
                    .set_read_timeout(Some(PATIENCE))
                    .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                let _alive = timeouts.map(|()| Shared::serve(&shared, stream, false));
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // The next service would find that nobody listens on it.
            let _gone = std::fs::remove_file(socket);
        }
    }
}

fn bind(socket: &Path) -> Result<UnixListener, MetadataError> {
    let failed = || MetadataError::io::<io::Error>("listen on", socket.display());
    if UnixStream::connect(socket).is_ok() {
        return Err(MetadataError::Running(socket.to_owned()));
    }
    if let Some(dir) = socket.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(failed())?;
    }
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed()(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed())?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed())?;
    Ok(listener)
}

fn signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)
}

struct Shared {
    registry: Mutex<Registry>,
    busy: AtomicUsize,
    tell: Box<Tell>,
}

impl Shared {
    fn serve(this: &Arc<Self>, stream: impl Read + Write + Send + 'static, ours: bool) {
        while this.busy.load(Ordering::Acquire) >= CONNECTIONS {
            std::thread::sleep(Duration::from_millis(5));
        }
        this.busy.fetch_add(1, Ordering::AcqRel);
        let this = Arc::clone(this);
        std::thread::spawn(move || {
            this.one(stream, ours);
            this.busy.fetch_sub(1, Ordering::AcqRel);
        });
    }

    fn one(&self, mut stream: impl Read + Write, ours: bool) {
        let (line, response) = match http::read(&mut stream) {
            Ok(request) => {
                let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                let response = if ours {
                    registry.administer(&request)
                } else {
                    registry.answer(&request)
                };
                (line(&request, ours), response)
            }
            Err(Some(status)) => ("a bad request".to_owned(), Response::status(status)),
            Err(None) => return,
        };
        (self.tell)(&format!("{line} - {}", response.status));
        // Whoever asked may be gone.
        let _sent = response.write(&mut stream);
    }
}

/// The request without what makes a pod known.
fn line(request: &Request, ours: bool) -> String {
    let path = match request.path.splitn(3, '/').nth(2) {
        _ if ours => request.path.clone(),
        Some(rest) => format!("/…/{rest}"),
        None => "/…".to_owned(),
    };
    // What anybody may send must not move the cursor of a terminal.
    let path: String = path.chars().filter(|c| !c.is_control()).collect();
    format!("{} {path}", request.method)
}
