//! What the supervisor and the pod say to each other.
//!
//! One sequenced-packet socket pair: a message is sent whole or not at all,
//! so the init and a just started app may share their end. The supervisor
//! gets each sender's process number from the kernel, in its own numbering.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Longest text in a message; what is longer is cut.
const TEXT: usize = 2048;

/// Descriptors in one message: an app's cgroups, fewer than there are
/// controllers, or some of a [parcel](crate::parcel).
pub(crate) const DESCRIPTORS: usize = 16;

/// What the supervisor tells the init.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// Start an app; its way into its cgroups comes along, as
    /// [`crate::cgroup::Entrance`] lists it.
    Start {
        /// The app's place in the pod's list.
        app: u16,
        /// The first descriptor is a v2 cgroup directory.
        unified: bool,
        /// The last descriptor is of the v1 cgroup that limits devices.
        devices: bool,
        /// The networks said nothing of name resolution: the app sees the
        /// `resolv.conf` of its image.
        unresolved: bool,
    },
    /// What was left of an app that ended is killed, so it may be started
    /// again when it is time for that.
    Again {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// Part of a [parcel](crate::parcel); descriptors come along.
    Piece,
    /// The pieces that came are an app, which [`Self::Start`] will start.
    Add {
        /// The app's place in the pod's list; one that is over makes room.
        app: u16,
    },
    /// Stop one app, with its own signal and grace, and for good.
    StopApp {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// Pass a signal on to one app or to all.
    Signal {
        /// Its number.
        signal: i32,
        /// The app's place in the pod's list.
        app: Option<u16>,
    },
    /// Stop all apps in order, this one by SIGABRT.
    Abort {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// Stop all apps in order, each with its own signal and grace.
    Stop,
    /// Stop all apps now.
    Kill,
    /// The init's user namespace has its ids.
    Mapped,
}

/// What the pod tells the supervisor.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// An app is about to execute its program; said by itself.
    Started {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// The pod's network namespace is made; it comes along.
    Namespace,
    /// An app's terminal; its master side comes along.
    Terminal {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// Something failed, in an app or, without one, for the whole pod.
    Failed {
        /// The app's place in the pod's list.
        app: Option<u16>,
        /// One line for people.
        text: String,
    },
    /// An app's main process ended.
    Exited {
        /// The app's place in the pod's list.
        app: u16,
        /// Exit status or signal.
        end: End,
        /// Its handler runs now; [`Self::Settled`] will follow.
        handler: bool,
        /// It will be started again after [`Order::Again`].
        again: bool,
    },
    /// An app's post-stop handler ended.
    Settled {
        /// The app's place in the pod's list.
        app: u16,
        /// It will be started again after [`Order::Again`].
        again: bool,
    },
    /// An app's probe says that it is ready.
    Ready {
        /// The app's place in the pod's list.
        app: u16,
    },
    /// The sender asks for this `oom_score_adj`, which nobody may set in a
    /// user namespace; the number of the error, or zero, is wanted in the pipe
    /// that comes along.
    Weigh(i32),
    /// Somebody on the host asks the pod's PID 1 for its end.
    PowerOff,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The pod's status for it: a signal counts as its own number.
    pub fn status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal,
        }
    }

    /// What wait(2) said.
    pub fn of(status: rustix::process::WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // Neither stopped nor continued processes are waited for.
            (None, None) => Self::Code(0),
        }
    }
}

/// A message that came in.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// What came along.
    pub descriptors: Vec<OwnedFd>,
    /// The sender, as this side numbers processes; 0 where it is not told.
    pub sender: i32,
}

/// A message as bytes: a head of three numbers, then text.
pub trait Message: Sized {
    /// The head and the text.
    fn encode(&self) -> ([i32; 3], &str);
    /// The message, none when it is none of this kind.
    fn decode(head: [i32; 3], text: &str) -> Option<Self>;
}

impl Message for Order {
    fn encode(&self) -> ([i32; 3], &str) {
        let head = match *self {
            Self::Start {
                app,
                unified,
                devices,
                unresolved,
            } => [
                1,
                app.into(),
                i32::from(unified) | i32::from(devices) << 1 | i32::from(unresolved) << 2,
            ],
            Self::Signal { signal, app } => [2, signal, app.map_or(-1, i32::from)],
            Self::Abort { app } => [10, app.into(), 0],
            Self::Stop => [3, 0, 0],
            Self::Kill => [4, 0, 0],
            Self::Again { app } => [5, app.into(), 0],
            Self::Piece => [6, 0, 0],
            Self::Add { app } => [7, app.into(), 0],
            Self::StopApp { app } => [8, app.into(), 0],
            Self::Mapped => [9, 0, 0],
        };
        (head, "")
    }

    fn decode(head: [i32; 3], _: &str) -> Option<Self> {
        Some(match head {
            [1, app, flags] => Self::Start {
                app: u16::try_from(app).ok()?,
                unified: flags & 1 != 0,
                devices: flags & 2 != 0,
                unresolved: flags & 4 != 0,
            },
            [2, signal, app] => Self::Signal {
                signal,
                app: u16::try_from(app).ok(),
            },
            [10, app, _] => Self::Abort {
                app: u16::try_from(app).ok()?,
            },
            [3, ..] => Self::Stop,
            [4, ..] => Self::Kill,
            [5, app, _] => Self::Again {
                app: u16::try_from(app).ok()?,
            },
            [6, ..] => Self::Piece,
            [7, app, _] => Self::Add {
                app: u16::try_from(app).ok()?,
            },
            [9, ..] => Self::Mapped,
            [8, app, _] => Self::StopApp {
                app: u16::try_from(app).ok()?,
            },
            _ => return None,
        })
    }
}

impl Message for Report {
    fn encode(&self) -> ([i32; 3], &str) {
        match self {
            Self::Started { app } => ([1, (*app).into(), 0], ""),
            Self::Terminal { app } => ([2, (*app).into(), 0], ""),
            Self::Namespace => ([6, 0, 0], ""),
            Self::Failed { app, text } => ([3, app.map_or(-1, i32::from), 0], text),
            Self::Exited {
                app,
                end,
                handler,
                again,
            } => {
                let app = i32::from(*app) | i32::from(*handler) << 16 | i32::from(*again) << 17;
                match *end {
                    End::Code(code) => ([4, app, code], ""),
                    End::Signal(signal) => ([5, app, signal], ""),
                }
            }
            Self::Settled { app, again } => ([7, (*app).into(), (*again).into()], ""),
            Self::Ready { app } => ([8, (*app).into(), 0], ""),
            Self::Weigh(value) => ([9, -1, *value], ""),
            Self::PowerOff => ([10, 0, 0], ""),
        }
    }

    fn decode(head: [i32; 3], text: &str) -> Option<Self> {
        let app = u16::try_from(head[1]).ok();
        Some(match head[0] {
            1 => Self::Started { app: app? },
            2 => Self::Terminal { app: app? },
            6 => Self::Namespace,
            3 => Self::Failed {
                app,
                text: text.to_owned(),
            },
            4 | 5 => Self::Exited {
                app: head[1] as u16,
                end: match head[0] {
                    4 => End::Code(head[2]),
                    _ => End::Signal(head[2]),
                },
                handler: head[1] >> 16 & 1 != 0,
                again: head[1] >> 17 & 1 != 0,
            },
            7 => Self::Settled {
                app: app?,
                again: head[2] != 0,
            },
            8 => Self::Ready { app: app? },
            9 => Self::Weigh(head[2]),
            10 => Self::PowerOff,
            _ => return None,
        })
    }
}

/// Makes the pair: the supervisor's end and the pod's.
///
/// # Errors
/// Those of socketpair(2) and setsockopt(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (host, pod) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::sockopt::set_socket_passcred(&host, true)?;
    Ok((host, pod))
}

/// Sends a message and descriptors with it.
///
/// # Errors
/// `EPIPE` when the other side is gone, and those of sendmsg(2).
pub fn send<M: Message>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let (head, text) = message.encode();
    let mut bytes = [0; 12];
    for (place, number) in bytes.chunks_exact_mut(4).zip(head) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text.as_bytes()[..end];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&bytes), IoSlice::new(text)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a message; none when the other side is gone.
///
/// # Errors
/// `EPROTO` for a message that is none, and those of recvmsg(2).
pub fn receive<M: Message>(socket: impl AsFd) -> io::Result<Option<Received<M>>> {
    let mut bytes = [0; 12 + TEXT];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            // Said once when the other side ended without having read all
            // that we sent; what it sent comes after that.
            Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    let mut sender = 0;
    for part in ancillary.drain() {
        match part {
            RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
            RecvAncillaryMessage::ScmCredentials(who) => sender = who.pid.as_raw_nonzero().get(),
            _ => {}
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    let broken = || io::Error::from(rustix::io::Errno::PROTO);
    if got.bytes < 12
        || got
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(broken());
    }
    let mut head = [0; 3];
    for (number, place) in head.iter_mut().zip(bytes.chunks_exact(4)) {
        *number = i32::from_ne_bytes([place[0], place[1], place[2], place[3]]);
    }
    let text = std::str::from_utf8(&bytes[12..got.bytes]).map_err(|_| broken())?;
    Ok(Some(Received {
        message: M::decode(head, text).ok_or_else(broken)?,
        descriptors,
        sender,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (host, pod) = pair().unwrap();
        for report in [
            Report::Started { app: 7 },
            Report::Terminal { app: 4 },
            Report::Failed {
                app: None,
                text: "no".into(),
            },
            Report::Failed {
                app: Some(0),
                text: String::new(),
            },
            Report::Exited {
                app: 1,
                end: End::Code(203),
                handler: false,
                again: true,
            },
            Report::Exited {
                app: u16::MAX,
                end: End::Signal(9),
                handler: true,
                again: false,
            },
            Report::Settled {
                app: 2,
                again: true,
            },
            Report::Ready { app: 3 },
            Report::PowerOff,
        ] {
            send(&pod, &report, &[]).unwrap();
            let got = receive::<Report>(&host).unwrap().unwrap();
            assert_eq!(got.message, report);
            assert_eq!(got.sender, std::process::id() as i32);
        }
        for order in [
            Order::Start {
                app: 3,
                unified: true,
                devices: false,
                unresolved: true,
            },
            Order::Start {
                app: 4,
                unified: false,
                devices: true,
                unresolved: false,
            },
            Order::Again { app: 9 },
            Order::Piece,
            Order::Add { app: 10 },
            Order::StopApp { app: 11 },
            Order::Signal {
                signal: 1,
                app: None,
            },
            Order::Signal {
                signal: 1,
                app: Some(7),
            },
            Order::Abort { app: 2 },
            Order::Stop,
            Order::Kill,
        ] {
            send(&host, &order, &[pod.as_fd()]).unwrap();
            let got = receive::<Order>(&pod).unwrap().unwrap();
            assert_eq!(got.message, order);
            assert_eq!(got.descriptors.len(), 1);
        }
        drop(pod);
        assert!(receive::<Report>(&host).unwrap().is_none());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let (host, pod) = pair().unwrap();
        let text = "é".repeat(TEXT);
        send(&pod, &Report::Failed { app: None, text }, &[]).unwrap();
        let got = receive::<Report>(&host).unwrap().unwrap();
        let Report::Failed { text, .. } = got.message else {
            panic!("a failure")
        };
        assert_eq!(text, "é".repeat(TEXT / 2));
    }

    #[test]
    fn rubbish_is_refused() {
        let (host, pod) = pair().unwrap();
        rustix::io::write(&pod, &[9; 12]).unwrap();
        assert!(receive::<Report>(&host).is_err());
        rustix::io::write(&pod, b"x").unwrap();
        assert!(receive::<Report>(&host).is_err());
    }
}
