//! An app with every question answered: what the module `spec` turns into
//! an OCI container and nothing else has to look up.
//!
//! Users are numbers, volumes are host paths, the environment is complete. What
//! is left to decide is only how the engine's language says it.

use std::path::PathBuf;

use manifests::appc::App;
use manifests::engine::Limit;

use crate::behaviour::Behaviour;
use crate::given::Share;

/// One app, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedApp {
    /// Unique in the pod.
    pub name: String,
    /// What to run. Its `user`, `group`, `environment` and `mount_points` have
    /// been followed already and stand below as what they came to.
    pub app: App,
    /// Whom it runs as.
    pub identity: Identity,
    /// The environment, complete and in order, each name once.
    pub environment: Vec<(String, String)>,
    /// What is mounted into it besides `/dev`, `/proc` and `/sys`, in order.
    pub mounts: Vec<ResolvedMount>,
    /// The root file system is mounted read-only.
    pub read_only_rootfs: bool,
    /// The program gets a terminal.
    pub terminal: bool,
    /// Limits that it can do without.
    pub dispensable: Vec<Limit>,
    /// How it behaves while the pod runs.
    pub behaviour: Behaviour,
    /// What it has of the unit that the pod runs in.
    pub share: Share,
}

/// Whom an app runs as, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// A file or directory of the host at a place in the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedMount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside the app's root.
    pub target: PathBuf,
    /// The app only reads.
    pub read_only: bool,
    /// Mounts below the source come along.
    pub recursive: bool,
    /// Its files belong to the pod's users by their numbers, as they would if
    /// these were the host's.
    pub mapped: bool,
    /// The source is a device node with this type and these numbers: the app
    /// must be allowed to open it.
    pub device: Option<DeviceNumber>,
}

/// What a device node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}
