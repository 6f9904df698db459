//! The built-in plugins.
//!
//! Each has an `add`, which takes things that are found again by the pod's
//! UUID and the interface's name alone, and undoes nothing when it fails:
//! leaving does, whatever was reached. What only lives in the pod's namespace
//! ends with it.

mod bandwidth;
mod bridge;
mod flannel;
mod ptp;
mod tuning;
mod vlan;

use manifests::cni::plugins::{Builtin, IngressPolicy};
use manifests::cni::{CniResult, Interface, Plugin};

use super::error::{Error, Result};
use super::netlink::link::{self, Link, Mac};
use super::nft::{NetworkRule, Treatment};
use super::session::{Attach, Session, builtin};

/// Runs plugin `plugin` of a chain, built in or not.
pub(crate) fn add(
    session: &mut Session<'_>,
    plugin: &Plugin,
    attach: Attach<'_>,
    previous: Option<CniResult>,
) -> Result<CniResult> {
    let Some(builtin) = builtin(plugin)? else {
        return session.execute("ADD", &plugin.kind, plugin, attach, previous.as_ref());
    };
    let after = |name: &'static str| previous.clone().ok_or(Error::NotFirst { plugin: name });
    match &builtin {
        Builtin::Ptp(config) => ptp::add(session, config, plugin, attach),
        Builtin::Bridge(config) => bridge::add(session, config, plugin, attach),
        Builtin::Macvlan(config) => vlan::add_macvlan(session, config, plugin, attach),
        Builtin::Ipvlan(config) => vlan::add_ipvlan(session, config, plugin, attach),
        // It is up already.
        Builtin::Loopback => Ok(previous.unwrap_or_default()),
        // The ports are forwarded when every network has been joined.
        Builtin::Portmap => after("portmap"),
        Builtin::Bandwidth(config) => {
            let previous = after("bandwidth")?;
            bandwidth::add(session, *config, attach)?;
            Ok(previous)
        }
        Builtin::Tuning(config) => {
            let previous = after("tuning")?;
            tuning::add(session, config, attach, previous)
        }
        Builtin::Firewall(config) => {
            let previous = after("firewall")?;
            if config.ingress_policy != IngressPolicy::Open {
                return Err(Error::Value {
                    plugin: "firewall",
                    key: "ingressPolicy",
                    value: format!("{:?}", config.ingress_policy),
                    problem: "is not built in; only \"open\" is",
                });
            }
            Ok(previous)
        }
        Builtin::Flannel(config) => flannel::add(session, config, attach),
    }
}

/// Undoes [`add`], however far it came; `known` is the chain's result, if the
/// chain came to one.
pub(crate) fn del(
    session: &mut Session<'_>,
    plugin: &Plugin,
    attach: Attach<'_>,
    known: Option<&CniResult>,
) -> Result<()> {
    let Some(builtin) = builtin(plugin)? else {
        return session
            .execute("DEL", &plugin.kind, plugin, attach, known)
            .map(|_| ());
    };
    match &builtin {
        Builtin::Ptp(config) => {
            session.unassign(&config.ipam, plugin, attach, known)?;
            delete_pair(session, attach)
        }
        Builtin::Bridge(config) => {
            session.unassign(&config.ipam, plugin, attach, known)?;
            delete_pair(session, attach)
        }
        Builtin::Macvlan(config) => {
            session.unassign(&config.ipam, plugin, attach, known)?;
            delete_inside(session, attach)
        }
        Builtin::Ipvlan(config) => {
            session.unassign(&config.ipam, plugin, attach, known)?;
            delete_inside(session, attach)
        }
        Builtin::Bandwidth(_) => delete_host_link(session, "ifb", attach),
        Builtin::Flannel(_) => flannel::del(session, attach, known),
        Builtin::Loopback | Builtin::Portmap | Builtin::Tuning(_) | Builtin::Firewall(_) => Ok(()),
    }
}

/// The host's end of a pair. When its other end is about to go it goes too;
/// until then it must not stand in the way of the next pod with the address.
fn delete_pair(session: &mut Session<'_>, attach: Attach<'_>) -> Result<()> {
    if !session.ending {
        return delete_host_link(session, "veth", attach);
    }
    let name = session.host_name("veth", attach);
    let Ok(link) = link::get(&mut session.host, &name) else {
        return Ok(());
    };
    if link.master != 0 {
        let silence = link::disable_bridge_port(link.index);
        session
            .host
            .request(vec![silence])
            .map_err(Error::kernel("disable the bridge port", name))?;
    }
    Ok(())
}

fn delete_host_link(session: &mut Session<'_>, prefix: &str, attach: Attach<'_>) -> Result<()> {
    let name = session.host_name(prefix, attach);
    link::delete(&mut session.host, &name).map_err(Error::kernel("remove interface", name))
}

/// An interface in the pod's namespace; it ends with it, if not before.
fn delete_inside(session: &mut Session<'_>, attach: Attach<'_>) -> Result<()> {
    match &mut session.inside {
        Some((_, socket)) if !session.ending => link::delete(socket, attach.if_name)
            .map_err(Error::kernel("remove the pod's interface", attach.if_name)),
        _ => Ok(()),
    }
}

/// What a result says of an interface.
fn interface(link: &Link, sandbox: Option<String>) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link::mac_text(link.mac),
        mtu: Some(link.mtu),
        sandbox: sandbox.unwrap_or_default(),
        ..Interface::default()
    }
}

/// The hardware address asked for by `MAC=`, or one made from the pod's first
/// address.
fn mac(plugin: &'static str, attach: Attach<'_>, result: &CniResult) -> Result<Option<Mac>> {
    match attach.args.1.get("MAC") {
        Some(text) => link::parse_mac(text).map(Some).ok_or_else(|| Error::Value {
            plugin,
            key: "MAC",
            value: text.to_owned(),
            problem: "is no hardware address",
        }),
        None => Ok(result
            .ips
            .iter()
            .find_map(|ip| link::mac_for(ip.address.addr()))),
    }
}

/// Has what the pod sends out of its network masqueraded.
fn masquerade(session: &mut Session<'_>, attach: Attach<'_>, result: &CniResult) {
    let rules = result.ips.iter().map(|ip| NetworkRule {
        network: attach.config.name.clone(),
        subnet: ip.address.trunc(),
        treatment: Treatment::Masquerade,
    });
    session.firewall.rules.extend(rules);
}
