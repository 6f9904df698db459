//! A public key with its user ids and subkeys, and what it may still do.

use pgp::composed::{ArmorOptions, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, SignedUser, Tag, Timestamp, VerifyingKey};

/// Largest key file we read: a key with thousands of certifications fits.
const MAX_BYTES: usize = 4 << 20;

/// Why bytes are no usable public key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Something else, or damaged.
    #[error("not an OpenPGP public key: {0}")]
    Malformed(String),
    /// Somebody is about to lose a secret.
    #[error("this is a secret key; export the public one with `gpg --armor --export`")]
    Secret,
    /// Well formed, and empty.
    #[error("holds no OpenPGP public key")]
    Empty,
    /// Larger than any sensible key.
    #[error("larger than {MAX_BYTES} bytes, which no key needs")]
    TooLarge,
}

/// Why a key (or a part of it) may not vouch for anything now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Its owner took it back.
    #[error("has been revoked")]
    Revoked,
    /// Its time is over.
    #[error("expired on {}", date(*.0))]
    Expired(u32),
    /// It claims to come from the future.
    #[error("was made in the future ({}); is this machine's clock right?", date(*.0))]
    NotYet(u32),
    /// Its owner did not intend it for signatures.
    #[error("is not meant for signatures")]
    NotForSigning,
    /// No valid signature binds it to its owner.
    #[error("has no valid self-signature")]
    Unbound,
}

/// `YYYY-MM-DD` of seconds since 1970, UTC.
pub(super) fn date(seconds: u32) -> String {
    // Civil-from-days (H. Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms"), for the non-negative days a Timestamp can hold.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// One key of a key ring: the primary key, its user ids and its subkeys.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: SignedPublicKey,
}

/// What the newest valid self-signature of a component says.
struct Binding {
    created: u32,
    expires_after: Option<u32>,
    /// `None` if it does not say.
    signs: Option<bool>,
}

impl Binding {
    fn of(signature: &Signature) -> Option<Self> {
        let flags = |data: &SubpacketData| match data {
            SubpacketData::KeyFlags(flags) => Some(flags.sign()),
            _ => None,
        };
        let config = signature.config()?;
        if has_unknown_critical(signature) {
            return None;
        }
        Some(Self {
            created: signature.created()?.as_secs(),
            expires_after: signature
                .key_expiration_time()
                .map(|d| d.as_secs())
                .filter(|d| *d > 0),
            signs: config.hashed_subpackets().find_map(|p| flags(&p.data)),
        })
    }

    fn check_time(&self, made: Timestamp, now: u32) -> Result<(), KeyFault> {
        if made.as_secs() > now {
            return Err(KeyFault::NotYet(made.as_secs()));
        }
        match self.expires_after {
            Some(after) if made.as_secs().saturating_add(after) <= now => {
                Err(KeyFault::Expired(made.as_secs().saturating_add(after)))
            }
            _ => Ok(()),
        }
    }
}

/// Something critical that we do not know makes a signature invalid
/// (RFC 9580, section 5.2.3.7).
pub(super) fn has_unknown_critical(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|p| {
            p.is_critical
                && matches!(
                    p.data,
                    SubpacketData::Other(..)
                        | SubpacketData::Experimental(..)
                        | SubpacketData::Notation(_)
                )
        })
    })
}

fn made(signature: &Signature) -> u32 {
    signature.created().map_or(0, |t| t.as_secs())
}

impl Certificate {
    /// The keys in a file, armored or binary.
    ///
    /// # Errors
    /// [`CertificateError`]; also if only one of several keys is damaged.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, CertificateError> {
        if bytes.len() > MAX_BYTES {
            return Err(CertificateError::TooLarge);
        }
        if bytes
            .windows(b"PRIVATE KEY BLOCK".len())
            .any(|w| w == b"PRIVATE KEY BLOCK")
        {
            return Err(CertificateError::Secret);
        }
        let malformed = |e: pgp::errors::Error| CertificateError::Malformed(e.to_string());
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(malformed)?;
        let keys = keys
            .map(|key| key.map(|key| Self { key }).map_err(malformed))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(CertificateError::Empty);
        }
        Ok(keys)
    }

    /// Fingerprint of the primary key, lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        format!("{:x}", self.key.primary_key.fingerprint())
    }

    /// Fingerprints of the subkeys, lower-case hexadecimal.
    pub fn subkey_fingerprints(&self) -> Vec<String> {
        let subkeys = self.key.public_subkeys.iter();
        subkeys
            .map(|k| format!("{:x}", k.key.fingerprint()))
            .collect()
    }

    /// The user ids that the key's owner vouches for. Characters that could
    /// play tricks on a terminal are replaced.
    pub fn identities(&self) -> Vec<String> {
        let users = self.key.details.users.iter();
        users
            .filter(|user| self.user_binding(user).is_some())
            .map(|user| {
                let text = String::from_utf8_lossy(user.id.id()).into_owned();
                text.replace(char::is_control, "\u{fffd}")
            })
            .collect()
    }

    /// The key, ASCII-armored.
    ///
    /// # Errors
    /// The library cannot write what it has read.
    pub fn to_armored(&self) -> Result<String, CertificateError> {
        self.key
            .to_armored_string(ArmorOptions::default())
            .map_err(|e| CertificateError::Malformed(e.to_string()))
    }

    /// Whether one of the key's components is among the issuers a signature
    /// names (a signature that names none could be everybody's).
    pub(super) fn may_have_made(&self, signature: &Signature) -> bool {
        self.components().any(|key| names(signature, key))
    }

    /// Checks that a component of this key made `signature` over the bytes
    /// with this hash, and that the component and the key may sign at `now`.
    /// `None` if the arithmetic fails for every component.
    pub(super) fn check(
        &self,
        signature: &Signature,
        hash: &[u8],
        now: u32,
    ) -> Option<Result<(), KeyFault>> {
        let algorithm = signature.hash_alg()?;
        let bytes = signature.signature()?;
        if names(signature, &self.key.primary_key)
            && self.key.primary_key.verify(algorithm, hash, bytes).is_ok()
        {
            return Some(self.primary_may_sign(now));
        }
        let subkey = self.key.public_subkeys.iter().find(|subkey| {
            names(signature, &subkey.key) && subkey.key.verify(algorithm, hash, bytes).is_ok()
        })?;
        Some(
            self.primary(now)
                .and_then(|_| self.subkey_may_sign(subkey, now)),
        )
    }

    fn components(&self) -> impl Iterator<Item = &dyn KeyDetails> {
        let subkeys = self.key.public_subkeys.iter();
        let subkeys = subkeys.map(|k| &k.key as &dyn KeyDetails);
        std::iter::once(&self.key.primary_key as &dyn KeyDetails).chain(subkeys)
    }

    /// The primary key, if it is bound, unrevoked and unexpired.
    fn primary(&self, now: u32) -> Result<Binding, KeyFault> {
        let primary = &self.key.primary_key;
        let details = &self.key.details;
        let revoked = |s: &&Signature| {
            s.typ() == Some(SignatureType::KeyRevocation) && s.verify_key(primary).is_ok()
        };
        if details.revocation_signatures.iter().any(|s| revoked(&s)) {
            return Err(KeyFault::Revoked);
        }
        let direct = details
            .direct_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::Key) && s.verify_key(primary).is_ok())
            .filter_map(Binding::of);
        let users = details.users.iter().filter_map(|u| self.user_binding(u));
        let newest = direct
            .chain(users)
            .filter(|b| b.created <= now)
            .max_by_key(|b| b.created)
            .ok_or(KeyFault::Unbound)?;
        newest.check_time(primary.created_at(), now)?;
        Ok(newest)
    }

    /// The newest self-certification of a user id that was not taken back.
    fn user_binding(&self, user: &SignedUser) -> Option<Binding> {
        let primary = &self.key.primary_key;
        let own = |s: &&Signature| {
            s.verify_certification(primary, Tag::UserId, &user.id)
                .is_ok()
        };
        let is_revocation = |s: &Signature| s.typ() == Some(SignatureType::CertRevocation);
        let certification = user
            .signatures
            .iter()
            .filter(|s| !is_revocation(s))
            .filter(own)
            .max_by_key(|s| made(s))?;
        let revoked = user
            .signatures
            .iter()
            .filter(|s| is_revocation(s) && made(s) >= made(certification))
            .any(|s| own(&s));
        if revoked {
            return None;
        }
        Binding::of(certification)
    }

    fn primary_may_sign(&self, now: u32) -> Result<(), KeyFault> {
        let binding = self.primary(now)?;
        // Keys from before key flags existed may do what their algorithm can.
        match binding.signs {
            Some(false) => Err(KeyFault::NotForSigning),
            Some(true) | None => Ok(()),
        }
    }

    fn subkey_may_sign(&self, subkey: &SignedPublicSubKey, now: u32) -> Result<(), KeyFault> {
        let primary = &self.key.primary_key;
        let own = |s: &&Signature| s.verify_subkey_binding(primary, &subkey.key).is_ok();
        let is_revocation = |s: &Signature| s.typ() == Some(SignatureType::SubkeyRevocation);
        if subkey
            .signatures
            .iter()
            .filter(|s| is_revocation(s))
            .any(|s| own(&s))
        {
            return Err(KeyFault::Revoked);
        }
        let (binding, signature) = subkey
            .signatures
            .iter()
            .filter(|s| !is_revocation(s))
            .filter(own)
            .filter_map(|s| Some((Binding::of(s)?, s)))
            .filter(|(b, _)| b.created <= now)
            .max_by_key(|(b, _)| b.created)
            .ok_or(KeyFault::Unbound)?;
        binding.check_time(subkey.key.created_at(), now)?;
        if binding.signs != Some(true) {
            return Err(KeyFault::NotForSigning);
        }
        // The subkey must agree: else anybody could adopt somebody's signing
        // key and claim the signatures made with it.
        let agrees = signature.embedded_signature().is_some_and(|back| {
            back.verify_primary_key_binding(&subkey.key, primary)
                .is_ok()
        });
        if agrees {
            Ok(())
        } else {
            Err(KeyFault::Unbound)
        }
    }
}

fn names(signature: &Signature, key: &(impl KeyDetails + ?Sized)) -> bool {
    let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
    (ids.is_empty() && fingerprints.is_empty())
        || ids.iter().any(|id| **id == key.legacy_key_id())
        || fingerprints.iter().any(|f| **f == key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_164_800, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (u32::MAX, "2106-02-07"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let error = |bytes: &[u8]| Certificate::read_all(bytes).unwrap_err().to_string();
        assert!(error(b"-----BEGIN PGP PRIVATE KEY BLOCK-----").contains("secret key"));
        assert!(
            error(b"hello").contains("OpenPGP public key"),
            "{}",
            error(b"hello")
        );
        assert!(error(b"").contains("OpenPGP public key"));
        assert!(error(&vec![0; MAX_BYTES + 1]).contains("larger"));
    }
}
