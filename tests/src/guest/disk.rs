//! A disk that outlives the guest it was in.

use std::fs::File;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{cache, require};
use crate::Cmd;

/// An ext4 file system with fs-verity on a disk of its own; gone when dropped.
///
/// The guest writes through to the host at each flush, and at its leisure
/// otherwise. Killing the guest therefore loses what it had not flushed, as a
/// power cut does; writes that the disk has taken are never reordered or torn.
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// An empty one of this size in MiB; it takes space as it fills.
    pub fn new(mib: u64) -> Self {
        require("mkfs.ext4", "e2fsprogs");
        let dir = cache::run_directory();
        let disk = Self { dir };
        File::create(disk.path())
            .unwrap()
            .set_len(mib << 20)
            .unwrap();
        Cmd::new("mkfs.ext4")
            .args(["-q", "-F", "-O", "verity", "-m", "0"])
            .arg(disk.path())
            .run()
            .ok();
        disk
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("disk.ext4")
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
