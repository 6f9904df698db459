//! Volumes: directories and files that apps share with each other or the host.

use serde::{Deserialize, Serialize};

use super::name::AcName;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Unique in the pod; mounts and mount points refer to it.
    pub name: AcName,
    /// Where the content comes from.
    #[serde(flatten)]
    pub source: VolumeSource,
    /// Whether apps only read; the mount point decides if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum VolumeSource {
    /// A file, directory or device of the host.
    Host {
        /// Absolute path on the host.
        source: String,
        /// Whether mounts below it come along; yes if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recursive: Option<bool>,
    },
    /// A new directory that lives as long as the pod.
    Empty {
        /// Permission bits, at most 07777.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl VolumeSource {
    /// An empty volume as the specification makes it: 0755, 0:0.
    pub fn empty() -> Self {
        Self::Empty {
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }
}
