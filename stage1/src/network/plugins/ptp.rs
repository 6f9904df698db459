//! `ptp`: a pair of interfaces, one in the pod, one in the host, and nothing
//! else in between. What the pod sends to its own subnet goes through the
//! host, too.

use ipnet::IpNet;
use manifests::cni::plugins::Ptp;
use manifests::cni::{CniResult, Plugin, Route};

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change, New, NewKind};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session, has_family, routes_of};
use super::super::sysctl;

/// Joins.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Ptp,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let mut result = session.assign(&config.ipam, plugin, attach)?;
    if result.ips.is_empty() {
        return Err(Error::NoAddress { plugin: "ptp" });
    }
    for v4 in [true, false] {
        if has_family(&result.ips, v4) {
            sysctl::forward(v4)?;
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
            mac: super::mac("ptp", attach, &result)?,
            netns: Some(session.netns()?),
            kind: NewKind::Peer,
        })),
    };
    pair.create(&mut session.host)
        .map_err(Error::kernel("create interface", &name))?;
    let host =
        link::get(&mut session.host, &name).map_err(Error::kernel("find interface", &name))?;

    let (mut inside, mut outside) = (vec![Change::up().message(host.peer)], Vec::new());
    for ip in &result.ips {
        let address = ip.address.addr();
        let Some(gateway) = ip.gateway else {
            inside.push(route::add_address(host.peer, ip.address, Subnet::Route));
            continue;
        };
        inside.push(route::add_address(host.peer, ip.address, Subnet::NoRoute));
        for (net, by) in [
            (IpNet::from(gateway), None),
            (ip.address.trunc(), Some(gateway)),
        ] {
            inside.push(route::add_route_from(
                host.peer,
                &Route::new(net, by),
                address,
            ));
        }
        outside.push(route::add_address(
            host.index,
            IpNet::from(gateway),
            Subnet::Route,
        ));
        outside.push(route::add_route(
            host.index,
            &Route::new(IpNet::from(address), None),
        ));
    }
    inside.extend(
        routes_of(&result)
            .iter()
            .map(|route| route::add_route(host.peer, route)),
    );
    session.request_inside("configure the pod's interface", attach.if_name, inside)?;
    session
        .host
        .request(outside)
        .map_err(Error::kernel("configure interface", &name))?;

    if config.ip_masq {
        super::masquerade(session, attach, &result);
    }
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    finish(session, &mut result, &[&host], &inner, &config.dns);
    Ok(result)
}

/// Completes a result: the interfaces, whose the addresses are, and the name
/// resolution of the configuration where ipam says nothing.
pub(super) fn finish(
    session: &Session<'_>,
    result: &mut CniResult,
    host: &[&link::Link],
    inner: &link::Link,
    dns: &manifests::cni::Dns,
) {
    let sandbox = super::super::namespace::path_of(session.pod.uuid)
        .display()
        .to_string();
    result.interfaces = host
        .iter()
        .map(|link| super::interface(link, None))
        .collect();
    result
        .interfaces
        .push(super::interface(inner, Some(sandbox)));
    let index = result.interfaces.len() - 1;
    for ip in &mut result.ips {
        ip.interface = Some(index);
    }
    if result.dns.is_empty() || !dns.is_empty() {
        result.dns = dns.clone();
    }
}
