//! From a name to verified bytes.
//!
//! ```text
//!  "docker://busybox" ──Reference──▶ transport ──▶ manifest ──▶ trust policy
//!                                       │                            │
//!                                       ▼                            ▼
//!   socket ▸ digest ▸ inflate ▸ diff_id + tar file + index ──▶ Store::commit
//! ```
//!
//! A [`Fetcher`] owns the path: it asks the store first as the
//! [`PullPolicy`] says, picks the transport by the [`reference::Reference`],
//! lets every byte through exactly once and commits only what was checked:
//! manifests, configurations and compressed blobs against their digests,
//! layers against their `diff_id`, ACIs against their signature.
//!
//! Invariant: whatever fails, nothing is published; staging belongs to the
//! store and goes away with the fetch.
//! Absent on purpose: a download cache (the store is one), and any lock held
//! while the network is slow that others could not go on without: who fetches a
//! layer says so, and who wants the same one waits for it, but not forever.

mod aci;
pub mod credentials;
mod dependencies;
mod discovery;
mod error;
mod fetcher;
mod image;
pub mod keystore;
mod lookup;
pub mod openpgp;
pub mod policy;
pub mod progress;
pub mod reference;
mod repair;
pub mod signatures;
mod stream;
mod transport;

pub use discovery::{DiscoveryError, KeyLocation};
pub use error::{FetchError, Reason};
pub use fetcher::{Fetcher, PullPolicy, Request, Settings};
pub use lookup::find;
pub use stream::{BlobError, Compression, Limits, StreamError};
pub use transport::{ArchiveError, HttpError, RegistryError, WebError};
