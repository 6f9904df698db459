//! Lines from the journal, by journalctl(1): the journal's files have no other
//! reader that is promised to know them.
//!
//! What is there is read by one run of it; what comes then by a second one,
//! which follows. At the pod's end a last one reads what the second had not
//! told yet: each line has a cursor, so that none is told twice.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use manifests::log::Stream;
use serde::Deserialize;
use uuid::Uuid;

use super::Line;

/// The fields by which the lines of a pod are found.
pub(crate) const POD: &str = "RKT_POD_UUID";
/// That of its app.
pub(crate) const APP: &str = "RKT_APP";
/// The image of the app: its name, and its version if it has one.
pub(crate) const IMAGE: &str = "RKT_IMAGE";
/// The identifier of that.
pub(crate) const IMAGE_ID: &str = "RKT_IMAGE_ID";

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no journalctl.
    #[error("what its apps write is in the journal, and journalctl cannot be executed")]
    Execute(#[source] std::io::Error),
    /// It failed.
    #[error("journalctl failed: {0}")]
    Failed(String),
    /// A prefix that several pods in the journal have.
    #[error("several pods in the journal begin with {0:?}")]
    Ambiguous(String),
}

/// Reads lines of a pod.
#[derive(Debug)]
pub(super) struct JournalReader {
    pod: Uuid,
    apps: Vec<String>,
    /// The last line that was told.
    cursor: Option<String>,
    /// Pieces of lines that have not ended, by app and stream.
    begun: Vec<(usize, Stream, Vec<u8>)>,
    following: Option<Following>,
}

/// A journalctl that goes on.
#[derive(Debug)]
struct Following {
    child: Child,
    entries: Receiver<Entry>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A line of journalctl's JSON.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    /// Microseconds since the epoch, as text.
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    time: String,
    #[serde(rename = "MESSAGE", default)]
    message: Text,
    #[serde(rename = "RKT_APP", default)]
    app: Text,
    #[serde(rename = "RKT_STREAM", default)]
    stream: Text,
    #[serde(rename = "RKT_PARTIAL")]
    partial: Option<Text>,
}

/// A field's value: bytes where they are no text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Bytes(Vec<u8>),
    None(()),
}

impl Default for Text {
    fn default() -> Self {
        Self::None(())
    }
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::String(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::None(()) => &[],
        }
    }
}

impl JournalReader {
    pub(super) fn new(pod: Uuid, apps: &[String]) -> Self {
        Self {
            pod,
            apps: apps.to_owned(),
            cursor: None,
            begun: Vec::new(),
            following: None,
        }
    }

    /// As [`super::LogReader::read`].
    pub(super) fn read(&mut self, last: bool) -> Result<Vec<Line>, JournalError> {
        let mut entries = Vec::new();
        if let Some(following) = &self.following {
            entries.extend(following.entries.try_iter());
        }
        let mut lines = self.lines(entries);
        if last || self.following.is_none() {
            self.following = None;
            sync();
            let entries = self.query()?;
            lines.extend(self.lines(entries));
        }
        if !last && self.following.is_none() {
            self.following = Some(self.follow()?);
        }
        Ok(lines)
    }

    fn command(&self) -> Command {
        let mut command = journalctl();
        command.args([
            "--output=json",
            "--output-fields=MESSAGE,RKT_APP,RKT_STREAM,RKT_PARTIAL",
            "--all",
        ]);
        if let Some(cursor) = &self.cursor {
            command.arg(format!("--after-cursor={cursor}"));
        }
        command.arg(format!("{POD}={}", self.pod));
        command
    }

    /// What there is after what was told.
    fn query(&self) -> Result<Vec<Entry>, JournalError> {
        let output = output(&mut self.command())?;
        let lines = output.split(|&byte| byte == b'\n');
        Ok(lines.filter_map(parse).collect())
    }

    fn follow(&self) -> Result<Following, JournalError> {
        let mut child = self
            .command()
            .args(["--follow", "--no-tail"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(JournalError::Execute)?;
        let (sender, entries) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    if parse(&line).is_some_and(|entry| sender.send(entry).is_err()) {
                        return;
                    }
                    line.clear();
                }
            });
        }
        Ok(Following { child, entries })
    }

    fn lines(&mut self, entries: Vec<Entry>) -> Vec<Line> {
        let mut lines = Vec::new();
        for entry in entries {
            self.cursor = Some(entry.cursor);
            let app = entry.app.as_bytes();
            let Some(app) = self.apps.iter().position(|known| known.as_bytes() == app) else {
                continue;
            };
            let stream = match entry.stream.as_bytes() {
                b"stderr" => Stream::Error,
                _ => Stream::Output,
            };
            let begun = self
                .begun
                .iter()
                .position(|(of, on, _)| (*of, *on) == (app, stream));
            let mut text = begun.map_or_else(Vec::new, |at| self.begun.swap_remove(at).2);
            text.extend_from_slice(entry.message.as_bytes());
            if entry.partial.is_some() {
                self.begun.push((app, stream, text));
                continue;
            }
            lines.push(Line {
                time: entry.time.parse::<u64>().unwrap_or(0) * 1000,
                app,
                stream,
                text,
            });
        }
        lines
    }
}

/// The pod in the journal whose UUID is this or begins so, and its apps in the
/// order in which they first wrote; none if there is none, or no journal.
///
/// # Errors
/// Several pods begin so, or the journal cannot be read.
pub fn find_gone(prefix: &str) -> Result<Option<(Uuid, Vec<String>)>, JournalError> {
    let names = match output(journalctl().arg(format!("--field={POD}"))) {
        Ok(names) => names,
        Err(JournalError::Execute(e)) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let names = String::from_utf8_lossy(&names);
    let mut found = names.lines().filter(|name| name.starts_with(prefix));
    let Some(uuid) = found.next().and_then(|name| name.parse().ok()) else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(JournalError::Ambiguous(prefix.to_owned()));
    }
    let mut apps: Vec<String> = Vec::new();
    for entry in JournalReader::new(uuid, &[]).query()? {
        let app = String::from_utf8_lossy(entry.app.as_bytes()).into_owned();
        if !apps.contains(&app) {
            apps.push(app);
        }
    }
    Ok(Some((uuid, apps)))
}

/// Has journald put what it holds where it is read. That needs rights which who
/// may read the journal need not have; then what is there is read.
fn sync() {
    let _unsynced = journalctl()
        .arg("--sync")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn journalctl() -> Command {
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager", "--namespace=*"])
        .stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Result<Vec<u8>, JournalError> {
    let output = command.output().map_err(JournalError::Execute)?;
    // Nothing found is 1 for some versions, and nothing said.
    if output.status.success() || output.stderr.is_empty() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(JournalError::Failed(said.trim_end().replace('\n', "; ")))
}

fn parse(line: &[u8]) -> Option<Entry> {
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_lines_and_pieces_are_joined() {
        let mut reader = JournalReader::new(Uuid::nil(), &["web".to_owned()]);
        let text = br#"{"__CURSOR":"a","__REALTIME_TIMESTAMP":"7","MESSAGE":"one ","RKT_APP":"web","RKT_STREAM":"stdout","RKT_PARTIAL":"1"}
{"__CURSOR":"b","__REALTIME_TIMESTAMP":"8","MESSAGE":[104,255],"RKT_APP":"web","RKT_STREAM":"stderr"}
{"__CURSOR":"c","__REALTIME_TIMESTAMP":"9","MESSAGE":"two","RKT_APP":"web","RKT_STREAM":"stdout"}
{"__CURSOR":"d","__REALTIME_TIMESTAMP":"9","MESSAGE":null,"RKT_APP":"other"}
"#;
        let entries: Vec<_> = text.split(|b| *b == b'\n').filter_map(parse).collect();
        assert_eq!(entries.len(), 4);
        let line = |time, stream, text: &[u8]| Line {
            time,
            app: 0,
            stream,
            text: text.to_vec(),
        };
        assert_eq!(
            reader.lines(entries),
            [
                line(8000, Stream::Error, b"h\xff"),
                line(9000, Stream::Output, b"one two")
            ]
        );
        assert_eq!(reader.cursor.as_deref(), Some("d"));
    }
}
