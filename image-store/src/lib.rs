//! Bytes at rest: what was fetched, found again by what it is.
//!
//! ```text
//! store/objects/<alg>/<aa>/<hex>      immutable: manifests, configs, tars, indexes
//! store/images/<image-id>             the image record, the only commit point
//! store/names/<escaped name>          name -> image id
//! store/lookup/…                     the way back: images of an appc name, names of an image
//! store/trees/<image-id>…             root file systems that were unpacked
//! store/staging/<boot-id>/<random>/   in flight
//! ```
//!
//! A layer is its tar, an image is an EROFS index whose file data points into
//! the tars; nothing is unpacked unless the kernel cannot mount that.
//!
//! Invariant: a file under `objects/` is complete and has the digest of its
//! name; a record names only objects that exist. Writers fill a staging
//! directory, sync once and publish by `rename`; readers take no lock.
//!
//! Absent on purpose: a database, and any state that the records and the
//! directories do not show.

mod backend;
mod claim;
mod dirs;
mod erofs;
mod error;
mod export;
pub mod hash;
mod layer;
mod lock;
mod lookup;
mod names;
pub mod pack;
mod record;
mod rootfs;
mod seal;
mod staging;
mod store;
mod sweep;
mod tar;
#[cfg(test)]
mod tests;
mod usage;
mod verify;

pub use backend::{BackendChoice, MountedImage};
pub use claim::Awaited;
pub use erofs::IndexError;
pub use error::{Result, StoreError};
pub use export::Exported;
pub use layer::{LayerKind, LayerWriter, StagedLayer};
pub use names::{Cached, ImageName};
pub use record::{ImageRecord, OciObjects, RecordedIndex, RecordedLayer, Stack};
pub use rootfs::{EntryFault, LayerError};
pub use staging::{ImageDraft, ObjectWriter, StagedObject, Staging};
pub use store::Store;
pub use sweep::{GcReport, Keep};
pub use tar::{TarError, TarFault};
pub use usage::{ImageUsage, Usage};
pub use verify::{Damage, Verifier};
