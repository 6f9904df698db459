//! Content digests in OCI spelling, `algorithm:hex`.
//!
//! Source: OCI image specification, "descriptor.md", section Digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The hash functions the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, OCI's default.
    Sha256,
    /// SHA-512, appc's only one.
    Sha512,
}

impl Algorithm {
    /// The registered name, as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the digest in hexadecimal digits.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A checked digest: the right number of lower-case hexadecimal digits, so it
/// is safe to use as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No separator between algorithm and digits.
    #[error("{0:?} is not a digest: expected ALGORITHM:HEX")]
    Malformed(String),
    /// An algorithm other than sha256 and sha512.
    #[error("unknown digest algorithm {0:?}: expected sha256 or sha512")]
    UnknownAlgorithm(String),
    /// Digits missing, too many, upper-case or not hexadecimal.
    #[error("{value:?} is not a {algorithm} digest: expected {} lower-case hexadecimal digits", .algorithm.hex_len())]
    BadHex {
        /// The algorithm that was named.
        algorithm: Algorithm,
        /// What stood where the digits should.
        value: String,
    },
}

impl Digest {
    /// A digest from its algorithm and hexadecimal digits.
    ///
    /// # Errors
    /// [`DigestError::BadHex`] unless `hex` has exactly the algorithm's number
    /// of lower-case hexadecimal digits.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Self, DigestError> {
        let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || hex.len() != algorithm.hex_len() {
            return Err(DigestError::BadHex {
                algorithm,
                value: hex.to_owned(),
            });
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }

    /// A digest from the raw bytes a hash function returned.
    ///
    /// # Panics
    /// If `bytes` is not as long as the algorithm's output; the caller took
    /// them from that very algorithm.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        assert_eq!(
            bytes.len() * 2,
            algorithm.hex_len(),
            "not a {algorithm} output"
        );
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hex = bytes
            .iter()
            .flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]])
            .map(char::from)
            .collect();
        Self { algorithm, hex }
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits, lower-case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = s
            .split_once(':')
            .ok_or_else(|| DigestError::Malformed(s.to_owned()))?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(DigestError::UnknownAlgorithm(other.to_owned())),
        };
        Self::new(algorithm, hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let s = String::deserialize(deserializer)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_the_round_trip() {
        let text = format!("sha256:{}", "0a".repeat(32));
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest, Digest::from_bytes(Algorithm::Sha256, &[10; 32]));
    }

    #[test]
    fn what_could_leave_a_directory_is_no_digest() {
        for bad in [
            "sha256",
            "md5:00",
            "sha256:../../etc/passwd",
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha512:{}", "00".repeat(32)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
