//! What the built-in plugins read from their part of a configuration.
//!
//! The keys are those of the reference plugins' manuals. A key that would
//! change what goes over the wire and that we do not have is refused, not
//! passed over: a network that is more open than its file says is a hole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::host_local;
use super::result::Dns;
use super::static_ipam;

/// A plugin that needs no program.
#[derive(Debug, Clone, PartialEq)]
pub enum Builtin {
    /// A veth pair between the pod and the host.
    Ptp(Ptp),
    /// A veth pair into a bridge.
    Bridge(Bridge),
    /// An interface of its own hardware address on a host interface.
    Macvlan(Macvlan),
    /// An interface that shares the hardware address of a host interface.
    Ipvlan(Ipvlan),
    /// The loopback interface.
    Loopback,
    /// This network carries the pod's forwarded ports.
    Portmap,
    /// Rate limits.
    Bandwidth(Bandwidth),
    /// Kernel parameters and settings of the interface.
    Tuning(Tuning),
    /// Which traffic may reach the pod.
    Firewall(Firewall),
    /// Whatever flannel's subnet file says, by another plugin.
    Flannel(Flannel),
}

impl Builtin {
    /// Reads the configuration of plugin `kind`; `None` if it is not built in.
    ///
    /// # Errors
    /// A key of the wrong type, or one that the built-in plugin does not have.
    pub fn parse(kind: &str, json: &str) -> Result<Option<Self>, serde_json::Error> {
        let refused: &[&str] = match kind {
            "bridge" => &[
                "macspoofchk",
                "disableContainerInterface",
                "uplinkInterface",
            ],
            "macvlan" => &["linkInContainer"],
            "ipvlan" => &["linkInContainer"],
            "portmap" => &["conditionsV4", "conditionsV6"],
            "bandwidth" => &["shapedSubnets", "unshapedSubnets"],
            _ => &[],
        };
        if !refused.is_empty() {
            let keys: Map<String, Value> = serde_json::from_str(json)?;
            for key in refused {
                if keys.get(*key).is_some_and(is_something) {
                    return Err(serde_json::Error::custom(format!(
                        "the built-in plugin {kind:?} has no {key:?}"
                    )));
                }
            }
        }
        Ok(Some(match kind {
            "ptp" => Self::Ptp(serde_json::from_str(json)?),
            "bridge" => Self::Bridge(serde_json::from_str(json)?),
            "macvlan" => Self::Macvlan(serde_json::from_str(json)?),
            "ipvlan" => Self::Ipvlan(serde_json::from_str(json)?),
            "loopback" => Self::Loopback,
            "portmap" => Self::Portmap,
            "bandwidth" => Self::Bandwidth(serde_json::from_str(json)?),
            "tuning" => Self::Tuning(serde_json::from_str(json)?),
            "firewall" => Self::Firewall(serde_json::from_str(json)?),
            "flannel" => Self::Flannel(serde_json::from_str(json)?),
            _ => return Ok(None),
        }))
    }

    /// Where the plugin gets addresses, if it is one that does.
    pub fn ipam(&self) -> Option<&Ipam> {
        match self {
            Self::Ptp(Ptp { ipam, .. })
            | Self::Bridge(Bridge { ipam, .. })
            | Self::Macvlan(Macvlan { ipam, .. })
            | Self::Ipvlan(Ipvlan { ipam, .. }) => Some(ipam),
            _ => None,
        }
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
    }
}

/// Where a pod's addresses come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Ipam {
    /// It gets none.
    #[default]
    None,
    /// From ranges, leased by files on this host.
    HostLocal(host_local::Config),
    /// From the configuration itself.
    Static(static_ipam::Config),
    /// From a program.
    Plugin(String),
}

impl<'de> Deserialize<'de> for Ipam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let read = match kind.as_str() {
            "" => return Ok(Self::None),
            "host-local" => serde_json::from_value(value).map(Self::HostLocal),
            "static" => serde_json::from_value(value).map(Self::Static),
            _ => return Ok(Self::Plugin(kind)),
        };
        read.map_err(|e| D::Error::custom(format!("ipam: {e}")))
    }
}

/// What masquerades. Both do the same, and the built-in plugins do it by
/// nftables whichever is named; any other name is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MasqBackend {
    /// nftables.
    #[serde(alias = "")]
    #[default]
    Nftables,
    /// iptables.
    Iptables,
}

/// Plugin `ptp`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ptp {
    /// Masquerade what leaves the network.
    pub ip_masq: bool,
    /// By what.
    pub ip_masq_backend: MasqBackend,
    /// MTU of the pair; 0 for the kernel's.
    pub mtu: u32,
    /// Addresses.
    pub ipam: Ipam,
    /// Name resolution.
    pub dns: Dns,
}

/// Plugin `bridge`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bridge {
    /// Name of the bridge.
    pub bridge: String,
    /// The bridge has the gateway's address.
    pub is_gateway: bool,
    /// And is the default route.
    pub is_default_gateway: bool,
    /// Take a foreign address of the same family off the bridge.
    pub force_address: bool,
    /// Masquerade what leaves the network.
    pub ip_masq: bool,
    /// By what.
    pub ip_masq_backend: MasqBackend,
    /// MTU of pair and bridge; 0 for the kernel's.
    pub mtu: u32,
    /// The bridge may send a frame back to the port it came from.
    pub hairpin_mode: bool,
    /// The bridge is promiscuous.
    pub promisc_mode: bool,
    /// The pods on the bridge cannot reach each other.
    pub port_isolation: bool,
    /// The VLAN that the pod's untagged frames belong to; 0 for none.
    pub vlan: VlanId,
    /// VLANs whose frames the pod sends and gets tagged.
    pub vlan_trunk: Vec<VlanRange>,
    /// The pod's port stays in the bridge's default VLAN, 1, too.
    pub preserve_default_vlan: bool,
    /// Addresses.
    pub ipam: Ipam,
    /// Name resolution.
    pub dns: Dns,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            bridge: "cni0".into(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            ip_masq_backend: MasqBackend::default(),
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            port_isolation: false,
            vlan: VlanId::default(),
            vlan_trunk: Vec::new(),
            preserve_default_vlan: true,
            ipam: Ipam::None,
            dns: Dns::default(),
        }
    }
}

/// The number of a VLAN, up to 4094; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(try_from = "u16")]
pub struct VlanId(pub u16);

impl TryFrom<u16> for VlanId {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        if number > 4094 {
            return Err(format!("{number} is no VLAN: they go up to 4094"));
        }
        Ok(Self(number))
    }
}

/// VLANs in a row, by `id` or by `minID` and `maxID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawVlanRange")]
pub struct VlanRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

#[derive(Deserialize)]
struct RawVlanRange {
    id: Option<VlanId>,
    #[serde(rename = "minID")]
    min: Option<VlanId>,
    #[serde(rename = "maxID")]
    max: Option<VlanId>,
}

impl TryFrom<RawVlanRange> for VlanRange {
    type Error = String;

    fn try_from(raw: RawVlanRange) -> Result<Self, String> {
        let (first, last) = match (raw.id, raw.min, raw.max) {
            (Some(id), None, None) => (id.0, id.0),
            (None, Some(min), Some(max)) => (min.0, max.0),
            _ => return Err("a VLAN trunk has \"id\", or \"minID\" and \"maxID\"".into()),
        };
        if first == 0 || first > last {
            return Err(format!("{first} to {last} are no VLANs"));
        }
        Ok(Self { first, last })
    }
}

/// Plugin `macvlan`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Macvlan {
    /// The host's interface; that of its default route if empty.
    pub master: String,
    /// How the interfaces on one master see each other.
    pub mode: MacvlanMode,
    /// Broadcasts that wait to be handed to the pods; 0 for the kernel's number.
    #[serde(rename = "bcqueuelen")]
    pub broadcast_queue: u32,
    /// MTU; 0 for the master's.
    pub mtu: u32,
    /// Addresses.
    pub ipam: Ipam,
    /// Name resolution.
    pub dns: Dns,
}

/// What macvlan interfaces on one master may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Talk to each other directly.
    #[serde(alias = "")]
    #[default]
    Bridge,
    /// Not talk to each other.
    Private,
    /// Talk to each other through the switch.
    Vepa,
    /// There is only one.
    Passthru,
}

/// Plugin `ipvlan`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipvlan {
    /// The host's interface; that of its default route if empty.
    pub master: String,
    /// At which layer packets are told apart.
    pub mode: IpvlanMode,
    /// MTU; 0 for the master's.
    pub mtu: u32,
    /// Addresses.
    pub ipam: Ipam,
    /// Name resolution.
    pub dns: Dns,
}

/// At which layer ipvlan interfaces on one master are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Link layer: broadcasts arrive.
    #[serde(alias = "")]
    #[default]
    L2,
    /// Network layer: the master routes.
    L3,
    /// The same, through the host's netfilter hooks.
    L3s,
}

/// Plugin `bandwidth`: rates in bits per second, bursts in bits; 0 for no
/// limit. "Ingress" is what the pod receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, try_from = "RawBandwidth")]
pub struct Bandwidth {
    /// Rate of what the pod receives.
    pub ingress_rate: u64,
    /// Burst of what the pod receives.
    pub ingress_burst: u64,
    /// Rate of what the pod sends.
    pub egress_rate: u64,
    /// Burst of what the pod sends.
    pub egress_burst: u64,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "camelCase", default)]
struct Rates {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBandwidth {
    #[serde(flatten)]
    rates: Rates,
    #[serde(default)]
    runtime_config: BandwidthRuntime,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BandwidthRuntime {
    bandwidth: Option<Rates>,
}

impl TryFrom<RawBandwidth> for Bandwidth {
    type Error = String;

    fn try_from(raw: RawBandwidth) -> Result<Self, String> {
        let rates = raw.runtime_config.bandwidth.unwrap_or(raw.rates);
        for (way, rate, burst) in [
            ("ingress", rates.ingress_rate, rates.ingress_burst),
            ("egress", rates.egress_rate, rates.egress_burst),
        ] {
            if (rate == 0) != (burst == 0) {
                return Err(format!("{way}Rate and {way}Burst go together"));
            }
            if rate != 0 && (rate < 8 || burst < 8) {
                return Err(format!("{way}Rate and {way}Burst are at least 8 bits"));
            }
            if burst / 8 > u64::from(u32::MAX) {
                return Err(format!("{way}Burst is more than 4 GiB"));
            }
        }
        Ok(Self {
            ingress_rate: rates.ingress_rate,
            ingress_burst: rates.ingress_burst,
            egress_rate: rates.egress_rate,
            egress_burst: rates.egress_burst,
        })
    }
}

/// Plugin `tuning`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tuning {
    /// Kernel parameters, all below `net`; `IFNAME` stands for the interface.
    pub sysctl: BTreeMap<Sysctl, String>,
    /// Hardware address.
    pub mac: String,
    /// Promiscuous.
    pub promisc: bool,
    /// All multicast.
    pub allmulti: Option<bool>,
    /// MTU; 0 to leave it.
    pub mtu: u32,
    /// Length of the transmit queue.
    pub tx_q_len: Option<u32>,
}

/// A kernel parameter below `net`, as a path below `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Sysctl(String);

impl Sysctl {
    /// The path below `/proc/sys`: it begins with `net/` and has no `..`.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sysctl {
    type Error = String;

    /// As sysctl(8) reads it: the first separator says which one separates.
    fn try_from(text: String) -> Result<Self, String> {
        let path: String = match text.find(['.', '/']) {
            Some(at) if text.as_bytes()[at] == b'.' => text
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
            _ => text.clone(),
        };
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() < 3
            || parts[0] != "net"
            || parts.iter().any(|p| matches!(*p, "" | "." | ".."))
        {
            return Err(format!("sysctl {text:?} is not below net"));
        }
        Ok(Self(path))
    }
}

/// Plugin `firewall`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Firewall {
    /// Who may open connections to the pod.
    pub ingress_policy: IngressPolicy,
}

/// Who may open connections to a pod: anyone is all that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct IngressPolicy;

impl TryFrom<String> for IngressPolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" | "open" => Ok(Self),
            _ => Err(format!(
                "ingressPolicy {text:?} is not built in; only \"open\" is"
            )),
        }
    }
}

/// Plugin `flannel`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Flannel {
    /// What flannel's daemon wrote.
    pub subnet_file: PathBuf,
    /// The configuration of the plugin that does the work.
    pub delegate: Map<String, Value>,
}

impl Default for Flannel {
    fn default() -> Self {
        Self {
            subnet_file: "/run/flannel/subnet.env".into(),
            delegate: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: &str, json: &str) -> String {
        Builtin::parse(kind, json).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_reference_plugins() {
        let Some(Builtin::Bridge(bridge)) = Builtin::parse("bridge", "{}").unwrap() else {
            panic!("bridge is built in");
        };
        assert_eq!(bridge.bridge, "cni0");
        let Some(Builtin::Macvlan(macvlan)) =
            Builtin::parse("macvlan", r#"{"master":"eth0","mode":""}"#).unwrap()
        else {
            panic!("macvlan is built in");
        };
        assert_eq!(macvlan.mode, MacvlanMode::Bridge);
        assert_eq!(Builtin::parse("calico", "{").unwrap(), None);
    }

    #[test]
    fn what_we_do_not_do_is_refused() {
        assert!(error("bridge", r#"{"macspoofchk":true}"#).contains("no \"macspoofchk\""));
        Builtin::parse("bridge", r#"{"macspoofchk":false}"#).unwrap();
        assert!(error("bridge", r#"{"vlan":4095}"#).contains("4095 is no VLAN"));
        assert!(
            error("bridge", r#"{"vlanTrunk":[{"minID":9,"maxID":3}]}"#).contains("are no VLANs")
        );
        assert!(error("bridge", r#"{"vlanTrunk":[{}]}"#).contains("has \"id\""));
        assert!(error("ptp", r#"{"ipMasqBackend":"ipchains"}"#).contains("unknown variant"));
        Builtin::parse("ptp", r#"{"ipMasqBackend":"iptables"}"#).unwrap();
        assert!(
            error("firewall", r#"{"ingressPolicy":"isolated"}"#)
                .contains("is not built in; only \"open\" is")
        );
        assert!(error("macvlan", r#"{"mode":"source"}"#).contains("unknown variant"));
        assert!(error("bandwidth", r#"{"ingressRate":1000}"#).contains("go together"));
        assert!(error("ptp", r#"{"ipam":{"type":"host-local"}}"#).contains("no subnet"));
    }

    #[test]
    fn sysctls_stay_below_net() {
        let path = |text: &str| Sysctl::try_from(text.to_owned()).map(|s| s.0);
        assert_eq!(path("net.core.somaxconn").unwrap(), "net/core/somaxconn");
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        for bad in [
            "kernel.panic",
            "net/../kernel/panic",
            "net",
            "net.core",
            "net//core/x",
            "/net/core/x",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_runtime_overrides_rates() {
        let Some(Builtin::Bandwidth(limits)) = Builtin::parse(
            "bandwidth",
            r#"{"ingressRate":8000,"ingressBurst":8000,
                "runtimeConfig":{"bandwidth":{"egressRate":16000,"egressBurst":8000}}}"#,
        )
        .unwrap() else {
            panic!("bandwidth is built in");
        };
        assert_eq!((limits.ingress_rate, limits.egress_rate), (0, 16000));
    }
}
