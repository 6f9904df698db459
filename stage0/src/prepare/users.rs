//! Who a name is inside an image.
//!
//! The image is hostile: its `etc/passwd` may be a link to the host's, a fifo,
//! or a gigabyte long. So it is opened below the image's root, nothing outside
//! can be reached, and no more is read than such a file has any reason to hold.
//!
//! Source: appc specification, "Executor": a path's owner, else a name in the
//! image's own tables, else a number.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use super::error::PrepareError;
use crate::resolved::Identity;

/// Bytes of a file of the image that are read at most.
pub(crate) const LONGEST: u64 = 1 << 20;

/// What an app says about whom it runs as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The app, for messages.
    pub(crate) app: &'a str,
    /// Name, number or absolute path.
    pub(crate) user: &'a str,
    /// Name, number or absolute path.
    pub(crate) group: &'a str,
    /// Taken as they are.
    pub(crate) supplementary: &'a [u32],
    /// The image came from the Docker world, where a user without a group has
    /// the user's own.
    pub(crate) docker: bool,
}

/// Answers in numbers.
///
/// # Errors
/// Which of user and group is unknown, and where it was looked for.
pub(crate) fn resolve(root: BorrowedFd<'_>, wanted: Wanted<'_>) -> Result<Identity, PrepareError> {
    let uid = lookup(root, wanted.user, Table::Passwd).map_err(|reason| PrepareError::User {
        app: wanted.app.to_owned(),
        user: wanted.user.to_owned(),
        reason,
    })?;
    let gid = match lookup(root, wanted.group, Table::Group) {
        Ok(gid) => gid,
        Err(_) if wanted.docker && wanted.user == wanted.group => uid,
        Err(reason) => {
            return Err(PrepareError::Group {
                app: wanted.app.to_owned(),
                group: wanted.group.to_owned(),
                reason,
            });
        }
    };
    Ok(Identity {
        uid,
        gid,
        groups: wanted.supplementary.to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Table {
    Passwd,
    Group,
}

impl Table {
    fn path(self) -> &'static str {
        match self {
            Self::Passwd => "/etc/passwd",
            Self::Group => "/etc/group",
        }
    }
}

fn lookup(root: BorrowedFd<'_>, name: &str, table: Table) -> Result<u32, String> {
    if name.starts_with('/') {
        return owner(root, name, table)
            .map_err(|e| format!("cannot look at {name:?} in the image: {e}"));
    }
    // Nearly every app runs as number 0; it needs no file.
    if name == "0" {
        return Ok(0);
    }
    let text = read(root, table.path());
    if let Ok(text) = &text
        && let Some(id) = find(text, name)
    {
        return Ok(id);
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return name
            .parse()
            .map_err(|_| "the number is too large".to_owned());
    }
    if name == "root" {
        return Ok(0);
    }
    Err(match text {
        Ok(_) => format!("no such name in the image's {}", table.path()),
        Err(e) => format!("cannot read the image's {}: {e}", table.path()),
    })
}

/// Third field of the first line whose first field is `name`, in passwd(5) and
/// group(5) alike.
fn find(table: &[u8], name: &str) -> Option<u32> {
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let first = fields.next()?;
            let id = fields.nth(1)?;
            (first == name.as_bytes()).then_some(id)
        })
        .find_map(|id| std::str::from_utf8(id).ok()?.parse().ok())
}

/// The link itself is meant, not what it leads to.
fn owner(root: BorrowedFd<'_>, path: &str, table: Table) -> Result<u32, Errno> {
    let file = open(root, path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = fstat(&file)?;
    Ok(match table {
        Table::Passwd => stat.st_uid,
        Table::Group => stat.st_gid,
    })
}

/// The beginning of a regular file of the image.
pub(crate) fn read(root: BorrowedFd<'_>, path: &str) -> io::Result<Vec<u8>> {
    let file = open(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(LONGEST)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    fn image() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, root)
    }

    fn who(root: &OwnedFd, user: &str, group: &str, docker: bool) -> Result<(u32, u32), String> {
        let wanted = Wanted {
            app: "app",
            user,
            group,
            supplementary: &[],
            docker,
        };
        resolve(root.as_fd(), wanted)
            .map(|i| (i.uid, i.gid))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_order_is_path_then_name_then_number() {
        let (dir, root) = image();
        let at = |path: &str| dir.path().join(path);
        std::fs::write(at("etc/passwd"), "broken\nweb:x:33:0::/:\n7:x:70:0::/:\n").unwrap();
        std::fs::write(at("etc/group"), "www:x:34:\n").unwrap();
        std::fs::write(at("owned"), "").unwrap();
        let root_user = rustix::process::geteuid().is_root();
        if root_user {
            std::os::unix::fs::chown(at("owned"), Some(55), Some(56)).unwrap();
            assert_eq!(who(&root, "/owned", "/owned", false), Ok((55, 56)));
        }
        assert_eq!(who(&root, "web", "www", false), Ok((33, 34)));
        // A numeric-looking name is a name first.
        assert_eq!(who(&root, "7", "7", false), Ok((70, 7)));
        assert_eq!(who(&root, "4242", "0", false), Ok((4242, 0)));
        let error = who(&root, "nosuch", "0", false).unwrap_err();
        assert_eq!(
            error,
            "failed to configure user \"nosuch\": app \"app\": no such name in the image's /etc/passwd"
        );
        assert!(who(&root, "web", "web", false).is_err());
        assert_eq!(who(&root, "web", "web", true), Ok((33, 33)));
        assert!(who(&root, "web", "nosuch", true).is_err());
        assert!(who(&root, "99999999999", "0", false).is_err());
    }

    #[test]
    fn root_needs_no_table() {
        let (_dir, root) = image();
        assert_eq!(who(&root, "root", "root", false), Ok((0, 0)));
        assert!(
            who(&root, "web", "0", false)
                .unwrap_err()
                .contains("cannot read")
        );
    }

    #[test]
    fn nothing_outside_the_image_is_read() {
        let (dir, root) = image();
        let secret = dir.path().parent().unwrap().join("rkt-test-secret");
        std::fs::write(&secret, "web:x:1:\n").unwrap();
        symlink(&secret, dir.path().join("etc/passwd")).unwrap();
        assert!(who(&root, "web", "0", false).is_err());
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        let up = format!("../../../{}", secret.file_name().unwrap().display());
        symlink(up, dir.path().join("etc/passwd")).unwrap();
        assert!(who(&root, "web", "0", false).is_err());
        std::fs::remove_file(secret).unwrap();
        // An absolute link stays inside.
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::fs::write(dir.path().join("real"), "web:x:9:\n").unwrap();
        symlink("/real", dir.path().join("etc/passwd")).unwrap();
        assert_eq!(who(&root, "web", "0", false), Ok((9, 0)));
    }

    #[test]
    fn a_fifo_for_a_table_does_not_hang() {
        let (dir, root) = image();
        let path = dir.path().join("etc/passwd");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        assert!(
            who(&root, "web", "0", false)
                .unwrap_err()
                .contains("regular")
        );
    }
}
