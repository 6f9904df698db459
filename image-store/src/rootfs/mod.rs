//! A root file system as a value: what the layers add up to.

use crate::tar::TarError;

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The archive itself is bad.
    #[error(transparent)]
    Tar(#[from] TarError),
}
