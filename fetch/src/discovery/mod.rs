//! From an appc name to URLs: meta discovery.
//!
//! ```text
//! example.com/a/b ─▶ GET https://example.com/a/b?ac-discovery=1
//!                    GET https://example.com/a?ac-discovery=1      until one has
//!                    GET https://example.com?ac-discovery=1        a fitting tag
//!
//! <meta name="ac-discovery"         content="example.com https://cdn/{name}-{version}.{ext}">
//! <meta name="ac-discovery-pubkeys" content="example.com https://example.com/pubkeys.gpg">
//! ```
//!
//! Images and keys are looked for independently of each other: each walk ends
//! at the first page that has something of its kind.
//!
//! Source: appc specification, "Image Discovery". Absent on purpose: simple
//! discovery, which the specification took away.

mod html;
mod template;

use manifests::appc::AcIdentifier;
use manifests::platform::Platform;
use reqwest::Url;

use crate::error::{FetchError, Reason};
use crate::fetcher::Fetcher;
use crate::lookup;
use crate::reference::AppName;
use crate::transport::{Web, WebError};

/// A page that says where things are, not the things themselves.
const MAX_PAGE: u64 = 1 << 20;

/// A file of public keys.
const MAX_KEYS: u64 = 4 << 20;

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// No page could be had.
    #[error("discovery failed for {name}: {source}")]
    NoPage {
        /// What was looked for.
        name: AcIdentifier,
        /// Why the first page could not be had.
        source: WebError,
    },
    /// There are pages, but none has a tag that fits.
    #[error(
        "discovery failed for {name}: no {tag} tag for it is found on https://{name} or above; \
         check the name, or fetch the image by its URL"
    )]
    NoTag {
        /// What was looked for.
        name: AcIdentifier,
        /// The tag's name.
        tag: &'static str,
    },
    /// Tags that fit, whose templates need labels that were not given.
    #[error(
        "discovery failed for {name}: the template {template:?} needs a label that was not \
         given; write it behind the name (NAME,LABEL=VALUE)"
    )]
    Template {
        /// What was looked for.
        name: AcIdentifier,
        /// The first template.
        template: String,
    },
    /// A tag that leads to something that is no URL.
    #[error("discovery of {name} leads to {url:?}, which is no http or https URL")]
    Url {
        /// What was looked for.
        name: AcIdentifier,
        /// Where it leads.
        url: String,
    },
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) image: Url,
    pub(crate) signature: Url,
}

/// Where keys are that a site offers for the images of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLocation {
    /// What the site wants its keys to be trusted for.
    pub prefix: String,
    /// An `https` URL, or an `http` one.
    pub url: String,
}

const IMAGES: &str = "ac-discovery";
const KEYS: &str = "ac-discovery-pubkeys";

/// The endpoints of an image, in the order of the page.
pub(crate) fn endpoints(
    web: &Web,
    app: &AppName,
    platform: &Platform,
) -> Result<Vec<Endpoint>, DiscoveryError> {
    let name = app.name();
    let labels = lookup::with_defaults(app, Some(platform));
    let templates = walk(web, name, IMAGES)?;
    let mut found = Vec::new();
    for (_, template) in &templates {
        let render = |extension| template::render(template, app, &labels, extension);
        let (Some(image), Some(signature)) = (render("aci"), render("aci.asc")) else {
            continue;
        };
        found.push(Endpoint {
            image: parse_url(name, &image)?,
            signature: parse_url(name, &signature)?,
        });
    }
    match templates.into_iter().next() {
        Some((_, template)) if found.is_empty() => Err(DiscoveryError::Template {
            name: name.clone(),
            template,
        }),
        _ => Ok(found),
    }
}

/// Prefix and content of the fitting tags of the nearest page that has any.
fn walk(
    web: &Web,
    name: &AcIdentifier,
    tag: &'static str,
) -> Result<Vec<(String, String)>, DiscoveryError> {
    let mut level = name.as_str();
    let mut first_error = None;
    let mut has_page = false;
    loop {
        match page(web, level) {
            Ok(page) => {
                has_page = true;
                let found = tags(&page, tag, name);
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            Err(error) => {
                // Every page on the way is the same host's.
                let hopeless = error.is_about_host();
                first_error.get_or_insert(error);
                if hopeless {
                    break;
                }
            }
        }
        match level.rsplit_once('/') {
            Some((above, _)) => level = above,
            None => break,
        }
    }
    let name = name.clone();
    Err(match first_error {
        Some(source) if !has_page => DiscoveryError::NoPage { name, source },
        _ => DiscoveryError::NoTag { name, tag },
    })
}

/// By TLS; by plain HTTP only where that is allowed and TLS gives nothing.
fn page(web: &Web, level: &str) -> Result<String, WebError> {
    let ask = |scheme: &str| {
        let text = format!("{scheme}://{level}?ac-discovery=1");
        let url = Url::parse(&text).map_err(|_| WebError::NotFound(text))?;
        let bytes = web.small(&url, MAX_PAGE)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    ask("https").or_else(|error| match web.allows_plain(level) {
        true => ask("http").map_err(|_| error),
        false => Err(error),
    })
}

fn tags(page: &str, tag: &str, name: &AcIdentifier) -> Vec<(String, String)> {
    html::meta_tags(page)
        .into_iter()
        .filter(|(name, _)| name == tag)
        .filter_map(|(_, content)| {
            let (prefix, rest) = content.trim().split_once(' ')?;
            let rest = rest.trim();
            let fits = name.as_str().starts_with(prefix) && !rest.is_empty();
            fits.then(|| (prefix.to_owned(), rest.to_owned()))
        })
        .collect()
}

fn parse_url(name: &AcIdentifier, text: &str) -> Result<Url, DiscoveryError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(DiscoveryError::Url {
            name: name.clone(),
            url: text.to_owned(),
        }),
    }
}

impl Fetcher<'_> {
    /// Where the keys are that sign images of this name, as the name's own site
    /// says; in the order of its page. They are not to be trusted for that
    /// alone.
    ///
    /// `allow_http`: plain HTTP may be spoken to find them
    /// (`rkt trust --insecure-allow-http`). TLS is not checked only with both
    /// insecure options `tls` and `pubkey`.
    ///
    /// # Errors
    /// The site cannot be reached or says nothing about keys.
    pub fn discover_keys(
        &self,
        name: &AcIdentifier,
        allow_http: bool,
    ) -> Result<Vec<KeyLocation>, FetchError> {
        let discover = || {
            let web = self.key_web(allow_http);
            let found = walk(&web, name, KEYS)?;
            found
                .into_iter()
                .map(|(prefix, url)| {
                    let url = parse_url(name, &url)?.to_string();
                    Ok(KeyLocation { prefix, url })
                })
                .collect::<Result<_, Reason>>()
        };
        discover().map_err(|reason| FetchError::Keys(Box::new(reason)))
    }

    /// The file of keys behind a URL, for instance one of
    /// [`Fetcher::discover_keys`]. No credentials are sent.
    ///
    /// # Errors
    /// It cannot be had, or is plain HTTP and `allow_http` is not set.
    pub fn download_keys(&self, url: &str, allow_http: bool) -> Result<Vec<u8>, FetchError> {
        let download = || {
            let parsed = Url::parse(url).map_err(|_| WebError::NotFound(url.to_owned()))?;
            Ok(self.key_web(allow_http).small(&parsed, MAX_KEYS)?)
        };
        download().map_err(|reason: Reason| FetchError::Keys(Box::new(reason)))
    }

    fn key_web(&self, allow_http: bool) -> Web {
        Web::new(&self.key_access(allow_http))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_of_the_kind_and_for_the_name_count() {
        let page = r#"
            <meta name="ac-discovery" content="example.com/other https://x/{name}">
            <meta name="ac-discovery" content="  example.com/app   https://y/{name} ">
            <meta name="ac-discovery" content="example.com">
            <meta name="ac-discovery-pubkeys" content="example.com https://y/keys">"#;
        let name = "example.com/app/part".parse().unwrap();
        let found = |tag| tags(page, tag, &name);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found(IMAGES), [pair("example.com/app", "https://y/{name}")]);
        assert_eq!(found(KEYS), [pair("example.com", "https://y/keys")]);
        assert!(parse_url(&name, "ftp://x/y").is_err());
        assert!(parse_url(&name, "file:///etc/passwd").is_err());
        assert!(parse_url(&name, "/x").is_err());
    }
}
