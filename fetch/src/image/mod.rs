//! From a source to a committed image.
//!
//! ```text
//!   oci    index ─▶ manifest ─▶ config ┐
//!   saved  manifest.json ───▶ config ──┼─▶ layers (parallel) ─▶ convert ─▶ commit
//!   aci    tar + signature ────────────┘
//! ```

mod aci;
mod layers;
mod oci;
mod repair;
mod saved;

pub(crate) use aci::{AciInput, Expected, Signature, import_aci};
pub(crate) use oci::{Chain, import_oci, read_blob, read_document};
pub(crate) use repair::{repair_aci, repair_oci, repair_saved};
pub(crate) use saved::import_saved;

use std::io::Write;

use image_store::{ImageName, ImageRecord, OciObjects, StagedLayer, Staging, Store, StoreError};
use manifests::appc::AcIdentifier;
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::oci::{Config, Converted, name_of, to_appc};
use manifests::platform::Platform;
use manifests::trust::{Verification, Vouched};

use crate::error::Reason;
use crate::policy::Policy;
use crate::progress::{Progress, StepKind};
use crate::reference::{DockerReference, Reference, Version};
use crate::signatures::Repository;
use crate::stream::Limits;
use crate::transport::Room;

/// Layers of one image. Docker stops at 127; the rest is room.
pub(crate) const MAX_LAYERS: usize = 1024;

/// What every import needs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    pub(crate) reference: &'a Reference,
    pub(crate) platform: &'a Platform,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) policy: &'a Policy,
    pub(crate) limits: Limits,
}

impl<'a> Context<'a> {
    /// For archives that must be decompressed.
    pub(crate) fn room(self) -> Room<'a> {
        Room {
            store: self.store,
            limits: self.limits,
            progress: self.progress,
        }
    }
}

/// Where an OCI image says it comes from; the appc name is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
}

impl Origin {
    /// From a registry reference.
    pub(crate) fn of_docker(reference: &DockerReference) -> Self {
        Self {
            registry: Some(reference.registry().to_owned()),
            repository: reference.repository().to_owned(),
            tag: match reference.version() {
                Version::Tag(tag) => Some(tag.clone()),
                Version::Digest(_) => None,
            },
        }
    }

    /// From what a layout or archive calls an image: a whole reference, as
    /// podman and docker write it, or only a tag; then the file's name serves
    /// as the repository.
    pub(crate) fn of_archive(reference: &Reference, name: Option<&str>) -> Self {
        if let Some(name) = name
            && (name.contains('/')
                || matches!(reference, Reference::Archive { kind, .. } if kind.scheme() == "docker-archive"))
            && let Ok(docker) = DockerReference::parse(name)
        {
            return Self::of_docker(&docker);
        }
        let base = reference.base_name().unwrap_or_default();
        let usable = base.bytes().any(|b| b.is_ascii_alphanumeric());
        Self {
            registry: None,
            repository: if usable { base } else { "image".to_owned() },
            tag: name.map(str::to_owned),
        }
    }
}

impl Context<'_> {
    /// Tells who vouches.
    fn tell_verified(&self, verification: &Verification) {
        let by = match &verification.by {
            Vouched::OpenPgp { identities, .. } => match identities.first() {
                Some(identity) => identity.clone(),
                None => "a key without user id".to_owned(),
            },
            Vouched::Key { fingerprint, .. } => format!("the key {fingerprint}"),
            Vouched::Identity {
                subject, issuer, ..
            } => format!("{subject} as {issuer} says"),
            Vouched::Pinned { .. } | Vouched::Nothing { .. } => return,
        };
        self.progress.note(&format!("signature verified: {by}"));
    }
}

impl Origin {
    /// What the image will be called.
    fn name(&self) -> Result<AcIdentifier, Reason> {
        name_of(self.registry.as_deref(), &self.repository).map_err(Reason::Name)
    }

    /// What signatures have to call it; a layout that names no registry says
    /// nothing about that.
    fn signed_repository(&self) -> Option<Repository> {
        let registry = self.registry.as_deref()?;
        Some(Repository::new(
            registry,
            &self.repository,
            self.tag.as_deref(),
        ))
    }
}

/// Before its layers are asked for.
fn check_platform(context: Context<'_>, config: &Config) -> Result<(), Reason> {
    match context.platform.fits(&config.platform) {
        Some(_) => Ok(()),
        None => Err(Reason::Platform {
            built_for: config.platform.to_string(),
            wanted: context.platform.to_string(),
        }),
    }
}

/// The parts of an OCI image that is ready to be committed.
struct OciParts<'a> {
    manifest: &'a [u8],
    config: &'a [u8],
    parsed: &'a Config,
    config_digest: &'a Digest,
    converted: Converted,
    made: Made,
    verification: Verification,
}

/// What an image is made of.
enum Made {
    /// Layers in staging.
    Layers(Vec<StagedLayer>),
    /// All of it is stored, maybe by another name.
    Stored(Box<ImageRecord>),
}

/// Claims the layers, so that no other process transfers them meanwhile; after
/// waiting for one that did, the image may be there.
fn claim(
    context: Context<'_>,
    staging: &Staging<'_>,
    id: &ImageId,
    diff_ids: &[Digest],
) -> Result<Option<Made>, Reason> {
    staging.claim(diff_ids, &mut |awaited| {
        let whom = match awaited.process {
            Some(process) => format!("process {process}"),
            None => "another rkt".to_owned(),
        };
        let layer = &awaited.object.hex()[..12];
        let minutes = awaited.at_most.as_secs() / 60;
        context.progress.note(&format!(
            "waiting for {whom}, which is fetching layer {layer} too (at most {minutes} minutes)"
        ));
    })?;
    let stored = context.store.whole_image(id)?;
    Ok(stored.map(|record| Made::Stored(Box::new(record))))
}

/// The image in appc's words.
fn convert(
    context: Context<'_>,
    origin: &Origin,
    config: &Config,
    manifest: &Digest,
    config_digest: &Digest,
) -> Result<Converted, Reason> {
    let source = manifests::oci::Source {
        original_name: &context.reference.to_string(),
        registry: origin.registry.as_deref(),
        repository: &origin.repository,
        tag: origin.tag.as_deref(),
        manifest_digest: manifest,
        config_digest,
    };
    to_appc(config, &source).map_err(Reason::Name)
}

/// Writes the documents beside the layers and commits.
fn commit_oci(
    context: Context<'_>,
    staging: Staging<'_>,
    id: ImageId,
    parts: OciParts<'_>,
) -> Result<ImageRecord, Reason> {
    let converted = parts.converted;
    for warning in &converted.warnings {
        context.progress.note(warning);
    }
    let name = &converted.manifest.name;
    let verification = keep_better(context, &id, name, parts.verification);
    let names = names(context, parts.parsed, id.digest());
    let layers = match parts.made {
        Made::Layers(layers) => layers,
        Made::Stored(record) => {
            let record = ImageRecord {
                manifest: converted.manifest,
                verification,
                oci: record.oci.map(|oci| OciObjects {
                    stop_signal: converted.stop_signal,
                    ..oci
                }),
                ..*record
            };
            return commit(context, &id, || staging.amend(record, names));
        }
    };
    let manifest = write_object(&staging, Algorithm::Sha256, parts.manifest, id.digest())?;
    let algorithm = parts.config_digest.algorithm();
    let config = write_object(&staging, algorithm, parts.config, parts.config_digest)?;
    let draft = image_store::ImageDraft {
        id: id.clone(),
        manifest: converted.manifest,
        oci: Some(OciObjects {
            manifest,
            config,
            stop_signal: converted.stop_signal,
        }),
        rootfs: image_store::Stack::flat(layers),
        names,
        verification,
    };
    commit(context, &id, || staging.commit(draft))
}

/// What the image is called from now on. What does not run here must not be
/// what the name means here; it is found by its digest.
fn names(context: Context<'_>, config: &Config, manifest: &Digest) -> Vec<ImageName> {
    let runs_here = Platform::host().fits(&config.platform).is_some();
    match context.reference {
        reference if runs_here => vec![reference.to_string().into()],
        Reference::Docker(docker) => {
            let exact = Reference::Docker(docker.at(manifest.clone()));
            vec![exact.to_string().into()]
        }
        _ => Vec::new(),
    }
}

/// The record of an image that is stored already, with what was found out about
/// it this time.
fn commit_again(
    context: Context<'_>,
    mut record: ImageRecord,
    verification: Verification,
) -> Result<ImageRecord, Reason> {
    let (id, name) = (record.id.clone(), &record.manifest.name);
    let verification = keep_better(context, &id, name, verification);
    if record.verification == verification {
        return Ok(record);
    }
    record.verification = verification;
    let staging = context.store.stage()?;
    commit(context, &id, || staging.amend(record, Vec::new()))
}

/// Commits and reports.
fn commit(
    context: Context<'_>,
    id: &ImageId,
    commit: impl FnOnce() -> Result<ImageRecord, StoreError>,
) -> Result<ImageRecord, Reason> {
    let step = context.progress.step(StepKind::Commit, &id.short(12), None);
    let record = commit()?;
    step.done();
    Ok(record)
}

/// An image that somebody vouched for stays so when the same bytes are fetched
/// again, under the same name, with less asked of them.
fn keep_better(
    context: Context<'_>,
    id: &ImageId,
    name: &AcIdentifier,
    verification: Verification,
) -> Verification {
    // A record that cannot be read is replaced by this fetch.
    match context.store.image(id) {
        Ok(Some(record))
            if record.manifest.name == *name
                && record.verification.weight() > verification.weight() =>
        {
            record.verification
        }
        _ => verification,
    }
}

fn write_object(
    staging: &Staging<'_>,
    algorithm: Algorithm,
    bytes: &[u8],
    digest: &Digest,
) -> Result<Digest, Reason> {
    let mut writer = staging.object(algorithm)?;
    // The reason of a failed write is told by `finish`.
    let written = writer.write_all(bytes);
    let object = writer.finish(Some(digest))?;
    written.map_err(Reason::Transfer)?;
    Ok(object.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_by_what_stands_in_them_or_by_their_file() {
        let origin = |reference: &str, name: Option<&str>| {
            let reference = Reference::parse_canonical(reference).unwrap();
            let o = Origin::of_archive(&reference, name);
            (o.registry, o.repository, o.tag)
        };
        let hub = || Some(crate::reference::DOCKER_HUB.to_owned());
        let s = str::to_owned;
        assert_eq!(
            origin("oci:/x/layout:v1", Some("v1")),
            (None, s("layout"), Some(s("v1")))
        );
        assert_eq!(
            origin(
                "oci-archive:/x/a.b.tar",
                Some("docker.io/library/busybox:1")
            ),
            (hub(), s("library/busybox"), Some(s("1")))
        );
        assert_eq!(
            origin("docker-archive:/x/a.tar", Some("busybox:latest")),
            (hub(), s("library/busybox"), Some(s("latest")))
        );
        assert_eq!(origin("oci:/x/.tar", None), (None, s("image"), None));
    }
}
