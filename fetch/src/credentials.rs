//! Who we are, host by host.
//!
//! The fetcher asks a [`Credentials`]; where the answers come from (the
//! configuration's `dockerAuth` and `auth` kinds, or a client's own files) is
//! not its business.

use std::collections::HashMap;
use std::fmt;

/// A user name and its password, for HTTP basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Without a colon (RFC 7617).
    pub user: String,
    /// In clear.
    pub password: String,
}

/// Keeps the password out of every debug print.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Knows the logins of registries.
pub trait Credentials: Send + Sync {
    /// The login for a registry, named `host` or `host:port` as in a
    /// reference; `None` to go there as nobody.
    fn registry(&self, registry: &str) -> Option<Login>;
}

/// Nobody anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn registry(&self, _: &str) -> Option<Login> {
        None
    }
}

/// A table of registries, as the `dockerAuth` files give it.
impl Credentials for HashMap<String, Login> {
    fn registry(&self, registry: &str) -> Option<Login> {
        self.get(registry).cloned()
    }
}
