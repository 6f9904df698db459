//! Names and the images they lead to: `store/names/<escaped name>`.
//!
//! The only place that says what a name means, so that moving a name from one
//! image to another is one `rename`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use manifests::image_id::ImageId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::dirs;
use crate::error::{Context, Result, StoreError};

/// Longer ones end in a hash; `NAME_MAX` is 255.
const LONGEST: usize = 200;

/// A name that an image shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// A canonical reference string.
    pub name: String,
    /// For the name of a URL: what to ask its server with.
    pub cached: Option<Cached>,
}

impl From<String> for ImageName {
    fn from(name: String) -> Self {
        Self { name, cached: None }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    /// The file's name may be shortened; this is not.
    pub(crate) name: String,
    pub(crate) image: ImageId,
    /// Only names that are URLs have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cached: Option<Cached>,
}

/// What a web server said about the version of a URL that a name leads to, so
/// that it can be asked whether there is another one now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cached {
    /// Its `ETag` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Its `Last-Modified` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Until then it need not even be asked.
    pub fresh_until: SystemTime,
}

/// The file that holds a name: what is neither letter, digit, `.`, `_` nor `-`
/// is percent-encoded, and so is a leading dot.
pub(crate) fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for (at, b) in name.bytes().enumerate() {
        match b {
            b'.' if at == 0 => out.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                out.push(char::from(b));
            }
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    if out.len() > LONGEST {
        let hash = format!("{:x}", Sha256::digest(name));
        // The percent sign of a hash can be no escape.
        out.truncate(LONGEST - 33);
        out.push_str("%-");
        out.push_str(&hash[..32]);
    }
    out
}

/// # Errors
/// The file cannot be read or is damaged; no such name is `Ok(None)`.
pub(crate) fn read(path: &Path) -> Result<Option<NameRecord>> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("read", path)?,
    };
    let record = serde_json::from_slice(&text);
    record.map(Some).map_err(|e| StoreError::DamagedName {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

/// Every name that can be read, by the image it leads to.
pub(crate) fn by_image(dir: &Path) -> Result<BTreeMap<ImageId, Vec<String>>> {
    let mut names: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
    for path in dirs::list(dir)? {
        // A name without meaning is found by who asks for it.
        if let Ok(Some(record)) = read(&path) {
            names.entry(record.image).or_default().push(record.name);
        }
    }
    for names in names.values_mut() {
        names.sort();
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_files() {
        let long = |end: &str| "x/".repeat(150) + end;
        let names = [
            "a/b",
            "a%2Fb",
            "a",
            ".",
            "..",
            "%2E",
            &long("1"),
            &long("2"),
        ];
        let files: std::collections::BTreeSet<_> = names.iter().map(|n| file_name(n)).collect();
        assert_eq!(files.len(), names.len());
        for file in files {
            assert!(file.len() <= LONGEST + 1, "{file}");
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
        }
    }
}
