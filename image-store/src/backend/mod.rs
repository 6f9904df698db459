//! How an image becomes a directory: two ways behind one trait.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Which backend provides a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendChoice {
    /// EROFS where the kernel can, else a tree (with the reason in
    /// [`MountedImage::fallback`]).
    Auto,
    /// An unpacked tree.
    Tree,
}

/// A root file system that stays available while this value lives.
#[derive(Debug)]
pub struct MountedImage {
    /// The directory on the host.
    pub path: PathBuf,
    /// Open directory: pins the mount (gc gets EBUSY) or the tree, and is the
    /// handle for `openat2` lookups inside the image.
    pub root: OwnedFd,
    /// Why EROFS could not be used, if it was wanted; said once to the user.
    pub fallback: Option<String>,
}
