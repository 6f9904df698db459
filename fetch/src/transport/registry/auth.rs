//! Answering a registry's challenge.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::blocking::Response;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::RegistryError;
use super::challenge::Challenge;
use crate::credentials::Login;
use crate::transport::http::{self, Client, Get};
use manifests::config::UserPassword;

/// A token and what surrounds it.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The `Authorization` header that one of the challenges wants; `None` if all
/// of them want a login and there is none.
pub(super) fn answer(
    client: &Client,
    (registry, repository): (&str, &str),
    login: Option<Login>,
    headers: &[&str],
) -> Result<Option<HeaderValue>, RegistryError> {
    if let Some(Login::Token(token)) = &login {
        return Ok(secret(&format!("Bearer {}", token.reveal())));
    }
    let challenges: Vec<_> = headers
        .iter()
        .flat_map(|h| Challenge::parse_all(h))
        .collect();
    if let Some(bearer) = challenges.iter().find(|c| c.scheme == "bearer") {
        return token(client, (registry, repository), login, bearer).map(Some);
    }
    if challenges.iter().any(|c| c.scheme == "basic") {
        return Ok(login.as_ref().and_then(password));
    }
    Err(RegistryError::Challenge {
        host: registry.to_owned(),
        challenge: headers.join(", "),
    })
}

fn token(
    client: &Client,
    (registry, repository): (&str, &str),
    login: Option<Login>,
    challenge: &Challenge,
) -> Result<HeaderValue, RegistryError> {
    let registry = registry.to_owned();
    let realm = challenge.parameter("realm").unwrap_or_default();
    let Ok(mut url) = Url::parse(realm) else {
        let challenge = format!("Bearer realm={realm:?}");
        return Err(RegistryError::Challenge {
            host: registry,
            challenge,
        });
    };
    let default_scope = format!("repository:{repository}:pull");
    let scope = challenge.parameter("scope").unwrap_or(&default_scope);
    let service = challenge.parameter("service");
    let form = match &login {
        // RFC 6749, section 6, as the token specification has it.
        Some(Login::Identity(token)) => Some(form(&[
            ("grant_type", "refresh_token"),
            ("client_id", "rkt"),
            ("service", service.unwrap_or_default()),
            ("scope", scope),
            ("refresh_token", token.reveal()),
        ])),
        _ => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", scope);
            None
        }
    };
    let host = http::host(&url);
    let error = |reason: String| RegistryError::Token {
        host: host.clone(),
        registry: registry.clone(),
        reason,
    };
    let response = client.get(&Get {
        accept: Some("application/json"),
        authorization: login.as_ref().and_then(password),
        form,
        ..Get::new(url)
    })?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(error(match login {
                Some(_) => "it refuses the credentials".to_owned(),
                None => {
                    "it wants credentials; put them into auth.d, or use `podman login`".to_owned()
                }
            }));
        }
        status => return Err(error(format!("it answers {status}"))),
    }
    let answer: TokenAnswer = read(response)
        .map_err(|e| error(e.to_string()))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| error(e.to_string())))?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|t| !t.is_empty())
        .ok_or_else(|| error("its answer holds none".to_owned()))?;
    secret(&format!("Bearer {token}")).ok_or_else(|| error("it is no valid token".to_owned()))
}

fn password(login: &Login) -> Option<HeaderValue> {
    match login {
        Login::Password(login) => basic(login),
        Login::Identity(_) | Login::Token(_) => None,
    }
}

/// `application/x-www-form-urlencoded`, as URLs encode their queries.
fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://localhost/").expect("a constant");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

fn read(response: Response) -> io::Result<Vec<u8>> {
    let read = http::read_document(response, MAX_ANSWER)?;
    read.ok_or_else(|| io::Error::other("its answer is too long"))
}

/// RFC 7617.
pub(in crate::transport) fn basic(login: &UserPassword) -> Option<HeaderValue> {
    let pair = format!("{}:{}", login.user, login.password.reveal());
    secret(&format!("Basic {}", BASE64.encode(pair)))
}

/// A header that the library keeps out of its debug prints.
pub(in crate::transport) fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
