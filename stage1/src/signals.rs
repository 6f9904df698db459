//! Signals as something to poll (signalfd(2)), and as an end of our own.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Error, Result};

/// Blocks these signals and gives a descriptor to read them from.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn watch(signals: &[Signal]) -> Result<SignalFd> {
    let failed = || Error::attempt("watch", "signals");
    let mut set = SigSet::empty();
    for signal in signals {
        set.add(*signal);
    }
    set.thread_block().map_err(|e| failed().because(e))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| failed().because(e))
}

/// The next signal that came, none when there is no more.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn next(from: &SignalFd) -> Result<Option<i32>> {
    let came = from
        .read_signal()
        .map_err(Error::system("read", "signals"))?;
    Ok(came.map(|signal| signal.ssi_signo as i32))
}

/// What asks a container's PID 1 for its end, as `machinectl poweroff` does:
/// `SIGRTMIN+4` (systemd(1), "Signals").
pub const POWER_OFF: i32 = 38;

/// Whether a signal that is watched by [`sys::signals::watch`] has come from
/// outside of our PID namespace, where no sender has a number. All that came are
/// forgotten.
pub fn came_from_outside(from: &OwnedFd) -> bool {
    /// Size of signalfd_siginfo(2), and where the sender is in it (`ssi_pid`).
    const SIZE: usize = 128;
    const SENDER: std::ops::Range<usize> = 12..16;
    let mut outside = false;
    let mut info = [0; SIZE];
    while matches!(rustix::io::read(from, &mut info), Ok(SIZE)) {
        outside |= info[SENDER] == [0; 4];
    }
    outside
}

/// Forgets the signals that came.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn clear(from: &SignalFd) -> Result<()> {
    while next(from)?.is_some() {}
    Ok(())
}

/// Ends this process by the signal that ended an app: to a service manager,
/// which tells a signal from a status and SIGTERM from SIGSEGV, the pod's end
/// is its app's. Comes back for one that ends nobody.
pub fn die_of(signal: i32) {
    // The app's memory is of interest, ours is not.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _as_it_was = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _as_it_is =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    sys::signals::reset_dispositions();
    if let Ok(signal) = Signal::try_from(signal) {
        let mut set = SigSet::empty();
        set.add(signal);
        let _blocked = set.thread_unblock();
    }
    let _survived = sys::signals::send(std::process::id() as i32, signal);
}
