//! `net-info.json` in the pod directory: the networks that a pod has joined,
//! for `rkt list` and `rkt status`.
//!
//! Source: rkt's configuration reference, "Set-up and tear-down sequence".

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Name of the file: a JSON array of [`NetInfo`], one for each interface.
pub const FILE: &str = "net-info.json";

/// One joined network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetInfo {
    /// The network's name.
    pub net_name: String,
    /// The copy of its configuration in the pod directory.
    pub net_conf: PathBuf,
    /// The program of its first plugin; empty for a built-in one.
    pub plugin_path: PathBuf,
    /// Name of the interface in the pod.
    pub if_name: String,
    /// The first address; absent when the network gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Arguments given with `--net`.
    pub args: String,
    /// The first address's network mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<IpAddr>,
    /// All addresses, with the lengths of their networks' prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpNet>,
}

impl NetInfo {
    /// The mask of `net`, as `ip` and `mask` are written.
    pub fn mask_of(net: IpNet) -> IpAddr {
        match net {
            IpNet::V4(net) => IpAddr::V4(net.netmask()),
            IpNet::V6(net) => IpAddr::V6(net.netmask()),
        }
    }
}
