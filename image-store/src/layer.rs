//! A layer on its way in: one pass over its tar.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use manifests::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result, StoreError};
use crate::rootfs::{Layer, LayerBuilder, LayerError, LayerTree};
use crate::staging::{ObjectWriter, StagedObject};
use crate::tar::{EndMarker, Scanner};

/// How a tar is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// `manifest` and `rootfs/…`; no whiteouts.
    Aci,
    /// An OCI layer: whiteouts and opaque directories.
    Oci,
}

impl LayerKind {
    /// An OCI layer's digest is known beforehand, so a missing end is found
    /// anyway; an ACI may come with nothing that tells its length.
    fn end_marker(self) -> EndMarker {
        match self {
            Self::Aci => EndMarker::Required,
            Self::Oci => EndMarker::Optional,
        }
    }
}

/// Takes the uncompressed tar of a layer; the file is written, hashed and
/// indexed in the same pass. `Send`, so layers can be written on threads of
/// their own.
#[derive(Debug)]
pub struct LayerWriter {
    object: ObjectWriter,
    kind: LayerKind,
    scanner: Scanner,
    builder: LayerBuilder,
    failed: Option<LayerError>,
}

impl LayerWriter {
    pub(crate) fn new(object: ObjectWriter, kind: LayerKind) -> Self {
        Self {
            object,
            kind,
            scanner: Scanner::new(),
            builder: LayerBuilder::new(kind),
            failed: None,
        }
    }

    /// Ends the layer.
    ///
    /// # Errors
    /// A tar that was bad anywhere (also when `write` already failed because
    /// of it), or a digest other than `expected`.
    pub fn finish(self, expected: Option<&Digest>) -> Result<StagedLayer> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        // A wrong digest explains a bad tar, not the other way round.
        let object = self.object.finish(expected)?;
        self.scanner
            .finish(self.kind.end_marker())
            .map_err(LayerError::from)?;
        Ok(StagedLayer::new(object, self.kind, self.builder.finish()?))
    }
}

impl Write for LayerWriter {
    /// Takes all of `buf`. A bad tar is an error of kind `InvalidData`, and
    /// [`LayerWriter::finish`] has it too.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.scanner.feed(buf, &mut self.builder) {
            let message = StoreError::layer_message(&error);
            self.failed = Some(error);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.object.write_all(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.object.flush()
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
    pub(crate) tree: Arc<LayerTree>,
}

impl StagedLayer {
    fn new(object: StagedObject, kind: LayerKind, layer: Layer) -> Self {
        Self {
            object,
            kind,
            aci_manifest: layer.aci_manifest,
            tree: Arc::new(layer.tree),
        }
    }
}

/// Reads the tar of a layer that is stored already. Only headers are read; file
/// data is jumped over.
pub(crate) fn scan(
    file: &File,
    path: &Path,
    digest: &Digest,
    kind: LayerKind,
) -> Result<StagedLayer> {
    let size = file.metadata().context("read", path)?.len();
    let mut scanner = Scanner::new();
    let mut builder = LayerBuilder::new(kind);
    let mut buffer = vec![0; 16 << 10];
    loop {
        if !builder.wants_data() {
            scanner.skip(size);
        }
        let read = match file.read_at(&mut buffer, scanner.offset()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.context("read", path)?,
        };
        if read == 0 {
            break;
        }
        scanner.feed(&buffer[..read], &mut builder)?;
    }
    scanner
        .finish(kind.end_marker())
        .map_err(LayerError::from)?;
    let object = StagedObject {
        digest: digest.clone(),
        size,
    };
    Ok(StagedLayer::new(object, kind, builder.finish()?))
}
