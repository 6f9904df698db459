//! Where an app's process is in the cgroup hierarchies, all of them, and the
//! way there.
//!
//! What the kernel says of the process counts, not what the pod wrote down:
//! a pod may have no cgroups of its own in a hierarchy and still be limited
//! there, by whoever started it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::cgroup;
use crate::error::{Error, Result};

/// The way to where a process is; nowhere by default.
#[derive(Debug, Default)]
pub(super) struct Place {
    unified: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
}

/// A line of `/proc/PID/cgroup` (cgroups(7)): the controllers, none for v2,
/// and the path below the hierarchy's mount.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    controllers: &'a str,
    path: &'a str,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some(Line {
            controllers: fields.next()?,
            path: fields.next()?,
        })
    })
}

impl Place {
    /// Opens the way to where this process is; `foreign` for a program with
    /// users of its own, which may not be born in a cgroup of the host's.
    ///
    /// # Errors
    /// [`Error::System`] when a cgroup of its cannot be found or opened: it
    /// would be a limit that the program escapes.
    pub(super) fn of(pid: i32, foreign: bool) -> Result<Self> {
        let read =
            |path: String| fs::read_to_string(&path).map_err(|e| Error::system("read", path)(e));
        let (its, ours) = (
            read(format!("/proc/{pid}/cgroup"))?,
            read("/proc/self/cgroup".to_owned())?,
        );
        let ours: Vec<_> = lines(&ours).collect();
        let mut place = Self {
            unified: None,
            tasks: Vec::new(),
        };
        for line in lines(&its).filter(|line| !ours.contains(line)) {
            let failed = || Error::attempt("find the cgroup", line.path);
            let mount = mount_of(line.controllers)
                .ok_or_else(|| failed().because(io::ErrorKind::NotFound))?;
            let directory = mount.join(line.path.trim_start_matches('/'));
            if line.controllers.is_empty() && !foreign {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(CWD, &directory, flags, Mode::empty());
                place.unified = Some(opened.map_err(|e| failed().because(e))?);
            } else {
                let file = match line.controllers {
                    "" => "cgroup.procs",
                    _ => "tasks",
                };
                let tasks = OpenOptions::new().write(true).open(directory.join(file));
                place
                    .tasks
                    .push(tasks.map_err(|e| failed().because(e))?.into());
            }
        }
        Ok(place)
    }

    /// The v2 cgroup to be born in.
    pub(super) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which has one thread, into the others.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub(super) fn join(&self) -> Result<()> {
        self.tasks.iter().try_for_each(cgroup::enter)
    }
}

/// Where the hierarchy with these controllers is mounted.
fn mount_of(controllers: &str) -> Option<PathBuf> {
    let base = Path::new(cgroup::MOUNT);
    if controllers.is_empty() {
        let unified = base.join("unified");
        return Some(match cgroup::is_unified(&unified) {
            true => unified,
            false => base.to_owned(),
        });
    }
    let named = controllers.strip_prefix("name=").unwrap_or(controllers);
    std::iter::once(named)
        .chain(named.split(','))
        .map(|name| base.join(name))
        .find(|directory| directory.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "12:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/rkt/x\n";
        let got: Vec<_> = lines(text).map(|l| (l.controllers, l.path)).collect();
        assert_eq!(
            got,
            [
                ("cpu,cpuacct", "/a:b"),
                ("name=systemd", "/"),
                ("", "/rkt/x")
            ]
        );
    }

    #[test]
    fn where_we_are_there_is_no_way_to_go() {
        let place = Place::of(std::process::id() as i32, false).unwrap();
        assert!(place.unified.is_none() && place.tasks.is_empty());
    }
}
