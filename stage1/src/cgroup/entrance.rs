//! The way into an app's cgroups, for the process that is to be in them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::device_filter::Instruction;

use crate::error::{Error, Result};

/// An [`Entrance`] on its way to another process.
#[derive(Debug)]
pub struct List<'a> {
    /// The first descriptor is of the v2 cgroup.
    pub unified: bool,
    /// The last descriptor is of the v1 cgroup that limits devices.
    pub devices: bool,
    /// All of them.
    pub descriptors: Vec<BorrowedFd<'a>>,
}

impl<'a> List<'a> {
    /// The same way for a process that has users of its own: it may not be born
    /// in a cgroup of the host's, but move there by a file that was opened by
    /// who may (cgroups(7), "Cgroups v2 delegation": the opener's rights count).
    pub fn through(mut self, procs: &'a OwnedFd) -> Self {
        if self.unified {
            self.unified = false;
            self.descriptors[0] = procs.as_fd();
        }
        self
    }
}

/// The way into an app's cgroups.
#[derive(Debug, Default)]
pub struct Entrance {
    /// The v2 cgroup, for `CLONE_INTO_CGROUP`.
    pub unified: Option<OwnedFd>,
    /// The `tasks` files of the v1 cgroups but one; `cgroup.procs` of the v2
    /// cgroup for who cannot be born in it.
    pub tasks: Vec<OwnedFd>,
    /// The `tasks` file of the v1 cgroup that limits devices. It is entered
    /// late: an app that may use a device may not therefore make it, and we
    /// make its devices.
    pub devices: Option<OwnedFd>,
}

impl Entrance {
    /// From the descriptors of [`Order::Start`](crate::wire::Order::Start).
    pub fn from_list(mut list: Vec<OwnedFd>, unified: bool, devices: bool) -> Self {
        let devices = if devices { list.pop() } else { None };
        let unified = (unified && !list.is_empty()).then(|| list.remove(0));
        Self {
            unified,
            tasks: list,
            devices,
        }
    }

    /// Moves the calling process, which has one thread, into the cgroups that
    /// it was not born in, but that of v1 which limits devices.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn join(&self) -> Result<()> {
        self.tasks.iter().try_for_each(enter)
    }

    /// Puts the calling process under the app's limit of devices: on v1 by
    /// entering the cgroup that has it, on v2 by setting it, with
    /// `device_filter`, on the cgroup where the process is.
    ///
    /// # Errors
    /// [`Error::System`] with what the kernel says.
    pub fn limit_devices(&self, device_filter: Option<&[Instruction]>) -> Result<()> {
        if let (Some(filter), Some(unified)) = (device_filter, &self.unified) {
            sys::device_filter::attach(unified.as_fd(), filter)
                .map_err(Error::system("limit", "the app's devices"))?;
        }
        self.devices.iter().try_for_each(enter)
    }
}

/// `0` into `tasks`, not a number into `cgroup.procs`: for a thread that
/// moves only itself the kernel needs no lock over all forks of the host, and
/// taking that lock waits for an RCU grace period (6 ms measured).
pub(crate) fn enter(tasks: &impl AsFd) -> Result<()> {
    rustix::io::write(tasks, b"0").map_err(Error::system("join", "the app's cgroup"))?;
    Ok(())
}
