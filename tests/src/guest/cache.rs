//! What is made once and kept between test runs.
//!
//! An entry is a directory `NAME-KEY`, where the key is a hash of everything
//! that decided its content; it appears by one `rename`, so it is whole or not
//! there. Tests run in processes of their own: a lock per name lets one build
//! and the others wait. Only plain files are kept, so that an unprivileged
//! `cargo clean` can remove what root made.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::Unobtainable;

/// Entries of another recipe are kept this long: another branch may use them.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// `$RKT_GUEST_CACHE`, or `guests` in the target directory.
pub fn cache_directory() -> PathBuf {
    let dir = std::env::var_os("RKT_GUEST_CACHE").map_or_else(
        || {
            let target =
                std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(target)
                .join("guests")
        },
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    dir.canonicalize().unwrap()
}

/// A directory for one run of a guest, on the cache's file system (overlayfs
/// cannot have its upper directory on just any).
pub(super) fn run_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(cache_directory())
        .unwrap()
}

/// The directory of this name and key, built into an empty directory if it is
/// not there yet.
pub(super) fn entry(
    name: &str,
    key: &str,
    build: impl FnOnce(&Path) -> Result<(), Unobtainable>,
) -> Result<PathBuf, Unobtainable> {
    entry_in(&cache_directory(), name, key, build)
}

/// As [`entry`], below another directory, which is there.
pub(super) fn entry_in(
    dir: &Path,
    name: &str,
    key: &str,
    build: impl FnOnce(&Path) -> Result<(), Unobtainable>,
) -> Result<PathBuf, Unobtainable> {
    let entry = dir.join(format!("{name}-{key}"));
    if entry.exists() {
        return Ok(entry);
    }
    let lock = File::create(dir.join(format!("{name}.lock"))).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    if !entry.exists() {
        remove_old(dir, name);
        let building = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(dir)
            .unwrap();
        build(building.path())?;
        fs::rename(building.path(), &entry).unwrap();
    }
    Ok(entry)
}

fn remove_old(dir: &Path, name: &str) {
    for old in fs::read_dir(dir).unwrap().flatten() {
        let is_ours = old
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{name}-"));
        let age = old
            .metadata()
            .and_then(|m| m.modified())
            .map(|m| m.elapsed().unwrap_or_default());
        if is_ours && age.is_ok_and(|age| age > KEEP) {
            // In use or not removable: then it stays, at the cost of space.
            let _ = fs::remove_dir_all(old.path());
        }
    }
}

/// A key over words and the files (also in directories) that a recipe reads.
pub(super) fn key(words: &[&str], files: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word);
        hash.update([0]);
    }
    for file in files {
        hash_file(&mut hash, file);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn hash_file(hash: &mut Sha256, path: &Path) {
    hash.update(path.file_name().unwrap().as_encoded_bytes());
    hash.update([0]);
    if path.is_dir() {
        let mut below: Vec<PathBuf> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        below.sort();
        for file in below {
            hash_file(hash, &file);
        }
    } else {
        let bytes =
            fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
}
