//! Paths inside a root that somebody else filled.
//!
//! Every name in an image may be a symbolic link to anywhere, and a process
//! in a volume may change it while we look. So a path is looked up by the
//! kernel with the root as its limit, once, and from then on there is a
//! descriptor and no path. Magic links of procfs are never followed: they
//! lead out of any root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For a directory.
    Directory,
    /// For anything else.
    File,
}

/// Opens what a path inside `root` leads to.
///
/// # Errors
/// Those of openat2(2); `ELOOP` for a magic link.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlags::IN_ROOT)
}

/// The same, and no component of the path may be a symbolic link.
///
/// # Errors
/// As [`open`]; `ELOOP` for any symbolic link.
pub fn open_plain(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_with(
        root,
        path,
        flags,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

fn open_with(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(
            &root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve | ResolveFlags::NO_MAGICLINKS,
        ) {
            // Something was renamed meanwhile, so the kernel could not say
            // whether a `..` stayed inside.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens a mount point (`O_PATH`), after making it and the directories above
/// it (mode 0755) where they are missing.
///
/// # Errors
/// Those of openat2(2), mkdirat(2) and mknodat(2); `EISDIR` or `ENOTDIR` when
/// it is there and of the wrong kind.
pub fn mount_point(root: impl AsFd, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let found = match open(&root, path, OFlags::PATH) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => create(root.as_fd(), path, kind)?,
        other => other?,
    };
    let directory = file_type(&found)? == FileType::Directory;
    match (kind, directory) {
        (Kind::Directory, false) => Err(Errno::NOTDIR.into()),
        (Kind::File, true) => Err(Errno::ISDIR.into()),
        _ => Ok(found),
    }
}

/// The type of what a descriptor stands for.
///
/// # Errors
/// Those of fstat(2).
pub fn file_type(fd: impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Walks the path step by step, as the kernel would inside this root, and
/// makes what is missing: also at the far end of a dangling link, as an
/// image's `/etc/resolv.conf` often is one.
///
/// Each step starts from a descriptor that was reached inside the root, and
/// `..` goes back to the one before, so no step can lead out.
fn create(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let top = open(root, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut here = top.try_clone()?;
    let mut names = components(path.as_os_str());
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                here = match above.pop() {
                    Some(parent) => parent,
                    None => top.try_clone()?,
                };
                continue;
            }
            _ => {}
        }
        let last = names.is_empty();
        let next = step(&here, &name, if last { kind } else { Kind::Directory })?;
        if file_type(&next)? == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                above.clear();
                here = top.try_clone()?;
            }
            let mut target = components(OsStr::from_bytes(&target));
            target.append(&mut names);
            names = target;
            continue;
        }
        above.push(std::mem::replace(&mut here, next));
    }
    Ok(here)
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    path.as_bytes()
        .split(|&byte| byte == b'/')
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect()
}

/// Opens one name in one directory, making it when it is not there. A link
/// is opened itself.
fn step(directory: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let look = || {
        rustix::fs::openat2(
            directory,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
    };
    match look() {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let made = match kind {
        Kind::Directory => rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let mode = Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(directory, name, FileType::RegularFile, mode, 0)
        }
    };
    match made {
        // Another app that shares this directory may have been faster.
        Ok(()) | Err(Errno::EXIST) => Ok(look()?),
        Err(e) => Err(e.into()),
    }
}

/// Opens the directory that a path's last name is in, made when missing, and
/// the name.
///
/// # Errors
/// As [`mount_point`]; `EINVAL` for a path without a last name.
pub fn parent(root: impl AsFd, path: &Path) -> io::Result<(OwnedFd, OsString)> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let above = path.parent().unwrap_or(Path::new("/"));
    Ok((mount_point(root, above, Kind::Directory)?, name))
}

/// Whether this name is in the directory as a node of this type and number.
///
/// # Errors
/// Those of fstatat(2), other than that it is not there.
pub fn is_node(
    directory: impl AsFd,
    name: &OsStr,
    kind: FileType,
    number: rustix::fs::Dev,
) -> io::Result<bool> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Tree {
        base: tempfile::TempDir,
        root: OwnedFd,
    }

    fn tree() -> Tree {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("root/etc")).unwrap();
        fs::create_dir(base.path().join("outside")).unwrap();
        let root = fs::File::open(base.path().join("root")).unwrap().into();
        Tree { base, root }
    }

    #[test]
    fn mount_points_stay_inside_whatever_the_links_say() {
        for (link, target, asked, made) in [
            // link in the root, where it points, what is mounted on, what appears
            (
                "etc/resolv.conf",
                "../run/resolve/stub",
                "/etc/resolv.conf",
                "root/run/resolve/stub",
            ),
            ("out", "/outside", "/out/file", "root/outside/file"),
            ("up", "../../../..", "/up/outside/file", "root/outside/file"),
            ("etc/loop", "../etc/deep/../x", "/etc/loop", "root/etc/x"),
        ] {
            let tree = tree();
            symlink(target, tree.base.path().join("root").join(link)).unwrap();
            mount_point(&tree.root, Path::new(asked), Kind::File).unwrap();
            assert!(tree.base.path().join(made).is_file(), "{asked}");
            assert_eq!(
                fs::read_dir(tree.base.path().join("outside"))
                    .unwrap()
                    .count(),
                0
            );
        }
    }

    #[test]
    fn a_mount_point_of_the_wrong_kind_is_refused() {
        let tree = tree();
        fs::write(tree.base.path().join("root/file"), "").unwrap();
        let kind = |path: &str, kind| {
            mount_point(&tree.root, Path::new(path), kind)
                .map(drop)
                .map_err(|e| e.raw_os_error())
        };
        assert_eq!(kind("/file", Kind::Directory), Err(Some(libc::ENOTDIR)));
        assert_eq!(kind("/etc", Kind::File), Err(Some(libc::EISDIR)));
        assert_eq!(kind("/file/below", Kind::File), Err(Some(libc::ENOTDIR)));
        assert_eq!(kind("/etc", Kind::Directory), Ok(()));
    }

    #[test]
    fn links_in_a_circle_end() {
        let tree = tree();
        symlink("b", tree.base.path().join("root/a")).unwrap();
        symlink("a", tree.base.path().join("root/b")).unwrap();
        let error = mount_point(&tree.root, Path::new("/a/x"), Kind::File).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_plain_path_has_no_links_and_no_path_has_magic_ones() {
        let tree = tree();
        symlink("etc", tree.base.path().join("root/link")).unwrap();
        let plain = open_plain(&tree.root, Path::new("/link"), OFlags::PATH);
        assert_eq!(plain.unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let proc: OwnedFd = fs::File::open("/proc").unwrap().into();
        let magic = open(&proc, Path::new("/self/root"), OFlags::PATH);
        assert_eq!(magic.unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
}
