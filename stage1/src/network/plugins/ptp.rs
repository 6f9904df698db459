//! `ptp`: a pair of interfaces and nothing else in between. What the pod sends
//! to its own subnet goes through the host, too.

use ipnet::IpNet;
use manifests::cni::plugins::Ptp;
use manifests::cni::{CniResult, Plugin, Route};

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session, has_family, routes_of};
use super::pair::{self, Wish};

/// Joins.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Ptp,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let wish = Wish {
        kind: "ptp",
        mtu: config.mtu,
        dns: &config.dns,
        ip_masq: config.ip_masq,
    };
    let result = session.assign(&config.ipam, plugin, attach)?;
    if result.ips.is_empty() {
        return Err(Error::NoAddress { plugin: "ptp" });
    }
    for ip in &result.ips {
        session.check_free(ip.address)?;
    }
    pair::forward(&result)?;
    let host = pair::create(session, wish, attach, &result)?;

    let mut inside = pair::bring_up_inside(host.peer, &result, true);
    let mut outside = vec![Change::up().message(host.index)];
    if !has_family(&result.ips, false) {
        outside.insert(0, link::no_own_address(host.index));
    }
    for ip in &result.ips {
        let address = ip.address.addr();
        outside.push(route::add_route(
            host.index,
            &Route::new(IpNet::from(address), None),
        ));
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
    }
    inside.extend(
        routes_of(&result)
            .iter()
            .map(|route| route::add_route(host.peer, route)),
    );
    session
        .host
        .request(outside)
        .map_err(Error::kernel("configure interface", &host.name))?;
    session.request_inside("configure the pod's interface", attach.if_name, inside)?;
    pair::finish(session, wish, attach, &[&host], result)
}
