//! `bandwidth`: token buckets at the host's end of a pair.
//!
//! What the pod receives is what the host's end sends, which can be queued
//! there. What the pod sends is received at the host's end, where nothing can
//! be queued: it is led through an `ifb` interface, whose queue is out of the
//! pod's reach.

use manifests::cni::plugins::Bandwidth;
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::netlink::link::{self, New, NewKind};
use super::super::netlink::traffic;
use super::super::session::{Attach, Session};

/// Limits.
pub(super) fn add(session: &mut Session<'_>, config: Bandwidth, attach: Attach<'_>) -> Result<()> {
    if config.ingress_rate == 0 && config.egress_rate == 0 {
        return Ok(());
    }
    let host = host_end(session, attach)?;
    let limit = Error::kernel("limit the rate of", &host.name);
    let mut requests = Vec::new();
    if config.ingress_rate != 0 {
        requests.push(traffic::token_bucket(
            host.index,
            config.ingress_rate,
            config.ingress_burst,
        ));
    }
    if config.egress_rate != 0 {
        let name = session.host_name("ifb", attach);
        let new = New {
            name: &name,
            mtu: host.mtu,
            mac: None,
            netns: None,
            kind: NewKind::Ifb,
        };
        let ifb = new.create_here(&mut session.host).map_err(super::missing(
            "ifb interfaces (CONFIG_IFB); try \"modprobe ifb\", or set no \"egressRate\"",
            "create interface",
            &name,
        ))?;
        requests.push(traffic::token_bucket(
            ifb.index,
            config.egress_rate,
            config.egress_burst,
        ));
        requests.extend(traffic::redirect_received(host.index, ifb.index));
    }
    match session.host.request(requests) {
        Err(source) if source.is(Errno::NOENT) || source.is(Errno::OPNOTSUPP) => {
            Err(Error::Missing {
                what: "traffic control by tbf, ingress, u32 and mirred (CONFIG_NET_SCH_TBF, CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED); leave plugin \"bandwidth\" out to go without",
                source,
            })
        }
        other => other.map_err(limit),
    }
}

/// The host's end of the pod's interface, whoever made the pair.
fn host_end(session: &mut Session<'_>, attach: Attach<'_>) -> Result<link::Link> {
    let find = Error::kernel("find the pod's interface", attach.if_name);
    let inner = link::get(session.inside()?, attach.if_name).map_err(find)?;
    if inner.kind != "veth" {
        return Err(Error::Value {
            plugin: "bandwidth",
            key: "interface",
            value: inner.kind,
            problem: "has no end in the host whose rate could be limited",
        });
    }
    link::get_index(&mut session.host, inner.peer)
        .map_err(Error::kernel("find the host's end of", attach.if_name))
}
