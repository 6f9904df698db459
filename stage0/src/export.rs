//! The root file system of an app as it left it.
//!
//! A pod that is over has no mounts any more. The app's own directory is laid
//! over its image once again, read-only and attached nowhere, so nothing has to
//! be cleaned up, and the kernel itself says what its whiteouts mean.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use image_store::pack::Tree;
use image_store::{BackendChoice, ImageRecord, MountedImage, Store};
use manifests::appc::{ImageManifest, RuntimeApp};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::images::ROOTFS;
use crate::pods::{APPS, Pod, PodError, State};
use crate::prepare::PrepareError;
use crate::ranges;

/// Why an app cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It may still write.
    #[error("pod \"{0}\" is not exited. Only exited pods can be exported")]
    NotExited(uuid::Uuid),
    /// The pod's files.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The image's.
    #[error(transparent)]
    Image(#[from] PrepareError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] image_store::StoreError),
}

/// An app of a pod that is over; nobody deletes the pod while this lives.
#[derive(Debug)]
pub struct Leftover<'a> {
    root: OwnedFd,
    first_id: u32,
    /// The overlay would do without, but not the store's gc.
    _image: Option<MountedImage>,
    _lock: &'a Pod,
}

impl<'a> Leftover<'a> {
    /// The app's root file system.
    ///
    /// # Errors
    /// The pod is not over or not there any more, or its directory or the
    /// image cannot be mounted.
    pub fn open(
        pod: &'a Pod,
        app: &RuntimeApp,
        record: &ImageRecord,
        store: &Store,
    ) -> Result<Self, ExportError> {
        if !matches!(pod.state(), State::Exited | State::ExitedGarbage) || !pod.hold()? {
            return Err(ExportError::NotExited(pod.uuid()));
        }
        let name = app.name.as_str();
        let below = |what: &str| format!("{APPS}/{name}/{what}");
        if let Some(root) = open_dir(pod, &below(ROOTFS))? {
            let users = ranges::of_pod(&pod.path()).map_err(PrepareError::from)?;
            let users = users.filter(|users| users.on_disk);
            return Ok(Self {
                root,
                first_id: users.map_or(0, |users| users.first),
                _image: None,
                _lock: pod,
            });
        }
        let upper = open_dir(pod, &below("upper"))?.ok_or_else(|| PodError::Damaged {
            uuid: pod.uuid(),
            file: below("upper"),
            reason: "it is missing".to_owned(),
        })?;
        let image = store.mount(record, BackendChoice::Auto)?;
        let root = overlay(&upper, &image)
            .map_err(PrepareError::io("lay what the app wrote over", &image.path))?;
        Ok(Self {
            root,
            first_id: 0,
            _image: Some(image),
            _lock: pod,
        })
    }

    /// What there is to write.
    pub fn tree(&self) -> Tree<'_> {
        Tree {
            root: self.root.as_fd(),
            first_id: self.first_id,
        }
    }
}

/// The image's manifest for what is exported: everything that the image
/// depended on is in it, and nothing of it is to be filtered out again.
pub fn manifest(record: &ImageRecord) -> ImageManifest {
    let mut manifest = record.manifest.clone();
    manifest.dependencies.clear();
    manifest.path_whitelist.clear();
    manifest
}

fn open_dir(pod: &Pod, path: &str) -> Result<Option<OwnedFd>, PodError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(pod.dir(), path, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(PodError::io("open", pod.path().join(path))(e)),
    }
}

/// Two lower directories and no upper one. The kernel takes strings of 255
/// bytes at most here, hence the paths by descriptor.
fn overlay(upper: &OwnedFd, image: &MountedImage) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let by_number = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let layers = format!("{}:{}", by_number(upper), by_number(&image.root));
    fsconfig_set_string(&context, c"lowerdir", layers)?;
    fsconfig_set_flag(&context, c"ro")?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}
