//! Ports of the host that lead into the pod.
//!
//! Two things make a port the pod's: elements in the firewall's maps, which do
//! the forwarding, and a socket bound to it, which nobody listens on. The
//! socket is the claim: the kernel lets nobody else have the port, pod or
//! program, and takes the claim back when the supervisor dies.
//!
//! `::1` leads to a pod on a bridge only without br_netfilter: with it the
//! answer has that address again before the kernel has let it in.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use manifests::cni::CniResult;
use manifests::engine::{ForwardedPort, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::error::{Error, Result};
use super::netlink::link;
use super::netlink::route;
use super::nft::{Element, Family, Key, NetworkRule, Nft, Part, Set, Treatment};
use super::session::{Attach, Session};
use super::sysctl;

/// The network that carries the ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carrier<'a> {
    pub(crate) attach: Attach<'a>,
    pub(crate) result: &'a CniResult,
}

/// One port of the host and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forward<'a> {
    name: &'a str,
    protocol: Protocol,
    /// Unspecified for every address of the family.
    host: SocketAddr,
    pod: SocketAddr,
}

/// Claims `ports` and has them forwarded; the claims last as long as what is
/// returned.
///
/// # Errors
/// [`Error::PortTaken`] with the holder; [`Error::Port`].
pub(crate) fn forward(
    session: &mut Session<'_>,
    carrier: Carrier<'_>,
    ports: &[ForwardedPort],
) -> Result<Vec<OwnedFd>> {
    let forwards = plan(ports, carrier.result)?;
    let mut claims = Vec::with_capacity(forwards.len());
    for forward in &forwards {
        claims.extend(claim(forward)?);
    }
    let bridged = reach_back(session, carrier)?;
    let part = part_of(session.pod.uuid, &forwards, carrier, bridged);
    session.firewall.rules.extend(part.rules);
    session.firewall.elements.extend(part.elements);
    Ok(claims)
}

/// What [`forward`] puts into the firewall; the pod's interface is in a bridge
/// or not.
///
/// # Errors
/// [`Error::Port`].
pub(crate) fn part(
    uuid: &str,
    carrier: Carrier<'_>,
    ports: &[ForwardedPort],
    bridged: bool,
) -> Result<Part> {
    Ok(part_of(
        uuid,
        &plan(ports, carrier.result)?,
        carrier,
        bridged,
    ))
}

fn part_of(uuid: &str, forwards: &[Forward<'_>], carrier: Carrier<'_>, bridged: bool) -> Part {
    let mut part = Part::default();
    for forward in forwards {
        let family = Family::of(forward.pod.ip());
        let (set, ip) = match forward.host.ip() {
            ip if ip.is_unspecified() => (Set::Any(family), None),
            ip => (Set::At(family), Some(ip)),
        };
        part.elements.push(Element {
            set,
            key: Key::service(number(forward.protocol), ip, forward.host.port()),
            target: Some((forward.pod.ip(), forward.pod.port())),
            comment: format!("{uuid} {}", forward.name),
        });
    }
    for ip in &carrier.result.ips {
        let address = ip.address.addr();
        if bridged {
            // Pods on one bridge answer each other directly.
            part.rules.push(NetworkRule {
                network: carrier.attach.config.name.clone(),
                subnet: ip.address.trunc(),
                treatment: Treatment::Hairpin,
            });
        } else {
            part.elements.push(Element {
                set: Set::Itself(Family::of(address)),
                key: Key::itself(address),
                target: None,
                comment: format!("{uuid} itself"),
            });
        }
    }
    part
}

/// Every single port.
fn plan<'a>(ports: &'a [ForwardedPort], result: &CniResult) -> Result<Vec<Forward<'a>>> {
    let mut forwards = Vec::new();
    for port in ports {
        let before = forwards.len();
        for any in [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ] {
            let host = port.host_ip.unwrap_or(any);
            let Some(pod) = result.addresses(any.is_ipv4()).next() else {
                continue;
            };
            if host.is_ipv4() != any.is_ipv4() {
                continue;
            }
            forwards.extend((0..port.count).map(|offset| Forward {
                name: &port.name,
                protocol: port.protocol,
                host: SocketAddr::new(host, port.host_port + offset),
                pod: SocketAddr::new(pod, port.pod_port + offset),
            }));
        }
        if forwards.len() == before {
            let reason = match port.host_ip {
                Some(IpAddr::V4(_)) => "the pod has no IPv4 address",
                Some(IpAddr::V6(_)) => "the pod has no IPv6 address",
                None => "the pod has no address",
            };
            return Err(Error::Port {
                name: port.name.clone(),
                reason,
            });
        }
    }
    Ok(forwards)
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Binds a socket to the port; none where the kernel does not have the
/// protocol, so that nobody can take it either.
fn claim(forward: &Forward<'_>) -> Result<Option<OwnedFd>> {
    let (kind, protocol) = match forward.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let v4 = forward.host.is_ipv4();
    let family = if v4 {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fail = Error::kernel("claim port", forward.host);
    let socket = match rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))
    {
        Err(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => return Ok(None),
        other => other.map_err(fail)?,
    };
    let bind = || -> rustix::io::Result<()> {
        // An address that moves between hosts may come later.
        if v4 {
            sockopt::set_ip_freebind(&socket, true)?;
        } else {
            sockopt::set_ipv6_freebind(&socket, true)?;
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // Nobody reads what might arrive while a firewall is reloaded.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
        rustix::net::bind(&socket, &forward.host)
    };
    match bind() {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ADDRINUSE) => Err(Error::PortTaken {
            protocol: forward.protocol,
            ip: forward.host.ip(),
            port: forward.host.port(),
            holder: holder(forward),
        }),
        Err(errno) => Err(Error::kernel("claim port", forward.host)(errno)),
    }
}

/// Sees to it that answers come back through the host; says whether they come
/// over a bridge.
fn reach_back(session: &mut Session<'_>, carrier: Carrier<'_>) -> Result<bool> {
    let inner = link::get(session.inside()?, carrier.attach.if_name).map_err(Error::kernel(
        "find the pod's interface",
        carrier.attach.if_name,
    ))?;
    if inner.kind != "veth" || inner.peer == 0 {
        return Ok(false);
    }
    let host = link::get_index(&mut session.host, inner.peer).map_err(Error::kernel(
        "find the host's end of",
        carrier.attach.if_name,
    ))?;
    if host.master != 0 {
        // With br_netfilter the bridge itself sends a pod's request to its
        // own port back where it came from.
        let hairpin = link::bridge_port(host.index, Some(true), None);
        session
            .host
            .request(vec![hairpin])
            .map_err(Error::kernel("configure the bridge port", &host.name))?;
    }
    for v4 in [true, false] {
        let Some(ip) = carrier.result.addresses(v4).next() else {
            continue;
        };
        // The interface by which the host reaches the pod: the pair's end, the
        // bridge, or the interface in the bridge's VLAN.
        let there = route::lookup(&mut session.host, ip)
            .map_err(Error::kernel("ask for the route to", ip))?;
        let Some(there) = there else { continue };
        let fail = Error::kernel("find the interface to", ip);
        let way = link::get_index(&mut session.host, there.index).map_err(fail)?;
        // The host's loopback address may leave by it.
        if v4 {
            // The firewall keeps it from coming in.
            sysctl::set(&format!("net/ipv4/conf/{}/route_localnet", way.name), "1")?;
        } else {
            session
                .host
                .request(vec![route::accept_loopback(way.index)])
                .map_err(Error::kernel("lead answers to ::1 back by", &way.name))?;
        }
    }
    Ok(host.master != 0)
}

/// Who has a port that we cannot have, as far as can be found out.
fn holder(forward: &Forward<'_>) -> String {
    pod_holding(forward)
        .or_else(|| process_holding(forward))
        .unwrap_or_else(|| "another program".to_owned())
}

fn pod_holding(forward: &Forward<'_>) -> Option<String> {
    let mut nft = Nft::open().ok()?;
    let family = Family::of(forward.host.ip());
    let (protocol, port) = (number(forward.protocol), forward.host.port());
    let mut comment = nft
        .get(Set::Any(family), &Key::service(protocol, None, port))
        .ok()?;
    if comment.is_none() {
        let wanted = forward.host.ip();
        let key = |ip| Key::service(protocol, Some(ip), port);
        comment = if wanted.is_unspecified() {
            // Any address with this port is in the way.
            let all = nft.list(Set::At(family)).ok()?;
            all.into_iter()
                .find(|(other, _)| other.is_service(protocol, port))
                .map(|(_, comment)| comment)
        } else {
            nft.get(Set::At(family), &key(wanted)).ok()?
        };
    }
    let comment = comment?;
    let (uuid, name) = comment.split_once(' ')?;
    Some(format!("port {name:?} of pod {uuid}"))
}

fn process_holding(forward: &Forward<'_>) -> Option<String> {
    let table = match (forward.protocol, forward.host.is_ipv4()) {
        (Protocol::Tcp, true) => ["tcp", "tcp6"],
        (Protocol::Tcp, false) => ["tcp6", "tcp6"],
        (Protocol::Udp, true) => ["udp", "udp6"],
        (Protocol::Udp, false) => ["udp6", "udp6"],
        (Protocol::Sctp, _) => return None,
    };
    let inode = table.into_iter().find_map(|table| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        text.lines()
            .skip(1)
            .find_map(|line| inode_of(line, forward.host.port()).map(str::to_owned))
    })?;
    let link = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        open.any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        })
        .then(|| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        })
    })
}

/// The inode in a line of `/proc/net/tcp` whose socket is bound to `port` and
/// not merely connected from it.
fn inode_of(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let (_, hex) = local.rsplit_once(':')?;
    let unconnected = matches!(state, "0A" | "07");
    (u16::from_str_radix(hex, 16) == Ok(port) && unconnected)
        .then(|| fields.nth(5))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, count: u16) -> ForwardedPort {
        ForwardedPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 8080,
            pod_port: 80,
            count,
        }
    }

    fn pod(addresses: &[&str]) -> CniResult {
        let ips: Vec<_> = addresses
            .iter()
            .map(|a| serde_json::json!({ "address": a }))
            .collect();
        serde_json::from_value(serde_json::json!({ "ips": ips })).unwrap()
    }

    #[test]
    fn a_port_is_forwarded_in_the_families_that_both_sides_have() {
        let both = pod(&["10.0.0.2/24", "fd00::2/64"]);
        let hosts = |ip: Option<&str>, pod: &CniResult| {
            plan(&[port(ip, 1)], pod)
                .map(|list| list.iter().map(|f| f.host.to_string()).collect::<Vec<_>>())
                .map_err(|e| e.to_string())
        };
        assert_eq!(hosts(None, &both).unwrap(), ["0.0.0.0:8080", "[::]:8080"]);
        assert_eq!(hosts(Some("127.0.0.1"), &both).unwrap(), ["127.0.0.1:8080"]);
        assert_eq!(hosts(Some("::"), &both).unwrap(), ["[::]:8080"]);
        assert_eq!(
            hosts(None, &pod(&["10.0.0.2/24"])).unwrap(),
            ["0.0.0.0:8080"]
        );
        assert_eq!(
            hosts(Some("::1"), &pod(&["10.0.0.2/24"])).unwrap_err(),
            "port \"http\" cannot be forwarded: the pod has no IPv6 address"
        );
        let ports = [port(None, 3)];
        let range = plan(&ports, &pod(&["10.0.0.2/24"])).unwrap();
        assert_eq!(range[2].host.port(), 8082);
        assert_eq!(range[2].pod.to_string(), "10.0.0.2:82");
    }

    #[test]
    fn sockets_are_found_in_the_kernel_s_tables() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(inode_of(line, 8080), Some("4711"));
        assert_eq!(inode_of(line, 8081), None);
        assert_eq!(inode_of(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(inode_of("garbage", 1), None);
    }
}
