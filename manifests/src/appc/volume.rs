//! Volumes: directories and files that apps share with each other or the host.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::decode::{Decode, Node, Object, Result, deserialize_by_decode};
use super::name::AcName;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Unique in the pod; mounts and mount points refer to it.
    pub name: AcName,
    /// Where the content comes from.
    pub source: VolumeSource,
    /// Whether apps only read; the mount point decides if absent.
    pub read_only: Option<bool>,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A file, directory or device of the host.
    Host {
        /// Absolute path on the host.
        source: String,
        /// Whether mounts below it come along; yes if absent.
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

deserialize_by_decode!(Volume);

impl Decode for Volume {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let kind = object.need("kind")?;
        let source = match kind.str()? {
            "host" => decode_host(&object)?,
            "empty" => decode_empty(&object)?,
            other => {
                return Err(kind.invalid(format_args!(
                    "unknown volume kind {other:?}: expected host or empty"
                )));
            }
        };
        Ok(Self {
            name: object.need("name")?.parse()?,
            source,
            read_only: object.optional("readOnly", Node::bool)?,
        })
    }
}

fn decode_host(object: &Object<'_>) -> Result<VolumeSource> {
    for name in ["mode", "uid", "gid"] {
        if let Some(node) = object.get(name) {
            return Err(node.invalid("belongs to empty volumes only"));
        }
    }
    Ok(VolumeSource::Host {
        source: object.need("source")?.absolute_path()?,
        recursive: object.optional("recursive", Node::bool)?,
    })
}

fn decode_empty(object: &Object<'_>) -> Result<VolumeSource> {
    if let Some(source) = object.get("source")
        && !source.str()?.is_empty()
    {
        return Err(source.invalid("belongs to host volumes only"));
    }
    // `recursive` means nothing here, but the reference library lets it pass.
    object.optional("recursive", Node::bool)?;
    Ok(VolumeSource::Empty {
        mode: object.optional("mode", decode_mode)?.unwrap_or(0o755),
        uid: object.optional("uid", Node::id)?.unwrap_or(0),
        gid: object.optional("gid", Node::id)?.unwrap_or(0),
    })
}

fn decode_mode(node: &Node<'_>) -> Result<u32> {
    let text = node.str()?;
    parse_mode(text).ok_or_else(|| {
        node.invalid(format_args!(
            "{text:?} is not a mode: expected octal digits, at most 7777"
        ))
    })
}

/// Permission bits from octal digits.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let mode = digits
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()?;
    (mode <= 0o7777).then_some(mode)
}

impl Serialize for Volume {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        match &self.source {
            VolumeSource::Host { source, .. } => {
                map.serialize_entry("kind", "host")?;
                map.serialize_entry("source", source)?;
            }
            VolumeSource::Empty { .. } => map.serialize_entry("kind", "empty")?,
        }
        if let Some(read_only) = self.read_only {
            map.serialize_entry("readOnly", &read_only)?;
        }
        match &self.source {
            VolumeSource::Host { recursive, .. } => {
                if let Some(recursive) = recursive {
                    map.serialize_entry("recursive", recursive)?;
                }
            }
            VolumeSource::Empty { mode, uid, gid } => {
                map.serialize_entry("mode", &format!("{mode:04o}"))?;
                map.serialize_entry("uid", uid)?;
                map.serialize_entry("gid", gid)?;
            }
        }
        map.end()
    }
}
