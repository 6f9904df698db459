//! What the command line says about a pod's network: `--net`, `--port`,
//! `--dns…`, `--hosts-entry`.
//!
//! Source: rkt's command-line reference, "Pod-wide value grammars".

mod choice;
mod hosts;
mod ports;
mod resolver;

pub use choice::{NetChoice, NetError};
pub use hosts::{Hosts, HostsError, extend as extend_hosts, render as render_hosts};
pub use ports::{
    Declared, PortError, PortFlag, check_exposed, parse_exposed, resolve as resolve_ports,
};
pub use resolver::{DnsFlags, Resolver, ResolverError, render as render_resolv_conf};
