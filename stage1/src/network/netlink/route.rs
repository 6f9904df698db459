//! Addresses and routes.
//!
//! Source: rtnetlink(7), linux/rtnetlink.h.

use std::net::IpAddr;

use ipnet::IpNet;
use manifests::cni::Route;
use rustix::io::Errno;

use super::message::{self, CREATE, DUMP, Message, REPLACE};
use super::socket::{Refusal, Socket};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;

const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTM_F_FIB_MATCH: u32 = 0x2000;
/// Behind the kernel's own route to the address.
const LOOPBACK_METRIC: u32 = 4096;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The bytes of an address in network order.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address_of(payload: &[u8]) -> Option<IpAddr> {
    match payload.len() {
        4 => <[u8; 4]>::try_from(payload).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(payload).ok().map(IpAddr::from),
        _ => None,
    }
}

/// How an address is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subnet {
    /// The kernel adds the route to the address's network.
    Route,
    /// The caller adds the routes.
    NoRoute,
}

/// The request that adds `address` to interface `index`. IPv6 addresses are
/// used at once: host-local has made sure that nobody else has them.
pub(crate) fn add_address(index: u32, address: IpNet, subnet: Subnet) -> Message {
    change_address(RTM_NEWADDR, CREATE | REPLACE, index, address, subnet)
}

/// The request that takes `address` off interface `index`.
pub(crate) fn delete_address(index: u32, address: IpNet) -> Message {
    change_address(RTM_DELADDR, 0, index, address, Subnet::Route)
}

fn change_address(kind: u16, flags: u16, index: u32, address: IpNet, subnet: Subnet) -> Message {
    let ip = address.addr();
    let mut fixed = [
        family(ip),
        address.prefix_len(),
        0,
        SCOPE_UNIVERSE,
        0,
        0,
        0,
        0,
    ];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(kind, flags, &fixed);
    let bytes = octets(ip);
    message.attr(IFA_LOCAL, &bytes).attr(IFA_ADDRESS, &bytes);
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        message.attr(IFA_BROADCAST, &net.broadcast().octets());
    }
    let mut special = 0;
    if subnet == Subnet::NoRoute {
        special |= IFA_F_NOPREFIXROUTE;
    }
    if ip.is_ipv6() {
        special |= IFA_F_NODAD;
    }
    message.u32(IFA_FLAGS, special);
    message
}

/// The addresses of interface `index`.
pub(crate) fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<IpNet>, Refusal> {
    let all = all_addresses(socket, index)?;
    Ok(all.into_iter().map(|(_, address)| address).collect())
}

/// The addresses of interface `index`, or with 0 of all, each with the number
/// of its interface.
pub(crate) fn all_addresses(socket: &mut Socket, index: u32) -> Result<Vec<(u32, IpNet)>, Refusal> {
    let mut found = Vec::new();
    let mut fixed = [0; 8];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    socket.query(&Message::new(RTM_GETADDR, DUMP, &fixed), |reply| {
        let read = || {
            let prefix = *reply.body.get(1)?;
            let index = message::as_u32(reply.body.get(4..8)?)?;
            let attributes = reply.body.get(8..)?;
            // On a point-to-point interface IFA_ADDRESS is the other end.
            let ip = message::attribute(attributes, IFA_LOCAL)
                .or_else(|| message::attribute(attributes, IFA_ADDRESS))
                .and_then(address_of)?;
            Some((index, IpNet::new(ip, prefix).ok()?))
        };
        found.extend(read());
    })?;
    Ok(found)
}

/// The request that adds a route through interface `index`: by `route.gw`, or
/// directly when there is none. A route that exists is replaced.
pub(crate) fn add_route(index: u32, route: &Route) -> Message {
    let scope = route.scope.unwrap_or(match route.gw {
        None if route.dst.addr().is_ipv4() => SCOPE_LINK,
        _ => SCOPE_UNIVERSE,
    });
    let dst = route.dst.trunc();
    // A table's number that does not fit into a byte goes into an attribute.
    let table = route.table.unwrap_or(u32::from(RT_TABLE_MAIN));
    let fixed = [
        family(dst.addr()),
        dst.prefix_len(),
        0,
        0,
        u8::try_from(table).unwrap_or(0),
        RTPROT_BOOT,
        scope,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(RTM_NEWROUTE, CREATE | REPLACE, &fixed);
    message
        .attr(RTA_DST, &octets(dst.addr()))
        .u32(RTA_OIF, index)
        .u32(RTA_TABLE, table);
    if let Some(gateway) = route.gw {
        message.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(priority) = route.priority {
        message.u32(RTA_PRIORITY, priority);
    }
    if route.mtu.is_some() || route.advmss.is_some() {
        message.nest(RTA_METRICS, |metrics| {
            if let Some(mtu) = route.mtu {
                metrics.u32(RTAX_MTU, mtu);
            }
            if let Some(advmss) = route.advmss {
                metrics.u32(RTAX_ADVMSS, advmss);
            }
        });
    }
    message
}

/// The same with the address that packets of our own have as their source.
pub(crate) fn add_route_from(index: u32, route: &Route, source: IpAddr) -> Message {
    let mut message = add_route(index, route);
    message.attr(RTA_PREFSRC, &octets(source));
    message
}

/// `struct rtmsg` for a route to one address.
fn to_host(ip: IpAddr, table: u8, kind: u8) -> [u8; 12] {
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let scope = match kind {
        RTN_UNICAST if ip.is_ipv4() => SCOPE_LINK,
        _ => SCOPE_UNIVERSE,
    };
    [
        family(ip),
        bits,
        0,
        0,
        table,
        RTPROT_BOOT,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ]
}

/// The request that removes the route to `ip` through interface `index`.
pub(crate) fn delete_host_route(index: u32, ip: IpAddr) -> Message {
    let fixed = to_host(ip, RT_TABLE_MAIN, RTN_UNICAST);
    let mut message = Message::new(RTM_DELROUTE, 0, &fixed);
    message.attr(RTA_DST, &octets(ip)).u32(RTA_OIF, index);
    message
}

/// The request that lets packets for `::1` in by interface `index`. Only what
/// the firewall has translated back comes so far: the kernel drops any other
/// packet from outside with that address before it looks for a route.
pub(crate) fn accept_loopback(index: u32) -> Message {
    let loopback = IpAddr::from(std::net::Ipv6Addr::LOCALHOST);
    let fixed = to_host(loopback, RT_TABLE_LOCAL, RTN_LOCAL);
    let mut message = Message::new(RTM_NEWROUTE, CREATE | REPLACE, &fixed);
    message
        .attr(RTA_DST, &octets(loopback))
        .u32(RTA_OIF, index)
        .u32(RTA_PRIORITY, LOOPBACK_METRIC);
    message
}

/// A route that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct There {
    /// Where it leads.
    pub(crate) dst: IpNet,
    /// The interface.
    pub(crate) index: u32,
}

/// The route to `ip` in one message of an answer.
fn read_route(body: &[u8], ip: IpAddr) -> Option<There> {
    let bits = *body.get(1)?;
    let attributes = body.get(12..)?;
    let dst = match message::attribute(attributes, RTA_DST) {
        Some(payload) => address_of(payload)?,
        // The default route.
        None => ip,
    };
    Some(There {
        dst: IpNet::new(dst, bits).ok()?,
        index: message::attribute(attributes, RTA_OIF).and_then(message::as_u32)?,
    })
}

/// The route by which a packet for `ip` would leave; none where there is none.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn lookup(socket: &mut Socket, ip: IpAddr) -> Result<Option<There>, Refusal> {
    let mut fixed = [0; 12];
    fixed[0] = family(ip);
    fixed[1] = if ip.is_ipv4() { 32 } else { 128 };
    fixed[8..].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    let mut message = Message::new(RTM_GETROUTE, 0, &fixed);
    message.attr(RTA_DST, &octets(ip));
    let mut found = None;
    let asked = socket.query(&message, |reply| found = read_route(reply.body, ip));
    match asked {
        // No route, or one that says that there is none: unreachable,
        // prohibited, a black hole.
        Err(refusal)
            if [
                Errno::NETUNREACH,
                Errno::HOSTUNREACH,
                Errno::ACCESS,
                Errno::INVAL,
            ]
            .contains(&refusal.errno) =>
        {
            Ok(None)
        }
        other => other.map(|()| found),
    }
}

/// The number of the interface of the default route, IPv4 before IPv6.
///
/// # Errors
/// `ENETUNREACH` when there is none.
pub(crate) fn default_interface(socket: &mut Socket) -> Result<u32, Refusal> {
    for family in [AF_INET, AF_INET6] {
        let mut found = None;
        let mut fixed = [0; 12];
        fixed[0] = family;
        socket.query(&Message::new(RTM_GETROUTE, DUMP, &fixed), |reply| {
            let is_default =
                reply.body.get(1) == Some(&0) && reply.body.get(4) == Some(&RT_TABLE_MAIN);
            let interface = reply
                .body
                .get(12..)
                .and_then(|attributes| message::attribute(attributes, RTA_OIF))
                .and_then(message::as_u32);
            if is_default && found.is_none() {
                found = interface;
            }
        })?;
        if let Some(index) = found {
            return Ok(index);
        }
    }
    Err(Errno::NETUNREACH.into())
}
