//! What is signed: cosign's payload, in-toto statements, DSSE envelopes.
//!
//! Sources: cosign's "Signature specification" (simple signing), in-toto
//! attestation framework "Statement" v1 and v0.1, DSSE protocol 1.0.

use std::collections::BTreeMap;

use manifests::digest::Digest;
use serde::Deserialize;

use super::Fault;
use super::json::Base64;
use crate::reference::{DockerReference, Version};

/// Types of the payload: cosign's old and new name.
const SIMPLE_TYPES: [&str; 2] = [
    "cosign container image signature",
    "https://sigstore.dev/cosign/sign/v1",
];

/// What says of an image that it is signed. Everything else that somebody may
/// state about it, say the result of a scan, is no reason to let it in.
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Deserialize)]
struct Simple {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: SimpleIdentity,
    image: SimpleImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SimpleIdentity {
    #[serde(default)]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SimpleImage {
    docker_manifest_digest: String,
}

fn malformed(what: &'static str) -> impl Fn(serde_json::Error) -> Fault {
    move |e| Fault::Malformed(format!("{what}: {e}"))
}

/// Checks that a simple-signing payload is about the manifest `digest`, and
/// about the repository it should be from, if that is known.
pub(super) fn check_simple(
    payload: &[u8],
    digest: &Digest,
    repository: Option<&Repository>,
) -> Result<(), Fault> {
    let simple: Simple = serde_json::from_slice(payload).map_err(malformed("the payload"))?;
    let Critical {
        identity,
        image,
        kind,
    } = simple.critical;
    if !SIMPLE_TYPES.contains(&kind.as_str()) {
        return Err(Fault::Malformed(format!("the payload is a {kind:?}")));
    }
    if image.docker_manifest_digest != digest.to_string() {
        return Err(Fault::OtherImage(image.docker_manifest_digest));
    }
    match repository {
        Some(repository) if !repository.is_named_by(&identity.docker_reference) => {
            Err(Fault::OtherRepository {
                named: identity.docker_reference,
                wanted: repository.to_string(),
            })
        }
        _ => Ok(()),
    }
}

/// The repository, and the tag if there is one, that a signature has to name.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    registry: String,
    repository: String,
    tag: Option<String>,
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

impl Repository {
    pub(crate) fn new(registry: &str, repository: &str, tag: Option<&str>) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
        }
    }

    /// The repository that `text` names, with this one's tag.
    pub(crate) fn renamed(&self, text: &str) -> Option<Self> {
        let other = DockerReference::parse(text).ok()?;
        Some(Self::new(
            other.registry(),
            other.repository(),
            self.tag.as_deref(),
        ))
    }

    /// A reference without a tag names all of them.
    fn is_named_by(&self, text: &str) -> bool {
        let Ok(named) = DockerReference::parse(text) else {
            return false;
        };
        let last = text.rsplit('/').next().unwrap_or_default();
        let tag_fits = match (named.version(), &self.tag) {
            (Version::Tag(tag), Some(ours)) if last.contains(':') => tag == ours,
            _ => true,
        };
        named.registry() == self.registry && named.repository() == self.repository && tag_fits
    }
}

/// A DSSE envelope as JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    payload: Base64,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, Deserialize)]
struct EnvelopeSignature {
    sig: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

impl Envelope {
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload.0
    }

    pub(super) fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.signatures.iter().map(|s| s.sig.0.as_slice())
    }

    /// What is signed: the payload with its type and all lengths.
    pub(super) fn signed(&self) -> Vec<u8> {
        let kind = &self.payload_type;
        let mut signed =
            format!("DSSEv1 {} {kind} {} ", kind.len(), self.payload.0.len()).into_bytes();
        signed.extend(&self.payload.0);
        signed
    }

    /// Checks that the payload says of the manifest `digest` that it is signed.
    pub(super) fn check(&self, digest: &Digest) -> Result<(), Fault> {
        if self.payload_type != STATEMENT_TYPE {
            return Err(Fault::Malformed(format!(
                "the envelope holds a {:?}",
                self.payload_type
            )));
        }
        let statement: Statement =
            serde_json::from_slice(&self.payload.0).map_err(malformed("the statement"))?;
        if !statement.kind.starts_with("https://in-toto.io/Statement/v") {
            return Err(Fault::Malformed(format!(
                "the statement is a {:?}",
                statement.kind
            )));
        }
        if statement.predicate_type != SIGN_PREDICATE {
            return Err(Fault::OtherStatement(statement.predicate_type));
        }
        let algorithm = digest.algorithm().to_string();
        let named = |subject: &Subject| subject.digest.get(&algorithm).cloned();
        let mut subjects = statement.subject.iter().filter_map(named);
        match subjects.any(|hex| hex == digest.hex()) {
            true => Ok(()),
            false => Err(Fault::OtherImage(
                statement
                    .subject
                    .iter()
                    .find_map(named)
                    .unwrap_or_else(|| "nothing".to_owned()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_the_repository_as_docker_does() {
        let of = |tag: Option<&str>| Repository::new("registry-1.docker.io", "library/a", tag);
        for name in ["a", "docker.io/a", "index.docker.io/library/a", "a:1"] {
            assert!(of(Some("1")).is_named_by(name), "{name}");
        }
        for name in ["", "b", "example.com/library/a", "a:2"] {
            assert!(!of(Some("1")).is_named_by(name), "{name}");
        }
        assert!(of(None).is_named_by("a:2"));
        let port = Repository::new("localhost:5000", "a/b", Some("1"));
        assert!(port.is_named_by("localhost:5000/a/b"));
        assert!(!port.is_named_by("localhost:5001/a/b"));
    }

    #[test]
    fn the_envelope_signs_type_and_lengths() {
        let text = r#"{"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld",
            "signatures": []}"#;
        let envelope: Envelope = serde_json::from_str(text).unwrap();
        // The example of the specification.
        assert_eq!(
            envelope.signed(),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
