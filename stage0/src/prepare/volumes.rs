//! Which volume goes where.
//!
//! Source: appc specification, "Pod Manifest Schema", for the matching; rkt's
//! pod reference, "Volumes and mounts", for what happens to a mount point that
//! nobody fills.

use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use manifests::appc::{AcName, App, PodManifest, RuntimeApp, Volume, VolumeSource};

use super::error::PrepareError;
use super::manifest::clean;
use crate::resolved::{DeviceNumber, ResolvedMount};

/// Directory of the pod with its empty volumes.
pub(crate) const DIRECTORY: &str = "volumes";

/// A volume at a place, before anybody looked at the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Where in the app, cleaned.
    pub(crate) target: String,
    /// Name of the volume; the directory of an empty one.
    pub(crate) name: AcName,
    /// What it is made of.
    pub(crate) source: VolumeSource,
    /// The app only reads.
    pub(crate) read_only: bool,
    /// Nobody declared the volume; the mount point that wanted one.
    pub(crate) implicit: Option<AcName>,
}

/// What goes where in one app: its mounts, then its mount points that are not
/// covered by one.
///
/// # Errors
/// A mount whose volume does not exist, or an implicit volume's name that is
/// taken.
pub(crate) fn place(
    manifest: &PodManifest,
    runtime: &RuntimeApp,
    app: &App,
) -> Result<Vec<Placement>, PrepareError> {
    let find = |name: &AcName| manifest.volumes.iter().find(|v| v.name == *name);
    let mut places: Vec<Placement> = Vec::new();
    for mount in &runtime.mounts {
        let volume = mount
            .app_volume
            .as_ref()
            .or_else(|| find(&mount.volume))
            .ok_or_else(|| PrepareError::Dangling {
                path: mount.path.clone(),
                volume: mount.volume.clone(),
            })?;
        let point = app.mount_points.iter().find(|p| p.name == mount.volume);
        let read_only = point.is_some_and(|p| p.read_only);
        places.push(placement(clean(&mount.path), volume, read_only));
    }
    for point in &app.mount_points {
        let target = clean(&point.path);
        if places.iter().any(|p| p.target == target) {
            continue;
        }
        places.push(match find(&point.name) {
            Some(volume) => placement(target, volume, point.read_only),
            None => Placement {
                target,
                name: implicit_name(&runtime.name, &point.name)?,
                source: VolumeSource::empty(),
                read_only: point.read_only,
                implicit: Some(point.name.clone()),
            },
        });
    }
    // A mount over the parent of another would hide it.
    places.sort_by(|a, b| {
        a.target
            .split('/')
            .count()
            .cmp(&b.target.split('/').count())
    });
    Ok(places)
}

fn implicit_name(app: &AcName, point: &AcName) -> Result<AcName, PrepareError> {
    format!("{app}-{point}")
        .parse()
        .map_err(PrepareError::NoName)
}

fn placement(target: String, volume: &Volume, point_read_only: bool) -> Placement {
    Placement {
        target,
        name: volume.name.clone(),
        source: volume.source.clone(),
        read_only: volume.read_only.unwrap_or(point_read_only),
        implicit: None,
    }
}

impl Placement {
    /// The mount, as the engine needs it. The directory of an empty volume is
    /// below `pod` and is [made](make_empty) by whoever fills the pod.
    ///
    /// # Errors
    /// If the host has no such source.
    pub(crate) fn resolve(&self, pod: &Path) -> Result<ResolvedMount, PrepareError> {
        let (source, recursive, device) = match &self.source {
            VolumeSource::Host { source, recursive } => {
                let path = PathBuf::from(source);
                let metadata = std::fs::metadata(&path).map_err(|source| PrepareError::Source {
                    name: self.name.clone(),
                    path: path.clone(),
                    source,
                })?;
                (path, recursive.unwrap_or(true), device_number(&metadata))
            }
            VolumeSource::Empty { .. } => {
                (pod.join(DIRECTORY).join(self.name.as_str()), true, None)
            }
        };
        Ok(ResolvedMount {
            source,
            target: PathBuf::from(&self.target),
            read_only: self.read_only,
            recursive,
            device,
        })
    }
}

fn device_number(metadata: &std::fs::Metadata) -> Option<DeviceNumber> {
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    Some(DeviceNumber {
        block: kind.is_block_device(),
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
    })
}

/// Makes the directory of an empty volume; `true` if it was not there yet.
///
/// # Errors
/// What the kernel said.
pub(crate) fn make_empty(
    pod: &Path,
    name: &AcName,
    (mode, uid, gid): (u32, u32, u32),
) -> Result<bool, PrepareError> {
    let parent = pod.join(DIRECTORY);
    let path = parent.join(name.as_str());
    let make = || -> std::io::Result<bool> {
        match std::fs::DirBuilder::new().mode(0o755).create(&parent) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
            other => other?,
        }
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
        // After chown, which takes set-user-ID bits away.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(true)
    };
    make().map_err(PrepareError::io("make the volume", &path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> PodManifest {
        PodManifest::from_slice(value.to_string().as_bytes()).unwrap()
    }

    fn example() -> PodManifest {
        pod(json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "volumes": [
                {"name": "data", "kind": "host", "source": "/srv", "readOnly": true},
                {"name": "logs", "kind": "empty"},
            ],
            "apps": [{
                "name": "web",
                "image": {"id": format!("sha512-{}", "0".repeat(128))},
                "mounts": [{"volume": "data", "path": "/var//lib/./data"}],
                "app": {
                    "exec": ["/x"], "user": "0", "group": "0",
                    "mountPoints": [
                        {"name": "other", "path": "/var/lib/data"},
                        {"name": "logs", "path": "/log", "readOnly": true},
                        {"name": "cache", "path": "/var/cache"},
                    ],
                },
            }],
        }))
    }

    #[test]
    fn mounts_win_then_names_then_emptiness() {
        let manifest = example();
        let runtime = &manifest.apps[0];
        let places = place(&manifest, runtime, runtime.app.as_ref().unwrap()).unwrap();
        let told: Vec<_> = places
            .iter()
            .map(|p| {
                (
                    p.target.as_str(),
                    p.name.as_str(),
                    p.read_only,
                    p.implicit.is_some(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("/log", "logs", true, false),
                ("/var/cache", "web-cache", false, true),
                ("/var/lib/data", "data", true, false),
            ]
        );
    }

    #[test]
    fn a_mount_of_nothing_is_an_error() {
        let mut manifest = example();
        manifest.volumes.clear();
        let runtime = manifest.apps[0].clone();
        let error = place(&manifest, &runtime, runtime.app.as_ref().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("volume \"data\" not found"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_volume_has_the_mode_that_was_asked_for() {
        let pod = tempfile::tempdir().unwrap();
        let name: AcName = "v".parse().unwrap();
        assert!(make_empty(pod.path(), &name, (0o1777, 0, 0)).is_ok_and(|new| new));
        assert!(make_empty(pod.path(), &name, (0o700, 0, 0)).is_ok_and(|new| !new));
        let metadata = std::fs::metadata(pod.path().join("volumes/v")).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o1777);
    }

    #[test]
    fn a_source_that_is_not_there_is_named() {
        let gone = Placement {
            target: "/x".into(),
            name: "v".parse().unwrap(),
            source: VolumeSource::Host {
                source: "/nosuch/dir".into(),
                recursive: None,
            },
            read_only: false,
            implicit: None,
        };
        let error = gone.resolve(Path::new("/pod")).unwrap_err().to_string();
        assert_eq!(error, "volume \"v\": cannot use source \"/nosuch/dir\"");
    }
}
