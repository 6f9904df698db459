//! The log file of an app, written by the supervisor alone.
//!
//! A record is in the file whole or not at all. When the file would grow
//! beyond its limit it takes the place of the one before it and a new one is
//! begun, so an app's logs are never longer than twice the limit, whatever it
//! writes. What cannot be written (the disk is full) is lost and counted, and
//! the count is told in the file when writing works again: an app never waits
//! for its log.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use manifests::engine::{LOG_FILE, OLD_LOG_FILE};
use manifests::log::{Record, Stream};

use super::relay::LINE;
use crate::error::{Error, Result};
use crate::record;

/// Records are gathered up to this length, then written.
const BATCH: usize = 32 * 1024;

/// An app's log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
    lost: u64,
}

impl Log {
    /// Begins the log of an app, in its directory below the working directory;
    /// the next file is begun when this one has `limit` bytes.
    ///
    /// # Errors
    /// [`Error::System`] when the file cannot be made.
    pub fn create(app: &str, limit: u64) -> Result<Self> {
        Self::create_at(Path::new("apps").join(app).join(LOG_FILE), limit)
    }

    fn create_at(path: PathBuf, limit: u64) -> Result<Self> {
        let file = open(&path).map_err(Error::system("create", path.display()))?;
        let length = file
            .metadata()
            .map_err(Error::system("look at", path.display()))?
            .len();
        Ok(Self {
            path,
            file,
            length,
            limit,
            lost: 0,
        })
    }

    /// Takes what one stream of the app has written. `partial` is what is kept
    /// between two calls of a line that has not ended.
    pub fn take(&mut self, stream: Stream, partial: &mut Vec<u8>, data: &[u8]) {
        let time = record::now();
        let mut batch = Vec::new();
        let mut records = 0;
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let ended = piece.strip_suffix(b"\n");
            let mut add = |text: &[u8]| {
                let whole = ended.is_some();
                Record {
                    time,
                    stream,
                    whole,
                    text,
                }
                .write(&mut batch);
                records += 1;
            };
            match ended {
                Some(line) if partial.is_empty() => add(line),
                _ => {
                    partial.extend_from_slice(ended.unwrap_or(piece));
                    if ended.is_some() || partial.len() >= LINE {
                        add(partial);
                        partial.clear();
                    }
                }
            }
            if batch.len() >= BATCH {
                self.append(&batch, records);
                batch.clear();
                records = 0;
            }
        }
        if records > 0 {
            self.append(&batch, records);
        }
    }

    fn append(&mut self, batch: &[u8], records: u64) {
        if self.length > 0 && self.length + batch.len() as u64 > self.limit {
            // Where this fails, the file grows until it does not.
            let _kept = self.begin_anew();
        }
        if self.lost > 0 && !self.confess() {
            self.lost += records;
            return;
        }
        if !self.put(batch) {
            self.lost += records;
        }
    }

    /// Says in the file what is missing from it.
    fn confess(&mut self) -> bool {
        let text = format!(
            "[rkt: {} lines are missing here: they could not be written]",
            self.lost
        );
        let mut line = Vec::new();
        Record {
            time: record::now(),
            stream: Stream::Error,
            whole: true,
            text: text.as_bytes(),
        }
        .write(&mut line);
        let written = self.put(&line);
        if written {
            self.lost = 0;
        }
        written
    }

    /// Writes all of it or, as far as readers can see, nothing.
    fn put(&mut self, bytes: &[u8]) -> bool {
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
            return true;
        }
        // Making a file shorter needs no room.
        let _cut = self.file.set_len(self.length);
        false
    }

    fn begin_anew(&mut self) -> std::io::Result<()> {
        fs::rename(&self.path, self.path.with_file_name(OLD_LOG_FILE))?;
        self.file = open(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: u64) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create_at(dir.path().join(LOG_FILE), limit).unwrap();
        (dir, log)
    }

    fn texts(file: &Path) -> Vec<(String, bool)> {
        let bytes = fs::read(file).unwrap();
        let lines = bytes.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n');
        lines
            .map(|line| {
                let record = Record::parse(line).unwrap();
                (
                    String::from_utf8_lossy(record.text).into_owned(),
                    record.whole,
                )
            })
            .collect()
    }

    fn whole(text: &str) -> (String, bool) {
        (text.to_owned(), true)
    }

    #[test]
    fn lines_are_records_however_they_come() {
        let (dir, mut log) = log(1 << 20);
        let mut partial = Vec::new();
        for piece in ["a\nb", "c", "\n\n", "end"] {
            log.take(Stream::Output, &mut partial, piece.as_bytes());
        }
        log.take(Stream::Output, &mut partial, b"\n");
        let expected = ["a", "bc", "", "end"].map(whole);
        assert_eq!(texts(&dir.path().join(LOG_FILE)), expected);
    }

    #[test]
    fn an_endless_line_is_cut_into_pieces_that_say_so() {
        let (dir, mut log) = log(1 << 20);
        let mut partial = Vec::new();
        for _ in 0..5 {
            log.take(Stream::Error, &mut partial, &[b'x'; 4096]);
        }
        log.take(Stream::Error, &mut partial, b"y\n");
        let got = texts(&dir.path().join(LOG_FILE));
        let shape: Vec<_> = got.iter().map(|(t, whole)| (t.len(), *whole)).collect();
        assert_eq!(shape, [(8192, false), (8192, false), (4097, true)]);
    }

    #[test]
    fn the_oldest_goes_when_the_limit_is_reached() {
        let (dir, mut log) = log(1000);
        for n in 0..100 {
            log.take(Stream::Output, &mut Vec::new(), format!("{n}\n").as_bytes());
        }
        let (new, old) = (dir.path().join(LOG_FILE), dir.path().join(OLD_LOG_FILE));
        for file in [&new, &old] {
            assert!(fs::metadata(file).unwrap().len() <= 1000);
        }
        let mut kept = texts(&old);
        kept.extend(texts(&new));
        let first: u32 = kept[0].0.parse().unwrap();
        let expected: Vec<_> = (first..100).map(|n| whole(&n.to_string())).collect();
        assert_eq!(kept, expected, "no gap between the two files");
    }

    #[test]
    fn what_could_not_be_written_is_counted() {
        let (dir, mut log) = log(1 << 20);
        let good = log.file;
        log.file = File::options().write(true).open("/dev/full").unwrap();
        log.take(Stream::Output, &mut Vec::new(), b"a\nb\n");
        log.take(Stream::Output, &mut Vec::new(), b"c\n");
        log.file = good;
        log.take(Stream::Output, &mut Vec::new(), b"d\n");
        let got = texts(&dir.path().join(LOG_FILE));
        assert!(got[0].0.contains("3 lines are missing"), "{got:?}");
        assert_eq!(got[1], whole("d"));
    }
}
