//! Filling an implicit volume with what the image has at its place, as images
//! from the Docker world expect.
//!
//! Both sides are hostile: the image says what is copied, and a pod that shares
//! the volume may be writing to it. So every step is taken from an open
//! directory, no link is followed, and nothing leaves the image or the volume.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    fstat, linkat, mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// Copies the content, owner, mode and times of the directory `path` inside
/// the image `root` to the directory `to`. An image without such a directory
/// leaves `to` as it is.
///
/// # Errors
/// The first thing that could not be copied.
pub(super) fn seed(root: BorrowedFd<'_>, path: &str, to: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let to = openat(CWD, to, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let mut links = HashMap::new();
    let names = HardLinks {
        top: to.as_fd(),
        seen: &mut links,
    };
    copy_tree(&from, &to, names)?;
    Ok(())
}

/// Inodes with several names, by where the first one was copied to.
struct HardLinks<'a> {
    top: BorrowedFd<'a>,
    seen: &'a mut HashMap<(u64, u64), Vec<u8>>,
}

/// A directory under way: what is left of it, source, target, path from the top.
struct Level {
    entries: Dir,
    from: OwnedFd,
    to: OwnedFd,
    path: Vec<u8>,
}

fn copy_tree(from: &OwnedFd, to: &OwnedFd, links: HardLinks<'_>) -> io::Result<()> {
    let mut stack = vec![Level {
        entries: Dir::read_from(from)?,
        from: from.try_clone()?,
        to: to.try_clone()?,
        path: Vec::new(),
    }];
    while let Some(level) = stack.last_mut() {
        let Some(entry) = level.entries.next() else {
            let done = stack.pop().expect("the loop looks at the last element");
            // Last, because filling a directory changes its times.
            copy_attributes(&done.to, &fstat(&done.from)?)?;
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(&level.from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name.to_bytes());
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = links.seen.get(&key) {
                linkat(
                    links.top,
                    first.as_slice(),
                    &level.to,
                    name,
                    AtFlags::empty(),
                )?;
                continue;
            }
            links.seen.insert(key, path.clone());
        }
        match kind {
            FileType::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let from = openat(&level.from, name, flags, Mode::empty())?;
                mkdirat(&level.to, name, Mode::RWXU)?;
                let to = openat(&level.to, name, flags, Mode::empty())?;
                let entries = Dir::read_from(&from)?;
                stack.push(Level {
                    entries,
                    from,
                    to,
                    path,
                });
            }
            FileType::RegularFile => copy_file(level, name, &stat)?,
            FileType::Symlink => {
                let target = readlinkat(&level.from, name, Vec::new())?;
                symlinkat(target, &level.to, name)?;
                own(&level.to, name, &stat)?;
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(&level.to, name, kind, mode, stat.st_rdev)?;
                own(&level.to, name, &stat)?;
                rustix::fs::chmodat(&level.to, name, mode, AtFlags::empty())?;
            }
        }
    }
    Ok(())
}

fn copy_file(level: &Level, name: &CStr, stat: &Stat) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut from = std::fs::File::from(openat(&level.from, name, read, Mode::empty())?);
    let to = openat(&level.to, name, write, Mode::RUSR | Mode::WUSR)?;
    let mut to = std::fs::File::from(to);
    io::copy(&mut from, &mut to)?;
    copy_xattrs(&from, &to)?;
    copy_attributes(&to, stat)
}

fn own(dir: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = owner(stat);
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags)?;
    utimensat(dir, name, &times(stat), flags)?;
    Ok(())
}

fn copy_attributes(to: impl AsFd, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    // After chown, which takes set-user-ID bits away.
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(&to, &times(stat))?;
    Ok(())
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Capabilities and the users' own; what belongs to the host's security
/// modules stays with the image.
fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let mut value = vec![0u8; 64 << 10];
    for name in names[..length].split_inclusive(|b| *b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let wanted = name == c"security.capability" || name.to_bytes().starts_with(b"user.");
        if wanted {
            let length = rustix::fs::fgetxattr(&from, name, &mut value[..])?;
            rustix::fs::fsetxattr(&to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_arrives_as_it_was() {
        let tmp = tempfile::tempdir().unwrap();
        let image = tmp.path().join("image");
        let data = image.join("var/data");
        std::fs::create_dir_all(data.join("deep/er")).unwrap();
        std::fs::write(data.join("a"), "hello").unwrap();
        std::fs::hard_link(data.join("a"), data.join("deep/b")).unwrap();
        symlink("/etc/passwd", data.join("link")).unwrap();
        let mode = |p: &Path, m| {
            std::fs::set_permissions(p, std::fs::Permissions::from_mode(m)).unwrap();
        };
        mode(&data.join("a"), 0o4755);
        mode(&data, 0o1770);
        // The mount point may be reached through links of the image.
        symlink("var", image.join("v")).unwrap();
        let root = openat(CWD, &image, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let volume = tmp.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        seed(root.as_fd(), "/v/data", &volume).unwrap();
        let stat = |p: &str| std::fs::symlink_metadata(volume.join(p)).unwrap();
        assert_eq!(std::fs::read(volume.join("deep/b")).unwrap(), b"hello");
        assert_eq!(stat("a").ino(), stat("deep/b").ino());
        assert_eq!(stat("a").mode() & 0o7777, 0o4755);
        assert_eq!(stat("").mode() & 0o7777, 0o1770);
        assert!(stat("deep/er").is_dir());
        let target = std::fs::read_link(volume.join("link")).unwrap();
        assert_eq!(target, Path::new("/etc/passwd"));
    }

    #[test]
    fn a_place_that_leads_out_of_the_image_is_empty() {
        let tmp = tempfile::tempdir().unwrap();
        let image = tmp.path().join("image");
        std::fs::create_dir_all(tmp.path().join("outside")).unwrap();
        std::fs::write(tmp.path().join("outside/secret"), "x").unwrap();
        std::fs::create_dir(&image).unwrap();
        symlink("../outside", image.join("data")).unwrap();
        let root = openat(CWD, &image, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let volume = tmp.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        seed(root.as_fd(), "/data", &volume).unwrap();
        assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0);
    }
}
