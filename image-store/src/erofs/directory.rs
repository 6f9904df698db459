//! Directory blocks: entries sorted by name, then the names, packed per block.

use super::format::BLOCK;
use crate::rootfs::{Children, Ino};

const ENTRY: usize = 12;
const DIRECTORY: u8 = 2;

/// How many entries go into each block, and the size of the whole.
struct Packing {
    blocks: Vec<usize>,
    size: u64,
}

fn pack<'a>(names: impl Iterator<Item = &'a [u8]>) -> Packing {
    let mut blocks = vec![0];
    let mut used = 0;
    for name in names {
        let need = ENTRY + name.len();
        if used + need > BLOCK as usize {
            blocks.push(0);
            used = 0;
        }
        used += need;
        if let Some(last) = blocks.last_mut() {
            *last += 1;
        }
    }
    let size = (blocks.len() as u64 - 1) * BLOCK + used as u64;
    Packing { blocks, size }
}

/// `.` and `..` take part in the order like all others.
fn names(children: &Children) -> Vec<(&[u8], Option<Ino>)> {
    let mut names: Vec<(&[u8], Option<Ino>)> = Vec::with_capacity(children.len() + 2);
    names.push((b".", None));
    names.push((b"..", None));
    names.extend(children.iter().map(|(name, &ino)| (&**name, Some(ino))));
    names.sort_unstable_by_key(|&(name, _)| name);
    names
}

/// The size of the directory file in bytes.
pub(super) fn size(children: &Children) -> u64 {
    pack(names(children).into_iter().map(|(name, _)| name)).size
}

/// The directory file. `look_up` gives number and type of a child.
pub(super) fn encode(
    children: &Children,
    own: u64,
    parent: u64,
    look_up: impl Fn(Ino) -> (u64, u8),
) -> Vec<u8> {
    let names = names(children);
    let packing = pack(names.iter().map(|&(name, _)| name));
    let mut out = Vec::with_capacity(packing.size as usize);
    let mut rest = &names[..];
    for count in packing.blocks {
        let (entries, after) = rest.split_at(count);
        rest = after;
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let mut name_at = entries.len() * ENTRY;
        for &(name, ino) in entries {
            let (nid, file_type) = match ino {
                Some(ino) => look_up(ino),
                None if name == b"." => (own, DIRECTORY),
                None => (parent, DIRECTORY),
            };
            out.extend_from_slice(&nid.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.extend_from_slice(&[file_type, 0]);
            name_at += name.len();
        }
        for (name, _) in entries {
            out.extend_from_slice(name);
        }
    }
    out
}
