//! In flight: what is not yet part of the store, and the commit.
#![expect(unused_variables, clippy::unimplemented, reason = "being filled in")]

use std::io::{self, Write};

use manifests::appc::ImageManifest;
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::trust::Verification;

use crate::error::Result;
use crate::layer::{LayerKind, LayerWriter, StagedLayer};
use crate::record::{ImageRecord, OciObjects, Stack};
use crate::store::Store;

/// A staging directory of this boot; removed on drop. `Sync`: writers can be
/// made and finished on several threads. While it lives, no sweep removes an
/// object, so what [`Store::has_object`] said stays true.
#[derive(Debug)]
pub struct Staging<'a> {
    pub(crate) store: &'a Store,
}

impl Staging<'_> {
    /// A plain object (manifest, config).
    ///
    /// # Errors
    /// The staging file cannot be made.
    pub fn object(&self, algorithm: Algorithm) -> Result<ObjectWriter> {
        unimplemented!()
    }

    /// A layer: its uncompressed tar goes in. Hostile or truncated tars fail.
    ///
    /// # Errors
    /// The staging file cannot be made.
    pub fn layer(&self, algorithm: Algorithm, kind: LayerKind) -> Result<LayerWriter> {
        unimplemented!()
    }

    /// A layer that the store already has, indexed again from its tar.
    ///
    /// # Errors
    /// The object is missing, or is not such a tar.
    pub fn stored_layer(&self, digest: &Digest, kind: LayerKind) -> Result<StagedLayer> {
        unimplemented!()
    }

    /// Builds the merged index, syncs once, publishes the objects, then the
    /// record, then the names. Committing an image that is already there
    /// replaces its record and adds the names.
    ///
    /// # Errors
    /// Layers that do not fit on each other, an object that is neither staged
    /// nor stored, or a disk that is full; nothing is published then.
    pub fn commit(self, draft: ImageDraft) -> Result<ImageRecord> {
        unimplemented!()
    }
}

/// Takes the bytes of a plain object.
#[derive(Debug)]
pub struct ObjectWriter {}

impl Write for ObjectWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        unimplemented!()
    }
}

impl ObjectWriter {
    /// Ends the object.
    ///
    /// # Errors
    /// A digest other than `expected`.
    pub fn finish(self, expected: Option<&Digest>) -> Result<StagedObject> {
        unimplemented!()
    }
}

/// An object in the staging directory, or found in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedObject {
    /// Its name to be.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Everything a commit needs.
#[derive(Debug, Clone)]
pub struct ImageDraft {
    /// What the image will be known as.
    pub id: ImageId,
    /// The appc image manifest (for OCI images the converted one).
    pub manifest: ImageManifest,
    /// The byte-exact OCI manifest and config, staged or stored before.
    pub oci: Option<OciObjects>,
    /// The layers; [`Stack::flat`] unless appc dependencies or a
    /// `pathWhitelist` are involved.
    pub rootfs: Stack<StagedLayer>,
    /// Canonical reference strings that shall lead here from now on.
    pub names: Vec<String>,
    /// What was checked.
    pub verification: Verification,
}
