//! The image unpacked: `store/trees/<image-id>.<index>`.
//!
//! Made in staging and published by one rename, so a tree is complete or not
//! there. A shared lock on its root pins it; only a sweep takes the exclusive
//! one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use manifests::image_id::ImageId;
use rustix::fs::{FlockOperation, flock, fstat, stat};
use rustix::io::Errno;

use super::{Backend, Provided, directory_name, image_of, open_dir, render};
use crate::dirs;
use crate::error::{Context, Result};
use crate::record::ImageRecord;
use crate::store::Store;
use crate::sweep::{GcReport, Keep};

pub(super) struct Trees;

impl Backend for Trees {
    fn provide(&self, store: &Store, image: &ImageRecord) -> Result<Provided> {
        let path = store.dirs.trees().join(directory_name(image));
        loop {
            if let Some(root) = open_pinned(&path)? {
                return Ok(Provided::Ready { path, root });
            }
            build(store, image, &path)?;
        }
    }

    fn sweep(
        &self,
        store: &Store,
        only: Option<&ImageId>,
        keep: &Keep,
        report: &mut GcReport,
    ) -> Result<()> {
        for path in dirs::list(&store.dirs.trees())? {
            let Some(image) = image_of(&path) else {
                continue;
            };
            if only.is_some_and(|only| *only != image) || keep.pods.contains(&image) {
                continue;
            }
            // Of an image that stays, the tree is worth keeping too.
            if only.is_none() && store.dirs.image(&image).exists() {
                continue;
            }
            let root = match open_dir(&path) {
                Err(Errno::NOENT) => continue,
                other => other.context("open", &path)?,
            };
            match flock(&root, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    report.left.push(format!("{} is in use", path.display()));
                    continue;
                }
                other => other.context("lock", &path)?,
            }
            remove(store, &path)?;
            report.removed_trees += 1;
        }
        Ok(())
    }
}

/// The tree's root with a shared lock, if the tree is there.
fn open_pinned(path: &Path) -> Result<Option<OwnedFd>> {
    let root = match open_dir(path) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.context("open", path)?,
    };
    flock(&root, FlockOperation::LockShared).context("lock", path)?;
    // A sweep may have taken it away between the two.
    let here = fstat(&root).context("inspect", path)?;
    match stat(path) {
        Ok(there) if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) => Ok(Some(root)),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).context("inspect", path),
    }
}

fn build(store: &Store, image: &ImageRecord, path: &Path) -> Result<()> {
    let staging = store.stage()?;
    let staged = staging.path().join("tree");
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&staged)
        .context("create", &staged)?;
    let root = open_dir(&staged).context("open", &staged)?;
    render(store, &image.id, &image.rootfs, root.as_fd())?;
    rustix::fs::syncfs(&root).context("sync", &staged)?;
    match fs::rename(&staged, path) {
        // Somebody else was faster; theirs is as good.
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.context("publish", path),
    }
}

/// Renames the tree away first: a name in `trees/` is a complete tree.
fn remove(store: &Store, path: &Path) -> Result<()> {
    let staging = store.stage()?;
    let doomed = staging.path().join("tree");
    fs::rename(path, &doomed).context("remove", path)?;
    fs::remove_dir_all(&doomed).context("remove", &doomed)
}
