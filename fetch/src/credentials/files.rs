//! The files in which docker and podman keep logins.
//!
//! | file | whose |
//! |---|---|
//! | `$REGISTRY_AUTH_FILE` (then no other) | podman's |
//! | `$XDG_RUNTIME_DIR/containers/auth.json` | podman's, `podman login` writes it |
//! | `$XDG_CONFIG_HOME/containers/auth.json` | podman's, kept |
//! | `$DOCKER_CONFIG/config.json`, `~/.docker/config.json` | docker's |
//!
//! Source: containers-auth.json(5); docker's command-line reference,
//! "Configuration files".

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use manifests::config::{Password, UserPassword};
use serde::Deserialize;

use super::helper::{self, Answer};
use super::{CredentialsError, Login};
use crate::reference::DOCKER_HUB;
use crate::transport::open_regular;

/// Such files hold a few logins.
const MAX_FILE: u64 = 4 << 20;

/// The files to look into, in this order.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles(Vec<PathBuf>);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AuthFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Password,
    username: String,
    password: Password,
    identitytoken: Password,
    registrytoken: Password,
}

impl AuthFiles {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Where the variables of an environment say; none of the files needs to
    /// exist.
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(file) = set("REGISTRY_AUTH_FILE") {
            return Self(vec![file]);
        }
        let home = set("HOME");
        let config = set("XDG_CONFIG_HOME").or(home.as_ref().map(|h| h.join(".config")));
        let docker = set("DOCKER_CONFIG").or(home.as_ref().map(|h| h.join(".docker")));
        let podman = [set("XDG_RUNTIME_DIR"), config];
        let podman = podman.into_iter().flatten();
        let files = podman.map(|dir| dir.join("containers/auth.json"));
        Self(files.chain(docker.map(|d| d.join("config.json"))).collect())
    }

    pub(super) fn registry(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Login>, CredentialsError> {
        for path in &self.0 {
            if let Some(login) = look_into(path, registry, repository)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

fn look_into(
    path: &Path,
    registry: &str,
    repository: &str,
) -> Result<Option<Login>, CredentialsError> {
    let error = |reason: String| CredentialsError::File {
        path: path.to_owned(),
        reason,
    };
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e.to_string())),
    };
    let owner = file.metadata().map_err(|e| error(e.to_string()))?.uid();
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|e| error(e.to_string()))?;
    let content: AuthFile = serde_json::from_slice(&bytes).map_err(|e| error(e.to_string()))?;

    if let Some((name, asked)) = content.helper(registry) {
        // Who writes the file says what we execute.
        let own = rustix::process::geteuid().as_raw();
        if owner != own && owner != 0 {
            return Err(error(format!(
                "it names the credential helper {name:?}, but belongs to another user; helpers \
                 are run only from your own files"
            )));
        }
        let answer = helper::ask(&name, &asked, path)?;
        if let Answer::Login(login) = answer {
            return Ok(Some(login));
        }
    }
    let Some(entry) = content.entry(registry, repository) else {
        return Ok(None);
    };
    entry.login().map_err(error)
}

/// The names that a file may have for a registry.
fn names(registry: &str) -> Vec<&str> {
    match registry {
        DOCKER_HUB => vec!["docker.io", "index.docker.io", DOCKER_HUB],
        other => vec![other],
    }
}

/// `https://index.docker.io/v1/` and its like; podman's keys are left alone.
fn host_of(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => key,
    }
}

impl AuthFile {
    /// The helper for a registry, and how it knows the registry.
    fn helper(&self, registry: &str) -> Option<(String, String)> {
        for name in names(registry) {
            let own = self
                .cred_helpers
                .iter()
                .find(|(key, _)| host_of(key) == name);
            if let Some((key, helper)) = own {
                return Some((helper.clone(), key.clone()));
            }
        }
        if self.creds_store.is_empty() {
            return None;
        }
        // A store keeps what `docker login` was given; for the hub, that is
        // this.
        let asked = match registry {
            DOCKER_HUB => "https://index.docker.io/v1/",
            other => other,
        };
        Some((self.creds_store.clone(), asked.to_owned()))
    }

    /// The most specific entry: podman has logins for parts of a registry.
    fn entry(&self, registry: &str, repository: &str) -> Option<&Entry> {
        names(registry).into_iter().find_map(|name| {
            let whole = format!("{name}/{repository}");
            let mut scope = whole.as_str();
            loop {
                let same = |(key, _): &(&String, &Entry)| host_of(key) == scope;
                if let Some((_, entry)) = self.auths.iter().find(same) {
                    return Some(entry);
                }
                scope = scope.rsplit_once('/')?.0;
            }
        })
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, String> {
        let set = |p: &Password| !p.reveal().is_empty();
        if set(&self.registrytoken) {
            return Ok(Some(Login::Token(self.registrytoken.clone())));
        }
        if set(&self.identitytoken) {
            return Ok(Some(Login::Identity(self.identitytoken.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Login::Password(UserPassword {
                user: self.username.clone(),
                password: self.password.clone(),
            })));
        }
        if !set(&self.auth) {
            // A login that a store keeps leaves an empty entry.
            return Ok(None);
        }
        let damaged = "an auth is no base64 of USER:PASSWORD";
        let bytes = BASE64.decode(self.auth.reveal()).map_err(|_| damaged)?;
        let text = String::from_utf8(bytes).map_err(|_| damaged)?;
        let (user, password) = text.split_once(':').ok_or(damaged)?;
        Ok(Some(Login::Password(UserPassword {
            user: user.to_owned(),
            // Old dockers padded it.
            password: password.trim_end_matches('\0').into(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn user(text: &str, registry: &str, repository: &str) -> Option<String> {
        let (_dir, path) = file(text);
        match look_into(&path, registry, repository).unwrap()? {
            Login::Password(login) => Some(format!("{}:{}", login.user, login.password.reveal())),
            Login::Identity(token) => Some(format!("identity {}", token.reveal())),
            Login::Token(token) => Some(format!("token {}", token.reveal())),
        }
    }

    #[test]
    fn the_most_specific_login_is_taken() {
        let text = r#"{"auths": {
            "registry.example.com": {"auth": "YW5uOm9uZQ=="},
            "registry.example.com/team": {"auth": "YmVuOnR3bw=="},
            "https://old.example.com/v2/": {"username": "cy", "password": "three"},
            "token.example.com": {"auth": "eDo=", "identitytoken": "t"},
            "empty.example.com": {},
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"}}}"#;
        let user = |registry, repository| user(text, registry, repository);
        assert_eq!(user("registry.example.com", "app").unwrap(), "ann:one");
        assert_eq!(user("registry.example.com", "team/app").unwrap(), "ben:two");
        assert_eq!(
            user("registry.example.com", "teams/app").unwrap(),
            "ann:one"
        );
        assert_eq!(user("old.example.com", "app").unwrap(), "cy:three");
        assert_eq!(user("token.example.com", "app").unwrap(), "identity t");
        assert_eq!(user("empty.example.com", "app"), None);
        assert_eq!(user("example.com", "app"), None);
        assert_eq!(user(DOCKER_HUB, "library/app").unwrap(), "hub:pw");
    }

    #[test]
    fn a_damaged_file_is_named_and_a_missing_one_says_nothing() {
        let (_dir, path) = file("{");
        let error = look_into(&path, "x", "y").unwrap_err().to_string();
        assert!(error.contains("auth.json"), "{error}");
        let (_dir, path) = file(r#"{"auths": {"x": {"auth": "???"}}}"#);
        let error = look_into(&path, "x", "y").unwrap_err().to_string();
        assert!(error.contains("base64"), "{error}");
        assert!(!error.contains("???"), "{error}");
        assert_eq!(
            look_into(Path::new("/nosuch/auth.json"), "x", "y").unwrap(),
            None
        );
    }

    #[test]
    fn the_environment_says_where() {
        let paths = |variables: &[(&str, &str)]| {
            let files = AuthFiles::of_environment(|name| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| OsString::from(value))
            });
            files
                .0
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]),
            [
                "/r/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        assert_eq!(
            paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a.json")]),
            ["/a.json"]
        );
        assert_eq!(paths(&[("DOCKER_CONFIG", "/d")]), ["/d/config.json"]);
        assert!(paths(&[]).is_empty());
    }
}
