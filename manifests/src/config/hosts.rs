//! How hosts are spoken to: kinds `host` and `defaultRegistry`, in `hosts.d`.
//!
//! ```json
//! {"rktKind": "host", "rktVersion": "v1", "hosts": ["registry.example.com:5000"],
//!  "mirrors": ["mirror.example.com/hub"],
//!  "ca": "/etc/rkt/ca.pem",
//!  "certificate": "/etc/rkt/client.pem", "key": "/etc/rkt/client.key",
//!  "insecure": ["tls", "http"]}
//!
//! {"rktKind": "defaultRegistry", "rktVersion": "v1", "registry": "registry.example.com"}
//! ```
//!
//! These kinds are ours; the old rkt had none like them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;
use super::error::Problem;

/// What holds for one host, named as in URLs: `host` or `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Registries that have copies of this registry's images, each `host`,
    /// `host:port`, or one of these with a path that goes before the
    /// repositories' names. They are asked first, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Certificate authorities (PEM). The host's certificate must be signed by
    /// one of them; the system's do not count for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate chain (PEM) that we show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Checks that this host is spared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub insecure: Vec<Insecure>,
}

/// A check that a host is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Insecure {
    /// Its certificate is believed whoever signed it, for whatever name.
    Tls,
    /// Plain HTTP may be spoken with it.
    Http,
}

impl Host {
    /// Whether the host is spared that check.
    pub fn spares(&self, check: Insecure) -> bool {
        self.insecure.contains(&check)
    }

    /// Whether its TLS is other than everybody's.
    pub fn has_own_tls(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.spares(Insecure::Tls)
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct HostFile {
    hosts: Vec<String>,
    mirrors: Vec<String>,
    ca: String,
    certificate: String,
    key: String,
    insecure: Vec<Insecure>,
}

#[derive(Deserialize)]
pub(super) struct DefaultRegistryFile {
    #[serde(default)]
    registry: String,
}

impl Config {
    pub(super) fn add_host(&mut self, file: HostFile) -> Result<(), Problem> {
        if file.hosts.is_empty() {
            return Err(Problem::NoHosts);
        }
        let host = Host {
            mirrors: file.mirrors,
            ca: absolute("ca", file.ca)?,
            certificate: absolute("certificate", file.certificate)?,
            key: absolute("key", file.key)?,
            insecure: file.insecure,
        };
        if host.certificate.is_some() != host.key.is_some() {
            return Err(Problem::CertificateWithoutKey);
        }
        super::auth::insert_all(&mut self.hosts, file.hosts, &host, Problem::SameHost)
    }

    pub(super) fn add_default_registry(
        &mut self,
        file: DefaultRegistryFile,
    ) -> Result<(), Problem> {
        if file.registry.is_empty() {
            return Err(Problem::NoRegistry);
        }
        match self.default_registry.replace(file.registry) {
            None => Ok(()),
            Some(_) => Err(Problem::SameDefaultRegistry),
        }
    }
}

fn absolute(what: &'static str, path: String) -> Result<Option<PathBuf>, Problem> {
    let path = PathBuf::from(path);
    match (path.as_os_str().is_empty(), path.is_absolute()) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(path)),
        (false, false) => Err(Problem::RelativeFile(what)),
    }
}
