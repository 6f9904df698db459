//! OCI images: their documents, checked, and what they are in appc's words.
//!
//! ```text
//!   bytes ──▶ Document ──▶ Index ──▶ choose(platform) ──▶ descriptor, fetch it, again
//!                  └─────▶ Manifest ──▶ descriptors of config and layers
//!   bytes ──▶ Config ──▶ to_appc ──▶ appc::ImageManifest
//! ```
//!
//! The shapes are oci-spec's; what is added here are the checks that its types
//! do not make: media types, sizes, digests that we can verify, one reading of
//! an ambiguous document. Docker's schema 2 has the same shape under other
//! media types and is read alike.
//!
//! Absent on purpose: fetching. An index inside an index is the caller's to
//! follow, with its own limit on how deep.

mod convert;
mod document;
mod inverse;

pub use convert::{Converted, HUB_REGISTRY, Source, name_of, to_appc};
pub use document::{
    Compression, Config, Descriptor, Document, DocumentError, Index, IndexEntry, Layer,
    MAX_DOCUMENT_SIZE, Manifest, media_type,
};
pub use inverse::{Inverse, InverseError, from_appc};
