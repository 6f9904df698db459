//! The pod manifest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::app::{App, Port};
use super::isolator::Isolator;
use super::label::{Annotation, Label};
use super::name::{AcIdentifier, AcName, AcVersion};
use super::volume::Volume;
use crate::image_id::PartialImageId;

/// What runs together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "acKind", rename_all = "camelCase")]
pub struct PodManifest {
    /// The specification the manifest follows.
    pub ac_version: AcVersion,
    /// The apps, in starting order; their names are unique.
    #[serde(default)]
    pub apps: Vec<RuntimeApp>,
    /// The volumes; their names are unique.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// What bounds the pod as a whole.
    #[serde(default)]
    pub isolators: Vec<Isolator>,
    /// About the pod.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
    /// The ports that the host forwards.
    #[serde(default)]
    pub ports: Vec<ExposedPort>,
    /// For people and their tools; never has an effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// For people and their tools; never has an effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
}

impl PodManifest {
    /// A pod of these apps and nothing else.
    pub fn new(apps: Vec<RuntimeApp>) -> Self {
        Self {
            ac_version: AcVersion::current(),
            apps,
            volumes: Vec::new(),
            isolators: Vec::new(),
            annotations: Vec::new(),
            ports: Vec::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
        }
    }
}

/// One app of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuntimeApp {
    /// Unique in the pod.
    pub name: AcName,
    /// The image it runs from.
    pub image: RuntimeImage,
    /// Stands for the image's `app` as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// The root file system is mounted read-only.
    #[serde(
        default,
        rename = "readOnlyRootFS",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub read_only_rootfs: bool,
    /// Volumes by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// About the app; these win over the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
}

/// The image of a pod's app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeImage {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AcIdentifier>,
    /// Its identifier.
    pub id: PartialImageId,
    /// Its labels, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// A volume at a place in an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Name of a pod volume, unless `app_volume` is given.
    pub volume: AcName,
    /// Absolute path inside the app's root.
    pub path: String,
    /// A volume of this app alone, instead of the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_volume: Option<Volume>,
}

/// A port of an app that the host forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposedPort {
    /// Name of an app's port, unless `pod_port` is given.
    pub name: AcName,
    /// The host's port, 1 to 65535.
    pub host_port: u16,
    /// The host's address; all of them if absent.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The pod's port, instead of looking it up by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_port: Option<Port>,
}
