//! OCI images, and Docker's of schema 2: the same shape.

use std::io::Read;

use image_store::{ImageRecord, StagedLayer, Staging};
use manifests::digest::{Algorithm, Digest};
use manifests::image_id::ImageId;
use manifests::oci::{Config, Descriptor, Document, DocumentError, MAX_DOCUMENT_SIZE, Manifest};

use super::layers::{self, Wanted};
use super::{
    Context, MAX_LAYERS, Made, OciParts, Origin, check_platform, claim, commit_again, commit_oci,
    convert,
};
use crate::error::Reason;
use crate::policy::Demand;
use crate::stream::Verified;
use crate::transport::{Body, OciSource, Root};
use image_store::hash::digest_of;

/// Indexes in indexes: tools make one level, some mirrors a second.
const MAX_DEPTH: usize = 4;

/// The documents that lead to an image: what was found first, then index by
/// index the platform's manifest. Each but the first has the digest that the
/// one before it names.
pub(crate) struct Chain {
    links: Vec<(Digest, Vec<u8>)>,
    pub(super) manifest: Manifest,
}

impl Chain {
    /// The documents with their digests, the first one first.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&Digest, &[u8])> {
        self.links.iter().map(|(digest, bytes)| (digest, &**bytes))
    }

    /// The first document, what the reference leads to.
    pub(crate) fn root(&self) -> (&Digest, &[u8]) {
        let (digest, bytes) = self.links.first().expect("a chain has a first link");
        (digest, bytes)
    }

    /// The platform's manifest.
    pub(super) fn last(&self) -> (&Digest, &[u8]) {
        let (digest, bytes) = self.links.last().expect("a chain has a last link");
        (digest, bytes)
    }
}

/// Brings the image that `source` leads to into the store.
pub(crate) fn import_oci(
    context: Context<'_>,
    source: &dyn OciSource,
    origin: &Origin,
) -> Result<ImageRecord, Reason> {
    let policy = context.policy;
    let demand = policy.demand(&origin.name()?)?;
    let chain = resolve(context, source)?;
    let (manifest, (digest, bytes)) = (&chain.manifest, chain.last());
    let id = ImageId::new(digest.clone());
    let stored = stored(context, &id)?;
    if let Some(record) = &stored
        && policy.still_holds(record).is_ok()
    {
        return Ok(record.clone());
    }
    let verification = match demand {
        Demand::Nothing(rule) => Ok(policy.unlooked(rule)),
        Demand::Signature(rule) => {
            let repository = origin.signed_repository();
            let signed = policy.signed(rule, source, &chain, repository.as_ref())?;
            context.tell_verified(&signed);
            Ok(signed)
        }
        // What the pin is called stands in the configuration.
        Demand::Pin(rule) => Err(rule),
    };
    if let (Some(record), Ok(verification)) = (&stored, &verification) {
        return commit_again(context, record.clone(), verification.clone());
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
    config.check_layers(manifest).map_err(document)?;
    check_platform(context, &config)?;
    let converted = convert(
        context,
        origin,
        &config,
        id.digest(),
        &manifest.config.digest,
    )?;
    let verification = match verification {
        Ok(verification) => verification,
        Err(rule) => policy.pinned(rule, &converted.manifest, &id)?,
    };
    if let Some(record) = stored {
        return commit_again(context, record, verification);
    }

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
        None => Made::Layers(stage_layers(context, &staging, source, manifest, &config)?),
    };
    let parts = OciParts {
        manifest: bytes,
        config: &config_bytes,
        parsed: &config,
        config_digest: &manifest.config.digest,
        converted,
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
pub(super) fn resolve(context: Context<'_>, source: &dyn OciSource) -> Result<Chain, Reason> {
    let Root {
        mut bytes,
        mut media_type,
    } = source.root()?;
    let mut links = Vec::new();
    let mut digest = digest_of(Algorithm::Sha256, &bytes);
    let mut name = format!("the manifest from {}", source.origin());
    for _ in 0..MAX_DEPTH {
        let wrap = |source| Reason::Document {
            name: name.clone(),
            source,
        };
        let index = match Document::from_slice(&bytes, media_type.as_deref()).map_err(wrap)? {
            Document::Manifest(manifest) => {
                // The image's id, whatever its index calls it.
                links.push((digest_of(Algorithm::Sha256, &bytes), bytes));
                return Ok(Chain { links, manifest });
            }
            Document::Index(index) => index,
        };
        let chosen = &index.choose(context.platform).map_err(wrap)?.descriptor;
        let next = read_document(source, chosen)?;
        links.push((digest, std::mem::replace(&mut bytes, next)));
        digest = chosen.digest.clone();
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

pub(crate) fn read_blob(
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
