//! Where images come from.
//!
//! Every place that OCI images come from is an [`OciSource`]: it finds bytes
//! and believes nothing. What the bytes are is checked above, by the digests
//! that the manifests name, so a transport cannot forget to.

mod archive;
mod docker_archive;
mod http;
mod layout;
mod registry;

use std::io::Read;

use manifests::oci::Descriptor;

use crate::error::Reason;

pub use archive::ArchiveError;
pub(crate) use docker_archive::{DockerArchive, SavedImage};
pub use http::HttpError;
pub(crate) use layout::Layout;
pub use registry::RegistryError;
pub(crate) use registry::{Access, Registry};

/// Bytes on their way, not yet checked.
pub(crate) type Body<'a> = Box<dyn Read + Send + 'a>;

/// What a reference leads to, before any choice of platform.
pub(crate) struct Root {
    /// A manifest or an index.
    pub(crate) bytes: Vec<u8>,
    /// What its sender calls it.
    pub(crate) media_type: Option<String>,
}

/// A place that OCI images are read from.
pub(crate) trait OciSource: Sync {
    /// Names the place in messages.
    fn origin(&self) -> String;

    /// The manifest or index the reference leads to. If the reference is a
    /// digest, the bytes have it.
    fn root(&self) -> Result<Root, Reason>;

    /// A manifest or index that a root led to.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason>;

    /// A configuration or a layer.
    fn blob(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason>;
}
