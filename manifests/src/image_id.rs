//! Image identifiers, `algorithm-hex`.
//!
//! An ACI is identified by the SHA-512 of its uncompressed tar (appc
//! specification, "Image ID"); an OCI image by the SHA-256 of its platform
//! manifest. The two never collide, because the algorithm is part of the name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Algorithm, Digest, DigestError};

/// The full identifier of an image; safe to use as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(Digest);

impl ImageId {
    /// The identifier of an ACI whose uncompressed tar has this SHA-512, or of
    /// an OCI image whose platform manifest has this SHA-256.
    pub fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest the identifier is made of.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// `algorithm-` and the first `digits` digits, for tables and messages.
    pub fn short(&self, digits: usize) -> String {
        let hex = self.0.hex();
        format!("{}-{}", self.0.algorithm(), &hex[..digits.min(hex.len())])
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.algorithm(), self.0.hex())
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = s
            .split_once('-')
            .ok_or_else(|| DigestError::Malformed(s.to_owned()))?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(DigestError::UnknownAlgorithm(other.to_owned())),
        };
        Digest::new(algorithm, hex).map(Self)
    }
}

impl Serialize for ImageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let s = String::deserialize(deserializer)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

/// An identifier as a manifest or a person may give it: of an ACI any number
/// of leading digits (old tools cut them to 64), of an OCI image all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartialImageId {
    algorithm: Algorithm,
    hex: String,
}

impl PartialImageId {
    /// Whether `id` begins with these digits.
    pub fn matches(&self, id: &ImageId) -> bool {
        self.algorithm == id.0.algorithm() && id.0.hex().starts_with(&self.hex)
    }

    /// The full identifier, if no digit is missing.
    pub fn full(&self) -> Option<ImageId> {
        Digest::new(self.algorithm, &self.hex).ok().map(ImageId)
    }
}

impl From<ImageId> for PartialImageId {
    fn from(id: ImageId) -> Self {
        Self {
            algorithm: id.0.algorithm(),
            hex: id.0.hex().to_owned(),
        }
    }
}

impl fmt::Display for PartialImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.algorithm, self.hex)
    }
}

impl FromStr for PartialImageId {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if let Some(hex) = s.strip_prefix("sha512-") {
            let algorithm = Algorithm::Sha512;
            let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !digits || hex.is_empty() || hex.len() > algorithm.hex_len() {
                return Err(DigestError::BadHex {
                    algorithm,
                    value: hex.to_owned(),
                });
            }
            return Ok(Self {
                algorithm,
                hex: hex.to_owned(),
            });
        }
        s.parse::<ImageId>().map(Self::from)
    }
}

impl Serialize for PartialImageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartialImageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let s = String::deserialize(deserializer)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}
