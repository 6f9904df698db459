//! Which stage1 to use: kind `stage1`.

use serde::Deserialize;

use super::error::Problem;

/// The stage1 to use when no flag says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage1 {
    /// Name and version of an image.
    pub image: Option<(String, String)>,
    /// Where to take it from: an absolute path, or a URL of the schemes file,
    /// http, https and docker.
    pub location: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Stage1File {
    name: String,
    version: String,
    location: String,
}

impl Stage1 {
    pub(super) fn add(&mut self, file: Stage1File) -> Result<(), Problem> {
        let image = match (file.name.is_empty(), file.version.is_empty()) {
            (true, true) => None,
            (false, false) => Some((file.name, file.version)),
            (true, false) => {
                let missing = "default stage1 image version specified, but name is missing";
                return Err(Problem::Stage1(missing));
            }
            (false, true) => {
                let missing = "default stage1 image name specified, but version is missing";
                return Err(Problem::Stage1(missing));
            }
        };
        let location = checked_location(file.location)?;
        if self.image.is_some() && image.is_some() {
            return Err(Problem::SameStage1);
        }
        if self.location.is_some() && location.is_some() {
            return Err(Problem::SameStage1Location);
        }
        self.apply(Self { image, location });
        Ok(())
    }

    pub(super) fn apply(&mut self, over: Self) {
        self.image = over.image.or(self.image.take());
        self.location = over.location.or(self.location.take());
    }
}

fn checked_location(location: String) -> Result<Option<String>, Problem> {
    if location.is_empty() {
        return Ok(None);
    }
    if location.starts_with('/') {
        return Ok(Some(location));
    }
    match location.split_once(':') {
        Some(("docker" | "file" | "http" | "https", _)) => Ok(Some(location)),
        Some((scheme, _)) if !scheme.is_empty() && !scheme.contains('/') => {
            Err(Problem::Stage1Scheme(scheme.to_owned()))
        }
        _ => Err(Problem::Stage1(
            "default stage1 image location is either a relative path or a URL without scheme",
        )),
    }
}
