//! Bytes at rest: what was fetched, found again by what it is.
//!
//! ```text
//! store/objects/<alg>/<aa>/<hex>      immutable: manifests, configs, tars, indexes
//! store/images/<image-id>             the image record, the only commit point
//! store/names/<escaped name>          name -> image id
//! store/staging/<boot-id>/<random>/   in flight
//! ```
//!
//! Invariant: a file under `objects/` is complete and has the digest of its
//! name; a record names only objects that exist. Writers fill a staging
//! directory, sync once and publish by `rename`; readers take no lock.
#![expect(
    unused_variables,
    missing_docs,
    clippy::unimplemented,
    reason = "interface sketch, being filled in"
)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::trust::Verification;
use serde::{Deserialize, Serialize};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Sketch(String),
}

/// The store below one data directory. Cheap to open: no scan, no lock.
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens `DATA/store`, making its directories if they are missing.
    pub fn open(data_dir: &Path) -> Result<Self> {
        unimplemented!()
    }
    /// A fresh staging directory of this boot; removed on drop.
    pub fn stage(&self) -> Result<Staging<'_>> {
        unimplemented!()
    }
    pub fn has_object(&self, digest: &Digest) -> bool {
        unimplemented!()
    }
    pub fn open_object(&self, digest: &Digest) -> Result<File> {
        unimplemented!()
    }
    /// The record of an image that is known by its full id.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        unimplemented!()
    }
    /// Every record; one that cannot be read is an `Err` of its own.
    pub fn images(&self) -> Result<Vec<Result<ImageRecord>>> {
        unimplemented!()
    }
    /// The one image whose id starts with this (`sha512-ab…`, `sha256-ab…`, at
    /// least two digits); `Err` says whether none or several did.
    pub fn find_id(&self, prefix: &str) -> Result<ImageId> {
        unimplemented!()
    }
    /// What `name` was last fetched as (`store/names`). The name is the
    /// canonical reference string that fetch made, e.g.
    /// `docker://host:5000/app:1.0`.
    pub fn find_name(&self, name: &str) -> Result<Option<ImageId>> {
        unimplemented!()
    }
    /// Makes the image's root file system available on the host and pins it:
    /// EROFS mounted at `/run/rkt/images/<id>`, or a rendered tree.
    pub fn mount(&self, id: &ImageId, backend: BackendChoice) -> Result<MountedImage> {
        unimplemented!()
    }
    /// Removes the record and the names; objects nobody else uses go too.
    pub fn remove(&self, id: &ImageId) -> Result<()> {
        unimplemented!()
    }
    /// Sweeps other boots' staging, unreferenced objects and unused mounts.
    pub fn gc(&self) -> Result<GcReport> {
        unimplemented!()
    }
    /// Re-reads every object of the image and names what is damaged.
    pub fn verify(&self, id: &ImageId) -> Result<Vec<Damage>> {
        unimplemented!()
    }
}

/// Which backend provides a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendChoice {
    /// EROFS where the kernel can, else a tree (with the reason in
    /// [`MountedImage::fallback`]).
    Auto,
    /// A rendered tree.
    Tree,
}

/// A root file system that stays available while this value lives.
pub struct MountedImage {
    /// The directory on the host.
    pub path: PathBuf,
    /// Open directory: pins the mount (gc gets EBUSY) and is the handle for
    /// `openat2` lookups inside the image.
    pub root: OwnedFd,
    /// Why EROFS could not be used, if it was wanted; said once to the user.
    pub fallback: Option<String>,
}

pub struct Staging<'a> {
    store: &'a Store,
}

impl Staging<'_> {
    /// A plain object (manifest, config).
    pub fn object(&self, algorithm: Algorithm) -> Result<ObjectWriter> {
        unimplemented!()
    }
    /// A layer: its uncompressed tar goes in; the file is written, hashed and
    /// indexed in the same pass. Hostile or truncated tars fail here.
    /// `Send`, so layers can be written on threads of their own.
    pub fn layer(&self, algorithm: Algorithm, kind: LayerKind) -> Result<LayerWriter> {
        unimplemented!()
    }
    /// A layer the store already has: indexed again from its tar.
    pub fn stored_layer(&self, digest: &Digest, kind: LayerKind) -> Result<StagedLayer> {
        unimplemented!()
    }
    /// Builds the merged index, syncs once, publishes the objects, then the
    /// record, then the names.
    pub fn commit(self, draft: ImageDraft) -> Result<ImageRecord> {
        unimplemented!()
    }
}

/// How a tar is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// `manifest` and `rootfs/…`; no whiteouts.
    Aci,
    /// An OCI layer: whiteouts and opaque directories.
    Oci,
}

pub struct ObjectWriter;

impl Write for ObjectWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        unimplemented!()
    }
}

impl ObjectWriter {
    /// Ends the object; an `expected` digest that differs is an error.
    pub fn finish(self, expected: Option<&Digest>) -> Result<StagedObject> {
        unimplemented!()
    }
}

/// An object in the staging directory (or found in the store already).
#[derive(Debug, Clone)]
pub struct StagedObject {
    pub digest: Digest,
    pub size: u64,
}

pub struct LayerWriter;

impl Write for LayerWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        unimplemented!()
    }
}

impl LayerWriter {
    pub fn finish(self, expected: Option<&Digest>) -> Result<StagedLayer> {
        unimplemented!()
    }
}

/// A complete layer: its tar and what stands in it.
pub struct StagedLayer {
    pub object: StagedObject,
    /// Bytes of the ACI's `manifest` entry, for [`LayerKind::Aci`].
    pub aci_manifest: Option<Vec<u8>>,
}

/// Everything a commit needs.
pub struct ImageDraft {
    pub id: ImageId,
    /// The appc image manifest (for OCI images the converted one), as JSON.
    pub manifest: manifests::appc::ImageManifest,
    /// The byte-exact OCI manifest and config.
    pub oci: Option<OciObjects>,
    /// Bottom to top.
    pub layers: Vec<StagedLayer>,
    /// Canonical reference strings that shall lead here from now on.
    pub names: Vec<String>,
    pub verification: Verification,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OciObjects {
    pub manifest: Digest,
    pub config: Digest,
}

/// `store/images/<image-id>`: what an image is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    pub id: ImageId,
    pub manifest: manifests::appc::ImageManifest,
    pub oci: Option<OciObjects>,
    pub layers: Vec<RecordedLayer>,
    /// The merged EROFS index.
    pub index: RecordedLayer,
    pub names: Vec<String>,
    pub imported: SystemTime,
    pub verification: Verification,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedLayer {
    pub digest: Digest,
    pub size: u64,
}

#[derive(Debug)]
pub struct GcReport {
    pub removed_objects: u64,
    pub freed_bytes: u64,
}

#[derive(Debug)]
pub struct Damage {
    pub object: Digest,
    pub what: String,
}
