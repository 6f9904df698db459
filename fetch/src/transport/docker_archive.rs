//! What `docker save` writes: `manifest.json`, configurations and layers in a
//! tar.
//!
//! Docker itself calls the format legacy and documents it only by its code
//! (moby, `image/tarexport`). Newer archives are OCI layouts as well, and read
//! by either transport.
//! Absent on purpose: archives of before Docker 1.10 without `manifest.json`.

use std::io::Read;
use std::path::Path;

use manifests::oci::MAX_DOCUMENT_SIZE;
use serde::Deserialize;

use super::Body;
use super::archive::{ArchiveError, Room, TarIndex};

/// An entry of `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SavedImage {
    /// The file with the configuration.
    pub(crate) config: String,
    /// `NAME:TAG` strings.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// The files with the layers, the base first.
    pub(crate) layers: Vec<String>,
}

/// An archive of saved images.
pub(crate) struct DockerArchive {
    index: TarIndex,
}

impl DockerArchive {
    pub(crate) fn open(path: &Path, room: Room<'_>) -> Result<Self, ArchiveError> {
        let index = TarIndex::open(path, room)?;
        Ok(Self { index })
    }

    /// The image called `wanted` (`NAME:TAG`, or `NAME` for its `latest`), or
    /// the only one.
    pub(crate) fn image(&self, wanted: Option<&str>) -> Result<SavedImage, ArchiveError> {
        let name = "manifest.json";
        let path = || self.index.path().to_owned();
        let bytes = self.document(name)?;
        let mut images: Vec<SavedImage> =
            serde_json::from_slice(&bytes).map_err(|e| ArchiveError::Malformed {
                path: path(),
                name: name.to_owned(),
                reason: e.to_string(),
            })?;
        let tags = |i: &SavedImage| i.repo_tags.clone().unwrap_or_default();
        let offered = || images.iter().flat_map(tags).collect();
        let found = match wanted {
            None if images.len() == 1 => 0,
            None => {
                return Err(ArchiveError::Choose {
                    path: path(),
                    offered: offered(),
                });
            }
            Some(wanted) => images
                .iter()
                .position(|i| tags(i).iter().any(|t| same_name(t, wanted)))
                .ok_or_else(|| ArchiveError::NoImage {
                    path: path(),
                    wanted: wanted.to_owned(),
                    offered: offered(),
                })?,
        };
        Ok(images.swap_remove(found))
    }

    /// A JSON document of the archive.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let limit = MAX_DOCUMENT_SIZE;
        let (mut body, size) = self.file(name)?;
        if size > limit {
            return Err(ArchiveError::TooLarge {
                path: self.index.path().to_owned(),
                name: name.to_owned(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(|source| ArchiveError::Read {
                path: self.index.path().to_owned(),
                source,
            })?;
        Ok(bytes)
    }

    /// A layer, and its size in the archive.
    pub(crate) fn file(&self, name: &str) -> Result<(Body<'_>, u64), ArchiveError> {
        let (section, size) = self.index.file(name).ok_or_else(|| ArchiveError::Missing {
            path: self.index.path().to_owned(),
            name: name.to_owned(),
            hint: match name {
                "manifest.json" => "it is no archive of `docker save`",
                _ => "the archive is incomplete",
            },
        })?;
        Ok((Box::new(section), size))
    }
}

/// Whether a tag in the archive is the one the user means: archives spell the
/// hub's host and `latest` out or not.
fn same_name(tag: &str, wanted: &str) -> bool {
    use crate::reference::DockerReference;
    match (DockerReference::parse(tag), DockerReference::parse(wanted)) {
        (Ok(tag), Ok(wanted)) => tag == wanted,
        _ => tag == wanted,
    }
}
