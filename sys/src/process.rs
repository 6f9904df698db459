//! Making processes with `clone3` (clone(2)).
//!
//! A clone without `CLONE_VM` is a fork: the child goes on in a copy of this
//! address space. That is sound only when no other thread was holding a lock
//! or was half-way through a change at that instant, hence [`SingleThread`].

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use bitflags::bitflags;

bitflags! {
    /// The namespaces a new process gets of its own (namespaces(7)).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Namespaces: u64 {
        /// Mounts.
        const MOUNT = libc::CLONE_NEWNS as u64;
        /// Process numbers; the child is 1 in it.
        const PID = libc::CLONE_NEWPID as u64;
        /// System V IPC and POSIX message queues.
        const IPC = libc::CLONE_NEWIPC as u64;
        /// Host and domain name.
        const UTS = libc::CLONE_NEWUTS as u64;
        /// Network.
        const NET = libc::CLONE_NEWNET as u64;
        /// Users and groups; those of the child have no numbers yet, see
        /// [`Mapping`](crate::user_namespace::Mapping). It owns the others
        /// that are made with it.
        const USER = libc::CLONE_NEWUSER as u64;
        /// Root of the cgroup tree as seen by the process.
        const CGROUP = libc::CLONE_NEWCGROUP as u64;
    }
}

/// Proof that this process has one thread, taken before anything is cloned.
///
/// It is neither `Send` nor `Sync`, and whoever holds it starts no thread.
#[derive(Debug)]
pub struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Counts the threads of this process.
    ///
    /// # Errors
    /// `EBUSY` when there is more than one; whatever reading
    /// `/proc/self/task` says when it cannot be read.
    pub fn prove() -> io::Result<Self> {
        // A directory has two links of its own and one for each child.
        let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata("/proc/self/task")?);
        if links != 3 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        Ok(Self(PhantomData))
    }
}

/// Which side of a [`fork`] this is.
#[derive(Debug)]
pub enum Fork {
    /// The process that called; the child's number here and its descriptor.
    Parent(i32, OwnedFd),
    /// The new process. Signal mask, handlers and descriptors are the
    /// parent's.
    Child,
}

/// As in the kernel; the constant of libc overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Layout of `struct clone_args` up to the field of Linux 5.7.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child process, in the given new namespaces and, when `cgroup` is
/// the descriptor of a cgroup v2 directory, in that cgroup from its first
/// instruction on. The parent is told of its end by `SIGCHLD`.
///
/// # Errors
/// Those of clone(2): `EPERM` without the right to make namespaces, `EAGAIN`
/// and `ENOSPC` at a limit, `EBUSY` for a cgroup that may hold no process.
pub fn fork(
    _proof: &SingleThread,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Fork> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces.bits() | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of all memory, and
    // with `stack` zero it goes on on its copy of this stack, so both sides
    // return from here independently; `_proof` says that no other thread left
    // this copy in a half-made state. `args` and `pidfd` live until the call
    // returns, and the size passed is that of `args`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        0 => Ok(Fork::Child),
        pid if pid > 0 => {
            // SAFETY: CLONE_PIDFD made this descriptor for us just now,
            // close-on-exec, and nobody else knows its number.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(pid as i32, pidfd))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the command's process the leader of a new session (setsid(2)): no
/// terminal controls it, and no shell's signals reach it.
pub fn in_new_session(command: &mut Command) {
    let setsid = || {
        // SAFETY: the call takes and touches no memory.
        if unsafe { libc::setsid() } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call that is
    // safe in a signal handler (signal-safety(7)); it allocates nothing and
    // takes no lock that another thread could have held at the fork.
    unsafe { command.pre_exec(setsid) };
}

/// Ends this process at once: no destructors, no flushing, as a child must
/// that shares its parent's buffers.
pub fn exit(status: i32) -> ! {
    // SAFETY: the call ends the process; no code or memory of ours is used
    // after it.
    unsafe { libc::_exit(status) }
}

/// Gives back what an idle process does not need: the heap's free pages
/// (malloc_trim(3)), and the pages of the program itself, which come back
/// from the page cache, a few, when the process is woken.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call only touches pages that the allocator holds as free.
    unsafe {
        libc::malloc_trim(0);
    }
    release_program();
}

unsafe extern "C" {
    /// Where the program begins in memory and where its code ends, as every
    /// linker for ELF defines them.
    static __executable_start: u8;
    static etext: u8;
}

fn release_program() {
    let start = &raw const __executable_start;
    let end = &raw const etext;
    let length = (end as usize).saturating_sub(start as usize) & !4095;
    // SAFETY: from the program's first byte to the end of its code everything
    // is mapped privately from its file, and read-only, so dropped pages are
    // read back as they were; what relocations write to lies behind the code.
    unsafe {
        libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED);
    }
}

/// Overwrites the environment in this process's memory, but for the variables
/// whose names begin with `keep`: from then on neither it nor its children show
/// it to whoever may read `/proc/PID/environ` (proc_pid_environ(5)).
pub fn erase_environment(keep: &[u8], _: &SingleThread) {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // SAFETY: the C library's variable (environ(7)); the only thread does not
    // change it meanwhile.
    let mut entry = unsafe { environ };
    while !entry.is_null() {
        // SAFETY: an array of pointers, and its end was not passed yet.
        let variable = unsafe { *entry };
        if variable.is_null() {
            return;
        }
        // SAFETY: each points to a string that ends with a NUL.
        let length = unsafe { libc::strlen(variable) };
        // SAFETY: those bytes are writable, as putenv(3) and the kernel leave
        // them, and std and others copy what they read of them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(variable.cast::<u8>(), length) };
        if !bytes.starts_with(keep) {
            bytes.fill(0);
        }
        // SAFETY: the pointer at the end is null, and this one was not.
        entry = unsafe { entry.add(1) };
    }
}

/// Leaves the session keyring of the caller for a new, empty one (keyctl(2)),
/// so that keys do not travel into a container.
///
/// # Errors
/// `EDQUOT` when the user may have no more keys, `ENOSYS` on a kernel
/// without keys.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0_usize) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets the NIS domain name of the UTS namespace (setdomainname(2)).
///
/// # Errors
/// `EPERM` without the right to, `EINVAL` when it is longer than 64 bytes.
pub fn set_domain_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes from a live slice.
    let done = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
