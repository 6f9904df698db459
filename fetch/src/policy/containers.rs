//! Rules out of the `policy.json` that podman, skopeo and CRI-O share.
//!
//! What has no counterpart here is never made weaker: it is rejected, with a
//! note that says so, or the import fails.
//!
//! Source: containers-policy.json(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manifests::config::{KeySource, Level, Rule, Signer, scope_of};
use manifests::trust::Scope;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use serde_json::json;

use crate::signatures::base64;

/// Why a policy cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not JSON, or of another shape.
    #[error("it is no containers policy: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A wildcard that asks for something: left out, its images would be let
    /// in more easily.
    #[error("the scope {0:?} has no counterpart here: write one rule for each host")]
    Wildcard(String),
    /// A scope that is no name.
    #[error("the scope {scope:?}: {reason}")]
    Scope {
        /// Which.
        scope: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that the policy names.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that should be a key or a certificate.
    #[error("{0} holds no PEM that can be used")]
    Pem(String),
}

/// What came out of a policy.
#[derive(Debug)]
pub struct Imported {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Trust roots that the rules name: path and content.
    pub files: Vec<(PathBuf, String)>,
    /// What could not be carried over, and what to know; one line each.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Policy {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
    key_path: Option<PathBuf>,
    #[serde(default)]
    key_paths: Vec<PathBuf>,
    key_data: Option<String>,
    #[serde(default)]
    key_datas: Vec<String>,
    fulcio: Option<Fulcio>,
    rekor_public_key_path: Option<PathBuf>,
    #[serde(default)]
    rekor_public_key_paths: Vec<PathBuf>,
    rekor_public_key_data: Option<String>,
    #[serde(default)]
    rekor_public_key_datas: Vec<String>,
    signed_identity: Option<SignedIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fulcio {
    ca_path: Option<PathBuf>,
    ca_data: Option<String>,
    oidc_issuer: Option<String>,
    subject_email: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedIdentity {
    #[serde(rename = "type")]
    kind: String,
    docker_repository: Option<String>,
}

/// The rules that say what the policy says, or more. `directory` is where the
/// trust roots that they need shall be, `stem` what their names begin with.
///
/// # Errors
/// [`ImportError`].
pub fn import(policy: &[u8], directory: &Path, stem: &str) -> Result<Imported, ImportError> {
    let Policy {
        default,
        mut transports,
    } = serde_json::from_slice(policy)?;
    let mut import = Import {
        directory,
        stem,
        rules: BTreeMap::new(),
        out: Imported {
            rules: Vec::new(),
            files: Vec::new(),
            notes: Vec::new(),
        },
    };
    let mut docker = transports.remove("docker").unwrap_or_default();
    for (transport, scopes) in transports {
        if scopes.values().flatten().any(|r| r.kind != ANYTHING) {
            import.note(format!(
                "the rules for the transport {transport:?} are left out: rules here are about \
                 names, wherever an image comes from"
            ));
        }
    }
    match docker.remove("") {
        Some(of_docker) => {
            import.note("\"default\" is left out, the policy has one for docker".to_owned());
            import.add(Scope::Root, "", &of_docker)?;
        }
        None => import.add(Scope::Root, "", &default)?,
    }
    for (scope, requirements) in docker {
        import.docker(&scope, &requirements)?;
    }
    let Import { rules, mut out, .. } = import;
    if let Some(Rule {
        level: Level::Anything,
        ..
    }) = rules.get(&Scope::Root)
    {
        out.notes.push(
            "by \"default\" every image is let in unsigned now, ACIs too; take the rule for \"\" \
             out if that is not meant"
                .to_owned(),
        );
    }
    out.rules = rules.into_values().collect();
    Ok(out)
}

const ANYTHING: &str = "insecureAcceptAnything";

struct Import<'a> {
    directory: &'a Path,
    stem: &'a str,
    rules: BTreeMap<Scope, Rule>,
    out: Imported,
}

impl Import<'_> {
    fn note(&mut self, note: String) {
        self.out.notes.push(note);
    }

    fn docker(&mut self, scope: &str, requirements: &[Requirement]) -> Result<(), ImportError> {
        let lax = requirements.iter().all(|r| r.kind == ANYTHING);
        if scope.starts_with("*.") {
            if !lax {
                return Err(ImportError::Wildcard(scope.to_owned()));
            }
            self.note(format!(
                "{scope:?} is left out: wildcards have no counterpart here"
            ));
            return Ok(());
        }
        let last = scope.rsplit('/').next().unwrap_or_default();
        let is_repository = scope.contains('/') && !scope.contains('@') && !last.contains(':');
        let is_host = !scope.contains('/');
        let parse = |text: &str| {
            scope_of(text).map_err(|reason| ImportError::Scope {
                scope: scope.to_owned(),
                reason,
            })
        };
        if is_repository || is_host {
            return self.add(parse(scope)?, scope, requirements);
        }
        if lax {
            self.note(format!(
                "{scope:?} is left out: rules here are about whole repositories"
            ));
            return Ok(());
        }
        let bare = scope.split('@').next().unwrap_or_default();
        let slash = bare.rfind('/').unwrap_or(0);
        let end = bare[slash..].find(':').map_or(bare.len(), |at| slash + at);
        self.note(format!(
            "{scope:?} cannot be carried over, rules here are about whole repositories: {:?} is \
             rejected",
            &bare[..end]
        ));
        self.put(parse(&bare[..end])?, Level::Reject, None);
        Ok(())
    }

    /// The stricter of two stays: tags of a repository come before it.
    fn put(&mut self, scope: Scope, level: Level, signed_as: Option<String>) {
        if let Some(Rule {
            level: Level::Reject,
            ..
        }) = self.rules.get(&scope)
        {
            return;
        }
        let rule = Rule {
            scope: scope.clone(),
            level,
            signed_as,
            file: String::new(),
        };
        self.rules.insert(scope, rule);
    }

    fn add(
        &mut self,
        scope: Scope,
        text: &str,
        requirements: &[Requirement],
    ) -> Result<(), ImportError> {
        let mut asked = requirements.iter().filter(|r| r.kind != ANYTHING);
        let (first, second) = (asked.next(), asked.next());
        let (level, signed_as) = match (first, second) {
            (None, _) => (Level::Anything, None),
            _ if requirements.iter().any(|r| r.kind == "reject") => (Level::Reject, None),
            (Some(_), Some(_)) => {
                self.rejected(text, "several requirements at once have no counterpart");
                (Level::Reject, None)
            }
            (Some(one), None) => match one.kind.as_str() {
                "sigstoreSigned" => self.signed(text, one)?,
                "signedBy" => {
                    self.rejected(
                        text,
                        "OpenPGP signatures of docker images (\"signedBy\", simple signing) are \
                         not verified here, only those of ACIs",
                    );
                    (Level::Reject, None)
                }
                other => {
                    let why = format!("the requirement {other:?} has no counterpart");
                    self.rejected(text, &why);
                    (Level::Reject, None)
                }
            },
        };
        self.put(scope, level, signed_as);
        Ok(())
    }

    fn rejected(&mut self, scope: &str, why: &str) {
        self.note(format!("{scope:?} is rejected: {why}"));
    }

    fn signed(
        &mut self,
        scope: &str,
        asked: &Requirement,
    ) -> Result<(Level, Option<String>), ImportError> {
        let reject = Ok((Level::Reject, None));
        let signed_as = match &asked.signed_identity {
            None => None,
            Some(SignedIdentity {
                kind,
                docker_repository,
            }) => match (kind.as_str(), docker_repository) {
                ("matchRepository" | "matchRepoDigestOrExact", _) => None,
                ("matchExact", _) => {
                    self.note(format!(
                        "{scope:?}: \"matchExact\" becomes: the repository, and the tag where the \
                         signature names one"
                    ));
                    None
                }
                ("exactRepository", Some(repository)) => Some(repository.clone()),
                (other, _) => {
                    let why = format!("the signed identity {other:?} has no counterpart");
                    self.rejected(scope, &why);
                    return reject;
                }
            },
        };
        let logs = asked.logs()?;
        let mut signers = Vec::new();
        let keys = asked.keys()?;
        if !keys.is_empty() {
            let trust_root = match logs.is_empty() {
                true => None,
                false => Some(self.trust_root(&logs, &[])?),
            };
            signers.extend(keys.into_iter().map(|key| Signer::Key {
                key,
                trust_root: trust_root.clone(),
            }));
        }
        if let Some(fulcio) = &asked.fulcio {
            let (Some(subject), Some(issuer)) = (&fulcio.subject_email, &fulcio.oidc_issuer) else {
                self.rejected(scope, "\"fulcio\" without subjectEmail and oidcIssuer");
                return reject;
            };
            let chain = match (&fulcio.ca_path, &fulcio.ca_data) {
                (Some(path), _) => read(path)?,
                (None, Some(data)) => decoded("caData", data)?,
                (None, None) => Vec::new(),
            };
            let root = self.trust_root(&logs, &chain)?;
            self.note(format!(
                "{scope:?}: containers policies name no certificate logs, so certificates are not \
                 looked up in one; sigstore's own trusted_root.json asks for more"
            ));
            signers.push(Signer::Identity {
                // A star would mean more here than it did there.
                subject: subject.replace('*', ""),
                issuer: issuer.clone(),
                trust_root: root,
            });
        }
        if signers.is_empty() {
            self.rejected(scope, "it names neither keys nor fulcio");
            return reject;
        }
        Ok((Level::SignedBy(signers), signed_as))
    }

    /// A trust root with these logs' keys and this authority, both PEM.
    fn trust_root(&mut self, logs: &[Vec<u8>], authority: &[u8]) -> Result<PathBuf, ImportError> {
        let log = |pem: &Vec<u8>| {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
                .map_err(|_| ImportError::Pem("a Rekor key".to_owned()))?;
            Ok(json!({"publicKey": {"rawBytes": base64(&der)}}))
        };
        let logs = logs
            .iter()
            .map(log)
            .collect::<Result<Vec<_>, ImportError>>()?;
        let certificates = CertificateDer::pem_slice_iter(authority)
            .map(|c| c.map(|c| json!({"rawBytes": base64(&c)})))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| ImportError::Pem("the certificate authority".to_owned()))?;
        let mut root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": logs,
        });
        if !certificates.is_empty() {
            root["certificateAuthorities"] = json!([{"certChain": {"certificates": certificates}}]);
        }
        let number = self.out.files.len() + 1;
        // Not *.json: what ends so in that directory is configuration.
        let path = self
            .directory
            .join(format!("{}-{number}.trusted-root", self.stem));
        self.out.files.push((path.clone(), format!("{root:#}\n")));
        Ok(path)
    }
}

impl Requirement {
    fn keys(&self) -> Result<Vec<KeySource>, ImportError> {
        let files = self.key_path.iter().chain(&self.key_paths);
        let mut keys: Vec<_> = files.cloned().map(KeySource::File).collect();
        for data in self.key_data.iter().chain(&self.key_datas) {
            let pem = String::from_utf8(decoded("keyData", data)?)
                .map_err(|_| ImportError::Pem("keyData".to_owned()))?;
            keys.push(KeySource::Data(pem));
        }
        Ok(keys)
    }

    fn logs(&self) -> Result<Vec<Vec<u8>>, ImportError> {
        let files = self.rekor_public_key_path.iter();
        let mut logs = files
            .chain(&self.rekor_public_key_paths)
            .map(|path| read(path))
            .collect::<Result<Vec<_>, _>>()?;
        let datas = self.rekor_public_key_data.iter();
        for data in datas.chain(&self.rekor_public_key_datas) {
            logs.push(decoded("rekorPublicKeyData", data)?);
        }
        Ok(logs)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    std::fs::read(path).map_err(|source| ImportError::Read {
        path: path.to_owned(),
        source,
    })
}

fn decoded(member: &str, text: &str) -> Result<Vec<u8>, ImportError> {
    crate::signatures::from_base64(text).map_err(|_| ImportError::Pem(member.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(text: &str) -> Result<Imported, ImportError> {
        import(text.as_bytes(), Path::new("/etc/rkt/trust.d"), "imported")
    }

    fn levels(imported: &Imported) -> Vec<(String, &'static str)> {
        let rules = imported.rules.iter();
        rules
            .map(|r| (r.scope.prefix().to_owned(), r.level.as_str()))
            .collect()
    }

    #[test]
    fn what_has_a_counterpart_gets_it() {
        let policy = r#"{
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {
                    "docker.io/library": [{"type": "insecureAcceptAnything"}],
                    "registry.example.com:5000/app": [{"type": "sigstoreSigned",
                        "keyPaths": ["/a.pub", "/b.pub"],
                        "signedIdentity": {"type": "exactRepository",
                                           "dockerRepository": "origin.example.com/app"}}]
                },
                "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}
            }}"#;
        let imported = imported(policy).unwrap();
        assert_eq!(
            levels(&imported),
            [
                (String::new(), "reject"),
                ("registry-1.docker.io/library".to_owned(), "anything"),
                ("registry.example.com_5000/app".to_owned(), "signed-by"),
            ]
        );
        let rule = &imported.rules[2];
        assert_eq!(rule.signed_as.as_deref(), Some("origin.example.com/app"));
        let Level::SignedBy(signers) = &rule.level else {
            panic!("{rule:?}");
        };
        assert_eq!(signers.len(), 2);
        assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    }

    #[test]
    fn what_has_none_is_rejected_and_told() {
        let policy = r#"{
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {
                "a.example.com": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg"}],
                "b.example.com/app:1": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}],
                "b.example.com/app": [{"type": "insecureAcceptAnything"}],
                "c.example.com": [{"type": "sigstoreSigned", "keyPath": "/a.pub"},
                                  {"type": "sigstoreSigned", "keyPath": "/b.pub"}],
                "d.example.com": [{"type": "sigstoreSigned", "keyPath": "/a.pub",
                    "signedIdentity": {"type": "remapIdentity", "prefix": "d", "signedPrefix": "e"}}],
                "*.example.org": [{"type": "insecureAcceptAnything"}]
            }}}"#;
        let imported = imported(policy).unwrap();
        let rejected = [
            "a.example.com",
            "b.example.com/app",
            "c.example.com",
            "d.example.com",
        ];
        for scope in rejected {
            assert!(
                levels(&imported).contains(&(scope.to_owned(), "reject")),
                "{scope}"
            );
            assert!(imported.notes.iter().any(|n| n.contains(scope)), "{scope}");
        }
        assert!(imported.notes.iter().any(|n| n.contains("simple signing")));
        assert!(imported.notes.iter().any(|n| n.contains("ACIs too")));
    }

    #[test]
    fn a_wildcard_that_asks_for_something_stops_the_import() {
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {"*.example.org": [{"type": "reject"}]}}}"#;
        assert!(matches!(imported(policy), Err(ImportError::Wildcard(_))));
        assert!(matches!(imported("{"), Err(ImportError::Malformed(_))));
    }
}
