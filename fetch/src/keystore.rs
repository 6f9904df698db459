//! The keys that may sign images, on disk.
//!
//! ```text
//! CONFIG/trustedkeys/root.d/FPR        trusted for every image
//! CONFIG/trustedkeys/prefix.d/P/FPR    trusted for the name P and what lies below it
//! ```
//!
//! `CONFIG` is the vendor's directory, then the administrator's; root keys
//! come before prefixes. A later file of the same fingerprint replaces an
//! earlier one, an empty one removes it. New keys go to the administrator's
//! directory only.
//!
//! A prefix ends where a component of the name ends: what is trusted for
//! `example.com/app` is not trusted for `example.com/apple`.
//!
//! Source: rkt's configuration reference, "Key store".

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use manifests::appc::AcIdentifier;
pub use manifests::trust::Scope;

use crate::openpgp::{Certificate, CertificateError};

/// Why the keystore could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// A file or directory of the keystore could not be read.
    #[error("keystore: cannot read {}: {source}", .path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key could not be written.
    #[error("keystore: cannot write {}: {source}", .path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key file that holds no key.
    #[error("keystore: {}: {source}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A key file that is named after another key.
    #[error("keystore: fingerprint mismatch: {:?}:{fingerprint:?}", .path)]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The fingerprint of the key in it.
        fingerprint: String,
    },
}

/// Where the keys of a scope lie in a layer.
fn directory(scope: &Scope, layer: &Path) -> PathBuf {
    match scope {
        Scope::Root => layer.join("root.d"),
        // An AC identifier has neither empty nor dotted components.
        Scope::Prefix(prefix) => layer.join("prefix.d").join(prefix.as_str()),
    }
}

/// A key with what it is trusted for.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// The key.
    pub certificate: Certificate,
    /// Its scope.
    pub scope: Scope,
    /// Its file.
    pub path: PathBuf,
}

impl AsRef<Certificate> for TrustedKey {
    fn as_ref(&self) -> &Certificate {
        &self.certificate
    }
}

/// The keystore below the two configuration directories.
#[derive(Debug, Clone)]
pub struct Keystore {
    /// Read in this order; written is the last.
    layers: [PathBuf; 2],
}

impl Keystore {
    /// The keystore of the configuration directories `system` (the vendor's)
    /// and `local` (the administrator's); neither needs to exist.
    pub fn new(system: &Path, local: &Path) -> Self {
        Self {
            layers: [system.join("trustedkeys"), local.join("trustedkeys")],
        }
    }

    /// The keys that may sign an image of this name.
    ///
    /// # Errors
    /// A key file on the way that cannot be read or holds something else:
    /// then nobody can say whom the administrator trusts.
    pub fn keys_for(&self, name: &AcIdentifier) -> Result<Vec<TrustedKey>, KeystoreError> {
        let mut scopes = vec![Scope::Root];
        scopes.extend(prefixes(name).map(Scope::Prefix));
        self.load(&scopes)
    }

    /// Every key, whatever it is trusted for. A key may come several times,
    /// once for each scope.
    ///
    /// # Errors
    /// As [`Keystore::keys_for`].
    pub fn all(&self) -> Result<Vec<TrustedKey>, KeystoreError> {
        let mut scopes = vec![Scope::Root];
        for layer in &self.layers {
            prefix_directories(&layer.join("prefix.d"), "", &mut scopes)?;
        }
        scopes.sort();
        scopes.dedup();
        let mut keys = Vec::new();
        for scope in scopes {
            keys.extend(self.load(std::slice::from_ref(&scope))?);
        }
        Ok(keys)
    }

    /// Root scopes first, then prefixes; in each the vendor's layer first.
    fn load(&self, scopes: &[Scope]) -> Result<Vec<TrustedKey>, KeystoreError> {
        let mut keys = BTreeMap::new();
        let is_root = |scope: &&Scope| **scope == Scope::Root;
        let groups = [
            scopes.iter().filter(is_root).collect::<Vec<_>>(),
            scopes.iter().filter(|s| !is_root(s)).collect(),
        ];
        for group in groups {
            for layer in &self.layers {
                for scope in &group {
                    load_directory(layer, scope, &mut keys)?;
                }
            }
        }
        Ok(keys.into_values().collect())
    }

    /// Writes a key into the administrator's directory, where it replaces a
    /// key of the same fingerprint, and returns the file.
    ///
    /// # Errors
    /// The file or its directories cannot be written.
    pub fn add(&self, scope: &Scope, key: &Certificate) -> Result<PathBuf, KeystoreError> {
        let [_, local] = &self.layers;
        let directory = directory(scope, local);
        let path = directory.join(key.fingerprint());
        let armored = key.to_armored().map_err(|source| KeystoreError::Key {
            path: path.clone(),
            source,
        })?;
        make_directories(&directory)
            .and_then(|()| write_file(&directory, &path, armored.as_bytes()))
            .map_err(|source| KeystoreError::Write {
                path: path.clone(),
                source,
            })?;
        Ok(path)
    }
}

/// The name and what it lies below, shortest first.
fn prefixes(name: &AcIdentifier) -> impl Iterator<Item = AcIdentifier> {
    let text = name.as_str();
    let ends = text
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([text.len()]);
    ends.filter_map(|end| text[..end].parse().ok())
}

/// A missing directory is an empty one.
fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, KeystoreError> {
    let read = || fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>();
    match read() {
        Ok(entries) => Ok(entries),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(KeystoreError::Read {
            path: directory.to_owned(),
            source,
        }),
    }
}

fn load_directory(
    layer: &Path,
    scope: &Scope,
    keys: &mut BTreeMap<String, TrustedKey>,
) -> Result<(), KeystoreError> {
    for entry in entries(&directory(scope, layer))? {
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        // Directories are longer prefixes; other names are not ours.
        if !is_fingerprint(&name) || path.is_dir() {
            continue;
        }
        let bytes = fs::read(&path).map_err(|source| KeystoreError::Read {
            path: path.clone(),
            source,
        })?;
        if bytes.is_empty() {
            keys.remove(&name);
            continue;
        }
        let certificate = Certificate::read_all(&bytes)
            .map_err(|source| KeystoreError::Key {
                path: path.clone(),
                source,
            })?
            .swap_remove(0);
        if certificate.fingerprint() != name {
            let fingerprint = certificate.fingerprint();
            return Err(KeystoreError::Mismatch { path, fingerprint });
        }
        let scope = scope.clone();
        keys.insert(
            name,
            TrustedKey {
                certificate,
                scope,
                path,
            },
        );
    }
    Ok(())
}

/// Version 4 keys have 40 digits, version 6 keys 64.
fn is_fingerprint(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn prefix_directories(
    directory: &Path,
    above: &str,
    scopes: &mut Vec<Scope>,
) -> Result<(), KeystoreError> {
    for entry in entries(directory)? {
        let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
        let name = entry.file_name();
        let (true, Some(name)) = (is_directory, name.to_str()) else {
            continue;
        };
        let prefix = if above.is_empty() {
            name.to_owned()
        } else {
            format!("{above}/{name}")
        };
        if let Ok(identifier) = prefix.parse() {
            scopes.push(Scope::Prefix(identifier));
            prefix_directories(&entry.path(), &prefix, scopes)?;
        }
    }
    Ok(())
}

/// Modes are set whatever the umask says: keys are there to be read.
fn make_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make_directories(parent)?;
    }
    match fs::create_dir(directory) {
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o755)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whole or not at all.
fn write_file(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AcIdentifier {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_end_at_components() {
        let all: Vec<_> = prefixes(&name("a.b/c/d")).map(|p| p.to_string()).collect();
        assert_eq!(all, ["a.b", "a.b/c", "a.b/c/d"]);
    }
}
