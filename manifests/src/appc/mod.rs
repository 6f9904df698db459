//! The App Container schema, 0.8.11: what an image manifest and a pod
//! manifest may say.
//!
//! ```text
//!   bytes ──▶ from_slice ──▶ ImageManifest / PodManifest ──▶ to_string
//!                └──▶ Error: where, what was found, what is wanted
//! ```
//!
//! Invariant: a value made by `from_slice` or `FromStr` obeys the schema.
//! Fields are public, so a value put together by hand obeys it as far as its
//! types can say so; `validate` tells about the rest and writers call it.
//!
//! Where the specification's text and the old reference library disagree we
//! take the stricter reading for what we write and, with few exceptions named
//! at their types, for what we read.

mod app;
mod decode;
mod image;
mod isolator;
mod kind;
mod label;
mod name;
mod pod;
mod quantity;
mod timestamp;
mod volume;

pub use app::{App, EnvironmentVariable, EventHandler, EventName, MountPoint, Port};
pub use decode::SchemaError;
pub use image::{Dependency, ImageManifest};
pub use isolator::{
    AppArmorProfile, CapabilitySet, Isolator, Resource, SeLinuxContext, SeccompSet, Throttle,
};
pub use kind::{Kind, Probe};
pub use label::{Annotation, Label, find_annotation, find_label, first_mismatch};
pub use name::{AcIdentifier, AcName, AcVersion, EnvironmentName, NameError};
pub use pod::{ExposedPort, Mount, PodManifest, RuntimeApp, RuntimeImage};
pub use quantity::{Quantity, QuantityError};
pub use timestamp::is_timestamp;
pub use volume::{Volume, VolumeSource};

/// Version of the specification that we write into manifests.
pub const VERSION: &str = "0.8.11";
