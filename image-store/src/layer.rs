//! A layer on its way in: one pass over its tar.
#![expect(unused_variables, clippy::unimplemented, reason = "being filled in")]

use std::io::{self, Write};

use manifests::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::staging::StagedObject;

/// How a tar is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// `manifest` and `rootfs/…`; no whiteouts.
    Aci,
    /// An OCI layer: whiteouts and opaque directories.
    Oci,
}

/// Takes the uncompressed tar of a layer; the file is written, hashed and
/// indexed in the same pass. `Send`, so layers can be written on threads of
/// their own.
#[derive(Debug)]
pub struct LayerWriter {}

impl Write for LayerWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        unimplemented!()
    }
}

impl LayerWriter {
    /// Ends the layer.
    ///
    /// # Errors
    /// A tar that was bad anywhere (also when `write` already failed because
    /// of it), or a digest other than `expected`.
    pub fn finish(self, expected: Option<&Digest>) -> Result<StagedLayer> {
        unimplemented!()
    }
}

/// A complete layer: its tar and what stands in it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StagedLayer {
    /// The uncompressed tar.
    pub object: StagedObject,
    /// How it was read.
    pub kind: LayerKind,
    /// Bytes of the ACI's `manifest` entry, for [`LayerKind::Aci`].
    pub aci_manifest: Option<Vec<u8>>,
}
