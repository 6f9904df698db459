//! The image manifest.

use serde::Serialize;

use super::app::App;
use super::decode::{self, Decode, Node, Result, SchemaError, deserialize_by_decode};
use super::kind::{self, Kind};
use super::label::{self, Annotation, Label};
use super::name::{AcIdentifier, AcVersion};
use crate::image_id::PartialImageId;

/// What an image is and how to run it: the file `manifest` of an ACI.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "acKind", rename_all = "camelCase")]
pub struct ImageManifest {
    /// The specification the manifest follows.
    pub ac_version: AcVersion,
    /// The image's name, by which it is discovered.
    pub name: AcIdentifier,
    /// What tells it apart from others of the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// How to run it; an image without can only be a dependency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// About the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Images rendered below this one, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// The paths that survive rendering; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path_whitelist: Vec<String>,
}

impl ImageManifest {
    /// The smallest manifest: a name.
    pub fn new(name: AcIdentifier) -> Self {
        Self {
            ac_version: AcVersion::current(),
            name,
            labels: Vec::new(),
            app: None,
            annotations: Vec::new(),
            dependencies: Vec::new(),
            path_whitelist: Vec::new(),
        }
    }

    /// Reads the file `manifest` of an ACI.
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

    /// Value of the label of this name.
    pub fn label(&self, name: &str) -> Option<&str> {
        label::find_label(&self.labels, name)
    }

    /// Value of the annotation of this name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        label::find_annotation(&self.annotations, name)
    }
}

/// An image whose root file system lies below another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name to discover it by.
    pub image_name: AcIdentifier,
    /// What was found must have this identifier.
    #[serde(rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<PartialImageId>,
    /// What was found must have these labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Size of the image in bytes, if it was stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

deserialize_by_decode!(ImageManifest, Dependency);

impl Decode for ImageManifest {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        kind::expect(&object, Kind::Image)?;
        Ok(Self {
            ac_version: object.need("acVersion")?.parse()?,
            name: object.need("name")?.parse()?,
            labels: label::decode_labels(&object)?,
            app: object.optional("app", App::decode)?,
            annotations: label::decode_annotations(&object)?,
            dependencies: object.list("dependencies")?,
            path_whitelist: object
                .optional("pathWhitelist", Node::strings)?
                .unwrap_or_default(),
        })
    }
}

impl Decode for Dependency {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            image_name: object.need("imageName")?.parse()?,
            image_id: object.optional("imageID", Node::parse)?,
            labels: label::decode_labels(&object)?,
            // 0 is how some writers say "not known".
            size: object
                .optional("size", Node::unsigned)?
                .filter(|size| *size > 0),
        })
    }
}
