//! The image manifest.

use serde::{Deserialize, Serialize};

use super::app::App;
use super::label::{Annotation, Label};
use super::name::{AcIdentifier, AcVersion};
use crate::image_id::PartialImageId;

/// What an image is and how to run it: the file `manifest` of an ACI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "acKind", rename_all = "camelCase")]
pub struct ImageManifest {
    /// The specification the manifest follows.
    pub ac_version: AcVersion,
    /// The image's name, by which it is discovered.
    pub name: AcIdentifier,
    /// What tells it apart from others of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// How to run it; an image without can only be a dependency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// About the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Images rendered below this one, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// The paths that survive rendering; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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

    /// Value of the label of this name.
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|l| l.name == name)?;
        Some(&label.value)
    }

    /// Value of the annotation of this name.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let annotation = self.annotations.iter().find(|a| a.name == name)?;
        Some(&annotation.value)
    }
}

/// An image whose root file system lies below another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name to discover it by.
    pub image_name: AcIdentifier,
    /// What was found must have this identifier.
    #[serde(default, rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<PartialImageId>,
    /// What was found must have these labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Size of the image in bytes, if it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}
