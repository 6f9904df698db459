//! A pair of interfaces, one in the pod, one in the host: what `ptp` and
//! `bridge` have in common.

use manifests::cni::CniResult;
use manifests::cni::plugins::Ipam;
use manifests::cni::{Dns, Plugin};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change, Link, New, NewKind};
use super::super::netlink::message::Message;
use super::super::netlink::route;
use super::super::nft::{NetworkRule, Treatment};
use super::super::session::{Attach, Session, has_family};
use super::super::sysctl;

/// Prefix of the name of the host's end.
const PREFIX: &str = "veth";

/// What both configurations say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// The plugin.
    pub(super) kind: &'static str,
    /// MTU of both ends.
    pub(super) mtu: u32,
    /// Name resolution.
    pub(super) dns: &'a Dns,
    /// What the pod sends out of its network is masqueraded.
    pub(super) ip_masq: bool,
}

/// Makes the pair, neither end up; the pod's end is the `peer` of what is
/// returned.
pub(super) fn create(
    session: &mut Session<'_>,
    wish: Wish<'_>,
    attach: Attach<'_>,
    result: &CniResult,
) -> Result<Link> {
    let name = session.host_name(PREFIX, attach);
    let pair = New {
        name: &name,
        mtu: wish.mtu,
        mac: None,
        netns: None,
        kind: NewKind::Veth(Box::new(New {
            name: attach.if_name,
            mtu: wish.mtu,
            mac: super::mac(wish.kind, attach, result)?,
            netns: Some(session.netns()?),
            kind: NewKind::Peer,
        })),
    };
    pair.create_here(&mut session.host).map_err(super::missing(
        "veth interfaces (CONFIG_VETH); try \"modprobe veth\", or --net=host",
        "create interface",
        &name,
    ))
}

/// The requests that bring up the pod's end, which has these addresses. Where
/// this host is the network's `only_router` and gives out no IPv6, there is
/// nothing that the pod could learn by IPv6 either; and what it says by it
/// costs every other pod of the network.
pub(super) fn bring_up_inside(index: u32, result: &CniResult, only_router: bool) -> Vec<Message> {
    let silent = only_router && !has_family(&result.ips, false);
    let silence = silent.then(|| link::no_own_address(index));
    silence
        .into_iter()
        .chain([Change::up().message(index)])
        .collect()
}

/// Lets the packets of both sides through this host.
pub(super) fn forward(result: &CniResult) -> Result<()> {
    for v4 in [true, false] {
        if has_family(&result.ips, v4) {
            sysctl::forward(v4)?;
        }
    }
    Ok(())
}

/// Masquerades, if that is wished for, and completes the result.
pub(super) fn finish(
    session: &mut Session<'_>,
    wish: Wish<'_>,
    attach: Attach<'_>,
    host: &[&Link],
    mut result: CniResult,
) -> Result<CniResult> {
    if wish.ip_masq {
        session.firewall.rules.extend(rules(attach, &result));
    }
    let inner = link::get(session.inside()?, attach.if_name)
        .map_err(Error::kernel("find the pod's interface", attach.if_name))?;
    super::finish(session, &mut result, host, &inner, wish.dns);
    Ok(result)
}

/// Has what the pod sends out of its network masqueraded.
pub(super) fn rules(attach: Attach<'_>, result: &CniResult) -> Vec<NetworkRule> {
    let rule = |ip: &manifests::cni::IpConfig| NetworkRule {
        network: attach.config.name.clone(),
        subnet: ip.address.trunc(),
        treatment: Treatment::Masquerade,
    };
    result.ips.iter().map(rule).collect()
}

/// Undoes [`create`], and gives the addresses back.
///
/// When the pod's end is about to go, so is the host's; until then it must not
/// stand in the way of the next pod with the address.
pub(super) fn delete(
    session: &mut Session<'_>,
    ipam: &Ipam,
    plugin: &Plugin,
    attach: Attach<'_>,
    known: Option<&CniResult>,
) -> Result<()> {
    let name = session.host_name(PREFIX, attach);
    if session.ending {
        if let Ok(link) = link::get(&mut session.host, &name) {
            let requests = if link.master != 0 {
                vec![link::disable_bridge_port(link.index)]
            } else {
                let ips = known.map(|known| known.ips.as_slice()).unwrap_or_default();
                ips.iter()
                    .map(|ip| route::delete_host_route(link.index, ip.address.addr()))
                    // A bridge without a gateway has none.
                    .map(|request| request.forgiving(&[Errno::SRCH]))
                    .collect()
            };
            session
                .host
                .request(requests)
                .map_err(Error::kernel("take out of use", &name))?;
        }
    } else {
        link::delete(&mut session.host, &name).map_err(Error::kernel("remove interface", &name))?;
    }
    session.unassign(ipam, plugin, attach, known)
}
