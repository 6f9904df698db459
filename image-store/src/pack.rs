//! From a directory to an image: what `rkt export` makes of a pod's app.
//!
//! The tree is walked by descriptors that stay on its own mount and follow no
//! link, in the order of the names, so the same tree gives the same bytes.
//! What tar has no word for is left out and told: sockets. What belongs to the
//! host, not to the tree, is left out too: SELinux labels and the `trusted.`
//! attributes.
//!
//! An ACI is that tar behind a manifest. An OCI image has it as its one layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use manifests::appc::ImageManifest;
use manifests::digest::Algorithm;
use manifests::oci::from_appc;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, flistxattr, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::error::{Context, Result, StoreError};
use crate::export::{self, Exported, LayoutImage};
use crate::hash::Hasher;

/// Longest name that a tar header holds; longer ones go into a PAX header.
const NAME: usize = 100;

/// The root file system of an app.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Its top.
    pub root: BorrowedFd<'a>,
    /// The id that its files have in place of 0, and as many above it in place
    /// of others.
    pub first_id: u32,
}

impl Tree<'_> {
    /// The image's id for one on disk.
    fn id(&self, on_disk: u32) -> u32 {
        on_disk.checked_sub(self.first_id).unwrap_or(on_disk)
    }
}

/// Writes an ACI, uncompressed, of a tree. Comes back with the
/// paths that were left out.
///
/// # Errors
/// The tree cannot be read, or the archive not written.
pub fn aci(manifest: &ImageManifest, tree: Tree<'_>, to: &mut dyn Write) -> Result<Vec<PathBuf>> {
    let text = serde_json::to_vec(manifest).map_err(io::Error::from);
    let text = text.context("write", "manifest")?;
    let mut walk = Walk::new(tree, Path::new("rootfs"), to);
    let mut header = plain_header(EntryType::Regular, 0o644);
    header.set_size(text.len() as u64);
    walk.entry(header, b"manifest", &[], &mut &*text)
        .context("write", "manifest")?;
    walk.all()
}

/// Writes an OCI image layout of a tree into the empty directory `dir`.
///
/// # Errors
/// As [`aci`]; or OCI has no word for something in the manifest.
pub fn layout(
    manifest: &ImageManifest,
    tree: Tree<'_>,
    tag: &str,
    dir: &Path,
) -> Result<(Exported, Vec<PathBuf>)> {
    let scratch = tempfile::tempfile_in(dir).context("create a file in", dir)?;
    let (mut image, left_out) = layer(manifest, tree, scratch)?;
    Ok((export::new_layout(&mut image, tag, dir)?, left_out))
}

/// The same as one tar. `scratch` is a directory with room for the tree.
///
/// # Errors
/// As [`layout`].
pub fn archive(
    manifest: &ImageManifest,
    tree: Tree<'_>,
    tag: &str,
    scratch: &Path,
    to: &mut dyn Write,
) -> Result<(Exported, Vec<PathBuf>)> {
    let file = tempfile::tempfile_in(scratch).context("create a file in", scratch)?;
    let (mut image, left_out) = layer(manifest, tree, file)?;
    Ok((export::new_archive(&mut image, tag, to)?, left_out))
}

/// The tree as a layer in `file`, and the configuration that goes with it.
fn layer(
    manifest: &ImageManifest,
    tree: Tree<'_>,
    file: File,
) -> Result<(LayoutImage, Vec<PathBuf>)> {
    let mut hashed = Hashed {
        file,
        hasher: Hasher::new(Algorithm::Sha256),
    };
    let left_out = {
        let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut hashed);
        let left_out = Walk::new(tree, Path::new(""), &mut buffered).all()?;
        buffered.flush().context("write", "the layer")?;
        left_out
    };
    let Hashed { mut file, hasher } = hashed;
    let size = file.stream_position().context("write", "the layer")?;
    file.seek(SeekFrom::Start(0)).context("read", "the layer")?;
    let digest = hasher.finish();
    let inverse = from_appc(manifest, std::slice::from_ref(&digest))
        .map_err(|e| StoreError::NotOci(e.into()))?;
    let config = serde_json::to_vec(&inverse.config).map_err(io::Error::from);
    Ok((
        LayoutImage {
            config: config.context("write", "the configuration")?,
            annotations: inverse.annotations,
            layer: file,
            digest,
            size,
        },
        left_out,
    ))
}

struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A tree on its way into a tar.
struct Walk<'a> {
    tree: Tree<'a>,
    /// Before every name.
    prefix: &'a Path,
    tar: Builder<&'a mut dyn Write>,
    /// The first name of a file that has several.
    names: HashMap<(u64, u64), PathBuf>,
    left_out: Vec<PathBuf>,
}

impl<'a> Walk<'a> {
    fn new(tree: Tree<'a>, prefix: &'a Path, to: &'a mut dyn Write) -> Self {
        Self {
            tree,
            prefix,
            tar: Builder::new(to),
            names: HashMap::new(),
            left_out: Vec::new(),
        }
    }

    fn all(mut self) -> Result<Vec<PathBuf>> {
        // A stack, not a recursion: an app may nest as deep as it likes.
        let mut todo = vec![PathBuf::from(".")];
        while let Some(path) = todo.pop() {
            let below = self.one(&path).context("export", &path)?;
            todo.extend(
                below
                    .into_iter()
                    .rev()
                    .map(|name| path.join(OsStr::from_bytes(&name))),
            );
        }
        self.tar.finish().context("export", "the tree")?;
        Ok(self.left_out)
    }

    /// Adds what is at `path`; the names below it, if it is a directory.
    fn one(&mut self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        let parent = self.open(
            path.parent().unwrap_or(path),
            OFlags::PATH | OFlags::DIRECTORY,
        )?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let mut stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        stat.st_uid = self.tree.id(stat.st_uid);
        stat.st_gid = self.tree.id(stat.st_gid);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let own = path.strip_prefix(".").unwrap_or(path);
        let full = self.prefix.join(own);
        let mut full = full.as_os_str().as_bytes().to_vec();
        if full.is_empty() {
            full = b".".to_vec();
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.names.get(&number) {
                let target = self.prefix.join(first).into_os_string();
                let header = header(EntryType::Link, &stat);
                return self
                    .link(header, &full, target.as_bytes())
                    .map(|()| Vec::new());
            }
            self.names.insert(number, own.to_owned());
        }
        match kind {
            FileType::Directory => {
                let dir = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
                full.push(b'/');
                let header = header(EntryType::Directory, &stat);
                self.entry(header, &full, &attributes(dir.as_fd())?, &mut io::empty())?;
                return names(&dir);
            }
            FileType::RegularFile => {
                let mut file = File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
                let size = stat.st_size.unsigned_abs();
                let mut header = header(EntryType::Regular, &stat);
                header.set_size(size);
                let attributes = attributes(file.as_fd())?;
                self.entry(header, &full, &attributes, &mut Exact::new(&mut file, size))?;
            }
            FileType::Symlink => {
                let target = readlinkat(&parent, name, Vec::new())?;
                self.link(header(EntryType::Symlink, &stat), &full, target.as_bytes())?;
            }
            FileType::Fifo => {
                self.entry(header(EntryType::Fifo, &stat), &full, &[], &mut io::empty())?;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let entry = match kind {
                    FileType::CharacterDevice => EntryType::Char,
                    _ => EntryType::Block,
                };
                let mut header = header(entry, &stat);
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                self.entry(header, &full, &[], &mut io::empty())?;
            }
            _ => self.left_out.push(own.to_owned()),
        }
        Ok(Vec::new())
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        Ok(openat2(
            self.tree.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?)
    }

    fn link(&mut self, mut header: Header, name: &[u8], target: &[u8]) -> io::Result<()> {
        let mut attributes = Vec::new();
        if let Some(gnu) = header.as_gnu_mut() {
            let length = target.len().min(NAME);
            gnu.linkname[..length].copy_from_slice(&target[..length]);
        }
        if target.len() > NAME {
            attributes.push(("linkpath".to_owned(), target.to_vec()));
        }
        self.entry(header, name, &attributes, &mut io::empty())
    }

    fn entry(
        &mut self,
        mut header: Header,
        name: &[u8],
        attributes: &[(String, Vec<u8>)],
        data: &mut dyn Read,
    ) -> io::Result<()> {
        if let Some(gnu) = header.as_gnu_mut() {
            let length = name.len().min(NAME);
            gnu.name[..length].copy_from_slice(&name[..length]);
        }
        let long = (name.len() > NAME).then_some(("path", name));
        let pax = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        let pax: Vec<_> = long.into_iter().chain(pax).collect();
        if !pax.is_empty() {
            self.tar.append_pax_extensions(pax)?;
        }
        header.set_cksum();
        self.tar.append(&header, data)
    }
}

fn plain_header(entry: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn header(entry: EntryType, stat: &Stat) -> Header {
    let mut header = plain_header(entry, stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// Attributes that belong to the tree, as PAX has them.
fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut all = Vec::new();
    for name in names[..length]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
    {
        let text = String::from_utf8_lossy(name);
        let hosts = [
            "trusted.",
            "security.selinux",
            "security.ima",
            "security.evm",
        ];
        if hosts.iter().any(|prefix| text.starts_with(prefix)) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = fgetxattr(file, name, &mut value)?;
        value.truncate(length);
        all.push((format!("SCHILY.xattr.{text}"), value));
    }
    all.sort();
    Ok(all)
}

/// As many bytes of a file as were promised: nobody writes to it, but a tar
/// whose entries are not as long as they say would be lost.
struct Exact<'a> {
    file: &'a mut File,
    left: u64,
}

impl<'a> Exact<'a> {
    fn new(file: &'a mut File, size: u64) -> Self {
        Self { file, left: size }
    }
}

impl Read for Exact<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read(&mut buf[..most])?;
        if n == 0 && most > 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}
