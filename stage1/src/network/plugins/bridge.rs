//! `bridge`: a pair of interfaces, the host's end in a bridge.

use std::net::IpAddr;

use ipnet::IpNet;
use manifests::cni::plugins::Bridge;
use manifests::cni::{CniResult, Plugin, Route};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change, Link, New, NewKind};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session};
use super::pair::{self, Wish};
use super::vlan;

/// Joins.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Bridge,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let wish = Wish {
        kind: "bridge",
        mtu: config.mtu,
        dns: &config.dns,
        ip_masq: config.ip_masq,
    };
    let mut result = session.assign(&config.ipam, plugin, attach)?;
    let bridge = ensure(session, config)?;
    if config.is_gateway || config.is_default_gateway {
        let router = match config.vlan.0 {
            0 => bridge.clone(),
            vlan => vlan::router(session, &bridge, vlan)?,
        };
        for ip in &mut result.ips {
            // As the reference plugin: the first address, where ipam names none.
            ip.gateway = ip.gateway.or_else(|| ip.address.hosts().next());
        }
        for ip in &result.ips {
            if let Some(gateway) = ip.gateway
                && let Ok(address) = IpNet::new(gateway, ip.address.prefix_len())
            {
                be_gateway(session, config, &router, address)?;
            }
        }
        pair::forward(&result)?;
    }
    if config.is_default_gateway {
        add_default_routes(&mut result);
    }

    let host = pair::create(session, wish, attach, &result)?;
    let mut port = vec![
        // A port has no use for one.
        link::no_own_address(host.index),
        Change {
            up: true,
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
        .map_err(Error::kernel("put into the bridge interface", &host.name))?;
    if vlan::wanted(config) {
        vlan::join(session, config, &host)?;
    }

    let only_router = config.is_gateway || config.is_default_gateway;
    let mut requests = pair::bring_up_inside(host.peer, &result, only_router);
    requests.extend(Session::configure(host.peer, &result, Subnet::Route));
    session.request_inside("configure the pod's interface", attach.if_name, requests)?;
    pair::finish(session, wish, attach, &[&bridge, &host], result)
}

/// A default route to the gateway of each family that has none.
fn add_default_routes(result: &mut CniResult) {
    for any in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        let default = IpNet::new_assert(any, 0);
        let mut ips = result.ips.iter();
        let gateway = ips
            .by_ref()
            .filter(|ip| ip.address.addr().is_ipv4() == any.is_ipv4())
            .find_map(|ip| ip.gateway);
        let there = result.routes.iter().any(|route| route.dst == default);
        if gateway.is_some() && !there {
            result.routes.push(Route::new(default, gateway));
        }
    }
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
        found = match new.create_here(&mut session.host) {
            // Another pod was faster.
            Err(refusal) if refusal.is(Errno::EXIST) => link::get(&mut session.host, name),
            Err(refusal) => {
                let what = "bridges (CONFIG_BRIDGE); try \"modprobe bridge\", or type \"ptp\"";
                return Err(super::missing(what, "create bridge", name)(refusal));
            }
            Ok(link) => {
                // Said once, it is kept; else it would change with every port.
                let mac = Change {
                    mac: Some(link.mac),
                    ..Change::default()
                };
                session
                    .host
                    .request(vec![mac.message(link.index)])
                    .map_err(Error::kernel("configure bridge", name))?;
                Ok(link)
            }
        };
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
    let mut requests = vec![change.message(bridge.index)];
    if vlan::wanted(config) {
        requests.push(link::filter_vlans(bridge.index));
    }
    session
        .host
        .request(requests)
        .map_err(|refusal| match refusal.index {
            0 => Error::kernel("bring up bridge", name)(refusal),
            _ => {
                let what = "VLANs on bridges (CONFIG_BRIDGE_VLAN_FILTERING)";
                super::missing(what, "separate the VLANs of bridge", name)(refusal)
            }
        })?;
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
    session.check_subnet(wanted, bridge.index)?;
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
