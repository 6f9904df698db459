//! Whom images are trusted from, and what was checked before one was let in.
//!
//! The answer travels with the image record so that `image list` and `status`
//! can show it long after the fetch; nothing ever downgrades it silently.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::appc::AcIdentifier;
use crate::digest::Digest;

/// The images that a key or a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every image.
    Root,
    /// Images whose name is this or lies below it: `example.com/app` covers
    /// `example.com/app/worker`, not `example.com/apple`.
    Prefix(AcIdentifier),
}

impl Scope {
    /// Whether the scope covers an image of this name.
    pub fn covers(&self, name: &AcIdentifier) -> bool {
        match self {
            Self::Root => true,
            Self::Prefix(prefix) => name
                .as_str()
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    /// The prefix; empty for [`Scope::Root`].
    pub fn prefix(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Prefix(prefix) => prefix.as_str(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("all images"),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Outcome of the trust policy for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// What was found.
    #[serde(flatten)]
    pub by: Vouched,
    /// The rule that asked for it; none if no rule was about the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<AppliedRule>,
    /// When, in seconds since 1970; unknown in records of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Verification {
    /// Nobody vouched, and this option or rule allowed it.
    pub fn nothing(allowed_by: impl Into<String>) -> Self {
        Self {
            by: Vouched::Nothing {
                allowed_by: allowed_by.into(),
            },
            rule: None,
            at: None,
        }
    }

    /// How much was asked: nothing, that the image is the pinned one, that
    /// somebody signed it.
    pub fn weight(&self) -> u8 {
        match self.by {
            Vouched::Nothing { .. } => 0,
            Vouched::Pinned { .. } => 1,
            Vouched::OpenPgp { .. } | Vouched::Key { .. } | Vouched::Identity { .. } => 2,
        }
    }
}

/// A rule of the policy, as the record remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedRule {
    /// The names it is about; empty for all.
    pub prefix: String,
    /// `reject`, `signed-by`, `pinned` or `anything`.
    pub level: String,
    /// The file it stood in.
    pub file: String,
}

/// Who or what vouches for an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "by")]
pub enum Vouched {
    /// Nobody; the user asked for that.
    #[serde(rename_all = "camelCase")]
    Nothing {
        /// The option or policy rule that allowed it, as the user wrote it.
        allowed_by: String,
    },
    /// A detached OpenPGP signature by a key of the keystore.
    #[serde(rename_all = "camelCase", rename = "openpgp")]
    OpenPgp {
        /// Fingerprint of the primary key, lower-case hexadecimal.
        fingerprint: String,
        /// The key's user ids.
        identities: Vec<String>,
        /// The name prefix the key is trusted for; empty for a root key.
        prefix: String,
    },
    /// A signature as cosign makes it, by a key that the policy names.
    #[serde(rename_all = "camelCase")]
    Key {
        /// SHA-256 of the public key (DER, SubjectPublicKeyInfo).
        fingerprint: Digest,
        /// The manifest or index that was signed.
        signed: Digest,
        /// When the transparency log noted it, in seconds since 1970, if the
        /// policy asked for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logged: Option<u64>,
    },
    /// A signature as cosign makes it, by somebody whom a certificate names.
    #[serde(rename_all = "camelCase")]
    Identity {
        /// Whom the certificate names: a mail address or a URI.
        subject: String,
        /// Who vouched for the subject to the authority.
        issuer: String,
        /// The manifest or index that was signed.
        signed: Digest,
        /// When the transparency log noted it, in seconds since 1970.
        logged: u64,
    },
    /// It is the image that was seen first under its name, or that the user
    /// accepted since.
    #[serde(rename_all = "camelCase")]
    Pinned {
        /// When that image was first seen, in seconds since 1970.
        since: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_end_at_components() {
        let name = |text: &str| text.parse::<AcIdentifier>().unwrap();
        let app = Scope::Prefix(name("example.com/app"));
        assert!(app.covers(&name("example.com/app")));
        assert!(app.covers(&name("example.com/app/worker")));
        assert!(!app.covers(&name("example.com/apple")));
        assert!(!app.covers(&name("example.com")));
        assert!(Scope::Root.covers(&name("anything")));
    }

    #[test]
    fn records_of_old_are_still_read() {
        let old = r#"{"by": "nothing", "allowedBy": "--insecure-options=image"}"#;
        let read: Verification = serde_json::from_str(old).unwrap();
        assert_eq!(read, Verification::nothing("--insecure-options=image"));
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            serde_json::from_str::<serde_json::Value>(old).unwrap()
        );
    }
}
