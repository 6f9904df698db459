//! The built-in plugins.
//!
//! Each has an `add`, which takes things that are found again by the pod's
//! UUID and the interface's name alone, and undoes nothing when it fails:
//! leaving does, whatever was reached. What only lives in the pod's namespace
//! ends with it.

mod bandwidth;
mod bridge;
mod flannel;
mod pair;
mod ptp;
mod stacked;
mod tuning;
mod vlan;

use std::fmt::Display;

use manifests::cni::plugins::{Bridge, Builtin, Ipvlan, Macvlan, Ptp};
use manifests::cni::{CniResult, Dns, Interface, Plugin};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::netlink::link::{self, Link, Mac};
use super::netlink::socket::Refusal;
use super::nft::NetworkRule;
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
        Builtin::Macvlan(config) => stacked::add_macvlan(session, config, plugin, attach),
        Builtin::Ipvlan(config) => stacked::add_ipvlan(session, config, plugin, attach),
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
        // Nothing is closed that it would have to open.
        Builtin::Firewall(_) => after("firewall"),
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
        Builtin::Ptp(Ptp { ipam, .. }) | Builtin::Bridge(Bridge { ipam, .. }) => {
            pair::delete(session, ipam, plugin, attach, known)
        }
        Builtin::Macvlan(Macvlan { ipam, .. }) | Builtin::Ipvlan(Ipvlan { ipam, .. }) => {
            session.unassign(ipam, plugin, attach, known)?;
            delete_inside(session, attach)
        }
        Builtin::Bandwidth(_) => delete_host_link(session, "ifb", attach),
        Builtin::Flannel(_) => flannel::del(session, attach, known),
        Builtin::Loopback | Builtin::Portmap | Builtin::Tuning(_) | Builtin::Firewall(_) => Ok(()),
    }
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

/// The rules of networks that [`add`] asks for.
pub(crate) fn rules(plugin: &Plugin, attach: Attach<'_>, result: &CniResult) -> Vec<NetworkRule> {
    match builtin(plugin) {
        Ok(Some(
            Builtin::Ptp(Ptp { ip_masq: true, .. }) | Builtin::Bridge(Bridge { ip_masq: true, .. }),
        )) => pair::rules(attach, result),
        _ => Vec::new(),
    }
}

/// Completes a result: the interfaces, whose the addresses are, and the name
/// resolution of the configuration where ipam says nothing.
fn finish(session: &Session<'_>, result: &mut CniResult, host: &[&Link], inner: &Link, dns: &Dns) {
    let sandbox = super::namespace::path_of(session.pod.uuid)
        .display()
        .to_string();
    result.interfaces = host.iter().map(|link| interface(link, None)).collect();
    result.interfaces.push(interface(inner, Some(sandbox)));
    let index = result.interfaces.len() - 1;
    for ip in &mut result.ips {
        ip.interface = Some(index);
    }
    if result.dns.is_empty() || !dns.is_empty() {
        result.dns = dns.clone();
    }
}

/// For `map_err`: the kernel cannot do `doing`, perhaps because it lacks
/// `what`.
fn missing(
    what: &'static str,
    doing: &'static str,
    object: impl Display,
) -> impl FnOnce(Refusal) -> Error {
    move |source| match source.errno {
        Errno::OPNOTSUPP | Errno::PROTONOSUPPORT => Error::Missing { what, source },
        _ => Error::kernel(doing, object)(source),
    }
}
