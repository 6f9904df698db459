//! Changing what a mount allows: mount_setattr(2), which rustix lacks.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use bitflags::bitflags;

bitflags! {
    /// Attributes of a mount (`MOUNT_ATTR_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountAttributes: u64 {
        /// Nothing can be written.
        const READ_ONLY = 0x1;
        /// Set-user-ID bits and file capabilities have no effect.
        const NO_SUID = 0x2;
        /// Device nodes cannot be opened.
        const NO_DEV = 0x4;
        /// Nothing can be executed.
        const NO_EXEC = 0x8;
        /// Access times are never updated.
        const NO_ATIME = 0x10;
        /// Access times are always updated. With neither this nor
        /// [`Self::NO_ATIME`] they are updated as `relatime` says.
        const STRICT_ATIME = 0x20;
        /// Access times of directories are never updated.
        const NO_DIR_ATIME = 0x80;
        /// Symbolic links are not followed.
        const NO_SYMFOLLOW = 0x20_0000;
    }
}

impl MountAttributes {
    /// The bits that together hold one value, how access times are kept; the
    /// kernel wants them cleared together.
    pub const ATIME_MASK: u64 = 0x70;
}

/// How mounts and unmounts travel from and to a mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Propagation {
    /// To and from no other mount.
    Private = libc::MS_PRIVATE,
    /// From the mount it was made from, not back.
    Slave = libc::MS_SLAVE,
    /// Both ways.
    Shared = libc::MS_SHARED,
    /// As private, and it cannot be bind mounted.
    Unbindable = libc::MS_UNBINDABLE,
}

/// What [`set_mount_attributes`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Attributes to set.
    pub set: MountAttributes,
    /// Attributes to clear; wins nothing over `set`, the kernel clears first.
    pub clear: MountAttributes,
    /// Propagation to give, none to leave it.
    pub propagation: Option<Propagation>,
    /// Also to every mount below.
    pub recursive: bool,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount that `mount` is the root of, or that the `path` below it
/// is the root of, without following a symbolic link at its end.
///
/// # Errors
/// `EPERM` when an attribute is locked by another user namespace, `EINVAL`
/// when it is not the root of a mount, `ENOSYS` before Linux 5.12.
pub fn set_mount_attributes(mount: BorrowedFd<'_>, path: &CStr, change: Change) -> io::Result<()> {
    let mut attr = MountAttr {
        attr_set: change.set.bits(),
        attr_clr: change.clear.bits(),
        propagation: change.propagation.map_or(0, |p| p as u64),
        userns_fd: 0,
    };
    let atime = MountAttributes::NO_ATIME | MountAttributes::STRICT_ATIME;
    if change.set.union(change.clear).intersects(atime) {
        attr.attr_clr |= MountAttributes::ATIME_MASK;
    }
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` is a live C string and `attr` a live struct of the size
    // passed; the kernel only reads them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw mut attr,
            size_of::<MountAttr>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
