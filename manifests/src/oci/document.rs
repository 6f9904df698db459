//! Manifests, indexes and configurations, read from bytes that came from
//! anywhere.
//!
//! Source: OCI image specification 1.1, "manifest.md", "image-index.md",
//! "config.md", "descriptor.md"; Docker image manifest version 2, schema 2.

use std::collections::HashMap;

use oci_spec::image as oci;
use serde_json::Value;

use crate::digest::{Digest, DigestError};
use crate::platform::Platform;

/// The greatest size in bytes that a manifest, an index or a configuration may
/// have. Registries refuse manifests beyond 4 MiB (OCI distribution
/// specification, "Pushing Manifests"); no honest configuration is larger.
pub const MAX_DOCUMENT_SIZE: u64 = 4 << 20;

/// Media types of the documents we read.
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    /// What to ask a registry for, the preferred one first.
    pub const ACCEPT: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than any honest document has.
    #[error("{what} has {size} bytes, more than the {MAX_DOCUMENT_SIZE} that are allowed")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// Not JSON, or not of the document's shape.
    #[error("{what} is malformed")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Neither a manifest nor an index.
    #[error("media type {0:?} is neither an image manifest nor an image index")]
    UnknownType(String),
    /// The document and whoever sent it disagree on what it is, or it could be
    /// read as two things.
    #[error("the document is ambiguous: {0}")]
    Ambiguous(String),
    /// A schema version other than 2.
    #[error("{what} has schema version {version}, expected 2")]
    SchemaVersion {
        /// Which document.
        what: &'static str,
        /// What it said.
        version: u32,
    },
    /// A digest that we cannot verify.
    #[error("{what} names an unusable digest")]
    Digest {
        /// Which document.
        what: &'static str,
        /// Why.
        source: DigestError,
    },
    /// The manifest is not one of an image.
    #[error("the manifest describes {0:?}, not a container image")]
    NotAnImage(String),
    /// A layer of a type that we cannot read.
    #[error("layer {digest} has media type {media_type:?}, which is not supported")]
    UnknownLayer {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Manifest and configuration do not belong together.
    #[error("the manifest has {layers} layers, its configuration {diff_ids}")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
    },
    /// The index has nothing for the platform.
    #[error("no image for {wanted} in the index (it has {})", list_of(.offered))]
    NoPlatform {
        /// What was wanted.
        wanted: Platform,
        /// What there was.
        offered: Vec<Platform>,
    },
    /// Several images without a platform to choose by.
    #[error("the index has {0} images without a platform: name one by its digest")]
    NoChoice(usize),
}

fn list_of(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => some
            .iter()
            .map(Platform::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// A reference to bytes by what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// How a layer's tar is compressed, by its media type. Some writers err, so
/// readers look at the first bytes as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// How its tar is compressed.
    pub compression: Compression,
}

/// The manifest of an image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, the base first.
    pub layers: Vec<Layer>,
    /// Annotations of the manifest.
    pub annotations: HashMap<String, String>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// A manifest or another index.
    pub descriptor: Descriptor,
    /// What the image runs on, if the index says so.
    pub platform: Option<Platform>,
    /// Annotations of the descriptor.
    pub annotations: HashMap<String, String>,
}

/// Images to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The entries, in the index's order; those that are no image (signatures,
    /// attestations) are left out.
    pub entries: Vec<IndexEntry>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image for one platform.
    Manifest(Manifest),
    /// Images to choose from.
    Index(Index),
}

fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    let size = bytes.len() as u64;
    if size > MAX_DOCUMENT_SIZE {
        return Err(DocumentError::TooLarge { what, size });
    }
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Malformed { what, source })
}

impl Document {
    /// Reads a manifest or an index. `content_type` is what the sender calls
    /// it (a header, or the media type of the descriptor that led here).
    ///
    /// # Errors
    /// Documents that are too large, malformed, of another type, or that a
    /// second reader could take for something else (CVE-2021-41190).
    pub fn from_slice(bytes: &[u8], content_type: Option<&str>) -> Result<Self, DocumentError> {
        let value: Value = parse("the document", bytes)?;
        let own = value.get("mediaType").and_then(Value::as_str);
        // A header may carry parameters: "…+json; charset=utf-8".
        let sent = content_type.map(|t| t.split(';').next().unwrap_or(t).trim());
        let sent = sent.filter(|t| {
            !matches!(
                *t,
                "" | "application/json" | "text/plain" | "application/octet-stream"
            )
        });
        if let (Some(own), Some(sent)) = (own, sent)
            && own != sent
        {
            return Err(DocumentError::Ambiguous(format!(
                "it says {own:?}, its sender {sent:?}"
            )));
        }
        let has = |name| value.get(name).is_some();
        let (image, index) = (has("config") || has("layers"), has("manifests"));
        if image && index {
            let both = "it has members of a manifest and of an index";
            return Err(DocumentError::Ambiguous(both.to_owned()));
        }
        match own.or(sent) {
            Some(media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) => {
                Manifest::read(value).map(Self::Manifest)
            }
            Some(media_type::OCI_INDEX | media_type::DOCKER_LIST) => {
                Index::read(value).map(Self::Index)
            }
            Some(other) => Err(DocumentError::UnknownType(other.to_owned())),
            None if image => Manifest::read(value).map(Self::Manifest),
            None if index => Index::read(value).map(Self::Index),
            None => Err(DocumentError::UnknownType(String::new())),
        }
    }
}

impl Manifest {
    fn read(value: Value) -> Result<Self, DocumentError> {
        let what = "the image manifest";
        let manifest: oci::ImageManifest = serde_json::from_value(value)
            .map_err(|source| DocumentError::Malformed { what, source })?;
        check_version(what, manifest.schema_version())?;
        let config = Descriptor::checked(what, manifest.config())?;
        if !matches!(
            config.media_type.as_str(),
            media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
        ) {
            return Err(DocumentError::NotAnImage(config.media_type));
        }
        let layer = |layer| Layer::checked(Descriptor::checked(what, layer)?);
        Ok(Self {
            config,
            layers: manifest
                .layers()
                .iter()
                .map(layer)
                .collect::<Result<_, _>>()?,
            annotations: manifest.annotations().clone().unwrap_or_default(),
        })
    }
}

impl Index {
    fn read(value: Value) -> Result<Self, DocumentError> {
        let what = "the image index";
        let index: oci::ImageIndex = serde_json::from_value(value)
            .map_err(|source| DocumentError::Malformed { what, source })?;
        check_version(what, index.schema_version())?;
        let is_image = |d: &&oci::Descriptor| {
            let known = media_type::ACCEPT.contains(&d.media_type().as_ref());
            let attestation = d
                .platform()
                .as_ref()
                .is_some_and(|p| *p.os() == oci::Os::Other("unknown".to_owned()));
            known && d.artifact_type().is_none() && !attestation
        };
        let entry = |descriptor: &oci::Descriptor| {
            Ok(IndexEntry {
                descriptor: Descriptor::checked(what, descriptor)?,
                platform: descriptor.platform().as_ref().map(platform),
                annotations: descriptor.annotations().clone().unwrap_or_default(),
            })
        };
        let entries = index.manifests().iter().filter(is_image).map(entry);
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// The entries whose annotation `org.opencontainers.image.ref.name` is
    /// this: how an OCI layout names its images.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a IndexEntry> {
        let named = move |e: &&IndexEntry| {
            e.annotations
                .get(oci::ANNOTATION_REF_NAME)
                .is_some_and(|n| n == name)
        };
        self.entries.iter().filter(named)
    }

    /// The entry for a host of this platform; of several the one that fits
    /// best, of equals the first. A single entry without a platform is taken
    /// as it is: its configuration will tell.
    ///
    /// # Errors
    /// [`DocumentError::NoPlatform`] and [`DocumentError::NoChoice`].
    pub fn choose(&self, host: &Platform) -> Result<&IndexEntry, DocumentError> {
        let fit = |e: &&IndexEntry| e.platform.as_ref().and_then(|p| host.fits(p));
        // `max_by_key` returns the last of equals, so it looks from the end.
        let best = self
            .entries
            .iter()
            .rev()
            .filter(|e| fit(e).is_some())
            .max_by_key(fit);
        if let Some(best) = best {
            return Ok(best);
        }
        let nameless: Vec<_> = self
            .entries
            .iter()
            .filter(|e| e.platform.is_none())
            .collect();
        match nameless[..] {
            [one] => Ok(one),
            [] => Err(DocumentError::NoPlatform {
                wanted: host.clone(),
                offered: self
                    .entries
                    .iter()
                    .filter_map(|e| e.platform.clone())
                    .collect(),
            }),
            _ => Err(DocumentError::NoChoice(nameless.len())),
        }
    }
}

/// An image's configuration: how to run it, and the digests of its
/// uncompressed layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The whole configuration.
    pub image: oci::ImageConfiguration,
    /// What the image runs on.
    pub platform: Platform,
    /// Digests of the uncompressed layers, the base first.
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Too large, malformed, or with digests that we cannot verify.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, DocumentError> {
        let what = "the image configuration";
        let image: oci::ImageConfiguration = parse(what, bytes)?;
        let digest = |id: &String| {
            id.parse()
                .map_err(|source| DocumentError::Digest { what, source })
        };
        let diff_ids = image
            .rootfs()
            .diff_ids()
            .iter()
            .map(digest)
            .collect::<Result<_, _>>()?;
        let variant = image.variant().clone().filter(|v| !v.is_empty());
        Ok(Self {
            platform: Platform {
                os: image.os().to_string(),
                architecture: image.architecture().to_string(),
                variant,
            },
            diff_ids,
            image,
        })
    }

    /// Fails unless there is a digest for every layer of the manifest.
    ///
    /// # Errors
    /// [`DocumentError::LayerCount`].
    pub fn check_layers(&self, manifest: &Manifest) -> Result<(), DocumentError> {
        let (layers, diff_ids) = (manifest.layers.len(), self.diff_ids.len());
        match layers == diff_ids {
            true => Ok(()),
            false => Err(DocumentError::LayerCount { layers, diff_ids }),
        }
    }
}

impl Descriptor {
    fn checked(what: &'static str, descriptor: &oci::Descriptor) -> Result<Self, DocumentError> {
        let digest: &str = descriptor.digest().as_ref();
        Ok(Self {
            media_type: descriptor.media_type().to_string(),
            digest: digest
                .parse()
                .map_err(|source| DocumentError::Digest { what, source })?,
            size: descriptor.size(),
        })
    }
}

impl Layer {
    fn checked(descriptor: Descriptor) -> Result<Self, DocumentError> {
        let compression = match descriptor.media_type.as_str() {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Compression::None,
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Compression::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
            _ => {
                return Err(DocumentError::UnknownLayer {
                    digest: descriptor.digest,
                    media_type: descriptor.media_type,
                });
            }
        };
        Ok(Self {
            descriptor,
            compression,
        })
    }
}

fn platform(platform: &oci::Platform) -> Platform {
    Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone().filter(|v| !v.is_empty()),
    }
}

fn check_version(what: &'static str, version: u32) -> Result<(), DocumentError> {
    match version {
        2 => Ok(()),
        version => Err(DocumentError::SchemaVersion { what, version }),
    }
}
