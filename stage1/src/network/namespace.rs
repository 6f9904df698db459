//! Looking out of another network namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::{Error, Result};

/// Where named namespaces are, as ip-netns(8) has it.
const DIRECTORY: &str = "/run/netns";

/// Calls `act` while the calling thread is in the network namespace `netns`.
///
/// # Errors
/// Those of entering; and what `act` returns.
pub(crate) fn within<T>(netns: BorrowedFd<'_>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = "/proc/thread-self/ns/net";
    let home = OwnedFd::from(File::open(own).map_err(Error::file("open", own))?);
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(netns, network)
        .map_err(Error::file("enter the network namespace of", "the pod"))?;
    let result = act();
    if move_into_link_name_space(home.as_fd(), network).is_err() {
        // To go on in the pod's namespace as if it were the host's would
        // change the wrong machine's network.
        std::process::abort();
    }
    result
}

/// The path under which plugins' programs find the namespace of pod `uuid`.
pub(crate) fn path_of(uuid: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("rkt-{uuid}"))
}

/// Gives the namespace a path.
pub(crate) fn publish(netns: BorrowedFd<'_>, uuid: &str) -> Result<()> {
    use std::os::fd::AsRawFd;

    std::fs::create_dir_all(DIRECTORY).map_err(Error::file("create", DIRECTORY))?;
    let path = path_of(uuid);
    File::create(&path).map_err(Error::file("create", &path))?;
    let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
    rustix::mount::mount(source, &path, "", MountFlags::BIND, None)
        .map_err(Error::file("mount", &path))
}

/// Takes the namespace's path away; that it has none is no error.
pub(crate) fn withdraw(uuid: &str) -> Result<()> {
    let path = path_of(uuid);
    loop {
        match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Mounted more than once, if a start was interrupted.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(Error::file("unmount", &path)(errno)),
        }
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", &path)(error))
        }
        _ => Ok(()),
    }
}
