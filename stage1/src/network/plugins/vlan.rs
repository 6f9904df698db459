//! VLANs of a bridge: which of them a pod's port is in, and who routes for them.

use manifests::cni::plugins::Bridge;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change, Link, New, NewKind, Vlan};
use super::super::netlink::message::Message;
use super::super::session::Session;
use rustix::io::Errno;

/// The VLAN that every port is in until it is taken out.
const DEFAULT: u16 = 1;

/// Whether the configuration has any.
pub(super) fn wanted(config: &Bridge) -> bool {
    config.vlan.0 != 0 || !config.vlan_trunk.is_empty()
}

/// Puts `port` into its VLANs.
pub(super) fn join(session: &mut Session<'_>, config: &Bridge, port: &Link) -> Result<()> {
    let own = config.vlan.0;
    let trunk = || config.vlan_trunk.iter().flat_map(|r| r.first..=r.last);
    let stays = own == DEFAULT || trunk().any(|vlan| vlan == DEFAULT);
    // A port without a VLAN of its own keeps what the bridge gave it.
    let leaves = own != 0 && !config.preserve_default_vlan && !stays;
    let left = leaves.then(|| leave_default(port.index));
    let untagged = (own != 0).then(|| link::join_vlan(port.index, own, Vlan::Untagged));
    let tagged = trunk()
        .filter(|vlan| *vlan != own)
        .map(|vlan| link::join_vlan(port.index, vlan, Vlan::Tagged));
    session
        .host
        .request(left.into_iter().chain(untagged).chain(tagged).collect())
        .map_err(Error::kernel("put into its VLANs the port", &port.name))
}

/// A bridge may have been told to put its ports into no VLAN.
fn leave_default(port: u32) -> Message {
    link::leave_vlan(port, DEFAULT).forgiving(&[Errno::NOENT, Errno::SRCH])
}

/// The host's own interface in a VLAN of the bridge, which has the gateway's
/// address: a pair whose other end is a port. It stays, as the bridge does.
pub(super) fn router(session: &mut Session<'_>, bridge: &Link, vlan: u16) -> Result<Link> {
    let name = format!("{}.{vlan}", bridge.name);
    if name.len() > link::NAME_MAX {
        return Err(Error::Value {
            plugin: "bridge",
            key: "bridge",
            value: bridge.name.clone(),
            problem: "is too long for an interface's name with \".VLAN\" behind it",
        });
    }
    let find = |session: &mut Session<'_>| link::get(&mut session.host, &name);
    match find(session) {
        Err(refusal) if refusal.is(Errno::NODEV) => {}
        other => return other.map_err(Error::kernel("find interface", &name)),
    }
    let pair = New {
        name: &name,
        mtu: bridge.mtu,
        mac: None,
        netns: None,
        kind: NewKind::Veth(Box::new(New {
            // The kernel finds one.
            name: "",
            mtu: bridge.mtu,
            mac: None,
            netns: None,
            kind: NewKind::Peer,
        })),
    };
    match pair.create(&mut session.host) {
        // Another pod was faster.
        Err(refusal) if refusal.is(Errno::EXIST) => {}
        other => other.map_err(Error::kernel("create interface", &name))?,
    }
    let router = find(session).map_err(Error::kernel("find interface", &name))?;
    let port = Change {
        up: true,
        master: Some(bridge.index),
        ..Change::default()
    };
    let mut requests = vec![
        Change::up().message(router.index),
        port.message(router.peer),
        link::join_vlan(router.peer, vlan, Vlan::Untagged),
    ];
    if vlan != DEFAULT {
        requests.push(leave_default(router.peer));
    }
    session
        .host
        .request(requests)
        .map_err(Error::kernel("put into the bridge the port of", &name))?;
    Ok(router)
}
