//! Reading everything again.

use manifests::digest::Digest;

/// An object that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object.
    pub object: Digest,
    /// What is wrong with it.
    pub what: String,
}
