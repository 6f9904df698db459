//! From `--net` to the networks that the engine joins.
//!
//! What a file of `net.d` may say, and which one wins, is
//! [`manifests::cni::netd`]'s business; here the directories are read, and the
//! plugins' programs are named the places where they are looked for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use manifests::appc::{App, PodManifest};
use manifests::cni::NetworkConfig;
use manifests::cni::netd::{self, Found, Layer, NetdError};
use manifests::engine::{Attachment, ConfiguredNetworks, ForwardedPort, Network, PrivateNetwork};
use manifests::network::{Declared, NetChoice, PortError, PortFlag, Resolver, resolve_ports};

use crate::pods::Pod;
use crate::stage1::Stage1;

/// Directory of networks in a configuration directory.
const NET_D: &str = "net.d";

/// Where plugins' programs are installed, after the local configuration's
/// `net.d`: rkt's own place, then those of distributions and of CNI itself.
const PLUGIN_PATH: [&str; 5] = [
    "/usr/lib/rkt/plugins/net",
    "/usr/lib/cni",
    "/usr/libexec/cni",
    "/usr/local/lib/cni",
    "/opt/cni/bin",
];

/// Why a pod has no network to join.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// A directory or file that is there cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file is at fault, or a network is nowhere.
    #[error(transparent)]
    Netd(#[from] NetdError),
}

/// Every network that is configured or built in, in the order in which they
/// would be joined, and what to warn about. `layers` are the configuration
/// directories, the highest first.
///
/// # Errors
/// [`NetworksError`].
pub fn all(layers: &[&Path]) -> Result<(Vec<Found>, Vec<String>), NetworksError> {
    let layers = layers
        .iter()
        .map(|dir| read(&dir.join(NET_D)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(netd::all(&layers)?)
}

/// What `choice` comes to; `tell` hears warnings.
///
/// # Errors
/// [`NetworksError`].
pub fn plan(
    choice: &NetChoice,
    layers: &[&Path],
    resolver: &Resolver,
    tell: &mut dyn FnMut(&str),
) -> Result<Network, NetworksError> {
    match choice {
        NetChoice::Host => return Ok(Network::Host),
        NetChoice::None => return Ok(Network::None),
        NetChoice::All | NetChoice::Named(_) => {}
    }
    let (found, warnings) = all(layers)?;
    for warning in warnings {
        tell(&warning);
    }
    let attachments = netd::choose(found, choice)?
        .into_iter()
        .enumerate()
        .map(|(number, (found, args))| Attachment {
            if_name: format!("eth{number}"),
            args,
            file: found.file,
            config: found.config,
        })
        .collect();
    Ok(Network::Private(Box::new(PrivateNetwork {
        attachments,
        ports: Vec::new(),
        plugin_path: plugin_path(layers),
        use_dns: *resolver == Resolver::Networks,
    })))
}

fn plugin_path(layers: &[&Path]) -> Vec<PathBuf> {
    let local = layers.first().map(|dir| dir.join(NET_D));
    local
        .into_iter()
        .chain(PLUGIN_PATH.map(PathBuf::from))
        .collect()
}

/// Has `stage1` ask the programs of the networks that are configured in
/// `layers` whether a pod could join now; returns what stands in the way, one
/// thing a line.
///
/// # Errors
/// [`NetworksError`].
pub fn not_ready(stage1: &Stage1, layers: &[&Path]) -> Result<Vec<String>, NetworksError> {
    ask("status", stage1, layers)
}

/// Has `stage1` tell the programs of the networks that are configured in
/// `layers` which attachments still exist; returns what went wrong.
///
/// # Errors
/// [`NetworksError`].
pub fn collect(stage1: &Stage1, layers: &[&Path]) -> Result<Vec<String>, NetworksError> {
    ask("gc", stage1, layers)
}

fn ask(verb: &str, stage1: &Stage1, layers: &[&Path]) -> Result<Vec<String>, NetworksError> {
    let (found, _) = all(layers)?;
    let configs: Vec<_> = found
        .into_iter()
        .map(|found| found.config)
        .filter(NetworkConfig::has_programs)
        .collect();
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let networks = ConfiguredNetworks {
        plugin_path: plugin_path(layers),
        configs,
    };
    let asked = serde_json::to_vec(&networks)
        .map_err(std::io::Error::from)
        .and_then(|input| stage1.ask(&["networks", verb], Path::new("/"), &input));
    Ok(asked.err().map(|e| lines(&e)).unwrap_or_default())
}

/// Has `stage1` look whether a pod that runs still has what its networks gave
/// it; returns what is missing or wrong.
pub fn check(stage1: &Stage1, pod: &Pod) -> Vec<String> {
    let uuid = pod.uuid().to_string();
    let checked = stage1.ask(&["check", &uuid], &pod.path(), &[]);
    checked.err().map(|e| lines(&e)).unwrap_or_default()
}

fn lines(error: &std::io::Error) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

fn read(directory: &Path) -> Result<Layer, NetworksError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| NetworksError::Read { path, source }
    };
    let mut layer = Layer {
        directory: directory.to_owned(),
        files: Vec::new(),
    };
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(layer),
        other => other.map_err(failed(directory))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed(directory))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        // Plugins' programs stand in the same directory.
        if !netd::is_config(&name) || !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        layer.files.push((name, text));
    }
    Ok(layer)
}

/// The ports that a pod manifest asks the host for; `sections` are what its
/// apps are.
///
/// # Errors
/// [`PortError`], for what no app declares.
pub fn ports<'a>(
    manifest: &'a PodManifest,
    sections: impl Iterator<Item = &'a App>,
) -> Result<Vec<ForwardedPort>, PortError> {
    let mut declared: Vec<Declared<'_>> = sections
        .flat_map(|app| &app.ports)
        .map(Declared::from)
        .collect();
    // A port that is given in full needs no app that declares it.
    for exposed in &manifest.ports {
        if let Some(port) = &exposed.pod_port {
            declared.retain(|other| other.name != exposed.name.as_str());
            declared.push(Declared {
                name: exposed.name.as_str(),
                protocol: &port.protocol,
                port: port.port,
                count: port.count,
            });
        }
    }
    let flags: Vec<PortFlag> = manifest
        .ports
        .iter()
        .map(|exposed| PortFlag {
            name: exposed.name.as_str().to_owned(),
            host_ip: exposed.host_ip,
            host_port: exposed.host_port,
            last: None,
        })
        .collect();
    resolve_ports(&flags, &declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_network_keeps_its_file_and_plugins_their_places() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::create_dir(etc.path().join(NET_D)).unwrap();
        let file = etc.path().join(NET_D).join("10-lan.conf");
        std::fs::write(&file, r#"{"name":"lan","type":"bridge"}"#).unwrap();
        // A plugin's program beside it, and a file that is none of ours.
        std::fs::write(etc.path().join(NET_D).join("plug"), [0x7f, 0xff]).unwrap();
        let choice = NetChoice::parse(["default,lan:IP=10.1.2.3"]).unwrap();
        let mut told = Vec::new();
        let network = plan(
            &choice,
            &[etc.path(), Path::new("/nonexistent")],
            &Resolver::Networks,
            &mut |text| told.push(text.to_owned()),
        )
        .unwrap();
        let Network::Private(network) = network else {
            panic!("networks were chosen")
        };
        let names: Vec<_> = network
            .attachments
            .iter()
            .map(|a| (a.if_name.as_str(), a.config.name.as_str()))
            .collect();
        assert_eq!(names, [("eth0", "lan"), ("eth1", "default")]);
        assert_eq!(network.attachments[0].file.as_deref(), Some(file.as_path()));
        assert_eq!(network.attachments[0].args, "IP=10.1.2.3");
        assert_eq!(network.plugin_path[0], etc.path().join(NET_D));
        assert!(network.use_dns && !network.may_resolve() && told.is_empty());
    }

    #[test]
    fn a_broken_file_is_told_by_name_and_line() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::create_dir(etc.path().join(NET_D)).unwrap();
        std::fs::write(etc.path().join("net.d/x.conf"), "{\n\"name\": }").unwrap();
        let error = all(&[etc.path()]).unwrap_err().to_string();
        assert!(
            error.contains("net.d/x.conf: line 2, column 9: "),
            "{error}"
        );
    }
}
