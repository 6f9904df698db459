//! What can go wrong at rest: every error names the operation and the object.
//!
//! `Display` is the one line for people, complete with reason and remedy;
//! `source()` is the same reason as a value, for `--debug` and for matching.

use std::io;
use std::path::{Path, PathBuf};

use manifests::digest::Digest;
use manifests::image_id::ImageId;

use crate::erofs::IndexError;
use crate::rootfs::LayerError;

/// The result of everything in this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What we were doing, as a verb: `read`, `create`, …
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system or the quota is full.
    #[error(
        "cannot {action} {}: {source}; free some with `rkt gc` and `rkt image rm`",
        .path.display()
    )]
    NoSpace {
        /// What we were doing, as a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// `ENOSPC` or `EDQUOT`.
        source: io::Error,
    },
    /// A tar that is damaged, hostile or beyond our limits.
    #[error("{}", Self::layer_message(.0))]
    Layer(#[from] LayerError),
    /// Layers that do not fit on each other, or an index beyond its format.
    #[error("cannot merge the layers of {id}: {source}", id = .id.short(12))]
    Merge {
        /// The image they are the layers of.
        id: ImageId,
        /// The entry and the reason.
        source: LayerError,
    },
    /// OCI has no word for what the image's manifest says.
    #[error("cannot write this as an OCI image: {0}")]
    NotOci(Box<manifests::oci::InverseError>),
    /// A root file system that the EROFS format cannot express.
    #[error("cannot index {id}: {source}", id = .id.short(12))]
    Index {
        /// The image.
        id: ImageId,
        /// The limit that was met.
        source: IndexError,
    },
    /// The bytes are not those that were promised.
    #[error("digest mismatch: expected {expected}, the {size} bytes received are {actual}")]
    DigestMismatch {
        /// What the manifest or the caller named.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
        /// How many there were.
        size: u64,
    },
    /// No image has this id or prefix.
    #[error("no image {0:?} in the store; `rkt image list` shows those there are")]
    ImageNotFound(String),
    /// A prefix that several images share.
    #[error("image id {prefix:?} is ambiguous: {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Short ids of those that match.
        candidates: Vec<String>,
    },
    /// A string that cannot be the beginning of an image id.
    #[error(
        "{0:?} is not the beginning of an image id: expected sha512- or sha256- and at least two \
         hexadecimal digits"
    )]
    BadPrefix(String),
    /// A record that does not parse, or is another image's.
    #[error(
        "the image record {} is damaged ({reason}); `rkt image rm {}` and fetch it again",
        .path.display(), .path.file_name().unwrap_or_default().display()
    )]
    DamagedRecord {
        /// The record's file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A name's file that does not parse.
    #[error("{} is damaged ({reason}); remove it and fetch the image again", .path.display())]
    DamagedName {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A record, a draft or a caller names an object that is not there.
    #[error("object {0} is missing from the store; fetch the image again")]
    MissingObject(Digest),
    /// An object that is not what its name says.
    #[error(
        "object {object} of {id} is damaged: {what}; `rkt image verify --repair {id}` fetches it \
         again",
        id = .id.short(12)
    )]
    DamagedObject {
        /// The object.
        object: Digest,
        /// The image that needs it.
        id: ImageId,
        /// What is wrong with it.
        what: String,
    },
    /// The file system cannot seal, and it must.
    #[error(
        "{} cannot be sealed by fs-verity ({reason}), which the configuration requires; put the \
         data directory on a file system that can (ext4 with `tune2fs -O verity`, btrfs), or use \
         --verity=best-effort",
        .path.display()
    )]
    NotSealable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        reason: String,
    },
    /// An image that was stored without seals where they are required.
    #[error(
        "object {object} of {id} is not sealed by fs-verity, which the configuration requires; \
         fetch the image again with --pull-policy=update, or use --verity=best-effort",
        id = .id.short(12)
    )]
    NotSealed {
        /// The image.
        id: ImageId,
        /// The first such object.
        object: Digest,
    },
    /// An image of one kind where only the other will do.
    #[error("{id} is {is}, not {wanted}", id = .id.short(12))]
    OtherKind {
        /// The image.
        id: ImageId,
        /// What it is.
        is: &'static str,
        /// What was needed.
        wanted: &'static str,
    },
    /// An index that the kernel refuses to mount though it could mount others.
    #[error("the index of {id} is damaged: {reason}; see `rkt image verify {id}`", id = .id.short(12))]
    DamagedIndex {
        /// The image.
        id: ImageId,
        /// What the kernel said.
        reason: String,
    },
    /// Every backend said why it cannot.
    #[error("cannot provide the image's root file system: {reason}")]
    NoBackend {
        /// The last one's reason.
        reason: String,
    },
    /// Somebody else holds what we need.
    #[error("{what} is in use by {by}; gave up after {seconds} s, try again later")]
    Busy {
        /// What we wanted.
        what: &'static str,
        /// Who has it.
        by: &'static str,
        /// How long we waited.
        seconds: u64,
    },
}

impl StoreError {
    /// What [`StoreError::Layer`] says; `write` says it too.
    pub(crate) fn layer_message(error: &LayerError) -> String {
        format!("bad layer: {error}")
    }

    /// An [`io::Error`] with what was being done to what.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Puts the operation and its object on an [`io::Result`].
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| StoreError::io(action, path, e.into()))
    }
}
