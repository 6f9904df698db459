//! From an appc image manifest to an OCI image configuration: for exporting,
//! and for tools that only speak OCI.

use std::collections::{BTreeMap, HashMap};

use oci_spec::OciSpecError;
use oci_spec::image as oci;

use crate::appc::{App, ImageManifest};
use crate::digest::Digest;
use crate::platform::{Platform, PlatformError};

/// The configuration, and what only fits beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inverse {
    /// The image configuration.
    pub config: oci::ImageConfiguration,
    /// Annotations for the image manifest: version, home page, documentation,
    /// and as JSON under `io.appc.…` what OCI has no word for.
    pub annotations: BTreeMap<String, String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum InverseError {
    /// The image does not say what it runs on.
    #[error("the image has no label {0:?}, which OCI requires")]
    NoLabel(&'static str),
    /// OCI has no word for what the image runs on.
    #[error("the image's platform has no name in OCI")]
    Platform(#[from] PlatformError),
    /// User or group is the owner of a file, which OCI cannot say.
    #[error("{field} {value:?} names a file: resolve it to a number first")]
    OwnerOfFile {
        /// `user` or `group`.
        field: &'static str,
        /// The path.
        value: String,
    },
    /// A member could not be put together.
    #[error("cannot make the OCI configuration")]
    Build(#[from] OciSpecError),
}

/// Converts a manifest whose rendered root file system is one or several
/// layers with these digests (uncompressed), the base first. Dependencies and
/// white lists must have been rendered.
///
/// # Errors
/// What OCI requires and the manifest lacks, or cannot be said.
pub fn from_appc(manifest: &ImageManifest, diff_ids: &[Digest]) -> Result<Inverse, InverseError> {
    let label = |name| manifest.label(name).ok_or(InverseError::NoLabel(name));
    let platform = Platform::from_labels(label("os")?, label("arch")?)?;
    let diff_ids: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
    let mut config = oci::ImageConfigurationBuilder::default()
        .os(oci::Os::from(platform.os.as_str()))
        .architecture(oci::Arch::from(platform.architecture.as_str()))
        .rootfs(
            oci::RootFsBuilder::default()
                .typ("layers")
                .diff_ids(diff_ids)
                .build()?,
        );
    if let Some(variant) = platform.variant {
        config = config.variant(variant);
    }
    if let Some(created) = manifest.annotation("created") {
        config = config.created(created);
    }
    if let Some(authors) = manifest.annotation("authors") {
        config = config.author(authors);
    }
    if let Some(app) = &manifest.app {
        config = config.config(run_config(manifest, app)?);
    }
    Ok(Inverse {
        config: config.build()?,
        annotations: annotations(manifest),
    })
}

fn run_config(manifest: &ImageManifest, app: &App) -> Result<oci::Config, InverseError> {
    for (field, value) in [("user", &app.user), ("group", &app.group)] {
        if value.starts_with('/') {
            let value = value.clone();
            return Err(InverseError::OwnerOfFile { field, value });
        }
    }
    let (entrypoint, cmd) = command(manifest, app);
    let environment = app
        .environment
        .iter()
        .map(|v| format!("{}={}", v.name, v.value));
    let volumes = app.mount_points.iter().map(|m| m.path.clone());
    let ports = app.ports.iter().flat_map(|p| {
        let last = u32::from(p.port) + u32::from(p.count.max(1)) - 1;
        (u32::from(p.port)..=last).map(move |port| format!("{port}/{}", p.protocol))
    });
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let labels = HashMap::from_iter(app.user_labels.clone());
    let mut config = oci::Config::default();
    config
        .set_user(Some(format!("{}:{}", app.user, app.group)))
        .set_env(some(environment.collect()))
        .set_entrypoint(some(entrypoint))
        .set_cmd(some(cmd))
        .set_volumes(some(volumes.collect()))
        .set_exposed_ports(some(ports.collect()))
        .set_working_dir(app.working_directory.clone())
        .set_labels((!labels.is_empty()).then_some(labels));
    Ok(config)
}

/// Entry point and arguments as Docker had them, if the manifest remembers
/// and `exec` is still what they make together.
fn command(manifest: &ImageManifest, app: &App) -> (Vec<String>, Vec<String>) {
    let remembered = |name| -> Vec<String> {
        let json = manifest.annotation(name).unwrap_or("[]");
        serde_json::from_str(json).unwrap_or_default()
    };
    let entrypoint = remembered("appc.io/docker/entrypoint");
    let cmd = remembered("appc.io/docker/cmd");
    match [entrypoint.as_slice(), cmd.as_slice()].concat() == app.exec {
        true => (entrypoint, cmd),
        false => (app.exec.clone(), Vec::new()),
    }
}

fn annotations(manifest: &ImageManifest) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            annotations.insert(name.to_owned(), value.to_owned());
        }
    };
    set(oci::ANNOTATION_VERSION, manifest.label("version"));
    set(oci::ANNOTATION_URL, manifest.annotation("homepage"));
    set(
        oci::ANNOTATION_DOCUMENTATION,
        manifest.annotation("documentation"),
    );
    if let Some(app) = &manifest.app {
        let json = |empty: bool, value| (!empty).then(|| serde_json::Value::to_string(&value));
        let isolators = json(app.isolators.is_empty(), serde_json::json!(app.isolators));
        set("io.appc.isolators", isolators.as_deref());
        let handlers = json(
            app.event_handlers.is_empty(),
            serde_json::json!(app.event_handlers),
        );
        set("io.appc.event-handlers", handlers.as_deref());
        let gids = json(
            app.supplementary_gids.is_empty(),
            serde_json::json!(app.supplementary_gids),
        );
        set("io.appc.supplementary-gids", gids.as_deref());
        let sockets: Vec<&str> = app
            .ports
            .iter()
            .filter(|p| p.socket_activated)
            .map(|p| p.name.as_str())
            .collect();
        let sockets = json(sockets.is_empty(), serde_json::json!(sockets));
        set("io.appc.socket-activated", sockets.as_deref());
    }
    annotations
}
