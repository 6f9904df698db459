//! `tuning`: settings of the pod's namespace and interface.

use manifests::cni::CniResult;
use manifests::cni::plugins::Tuning;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, Change};
use super::super::session::{Attach, Session};
use super::super::{namespace, sysctl};

/// Sets.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Tuning,
    attach: Attach<'_>,
    mut result: CniResult,
) -> Result<CniResult> {
    if !config.sysctl.is_empty() {
        namespace::within(session.netns()?, || {
            for (key, value) in &config.sysctl {
                sysctl::set(&key.path().replace("IFNAME", attach.if_name), value)?;
            }
            Ok(())
        })?;
    }
    let mac = match config.mac.as_str() {
        "" => None,
        text => Some(link::parse_mac(text).ok_or_else(|| Error::Value {
            plugin: "tuning",
            key: "mac",
            value: text.to_owned(),
            problem: "is no hardware address",
        })?),
    };
    let change = Change {
        mac,
        mtu: (config.mtu != 0).then_some(config.mtu),
        promisc: config.promisc.then_some(true),
        allmulti: config.allmulti,
        queue_length: config.tx_q_len,
        ..Change::default()
    };
    if change.is_empty() {
        return Ok(result);
    }
    let find = Error::kernel("find the pod's interface", attach.if_name);
    let index = link::get(session.inside()?, attach.if_name)
        .map_err(find)?
        .index;
    session.request_inside(
        "configure the pod's interface",
        attach.if_name,
        vec![change.message(index)],
    )?;
    for interface in &mut result.interfaces {
        if interface.name == attach.if_name && !interface.sandbox.is_empty() {
            if let Some(mac) = mac {
                interface.mac = link::mac_text(mac);
            }
            interface.mtu = change.mtu.or(interface.mtu);
        }
    }
    Ok(result)
}
