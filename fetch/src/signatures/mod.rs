//! Signatures of OCI images, as cosign makes them: verified with what comes
//! with the image and with files that the user names. Nobody else is asked.
//!
//! ```text
//!  sha256-DIGEST.sig ─┐                 ┌─ digest and repository (payload)
//!  referrers ─────────┼─▶ Candidate ──▶─┼─ key, or certificate ─▶ trust root
//!  sha256-DIGEST ─────┘                 └─ log entry ───────────▶ trust root
//! ```
//!
//! A signature may be on the index that the image was reached by or on the
//! manifest itself; the digests in between are checked by whoever follows them.
//!
//! Absent on purpose: the `sigstore` crate (asynchronous, with an HTTP client
//! of its own), timestamp authorities, and the log's `intoto` entries.

mod bundle;
mod certificate;
mod find;
mod json;
mod key;
mod log;
mod payload;
mod trust_root;

use manifests::digest::Digest;
use manifests::trust::Vouched;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

pub(crate) use certificate::matches_pattern;
pub(crate) use find::{candidates_by_referrers, candidates_by_tag};
pub(crate) use json::{decode as from_base64, encode as base64};
pub use key::{KeyError, PublicKey};
pub(crate) use payload::Repository;
pub(crate) use trust_root::TrustRoot;
pub use trust_root::TrustRootError;

use bundle::{Bundle, Content};
use certificate::SignerCertificate;
use json::Base64;
use log::{Entry, Signed};

/// Why a signature does not vouch for an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Damaged, truncated, or something else.
    #[error("the signature is malformed: {0}")]
    Malformed(String),
    /// It is about other bytes.
    #[error("the signature is for another image ({0})")]
    OtherImage(String),
    /// It is about the same bytes under another name.
    #[error(
        "the signature is for {named:?}, not for {wanted} (\"signedAs\" in a rule allows copies)"
    )]
    OtherRepository {
        /// What it names.
        named: String,
        /// What it should name.
        wanted: String,
    },
    /// A statement that does not say that the image is signed.
    #[error("it is a statement of type {0:?}, not a signature")]
    OtherStatement(String),
    /// Somebody else's, or over other bytes.
    #[error("the signature is not by a key that the policy names, or its bytes were changed")]
    OtherKey,
    /// Made with a bare key where a name is wanted.
    #[error("the signature has no certificate, so nobody knows who made it")]
    NoCertificate,
    /// The certificate does not hold.
    #[error("the signer's certificate is not good: {0}")]
    Certificate(String),
    /// It names somebody else.
    #[error("the signature is by {0}, whom the policy does not name")]
    OtherIdentity(String),
    /// No log noted it.
    #[error("the signature is in no transparency log, which the policy asks for")]
    NotLogged,
    /// A log that the trust root does not name.
    #[error("the signature is in a transparency log that the trust root does not name")]
    ForeignLog,
    /// The log's entry does not hold.
    #[error("the transparency log's entry is not good: {0}")]
    Log(String),
}

impl Fault {
    /// How close the signature came: of several faults the closest is told.
    pub(crate) fn closeness(&self) -> u8 {
        match self {
            Self::Malformed(_) | Self::OtherStatement(_) => 0,
            Self::OtherKey | Self::NoCertificate => 1,
            Self::OtherImage(_) | Self::OtherRepository { .. } => 2,
            Self::NotLogged | Self::ForeignLog | Self::Log(_) => 3,
            Self::Certificate(_) | Self::OtherIdentity(_) => 4,
        }
    }
}

/// Somebody whose signature is wanted, with what that takes.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A key; with a trust root its signatures must be logged.
    Key {
        key: PublicKey,
        root: Option<TrustRoot>,
    },
    /// A name.
    Identity {
        subject: String,
        issuer: String,
        root: TrustRoot,
    },
}

/// What is signed, or should be.
pub(crate) struct Target<'a> {
    pub(crate) digest: &'a Digest,
    /// The bytes with this digest.
    pub(crate) bytes: &'a [u8],
    /// What the signature has to call it, if that is known.
    pub(crate) repository: Option<&'a Repository>,
}

/// Something that may be a signature.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// cosign's first form: a payload with its signature in annotations.
    Simple(Simple),
    /// A bundle.
    Bundle(Vec<u8>),
}

/// A layer of an image `sha256-….sig`.
#[derive(Debug, Default)]
pub(crate) struct Simple {
    payload: Vec<u8>,
    /// Base64.
    signature: String,
    /// PEM.
    certificate: Option<String>,
    /// PEM.
    chain: Option<String>,
    /// JSON.
    log: Option<String>,
}

/// A log's answer as cosign keeps it beside a signature.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LogBundle {
    signed_entry_timestamp: Base64,
    payload: LogPayload,
}

#[derive(Deserialize)]
#[allow(non_snake_case, reason = "the names of the format")]
struct LogPayload {
    body: Base64,
    integratedTime: u64,
    logIndex: u64,
    logID: String,
}

/// What a candidate comes down to, whatever its form.
struct Parts {
    /// What was signed.
    message: Vec<u8>,
    /// What the log calls the message.
    logged_message: Option<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    entries: Vec<Entry>,
}

impl Candidate {
    /// Who vouches for the target by this, if it is somebody wanted.
    ///
    /// # Errors
    /// The closest fault.
    pub(crate) fn judge(&self, target: &Target<'_>, wanted: &[Wanted]) -> Result<Vouched, Fault> {
        let parts = match self {
            Self::Simple(simple) => simple.parts(target)?,
            Self::Bundle(bytes) => parts_of_bundle(bytes, target)?,
        };
        let mut closest: Option<Fault> = None;
        for wanted in wanted {
            match parts.judge(target, wanted) {
                Ok(vouched) => return Ok(vouched),
                Err(fault) => {
                    if closest
                        .as_ref()
                        .is_none_or(|c| c.closeness() < fault.closeness())
                    {
                        closest = Some(fault);
                    }
                }
            }
        }
        Err(closest.unwrap_or(Fault::OtherKey))
    }
}

impl Simple {
    fn parts(&self, target: &Target<'_>) -> Result<Parts, Fault> {
        payload::check_simple(&self.payload, target.digest, target.repository)?;
        let signature = json::decode(&self.signature).map_err(Fault::Malformed)?;
        let mut certificates = Vec::new();
        for pem in [&self.certificate, &self.chain].into_iter().flatten() {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|e| Fault::Certificate(format!("it is no PEM: {e}")))?;
                certificates.push(certificate.to_vec());
            }
        }
        Ok(Parts {
            message: self.payload.clone(),
            logged_message: None,
            signatures: vec![signature],
            certificates,
            entries: match &self.log {
                Some(text) => vec![entry_of(text)?],
                None => Vec::new(),
            },
        })
    }
}

fn entry_of(text: &str) -> Result<Entry, Fault> {
    let malformed = |reason: String| Fault::Log(format!("it is malformed: {reason}"));
    let LogBundle {
        signed_entry_timestamp,
        payload,
    } = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
    let digits = payload.logID.as_bytes().chunks(2);
    let log = digits.map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    Ok(Entry {
        body: payload.body.0,
        time: payload.integratedTime,
        index: payload.logIndex,
        log: log
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| malformed("its log has no name".to_owned()))?,
        promise: signed_entry_timestamp.0,
        proof: None,
    })
}

fn parts_of_bundle(bytes: &[u8], target: &Target<'_>) -> Result<Parts, Fault> {
    let bundle = Bundle::parse(bytes)?;
    let (message, logged_message, signatures) = match bundle.content {
        Content::Message { signature } => (target.bytes.to_vec(), None, vec![signature]),
        Content::Envelope(envelope) => {
            envelope.check(target.digest)?;
            let signatures = envelope.signatures().map(<[u8]>::to_vec).collect();
            (
                envelope.signed(),
                Some(envelope.payload().to_vec()),
                signatures,
            )
        }
    };
    Ok(Parts {
        message,
        logged_message,
        signatures,
        certificates: bundle.certificates,
        entries: bundle.entries,
    })
}

impl Parts {
    fn judge(&self, target: &Target<'_>, wanted: &Wanted) -> Result<Vouched, Fault> {
        let signed = target.digest.clone();
        match wanted {
            Wanted::Key { key, root } => {
                let signature = self.made_by(key)?;
                let logged = match root {
                    Some(root) => Some(self.logged(signature, key.der(), root)?),
                    None => None,
                };
                Ok(Vouched::Key {
                    fingerprint: key.fingerprint(),
                    signed,
                    logged,
                })
            }
            Wanted::Identity {
                subject,
                issuer,
                root,
            } => {
                let (first, chain) = self
                    .certificates
                    .split_first()
                    .ok_or(Fault::NoCertificate)?;
                let certificate = SignerCertificate::from_der(first.clone())?;
                let signature = self.made_by(&certificate.key()?)?;
                let logged = self.logged(signature, certificate.der(), root)?;
                certificate.check(chain, root, logged)?;
                let identity = certificate.identity()?;
                let named = identity
                    .subjects
                    .iter()
                    .find(|name| matches_pattern(subject, name));
                match named {
                    Some(name) if identity.issuer == *issuer => Ok(Vouched::Identity {
                        subject: name.clone(),
                        issuer: identity.issuer.clone(),
                        signed,
                        logged,
                    }),
                    _ => Err(Fault::OtherIdentity(identity.describe())),
                }
            }
        }
    }

    fn made_by(&self, key: &PublicKey) -> Result<&[u8], Fault> {
        self.signatures
            .iter()
            .find(|signature| key.made(signature, &self.message))
            .map(Vec::as_slice)
            .ok_or(Fault::OtherKey)
    }

    fn logged(&self, signature: &[u8], verifier: &[u8], root: &TrustRoot) -> Result<u64, Fault> {
        let about = Signed {
            signature,
            verifier,
            message: self.logged_message.as_deref().unwrap_or(&self.message),
        };
        let mut first = None;
        for entry in &self.entries {
            match entry.check(&about, root) {
                Ok(time) => return Ok(time),
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or(Fault::NotLogged))
    }
}
