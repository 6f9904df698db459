//! One pass over the bytes of a layer, its stages on threads of their own.
//!
//! ```text
//!   source ──pipe──▶ inflate ──pipe──▶ sink
//!   (socket, digest)            (diff_id, tar file, index)
//! ```
//!
//! The pipes are bounded, so memory does not depend on the layer's size and
//! the slowest stage sets the pace.

mod decode;
mod pipe;
mod verified;

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

pub use decode::Compression;
pub use verified::BlobError;
pub(crate) use verified::Verified;

use crate::progress::Step;
use pipe::{Filled, PipeReader, PipeWriter, pipe};

/// How far packed bytes may expand.
///
/// Images do not declare their unpacked size, so a bomb is told by its ratio:
/// gzip cannot exceed 1032:1, and real layers that come near it (empty sparse
/// files) stay below the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes that are always allowed.
    pub floor: u64,
    /// Beyond the floor: unpacked bytes per packed byte.
    pub ratio: u64,
    /// Packed bytes from a source that did not say how many there are.
    pub undeclared: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            floor: 4 << 30,
            ratio: 1100,
            undeclared: 16 << 30,
        }
    }
}

/// Why a stream did not reach its sink whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The source failed, or its bytes were not those promised (a
    /// [`BlobError`] inside).
    #[error(transparent)]
    Source(io::Error),
    /// The bytes do not unpack.
    #[error("the {compression} data is damaged: {source}")]
    Decode {
        /// How they seem to be packed.
        compression: Compression,
        /// What the decoder says.
        source: io::Error,
    },
    /// They unpack to too much.
    #[error(
        "{packed} packed bytes expand to more than {unpacked}: refused as a decompression bomb"
    )]
    Bomb {
        /// Packed bytes so far.
        packed: u64,
        /// The limit on what they unpack to.
        unpacked: u64,
    },
    /// They do not end.
    #[error("more than {0} bytes, and no word of how many there will be: refused")]
    Endless(u64),
    /// The sink knows more.
    #[error(transparent)]
    Sink(io::Error),
    /// Another stream of the same image failed.
    #[error("cancelled")]
    Cancelled,
}

/// What a stream shares with the others of its image.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    cancelled: AtomicBool,
}

impl Shared {
    /// Lets every stream end with [`StreamError::Cancelled`] soon.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What is known of a source beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Size and digest: the source fails if it is not as declared.
    Digest,
    /// Only the size.
    Size,
    /// Nothing at all.
    Nothing,
}

/// Moves everything from `source` through decompression into `sink`, and
/// returns the number of packed bytes.
///
/// Of several errors the one nearest to the source is returned: damaged bytes
/// also make the later stages fail, and are then read to their end, if that
/// tells that the digest is wrong.
pub(crate) fn run(
    source: &mut (dyn Read + Send),
    known: Known,
    sink: &mut (dyn Write + Send),
    limits: Limits,
    shared: &Shared,
    step: &mut dyn Step,
) -> Result<u64, StreamError> {
    let packed = AtomicU64::new(0);
    let no_use = AtomicBool::new(false);
    let (packed_in, packed_out) = pipe();
    let (unpacked_in, unpacked_out) = pipe();
    let (receive, inflate, write) = thread::scope(|scope| {
        let (packed, no_use) = (&packed, &no_use);
        let most = match known {
            Known::Nothing => limits.undeclared,
            Known::Size | Known::Digest => u64::MAX,
        };
        let receive =
            scope.spawn(move || receive(source, most, packed_in, packed, no_use, shared, step));
        let write = scope.spawn(move || {
            let result = write(unpacked_out, sink);
            let telling = |e: &io::Error| known == Known::Digest && is_about_data(e);
            if result.as_ref().is_err_and(|e| !telling(e)) {
                no_use.store(true, Ordering::Relaxed);
            }
            result
        });
        let inflate = inflate(packed_out, unpacked_in, limits, packed);
        let bomb = matches!(inflate, Err(StreamError::Bomb { .. }));
        if bomb || (inflate.is_err() && known != Known::Digest) {
            no_use.store(true, Ordering::Relaxed);
        }
        (join(receive), inflate, join(write))
    });
    receive?;
    inflate?;
    write.map_err(StreamError::Sink)?;
    Ok(packed.into_inner())
}

/// A full disk says nothing about the bytes; then reading on is no use.
fn is_about_data(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
        && !matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
}

/// A stage that panicked takes the fetch with it.
fn join<T>(stage: thread::ScopedJoinHandle<'_, T>) -> T {
    stage
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn receive(
    source: &mut dyn Read,
    most: u64,
    mut pipe: PipeWriter,
    packed: &AtomicU64,
    no_use: &AtomicBool,
    shared: &Shared,
    step: &mut dyn Step,
) -> Result<(), StreamError> {
    loop {
        if shared.is_cancelled() {
            return Err(StreamError::Cancelled);
        }
        match pipe.fill(source).map_err(StreamError::Source)? {
            Filled::End => return Ok(()),
            Filled::Sent(n) => {
                let before = packed.fetch_add(n as u64, Ordering::Relaxed);
                step.advance(n as u64);
                if before + n as u64 > most {
                    return Err(StreamError::Endless(most));
                }
            }
            Filled::Closed(_) if no_use.load(Ordering::Relaxed) => return Ok(()),
            Filled::Closed(n) => step.advance(n as u64),
        }
    }
}

fn inflate(
    mut source: PipeReader,
    mut pipe: PipeWriter,
    limits: Limits,
    packed: &AtomicU64,
) -> Result<(), StreamError> {
    let compression = Compression::of(source.fill_buf().unwrap_or_default());
    let error = |source| StreamError::Decode {
        compression,
        source,
    };
    let mut decoder = compression.decoder(source).map_err(error)?;
    let mut unpacked = 0_u64;
    loop {
        match pipe.fill(&mut decoder).map_err(error)? {
            Filled::Sent(n) => unpacked += n as u64,
            Filled::End | Filled::Closed(_) => return Ok(()),
        }
        let packed = packed.load(Ordering::Relaxed);
        let allowed = limits.floor.max(packed.saturating_mul(limits.ratio));
        if compression != Compression::Plain && unpacked > allowed {
            return Err(StreamError::Bomb {
                packed,
                unpacked: allowed,
            });
        }
    }
}

fn write(mut pipe: PipeReader, sink: &mut dyn Write) -> io::Result<()> {
    loop {
        let bytes = pipe.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        sink.write_all(bytes)?;
        let n = bytes.len();
        pipe.consume(n);
    }
}

#[cfg(test)]
mod tests;
