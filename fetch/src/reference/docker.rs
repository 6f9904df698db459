//! `[HOST[:PORT]/]NAME[:TAG|@DIGEST]`, an image in a registry.
//!
//! Sources: OCI distribution specification, "Pulling manifests" (names and
//! tags); the historical converter's rules for what is a host.

use std::fmt;

use manifests::digest::Digest;

use super::ReferenceError;

pub use manifests::oci::HUB_REGISTRY as DOCKER_HUB;

/// Names people write for [`DOCKER_HUB`].
const HUB_ALIASES: [&str; 2] = ["docker.io", "index.docker.io"];

/// An image in a registry; every part is checked and safe to put into a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DockerReference {
    registry: String,
    repository: String,
    version: Version,
}

/// Which manifest of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// A name that may lead elsewhere tomorrow.
    Tag(String),
    /// The manifest (or index) with exactly these bytes.
    Digest(Digest),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl DockerReference {
    /// Parses what stands behind `docker://`; a name without a host is the
    /// Docker Hub's.
    ///
    /// # Errors
    /// [`ReferenceError::Docker`] names the part against the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_with(text, || None)
    }

    /// Parses what stands behind `docker://`; `default` is asked for the
    /// registry of a name without a host, and may leave it to the Docker Hub.
    ///
    /// # Errors
    /// As [`DockerReference::parse`].
    pub fn parse_with(
        text: &str,
        default: impl FnOnce() -> Option<String>,
    ) -> Result<Self, ReferenceError> {
        let error = |reason: String| ReferenceError::Docker {
            reference: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|e| error(e.to_string()))?;
                (rest, Some(digest))
            }
        };
        let configured;
        let (registry, rest) = match rest.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => {
                configured = default();
                (configured.as_deref().unwrap_or(DOCKER_HUB), rest)
            }
        };
        let (name, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((name, tag)) => (name, Some(tag)),
        };
        check_registry(registry).map_err(error)?;
        check_repository(name).map_err(error)?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(error)?;
        }
        let registry = if HUB_ALIASES.contains(&registry) {
            DOCKER_HUB
        } else {
            registry
        };
        let repository = if registry == DOCKER_HUB && !name.contains('/') {
            format!("library/{name}")
        } else {
            name.to_owned()
        };
        // A digest says more than a tag; the tag beside it is decoration.
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest),
            (None, Some(tag)) => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            version,
        })
    }

    /// `host` or `host:port`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag or digest.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The tag, if it is named by one.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// The same repository's manifest with this digest.
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            version: Version::Digest(digest),
            ..self.clone()
        }
    }
}

impl fmt::Display for DockerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.version {
            Version::Tag(_) => ':',
            Version::Digest(_) => '@',
        };
        write!(
            f,
            "docker://{}/{}{separator}{}",
            self.registry, self.repository, self.version
        )
    }
}

/// A first path component is a host if it could not be a part of a name.
fn is_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn check_registry(registry: &str) -> Result<(), String> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("{registry:?} lacks the closing bracket"))?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| format!("{address:?} is no IPv6 address"))?;
            (
                "",
                port.strip_prefix(':').or((!port.is_empty()).then_some("")),
            )
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    if port.is_some_and(|p| p.is_empty() || p.starts_with('+') || p.parse::<u16>().is_err()) {
        return Err(format!("{registry:?} has no valid port"));
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if !registry.starts_with('[') && !host.split('.').all(label) {
        return Err(format!("{registry:?} is no host name"));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`
fn check_repository(name: &str) -> Result<(), String> {
    let component = |c: &str| {
        let mut run = String::new();
        let mut after_alphanumeric = false;
        for ch in c.chars() {
            if matches!(ch, 'a'..='z' | '0'..='9') {
                let separator =
                    matches!(run.as_str(), "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
                if !separator || (!run.is_empty() && !after_alphanumeric) {
                    return false;
                }
                run.clear();
                after_alphanumeric = true;
            } else if matches!(ch, '.' | '_' | '-') {
                run.push(ch);
            } else {
                return false;
            }
        }
        after_alphanumeric && run.is_empty()
    };
    if name.len() <= 255 && name.split('/').all(component) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no repository name (lower-case letters and digits, joined by . _ __ - and /)"
    ))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn check_tag(tag: &str) -> Result<(), String> {
    let mut bytes = tag.bytes();
    let fits = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && tag.len() <= 128;
    if fits {
        return Ok(());
    }
    Err(format!(
        "{tag:?} is no tag (letters, digits, _ . -, at most 128, starting with none of . -)"
    ))
}
