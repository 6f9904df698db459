//! Every state that a power cut could have left a disk in.
//!
//! QEMU's `blklogwrites` notes each write and each flush of a recorded
//! [`Disk`](super::Disk), in the format of the kernel's dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst). A disk with a
//! volatile cache promises only what was written before a flush that is over:
//!
//! ```text
//!   W W F W W W F W W ┊ W      F flush, ┊ the cut
//!   └─── all ───┘ └any┘ └none
//! ```
//!
//! So from one run of a guest come as many crashed disks as one likes, and
//! harder ones than killing QEMU makes: later writes may be there when earlier
//! ones are not.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Cmd;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const SECTOR: u64 = 512;

/// What was written to a disk, in order.
pub struct WriteLog {
    log: File,
    entries: Vec<Entry>,
    /// The disk as it was before the first entry, with `applied` of them.
    base: PathBuf,
    applied: usize,
}

struct Entry {
    to: u64,
    length: u64,
    flags: u64,
    data_at: u64,
}

impl WriteLog {
    /// Reads the log at `log` of a disk that was as `base` is now; `base` is
    /// changed as states are made.
    pub(super) fn read(log: &Path, base: PathBuf) -> Self {
        let log = File::open(log).unwrap();
        let end = log.metadata().unwrap().len();
        let head = words(&log, 0);
        assert_eq!((head[0], head[1]), (MAGIC, 1), "not a log of writes");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        // The superblock's count lags behind when QEMU is killed; an entry that
        // was never written is a hole, that is zeros.
        while at + SECTOR <= end {
            let [sector, sectors, flags, _] = words(&log, at);
            if (sector, sectors, flags) == (0, 0, 0) {
                break;
            }
            let data_at = at + SECTOR;
            entries.push(Entry {
                to: sector * SECTOR,
                length: sectors * SECTOR,
                flags,
                data_at,
            });
            at = data_at;
            if flags & DISCARD == 0 {
                at += sectors * SECTOR;
            }
        }
        assert!(
            entries.len() as u64 >= head[2],
            "the log has a hole: {} of {} entries",
            entries.len(),
            head[2]
        );
        Self {
            log,
            entries,
            base,
            applied: 0,
        }
    }

    /// How many moments there are to cut at.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the disk to `out` as a cut before entry `at` may leave it: of the
    /// writes since the last flush, those for which `survives` says so.
    ///
    /// # Panics
    /// When `at` goes back before an earlier call's.
    pub fn crash(&mut self, at: usize, out: &Path, mut survives: impl FnMut() -> bool) {
        let flushed = self.entries[..at]
            .iter()
            .rposition(|e| e.flags & FLUSH != 0)
            .unwrap_or(0);
        assert!(self.applied <= flushed, "the cuts must come in order");
        let base = File::options().write(true).open(&self.base).unwrap();
        for entry in &self.entries[self.applied..flushed] {
            entry.apply(&self.log, &base);
        }
        self.applied = flushed;
        Cmd::new("cp")
            .arg("--sparse=always")
            .arg(&self.base)
            .arg(out)
            .run()
            .ok();
        let disk = File::options().write(true).open(out).unwrap();
        for entry in &self.entries[flushed..at] {
            if survives() {
                entry.apply(&self.log, &disk);
            }
        }
    }
}

impl Drop for WriteLog {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.base);
    }
}

impl Entry {
    /// A discard promises nothing about what is read afterwards: it is skipped.
    fn apply(&self, log: &File, disk: &File) {
        if self.flags & DISCARD != 0 || self.length == 0 {
            return;
        }
        let mut data = vec![0; usize::try_from(self.length).unwrap()];
        log.read_exact_at(&mut data, self.data_at).unwrap();
        disk.write_all_at(&data, self.to).unwrap();
    }
}

fn words(log: &File, at: u64) -> [u64; 4] {
    let mut bytes = [0; 32];
    log.read_exact_at(&mut bytes, at).unwrap();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, count: u64, entries: &[(u64, u64, &[u8])]) -> PathBuf {
        let mut bytes = Vec::new();
        let mut sector = |words: &[u64]| {
            let mut s: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            s.resize(512, 0);
            bytes.extend(s);
        };
        sector(&[MAGIC, 1, count, SECTOR]);
        for (to, flags, data) in entries {
            sector(&[*to, data.len() as u64, *flags, 0]);
            if flags & DISCARD == 0 {
                for byte in *data {
                    sector(&[u64::from_le_bytes([*byte; 8]); 64]);
                }
            }
        }
        bytes.resize(bytes.len() + 2048, 0);
        let path = dir.join("log");
        fs::write(&path, bytes).unwrap();
        path
    }

    /// First byte of each of the disk's four sectors.
    fn sectors(disk: &Path) -> Vec<u8> {
        fs::read(disk).unwrap().into_iter().step_by(512).collect()
    }

    #[test]
    fn the_flushed_stays_and_the_rest_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let (base, out) = (dir.path().join("base"), dir.path().join("out"));
        fs::write(&base, [0; 2048]).unwrap();
        let entries: [(u64, u64, &[u8]); 6] = [
            (0, 0, &[1]),
            (0, FLUSH, &[]),
            (1, 0, &[2, 3]),
            (1, DISCARD, &[0]),
            (3, 0, &[4]),
            (0, FLUSH, &[]),
        ];
        let mut log = WriteLog::read(&log(dir.path(), 5, &entries), base);
        assert_eq!(log.len(), 6);
        log.crash(0, &out, || true);
        assert_eq!(sectors(&out), [0, 0, 0, 0]);
        log.crash(5, &out, || false);
        assert_eq!(sectors(&out), [1, 0, 0, 0]);
        // The flush itself, the write, the discard; then the write that stays.
        let mut nth = 0;
        log.crash(5, &out, || {
            nth += 1;
            nth == 4
        });
        assert_eq!(sectors(&out), [1, 0, 0, 4]);
        log.crash(6, &out, || false);
        assert_eq!(sectors(&out), [1, 2, 3, 4]);
    }
    #[test]
    #[should_panic(expected = "a hole: 0 of 1 entries")]
    fn a_log_that_lost_an_entry_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        WriteLog::read(&log(dir.path(), 1, &[]), dir.path().join("base"));
    }
}
