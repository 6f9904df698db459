//! Entries of the transparency log: that a signature was made, and when.
//!
//! An entry counts if a log of the trust root signed it together with its time
//! (the "signed entry timestamp"), if its proof, where there is one, leads to a
//! tree that the log signed too, and if it is about this very signature by this
//! very key. Nobody is asked: all of it comes with the signature.
//!
//! Sources: Rekor's types `hashedrekord` and `dsse`, version 0.0.1; RFC 6962
//! section 2.1.1 (audit paths); the C2SP specifications of signed notes and
//! checkpoints.

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

use super::Fault;
use super::certificate::sha256_hex;
use super::json::{self, Base64};
use super::trust_root::{Log, TrustRoot};

/// An entry as it comes with a signature.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What was logged, byte for byte.
    pub(super) body: Vec<u8>,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) index: u64,
    /// SHA-256 of the log's key.
    pub(super) log: Vec<u8>,
    /// The log's signature over all that.
    pub(super) promise: Vec<u8>,
    pub(super) proof: Option<Proof>,
}

/// That the entry is in the log's tree.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) index: u64,
    pub(super) size: u64,
    pub(super) root: Vec<u8>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) checkpoint: String,
}

/// What the entry has to be about.
pub(super) struct Signed<'a> {
    pub(super) signature: &'a [u8],
    /// The DER of the certificate or the public key that verifies it.
    pub(super) verifier: &'a [u8],
    /// What was signed: a message, or the payload of a DSSE envelope.
    pub(super) message: &'a [u8],
}

fn fault(text: impl Into<String>) -> Fault {
    Fault::Log(text.into())
}

impl Entry {
    /// When the log noted the signature, in seconds since 1970.
    pub(super) fn check(&self, about: &Signed<'_>, root: &TrustRoot) -> Result<u64, Fault> {
        let log = root
            .logs
            .iter()
            .find(|log| log.id == self.log)
            .ok_or(Fault::ForeignLog)?;
        if !log.valid.contains(self.time) {
            return Err(fault("the log was not to be trusted at the entry's time"));
        }
        if !log.key.made(&self.promise, &self.promised()) {
            return Err(fault("the entry is not signed by the log it names"));
        }
        if let Some(proof) = &self.proof {
            proof.check(&self.body, log)?;
        }
        self.check_body(about)?;
        Ok(self.time)
    }

    /// The canonical JSON that the log signed.
    fn promised(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[allow(non_snake_case, reason = "the names of the format")]
        struct Payload {
            body: String,
            integratedTime: u64,
            logID: String,
            logIndex: u64,
        }
        let payload = Payload {
            body: json::encode(&self.body),
            integratedTime: self.time,
            logID: hex(&self.log),
            logIndex: self.index,
        };
        serde_json::to_vec(&payload).expect("strings and numbers always serialize")
    }

    fn check_body(&self, about: &Signed<'_>) -> Result<(), Fault> {
        let malformed = |e: serde_json::Error| fault(format!("the entry is malformed: {e}"));
        let body: Body = serde_json::from_slice(&self.body).map_err(malformed)?;
        let spec = body.spec.get();
        let (hash, signatures) = match (body.kind.as_str(), body.api_version.as_str()) {
            ("hashedrekord", "0.0.1") => {
                let spec: HashedRekord = serde_json::from_str(spec).map_err(malformed)?;
                let signature = (spec.signature.content, spec.signature.public_key.content);
                (spec.data.hash, vec![signature])
            }
            ("dsse", "0.0.1") => {
                let spec: Dsse = serde_json::from_str(spec).map_err(malformed)?;
                let signatures = spec.signatures.into_iter();
                let signatures = signatures.map(|s| (s.signature, s.verifier));
                (spec.payload_hash, signatures.collect())
            }
            (kind, version) => {
                return Err(fault(format!(
                    "entries of type {kind:?} {version:?} are not understood"
                )));
            }
        };
        let is_message = hash.algorithm == "sha256" && hash.value == sha256_hex(about.message);
        let is_signature = signatures.iter().any(|(signature, verifier)| {
            signature.0 == about.signature
                && pem_to_der(&verifier.0).is_some_and(|der| der == about.verifier)
        });
        match is_message && is_signature {
            true => Ok(()),
            false => Err(fault("the entry is about another signature")),
        }
    }
}

/// A certificate or a public key.
fn pem_to_der(pem: &[u8]) -> Option<Vec<u8>> {
    let certificate = CertificateDer::from_pem_slice(pem).map(|c| c.to_vec());
    let key = || SubjectPublicKeyInfoDer::from_pem_slice(pem).map(|k| k.to_vec());
    certificate.or_else(|_| key()).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    kind: String,
    api_version: String,
    spec: Box<serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct HashedRekord {
    data: Data,
    signature: LoggedSignature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedSignature {
    content: Base64,
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: Base64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload_hash: Hash,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: Base64,
    verifier: Base64,
}

impl Proof {
    fn check(&self, body: &[u8], log: &Log) -> Result<(), Fault> {
        let mut leaf = vec![0];
        leaf.extend(body);
        let leaf = digest(&SHA256, &leaf).as_ref().to_vec();
        let root = self
            .root_over(leaf)
            .ok_or_else(|| fault("the entry's inclusion proof has the wrong length"))?;
        if root != self.root {
            return Err(fault("the entry's inclusion proof does not hold"));
        }
        let signed = Checkpoint::parse(&self.checkpoint)
            .ok_or_else(|| fault("the log's checkpoint is malformed"))?;
        if signed.size != self.size || signed.root != self.root {
            return Err(fault("the log's checkpoint is of another tree"));
        }
        let hint = log.id.get(..4).unwrap_or_default();
        let by_log = signed.signatures.iter().any(|bytes| {
            bytes.split_at_checked(4).is_some_and(|(key, signature)| {
                key == hint && log.key.made(signature, signed.text.as_bytes())
            })
        });
        match by_log {
            true => Ok(()),
            false => Err(fault("the checkpoint is not signed by the log")),
        }
    }

    /// RFC 9162, section 2.1.3.2.
    fn root_over(&self, leaf: Vec<u8>) -> Option<Vec<u8>> {
        if self.index >= self.size {
            return None;
        }
        let (mut node, mut last, mut hash) = (self.index, self.size - 1, leaf);
        for sibling in &self.hashes {
            if last == 0 || sibling.len() != 32 {
                return None;
            }
            if node & 1 == 1 || node == last {
                hash = join(sibling, &hash);
                while node & 1 == 0 && node != 0 {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                hash = join(&hash, sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(hash)
    }
}

fn join(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut node = vec![1];
    node.extend(left);
    node.extend(right);
    digest(&SHA256, &node).as_ref().to_vec()
}

/// A note with signatures below it.
struct Checkpoint<'a> {
    /// What is signed.
    text: &'a str,
    size: u64,
    root: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

impl<'a> Checkpoint<'a> {
    fn parse(note: &'a str) -> Option<Self> {
        let end = note.rfind("\n\n\u{2014} ")? + 1;
        let (text, below) = (&note[..end], &note[end + 1..]);
        let mut lines = text.lines();
        let _origin = lines.next()?;
        let size = lines.next()?.parse().ok()?;
        let root = json::decode(lines.next()?).ok()?;
        let signature = |line: &str| {
            let (_name, bytes) = line.strip_prefix("\u{2014} ")?.rsplit_once(' ')?;
            json::decode(bytes).ok()
        };
        Some(Self {
            text,
            size,
            root,
            signatures: below.lines().filter_map(signature).collect(),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of RFC 6962 by its definition.
    fn tree(leaves: &[Vec<u8>]) -> Vec<u8> {
        match leaves {
            [one] => one.clone(),
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                join(&tree(&leaves[..half]), &tree(&leaves[half..]))
            }
        }
    }

    fn path(leaves: &[Vec<u8>], index: usize) -> Vec<Vec<u8>> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (mut below, sibling) = if index < half {
            (path(&leaves[..half], index), tree(&leaves[half..]))
        } else {
            (path(&leaves[half..], index - half), tree(&leaves[..half]))
        };
        below.push(sibling);
        below
    }

    #[test]
    fn audit_paths_lead_to_the_root_and_nowhere_else() {
        for size in 1..20usize {
            let leaves: Vec<_> = (0..size)
                .map(|i| vec![u8::try_from(i).unwrap(); 32])
                .collect();
            for index in 0..size {
                let mut proof = Proof {
                    index: index as u64,
                    size: size as u64,
                    root: tree(&leaves),
                    hashes: path(&leaves, index),
                    checkpoint: String::new(),
                };
                let leaf = || leaves[index].clone();
                assert_eq!(
                    proof.root_over(leaf()),
                    Some(tree(&leaves)),
                    "{index}/{size}"
                );
                assert_ne!(proof.root_over(vec![99; 32]), Some(tree(&leaves)));
                proof.hashes.push(vec![0; 32]);
                assert_eq!(proof.root_over(leaf()), None);
            }
        }
    }
}
