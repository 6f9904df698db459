//! Isolators: what bounds an app or a pod.
//!
//! Source: appc specification, "Isolators" and "Linux Isolators"; the reference
//! library adds `oom-score-adj` and `cpu-shares`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::AcIdentifier;
use super::quantity::Quantity;

/// One isolator, its value checked if we know its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resource {
    /// What is guaranteed; the limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Quantity>,
    /// What is never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
}

/// Value of the isolators that slow down: for all devices or interfaces alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Throttle {
    /// What is never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Quantity>,
}

/// Capabilities by name, as `CAP_KILL`; not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet {
    /// The names as written.
    pub set: Vec<String>,
}

/// System calls and what becomes of those that are filtered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompSet {
    /// Names of system calls and groups (`@scope/name`); not empty.
    pub set: Vec<String>,
    /// Name of the error that a filtered call returns; the process is killed
    /// with SIGSYS if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}

/// The parts of an SELinux label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppArmorProfile {
    /// The name; not empty.
    pub profile: String,
}
