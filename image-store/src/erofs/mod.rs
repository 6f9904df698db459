//! The index: an EROFS file system without data of its own.

/// What the format cannot express.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {}
