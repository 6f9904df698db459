//! A merged tree written out as ordinary files.
//!
//! Everything is made relative to the descriptor of its own directory, by a
//! single name that the tree has checked, and nothing is ever followed: there
//! is no path to be led astray.

use std::collections::HashMap;
use std::collections::btree_map;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RawMode, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::rootfs::{Children, Ino, Inode, Name, Node, Tree};
use crate::tar::{Data, Meta, printable};

/// Writes `tree` into the empty directory `into`; `tars` are those that its
/// files name.
pub(super) fn unpack(tree: &Tree, tars: &[File], into: BorrowedFd<'_>) -> Result<()> {
    let mut unpacker = Unpacker {
        tree,
        tars,
        root: into,
        first_names: HashMap::new(),
        path: Vec::new(),
    };
    let outcome = unpacker.run();
    outcome.context(
        "unpack",
        std::ffi::OsStr::from_bytes(&unpacker.path.join(&b'/')),
    )
}

struct Unpacker<'a> {
    tree: &'a Tree,
    tars: &'a [File],
    root: BorrowedFd<'a>,
    /// Files with several names, once they have their first.
    first_names: HashMap<Ino, Vec<Name>>,
    /// Where we are, for errors and for `first_names`.
    path: Vec<Name>,
}

/// A directory whose children are being made.
struct Open<'a> {
    ino: Ino,
    fd: OwnedFd,
    rest: btree_map::Iter<'a, Name, Ino>,
}

impl<'a> Unpacker<'a> {
    fn run(&mut self) -> io::Result<()> {
        let root = self.root.try_clone_to_owned()?;
        let mut stack = vec![self.open(0, root)];
        while let Some(dir) = stack.last_mut() {
            if let Some((name, &ino)) = dir.rest.next() {
                self.path.push(name.clone());
                if let Node::Directory(_) = self.inode(ino).node {
                    rustix::fs::mkdirat(&dir.fd, &**name, Mode::RWXU)?;
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let fd = rustix::fs::openat(&dir.fd, &**name, flags, Mode::empty())?;
                    stack.push(self.open(ino, fd));
                    continue;
                }
                self.file(dir.fd.as_fd(), name, ino)?;
            } else {
                // Last, because each child changes the directory's time.
                set_attributes(dir.fd.as_fd(), &self.inode(dir.ino).meta)?;
                stack.pop();
            }
            self.path.pop();
        }
        Ok(())
    }

    fn inode(&self, ino: Ino) -> &'a Inode {
        &self.tree.inodes[ino as usize]
    }

    fn open(&self, ino: Ino, fd: OwnedFd) -> Open<'a> {
        static NONE: Children = Children::new();
        let rest = match &self.inode(ino).node {
            Node::Directory(children) => children.iter(),
            _ => NONE.iter(),
        };
        Open { ino, fd, rest }
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &Name, ino: Ino) -> io::Result<()> {
        let Inode { meta, node, links } = self.inode(ino);
        if *links > 1 {
            if let Some(first) = self.first_names.get(&ino) {
                return self.link(first, dir, name);
            }
            self.first_names.insert(ino, self.path.clone());
        }
        let device = |d: &crate::tar::Device| rustix::fs::makedev(d.major, d.minor);
        match node {
            Node::Regular { data, source } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, &**name, flags, Mode::RUSR | Mode::WUSR)?;
                let file = File::from(fd);
                write_data(&file, data, &self.tars[*source as usize])?;
                return set_attributes(file.as_fd(), meta);
            }
            Node::Symlink(target) => rustix::fs::symlinkat(&**target, dir, &**name)?,
            Node::Char(d) => {
                make_node(dir, name, rustix::fs::FileType::CharacterDevice, device(d))?
            }
            Node::Block(d) => make_node(dir, name, rustix::fs::FileType::BlockDevice, device(d))?,
            Node::Fifo => make_node(dir, name, rustix::fs::FileType::Fifo, 0)?,
            Node::Directory(_) => return Err(Errno::ISDIR.into()),
        }
        set_attributes_at(dir, name, meta, matches!(node, Node::Symlink(_)))
    }

    fn link(&self, first: &[Name], dir: BorrowedFd<'_>, name: &Name) -> io::Result<()> {
        let (first_name, parents) = first.split_last().ok_or(Errno::INVAL)?;
        let path = parents.join(&b'/');
        let path: &[u8] = if path.is_empty() { b"." } else { &path };
        let parent = rustix::fs::openat2(
            self.root,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )?;
        rustix::fs::linkat(parent, &**first_name, dir, &**name, AtFlags::empty())?;
        Ok(())
    }
}

fn make_node(
    dir: BorrowedFd<'_>,
    name: &Name,
    kind: rustix::fs::FileType,
    device: u64,
) -> io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::mknodat(dir, &**name, kind, mode, device)?)
}

/// Copies the pieces; where there are none, a hole stays.
fn write_data(file: &File, data: &Data, tar: &File) -> io::Result<()> {
    for piece in &data.pieces {
        copy(tar, piece.from, file, piece.at, piece.len)?;
    }
    let end = data.pieces.last().map_or(0, |p| p.at + p.len);
    if end < data.size {
        file.set_len(data.size)?;
    }
    Ok(())
}

/// In the kernel where it can, which shares the blocks where the file system
/// can.
fn copy(from: &File, mut at: u64, to: &File, mut to_at: u64, mut len: u64) -> io::Result<()> {
    while len > 0 {
        let want = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
        let (mut source, mut target) = (at, to_at);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want);
        let copied = match copied {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n as u64,
            Err(Errno::INTR) => continue,
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
                copy_through_memory(from, at, to, to_at, want)? as u64
            }
            Err(e) => return Err(e.into()),
        };
        at += copied;
        to_at += copied;
        len -= copied;
    }
    Ok(())
}

fn copy_through_memory(
    from: &File,
    at: u64,
    to: &File,
    to_at: u64,
    want: usize,
) -> io::Result<usize> {
    let mut buffer = vec![0; want.min(1 << 20)];
    from.read_exact_at(&mut buffer, at)?;
    to.write_all_at(&buffer, to_at)?;
    Ok(buffer.len())
}

/// Of a file or directory that is open. The owner first: changing it takes
/// set-user-id bits and capabilities away. The time last.
fn set_attributes(fd: BorrowedFd<'_>, meta: &Meta) -> io::Result<()> {
    rustix::fs::fchown(fd, uid(meta), gid(meta))?;
    rustix::fs::fchmod(fd, mode(meta))?;
    for xattr in &meta.xattrs {
        rustix::fs::fsetxattr(fd, &*xattr.name, &xattr.value, XattrFlags::empty())
            .map_err(|e| xattr_error(&xattr.name, e))?;
    }
    rustix::fs::futimens(fd, &times(meta))?;
    Ok(())
}

/// Of a symlink, device or fifo, which cannot be opened without consequences.
fn set_attributes_at(
    dir: BorrowedFd<'_>,
    name: &Name,
    meta: &Meta,
    symlink: bool,
) -> io::Result<()> {
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(dir, &**name, uid(meta), gid(meta), no_follow)?;
    if !symlink {
        rustix::fs::chmodat(dir, &**name, mode(meta), AtFlags::empty())?;
    }
    if !meta.xattrs.is_empty() {
        // No setxattrat before Linux 6.13, but an O_PATH descriptor has a name
        // in /proc that leads to the very file, be it a symlink.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, &**name, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        for xattr in &meta.xattrs {
            rustix::fs::setxattr(&path, &*xattr.name, &xattr.value, XattrFlags::empty())
                .map_err(|e| xattr_error(&xattr.name, e))?;
        }
    }
    rustix::fs::utimensat(dir, &**name, &times(meta), no_follow)?;
    Ok(())
}

fn xattr_error(name: &[u8], error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let kind = error.kind();
    io::Error::new(
        kind,
        format!("extended attribute {}: {error}", printable(name)),
    )
}

fn uid(meta: &Meta) -> Option<Uid> {
    Some(Uid::from_raw(meta.uid))
}

fn gid(meta: &Meta) -> Option<Gid> {
    Some(Gid::from_raw(meta.gid))
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(RawMode::from(meta.mode))
}

fn times(meta: &Meta) -> Timestamps {
    let time = Timespec {
        tv_sec: meta.mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
