//! How the image store keeps its files: kind `store`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Problem;

/// What fs-verity is used for: sealed files are checked by the kernel page by
/// page as they are read, and cannot be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verity {
    /// Nothing is sealed or measured.
    Off,
    /// Files are sealed where the file system can, and what is sealed must be
    /// what it was.
    #[default]
    BestEffort,
    /// An image is not stored and not run unless all of it is sealed.
    Required,
}

impl Verity {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}

impl fmt::Display for Verity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::BestEffort, Self::Required]
            .into_iter()
            .find(|level| level.as_str() == s)
            .ok_or_else(|| format!("{s:?} is none of required, best-effort, off"))
    }
}

/// What is configured about the image store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    /// The use of fs-verity; `--verity` wins over it.
    pub verity: Option<Verity>,
}

#[derive(Deserialize)]
pub(super) struct StoreFile {
    #[serde(default)]
    verity: Option<Verity>,
}

impl Store {
    pub(super) fn add(&mut self, file: StoreFile) -> Result<(), Problem> {
        if self.verity.is_some() && file.verity.is_some() {
            return Err(Problem::SameVerity);
        }
        self.apply(Self {
            verity: file.verity,
        });
        Ok(())
    }

    pub(super) fn apply(&mut self, over: Self) {
        self.verity = over.verity.or(self.verity);
    }
}
