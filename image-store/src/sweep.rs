//! What may go: removal and garbage collection.
//!
//! A fetch finds an object, relies on it, and names it in a record much later.
//! So every [`Staging`](crate::Staging) holds `store/` with a shared lock, and
//! objects are only swept under the exclusive one: then nobody relies on
//! anything that no record names, and every staging directory is an orphan. If
//! somebody is fetching, the sweep leaves those two for the next time and says
//! so; it never makes a fetch fail. Readers take no part in this: a record that
//! is gone is gone, and an object that was opened stays readable.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use manifests::digest::Digest;
use manifests::image_id::ImageId;
use serde::Deserialize;

use crate::backend;
use crate::dirs::{self, object_below_objects};
use crate::error::{Context, Result, StoreError};
use crate::lock::{self, Wait};
use crate::lookup::Lookup;
use crate::names;
use crate::record::{OciObjects, RecordedIndex, RecordedLayer, Stack};
use crate::store::Store;

/// A removal need not wait: what it leaves, the next sweep takes.
const ONE_FETCH: Wait = Wait {
    what: "the image store",
    by: "a fetch",
    at_most: Duration::ZERO,
};
const SHORT_FETCHES: Wait = Wait {
    at_most: Duration::from_secs(2),
    ..ONE_FETCH
};

/// What a sweep must leave although no record names it.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Images of pods that exist, in whatever state: an unpacked tree has no
    /// mount to tell that it is in use, and an unmounted index would be
    /// mounted a second time.
    pub pods: BTreeSet<ImageId>,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Objects that no record names.
    pub removed_objects: u64,
    /// Trees of images that are gone, and that no pod uses.
    pub removed_trees: u64,
    /// Staging directories of writers that died.
    pub removed_staging: u64,
    /// Mounts nobody uses.
    pub unmounted: u64,
    /// Mounts of data directories that are gone.
    pub unmounted_orphans: u64,
    /// Bytes of the objects and staging files.
    pub freed_bytes: u64,
    /// What was left for the next time and why, one line each.
    pub left: Vec<String>,
}

pub(crate) fn remove(store: &Store, id: &ImageId, keep: &Keep) -> Result<GcReport> {
    let references = references(store, id).ok().flatten();
    let (app, candidates) = references.map(|r| (r.app, r.objects)).unzip();
    if !dirs::remove_file(&store.dirs.image(id))? {
        return Err(StoreError::ImageNotFound(id.to_string()));
    }
    for name in store.names_of(id)? {
        dirs::remove_file(&store.dirs.names().join(names::file_name(&name)))?;
    }
    let mut report = GcReport::default();
    backend::release(store, id, keep, &mut report)?;
    let locked = with_lock(store, &ONE_FETCH, &mut report, |report| {
        if let (Some(lookup), Some(app)) = (Lookup::of(store), app) {
            lookup.forget(&app, id)?;
        }
        // The objects of a damaged record are found by a full sweep only.
        let Some(candidates) = candidates else {
            return sweep_objects(store, report);
        };
        let Some(used) = all_references(store, report)? else {
            return Ok(());
        };
        for object in candidates.difference(&used) {
            remove_counted(&store.dirs.objects().join(object), report)?;
        }
        Ok(())
    });
    locked.map(|()| report)
}

pub(crate) fn gc(store: &Store, keep: &Keep) -> Result<GcReport> {
    let mut report = GcReport::default();
    backend::sweep(store, keep, &mut report)?;
    remove_other_boots(store, &mut report)?;
    with_lock(store, &SHORT_FETCHES, &mut report, |report| {
        for staging in dirs::list(&store.dirs.staging_of_this_boot()?)? {
            remove_staging(&staging, report)?;
        }
        sweep_objects(store, report)?;
        sweep_names(store)?;
        Lookup::of(store).map_or(Ok(()), |lookup| lookup.mend(store))
    })?;
    Ok(report)
}

/// Runs `act` while nobody is fetching; otherwise says that it was left.
fn with_lock(
    store: &Store,
    wait: &Wait,
    report: &mut GcReport,
    act: impl FnOnce(&mut GcReport) -> Result<()>,
) -> Result<()> {
    let root = store.dirs.root();
    let file = match File::open(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.context("open", root)?,
    };
    match lock::exclusive(&file, root, wait) {
        Ok(()) => act(report),
        Err(busy @ StoreError::Busy { .. }) => {
            report
                .left
                .push(format!("unreferenced objects are left: {busy}"));
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn remove_other_boots(store: &Store, report: &mut GcReport) -> Result<()> {
    let this = store.dirs.staging_of_this_boot()?;
    for boot in dirs::list(&store.dirs.staging())? {
        if boot == this {
            continue;
        }
        for staging in dirs::list(&boot)? {
            remove_staging(&staging, report)?;
        }
        match fs::remove_dir(&boot) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.context("remove", &boot)?,
        }
    }
    Ok(())
}

fn remove_staging(path: &Path, report: &mut GcReport) -> Result<()> {
    // The claim of a fetch that was killed.
    if path.is_file() {
        return dirs::remove_file(path).map(|_| ());
    }
    for file in dirs::list(path)? {
        // A tree that was being unpacked is a directory in there.
        let metadata = file.symlink_metadata().context("read", &file)?;
        if metadata.is_file() {
            report.freed_bytes += metadata.len();
        }
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => {
            other.context("remove", path)?;
            report.removed_staging += 1;
        }
    }
    Ok(())
}

/// Removes every object that no record names.
fn sweep_objects(store: &Store, report: &mut GcReport) -> Result<()> {
    let Some(used) = all_references(store, report)? else {
        return Ok(());
    };
    let objects = store.dirs.objects();
    for algorithm in dirs::list(&objects)? {
        for shard in dirs::list(&algorithm)? {
            for object in dirs::list(&shard)? {
                let name = object.strip_prefix(&objects).unwrap_or(&object);
                if !used.contains(name) {
                    remove_counted(&object, report)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes names that a removal was killed before: a commit publishes the
/// record first, so without fetches a name without a record is a leftover.
fn sweep_names(store: &Store) -> Result<()> {
    for path in dirs::list(&store.dirs.names())? {
        let leftover = |r: names::NameRecord| !store.dirs.image(&r.image).exists();
        if names::read(&path).is_ok_and(|r| r.is_some_and(leftover)) {
            dirs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn remove_counted(object: &Path, report: &mut GcReport) -> Result<()> {
    let size = object.symlink_metadata().map_or(0, |m| m.len());
    if dirs::remove_file(object)? {
        report.removed_objects += 1;
        report.freed_bytes += size;
    }
    Ok(())
}

/// Objects, as paths below `objects/`.
type Objects = HashSet<std::path::PathBuf>;

/// What all records name; `None` if one of them cannot be understood, for then
/// nothing can be told from garbage.
fn all_references(store: &Store, report: &mut GcReport) -> Result<Option<Objects>> {
    let mut all = HashSet::new();
    for id in store.image_ids()? {
        match references(store, &id) {
            Ok(references) => all.extend(references.map(|r| r.objects).unwrap_or_default()),
            Err(error @ StoreError::DamagedRecord { .. }) => {
                report
                    .left
                    .push(format!("unreferenced objects are left: {error}"));
                return Ok(None);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Some(all))
}

/// The part of a record that a sweep needs: it reads all records, and most of a
/// record is its manifest.
#[derive(Deserialize)]
struct Excerpt {
    manifest: Named,
    #[serde(default)]
    oci: Option<OciObjects>,
    rootfs: Stack<RecordedLayer>,
    index: RecordedIndex,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Where a record leads, and from where it is led to.
struct References {
    app: String,
    objects: Objects,
}

fn references(store: &Store, id: &ImageId) -> Result<Option<References>> {
    let path = store.dirs.image(id);
    let text = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("read", &path)?,
    };
    let parsed: Excerpt = serde_json::from_slice(&text).map_err(|e| StoreError::DamagedRecord {
        path,
        reason: e.to_string(),
    })?;
    let layers = parsed.rootfs.layers().map(|l| &l.digest);
    let oci = parsed.oci.iter().flat_map(|o| [&o.manifest, &o.config]);
    let digests: Vec<&Digest> = layers.chain([&parsed.index.digest]).chain(oci).collect();
    Ok(Some(References {
        objects: digests.into_iter().map(object_below_objects).collect(),
        app: parsed.manifest.name,
    }))
}
