//! Interfaces.
//!
//! Source: rtnetlink(7), linux/if_link.h.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use manifests::cni::plugins::{IpvlanMode, MacvlanMode};
use rustix::io::Errno;

use super::message::{self, CREATE, ECHO, EXCL, Message};
use super::socket::{Refusal, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_MACVLAN_BC_QUEUE_LEN: u16 = 7;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 1 << 1;
const BRIDGE_VLAN_INFO_UNTAGGED: u16 = 1 << 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

const AF_BRIDGE: u8 = 7;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 0x1;
const IFF_PROMISC: u32 = 0x100;
const IFF_ALLMULTI: u32 = 0x200;

/// Longest name of an interface.
pub(crate) const NAME_MAX: usize = 15;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// The hardware address as people write it.
pub(crate) fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads what [`mac_text`] writes.
pub(crate) fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| {
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        })
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}

/// A hardware address made from an IPv4 address: the next pod that gets the
/// address gets this one too, and no neighbour's table is wrong.
pub(crate) fn mac_for(ip: IpAddr) -> Option<Mac> {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            Some([0x0a, 0x58, a, b, c, d])
        }
        IpAddr::V6(_) => None,
    }
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    /// For a veth, the index of the other end in its namespace.
    pub(crate) peer: u32,
    pub(crate) kind: String,
    /// The bridge that it is in; 0 for none.
    pub(crate) master: u32,
    pub(crate) up: bool,
}

/// `struct ifinfomsg`.
fn fixed(family: u8, index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn read(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: message::as_u32(body.get(4..8)?)?,
        up: message::as_u32(body.get(8..12)?)? & IFF_UP != 0,
        ..Link::default()
    };
    for (kind, payload) in message::attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = message::as_text(payload),
            IFLA_ADDRESS => link.mac = payload.try_into().unwrap_or_default(),
            IFLA_MTU => link.mtu = message::as_u32(payload)?,
            IFLA_LINK => link.peer = message::as_u32(payload)?,
            IFLA_MASTER => link.master = message::as_u32(payload)?,
            IFLA_LINKINFO => {
                if let Some(kind) = message::attribute(payload, IFLA_INFO_KIND) {
                    link.kind = message::as_text(kind);
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// A new interface.
#[derive(Debug)]
pub(crate) struct New<'a> {
    /// Its name, which must be free; empty for the kernel's choice.
    pub(crate) name: &'a str,
    /// 0 for the kernel's choice.
    pub(crate) mtu: u32,
    /// None for the kernel's choice.
    pub(crate) mac: Option<Mac>,
    /// The namespace it is made in; none for the socket's.
    pub(crate) netns: Option<BorrowedFd<'a>>,
    /// What it is.
    pub(crate) kind: NewKind<'a>,
}

/// What a new interface is.
#[derive(Debug)]
pub(crate) enum NewKind<'a> {
    /// One end of a pair; the other end is the peer.
    Veth(Box<New<'a>>),
    /// The peer of a veth, which has no kind of its own.
    Peer,
    Bridge,
    Ifb,
    Macvlan {
        master: u32,
        mode: MacvlanMode,
        /// 0 for the kernel's choice.
        broadcast_queue: u32,
    },
    Ipvlan {
        master: u32,
        mode: IpvlanMode,
    },
}

impl New<'_> {
    fn attributes(&self, message: &mut Message) {
        if !self.name.is_empty() {
            message.text(IFLA_IFNAME, self.name);
        }
        if self.mtu != 0 {
            message.u32(IFLA_MTU, self.mtu);
        }
        if let Some(mac) = self.mac {
            message.attr(IFLA_ADDRESS, &mac);
        }
        if let Some(netns) = self.netns {
            message.u32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
        }
        if let NewKind::Macvlan { master, .. } | NewKind::Ipvlan { master, .. } = &self.kind {
            message.u32(IFLA_LINK, *master);
        }
        let kind = match &self.kind {
            NewKind::Veth(_) => "veth",
            NewKind::Peer => return,
            NewKind::Bridge => "bridge",
            NewKind::Ifb => "ifb",
            NewKind::Macvlan { .. } => "macvlan",
            NewKind::Ipvlan { .. } => "ipvlan",
        };
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, kind);
            info.nest(IFLA_INFO_DATA, |data| match &self.kind {
                NewKind::Veth(peer) => {
                    data.nest(VETH_INFO_PEER, |inner| {
                        inner.raw(&fixed(0, 0, 0, 0));
                        peer.attributes(inner);
                    });
                }
                NewKind::Macvlan {
                    mode,
                    broadcast_queue,
                    ..
                } => {
                    if *broadcast_queue != 0 {
                        data.u32(IFLA_MACVLAN_BC_QUEUE_LEN, *broadcast_queue);
                    }
                    data.u32(
                        IFLA_MACVLAN_MODE,
                        match mode {
                            MacvlanMode::Private => 1,
                            MacvlanMode::Vepa => 2,
                            MacvlanMode::Bridge => 4,
                            MacvlanMode::Passthru => 8,
                        },
                    );
                }
                NewKind::Ipvlan { mode, .. } => {
                    data.u16(
                        IFLA_IPVLAN_MODE,
                        match mode {
                            IpvlanMode::L2 => 0,
                            IpvlanMode::L3 => 1,
                            IpvlanMode::L3s => 2,
                        },
                    );
                }
                NewKind::Peer | NewKind::Bridge | NewKind::Ifb => {}
            });
        });
    }

    /// Makes it and brings it up, all but the ends of a pair.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken; `EOPNOTSUPP` when the kernel has no
    /// such interfaces.
    pub(crate) fn create(&self, socket: &mut Socket) -> Result<(), Refusal> {
        socket.request(vec![self.message(0)])
    }

    /// The same in the socket's own namespace; returns what it became.
    ///
    /// # Errors
    /// As for [`New::create`].
    pub(crate) fn create_here(&self, socket: &mut Socket) -> Result<Link, Refusal> {
        debug_assert!(self.netns.is_none(), "the echo would be heard elsewhere");
        let mut made = None;
        socket.request_and_hear(vec![self.message(ECHO)], |reply| {
            if reply.kind == RTM_NEWLINK {
                made = read(reply.body).filter(|link| link.name == self.name);
            }
        })?;
        // Before Linux 6.2 there is no echo.
        match made {
            Some(link) => Ok(link),
            None => get(socket, self.name),
        }
    }

    fn message(&self, flags: u16) -> Message {
        let up = match self.kind {
            NewKind::Veth(_) | NewKind::Peer => 0,
            _ => IFF_UP,
        };
        let flags = CREATE | EXCL | flags;
        let mut message = Message::new(RTM_NEWLINK, flags, &fixed(0, 0, up, up));
        self.attributes(&mut message);
        message
    }
}

/// The interface `name`.
///
/// # Errors
/// `ENODEV` when there is none.
pub(crate) fn get(socket: &mut Socket, name: &str) -> Result<Link, Refusal> {
    let mut message = Message::new(RTM_GETLINK, 0, &fixed(0, 0, 0, 0));
    message.text(IFLA_IFNAME, name);
    one(socket, &message)
}

/// The interface number `index`.
///
/// # Errors
/// `ENODEV` when there is none.
pub(crate) fn get_index(socket: &mut Socket, index: u32) -> Result<Link, Refusal> {
    one(
        socket,
        &Message::new(RTM_GETLINK, 0, &fixed(0, index, 0, 0)),
    )
}

fn one(socket: &mut Socket, message: &Message) -> Result<Link, Refusal> {
    let mut found = None;
    socket.query(message, |reply| found = read(reply.body))?;
    found.ok_or(Refusal::from(Errno::NODEV))
}

/// The request that keeps interface `index` from giving itself an IPv6 address
/// when it comes up, and from telling everybody in its network of it. To be
/// sent before it is brought up.
pub(crate) fn no_own_address(index: u32) -> Message {
    let mut message = Message::new(RTM_SETLINK, 0, &fixed(0, index, 0, 0));
    message.nest(IFLA_AF_SPEC, |families| {
        families.nest(AF_INET6, |family| {
            family.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        });
    });
    // No IPv6 in this kernel, or none on so small an MTU: no address either.
    message.forgiving(&[Errno::AFNOSUPPORT])
}

/// Removes the interface `name`; that there is none is no error.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> Result<(), Refusal> {
    let mut message = Message::new(RTM_DELLINK, 0, &fixed(0, 0, 0, 0));
    message.text(IFLA_IFNAME, name);
    match socket.request(vec![message]) {
        Err(refusal) if refusal.is(Errno::NODEV) => Ok(()),
        other => other,
    }
}

/// Changes of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) up: bool,
    pub(crate) master: Option<u32>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<Mac>,
    pub(crate) promisc: Option<bool>,
    pub(crate) allmulti: Option<bool>,
    pub(crate) queue_length: Option<u32>,
}

impl Change {
    /// Brings it up.
    pub(crate) fn up() -> Self {
        Self {
            up: true,
            ..Self::default()
        }
    }

    /// Changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The request for interface `index`.
    pub(crate) fn message(&self, index: u32) -> Message {
        let (mut flags, mut change) = (0, 0);
        for (bit, value) in [
            (IFF_UP, self.up.then_some(true)),
            (IFF_PROMISC, self.promisc),
            (IFF_ALLMULTI, self.allmulti),
        ] {
            if let Some(value) = value {
                change |= bit;
                flags |= if value { bit } else { 0 };
            }
        }
        let mut message = Message::new(RTM_NEWLINK, 0, &fixed(0, index, flags, change));
        if let Some(master) = self.master {
            message.u32(IFLA_MASTER, master);
        }
        if let Some(mtu) = self.mtu {
            message.u32(IFLA_MTU, mtu);
        }
        if let Some(mac) = self.mac {
            message.attr(IFLA_ADDRESS, &mac);
        }
        if let Some(length) = self.queue_length {
            message.u32(IFLA_TXQLEN, length);
        }
        message
    }
}

/// The request that sets a bridge port's modes, those that are given.
pub(crate) fn bridge_port(index: u32, hairpin: Option<bool>, isolated: Option<bool>) -> Message {
    let mut message = Message::new(RTM_SETLINK, 0, &fixed(AF_BRIDGE, index, 0, 0));
    message.nest(IFLA_PROTINFO, |port| {
        if let Some(hairpin) = hairpin {
            port.u8(IFLA_BRPORT_MODE, u8::from(hairpin));
        }
        if let Some(isolated) = isolated {
            port.u8(IFLA_BRPORT_ISOLATED, u8::from(isolated));
        }
    });
    message
}

/// The request that lets nothing through a bridge port any more.
pub(crate) fn disable_bridge_port(index: u32) -> Message {
    let mut message = Message::new(RTM_SETLINK, 0, &fixed(AF_BRIDGE, index, 0, 0));
    message.nest(IFLA_PROTINFO, |port| {
        port.u8(IFLA_BRPORT_STATE, 0);
    });
    message
}

/// How frames of a VLAN look at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vlan {
    /// Like those of no VLAN; what comes without a tag belongs to it.
    Untagged,
    /// They bear its number.
    Tagged,
}

/// The request that has bridge `index` keep VLANs apart.
pub(crate) fn filter_vlans(index: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, 0, &fixed(0, index, 0, 0));
    message.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "bridge")
            .nest(IFLA_INFO_DATA, |data| {
                data.u8(IFLA_BR_VLAN_FILTERING, 1);
            });
    });
    message
}

/// The request that puts bridge port `index` into a VLAN.
pub(crate) fn join_vlan(index: u32, vlan: u16, how: Vlan) -> Message {
    change_vlan(RTM_SETLINK, index, vlan, how)
}

/// The request that takes bridge port `index` out of a VLAN.
pub(crate) fn leave_vlan(index: u32, vlan: u16) -> Message {
    change_vlan(RTM_DELLINK, index, vlan, Vlan::Tagged)
}

/// The attribute has a `struct bridge_vlan_info`: flags and number.
fn change_vlan(kind: u16, index: u32, vlan: u16, how: Vlan) -> Message {
    let flags = match how {
        Vlan::Untagged => BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED,
        Vlan::Tagged => 0,
    };
    let mut info = [0; 4];
    info[..2].copy_from_slice(&flags.to_ne_bytes());
    info[2..].copy_from_slice(&vlan.to_ne_bytes());
    let mut message = Message::new(kind, 0, &fixed(AF_BRIDGE, index, 0, 0));
    message.nest(IFLA_AF_SPEC, |spec| {
        spec.attr(IFLA_BRIDGE_VLAN_INFO, &info);
    });
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        let mac = mac_for("172.16.28.2".parse().unwrap()).unwrap();
        assert_eq!(mac_text(mac), "0a:58:ac:10:1c:02");
        assert_eq!(parse_mac("0a:58:ac:10:1c:02"), Some(mac));
        for bad in [
            "",
            "0a:58:ac:10:1c",
            "0a:58:ac:10:1c:02:03",
            "0a:58:ac:10:1c:0x",
            "+a:58:ac:10:1c:02",
        ] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
