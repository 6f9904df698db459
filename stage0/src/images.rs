//! The images of one pod, each made available once and pinned until stage1 has
//! its mounts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use image_store::{BackendChoice, ImageRecord, MountedImage, Store};
use manifests::image_id::ImageId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::pods::APPS;
use crate::prepare::PrepareError;

/// Directory of an app that has a root file system of its own.
pub(crate) const ROOTFS: &str = "rootfs";

/// What an app runs from.
#[derive(Debug)]
pub(crate) enum AppRoot {
    /// An image, shared with other pods and pinned.
    Shared(Rc<MountedImage>),
    /// A directory of the app's own, in the pod's.
    Own(OwnedFd),
}

impl AppRoot {
    /// The directory, to look something up in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shared(image) => image.root.as_fd(),
            Self::Own(dir) => dir.as_fd(),
        }
    }
}

/// Images by id, mounted on first use.
#[derive(Debug)]
pub struct Images<'a> {
    store: &'a Store,
    mounted: RefCell<HashMap<ImageId, Rc<MountedImage>>>,
}

impl<'a> Images<'a> {
    /// No image yet.
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            mounted: RefCell::default(),
        }
    }

    /// The store they come from.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// The root of the app `app` of the pod in `pod`: what it was unpacked into,
    /// or else its image.
    ///
    /// # Errors
    /// What the kernel or the store said.
    pub(crate) fn root(
        &self,
        pod: &Path,
        app: &str,
        record: &ImageRecord,
    ) -> Result<AppRoot, PrepareError> {
        let own = pod.join(APPS).join(app).join(ROOTFS);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&own, flags, Mode::empty()) {
            Ok(fd) => Ok(AppRoot::Own(fd)),
            Err(Errno::NOENT) => Ok(AppRoot::Shared(self.get(record, app)?)),
            Err(e) => Err(PrepareError::io("open", own)(e)),
        }
    }

    /// The root file system of an image, pinned as long as `self` lives. `app`
    /// is named in the error.
    ///
    /// # Errors
    /// What the store said.
    fn get(&self, record: &ImageRecord, app: &str) -> Result<Rc<MountedImage>, PrepareError> {
        if let Some(image) = self.mounted.borrow().get(&record.id) {
            return Ok(Rc::clone(image));
        }
        let image = self
            .store
            .mount(record, BackendChoice::Auto)
            .map_err(|source| PrepareError::Image {
                app: app.to_owned(),
                image: record.id.short(12),
                source: Box::new(source),
            })?;
        // Only `image gc` asks for the time; a store that cannot note it, because
        // it is read-only, has no gc either.
        let _ = self.store.note_use(&record.id);
        let image = Rc::new(image);
        self.mounted
            .borrow_mut()
            .insert(record.id.clone(), Rc::clone(&image));
        Ok(image)
    }

    /// Why images had to be unpacked although they need not have been; said
    /// once, whatever the number of images.
    pub fn fallback(&self) -> Option<String> {
        let mounted = self.mounted.borrow();
        mounted.values().find_map(|image| image.fallback.clone())
    }

    /// The descriptors that pin the images, for stage1.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn pins(&self) -> std::io::Result<Vec<OwnedFd>> {
        let mounted = self.mounted.borrow();
        mounted
            .values()
            .map(|image| image.root.try_clone())
            .collect()
    }
}
