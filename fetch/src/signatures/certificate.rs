//! Certificates that name a signer for ten minutes, as Fulcio issues them.
//!
//! A certificate counts if it leads to an authority of the trust root, was
//! valid when the transparency log noted the signature, is for signing code,
//! and if one of the trust root's certificate logs promised to show it.
//!
//! Sources: sigstore's "Fulcio certificate specification" and "OID
//! information"; RFC 6962 section 3.2 (SCTs), RFC 5280.

use std::fmt::Write as _;

use manifests::digest::Algorithm;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Fault;
use super::key::PublicKey;
use super::trust_root::{Authority, TrustRoot};
use image_store::hash::digest_of;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
/// The issuer as a bare string, and as DER.
const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
/// A user name that is no mail address, in a SAN's other name.
const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: KeyUsage = KeyUsage::required(&[0x2b, 6, 1, 5, 5, 7, 3, 3]);

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) subjects: Vec<String>,
    pub(super) issuer: String,
}

/// A signer's certificate.
pub(super) struct SignerCertificate {
    der: Vec<u8>,
    parsed: Certificate,
}

fn bad(what: &str) -> impl Fn(x509_cert::der::Error) -> Fault + '_ {
    move |e| Fault::Certificate(format!("{what}: {e}"))
}

impl SignerCertificate {
    pub(super) fn from_der(der: Vec<u8>) -> Result<Self, Fault> {
        let parsed = Certificate::from_der(&der).map_err(bad("it cannot be read"))?;
        Ok(Self { der, parsed })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn key(&self) -> Result<PublicKey, Fault> {
        PublicKey::of_certificate(&self.parsed.tbs_certificate.subject_public_key_info)
            .map_err(|e| Fault::Certificate(format!("it {e}")))
    }

    /// Whom it names; what it says has yet to be believed.
    pub(super) fn identity(&self) -> Result<Identity, Fault> {
        let subjects = match self.extension(SUBJECT_ALT_NAME) {
            Some(bytes) => names(bytes)?,
            None => Vec::new(),
        };
        let issuer = match (self.extension(ISSUER_V2), self.extension(ISSUER_V1)) {
            (Some(der), _) => Utf8StringRef::from_der(der)
                .map_err(bad("its issuer"))?
                .as_str()
                .to_owned(),
            (None, Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            (None, None) => String::new(),
        };
        Ok(Identity { subjects, issuer })
    }

    fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = self.parsed.tbs_certificate.extensions.as_deref()?;
        let found = extensions.iter().find(|e| e.extn_id == oid)?;
        Some(found.extn_value.as_bytes())
    }

    /// Checks that an authority of `root` issued it, that it was valid at
    /// `time` (seconds since 1970), and that a log promised to show it.
    /// `chain` are certificates that came with it, unbelieved.
    pub(super) fn check(
        &self,
        chain: &[Vec<u8>],
        root: &TrustRoot,
        time: u64,
    ) -> Result<(), Fault> {
        let mut reason = None;
        for authority in &root.authorities {
            match self.chain_to(authority, chain, time) {
                Ok(issuer) => return self.check_logged(&issuer, root),
                Err(e) => reason = reason.or(Some(e)),
            }
        }
        Err(reason.unwrap_or_else(|| {
            Fault::Certificate("the trust root names no certificate authority".to_owned())
        }))
    }

    /// The key of the certificate that this one was issued with.
    fn chain_to(
        &self,
        authority: &Authority,
        chain: &[Vec<u8>],
        time: u64,
    ) -> Result<PublicKey, Fault> {
        let fault = |e: webpki::Error| Fault::Certificate(explain(&e));
        // Trust roots are written in both orders.
        let is_root = |der: &Vec<u8>| {
            Certificate::from_der(der)
                .is_ok_and(|c| c.tbs_certificate.subject == c.tbs_certificate.issuer)
        };
        let at = authority.chain.iter().position(is_root);
        let at = at
            .or(authority.chain.len().checked_sub(1))
            .ok_or_else(|| Fault::Certificate("an authority has no certificate".to_owned()))?;
        let last = &authority.chain[at];
        let above = authority.chain[..at]
            .iter()
            .chain(&authority.chain[at + 1..]);
        if !authority.valid.contains(time) {
            return Err(Fault::Certificate(
                "its authority was not to be trusted when the signature was made".to_owned(),
            ));
        }
        let root = CertificateDer::from(last.as_slice());
        let anchor = anchor_from_trusted_cert(&root).map_err(fault)?;
        let between: Vec<_> = above
            .chain(chain)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let leaf = CertificateDer::from(self.der.as_slice());
        EndEntityCert::try_from(&leaf)
            .map_err(fault)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &between,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(time)),
                CODE_SIGNING,
                None,
                None,
            )
            .map_err(fault)?;
        let issuer = &self.parsed.tbs_certificate.issuer;
        authority
            .chain
            .iter()
            .chain(chain)
            .filter_map(|der| Certificate::from_der(der).ok())
            .find(|c| c.tbs_certificate.subject == *issuer)
            .ok_or_else(|| Fault::Certificate("its issuer is missing".to_owned()))
            .and_then(|c| {
                PublicKey::of_certificate(&c.tbs_certificate.subject_public_key_info)
                    .map_err(|e| Fault::Certificate(format!("its issuer {e}")))
            })
    }

    /// A trust root without certificate logs asks for none.
    fn check_logged(&self, issuer: &PublicKey, root: &TrustRoot) -> Result<(), Fault> {
        if root.certificate_logs.is_empty() {
            return Ok(());
        }
        let list = self
            .extension(SCT_LIST)
            .ok_or_else(|| Fault::Certificate("no log promised to show it (no SCT)".to_owned()))?;
        let list = OctetString::from_der(list).map_err(bad("its SCTs"))?;
        let promises = promises(list.as_bytes())
            .ok_or_else(|| Fault::Certificate("its SCTs are malformed".to_owned()))?;
        let bare = self.without_promises()?;
        let holds = promises.iter().any(|promise| {
            root.certificate_logs.iter().any(|log| {
                log.id == promise.log
                    && log.valid.contains(promise.milliseconds / 1000)
                    && log
                        .key
                        .made(promise.signature, &promise.signed(issuer, &bare))
            })
        });
        match holds {
            true => Ok(()),
            false => Err(Fault::Certificate(
                "none of its SCTs is by a certificate log of the trust root".to_owned(),
            )),
        }
    }

    /// The part that is signed, before the promises were put into it.
    fn without_promises(&self) -> Result<Vec<u8>, Fault> {
        let mut bare = self.parsed.tbs_certificate.clone();
        if let Some(extensions) = &mut bare.extensions {
            extensions.retain(|e| e.extn_id != SCT_LIST);
        }
        bare.to_der().map_err(bad("it cannot be written"))
    }
}

fn explain(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            "it was not valid when the signature was made".to_owned()
        }
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "no certificate authority of the trust root issued it".to_owned()
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => "it is not for signing code".to_owned(),
        other => other.to_string(),
    }
}

fn names(san: &[u8]) -> Result<Vec<String>, Fault> {
    let san = SubjectAltName::from_der(san).map_err(bad("its names"))?;
    let mut names = Vec::new();
    for name in &san.0 {
        match name {
            GeneralName::Rfc822Name(mail) => names.push(mail.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => names.push(uri.to_string()),
            GeneralName::DnsName(host) => names.push(host.to_string()),
            GeneralName::OtherName(other) if other.type_id == USER_NAME => {
                let text = other.value.decode_as::<Utf8StringRef<'_>>();
                names.push(text.map_err(bad("its user name"))?.as_str().to_owned());
            }
            _ => {}
        }
    }
    Ok(names)
}

/// A signed certificate timestamp, RFC 6962 section 3.2.
struct Promise<'a> {
    log: &'a [u8],
    milliseconds: u64,
    extensions: &'a [u8],
    signature: &'a [u8],
}

impl Promise<'_> {
    /// The bytes that the log signed: the certificate before it had SCTs.
    fn signed(&self, issuer: &PublicKey, bare: &[u8]) -> Vec<u8> {
        let mut signed = vec![0, 0];
        signed.extend(self.milliseconds.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(issuer.hash());
        let length = u32::try_from(bare.len()).unwrap_or(u32::MAX).to_be_bytes();
        signed.extend(&length[1..]);
        signed.extend(bare);
        let length = u16::try_from(self.extensions.len()).unwrap_or(u16::MAX);
        signed.extend(length.to_be_bytes());
        signed.extend(self.extensions);
        signed
    }
}

/// The list of an extension; `None` if it is damaged.
fn promises(list: &[u8]) -> Option<Vec<Promise<'_>>> {
    let mut rest = list;
    let mut list = with_length(&mut rest)?;
    let mut promises = Vec::new();
    while !list.is_empty() {
        let mut sct = with_length(&mut list)?;
        // Another version has another form; those we know count.
        if take(&mut sct, 1)? != [0] {
            continue;
        }
        let log = take(&mut sct, 32)?;
        let milliseconds = u64::from_be_bytes(take(&mut sct, 8)?.try_into().ok()?);
        let extensions = with_length(&mut sct)?;
        // SHA-256 with ECDSA; the key knows what it can verify.
        take(&mut sct, 2)?;
        let signature = with_length(&mut sct)?;
        promises.push(Promise {
            log,
            milliseconds,
            extensions,
            signature,
        });
    }
    Some(promises)
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = from.split_at_checked(length)?;
    *from = tail;
    Some(head)
}

fn with_length<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(from, 2)?;
    take(
        from,
        usize::from(u16::from_be_bytes(length.try_into().ok()?)),
    )
}

/// Whether `text` is what `pattern` says; `*` stands for any characters.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

impl PublicKey {
    /// The bytes of [`PublicKey::fingerprint`].
    pub(super) fn hash(&self) -> Vec<u8> {
        ring::digest::digest(&ring::digest::SHA256, self.der())
            .as_ref()
            .to_vec()
    }
}

impl Identity {
    /// For messages.
    pub(super) fn describe(&self) -> String {
        let mut text = match self.subjects.as_slice() {
            [] => "nobody".to_owned(),
            subjects => subjects.join(", "),
        };
        let _ = write!(text, " as {:?} says", self.issuer);
        text
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    digest_of(Algorithm::Sha256, bytes).hex().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_nothing_else() {
        for (pattern, text, expected) in [
            ("a@b", "a@b", true),
            ("a@b", "a@bc", false),
            (
                "https://h/*@refs/tags/v*",
                "https://h/w.yml@refs/tags/v1",
                true,
            ),
            (
                "https://h/*@refs/tags/v*",
                "https://h/w.yml@refs/heads/x",
                false,
            ),
            ("*", "", true),
            ("a*a", "a", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }
}
