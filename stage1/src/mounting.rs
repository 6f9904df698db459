//! The kernel's mount calls, in the few combinations that the engine needs.
//!
//! A mount is a descriptor first and gets its place last, so there is no
//! moment at which it can be seen half made, and its place is a descriptor
//! too (see [`crate::resolve`]).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use sys::mount_attributes::{Change, MountAttributes, Propagation, set_mount_attributes};

use crate::plan::Parameter;

/// Makes a file system and a detached mount of it.
///
/// # Errors
/// What the kernel says, with the line it wrote about it if there is one.
pub fn new_file_system(
    fs_type: &CStr,
    parameters: &[Parameter],
    attributes: MountAttributes,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let made = configure(&context, parameters).and_then(|()| {
        rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(attributes.bits() as u32),
        )
    });
    made.map_err(|e| explain(&context, e))
}

fn configure(context: &OwnedFd, parameters: &[Parameter]) -> rustix::io::Result<()> {
    for Parameter { key, value } in parameters {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(context, key)?,
        }
    }
    rustix::mount::fsconfig_create(context)
}

/// The context keeps what the kernel has to say beyond the number.
fn explain(context: &OwnedFd, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let mut line = [0; 256];
    match rustix::io::read(context, &mut line) {
        Ok(length) if length > 2 => {
            // "e " for an error, "w " for a warning.
            let said = String::from_utf8_lossy(&line[2..length]);
            io::Error::new(error.kind(), format!("{error}: {}", said.trim()))
        }
        _ => error,
    }
}

/// A detached copy of the mount at a path of the host, from there down.
///
/// # Errors
/// Those of open_tree(2).
pub fn copy_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(rustix::mount::open_tree(CWD, path, copying(recursive))?)
}

/// The same of what a descriptor stands for.
///
/// # Errors
/// Those of open_tree(2).
pub fn copy(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = copying(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(fd, c"", flags)?)
}

fn copying(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match recursive {
        true => flags | OpenTreeFlags::AT_RECURSIVE,
        false => flags,
    }
}

/// Puts a detached mount in its place.
///
/// # Errors
/// Those of move_mount(2).
pub fn attach(mount: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", place, c"", flags)?)
}

/// Sets and clears attributes of a mount, and of those below it if
/// `recursive`. Does nothing when there is nothing to change.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn change(
    mount: impl AsFd,
    set: MountAttributes,
    clear: MountAttributes,
    recursive: bool,
) -> io::Result<()> {
    if set.is_empty() && clear.is_empty() {
        return Ok(());
    }
    let change = Change {
        set,
        clear,
        propagation: None,
        recursive,
    };
    set_mount_attributes(mount.as_fd(), c"", change)
}

/// Puts a detached mount where a path leads from a directory, a moment later:
/// to somewhere else, perhaps, than where it led before. Only for
/// [`Protection::MountTargets`](crate::protection::Protection::MountTargets).
///
/// # Errors
/// Those of fchdir(2) and move_mount(2).
pub fn attach_by_path(root: impl AsFd, mount: impl AsFd, target: &Path) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    std::thread::sleep(std::time::Duration::from_millis(1));
    let target = target.strip_prefix("/").unwrap_or(target);
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(rustix::mount::move_mount(mount, c"", CWD, target, flags)?)
}

/// Says how mounts travel to and from a mount.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn propagate(mount: impl AsFd, propagation: Propagation, recursive: bool) -> io::Result<()> {
    let change = Change {
        propagation: Some(propagation),
        recursive,
        ..Change::default()
    };
    set_mount_attributes(mount.as_fd(), c"", change)
}

/// Attaches a detached mount over the root of this mount namespace, where
/// [`pivot`] wants it.
///
/// # Errors
/// Those of move_mount(2).
pub fn attach_over_root(root: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(root, c"", CWD, c"/", flags)?)
}

/// Makes a mount that is attached over the root the root, and lets go of
/// everything that was there before.
///
/// # Errors
/// Those of pivot_root(2): `EINVAL` where the host runs from its initramfs.
pub fn pivot(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // With both the same, the old root ends up on top of the new one, and
    // needs no directory in it (pivot_root(2), NOTES).
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/")?)
}
