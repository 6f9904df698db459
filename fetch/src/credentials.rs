//! Who we are, host by host.
//!
//! The fetcher asks a [`Credentials`]; where the answers come from is not its
//! business. The configuration answers from its kinds `dockerAuth` and `auth`.

use manifests::config::{self, Config, UserPassword};

/// Knows the logins of registries.
pub trait Credentials: Send + Sync {
    /// The login for a registry, named `host` or `host:port` as in a
    /// reference; `None` to go there as nobody.
    fn registry(&self, registry: &str) -> Option<UserPassword>;

    /// What requests to a host, named `host` or `host:port` as in a URL, are
    /// authorised with: ACIs, their signatures, and discovery.
    fn domain(&self, host: &str) -> Option<config::Credentials>;
}

/// Nobody anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn registry(&self, _: &str) -> Option<UserPassword> {
        None
    }

    fn domain(&self, _: &str) -> Option<config::Credentials> {
        None
    }
}

impl Credentials for Config {
    fn registry(&self, registry: &str) -> Option<UserPassword> {
        self.docker_auth.get(registry).cloned()
    }

    fn domain(&self, host: &str) -> Option<config::Credentials> {
        self.auth.get(host).cloned()
    }
}
