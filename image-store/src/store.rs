//! The store's directories and what is looked up in them.
#![expect(unused_variables, clippy::unimplemented, reason = "being filled in")]

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use manifests::digest::Digest;
use manifests::image_id::ImageId;

use crate::backend::{BackendChoice, MountedImage};
use crate::error::Result;
use crate::record::ImageRecord;
use crate::staging::Staging;
use crate::sweep::{GcReport, Keep};
use crate::verify::Damage;

/// The store below one data directory. Cheap to open: no scan, no lock, and
/// nothing is made before something is staged.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in `data_dir`, whether or not it has been made yet.
    pub fn open(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("store"),
        }
    }

    /// A fresh staging directory of this boot.
    ///
    /// # Errors
    /// The directories cannot be made, or a sweep is running and does not end.
    pub fn stage(&self) -> Result<Staging<'_>> {
        unimplemented!()
    }

    /// Whether the object is there. Only a [`Staging`] keeps it there.
    pub fn has_object(&self, digest: &Digest) -> bool {
        unimplemented!()
    }

    /// The object's bytes, for reading.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`](crate::StoreError::MissingObject).
    pub fn open_object(&self, digest: &Digest) -> Result<File> {
        unimplemented!()
    }

    /// The record of an image that is known by its full id.
    ///
    /// # Errors
    /// The record cannot be read or is damaged; an absent one is `Ok(None)`.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        unimplemented!()
    }

    /// Every record, sorted by id; one that cannot be read is an `Err` of its
    /// own.
    ///
    /// # Errors
    /// The directory of records cannot be read.
    pub fn images(&self) -> Result<Vec<Result<ImageRecord>>> {
        unimplemented!()
    }

    /// The one image whose id starts with this (`sha512-ab…`, `sha256-ab…`, at
    /// least two digits).
    ///
    /// # Errors
    /// None or several do, or `prefix` cannot be the beginning of an id.
    pub fn find_id(&self, prefix: &str) -> Result<ImageId> {
        unimplemented!()
    }

    /// What `name` was last fetched as. The name is the canonical reference
    /// string that fetch made, e.g. `docker://host:5000/app:1.0`.
    ///
    /// # Errors
    /// The name's file cannot be read; an unknown name is `Ok(None)`.
    pub fn find_name(&self, name: &str) -> Result<Option<ImageId>> {
        unimplemented!()
    }

    /// Makes the image's root file system available on the host and pins it:
    /// EROFS mounted below `/run/rkt/images`, or a tree.
    ///
    /// # Errors
    /// An object is missing or damaged, or neither backend can.
    pub fn mount(&self, image: &ImageRecord, backend: BackendChoice) -> Result<MountedImage> {
        unimplemented!()
    }

    /// Writes the image's root file system into an empty directory: for
    /// `--no-overlay`, `image render` and `image extract`.
    ///
    /// # Errors
    /// An object is missing, the disk is full, or a right is missing. What was
    /// written so far stays.
    pub fn render(&self, image: &ImageRecord, into: BorrowedFd<'_>) -> Result<()> {
        unimplemented!()
    }

    /// Removes the record and the names. Objects and mounts that nobody else
    /// uses go too, or at the next [`Store::gc`] if a fetch is running. A
    /// damaged record can be removed as well.
    ///
    /// # Errors
    /// [`StoreError::ImageNotFound`](crate::StoreError::ImageNotFound), or the
    /// record cannot be removed.
    pub fn remove(&self, id: &ImageId) -> Result<GcReport> {
        unimplemented!()
    }

    /// Sweeps staging directories nobody owns, unreferenced objects, unused
    /// mounts and trees.
    ///
    /// # Errors
    /// A directory cannot be read. That something was in use is no error but
    /// part of the report.
    pub fn gc(&self, keep: &Keep) -> Result<GcReport> {
        unimplemented!()
    }

    /// Reads every object of the image again and names what is damaged.
    ///
    /// # Errors
    /// The record cannot be read. A damaged object is no error but part of the
    /// answer.
    pub fn verify(&self, image: &ImageRecord) -> Result<Vec<Damage>> {
        unimplemented!()
    }
}
