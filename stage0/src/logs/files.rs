//! Lines from the files of a pod directory.
//!
//! Each app has its own files ([`manifests::log`]); what is told of several is
//! put in the order of the times. A reader follows a file through its change
//! of name, because it holds it open until the file that took its place has
//! been seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use manifests::engine::{LOG_FILE, OLD_LOG_FILE};
use manifests::log::Record;

use super::Line;
use crate::pods::{APPS, Pod, PodError};

/// Reads the logs of some apps of a pod, from their beginning on.
#[derive(Debug)]
pub(super) struct FileReader {
    apps: Vec<AppLog>,
}

#[derive(Debug)]
struct AppLog {
    path: PathBuf,
    file: Option<File>,
    /// The end of the file as far as it was read, when no line ended there.
    rest: Vec<u8>,
    /// Lines whose beginning was read, by stream.
    begun: BTreeMap<&'static str, Vec<u8>>,
}

/// Read at once.
const CHUNK: usize = 64 * 1024;

impl FileReader {
    /// A reader of these apps' logs; none if the pod keeps none.
    ///
    /// # Errors
    /// What stopped us from looking.
    pub(super) fn open(pod: &Pod, apps: &[String]) -> Result<Option<Self>, PodError> {
        let logs = apps.iter().map(|app| {
            let path = pod.path().join(APPS).join(app).join(LOG_FILE);
            AppLog::open(path.clone()).map_err(PodError::io("open", path))
        });
        let apps = logs.collect::<Result<Vec<_>, _>>()?;
        let kept = apps.iter().any(|app| app.file.is_some());
        Ok(kept.then_some(Self { apps }))
    }

    /// The lines that were written since the last call, in their order.
    ///
    /// # Errors
    /// What the kernel said of a file.
    pub(super) fn read(&mut self) -> Result<Vec<Line>, PodError> {
        let mut lines = Vec::new();
        for (index, app) in self.apps.iter_mut().enumerate() {
            app.read(index, &mut lines)
                .map_err(PodError::io("read", &app.path))?;
        }
        // Stable: lines of one app stay in its order even if the clock did not.
        lines.sort_by_key(|line| line.time);
        Ok(lines)
    }
}

impl AppLog {
    fn open(path: PathBuf) -> io::Result<Self> {
        let older = found(File::open(path.with_file_name(OLD_LOG_FILE)))?;
        let file = match older {
            Some(older) => Some(older),
            None => found(File::open(&path))?,
        };
        Ok(Self {
            path,
            file,
            rest: Vec::new(),
            begun: BTreeMap::new(),
        })
    }

    fn read(&mut self, app: usize, lines: &mut Vec<Line>) -> io::Result<()> {
        loop {
            // Looked at before the file is read to its end: once another file has
            // its name, nothing more is written to it.
            let next = self.next()?;
            if let Some(mut file) = self.file.as_ref() {
                let mut chunk = vec![0; CHUNK];
                loop {
                    match file.read(&mut chunk)? {
                        0 => break,
                        length => self.rest.extend_from_slice(&chunk[..length]),
                    }
                }
            }
            self.split(app, lines);
            match next {
                Some(next) => self.file = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The file that was begun when ours was full.
    fn next(&self) -> io::Result<Option<File>> {
        let Some(newer) = found(File::open(&self.path))? else {
            return Ok(None);
        };
        let number = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
        let same = match &self.file {
            Some(file) => number(file)? == number(&newer)?,
            None => false,
        };
        Ok((!same).then_some(newer))
    }

    fn split(&mut self, app: usize, lines: &mut Vec<Line>) {
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let rest = self.rest.split_off(end + 1);
        let read = std::mem::replace(&mut self.rest, rest);
        for line in read[..end].split(|&byte| byte == b'\n') {
            // A line that is no record was not written by us; it has no time.
            let Some(record) = Record::parse(line) else {
                continue;
            };
            let begun = self.begun.entry(record.stream.as_str()).or_default();
            begun.extend_from_slice(record.text);
            if record.whole {
                lines.push(Line {
                    time: record.time,
                    app,
                    stream: record.stream,
                    text: std::mem::take(begun),
                });
            }
        }
    }
}

fn found(file: io::Result<File>) -> io::Result<Option<File>> {
    match file {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use manifests::log::Stream;

    use super::*;

    fn put(file: &Path, records: &[(u64, &str, bool)]) {
        let mut bytes = Vec::new();
        for (time, text, whole) in records {
            let (stream, text) = (Stream::Output, text.as_bytes());
            Record {
                time: *time,
                stream,
                whole: *whole,
                text,
            }
            .write(&mut bytes);
        }
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        file.write_all(&bytes).unwrap();
    }

    fn reader(paths: &[PathBuf]) -> FileReader {
        let apps = paths.iter().map(|p| AppLog::open(p.clone()).unwrap());
        FileReader {
            apps: apps.collect(),
        }
    }

    fn texts(reader: &mut FileReader) -> Vec<String> {
        let lines = reader.read().unwrap();
        let text = |line: Line| format!("{}:{}", line.app, String::from_utf8(line.text).unwrap());
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn apps_are_merged_by_time_and_pieces_joined() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|app| dir.path().join(app).join(LOG_FILE));
        for path in &paths {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        put(
            &paths[0],
            &[(1, "one", true), (5, "fi", false), (6, "ve", true)],
        );
        put(&paths[1], &[(2, "two", true), (4, "four", true)]);
        let mut reader = reader(&paths);
        assert_eq!(texts(&mut reader), ["0:one", "1:two", "1:four", "0:five"]);
        assert!(texts(&mut reader).is_empty());
        put(&paths[0], &[(7, "seven", true)]);
        assert_eq!(texts(&mut reader), ["0:seven"]);
    }

    #[test]
    fn a_new_file_is_followed_and_a_torn_line_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join(LOG_FILE), dir.path().join(OLD_LOG_FILE));
        put(&path, &[(1, "a", true)]);
        let mut reader = reader(std::slice::from_ref(&path));
        assert_eq!(texts(&mut reader), ["0:a"]);
        put(&path, &[(2, "b", true)]);
        fs::rename(&path, &old).unwrap();
        put(&path, &[(3, "c", true)]);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"1970-01-01T00:00:00.000000004Z stdout F d")
            .unwrap();
        assert_eq!(texts(&mut reader), ["0:b", "0:c"]);
        file.write_all(b"d\nnot a record\n").unwrap();
        assert_eq!(texts(&mut reader), ["0:dd"]);
    }
}
