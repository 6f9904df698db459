//! Labels and annotations: lists of names and values.

use serde::{Deserialize, Serialize};

use super::name::AcIdentifier;

/// One property of an image, by which discovery tells images of one name
/// apart. The well-known ones are `version`, `os` and `arch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Unique in its list, never `name`.
    pub name: AcIdentifier,
    /// Any string.
    #[serde(default)]
    pub value: String,
}

/// One piece of information about an image, a pod or an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// Unique in its list.
    pub name: AcIdentifier,
    /// Any string, except for the names that the specification knows.
    #[serde(default)]
    pub value: String,
}
