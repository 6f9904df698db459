//! Sigstore's bundle: signature, certificate and log entry in one file.
//!
//! Source: sigstore protobuf-specs, `sigstore_bundle.proto`, versions 0.1 to
//! 0.3, as JSON.

use serde::Deserialize;

use super::Fault;
use super::json::{Base64, LogId, Number};
use super::log::{Entry, Proof};
use super::payload::Envelope;

/// What all media types of bundles begin with, whatever their version.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// A bundle that was read, not checked.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) content: Content,
    /// The signer's certificate first; nothing if it was made with a bare key.
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) entries: Vec<Entry>,
}

/// What carries the signature.
#[derive(Debug)]
pub(super) enum Content {
    /// Over the manifest's own bytes.
    Message { signature: Vec<u8> },
    /// Over a statement about the manifest.
    Envelope(Envelope),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    media_type: String,
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Raw>,
    x509_certificate_chain: Option<Chain>,
    #[serde(default)]
    tlog_entries: Vec<LogEntry>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    log_index: Number,
    log_id: LogId,
    integrated_time: Option<Number>,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<InclusionProof>,
    canonicalized_body: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionProof {
    #[serde(default = "zero")]
    log_index: Number,
    root_hash: Base64,
    tree_size: Number,
    #[serde(default)]
    hashes: Vec<Base64>,
    checkpoint: Option<Checkpoint>,
}

/// Protocol buffers leave zeros out.
fn zero() -> Number {
    Number(0)
}

#[derive(Deserialize)]
struct Checkpoint {
    envelope: String,
}

impl Bundle {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let malformed = |reason: String| Fault::Malformed(format!("the bundle: {reason}"));
        let file: File = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if !file.media_type.starts_with(MEDIA_TYPE) {
            return Err(malformed(format!(
                "its media type is {:?}",
                file.media_type
            )));
        }
        let content = match (file.message_signature, file.dsse_envelope) {
            (Some(message), None) => Content::Message {
                signature: message.signature.0,
            },
            (None, Some(envelope)) => Content::Envelope(envelope),
            _ => return Err(malformed("it holds not one signature".to_owned())),
        };
        let Material {
            certificate,
            x509_certificate_chain: chain,
            tlog_entries: entries,
        } = file.verification_material;
        let chain = chain.map(|c| c.certificates).unwrap_or_default();
        let certificates = certificate.into_iter().chain(chain);
        // The first version came without proofs, which all later ones must have.
        let needs_proof = !file.media_type.ends_with("version=0.1");
        let entries = entries.into_iter().map(|entry| entry.read(needs_proof));
        Ok(Self {
            content,
            certificates: certificates.map(|raw| raw.raw_bytes.0).collect(),
            entries: entries
                .collect::<Result<_, _>>()
                .map_err(|reason| malformed(reason.to_owned()))?,
        })
    }
}

impl LogEntry {
    fn read(self, needs_proof: bool) -> Result<Entry, &'static str> {
        let proof = match self.inclusion_proof {
            Some(proof) => Some(Proof {
                index: proof.log_index.0,
                size: proof.tree_size.0,
                root: proof.root_hash.0,
                hashes: proof.hashes.into_iter().map(|h| h.0).collect(),
                checkpoint: proof
                    .checkpoint
                    .ok_or("its log entry has a proof without a checkpoint")?
                    .envelope,
            }),
            None if needs_proof => return Err("its log entry has no inclusion proof"),
            None => None,
        };
        let (Some(time), Some(promise)) = (self.integrated_time, self.inclusion_promise) else {
            return Err(
                "its log entry has no signed time (timestamp authorities are not supported)",
            );
        };
        Ok(Entry {
            body: self.canonicalized_body.0,
            time: time.0,
            index: self.log_index.0,
            log: self.log_id.key_id.0,
            promise: promise.signed_entry_timestamp.0,
            proof,
        })
    }
}
