//! Single objects of a stored image, fetched again.
//!
//! Nothing is believed that the first fetch was not told: the manifest must be
//! the one that gave the image its id, and every object must have its digest.
//! So no signature is asked for, and no record or name changes.

use std::io::Read;

use image_store::{ImageRecord, LayerKind, StagedObject, Staging};
use manifests::digest::{Algorithm, Digest};
use manifests::oci::Config;

use super::layers::pour;
use super::oci::{read_blob, resolve, verified};
use super::{Context, write_object};
use crate::error::Reason;
use crate::progress::StepKind;
use crate::stream::{self, Shared, digest_of};
use crate::transport::{Body, DockerArchive, OciSource, SavedImage};

/// Fetches objects of an OCI image from where its manifest is.
pub(crate) fn repair_oci(
    context: Context<'_>,
    source: &dyn OciSource,
    image: &ImageRecord,
    objects: &[Digest],
) -> Result<(), Reason> {
    let (bytes, manifest) = resolve(context, source)?;
    let found = digest_of(Algorithm::Sha256, &bytes);
    if found != *image.id.digest() {
        return Err(Reason::OtherImage {
            found,
            wanted: image.id.clone(),
        });
    }
    let config_bytes = read_blob(source, &manifest.config)?;
    let document = |error| Reason::Document {
        name: format!("the configuration {}", manifest.config.digest),
        source: error,
    };
    let config = Config::from_slice(&config_bytes).map_err(document)?;
    config.check_layers(&manifest).map_err(document)?;

    let staging = context.store.stage()?;
    let mut staged = Vec::new();
    for object in objects {
        if *object == found {
            staged.push(document_object(&staging, &bytes, object)?);
            continue;
        }
        if *object == manifest.config.digest {
            staged.push(document_object(&staging, &config_bytes, object)?);
            continue;
        }
        let at = config.diff_ids.iter().position(|d| d == object);
        let layer = at.and_then(|at| manifest.layers.get(at));
        let layer = layer.ok_or_else(|| Reason::NotOfImage(object.clone()))?;
        let body = source.blob(&layer.descriptor)?;
        let body = verified(source, &layer.descriptor, body);
        let size = layer.descriptor.size;
        staged.push(layer_object(
            context,
            &staging,
            body,
            size,
            object,
            LayerKind::Oci,
        )?);
    }
    Ok(staging.replace(&staged)?)
}

/// Fetches objects of an image from the archive that `docker save` wrote.
pub(crate) fn repair_saved(
    context: Context<'_>,
    archive: &DockerArchive,
    saved: &SavedImage,
    image: &ImageRecord,
    objects: &[Digest],
) -> Result<(), Reason> {
    let config_bytes = archive.document(&saved.config)?;
    let config_digest = digest_of(Algorithm::Sha256, &config_bytes);
    let recorded = image.oci.as_ref().map(|oci| &oci.config);
    if recorded != Some(&config_digest) {
        return Err(Reason::OtherImage {
            found: config_digest,
            wanted: image.id.clone(),
        });
    }
    let config = Config::from_slice(&config_bytes).map_err(|source| Reason::Document {
        name: format!("the configuration {}", saved.config),
        source,
    })?;
    let staging = context.store.stage()?;
    let mut staged = Vec::new();
    for object in objects {
        if *object == config_digest {
            staged.push(document_object(&staging, &config_bytes, object)?);
            continue;
        }
        // The manifest is none of the archive's: it was written by the import.
        let at = config.diff_ids.iter().position(|d| d == object);
        let file = at.and_then(|at| saved.layers.get(at));
        let file = file.ok_or_else(|| Reason::NotOfImage(object.clone()))?;
        let (body, size) = archive.file(file)?;
        staged.push(layer_object(
            context,
            &staging,
            body,
            size,
            object,
            LayerKind::Oci,
        )?);
    }
    Ok(staging.replace(&staged)?)
}

/// Fetches the tar of an ACI, which is all there is to it.
pub(crate) fn repair_aci(
    context: Context<'_>,
    body: Body<'_>,
    size: u64,
    object: &Digest,
) -> Result<(), Reason> {
    let staging = context.store.stage()?;
    let staged = layer_object(context, &staging, body, size, object, LayerKind::Aci)?;
    Ok(staging.replace(&[staged])?)
}

fn document_object(
    staging: &Staging<'_>,
    bytes: &[u8],
    digest: &Digest,
) -> Result<StagedObject, Reason> {
    Ok(StagedObject {
        digest: write_object(staging, digest.algorithm(), bytes, digest)?,
        size: bytes.len() as u64,
    })
}

fn layer_object(
    context: Context<'_>,
    staging: &Staging<'_>,
    mut body: impl Read + Send,
    size: u64,
    digest: &Digest,
    kind: LayerKind,
) -> Result<StagedObject, Reason> {
    let name = &digest.hex()[..12];
    let mut step = context.progress.step(StepKind::Layer, name, Some(size));
    let writer = staging.layer(digest.algorithm(), kind)?;
    let limits = context.limits;
    let layer = pour(&mut body, writer, Some(digest), |source, sink| {
        stream::run(source, sink, limits, &Shared::default(), step.as_mut())
    })
    .map_err(|reason| Reason::Layer {
        digest: digest.clone(),
        source: Box::new(reason),
    })?;
    step.done();
    Ok(layer.object)
}
