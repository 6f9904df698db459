//! From images and wishes to a pod manifest: the pod as its user sees it.
//!
//! Pure: nothing here looks at the host or into an image.

use std::collections::BTreeMap;

use image_store::ImageRecord;
use manifests::appc::{
    AcIdentifier, AcName, Annotation, App, CapabilitySet, ExposedPort, ImageManifest, Isolator,
    Mount, PodManifest, Quantity, Resource, RuntimeApp, RuntimeImage, Volume,
};
use manifests::network::{Declared, check_exposed, resolve_ports};
use manifests::platform::Platform;

use super::environment;
use super::error::PrepareError;
use super::request::{AppRequest, Capabilities, Overrides, PodEnvironment, PodRequest, Seccomp};

/// Whether a running pod may be changed; told in every pod manifest.
pub(crate) const MUTABLE: &str = "coreos.com/rkt/stage1/mutable";

/// Annotation of an app with the controllers, joined by commas, whose limits
/// were asked for by whoever made the pod, whatever the image says.
pub(crate) const LIMITS: &str = "coreos.com/rkt/stage2/limits";

/// No program lives in less, and whoever asks for it forgot a suffix.
const LEAST_MEMORY: i64 = 4096;

/// The manifest of the pod that is asked for. `caller` is the user and group
/// that an app without an app section runs as.
///
/// # Errors
/// What of the request contradicts itself or its images.
pub fn compose(request: &PodRequest, caller: (u32, u32)) -> Result<PodManifest, PrepareError> {
    let mut apps: Vec<RuntimeApp> = Vec::with_capacity(request.apps.len());
    for wanted in &request.apps {
        let app = compose_app(wanted, request, caller)?;
        if apps.iter().any(|other| other.name == app.name) {
            return Err(PrepareError::SameName(app.name));
        }
        apps.push(app);
    }
    for (i, volume) in request.volumes.iter().enumerate() {
        if request.volumes[..i].iter().any(|v| v.name == volume.name) {
            return Err(PrepareError::SameVolume(volume.name.clone()));
        }
    }
    let mut manifest = PodManifest::new(apps);
    manifest.volumes.clone_from(&request.volumes);
    manifest.ports = ports(request, &manifest.apps)?;
    manifest.annotations.push(Annotation {
        name: MUTABLE.parse().expect("it is an AC identifier"),
        value: request.mutable.to_string(),
    });
    add_annotations(&mut manifest.annotations, &request.annotations);
    manifest.user_annotations = request.user_annotations.iter().cloned().collect();
    manifest.user_labels = request.user_labels.iter().cloned().collect();
    Ok(manifest)
}

/// The image can run here: it says for what it was built, and that is this
/// host.
///
/// # Errors
/// A label that is missing or names another platform.
pub(super) fn check_platform(image: &ImageManifest) -> Result<(), PrepareError> {
    let label = |name: &'static str| {
        image.label(name).ok_or_else(|| PrepareError::NoLabel {
            image: image.name.to_string(),
            label: name,
        })
    };
    let (os, arch) = (label("os")?, label("arch")?);
    let built_for =
        Platform::from_labels(os, arch).map_err(|source| PrepareError::BadPlatform {
            image: image.name.to_string(),
            source,
        })?;
    let host = Platform::host();
    match host.fits(&built_for) {
        Some(_) => Ok(()),
        None => Err(PrepareError::OtherPlatform {
            image: image.name.to_string(),
            built_for: format!("{os}/{arch}"),
            host: format!("{}/{}", host.os, host.architecture),
        }),
    }
}

fn compose_app(
    wanted: &AppRequest,
    request: &PodRequest,
    caller: (u32, u32),
) -> Result<RuntimeApp, PrepareError> {
    let AppRequest {
        image,
        overrides,
        arguments,
    } = wanted;
    check_platform(&image.manifest)?;
    let name = match &overrides.name {
        Some(name) => name.clone(),
        None => default_name(&image.manifest)?,
    };
    let mut app = match (&image.manifest.app, &overrides.exec) {
        (Some(app), _) => app.clone(),
        (None, Some(_)) => App::new(Vec::new(), &caller.0.to_string(), &caller.1.to_string()),
        (None, None) => return Err(PrepareError::NoApp(image.id.short(12))),
    };
    if let Some(exec) = &overrides.exec {
        app.exec = vec![exec.clone()];
    } else if overrides.replace_arguments {
        keep_entry_point(&mut app.exec, image);
    }
    app.exec.extend(arguments.iter().cloned());
    override_app(&mut app, overrides, &request.environment)?;
    check_exec(&app, &image.manifest)?;
    let mounts = merge_mounts(&overrides.mounts, &request.mounts);
    check_mounts(&mounts, &request.volumes)?;
    Ok(RuntimeApp {
        name,
        image: runtime_image(image),
        app: Some(app),
        read_only_rootfs: overrides.read_only_rootfs.unwrap_or(false),
        mounts,
        annotations: {
            let mut annotations = Vec::new();
            add_annotations(&mut annotations, &overrides.annotations);
            annotations.extend(limits(overrides));
            annotations
        },
    })
}

/// Takes away the image's arguments: what OCI calls its command, all but the
/// program where the image does not tell them apart.
fn keep_entry_point(exec: &mut Vec<String>, image: &ImageRecord) {
    if !super::is_from_docker(image) {
        return exec.truncate(1);
    }
    let entry_point = image.manifest.annotation("appc.io/docker/entrypoint");
    let words = entry_point.and_then(|json| serde_json::from_str(json).ok());
    *exec = words.unwrap_or_default();
}

/// The last component of the image's name, as far as it can name an app.
fn default_name(image: &ImageManifest) -> Result<AcName, PrepareError> {
    let full = image.name.as_str();
    let last = full.rsplit('/').next().unwrap_or(full);
    AcName::sanitize(last).map_err(PrepareError::NoName)
}

/// There must be something to run.
///
/// # Errors
/// With the remedy, if `exec` is empty.
pub(super) fn check_exec(app: &App, image: &ImageManifest) -> Result<(), PrepareError> {
    if app.exec.first().is_none_or(String::is_empty) {
        return Err(PrepareError::EmptyExec(image.name.to_string()));
    }
    Ok(())
}

fn runtime_image(image: &ImageRecord) -> RuntimeImage {
    RuntimeImage {
        name: Some(image.manifest.name.clone()),
        id: image.id.clone().into(),
        labels: image.manifest.labels.clone(),
    }
}

/// What the flags limit.
fn limits(overrides: &Overrides) -> Option<Annotation> {
    let cpu = overrides.cpu.is_some() || overrides.cpu_shares.is_some();
    let asked = [("memory", overrides.memory.is_some()), ("cpu", cpu)];
    let asked = asked.into_iter().filter(|(_, asked)| *asked);
    let controllers: Vec<&str> = asked.map(|(controller, _)| controller).collect();
    (!controllers.is_empty()).then(|| Annotation {
        name: LIMITS.parse().expect("it is an AC identifier"),
        value: controllers.join(","),
    })
}

/// Of several with one name the first one stays.
fn add_annotations(annotations: &mut Vec<Annotation>, more: &[(AcIdentifier, String)]) {
    for (name, value) in more {
        if !annotations.iter().any(|a| a.name == *name) {
            annotations.push(Annotation {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
}

fn override_app(
    app: &mut App,
    overrides: &Overrides,
    pod: &PodEnvironment,
) -> Result<(), PrepareError> {
    if let Some(directory) = &overrides.working_directory {
        if !directory.starts_with('/') {
            return Err(PrepareError::RelativeDirectory(directory.clone()));
        }
        app.working_directory = Some(directory.clone());
    }
    if let Some(user) = &overrides.user {
        app.user.clone_from(user);
    }
    if let Some(group) = &overrides.group {
        app.group.clone_from(group);
    }
    if !overrides.supplementary_gids.is_empty() {
        app.supplementary_gids
            .clone_from(&overrides.supplementary_gids);
    }
    app.environment = environment::of_manifest(&app.environment, &overrides.environment, pod);
    let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    if !overrides.user_annotations.is_empty() {
        app.user_annotations = map(&overrides.user_annotations);
    }
    if !overrides.user_labels.is_empty() {
        app.user_labels = map(&overrides.user_labels);
    }
    override_isolators(&mut app.isolators, overrides)
}

pub(crate) fn override_isolators(
    isolators: &mut Vec<Isolator>,
    overrides: &Overrides,
) -> Result<(), PrepareError> {
    let limit = |quantity: &Quantity| Resource {
        request: Some(*quantity),
        limit: Some(*quantity),
    };
    if let Some(memory) = &overrides.memory {
        if memory.units() < LEAST_MEMORY {
            return Err(PrepareError::LittleMemory(memory.units()));
        }
        isolators.retain(|i| !matches!(i, Isolator::Memory(_)));
        isolators.push(Isolator::Memory(limit(memory)));
    }
    if let Some(cpu) = &overrides.cpu {
        isolators.retain(|i| !matches!(i, Isolator::Cpu(_)));
        isolators.push(Isolator::Cpu(limit(cpu)));
    }
    if let Some(shares) = overrides.cpu_shares {
        isolators.retain(|i| !matches!(i, Isolator::CpuShares(_)));
        isolators.push(Isolator::CpuShares(shares));
    }
    if let Some(capabilities) = &overrides.capabilities {
        isolators.retain(|i| {
            !matches!(
                i,
                Isolator::CapabilitiesRetain(_) | Isolator::CapabilitiesRemove(_)
            )
        });
        isolators.push(match capabilities {
            Capabilities::Retain(set) => {
                Isolator::CapabilitiesRetain(CapabilitySet { set: set.clone() })
            }
            Capabilities::Remove(set) => {
                Isolator::CapabilitiesRemove(CapabilitySet { set: set.clone() })
            }
        });
    }
    if let Some(seccomp) = &overrides.seccomp {
        isolators.retain(|i| !matches!(i, Isolator::SeccompRetain(_) | Isolator::SeccompRemove(_)));
        isolators.push(match seccomp {
            Seccomp::Retain(set) => Isolator::SeccompRetain(set.clone()),
            Seccomp::Remove(set) => Isolator::SeccompRemove(set.clone()),
        });
    }
    if let Some(adj) = overrides.oom_score_adj {
        isolators.retain(|i| !matches!(i, Isolator::OomScoreAdj(_)));
        isolators.push(Isolator::OomScoreAdj(adj));
    }
    Ok(())
}

/// The app's mounts, then the pod's; of several at one place the first stays.
fn merge_mounts(own: &[Mount], pods: &[Mount]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in own.iter().chain(pods) {
        let path = clean(&mount.path);
        if !mounts.iter().any(|m| clean(&m.path) == path) {
            mounts.push(mount.clone());
        }
    }
    mounts
}

/// An absolute path without `.`, `..` and repeated slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn check_mounts(mounts: &[Mount], volumes: &[Volume]) -> Result<(), PrepareError> {
    for mount in mounts {
        let found = mount.app_volume.is_some() || volumes.iter().any(|v| v.name == mount.volume);
        if !found {
            return Err(PrepareError::Dangling {
                path: mount.path.clone(),
                volume: mount.volume.clone(),
            });
        }
    }
    Ok(())
}

fn ports(request: &PodRequest, apps: &[RuntimeApp]) -> Result<Vec<ExposedPort>, PrepareError> {
    let declared: Vec<_> = apps
        .iter()
        .filter_map(|app| app.app.as_ref())
        .flat_map(|app| &app.ports)
        .map(Declared::from)
        .collect();
    resolve_ports(&request.ports, &declared)?;
    check_exposed(&request.exposed)?;
    let of_apps = request.ports.iter().map(|flag| {
        Ok(ExposedPort {
            name: flag.name.parse().map_err(PrepareError::NoName)?,
            host_port: flag.host_port,
            host_ip: flag.host_ip,
            pod_port: None,
        })
    });
    of_apps
        .chain(request.exposed.iter().cloned().map(Ok))
        .collect()
}

/// A manifest that a user wrote can be run: every app has a name of its own,
/// a program, and an image of the store that `image` finds.
///
/// # Errors
/// The first thing that is missing.
pub fn check(manifest: &PodManifest, images: &[ImageRecord]) -> Result<(), PrepareError> {
    for (i, (app, image)) in manifest.apps.iter().zip(images).enumerate() {
        if manifest.apps[..i]
            .iter()
            .any(|other| other.name == app.name)
        {
            return Err(PrepareError::SameName(app.name.clone()));
        }
        check_platform(&image.manifest)?;
        let section = app.app.as_ref().or(image.manifest.app.as_ref());
        let section = section.ok_or_else(|| PrepareError::NoApp(image.id.short(12)))?;
        check_exec(section, &image.manifest)?;
        check_mounts(&app.mounts, &manifest.volumes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use image_store::{RecordedIndex, Stack};
    use manifests::digest::{Algorithm, Digest};
    use manifests::image_id::ImageId;
    use manifests::trust::Verification;
    use serde_json::{Value, json};

    use super::*;

    fn image(app: Value) -> ImageRecord {
        let (os, arch) = Platform::host().to_labels().unwrap();
        let mut manifest = json!({
            "acVersion": "0.8.11", "acKind": "ImageManifest", "name": "example.com/Web_1",
            "labels": [{"name": "os", "value": os}, {"name": "arch", "value": arch}],
        });
        manifest["name"] = "example.com/web_1".into();
        if !app.is_null() {
            manifest["app"] = app;
        }
        let digest = Digest::from_bytes(Algorithm::Sha512, &[7; 64]);
        ImageRecord {
            id: ImageId::new(digest.clone()),
            manifest: ImageManifest::from_slice(manifest.to_string().as_bytes()).unwrap(),
            oci: None,
            rootfs: Stack::flat(Vec::new()),
            index: RecordedIndex {
                digest,
                size: 0,
                devices: Vec::new(),
                verity: None,
            },
            origin: None,
            imported: SystemTime::UNIX_EPOCH,
            verification: Verification::nothing("a test"),
        }
    }

    fn shell() -> ImageRecord {
        image(json!({
            "exec": ["/bin/sh", "-c"], "user": "web", "group": "www",
            "isolators": [
                {"name": "resource/memory", "value": {"limit": "1G"}},
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
            ],
            "ports": [{"name": "http", "protocol": "tcp", "port": 80}],
        }))
    }

    fn wants(image: ImageRecord, overrides: Overrides) -> AppRequest {
        AppRequest {
            image,
            overrides,
            arguments: vec!["x".into()],
        }
    }

    fn pod(apps: Vec<AppRequest>) -> PodRequest {
        PodRequest {
            apps,
            ..PodRequest::default()
        }
    }

    fn composed(overrides: Overrides) -> RuntimeApp {
        let manifest = compose(&pod(vec![wants(shell(), overrides)]), (1, 2)).unwrap();
        manifest.apps.into_iter().next().unwrap()
    }

    fn refused(request: &PodRequest) -> String {
        compose(request, (1, 2)).unwrap_err().to_string()
    }

    #[test]
    fn an_image_is_run_as_it_says() {
        let app = composed(Overrides::default());
        assert_eq!(app.name, "web-1");
        let section = app.app.unwrap();
        assert_eq!(section.exec, ["/bin/sh", "-c", "x"]);
        assert_eq!((&*section.user, &*section.group), ("web", "www"));
    }

    #[test]
    fn what_the_user_says_wins() {
        let app = composed(Overrides {
            name: Some("other".parse().unwrap()),
            exec: Some("/bin/ls".into()),
            user: Some("0".into()),
            working_directory: Some("/srv".into()),
            memory: Some("32M".parse().unwrap()),
            capabilities: Some(Capabilities::Remove(vec!["CAP_CHOWN".into()])),
            ..Overrides::default()
        });
        assert_eq!(app.name, "other");
        let section = app.app.unwrap();
        assert_eq!(section.exec, ["/bin/ls", "x"]);
        assert_eq!((&*section.user, &*section.group), ("0", "www"));
        assert_eq!(section.working_directory.as_deref(), Some("/srv"));
        let memory = "32M".parse().unwrap();
        assert!(section.isolators.contains(&Isolator::Memory(Resource {
            request: Some(memory),
            limit: Some(memory)
        })));
        assert_eq!(section.isolators.len(), 2, "the image's own are gone");
    }

    #[test]
    fn an_image_without_app_needs_a_program_and_runs_as_the_caller() {
        let nothing = || image(Value::Null);
        let bare = pod(vec![wants(nothing(), Overrides::default())]);
        assert!(refused(&bare).ends_with("has no app section and --exec argument is not provided"));
        let exec = Overrides {
            exec: Some("/x".into()),
            ..Overrides::default()
        };
        let manifest = compose(&pod(vec![wants(nothing(), exec)]), (1, 2)).unwrap();
        let section = manifest.apps[0].app.as_ref().unwrap();
        assert_eq!((&*section.user, &*section.group), ("1", "2"));
        let empty = image(json!({"exec": [], "user": "0", "group": "0"}));
        let mut request = pod(vec![wants(empty, Overrides::default())]);
        request.apps[0].arguments.clear();
        assert!(refused(&request).contains("try --exec=BINARY"));
    }

    #[test]
    fn names_and_volumes_are_unique() {
        let two = pod(vec![
            wants(shell(), Overrides::default()),
            wants(shell(), Overrides::default()),
        ]);
        assert!(refused(&two).starts_with("error: multiple apps with name web-1"));
        let volume = |name: &str| Volume {
            name: name.parse().unwrap(),
            source: manifests::appc::VolumeSource::empty(),
            read_only: None,
        };
        let mut request = pod(vec![wants(shell(), Overrides::default())]);
        request.volumes = vec![volume("v"), volume("v")];
        assert_eq!(refused(&request), "duplicate volume name \"v\"");
    }

    #[test]
    fn mounts_need_volumes_and_the_apps_own_come_first() {
        let mount = |volume: &str, path: &str| Mount {
            volume: volume.parse().unwrap(),
            path: path.into(),
            app_volume: None,
        };
        let mut request = pod(vec![wants(
            shell(),
            Overrides {
                mounts: vec![mount("own", "/data/")],
                ..Overrides::default()
            },
        )]);
        request.mounts = vec![mount("all", "/x/../data"), mount("all", "/all")];
        assert!(
            refused(&request).contains("dangling mount point \"/data/\": volume \"own\" not found")
        );
        request.volumes = ["own", "all"]
            .map(|name| Volume {
                name: name.parse().unwrap(),
                source: manifests::appc::VolumeSource::empty(),
                read_only: None,
            })
            .to_vec();
        let manifest = compose(&request, (1, 2)).unwrap();
        let told: Vec<_> = manifest.apps[0]
            .mounts
            .iter()
            .map(|m| (m.volume.as_str(), m.path.as_str()))
            .collect();
        assert_eq!(told, [("own", "/data/"), ("all", "/all")]);
    }

    #[test]
    fn ports_must_be_declared() {
        let mut request = pod(vec![wants(shell(), Overrides::default())]);
        request.ports = vec!["http:8080".parse().unwrap()];
        let manifest = compose(&request, (1, 2)).unwrap();
        assert_eq!(manifest.ports[0].host_port, 8080);
        request.ports = vec!["nosuch:8080".parse().unwrap()];
        assert!(refused(&request).contains("\"nosuch\" could not be found in any apps"));
    }

    #[test]
    fn another_machines_image_is_refused() {
        let mut foreign = shell();
        foreign.manifest.labels[1].value = "ppc64le".into();
        let request = pod(vec![wants(foreign, Overrides::default())]);
        assert!(refused(&request).contains("is built for linux/ppc64le"));
        let mut bare = shell();
        bare.manifest.labels.clear();
        let request = pod(vec![wants(bare, Overrides::default())]);
        assert!(refused(&request).contains("missing os label in the image manifest"));
    }

    #[test]
    fn small_mistakes_are_caught_early() {
        let with = |overrides| refused(&pod(vec![wants(shell(), overrides)]));
        let little = with(Overrides {
            memory: Some("16".parse().unwrap()),
            ..Overrides::default()
        });
        assert_eq!(
            little,
            "memory limit of 16 bytes too low. Try a reasonable value, such as --memory=16M"
        );
        let relative = with(Overrides {
            working_directory: Some("srv".into()),
            ..Overrides::default()
        });
        assert!(relative.contains("absolute"));
    }

    #[test]
    fn paths_are_cleaned_like_the_apps_root_is_the_top() {
        for (path, cleaned) in [
            ("/", "/"),
            ("/a//b/./c/", "/a/b/c"),
            ("/../../a/../b", "/b"),
            ("a", "/a"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
    }

    /// What is written is what is read again.
    #[test]
    fn a_composed_manifest_is_valid() {
        let manifest = compose(&pod(vec![wants(shell(), Overrides::default())]), (1, 2)).unwrap();
        let text = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(PodManifest::from_slice(&text).unwrap(), manifest);
        check(&manifest, &[shell()]).unwrap();
    }
}
