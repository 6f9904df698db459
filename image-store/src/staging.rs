//! In flight: what is not yet part of the store, and the commit.
//!
//! ```text
//! staging/<boot-id>/<random>/N ──fsync──▶ rename to objects/… ──▶ rename to images/<id> ──▶ names ──fsync──▶ done
//! ```
//!
//! All files are synced at one place, before anything is published. `syncfs`
//! would be a single call, but it waits for whatever else the machine is
//! writing. Instead the kernel is asked early to write what has come, so that
//! the first `fsync` commits the journal for all files and the others find
//! little to do. After a crash a record is found only with all its objects:
//! renames reach the disk in their order.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use manifests::appc::ImageManifest;
use manifests::config::Verity;
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::trust::Verification;
use serde::Serialize;

use crate::backend;
use crate::claim::{self, Awaited, Claim};
use crate::dirs::{self, OBJECT_MODE};
use crate::erofs::{Index, Tar};
use crate::error::{Context, Result, StoreError};
use crate::hash::Hasher;
use crate::layer::{LayerKind, LayerWriter, StagedLayer};
use crate::lock::{self, Wait};
use crate::lookup::Lookup;
use crate::names::{self, ImageName, NameRecord};
use crate::record::{ImageRecord, OciObjects, RecordedIndex, RecordedLayer, Stack};
use crate::rootfs::{Source, Tree, render};
use crate::seal;
use crate::store::Store;
use crate::sweep::{GcReport, Keep};

/// Sweeps take milliseconds.
const WAIT_FOR_SWEEP: Wait = Wait {
    what: "the image store",
    by: "a garbage collection",
    at_most: Duration::from_secs(30),
};

/// As much as is worth a system call.
const WRITE_SIZE: usize = 256 << 10;
/// As much as is worth telling the disk about.
const WRITEBACK_SIZE: u64 = 8 << 20;

/// A staging directory of this boot; removed on drop. `Sync`: writers can be
/// made and finished on several threads. While it lives, no sweep removes an
/// object, so what [`Store::has_object`] said stays true.
#[derive(Debug)]
pub struct Staging<'a> {
    store: &'a Store,
    shared: Arc<Shared>,
}

/// Lives as long as the last writer.
#[derive(Debug)]
struct Shared {
    dir: tempfile::TempDir,
    /// Shared lock on `store/`.
    _lock: File,
    next: AtomicU64,
    verity: Verity,
    objects: Mutex<HashMap<Digest, PathBuf>>,
    claims: Mutex<Vec<Claim>>,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(store: &'a Store) -> Result<Self> {
        let parent = store.dirs.make()?;
        let root = store.dirs.root();
        let lock = File::open(root).context("open", root)?;
        lock::shared(&lock, root, &WAIT_FOR_SWEEP)?;
        let dir = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(12)
            .tempdir_in(&parent)
            .context("create a staging directory in", &parent)?;
        Lookup::ensure(store, dir.path())?;
        Ok(Self {
            store,
            shared: Arc::new(Shared {
                dir,
                _lock: lock,
                next: AtomicU64::new(0),
                verity: store.verity,
                objects: Mutex::default(),
                claims: Mutex::default(),
            }),
        })
    }

    /// The directory, for what is published by itself.
    pub(crate) fn path(&self) -> &Path {
        self.shared.dir.path()
    }

    /// Says that these layers are about to be transferred, those that are
    /// neither stored nor on their way in another process; for the others it
    /// waits, at most ten minutes each, and tells `waiting`. To be called once,
    /// before anything is transferred.
    ///
    /// # Errors
    /// A claim cannot be written.
    pub fn claim<'d>(
        &self,
        layers: impl IntoIterator<Item = &'d Digest>,
        waiting: &mut dyn FnMut(Awaited),
    ) -> Result<()> {
        let layers: BTreeSet<&Digest> = layers.into_iter().collect();
        for layer in layers {
            let claim = claim::claim(self.store, layer, claim::PATIENCE, waiting)?;
            let claims = &self.shared.claims;
            let mut claims = claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.extend(claim);
        }
        Ok(())
    }

    /// A plain object (manifest, config).
    ///
    /// # Errors
    /// The staging file cannot be made.
    pub fn object(&self, algorithm: Algorithm) -> Result<ObjectWriter> {
        let (path, file) = self.shared.file()?;
        Ok(ObjectWriter {
            shared: Arc::clone(&self.shared),
            path,
            file,
            hasher: Hasher::new(algorithm),
            size: 0,
            written: 0,
            started: 0,
            buffer: Vec::new(),
            failed: None,
        })
    }

    /// A layer: its uncompressed tar goes in. Hostile or truncated tars fail.
    ///
    /// # Errors
    /// The staging file cannot be made.
    pub fn layer(&self, algorithm: Algorithm, kind: LayerKind) -> Result<LayerWriter> {
        Ok(LayerWriter::new(self.object(algorithm)?, kind))
    }

    /// A layer that the store already has, indexed again from its tar.
    ///
    /// # Errors
    /// The object is missing, or is not such a tar.
    pub fn stored_layer(&self, digest: &Digest, kind: LayerKind) -> Result<StagedLayer> {
        self.store.scan_layer(digest, kind)
    }

    /// Builds the merged index, syncs once, publishes the objects, then the
    /// record, then the names. Committing an image that is already there
    /// replaces its record.
    ///
    /// # Errors
    /// Layers that do not fit on each other, an object that is neither staged
    /// nor stored, or a disk that is full; nothing is published then.
    pub fn commit(self, draft: ImageDraft) -> Result<ImageRecord> {
        let index = self.index(&draft.id, &draft.rootfs)?;
        let level = self.store.verity;
        let layer = |layer: &StagedLayer| {
            Ok::<_, StoreError>(RecordedLayer {
                digest: layer.object.digest.clone(),
                size: layer.object.size,
                kind: layer.kind,
                verity: self.seal(&layer.object.digest, level)?,
            })
        };
        let record = ImageRecord {
            rootfs: draft.rootfs.map(&mut { layer })?,
            index,
            id: draft.id,
            manifest: draft.manifest,
            oci: draft.oci,
            origin: draft.names.first().map(|n| n.name.clone()),
            imported: SystemTime::now(),
            verification: draft.verification,
        };
        self.publish(&record, draft.names)?;
        Ok(record)
    }

    /// Commits a [`Store::whole_image`] again with another manifest, another
    /// verification or more names. What it is made of stays, and is not read.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    pub fn amend(self, record: ImageRecord, names: Vec<ImageName>) -> Result<ImageRecord> {
        let record = ImageRecord {
            imported: SystemTime::now(),
            ..record
        };
        self.publish(&record, names)?;
        Ok(record)
    }

    fn publish(&self, record: &ImageRecord, names: Vec<ImageName>) -> Result<()> {
        self.check_present(record.objects().into_iter())?;
        let staged_record = self.document(record)?;
        let staged_names = self.stage_names(&record.id, &names)?;
        self.sync()?;
        let app = record.manifest.name.as_str();
        let mut hints = Vec::new();
        if let Some(lookup) = Lookup::of(self.store) {
            hints.extend(lookup.add_app(app, &record.id)?);
            hints.extend(lookup.add_names(&record.id, &names)?);
        }
        self.publish_objects(record.objects().into_iter())?;
        rename(&staged_record, &self.store.dirs.image(&record.id))?;
        for (staged, file) in staged_names {
            rename(&staged, &file)?;
        }
        self.settle(record, hints)
    }

    /// Lets names lead to an image that is stored already.
    pub(crate) fn publish_names(self, image: &ImageId, names: Vec<ImageName>) -> Result<()> {
        let staged = self.stage_names(image, &names)?;
        self.sync()?;
        if let Some(lookup) = Lookup::of(self.store) {
            for dir in lookup.add_names(image, &names)? {
                sync_directory(&dir)?;
            }
        }
        for (staged, file) in staged {
            rename(&staged, &file)?;
        }
        sync_directory(&self.store.dirs.names())
    }

    /// Each name's staged record, and where it belongs.
    fn stage_names(&self, image: &ImageId, names: &[ImageName]) -> Result<Vec<(PathBuf, PathBuf)>> {
        let stage = |ImageName { name, cached }: &ImageName| {
            let file = self.store.dirs.names().join(names::file_name(name));
            let record = NameRecord {
                name: name.clone(),
                image: image.clone(),
                cached: cached.clone(),
            };
            Ok((self.document(&record)?, file))
        };
        names.iter().map(stage).collect()
    }

    /// Publishes objects by themselves, in the place of what has their names:
    /// the repair of an image that is committed already. A mount that shows
    /// the damaged ones is taken away from new pods; those that run keep it.
    ///
    /// # Errors
    /// One was not staged here, or the disk is full.
    pub fn replace(self, objects: &[StagedObject]) -> Result<()> {
        let digests = || objects.iter().map(|o| &o.digest);
        self.check_present(digests())?;
        for digest in digests() {
            // The record may say that they are, whatever is wanted today.
            self.seal(digest, self.store.verity.max(Verity::BestEffort))?;
        }
        self.sync()?;
        self.publish_objects(digests())?;
        for image in self.store.images()?.into_iter().flatten() {
            if image.objects().iter().any(|o| digests().any(|d| d == *o)) {
                self.forget_mount(&image.id)?;
            }
        }
        Ok(())
    }

    /// Builds the image's index again and puts it in the place of the old one.
    pub(crate) fn rebuild_index(self, image: &ImageRecord) -> Result<()> {
        let rootfs = image
            .rootfs
            .map(&mut |layer: &RecordedLayer| self.stored_layer(&layer.digest, layer.kind))?;
        let index = self.index(&image.id, &rootfs)?;
        // A later version may lay it out in another way.
        let record = ImageRecord {
            index,
            ..image.clone()
        };
        let document = match record == *image {
            true => None,
            false => Some(self.document(&record)?),
        };
        self.sync()?;
        self.publish_objects([&record.index.digest].into_iter())?;
        if let Some(document) = document {
            rename(&document, &self.store.dirs.image(&record.id))?;
        }
        self.forget_mount(&image.id)
    }

    fn forget_mount(&self, id: &ImageId) -> Result<()> {
        // Whoever has it open keeps it, and that is no failure of ours.
        let mut report = GcReport::default();
        backend::release(self.store, id, &Keep::default(), &mut report)
    }

    /// Merges the layers and stages their index.
    pub(crate) fn index(&self, id: &ImageId, rootfs: &Stack<StagedLayer>) -> Result<RecordedIndex> {
        let merged = Merged::new(id, rootfs)?;
        let index_error = |source| StoreError::Index {
            id: id.clone(),
            source,
        };
        let index = Index::new(&merged.tree, &merged.tars).map_err(index_error)?;
        let mut out = self.object(Algorithm::Sha256)?;
        if let Err(error) = index.write(&mut out) {
            return Err(out.failure(error));
        }
        let StagedObject { digest, size } = out.finish(None)?;
        let device = |&source: &u32| merged.digests[source as usize].clone();
        Ok(RecordedIndex {
            verity: self.seal(&digest, self.store.verity)?,
            digest,
            size,
            devices: index.devices().iter().map(device).collect(),
        })
    }

    /// Seals an object, staged or stored; says its verity digest.
    fn seal(&self, digest: &Digest, level: Verity) -> Result<Option<Digest>> {
        let staged = self.shared.staged(digest);
        let Some(path) = staged else {
            let path = self.store.dirs.object(digest);
            let sealed = seal::seal(&path, level)?;
            if sealed.is_some() {
                let file = File::open(&path).context("open", &path)?;
                file.sync_all().context("sync", &path)?;
            }
            return Ok(sealed);
        };
        seal::seal(&path, level)
    }

    fn document(&self, document: &impl Serialize) -> Result<PathBuf> {
        let (path, mut file) = self.shared.file()?;
        let text = serde_json::to_vec(document).map_err(io::Error::from);
        let text = text.context("write", &path)?;
        file.write_all(&text).context("write", &path)?;
        start_writeback(&file, 0, text.len() as u64);
        Ok(path)
    }

    fn check_present<'d>(&self, digests: impl Iterator<Item = &'d Digest>) -> Result<()> {
        for digest in digests {
            if self.shared.staged(digest).is_none() && !self.store.has_object(digest) {
                return Err(StoreError::MissingObject(digest.clone()));
            }
        }
        Ok(())
    }

    /// Everything in the directory, including what will not be published: a
    /// fetch stages little that it does not need.
    fn sync(&self) -> Result<()> {
        for path in dirs::list(self.path())? {
            let file = File::open(&path).context("open", &path)?;
            file.sync_all().context("sync", &path)?;
        }
        Ok(())
    }

    /// Waits until the renames are on the disk, so that what was reported as
    /// stored survives a power cut. Objects come first: a file system that keeps
    /// no order among renames must not keep a record and lose what it names.
    /// Where one journal orders them, the first sync does for all.
    fn settle(&self, record: &ImageRecord, hints: Vec<PathBuf>) -> Result<()> {
        let dirs = &self.store.dirs;
        let objects = record.objects().into_iter();
        let shards = objects.filter_map(|d| dirs.object(d).parent().map(Path::to_owned));
        let mut changed: Vec<PathBuf> = shards.chain(hints).collect();
        changed.sort();
        changed.dedup();
        changed.extend([dirs.images(), dirs.names()]);
        changed.iter().try_for_each(|dir| sync_directory(dir))
    }

    /// Renames over what may be there: the same bytes, unless it was damaged.
    fn publish_objects<'d>(&self, digests: impl Iterator<Item = &'d Digest>) -> Result<()> {
        for digest in digests {
            let Some(staged) = self.shared.staged(digest) else {
                continue;
            };
            let object = self.store.dirs.object(digest);
            if let Err(e) = fs::rename(&staged, &object) {
                if e.kind() != io::ErrorKind::NotFound {
                    return Err(e).context("publish", &object);
                }
                if let Some(parent) = object.parent() {
                    dirs::make_shared(parent)?;
                }
                rename(&staged, &object)?;
            }
        }
        Ok(())
    }
}

/// All layers of an image as one tree.
pub(crate) struct Merged {
    pub(crate) tree: Tree,
    /// Every tar once; the tree's files name them by their place.
    pub(crate) tars: Vec<Tar>,
    pub(crate) digests: Vec<Digest>,
}

impl Merged {
    /// # Errors
    /// The layers do not fit on each other.
    pub(crate) fn new(id: &ImageId, rootfs: &Stack<StagedLayer>) -> Result<Self> {
        let mut tars = Vec::new();
        let mut digests = Vec::new();
        let mut numbers: HashMap<&Digest, u32> = HashMap::new();
        for layer in rootfs.layers() {
            let digest = &layer.object.digest;
            numbers.entry(digest).or_insert_with(|| {
                digests.push(digest.clone());
                tars.push(Tar {
                    tag: digest.hex().to_owned(),
                    size: layer.object.size,
                });
                digests.len() as u32 - 1
            });
        }
        let sources = rootfs.map(&mut |layer: &StagedLayer| {
            Ok::<_, StoreError>(Source {
                layer: Arc::clone(&layer.tree),
                number: numbers[&layer.object.digest],
            })
        })?;
        let tree = render(&sources).map_err(|source| StoreError::Merge {
            id: id.clone(),
            source,
        })?;
        Ok(Self {
            tree,
            tars,
            digests,
        })
    }
}

impl Shared {
    fn file(&self) -> Result<(PathBuf, File)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(number.to_string());
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(OBJECT_MODE)
            .open(&path)
            .context("create", &path)?;
        Ok((path, file))
    }

    fn staged(&self, digest: &Digest) -> Option<PathBuf> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(digest).cloned()
    }
}

/// A hint: an error that matters comes again from `fsync`.
fn start_writeback(file: &File, offset: u64, length: u64) {
    let _ = sys::writeback::start(file.as_fd(), offset, length);
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).context("publish", to)
}

/// Takes the bytes of a plain object.
#[derive(Debug)]
pub struct ObjectWriter {
    shared: Arc<Shared>,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes taken, bytes written, and bytes that the disk was told about.
    size: u64,
    written: u64,
    started: u64,
    buffer: Vec<u8>,
    /// Why a write failed; all later ones would leave a gap.
    failed: Option<StoreError>,
}

impl ObjectWriter {
    /// Ends the object.
    ///
    /// # Errors
    /// A digest other than `expected`, or a write that failed earlier.
    pub fn finish(mut self, expected: Option<&Digest>) -> Result<StagedObject> {
        let flushed = self.flush();
        if let Some(error) = self.failed {
            return Err(error);
        }
        flushed.context("write", &self.path)?;
        let digest = self.hasher.finish();
        let size = self.size;
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(StoreError::DigestMismatch {
                expected: expected.clone(),
                actual: digest,
                size,
            });
        }
        start_writeback(&self.file, self.started, self.written - self.started);
        drop(self.file);
        // What is large is sealed on the thread that made it.
        if size >= WRITEBACK_SIZE {
            seal::seal(&self.path, self.shared.verity)?;
        }
        let objects = &self.shared.objects;
        let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.insert(digest.clone(), self.path);
        Ok(StagedObject { digest, size })
    }

    /// What `error`, which a write gave, really was.
    fn failure(self, error: io::Error) -> StoreError {
        let other = || StoreError::io("write", &self.path, error);
        self.failed.unwrap_or_else(other)
    }

    fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(io::Error::other("an earlier write failed"));
        }
        self.file.write_all(bytes).map_err(|source| {
            let kind = source.kind();
            let error = StoreError::io("write", self.shared.dir.path(), source);
            let message = error.to_string();
            self.failed = Some(error);
            io::Error::new(kind, message)
        })?;
        self.written += bytes.len() as u64;
        if self.written - self.started >= WRITEBACK_SIZE {
            start_writeback(&self.file, self.started, self.written - self.started);
            self.started = self.written;
        }
        Ok(())
    }
}

impl Write for ObjectWriter {
    /// Takes all of `buf`.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.hasher.update(buf);
        self.size += buf.len() as u64;
        if self.buffer.len() + buf.len() > WRITE_SIZE {
            self.flush()?;
        }
        if buf.len() >= WRITE_SIZE {
            self.write_out(buf)?;
        } else {
            self.buffer.extend_from_slice(buf);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }
}

fn sync_directory(dir: &Path) -> Result<()> {
    let opened = File::open(dir).context("open", dir)?;
    opened.sync_all().context("sync", dir)
}

/// An object in the staging directory, or found in the store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedObject {
    /// Its name to be.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Everything a commit needs.
#[derive(Debug, Clone)]
pub struct ImageDraft {
    /// What the image will be known as.
    pub id: ImageId,
    /// The appc image manifest (for OCI images the converted one).
    pub manifest: ImageManifest,
    /// The byte-exact OCI manifest and config, staged or stored before.
    pub oci: Option<OciObjects>,
    /// The layers; [`Stack::flat`] unless appc dependencies or a
    /// `pathWhitelist` are involved.
    pub rootfs: Stack<StagedLayer>,
    /// What shall lead here from now on; the first is where it came from.
    pub names: Vec<ImageName>,
    /// What was checked.
    pub verification: Verification,
}
