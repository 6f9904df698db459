//! How an image becomes a directory: two ways behind one trait.
//!
//! EROFS mounts the image's index and copies nothing; the tree backend unpacks
//! the same merged layers where the kernel or the caller's rights do not allow
//! that. Which one it was is told with the reason, never silently.

mod erofs;
mod tree;
mod unpack;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use manifests::config::Verity;
use manifests::image_id::ImageId;

use crate::error::Result;
use crate::layer::StagedLayer;
use crate::record::{ImageRecord, RecordedLayer, Stack};
use crate::seal;
use crate::staging::Merged;
use crate::store::Store;
use crate::sweep::{GcReport, Keep};

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
    /// Open directory: pins the mount (gc gets EBUSY) or the tree (by a shared
    /// lock), and is the handle for `openat2` lookups inside the image.
    pub root: OwnedFd,
    /// Why EROFS could not be used, if it was wanted; said once to the user.
    pub fallback: Option<String>,
}

/// One way of providing root file systems.
trait Backend {
    /// Makes the image available, or finds it so.
    fn provide(&self, store: &Store, image: &ImageRecord) -> Result<Provided>;

    /// Takes away what nobody uses: of one image that is being removed, or of
    /// all.
    fn sweep(
        &self,
        store: &Store,
        only: Option<&ImageId>,
        keep: &Keep,
        report: &mut GcReport,
    ) -> Result<()>;
}

enum Provided {
    Ready {
        path: PathBuf,
        root: OwnedFd,
    },
    /// Not here; the reason is for the user.
    Unable(String),
}

pub(crate) fn mount(
    store: &Store,
    image: &ImageRecord,
    choice: BackendChoice,
) -> Result<MountedImage> {
    seal::check(store, image)?;
    let mut fallback = None;
    if choice == BackendChoice::Auto {
        match erofs::Erofs.provide(store, image)? {
            Provided::Ready { path, root } => {
                return Ok(MountedImage {
                    path,
                    root,
                    fallback,
                });
            }
            Provided::Unable(reason) => fallback = Some(reason),
        }
    }
    if store.verity == Verity::Required {
        return Err(crate::StoreError::NotSealable {
            path: store.dirs.trees(),
            reason: match fallback {
                Some(reason) => format!("{reason}; an unpacked tree would be unchecked"),
                None => "an unpacked tree is unchecked".to_owned(),
            },
        });
    }
    match tree::Trees.provide(store, image)? {
        Provided::Ready { path, root } => Ok(MountedImage {
            path,
            root,
            fallback,
        }),
        Provided::Unable(reason) => Err(crate::StoreError::NoBackend { reason }),
    }
}

pub(crate) fn render(
    store: &Store,
    id: &ImageId,
    rootfs: &Stack<RecordedLayer>,
    into: BorrowedFd<'_>,
) -> Result<()> {
    let layers = rootfs.map(&mut |layer: &RecordedLayer| -> Result<StagedLayer> {
        store.scan_layer(&layer.digest, layer.kind)
    })?;
    let merged = Merged::new(id, &layers)?;
    let mut tars = Vec::with_capacity(merged.digests.len());
    for digest in &merged.digests {
        tars.push(store.open_object(digest)?);
    }
    unpack::unpack(&merged.tree, &tars, into)
}

pub(crate) fn sweep(store: &Store, keep: &Keep, report: &mut GcReport) -> Result<()> {
    erofs::Erofs.sweep(store, None, keep, report)?;
    tree::Trees.sweep(store, None, keep, report)
}

/// What an image that is being removed leaves.
pub(crate) fn release(
    store: &Store,
    id: &ImageId,
    keep: &Keep,
    report: &mut GcReport,
) -> Result<()> {
    erofs::Erofs.sweep(store, Some(id), keep, report)?;
    tree::Trees.sweep(store, Some(id), keep, report)
}

/// The name of an image's directory. The id alone would not do: an ACI's
/// dependencies may be others the next time, and with them its root file
/// system.
fn directory_name(image: &ImageRecord) -> String {
    let (index, _) = image.index.digest.hex().split_at(12);
    format!("{}.{index}", image.id)
}

/// The image that a directory of [`directory_name`] belongs to.
fn image_of(path: &std::path::Path) -> Option<ImageId> {
    let (id, _) = path.file_name()?.to_str()?.rsplit_once('.')?;
    id.parse().ok()
}

/// A directory, not through a symlink.
fn open_dir(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}
