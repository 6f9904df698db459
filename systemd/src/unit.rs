//! The unit in which this process runs, by its cgroup.
//!
//! Source: systemd's "Control Group APIs and Delegation".

use std::fs;
use std::path::{Path, PathBuf};

/// Directory that is there when systemd is PID 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Attributes by which systemd marks a cgroup as given away: for root, and
/// since version 251 for everybody.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Ends of the names of units that have cgroups.
const KINDS: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];

/// Where a process stands among the units of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// systemd is not PID 1 here.
    None,
    /// In a unit that has its cgroup to itself (`Delegate=yes`).
    Delegated,
    /// In a service that has not.
    Service,
    /// Elsewhere, as what a shell starts.
    Elsewhere,
}

impl Standing {
    /// That of this process.
    pub fn look() -> Self {
        if !Path::new(BOOTED).is_dir() {
            return Self::None;
        }
        let Ok(text) = fs::read_to_string("/proc/self/cgroup") else {
            return Self::None;
        };
        let mounts = Path::new("/sys/fs/cgroup");
        let hierarchies = [
            ("0::", mounts.to_owned()),
            ("0::", mounts.join("unified")),
            (":name=systemd:", mounts.join("systemd")),
        ];
        let mut own = None;
        for (prefix, root) in hierarchies {
            let path = text.lines().find_map(|line| {
                line[line.find(prefix)?..]
                    .strip_prefix(prefix)?
                    .strip_prefix('/')
            });
            let Some(path) = path.map(Path::new) else {
                continue;
            };
            if delegated(&root, path).is_some() {
                return Self::Delegated;
            }
            if !path.as_os_str().is_empty() {
                own = Some(path);
            }
        }
        let nearest = own.and_then(|path| path.ancestors().find(|p| is_unit(p)));
        match nearest.and_then(Path::extension) {
            Some(kind) if kind == "service" => Self::Service,
            _ => Self::Elsewhere,
        }
    }
}

/// The cgroup of the unit that `path` lies in, if it has been given away.
/// `path` is one of the hierarchy at `root`, without the first slash. What lies
/// above the nearest unit is somebody else's: a user's manager, say.
pub fn delegated(root: &Path, path: &Path) -> Option<PathBuf> {
    for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        let marked = MARKS.iter().any(|mark| {
            let mut value = [0; 1];
            matches!(
                rustix::fs::getxattr(root.join(path), *mark, &mut value),
                Ok(1) if value == *b"1"
            )
        });
        if marked {
            return Some(path.to_owned());
        }
        if is_unit(path) {
            return None;
        }
    }
    None
}

fn is_unit(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| KINDS.iter().any(|kind| end == *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(path: &Path) -> bool {
        rustix::fs::setxattr(path, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).is_ok()
    }

    #[test]
    fn what_was_given_away_is_the_nearest_units_or_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let unit = Path::new("user.slice/user@7.service");
        let (pod, shell) = (unit.join("uuid/app"), unit.join("app.slice/vte-1.scope/x"));
        fs::create_dir_all(dir.path().join(&pod)).unwrap();
        fs::create_dir_all(dir.path().join(&shell)).unwrap();
        assert_eq!(delegated(dir.path(), &pod), None);
        if !mark(&dir.path().join(unit)) {
            eprintln!("skipped: no extended attributes on this file system");
            return;
        }
        assert_eq!(delegated(dir.path(), &pod), Some(unit.to_owned()));
        assert_eq!(delegated(dir.path(), unit), Some(unit.to_owned()));
        assert_eq!(delegated(dir.path(), &shell), None);
        assert_eq!(delegated(Path::new("/proc"), Path::new("self/fd")), None);
    }
}
