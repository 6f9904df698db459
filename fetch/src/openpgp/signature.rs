//! Detached signatures: hashed while the bytes pass, judged afterwards.
//!
//! ```text
//! Signatures::parse ──▶ SignedBytes::update… ──▶ finish ──▶ Hashed ──▶ judge(keys)
//! ```
//!
//! Whose keys count is known only once the image's own name is, and that
//! stands in the image; so the hash is made first and the keys come later.

use std::fmt;

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersionSpecific};
use sha2::digest::DynDigest;

use super::certificate::{Certificate, KeyFault, date, has_unknown_critical};

/// Signatures in one file: somebody may have several keys, not thousands.
const MAX_SIGNATURES: usize = 16;

/// How far clocks may disagree, in seconds.
const CLOCK_SKEW: u32 = 600;

/// Why a detached signature does not vouch for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Neither armored nor binary.
    #[error("no valid signatures found in the signature file: {0}")]
    Malformed(String),
    /// Made by keys that the keystore does not have.
    #[error("signature made by the unknown key {}", .issuers.join(", "))]
    UnknownKey {
        /// Fingerprints or key ids as the signature names them.
        issuers: Vec<String>,
    },
    /// The bytes are not those that were signed.
    #[error(
        "the signature by key {fingerprint} does not match: image or signature were damaged or \
         tampered with"
    )]
    Bad {
        /// The key that claims to have made it.
        fingerprint: String,
    },
    /// The key vouches for nothing any more.
    #[error("the signature's key {fingerprint} {fault}")]
    Key {
        /// The primary key.
        fingerprint: String,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The signature itself was limited in time.
    #[error("the signature by key {fingerprint} expired on {}", date(*.when))]
    Expired {
        /// The primary key.
        fingerprint: String,
        /// Seconds since 1970.
        when: u32,
    },
    /// The signature claims to come from the future.
    #[error(
        "the signature by key {fingerprint} was made in the future ({}); is this machine's clock \
         right?",
        date(*.when)
    )]
    Future {
        /// The primary key.
        fingerprint: String,
        /// Seconds since 1970.
        when: u32,
    },
    /// A hash function that can be forged, or a kind that says nothing about
    /// the bytes.
    #[error("unusable signature: {0}")]
    Unusable(String),
}

/// The signatures of one `.asc` file.
pub(crate) struct Signatures(Vec<Signature>);

impl Signatures {
    /// Reads a detached signature file, armored or binary.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let malformed = |e: pgp::errors::Error| SignatureError::Malformed(e.to_string());
        let (signatures, _) = DetachedSignature::from_reader_many(bytes).map_err(malformed)?;
        let signatures = signatures
            .take(MAX_SIGNATURES)
            .map(|s| s.map(|s| s.signature).map_err(malformed))
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.is_empty() {
            return Err(SignatureError::Malformed("it is empty".to_owned()));
        }
        Ok(Self(signatures))
    }

    /// Whether at least one of the keys may have made one of the signatures,
    /// before any byte was hashed.
    pub(crate) fn check_known<K: AsRef<Certificate>>(
        &self,
        keys: &[K],
    ) -> Result<(), SignatureError> {
        let known = |s: &Signature| keys.iter().any(|k| k.as_ref().may_have_made(s));
        match self.0.iter().any(known) {
            true => Ok(()),
            false => Err(SignatureError::UnknownKey {
                issuers: issuers(self.0.iter()),
            }),
        }
    }

    /// Gets ready to hash the signed bytes.
    pub(crate) fn start(self) -> Result<SignedBytes, SignatureError> {
        let mut first_error = None;
        let mut running = Vec::new();
        for signature in self.0 {
            match Running::new(signature) {
                Ok(r) => running.push(r),
                Err(reason) => first_error = first_error.or(Some(reason)),
            }
        }
        match first_error {
            Some(reason) if running.is_empty() => Err(SignatureError::Unusable(reason)),
            _ => Ok(SignedBytes(running)),
        }
    }
}

struct Running {
    signature: Signature,
    hasher: Box<dyn DynDigest + Send>,
}

impl Running {
    fn new(signature: Signature) -> Result<Self, String> {
        let config = signature.config().ok_or("its version is unknown")?;
        if config.typ() != SignatureType::Binary {
            return Err(format!(
                "it is of type {:?}; sign with `gpg --detach-sign`",
                config.typ()
            ));
        }
        if !matches!(
            config.hash_alg,
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha224
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        ) {
            return Err(format!(
                "its hash {} can be forged; sign again with --digest-algo SHA512",
                config.hash_alg
            ));
        }
        if has_unknown_critical(&signature) {
            return Err("it has a critical part that is unknown here".to_owned());
        }
        let mut hasher = config.hash_alg.new_hasher().map_err(|e| e.to_string())?;
        if let SignatureVersionSpecific::V6 { salt } = &config.version_specific {
            if config.hash_alg.salt_len() != Some(salt.len()) {
                return Err("its salt has the wrong length".to_owned());
            }
            hasher.update(salt.as_ref());
        }
        Ok(Self { signature, hasher })
    }

    fn finish(mut self) -> Option<(Signature, Vec<u8>)> {
        let config = self.signature.config()?;
        let length = config.hash_signature_data(&mut self.hasher).ok()?;
        self.hasher.update(&config.trailer(length).ok()?);
        let hash = self.hasher.finalize().into_vec();
        Some((self.signature, hash))
    }
}

/// Hashes the signed bytes as each signature wants it.
pub(crate) struct SignedBytes(Vec<Running>);

impl SignedBytes {
    /// More of the signed bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for running in &mut self.0 {
            running.hasher.update(bytes);
        }
    }

    /// There are no more.
    pub(crate) fn finish(self) -> Hashed {
        Hashed(self.0.into_iter().filter_map(Running::finish).collect())
    }
}

impl fmt::Debug for SignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedBytes({} signatures)", self.0.len())
    }
}

/// The signatures, each with the hash of the bytes it should be over.
#[derive(Debug)]
pub(crate) struct Hashed(Vec<(Signature, Vec<u8>)>);

impl Hashed {
    /// The first of the keys that made one of the signatures and may vouch at
    /// `now` (seconds since 1970). Of the reasons why none does, the most telling is returned.
    pub(crate) fn judge<'a, K: AsRef<Certificate>>(
        &self,
        keys: &'a [K],
        now: u32,
    ) -> Result<&'a K, SignatureError> {
        let mut faults = Vec::new();
        for (signature, hash) in &self.0 {
            for key in keys {
                let certificate = key.as_ref();
                if !certificate.may_have_made(signature) {
                    continue;
                }
                match judge_one(signature, hash, certificate, now) {
                    Ok(()) => return Ok(key),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        // A signature that names no issuer fails for every other key, too; a
        // key that made it and may not tells more.
        let telling = faults
            .iter()
            .find(|f| !matches!(f, SignatureError::Bad { .. }))
            .or(faults.first());
        Err(telling
            .cloned()
            .unwrap_or_else(|| SignatureError::UnknownKey {
                issuers: self.issuers(),
            }))
    }

    /// The keys that the signatures name, as precisely as they do.
    pub(crate) fn issuers(&self) -> Vec<String> {
        issuers(self.0.iter().map(|(signature, _)| signature))
    }
}

fn issuers<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Vec<String> {
    let mut issuers: Vec<_> = signatures
        .map(|signature| {
            let fingerprint = signature.issuer_fingerprint();
            match (fingerprint.first(), signature.issuer_key_id().first()) {
                (Some(fingerprint), _) => format!("{fingerprint:x}"),
                (None, Some(id)) => id.to_string(),
                (None, None) => "that the signature does not name".to_owned(),
            }
        })
        .collect();
    issuers.dedup();
    issuers
}

fn judge_one(
    signature: &Signature,
    hash: &[u8],
    certificate: &Certificate,
    now: u32,
) -> Result<(), SignatureError> {
    let fingerprint = certificate.fingerprint();
    match certificate.check(signature, hash, now) {
        None => return Err(SignatureError::Bad { fingerprint }),
        Some(Err(fault)) => return Err(SignatureError::Key { fingerprint, fault }),
        Some(Ok(())) => {}
    }
    let Some(created) = signature.created().map(|t| t.as_secs()) else {
        return Err(SignatureError::Unusable("it has no time".to_owned()));
    };
    if created > now.saturating_add(CLOCK_SKEW) {
        let when = created;
        return Err(SignatureError::Future { fingerprint, when });
    }
    let lifetime = signature
        .signature_expiration_time()
        .map_or(0, |d| d.as_secs());
    let when = created.saturating_add(lifetime);
    if lifetime > 0 && when <= now {
        return Err(SignatureError::Expired { fingerprint, when });
    }
    Ok(())
}
