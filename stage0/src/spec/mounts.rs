//! The mounts of a container: the kernel's file systems, then the user's.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use manifests::engine::{Ipc, Network};
use oci_spec::runtime::Mount;

use super::{PodFacts, SpecError};
use crate::resolved::{ResolvedApp, ResolvedMount};

/// All mounts, in the order in which they are made: what is above comes
/// before what is below.
pub(super) fn mounts(app: &ResolvedApp, pod: &PodFacts<'_>) -> Result<Vec<Mount>, SpecError> {
    let mut targets = HashSet::new();
    for ResolvedMount { target, .. } in &app.mounts {
        check_target(app, target)?;
        if !targets.insert(target) {
            return Err(SpecError::SameTarget {
                app: app.name.clone(),
                target: target.clone(),
            });
        }
    }
    let mut volumes = app.mounts.iter().collect::<Vec<_>>();
    volumes.sort_by_key(|m| m.target.components().count());
    let mut mounts = kernel_mounts(pod);
    mounts.retain(|mount| !is_replaced(mount.destination(), &app.mounts));
    mounts.extend(volumes.into_iter().map(bind));
    Ok(mounts)
}

fn check_target(app: &ResolvedApp, target: &Path) -> Result<(), SpecError> {
    let mut components = target.components();
    let absolute = components.next() == Some(Component::RootDir);
    let mut depth = 0;
    let plain = components.all(|c| {
        depth += 1;
        matches!(c, Component::Normal(_))
    });
    match absolute && plain && depth > 0 {
        true => Ok(()),
        false => Err(SpecError::Target {
            app: app.name.clone(),
            target: target.to_owned(),
        }),
    }
}

/// Whether a volume of the user's takes the place of one of ours. `/sys`
/// gives way to anything below it too: it is read-only, so nothing could be
/// mounted there where the directory is missing.
fn is_replaced(ours: &Path, volumes: &[ResolvedMount]) -> bool {
    volumes.iter().any(|volume| match ours == "/sys" {
        true => volume.target.starts_with(ours),
        false => volume.target == ours,
    })
}

fn kernel_mounts(pod: &PodFacts<'_>) -> Vec<Mount> {
    let sys = match pod.insecure.paths {
        true => "rw",
        false => "ro",
    };
    let shm = match pod.ipc {
        Ipc::Private => mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "nodev", "noexec", "mode=1777", "size=65536k"],
        ),
        // Names of shared memory are only names if both sides see them.
        Ipc::Parent => mount(
            "/dev/shm",
            "bind",
            "/dev/shm",
            &["bind", "nosuid", "nodev", "noexec"],
        ),
    };
    let hidden = ["nosuid", "nodev", "noexec"];
    let [suid, dev, exec] = hidden;
    // What belongs to the host's namespaces only the host's root may mount, so
    // users of the pod's own see the host's mount.
    let guest = pod.users.is_some();
    let sysfs = match guest && matches!(pod.network, Network::Host) {
        true => mount("/sys", "bind", "/sys", &["bind", sys, suid, dev, exec]),
        false => mount("/sys", "sysfs", "sysfs", &[sys, suid, dev, exec]),
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &hidden),
        sysfs,
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        shm,
    ];
    if !guest || pod.ipc == Ipc::Private {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &hidden));
    }
    mounts
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|&o| o.to_owned()).collect()));
    mount
}

/// A volume. What the host mounts below the source later appears in the app,
/// and never the other way round.
fn bind(volume: &ResolvedMount) -> Mount {
    let mut options: Vec<&str> = match (volume.recursive, volume.read_only) {
        (true, true) => vec!["rbind", "ro", "rro", "rslave"],
        (true, false) => vec!["rbind", "rw", "rslave"],
        (false, true) => vec!["bind", "ro", "slave"],
        (false, false) => vec!["bind", "rw", "slave"],
    };
    if volume.mapped {
        options.push(if volume.recursive { "ridmap" } else { "idmap" });
    }
    let mut mount = Mount::default();
    mount
        .set_destination(volume.target.clone())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(volume.source.clone()))
        .set_options(Some(options.iter().map(|&o| o.to_owned()).collect()));
    mount
}
