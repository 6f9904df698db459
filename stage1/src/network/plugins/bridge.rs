//! `bridge`: a pair of interfaces, one in the pod, one in a bridge of the host.

use std::net::IpAddr;

use ipnet::IpNet;
use manifests::cni::plugins::Bridge;
use manifests::cni::{CniResult, Plugin, Route};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change, Link, New, NewKind};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session, has_family};
use super::super::sysctl;
use super::ptp::finish;

/// Joins.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Bridge,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let mut result = session.assign(&config.ipam, plugin, attach)?;
    let is_gateway = config.is_gateway || config.is_default_gateway;
    let bridge = ensure(session, config)?;
    if is_gateway {
        for ip in &mut result.ips {
            // As the reference plugin: the first address, where ipam names none.
            ip.gateway = ip.gateway.or_else(|| ip.address.hosts().next());
        }
        for ip in &result.ips {
            if let Some(gateway) = ip.gateway
                && let Ok(address) = IpNet::new(gateway, ip.address.prefix_len())
            {
                be_gateway(session, config, &bridge, address)?;
            }
        }
        for v4 in [true, false] {
            if has_family(&result.ips, v4) {
                sysctl::forward(v4)?;
            }
        }
    }
    if config.is_default_gateway {
        for v4 in [true, false] {
            let any: IpAddr = if v4 { [0; 4].into() } else { [0; 16].into() };
            let default = IpNet::new_assert(any, 0);
            let mut ips = result
                .ips
                .iter()
                .filter(|ip| ip.address.addr().is_ipv4() == v4);
            let gateway = ips.find_map(|ip| ip.gateway);
            let there = result.routes.iter().any(|route| route.dst == default);
            if gateway.is_some() && !there {
                result.routes.push(Route::new(default, gateway));
            }
        }
    }

    let name = session.host_name("veth", attach);
    let pair = New {
        name: &name,
        mtu: config.mtu,
        mac: None,
        netns: None,
        kind: NewKind::Veth(Box::new(New {
            name: attach.if_name,
            mtu: config.mtu,
            mac: super::mac("bridge", attach, &result)?,
            netns: Some(session.netns()?),
            kind: NewKind::Peer,
        })),
    };
    pair.create(&mut session.host)
        .map_err(Error::kernel("create interface", &name))?;
    let host =
        link::get(&mut session.host, &name).map_err(Error::kernel("find interface", &name))?;
    let mut port = vec![
        Change {
            master: Some(bridge.index),
            ..Change::default()
        }
        .message(host.index),
    ];
    if config.hairpin_mode || config.port_isolation {
        port.push(link::bridge_port(
            host.index,
            Some(config.hairpin_mode),
            Some(config.port_isolation),
        ));
    }
    session
        .host
        .request(port)
        .map_err(Error::kernel("put into the bridge interface", &name))?;

    let mut requests = vec![Change::up().message(host.peer)];
    requests.extend(Session::configure(host.peer, &result, Subnet::Route));
    session.request_inside("configure the pod's interface", attach.if_name, requests)?;
    if config.ip_masq {
        super::masquerade(session, attach, &result);
    }
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    finish(session, &mut result, &[&bridge, &host], &inner, &config.dns);
    Ok(result)
}

/// The bridge, made if it is missing. It stays when the last pod leaves: it is
/// the network's, not a pod's.
fn ensure(session: &mut Session<'_>, config: &Bridge) -> Result<Link> {
    let name = &config.bridge;
    if name.is_empty() || name.len() > link::NAME_MAX || name.contains('/') {
        return Err(Error::Value {
            plugin: "bridge",
            key: "bridge",
            value: name.clone(),
            problem: "is no interface's name",
        });
    }
    let mut found = link::get(&mut session.host, name);
    if found
        .as_ref()
        .is_err_and(|refusal| refusal.is(Errno::NODEV))
    {
        let new = New {
            name,
            mtu: config.mtu,
            mac: None,
            netns: None,
            kind: NewKind::Bridge,
        };
        match new.create(&mut session.host) {
            Err(refusal) if refusal.is(Errno::OPNOTSUPP) => {
                return Err(Error::Missing {
                    what: "bridges (CONFIG_BRIDGE)",
                    source: refusal,
                });
            }
            // Another pod was faster.
            Err(refusal) if refusal.is(Errno::EXIST) => {}
            Err(refusal) => return Err(Error::kernel("create bridge", name)(refusal)),
            Ok(()) => {
                let link = link::get(&mut session.host, name)
                    .map_err(Error::kernel("find bridge", name))?;
                // Said once, it is kept; else it would change with every port.
                let mac = Change {
                    mac: Some(link.mac),
                    ..Change::default()
                };
                session
                    .host
                    .request(vec![mac.message(link.index)])
                    .map_err(Error::kernel("configure bridge", name))?;
            }
        }
        found = link::get(&mut session.host, name);
    }
    let bridge = found.map_err(Error::kernel("find bridge", name))?;
    if bridge.kind != "bridge" {
        return Err(Error::NotABridge { name: name.clone() });
    }
    let change = Change {
        up: true,
        promisc: config.promisc_mode.then_some(true),
        ..Change::default()
    };
    session
        .host
        .request(vec![change.message(bridge.index)])
        .map_err(Error::kernel("bring up bridge", name))?;
    Ok(bridge)
}

/// Gives the bridge the gateway's address.
fn be_gateway(
    session: &mut Session<'_>,
    config: &Bridge,
    bridge: &Link,
    wanted: IpNet,
) -> Result<()> {
    let there = route::addresses(&mut session.host, bridge.index)
        .map_err(Error::kernel("read the addresses of", &bridge.name))?;
    if there.contains(&wanted) {
        return Ok(());
    }
    let v4 = wanted.addr().is_ipv4();
    let mut requests = Vec::new();
    for address in there {
        // In IPv6 an interface has several; only the same subnet is in the way.
        let in_the_way = address.addr().is_ipv4() == v4
            && (v4 || address.contains(&wanted.addr()) || wanted.contains(&address.addr()));
        if !in_the_way {
            continue;
        }
        if !config.force_address {
            return Err(Error::ForeignAddress {
                bridge: bridge.name.clone(),
                there: address,
                wanted,
            });
        }
        requests.push(route::delete_address(bridge.index, address));
    }
    requests.push(route::add_address(bridge.index, wanted, Subnet::Route));
    session
        .host
        .request(requests)
        .map_err(Error::kernel("give an address to", &bridge.name))
}
