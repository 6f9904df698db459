//! What a plugin answers, whatever version it speaks.
//!
//! Inside there is one form, that of 1.1.0; the older ones are read into it and
//! written from it, because a chain hands each plugin the result of the one
//! before in the version that the configuration names.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::version::{UnknownVersion, Version};

/// What ADD made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CniResult {
    /// Interfaces, in the host or in the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What the network says about name resolution.
    pub dns: Dns,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The network namespace it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Socket of a virtio interface.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// PCI address of the device.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// One address of the pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpConfig {
    /// The address and the length of its network's prefix.
    pub address: IpNet,
    /// The way out of that network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Index into [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// One route of the pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// Next hop; the network's gateway if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// MTU of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope, as the kernel numbers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl Route {
    /// A route to `dst` with nothing special.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// Name resolution, as resolv.conf(5) knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Where to look up short names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a plugin that failed prints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, thiserror::Error)]
#[serde(default)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { "; " })]
pub struct CniError {
    /// Number of the error; below 100 they are the specification's.
    pub code: u32,
    /// A short message.
    pub msg: String,
    /// A long one.
    pub details: String,
}

/// Why a plugin's output is not a result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Not JSON, or of the wrong shape.
    #[error("not a CNI result")]
    Json(#[from] serde_json::Error),
    /// In a version that we do not speak.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
}

/// Results before 0.3.0.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Legacy {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<LegacyIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<LegacyIp>,
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct LegacyIp {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

impl CniResult {
    /// Reads what a plugin printed. Output that is empty, or that has no
    /// address, is a result without one.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn parse(text: &str) -> Result<Self, ResultError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let object: Map<String, Value> = serde_json::from_str(text)?;
        let version: Version = match object.get("cniVersion") {
            Some(Value::String(text)) => text.parse()?,
            // 0.1.0 did not ask for it; whoever has `ips` is newer than that.
            _ if object.contains_key("ips") => Version::V0_3_0,
            _ => Version::V0_1_0,
        };
        if version >= Version::V0_3_0 {
            return Ok(serde_json::from_str(text)?);
        }
        let legacy: Legacy = serde_json::from_str(text)?;
        let mut result = Self {
            dns: legacy.dns,
            ..Self::default()
        };
        for ip in [legacy.ip4, legacy.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                address: ip.ip,
                gateway: ip.gateway,
                interface: None,
            });
            result.routes.extend(ip.routes);
        }
        Ok(result)
    }

    /// As plugins of `version` write it.
    pub fn to_json(&self, version: Version) -> Value {
        if version < Version::V0_3_0 {
            return self.to_legacy(version);
        }
        let mut value = json!(self);
        value["cniVersion"] = json!(version);
        if version < Version::V1_0_0
            && let Some(ips) = value.get_mut("ips").and_then(Value::as_array_mut)
        {
            for (json, ip) in ips.iter_mut().zip(&self.ips) {
                json["version"] = json!(if ip.address.addr().is_ipv4() {
                    "4"
                } else {
                    "6"
                });
            }
        }
        value
    }

    fn to_legacy(&self, version: Version) -> Value {
        let family = |v4: bool| {
            let ip = self
                .ips
                .iter()
                .find(|ip| ip.address.addr().is_ipv4() == v4)?;
            Some(LegacyIp {
                ip: ip.address,
                gateway: ip.gateway,
                routes: self
                    .routes
                    .iter()
                    .filter(|route| route.dst.addr().is_ipv4() == v4)
                    .cloned()
                    .collect(),
            })
        };
        let mut value = json!(Legacy {
            ip4: family(true),
            ip6: family(false),
            dns: self.dns.clone()
        });
        value["cniVersion"] = json!(version);
        value
    }

    /// The pod's addresses of one family.
    pub fn addresses(&self, v4: bool) -> impl Iterator<Item = IpAddr> + '_ {
        self.ips
            .iter()
            .map(|ip| ip.address.addr())
            .filter(move |ip| ip.is_ipv4() == v4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = r#"{"cniVersion":"1.0.0",
        "interfaces":[{"name":"eth0","mac":"0a:58:0a:01:00:02","sandbox":"/run/netns/x"}],
        "ips":[{"address":"10.1.0.2/16","gateway":"10.1.0.1","interface":0},
               {"address":"fd00::2/64"}],
        "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"fd00::1"}],
        "dns":{"nameservers":["10.1.0.1"]}}"#;

    #[test]
    fn every_version_carries_the_addresses_through() {
        let result = CniResult::parse(NEW).unwrap();
        assert_eq!(result.ips.len(), 2);
        for version in [
            "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
        ] {
            let json = result.to_json(version.parse().unwrap());
            assert_eq!(json["cniVersion"], version);
            let back = CniResult::parse(&json.to_string()).unwrap();
            assert_eq!(back.routes, result.routes, "{version}");
            assert_eq!(back.dns, result.dns, "{version}");
            let addresses = |r: &CniResult| r.ips.iter().map(|ip| ip.address).collect::<Vec<_>>();
            assert_eq!(addresses(&back), addresses(&result), "{version}");
        }
        assert_eq!(result.to_json(Version::V0_4_0)["ips"][1]["version"], "6");
        assert!(
            result.to_json(Version::V1_0_0)["ips"][1]
                .get("version")
                .is_none()
        );
    }

    #[test]
    fn old_output_without_a_version_is_read() {
        let result = CniResult::parse(
            r#"{"ip4":{"ip":"172.16.28.2/24","gateway":"172.16.28.1","routes":[{"dst":"0.0.0.0/0"}]}}"#,
        )
        .unwrap();
        assert_eq!(result.ips[0].address.to_string(), "172.16.28.2/24");
        assert_eq!(result.routes.len(), 1);
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(CniResult::parse("hello").is_err());
        assert!(CniResult::parse(r#"{"cniVersion":"9.0.0"}"#).is_err());
        assert!(CniResult::parse(r#"{"ips":[{"address":"10.1"}]}"#).is_err());
        assert_eq!(CniResult::parse("  \n").unwrap(), CniResult::default());
    }

    #[test]
    fn an_error_reads_as_one_line() {
        let error: CniError =
            serde_json::from_str(r#"{"code":7,"msg":"no","details":"really"}"#).unwrap();
        assert_eq!(error.to_string(), "no; really");
    }
}
