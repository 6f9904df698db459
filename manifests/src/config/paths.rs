//! Where things are: kind `paths`.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::Problem;

/// Directories on the host; absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The data directory; `--dir` wins over it.
    pub data: Option<PathBuf>,
    /// Where `--stage1-from-dir` looks.
    pub stage1_images: Option<PathBuf>,
}

#[derive(Deserialize)]
pub(super) struct PathsFile {
    #[serde(default)]
    data: String,
    #[serde(default, rename = "stage1-images")]
    stage1_images: String,
}

impl Paths {
    pub(super) fn add(&mut self, file: PathsFile) -> Result<(), Problem> {
        let data = checked("data", &self.data, file.data)?;
        let stage1_images = checked("stage1 images", &self.stage1_images, file.stage1_images)?;
        self.apply(Self {
            data,
            stage1_images,
        });
        Ok(())
    }

    pub(super) fn apply(&mut self, over: Self) {
        self.data = over.data.or(self.data.take());
        self.stage1_images = over.stage1_images.or(self.stage1_images.take());
    }
}

fn checked(
    what: &'static str,
    before: &Option<PathBuf>,
    path: String,
) -> Result<Option<PathBuf>, Problem> {
    if path.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(Problem::RelativePath(what));
    }
    match before {
        Some(_) => Err(Problem::SamePath(what)),
        None => Ok(Some(path)),
    }
}
