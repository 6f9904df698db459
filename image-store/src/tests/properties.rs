//! Random trees against GNU tar, and random damage against panics.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::archive::{Archive, Header};
use super::backends::compare;
use super::{TestStore, is_root};
use crate::rootfs::{LayerBuilder, LayerError};
use crate::tar::{EndMarker, Scanner};
use crate::{BackendChoice, LayerKind};

/// One entry of a random archive. Few names, so that they meet.
#[derive(Debug, Clone)]
enum Member {
    File(String, Vec<u8>, u32),
    Dir(String, u32),
    Symlink(String, String),
    Fifo(String),
    HardLink(String, usize),
    Xattr(String, Vec<u8>),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => "[a-zé. ]{1,12}x", 1 => Just("n".repeat(200))]
}

fn path() -> impl Strategy<Value = String> {
    vec(name(), 1..4).prop_map(|names| names.join("/"))
}

fn member() -> impl Strategy<Value = Member> {
    let data = prop_oneof![
        4 => vec(any::<u8>(), 0..1500),
        1 => (0_usize..200_000).prop_map(|n| vec![b'z'; n]),
    ];
    let mode = prop_oneof![Just(0o644), Just(0o755), 0_u32..0o10000];
    prop_oneof![
        6 => (path(), data, mode.clone()).prop_map(|(p, d, m)| Member::File(p, d, m)),
        3 => (path(), mode).prop_map(|(p, m)| Member::Dir(p, m)),
        1 => (path(), "[a-d/.]{1,600}").prop_map(|(p, t)| Member::Symlink(p, t)),
        1 => path().prop_map(Member::Fifo),
        2 => (path(), any::<usize>()).prop_map(|(p, n)| Member::HardLink(p, n)),
        1 => (path(), vec(any::<u8>(), 1..700)).prop_map(|(p, v)| Member::Xattr(p, v)),
    ]
}

/// What the archives so far have made, so that the next entry is well-formed:
/// everything has its parents, and no name becomes another kind of thing. (What
/// happens then is told by tables.)
#[derive(Default)]
struct World {
    kinds: BTreeMap<String, char>,
    /// Names of this archive; none comes twice, but directories.
    fresh: BTreeSet<String>,
    files: Vec<String>,
}

impl World {
    fn archive(&mut self, members: &[Member]) -> Vec<u8> {
        self.fresh.clear();
        let add = |archive, member| self.add(archive, member);
        members.iter().fold(Archive::new(), add).finish()
    }

    fn add(&mut self, mut archive: Archive, member: &Member) -> Archive {
        let (path, kind) = match member {
            Member::File(path, ..) | Member::Xattr(path, _) => (path, 'f'),
            Member::Dir(path, _) => (path, 'd'),
            Member::Symlink(path, _) => (path, 's'),
            Member::Fifo(path) => (path, 'p'),
            Member::HardLink(path, _) => (path, 'l'),
        };
        let before = self.kinds.get(path).copied();
        let stale = before.is_some() && !self.fresh.contains(path);
        let allowed = match before {
            None => true,
            Some('d') => kind == 'd',
            Some('f') => kind == 'f' && stale,
            Some(_) => false,
        };
        if !allowed {
            return archive;
        }
        for (slash, _) in path.match_indices('/') {
            let parent = &path[..slash];
            if self.kinds.get(parent).is_some_and(|&kind| kind != 'd') {
                return archive;
            }
            // Each layer describes the directories that it changes: without
            // that, GNU tar leaves them the time of unpacking.
            if self.fresh.insert(parent.to_owned()) {
                self.kinds.insert(parent.to_owned(), 'd');
                let header = Header::new(b'5', "d");
                archive = archive.gnu_long(b'L', parent).member(header, b"");
            }
        }
        let target = match member {
            Member::HardLink(_, which) if !self.files.is_empty() => {
                Some(self.files[which % self.files.len()].clone())
            }
            Member::HardLink(..) => return archive,
            _ => None,
        };
        self.kinds.insert(path.clone(), kind);
        self.fresh.insert(path.clone());
        if kind == 'f' {
            self.files.push(path.clone());
        }
        let long = |archive: Archive| archive.gnu_long(b'L', path);
        match member {
            Member::File(_, data, mode) => {
                let header = Header::new(b'0', "f").size(data.len() as u64).mode(*mode);
                long(archive).member(header, data)
            }
            Member::Dir(_, mode) => long(archive).member(Header::new(b'5', "d").mode(*mode), b""),
            Member::Symlink(_, target) => long(archive)
                .gnu_long(b'K', target)
                .member(Header::new(b'2', "s").mode(0o777), b""),
            Member::Fifo(_) => long(archive).member(Header::new(b'6', "p"), b""),
            Member::HardLink(..) => long(archive)
                .gnu_long(b'K', &target.unwrap_or_default())
                .member(Header::new(b'1', "l"), b""),
            Member::Xattr(_, value) => {
                let records: [(&str, &[u8]); 2] =
                    [("SCHILY.xattr.user.x", value), ("path", path.as_bytes())];
                archive.pax(b'x', &records).file("x", b"with an attribute")
            }
        }
    }
}

fn well_formed(members: &[Member]) -> Vec<u8> {
    World::default().archive(members)
}

/// Reads an archive in pieces of `chunk` bytes; what was found, as text.
pub(super) fn scan(bytes: &[u8], chunk: usize, kind: LayerKind) -> Result<String, LayerError> {
    let mut scanner = Scanner::new();
    let mut builder = LayerBuilder::new(kind);
    for piece in bytes.chunks(chunk) {
        scanner.feed(piece, &mut builder)?;
    }
    scanner.finish(EndMarker::Required)?;
    Ok(format!("{:?}", builder.finish()?))
}

/// `PROPTEST_CASES` for more than the usual number.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|n| n.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(usual))
}

proptest! {
    #![proptest_config(cases(12))]

    /// What both backends show is what GNU tar unpacks.
    #[test]
    fn random_trees_as_gnu_tar_unpacks_them(layers in vec(vec(member(), 0..30), 1..4)) {
        if is_root() {
            let mut world = World::default();
            let archives: Vec<_> = layers.iter().map(|l| world.archive(l)).collect();
            compare(&archives);
        }
    }
}

/// Every entry can be looked at, and the beginning of every file be read.
fn walk(dir: &Path, seen: &mut Vec<String>) {
    use std::io::Read;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let mut beginning = Vec::new();
        if metadata.is_file() {
            let file = std::fs::File::open(&path).unwrap();
            file.take(4096).read_to_end(&mut beginning).unwrap();
        }
        let (mode, size) = (metadata.mode(), metadata.len());
        let size = if metadata.is_dir() { 0 } else { size };
        seen.push(format!(
            "{path:?} {mode:o} {size} {beginning:?}",
            path = path.file_name()
        ));
        if metadata.is_dir() {
            walk(&path, seen);
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    /// Damage that is let in is harmless: the kernel mounts the index, every
    /// file can be read, and an unpacked tree is the same.
    #[test]
    fn damaged_archives_that_are_accepted_can_be_used(
        members in vec(member(), 1..12),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut archive = well_formed(&members);
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            let start = at / 512 * 512;
            if let Ok(block) = <[u8; 512]>::try_from(&archive[start..start + 512])
                && block[257..262] == *b"ustar"
            {
                archive[start..start + 512].copy_from_slice(&Header { block }.sealed());
            }
        }
        let test = TestStore::new();
        if let Ok(image) = test.commit(&[&archive])
            && is_root()
            && let Some(mounted) = test.mount(&image, BackendChoice::Auto)
        {
            let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
            walk(&mounted.path, &mut packed);
            // What the file system cannot store is no fault of the image.
            if let Ok(tree) = test.store.mount(&image, BackendChoice::Tree) {
                walk(&tree.path, &mut unpacked);
                packed.sort();
                unpacked.sort();
                prop_assert_eq!(packed, unpacked);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// The answer does not depend on how the bytes are cut.
    #[test]
    fn chunks_do_not_matter(members in vec(member(), 0..12), chunk in 1_usize..2000) {
        let archive = well_formed(&members);
        let whole = scan(&archive, archive.len(), LayerKind::Oci).unwrap();
        prop_assert_eq!(whole, scan(&archive, chunk, LayerKind::Oci).unwrap());
    }

    /// Whatever is changed in an archive: an error or a tree, never a panic.
    #[test]
    fn damaged_archives_do_not_panic(
        members in vec(member(), 0..12),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        reseal in any::<bool>(),
        kind in prop_oneof![Just(LayerKind::Oci), Just(LayerKind::Aci)],
    ) {
        let mut archive = well_formed(&members);
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            if reseal {
                // Mend the checksum, so that the damage is looked at.
                let start = at / 512 * 512;
                if let Ok(block) = <[u8; 512]>::try_from(&archive[start..start + 512]) {
                    let sealed = Header { block }.sealed();
                    archive[start..start + 512].copy_from_slice(&sealed);
                }
            }
        }
        let end = cut.index(archive.len() + 1);
        let _ = scan(&archive, 700, kind);
        let _ = scan(&archive[..end], 4096, kind);
    }

    /// Noise between a header's fields.
    #[test]
    fn random_headers_do_not_panic(
        block in vec(any::<u8>(), 512),
        flag in prop::sample::select(b"01234567xgLKSVMD\0".to_vec()),
        rest in vec(any::<u8>(), 0..3000),
    ) {
        let mut header = Header { block: block.try_into().expect("512 bytes") };
        header.block[156] = flag;
        // Half of the numbers are valid.
        for at in [100, 108, 116, 124, 136, 329, 337] {
            if header.block[at] & 1 == 0 {
                header.put(at, b"0000644\0");
            }
        }
        let archive = Archive::new().member(header, &rest).finish();
        let _ = scan(&archive, 512, LayerKind::Oci);
    }
}
