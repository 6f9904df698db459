//! Where everything will stand, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use super::IndexError;
use super::chunks::{self, Chunks};
use super::format::{
    BLOCK, DataLayout, InodeHead, MOST_DEVICES, SLOT, chunk_format, encode_device, metadata_start,
    mode_type,
};
use super::{directory, xattr};
use crate::rootfs::{Ino, Inode, Node, Tree};
use crate::tar::printable;

/// Eight bytes each, so that a hostile sparse file cannot fill the disk with
/// its map.
const MOST_CHUNKS: u64 = 1 << 24;

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    /// Sources with data, in the order of the device table.
    pub(super) devices: Vec<u32>,
    /// The time that compact inodes have.
    pub(super) epoch: i64,
    /// Size of the index.
    pub(super) blocks: u64,
}

/// Where one inode stands and what form it takes.
#[derive(Debug)]
pub(super) struct Place {
    /// Its offset in bytes.
    pub(super) inode: u64,
    /// For a directory.
    pub(super) parent: Ino,
    /// First block of the data, where the index holds it in blocks of its own.
    pub(super) data_block: Option<u32>,
    serial: u32,
    size: u64,
    layout: DataLayout,
    compact: bool,
    chunks: Option<Chunks>,
}

impl Layout {
    pub(super) fn new(tree: &Tree) -> Result<Self, IndexError> {
        let devices = devices(tree)?;
        let epoch = most_common_time(tree);
        let mut places = Vec::with_capacity(tree.inodes.len());
        let mut cursor = metadata_start(devices.len());
        let mut all_chunks = 0;
        for (ino, inode) in tree.inodes.iter().enumerate() {
            let mut place = Place::unplaced(inode, ino as Ino, epoch);
            if let Node::Regular { data, .. } = &inode.node {
                all_chunks += place.chunks.map_or(0, |c| c.count);
                if all_chunks > MOST_CHUNKS {
                    return Err(IndexError::TooSparse {
                        path: path_of(tree, ino as Ino),
                        size: data.size,
                    });
                }
                if !chunks::addressable(data) {
                    let path = path_of(tree, ino as Ino);
                    return Err(IndexError::LayerTooLong { path });
                }
            }
            let length = place.length(inode);
            cursor = cursor.next_multiple_of(SLOT);
            if place.layout == DataLayout::Inline && cursor % BLOCK + length > BLOCK {
                // The kernel wants inline data within one block.
                cursor = cursor.next_multiple_of(BLOCK);
            }
            place.inode = cursor;
            cursor += length;
            places.push(place);
        }
        let mut block = cursor.div_ceil(BLOCK);
        for (ino, inode) in tree.inodes.iter().enumerate() {
            if let Node::Directory(children) = &inode.node {
                for &child in children.values() {
                    places[child as usize].parent = ino as Ino;
                }
            }
            let place = &mut places[ino];
            if place.layout == DataLayout::Plain && place.size > 0 {
                place.data_block = Some(u32::try_from(block).map_err(|_| IndexError::TooLarge)?);
                block += place.size.div_ceil(BLOCK);
            }
        }
        Ok(Self {
            places,
            devices,
            epoch,
            blocks: block,
        })
    }

    /// The number by which directories name an inode.
    pub(super) fn nid(&self, ino: usize) -> u64 {
        self.nid_at(self.places[ino].inode)
    }

    pub(super) fn nid_at(&self, offset: u64) -> u64 {
        offset / SLOT
    }

    /// Devices count from 1; 0 is the index itself.
    fn device(&self, source: u32) -> u16 {
        let at = self.devices.binary_search(&source);
        at.map_or(0, |at| at as u16 + 1)
    }
}

impl Place {
    /// All but the offsets.
    fn unplaced(inode: &Inode, ino: Ino, epoch: i64) -> Self {
        let Inode { meta, node, links } = inode;
        let mut chunks = None;
        let (size, mut layout) = match node {
            Node::Directory(children) => (directory::size(children), DataLayout::Plain),
            Node::Regular { data, .. } => {
                chunks = chunks::plan(data);
                match chunks {
                    Some(_) => (data.size, DataLayout::Chunks),
                    None => (0, DataLayout::Plain),
                }
            }
            Node::Symlink(target) => (target.len() as u64, DataLayout::Inline),
            Node::Char(_) | Node::Block(_) | Node::Fifo => (0, DataLayout::Plain),
        };
        let short = |n: u32| u16::try_from(n).is_ok();
        let compact = meta.mtime == epoch
            && short(meta.uid)
            && short(meta.gid)
            && short(*links)
            && u32::try_from(size).is_ok();
        let head = head_size(compact) + xattr::size(&meta.xattrs);
        if layout == DataLayout::Inline && head + size > BLOCK {
            layout = DataLayout::Plain;
        }
        Self {
            inode: 0,
            parent: 0,
            data_block: None,
            serial: ino + 1,
            size,
            layout,
            compact,
            chunks,
        }
    }

    /// Of the inode and everything that follows it, in bytes.
    fn length(&self, inode: &Inode) -> u64 {
        let head = head_size(self.compact) + xattr::size(&inode.meta.xattrs);
        match (self.layout, self.chunks) {
            (DataLayout::Inline, _) => head + self.size,
            (_, Some(chunks)) => head.next_multiple_of(8) + chunks.count * 8,
            _ => head,
        }
    }
}

fn head_size(compact: bool) -> u64 {
    if compact {
        InodeHead::COMPACT
    } else {
        InodeHead::EXTENDED
    }
}

/// The inode and what follows it.
pub(super) fn encode(inode: &Inode, place: &Place, layout: &Layout) -> Vec<u8> {
    let Inode { meta, node, links } = inode;
    let union = match node {
        Node::Char(device) | Node::Block(device) => encode_device(*device),
        Node::Regular { .. } => place.chunks.map_or(0, |c| chunk_format(c.bits)),
        Node::Directory(_) | Node::Symlink(_) | Node::Fifo => place.data_block.unwrap_or(0),
    };
    let mut out = InodeHead {
        compact: place.compact,
        layout: place.layout,
        xattr_units: xattr::units(xattr::size(&meta.xattrs)),
        mode: mode_type(node) | meta.mode,
        size: place.size,
        union,
        serial: place.serial,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        links: *links,
    }
    .encode();
    xattr::encode(&meta.xattrs, &mut out);
    match node {
        Node::Regular { data, source } => {
            if let Some(chunks) = place.chunks {
                out.resize(out.len().next_multiple_of(8), 0);
                chunks::encode(data, chunks, layout.device(*source), &mut out);
            }
        }
        Node::Symlink(target) if place.layout == DataLayout::Inline => {
            out.extend_from_slice(target);
        }
        _ => {}
    }
    out
}

fn devices(tree: &Tree) -> Result<Vec<u32>, IndexError> {
    let used: BTreeSet<u32> = tree
        .inodes
        .iter()
        .filter_map(|inode| match &inode.node {
            Node::Regular { data, source } if !data.pieces.is_empty() => Some(*source),
            _ => None,
        })
        .collect();
    if used.len() > MOST_DEVICES {
        return Err(IndexError::TooManyLayers(used.len()));
    }
    Ok(used.into_iter().collect())
}

/// The earliest of the most frequent times.
fn most_common_time(tree: &Tree) -> i64 {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for inode in &tree.inodes {
        *counts.entry(inode.meta.mtime).or_default() += 1;
    }
    let best = counts
        .iter()
        .max_by_key(|&(&t, &n)| (n, std::cmp::Reverse(t)));
    best.map_or(0, |(&t, _)| t)
}

/// One of the paths of an inode, for a message.
fn path_of(tree: &Tree, wanted: Ino) -> String {
    let mut path: Vec<&[u8]> = Vec::new();
    let mut wanted = wanted;
    while wanted != 0 {
        let found = tree.inodes.iter().enumerate().find_map(|(dir, inode)| {
            let Node::Directory(children) = &inode.node else {
                return None;
            };
            let (name, _) = children.iter().find(|&(_, &ino)| ino == wanted)?;
            Some((dir as Ino, &**name))
        });
        let Some((dir, name)) = found else { break };
        path.push(name);
        wanted = dir;
    }
    path.reverse();
    printable(&path.join(&b'/'))
}
