//! A netlink socket: requests in, answers out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{self, HEADER, Message, Reply};

/// `NLMSG_ERROR`: an acknowledgement or a refusal.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// `NLM_F_MULTI`: one of several messages, of which the last is `DONE`.
const MULTI: u16 = 2;
/// `NLM_F_DUMP_INTR`: the list changed while it was read.
const DUMP_INTR: u16 = 0x10;
/// `NLM_F_ACK_TLVS`: the refusal has an explanation.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the explanation's text.
const EXPLANATION: u16 = 1;

/// The kernel said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", std::io::Error::from(*errno).to_string().split(" (os error").next().unwrap_or_default(),
        explanation.as_ref().map(|e| format!(" ({e})")).unwrap_or_default())]
pub struct Refusal {
    /// The error's number.
    pub errno: Errno,
    /// The kernel's own words, when it has any.
    pub explanation: Option<String>,
    /// Which of the requests sent together was refused, from 0.
    pub(crate) index: usize,
}

impl Refusal {
    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            explanation: None,
            index: 0,
        }
    }
}

/// A socket of one netlink family in one network namespace: that of the thread
/// that opened it, for ever.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of `protocol` (`None`: rtnetlink) that hears the
    /// multicast `groups`.
    pub(crate) fn open(protocol: Option<Protocol>, groups: u32) -> Result<Self, Refusal> {
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&descriptor, &SocketAddrNetlink::new(0, groups))?;
        sys::netlink::be_precise(descriptor.as_fd())
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))?;
        Ok(Self {
            descriptor,
            sequence: 0,
            buffer: Vec::new(),
        })
    }

    /// Sends `requests` in one piece, so that the kernel works them off in one
    /// call, and waits until the last one is done.
    ///
    /// # Errors
    /// The first refusal; later requests may have been done nevertheless.
    pub(crate) fn request(&mut self, requests: Vec<Message>) -> Result<(), Refusal> {
        self.request_and_hear(requests, |_| ())
    }

    /// The same, and hands to `each` what the kernel tells of its own accord
    /// about these requests: what asks for an echo gets one.
    ///
    /// # Errors
    /// As for [`Socket::request`].
    pub(crate) fn request_and_hear(
        &mut self,
        requests: Vec<Message>,
        mut each: impl FnMut(&Reply<'_>),
    ) -> Result<(), Refusal> {
        let first = self.sequence + 1;
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(());
        };
        let forgiven: Vec<_> = requests.iter().map(Message::forgiven).collect();
        let mut bytes = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            self.sequence += 1;
            // A refusal is told without being asked for.
            let request = if index == last {
                request.with_ack()
            } else {
                request
            };
            bytes.extend(request.finish(self.sequence));
        }
        self.send(&bytes)?;
        let mut refusal: Option<Refusal> = None;
        loop {
            self.receive()?;
            let mut done = false;
            for reply in message::replies(&self.buffer) {
                let index = reply.sequence.wrapping_sub(first) as usize;
                if index > last {
                    continue;
                }
                if reply.kind != ERROR {
                    each(&reply);
                    continue;
                }
                done |= index == last;
                if let Some(mut refused) = refusal_of(&reply)
                    && !forgiven[index].contains(&refused.errno)
                {
                    refused.index = index;
                    refusal.get_or_insert(refused);
                }
            }
            if done {
                return refusal.map_or(Ok(()), Err);
            }
        }
    }

    /// Sends one request and hands each message of the answer to `each`.
    ///
    /// # Errors
    /// A refusal; `EINTR` when the list changed under the kernel's hands.
    pub(crate) fn query(
        &mut self,
        request: &Message,
        mut each: impl FnMut(&Reply<'_>),
    ) -> Result<(), Refusal> {
        self.sequence += 1;
        let bytes = request.finish(self.sequence);
        self.send(&bytes)?;
        let mut changed = false;
        loop {
            self.receive()?;
            for reply in message::replies(&self.buffer) {
                if reply.sequence != self.sequence {
                    continue;
                }
                changed |= reply.flags & DUMP_INTR != 0;
                match reply.kind {
                    ERROR => return refusal_of(&reply).map_or(Ok(()), Err),
                    DONE if changed => return Err(Errno::INTR.into()),
                    DONE => return Ok(()),
                    _ => each(&reply),
                }
                if reply.flags & MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Sends bytes as they are; for batches, which number their messages
    /// themselves.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let kernel = SocketAddrNetlink::new(0, 0);
        loop {
            match rustix::net::sendto(&self.descriptor, bytes, SendFlags::empty(), &kernel) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits for the next datagram.
    pub(crate) fn receive(&mut self) -> Result<(), Refusal> {
        self.receive_with(RecvFlags::empty())
    }

    /// Takes the next datagram with `flags`.
    pub(crate) fn receive_with(&mut self, flags: RecvFlags) -> Result<(), Refusal> {
        // What the kernel sends in one piece is at most 32 KiB.
        self.buffer.resize(32 << 10, 0);
        loop {
            match rustix::net::recv(&self.descriptor, &mut self.buffer[..], flags) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok((length, _)) => {
                    self.buffer.truncate(length);
                    return Ok(());
                }
            }
        }
    }

    /// The messages of the last datagram.
    pub(crate) fn received(&self) -> impl Iterator<Item = Reply<'_>> {
        message::replies(&self.buffer)
    }

    /// Forgets the last datagram's memory.
    pub(crate) fn shrink(&mut self) {
        self.buffer = Vec::new();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The refusal in an `NLMSG_ERROR`; none in an acknowledgement.
pub(crate) fn refusal_of(reply: &Reply<'_>) -> Option<Refusal> {
    let number = i32::from_ne_bytes(reply.body.get(..4)?.try_into().ok()?);
    if number == 0 {
        return None;
    }
    let explanation = (reply.flags & ACK_TLVS != 0)
        .then(|| {
            // The number, then the header of the request.
            let attributes = reply.body.get(4 + HEADER..)?;
            message::attribute(attributes, EXPLANATION).map(message::as_text)
        })
        .flatten();
    Some(Refusal {
        errno: Errno::from_raw_os_error(-number),
        explanation,
        index: 0,
    })
}
