//! ACIs of our own making, and what both image kinds share: digests and
//! compression. Compressing is left to the programs that everybody uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::{Cmd, Rootfs};

/// appc's word for the architecture that rkt asks for here.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "amd64"
};

/// How a tar is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip(1).
    Gzip,
    /// zstd(1).
    Zstd,
    /// xz(1).
    Xz,
    /// bzip2(1).
    Bzip2,
}

impl Compression {
    /// Every one an ACI may have.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];

    /// The bytes, compressed by the program of that name.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let program = match self {
            Self::Plain => return bytes.to_vec(),
            // Without the time of the file: same input, same bytes.
            Self::Gzip => "gzip -n",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        };
        // Through files: compressed bytes are no text, which is what Cmd captures.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed"));
        fs::write(&plain, bytes).unwrap();
        Cmd::new("sh")
            .args(["-c", "exec $0 -q -c <\"$1\" >\"$2\"", program])
            .args([&plain, &packed])
            .deadline(Duration::from_secs(600))
            .run()
            .ok();
        fs::read(packed).unwrap()
    }

    /// The end of the OCI layer media type: ``, `+gzip`, `+zstd`.
    pub fn media_suffix(self) -> &'static str {
        match self {
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
            _ => "",
        }
    }
}

/// SHA-256, lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-512, lower-case hexadecimal.
pub fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An appc image about to be written.
#[derive(Debug, Clone)]
pub struct Aci {
    /// The image manifest.
    pub manifest: Value,
    /// What stands below `rootfs/`.
    pub rootfs: Rootfs,
}

impl Aci {
    /// The busybox image named `name`, running `exec` as root.
    pub fn busybox(name: &str, exec: &[&str]) -> Self {
        Self::new(name, exec, Rootfs::busybox())
    }

    /// An image named `name` (version 1.0.0, for this machine), running `exec` as
    /// root.
    pub fn new(name: &str, exec: &[&str], rootfs: Rootfs) -> Self {
        let manifest = json!({
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": name,
            "labels": [
                {"name": "version", "value": "1.0.0"},
                {"name": "os", "value": "linux"},
                {"name": "arch", "value": ARCHITECTURE},
            ],
            "app": {"exec": exec, "user": "0", "group": "0"},
        });
        Self { manifest, rootfs }
    }

    /// Sets one field of the manifest's app section.
    pub fn app(mut self, key: &str, value: Value) -> Self {
        self.manifest["app"][key] = value;
        self
    }

    /// The uncompressed archive.
    pub fn tar(&self) -> Vec<u8> {
        self.tar_with_manifest(&serde_json::to_vec(&self.manifest).unwrap())
    }

    /// The archive with these bytes in place of the manifest.
    pub fn tar_with_manifest(&self, manifest: &[u8]) -> Vec<u8> {
        let mut out = Rootfs::new().file("manifest", 0o644, manifest).tar("");
        out.truncate(out.len() - 1024);
        out.extend(Rootfs::new().dir("rootfs", 0o755).tar(""));
        out.truncate(out.len() - 1024);
        out.extend(self.rootfs.tar("rootfs/"));
        out
    }

    /// `sha512-` and 128 digits: the image's ID.
    pub fn id(&self) -> String {
        format!("sha512-{}", sha512(&self.tar()))
    }

    /// Writes `dir/FILE.aci`.
    pub fn write(&self, dir: &Path, file: &str, compression: Compression) -> PathBuf {
        let path = dir.join(format!("{file}.aci"));
        fs::write(&path, compression.pack(&self.tar())).unwrap();
        path
    }
}
