//! Images of `docker save` archives.
//!
//! Such an archive has no OCI manifest, but an image's id is the digest of
//! one. So one is written that describes what the store keeps: the
//! configuration as it is and the layers uncompressed. It is the same for the
//! same image, whoever saved it and however the layers were packed.

use image_store::{ImageRecord, StagedLayer};
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::oci::{Config, DocumentError, media_type};
use serde::Serialize;

use super::layers::{self, Wanted};
use super::oci::stored;
use super::{
    Context, MAX_LAYERS, Made, OciParts, Origin, check_platform, commit_again, commit_oci, convert,
};
use crate::error::Reason;
use crate::policy::{Demand, no_signatures};
use crate::transport::{DockerArchive, SavedImage};
use image_store::hash::digest_of;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnManifest {
    schema_version: u32,
    media_type: &'static str,
    config: OwnDescriptor,
    layers: Vec<OwnDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnDescriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

/// Brings one image of an archive into the store.
pub(crate) fn import_saved(
    context: Context<'_>,
    archive: &DockerArchive,
    image: &SavedImage,
    origin: &Origin,
) -> Result<ImageRecord, Reason> {
    let policy = context.policy;
    let demand = policy.demand(&origin.name()?)?;
    if let Demand::Signature(rule) = demand {
        return Err(no_signatures(rule));
    }
    let config_bytes = archive.document(&image.config)?;
    let document = |source| Reason::Document {
        name: format!("the configuration {}", image.config),
        source,
    };
    let config = Config::from_slice(&config_bytes).map_err(document)?;
    let (layers, diff_ids) = (image.layers.len(), config.diff_ids.len());
    if layers != diff_ids {
        return Err(document(DocumentError::LayerCount { layers, diff_ids }));
    }
    if layers > MAX_LAYERS {
        return Err(Reason::TooManyLayers(layers));
    }
    check_platform(context, &config)?;
    let staging = context.store.stage()?;
    let wanted = |(file, diff_id): (&'_ String, &Digest)| {
        let (_, size) = archive.file(file)?;
        let file = file.clone();
        Ok(Wanted {
            name: diff_id.clone(),
            diff_id: diff_id.clone(),
            size,
            has_digest: false,
            open: Box::new(move || Ok(archive.file(&file)?.0)),
        })
    };
    let wanted = image
        .layers
        .iter()
        .zip(&config.diff_ids)
        .map(wanted)
        .collect::<Result<Vec<_>, Reason>>()?;
    let layers = layers::stage(context, &staging, &wanted)?;
    let config_digest = digest_of(Algorithm::Sha256, &config_bytes);
    let manifest = own_manifest(&config_digest, config_bytes.len() as u64, &layers);
    let id = ImageId::new(digest_of(Algorithm::Sha256, &manifest));
    let stored = stored(context, &id)?;
    if let Some(record) = &stored
        && policy.still_holds(record).is_ok()
    {
        return Ok(record.clone());
    }
    let converted = convert(context, origin, &config, id.digest(), &config_digest)?;
    let verification = match demand {
        Demand::Pin(rule) => policy.pinned(rule, &converted.manifest, &id)?,
        Demand::Nothing(rule) => policy.unlooked(rule),
        Demand::Signature(rule) => return Err(no_signatures(rule)),
    };
    if let Some(record) = stored {
        return commit_again(context, record, verification);
    }
    let parts = OciParts {
        manifest: &manifest,
        config: &config_bytes,
        parsed: &config,
        config_digest: &config_digest,
        converted,
        made: Made::Layers(layers),
        verification,
    };
    commit_oci(context, staging, id, parts)
}

fn own_manifest(config: &Digest, size: u64, layers: &[StagedLayer]) -> Vec<u8> {
    let manifest = OwnManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config: OwnDescriptor {
            media_type: media_type::OCI_CONFIG,
            digest: config.clone(),
            size,
        },
        layers: layers
            .iter()
            .map(|layer| OwnDescriptor {
                media_type: LAYER,
                digest: layer.object.digest.clone(),
                size: layer.object.size,
            })
            .collect(),
    };
    serde_json::to_vec(&manifest).expect("strings and numbers always serialize")
}
