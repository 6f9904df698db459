//! From flags to a running pod: what `run` and `run-prepared` have in common.

use manifests::engine::{Ipc, Network};
use manifests::network::{DnsFlags, Hosts, NetChoice, Resolver};
use stage0::start::Runtime;

use crate::cli::{Context, RuntimeFlags};
use crate::failure::Failure;

/// The network of a pod for which none is asked.
const DEFAULT_NETWORK: Network = Network::None;

/// What the flags mean.
pub(crate) fn runtime(flags: &RuntimeFlags, context: &Context) -> Result<Runtime, Failure> {
    let dns = DnsFlags {
        servers: flags.dns.clone(),
        search: flags.dns_search.clone(),
        options: flags.dns_opt.clone(),
        domain: flags.dns_domain.clone().unwrap_or_default(),
    };
    Ok(Runtime {
        hostname: flags.hostname.clone(),
        network: network(&flags.net)?,
        ipc: match flags.ipc.as_str() {
            "parent" => Ipc::Parent,
            _ => Ipc::Private,
        },
        resolver: Resolver::parse(&dns)?,
        hosts: Hosts::parse(flags.hosts_entry.iter().map(String::as_str))?,
        interactive: flags.interactive,
        insecure: context.insecure(),
    })
}

fn network(values: &[String]) -> Result<Network, Failure> {
    if values.is_empty() {
        return Ok(DEFAULT_NETWORK);
    }
    match NetChoice::parse(values.iter().map(String::as_str))? {
        NetChoice::Host => Ok(Network::Host),
        NetChoice::None => Ok(Network::None),
        NetChoice::All | NetChoice::Named(_) => Err(Failure::new(format!(
            "network {:?} is not available: this version knows --net=none and --net=host",
            values.join(",")
        ))),
    }
}

/// Ports lead nowhere without a network of the pod's own.
pub(crate) fn check_ports(ports: usize, network: &Network) -> Result<(), Failure> {
    let name = match network {
        Network::None => "none",
        Network::Host => "host",
        Network::Private(_) => return Ok(()),
    };
    if ports == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "--port flag does not work with '{name}' networking"
    )))
}
