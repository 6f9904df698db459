//! `macvlan` and `ipvlan`: an interface of the pod on an interface of the host.

use manifests::cni::plugins::{Ipam, Ipvlan, Macvlan};
use manifests::cni::{CniResult, Dns, Plugin};

use super::super::error::{Error, Result};
use super::super::namespace;
use super::super::netlink::link::{self, Mac, New, NewKind};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session};
use super::super::sysctl;
use super::finish;

/// Joins by macvlan.
pub(super) fn add_macvlan(
    session: &mut Session<'_>,
    config: &Macvlan,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let master = master(session, &config.master)?;
    let kind = NewKind::Macvlan {
        master,
        mode: config.mode,
        broadcast_queue: config.broadcast_queue,
    };
    // A hardware address made from the address would be the same on every host
    // of the network that gives out the same ones; the kernel's is random.
    let mac = attach
        .args
        .1
        .get("MAC")
        .map(|_| super::mac("macvlan", attach, &CniResult::default()));
    let made = add(
        session,
        kind,
        mac.transpose()?.flatten(),
        config.mtu,
        &config.ipam,
        &config.dns,
        plugin,
        attach,
    )?;
    // Answer for addresses that the pod routes to.
    let path = format!("net/ipv4/conf/{}/proxy_arp", attach.if_name);
    namespace::within(session.netns()?, || sysctl::set(&path, "1"))?;
    Ok(made)
}

/// Joins by ipvlan.
pub(super) fn add_ipvlan(
    session: &mut Session<'_>,
    config: &Ipvlan,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let master = master(session, &config.master)?;
    let kind = NewKind::Ipvlan {
        master,
        mode: config.mode,
    };
    let made = add(
        session,
        kind,
        None,
        config.mtu,
        &config.ipam,
        &config.dns,
        plugin,
        attach,
    )?;
    if made.ips.is_empty() {
        return Err(Error::NoAddress { plugin: "ipvlan" });
    }
    Ok(made)
}

fn master(session: &mut Session<'_>, name: &str) -> Result<u32> {
    if name.is_empty() {
        return route::default_interface(&mut session.host).map_err(Error::kernel(
            "find",
            "the interface of the default route (\"master\" names another)",
        ));
    }
    link::get(&mut session.host, name)
        .map(|link| link.index)
        .map_err(Error::kernel("find the master interface", name))
}

#[expect(clippy::too_many_arguments, reason = "two plugins with the same keys")]
fn add(
    session: &mut Session<'_>,
    kind: NewKind<'_>,
    mac: Option<Mac>,
    mtu: u32,
    ipam: &Ipam,
    dns: &Dns,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let what = match kind {
        NewKind::Ipvlan { .. } => "ipvlan (CONFIG_IPVLAN)",
        _ => "macvlan (CONFIG_MACVLAN)",
    };
    let new = New {
        name: attach.if_name,
        mtu,
        mac,
        netns: Some(session.netns()?),
        kind,
    };
    new.create(&mut session.host).map_err(super::missing(
        what,
        "create the pod's interface",
        attach.if_name,
    ))?;
    let mut result = session.assign(ipam, plugin, attach)?;
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    let requests = Session::configure(inner.index, &result, Subnet::Route);
    session.request_inside("configure the pod's interface", attach.if_name, requests)?;
    finish(session, &mut result, &[], &inner, dns);
    Ok(result)
}
