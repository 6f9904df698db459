//! What a pod's starter leaves to its supervisor: through `exec`, or, to one
//! that a service manager has started, on a socket.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

use manifests::engine::{
    BUS_FD_ENV, HANDOVER_ENV, LOCK_FD_ENV, PIN_FDS_ENV, SOCKET_FDS_ENV, TIMINGS_FD_ENV,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::error::{Error, Result};

/// Most descriptors that the kernel passes at once (`SCM_MAX_FD`).
const MOST: usize = 253;

/// What comes from whoever starts the pod.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) lock: Option<OwnedFd>,
    pub(super) pins: Vec<OwnedFd>,
    pub(super) timings: Option<OwnedFd>,
    /// For the apps.
    pub(super) sockets: Vec<OwnedFd>,
    /// A connection to the system bus.
    pub(super) bus: Option<OwnedFd>,
}

impl Inherited {
    /// Takes it, and closes whatever else is open. The working directory is the
    /// pod's afterwards.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::System`] when it is not there.
    pub(super) fn take() -> Result<Self> {
        match std::env::var_os(HANDOVER_ENV) {
            None => Self::through_exec(),
            Some(path) => Self::on_socket(&path.to_string_lossy()),
        }
    }

    fn through_exec() -> Result<Self> {
        let (lock, timings) = (numbers(LOCK_FD_ENV)?, numbers(TIMINGS_FD_ENV)?);
        let (sockets, bus) = (numbers(SOCKET_FDS_ENV)?, numbers(BUS_FD_ENV)?);
        let all = [
            lock.as_slice(),
            &timings,
            &bus,
            &sockets,
            &numbers(PIN_FDS_ENV)?,
        ]
        .concat();
        let mut taken = sys::descriptors::inherit(&all)
            .map_err(Error::system("take over", "the starter's descriptors"))?
            .into_iter();
        Ok(Self {
            lock: lock.first().and_then(|_| taken.next()),
            timings: timings.first().and_then(|_| taken.next()),
            bus: bus.first().and_then(|_| taken.next()),
            sockets: taken.by_ref().take(sockets.len()).collect(),
            pins: taken.collect(),
        })
    }

    /// As `stage0::start::unit` sends it: the numbers of sockets and pins, and
    /// the descriptors of the pod directory, its log, those and these.
    fn on_socket(path: &str) -> Result<Self> {
        let failed = || Error::attempt("take over the pod from", path);
        sys::descriptors::inherit(&[]).map_err(|e| failed().because(e))?;
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (text, descriptors) = || -> std::io::Result<(String, Vec<OwnedFd>)> {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            let mut bytes = [0; 32];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let got = rustix::net::recvmsg(
                &socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            let descriptors = ancillary
                .drain()
                .filter_map(|part| match part {
                    RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                    _ => None,
                })
                .flatten()
                .collect();
            let text = String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
            Ok((text, descriptors))
        }()
        .map_err(|e| failed().because(e))?;
        let mut words = text.split(' ').map(str::parse::<usize>);
        let (Some(Ok(sockets)), Some(Ok(pins))) = (words.next(), words.next()) else {
            // Whoever started us has given up.
            return Err(failed().because(rustix::io::Errno::CONNRESET));
        };
        if descriptors.len() != 2 + sockets + pins {
            return Err(failed().because(rustix::io::Errno::PROTO));
        }
        let mut taken = descriptors.into_iter();
        let lock = taken.next();
        if let (Some(pod), Some(log)) = (&lock, taken.next()) {
            rustix::process::fchdir(pod).map_err(|e| failed().because(e))?;
            rustix::stdio::dup2_stdout(&log).map_err(|e| failed().because(e))?;
            rustix::stdio::dup2_stderr(&log).map_err(|e| failed().because(e))?;
        }
        Ok(Self {
            lock,
            timings: None,
            bus: None,
            sockets: taken.by_ref().take(sockets).collect(),
            pins: taken.collect(),
        })
    }
}

/// The numbers in an environment variable, joined by commas.
fn numbers(name: &'static str) -> Result<Vec<RawFd>> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(Vec::new());
    };
    let text = value.to_string_lossy();
    text.split(',')
        .filter(|number| !number.is_empty())
        .map(|number| {
            number.parse().map_err(|_| Error::Refused {
                field: name,
                value: text.clone().into_owned(),
                reason: "not the numbers of descriptors",
            })
        })
        .collect()
}
