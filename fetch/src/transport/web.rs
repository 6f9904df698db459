//! Things behind plain URLs: pages, keys, signatures and ACIs.
//!
//! What was fetched before is asked for again only if its server did not say
//! how long it stays, and then with what tells the server which one we have.
//!
//! Sources: RFC 9110, sections 8.8 and 13 (validators, conditions); RFC 9111,
//! section 5.2 (`Cache-Control`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use image_store::Cached;
use jiff::Timestamp;
use manifests::config;
use reqwest::blocking::Response;
use reqwest::header::{
    CACHE_CONTROL, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{StatusCode, Url};

use super::Body;
use super::aws;
use super::http::{self, Client, Get, HttpError, OpenError, Resuming};
use super::registry::{self, Access};
use crate::credentials::Credentials;

/// What is wrong with something behind a URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Nothing is there.
    #[error("there is nothing at {0}")]
    NotFound(String),
    /// The server does not let us.
    #[error("{url}: the server answers {status}; check the name, or put credentials into auth.d")]
    Denied {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// Another answer than those we know what to do with.
    #[error("{url}: the server answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// More than such a thing ever has.
    #[error("{url} is larger than {limit} bytes, which is no honest size for it")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What is allowed.
        limit: u64,
    },
    /// The connection broke in the middle.
    #[error("the transfer of {url} failed: {source}")]
    Transfer {
        /// What was asked for.
        url: String,
        /// Why.
        source: io::Error,
    },
}

impl WebError {
    /// Another URL of the same host would fail in the same way.
    pub(crate) fn is_about_host(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}

/// What came of asking for something that may have been fetched before.
pub(crate) enum Answer {
    /// It is what it was.
    Unchanged(Cached),
    /// Its bytes.
    Changed(Fetched),
}

/// Bytes on their way from a URL.
pub(crate) struct Fetched {
    pub(crate) body: Body<'static>,
    /// As the server says.
    pub(crate) size: Option<u64>,
    /// To ask again with, if it can be asked again.
    pub(crate) cached: Option<Cached>,
}

/// Asks web servers, as whoever the configuration says we are there.
#[derive(Clone)]
pub(crate) struct Web {
    client: Client,
    credentials: Arc<dyn Credentials>,
}

impl Web {
    /// Asks nobody yet.
    pub(crate) fn new(access: &Access) -> Self {
        Self {
            client: Client::new(access.checks.clone()),
            credentials: Arc::clone(&access.credentials),
        }
    }

    /// A small thing, whole: at most `limit` bytes.
    pub(crate) fn small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, WebError> {
        let response = checked(url, self.get(url, 0, HeaderMap::new())?)?;
        self.read_small(url, response, limit)
    }

    /// A small thing that its server may not have ready yet: `None` then.
    pub(crate) fn small_or_later(
        &self,
        url: &Url,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, WebError> {
        let response = self.get(url, 0, HeaderMap::new())?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(None);
        }
        self.read_small(url, checked(url, response)?, limit)
            .map(Some)
    }

    fn read_small(&self, url: &Url, response: Response, limit: u64) -> Result<Vec<u8>, WebError> {
        let read = http::read_document(response, limit).map_err(|source| WebError::Transfer {
            url: url.to_string(),
            source,
        })?;
        read.ok_or_else(|| WebError::TooLarge {
            url: url.to_string(),
            limit,
        })
    }

    /// Something large, unless it is still what `before` was fetched as.
    pub(crate) fn fetch(&self, url: &Url, before: Option<&Cached>) -> Result<Answer, WebError> {
        let response = self.get(url, 0, before.map(conditions).unwrap_or_default())?;
        let now = SystemTime::now();
        if let (StatusCode::NOT_MODIFIED, Some(before)) = (response.status(), before) {
            return Ok(Answer::Unchanged(renewed(before, response.headers(), now)));
        }
        let response = checked(url, response)?;
        let said = response.headers();
        let cached = freshness(said, now);
        let text = |name: HeaderName| said.get(name)?.to_str().ok()?.parse().ok();
        let size = text(CONTENT_LENGTH);
        let version = Version::of(said);
        let (web, again) = (self.clone(), url.clone());
        let open = move |from| web.continue_from(&again, from, &version);
        Ok(Answer::Changed(Fetched {
            body: Box::new(Resuming::new(size, response, open)),
            size,
            cached,
        }))
    }

    /// The rest of something, provided it is still the same thing.
    fn continue_from(
        &self,
        url: &Url,
        from: u64,
        version: &Version,
    ) -> Result<Response, OpenError> {
        let response = self
            .get(url, from, HeaderMap::new())
            .and_then(|response| checked(url, response))
            .map_err(|error| match error {
                WebError::Http(HttpError::Connect { .. }) => {
                    OpenError::Passing(io::Error::other(error))
                }
                error => OpenError::Final(io::Error::other(error)),
            })?;
        if Version::of(response.headers()) != *version {
            return Err(OpenError::Final(io::Error::other(format!(
                "{url} changed while it was downloaded; fetch it again"
            ))));
        }
        Ok(response)
    }

    /// Whether plain HTTP may be spoken to the host that `authority` begins
    /// with.
    pub(crate) fn allows_plain(&self, authority: &str) -> bool {
        let url = Url::parse(&format!("http://{authority}"));
        url.is_ok_and(|url| self.client.permits(&url))
    }

    fn get(&self, url: &Url, from: u64, mut headers: HeaderMap) -> Result<Response, WebError> {
        let (authorization, said) = self.authorization(url).unzip();
        headers.extend(said.unwrap_or_default());
        Ok(self.client.get(&Get {
            authorization,
            from,
            headers,
            ..Get::new(url.clone())
        })?)
    }

    /// Who we are there, and what must be said with it. Nothing is said in plain
    /// text.
    fn authorization(&self, url: &Url) -> Option<(HeaderValue, HeaderMap)> {
        if url.scheme() != "https" {
            return None;
        }
        let header = match self.credentials.domain(&http::host(url))? {
            config::Credentials::Basic(login) => registry::basic(&login),
            config::Credentials::OAuth(token) => {
                registry::secret(&format!("Bearer {}", token.reveal()))
            }
            config::Credentials::Aws(keys) => return aws::sign(url, &keys, Timestamp::now()),
        };
        Some((header?, HeaderMap::new()))
    }
}

fn checked(url: &Url, response: Response) -> Result<Response, WebError> {
    let url = url.to_string();
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(WebError::NotFound(url)),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(WebError::Denied { url, status })
        }
        status => Err(WebError::Status { url, status }),
    }
}

/// What tells one version of a thing from another. Servers that say neither
/// cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    etag: Option<String>,
    modified: Option<String>,
}

impl Version {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        Self {
            etag: text(ETAG),
            modified: text(LAST_MODIFIED),
        }
    }
}

/// What is to be remembered of an answer; `None` if it must not be, or if it
/// could never be used.
fn freshness(headers: &HeaderMap, now: SystemTime) -> Option<Cached> {
    let version = Version::of(headers);
    let said = headers.get_all(CACHE_CONTROL);
    let directives = said
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|d| d.trim().to_ascii_lowercase());
    let mut max_age = Duration::ZERO;
    let mut ask_always = false;
    for directive in directives {
        match directive.split_once('=') {
            None if directive == "no-store" => return None,
            None => ask_always |= directive == "no-cache",
            Some(("max-age", seconds)) => {
                let seconds = seconds.trim_matches('"').parse().unwrap_or(0);
                max_age = Duration::from_secs(seconds);
            }
            Some(_) => {}
        }
    }
    if ask_always {
        max_age = Duration::ZERO;
    }
    let useful = version.etag.is_some() || version.modified.is_some() || !max_age.is_zero();
    useful.then(|| Cached {
        etag: version.etag,
        last_modified: version.modified,
        // A century is for ever, and cannot overflow.
        fresh_until: now + max_age.min(Duration::from_secs(100 * 365 * 86_400)),
    })
}

/// A 304 may say anew how long it holds.
fn renewed(before: &Cached, headers: &HeaderMap, now: SystemTime) -> Cached {
    let said = freshness(headers, now);
    Cached {
        fresh_until: said.map_or(now, |said| said.fresh_until),
        ..before.clone()
    }
}

fn conditions(before: &Cached) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &Option<String>| {
        if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
            headers.insert(name, value);
        }
    };
    add(IF_NONE_MATCH, &before.etag);
    add(IF_MODIFIED_SINCE, &before.last_modified);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_server_says_how_long_its_answer_holds() {
        let now = SystemTime::now();
        let age = |lines: &[(HeaderName, &'static str)]| {
            let cached = freshness(&headers(lines), now)?;
            cached
                .fresh_until
                .duration_since(now)
                .ok()
                .map(|d| d.as_secs())
        };
        let etag = (ETAG, "\"x\"");
        assert_eq!(age(std::slice::from_ref(&etag)), Some(0));
        assert_eq!(age(&[(CACHE_CONTROL, "public, max-age=60")]), Some(60));
        assert_eq!(
            age(&[
                etag.clone(),
                (CACHE_CONTROL, "max-age=60"),
                (CACHE_CONTROL, "No-Cache")
            ]),
            Some(0)
        );
        assert_eq!(
            age(&[etag.clone(), (CACHE_CONTROL, "no-store, max-age=60")]),
            None
        );
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=nonsense")]), None);
        let century = age(&[(CACHE_CONTROL, "max-age=18446744073709551615")]);
        assert_eq!(century, Some(100 * 365 * 86_400));
        assert_eq!(age(&[]), None);
    }
}
