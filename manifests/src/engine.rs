//! What stage0 hands to stage1: one file, `engine.json`, in the pod directory.
//!
//! Each app is an OCI runtime [`Spec`], the engine's only language for "run
//! this"; around it stands what OCI has no word for, because a pod is several
//! containers with one init. Nothing in here is appc's or rkt's, so a bare OCI
//! bundle is the same thing with one app.
//!
//! Invariant: whoever writes this file has resolved and checked everything
//! that can be resolved before the pod exists (users to numbers, seccomp
//! groups to system calls, volumes to host paths).

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

/// Name of the file inside the pod directory.
pub const FILE: &str = "engine.json";

/// Environment variable that carries the number of the inherited descriptor
/// whose lock says that the pod is alive.
pub const LOCK_FD_ENV: &str = "RKT_LOCK_FD";

/// A pod, ready to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// The pod's UUID, lower-case 8-4-4-4-12.
    pub uuid: String,
    /// Host name in the pod's UTS namespace.
    pub hostname: String,
    /// The pod's network namespace.
    pub network: Network,
    /// The pod's IPC namespace.
    pub ipc: Ipc,
    /// The one app has the caller's terminal.
    #[serde(default)]
    pub interactive: bool,
    /// The apps, in starting order; they are stopped in reverse.
    pub apps: Vec<App>,
}

/// Which network namespace the pod lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// A new one with nothing but loopback.
    None,
    /// The caller's.
    Host,
}

/// Which IPC namespace the pod lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ipc {
    /// A new one, shared by the pod's apps.
    Private,
    /// The caller's.
    Parent,
}

/// One app of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Unique in the pod; names its directory under `apps/` and its cgroup.
    pub name: String,
    /// What the app's root file system is made of.
    pub rootfs: Rootfs,
    /// Program run to its end before the app starts; its failure is the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<Vec<String>>,
    /// Program run after the app ended, whatever its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stop: Option<Vec<String>>,
    /// Number of the signal that asks the app to stop.
    pub stop_signal: i32,
    /// Seconds from the stop signal to SIGKILL.
    pub stop_timeout: u32,
    /// The OCI container. `root.path` and namespace paths are the engine's to
    /// fill in; everything else is followed to the letter.
    pub spec: Spec,
}

/// Where an app's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rootfs {
    /// An overlay of `apps/NAME/upper` in the pod directory over this
    /// directory, which is mounted or rendered already and shared with other
    /// pods.
    Overlay {
        /// The read-only image root on the host.
        lower: PathBuf,
    },
    /// A directory of this app's own, used as it is.
    Directory {
        /// The directory on the host.
        path: PathBuf,
    },
}
