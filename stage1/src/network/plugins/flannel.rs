//! `flannel`: what flannel's daemon wrote about this host's subnet, handed to
//! another plugin.
//!
//! Source: flannel's CNI plugin.

use std::fs;

use ipnet::IpNet;
use manifests::cni::plugins::Flannel;
use manifests::cni::{CniResult, Plugin};
use serde_json::{Map, Value, json};

use super::super::error::{Error, Result};
use super::super::record;
use super::super::session::{Attach, Session};

/// Joins by the delegate.
pub(super) fn add(
    session: &mut Session<'_>,
    config: &Flannel,
    attach: Attach<'_>,
) -> Result<CniResult> {
    let path = &config.subnet_file;
    let text = fs::read_to_string(path).map_err(Error::file("read flannel's subnet file", path))?;
    let subnet = Subnet::parse(&text).map_err(|key| Error::Value {
        plugin: "flannel",
        key,
        value: path.display().to_string(),
        problem: "is missing from this file, or no value for it",
    })?;
    let plugin = delegate(config.delegate.clone(), &subnet);
    if plugin.kind == "flannel" {
        return Err(Error::Value {
            plugin: "flannel",
            key: "delegate.type",
            value: plugin.kind,
            problem: "cannot be the delegate",
        });
    }
    // Written down, because the file may be another one when the pod leaves.
    record::delegate(session.pod, attach.if_name, &plugin)?;
    super::add(session, &plugin, attach, None)
}

/// Leaves by the delegate that joined.
pub(super) fn del(
    session: &mut Session<'_>,
    attach: Attach<'_>,
    known: Option<&CniResult>,
) -> Result<()> {
    match record::delegate_of(session.pod, attach.if_name) {
        Some(plugin) => super::del(session, &plugin, attach, known),
        // It did not come to taking anything.
        None => Ok(()),
    }
}

/// What `subnet.env` says.
#[derive(Debug, PartialEq)]
struct Subnet {
    networks: Vec<IpNet>,
    subnets: Vec<IpNet>,
    mtu: u32,
    ip_masq: bool,
}

impl Subnet {
    /// The name of the offending key is the error.
    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let get = |key: &str| {
            text.lines()
                .filter_map(|line| line.trim().split_once('='))
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.trim())
        };
        let nets = |keys: [&'static str; 2]| {
            let mut found = Vec::new();
            for key in keys {
                for value in get(key)
                    .unwrap_or_default()
                    .split(',')
                    .filter(|v| !v.is_empty())
                {
                    found.push(value.parse::<IpNet>().map_err(|_| key)?);
                }
            }
            if found.is_empty() {
                Err(keys[0])
            } else {
                Ok(found)
            }
        };
        Ok(Self {
            networks: nets(["FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"])?,
            subnets: nets(["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"])?,
            mtu: get("FLANNEL_MTU")
                .and_then(|v| v.parse().ok())
                .ok_or("FLANNEL_MTU")?,
            ip_masq: get("FLANNEL_IPMASQ")
                .and_then(|v| v.parse().ok())
                .ok_or("FLANNEL_IPMASQ")?,
        })
    }
}

/// The delegate's configuration: what the file says, under what the
/// configuration says.
fn delegate(mut keys: Map<String, Value>, subnet: &Subnet) -> Plugin {
    let kind = match keys.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => "bridge".to_owned(),
    };
    keys.remove("name");
    // Masquerading is the delegate's exactly when it is not flannel's.
    keys.entry("ipMasq").or_insert(json!(!subnet.ip_masq));
    keys.entry("mtu").or_insert(json!(subnet.mtu));
    if kind == "bridge" {
        keys.entry("isGateway").or_insert(json!(true));
    }
    let ranges: Vec<Value> = subnet
        .subnets
        .iter()
        .map(|net| json!([{ "subnet": net.trunc() }]))
        .collect();
    let routes: Vec<Value> = subnet
        .networks
        .iter()
        .map(|net| json!({ "dst": net }))
        .collect();
    let ipam = keys.entry("ipam").or_insert(json!({}));
    if let Some(ipam) = ipam.as_object_mut() {
        ipam.insert("type".into(), json!("host-local"));
        ipam.insert("ranges".into(), json!(ranges));
        let all = ipam.entry("routes").or_insert(json!([]));
        if let Some(all) = all.as_array_mut() {
            all.extend(routes);
        }
    }
    Plugin { kind, keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn the_delegate_is_a_bridge_with_the_host_s_subnet() {
        let plugin = delegate(Map::new(), &Subnet::parse(FILE).unwrap());
        assert_eq!(plugin.kind, "bridge");
        assert_eq!(plugin.keys["isGateway"], true);
        assert_eq!(plugin.keys["ipMasq"], false);
        assert_eq!(plugin.keys["mtu"], 1450);
        assert_eq!(
            plugin.keys["ipam"],
            json!({"type":"host-local","ranges":[[{"subnet":"10.1.17.0/24"}]],"routes":[{"dst":"10.1.0.0/16"}]})
        );
    }

    #[test]
    fn the_configuration_wins_over_the_file() {
        let keys = json!({"type":"ptp","mtu":1400,"ipMasq":true})
            .as_object()
            .unwrap()
            .clone();
        let plugin = delegate(keys, &Subnet::parse(FILE).unwrap());
        assert_eq!(plugin.kind, "ptp");
        assert_eq!(
            (&plugin.keys["mtu"], &plugin.keys["ipMasq"]),
            (&json!(1400), &json!(true))
        );
        assert!(!plugin.keys.contains_key("isGateway"));
    }

    #[test]
    fn what_the_file_lacks_is_named() {
        for key in [
            "FLANNEL_NETWORK",
            "FLANNEL_SUBNET",
            "FLANNEL_MTU",
            "FLANNEL_IPMASQ",
        ] {
            let text: String = FILE
                .lines()
                .filter(|l| !l.starts_with(key))
                .map(|l| format!("{l}\n"))
                .collect();
            assert_eq!(Subnet::parse(&text), Err(key));
        }
        assert_eq!(
            Subnet::parse(&FILE.replace("1450", "many")),
            Err("FLANNEL_MTU")
        );
    }
}
