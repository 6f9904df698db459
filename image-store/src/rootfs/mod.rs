//! A root file system as a value: what the layers add up to.
//!
//! ```text
//! tar ──Scanner──▶ LayerTree ─┐
//! tar ──Scanner──▶ LayerTree ─┼─render──▶ Tree ──▶ EROFS index, or unpacked
//! ```
//!
//! All that is hostile in a path or a link is met here, once, for both
//! backends: a [`Tree`] has no names that leave it, no links that dangle and no
//! entry below something that is not a directory.

mod error;
mod layer;
mod merge;
mod path;
mod whitelist;
mod xattr;

use std::collections::BTreeMap;

pub use error::{EntryFault, LayerError};
pub(crate) use layer::{Layer, LayerBuilder, LayerTree};
pub(crate) use merge::{Source, render};

use crate::tar::{Data, Device, Meta};

/// Index into [`Tree::inodes`].
pub(crate) type Ino = u32;

/// One component of a path.
pub(crate) type Name = Box<[u8]>;

/// A directory's content, by name.
pub(crate) type Children = BTreeMap<Name, Ino>;

/// A complete root file system; the root directory is inode 0, and inodes are
/// in the order in which they are met breadth first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) inodes: Vec<Inode>,
}

/// A file, whatever its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) node: Node,
    /// Names of a file; for a directory 2 and its subdirectories, as in Unix.
    pub(crate) links: u32,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(Children),
    Regular {
        data: Data,
        /// Which of the image's tars the data is in.
        source: u32,
    },
    Symlink(Box<[u8]>),
    Char(Device),
    Block(Device),
    Fifo,
}

/// The metadata of a directory that nobody described.
fn implied_meta() -> Meta {
    Meta {
        mode: 0o755,
        ..Meta::default()
    }
}
