//! Where signatures of an image lie.
//!
//! Sources: cosign's "Signature specification" (tags), OCI distribution
//! specification 1.1 ("Listing Referrers"), cosign's "Bundle specification".

use std::collections::HashMap;

use manifests::digest::Digest;
use manifests::oci::Descriptor;
use serde::Deserialize;

use super::{Candidate, Simple, bundle};
use crate::error::Reason;
use crate::image::{read_blob, read_document};
use crate::transport::{OciSource, raw_entries};

/// A layer of a signature image.
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Everybody who may push can add signatures; so many are looked at.
const MAX_CANDIDATES: usize = 64;

/// A manifest of any kind, as far as signatures go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    #[serde(default)]
    layers: Vec<ArtifactLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLayer {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// What lies under the tag `sha256-DIGEST.sig`.
pub(crate) fn candidates_by_tag(
    source: &dyn OciSource,
    digest: &Digest,
) -> Result<Vec<Candidate>, Reason> {
    let tag = format!("{}-{}.sig", digest.algorithm(), digest.hex());
    let mut candidates = Vec::new();
    for bytes in source.tagged(&tag)? {
        read(source, &bytes, &mut candidates)?;
    }
    Ok(candidates)
}

/// What refers to the digest.
pub(crate) fn candidates_by_referrers(
    source: &dyn OciSource,
    digest: &Digest,
) -> Result<Vec<Candidate>, Reason> {
    let mut candidates = Vec::new();
    let referrers = match source.referrers(digest)? {
        Some(referrers) => referrers,
        // What a registry without the interface is given instead.
        None => {
            let tag = format!("{}-{}", digest.algorithm(), digest.hex());
            let indexes = source.tagged(&tag)?;
            let entries = indexes.iter().flat_map(|index| raw_entries(index));
            entries.map(|entry| entry.descriptor).collect()
        }
    };
    for referrer in referrers.iter().take(MAX_CANDIDATES) {
        if candidates.len() >= MAX_CANDIDATES {
            break;
        }
        let bytes = read_document(source, referrer)?;
        read(source, &bytes, &mut candidates)?;
    }
    Ok(candidates)
}

/// Adds the signatures that a manifest has for layers; other manifests have
/// none.
fn read(
    source: &dyn OciSource,
    manifest: &[u8],
    candidates: &mut Vec<Candidate>,
) -> Result<(), Reason> {
    let Ok(artifact) = serde_json::from_slice::<Artifact>(manifest) else {
        return Ok(());
    };
    for layer in artifact.layers {
        if candidates.len() >= MAX_CANDIDATES {
            break;
        }
        let is_bundle = layer.media_type.starts_with(bundle::MEDIA_TYPE);
        if !is_bundle && layer.media_type != SIMPLE {
            continue;
        }
        let descriptor = Descriptor {
            media_type: layer.media_type,
            digest: layer.digest,
            size: layer.size,
        };
        let bytes = read_blob(source, &descriptor)?;
        if is_bundle {
            candidates.push(Candidate::Bundle(bytes));
            continue;
        }
        let mut annotations = layer.annotations;
        let mut take = |name: &str| annotations.remove(name).filter(|text| !text.is_empty());
        candidates.push(Candidate::Simple(Simple {
            payload: bytes,
            signature: take("dev.cosignproject.cosign/signature").unwrap_or_default(),
            certificate: take("dev.sigstore.cosign/certificate"),
            chain: take("dev.sigstore.cosign/chain"),
            log: take("dev.sigstore.cosign/bundle"),
        }));
    }
    Ok(())
}
