//! Public keys and the arithmetic of signatures.

use std::fmt;

use manifests::digest::{Algorithm, Digest};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};

use image_store::hash::digest_of;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why bytes are no public key that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM of a public key.
    #[error("holds no PEM public key (\"-----BEGIN PUBLIC KEY-----\"): {0}")]
    Pem(String),
    /// Somebody is about to lose a secret.
    #[error("holds a private key; the policy needs the public one (`cosign public-key`)")]
    Secret,
    /// Damaged.
    #[error("holds a public key that cannot be read: {0}")]
    Der(String),
    /// Of a kind that we do not know.
    #[error(
        "holds a key of an unknown kind ({0}); known are ECDSA P-256 and P-384, Ed25519 and RSA"
    )]
    Kind(String),
}

#[derive(Clone, Copy)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

/// A public key as cosign, certificates and logs have them.
#[derive(Clone)]
pub struct PublicKey {
    kind: Kind,
    /// The point, the modulus with its exponent: what stands inside.
    bits: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    der: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        if pem.windows(11).any(|w| w == b"PRIVATE KEY") {
            return Err(KeyError::Secret);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|e| KeyError::Pem(e.to_string()))?;
        Self::from_der(&der)
    }

    /// Reads a SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|e| KeyError::Der(e.to_string()))?;
        let curve = info
            .algorithm
            .parameters
            .and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let kind = match (info.algorithm.oid, curve) {
            (EC, Some(P256)) => Kind::P256,
            (EC, Some(P384)) => Kind::P384,
            (ED25519, None) => Kind::Ed25519,
            (RSA, _) => Kind::Rsa,
            (EC, Some(curve)) => return Err(KeyError::Kind(format!("curve {curve}"))),
            (other, _) => return Err(KeyError::Kind(other.to_string())),
        };
        let bits = info.subject_public_key.as_bytes();
        Ok(Self {
            kind,
            bits: bits
                .ok_or_else(|| KeyError::Der("it has unused bits".to_owned()))?
                .to_vec(),
            der: der.to_vec(),
        })
    }

    /// The key of a certificate.
    pub(super) fn of_certificate(info: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let der = info.to_der().map_err(|e| KeyError::Der(e.to_string()))?;
        Self::from_der(&der)
    }

    /// SHA-256 of the SubjectPublicKeyInfo: how logs and records call a key.
    pub fn fingerprint(&self) -> Digest {
        digest_of(Algorithm::Sha256, &self.der)
    }

    /// The SubjectPublicKeyInfo.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether the key made `signature` over `message`. RSA with PKCS#1 and
    /// SHA-256, ECDSA (ASN.1) with SHA-256, for P-384 with SHA-384 too, pure
    /// Ed25519: what cosign makes.
    pub(super) fn made(&self, signature: &[u8], message: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            Kind::P256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Kind::P384 => &[
                &signature::ECDSA_P384_SHA256_ASN1,
                &signature::ECDSA_P384_SHA384_ASN1,
            ],
            Kind::Ed25519 => &[&signature::ED25519],
            Kind::Rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256],
        };
        algorithms.iter().any(|algorithm| {
            UnparsedPublicKey::new(*algorithm, &self.bits)
                .verify(message, signature)
                .is_ok()
        })
    }
}
