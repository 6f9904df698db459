//! Which volume goes where.
//!
//! Source: appc specification, "Pod Manifest Schema", for the matching; rkt's
//! pod reference, "Volumes and mounts", for what happens to a mount point that
//! nobody fills.

use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use manifests::appc::{AcName, MountPoint, PodManifest, RuntimeApp, Volume, VolumeSource};

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
    /// No other app has it.
    pub(crate) private: bool,
}

/// A volume as an app has it, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// Name of the volume.
    pub name: AcName,
    /// Where on the host.
    pub source: PathBuf,
    /// Where in the app.
    pub target: String,
    /// The app only reads.
    pub read_only: bool,
}

/// The volumes of an app of the pod in the directory `pod`. Those that only
/// the image asks for are known where the manifest has the app's section, as
/// it has unless a user wrote it.
pub fn mounted(pod: &Path, manifest: &PodManifest, app: &RuntimeApp) -> Vec<MountedVolume> {
    let points = app.app.as_ref().map_or(&[][..], |app| &app.mount_points);
    // A pod whose volumes make no sense has never run.
    let places = place(manifest, app, points).unwrap_or_default();
    let mounted = places.into_iter().map(|place| MountedVolume {
        source: match &place.source {
            VolumeSource::Host { source, .. } => source.into(),
            VolumeSource::Empty { .. } => pod.join(DIRECTORY).join(place.name.as_str()),
        },
        name: place.name,
        target: place.target,
        read_only: place.read_only,
    });
    mounted.collect()
}

/// Removes the empty volumes that only this app has.
///
/// # Errors
/// What the kernel said.
pub(crate) fn remove_private(
    pod: &Path,
    manifest: &PodManifest,
    app: &RuntimeApp,
) -> std::io::Result<()> {
    let points = app.app.as_ref().map_or(&[][..], |app| &app.mount_points);
    for place in place(manifest, app, points).unwrap_or_default() {
        if !place.private || !matches!(place.source, VolumeSource::Empty { .. }) {
            continue;
        }
        match std::fs::remove_dir_all(pod.join(DIRECTORY).join(place.name.as_str())) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
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
    points: &[MountPoint],
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
        let point = points.iter().find(|p| p.name == mount.volume);
        let read_only = point.is_some_and(|p| p.read_only);
        let mut place = placement(clean(&mount.path), volume, read_only);
        if mount.app_volume.is_some() {
            place.private = true;
            place.name = own_name(&runtime.name, &volume.name)?;
        }
        places.push(place);
    }
    for point in points {
        let target = clean(&point.path);
        if places.iter().any(|p| p.target == target) {
            continue;
        }
        places.push(match find(&point.name) {
            Some(volume) => placement(target, volume, point.read_only),
            None => Placement {
                target,
                name: own_name(&runtime.name, &point.name)?,
                source: VolumeSource::empty(),
                read_only: point.read_only,
                implicit: Some(point.name.clone()),
                private: true,
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

/// What a volume of one app is called among those of the pod.
fn own_name(app: &AcName, volume: &AcName) -> Result<AcName, PrepareError> {
    format!("{app}-{volume}")
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
        private: false,
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
            mapped: false,
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

    fn points(app: &RuntimeApp) -> &[MountPoint] {
        &app.app.as_ref().unwrap().mount_points
    }

    #[test]
    fn volumes_of_one_app_are_told_and_removed_apart() {
        let mut manifest = example();
        let own: Volume = serde_json::from_value(json!({"name": "logs", "kind": "empty"})).unwrap();
        manifest.apps[0].mounts.push(manifests::appc::Mount {
            volume: "logs".parse().unwrap(),
            path: "/own".into(),
            app_volume: Some(own),
        });
        let pod = tempfile::tempdir().unwrap();
        let told = mounted(pod.path(), &manifest, &manifest.apps[0]);
        let told: Vec<_> = told
            .iter()
            .map(|m| (m.target.as_str(), m.source.strip_prefix(pod.path()).ok()))
            .collect();
        let volume = |name| Some(Path::new("volumes").join(name));
        assert_eq!(
            told,
            [
                ("/own", volume("web-logs").as_deref()),
                ("/log", volume("logs").as_deref()),
                ("/var/cache", volume("web-cache").as_deref()),
                ("/var/lib/data", None),
            ]
        );
        for name in ["logs", "web-logs", "web-cache"] {
            make_empty(pod.path(), &name.parse().unwrap(), (0o755, 0, 0)).unwrap();
        }
        remove_private(pod.path(), &manifest, &manifest.apps[0]).unwrap();
        let left = std::fs::read_dir(pod.path().join("volumes")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["logs"]);
    }

    #[test]
    fn mounts_win_then_names_then_emptiness() {
        let manifest = example();
        let runtime = &manifest.apps[0];
        let places = place(&manifest, runtime, points(runtime)).unwrap();
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
        let error = place(&manifest, &runtime, points(&runtime)).unwrap_err();
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
            private: false,
        };
        let error = gone.resolve(Path::new("/pod")).unwrap_err().to_string();
        assert_eq!(error, "volume \"v\": cannot use source \"/nosuch/dir\"");
    }
}
