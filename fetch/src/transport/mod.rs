//! Where images come from.
//!
//! Every place that OCI images come from is an [`OciSource`]: it finds bytes
//! and believes nothing. What the bytes are is checked above, by the digests
//! that the manifests name, so a transport cannot forget to.

mod archive;
mod aws;
mod docker_archive;
mod http;
mod layout;
mod registry;
mod web;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use manifests::digest::Digest;
use manifests::oci::Descriptor;
use serde::Deserialize;

use crate::error::Reason;

pub use archive::ArchiveError;
pub(crate) use archive::Room;
pub(crate) use docker_archive::{DockerArchive, SavedImage};
pub(crate) use http::Checks;
pub use http::HttpError;
pub(crate) use layout::Layout;
pub use registry::RegistryError;
pub(crate) use registry::{Access, Mirrored};
pub use web::WebError;
pub(crate) use web::{Answer, Fetched, Web};

/// Opens a file that a user named. A fifo would hold us for ever, so anything
/// but a regular file is an error, and opening does not wait.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_wait)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

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

    /// The manifests and indexes under another tag beside the image; none if
    /// there is no such tag.
    fn tagged(&self, tag: &str) -> Result<Vec<Vec<u8>>, Reason>;

    /// The manifests that name this one as their subject; `None` if the place
    /// cannot be asked for that.
    fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Reason>;
}

/// An entry of an index, whatever it describes.
pub(crate) struct RawEntry {
    pub(crate) descriptor: Descriptor,
    pub(crate) annotations: HashMap<String, String>,
}

/// All entries of an index that have a usable digest, those included that are
/// no images; none if it is no index.
pub(crate) fn raw_entries(index: &[u8]) -> Vec<RawEntry> {
    #[derive(Deserialize)]
    struct Raw {
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        #[serde(default)]
        media_type: String,
        digest: String,
        size: u64,
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let Ok(index) = serde_json::from_slice::<Raw>(index) else {
        return Vec::new();
    };
    let entries = index.manifests.into_iter();
    entries
        .filter_map(|entry| {
            Some(RawEntry {
                descriptor: Descriptor {
                    media_type: entry.media_type,
                    digest: entry.digest.parse().ok()?,
                    size: entry.size,
                },
                annotations: entry.annotations,
            })
        })
        .collect()
}
