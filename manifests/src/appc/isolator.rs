//! Isolators: what bounds an app or a pod.
//!
//! Source: appc specification, "Isolators" and "Linux Isolators"; the reference
//! library adds `oom-score-adj` and `cpu-shares`.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::decode::{Decode, Node, Object, Result, deserialize_by_decode};
use super::name::AcIdentifier;
use super::quantity::Quantity;

/// One isolator, its value checked if we know its name.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "name", content = "value")]
pub enum Isolator {
    /// Cores: 1 is one second of processor time per second.
    #[serde(rename = "resource/cpu")]
    Cpu(Resource),
    /// Bytes.
    #[serde(rename = "resource/memory")]
    Memory(Resource),
    /// Bytes per second, reading and writing, on every block device.
    #[serde(rename = "resource/block-bandwidth")]
    BlockBandwidth(Throttle),
    /// Operations per second, on every block device.
    #[serde(rename = "resource/block-iops")]
    BlockIops(Throttle),
    /// Bytes per second, on every interface but loopback.
    #[serde(rename = "resource/network-bandwidth")]
    NetworkBandwidth(Throttle),
    /// The capabilities an app keeps, and no others.
    #[serde(rename = "os/linux/capabilities-retain-set")]
    CapabilitiesRetain(CapabilitySet),
    /// The capabilities an app loses out of the default set.
    #[serde(rename = "os/linux/capabilities-remove-set")]
    CapabilitiesRemove(CapabilitySet),
    /// The system calls an app may make, and no others.
    #[serde(rename = "os/linux/seccomp-retain-set")]
    SeccompRetain(SeccompSet),
    /// The system calls an app must not make.
    #[serde(rename = "os/linux/seccomp-remove-set")]
    SeccompRemove(SeccompSet),
    /// Whether set-user-ID programs and the like lose their power.
    #[serde(rename = "os/linux/no-new-privileges")]
    NoNewPrivileges(bool),
    /// The SELinux label of the processes.
    #[serde(rename = "os/linux/selinux-context")]
    SeLinuxContext(SeLinuxContext),
    /// The AppArmor profile of the processes.
    #[serde(rename = "os/linux/apparmor-profile")]
    AppArmorProfile(AppArmorProfile),
    /// Value of the processes' `oom_score_adj`, −1000 to 1000.
    #[serde(rename = "os/linux/oom-score-adj")]
    OomScoreAdj(i32),
    /// Relative weight of processor time, 2 to 262144; 1024 is usual.
    #[serde(rename = "os/linux/cpu-shares")]
    CpuShares(u64),
    /// Kernel parameters of the pod's namespaces.
    #[serde(rename = "os/unix/sysctl")]
    Sysctl(BTreeMap<String, String>),
    /// One that we don't know: kept as it is and reported.
    #[serde(untagged)]
    Unknown {
        /// Its name.
        name: AcIdentifier,
        /// Its value, whatever it means.
        value: Value,
    },
}

/// Value of the isolators that guarantee and bound.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Resource {
    /// What is guaranteed; the limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Quantity>,
    /// What is never exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
}

/// Value of the isolators that slow down: for all devices or interfaces alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Throttle {
    /// What is never exceeded.
    pub limit: Option<Quantity>,
}

/// Capabilities by name, as `CAP_KILL`; not empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CapabilitySet {
    /// The names as written.
    pub set: Vec<String>,
}

/// System calls and what becomes of those that are filtered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SeccompSet {
    /// Names of system calls and groups (`@scope/name`); not empty.
    pub set: Vec<String>,
    /// Name of the error that a filtered call returns; the process is killed
    /// with SIGSYS if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}

/// The parts of an SELinux label.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SeLinuxContext {
    /// SELinux user.
    pub user: String,
    /// Role.
    pub role: String,
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Level, which may hold colons.
    pub level: String,
}

/// Name of a profile that the host has loaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AppArmorProfile {
    /// The name; not empty.
    pub profile: String,
}

deserialize_by_decode!(Isolator);

impl Isolator {
    /// The name in the manifest.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu(_) => "resource/cpu",
            Self::Memory(_) => "resource/memory",
            Self::BlockBandwidth(_) => "resource/block-bandwidth",
            Self::BlockIops(_) => "resource/block-iops",
            Self::NetworkBandwidth(_) => "resource/network-bandwidth",
            Self::CapabilitiesRetain(_) => "os/linux/capabilities-retain-set",
            Self::CapabilitiesRemove(_) => "os/linux/capabilities-remove-set",
            Self::SeccompRetain(_) => "os/linux/seccomp-retain-set",
            Self::SeccompRemove(_) => "os/linux/seccomp-remove-set",
            Self::NoNewPrivileges(_) => "os/linux/no-new-privileges",
            Self::SeLinuxContext(_) => "os/linux/selinux-context",
            Self::AppArmorProfile(_) => "os/linux/apparmor-profile",
            Self::OomScoreAdj(_) => "os/linux/oom-score-adj",
            Self::CpuShares(_) => "os/linux/cpu-shares",
            Self::Sysctl(_) => "os/unix/sysctl",
            Self::Unknown { name, .. } => name.as_str(),
        }
    }

    /// Whether a list may hold it only once.
    fn stands_alone(&self) -> bool {
        matches!(
            self,
            Self::SeccompRetain(_)
                | Self::SeccompRemove(_)
                | Self::SeLinuxContext(_)
                | Self::AppArmorProfile(_)
                | Self::OomScoreAdj(_)
                | Self::CpuShares(_)
                | Self::Sysctl(_)
        )
    }

    /// Whether the two contradict each other by their names alone.
    fn excludes(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::SeccompRetain(_), Self::SeccompRemove(_))
                | (Self::SeccompRemove(_), Self::SeccompRetain(_))
                | (Self::CapabilitiesRetain(_), Self::CapabilitiesRemove(_))
                | (Self::CapabilitiesRemove(_), Self::CapabilitiesRetain(_))
        )
    }
}

/// The member `isolators` by the rules for lists of isolators, in apps and in
/// pods alike.
pub(super) fn decode_list(object: &Object<'_>) -> Result<Vec<Isolator>> {
    let list = object.optional("isolators", |list| {
        // One of each kind that says something about others, so a handful.
        let mut seen: Vec<Isolator> = Vec::new();
        list.each(|node| {
            let isolator = Isolator::decode(node)?;
            let same = seen.iter().any(|i| i.name() == isolator.name());
            if same && isolator.stands_alone() {
                return Err(node.repeated(isolator.name()));
            }
            if let Some(other) = seen.iter().find(|i| i.excludes(&isolator)) {
                return Err(node.invalid(format_args!(
                    "{} cannot stand beside {}",
                    isolator.name(),
                    other.name()
                )));
            }
            if !same && !matches!(isolator, Isolator::Unknown { .. }) {
                seen.push(isolator.clone());
            }
            Ok(isolator)
        })
    })?;
    Ok(list.unwrap_or_default())
}

impl Decode for Isolator {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let name: AcIdentifier = object.need("name")?.parse()?;
        let value = object.need("value")?;
        Ok(match name.as_str() {
            "resource/cpu" => Self::Cpu(Resource::decode(&value)?),
            "resource/memory" => Self::Memory(Resource::decode(&value)?),
            "resource/block-bandwidth" => Self::BlockBandwidth(Throttle::decode(&value)?),
            "resource/block-iops" => Self::BlockIops(Throttle::decode(&value)?),
            "resource/network-bandwidth" => Self::NetworkBandwidth(Throttle::decode(&value)?),
            "os/linux/capabilities-retain-set" => {
                Self::CapabilitiesRetain(CapabilitySet::decode(&value)?)
            }
            "os/linux/capabilities-remove-set" => {
                Self::CapabilitiesRemove(CapabilitySet::decode(&value)?)
            }
            "os/linux/seccomp-retain-set" => Self::SeccompRetain(SeccompSet::decode(&value)?),
            "os/linux/seccomp-remove-set" => Self::SeccompRemove(SeccompSet::decode(&value)?),
            "os/linux/no-new-privileges" => Self::NoNewPrivileges(value.bool()?),
            "os/linux/selinux-context" => Self::SeLinuxContext(SeLinuxContext::decode(&value)?),
            "os/linux/apparmor-profile" => Self::AppArmorProfile(AppArmorProfile {
                profile: value.object()?.nonempty("profile")?,
            }),
            "os/linux/oom-score-adj" => {
                let number = value.signed()?;
                match i32::try_from(number) {
                    Ok(n @ -1000..=1000) => Self::OomScoreAdj(n),
                    _ => {
                        return Err(
                            value.invalid(format_args!("{number} is not within -1000..1000"))
                        );
                    }
                }
            }
            "os/linux/cpu-shares" => match value.unsigned()? {
                shares @ 2..=262_144 => Self::CpuShares(shares),
                number => {
                    return Err(value.invalid(format_args!("{number} is not within 2..262144")));
                }
            },
            "os/unix/sysctl" => Self::Sysctl(value.string_map()?),
            _ => Self::Unknown {
                value: value.raw().clone(),
                name,
            },
        })
    }
}

impl Decode for Resource {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        if object.flag("default")? {
            return Err(node.invalid("\"default\" must not be true for this isolator"));
        }
        let quantity = |name| object.optional(name, positive);
        let resource = Self {
            request: quantity("request")?,
            limit: quantity("limit")?,
        };
        if let (Some(request), Some(limit)) = (resource.request, resource.limit)
            && request > limit
        {
            return Err(node.invalid(format_args!("request {request} exceeds limit {limit}")));
        }
        Ok(resource)
    }
}

impl Decode for Throttle {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        if !object.flag("default")? {
            return Err(node.invalid("\"default\" must be true for this isolator"));
        }
        if let Some(request) = object.get("request") {
            return Err(request.invalid("this isolator has a limit only"));
        }
        Ok(Self {
            limit: object.optional("limit", positive)?,
        })
    }
}

impl Serialize for Throttle {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("default", &true)?;
        if let Some(limit) = &self.limit {
            map.serialize_entry("limit", limit)?;
        }
        map.end()
    }
}

fn positive(node: &Node<'_>) -> Result<Quantity> {
    let quantity = Quantity::decode(node)?;
    if quantity.is_negative() {
        return Err(node.invalid(format_args!("{quantity} is negative")));
    }
    Ok(quantity)
}

/// The member `set`, a list with something in it.
fn decode_set(object: &Object<'_>) -> Result<Vec<String>> {
    let node = object.need("set")?;
    let set = node.strings()?;
    if set.is_empty() {
        return Err(node.invalid("must not be empty"));
    }
    Ok(set)
}

impl Decode for CapabilitySet {
    fn decode(node: &Node<'_>) -> Result<Self> {
        Ok(Self {
            set: decode_set(&node.object()?)?,
        })
    }
}

impl Decode for SeccompSet {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            set: decode_set(&object)?,
            errno: object.optional("errno", decode_errno)?.flatten(),
        })
    }
}

/// The form of an error's name; which names exist, the system knows.
fn decode_errno(node: &Node<'_>) -> Result<Option<String>> {
    let name = node.str()?;
    let form = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    match name {
        "" => Ok(None),
        _ if name.starts_with('E') && name.bytes().all(form) => Ok(Some(name.to_owned())),
        _ => Err(node.invalid(format_args!(
            "{name:?} is not the name of an error, as EPERM"
        ))),
    }
}

impl Decode for SeLinuxContext {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let part = |name| {
            let part = object.nonempty(name)?;
            match part.contains(':') {
                true => Err(object
                    .need(name)?
                    .invalid(format_args!("{part:?} holds a colon"))),
                false => Ok(part),
            }
        };
        Ok(Self {
            user: part("user")?,
            role: part("role")?,
            type_: part("type")?,
            level: object.nonempty("level")?,
        })
    }
}

impl std::fmt::Display for SeLinuxContext {
    /// The label, `user:role:type:level`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}:{}:{}",
            self.user, self.role, self.type_, self.level
        )
    }
}
