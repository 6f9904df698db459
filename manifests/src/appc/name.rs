//! The schema's constrained strings.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a string is not one of the schema's constrained strings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {kind}: {rule}")]
pub struct NameError {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

/// Implements a checked string: parsing, printing, comparing and serde.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The string, known to be well formed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(s: &str) -> Result<Self, NameError> {
                match $check(s) {
                    Ok(()) => Ok(Self(s.to_owned())),
                    Err(rule) => Err(NameError { kind: $kind, value: s.to_owned(), rule }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_string!(
    /// `^[a-z0-9]+([-._~/][a-z0-9]+)*$`: names of images, labels, annotations
    /// and isolators. Source: appc specification, "AC Identifier Type".
    ///
    /// One pair of separators is let through although the pattern forbids it:
    /// `/~`, because names that look like URLs have home directories.
    AcIdentifier,
    "an AC identifier",
    check_identifier
);

checked_string!(
    /// `^[a-z0-9]+([-][a-z0-9]+)*$`: names of apps, volumes, mount points and
    /// ports. Source: appc specification, "AC Name Type".
    AcName,
    "an AC name",
    check_name
);

checked_string!(
    /// `^[A-Za-z_][A-Za-z_0-9.-]*$`: name of an environment variable. The text
    /// does not say which characters may come first; this is what the
    /// reference library enforces.
    EnvironmentName,
    "an environment variable name",
    check_environment
);

/// Single separators between runs of lower-case letters and digits.
fn separated(s: &str, separators: &[u8]) -> bool {
    let mut inside_run = false;
    for b in s.bytes() {
        match b {
            b'a'..=b'z' | b'0'..=b'9' => inside_run = true,
            _ if inside_run && separators.contains(&b) => inside_run = false,
            _ => return false,
        }
    }
    inside_run
}

fn check_identifier(s: &str) -> Result<(), &'static str> {
    separated(&s.replace("/~", "/"), b"-._~/").then_some(()).ok_or(
        "expected lower-case letters and digits, separated by single characters out of \"-._~/\"",
    )
}

fn check_name(s: &str) -> Result<(), &'static str> {
    separated(s, b"-")
        .then_some(())
        .ok_or("expected lower-case letters and digits, separated by single \"-\"")
}

fn check_environment(s: &str) -> Result<(), &'static str> {
    let first = matches!(s.bytes().next(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'_'));
    let rest = s
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    (first && rest)
        .then_some(())
        .ok_or("expected a letter or \"_\", then letters, digits and \"_.-\"")
}

impl AcIdentifier {
    /// The nearest identifier: lower-cased, foreign characters replaced by
    /// `_`, separators collapsed to the first of a run and trimmed at both
    /// ends.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn sanitize(s: &str) -> Result<Self, NameError> {
        sanitize(s, '_', b"-._~/").parse().map_err(|_| NameError {
            kind: "usable as an AC identifier",
            value: s.to_owned(),
            rule: "it holds no letter and no digit",
        })
    }
}

impl AcName {
    /// The nearest name: lower-cased, foreign characters replaced by `-`, runs
    /// of `-` collapsed to one and trimmed at both ends.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn sanitize(s: &str) -> Result<Self, NameError> {
        sanitize(s, '-', b"-").parse().map_err(|_| NameError {
            kind: "usable as an AC name",
            value: s.to_owned(),
            rule: "it holds no letter and no digit",
        })
    }
}

/// The reference library leaves runs of separators alone, so its results need
/// not match the specification's own pattern; collapsing them makes every
/// result a valid name.
fn sanitize(s: &str, replacement: char, separators: &[u8]) -> String {
    let is_run = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut out = String::with_capacity(s.len());
    let mut pending = None;
    for c in s.to_lowercase().chars() {
        if is_run(c) {
            if let (Some(separator), false) = (pending.take(), out.is_empty()) {
                out.push(separator);
            }
            out.push(c);
        } else {
            let separator = match u8::try_from(c) {
                Ok(b) if separators.contains(&b) => c,
                _ => replacement,
            };
            pending.get_or_insert(separator);
        }
    }
    out
}

/// A SemVer 2.0.0 version other than the empty `0.0.0`.
/// Source: appc specification, "AC Version Type".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AcVersion(semver::Version);

impl AcVersion {
    /// The version that we write.
    pub fn current() -> Self {
        Self(semver::Version::new(0, 8, 11))
    }

    /// The series: manifest and reader must share it.
    pub fn major(&self) -> u64 {
        self.0.major
    }
}

impl FromStr for AcVersion {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let error = |rule| NameError {
            kind: "a version",
            value: s.to_owned(),
            rule,
        };
        let version = semver::Version::parse(s)
            .map_err(|_| error("expected MAJOR.MINOR.PATCH as in SemVer 2.0.0"))?;
        if version == semver::Version::new(0, 0, 0) {
            return Err(error("0.0.0 counts as no version"));
        }
        Ok(Self(version))
    }
}

impl fmt::Display for AcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for AcVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AcVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_name_is_made_one() {
        let identifier = |s| AcIdentifier::sanitize(s).map(|i| i.to_string());
        assert_eq!(identifier("foo#").unwrap(), "foo");
        assert_eq!(identifier("EXAMPLE.com").unwrap(), "example.com");
        assert_eq!(identifier("-/.app..").unwrap(), "app");
        assert_eq!(identifier("host:5000/a__b").unwrap(), "host_5000/a_b");
        assert!(identifier("__").is_err());

        let name = |s| AcName::sanitize(s).map(|n| n.to_string());
        assert_eq!(name("example.com/app_1").unwrap(), "example-com-app-1");
        assert_eq!(name("app///").unwrap(), "app");
        assert_eq!(name("a--b").unwrap(), "a-b");
        assert!(name("..").is_err());
    }

    #[test]
    fn environment_names_are_what_a_shell_could_take_and_a_little_more() {
        for good in ["_", "A1", "queue.size", "_X-1"] {
            assert!(good.parse::<EnvironmentName>().is_ok(), "{good}");
        }
        for bad in ["", "1A", ".a", "-a", "a=b", "a b", "\u{e9}"] {
            assert!(bad.parse::<EnvironmentName>().is_err(), "{bad}");
        }
    }
}
