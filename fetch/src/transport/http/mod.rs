//! HTTP as fetching needs it: polite, stubborn and careful whom it talks to.
//!
//! * Redirects are followed by us, not by the library: credentials go to the
//!   host they are for and nowhere else, and never from TLS to plain text.
//! * 429, 5xx and failed connections are tried again, with growing pauses.
//! * Bodies that break off are continued where they broke ([`body`]).

mod body;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use manifests::config::{Host, Insecure};
use reqwest::blocking;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{StatusCode, Url};

pub(crate) use body::{OpenError, Resuming, read_document};

const MAX_REDIRECTS: usize = 10;
const MAX_ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// All attempts together.
const DEADLINE: Duration = Duration::from_secs(150);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The library cannot be set up.
    #[error("cannot set up the HTTP client: {}", innermost(.0))]
    Setup(reqwest::Error),
    /// A certificate or key of a host's configuration.
    #[error("cannot use {}, which hosts.d names for {host}: {reason}", .path.display())]
    Certificate {
        /// The host.
        host: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {host}: {}{}", innermost(.cause), tls_hint(.cause))]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        // Not the error's source: the message says all that it says.
        cause: reqwest::Error,
    },
    /// The server is there, and in trouble.
    #[error("{host} answers {status}, even after {attempts} attempts; try again later")]
    Unavailable {
        /// Host and port.
        host: String,
        /// Its last answer.
        status: StatusCode,
        /// How often it was asked.
        attempts: u32,
    },
    /// A URL that cannot be used.
    #[error("{0:?} is no usable URL")]
    BadUrl(String),
    /// Plain text where it was not allowed.
    #[error(
        "{0} would be asked in plain text; if that is meant, allow it with --insecure-options=http"
    )]
    Plain(String),
    /// A redirect without an end.
    #[error("{0}: too many redirects")]
    TooManyRedirects(String),
    /// A redirect without a target.
    #[error("{0} redirects to where we must not follow")]
    BadRedirect(String),
}

/// What the library wraps says more than the wrapping.
fn innermost(error: &reqwest::Error) -> String {
    let mut error: &dyn Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl HttpError {
    /// The other side does not speak TLS, or nobody listens; a certificate
    /// that does not hold is something else.
    pub(crate) fn may_be_plain_server(&self) -> bool {
        let Self::Connect { cause, .. } = self else {
            return false;
        };
        match cause.source().and_then(tls_error) {
            Some(error) => matches!(
                error,
                rustls::Error::InvalidMessage(_) | rustls::Error::PeerMisbehaved(_)
            ),
            None => true,
        }
    }
}

/// What to do about a certificate that does not hold.
fn tls_hint(error: &reqwest::Error) -> &'static str {
    match error.source().and_then(tls_error) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "; if its authority is to be believed, name it in hosts.d (\"ca\")"
        }
        _ => "",
    }
}

/// What TLS says, however deep the libraries wrapped it.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // An io::Error hides the error it carries from `source`.
    let carried = error
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref());
    let carried = carried.and_then(|e| tls_error(e));
    carried.or_else(|| error.source().and_then(tls_error))
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Get<'a> {
    pub(crate) url: Url,
    pub(crate) accept: Option<&'a str>,
    /// Sent to the URL's own host only.
    pub(crate) authorization: Option<HeaderValue>,
    /// The first byte that is wanted.
    pub(crate) from: u64,
    /// Whatever else is said, to every host on the way.
    pub(crate) headers: HeaderMap,
    /// A filled-in form, sent to the URL's own host only; it makes this a POST.
    pub(crate) form: Option<String>,
}

impl Get<'_> {
    /// Asks for all of it, as nobody.
    pub(crate) fn new(url: Url) -> Self {
        Self {
            url,
            accept: None,
            authorization: None,
            from: 0,
            headers: HeaderMap::new(),
            form: None,
        }
    }
}

/// Asks questions of web servers. Clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    checks: Checks,
    /// By host, for those whose TLS is their own; `""` is everybody else's.
    clients: Mutex<HashMap<String, blocking::Client>>,
}

/// By their names in URLs.
pub(crate) type Hosts = Arc<BTreeMap<String, Host>>;

/// Which checks the user switched off, and what is configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    /// `--insecure-options=tls`
    pub(crate) skip_tls: bool,
    /// `--insecure-options=http`
    pub(crate) allow_plain: bool,
    /// Hosts that are spoken to in their own ways.
    pub(crate) hosts: Hosts,
}

impl Client {
    pub(crate) fn new(checks: Checks) -> Self {
        Self(Arc::new(Shared {
            checks,
            clients: Mutex::default(),
        }))
    }

    /// Whether the URL's host may be spoken to over this scheme.
    pub(crate) fn permits(&self, url: &Url) -> bool {
        let spared = || {
            self.configured(url)
                .is_some_and(|h| h.spares(Insecure::Http))
        };
        match url.scheme() {
            "https" => true,
            "http" => self.0.checks.allow_plain || is_loopback(url) || spared(),
            _ => false,
        }
    }

    fn configured(&self, url: &Url) -> Option<&Host> {
        self.0.checks.hosts.get(&host(url))
    }

    /// The library's client for the URL's host, made when it is first needed.
    fn client(&self, url: &Url) -> Result<blocking::Client, HttpError> {
        let own = self.configured(url).filter(|h| h.has_own_tls());
        let key = own.map(|_| host(url)).unwrap_or_default();
        let mut clients = self
            .0
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = tls::client(self.0.checks.skip_tls, &host(url), own)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Asks until there is an answer other than "later", and follows it.
    pub(crate) fn get(&self, get: &Get<'_>) -> Result<blocking::Response, HttpError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.follow(get);
            let wait = match &result {
                Ok(response) => match later(response) {
                    None => return result,
                    Some(asked) => asked.unwrap_or(pause),
                },
                Err(HttpError::Connect { cause, .. }) if is_passing(cause) => pause,
                Err(_) => return result,
            };
            let over = attempts >= MAX_ATTEMPTS || start.elapsed() + wait > DEADLINE;
            if over {
                return result.and_then(|response| {
                    Err(HttpError::Unavailable {
                        host: host(&get.url),
                        status: response.status(),
                        attempts,
                    })
                });
            }
            std::thread::sleep(wait);
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn follow(&self, get: &Get<'_>) -> Result<blocking::Response, HttpError> {
        let mut url = get.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            // A redirect may not lead from TLS to plain text, but to a
            // loopback server it may: nobody can listen there.
            if !self.permits(&url) {
                return Err(HttpError::Plain(host(&url)));
            }
            let response = self.ask(&url, get)?;
            // Not 304: that is the answer to a condition.
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            if get.form.is_some() {
                // What the form holds is for this host.
                return Err(HttpError::BadRedirect(host(&url)));
            }
            url = response
                .headers()
                .get(LOCATION)
                .and_then(|l| l.to_str().ok())
                .and_then(|l| url.join(l).ok())
                .ok_or_else(|| HttpError::BadRedirect(host(&url)))?;
        }
        Err(HttpError::TooManyRedirects(host(&get.url)))
    }

    fn ask(&self, url: &Url, get: &Get<'_>) -> Result<blocking::Response, HttpError> {
        let mut headers = get.headers.clone();
        if let Some(accept) = get.accept.and_then(|a| HeaderValue::from_str(a).ok()) {
            headers.insert(ACCEPT, accept);
        }
        if let Some(authorization) = &get.authorization
            && url.origin() == get.url.origin()
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if get.from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", get.from))
        {
            headers.insert(RANGE, range);
        }
        let client = self.client(url)?;
        let request = match &get.form {
            None => client.get(url.clone()),
            Some(form) => client
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone()),
        };
        request
            .headers(headers)
            .send()
            .map_err(|error| HttpError::Connect {
                host: host(url),
                cause: error.without_url(),
            })
    }
}

/// `None` if the answer is final; else the pause that the server asks for.
fn later(response: &blocking::Response) -> Option<Option<Duration>> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    Some(seconds.map(|s| Duration::from_secs(s).min(MAX_PAUSE)))
}

/// A name that does not resolve or a port where nobody listens will not change
/// in a second; a connection that broke or took too long may.
fn is_passing(error: &reqwest::Error) -> bool {
    !error.is_connect() && !error.is_builder()
}

/// `host` or `host:port`, for messages.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Nobody between us and the server.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
