//! From flags to a running pod: what `run` and `run-prepared` have in common.

use manifests::engine::{Ipc, Network};
use manifests::network::{DnsFlags, Hosts, NetChoice, Resolver};
use stage0::networks;
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
    let resolver = Resolver::parse(&dns)?;
    Ok(Runtime {
        hostname: flags.hostname.clone(),
        network: network(&flags.net, &resolver, context)?,
        ipc: match flags.ipc.as_str() {
            "parent" => Ipc::Parent,
            _ => Ipc::Private,
        },
        resolver,
        hosts: Hosts::parse(flags.hosts_entry.iter().map(String::as_str))?,
        interactive: flags.interactive,
        insecure: context.insecure(),
    })
}

fn network(values: &[String], resolver: &Resolver, context: &Context) -> Result<Network, Failure> {
    if values.is_empty() {
        return Ok(DEFAULT_NETWORK);
    }
    let choice = NetChoice::parse(values.iter().map(String::as_str))?;
    let tell = &mut |text: &str| context.tell(text);
    Ok(networks::plan(
        &choice,
        &context.network_layers(),
        resolver,
        tell,
    )?)
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
