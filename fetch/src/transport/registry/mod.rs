//! Registries: OCI distribution, and Docker's API version 2 of which it was
//! made.
//!
//! ```text
//! GET /v2/NAME/manifests/TAG|DIGEST      401 ─▶ token or basic ─▶ again
//! GET /v2/NAME/blobs/DIGEST              307 ─▶ elsewhere, without credentials
//! ```
//!
//! Plain HTTP is spoken to loopback hosts and where the user allows it, and
//! only after the host turned out not to speak TLS.
//!
//! Source: OCI distribution specification 1.1; Docker registry token
//! authentication specification.

mod auth;
mod challenge;
mod mirrors;

pub(super) use auth::{basic, secret};
pub(crate) use mirrors::Mirrored;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use manifests::digest::Digest;
use manifests::oci::{Descriptor, MAX_DOCUMENT_SIZE, media_type};
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};

use super::http::{self, Checks, Client, Get, HttpError, OpenError, Resuming};
use super::{Body, OciSource, Root, raw_entries};
use crate::credentials::{Credentials, CredentialsError};
use crate::error::Reason;
use crate::reference::{DockerReference, Version};
use image_store::hash::digest_of;

/// What is wrong with a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is not known who we are there.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// It has no such image.
    #[error("{host} has no {what}{}", said(.detail))]
    NotFound {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// What it said.
        detail: String,
    },
    /// It does not let us.
    #[error(
        "{host} refuses {what}{}; {}", said(.detail), login_hint(*.logged_in)
    )]
    Denied {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// What it said.
        detail: String,
        /// Whether credentials were sent.
        logged_in: bool,
    },
    /// Another answer than those we know what to do with.
    #[error("{host} answers {status} for {what}{}", said(.detail))]
    Status {
        /// The registry.
        host: String,
        /// What it was asked for.
        what: String,
        /// Its answer.
        status: StatusCode,
        /// What it said.
        detail: String,
    },
    /// It wants to be asked in a way we do not know.
    #[error("{host} wants an authentication that is not supported: {challenge:?}")]
    Challenge {
        /// The registry.
        host: String,
        /// Its header.
        challenge: String,
    },
    /// The token server does not play along.
    #[error("{host} gives no token for {registry}: {reason}")]
    Token {
        /// The token server.
        host: String,
        /// The registry it is for.
        registry: String,
        /// What went wrong.
        reason: String,
    },
    /// A manifest larger than any honest one.
    #[error("{host} sends a manifest of more than {MAX_DOCUMENT_SIZE} bytes")]
    TooLarge {
        /// The registry.
        host: String,
    },
    /// A manifest that is not the one that was asked for.
    #[error("what {host} sent for {wanted} has the digest {actual}: damaged or forged")]
    Forged {
        /// The registry.
        host: String,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        actual: Digest,
    },
    /// A manifest of the first schema.
    #[error(
        "{host} has this image only as a schema 1 manifest, which cannot be verified; push it again with a current tool"
    )]
    Schema1 {
        /// The registry.
        host: String,
    },
    /// The connection broke in the middle.
    #[error("the transfer from {host} failed: {source}")]
    Transfer {
        /// The registry.
        host: String,
        /// Why.
        source: io::Error,
    },
}

fn said(detail: &str) -> String {
    match detail {
        "" => String::new(),
        detail => format!(" (it says: {detail})"),
    }
}

fn login_hint(logged_in: bool) -> &'static str {
    match logged_in {
        true => "check the name and the credentials (in auth.d, or of `podman login`)",
        false => "check the name, or put credentials into auth.d (`podman login` does as well)",
    }
}

/// Who may be asked, and how.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) checks: Checks,
    pub(crate) credentials: Arc<dyn Credentials>,
}

/// One repository of a registry.
pub(crate) struct Registry {
    reference: DockerReference,
    /// Who is asked: the reference's registry, or a mirror of it.
    host: String,
    /// The repository as that one calls it.
    repository: String,
    client: Client,
    credentials: Arc<dyn Credentials>,
    /// What the first answer settled, for all the others.
    settled: Mutex<Settled>,
}

#[derive(Debug, Clone, Default)]
struct Settled {
    plain: bool,
    authorization: Option<HeaderValue>,
}

impl Registry {
    /// Asks nobody yet.
    pub(crate) fn new(reference: &DockerReference, access: &Access) -> Self {
        Self::at(
            reference,
            reference.registry().to_owned(),
            reference.repository().to_owned(),
            access,
        )
    }

    /// The same repository at a mirror, `HOST[:PORT][/PATH]`.
    fn mirror(reference: &DockerReference, mirror: &str, access: &Access) -> Self {
        let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
        let path = path.trim_matches('/');
        let repository = match path {
            "" => reference.repository().to_owned(),
            path => format!("{path}/{}", reference.repository()),
        };
        Self::at(reference, host.to_owned(), repository, access)
    }

    fn at(reference: &DockerReference, host: String, repository: String, access: &Access) -> Self {
        Self {
            reference: reference.clone(),
            host,
            repository,
            client: Client::new(access.checks.clone()),
            credentials: Arc::clone(&access.credentials),
            settled: Mutex::default(),
        }
    }

    fn host(&self) -> String {
        self.host.clone()
    }

    fn settled(&self) -> Settled {
        self.settled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn settle(&self, change: impl FnOnce(&mut Settled)) {
        change(&mut self.settled.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn url(&self, plain: bool, kind: &str, name: &str) -> Result<Url, HttpError> {
        let scheme = if plain { "http" } else { "https" };
        let (host, repository) = (&self.host, &self.repository);
        let text = format!("{scheme}://{host}/v2/{repository}/{kind}/{name}");
        Url::parse(&text).map_err(|_| HttpError::BadUrl(text))
    }

    /// Asks for `/v2/NAME/KIND/WHAT` from byte `from` on, as whoever the
    /// registry wants to see.
    fn get(
        &self,
        kind: &str,
        what: &str,
        accept: Option<&str>,
        from: u64,
    ) -> Result<Response, RegistryError> {
        let mut asked_as = self.settled().authorization;
        let mut response = self.ask(kind, what, accept, from, asked_as.clone())?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // Another layer may have renewed the token meanwhile.
            let current = self.settled().authorization;
            let authorization = if current == asked_as {
                self.authorize(&response)?
            } else {
                current
            };
            if authorization.is_some() {
                asked_as = authorization;
                response = self.ask(kind, what, accept, from, asked_as.clone())?;
            }
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => Err(self.refusal(response, what, asked_as.is_some())),
        }
    }

    fn ask(
        &self,
        kind: &str,
        what: &str,
        accept: Option<&str>,
        from: u64,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let get = |plain| {
            Ok::<_, HttpError>(Get {
                accept,
                authorization: authorization.clone(),
                from,
                ..Get::new(self.url(plain, kind, what)?)
            })
        };
        if self.settled().plain {
            return Ok(self.client.get(&get(true)?)?);
        }
        let error = match self.client.get(&get(false)?) {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let plain = get(true)?;
        if !error.may_be_plain_server() || !self.client.permits(&plain.url) {
            return Err(error.into());
        }
        // If this fails as well, nobody listens; either error says so.
        let response = self.client.get(&plain)?;
        self.settle(|s| s.plain = true);
        Ok(response)
    }

    /// Does what the registry's challenge asks for, and remembers it.
    fn authorize(&self, response: &Response) -> Result<Option<HeaderValue>, RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges: Vec<&str> = headers.iter().filter_map(|h| h.to_str().ok()).collect();
        let authorization = auth::answer(
            &self.client,
            (&self.host, &self.repository),
            self.credentials.registry(&self.host, &self.repository)?,
            &challenges,
        )?;
        self.settle(|s| s.authorization.clone_from(&authorization));
        Ok(authorization)
    }

    fn refusal(&self, response: Response, what: &str, logged_in: bool) -> RegistryError {
        let (host, status) = (self.host(), response.status());
        let what = match what.contains(':') {
            true => format!("{} {what}", self.repository),
            false => format!("{}:{what}", self.repository),
        };
        let detail = said_by(response);
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { host, what, detail },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                host,
                what,
                detail,
                logged_in,
            },
            _ => RegistryError::Status {
                host,
                what,
                status,
                detail,
            },
        }
    }

    /// The whole body of an answer that should be short.
    fn document(&self, response: Response) -> Result<Vec<u8>, RegistryError> {
        let read = http::read_document(response, MAX_DOCUMENT_SIZE).map_err(|source| {
            RegistryError::Transfer {
                host: self.host(),
                source,
            }
        })?;
        read.ok_or_else(|| RegistryError::TooLarge { host: self.host() })
    }

    /// A body that continues on another connection when its own breaks.
    fn body(
        &self,
        kind: &'static str,
        descriptor: &Descriptor,
        accept: Option<&'static str>,
    ) -> Result<Body<'_>, Reason> {
        let what = descriptor.digest.to_string();
        let first = self.get(kind, &what, accept, 0)?;
        let size = descriptor.size;
        let open = move |from| {
            self.get(kind, &what, accept, from)
                .map_err(|error| match error {
                    RegistryError::Http(HttpError::Connect { .. }) => {
                        OpenError::Passing(io::Error::other(error))
                    }
                    RegistryError::Status {
                        status: StatusCode::RANGE_NOT_SATISFIABLE,
                        host,
                        ..
                    } => OpenError::Final(io::Error::other(format!(
                        "{host} has only {from} of its {size} bytes"
                    ))),
                    error => OpenError::Final(io::Error::other(error)),
                })
        };
        Ok(Box::new(Resuming::new(Some(descriptor.size), first, open)))
    }
}

/// What a registry says about its refusal: the first error's message, short
/// and without control characters.
fn said_by(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        message: String,
    }
    // Without a readable body there is nothing to add to the status.
    let read = http::read_document(response, 16 * 1024).ok().flatten();
    let bytes = read.unwrap_or_default();
    let refusal = serde_json::from_slice::<Refusal>(&bytes).ok();
    let message = refusal
        .and_then(|r| r.errors.into_iter().next())
        .map(|e| e.message);
    let clean = message.unwrap_or_default().replace(char::is_control, " ");
    clean.chars().take(200).collect()
}

/// Docker's first manifests; with and without a signature around them.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Everything we can read, in one header as all registries understand it.
fn accept() -> &'static str {
    const _: () = assert!(media_type::ACCEPT.len() == 4);
    concat!(
        "application/vnd.oci.image.index.v1+json, ",
        "application/vnd.oci.image.manifest.v1+json, ",
        "application/vnd.docker.distribution.manifest.list.v2+json, ",
        "application/vnd.docker.distribution.manifest.v2+json"
    )
}

impl OciSource for Registry {
    fn origin(&self) -> String {
        format!("registry {}", self.host)
    }

    fn root(&self) -> Result<Root, Reason> {
        let version = self.reference.version();
        let response = self.get("manifests", &version.to_string(), Some(accept()), 0)?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        if media_type
            .as_deref()
            .is_some_and(|m| m.starts_with(SCHEMA_1))
        {
            return Err(RegistryError::Schema1 { host: self.host() }.into());
        }
        let bytes = self.document(response)?;
        if let Version::Digest(wanted) = version {
            let actual = digest_of(wanted.algorithm(), &bytes);
            if actual != *wanted {
                let (host, wanted) = (self.host(), wanted.clone());
                return Err(RegistryError::Forged {
                    host,
                    wanted,
                    actual,
                }
                .into());
            }
        }
        Ok(Root { bytes, media_type })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        self.body("manifests", descriptor, Some(accept()))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Body<'_>, Reason> {
        self.body("blobs", descriptor, None)
    }

    fn tagged(&self, tag: &str) -> Result<Vec<Vec<u8>>, Reason> {
        match self.get("manifests", tag, Some(accept()), 0) {
            Ok(response) => Ok(vec![self.document(response)?]),
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Reason> {
        let index = Some(media_type::OCI_INDEX);
        let response = match self.get("referrers", &digest.to_string(), index, 0) {
            Ok(response) => response,
            // Registries of before 1.1 know no such path, each in its own way.
            Err(RegistryError::NotFound { .. } | RegistryError::Status { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let entries = raw_entries(&self.document(response)?);
        Ok(Some(entries.into_iter().map(|e| e.descriptor).collect()))
    }
}

#[cfg(test)]
mod tests;
