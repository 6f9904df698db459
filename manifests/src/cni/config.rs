//! A network's configuration: one file of `net.d`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::plugins::{Builtin, Ipam};
use super::position::locate;
use super::version::Version;

/// A network: a chain of plugins, often of one.
///
/// Serialized, it is a `.conflist`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// The version that plugins are spoken to in.
    #[serde(default)]
    pub cni_version: Version,
    /// The network's name, as `--net` knows it.
    pub name: String,
    /// CHECK is not to be called.
    #[serde(default)]
    pub disable_check: bool,
    /// GC is not to be called.
    #[serde(default, rename = "disableGC")]
    pub disable_gc: bool,
    /// In the order of ADD; at least one.
    pub plugins: Vec<Plugin>,
}

/// One plugin of a chain, with its keys as they were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// Its name, and that of its program.
    #[serde(rename = "type")]
    pub kind: String,
    /// All other keys.
    #[serde(flatten)]
    pub keys: Map<String, Value>,
}

impl Plugin {
    /// Whether the configuration says `"capabilities": {NAME: true}`.
    pub fn has_capability(&self, name: &str) -> bool {
        self.keys
            .get("capabilities")
            .and_then(|c| c.get(name))
            .and_then(Value::as_bool)
            == Some(true)
    }

    /// Masquerading is asked for here.
    pub fn ip_masq(&self) -> bool {
        self.keys.get("ipMasq").and_then(Value::as_bool) == Some(true)
    }

    /// Whether the plugin's result may say something of name resolution:
    /// programs may, the built-in ones do when their configuration does.
    pub fn may_resolve(&self) -> bool {
        let says = |value: Option<&Value>| {
            value
                .and_then(Value::as_object)
                .is_some_and(|keys| !keys.is_empty())
        };
        let json = Value::Object(self.keys.clone()).to_string();
        let Ok(Some(builtin)) = Builtin::parse(&self.kind, &json) else {
            return true;
        };
        let ipam = self.keys.get("ipam").and_then(Value::as_object);
        let ipam_kind = ipam
            .and_then(|i| i.get("type"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        matches!(builtin, Builtin::Flannel(_))
            || says(self.keys.get("dns"))
            || ipam.is_some_and(|i| i.contains_key("resolvConf") || says(i.get("dns")))
            || !matches!(ipam_kind, "" | "host-local" | "static")
    }

    /// The name of the program that stands behind the plugin: its own, or that
    /// of its address management where it is built in itself.
    pub fn program(&self) -> Option<String> {
        let json = Value::Object(self.keys.clone()).to_string();
        match Builtin::parse(&self.kind, &json) {
            Ok(Some(builtin)) => match builtin.ipam() {
                Some(Ipam::Plugin(kind)) => Some(kind.clone()),
                _ => None,
            },
            Ok(None) | Err(_) => Some(self.kind.clone()),
        }
    }

    /// The object that this plugin's program reads, without what the caller
    /// adds (`name`, `cniVersion`, `prevResult`, `runtimeConfig`).
    pub fn to_object(&self) -> Map<String, Value> {
        let mut object = self.keys.clone();
        object.insert("type".into(), Value::String(self.kind.clone()));
        object
    }
}

/// Why a text is not a network's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Both forms of file; which one it is shows by `plugins`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(default)]
    cni_version: Version,
    #[serde(default)]
    cni_versions: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    disable_check: Flag,
    #[serde(default, rename = "disableGC")]
    disable_gc: Flag,
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
}

/// Early lists wrote `disableCheck` as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Default for Flag {
    fn default() -> Self {
        Self::Bool(false)
    }
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Bool(set) => *set,
            Self::Text(text) => text == "true",
        }
    }
}

impl NetworkConfig {
    /// Reads a `.conf` or a `.conflist`; what built-in plugins will read from
    /// it is checked too.
    ///
    /// # Errors
    /// [`ConfigError`], with the place of the first fault.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let fail = |part: &str, error: &serde_json::Error| {
            let (line, column, message) = locate(text, part, error);
            ConfigError {
                line,
                column,
                message,
            }
        };
        let refuse = |message: String| ConfigError {
            line: 1,
            column: 1,
            message,
        };

        let file: File<'_> = serde_json::from_str(text).map_err(|e| fail(text, &e))?;
        let name = file.name.unwrap_or_default();
        if name.is_empty() {
            return Err(refuse("the network has no \"name\"".into()));
        }
        if !is_name(&name) {
            return Err(refuse(format!(
                "network name {name:?} may have letters, digits, '_', '.' and '-' only, a letter or a digit first"
            )));
        }
        let newest = file
            .cni_versions
            .iter()
            .filter_map(|v| v.parse().ok())
            .max();
        let parts = match &file.plugins {
            Some(parts) if parts.is_empty() => {
                return Err(refuse("\"plugins\" is empty".into()));
            }
            Some(parts) => parts.iter().map(|raw| raw.get()).collect(),
            None => vec![text],
        };
        let mut plugins = Vec::with_capacity(parts.len());
        for part in parts {
            let plugin: Plugin = serde_json::from_str(part).map_err(|e| fail(part, &e))?;
            if plugin.kind.is_empty() || plugin.kind.contains('/') || plugin.kind.starts_with('.') {
                return Err(refuse(format!(
                    "plugin type {:?} is not a file name",
                    plugin.kind
                )));
            }
            Builtin::parse(&plugin.kind, part).map_err(|e| fail(part, &e))?;
            plugins.push(plugin);
        }
        Ok(Self {
            cni_version: newest.unwrap_or(file.cni_version),
            name,
            disable_check: file.disable_check.is_set(),
            disable_gc: file.disable_gc.is_set(),
            plugins,
        })
    }

    /// Whether any plugin of the chain, or its address management, is a
    /// program.
    pub fn has_programs(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.program().is_some())
    }

    /// Whether any plugin of the chain masquerades.
    pub fn ip_masq(&self) -> bool {
        self.plugins.iter().any(Plugin::ip_masq)
    }
}

/// The specification's `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_plugin_and_a_chain_read_alike() {
        let one =
            NetworkConfig::parse(r#"{"name":"a","type":"loopback","extra":{"k":1}}"#).unwrap();
        let chain = NetworkConfig::parse(
            r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"loopback","extra":{"k":1}}]}"#,
        )
        .unwrap();
        assert_eq!(one.plugins[0].keys["extra"], chain.plugins[0].keys["extra"]);
        assert_eq!(one.cni_version, Version::V0_1_0);
        assert_eq!(chain.cni_version, Version::V1_0_0);
    }

    #[test]
    fn it_survives_engine_json() {
        let config = NetworkConfig::parse(
            r#"{"cniVersions":["0.4.0","1.1.0","7.0.0"],"cniVersion":"0.3.1","name":"a","disableCheck":"true",
                "plugins":[{"type":"some-plugin","capabilities":{"mac":true}}]}"#,
        )
        .unwrap();
        assert_eq!(config.cni_version, Version::V1_1_0);
        assert!(config.disable_check && config.plugins[0].has_capability("mac"));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<NetworkConfig>(&json).unwrap(),
            config
        );
    }

    #[test]
    fn faults_have_a_place() {
        let table = [
            ("{\n\"name\": \"a\",\n \"type\" \"x\"}", 3, "expected `:`"),
            ("{\"name\":\"a\"}", 1, "missing field `type`"),
            ("{\"type\":\"x\"}", 1, "the network has no \"name\""),
            ("{\"name\":\"../a\",\"type\":\"x\"}", 1, "network name"),
            (
                "{\"name\":\"a\",\"type\":\"../x\"}",
                1,
                "is not a file name",
            ),
            ("{\"name\":\"a\",\"plugins\":[]}", 1, "\"plugins\" is empty"),
            (
                "{\"name\":\"a\",\n\"cniVersion\":\"3.0\",\"type\":\"x\"}",
                2,
                "unknown cniVersion \"3.0\"",
            ),
            (
                "{\"name\":\"a\",\"plugins\":[\n{\"type\":\"loopback\"},\n{\"type\":\"bridge\",\n\"mtu\":\"big\"}]}",
                4,
                "invalid type: string \"big\"",
            ),
            (
                "{\"name\":\"a\",\"type\":\"ptp\",\n\"ipam\":{\"type\":\"host-local\",\n\"subnet\":\"10.1.2.0/33\"}}",
                3,
                "invalid",
            ),
            ("[]", 1, "invalid"),
        ];
        for (text, line, message) in table {
            let error = NetworkConfig::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
