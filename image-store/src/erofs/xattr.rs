//! Extended attributes, behind the inode they belong to.

use crate::tar::Xattr;

const HEADER: usize = 12;
const ENTRY: usize = 4;

/// `EROFS_XATTR_INDEX_*` and what remains of the name. POSIX ACLs have an
/// index each and no name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => Some((2, b"")),
        b"system.posix_acl_default" => Some((3, b"")),
        _ => [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
            .iter()
            .find_map(|&(index, prefix)| Some((index, name.strip_prefix(prefix)?))),
    }
}

/// Bytes behind the inode, a multiple of 4.
pub(super) fn size(xattrs: &[Xattr]) -> u64 {
    let entries = xattrs.iter().filter_map(|x| {
        let (_, name) = split(&x.name)?;
        Some((ENTRY + name.len() + x.value.len()).next_multiple_of(4))
    });
    match entries.sum::<usize>() {
        0 => 0,
        entries => (HEADER + entries) as u64,
    }
}

/// `i_xattr_icount` for that many bytes.
pub(super) fn units(size: u64) -> u16 {
    match size {
        0 => 0,
        size => ((size - HEADER as u64) / 4 + 1) as u16,
    }
}

pub(super) fn encode(xattrs: &[Xattr], out: &mut Vec<u8>) {
    if size(xattrs) == 0 {
        return;
    }
    out.extend_from_slice(&[0; HEADER]);
    for xattr in xattrs {
        let Some((index, name)) = split(&xattr.name) else {
            continue;
        };
        out.extend_from_slice(&[name.len() as u8, index]);
        out.extend_from_slice(&(xattr.value.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&xattr.value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}
