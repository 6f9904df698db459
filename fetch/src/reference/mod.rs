//! What a user may type where an image is wanted.
//!
//! ```text
//! sha512-4c2f…  sha256-9b…          the store, by id or its prefix
//! docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]
//! oci:DIR[:REF]  oci-archive:FILE[:REF]  docker-archive:FILE[:REF]
//! https://….aci  file://….aci  ./some.aci
//! NAME[:VERSION][,LABEL=VALUE…]     an appc name
//! cimd:TYPE:v=0:DATA                the same things, as old records spell them
//! ```
//!
//! Parsing decides and touches nothing: whether a word is a file is asked
//! through [`Surroundings`]. The canonical spelling (`Display`) of a
//! [`Reference`] is the key under which the store remembers its image, and it
//! parses back into the same reference.
//!
//! Source: rkt's command-line reference, "Image references".

mod app;
mod cimd;
mod docker;

use std::fmt;
use std::path::{Path, PathBuf};

use manifests::digest::Algorithm;

pub use app::AppName;
pub use docker::{DOCKER_HUB, DockerReference, Version};

/// A parsed image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// An image id or a prefix of one (`sha512-ab…`): only the store is asked.
    Id(String),
    /// An image in a registry.
    Docker(DockerReference),
    /// An image in an OCI layout or in an archive.
    Archive {
        /// How the thing at `path` is laid out.
        kind: ArchiveKind,
        /// Absolute.
        path: PathBuf,
        /// Which image, where there are several: the reference name or digest
        /// in an OCI layout, `NAME:TAG` in a docker archive.
        image: Option<String>,
    },
    /// An ACI file, by its absolute path.
    AciFile(PathBuf),
    /// An ACI behind a URL (`http` or `https`, path ending in `.aci`).
    AciUrl(String),
    /// An appc name with labels.
    App(AppName),
}

/// The containers of OCI and docker images on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveKind {
    /// A directory with `oci-layout`, `index.json` and `blobs/`.
    OciLayout,
    /// The same in a tar.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

impl ArchiveKind {
    /// The scheme users write before the colon.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::OciLayout => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

/// Why a string is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("an image reference must not be empty")]
    Empty,
    /// An id prefix of fewer than two digits, or more digits than the hash has.
    #[error("image ID {0:?} is too short: at least two hexadecimal digits are needed")]
    IdTooShort(String),
    /// More digits than the hash function gives.
    #[error("image ID {id:?} is too long: {algorithm} has {} digits", .algorithm.hex_len())]
    IdTooLong {
        /// What was given.
        id: String,
        /// The hash function it names.
        algorithm: Algorithm,
    },
    /// A path or URL of an archive that does not end in `.aci`.
    #[error("invalid image string {0:?}: an ACI's file name must end in .aci")]
    NotAci(String),
    /// A `file:`, `http:` or `https:` URL that cannot be used.
    #[error("invalid image URL {url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `oci:` and its sisters without a path.
    #[error("{0:?} names no path: expected {scheme}:PATH[:REF]", scheme = .0.trim_end_matches(':'))]
    NoPath(String),
    /// A registry reference against the grammar.
    #[error("invalid registry reference {reference:?}: {reason}")]
    Docker {
        /// As given.
        reference: String,
        /// The part that is wrong, and how it should look.
        reason: String,
    },
    /// An appc name against the grammar.
    #[error("invalid image name {name:?}: {reason}")]
    App {
        /// As given.
        name: String,
        /// The part that is wrong, and how it should look.
        reason: String,
    },
    /// A canonical distribution URI against the grammar.
    #[error("invalid distribution URI {uri:?}: {reason}")]
    Cimd {
        /// As given.
        uri: String,
        /// The part that is wrong.
        reason: String,
    },
}

/// What parsing may know of the file system.
pub trait Surroundings {
    /// Whether a regular file (or a link to one) stands there.
    fn is_file(&self, path: &Path) -> bool;
    /// The path from the root directory.
    fn absolute(&self, path: &Path) -> PathBuf;
    /// The registry of names without a host, if it is not the Docker Hub.
    fn default_registry(&self) -> Option<String> {
        None
    }
}

/// The process's own working directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

impl Surroundings for HostFiles {
    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }
    fn absolute(&self, path: &Path) -> PathBuf {
        // Fails only for an empty path or a removed working directory; opening
        // the file will then say so with the path as it was typed.
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// A place without files, for spellings that do not depend on any.
struct Nowhere;

impl Surroundings for Nowhere {
    fn is_file(&self, _: &Path) -> bool {
        false
    }
    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

impl Reference {
    /// Parses `text` as the shell user meant it, relative to the working
    /// directory.
    ///
    /// # Errors
    /// [`ReferenceError`] names the part that does not fit the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_in(text, &HostFiles)
    }

    /// Parses a canonical spelling, in which no word depends on which files
    /// exist.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_canonical(text: &str) -> Result<Self, ReferenceError> {
        Self::parse_in(text, &Nowhere)
    }

    /// Parses `text` with the given idea of the file system.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_in(text: &str, files: &dyn Surroundings) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(id) = parse_id(text)? {
            return Ok(Self::Id(id));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return parse_bare(text, files);
        };
        match scheme {
            "docker" => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                let default = || files.default_registry();
                DockerReference::parse_with(rest, default).map(Self::Docker)
            }
            "oci" => archive(ArchiveKind::OciLayout, rest, files),
            "oci-archive" => archive(ArchiveKind::OciArchive, rest, files),
            "docker-archive" => archive(ArchiveKind::DockerArchive, rest, files),
            "file" => file_url(text, rest),
            "http" | "https" => http_url(text, rest),
            "cimd" => cimd::parse(text, rest, files),
            // `name:version` looks like a scheme, too.
            _ => AppName::parse(text).map(Self::App),
        }
    }

    /// The path component an image name for this reference is made of where
    /// the container says nothing better: the file's name up to its first dot.
    pub fn base_name(&self) -> Option<String> {
        let (Self::Archive { path, .. } | Self::AciFile(path)) = self else {
            return None;
        };
        let name = path.file_name()?.to_string_lossy();
        Some(name.split('.').next().unwrap_or(&name).to_owned())
    }
}

/// `sha512-HEX` and `sha256-HEX`; anything else with a dash may be a name.
fn parse_id(text: &str) -> Result<Option<String>, ReferenceError> {
    let Some((algorithm, hex)) = text.split_once('-') else {
        return Ok(None);
    };
    let algorithm = match algorithm {
        "sha512" => Algorithm::Sha512,
        "sha256" => Algorithm::Sha256,
        _ => return Ok(None),
    };
    if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    if hex.len() < 2 {
        return Err(ReferenceError::IdTooShort(text.to_owned()));
    }
    if hex.len() > algorithm.hex_len() {
        return Err(ReferenceError::IdTooLong {
            id: text.to_owned(),
            algorithm,
        });
    }
    Ok(Some(text.to_owned()))
}

/// RFC 3986, section 3.1.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let fits = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    fits.then_some((scheme, rest))
}

/// Without a scheme: a path or an appc name.
fn parse_bare(text: &str, files: &dyn Surroundings) -> Result<Reference, ReferenceError> {
    let path = Path::new(text);
    let is_path = path.is_absolute()
        || files.is_file(path)
        || (!text.contains(':') && (text.contains("./") || text.ends_with(".aci")));
    if !is_path {
        return AppName::parse(text).map(Reference::App);
    }
    aci_file(text, files.absolute(path))
}

fn aci_file(given: &str, path: PathBuf) -> Result<Reference, ReferenceError> {
    if path.extension().is_none_or(|e| e != "aci") {
        return Err(ReferenceError::NotAci(given.to_owned()));
    }
    Ok(Reference::AciFile(path))
}

fn archive(
    kind: ArchiveKind,
    rest: &str,
    files: &dyn Surroundings,
) -> Result<Reference, ReferenceError> {
    let (path, image) = match rest.split_once(':') {
        None => (rest, None),
        Some((path, "")) => (path, None),
        Some((path, image)) => (path, Some(image.to_owned())),
    };
    if path.is_empty() {
        return Err(ReferenceError::NoPath(format!("{}:", kind.scheme())));
    }
    Ok(Reference::Archive {
        kind,
        path: files.absolute(Path::new(path)),
        image,
    })
}

fn file_url(url: &str, rest: &str) -> Result<Reference, ReferenceError> {
    let error = |reason: &str| ReferenceError::Url {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(error("expected file:///ABSOLUTE/PATH.aci"));
    }
    let path = percent_decode(path).ok_or_else(|| error("broken percent escape"))?;
    aci_file(url, PathBuf::from(path))
}

fn http_url(url: &str, rest: &str) -> Result<Reference, ReferenceError> {
    let error = |reason: &str| ReferenceError::Url {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| error("expected // after the scheme"))?;
    let rest = rest.split('#').next().unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or(rest);
    match path.split_once('/') {
        None | Some(("", _)) => return Err(error("expected a host and a path")),
        Some((host, _)) if host.contains('@') => {
            return Err(error(
                "credentials do not belong into a URL; put them into auth.d",
            ));
        }
        Some(_) => {}
    }
    if url
        .bytes()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
    {
        return Err(error("white space and control characters must be escaped"));
    }
    if !path.ends_with(".aci") {
        return Err(ReferenceError::NotAci(url.to_owned()));
    }
    Ok(Reference::AciUrl(url.to_owned()))
}

/// Undoes `%XX`; `None` for a broken escape or bytes that are no UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// The spelling under which the store remembers the image.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Docker(docker) => docker.fmt(f),
            Self::Archive { kind, path, image } => {
                write!(f, "{}:{}", kind.scheme(), path.display())?;
                match image {
                    Some(image) => write!(f, ":{image}"),
                    None => Ok(()),
                }
            }
            Self::AciFile(path) => path.display().fmt(f),
            Self::AciUrl(url) => f.write_str(url),
            Self::App(app) => {
                let short = app.to_string();
                match Self::parse_canonical(&short) {
                    Ok(Self::App(same)) if same == *app => f.write_str(&short),
                    // `docker:1.0` and `a.aci` are names, too, but not read as such.
                    _ => cimd::write_appc(app, f),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
