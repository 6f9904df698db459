//! Signals as something to poll (signalfd(2)).

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

/// Forgets the signals that came.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn clear(from: &SignalFd) -> Result<()> {
    while next(from)?.is_some() {}
    Ok(())
}
