//! Deleting a directory tree that others could fill with surprises.
//!
//! `std::fs::remove_dir_all` follows no symbolic link either, but it walks
//! into whatever is mounted below. A pod directory should have no mount left
//! in it; if it has one after all, its content is somebody's data.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat};
use rustix::io::Errno;

use super::PodError;

/// Removes the directory at `path` and all below it on the same mount.
/// A directory that is gone already is fine.
pub(super) fn tree(path: &Path) -> Result<(), PodError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(PodError::io("open", path)(e)),
    };
    contents(&dir).map_err(PodError::io("remove all of", path))?;
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(PodError::io("remove", path)(e)),
    }
}

/// Flattens while it deletes: a directory found two levels down is renamed up
/// to the root. So two descriptors do, however deep an app nested its own.
fn contents(root: &OwnedFd) -> Result<(), Errno> {
    let mut moved: u64 = 0;
    loop {
        let mut empty = true;
        for (name, kind) in names(root)? {
            empty = false;
            if removed(root, &name, kind)? {
                continue;
            }
            let dir = open_below(root.as_fd(), &name)?;
            for (below, kind) in names(&dir)? {
                if removed(&dir, &below, kind)? {
                    continue;
                }
                // Names cannot collide: rename onto a directory that is not
                // empty fails, and then the next number is tried.
                loop {
                    moved += 1;
                    match renameat(&dir, &below, root, format!(".{moved}")) {
                        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                        other => break gone(other)?,
                    }
                }
            }
            gone(unlinkat(root, &name, AtFlags::REMOVEDIR))?;
        }
        if empty {
            return Ok(());
        }
    }
}

/// Read to the end before anything is renamed, so that the listing is of one
/// moment.
fn names(dir: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Removes a file or an empty directory; `false` for a directory with content.
/// `kind` is what the listing said, and may be unknown.
fn removed(dir: &OwnedFd, name: &CStr, kind: FileType) -> Result<bool, Errno> {
    if kind != FileType::Directory {
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            // POSIX lets unlink say EPERM for a directory; Linux says EISDIR.
            Err(Errno::ISDIR) => {}
            Err(e) => return Err(e),
        }
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(e) => Err(e),
    }
}

fn open_below(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat2(
        dir,
        name,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
    )
}

fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_tree_is_removed_and_not_followed() {
        let tmp = tempfile::tempdir().unwrap();
        let precious = tmp.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(precious.join("data"), "x").unwrap();
        let victim = tmp.path().join("victim");
        std::fs::create_dir_all(victim.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&precious, victim.join("a/b/link")).unwrap();
        std::fs::write(victim.join("a/file"), "x").unwrap();
        tree(&victim).unwrap();
        assert!(!victim.exists());
        assert!(precious.join("data").exists());
        tree(&victim).unwrap();
    }

    #[test]
    fn depth_is_not_limited_by_descriptors() {
        let tmp = tempfile::tempdir().unwrap();
        let victim = tmp.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        let mut dir = rustix::fs::open(&victim, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(100);
        for _ in 0..3000 {
            rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o755)).unwrap();
            dir = rustix::fs::openat(&dir, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(dir);
        tree(&victim).unwrap();
        assert!(!victim.exists());
    }

    #[test]
    fn what_is_mounted_below_survives() {
        // Root only, and in a mount namespace this thread has for itself.
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let tmp = tempfile::tempdir().unwrap();
        let host = tmp.path().join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join("data"), "x").unwrap();
        let victim = tmp.path().join("victim");
        let point = victim.join("volume");
        std::fs::create_dir_all(&point).unwrap();
        rustix::mount::mount_bind(&host, &point).unwrap();
        let error = tree(&victim);
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(error.is_err());
        assert!(host.join("data").exists());
    }
}
