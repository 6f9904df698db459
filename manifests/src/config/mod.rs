//! rkt's configuration: credentials, hosts, paths, the choice of stage1, the
//! care of the store and the trust in images.
//!
//! ```text
//!   files ──▶ Config::add_file ──▶ one layer ──▶ Config::apply ──▶ all layers
//!                                            (system, then local, then user)
//! ```
//!
//! Within one layer nothing may be said twice; a higher layer replaces what a
//! lower one said, item by item. Source: rkt's configuration reference.
//!
//! Absent on purpose: reading directories, and defaults. Who reads a layer
//! takes the regular files directly in it that end in `.json`; a value that is
//! absent here was not configured.

mod auth;
mod error;
mod file;
mod hosts;
mod paths;
mod print;
mod stage1;
mod store;
mod trust;

use std::collections::BTreeMap;

pub use auth::{AwsCredentials, Credentials, Password, UserPassword};
pub use error::{ConfigError, Problem};
pub use hosts::{Host, Insecure};
pub use paths::Paths;
pub use stage1::Stage1;
pub use store::{Store, Verity};
pub use trust::{KeySource, Level, Rule, Signer, Trust, scope_of};

/// A directory of a layer that holds configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directory {
    /// `auth.d`
    Auth,
    /// `paths.d`
    Paths,
    /// `stage1.d`
    Stage1,
    /// `store.d`
    Store,
    /// `hosts.d`
    Hosts,
    /// `trust.d`
    Trust,
}

impl Directory {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Hosts,
        Self::Paths,
        Self::Stage1,
        Self::Store,
        Self::Trust,
    ];

    /// Its name below the layer's directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth.d",
            Self::Paths => "paths.d",
            Self::Stage1 => "stage1.d",
            Self::Store => "store.d",
            Self::Hosts => "hosts.d",
            Self::Trust => "trust.d",
        }
    }

    /// The kinds of files it may hold.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Auth => &["auth", "dockerAuth"],
            Self::Paths => &["paths"],
            Self::Stage1 => &["stage1"],
            Self::Store => &["store"],
            Self::Hosts => &["host", "defaultRegistry"],
            Self::Trust => &["trust"],
        }
    }
}

/// What one layer says, or what several say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Credentials by domain, a host or host:port exactly as in URLs.
    pub auth: BTreeMap<String, Credentials>,
    /// Credentials by registry, a host or host:port.
    pub docker_auth: BTreeMap<String, UserPassword>,
    /// How hosts are spoken to, by their names in URLs.
    pub hosts: BTreeMap<String, Host>,
    /// The registry of names without a host, instead of the Docker Hub.
    pub default_registry: Option<String>,
    /// Where things are.
    pub paths: Paths,
    /// Which stage1 to use.
    pub stage1: Stage1,
    /// How the image store keeps its files.
    pub store: Store,
    /// Which images are let in.
    pub trust: Trust,
}

impl Config {
    /// Lays a higher layer over this. A domain, a registry, a host, a path, the name
    /// of the stage1 image with its version, and its location are each
    /// replaced as a whole.
    pub fn apply(&mut self, layer: Self) {
        self.auth.extend(layer.auth);
        self.docker_auth.extend(layer.docker_auth);
        self.hosts.extend(layer.hosts);
        self.default_registry = layer.default_registry.or(self.default_registry.take());
        self.paths.apply(layer.paths);
        self.stage1.apply(layer.stage1);
        self.store.apply(layer.store);
        self.trust.apply(layer.trust);
    }
}

#[cfg(test)]
mod tests;
