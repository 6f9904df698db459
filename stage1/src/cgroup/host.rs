//! Which hierarchies the host has mounted, and which controllers are where.

use std::fs;
use std::path::{Path, PathBuf};

use super::{MOUNT, Version, v1, v2};
use crate::error::{Error, Result};

/// What the host has.
pub(super) struct Host {
    /// Its unified hierarchy and the controllers that are in it.
    pub(super) unified: Option<PathBuf>,
    pub(super) unified_controllers: String,
    pub(super) legacy: bool,
}

impl Host {
    pub(super) fn look() -> Result<Self> {
        const LEGACY_MAGIC: u32 = 0x0102_1994; // tmpfs, with the hierarchies in it
        let magic = |path: &Path| rustix::fs::statfs(path).map(|s| s.f_type as u32).ok();
        let mount = Path::new(MOUNT);
        let found = magic(mount);
        let hybrid = mount.join("unified");
        let unified = if found == Some(v2::MAGIC) {
            Some(mount.to_owned())
        } else if magic(&hybrid) == Some(v2::MAGIC) {
            Some(hybrid)
        } else {
            None
        };
        let unified_controllers = match &unified {
            Some(root) => fs::read_to_string(root.join("cgroup.controllers"))
                .map_err(Error::system("read the controllers of", root.display()))?,
            None => String::new(),
        };
        Ok(Self {
            unified,
            unified_controllers,
            legacy: found == Some(LEGACY_MAGIC),
        })
    }

    /// Where a controller is, by its name on v1.
    pub(super) fn find(&self, controller: &str) -> Option<(PathBuf, Version)> {
        if self.legacy {
            let root = Path::new(MOUNT).join(controller);
            if rustix::fs::statfs(&root).is_ok_and(|s| s.f_type as u32 == v1::MAGIC) {
                return Some((root, Version::V1));
            }
        }
        let named = v2::name(controller);
        let root = self.unified.as_ref()?;
        self.unified_controllers
            .split_whitespace()
            .any(|have| have == named)
            .then(|| (root.clone(), Version::V2))
    }
}
