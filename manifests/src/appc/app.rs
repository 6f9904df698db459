//! What to run: the `app` of an image or of a pod's app.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::isolator::Isolator;
use super::name::{AcName, EnvironmentName};

/// How to run the program of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Program and arguments; may be empty, then the user must say what to run.
    #[serde(default)]
    pub exec: Vec<String>,
    /// User name, number, or an absolute path whose owner is meant.
    pub user: String,
    /// Group name, number, or an absolute path whose group is meant.
    pub group: String,
    /// Groups the process belongs to besides.
    #[serde(
        default,
        rename = "supplementaryGIDs",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub supplementary_gids: Vec<u32>,
    /// Programs run before and after; at most one of each name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_handlers: Vec<EventHandler>,
    /// Absolute path; `/` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Environment; names are unique, values are never expanded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<EnvironmentVariable>,
    /// What bounds the app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolators: Vec<Isolator>,
    /// Where the app expects volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Where the app listens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// For people and their tools; never has an effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// For people and their tools; never has an effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
}

impl App {
    /// An app that runs `exec` as `user` and `group` and says nothing more.
    pub fn new(exec: Vec<String>, user: &str, group: &str) -> Self {
        Self {
            exec,
            user: user.to_owned(),
            group: group.to_owned(),
            supplementary_gids: Vec::new(),
            event_handlers: Vec::new(),
            working_directory: None,
            environment: Vec::new(),
            isolators: Vec::new(),
            mount_points: Vec::new(),
            ports: Vec::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
        }
    }

    /// The handler of this event.
    pub fn handler(&self, name: EventName) -> Option<&EventHandler> {
        self.event_handlers.iter().find(|h| h.name == name)
    }
}

/// When an event handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    /// Before the app, which waits for its end.
    PreStart,
    /// After the app, whatever its end.
    PostStop,
}

/// A program run at an event, in the app's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHandler {
    /// The event.
    pub name: EventName,
    /// Program and arguments.
    #[serde(default)]
    pub exec: Vec<String>,
}

/// One variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Unique in its list.
    pub name: EnvironmentName,
    /// Any string, never expanded.
    #[serde(default)]
    pub value: String,
}

/// A place where the app expects a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPoint {
    /// A pod volume of this name is mounted here unless the pod says otherwise.
    pub name: AcName,
    /// Absolute path inside the app's root.
    pub path: String,
    /// The app only reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A port, or a range of ports, that the app listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Unique over the apps of a pod.
    pub name: AcName,
    /// Usually `tcp` or `udp`.
    #[serde(default)]
    pub protocol: String,
    /// First port, 1 to 65535.
    pub port: u16,
    /// How many ports, at least 1; the last one is at most 65535.
    #[serde(default = "one")]
    pub count: u16,
    /// The app takes over listening sockets by the systemd protocol.
    #[serde(default)]
    pub socket_activated: bool,
}

fn one() -> u16 {
    1
}
