//! What a user asks for when asking for a pod.

use std::path::PathBuf;

use image_store::ImageRecord;
use manifests::appc::{
    AcIdentifier, AcName, EnvironmentName, ExposedPort, Mount, Quantity, SeccompSet, Volume,
};
use manifests::network::PortFlag;

/// A pod, as asked for.
#[derive(Debug, Default)]
pub struct PodRequest {
    /// The apps, in starting order.
    pub apps: Vec<AppRequest>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Mounts for every app.
    pub mounts: Vec<Mount>,
    /// Ports of apps that shall be reachable on the host.
    pub ports: Vec<PortFlag>,
    /// Ports given in full, of apps that are added later.
    pub exposed: Vec<ExposedPort>,
    /// Environment for every app.
    pub environment: PodEnvironment,
    /// Apps may be added to it while it runs.
    pub mutable: bool,
    /// Annotations of the pod.
    pub annotations: Vec<(AcIdentifier, String)>,
    /// User annotations of the pod.
    pub user_annotations: Vec<(String, String)>,
    /// User labels of the pod.
    pub user_labels: Vec<(String, String)>,
}

/// Environment for every app of a pod, in the order in which it wins.
#[derive(Debug, Default)]
pub struct PodEnvironment {
    /// For apps that do not set the variable themselves.
    pub inherited: Vec<(EnvironmentName, String)>,
    /// From files: over what apps set.
    pub files: Vec<(EnvironmentName, String)>,
    /// From the command line: over everything else.
    pub set: Vec<(EnvironmentName, String)>,
}

/// An app, as asked for.
#[derive(Debug)]
pub struct AppRequest {
    /// Its image.
    pub image: ImageRecord,
    /// What shall be otherwise than the image says.
    pub overrides: Overrides,
    /// Arguments behind those of the image, or of the program that replaces
    /// the image's.
    pub arguments: Vec<String>,
}

/// What a user wants otherwise than the image has it; absent and empty fields
/// leave the image's word.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Name of the app.
    pub name: Option<AcName>,
    /// Program, in place of the image's program and arguments.
    pub exec: Option<String>,
    /// The arguments stand in the place of the image's own and not behind them.
    pub replace_arguments: bool,
    /// Working directory, absolute.
    pub working_directory: Option<String>,
    /// User: name, number or path.
    pub user: Option<String>,
    /// Group: name, number or path.
    pub group: Option<String>,
    /// Supplementary groups, replacing the image's.
    pub supplementary_gids: Vec<u32>,
    /// Variables over those of the image.
    pub environment: Vec<(EnvironmentName, String)>,
    /// Mounts, before those for every app.
    pub mounts: Vec<Mount>,
    /// Root file system read-only.
    pub read_only_rootfs: Option<bool>,
    /// Annotations of the pod's app.
    pub annotations: Vec<(AcIdentifier, String)>,
    /// Replaces the image's user annotations.
    pub user_annotations: Vec<(String, String)>,
    /// Replaces the image's user labels.
    pub user_labels: Vec<(String, String)>,
    /// Memory limit in bytes.
    pub memory: Option<Quantity>,
    /// Processor limit in cores.
    pub cpu: Option<Quantity>,
    /// Processor weight.
    pub cpu_shares: Option<u64>,
    /// Capabilities in place of whatever the image says.
    pub capabilities: Option<Capabilities>,
    /// System call filter in place of whatever the image says.
    pub seccomp: Option<Seccomp>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
}

/// Capabilities, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// Exactly these.
    Retain(Vec<String>),
    /// The default set without these.
    Remove(Vec<String>),
}

/// System calls, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// Only these.
    Retain(SeccompSet),
    /// All but these.
    Remove(SeccompSet),
}

/// Where a file of `NAME=VALUE` lines stood, for messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentFileError {
    /// A line without `=`.
    #[error("environment variable must be specified as name=value (file {file:?}, line {line})")]
    NoValue {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A name that is none.
    #[error("{reason} (file {file:?}, line {line})")]
    BadName {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that was set before.
    #[error("environment variable {name:?} already set (file {file:?})")]
    Twice {
        /// The file.
        file: PathBuf,
        /// The variable.
        name: String,
    },
}
