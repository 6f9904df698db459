//! `cimd:TYPE:v=0:DATA`, the canonical distribution URI.

use std::collections::BTreeMap;
use std::fmt;

use super::{AppName, DockerReference, Reference, ReferenceError, Surroundings, percent_decode};

/// Parses what stands behind `cimd:`; `uri` is the whole, for messages.
pub(super) fn parse(
    uri: &str,
    rest: &str,
    files: &dyn Surroundings,
) -> Result<Reference, ReferenceError> {
    let error = |reason: &str| ReferenceError::Cimd {
        uri: uri.to_owned(),
        reason: reason.to_owned(),
    };
    let mut parts = rest.splitn(3, ':');
    let (Some(kind), Some(version), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(error("expected cimd:TYPE:v=0:DATA"));
    };
    if version != "v=0" {
        return Err(error("the only known version is v=0"));
    }
    match kind {
        "docker" => DockerReference::parse(data).map(Reference::Docker),
        "aci-archive" => {
            let url = percent_decode(data).ok_or_else(|| error("broken percent escape"))?;
            match Reference::parse_in(&url, files)? {
                archive @ (Reference::AciFile(_) | Reference::AciUrl(_)) => Ok(archive),
                _ => Err(error("aci-archive needs the URL of an ACI")),
            }
        }
        "appc" => {
            let (name, query) = data.split_once('?').unwrap_or((data, ""));
            let mut labels = BTreeMap::new();
            for pair in query.split('&').filter(|p| !p.is_empty()) {
                let (label, value) = pair
                    .split_once('=')
                    .ok_or_else(|| error("has a label without a value"))?;
                let decode =
                    |s: &str| percent_decode(s).ok_or_else(|| error("broken percent escape"));
                if labels.insert(decode(label)?, decode(value)?).is_some() {
                    return Err(error("has the same label twice"));
                }
            }
            AppName::new(name, labels)
                .map(Reference::App)
                .map_err(|reason| error(&reason))
        }
        _ => Err(error("the type must be appc, aci-archive or docker")),
    }
}

/// Writes the URI of an appc name.
pub(super) fn write_appc(app: &AppName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "cimd:appc:v=0:{}", app.name())?;
    for (index, (label, value)) in app.labels().iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        write!(f, "{separator}{label}=")?;
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    write!(f, "{}", char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
    }
    Ok(())
}
