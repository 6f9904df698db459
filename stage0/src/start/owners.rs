//! Whose files are whose in a pod with users of its own.

use std::path::Path;

use manifests::engine::Users;

use crate::prepare::PrepareError;
use crate::ranges::Probe;
use crate::resolved::ResolvedApp;

/// The owners of files in a pod with users of its own.
#[derive(Debug)]
pub(super) struct Owners {
    users: Users,
    probe: Probe,
}

impl Owners {
    pub(super) fn new(users: Users) -> Result<Self, PrepareError> {
        let probe = Probe::new(users)?;
        Ok(Self { users, probe })
    }

    /// The app's process must be somebody in the pod.
    pub(super) fn check(&self, app: &ResolvedApp) -> Result<(), PrepareError> {
        let count = self.users.count;
        let reason = |id: u32| format!("{id} is outside the pod's {count} ids (--private-users)");
        let identity = &app.identity;
        if identity.uid >= count {
            return Err(PrepareError::User {
                app: app.name.clone(),
                user: app.app.user.clone(),
                reason: reason(identity.uid),
            });
        }
        let groups = std::iter::once(&identity.gid).chain(&identity.groups);
        match groups.copied().find(|gid| *gid >= count) {
            Some(gid) => Err(PrepareError::Group {
                app: app.name.clone(),
                group: gid.to_string(),
                reason: reason(gid),
            }),
            None => Ok(()),
        }
    }

    /// Says which mounts show their files as the pod's users': what is in the
    /// pod's directory, and every volume that can. An app that writes to a
    /// volume as user 7 makes files of the host's user 7, with and without
    /// users of its own: the files outlive the ids of the pod.
    pub(super) fn map(&self, app: &mut ResolvedApp, pod: &Path, tell: &mut dyn FnMut(&str)) {
        for mount in &mut app.mounts {
            if mount.source.starts_with(pod) {
                mount.mapped = !self.users.on_disk;
                continue;
            }
            // Files of the kernel and of /etc are for everybody to read.
            let volume = !mount.source.starts_with("/proc") && !mount.source.starts_with("/etc");
            mount.mapped = self.probe.can_map(&mount.source, mount.recursive);
            if volume && !mount.mapped {
                tell(&format!(
                    "warning: app {:?}: the file system of {:?} cannot map owners: on {:?} all files \
                     are nobody's",
                    app.name,
                    mount.source.display(),
                    mount.target.display()
                ));
            }
        }
    }
}
