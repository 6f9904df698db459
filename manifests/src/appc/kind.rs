//! Which manifest a document is.

use std::fmt;

use super::decode::{self, Decode, Node, Object, Result, SchemaError};
use super::name::AcVersion;

/// The two manifests of the schema. Source: appc specification, "AC Kind Type".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image manifest.
    Image,
    /// A pod manifest.
    Pod,
}

impl Kind {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "ImageManifest",
            Self::Pod => "PodManifest",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Decode for Kind {
    fn decode(node: &Node<'_>) -> Result<Self> {
        match node.str()? {
            "ImageManifest" => Ok(Self::Image),
            "PodManifest" => Ok(Self::Pod),
            other => Err(node.invalid(format_args!(
                "unknown kind {other:?}: expected ImageManifest or PodManifest"
            ))),
        }
    }
}

/// What can be told of a manifest without reading the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which manifest it is.
    pub kind: Kind,
    /// The specification it follows.
    pub version: AcVersion,
}

impl Probe {
    /// Reads `acKind` and `acVersion` and looks at nothing else.
    ///
    /// # Errors
    /// What is wrong with these two, or with the JSON.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SchemaError> {
        decode::from_slice(bytes)
    }
}

impl Decode for Probe {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            kind: Kind::decode(&object.need("acKind")?)?,
            version: object.need("acVersion")?.parse()?,
        })
    }
}

/// Fails unless the document says that it is of this kind.
pub(super) fn expect(object: &Object<'_>, wanted: Kind) -> Result<()> {
    let node = object.need("acKind")?;
    match Kind::decode(&node)? {
        kind if kind == wanted => Ok(()),
        kind => Err(node.invalid(format_args!("this is {kind}, expected {wanted}"))),
    }
}
