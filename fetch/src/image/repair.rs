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
use crate::stream::{self, Known, Shared};
use crate::transport::{Body, DockerArchive, OciSource, SavedImage};
use image_store::hash::digest_of;

/// Fetches objects of an OCI image from where its manifest is.
pub(crate) fn repair_oci(
    context: Context<'_>,
    source: &dyn OciSource,
    image: &ImageRecord,
    objects: &[Digest],
) -> Result<(), Reason> {
    let chain = resolve(context, source)?;
    let (manifest, (found, bytes)) = (&chain.manifest, chain.last());
    let found = found.clone();
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
    config.check_layers(manifest).map_err(document)?;

    let documents = [
        (&found, bytes),
        (&manifest.config.digest, &config_bytes[..]),
    ];
    replace(context, objects, &documents, &config, |at| {
        let layer = manifest.layers.get(at)?;
        let open = || {
            let body = source.blob(&layer.descriptor)?;
            let size = layer.descriptor.size;
            Ok((verified(source, &layer.descriptor, body), size))
        };
        Some(open())
    })
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
    // The manifest is none of the archive's: it was written by the import.
    let documents = [(&config_digest, &config_bytes[..])];
    replace(context, objects, &documents, &config, |at| {
        let file = saved.layers.get(at)?;
        Some(archive.file(file).map_err(Reason::from))
    })
}

/// Puts whole objects in the place of damaged ones: documents that are at hand,
/// and layers as `open` gives them by their place in the image, with their
/// size.
fn replace<'a>(
    context: Context<'_>,
    objects: &[Digest],
    documents: &[(&Digest, &[u8])],
    config: &Config,
    open: impl Fn(usize) -> Option<Result<(Body<'a>, u64), Reason>>,
) -> Result<(), Reason> {
    let staging = context.store.stage()?;
    let mut staged = Vec::new();
    for object in objects {
        if let Some((_, bytes)) = documents.iter().find(|(digest, _)| *digest == object) {
            staged.push(document_object(&staging, bytes, object)?);
            continue;
        }
        let at = config.diff_ids.iter().position(|d| d == object);
        let opened = at.and_then(&open);
        let (body, size) = opened.ok_or_else(|| Reason::NotOfImage(object.clone()))??;
        let kind = LayerKind::Oci;
        staged.push(layer_object(
            context,
            &staging,
            body,
            Some(size),
            object,
            kind,
        )?);
    }
    Ok(staging.replace(&staged)?)
}

/// Fetches the tar of an ACI, which is all there is to it.
pub(crate) fn repair_aci(
    context: Context<'_>,
    body: Body<'_>,
    size: Option<u64>,
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
    size: Option<u64>,
    digest: &Digest,
    kind: LayerKind,
) -> Result<StagedObject, Reason> {
    let name = &digest.hex()[..12];
    let mut step = context.progress.step(StepKind::Layer, name, size);
    let writer = staging.layer(digest.algorithm(), kind)?;
    let limits = context.limits;
    let layer = pour(&mut body, writer, Some(digest), |source, sink| {
        let known = match size {
            Some(_) => Known::Digest,
            None => Known::Nothing,
        };
        stream::run(
            source,
            known,
            sink,
            limits,
            &Shared::default(),
            step.as_mut(),
        )
    })
    .map_err(|reason| Reason::Layer {
        digest: digest.clone(),
        source: Box::new(reason),
    })?;
    step.done();
    Ok(layer.object)
}
