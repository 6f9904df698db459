//! Waiting for a lock, with a deadline and a name for whoever has it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Context, Result, StoreError};

const POLL: Duration = Duration::from_millis(20);

/// Whom we wait for, and how long.
pub(crate) struct Wait {
    /// What we want.
    pub(crate) what: &'static str,
    /// Who may have it.
    pub(crate) by: &'static str,
    pub(crate) at_most: Duration,
}

/// # Errors
/// [`StoreError::Busy`] if the lock was not to be had in time.
pub(crate) fn exclusive(file: &File, path: &Path, wait: &Wait) -> Result<()> {
    acquire(file, path, FlockOperation::NonBlockingLockExclusive, wait)
}

pub(crate) fn shared(file: &File, path: &Path, wait: &Wait) -> Result<()> {
    acquire(file, path, FlockOperation::NonBlockingLockShared, wait)
}

/// `flock` has no timeout, and an alarm is not ours to set: so we ask again.
fn acquire(file: &File, path: &Path, operation: FlockOperation, wait: &Wait) -> Result<()> {
    let started = Instant::now();
    loop {
        match flock(file, operation) {
            Err(Errno::WOULDBLOCK) => {}
            Err(Errno::INTR) => continue,
            other => return other.context("lock", path),
        }
        if started.elapsed() >= wait.at_most {
            return Err(StoreError::Busy {
                what: wait.what,
                by: wait.by,
                seconds: wait.at_most.as_secs(),
            });
        }
        std::thread::sleep(POLL);
    }
}
