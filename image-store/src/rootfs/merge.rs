//! Layers laid on each other.
//!
//! `render(X) = keep_only(overlay(render(deps)…, layers(X)), whitelist(X))`,
//! the recursive definition of appc; an OCI image is the case without
//! dependencies. In each layer, whiteouts and opaque directories act first and
//! only on what lies below; then directories merge and everything else
//! replaces.
//!
//! Two differences between the worlds: in an OCI layer an entry below a symlink
//! of a *lower* layer is put where the symlink leads within the image, as every
//! OCI tool does; appc forbids to follow, so there a directory takes the
//! symlink's place. And only an OCI layer may hard-link to a lower one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::error::{EntryFault, LayerError};
use super::layer::{LayerNode, LayerTree};
use super::path::MOST_COMPONENTS;
use super::{Children, Ino, Inode, Name, Node, Tree, implied_meta, whitelist};
use crate::layer::LayerKind;
use crate::record::Stack;
use crate::tar::Meta;

/// As many as the kernel follows.
const MOST_SYMLINKS: usize = 40;

/// A layer and its number among the image's tars.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) layer: Arc<LayerTree>,
    pub(crate) number: u32,
}

/// Merges all layers of an image.
///
/// # Errors
/// A hard link whose target no lower layer has, or an entry below a symlink
/// that leads nowhere.
pub(crate) fn render(stack: &Stack<Source>) -> Result<Tree, LayerError> {
    let mut merge = Merge { inodes: Vec::new() };
    let root = merge.stack(stack)?;
    merge.finish(root)
}

/// An arena with all trees, finished or not.
struct Merge {
    inodes: Vec<MergeInode>,
}

struct MergeInode {
    meta: Meta,
    node: Node,
}

impl Merge {
    fn stack(&mut self, stack: &Stack<Source>) -> Result<Ino, LayerError> {
        let root = self.push(implied_meta(), Node::Directory(Children::new()));
        for dependency in &stack.dependencies {
            let upper = self.stack(dependency)?;
            self.overlay(
                root,
                &Upper {
                    root: upper,
                    layer: None,
                },
            )?;
        }
        for source in &stack.layers {
            let upper = self.import(root, source)?;
            if !source.layer.marks.is_empty() {
                self.take_away(root, &upper);
            }
            self.overlay(root, &upper)?;
        }
        if !stack.path_whitelist.is_empty() {
            whitelist::keep_only(self, root, &stack.path_whitelist);
        }
        Ok(root)
    }

    /// Brings a layer's inodes into the arena; hard links to lower layers are
    /// resolved now, before any whiteout hides their targets.
    fn import<'a>(&mut self, root: Ino, source: &'a Source) -> Result<Upper<'a>, LayerError> {
        let layer = &*source.layer;
        let mut moved = Vec::with_capacity(layer.inodes.len());
        let mut next = self.inodes.len() as Ino;
        for inode in &layer.inodes {
            if let LayerNode::Below { target, entry } = &inode.node {
                moved.push(self.link_target(root, target, entry)?);
            } else {
                moved.push(next);
                next += 1;
            }
        }
        let first = self.inodes.len() as Ino;
        let mut origin = HashMap::new();
        for (number, inode) in layer.inodes.iter().enumerate() {
            let node = match &inode.node {
                LayerNode::Below { .. } => continue,
                LayerNode::Directory { children, implied } => {
                    let number = number as Ino;
                    if *implied || layer.marks.contains_key(&number) {
                        origin.insert(self.inodes.len() as Ino, number);
                    }
                    let moved = |(name, ino): (&Name, &Ino)| (name.clone(), moved[*ino as usize]);
                    Node::Directory(children.iter().map(moved).collect())
                }
                LayerNode::Regular(data) => Node::Regular {
                    data: data.clone(),
                    source: source.number,
                },
                LayerNode::Symlink(target) => Node::Symlink(target.clone()),
                LayerNode::Char(device) => Node::Char(*device),
                LayerNode::Block(device) => Node::Block(*device),
                LayerNode::Fifo => Node::Fifo,
            };
            self.push(inode.meta.clone(), node);
        }
        Ok(Upper {
            root: first,
            layer: Some(UpperLayer { layer, origin }),
        })
    }

    fn link_target(&self, root: Ino, target: &[Name], entry: &str) -> Result<Ino, LayerError> {
        let shown = || crate::tar::printable(&target.join(&b'/'));
        let fault = |fault| LayerError::Entry {
            entry: entry.to_owned(),
            fault,
        };
        let missing = || fault(EntryFault::LinkTargetMissing(shown()));
        let (name, parents) = target.split_last().ok_or_else(missing)?;
        let dir = self.walk(root, parents).ok_or_else(missing)?;
        let ino = self.children(dir).and_then(|c| c.get(name));
        let ino = *ino.ok_or_else(missing)?;
        if self.children(ino).is_some() {
            return Err(fault(EntryFault::LinkToDirectory(shown())));
        }
        Ok(ino)
    }

    /// Applies the layer's whiteouts and opaque directories.
    fn take_away(&mut self, root: Ino, upper: &Upper<'_>) {
        let mut pending = vec![Pair::top(root, upper.root)];
        while let Some(pair) = pending.pop() {
            if let Some(marks) = upper.marks(pair.upper) {
                let lower = self.children_mut(pair.lower);
                if marks.opaque {
                    lower.clear();
                }
                for name in &marks.whiteouts {
                    lower.remove(name);
                }
            }
            let Some(children) = self.children(pair.upper) else {
                continue;
            };
            for (name, &ino) in children {
                let below = self.children(pair.lower).and_then(|c| c.get(name));
                let Some(&lower) = below else { continue };
                if self.children(ino).is_none() {
                    continue;
                }
                let mut next = pair.child(lower, ino, name);
                match self.inodes[lower as usize].node {
                    Node::Directory(_) => pending.push(next),
                    Node::Symlink(_) if upper.follows(ino) => {
                        if let Some(lower) = self.walk(root, &next.path) {
                            next.lower = lower;
                            pending.push(next);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lays `upper` on the tree at `root`.
    fn overlay(&mut self, root: Ino, upper: &Upper<'_>) -> Result<(), LayerError> {
        let mut pending = vec![Pair::top(root, upper.root)];
        while let Some(pair) = pending.pop() {
            if !upper.is_implied(pair.upper) {
                self.inodes[pair.lower as usize].meta =
                    std::mem::take(&mut self.inodes[pair.upper as usize].meta);
            }
            let children = std::mem::take(self.children_mut(pair.upper));
            for (name, ino) in children {
                let below = self.children_mut(pair.lower).get(&name).copied();
                let Some(lower) = below.filter(|_| self.children(ino).is_some()) else {
                    self.children_mut(pair.lower).insert(name, ino);
                    continue;
                };
                let mut next = pair.child(lower, ino, &name);
                match self.inodes[lower as usize].node {
                    Node::Directory(_) => pending.push(next),
                    Node::Symlink(_) if upper.follows(ino) => {
                        let Some(lower) = self.walk(root, &next.path) else {
                            let path = next.path.join(&b'/');
                            return Err(LayerError::entry(&path, EntryFault::DanglingSymlink));
                        };
                        next.lower = lower;
                        pending.push(next);
                    }
                    _ => {
                        self.children_mut(pair.lower).insert(name, ino);
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory at a path, symlinks followed without leaving the tree.
    fn walk(&self, root: Ino, path: &[Name]) -> Option<Ino> {
        let mut trail = vec![root];
        let mut todo: VecDeque<&[u8]> = path.iter().map(|n| &**n).collect();
        let mut symlinks = 0;
        while let Some(name) = todo.pop_front() {
            match name {
                b"" | b"." => continue,
                b".." => {
                    if trail.len() > 1 {
                        trail.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let ino = *self.children(*trail.last()?)?.get(name)?;
            match &self.inodes[ino as usize].node {
                Node::Directory(_) => trail.push(ino),
                Node::Symlink(target) => {
                    symlinks += 1;
                    if symlinks > MOST_SYMLINKS {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        trail.truncate(1);
                    }
                    for component in target.rsplit(|&b| b == b'/') {
                        todo.push_front(component);
                    }
                }
                _ => return None,
            }
        }
        trail.last().copied()
    }

    /// Collects what can be reached, breadth first, and counts names.
    fn finish(mut self, root: Ino) -> Result<Tree, LayerError> {
        let mut number: HashMap<Ino, Ino> = HashMap::new();
        let mut inodes = vec![self.take(root)];
        let mut level = vec![0_usize];
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for at in level {
                let Node::Directory(children) = &mut inodes[at].node else {
                    continue;
                };
                let mut children = std::mem::take(children);
                let mut subdirectories = 0;
                for (name, ino) in &mut children {
                    if let Some(&known) = number.get(ino) {
                        *ino = known;
                        inodes[known as usize].links += 1;
                        continue;
                    }
                    let new = inodes.len();
                    let inode = self.take(*ino);
                    if matches!(inode.node, Node::Directory(_)) {
                        if depth == MOST_COMPONENTS {
                            return Err(LayerError::entry(name, EntryFault::TooDeep));
                        }
                        subdirectories += 1;
                        below.push(new);
                    } else {
                        number.insert(*ino, new as Ino);
                    }
                    inodes.push(inode);
                    *ino = new as Ino;
                }
                inodes[at].links = 2 + subdirectories;
                inodes[at].node = Node::Directory(children);
            }
            level = below;
            depth += 1;
        }
        Ok(Tree { inodes })
    }

    /// Moves an inode out of the arena, as one with a single name.
    fn take(&mut self, ino: Ino) -> Inode {
        let inode = &mut self.inodes[ino as usize];
        Inode {
            meta: std::mem::take(&mut inode.meta),
            node: std::mem::replace(&mut inode.node, Node::Fifo),
            links: 1,
        }
    }

    fn push(&mut self, meta: Meta, node: Node) -> Ino {
        let ino = self.inodes.len() as Ino;
        self.inodes.push(MergeInode { meta, node });
        ino
    }

    fn children(&self, ino: Ino) -> Option<&Children> {
        match &self.inodes[ino as usize].node {
            Node::Directory(children) => Some(children),
            _ => None,
        }
    }

    fn children_mut(&mut self, dir: Ino) -> &mut Children {
        match &mut self.inodes[dir as usize].node {
            Node::Directory(children) => children,
            _ => {
                unreachable!("only ever called with an inode that was just seen to be a directory")
            }
        }
    }
}

impl whitelist::Directories for Merge {
    fn children(&self, ino: Ino) -> Option<&Children> {
        self.children(ino)
    }

    fn set_children(&mut self, dir: Ino, children: Children) {
        *self.children_mut(dir) = children;
    }

    fn forget_meta(&mut self, dir: Ino) {
        self.inodes[dir as usize].meta = implied_meta();
    }
}

/// The tree that is laid on another.
struct Upper<'a> {
    root: Ino,
    /// `None` for a rendered dependency, in which nothing is implied any more.
    layer: Option<UpperLayer<'a>>,
}

struct UpperLayer<'a> {
    layer: &'a LayerTree,
    /// From the arena's inode to the layer's, for directories that are implied
    /// or marked.
    origin: HashMap<Ino, Ino>,
}

impl<'a> Upper<'a> {
    fn marks(&self, ino: Ino) -> Option<&'a super::layer::Marks> {
        let upper = self.layer.as_ref()?;
        upper.layer.marks.get(upper.origin.get(&ino)?)
    }

    fn is_implied(&self, ino: Ino) -> bool {
        self.layer.as_ref().is_some_and(|upper| {
            let origin = upper.origin.get(&ino);
            origin.is_some_and(|&ino| {
                matches!(
                    upper.layer.inodes[ino as usize].node,
                    LayerNode::Directory { implied: true, .. }
                )
            })
        })
    }

    /// Whether this directory goes where a lower symlink leads.
    fn follows(&self, ino: Ino) -> bool {
        let oci = |u: &UpperLayer<'_>| u.layer.kind == LayerKind::Oci;
        self.layer.as_ref().is_some_and(oci) && self.is_implied(ino)
    }
}

/// Two directories that stand at the same path.
struct Pair {
    lower: Ino,
    upper: Ino,
    path: Vec<Name>,
}

impl Pair {
    fn top(lower: Ino, upper: Ino) -> Self {
        Self {
            lower,
            upper,
            path: Vec::new(),
        }
    }

    fn child(&self, lower: Ino, upper: Ino, name: &Name) -> Self {
        let mut path = self.path.clone();
        path.push(name.clone());
        Self { lower, upper, path }
    }
}
