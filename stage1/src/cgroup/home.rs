//! Below which cgroup a pod lives.
//!
//! A unit of systemd with `Delegate=yes` gives its cgroup to whoever it runs:
//! a pod of such a unit lives there, so the unit's limits hold for it and
//! systemd sees what it does. Everywhere else the pod lives in a tree of ours,
//! below [`PARENT`](super::PARENT). Source: systemd's "Control Group APIs and
//! Delegation", systemd.resource-control(5) `Delegate=`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Hierarchy, MOUNT, PARENT, Version};
use crate::error::{Error, Result};

/// Where the supervisor stands aside, as in systemd's own examples of
/// `DelegateSubgroup=`.
const ASIDE: &str = "supervisor";

/// Where the pod's cgroups go.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// The delegated cgroup's path in its hierarchy, without the first slash.
    unit: Option<PathBuf>,
    /// This process' cgroups: controllers of the hierarchy, path.
    own: Vec<(String, PathBuf)>,
}

impl Home {
    /// Looks at the cgroups of this process.
    ///
    /// # Errors
    /// [`Error::System`] when they cannot be read.
    pub(super) fn look(unified: Option<&Path>) -> Result<Self> {
        let file = "/proc/self/cgroup";
        let text = fs::read_to_string(file).map_err(Error::system("read", file))?;
        let own = parse(&text);
        let named = Path::new(MOUNT).join("systemd");
        let unit = own.iter().find_map(|(controllers, path)| {
            let root = match controllers.as_str() {
                "" => unified?,
                "name=systemd" => &named,
                _ => return None,
            };
            systemd::unit::delegated(root, path)
        });
        Ok(Self { unit, own })
    }

    /// Where the pods of a hierarchy are, and whether that is a unit's.
    pub(super) fn parent(
        &self,
        root: &Path,
        version: Version,
        controller: &str,
    ) -> (PathBuf, bool) {
        let own = self.own.iter().find(|(controllers, _)| match version {
            Version::V2 => controllers.is_empty(),
            Version::V1 => controllers.split(',').any(|c| c == controller),
        });
        match (&self.unit, own) {
            (Some(unit), Some((_, own))) if own.starts_with(unit) => (root.join(unit), true),
            _ => (root.join(PARENT), false),
        }
    }
}

fn parse(text: &str) -> Vec<(String, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers.to_owned(), path.strip_prefix('/')?.into()))
        })
        .collect()
}

/// Moves this process out of a unit's cgroup of v2 into one of its own below
/// it: a cgroup hands no controllers down while it holds processes itself. Says
/// whether the unit's cgroup is free of processes then; it is not when the
/// unit executes rkt from a script.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub(super) fn stand_aside(hierarchy: &Hierarchy) -> Result<bool> {
    let unit = &hierarchy.parent;
    let processes = unit.join("cgroup.procs");
    let failed = || Error::attempt("leave the unit's cgroup", unit.display());
    let here = || fs::read_to_string(&processes).map_err(|e| failed().because(e));
    let own = std::process::id().to_string();
    let (mine, others): (Vec<_>, Vec<_>) = {
        let text = here()?;
        let pids = text.lines().map(str::to_owned);
        pids.partition(|pid| *pid == own)
    };
    if !others.is_empty() {
        return Ok(false);
    }
    if !mine.is_empty() {
        let aside = unit.join(ASIDE);
        match fs::create_dir(&aside) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed().because(e));
            }
            _ => {}
        }
        fs::write(aside.join("cgroup.procs"), "0").map_err(|e| failed().because(e))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_goes_below_its_unit_in_every_hierarchy_that_the_unit_has() {
        let home = Home {
            unit: Some("system.slice/web.service".into()),
            own: parse(
                "5:memory:/system.slice/web.service\n4:cpu,cpuacct:/\n\
                 1:name=systemd:/system.slice/web.service/supervisor\n\
                 0::/system.slice/web.service/supervisor\n",
            ),
        };
        let root = Path::new("/sys/fs/cgroup/x");
        assert_eq!(
            home.parent(root, Version::V2, "memory"),
            (root.join("system.slice/web.service"), true)
        );
        assert_eq!(
            home.parent(root, Version::V1, "memory"),
            (root.join("system.slice/web.service"), true)
        );
        assert_eq!(
            home.parent(root, Version::V1, "cpu"),
            (root.join("rkt"), false)
        );
    }

    #[test]
    fn without_a_unit_the_tree_is_ours() {
        let root = Path::new("/sys/fs/cgroup");
        let (parent, unit) = Home::default().parent(root, Version::V2, "memory");
        assert_eq!((parent, unit), (root.join("rkt"), false));
    }
}
