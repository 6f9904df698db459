//! User namespaces (user_namespaces(7)), and the mounts that show other owners
//! in them (mount_setattr(2), "ID-mapped mounts").

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// So many ids, from 0 on inside a user namespace, are as many from `first` on
/// outside. Users and groups are mapped alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The id outside that is 0 inside.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Mapping {
    /// Gives the process, the first one in a new user namespace, its ids.
    ///
    /// # Errors
    /// `EPERM` without CAP_SETUID and CAP_SETGID outside, or where the ids
    /// are not ours to give.
    pub fn apply(self, pid: i32) -> io::Result<()> {
        let line = format!("0 {} {}", self.first, self.count);
        fs::write(format!("/proc/{pid}/uid_map"), &line)?;
        fs::write(format!("/proc/{pid}/gid_map"), &line)
    }
}

/// Makes a user namespace that holds no process, to map the owners of mounts
/// by.
///
/// # Errors
/// Those of clone(2): `EPERM` without the right to, `ENOSPC` at the limit of
/// user namespaces; and those of [`Mapping::apply`].
pub fn create(mapping: Mapping) -> io::Result<OwnedFd> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the
    // child has its own copy of all memory. It runs nothing but the two system
    // calls below, so it does not matter what locks other threads held.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: the call takes numbers only and is safe in a signal handler.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: as above; the process ends here, by a signal.
            unsafe { libc::pause() };
        }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = pid as i32;
    let opened = mapping
        .apply(pid)
        .and_then(|()| fs::File::open(format!("/proc/{pid}/ns/user")));
    // It is not waited for yet, so the number is its own.
    let ended = crate::signals::send(pid, libc::SIGKILL).and_then(|()| wait_for(pid));
    ended.and(opened).map(Into::into)
}

fn wait_for(pid: i32) -> io::Result<()> {
    use rustix::process::{Pid, WaitOptions, waitpid};
    rustix::io::retry_on_intr(|| waitpid(Pid::from_raw(pid), WaitOptions::empty()))?;
    Ok(())
}

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x10_0000;

/// Shows the owners of a detached mount, and of those below it if `recursive`,
/// as the namespace maps them: id 0 of the file system as what is 0 inside.
///
/// # Errors
/// `EINVAL` where a file system cannot do that, `EPERM` where a mount is
/// mapped already.
pub fn map_owners(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attr: [u64; 4] = [IDMAP, 0, 0, namespace.as_raw_fd() as u64];
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a live C string; the four numbers are laid out as
    // `struct mount_attr` (set, clear, propagation, descriptor) and have the
    // size passed; the kernel only reads both.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
