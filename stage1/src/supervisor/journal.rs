//! What apps write, as messages for journald.
//!
//! Each line is a message with its app's own fields, which journald takes from
//! datagrams only: what goes through a stream to it has the fields of the unit,
//! and those are the same for all apps. And an app whose output is a pipe can
//! open `/dev/stdout`, as the images of many servers do, where a socket says
//! ENXIO.
//!
//! While journald does not keep up the apps wait, as they would if it read
//! their output itself. What it cannot be given at all is lost and counted, and
//! the count is told when it is back.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use manifests::log::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use systemd::journal::{INFO, Journal, add, add_line, priority};

use crate::error::{Error, Result};

/// Longest message; a longer line is cut, and all its pieces but the last have
/// [`PARTIAL`]. As `LineMax=` of journald.conf(5).
const LINE: usize = 48 * 1024;

/// Field of a piece of a line that goes on in the next message.
const PARTIAL: &str = "RKT_PARTIAL";

/// How long a pod that ends waits for journald to take what is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to journald.
#[derive(Debug)]
pub struct JournalLog {
    journal: Journal,
    writers: Vec<Writer>,
    /// Messages that journald has yet to take.
    queue: VecDeque<Vec<u8>>,
    lost: u64,
}

/// One stream of an app.
#[derive(Debug)]
struct Writer {
    /// What every message has.
    fields: Vec<u8>,
    /// The priority of a line of which a piece was sent.
    cut: Option<u8>,
}

impl JournalLog {
    /// Finds journald.
    ///
    /// # Errors
    /// [`Error::System`] when there is none.
    pub fn connect() -> Result<Self> {
        Ok(Self::new(
            Journal::connect().map_err(Error::system("reach", "journald"))?,
        ))
    }

    fn new(journal: Journal) -> Self {
        Self {
            journal,
            writers: Vec::new(),
            queue: VecDeque::new(),
            lost: 0,
        }
    }

    /// Adds a stream of an app with the fields that the app's lines have; its
    /// number is for [`Self::take`].
    pub fn add(&mut self, app: &str, fields: &[(String, String)], stream: Stream) -> usize {
        let mut encoded = Vec::new();
        add(&mut encoded, "SYSLOG_IDENTIFIER", app.as_bytes());
        for (name, value) in fields {
            add(&mut encoded, name, value.as_bytes());
        }
        add(&mut encoded, "RKT_STREAM", stream.as_str().as_bytes());
        self.writers.push(Writer {
            fields: encoded,
            cut: None,
        });
        self.writers.len() - 1
    }

    /// Takes what a stream has brought. `partial` is what is kept between two
    /// calls of a line that has not ended.
    pub fn take(&mut self, writer: usize, partial: &mut Vec<u8>, data: &[u8]) {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let ended = piece.strip_suffix(b"\n");
            match ended {
                Some(line) if partial.is_empty() => self.push(writer, line, true),
                _ => {
                    partial.extend_from_slice(ended.unwrap_or(piece));
                    if ended.is_some() || partial.len() >= LINE {
                        self.push(writer, partial, ended.is_some());
                        partial.clear();
                    }
                }
            }
        }
        self.flush();
    }

    fn push(&mut self, writer: usize, text: &[u8], whole: bool) {
        let Some(writer) = self.writers.get_mut(writer) else {
            return;
        };
        let (level, text) = match writer.cut {
            Some(level) => (level, text),
            None => {
                let (level, text) = priority(text);
                (level.unwrap_or(INFO), text)
            }
        };
        writer.cut = (!whole).then_some(level);
        let mut message = writer.fields.clone();
        if !whole {
            add(&mut message, PARTIAL, b"1");
        }
        add_line(&mut message, level, text);
        self.queue.push_back(message);
    }

    /// Whether there is something that journald has yet to take.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The descriptor that is writable when journald takes more.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.journal, PollFlags::OUT)
    }

    /// Sends what journald takes now.
    pub fn flush(&mut self) {
        while let Some(message) = self.queue.front() {
            if self.lost > 0 {
                match self.journal.send(&confession(self.lost)) {
                    Ok(()) => self.lost = 0,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                    Err(_) => {}
                }
            }
            match self.journal.send(message) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.lost += 1,
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
        // It grew by a burst.
        self.queue.shrink_to(16);
    }

    /// Sends what is left, and waits for journald to take it.
    pub fn finish(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.flush();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.queue.is_empty() || left.is_zero() {
                break;
            }
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            // The loop asks what came of it.
            let _ready = poll(&mut [self.poll_fd()], Some(&timeout));
        }
        let missing = self.lost + self.queue.len() as u64;
        if missing > 0 {
            crate::error::say(format_args!(
                "run: {missing} lines of the apps are lost: journald did not take them"
            ));
        }
    }
}

/// Says in the journal what is missing from it.
fn confession(lost: u64) -> Vec<u8> {
    let mut message = Vec::new();
    add(&mut message, "SYSLOG_IDENTIFIER", b"rkt");
    let text = format!("{lost} lines are missing here: journald did not take them");
    add_line(&mut message, 4, text.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use super::*;

    /// A log, and what stands in for journald.
    fn log(dir: &Path) -> (JournalLog, UnixDatagram, usize) {
        let path = dir.join("socket");
        let listening = UnixDatagram::bind(&path).unwrap();
        listening.set_nonblocking(true).unwrap();
        let mut log = JournalLog::new(Journal::connect_to(&path).unwrap());
        let fields = [("RKT_APP".to_owned(), "web".to_owned())];
        let writer = log.add("web", &fields, Stream::Output);
        (log, listening, writer)
    }

    fn next(listening: &UnixDatagram) -> Option<String> {
        let mut heard = vec![0; LINE * 2];
        let length = listening.recv(&mut heard).ok()?;
        Some(String::from_utf8_lossy(&heard[..length]).into_owned())
    }

    fn message(level: u8, text: &str) -> Option<String> {
        Some(format!(
            "SYSLOG_IDENTIFIER=web\nRKT_APP=web\nRKT_STREAM=stdout\nPRIORITY={level}\n\
             SYSLOG_FACILITY=3\nMESSAGE={text}\n"
        ))
    }

    #[test]
    fn a_line_is_a_message_with_its_priority_however_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, listening, writer) = log(dir.path());
        let mut partial = Vec::new();
        for piece in ["one\n<3>tw", "o\n", "<7>\n", "<9>last"] {
            log.take(writer, &mut partial, piece.as_bytes());
        }
        assert_eq!(next(&listening), message(6, "one"));
        assert_eq!(next(&listening), message(3, "two"));
        assert_eq!(next(&listening), message(7, ""));
        assert_eq!(next(&listening), None);
        log.take(writer, &mut partial, b"\n");
        assert_eq!(next(&listening), message(6, "<9>last"));
    }

    #[test]
    fn a_long_line_is_cut_and_its_pieces_have_its_priority() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, listening, writer) = log(dir.path());
        let mut partial = Vec::new();
        log.take(writer, &mut partial, b"<2>");
        log.take(writer, &mut partial, &[b'x'; LINE]);
        let first = next(&listening).unwrap();
        assert!(first.contains("RKT_PARTIAL=1\nPRIORITY=2\n"), "{first}");
        log.take(writer, &mut partial, b"<1>end\n");
        assert_eq!(next(&listening), message(2, "<1>end"));
    }

    #[test]
    fn lines_wait_for_journald() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, listening, writer) = log(dir.path());
        let mut sent = 0;
        while !log.is_waiting() {
            log.take(writer, &mut Vec::new(), format!("{sent}\n").as_bytes());
            sent += 1;
        }
        for number in 0..sent {
            let text = number.to_string();
            let got = next(&listening).or_else(|| {
                log.flush();
                next(&listening)
            });
            assert_eq!(got, message(6, &text));
        }
        log.flush();
        assert!(!log.is_waiting());
    }

    #[test]
    fn what_is_lost_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, listening, writer) = log(dir.path());
        log.lost = 2;
        log.take(writer, &mut Vec::new(), b"back\n");
        assert!(
            next(&listening)
                .unwrap()
                .contains("MESSAGE=2 lines are missing")
        );
        assert_eq!(next(&listening), message(6, "back"));
    }
}
