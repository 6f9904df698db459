//! What to run: the `app` of an image or of a pod's app.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::decode::{Decode, Node, Result, deserialize_by_decode};
use super::isolator::{self, Isolator};
use super::name::{AcName, EnvironmentName};

/// How to run the program of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Program and arguments; may be empty, then the user must say what to run.
    pub exec: Vec<String>,
    /// User name, number, or an absolute path whose owner is meant.
    pub user: String,
    /// Group name, number, or an absolute path whose group is meant.
    pub group: String,
    /// Groups the process belongs to besides.
    #[serde(rename = "supplementaryGIDs", skip_serializing_if = "Vec::is_empty")]
    pub supplementary_gids: Vec<u32>,
    /// Programs run before and after; at most one of each name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_handlers: Vec<EventHandler>,
    /// Absolute path; `/` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Environment; names are unique, values are never expanded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<EnvironmentVariable>,
    /// What bounds the app.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub isolators: Vec<Isolator>,
    /// Where the app expects volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Where the app listens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// For people and their tools; never has an effect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// For people and their tools; never has an effect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    /// Before the app, which waits for its end.
    PreStart,
    /// After the app, whatever its end.
    PostStop,
}

/// A program run at an event, in the app's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventHandler {
    /// The event.
    pub name: EventName,
    /// Program and arguments.
    pub exec: Vec<String>,
}

/// One variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvironmentVariable {
    /// Unique in its list.
    pub name: EnvironmentName,
    /// Any string, never expanded.
    pub value: String,
}

/// A place where the app expects a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPoint {
    /// A pod volume of this name is mounted here unless the pod says otherwise.
    pub name: AcName,
    /// Absolute path inside the app's root.
    pub path: String,
    /// The app only reads.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A port, or a range of ports, that the app listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Unique over the apps of a pod.
    pub name: AcName,
    /// Usually `tcp` or `udp`.
    pub protocol: String,
    /// First port, 1 to 65535.
    pub port: u16,
    /// How many ports, at least 1; the last one is at most 65535.
    pub count: u16,
    /// The app takes over listening sockets by the systemd protocol.
    pub socket_activated: bool,
}

deserialize_by_decode!(App, EventHandler, EnvironmentVariable, MountPoint, Port);

impl Decode for App {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            exec: object.optional("exec", Node::strings)?.unwrap_or_default(),
            user: object.nonempty("user")?,
            group: object.nonempty("group")?,
            supplementary_gids: object
                .optional("supplementaryGIDs", |list| list.each(Node::id))?
                .unwrap_or_default(),
            event_handlers: object.unique_list("eventHandlers", |h: &EventHandler| h.name)?,
            working_directory: object
                .optional("workingDirectory", working_directory)?
                .flatten(),
            environment: object
                .unique_list("environment", |v: &EnvironmentVariable| v.name.clone())?,
            isolators: isolator::decode_list(&object)?,
            mount_points: object.list("mountPoints")?,
            ports: object.list("ports")?,
            user_annotations: object
                .optional("userAnnotations", Node::string_map)?
                .unwrap_or_default(),
            user_labels: object
                .optional("userLabels", Node::string_map)?
                .unwrap_or_default(),
        })
    }
}

/// The empty string is how some writers say "absent".
fn working_directory(node: &Node<'_>) -> Result<Option<String>> {
    match node.str()? {
        "" => Ok(None),
        _ => node.absolute_path().map(Some),
    }
}

impl EventName {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreStart => "pre-start",
            Self::PostStop => "post-stop",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Decode for EventHandler {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let name = object.need("name")?;
        let name = match name.str()? {
            "pre-start" => EventName::PreStart,
            "post-stop" => EventName::PostStop,
            other => {
                return Err(name.invalid(format_args!(
                    "unknown event {other:?}: expected pre-start or post-stop"
                )));
            }
        };
        let exec = object.optional("exec", Node::strings)?.unwrap_or_default();
        Ok(Self { name, exec })
    }
}

impl Decode for EnvironmentVariable {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            name: object.need("name")?.parse()?,
            value: object.string("value")?,
        })
    }
}

impl Decode for MountPoint {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        Ok(Self {
            name: object.need("name")?.parse()?,
            path: object.need("path")?.absolute_path()?,
            read_only: object.flag("readOnly")?,
        })
    }
}

impl Decode for Port {
    fn decode(node: &Node<'_>) -> Result<Self> {
        let object = node.object()?;
        let port = port_number(&object.need("port")?)?;
        Ok(Self {
            name: object.need("name")?.parse()?,
            protocol: object.string("protocol")?,
            port,
            count: port_count(object.get("count").as_ref(), port)?,
            socket_activated: object.flag("socketActivated")?,
        })
    }
}

pub(super) fn port_number(node: &Node<'_>) -> Result<u16> {
    let number = node.unsigned()?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(node.invalid(format_args!("{number} is not a port: expected 1 to 65535"))),
    }
}

/// The length of a range that begins at `port`; absent and 0 mean 1.
fn port_count(node: Option<&Node<'_>>, port: u16) -> Result<u16> {
    let Some(node) = node else { return Ok(1) };
    let count = node.unsigned()?.max(1);
    match u16::try_from(count) {
        Ok(count) if u32::from(port) + u32::from(count) <= 65536 => Ok(count),
        _ => Err(node.invalid(format_args!(
            "{count} ports from {port} on would go beyond 65535"
        ))),
    }
}
