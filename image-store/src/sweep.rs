//! What may go: the garbage collector.

use std::collections::BTreeSet;

use manifests::image_id::ImageId;

/// What a sweep must leave although no record names it.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Images of pods that exist, in whatever state: an unpacked tree has no
    /// mount to tell that it is in use.
    pub pods: BTreeSet<ImageId>,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Objects that no record names.
    pub removed_objects: u64,
    /// Trees of images that are gone, and that no pod uses.
    pub removed_trees: u64,
    /// Staging directories of writers that died.
    pub removed_staging: u64,
    /// Mounts nobody uses.
    pub unmounted: u64,
    /// Bytes of the objects and staging files.
    pub freed_bytes: u64,
    /// What was left for the next time and why, one line each.
    pub left: Vec<String>,
}
