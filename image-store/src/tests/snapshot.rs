//! Everything about a tree that an image promises, to be compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: i64,
    pub(super) links: u64,
    pub(super) device: u64,
    pub(super) content: Content,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path, in order, of the same file.
    pub(super) same_as: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Size and SHA-256.
    File(u64, String),
    Symlink(PathBuf),
    Directory,
    Other,
}

pub(super) type Snapshot = BTreeMap<PathBuf, Seen>;

/// Reads all of a tree, through the kernel.
pub(super) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let seen = see(&full);
        if seen.content == Content::Directory {
            for entry in fs::read_dir(&full).unwrap() {
                let entry = entry.unwrap();
                assert_eq!(
                    entry.file_type().unwrap(),
                    entry.metadata().unwrap().file_type(),
                    "{full:?}"
                );
                pending.push(path.join(entry.file_name()));
            }
        }
        found.insert(path, seen);
    }
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for (path, seen) in &mut found {
        let ino = root.join(path).symlink_metadata().unwrap().ino();
        seen.same_as = first.entry(ino).or_insert_with(|| path.clone()).clone();
    }
    found
}

fn see(path: &Path) -> Seen {
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_dir() {
        Content::Directory
    } else if kind.is_symlink() {
        Content::Symlink(fs::read_link(path).unwrap())
    } else if kind.is_file() {
        Content::File(metadata.len(), hash(path))
    } else {
        assert!(kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
        Content::Other
    };
    Seen {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        mtime: metadata.mtime(),
        // A directory's count differs between file systems that are right.
        links: if kind.is_dir() { 0 } else { metadata.nlink() },
        device: metadata.rdev(),
        content,
        xattrs: xattrs(path),
        same_as: PathBuf::new(),
    }
}

fn hash(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return format!("{:x}", hash.finalize()),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("{path:?}: {e}"),
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|&b| b == 0).filter(|n| !n.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Fails with the first few differences, path by path.
pub(super) fn assert_same(ours: &Snapshot, theirs: &Snapshot, what: &str) {
    let mut differences = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|p| !ours.contains_key(*p)))
    {
        let (a, b) = (ours.get(path), theirs.get(path));
        if a != b {
            let path = String::from_utf8_lossy(path.as_os_str().as_bytes());
            differences.push(format!("{path}:\n  ours   {a:?}\n  theirs {b:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(5)].join("\n")
    );
}
