//! The structures on disk, little-endian all.
//!
//! Source: fs/erofs/erofs_fs.h of Linux 6.12. Structures that are not used
//! here (compression, 48-bit addresses, shared xattrs) are left out, and so is
//! the superblock's checksum: the index is an object, its digest covers all of
//! it, and fsck.erofs 1.8 crashes on a checksum with blocks of 512 bytes.

use crate::rootfs::Node;
use crate::tar::Device;

pub(super) const BLOCK_BITS: u32 = 9;
pub(super) const BLOCK: u64 = 1 << BLOCK_BITS;
/// Inodes are addressed in these.
pub(super) const SLOT: u64 = 32;

const SUPERBLOCK_AT: usize = 1024;
const SUPERBLOCK_SIZE: usize = 128;
const DEVICE_SLOT_SIZE: usize = 128;
const DEVICES_AT: usize = SUPERBLOCK_AT + SUPERBLOCK_SIZE;

/// The root's number has 16 bits, and its inode follows the table.
pub(super) const MOST_DEVICES: usize = ((1 << 16) * SLOT as usize - 4096) / DEVICE_SLOT_SIZE;

const MAGIC: u32 = 0xe0f5_e1e2;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

/// `EROFS_CHUNK_FORMAT_INDEXES`
const CHUNK_INDEXES: u16 = 0x20;
/// A block address that means a hole.
pub(super) const HOLE: u32 = u32::MAX;

/// Where the inodes begin, for so many devices.
pub(super) fn metadata_start(devices: usize) -> u64 {
    ((DEVICES_AT + devices * DEVICE_SLOT_SIZE) as u64).next_multiple_of(BLOCK)
}

pub(super) struct Superblock {
    pub(super) root_nid: u64,
    pub(super) inodes: u64,
    pub(super) epoch: i64,
    pub(super) blocks: u64,
}

pub(super) struct DeviceSlot<'a> {
    pub(super) tag: &'a str,
    pub(super) blocks: u64,
}

impl Superblock {
    /// Everything before the inodes: boot area, superblock, device table.
    pub(super) fn encode(&self, devices: &[DeviceSlot<'_>]) -> Vec<u8> {
        let mut head = vec![0; metadata_start(devices.len()) as usize];
        for (slot, device) in devices.iter().enumerate() {
            let at = DEVICES_AT + slot * DEVICE_SLOT_SIZE;
            let tag = device.tag.as_bytes();
            let tag = &tag[..tag.len().min(64)];
            head[at..at + tag.len()].copy_from_slice(tag);
            put(&mut head, at + 64, &saturated(device.blocks).to_le_bytes());
        }
        let mut incompat = INCOMPAT_CHUNKED_FILE;
        if !devices.is_empty() {
            incompat |= INCOMPAT_DEVICE_TABLE;
        }
        let mut field = |at, bytes: &[u8]| put(&mut head, SUPERBLOCK_AT + at, bytes);
        field(0, &MAGIC.to_le_bytes());
        field(8, &COMPAT_MTIME.to_le_bytes());
        field(12, &[BLOCK_BITS as u8]);
        field(14, &(self.root_nid as u16).to_le_bytes());
        field(16, &self.inodes.to_le_bytes());
        field(24, &self.epoch.to_le_bytes());
        field(36, &saturated(self.blocks).to_le_bytes());
        // 40 and 44, metadata and shared xattrs: inode numbers count from 0.
        field(80, &incompat.to_le_bytes());
        field(86, &(devices.len() as u16).to_le_bytes());
        let slot = (DEVICES_AT / DEVICE_SLOT_SIZE) as u16;
        field(88, &slot.to_le_bytes());
        // Overlayfs tells lower file systems apart by this: one for each set
        // of layers.
        field(48, &uuid(devices));
        head
    }
}

/// Block counts are only told to `statfs`.
fn saturated(blocks: u64) -> u32 {
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

fn uuid(devices: &[DeviceSlot<'_>]) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for device in devices {
        hash.update(device.tag);
        hash.update("\n");
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash.finalize()[..16]);
    // RFC 9562, version 8: made by a rule of our own.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// How an inode's data is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks of the index, or nowhere.
    Plain,
    /// Right behind the inode.
    Inline,
    /// By chunk indexes behind the inode.
    Chunks,
}

pub(super) struct InodeHead {
    /// 32 bytes, if everything fits and the time is the file system's epoch.
    pub(super) compact: bool,
    pub(super) layout: DataLayout,
    pub(super) xattr_units: u16,
    pub(super) mode: u16,
    pub(super) size: u64,
    /// Block address, chunk format or device number.
    pub(super) union: u32,
    pub(super) serial: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) links: u32,
}

impl InodeHead {
    pub(super) const COMPACT: u64 = 32;
    pub(super) const EXTENDED: u64 = 64;

    pub(super) fn encode(&self) -> Vec<u8> {
        let layout = match self.layout {
            DataLayout::Plain => 0,
            DataLayout::Inline => 2,
            DataLayout::Chunks => 4,
        };
        let format = u16::from(!self.compact) | layout << 1;
        let size = if self.compact {
            Self::COMPACT
        } else {
            Self::EXTENDED
        };
        let mut out = vec![0; size as usize];
        let mut field = |at, bytes: &[u8]| put(&mut out, at, bytes);
        field(0, &format.to_le_bytes());
        field(2, &self.xattr_units.to_le_bytes());
        field(4, &self.mode.to_le_bytes());
        field(16, &self.union.to_le_bytes());
        field(20, &self.serial.to_le_bytes());
        if self.compact {
            field(6, &(self.links as u16).to_le_bytes());
            field(8, &(self.size as u32).to_le_bytes());
            field(24, &(self.uid as u16).to_le_bytes());
            field(26, &(self.gid as u16).to_le_bytes());
        } else {
            field(8, &self.size.to_le_bytes());
            field(24, &self.uid.to_le_bytes());
            field(28, &self.gid.to_le_bytes());
            field(32, &self.mtime.to_le_bytes());
            field(44, &self.links.to_le_bytes());
        }
        out
    }
}

/// The union of a chunk-based inode.
pub(super) fn chunk_format(chunk_bits: u32) -> u32 {
    u32::from(CHUNK_INDEXES | (chunk_bits - BLOCK_BITS) as u16)
}

/// `struct erofs_inode_chunk_index`
pub(super) fn chunk_index(device: u16, block: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[2..4].copy_from_slice(&device.to_le_bytes());
    out[4..].copy_from_slice(&block.to_le_bytes());
    out
}

/// `new_encode_dev()` of include/linux/kdev_t.h.
pub(super) fn encode_device(device: Device) -> u32 {
    let Device { major, minor } = device;
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// `EROFS_FT_*`
pub(super) fn file_type(node: &Node) -> u8 {
    match node {
        Node::Regular { .. } => 1,
        Node::Directory(_) => 2,
        Node::Char(_) => 3,
        Node::Block(_) => 4,
        Node::Fifo => 5,
        Node::Symlink(_) => 7,
    }
}

/// `S_IF*`
pub(super) fn mode_type(node: &Node) -> u16 {
    match node {
        Node::Fifo => 0o010_000,
        Node::Char(_) => 0o020_000,
        Node::Directory(_) => 0o040_000,
        Node::Block(_) => 0o060_000,
        Node::Regular { .. } => 0o100_000,
        Node::Symlink(_) => 0o120_000,
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// So many zeros, at most a block and what stands before the first inode.
pub(super) fn pad(length: u64) -> &'static [u8] {
    static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    &ZEROS[..length as usize]
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn device_numbers_as_the_kernel_packs_them() {
        let device = |major, minor| encode_device(Device { major, minor });
        assert_eq!(device(1, 3), 0x103);
        assert_eq!(device(0xfff, 0xf_ffff), 0xffff_ffff);
    }
}
