//! The appc metadata service: how an app asks who it is.
//!
//! ```text
//! rkt run --mds-register ── PUT /pods/UUID?token=T ──▶ unix socket ┐
//!                                                                  ├ registry
//! app ── GET $AC_METADATA_URL/acMetadata/v1/… ───────▶ TCP port ───┘
//! ```
//!
//! The token in an app's URL is what tells pods apart: 128 random bits that
//! nobody but the pod and the service know. The registry is in memory, and so
//! is the key of the signatures: what a service signed, only that service can
//! verify. It is the one process of ours that may stay, and only if somebody
//! starts it.
//!
//! Source: appc specification, "App Container Metadata Service"; the sockets
//! and the registration are rkt's.

mod client;
mod http;
mod registry;
mod service;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use image_store::ImageRecord;
use manifests::appc::PodManifest;
use manifests::cni::host_local;
use manifests::engine::{self, Network, PrivateNetwork};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::prepare::environment;

pub use client::{Registration, announce, check, register, unregister};
pub use service::Service;

/// Where the service listens unless it is told otherwise.
pub const PORT: u16 = 18112;

/// File in the pod directory of a pod that was registered.
pub const REGISTERED: &str = "mds-registered";

const RUN: &str = "/run/rkt";
const DEFAULT_DATA_DIR: &str = "/var/lib/rkt";

/// A registered pod, as its apps and those that are added later know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Where pods are registered.
    socket: PathBuf,
    /// What tells the pod apart.
    token: String,
    /// What the apps ask.
    url: String,
}

impl Identity {
    pub(crate) fn new(socket: &Path, host: IpAddr, known: Registration) -> Self {
        Self {
            socket: socket.to_owned(),
            url: format!("http://{host}:{}/{}", known.port, known.token),
            token: known.token,
        }
    }

    /// Tells an app where to ask.
    pub(crate) fn give(&self, app: &mut engine::App) {
        environment::set(&mut app.spec, "AC_METADATA_URL", &self.url);
    }

    /// Tells the service that the pod's apps are others now.
    ///
    /// # Errors
    /// As [`announce`].
    pub(crate) fn renew(
        &self,
        uuid: Uuid,
        manifest: &PodManifest,
        images: &[ImageRecord],
    ) -> Result<(), MetadataError> {
        let images: Vec<_> = images.iter().map(|image| &image.manifest).collect();
        announce(&self.socket, uuid, &self.token, manifest, &images)
    }
}

/// What went wrong with the service or a registration.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Nobody listens.
    #[error("metadata service is not running (start it: rkt metadata-service)")]
    NotRunning,
    /// Two would answer for the same pods.
    #[error("another metadata service listens on {0:?} already")]
    Running(PathBuf),
    /// The pod's network does not lead to the service.
    #[error(
        "--mds-register needs a network on which the host can be reached: host, default, or one \
         of type ptp or bridge whose ipam is host-local"
    )]
    NoWay,
    /// A system call failed.
    #[error("cannot {what} {object}")]
    Io {
        /// In the infinitive.
        what: &'static str,
        /// A path or an address.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The service did not like what it was told.
    #[error("the metadata service refused {0}: status {1}")]
    Refused(String, u16),
}

impl MetadataError {
    fn io<E: Into<io::Error>>(what: &'static str, object: impl ToString) -> impl FnOnce(E) -> Self {
        let object = object.to_string();
        move |source| Self::Io {
            what,
            object,
            source: source.into(),
        }
    }
}

/// The socket at which pods of this data directory are registered. A data
/// directory other than the default has a service of its own.
pub fn socket(data_dir: &Path) -> PathBuf {
    if data_dir == Path::new(DEFAULT_DATA_DIR) {
        return Path::new(RUN).join("metadata-svc.sock");
    }
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let hex: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Path::new(RUN).join(format!("metadata-svc-{hex}.sock"))
}

/// The host's address as a pod with this network sees it.
///
/// # Errors
/// [`MetadataError::NoWay`].
pub fn host_address(network: &Network) -> Result<IpAddr, MetadataError> {
    match network {
        Network::Host => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Network::Private(network) => gateway(network).ok_or(MetadataError::NoWay),
        Network::None => Err(MetadataError::NoWay),
    }
}

/// The first address of ours that is a way out for the pod. `host-local` keeps
/// it for the host, whatever address the pod gets.
fn gateway(network: &PrivateNetwork) -> Option<IpAddr> {
    let plugins = network
        .attachments
        .iter()
        .filter_map(|attachment| attachment.config.plugins.first());
    plugins
        .filter(|plugin| {
            let says = |key| plugin.keys.get(key).and_then(serde_json::Value::as_bool);
            let is_gateway = ["isGateway", "isDefaultGateway"]
                .map(says)
                .contains(&Some(true));
            plugin.kind == "ptp" || plugin.kind == "bridge" && is_gateway
        })
        .filter_map(|plugin| plugin.keys.get("ipam"))
        .filter(|ipam| ipam["type"] == "host-local")
        .filter_map(|ipam| serde_json::from_value::<host_local::Config>(ipam.clone()).ok())
        .flat_map(|config| config.sets)
        .flat_map(|set| set.0)
        .map(|range| range.gateway)
        .find(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use manifests::engine::Attachment;
    use serde_json::json;

    use super::*;

    fn network(plugin: serde_json::Value) -> Network {
        let config = serde_json::from_value(json!({"name": "n", "plugins": [plugin]})).unwrap();
        Network::Private(Box::new(PrivateNetwork {
            attachments: vec![Attachment {
                if_name: "eth0".into(),
                args: String::new(),
                file: None,
                config,
            }],
            ports: Vec::new(),
            plugin_path: Vec::new(),
            use_dns: false,
        }))
    }

    #[test]
    fn the_host_is_the_pods_way_out() {
        let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/16"});
        for (plugin, expected) in [
            (json!({"type": "ptp", "ipam": ipam}), Some("10.1.0.1")),
            (
                json!({"type": "bridge", "isGateway": true, "ipam": ipam}),
                Some("10.1.0.1"),
            ),
            (json!({"type": "bridge", "ipam": ipam}), None),
            (json!({"type": "macvlan", "ipam": ipam}), None),
            (json!({"type": "ptp", "ipam": {"type": "dhcp"}}), None),
        ] {
            let found = host_address(&network(plugin.clone())).ok();
            assert_eq!(found, expected.map(|ip| ip.parse().unwrap()), "{plugin}");
        }
        assert_eq!(
            host_address(&Network::Host).unwrap().to_string(),
            "127.0.0.1"
        );
        assert!(host_address(&Network::None).is_err());
    }

    #[test]
    fn each_data_directory_has_its_socket() {
        assert_eq!(
            socket(Path::new("/var/lib/rkt")),
            Path::new("/run/rkt/metadata-svc.sock")
        );
        assert_ne!(socket(Path::new("/a")), socket(Path::new("/b")));
    }
}
