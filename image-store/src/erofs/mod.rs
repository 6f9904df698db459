//! The index: an EROFS file system whose file data stays in the tars.
//!
//! ```text
//! | 1 KiB 0 | superblock | device table | inodes, each with its xattrs and its | directories, |
//! |         |            | (the tars)   | chunk indexes or symlink target      | long symlinks|
//! ```
//!
//! Block size 512, so that every file in a tar begins at a block; the kernel
//! reads those from Linux 6.4 on, and mounts them from plain files from 6.12
//! on. A contiguous file is one chunk, whatever its size. The same tree and
//! devices always give the same bytes, so that an index can be made again and
//! compared.
//!
//! Source: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of
//! Linux 6.12.

mod chunks;
mod directory;
mod format;
mod layout;
mod xattr;

use std::io::{self, Write};

use crate::rootfs::{Node, Tree};
use format::{BLOCK, DeviceSlot, Superblock, pad};
use layout::{Layout, Place};

/// What the format cannot express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The device table is full.
    #[error("{0} layers with data; an index holds {max}", max = format::MOST_DEVICES)]
    TooManyLayers(usize),
    /// Block addresses have 32 bits.
    #[error("{path}: its data is beyond the first 2 TiB of its layer")]
    LayerTooLong {
        /// The file.
        path: String,
    },
    /// A sparse file in too many pieces for its size.
    #[error("{path}: a sparse file of {size} bytes needs too large a map; store it without holes")]
    TooSparse {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// The index itself would be too large.
    #[error("the index would be larger than 2 TiB")]
    TooLarge,
}

/// One of the image's tars.
#[derive(Debug, Clone)]
pub(crate) struct Tar {
    /// Hexadecimal digits of the digest; the table keeps the first 64.
    pub(crate) tag: String,
    /// In bytes.
    pub(crate) size: u64,
}

/// An index that has been laid out and can be written.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    tree: &'a Tree,
    tars: &'a [Tar],
    layout: Layout,
}

impl<'a> Index<'a> {
    /// Lays out an index of `tree`, whose regular files name their tar by its
    /// place in `tars`.
    pub(crate) fn new(tree: &'a Tree, tars: &'a [Tar]) -> Result<Self, IndexError> {
        let layout = Layout::new(tree)?;
        Ok(Self { tree, tars, layout })
    }

    /// The tars that hold data, in the order in which the kernel wants them as
    /// `device=`.
    pub(crate) fn devices(&self) -> &[u32] {
        &self.layout.devices
    }

    /// Writes all of it, a multiple of the block size.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Counted { out, written: 0 };
        out.write_all(&self.head())?;
        for (inode, place) in self.tree.inodes.iter().zip(&self.layout.places) {
            out.fill_to(place.inode)?;
            out.write_all(&layout::encode(inode, place, &self.layout))?;
        }
        for (inode, place) in self.tree.inodes.iter().zip(&self.layout.places) {
            let Some(block) = place.data_block else {
                continue;
            };
            out.fill_to(u64::from(block) * BLOCK)?;
            out.write_all(&self.data(&inode.node, place))?;
        }
        out.fill_to(self.layout.blocks * BLOCK)
    }

    fn head(&self) -> Vec<u8> {
        let slots: Vec<DeviceSlot<'_>> = self
            .devices()
            .iter()
            .map(|&source| {
                let tar = &self.tars[source as usize];
                DeviceSlot {
                    tag: &tar.tag,
                    blocks: tar.size.div_ceil(BLOCK),
                }
            })
            .collect();
        let superblock = Superblock {
            root_nid: self.layout.nid(0),
            inodes: self.tree.inodes.len() as u64,
            epoch: self.layout.epoch,
            blocks: self.layout.blocks,
        };
        superblock.encode(&slots)
    }

    fn data(&self, node: &Node, place: &Place) -> Vec<u8> {
        match node {
            Node::Directory(children) => {
                let parent = self.layout.nid(place.parent as usize);
                let own = self.layout.nid_at(place.inode);
                directory::encode(children, own, parent, |ino| {
                    let node = &self.tree.inodes[ino as usize].node;
                    (self.layout.nid(ino as usize), format::file_type(node))
                })
            }
            Node::Symlink(target) => target.to_vec(),
            Node::Regular { .. } | Node::Char(_) | Node::Block(_) | Node::Fifo => Vec::new(),
        }
    }
}

struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Counted<'_, W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Zeros up to `offset`, which is never more than a block away.
    fn fill_to(&mut self, offset: u64) -> io::Result<()> {
        let zeros = pad(offset - self.written);
        self.write_all(zeros)
    }
}
