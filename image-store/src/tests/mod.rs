//! What the crate promises, tried on real kernels and with real tools.
//!
//! Most of it needs root and a kernel that mounts EROFS from files. Where that
//! is missing, the half of a test that needs it says `skipped:` on stderr.

mod archive;
mod backends;
mod export;
mod hostile;
mod lookup;
mod merging;
mod properties;
mod seals;
mod snapshot;
mod store;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use manifests::appc::ImageManifest;
use manifests::config::Verity;
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::trust::Verification;
use sha2::{Digest as _, Sha256};

use crate::{
    BackendChoice, ImageDraft, ImageRecord, Keep, LayerKind, MountedImage, Result, Stack,
    StagedLayer, Store,
};

/// A store in a directory of its own; whatever was mounted is unmounted and
/// everything is removed at the end.
struct TestStore {
    store: Store,
    dir: tempfile::TempDir,
}

impl TestStore {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rkt-image-store-")
            .tempdir()
            .unwrap();
        let store = Store::open(&dir.path().join("data"));
        Self { store, dir }
    }

    /// Whose objects can be damaged: a sealed file cannot be opened for writing.
    fn unsealed() -> Self {
        let mut test = Self::new();
        test.store = test.store.clone().with_verity(Verity::Off);
        test
    }

    /// A path beside the data directory.
    fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits OCI layers, bottom to top, as one image.
    fn commit(&self, layers: &[&[u8]]) -> Result<ImageRecord> {
        self.commit_named(layers, &[])
    }

    fn commit_named(&self, layers: &[&[u8]], names: &[&str]) -> Result<ImageRecord> {
        let staging = self.store.stage()?;
        let mut hash = Sha256::new();
        let mut staged = Vec::new();
        for layer in layers {
            hash.update(Sha256::digest(layer));
            let mut writer = staging.layer(Algorithm::Sha256, LayerKind::Oci)?;
            // The error is told again, and better, by `finish`.
            let _ = writer.write_all(layer);
            staged.push(writer.finish(None)?);
        }
        let digest = Digest::from_bytes(Algorithm::Sha256, &hash.finalize());
        let names = names.iter().map(|&n| n.to_owned()).collect();
        staging.commit(draft(ImageId::new(digest), Stack::flat(staged), names))
    }

    /// Mounts by one backend, or says why not.
    fn mount(&self, image: &ImageRecord, backend: BackendChoice) -> Option<MountedImage> {
        let mounted = self.store.mount(image, backend).unwrap();
        if let Some(reason) = &mounted.fallback {
            skipped(reason);
            return None;
        }
        Some(mounted)
    }

    fn data(&self, path: &str) -> PathBuf {
        self.store.dirs.root().join(path)
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let swept = self.store.gc(&Keep::default());
        if !std::thread::panicking() {
            let swept = swept.unwrap();
            assert!(swept.left.is_empty(), "left behind: {:?}", swept.left);
        }
    }
}

fn draft(id: ImageId, rootfs: Stack<StagedLayer>, names: Vec<String>) -> ImageDraft {
    ImageDraft {
        id,
        manifest: ImageManifest::new("example.com/test".parse().unwrap()),
        oci: None,
        rootfs,
        names: names.into_iter().map(Into::into).collect(),
        verification: Verification::nothing("the test"),
    }
}

fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("{name}: skipped: {reason}");
}

/// Unpacking keeps owners only for root.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("needs root");
    }
    root
}

/// Runs a program that must succeed.
fn run(program: &str, args: &[&str], dir: &Path) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let status = output.status;
    assert!(
        status.success(),
        "{program} {args:?}: {status}\n{stderr}{stdout}"
    );
    stdout.into_owned()
}

/// What GNU tar makes of archives that are unpacked on each other.
fn gnu_tar_unpacks(archives: &[&Path], into: &Path) {
    std::fs::create_dir(into).unwrap();
    for archive in archives {
        let archive = archive.to_str().unwrap();
        let args = [
            "-xpf",
            archive,
            "--numeric-owner",
            "--same-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--delay-directory-restore",
        ];
        run("tar", &args, into);
    }
}

/// Which file system a directory is on.
fn device_of(dir: &impl AsFd) -> u64 {
    rustix::fs::fstat(dir).unwrap().st_dev
}

fn file_of(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}
