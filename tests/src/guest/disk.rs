//! A disk that outlives the guest it was in.

use std::fs::File;
use std::path::PathBuf;

use tempfile::TempDir;

use super::write_log::WriteLog;
use super::{cache, require};
use crate::Cmd;

/// Room for the writes of a recorded disk; it takes space as it fills.
const LOG: u64 = 16 << 30;

/// An ext4 file system with fs-verity on a disk of its own; gone when dropped.
///
/// The guest writes through to the host at each flush, and at its leisure
/// otherwise. Killing the guest therefore loses what it had not flushed, as a
/// power cut does, but what the disk has taken is never reordered; for that,
/// record it.
pub struct Disk {
    dir: TempDir,
    recorded: bool,
}

impl Disk {
    /// An empty one of this size in MiB; it takes space as it fills.
    pub fn new(mib: u64) -> Self {
        require("mkfs.ext4", "e2fsprogs");
        let dir = cache::run_directory();
        let disk = Self {
            dir,
            recorded: false,
        };
        sparse(&disk.path(), mib << 20);
        Cmd::new("mkfs.ext4")
            .args(["-q", "-F", "-O", "verity", "-m", "0"])
            .arg(disk.path())
            .run()
            .ok();
        disk
    }

    /// An empty one whose writes are noted, for [`Disk::into_writes`].
    pub fn recorded(mib: u64) -> Self {
        let disk = Self {
            recorded: true,
            ..Self::new(mib)
        };
        let path = disk.path();
        Cmd::new("cp")
            .arg("--sparse=always")
            .args([&path, &path.with_extension("base")])
            .run()
            .ok();
        sparse(&path.with_extension("log"), LOG);
        disk
    }

    /// What one guest wrote to the recorded disk. The directory with it lives
    /// as long as the second value.
    pub fn into_writes(self) -> (WriteLog, TempDir) {
        assert!(self.recorded, "the disk was not recorded");
        let path = self.path();
        let log = WriteLog::read(&path.with_extension("log"), path.with_extension("base"));
        (log, self.dir)
    }

    /// The file that holds it, to look at or to damage between two guests.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk.ext4")
    }

    /// Where QEMU notes the writes, if it shall.
    pub(super) fn log(&self) -> Option<PathBuf> {
        self.recorded.then(|| self.path().with_extension("log"))
    }

    /// The file system as it is now, without an error by `e2fsck -n` once its
    /// journal is replayed in a copy.
    ///
    /// # Panics
    /// With e2fsck's words when there is one.
    pub fn assert_sound(&self) {
        let copy = self.dir.path().join("copy.ext4");
        Cmd::new("cp")
            .arg("--sparse=always")
            .arg(self.path())
            .arg(&copy)
            .run()
            .ok();
        // Twice: the first run replays and says so by its exit status.
        Cmd::new("e2fsck").arg("-fp").arg(&copy).run();
        Cmd::new("e2fsck").arg("-fn").arg(&copy).run().ok();
        std::fs::remove_file(copy).unwrap();
    }
}

fn sparse(path: &std::path::Path, size: u64) {
    File::create(path).unwrap().set_len(size).unwrap();
}
