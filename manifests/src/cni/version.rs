//! The versions of the CNI specification.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of the specification that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Version {
    /// What a configuration without a version means.
    #[default]
    V0_1_0,
    /// Adds CHECK-less results with `ip6`.
    V0_2_0,
    /// Several addresses and interfaces in a result; chains of plugins.
    V0_3_0,
    /// Clarifies 0.3.0.
    V0_3_1,
    /// Adds CHECK.
    V0_4_0,
    /// Drops `version` from addresses.
    V1_0_0,
    /// Adds GC, STATUS and `cniVersions`.
    V1_1_0,
}

/// Every version, oldest first.
const ALL: [(Version, &str); 7] = [
    (Version::V0_1_0, "0.1.0"),
    (Version::V0_2_0, "0.2.0"),
    (Version::V0_3_0, "0.3.0"),
    (Version::V0_3_1, "0.3.1"),
    (Version::V0_4_0, "0.4.0"),
    (Version::V1_0_0, "1.0.0"),
    (Version::V1_1_0, "1.1.0"),
];

/// A version that we do not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown cniVersion {0:?} (known: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0)")]
pub struct UnknownVersion(pub String);

impl Version {
    /// The newest one.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        ALL.iter()
            .find(|(version, _)| *version == self)
            .map_or("", |(_, text)| text)
    }

    /// Whether plugins of this version know CHECK.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether plugins of this version know GC and STATUS.
    pub fn has_gc(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    /// An empty text is [`Version::default`].
    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        ALL.iter()
            .find(|(_, known)| *known == text)
            .map(|(version, _)| *version)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

impl TryFrom<String> for Version {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Self, UnknownVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.as_str().to_owned()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_and_they_are_in_order() {
        for pair in ALL.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        for (version, text) in ALL {
            assert_eq!(text.parse(), Ok(version));
            assert_eq!(version.to_string(), text);
        }
        assert_eq!("".parse(), Ok(Version::V0_1_0));
        assert!("1.2.0".parse::<Version>().is_err());
    }
}
