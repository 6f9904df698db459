//! One layer, from its tar to a tree of its own.
//!
//! Within a layer a later entry replaces an earlier one, as when GNU tar
//! unpacks; in an ACI, where appc forbids duplicates, that is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{EntryFault, LayerError};
use super::path::{PATH_MAX, components};
use super::{Children, Ino, Name, implied_meta, xattr};
use crate::layer::LayerKind;
use crate::tar::{Data, Device, Entry, Kind, Meta, Piece, Sink, printable};

/// No real image comes near; a hostile one must not take all memory.
const MOST_ENTRIES: usize = 4 << 20;
const MOST_BYTES: usize = 1 << 30;
/// Real manifests have some kilobytes.
const LONGEST_MANIFEST: u64 = 4 << 20;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS kept its bookkeeping in such names.
const BOOKKEEPING: &[u8] = b".wh..wh.";
/// Where AUFS put the data of files with several names.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// What a layer's tar says, before it meets the layers below.
#[derive(Debug)]
pub(crate) struct LayerTree {
    pub(super) kind: LayerKind,
    pub(super) inodes: Vec<LayerInode>,
    /// By the inode of the directory they stand in.
    pub(super) marks: BTreeMap<Ino, Marks>,
}

#[derive(Debug)]
pub(super) struct LayerInode {
    pub(super) meta: Meta,
    pub(super) node: LayerNode,
}

#[derive(Debug)]
pub(super) enum LayerNode {
    Directory {
        children: Children,
        /// No entry of its own: the metadata is that of the layers below.
        implied: bool,
    },
    Regular(Data),
    Symlink(Box<[u8]>),
    Char(Device),
    Block(Device),
    Fifo,
    /// A hard link to something that only a lower layer can have.
    Below {
        target: Vec<Name>,
        /// The entry, for errors.
        entry: String,
    },
}

/// What a directory of the layer takes away from those below.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) opaque: bool,
    pub(super) whiteouts: BTreeSet<Name>,
}

/// A layer read to its end.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) tree: LayerTree,
    pub(crate) aci_manifest: Option<Vec<u8>>,
}

/// Builds a [`LayerTree`] from the members of a tar.
#[derive(Debug)]
pub(crate) struct LayerBuilder {
    tree: LayerTree,
    bytes: usize,
    /// Files in AUFS's link directory: no names themselves, targets of links.
    aufs_links: HashMap<Vec<Name>, Ino>,
    aci: Aci,
}

#[derive(Debug, Default)]
struct Aci {
    manifest: Option<Vec<u8>>,
    /// The data that comes now is the manifest's.
    in_manifest: bool,
}

const ROOT: Ino = 0;

impl LayerBuilder {
    pub(crate) fn new(kind: LayerKind) -> Self {
        let root = LayerInode {
            meta: implied_meta(),
            node: LayerNode::Directory {
                children: Children::new(),
                implied: true,
            },
        };
        Self {
            tree: LayerTree {
                kind,
                inodes: vec![root],
                marks: BTreeMap::new(),
            },
            bytes: 0,
            aufs_links: HashMap::new(),
            aci: Aci::default(),
        }
    }

    /// Whether the data of the last member is wanted; else it may be skipped.
    pub(crate) fn wants_data(&self) -> bool {
        self.aci.in_manifest
    }

    /// # Errors
    /// An ACI without manifest or rootfs.
    pub(crate) fn finish(self) -> Result<Layer, LayerError> {
        if self.tree.kind == LayerKind::Aci {
            if self.aci.manifest.is_none() {
                return Err(LayerError::NoManifest);
            }
            if matches!(
                self.tree.inodes[0].node,
                LayerNode::Directory { implied: true, .. }
            ) {
                return Err(LayerError::NoRootfs);
            }
        }
        Ok(Layer {
            tree: self.tree,
            aci_manifest: self.aci.manifest,
        })
    }

    fn add(&mut self, raw_path: &[u8], meta: Meta, kind: Kind) -> Result<(), EntryFault> {
        let path = components(raw_path)?;
        let path = match self.tree.kind {
            LayerKind::Oci => path,
            LayerKind::Aci => match path.split_first() {
                // "./" describes the archive's own top, which is no part of it.
                None => return Ok(()),
                Some((&b"rootfs", rest)) => rest.to_vec(),
                Some((&b"manifest", [])) => return self.manifest(&kind),
                Some(_) => return Err(EntryFault::OutsideRootfs),
            },
        };
        let Some((&name, parents)) = path.split_last() else {
            return self.root(meta, kind);
        };
        let whiteout = path.iter().position(|c| c.starts_with(WHITEOUT));
        if let Some(at) = whiteout.filter(|_| self.tree.kind == LayerKind::Oci) {
            return self.whiteout(&path, at, meta, kind);
        }
        let parent = self.directory(parents)?;
        if let Kind::HardLink(target) = kind {
            let ino = self.hard_link(&target, raw_path)?;
            return self.name(parent, name, ino);
        }
        self.file(parent, name, meta, kind)
    }

    fn root(&mut self, meta: Meta, kind: Kind) -> Result<(), EntryFault> {
        if kind != Kind::Directory {
            return Err(EntryFault::RootNotDirectory);
        }
        let xattrs = xattr::accepted(meta.xattrs, &kind)?;
        let root = &mut self.tree.inodes[0];
        if let LayerNode::Directory { implied, .. } = &mut root.node {
            if !*implied && self.tree.kind == LayerKind::Aci {
                return Err(EntryFault::Duplicate);
            }
            *implied = false;
        }
        root.meta = Meta { xattrs, ..meta };
        Ok(())
    }

    fn manifest(&mut self, kind: &Kind) -> Result<(), EntryFault> {
        if self.aci.manifest.is_some() {
            return Err(EntryFault::Duplicate);
        }
        let Kind::Regular(Data { size, pieces }) = kind else {
            return Err(EntryFault::WrongType("regular file"));
        };
        if *size > LONGEST_MANIFEST {
            return Err(EntryFault::ManifestTooLong(*size));
        }
        let whole = match pieces[..] {
            [] => *size == 0,
            [Piece { at: 0, len, .. }] => len == *size,
            _ => false,
        };
        if !whole {
            return Err(EntryFault::WrongType("file without holes"));
        }
        self.aci.manifest = Some(Vec::new());
        self.aci.in_manifest = true;
        Ok(())
    }

    /// A path with a component that begins with `.wh.`, the first at `at`.
    fn whiteout(
        &mut self,
        path: &[&[u8]],
        at: usize,
        meta: Meta,
        kind: Kind,
    ) -> Result<(), EntryFault> {
        let name = path[at];
        let last = at + 1 == path.len();
        if name.starts_with(BOOKKEEPING) {
            if name == OPAQUE && last {
                let dir = self.directory(&path[..at])?;
                self.tree.marks.entry(dir).or_default().opaque = true;
            } else if name == AUFS_LINKS && matches!(kind, Kind::Regular(_)) {
                let xattrs = xattr::accepted(meta.xattrs, &kind)?;
                let ino = self.inode(Meta { xattrs, ..meta }, kind)?;
                self.aufs_links.insert(owned(path), ino);
            }
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if !last || matches!(hidden, b"" | b"." | b"..") {
            return Err(EntryFault::BadWhiteout);
        }
        let dir = self.directory(&path[..at])?;
        let marks = self.tree.marks.entry(dir).or_default();
        marks.whiteouts.insert(hidden.into());
        Ok(())
    }

    /// The directory at `path`, its missing parts implied.
    fn directory(&mut self, path: &[&[u8]]) -> Result<Ino, EntryFault> {
        let mut dir = ROOT;
        for (depth, &name) in path.iter().enumerate() {
            let so_far = || printable(&path[..=depth].join(&b'/'));
            let next = match self.children(dir).get(name) {
                None => {
                    let next = self.push(
                        implied_meta(),
                        LayerNode::Directory {
                            children: Children::new(),
                            implied: true,
                        },
                    );
                    self.bytes += name.len();
                    self.children(dir).insert(name.into(), next);
                    next
                }
                Some(&next) => next,
            };
            match self.tree.inodes[next as usize].node {
                LayerNode::Directory { .. } => dir = next,
                LayerNode::Symlink(_) => return Err(EntryFault::ThroughSymlink(so_far())),
                _ => return Err(EntryFault::NotADirectory(so_far())),
            }
        }
        Ok(dir)
    }

    /// An entry that is not a hard link.
    fn file(&mut self, parent: Ino, name: &[u8], meta: Meta, kind: Kind) -> Result<(), EntryFault> {
        let xattrs = xattr::accepted(meta.xattrs, &kind)?;
        let mut meta = Meta { xattrs, ..meta };
        let existing = self.children(parent).get(name).copied();
        if let (Some(existing), Kind::Directory) = (existing, &kind) {
            let again = self.tree.kind == LayerKind::Aci;
            let old = &mut self.tree.inodes[existing as usize];
            if let LayerNode::Directory { implied, .. } = &mut old.node {
                if !*implied && again {
                    return Err(EntryFault::Duplicate);
                }
                *implied = false;
                old.meta = meta;
                return Ok(());
            }
        }
        if let Kind::Symlink(target) = &kind {
            match target.len() {
                0 => return Err(EntryFault::Empty),
                n if n > PATH_MAX => return Err(EntryFault::PathTooLong),
                _ => {}
            }
            // Linux has no other mode for them.
            meta.mode = 0o777;
        }
        let ino = self.inode(meta, kind)?;
        self.name(parent, name, ino)
    }

    /// Gives an inode a name, instead of what had it before.
    fn name(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<(), EntryFault> {
        self.bytes += name.len();
        let before = self.children(parent).insert(name.into(), ino);
        if before.is_some() && self.tree.kind == LayerKind::Aci {
            return Err(EntryFault::Duplicate);
        }
        Ok(())
    }

    /// The inode that a hard link names.
    fn hard_link(&mut self, target: &[u8], entry: &[u8]) -> Result<Ino, EntryFault> {
        let shown = || printable(target);
        let inside = components(target).map_err(|fault| EntryFault::LinkTarget {
            target: shown(),
            fault: Box::new(fault),
        })?;
        let inside = match (self.tree.kind, inside.split_first()) {
            (LayerKind::Oci, _) => &inside[..],
            (LayerKind::Aci, Some((&b"rootfs", rest))) => rest,
            (LayerKind::Aci, _) => {
                return Err(EntryFault::LinkTarget {
                    target: shown(),
                    fault: Box::new(EntryFault::OutsideRootfs),
                });
            }
        };
        let mut ino = Some(ROOT);
        for &name in inside {
            ino = ino.and_then(|i| match &self.tree.inodes[i as usize].node {
                LayerNode::Directory { children, .. } => children.get(name).copied(),
                _ => None,
            });
        }
        let from_aufs = || self.aufs_links.get(&owned(inside)).copied();
        match ino.or_else(from_aufs) {
            Some(ino) => match self.tree.inodes[ino as usize].node {
                // A directory that is only implied may be a file below.
                LayerNode::Directory { .. } => Err(EntryFault::LinkToDirectory(shown())),
                _ => Ok(ino),
            },
            None if self.tree.kind == LayerKind::Oci => {
                let target = owned(inside);
                self.bytes += inside.iter().map(|c| c.len() + 16).sum::<usize>();
                let entry = printable(entry);
                let node = LayerNode::Below { target, entry };
                Ok(self.push(Meta::default(), node))
            }
            None => Err(EntryFault::LinkTargetMissing(shown())),
        }
    }

    fn inode(&mut self, meta: Meta, kind: Kind) -> Result<Ino, EntryFault> {
        let node = match kind {
            Kind::Regular(data) => {
                self.bytes += data.pieces.len() * size_of::<Piece>();
                LayerNode::Regular(data)
            }
            Kind::Directory => LayerNode::Directory {
                children: Children::new(),
                implied: false,
            },
            Kind::Symlink(target) => {
                self.bytes += target.len();
                LayerNode::Symlink(target.into())
            }
            Kind::Char(device) => LayerNode::Char(device),
            Kind::Block(device) => LayerNode::Block(device),
            Kind::Fifo => LayerNode::Fifo,
            Kind::HardLink(target) => {
                return Err(EntryFault::LinkTargetMissing(printable(&target)));
            }
        };
        let xattrs = meta.xattrs.iter();
        self.bytes += xattrs
            .map(|x| x.name.len() + x.value.len() + 32)
            .sum::<usize>();
        Ok(self.push(meta, node))
    }

    fn push(&mut self, meta: Meta, node: LayerNode) -> Ino {
        let ino = self.tree.inodes.len();
        self.tree.inodes.push(LayerInode { meta, node });
        Ino::try_from(ino).expect("MOST_ENTRIES and the path limits keep this far below 2^32")
    }

    fn children(&mut self, dir: Ino) -> &mut Children {
        match &mut self.tree.inodes[dir as usize].node {
            LayerNode::Directory { children, .. } => children,
            _ => {
                unreachable!("only ever called with an inode that was just seen to be a directory")
            }
        }
    }
}

impl Sink for LayerBuilder {
    type Error = LayerError;

    fn entry(&mut self, entry: Entry, _offset: u64) -> Result<(), LayerError> {
        self.aci.in_manifest = false;
        let Entry { path, meta, kind } = entry;
        self.add(&path, meta, kind)
            .map_err(|f| LayerError::entry(&path, f))?;
        if self.tree.inodes.len() > MOST_ENTRIES || self.bytes > MOST_BYTES {
            return Err(LayerError::TooLarge {
                entries: MOST_ENTRIES,
                megabytes: MOST_BYTES >> 20,
            });
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if let Some(manifest) = &mut self.aci.manifest
            && self.aci.in_manifest
        {
            manifest.extend_from_slice(bytes);
        }
        Ok(())
    }
}

fn owned(path: &[&[u8]]) -> Vec<Name> {
    path.iter().map(|&c| c.into()).collect()
}
