//! Telling the service manager what a fetch is at.
//!
//! Source: sd_notify(3), `STATUS=` and `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fetch::progress::{Progress, Step, StepKind};
use indicatif::BinaryBytes;

/// Lines for people who ask for the status, not for a film.
const PAUSE: Duration = Duration::from_secs(1);

/// The socket of the service manager.
pub(super) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// The one that started this process; `None` if none wants to know.
    pub(super) fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok()?,
            [b'/', ..] => SocketAddr::from_pathname(Path::new(&name)).ok()?,
            _ => return None,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket, address })
    }

    fn status(&self, text: &str) {
        let line = format!("STATUS={}", text.replace(char::is_control, " "));
        // Nobody's fetch fails because its manager does not listen.
        let _ = self.socket.send_to_addr(line.as_bytes(), &self.address);
    }
}

/// What the manager was told.
struct State {
    manager: Manager,
    image: String,
    got: u64,
    planned: u64,
    told: Option<Instant>,
}

impl State {
    fn tell(&mut self) {
        let (got, planned) = (BinaryBytes(self.got), BinaryBytes(self.planned));
        let text = match (self.got, self.planned) {
            (0, 0) => format!("fetching {}", self.image),
            (_, 0) => format!("fetching {}: {got}", self.image),
            _ => format!("fetching {}: {got} of {planned}", self.image),
        };
        self.manager.status(&text);
        self.told = Some(Instant::now());
    }
}

/// Tells the manager, and whoever else wants to know.
pub(super) struct Notified {
    state: Arc<Mutex<State>>,
    inner: Arc<dyn Progress>,
}

impl Notified {
    pub(super) fn new(manager: Manager, inner: Arc<dyn Progress>) -> Self {
        let state = State {
            manager,
            image: String::new(),
            got: 0,
            planned: 0,
            told: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            inner,
        }
    }
}

fn change(state: &Mutex<State>, change: impl FnOnce(&mut State)) {
    change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Progress for Notified {
    fn image(&self, name: &str) {
        change(&self.state, |state| {
            state.image = name.to_owned();
            (state.got, state.planned) = (0, 0);
            state.tell();
        });
        self.inner.image(name);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn plan(&self, bytes: u64) {
        change(&self.state, |state| state.planned = bytes);
        self.inner.plan(bytes);
    }

    fn step(&self, kind: StepKind, name: &str, total: Option<u64>) -> Box<dyn Step> {
        if kind == StepKind::Commit {
            change(&self.state, |state| {
                let text = format!("storing {}", state.image);
                state.manager.status(&text);
            });
        }
        Box::new(Told {
            state: Arc::clone(&self.state),
            inner: self.inner.step(kind, name, total),
        })
    }
}

struct Told {
    state: Arc<Mutex<State>>,
    inner: Box<dyn Step>,
}

impl Step for Told {
    fn advance(&mut self, bytes: u64) {
        change(&self.state, |state| {
            state.got += bytes;
            if state.told.is_none_or(|told| told.elapsed() >= PAUSE) {
                state.tell();
            }
        });
        self.inner.advance(bytes);
    }

    fn already_stored(self: Box<Self>) {
        self.inner.already_stored();
    }

    fn done(self: Box<Self>) {
        self.inner.done();
    }
}
