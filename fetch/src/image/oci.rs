//! OCI images, and Docker's of schema 2: the same shape.

use std::io::Read;

use image_store::{ImageRecord, StagedLayer, Staging};
use manifests::digest::Algorithm;
use manifests::image_id::ImageId;
use manifests::oci::{Config, Descriptor, Document, DocumentError, MAX_DOCUMENT_SIZE, Manifest};
use manifests::trust::Verification;

use super::layers::{self, Wanted};
use super::{Context, MAX_LAYERS, Made, OciParts, Origin, check_platform, claim, commit_oci};
use crate::error::Reason;
use crate::stream::{Verified, digest_of};
use crate::transport::{Body, OciSource, Root};

/// Indexes in indexes: tools make one level, some mirrors a second.
const MAX_DEPTH: usize = 4;

/// Brings the image that `source` leads to into the store.
pub(crate) fn import_oci(
    context: Context<'_>,
    source: &dyn OciSource,
    origin: &Origin,
    verification: Verification,
) -> Result<ImageRecord, Reason> {
    let (bytes, manifest) = resolve(context, source)?;
    let id = ImageId::new(digest_of(Algorithm::Sha256, &bytes));
    if let Some(record) = stored(context, &id)? {
        return Ok(record);
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(Reason::TooManyLayers(manifest.layers.len()));
    }
    let config_bytes = read_blob(source, &manifest.config)?;
    let document = |error| Reason::Document {
        name: format!("the configuration {}", manifest.config.digest),
        source: error,
    };
    let config = Config::from_slice(&config_bytes).map_err(document)?;
    config.check_layers(&manifest).map_err(document)?;
    check_platform(context, &config)?;

    // From here on no sweep can take away the layers that are there.
    let staging = context.store.stage()?;
    let made = match claim(context, &staging, &id, &config.diff_ids)? {
        Some(stored) => {
            for layer in &manifest.layers {
                layers::step(context, &layer.descriptor.digest, layer.descriptor.size)
                    .already_stored();
            }
            stored
        }
        None => Made::Layers(stage_layers(context, &staging, source, &manifest, &config)?),
    };
    let parts = OciParts {
        manifest: &bytes,
        config: &config_bytes,
        parsed: &config,
        config_digest: &manifest.config.digest,
        origin,
        made,
        verification,
    };
    commit_oci(context, staging, id, parts)
}

fn stage_layers(
    context: Context<'_>,
    staging: &Staging<'_>,
    source: &dyn OciSource,
    manifest: &Manifest,
    config: &Config,
) -> Result<Vec<StagedLayer>, Reason> {
    let wanted: Vec<_> = manifest
        .layers
        .iter()
        .zip(&config.diff_ids)
        .map(|(layer, diff_id)| Wanted {
            name: layer.descriptor.digest.clone(),
            diff_id: diff_id.clone(),
            size: layer.descriptor.size,
            has_digest: true,
            open: Box::new(|| {
                let body = source.blob(&layer.descriptor)?;
                Ok(verified(source, &layer.descriptor, body))
            }),
        })
        .collect();
    layers::stage(context, staging, &wanted)
}

/// The image's record, if it is stored and the reference leads there already;
/// then there is nothing to do.
pub(super) fn stored(context: Context<'_>, id: &ImageId) -> Result<Option<ImageRecord>, Reason> {
    let name = context.reference.to_string();
    if context.store.find_name(&name)?.as_ref() != Some(id) {
        return Ok(None);
    }
    Ok(context.store.image(id)?)
}

/// Follows indexes to the manifest for the platform.
pub(super) fn resolve(
    context: Context<'_>,
    source: &dyn OciSource,
) -> Result<(Vec<u8>, Manifest), Reason> {
    let Root {
        mut bytes,
        mut media_type,
    } = source.root()?;
    let mut name = format!("the manifest from {}", source.origin());
    for _ in 0..MAX_DEPTH {
        let wrap = |source| Reason::Document {
            name: name.clone(),
            source,
        };
        let index = match Document::from_slice(&bytes, media_type.as_deref()).map_err(wrap)? {
            Document::Manifest(manifest) => return Ok((bytes, manifest)),
            Document::Index(index) => index,
        };
        let chosen = &index.choose(context.platform).map_err(wrap)?.descriptor;
        bytes = read_document(source, chosen)?;
        media_type = Some(chosen.media_type.clone());
        name = format!("the manifest {} from {}", chosen.digest, source.origin());
    }
    Err(Reason::TooDeep(MAX_DEPTH))
}

/// A manifest or index, checked against its descriptor.
pub(crate) fn read_document(
    source: &dyn OciSource,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, Reason> {
    check_size("the manifest", descriptor)?;
    read_all(verified(source, descriptor, source.manifest(descriptor)?))
}

pub(super) fn read_blob(
    source: &dyn OciSource,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, Reason> {
    check_size("the configuration", descriptor)?;
    read_all(verified(source, descriptor, source.blob(descriptor)?))
}

/// Before a byte of it is asked for.
fn check_size(what: &'static str, descriptor: &Descriptor) -> Result<(), Reason> {
    if descriptor.size <= MAX_DOCUMENT_SIZE {
        return Ok(());
    }
    let size = descriptor.size;
    Err(Reason::Document {
        name: descriptor.digest.to_string(),
        source: DocumentError::TooLarge { what, size },
    })
}

pub(super) fn verified<'a>(
    source: &dyn OciSource,
    descriptor: &Descriptor,
    body: Body<'a>,
) -> Body<'a> {
    Box::new(Verified::new(
        body,
        source.origin(),
        descriptor.digest.clone(),
        descriptor.size,
    ))
}

fn read_all(mut body: Body<'_>) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).map_err(Reason::Transfer)?;
    Ok(bytes)
}
