//! Which extended attributes of an archive become part of an image.

use super::error::EntryFault;
use crate::tar::{Kind, Xattr, printable};

/// `XATTR_NAME_MAX` of Linux.
const NAME_MAX: usize = 255;
/// What EROFS's 16-bit length holds; one less than `XATTR_SIZE_MAX`.
const VALUE_MAX: usize = 65_535;
/// What EROFS can attach to one inode, less than its 4 * 65535.
const TOTAL_MAX: usize = 256 << 10;
/// `struct posix_acl_xattr_header` and `…_entry`, include/uapi/linux/posix_acl_xattr.h.
const ACL_HEADER: usize = 4;
const ACL_ENTRY: usize = 8;
const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];

/// Checks the attributes and drops those that no Linux file system would hold
/// on such a file, and overlayfs's own: an image must not tell the pod's
/// overlay what to hide or redirect.
pub(super) fn accepted(xattrs: Vec<Xattr>, kind: &Kind) -> Result<Vec<Xattr>, EntryFault> {
    if xattrs.is_empty() {
        return Ok(xattrs);
    }
    let is_dir = matches!(kind, Kind::Directory);
    let is_file = matches!(kind, Kind::Regular(_));
    let is_link = matches!(kind, Kind::Symlink(_));
    let kept = |xattr: &Xattr| match &*xattr.name {
        b"system.posix_acl_access" => !is_link,
        b"system.posix_acl_default" => is_dir,
        name if name.starts_with(b"trusted.overlay.") => false,
        name if name.starts_with(b"user.overlay.") => false,
        name => match name.iter().position(|&b| b == b'.') {
            Some(dot) if dot + 1 < name.len() => match &name[..dot] {
                // Linux has none of these on links and devices.
                b"user" => is_dir || is_file,
                b"trusted" | b"security" => true,
                _ => false,
            },
            _ => false,
        },
    };
    let xattrs: Vec<Xattr> = xattrs.into_iter().filter(kept).collect();
    let mut total = 0;
    for Xattr { name, value } in &xattrs {
        if name.len() > NAME_MAX || value.len() > VALUE_MAX {
            return Err(EntryFault::XattrTooLong(printable(name)));
        }
        let is_acl = name.starts_with(b"system.posix_acl_");
        if is_acl && !is_acl_value(value) {
            return Err(EntryFault::BadAcl(printable(name)));
        }
        total += name.len() + value.len() + 8;
    }
    if total > TOTAL_MAX {
        return Err(EntryFault::TooManyXattrs);
    }
    Ok(xattrs)
}

fn is_acl_value(value: &[u8]) -> bool {
    value.starts_with(&ACL_VERSION)
        && value.len() > ACL_HEADER
        && (value.len() - ACL_HEADER).is_multiple_of(ACL_ENTRY)
}
