//! `NAME[:VERSION][,LABEL=VALUE…]`, an appc name.

use std::collections::BTreeMap;
use std::fmt;

use manifests::appc::AcIdentifier;

use super::ReferenceError;

/// An image name with the labels it was asked with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppName {
    name: AcIdentifier,
    labels: BTreeMap<AcIdentifier, String>,
}

impl AppName {
    /// Parses a name as it stands on a command line.
    ///
    /// # Errors
    /// [`ReferenceError::App`] names the part against the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let error = |reason: String| ReferenceError::App {
            name: text.to_owned(),
            reason,
        };
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or_default();
        let (name, version) = match head.split_once(':') {
            None => (head, None),
            Some((_, v)) if v.contains(':') => {
                return Err(error(
                    "malformed app string - colon may appear at most once".into(),
                ));
            }
            Some((name, version)) => (name, Some(version)),
        };
        let mut labels = BTreeMap::new();
        if let Some(version) = version {
            labels.insert("version".to_owned(), version.to_owned());
        }
        for part in parts {
            let Some((label, value)) = part.split_once('=') else {
                let reason = if part.contains(':') {
                    "malformed app string - colon may appear only right after the app name".into()
                } else {
                    format!("malformed string - has a label without a value: {part:?}")
                };
                return Err(error(reason));
            };
            if labels.insert(label.to_owned(), value.to_owned()).is_some() {
                return Err(error(format!("label {label:?} is given twice")));
            }
        }
        Self::new(name, labels).map_err(error)
    }

    /// A name from its parts; the reason if one of them is against the grammar.
    pub(crate) fn new(name: &str, labels: BTreeMap<String, String>) -> Result<Self, String> {
        let identifier = |s: &str| s.parse::<AcIdentifier>().map_err(|e| e.to_string());
        let check = |(label, value): (String, String)| {
            if value.is_empty() {
                return Err(format!("label {label:?} has no value"));
            }
            if value.contains(',') || (label == "version" && value.contains(':')) {
                return Err(format!("label {label:?} must not contain a separator"));
            }
            Ok((identifier(&label)?, value))
        };
        Ok(Self {
            name: identifier(name)?,
            labels: labels.into_iter().map(check).collect::<Result<_, _>>()?,
        })
    }

    /// The image's name, without its labels.
    pub fn name(&self) -> &AcIdentifier {
        &self.name
    }

    /// The labels asked for, the version among them.
    pub fn labels(&self) -> &BTreeMap<AcIdentifier, String> {
        &self.labels
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        if let Some(version) = self.labels.get("version") {
            write!(f, ":{version}")?;
        }
        for (label, value) in self.labels.iter().filter(|(label, _)| **label != "version") {
            write!(f, ",{label}={value}")?;
        }
        Ok(())
    }
}
