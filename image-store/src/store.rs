//! The store's directories and what is looked up in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use manifests::config::Verity;
use manifests::digest::Digest;
use manifests::image_id::ImageId;

use crate::backend::{self, BackendChoice, MountedImage};
use crate::dirs::{self, Dirs};
use crate::error::{Context, Result, StoreError};
use crate::export::{self, Exported};
use crate::layer::{LayerKind, StagedLayer, scan};
use crate::lookup::Lookup;
use crate::names::{self, Cached, ImageName};
use crate::record::{ImageRecord, Stack};
use crate::staging::Staging;
use crate::sweep::{self, GcReport, Keep};
use crate::usage::{self, Usage};
use crate::verify::Verifier;

/// The store below one data directory. Cheap to open: no scan, no lock, and
/// nothing is made before something is staged.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) data_dir: PathBuf,
    pub(crate) dirs: Dirs,
    pub(crate) verity: Verity,
}

impl Store {
    /// The store in `data_dir`, whether or not it has been made yet.
    pub fn open(data_dir: &Path) -> Self {
        // So that no later change of the working directory moves the store.
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self {
            dirs: Dirs::new(&data_dir),
            data_dir,
            verity: Verity::default(),
        }
    }

    /// The same store with this use of fs-verity; [`Verity::BestEffort`] if
    /// nothing is said.
    #[must_use]
    pub fn with_verity(mut self, verity: Verity) -> Self {
        self.verity = verity;
        self
    }

    /// A fresh staging directory of this boot.
    ///
    /// # Errors
    /// The directories cannot be made, or a sweep is running and does not end.
    pub fn stage(&self) -> Result<Staging<'_>> {
        Staging::new(self)
    }

    /// An unnamed file beside the objects, for what needs room for a while. It
    /// is gone when it is closed, however that happens.
    ///
    /// # Errors
    /// The directories cannot be made, or the disk is full.
    pub fn scratch_file(&self) -> Result<File> {
        let dir = self.dirs.make()?;
        tempfile::tempfile_in(&dir).context("create a file in", &dir)
    }

    /// Whether the object is there. Only a [`Staging`] keeps it there.
    pub fn has_object(&self, digest: &Digest) -> bool {
        self.dirs.object(digest).is_file()
    }

    /// The object's bytes, for reading.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`].
    pub fn open_object(&self, digest: &Digest) -> Result<File> {
        let path = self.dirs.object(digest);
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::MissingObject(digest.clone()))
            }
            other => other.context("open", path),
        }
    }

    /// The record of an image that is known by its full id.
    ///
    /// # Errors
    /// The record cannot be read or is damaged; an absent one is `Ok(None)`.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        let path = self.dirs.image(id);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context("read", &path)?,
        };
        let damaged = |reason: String| StoreError::DamagedRecord {
            path: path.clone(),
            reason,
        };
        let record: ImageRecord =
            serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if record.id != *id {
            return Err(damaged(format!("it is the record of {}", record.id)));
        }
        Ok(Some(record))
    }

    /// Notes that the image is used now, as the modification time of its
    /// record. One system call and no sync: it is paid by every start.
    ///
    /// # Errors
    /// There is no such record, or the store is read-only.
    pub fn note_use(&self, id: &ImageId) -> Result<()> {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        let path = self.dirs.image(id);
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
            .map_err(io::Error::from)
            .context("note the use of", path)
    }

    /// When the image was last used, or imported if it never was.
    ///
    /// # Errors
    /// There is no such record.
    pub fn last_used(&self, id: &ImageId) -> Result<SystemTime> {
        let path = self.dirs.image(id);
        fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .context("look at", path)
    }

    /// Every record, sorted by id; one that cannot be read is an `Err` of its
    /// own.
    ///
    /// # Errors
    /// The directory of records cannot be read.
    pub fn images(&self) -> Result<Vec<Result<ImageRecord>>> {
        let records = self.image_ids()?.into_iter();
        Ok(records
            .filter_map(|id| self.image(&id).transpose())
            .collect())
    }

    /// The ids of all records, sorted, none of them read.
    pub(crate) fn image_ids(&self) -> Result<Vec<ImageId>> {
        let files = dirs::list(&self.dirs.images())?;
        let id = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        Ok(files.iter().filter_map(id).collect())
    }

    /// The one image whose id starts with this (`sha512-ab…`, `sha256-ab…`, at
    /// least two digits).
    ///
    /// # Errors
    /// None or several do, or `prefix` cannot be the beginning of an id.
    pub fn find_id(&self, prefix: &str) -> Result<ImageId> {
        let digits = prefix
            .strip_prefix("sha512-")
            .or_else(|| prefix.strip_prefix("sha256-"));
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !digits.is_some_and(|d| d.len() >= 2 && d.bytes().all(hex)) {
            return Err(StoreError::BadPrefix(prefix.to_owned()));
        }
        // Scripts give whole ids, and a start with one should not read a
        // directory of a thousand.
        if let Ok(id) = prefix.parse::<ImageId>()
            && self.dirs.image(&id).exists()
        {
            return Ok(id);
        }
        let mut found: Vec<ImageId> = self.image_ids()?;
        found.retain(|id| id.to_string().starts_with(prefix));
        if found.len() > 1 {
            return Err(StoreError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: found.iter().map(|id| id.short(12)).collect(),
            });
        }
        let found = found.pop();
        found.ok_or_else(|| StoreError::ImageNotFound(prefix.to_owned()))
    }

    /// What `name` was last fetched as. The name is the canonical reference
    /// string that fetch made, e.g. `docker://host:5000/app:1.0`.
    ///
    /// # Errors
    /// The name's file cannot be read; an unknown name is `Ok(None)`.
    pub fn find_name(&self, name: &str) -> Result<Option<ImageId>> {
        let path = self.dirs.names().join(names::file_name(name));
        let record = names::read(&path)?.filter(|record| record.name == name);
        Ok(record.map(|record| record.image))
    }

    /// As [`Store::find_name`], with what the server of a URL said about it.
    ///
    /// # Errors
    /// As [`Store::find_name`].
    pub fn find_cached(&self, name: &str) -> Result<Option<(ImageId, Cached)>> {
        let path = self.dirs.names().join(names::file_name(name));
        let record = names::read(&path)?.filter(|record| record.name == name);
        Ok(record.and_then(|record| Some((record.image, record.cached?))))
    }

    /// Lets more names lead to a stored image, or replaces what is remembered
    /// of them.
    ///
    /// # Errors
    /// The image is not stored, or the disk is full.
    pub fn add_names(&self, image: &ImageId, names: Vec<ImageName>) -> Result<()> {
        // No sweep takes the image away while something is staged.
        let staging = self.stage()?;
        if self.image(image)?.is_none() {
            return Err(StoreError::ImageNotFound(image.to_string()));
        }
        staging.publish_names(image, names)
    }

    /// Every name, sorted, by the image it leads to.
    ///
    /// # Errors
    /// The directory of names cannot be read.
    pub fn names(&self) -> Result<BTreeMap<ImageId, Vec<String>>> {
        names::by_image(&self.dirs.names())
    }

    /// The images whose manifest has this appc name, sorted by id; one whose
    /// record cannot be read is none of them.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn images_of_app(&self, app: &str) -> Result<Vec<ImageRecord>> {
        let named = |record: &ImageRecord| record.manifest.name.as_str() == app;
        let Some(lookup) = Lookup::of(self) else {
            return Ok(self.images()?.into_iter().flatten().filter(named).collect());
        };
        let read = |id: &ImageId| self.image(id).ok().flatten();
        let ids = lookup.images(app)?;
        Ok(ids.iter().filter_map(read).filter(named).collect())
    }

    /// The names that lead to this image, sorted.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn names_of(&self, id: &ImageId) -> Result<Vec<String>> {
        let Some(lookup) = Lookup::of(self) else {
            return Ok(self.names()?.remove(id).unwrap_or_default());
        };
        let mut found = Vec::new();
        for file in lookup.names_of(id)? {
            // A name without meaning is found by who asks for it.
            if let Ok(Some(record)) = names::read(&self.dirs.names().join(file))
                && record.image == *id
            {
                found.push(record.name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The record of an image with all its objects at hand, sealed if they must
    /// be: what is fetched again is then no more than [`Staging::amend`]ed.
    ///
    /// # Errors
    /// As [`Store::image`].
    pub fn whole_image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        let record = self.image(id)?;
        Ok(record.filter(|record| {
            (self.verity != Verity::Required || record.is_sealed())
                && record.objects().into_iter().all(|o| self.has_object(o))
        }))
    }

    /// Makes the image's root file system available on the host and pins it:
    /// EROFS mounted below `/run/rkt/images`, or a tree.
    ///
    /// # Errors
    /// An object is missing or damaged, or neither backend can.
    pub fn mount(&self, image: &ImageRecord, backend: BackendChoice) -> Result<MountedImage> {
        backend::mount(self, image, backend)
    }

    /// Writes the image's root file system into an empty directory: for
    /// `--no-overlay`, `image render` and `image extract`.
    ///
    /// # Errors
    /// An object is missing, the disk is full, or a right is missing. What was
    /// written so far stays.
    pub fn render(&self, image: &ImageRecord, into: BorrowedFd<'_>) -> Result<()> {
        backend::render(self, &image.id, &image.rootfs, into)
    }

    /// Writes the image alone, without its dependencies and unfiltered, into
    /// an empty directory.
    ///
    /// # Errors
    /// As [`Store::render`].
    pub fn extract(&self, image: &ImageRecord, into: BorrowedFd<'_>) -> Result<()> {
        let alone = Stack::flat(image.rootfs.layers.clone());
        backend::render(self, &image.id, &alone, into)
    }

    /// The image manifest: an ACI's byte for byte, the converted one of an OCI
    /// image.
    ///
    /// # Errors
    /// The ACI's tar is missing or cannot be read.
    pub fn manifest_bytes(&self, image: &ImageRecord) -> Result<Vec<u8>> {
        if image.oci.is_none() {
            let layer = self.scan_layer(image.id.digest(), LayerKind::Aci)?;
            if let Some(manifest) = layer.aci_manifest {
                return Ok(manifest);
            }
        }
        serde_json::to_vec(&image.manifest)
            .map_err(io::Error::from)
            .context("write the manifest of", image.id.to_string())
    }

    /// Writes an ACI, uncompressed, byte for byte as its id says.
    ///
    /// # Errors
    /// It is no ACI, it is damaged, or `to` does not take it.
    pub fn export_aci(&self, image: &ImageRecord, to: &mut dyn Write) -> Result<()> {
        export::aci(self, image, to)
    }

    /// Writes an OCI image into the empty directory `dir` as an image layout
    /// that calls it `tag`.
    ///
    /// # Errors
    /// It is no OCI image, it is damaged, or the disk is full. What was written
    /// so far stays.
    pub fn export_layout(&self, image: &ImageRecord, tag: &str, dir: &Path) -> Result<Exported> {
        export::layout(self, image, tag, dir)
    }

    /// Writes an OCI image as the tar of an image layout that calls it `tag`.
    ///
    /// # Errors
    /// As [`Store::export_layout`].
    pub fn export_archive(
        &self,
        image: &ImageRecord,
        tag: &str,
        to: &mut dyn Write,
    ) -> Result<Exported> {
        export::archive(self, image, tag, to)
    }

    /// Removes the record and the names. Objects and mounts that nobody else
    /// uses go too, or at the next [`Store::gc`] if a fetch is running. A
    /// damaged record can be removed as well.
    ///
    /// # Errors
    /// [`StoreError::ImageNotFound`], or the record cannot be removed.
    pub fn remove(&self, id: &ImageId, keep: &Keep) -> Result<GcReport> {
        sweep::remove(self, id, keep)
    }

    /// Sweeps staging directories nobody owns, unreferenced objects, unused
    /// mounts and trees.
    ///
    /// # Errors
    /// A directory cannot be read. That something was in use is no error but
    /// part of the report.
    pub fn gc(&self, keep: &Keep) -> Result<GcReport> {
        sweep::gc(self, keep)
    }

    /// Builds the image's index again from its layers, which must be whole.
    ///
    /// # Errors
    /// A layer is missing or no such tar, or the disk is full.
    pub fn rebuild_index(&self, image: &ImageRecord) -> Result<()> {
        self.stage()?.rebuild_index(image)
    }

    /// What these images, which should be all that can be read, and everything
    /// else take on the disk.
    ///
    /// # Errors
    /// A directory or file cannot be looked at.
    pub fn usage(&self, images: &[ImageRecord]) -> Result<Usage> {
        usage::usage(self, images)
    }

    /// For reading the objects of images again.
    pub fn verifier(&self) -> Verifier<'_> {
        Verifier::new(self)
    }

    /// Reads the headers of a stored layer.
    pub(crate) fn scan_layer(&self, digest: &Digest, kind: LayerKind) -> Result<StagedLayer> {
        let file = self.open_object(digest)?;
        scan(&file, &self.dirs.object(digest), digest, kind)
    }
}
