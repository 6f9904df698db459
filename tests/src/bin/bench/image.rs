//! The image that is fetched: large, and the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::{Cmd, Compression, OciImage, Rootfs};

/// Where the image and the registry stay between runs.
pub(crate) const CACHE: &str = "/var/tmp/rkt-bench";

/// Files per layer, bottom to top: 36,700 in all.
const LAYERS: [usize; 4] = [14_700, 11_000, 7_300, 3_700];

/// Bytes of an average file; sizes run from nothing to ten times this.
const AVERAGE: usize = 25_600;

/// How the layers of a variant are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// What nearly every image is.
    Gzip,
    /// What the newest ones are.
    Zstd,
}

impl Packing {
    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The tag of the image.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Gzip => "large:1",
            Self::Zstd => "large:zstd",
        }
    }
}

/// Makes the image and pushes it to `reference`, unless an earlier run did;
/// gives the files of its layers as they are packed.
pub(crate) fn publish(reference: &str, packing: Packing) -> Vec<PathBuf> {
    let layout = PathBuf::from(CACHE).join(format!("layout-{}", packing.name()));
    let done = layout.join("published");
    if !done.exists() {
        eprintln!(
            "bench: making the {} image once, below {CACHE}; this takes a minute or two",
            packing.name()
        );
        make(reference, packing, &layout);
        fs::write(done, "").unwrap();
    }
    let mut blobs: Vec<(u64, PathBuf)> = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.metadata().unwrap().len(), entry.path()))
        .collect();
    // The documents are far smaller than any layer.
    blobs.sort();
    blobs.reverse();
    blobs.truncate(LAYERS.len());
    blobs.into_iter().map(|(_, path)| path).collect()
}

fn make(reference: &str, packing: Packing, layout: &Path) {
    let _ = fs::remove_dir_all(layout);
    let layers = LAYERS
        .iter()
        .enumerate()
        .map(|(n, files)| layer(n, *files).tar(""));
    let image = OciImage::new(layers.collect(), &["/bin/true"])
        .compressed(match packing {
            Packing::Gzip => Compression::Gzip,
            Packing::Zstd => Compression::Zstd,
        })
        .write(layout, "1");
    Cmd::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"])
        .arg("--dest-tls-verify=false")
        .args([&image.reference(), reference])
        .deadline(Duration::from_secs(600))
        .run()
        .ok();
}

/// A layer of pseudo-random files, the same on every machine, that gzip packs
/// to about 40 %, as it does a distribution's files.
fn layer(number: usize, files: usize) -> Rootfs {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number as u64);
    let mut rootfs = Rootfs::new().dir("usr", 0o755);
    for file in 0..files {
        if file % 100 == 0 {
            rootfs = rootfs.dir(&format!("usr/{number}-{}", file / 100), 0o755);
        }
        let scale = random.next() % 100;
        let size = match scale {
            0..=59 => random.below(AVERAGE / 4),
            60..=94 => random.below(AVERAGE * 2),
            _ => random.below(AVERAGE * 23),
        };
        let path = format!("usr/{number}-{}/file-{file}", file / 100);
        rootfs = rootfs.file(&path, 0o644, random.text(size));
    }
    rootfs
}

/// xorshift64*: no more than a source of bytes that are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit.max(1)
    }

    /// Words of a small vocabulary with bytes of noise between them.
    fn text(&mut self, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size + 32);
        while out.len() < size {
            let next = self.next();
            // One of 512 sixteen-byte words, then four bytes that do not repeat.
            let word = (next & 0x1ff) + 1;
            out.extend(word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            out.extend(word.wrapping_mul(0xd1b5_4a32_d192_ed03).to_le_bytes());
            out.extend(&(next >> 32).to_le_bytes()[..4]);
        }
        out.truncate(size);
        out
    }
}
