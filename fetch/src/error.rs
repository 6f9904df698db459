//! What can go wrong between a name and a stored image.

use image_store::StoreError;

use crate::keystore::KeystoreError;
use crate::reference::{Reference, ReferenceError};

/// Why an image could not be fetched or found.
///
/// The text names the thing and the reason; a deeper cause is the error's
/// `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// What was typed is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keystore could not be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The pull policy forbids fetching and the store does not have it.
    #[error("image {0} is not in the store, and --pull-policy=never forbids to fetch it")]
    NotStored(Reference),
}
