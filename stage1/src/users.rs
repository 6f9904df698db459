//! A pod's own users: its user namespace, and the mounts that fit it.
//!
//! Files belong to the same ids on disk whether a pod has users of its own or
//! not; it is the mounts that map them. Nothing is copied and no file changes
//! its owner, so this costs a few system calls, and what the pod wrote can be
//! read by whoever comes later with other ids.
//!
//! The kernel wants whoever mounts an overlay over mapped layers to be
//! somebody whom those layers know: it makes files of its own in the work
//! directory. So root acts as the pod's root there.
//!
//! Everything that comes from the host is opened by the supervisor: in the
//! pod's namespace nobody may mount it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use manifests::engine::Users;
use nix::sched::CloneFlags;
use nix::unistd::{Gid as NixGid, Uid as NixUid, setfsgid, setfsuid};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{capabilities, set_capabilities, set_thread_groups};
use sys::mount_attributes::{Change, MountAttributes, Propagation, set_mount_attributes};
use sys::user_namespace::{self, Mapping};

use crate::error::{Error, Result};
use crate::mounting;
use crate::plan::Parameter;
use crate::wire::{self, Order, Received};

/// Maps the owners of what comes from the host.
#[derive(Debug)]
pub struct Mapper {
    users: Users,
    /// With the same ids as the pod's namespace.
    namespace: OwnedFd,
}

impl Mapper {
    /// For a pod with these ids.
    ///
    /// # Errors
    /// [`Error::System`] when the kernel makes no such namespace.
    pub fn new(users: Users) -> Result<Self> {
        Ok(Self {
            users,
            namespace: user_namespace::create(mapping(users)).map_err(failed(users))?,
        })
    }

    /// Gives the pod's init, which waits for it, its ids.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn admit(&self, init: i32, wire: &OwnedFd) -> Result<()> {
        mapping(self.users)
            .apply(init)
            .map_err(failed(self.users))?;
        match wire::send(wire, &Order::Mapped, &[]) {
            // It failed, and has told why by now.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Error::system("start", "the pod's init")),
        }
    }

    /// The pod's ids.
    pub fn users(&self) -> Users {
        self.users
    }

    /// Whether files belong to the host's ids already.
    pub fn is_on_disk(&self) -> bool {
        self.users.on_disk
    }

    /// Shows the owners of a detached mount as the pod has them.
    ///
    /// # Errors
    /// `EINVAL` where the file system cannot do that.
    pub fn map(&self, mount: &OwnedFd, recursive: bool) -> io::Result<()> {
        user_namespace::map_owners(mount.as_fd(), self.namespace.as_fd(), recursive)
    }

    /// Mounts an overlay between mapped layers, detached: `lower`, and what is
    /// below `writable`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn overlay(
        &self,
        (lower, writable): (&Path, &Path),
        parameters: &[Parameter],
    ) -> io::Result<OwnedFd> {
        let home = Home::leave()?;
        let made = self.cover(lower).and_then(|()| {
            self.cover(writable)?;
            as_owner(self.users.first, || {
                mounting::new_file_system(c"overlay", parameters, MountAttributes::empty())
            })
        });
        home.come_back()?;
        made
    }

    /// Puts a mapped mount of a directory over it.
    fn cover(&self, directory: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
        let mapped = mounting::copy(&place, false)?;
        self.map(&mapped, false)?;
        mounting::attach(mapped, place)
    }
}

fn mapping(users: Users) -> Mapping {
    Mapping {
        first: users.first,
        count: users.count,
    }
}

fn failed(users: Users) -> impl Fn(io::Error) -> Error {
    move |e| {
        let last = users.first + (users.count - 1);
        Error::system(
            "make a user namespace with ids",
            format!("{}-{last}", users.first),
        )(e)
    }
}

/// The mount namespace, root and working directory that we have left for a
/// mount namespace of our own. The kernel takes layers of an overlay by path,
/// so they have to be mounted somewhere, and that must not be seen.
struct Home {
    namespace: OwnedFd,
    root: OwnedFd,
    here: OwnedFd,
}

impl Home {
    fn leave() -> io::Result<Self> {
        let open =
            |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let home = Self {
            namespace: open("/proc/thread-self/ns/mnt", OFlags::RDONLY)?,
            root: open("/", OFlags::PATH)?,
            here: open(".", OFlags::PATH)?,
        };
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
        let cut_off = Change {
            propagation: Some(Propagation::Private),
            recursive: true,
            ..Change::default()
        };
        match set_mount_attributes(CWD, c"/", cut_off) {
            Ok(()) => Ok(home),
            Err(e) => home.come_back().and(Err(e)),
        }
    }

    fn come_back(&self) -> io::Result<()> {
        nix::sched::setns(&self.namespace, CloneFlags::CLONE_NEWNS)?;
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        Ok(rustix::process::fchdir(&self.here)?)
    }
}

/// Acts on files as this user and group, with all that root may.
fn as_owner<T>(id: u32, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let rights = capabilities(None)?;
    let become_owner = |id: u32| {
        setfsgid(NixGid::from_raw(id));
        setfsuid(NixUid::from_raw(id));
        // Who is not root loses what overrides permissions (capabilities(7)).
        set_capabilities(None, rights).map_err(io::Error::from)
    };
    let done = become_owner(id).and_then(|()| act());
    become_owner(0).and(done)
}

/// In a process that came into a user namespace: becomes root there.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn become_root() -> Result<()> {
    let failed = || Error::attempt("become", "the root of the pod's user namespace");
    set_thread_groups(&[]).map_err(|e| failed().because(e))?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .map_err(|e| failed().because(e))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .map_err(|e| failed().because(e))
}

/// In the init, whose user namespace is new: waits until it has its ids, and
/// becomes its root.
///
/// # Errors
/// [`Error::System`] when the supervisor says something else, or the kernel
/// refuses.
pub fn await_ids(wire: &OwnedFd) -> Result<()> {
    let failed = || Error::attempt("hear", "the supervisor");
    match wire::receive::<Order>(wire).map_err(|e| failed().because(e))? {
        Some(Received {
            message: Order::Mapped,
            ..
        }) => become_root(),
        Some(_) => Err(failed().because(io::ErrorKind::InvalidData)),
        // It is gone.
        None => sys::process::exit(0),
    }
}
