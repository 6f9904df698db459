//! The library's clients: how patient they are, and whom they believe.

use std::fs;
use std::path::Path;
use std::time::Duration;

use manifests::config::{Host, Insecure};
use reqwest::blocking::{Client, ClientBuilder};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity};

use super::HttpError;

/// How rkt calls itself.
const USER_AGENT: &str = concat!("rkt/", env!("CARGO_PKG_VERSION"));

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// For the head of an answer, and for each piece of its body.
const READ_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// A client for hosts of the usual kind, or for this one.
pub(super) fn client(skip_tls: bool, host: &str, own: Option<&Host>) -> Result<Client, HttpError> {
    // An error says that somebody in this process was first; fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let skip_tls = skip_tls || own.is_some_and(|h| h.spares(Insecure::Tls));
    let error = |path: &Path, reason: String| HttpError::Certificate {
        host: host.to_owned(),
        path: path.to_owned(),
        reason,
    };
    let read = |path: &Path| fs::read(path).map_err(|e| error(path, e.to_string()));
    let authorities = match own.and_then(|h| h.ca.as_deref()) {
        None => None,
        Some(path) => {
            let found = Certificate::from_pem_bundle(&read(path)?)
                .map_err(|e| error(path, super::innermost(&e)))?;
            if found.is_empty() {
                return Err(error(path, "it holds no certificate".to_owned()));
            }
            Some(found)
        }
    };
    let identity = match own.and_then(|h| h.certificate.as_deref().zip(h.key.as_deref())) {
        None => None,
        Some((certificate, key)) => {
            let mut pem = read(key)?;
            pem.push(b'\n');
            pem.extend(read(certificate)?);
            let identity = Identity::from_pem(&pem);
            Some(identity.map_err(|e| error(certificate, super::innermost(&e)))?)
        }
    };
    let builder = || -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(READ_TIMEOUT)
            .tls_danger_accept_invalid_certs(skip_tls);
        match &identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    };
    if let Some(authorities) = authorities {
        let only = builder().tls_certs_only(authorities);
        return only.build().map_err(HttpError::Setup);
    }
    // A system without CA certificates can still talk to those that need
    // none; others will fail when they show theirs.
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
        .map_err(HttpError::Setup)
}
