//! Where the bytes are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use manifests::digest::Digest;
use manifests::image_id::ImageId;
use serde::Serialize;

use crate::dirs;
use crate::error::{Context, Result};
use crate::record::ImageRecord;
use crate::store::Store;

/// What the store takes on the disk: blocks that are allocated, not lengths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Every image that can be read.
    pub images: Vec<ImageUsage>,
    /// Bytes of all objects.
    pub objects: u64,
    /// Of them, bytes that several images share, counted once.
    pub shared: u64,
    /// Of them, bytes that no image names: a sweep frees them.
    pub unreferenced: u64,
    /// Bytes of fetches that are going on, or died.
    pub staging: u64,
    /// Bytes of unpacked trees.
    pub trees: u64,
}

/// What an image takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageUsage {
    /// The image.
    pub id: ImageId,
    /// Bytes that its removal frees.
    pub unique: u64,
    /// Bytes that other images need as well.
    pub shared: u64,
}

/// `images` are all records of the store that can be read.
pub(crate) fn usage(store: &Store, images: &[ImageRecord]) -> Result<Usage> {
    let mut users: HashMap<&Digest, u64> = HashMap::new();
    for image in images {
        for object in image.objects() {
            *users.entry(object).or_default() += 1;
        }
    }
    let mut sizes = HashMap::new();
    let mut shared = 0;
    for (object, users) in &users {
        let size = file(&store.dirs.object(object))?;
        sizes.insert(*object, size);
        if *users > 1 {
            shared += size;
        }
    }
    let of_image = |image: &ImageRecord| {
        let sum = |many: bool| -> u64 {
            let objects = image.objects().into_iter();
            let counted = objects.filter(|o| (users[o] > 1) == many);
            counted.map(|o| sizes[o]).sum()
        };
        ImageUsage {
            id: image.id.clone(),
            unique: sum(false),
            shared: sum(true),
        }
    };
    let objects = tree(&store.dirs.objects())?;
    Ok(Usage {
        images: images.iter().map(of_image).collect(),
        objects,
        shared,
        unreferenced: objects.saturating_sub(sizes.values().sum()),
        staging: tree(&store.dirs.staging())?,
        trees: tree(&store.dirs.trees())?,
    })
}

/// Nothing if it is not there: who removes images at this moment is right.
fn file(path: &Path) -> Result<u64> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        other => Ok(other.context("inspect", path)?.blocks() * 512),
    }
}

/// Bytes of the files below a directory; each name of a file with several has
/// its share.
fn tree(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for path in dirs::list(dir)? {
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(metadata) if metadata.is_dir() => sum += tree(&path)?,
            Ok(metadata) if metadata.nlink() > 1 => {
                sum += metadata.blocks() * 512 / metadata.nlink();
            }
            other => sum += other.context("inspect", &path)?.blocks() * 512,
        }
    }
    Ok(sum)
}
