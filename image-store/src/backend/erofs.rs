//! The image's index, mounted once and shared by all pods.
//!
//! ```text
//! /run/rkt/images/<image-id>.<index>           the default data directory's
//! /run/rkt/images-<hash>/<image-id>.<index>    another data directory's
//! ```
//!
//! A mount is in use while somebody holds a descriptor in it: `umount` fails
//! with EBUSY then, and that is all the bookkeeping there is. Who opens the
//! directory and sees a mount root has the mount pinned, so the fast path is an
//! `open` and a `statx`; only mounting and unmounting take a lock.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use manifests::image_id::ImageId;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use sha2::{Digest as _, Sha256};

use super::{Backend, Provided, directory_name, image_of, open_dir};
use crate::dirs::{self, object_below_objects};
use crate::error::{Context, Result, StoreError};
use crate::lock::{self, Wait};
use crate::record::{ImageRecord, RecordedLayer};
use crate::store::Store;
use crate::sweep::{GcReport, Keep};
use crate::tar::BLOCK;
use crate::verify;

const RUN: &str = "/run/rkt";
const DEFAULT_DATA_DIR: &str = "/var/lib/rkt";
/// In a directory of mounts, a symlink to the data directory it belongs to.
const OWNER: &str = "data-dir";

/// In a directory of mounts, why nothing can be mounted there: the kernel or the
/// file system will say the same until the next boot. A sweep removes it.
const UNABLE: &str = "unable";

const WAIT: Wait = Wait {
    what: "the directory of image mounts",
    by: "another rkt that mounts or unmounts",
    at_most: Duration::from_secs(10),
};

pub(super) struct Erofs;

impl Backend for Erofs {
    fn provide(&self, store: &Store, image: &ImageRecord) -> Result<Provided> {
        let mounts = mounts_dir(store)?;
        let path = mounts.join(directory_name(image));
        if let Some(root) = open_mounted(&path)? {
            return Ok(Provided::Ready { path, root });
        }
        if let Ok(reason) = fs::read_to_string(mounts.join(UNABLE)) {
            return Ok(Provided::Unable(reason));
        }
        let _lock = loop {
            if let Err(error) = make_mounts(store, &mounts) {
                return Ok(Provided::Unable(format!(
                    "cannot create {}: {error}",
                    mounts.display()
                )));
            }
            if let Some(lock) = lock_mounts(&mounts)? {
                break lock;
            }
        };
        if let Some(root) = open_mounted(&path)? {
            return Ok(Provided::Ready { path, root });
        }
        let context = match mountable(store, image)? {
            Ok(context) => context,
            Err(Inability { reason, lasts }) => {
                if lasts {
                    note(&mounts, &reason);
                }
                return Ok(Provided::Unable(reason));
            }
        };
        make_private(&path).context("create", &path)?;
        attach(&context, &path).context("mount the image at", &path)?;
        match open_mounted(&path)? {
            Some(root) => Ok(Provided::Ready { path, root }),
            None => Err(Errno::STALE).context("open the image mounted at", &path),
        }
    }

    fn sweep(
        &self,
        store: &Store,
        only: Option<&ImageId>,
        keep: &Keep,
        report: &mut GcReport,
    ) -> Result<()> {
        let swept = sweep_dir(&mounts_dir(store)?, |image| {
            only.is_none_or(|only| only == image) && !keep.pods.contains(image)
        })?;
        report.unmounted += swept.unmounted;
        report.left.extend(swept.busy);
        if only.is_some() {
            return Ok(());
        }
        for orphan in orphans()? {
            // What is still in use is left for the next time.
            report.unmounted_orphans += sweep_dir(&orphan, |_| true)?.unmounted;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Swept {
    unmounted: u64,
    /// One line for each mount that is in use.
    busy: Vec<String>,
}

/// Unmounts what nobody uses, and removes the directory if nothing is left.
fn sweep_dir(mounts: &Path, may_go: impl Fn(&ImageId) -> bool) -> Result<Swept> {
    let mut swept = Swept::default();
    if !mounts.exists() {
        return Ok(swept);
    }
    let Some(_lock) = lock_mounts(mounts)? else {
        return Ok(swept);
    };
    let mut empty = true;
    for path in dirs::list(mounts)? {
        let Some(image) = image_of(&path) else {
            continue;
        };
        if !may_go(&image) {
            empty = false;
            continue;
        }
        match unmount(&path, UnmountFlags::NOFOLLOW) {
            Ok(()) => swept.unmounted += 1,
            // Not a mount: a mount point whose mount failed.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(Errno::BUSY) => {
                swept.busy.push(format!("{} is in use", path.display()));
                empty = false;
                continue;
            }
            // Who may not mount cannot have mounted.
            Err(Errno::PERM) => {
                empty = false;
                continue;
            }
            Err(other) => return Err(other).context("unmount", &path),
        }
        match std::fs::remove_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.context("remove", &path)?,
        }
    }
    if empty {
        dirs::remove_file(&mounts.join(OWNER))?;
        dirs::remove_file(&mounts.join(UNABLE))?;
        match std::fs::remove_dir(mounts) {
            // Somebody who is about to mount has put the note there again.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            other => other.context("remove", mounts)?,
        }
    }
    Ok(swept)
}

/// Directories of mounts whose data directory is gone: nobody else will ever
/// look there, and the mounts keep the deleted objects' space.
fn orphans() -> Result<Vec<PathBuf>> {
    let mut found = dirs::list(Path::new(RUN))?;
    found.retain(|dir| {
        let owner = std::fs::read_link(dir.join(OWNER));
        owner.is_ok_and(|data_dir| matches!(data_dir.try_exists(), Ok(false)))
    });
    Ok(found)
}

/// Locks the directory of mounts; `None` if it is gone, for a sweep removes an
/// empty one.
fn lock_mounts(mounts: &Path) -> Result<Option<File>> {
    let lock = match File::open(mounts) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("open", mounts)?,
    };
    lock::exclusive(&lock, mounts, &WAIT)?;
    let links = lock.metadata().context("inspect", mounts)?.nlink();
    Ok((links > 0).then_some(lock))
}

/// Where this data directory's images are mounted.
fn mounts_dir(store: &Store) -> Result<PathBuf> {
    let run = Path::new(RUN);
    let default = Path::new(DEFAULT_DATA_DIR);
    let data_dir = resolved_data_dir(store).context("resolve", &store.data_dir)?;
    if data_dir == default {
        return Ok(run.join("images"));
    }
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let hash = format!("{hash:x}");
    Ok(run.join(format!("images-{}", &hash[..16])))
}

fn resolved_data_dir(store: &Store) -> io::Result<PathBuf> {
    // The usual one costs no system call.
    if store.data_dir == Path::new(DEFAULT_DATA_DIR) {
        return Ok(store.data_dir.clone());
    }
    match store.data_dir.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(store.data_dir.clone()),
        other => other,
    }
}

/// Makes the directory of mounts, with a note of whose it is.
fn make_mounts(store: &Store, mounts: &Path) -> io::Result<()> {
    make_private(mounts)?;
    let owner = mounts.join(OWNER);
    match std::os::unix::fs::symlink(resolved_data_dir(store)?, owner) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Swept at this moment; the caller sees that too, and tries again.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A directory for root alone, and its parents: set-user-id programs in images
/// are none of the host's users' business.
fn make_private(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        let mut parents = DirBuilder::new();
        parents.recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The mount's root, if something is mounted there.
fn open_mounted(path: &Path) -> Result<Option<OwnedFd>> {
    let root = match open_dir(path) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.context("open", path)?,
    };
    let status = rustix::fs::statx(&root, c"", AtFlags::EMPTY_PATH, StatxFlags::empty());
    let attributes = status.context("inspect", path)?.stx_attributes;
    let mounted = attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(mounted.then_some(root))
}

/// Why there can be no mount.
struct Inability {
    /// One line for the user.
    reason: String,
    /// Not only for this caller.
    lasts: bool,
}

/// Spares the next start the attempt; without the note it is made again.
fn note(mounts: &Path, reason: &str) {
    // Read without a lock: so it is there whole, or not.
    let new = mounts.join(format!("{UNABLE}.new"));
    let _ = fs::write(&new, reason).and_then(|()| fs::rename(&new, mounts.join(UNABLE)));
}

/// A mount of the image that is attached nowhere yet, or why there can be none.
fn mountable(store: &Store, image: &ImageRecord) -> Result<Result<OwnedFd, Inability>> {
    let cut = |tar: &RecordedLayer| !tar.size.is_multiple_of(BLOCK);
    if let Some(tar) = image.rootfs.layers().find(|tar| cut(tar)) {
        // The kernel reads whole blocks only, and gives EIO for a part of one.
        return Ok(Err(Inability {
            reason: format!(
                "the layer {} ends in the middle of a block, where the kernel cannot read, so \
                 the image was unpacked; tools newer than umoci 0.4 write layers whole",
                tar.digest
            ),
            lasts: false,
        }));
    }
    let context = match fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(e) => return Ok(Err(unable(e, ""))),
    };
    // A string of fsconfig has 256 bytes at most, and a data directory's path
    // may be longer.
    let objects = store.dirs.objects();
    let objects_dir = open_dir(&objects).context("open", &objects)?;
    let short = format!("/proc/self/fd/{}", objects_dir.as_raw_fd());
    let object = |digest| Path::new(&short).join(object_below_objects(digest));

    let created = fsconfig_set_string(&context, c"source", object(&image.index.digest))
        .and_then(|()| {
            let mut devices = image.index.devices.iter();
            devices.try_for_each(|tar| fsconfig_set_string(&context, c"device", object(tar)))
        })
        .and_then(|()| fsconfig_create(&context))
        .and_then(|()| {
            fsmount(
                &context,
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::MOUNT_ATTR_RDONLY,
            )
        });
    let error = match created {
        Ok(mount) => return Ok(Ok(mount)),
        Err(error) => error,
    };
    for object in image.index.devices.iter().chain([&image.index.digest]) {
        if !store.has_object(object) {
            return Err(StoreError::MissingObject(object.clone()));
        }
    }
    let said = kernel_log(&context);
    let damaged = || StoreError::DamagedIndex {
        id: image.id.clone(),
        reason: format!("{error}{said}"),
    };
    match error {
        // The kernel says the same to an index that it is too old for and to
        // one that is damaged.
        Errno::INVAL | Errno::OPNOTSUPP
            if verify::actual(store, &image.index.digest)? != image.index.digest =>
        {
            Err(damaged())
        }
        Errno::NODEV
        | Errno::NOTBLK
        | Errno::INVAL
        | Errno::OPNOTSUPP
        | Errno::NOSYS
        | Errno::PERM
        | Errno::ACCESS => Ok(Err(unable(error, &said))),
        Errno::UCLEAN | Errno::BADMSG | Errno::IO => Err(damaged()),
        other => Err(other).context("mount the index of", store.dirs.image(&image.id)),
    }
}

/// What happened and what would help.
fn unable(error: Errno, said: &str) -> Inability {
    let remedy = match error {
        Errno::PERM | Errno::ACCESS => "root may",
        Errno::NODEV => "the kernel has no EROFS (CONFIG_EROFS_FS)",
        _ => "Linux 6.12 or later can mount EROFS from files (CONFIG_EROFS_FS_BACKED_BY_FILE)",
    };
    Inability {
        reason: format!(
            "cannot mount the image's index, so it was unpacked: {error}{said}; {remedy}"
        ),
        lasts: !matches!(error, Errno::PERM | Errno::ACCESS),
    }
}

/// What the file system wrote into its context's log, `: message` each.
fn kernel_log(context: &OwnedFd) -> String {
    const MOST_LINES: usize = 8;
    let mut said = String::new();
    let mut buffer = [0; 512];
    for _ in 0..MOST_LINES {
        let Ok(read) = rustix::io::read(context.as_fd(), &mut buffer) else {
            break;
        };
        let line = String::from_utf8_lossy(&buffer[..read]);
        // "e erofs: …": the first letter is the level.
        let line = line.get(2..).unwrap_or_default().trim_end();
        said.push_str(": ");
        said.push_str(line);
    }
    said
}

fn attach(mount: &OwnedFd, path: &Path) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, c"", CWD, path, flags)
}
