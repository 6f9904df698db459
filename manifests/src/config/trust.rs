//! Which images are let in: kind `trust`.
//!
//! A file holds rules. Each is about one name and what lies below it; for an
//! image the rule with the longest name counts, alone. Unlike elsewhere,
//! members that are not known are errors here: a misspelt one would weaken
//! what its author meant.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use super::error::Problem;
use crate::appc::AcIdentifier;
use crate::oci::HUB_REGISTRY;
use crate::trust::{AppliedRule, Scope};

/// What has to be true of an image before it is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// It is not let in, whatever vouches for it.
    Reject,
    /// One of these vouches for it.
    SignedBy(Vec<Signer>),
    /// It is the one that was first seen under its name, or that the user
    /// accepted since.
    Pinned,
    /// Nothing.
    Anything,
}

impl Level {
    /// The word of the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::SignedBy(_) => "signed-by",
            Self::Pinned => "pinned",
            Self::Anything => "anything",
        }
    }
}

/// Somebody whose signature is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SignerFile", into = "SignerFile")]
pub enum Signer {
    /// The OpenPGP keys that the keystore trusts for the image's name; of
    /// these only those with the fingerprints, if there are any.
    OpenPgp {
        /// Lower-case hexadecimal.
        fingerprints: Vec<String>,
    },
    /// A public key of cosign's kind.
    Key {
        /// Where it is.
        key: KeySource,
        /// Where the transparency log's keys are, if signatures have to stand
        /// in one.
        trust_root: Option<PathBuf>,
    },
    /// Somebody whom a certificate names.
    Identity {
        /// The mail address or URI; `*` stands for any characters.
        subject: String,
        /// The URL of who vouches for the subject.
        issuer: String,
        /// The file with the authorities' certificates and the logs' keys:
        /// sigstore's `trusted_root.json`.
        trust_root: PathBuf,
    },
}

/// Where a public key is had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A PEM file.
    File(PathBuf),
    /// PEM in the configuration itself.
    Data(String),
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenPgp { fingerprints } if fingerprints.is_empty() => {
                f.write_str("an OpenPGP key of the keystore")
            }
            Self::OpenPgp { fingerprints } => {
                write!(f, "the OpenPGP key {}", fingerprints.join(" or "))
            }
            Self::Key { key, trust_root } => {
                match key {
                    KeySource::File(file) => write!(f, "the key in {}", file.display())?,
                    KeySource::Data(_) => f.write_str("the key in the policy itself")?,
                }
                match trust_root {
                    Some(root) => write!(f, ", logged as {} wants", root.display()),
                    None => Ok(()),
                }
            }
            Self::Identity {
                subject,
                issuer,
                trust_root,
            } => write!(
                f,
                "{subject} as {issuer} says, certified as {} wants",
                trust_root.display()
            ),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignerFile {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fingerprints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trust_root: Option<PathBuf>,
}

impl SignerFile {
    fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            fingerprints: Vec::new(),
            file: None,
            data: None,
            subject: None,
            issuer: None,
            trust_root: None,
        }
    }

    /// The members that are there and have no business in a signer of `kind`.
    fn check_members(&self, allowed: &[&str]) -> Result<(), String> {
        let there = [
            ("fingerprints", !self.fingerprints.is_empty()),
            ("file", self.file.is_some()),
            ("data", self.data.is_some()),
            ("subject", self.subject.is_some()),
            ("issuer", self.issuer.is_some()),
            ("trustRoot", self.trust_root.is_some()),
        ];
        match there.iter().find(|(m, is)| *is && !allowed.contains(m)) {
            Some((member, _)) => Err(format!(
                "a signer of type {:?} has no {member:?}",
                self.kind
            )),
            None => Ok(()),
        }
    }
}

/// Policies are read by whoever runs rkt, wherever that is.
fn absolute(member: &str, path: PathBuf) -> Result<PathBuf, String> {
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("{member:?} must be an absolute path, not {path:?}")),
    }
}

fn fingerprint(text: &str) -> Result<String, String> {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = bare.to_ascii_lowercase();
    match matches!(bare.len(), 40 | 64) && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(bare),
        false => Err(format!(
            "{text:?} is no OpenPGP fingerprint (40 or 64 hexadecimal digits)"
        )),
    }
}

impl TryFrom<SignerFile> for Signer {
    type Error = String;

    fn try_from(file: SignerFile) -> Result<Self, String> {
        let missing = |member: &str| format!("a signer of type {:?} needs {member}", file.kind);
        match file.kind.as_str() {
            "openpgp" => {
                file.check_members(&["fingerprints"])?;
                let fingerprints = file.fingerprints.iter().map(|f| fingerprint(f));
                Ok(Self::OpenPgp {
                    fingerprints: fingerprints.collect::<Result<_, _>>()?,
                })
            }
            "key" => {
                file.check_members(&["file", "data", "trustRoot"])?;
                let missing = missing("\"file\" or \"data\"");
                Ok(Self::Key {
                    key: match (file.file, file.data) {
                        (Some(path), None) => KeySource::File(absolute("file", path)?),
                        (None, Some(data)) => KeySource::Data(data),
                        _ => return Err(missing),
                    },
                    trust_root: file
                        .trust_root
                        .map(|path| absolute("trustRoot", path))
                        .transpose()?,
                })
            }
            "identity" => {
                file.check_members(&["subject", "issuer", "trustRoot"])?;
                let said = |text: Option<String>| text.filter(|t| !t.is_empty());
                let error = missing("\"subject\", \"issuer\" and \"trustRoot\"");
                match (said(file.subject), said(file.issuer), file.trust_root) {
                    (Some(subject), Some(issuer), Some(root)) => Ok(Self::Identity {
                        subject,
                        issuer,
                        trust_root: absolute("trustRoot", root)?,
                    }),
                    _ => Err(error),
                }
            }
            other => Err(format!(
                "unknown type of signer {other:?} (known: openpgp, key, identity)"
            )),
        }
    }
}

impl From<Signer> for SignerFile {
    fn from(signer: Signer) -> Self {
        match signer {
            Signer::OpenPgp { fingerprints } => Self {
                fingerprints,
                ..Self::of("openpgp")
            },
            Signer::Key { key, trust_root } => {
                let (file, data) = match key {
                    KeySource::File(file) => (Some(file), None),
                    KeySource::Data(data) => (None, Some(data)),
                };
                Self {
                    file,
                    data,
                    trust_root,
                    ..Self::of("key")
                }
            }
            Signer::Identity {
                subject,
                issuer,
                trust_root,
            } => Self {
                subject: Some(subject),
                issuer: Some(issuer),
                trust_root: Some(trust_root),
                ..Self::of("identity")
            },
        }
    }
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleFile")]
pub struct Rule {
    /// The images it is about.
    #[serde(rename = "prefix", serialize_with = "prefix")]
    pub scope: Scope,
    /// What they have to be.
    #[serde(flatten, serialize_with = "level")]
    pub level: Level,
    /// The repository that signatures name, if the images are copies from
    /// there; else they have to name the one they are fetched from.
    #[serde(rename = "signedAs", skip_serializing_if = "Option::is_none")]
    pub signed_as: Option<String>,
    /// The file it stands in.
    #[serde(skip)]
    pub file: String,
}

impl Rule {
    /// As the image record remembers it.
    pub fn applied(&self) -> AppliedRule {
        AppliedRule {
            prefix: self.scope.prefix().to_owned(),
            level: self.level.as_str().to_owned(),
            file: self.file.clone(),
        }
    }
}

fn prefix<S: Serializer>(scope: &Scope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scope.prefix())
}

fn level<S: Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Written<'a> {
        level: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signers: Option<&'a [Signer]>,
    }
    let signers = match level {
        Level::SignedBy(signers) => Some(signers.as_slice()),
        _ => None,
    };
    Written {
        level: level.as_str(),
        signers,
    }
    .serialize(serializer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleFile {
    prefix: String,
    level: String,
    signers: Option<Vec<Signer>>,
    signed_as: Option<String>,
}

/// The names that a prefix, as people write it, is about: a registry's port
/// and what else an appc name cannot hold is written as in image names, and
/// Docker Hub has several names.
///
/// # Errors
/// The text holds no letter and no digit, and is not empty.
pub fn scope_of(prefix: &str) -> Result<Scope, String> {
    let text = prefix.strip_prefix("docker://").unwrap_or(prefix);
    if text.is_empty() {
        return Ok(Scope::Root);
    }
    let hub = ["docker.io", "index.docker.io"].iter().find_map(|alias| {
        let rest = text.strip_prefix(alias)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{HUB_REGISTRY}{rest}"))
    });
    AcIdentifier::sanitize(&hub.unwrap_or_else(|| text.to_owned()))
        .map(Scope::Prefix)
        .map_err(|e| e.to_string())
}

impl TryFrom<RuleFile> for Rule {
    type Error = String;

    fn try_from(file: RuleFile) -> Result<Self, String> {
        let level = match (file.level.as_str(), file.signers) {
            ("signed-by", Some(signers)) if !signers.is_empty() => Level::SignedBy(signers),
            ("signed-by", _) => {
                return Err("a rule of level \"signed-by\" needs \"signers\"".to_owned());
            }
            ("reject" | "pinned" | "anything", Some(_)) => {
                return Err(format!(
                    "a rule of level {:?} has no \"signers\"",
                    file.level
                ));
            }
            ("reject", None) => Level::Reject,
            ("pinned", None) => Level::Pinned,
            ("anything", None) => Level::Anything,
            (other, _) => {
                return Err(format!(
                    "unknown level {other:?} (known: reject, signed-by, pinned, anything)"
                ));
            }
        };
        if file.signed_as.is_some() && !matches!(level, Level::SignedBy(_)) {
            return Err("\"signedAs\" belongs to the level \"signed-by\"".to_owned());
        }
        Ok(Self {
            scope: scope_of(&file.prefix)?,
            level,
            signed_as: file.signed_as,
            file: String::new(),
        })
    }
}

/// The rules, by what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    rules: BTreeMap<Scope, Rule>,
}

#[derive(Deserialize)]
pub(super) struct TrustFile {
    rules: Vec<Rule>,
}

impl Trust {
    /// The rules, from the most general to the most specific of a name.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// The rule that counts for an image of this name: the one with the longest
    /// prefix.
    pub fn rule_for(&self, name: &AcIdentifier) -> Option<&Rule> {
        let covering = self.rules.values().filter(|rule| rule.scope.covers(name));
        covering.max_by_key(|rule| rule.scope.prefix().len())
    }

    pub(super) fn add(&mut self, file: TrustFile, name: &str) -> Result<(), Problem> {
        for (index, rule) in file.rules.iter().enumerate() {
            let earlier = file.rules[..index].iter().any(|r| r.scope == rule.scope);
            if earlier || self.rules.contains_key(&rule.scope) {
                return Err(Problem::SamePrefix(rule.scope.prefix().to_owned()));
            }
        }
        self.rules.extend(file.rules.into_iter().map(|mut rule| {
            rule.file = name.to_owned();
            (rule.scope.clone(), rule)
        }));
        Ok(())
    }

    pub(super) fn apply(&mut self, over: Self) {
        self.rules.extend(over.rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Directory};

    fn layer(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        config
            .add_file(Directory::Trust, "/etc/rkt/trust.d/a.json", text.as_bytes())
            .map_err(|e| {
                let cause = std::error::Error::source(&e).map(ToString::to_string);
                format!("{e}: {}", cause.unwrap_or_default())
            })?;
        Ok(config)
    }

    fn file(rules: &str) -> String {
        format!("{{\"rktKind\": \"trust\", \"rktVersion\": \"v1\",\n\"rules\": [\n{rules}\n]}}")
    }

    fn name(text: &str) -> AcIdentifier {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_counts_and_layers_replace_each_other() {
        let mut config = layer(&file(
            r#"{"prefix": "", "level": "reject"},
               {"prefix": "docker.io", "level": "pinned"},
               {"prefix": "localhost:5000/a", "level": "anything"}"#,
        ))
        .unwrap();
        let level = |config: &Config, of: &str| {
            let rule = config.trust.rule_for(&name(of)).unwrap();
            rule.level.as_str()
        };
        assert_eq!(level(&config, "registry-1.docker.io/library/x"), "pinned");
        assert_eq!(level(&config, "localhost_5000/a/b"), "anything");
        assert_eq!(level(&config, "localhost_5000/ab"), "reject");
        let over = layer(&file(r#"{"prefix": "docker.io", "level": "anything"}"#)).unwrap();
        config.apply(over);
        assert_eq!(level(&config, "registry-1.docker.io/library/x"), "anything");
        assert_eq!(config.trust.rules().count(), 3);
    }

    #[test]
    fn signers_are_read_and_written_alike() {
        let text = file(
            r#"{"prefix": "a.b", "level": "signed-by", "signedAs": "c.d/e", "signers": [
                {"type": "openpgp"},
                {"type": "key", "file": "/k.pub", "trustRoot": "/root.json"},
                {"type": "identity", "subject": "a@b", "issuer": "https://i", "trustRoot": "/r"}
            ]}"#,
        );
        let config = layer(&text).unwrap();
        let rule = config.trust.rules().next().unwrap();
        let written = serde_json::to_value(rule).unwrap();
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written, said["rules"][0]);
        assert_eq!(rule.file, "/etc/rkt/trust.d/a.json");
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        for (rule, words) in [
            ("{\"prefix\": \"a\",\n\"levle\": \"reject\"}", "levle"),
            ("{\"prefix\": \"a\", \"level\": \"no\"}", "unknown level"),
            ("{\"prefix\": \"a\", \"level\": \"signed-by\"}", "signers"),
            (
                "{\"prefix\": \"//\", \"level\": \"reject\"}",
                "AC identifier",
            ),
            (
                "{\"prefix\": \"a\", \"level\": \"signed-by\", \"signers\": [\n{\"type\": \"key\", \"file\": \"k\"}]}",
                "absolute",
            ),
            (
                "{\"prefix\": \"a\", \"level\": \"signed-by\", \"signers\": [\n{\"type\": \"openpgp\", \"fingerprints\": [\"12\"]}]}",
                "no OpenPGP fingerprint",
            ),
            ("{", "key must be a string"),
        ] {
            let error = layer(&file(rule)).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(error.contains("trust.d/a.json"), "{error}");
            assert!(error.contains("at line "), "{error}");
        }
        let twice = r#"{"prefix": "a", "level": "reject"}, {"prefix": "A", "level": "pinned"}"#;
        assert!(layer(&file(twice)).unwrap_err().contains("\"a\""));
    }
}
