//! What was checked before an image was let into the store.
//!
//! The answer travels with the image record so that `image list` and `status`
//! can show it long after the fetch; nothing ever downgrades it silently.

use serde::{Deserialize, Serialize};

/// Outcome of the trust policy for one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "by")]
pub enum Verification {
    /// Nobody vouched for the image; the user asked for that.
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
}
