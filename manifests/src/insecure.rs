//! `--insecure-options`: which checks the user switched off.
//!
//! Source: rkt's command-line reference, "Global flags".

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The checks switched off; the default is none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InsecureOptions {
    /// Signatures of images are not verified.
    pub image: bool,
    /// TLS certificates and host names are not verified.
    pub tls: bool,
    /// Plain HTTP is allowed for discovery, images and registries.
    pub http: bool,
    /// Public keys may be fetched over an insecure connection.
    pub pubkey: bool,
    /// Apps keep every capability.
    pub capabilities: bool,
    /// Kernel paths are not masked and devices not restricted.
    pub paths: bool,
    /// No seccomp filter is installed.
    pub seccomp: bool,
    /// Accepted for compatibility: fs-verity has a setting of its own.
    pub ondisk: bool,
}

/// Why a list of insecure options is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsecureOptionsError {
    /// Not one of the known words.
    #[error(
        "unknown option {0:?} (known: none, image, tls, http, pubkey, capabilities, paths, seccomp, ondisk, all-fetch, all-run, all)"
    )]
    Unknown(String),
    /// The same word twice.
    #[error("duplicated option {0:?}")]
    Duplicated(String),
}

impl InsecureOptions {
    fn set(&mut self, word: &str) -> bool {
        match word {
            "none" => {}
            "image" => self.image = true,
            "tls" => self.tls = true,
            "http" => self.http = true,
            "pubkey" => self.pubkey = true,
            "capabilities" => self.capabilities = true,
            "paths" => self.paths = true,
            "seccomp" => self.seccomp = true,
            "ondisk" => self.ondisk = true,
            "all-fetch" => {
                for w in ["image", "tls", "http", "pubkey"] {
                    self.set(w);
                }
            }
            "all-run" => {
                for w in ["capabilities", "paths", "seccomp"] {
                    self.set(w);
                }
            }
            "all" => {
                for w in ["all-fetch", "all-run", "ondisk"] {
                    self.set(w);
                }
            }
            _ => return false,
        }
        true
    }
}

impl FromStr for InsecureOptions {
    type Err = InsecureOptionsError;

    /// Parses a comma-separated list; words are compared without case.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for word in s.split(',') {
            let word = word.trim().to_ascii_lowercase();
            if seen.contains(&word) {
                return Err(InsecureOptionsError::Duplicated(word));
            }
            if !options.set(&word) {
                return Err(InsecureOptionsError::Unknown(word));
            }
            seen.push(word);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_expand() {
        let all: InsecureOptions = "ALL".parse().unwrap();
        assert!(all.image && all.tls && all.http && all.pubkey && all.ondisk);
        assert!(all.capabilities && all.paths && all.seccomp);
        assert_eq!("none".parse(), Ok(InsecureOptions::default()));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            "image,imge".parse::<InsecureOptions>(),
            Err(InsecureOptionsError::Unknown("imge".into()))
        );
        assert_eq!(
            "tls,tls".parse::<InsecureOptions>(),
            Err(InsecureOptionsError::Duplicated("tls".into()))
        );
    }
}
