//! Requests to S3 and what speaks like it, signed with AWS signature version 4.
//!
//! Source: the S3 API reference, "Authenticating Requests: Using the
//! Authorization Header".

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use manifests::config::AwsCredentials;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::http;

/// Where no host name says otherwise.
const DEFAULT_REGION: &str = "us-east-1";

/// Of no body.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// The header `Authorization` of a GET, and what else must be said with it.
pub(super) fn sign(
    url: &Url,
    credentials: &AwsCredentials,
    now: Timestamp,
) -> Option<(HeaderValue, HeaderMap)> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = time.get(..8)?;
    let host = http::host(url);
    let region = match &credentials.region {
        Some(region) => region,
        None => region_of(url.host_str()?).unwrap_or(DEFAULT_REGION),
    };
    let request = format!(
        "GET\n{}\n{}\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{time}\n\n{SIGNED}\n{EMPTY}",
        url.path(),
        canonical_query(url),
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request))
    );
    let secret = format!("AWS4{}", credentials.secret_access_key.reveal());
    let mut key = secret.into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex(&hmac(&key, &to_sign));
    let mut authorization = HeaderValue::from_str(&format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={SIGNED},Signature={signature}",
        credentials.access_key_id,
    ))
    .ok()?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-amz-content-sha256"),
        HeaderValue::from_static(EMPTY),
    );
    let name = HeaderName::from_static("x-amz-date");
    headers.insert(name, HeaderValue::from_str(&time).ok()?);
    Some((authorization, headers))
}

/// Sorted; a name without a value keeps its equals sign.
fn canonical_query(url: &Url) -> String {
    let mut pairs: Vec<String> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// `s3-REGION.…`, `s3.REGION.…`, and both behind a bucket.
fn region_of(host: &str) -> Option<&str> {
    let labels: Vec<&str> = host.split('.').collect();
    let at = labels
        .iter()
        .position(|l| *l == "s3" || l.starts_with("s3-"))?;
    let region = match labels[at].strip_prefix("s3-") {
        Some(region) => region,
        None => labels.get(at + 1)?,
    };
    // Without a region, what follows is the provider.
    (region.contains('-')).then_some(region)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length are fine");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's own example.
    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let credentials = AwsCredentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: None,
        };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/?lifecycle").unwrap();
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().unwrap();
        let (authorization, headers) = sign(&url, &credentials, now).unwrap();
        let text = authorization.to_str().unwrap();
        assert!(
            text.ends_with(
                "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
            ),
            "{text}"
        );
        assert!(
            text.contains("/20130524/us-east-1/s3/aws4_request"),
            "{text}"
        );
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
    }

    #[test]
    fn regions_are_read_from_host_names() {
        assert_eq!(region_of("s3-eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(
            region_of("b.s3.eu-central-1.amazonaws.com"),
            Some("eu-central-1")
        );
        assert_eq!(region_of("b.s3.amazonaws.com"), None);
        assert_eq!(region_of("example.com"), None);
    }
}
