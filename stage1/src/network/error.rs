//! What can go wrong with a pod's network.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use manifests::cni::static_ipam::StaticError;
use manifests::cni::{ArgsError, CniError, ResultError};
use manifests::engine::Protocol;

use super::netlink::socket::Refusal;

/// Why a pod cannot join or leave a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a change of its network configuration.
    #[error("cannot {doing} {object}")]
    Kernel {
        /// What we were doing, as a verb.
        doing: &'static str,
        /// To what.
        object: String,
        /// What the kernel said.
        source: Refusal,
    },
    /// The kernel lacks something.
    #[error("this kernel has no {what}")]
    Missing {
        /// What it lacks.
        what: &'static str,
        /// What it said.
        source: Refusal,
    },
    /// A file could not be used.
    #[error("cannot {doing} {path}", path = .path.display())]
    File {
        /// What we were doing, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A plugin's program is nowhere.
    #[error("Could not find plugin {plugin:?} in {searched}")]
    NoPlugin {
        /// Its name.
        plugin: String,
        /// Where we looked.
        searched: String,
    },
    /// A plugin's program failed.
    #[error("plugin {plugin:?}, {command}")]
    Plugin {
        /// Its name.
        plugin: String,
        /// The CNI command.
        command: &'static str,
        /// How.
        source: PluginError,
    },
    /// A configuration that was right when it was read is not any more.
    #[error("configuration of plugin {plugin:?}")]
    Config {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The arguments given with `--net` are at fault.
    #[error("invalid arguments")]
    Args(#[from] ArgsError),
    /// There are no static addresses.
    #[error(transparent)]
    Static(#[from] StaticError),
    /// The caller asked for the gateway's address.
    #[error("requested IP must differ gateway IP")]
    RequestedGateway,
    /// The caller asked for an address that is not to be had.
    #[error("requested IP address {ip} is not available in network: {network}{}{holder}", if holder.is_empty() { "" } else { "; it is leased to " })]
    RequestedTaken {
        /// The address.
        ip: IpAddr,
        /// The network.
        network: String,
        /// Who has it; empty where nobody can have it.
        holder: String,
    },
    /// No address is left.
    #[error("no IP addresses available in network: {network}")]
    Exhausted {
        /// The network.
        network: String,
    },
    /// Somebody else is reached by the pod's address.
    #[error("address {ip} is taken: this host reaches it by interface {by}")]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// The interface.
        by: String,
    },
    /// A network's addresses are another one's, too.
    #[error("subnet {subnet} overlaps with {other} of {whose}")]
    Overlap {
        /// The network's.
        subnet: ipnet::IpNet,
        /// The other one's.
        other: ipnet::IpNet,
        /// Whose that is.
        whose: String,
    },
    /// A plugin cannot work without an address.
    #[error("plugin {plugin:?} needs an address for the pod, and ipam gave none")]
    NoAddress {
        /// The plugin.
        plugin: &'static str,
    },
    /// An interface of the bridge's name is something else.
    #[error("{name:?} exists and is no bridge")]
    NotABridge {
        /// The name.
        name: String,
    },
    /// The bridge has another network's address.
    #[error(
        "{bridge:?} already has the address {there}, different from {wanted} (\"forceAddress\": true replaces it)"
    )]
    ForeignAddress {
        /// The bridge.
        bridge: String,
        /// What it has.
        there: ipnet::IpNet,
        /// What it should have.
        wanted: ipnet::IpNet,
    },
    /// A plugin of a chain needs what no plugin before it made.
    #[error("plugin {plugin:?} must come after one that makes the interface")]
    NotFirst {
        /// The plugin.
        plugin: &'static str,
    },
    /// The value of a key makes no sense.
    #[error("plugin {plugin:?}: {key} {value:?} {problem}")]
    Value {
        /// The plugin.
        plugin: &'static str,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Somebody has the port.
    #[error("port {protocol} {ip}:{port} of the host is taken by {holder}")]
    PortTaken {
        /// The protocol.
        protocol: Protocol,
        /// The host's address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// Who.
        holder: String,
    },
    /// A port cannot be forwarded to where it should.
    #[error("port {name:?} cannot be forwarded: {reason}")]
    Port {
        /// The port's name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// What joining made is not there any more.
    #[error("{what} is missing")]
    Lost {
        /// What it is.
        what: String,
    },
    /// Any of these, of one network.
    #[error("network {name:?}")]
    Network {
        /// The network.
        name: String,
        /// Why.
        source: Box<Error>,
    },
}

/// How a plugin's program failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It could not be started or spoken to.
    #[error("cannot run {path}", path = .path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It did not end in time.
    #[error("no answer within {0} s")]
    Deadline(u64),
    /// We were asked to stop before it answered.
    #[error("interrupted")]
    Interrupted,
    /// It said what is wrong.
    #[error(transparent)]
    Said(CniError),
    /// It ended badly without saying why in CNI's words.
    #[error("{how}{}{said}", if said.is_empty() { "" } else { ": " })]
    Ended {
        /// How it ended.
        how: String,
        /// The beginning of what it printed.
        said: String,
    },
    /// What it printed is no result.
    #[error("answered {said:?}")]
    Rubbish {
        /// The beginning of it.
        said: String,
        /// What is wrong with it.
        source: ResultError,
    },
}

/// What this module's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: the kernel refused while `doing` something to `object`.
    pub(crate) fn kernel<E: Into<Refusal>>(
        doing: &'static str,
        object: impl ToString,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Kernel {
            doing,
            object: object.to_string(),
            source: source.into(),
        }
    }

    /// For `map_err`: a file that could not be used.
    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File {
            doing,
            path: path.into(),
            source: source.into(),
        }
    }

    /// The error of a network.
    pub(crate) fn of(self, name: &str) -> Self {
        Self::Network {
            name: name.to_owned(),
            source: Box::new(self),
        }
    }

    /// The error and its causes as one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            line.push_str(": ");
            line.push_str(text.split(" (os error ").next().unwrap_or(&text));
            cause = error.source();
        }
        line
    }
}
