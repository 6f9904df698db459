//! What fetching costs if it costs nothing else: to hash what is packed, to
//! inflate it, to hash that, and to write it once. With the libraries that rkt
//! has, on all cores, from the page cache, and without waiting for the disk.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::image::Packing;

const CHUNK: usize = 256 << 10;
/// Chunks that may wait between two threads.
const DEPTH: usize = 4;

/// Works the layers off, the largest first, into files in `dir`.
pub(crate) fn run(blobs: &[PathBuf], packing: Packing, dir: &Path) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores.min(blobs.len()) {
            scope.spawn(|| {
                while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    layer(blob, packing, &dir.join(blob.file_name().unwrap()));
                }
            });
        }
    });
    start.elapsed()
}

/// One layer on two threads, so that the last one keeps two cores busy.
fn layer(blob: &Path, packing: Packing, to: &Path) {
    let packed = Hashed {
        inner: File::open(blob).unwrap(),
        hash: Sha256::new(),
    };
    let packed = BufReader::with_capacity(CHUNK, packed);
    let mut source: Box<dyn Read + Send> = match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed).unwrap()),
    };
    let (full, filled) = sync_channel::<Vec<u8>>(DEPTH);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut file = File::create(to).unwrap();
            let mut hash = Sha256::new();
            for chunk in filled {
                hash.update(&chunk);
                file.write_all(&chunk).unwrap();
            }
            std::hint::black_box(hash.finalize());
        });
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let limited = &mut (&mut source).take(CHUNK as u64);
            if limited.read_to_end(&mut chunk).unwrap() == 0 {
                break;
            }
            full.send(chunk).unwrap();
        }
        drop(full);
    });
}

/// Hashes what is read.
struct Hashed {
    inner: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}
