//! Why a layer, or a pile of them, cannot be used.

use super::path::{MOST_COMPONENTS, NAME_MAX, PATH_MAX};
use crate::tar::{TarError, printable};

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The archive itself is bad.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry that must not be, or not like this.
    #[error("{entry}: {fault}")]
    Entry {
        /// Its name, printable.
        entry: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// An ACI without its manifest.
    #[error("this ACI has no file \"manifest\"")]
    NoManifest,
    /// An ACI without its root directory.
    #[error("this ACI has no directory \"rootfs\"")]
    NoRootfs,
    /// More names and attributes than we keep in memory.
    #[error("more than {entries} entries, or more than {megabytes} MiB of names and attributes")]
    TooLarge {
        /// The limit on entries.
        entries: usize,
        /// The limit on everything we keep of them.
        megabytes: usize,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// Begins with a slash.
    #[error("absolute paths are not allowed")]
    Absolute,
    /// Has a component `..`.
    #[error("paths with \"..\" are not allowed")]
    ParentReference,
    /// No name, or no symlink target, at all.
    #[error("an empty name")]
    Empty,
    /// NUL in a name.
    #[error("a name with a NUL byte")]
    Nul,
    /// A component beyond what file systems hold.
    #[error("a name of more than {NAME_MAX} bytes")]
    NameTooLong,
    /// A path or symlink target beyond what system calls take.
    #[error("a path of more than {PATH_MAX} bytes")]
    PathTooLong,
    /// Too many directories in each other.
    #[error("nested deeper than {MOST_COMPONENTS} directories")]
    TooDeep,
    /// In an ACI, neither the manifest nor below rootfs.
    #[error("only \"manifest\" and \"rootfs\" may stand in an ACI")]
    OutsideRootfs,
    /// In an ACI, the same name twice.
    #[error("a second entry of this name")]
    Duplicate,
    /// The ACI's manifest or rootfs is something else.
    #[error("this must be a {0}")]
    WrongType(&'static str),
    /// The ACI's manifest is longer than any real one.
    #[error("a manifest of {0} bytes")]
    ManifestTooLong(u64),
    /// Below something of this layer that is not a directory.
    #[error("{0} is not a directory")]
    NotADirectory(String),
    /// Below a symlink that the same layer made.
    #[error("the entry would go through the symlink {0} of the same layer")]
    ThroughSymlink(String),
    /// Below a symlink of a lower layer that leads to no directory.
    #[error("the entry would go through a symlink that leads to no directory of the image")]
    DanglingSymlink,
    /// A hard link to what is neither earlier in the layer nor below it.
    #[error("a hard link to {0}, which does not exist")]
    LinkTargetMissing(String),
    /// A hard link to a path that is refused itself.
    #[error("a hard link to {target}: {fault}")]
    LinkTarget {
        /// The target, printable.
        target: String,
        /// What is wrong with it.
        fault: Box<EntryFault>,
    },
    /// A hard link to a directory.
    #[error("a hard link to the directory {0}")]
    LinkToDirectory(String),
    /// The root must be a directory.
    #[error("the root of the file system must be a directory")]
    RootNotDirectory,
    /// A whiteout of no possible name, or one that is used as a directory.
    #[error("a malformed whiteout")]
    BadWhiteout,
    /// An extended attribute beyond what the kernel takes.
    #[error("the extended attribute {0} is too long")]
    XattrTooLong(String),
    /// All extended attributes together are too long.
    #[error("too many extended attributes")]
    TooManyXattrs,
    /// An access control list that the kernel would not accept.
    #[error("the access control list in {0} is damaged")]
    BadAcl(String),
}

impl LayerError {
    pub(super) fn entry(path: &[u8], fault: EntryFault) -> Self {
        Self::Entry {
            entry: printable(path),
            fault,
        }
    }
}
