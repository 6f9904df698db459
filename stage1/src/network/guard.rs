//! Keeping a pod's part of the firewall in place.
//!
//! Reloading a firewall often begins with `flush ruleset`, which takes our
//! table too. The supervisor of each pod that has something there is told, and
//! puts its own part back; the first one also makes the table.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::error::Result;
use super::netlink::socket::Socket;
use super::nft::{self, Nft, Part};
use super::session::missing_nftables;

/// A pod's part of the firewall, and an ear for changes by others.
#[derive(Debug)]
pub struct Guard {
    socket: Socket,
    part: Part,
}

impl Guard {
    pub(crate) fn new(part: Part) -> Result<Self> {
        // Our own changes take nothing away that is somebody else's.
        let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let socket = nft::watch(name.trim_end()).map_err(missing_nftables)?;
        Ok(Self { socket, part })
    }

    /// To be called when [`Guard`] is readable: puts back what is missing.
    /// Says whether anything was.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn restore(&mut self) -> Result<bool> {
        loop {
            match self.socket.receive_with(RecvFlags::DONTWAIT) {
                Ok(()) => {}
                // Messages were lost: that something changed is all we want to know.
                Err(refusal) if refusal.is(Errno::NOBUFS) => {}
                Err(_) => break,
            }
        }
        self.socket.shrink();
        let mut nft = Nft::open().map_err(missing_nftables)?;
        nft.add(&self.part).map_err(missing_nftables)
    }
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
