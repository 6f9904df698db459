//! Who we are, host by host.
//!
//! ```text
//!   dockerAuth in auth.d ─▶ podman's auth.json ─▶ docker's config.json ─▶ nobody
//!                                   └── credential helpers ──┘
//! ```
//!
//! The first that knows a registry is believed. Credentials for other web
//! servers (kind `auth`) stand in the configuration only.

mod files;
mod helper;

use std::path::PathBuf;

use manifests::config::{self, Config, Password, UserPassword};

pub use files::AuthFiles;

/// What a registry is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Basic authentication, at the registry or at its token server.
    Password(UserPassword),
    /// A token that the token server exchanges for one that the registry takes.
    Identity(Password),
    /// The token that the registry takes.
    Token(Password),
}

/// Why it is not known who we are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file that is there cannot be read.
    #[error("cannot read the credentials in {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A credential helper did not do its work.
    #[error("the credential helper {program} for {registry} (named in {}) failed: {reason}", .path.display())]
    Helper {
        /// `docker-credential-…`
        program: String,
        /// Whose credentials were wanted.
        registry: String,
        /// The file that names the helper.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// Knows the logins of registries and the credentials of other hosts.
pub trait Credentials: Send + Sync {
    /// The login for a repository of a registry, named `host` or `host:port`
    /// as in a reference; `None` to go there as nobody.
    ///
    /// # Errors
    /// What should know it cannot be asked.
    fn registry(&self, registry: &str, repository: &str)
    -> Result<Option<Login>, CredentialsError>;

    /// What requests to a host, named `host` or `host:port` as in a URL, are
    /// authorised with: ACIs, their signatures, and discovery.
    fn domain(&self, host: &str) -> Option<config::Credentials>;
}

/// Nobody anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn registry(&self, _: &str, _: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(None)
    }

    fn domain(&self, _: &str) -> Option<config::Credentials> {
        None
    }
}

impl Credentials for Config {
    fn registry(&self, registry: &str, _: &str) -> Result<Option<Login>, CredentialsError> {
        Ok(self.docker_auth.get(registry).cloned().map(Login::Password))
    }

    fn domain(&self, host: &str) -> Option<config::Credentials> {
        self.auth.get(host).cloned()
    }
}

/// The configuration, then the files of docker and podman.
#[derive(Debug, Clone)]
pub struct Known {
    /// What rkt's own configuration says.
    pub config: Config,
    /// What other tools left.
    pub files: AuthFiles,
}

impl Credentials for Known {
    fn registry(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Login>, CredentialsError> {
        match self.config.registry(registry, repository)? {
            Some(login) => Ok(Some(login)),
            None => self.files.registry(registry, repository),
        }
    }

    fn domain(&self, host: &str) -> Option<config::Credentials> {
        self.config.domain(host)
    }
}
