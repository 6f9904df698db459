//! From wishes to a pod directory.
//!
//! ```text
//! flags + image manifests ──compose──▶ PodManifest ──fill──▶ pod directory
//! ```
//!
//! What is written here is what a pod is: its manifest, the directories its
//! apps write into, its volumes. How it runs (network, host name, terminal) is
//! said when it is [started](crate::start).
//!
//! Few files on purpose: each costs about 30 µs of a start.

pub mod environment;
mod error;
pub(crate) mod manifest;
pub mod request;
mod seed;
mod shift;
pub(crate) mod users;
pub(crate) mod volumes;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use image_store::{ImageRecord, MountedImage, Store};
use manifests::appc::{PodManifest, VolumeSource};
use manifests::engine::Users;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub use error::PrepareError;
pub use manifest::{check, compose};
pub use volumes::{MountedVolume, mounted};

use crate::images::{AppRoot, Images, ROOTFS};
use crate::pods::{APPS, MANIFEST, OwnedPod, Place};
use crate::ranges::{self, Probe};

/// The annotation that the conversion from OCI leaves on an image.
const FROM_DOCKER: &str = "appc.io/docker/repository";

/// Whether the image came from the Docker world.
pub(crate) fn is_from_docker(image: &ImageRecord) -> bool {
    image.oci.is_some() || image.manifest.annotation(FROM_DOCKER).is_some()
}

/// A pod manifest and what its apps run from, one image per app.
#[derive(Debug)]
pub struct Blueprint {
    /// The manifest.
    pub manifest: PodManifest,
    /// The manifest's very text, if a user wrote it.
    pub text: Option<Vec<u8>>,
    /// The images, in the order of the apps.
    pub images: Vec<ImageRecord>,
}

impl Blueprint {
    /// Reads a manifest that a user wrote, and finds its images in the store.
    ///
    /// # Errors
    /// What is wrong with the file, or which image is missing.
    pub fn from_file(file: &Path, store: &Store) -> Result<Self, PrepareError> {
        let text = std::fs::read(file).map_err(PrepareError::io("read", file))?;
        let manifest = PodManifest::from_slice(&text).map_err(|source| PrepareError::Manifest {
            file: file.to_owned(),
            source,
        })?;
        let images = find_images(&manifest, store)?;
        check(&manifest, &images)?;
        Ok(Self {
            manifest,
            text: Some(text),
            images,
        })
    }
}

/// The stored images of a manifest's apps, in their order.
///
/// # Errors
/// The first one that is not stored.
pub fn find_images(
    manifest: &PodManifest,
    store: &Store,
) -> Result<Vec<ImageRecord>, PrepareError> {
    let find = |app: &manifests::appc::RuntimeApp| {
        let id = match app.image.id.full() {
            Some(id) => id,
            None => store.find_id(&app.image.id.to_string())?,
        };
        store.image(&id)?.ok_or_else(|| PrepareError::NotStored {
            app: app.name.clone(),
            id: id.short(12),
        })
    };
    manifest.apps.iter().map(find).collect()
}

/// Fills a new pod: moves it to `prepare` and writes everything there. `tell`
/// hears what the user should know.
///
/// # Errors
/// What could not be written; dropping `pod` then removes it.
pub fn fill(
    pod: &mut OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    Layout {
        unpack,
        private_users,
    }: Layout,
    tell: &mut dyn FnMut(&str),
) -> Result<(), PrepareError> {
    pod.move_to(Place::Prepare)?;
    let dir = pod.path();
    write_manifest(&dir, blueprint)?;
    make_dir(&dir.join(APPS), 0o750)?;
    let users = match private_users {
        true => Some(claim(pod, blueprint, images, unpack)?),
        false => None,
    };
    fill_apps(&dir, blueprint, images, (unpack, users), tell)
}

/// How the files of a pod are laid out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// Images are unpacked instead of mounted.
    pub unpack: bool,
    /// The pod has users of its own.
    pub private_users: bool,
}

/// Takes ids for the pod, and finds out whether its mounts can show them.
fn claim(
    pod: &OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    unpack: bool,
) -> Result<Users, PrepareError> {
    let dir = pod.path();
    let mut users = ranges::claim(pod.uuid(), &dir)?;
    let probe = Probe::new(users)?;
    let mut mappable = probe.can_map(&dir, false);
    if mappable && !unpack {
        for (app, record) in blueprint.manifest.apps.iter().zip(&blueprint.images) {
            if let AppRoot::Shared(image) = images.root(&dir, app.name.as_str(), record)? {
                mappable &= probe.can_map(&image.path, false);
            }
        }
    }
    if !mappable {
        users.on_disk = true;
        ranges::record(&dir, users)?;
    }
    Ok(users)
}

/// Makes the directories of the blueprint's apps in a pod's.
pub(crate) fn fill_apps(
    dir: &Path,
    blueprint: &Blueprint,
    images: &Images<'_>,
    (unpack, users): (bool, Option<Users>),
    tell: &mut dyn FnMut(&str),
) -> Result<(), PrepareError> {
    let shifted = users.filter(|users| users.on_disk);
    for (app, record) in blueprint.manifest.apps.iter().zip(&blueprint.images) {
        let app_dir = dir.join(APPS).join(app.name.as_str());
        make_dir(&app_dir, 0o750)?;
        if unpack || shifted.is_some() {
            unpack_into(&app_dir.join(ROOTFS), record, images.store())?;
        }
        let root = images.root(dir, app.name.as_str(), record)?;
        if let AppRoot::Shared(image) = &root {
            make_overlay_dirs(&app_dir, image)?;
        }
        let volumes = make_volumes(dir, (blueprint, app, record), root.dir(), users, tell)?;
        if let Some(users) = shifted {
            give_away(app, users, &app_dir.join(ROOTFS), &volumes, tell)?;
        }
    }
    Ok(())
}

/// Gives an app's files, and the volumes that were made for it, to the ids of
/// its pod.
fn give_away(
    app: &manifests::appc::RuntimeApp,
    users: Users,
    root: &Path,
    volumes: &[PathBuf],
    tell: &mut dyn FnMut(&str),
) -> Result<(), PrepareError> {
    let began = Instant::now();
    let mut files = 0;
    for tree in std::iter::once(root).chain(volumes.iter().map(PathBuf::as_path)) {
        files += shift::shift(tree, users).map_err(|source| PrepareError::Shift {
            app: app.name.clone(),
            source,
        })?;
    }
    tell(&format!(
        "private users: the file system of the data directory cannot map owners, so app {:?} has \
         its image unpacked and {files} files changed their owners in {} ms",
        app.name.as_str(),
        began.elapsed().as_millis()
    ));
    Ok(())
}

fn write_manifest(dir: &Path, blueprint: &Blueprint) -> Result<(), PrepareError> {
    let path = dir.join(MANIFEST);
    let text = match &blueprint.text {
        Some(text) => text.clone(),
        None => serde_json::to_vec(&blueprint.manifest)
            .map_err(|e| PrepareError::io("write", &path)(std::io::Error::from(e)))?,
    };
    write(&path, &text)
}

/// Makes a file that was not there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PrepareError> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(PrepareError::io("write", path))
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), PrepareError> {
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(PrepareError::io("make the directory", path))
}

/// The root of an overlay has the owner and mode of its upper directory, so
/// that one must look like the image's root.
fn make_overlay_dirs(app_dir: &Path, image: &MountedImage) -> Result<(), PrepareError> {
    let (upper, work) = (app_dir.join("upper"), app_dir.join("work"));
    let root = rustix::fs::fstat(&image.root).map_err(PrepareError::io("look at", &image.path))?;
    make_dir(&upper, 0o700)?;
    make_dir(&work, 0o700)?;
    if (root.st_uid, root.st_gid) != (0, 0) {
        std::os::unix::fs::chown(&upper, Some(root.st_uid), Some(root.st_gid))
            .map_err(PrepareError::io("give the image's owner to", &upper))?;
    }
    let mode = std::fs::Permissions::from_mode(root.st_mode & 0o7777);
    std::fs::set_permissions(&upper, mode)
        .map_err(PrepareError::io("give the image's mode to", &upper))
}

fn unpack_into(dir: &Path, image: &ImageRecord, store: &Store) -> Result<(), PrepareError> {
    make_dir(dir, 0o755)?;
    let open = std::fs::File::open(dir).map_err(PrepareError::io("open", dir))?;
    Ok(store.render(image, open.as_fd())?)
}

/// Makes the empty volumes of an app, and fills those that nobody asked for
/// but an image from the Docker world expects to find filled.
fn make_volumes(
    dir: &Path,
    (blueprint, app, record): (&Blueprint, &manifests::appc::RuntimeApp, &ImageRecord),
    root: BorrowedFd<'_>,
    users: Option<Users>,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<PathBuf>, PrepareError> {
    let mut made = Vec::new();
    let Some(section) = app.app.as_ref().or(record.manifest.app.as_ref()) else {
        return Ok(made);
    };
    for place in volumes::place(&blueprint.manifest, app, &section.mount_points)? {
        let VolumeSource::Empty { mode, uid, gid } = place.source else {
            continue;
        };
        if let Some(users) = users
            && let Some(id) = [uid, gid].into_iter().find(|id| *id >= users.count)
        {
            return Err(PrepareError::VolumeOwner {
                name: place.name,
                id,
                count: users.count,
            });
        }
        let new = volumes::make_empty(dir, &place.name, (mode, uid, gid))?;
        if new {
            made.push(dir.join(volumes::DIRECTORY).join(place.name.as_str()));
        }
        let Some(point) = place.implicit.as_ref().filter(|_| new) else {
            continue;
        };
        tell(&format!(
            "warning: no volume specified for mount point \"{point}\", implicitly creating an \
             \"empty\" volume. This volume will be removed when the pod is garbage-collected."
        ));
        if is_from_docker(record) {
            let path = dir.join(volumes::DIRECTORY).join(place.name.as_str());
            tell(&format!(
                "Docker converted image, initializing implicit volume with data contained at the \
                 mount point \"{point}\"."
            ));
            seed::seed(root, &place.target, &path)
                .map_err(PrepareError::io("fill the volume", path))?;
        }
    }
    Ok(made)
}

/// Ends a preparation that is to wait for `run-prepared`: everything is on the
/// disk, then the pod is prepared, then its lock is free.
///
/// # Errors
/// If it cannot be synced or moved; dropping `pod` then removes it.
pub fn finish(mut pod: OwnedPod, blueprint: &Blueprint) -> Result<(), PrepareError> {
    // Sync before the rename: the other way round, a power cut shows a prepared
    // pod with files missing.
    sync(&pod, blueprint).map_err(PrepareError::io("sync", pod.path()))?;
    pod.move_to(Place::Prepared)?;
    pod.keep();
    Ok(())
}

/// A pod that holds copies of files is synced with its whole file system; of
/// any other only the few files and directories that were made, so that it need
/// not wait for what everybody else on the host is writing.
fn sync(pod: &OwnedPod, blueprint: &Blueprint) -> Result<(), Errno> {
    let dir = pod.path();
    let app_dirs = || {
        let apps = blueprint.manifest.apps.iter();
        apps.map(|app| dir.join(APPS).join(app.name.as_str()))
    };
    if dir.join(volumes::DIRECTORY).exists() || app_dirs().any(|dir| dir.join(ROOTFS).exists()) {
        return rustix::fs::syncfs(pod.dir());
    }
    let sync_one = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::fsync(rustix::fs::open(path, flags, Mode::empty())?)
    };
    sync_one(&dir.join(MANIFEST))?;
    for app in app_dirs() {
        sync_one(&app)?;
    }
    sync_one(&dir.join(APPS))?;
    rustix::fs::fsync(pod.dir())
}
