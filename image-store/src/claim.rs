//! Who is fetching what, so that two fetches of one layer share its transfer.
//!
//! ```text
//! store/staging/<boot-id>/claim-<digest>      the holder's process id, locked
//! ```
//!
//! Whoever means to transfer a layer claims it until its image is committed, or
//! has failed; another fetch waits for that, and then finds the layer stored or
//! transfers it itself. All claim their layers in one order, so no two wait for
//! each other. A claim only saves work: nothing breaks if two fetches have the
//! same layer, so waiting has a deadline, and its end is no error.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manifests::digest::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::store::Store;

const POLL: Duration = Duration::from_millis(20);

/// As long as a large layer takes on a slow network.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A layer that another process is fetching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The uncompressed layer.
    pub object: Digest,
    /// Who has it, if that is known.
    pub process: Option<u32>,
    /// How long it will be waited for at most.
    pub at_most: Duration,
}

/// Given back on drop, and by the kernel if the process dies.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
    path: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A leftover is a file nobody has locked; the next sweep takes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Claims an object unless it is stored, or comes to be while somebody else has
/// it. `waiting` is told once.
pub(crate) fn claim(
    store: &Store,
    object: &Digest,
    patience: Duration,
    waiting: &mut dyn FnMut(Awaited),
) -> Result<Option<Claim>> {
    let name = format!("claim-{}", object.to_string().replace(':', "-"));
    let path = store.dirs.staging_of_this_boot()?.join(name);
    let started = Instant::now();
    let mut told = false;
    loop {
        if store.has_object(object) {
            return Ok(None);
        }
        if let Some(claim) = attempt(&path)? {
            // Its last holder may have stored it a moment ago.
            return Ok((!store.has_object(object)).then_some(claim));
        }
        if !told {
            told = true;
            waiting(Awaited {
                object: object.clone(),
                process: holder(&path),
                at_most: patience,
            });
        }
        if started.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn attempt(path: &Path) -> Result<Option<Claim>> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.mode(0o660).open(path).context("open", path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        other => other.context("lock", path)?,
    }
    // Its last holder has removed it between the two.
    if lock.metadata().context("inspect", path)?.nlink() == 0 {
        return Ok(None);
    }
    lock.set_len(0).context("write", path)?;
    let written = write!(lock, "{}", std::process::id());
    written.context("write", path)?;
    Ok(Some(Claim {
        _lock: lock,
        path: path.to_owned(),
    }))
}

fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.parse().ok()
}
