//! The pod manifest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::app::{self, App, Port};
use super::decode::{self, Decode, Node, Result, SchemaError, deserialize_by_decode};
use super::isolator::{self, Isolator};
use super::kind::{self, Kind};
use super::label::{self, Annotation, Label};
use super::name::{AcIdentifier, AcName, AcVersion};
use super::volume::Volume;
use crate::image_id::PartialImageId;

/// What runs together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "acKind", rename_all = "camelCase")]
pub struct PodManifest {
    /// The specification the manifest follows.
    pub ac_version: AcVersion,
    /// The apps, in starting order; their names are unique.
    pub apps: Vec<RuntimeApp>,
    /// The volumes; their names are unique.
    pub volumes: Vec<Volume>,
    /// What bounds the pod as a whole.
    pub isolators: Vec<Isolator>,
    /// About the pod.
    pub annotations: Vec<Annotation>,
    /// The ports that the host forwards.
    pub ports: Vec<ExposedPort>,
    /// For people and their tools; never has an effect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// For people and their tools; never has an effect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
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

    /// Reads a pod manifest.
    ///
    /// # Errors
    /// What is not as the specification wants it, and where.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SchemaError> {
        decode::from_slice(bytes)
    }

    /// Checks a manifest that was put together by hand.
    ///
    /// # Errors
    /// What is not as the specification wants it, and where.
    pub fn validate(&self) -> Result<(), SchemaError> {
        decode::validate(self)
    }

    /// The pod volume of this name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.name == name)
    }

    /// Value of the pod's annotation of this name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        label::find_annotation(&self.annotations, name)
    }
}

/// One app of a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuntimeApp {
    /// Unique in the pod.
    pub name: AcName,
    /// The image it runs from.
    pub image: RuntimeImage,
    /// Stands for the image's `app` as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// The root file system is mounted read-only.
    #[serde(rename = "readOnlyRootFS", skip_serializing_if = "std::ops::Not::not")]
    pub read_only_rootfs: bool,
    /// Volumes by place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// About the app; these win over the image's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
}

/// The image of a pod's app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeImage {
    /// Its name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<AcIdentifier>,
    /// Its identifier.
    pub id: PartialImageId,
    /// Its labels, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// A volume at a place in an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Name of a pod volume, unless `app_volume` is given.
    pub volume: AcName,
    /// Absolute path inside the app's root.
    pub path: String,
    /// A volume of this app alone, instead of the pod's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_volume: Option<Volume>,
}

/// A port of an app that the host forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposedPort {
    /// Name of an app's port, unless `pod_port` is given.
    pub name: AcName,
    /// The host's port, 1 to 65535.
    pub host_port: u16,
    /// The host's address; all of them if absent.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The pod's port, instead of looking it up by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_port: Option<Port>,
}

deserialize_by_decode!(PodManifest, RuntimeApp, RuntimeImage, Mount, ExposedPort);

impl Decode for PodManifest {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        kind::expect(&object, Kind::Pod)?;
        Ok(Self {
            ac_version: object.need("acVersion")?.parse()?,
            apps: object.unique_list("apps", |a: &RuntimeApp| a.name.clone())?,
            volumes: object.unique_list("volumes", |v: &Volume| v.name.clone())?,
            isolators: isolator::decode_list(&object)?,
            annotations: label::decode_annotations(&object)?,
            ports: object.list("ports")?,
            user_annotations: object
                .optional("userAnnotations", Node::string_map)?
                .unwrap_or_default(),
            user_labels: object
                .optional("userLabels", Node::string_map)?
                .unwrap_or_default(),
        })
    }
}

impl Decode for RuntimeApp {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            name: object.need("name")?.parse()?,
            image: RuntimeImage::decode(&object.need("image")?)?,
            app: object.optional("app", App::decode)?,
            read_only_rootfs: object.flag("readOnlyRootFS")?,
            mounts: object.list("mounts")?,
            annotations: label::decode_annotations(&object)?,
        })
    }
}

impl Decode for RuntimeImage {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            name: object.optional("name", Node::parse)?,
            id: object.need("id")?.parse()?,
            labels: label::decode_labels(&object)?,
        })
    }
}

impl Decode for Mount {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            volume: object.need("volume")?.parse()?,
            path: object.need("path")?.absolute_path()?,
            app_volume: object.optional("appVolume", Volume::decode)?,
        })
    }
}

impl Decode for ExposedPort {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let host = object.need("hostPort")?;
        let host_port = app::port_number(&host)?;
        let pod_port = object.optional("podPort", Port::decode)?;
        let count = pod_port.as_ref().map_or(1, |port| port.count);
        if u32::from(host_port) + u32::from(count) > 65536 {
            return Err(host.invalid(format_args!(
                "{count} ports from {host_port} on would go beyond 65535"
            )));
        }
        Ok(Self {
            name: object.need("name")?.parse()?,
            host_port,
            host_ip: object.optional("hostIP", decode_address)?.flatten(),
            pod_port,
        })
    }
}

/// The empty string is how some writers say "all addresses".
fn decode_address(node: &Node<'_>) -> Result<Option<IpAddr>> {
    match node.str()? {
        "" => Ok(None),
        text => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(node.invalid(format_args!("{text:?} is not an IP address"))),
        },
    }
}
