//! The caller's terminal, while an app has it.

use std::os::fd::OwnedFd;

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::{Error, Result};

/// The terminal in raw mode: every key goes to the app. Dropping it restores
/// what was before.
#[derive(Debug)]
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// Makes the caller's terminal raw.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn enter() -> Result<Self> {
        let failed = || Error::attempt("set up", "the terminal");
        let before = tcgetattr(stdin()).map_err(|e| failed().because(e))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(|e| failed().because(e))?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _gone = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Gives the app's terminal the size of the caller's.
pub fn copy_size(to: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(stdin()) {
        // A pod that is over has no use for it.
        let _over = tcsetwinsize(to, size);
    }
}
