//! A bounded pipe of large buffers between two stages of a fetch.
//!
//! The buffers go round: what the reader has emptied the writer fills again,
//! so a pipe never holds more than [`DEPTH`] + 2 of them, and allocates no
//! more after the start.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes per buffer: some cache-sized steps, few wake-ups per megabyte.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Full buffers that may wait between the stages.
const DEPTH: usize = 4;

struct Buffer {
    data: Box<[u8]>,
    len: usize,
}

/// The end that fills buffers.
pub(crate) struct PipeWriter {
    full: SyncSender<Buffer>,
    empty: Receiver<Buffer>,
}

/// The end that empties them; the end of the pipe looks like the end of a file.
pub(crate) struct PipeReader {
    full: Receiver<Buffer>,
    empty: Sender<Buffer>,
    current: Option<Buffer>,
    position: usize,
}

/// What [`PipeWriter::fill`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// That many bytes are on their way.
    Sent(usize),
    /// The source has ended.
    End,
    /// Nobody reads any more; that many bytes were dropped.
    Closed(usize),
}

/// A new pipe.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (full_in, full_out) = sync_channel(DEPTH);
    let (empty_in, empty_out) = channel();
    let writer = PipeWriter {
        full: full_in,
        empty: empty_out,
    };
    let reader = PipeReader {
        full: full_out,
        empty: empty_in,
        current: None,
        position: 0,
    };
    (writer, reader)
}

impl PipeWriter {
    /// Fills one buffer from `source` as far as that goes and passes it on.
    pub(crate) fn fill(&mut self, source: &mut dyn Read) -> io::Result<Filled> {
        let mut buffer = self.empty.try_recv().unwrap_or_else(|_| Buffer {
            data: vec![0; CHUNK].into_boxed_slice(),
            len: 0,
        });
        buffer.len = 0;
        while buffer.len < CHUNK {
            match source.read(&mut buffer.data[buffer.len..]) {
                Ok(0) => break,
                Ok(n) => buffer.len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        match buffer.len {
            0 => Ok(Filled::End),
            n => match self.full.send(buffer) {
                Ok(()) => Ok(Filled::Sent(n)),
                Err(_) => Ok(Filled::Closed(n)),
            },
        }
    }
}

impl PipeReader {
    /// Waits for bytes if there are none at hand.
    fn refill(&mut self) {
        if self.current.as_ref().is_some_and(|b| self.position < b.len) {
            return;
        }
        if let Some(buffer) = self.current.take() {
            // The writer may be gone already; then nobody needs the buffer.
            let _ = self.empty.send(buffer);
        }
        self.position = 0;
        self.current = self.full.recv().ok();
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill();
        Ok(match &self.current {
            Some(buffer) => &buffer.data[self.position..buffer.len],
            None => &[],
        })
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|i| (i % 251) as u8).collect();
        let (mut writer, mut reader) = pipe();
        let mut out = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = writer_of(&mut writer);
                let mut source = bytes.as_slice();
                while writer.fill(&mut source).unwrap() != Filled::End {}
            });
            reader.read_to_end(&mut out).unwrap();
        });
        assert!(out == bytes);
    }

    /// Takes the writer away when the scope's thread ends.
    fn writer_of(writer: &mut PipeWriter) -> PipeWriter {
        std::mem::replace(writer, pipe().0)
    }

    #[test]
    fn a_writer_learns_that_nobody_reads() {
        let (mut writer, reader) = pipe();
        drop(reader);
        assert_eq!(writer.fill(&mut &b"abc"[..]).unwrap(), Filled::Closed(3));
        assert_eq!(writer.fill(&mut io::empty()).unwrap(), Filled::End);
    }
}
