//! Giving a tree to other owners, where no mount can show them.
//!
//! The tree is an image's, so hostile: every step is taken from an open
//! directory and follows no link. A change of owner takes set-user-ID bits and
//! file capabilities away, so those are given back.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use manifests::engine::Users;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

/// Why a tree was not shifted.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    /// A file's owner has no counterpart.
    #[error("{path:?} belongs to {uid}:{gid}: uid {uid} or gid {gid} are out of range {count}")]
    OutOfRange {
        /// The file, from the top of the tree.
        path: PathBuf,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// How many ids there are.
        count: u32,
    },
    /// The kernel refused.
    #[error("cannot give {path:?} to its owner in the pod")]
    Io {
        /// The file, from the top of the tree.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Gives a directory, and everything below it, to the host's ids that are the
/// files' present ones in the pod. Returns how many files that were.
///
/// # Errors
/// [`ShiftError`], naming the first file that has it.
pub(super) fn shift(tree: &Path, users: Users) -> Result<u64, ShiftError> {
    let top = rustix::fs::openat(
        CWD,
        tree,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let root = PathBuf::from("/");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: Errno| ShiftError::Io {
            path,
            source: e.into(),
        }
    };
    let top = top.map_err(failed(&root))?;
    let mut shift = Shift {
        users,
        links: Default::default(),
    };
    let stat = rustix::fs::fstat(&top).map_err(failed(&root))?;
    let mut count = 1;
    shift.own(&top, c"", &stat, &root)?;
    let mut pending = vec![(top, root)];
    while let Some((directory, path)) = pending.pop() {
        for entry in Dir::read_from(&directory).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            use std::os::unix::ffi::OsStrExt;
            let below = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed(&below))?;
            count += u64::from(shift.own(&directory, name, &stat, &below)?);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(&directory, name, flags, Mode::empty())
                    .map_err(failed(&below))?;
                pending.push((opened, below));
            }
        }
    }
    Ok(count)
}

struct Shift {
    users: Users,
    /// Files with several names, which have been given away by one of them.
    links: std::collections::HashSet<u64>,
}

impl Shift {
    /// Gives one file away; `false` if it was before.
    fn own(
        &mut self,
        directory: &OwnedFd,
        name: &std::ffi::CStr,
        stat: &Stat,
        path: &Path,
    ) -> Result<bool, ShiftError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 && !self.links.insert(stat.st_ino) {
            return Ok(false);
        }
        let (uid, gid, count) = (stat.st_uid, stat.st_gid, self.users.count);
        if uid >= count || gid >= count {
            return Err(ShiftError::OutOfRange {
                path: path.to_owned(),
                uid,
                gid,
                count,
            });
        }
        let owner = (
            Uid::from_raw(self.users.outside(uid)),
            Gid::from_raw(self.users.outside(gid)),
        );
        give(directory, name, owner, self.users.first, kind, stat.st_mode).map_err(|e| {
            ShiftError::Io {
                path: path.to_owned(),
                source: e.into(),
            }
        })?;
        Ok(true)
    }
}

fn give(
    directory: &OwnedFd,
    name: &std::ffi::CStr,
    (uid, gid): (Uid, Gid),
    root: u32,
    kind: FileType,
    mode: u32,
) -> Result<(), Errno> {
    const CAPABILITY: &std::ffi::CStr = c"security.capability";
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    if kind != FileType::RegularFile {
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
        if mode & 0o7000 != 0 && kind == FileType::Directory && !name.is_empty() {
            rustix::fs::chmodat(
                directory,
                name,
                Mode::from_raw_mode(mode & 0o7777),
                AtFlags::empty(),
            )?;
        }
        return Ok(());
    }
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, open, Mode::empty())?;
    let mut capability = [0; 64];
    let length = match rustix::fs::fgetxattr(&file, CAPABILITY, &mut capability) {
        Ok(length) => length,
        Err(Errno::NODATA | Errno::NOTSUP) => 0,
        Err(e) => return Err(e),
    };
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    if mode & 0o6000 != 0 {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if length > 0 {
        let value = of_root(&capability[..length], root);
        rustix::fs::fsetxattr(&file, CAPABILITY, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// File capabilities that count where this id is root: what the host's root
/// has set says nothing elsewhere (capabilities(7), "Namespaced file
/// capabilities"; `struct vfs_ns_cap_data`).
fn of_root(value: &[u8], root: u32) -> Vec<u8> {
    const REVISION_2: u8 = 2;
    const REVISION_3: u8 = 3;
    const LENGTH_2: usize = 20;
    let mut value = value.to_vec();
    if value.len() == LENGTH_2 && value[3] == REVISION_2 {
        value[3] = REVISION_3;
        value.extend(root.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn every_file_gets_its_counterpart_once() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving files away needs root");
            return;
        }
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/a"), "x").unwrap();
        std::os::unix::fs::chown(at("d/a"), Some(7), Some(8)).unwrap();
        std::fs::set_permissions(at("d/a"), PermissionsExt::from_mode(0o4755)).unwrap();
        std::fs::hard_link(at("d/a"), at("b")).unwrap();
        symlink("/etc/passwd", at("l")).unwrap();
        let users = Users {
            first: 1 << 20,
            count: 1 << 16,
            on_disk: true,
        };
        assert_eq!(shift(tmp.path(), users).unwrap(), 4);
        let stat = |name: &str| std::fs::symlink_metadata(at(name)).unwrap();
        assert_eq!(
            (stat("b").uid(), stat("b").gid()),
            ((1 << 20) + 7, (1 << 20) + 8)
        );
        assert_eq!(stat("b").mode() & 0o7777, 0o4755);
        assert_eq!(stat("l").uid(), 1 << 20);
        assert_eq!(stat("d").uid(), 1 << 20);
        // Whose owner is known to nobody.
        let error = shift(tmp.path(), users).unwrap_err().to_string();
        assert!(error.contains("out of range 65536"), "{error}");
    }
}
