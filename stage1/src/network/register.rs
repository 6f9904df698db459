//! Who is attached to networks whose programs are told by GC who still is.
//!
//! `/run/rkt/networks/NETWORK/UUID.IFNAME` is there from before the first ADD
//! until after the last DEL, whatever data directory the pod is of: a program
//! knows networks by their names only, and would take what it is not told of
//! for rubbish. A lock on the directory keeps GC and ADD apart.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use manifests::cni::NetworkConfig;
use rustix::fs::{FlockOperation, flock};

use super::error::{Error, Result};
use super::session::{Attach, Pod};

const DIRECTORY: &str = "/run/rkt/networks";

/// The directory of one network, locked.
#[derive(Debug)]
pub(crate) struct Register {
    path: PathBuf,
    _lock: File,
}

impl Register {
    pub(crate) fn lock(network: &str, how: FlockOperation) -> Result<Self> {
        let path = Path::new(DIRECTORY).join(network);
        fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        let lock = File::open(&path).map_err(Error::file("open", &path))?;
        flock(&lock, how).map_err(Error::file("lock", &path))?;
        Ok(Self { path, _lock: lock })
    }

    /// UUIDs of pods and names of their interfaces.
    pub(crate) fn all(&self) -> Result<Vec<(String, String)>> {
        let entries = fs::read_dir(&self.path).map_err(Error::file("read", &self.path))?;
        let mut all: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let (uuid, if_name) = name.split_once('.')?;
                Some((uuid.to_owned(), if_name.to_owned()))
            })
            .collect();
        all.sort();
        Ok(all)
    }
}

fn path_of(pod: Pod<'_>, attach: Attach<'_>) -> PathBuf {
    Path::new(DIRECTORY)
        .join(&attach.config.name)
        .join(format!("{}.{}", pod.uuid, attach.if_name))
}

/// Notes the attachment, where that matters; GC waits until what is returned
/// is dropped.
pub(crate) fn enter(pod: Pod<'_>, attach: Attach<'_>) -> Result<Option<Register>> {
    if !matters(attach.config) {
        return Ok(None);
    }
    let register = Register::lock(&attach.config.name, FlockOperation::LockShared)?;
    let path = path_of(pod, attach);
    File::create(&path).map_err(Error::file("create", path))?;
    Ok(Some(register))
}

/// Takes the note away; that there is none is no error.
pub(crate) fn leave(pod: Pod<'_>, attach: Attach<'_>) -> Result<()> {
    let path = path_of(pod, attach);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether the network has programs that know GC.
pub(crate) fn matters(config: &NetworkConfig) -> bool {
    config.cni_version.has_gc() && !config.disable_gc && config.has_programs()
}
