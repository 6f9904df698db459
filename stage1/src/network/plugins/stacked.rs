//! `macvlan` and `ipvlan`: an interface of the pod on an interface of the host.

use manifests::cni::plugins::{Ipam, Ipvlan, Macvlan};
use manifests::cni::{CniResult, Dns, Plugin};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::namespace;
use super::super::netlink::link::{self, Mac, New, NewKind};
use super::super::netlink::route::{self, Subnet};
use super::super::session::{Attach, Session};
use super::super::sysctl;
use super::finish;

/// What tells one of the two from the other.
struct Layer<'a> {
    name: &'static str,
    kind: NewKind<'a>,
    /// The name of the interface of the host, or none for the default route's.
    master: &'a str,
    /// What a kernel lacks that cannot make one, and what to do about it.
    needs: &'static str,
    mac: Option<Mac>,
    mtu: u32,
    ipam: &'a Ipam,
    dns: &'a Dns,
}

/// Joins by macvlan.
pub(super) fn add_macvlan(
    session: &mut Session<'_>,
    config: &Macvlan,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    // A hardware address made from the address would be the same on every host
    // of the network that gives out the same ones; the kernel's is random.
    let mac = match attach.args.1.get("MAC") {
        Some(_) => super::mac("macvlan", attach, &CniResult::default())?,
        None => None,
    };
    let layer = Layer {
        name: "macvlan",
        master: &config.master,
        kind: NewKind::Macvlan {
            master: master(session, &config.master)?,
            mode: config.mode,
            broadcast_queue: config.broadcast_queue,
        },
        needs: "macvlan interfaces (CONFIG_MACVLAN); try \"modprobe macvlan\", or type \"bridge\"",
        mac,
        mtu: config.mtu,
        ipam: &config.ipam,
        dns: &config.dns,
    };
    let result = add(session, layer, plugin, attach)?;
    // Answer for addresses that the pod routes to.
    let path = format!("net/ipv4/conf/{}/proxy_arp", attach.if_name);
    namespace::within(session.netns()?, || sysctl::set(&path, "1"))?;
    Ok(result)
}

/// Joins by ipvlan.
pub(super) fn add_ipvlan(
    session: &mut Session<'_>,
    config: &Ipvlan,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let layer = Layer {
        name: "ipvlan",
        master: &config.master,
        kind: NewKind::Ipvlan {
            master: master(session, &config.master)?,
            mode: config.mode,
        },
        needs: "ipvlan interfaces (CONFIG_IPVLAN); try \"modprobe ipvlan\", or type \"macvlan\"",
        mac: None,
        mtu: config.mtu,
        ipam: &config.ipam,
        dns: &config.dns,
    };
    let result = add(session, layer, plugin, attach)?;
    if result.ips.is_empty() {
        return Err(Error::NoAddress { plugin: "ipvlan" });
    }
    Ok(result)
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

fn add(
    session: &mut Session<'_>,
    layer: Layer<'_>,
    plugin: &Plugin,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let new = New {
        name: attach.if_name,
        mtu: layer.mtu,
        mac: layer.mac,
        netns: Some(session.netns()?),
        kind: layer.kind,
    };
    new.create(&mut session.host)
        .map_err(|refusal| match refusal.errno {
            Errno::BUSY => Error::Value {
                plugin: layer.name,
                key: "master",
                value: layer.master.to_owned(),
                problem: "is taken by interfaces of another kind: macvlan, ipvlan and bridge cannot share one",
            },
            _ => super::missing(layer.needs, "create the pod's interface", attach.if_name)(refusal),
        })?;
    let mut result = session.assign(layer.ipam, plugin, attach)?;
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    let requests = Session::configure(inner.index, &result, Subnet::Route);
    session.request_inside("configure the pod's interface", attach.if_name, requests)?;
    finish(session, &mut result, &[], &inner, layer.dns);
    Ok(result)
}
