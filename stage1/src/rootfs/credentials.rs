//! Secrets of a service manager, given to one app.
//!
//! Copies, because the originals belong to the unit's user and the app may be
//! another, and because apps of one pod may get different ones. They are in a
//! ramfs, which is never swapped, as the originals are.
//! Source: systemd.exec(5), "Credentials".

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::mount_attributes::MountAttributes;

use crate::error::{Error, Result};
use crate::mounting;

/// A detached read-only file system with copies of these files, which `owner`
/// (user and group) alone may read.
///
/// # Errors
/// [`Error::System`], naming the credential that is not there or no file.
pub(super) fn copy(directory: &Path, names: &[String], owner: (u32, u32)) -> Result<OwnedFd> {
    let failed = || Error::attempt("make the app's credentials from", directory.display());
    let attributes = MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
    let made =
        mounting::new_file_system(c"ramfs", &[], attributes).map_err(|e| failed().because(e))?;
    let from = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from =
        rustix::fs::openat(CWD, directory, from, Mode::empty()).map_err(|e| failed().because(e))?;
    let to = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = rustix::fs::openat(&made, c".", to, Mode::empty()).map_err(|e| failed().because(e))?;
    for name in names {
        copy_file(&from, &to, name, owner).map_err(Error::system("copy the credential", name))?;
    }
    give(&to, owner, 0o500).map_err(|e| failed().because(e))?;
    mounting::change(
        &made,
        MountAttributes::READ_ONLY,
        MountAttributes::empty(),
        false,
    )
    .map_err(|e| failed().because(e))?;
    Ok(made)
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &str, owner: (u32, u32)) -> io::Result<()> {
    if name.contains('/') {
        return Err(Errno::INVAL.into());
    }
    let reading = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut original = File::from(rustix::fs::openat(from, name, reading, Mode::empty())?);
    if !original.metadata()?.is_file() {
        return Err(Errno::INVAL.into());
    }
    let writing = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::openat(to, name, writing, Mode::RUSR)?);
    io::copy(&mut original, &mut copy)?;
    give(&copy.into(), owner, 0o400)
}

fn give(what: &OwnedFd, (uid, gid): (u32, u32), mode: u32) -> io::Result<()> {
    rustix::fs::fchown(what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(rustix::fs::fchmod(what, Mode::from_raw_mode(mode))?)
}
