//! The image record: what an image is made of, and the only commit point.

use std::time::SystemTime;

use manifests::appc::ImageManifest;
use manifests::digest::Digest;
use manifests::image_id::ImageId;
use manifests::trust::Verification;
use serde::{Deserialize, Serialize};

use crate::layer::LayerKind;

/// `store/images/<image-id>`, JSON. What an image is called is not part of it;
/// see [`Store::names`](crate::Store::names).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The name of the record's file.
    pub id: ImageId,
    /// The appc image manifest; for an OCI image the converted one.
    pub manifest: ImageManifest,
    /// The byte-exact OCI manifest and configuration, for an OCI image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciObjects>,
    /// The layers, in the shape in which they are laid on each other.
    pub rootfs: Stack<RecordedLayer>,
    /// The merged EROFS index.
    pub index: RecordedIndex,
    /// The reference it was fetched by: where a damaged object is had again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When the image was committed.
    pub imported: SystemTime,
    /// What was checked before the image was let in.
    pub verification: Verification,
}

impl ImageRecord {
    /// Whether everything that is mounted is sealed by fs-verity.
    pub fn is_sealed(&self) -> bool {
        self.index.verity.is_some() && self.rootfs.layers().all(|l| l.verity.is_some())
    }

    /// Every object of the image, each once: layers, index, OCI documents.
    pub fn objects(&self) -> Vec<&Digest> {
        let layers = self.rootfs.layers().map(|l| &l.digest);
        let oci = self.oci.iter().flat_map(|o| [&o.manifest, &o.config]);
        let mut all: Vec<_> = layers.chain([&self.index.digest]).chain(oci).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// What an image's root file system is rendered from:
/// `render(X) = keep_only(overlay(render(deps)…, layers), path_whitelist)`.
///
/// Source: appc specification, "Dependency Matching"; an OCI image is a stack
/// without dependencies and whitelist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stack<L> {
    /// Rendered below this image's own layers, the first one lowest.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Stack<L>>,
    /// This image's own layers, bottom to top; an ACI has one.
    pub layers: Vec<L>,
    /// appc's `pathWhitelist`: the paths that survive; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_whitelist: Vec<String>,
}

impl<L> Stack<L> {
    /// Layers on each other, bottom to top, nothing filtered.
    pub fn flat(layers: Vec<L>) -> Self {
        Self {
            dependencies: Vec::new(),
            layers,
            path_whitelist: Vec::new(),
        }
    }

    /// Every layer in rendering order; one that is used twice comes twice.
    pub fn layers(&self) -> Box<dyn Iterator<Item = &L> + '_> {
        let below = self.dependencies.iter().flat_map(Stack::layers);
        Box::new(below.chain(&self.layers))
    }

    /// The same stack of something else.
    pub fn map<M, E>(&self, f: &mut impl FnMut(&L) -> Result<M, E>) -> Result<Stack<M>, E> {
        Ok(Stack {
            dependencies: self
                .dependencies
                .iter()
                .map(|d| d.map(f))
                .collect::<Result<_, _>>()?,
            layers: self.layers.iter().map(&mut *f).collect::<Result<_, _>>()?,
            path_whitelist: self.path_whitelist.clone(),
        })
    }
}

/// A layer as the record remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedLayer {
    /// Of the uncompressed tar.
    pub digest: Digest,
    /// Of the uncompressed tar, in bytes.
    pub size: u64,
    /// How the tar is to be read.
    pub kind: LayerKind,
    /// The fs-verity digest (SHA-256) of the tar, if it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Digest>,
}

/// The index as the record remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedIndex {
    /// Of the EROFS file.
    pub digest: Digest,
    /// Of the EROFS file, in bytes.
    pub size: u64,
    /// The tars it points into, in the order of its device table; layers
    /// without data of their own are not among them.
    pub devices: Vec<Digest>,
    /// The fs-verity digest (SHA-256) of the EROFS file, if it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Digest>,
}

/// The documents an OCI image came with, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciObjects {
    /// The platform manifest; its digest is the image id.
    pub manifest: Digest,
    /// The image configuration.
    pub config: Digest,
    /// Its `StopSignal`, for which appc has no word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}
