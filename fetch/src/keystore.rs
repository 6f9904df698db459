//! The keys that may sign images, on disk.
//!
//! ```text
//! CONFIG/trustedkeys/root.d/FPR        trusted for every image
//! CONFIG/trustedkeys/prefix.d/P/FPR    trusted for the name P and what lies below it
//! ```
//!
//! `CONFIG` is the vendor's directory, then the administrator's: a later file
//! of the same fingerprint replaces an earlier one, an empty one removes it.
//!
//! Source: rkt's configuration reference, "Key store".

use std::path::{Path, PathBuf};

/// Why the keystore could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// A file or directory of the keystore could not be read.
    #[error("cannot read {path:?} in the keystore")]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The keystore below the two configuration directories.
#[derive(Debug, Clone)]
pub struct Keystore {
    /// Read in this order; written is the last.
    layers: [PathBuf; 2],
}

impl Keystore {
    /// The keystore of the configuration directories `system` (the vendor's)
    /// and `local` (the administrator's); neither needs to exist.
    pub fn new(system: &Path, local: &Path) -> Self {
        Self {
            layers: [system.join("trustedkeys"), local.join("trustedkeys")],
        }
    }
}
