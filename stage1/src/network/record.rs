//! What a pod directory says about its network.
//!
//! `net/IFNAME.conflist` is there from before the first thing is taken for an
//! interface until the last one is given back; `net/IFNAME.result` has what
//! joining came to, once it has. `net-info.json` is for people and stays.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use manifests::cni::net_info::{self, NetInfo};
use manifests::cni::{CniResult, NetworkConfig, Plugin, Version};
use manifests::engine::NETWORK_DIRECTORY as DIRECTORY;

use super::error::{Error, Result};
use super::execute;
use super::session::{Attach, Pod, builtin};

fn path(pod: Pod<'_>, if_name: &str, kind: &str) -> PathBuf {
    pod.directory
        .join(DIRECTORY)
        .join(format!("{if_name}.{kind}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file("write", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes the directory.
pub(crate) fn begin(pod: Pod<'_>) -> Result<()> {
    let directory = pod.directory.join(DIRECTORY);
    match fs::create_dir(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::file("create", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Notes that things will be taken for this interface.
pub(crate) fn intend(pod: Pod<'_>, attach: Attach<'_>) -> Result<()> {
    let text = serde_json::to_string(attach.config).map_err(|source| Error::Config {
        plugin: attach.config.name.clone(),
        source,
    })?;
    write(&path(pod, attach.if_name, "conflist"), &text)
}

/// Whether anything may have been taken for this interface.
pub(crate) fn intended(pod: Pod<'_>, if_name: &str) -> bool {
    path(pod, if_name, "conflist").exists()
}

/// Notes what joining came to.
pub(crate) fn joined(pod: Pod<'_>, if_name: &str, result: &CniResult) -> Result<()> {
    write(
        &path(pod, if_name, "result"),
        &result.to_json(Version::NEWEST).to_string(),
    )
}

/// What joining came to; `None` if it did not get so far.
pub(crate) fn result_of(pod: Pod<'_>, if_name: &str) -> Option<CniResult> {
    let text = fs::read_to_string(path(pod, if_name, "result")).ok()?;
    CniResult::parse(&text).ok()
}

/// Notes which plugin flannel has the work done by.
pub(crate) fn delegate(pod: Pod<'_>, if_name: &str, plugin: &Plugin) -> Result<()> {
    let text = serde_json::to_string(plugin).map_err(|source| Error::Config {
        plugin: plugin.kind.clone(),
        source,
    })?;
    write(&path(pod, if_name, "delegate"), &text)
}

/// Which plugin that is; `None` if it did not get so far.
pub(crate) fn delegate_of(pod: Pod<'_>, if_name: &str) -> Option<Plugin> {
    serde_json::from_slice(&fs::read(path(pod, if_name, "delegate")).ok()?).ok()
}

/// Notes that nothing is taken for this interface any more.
pub(crate) fn left(pod: Pod<'_>, if_name: &str) -> Result<()> {
    remove(&path(pod, if_name, "delegate"))?;
    remove(&path(pod, if_name, "result"))?;
    remove(&path(pod, if_name, "conflist"))
}

/// Removes the directory, if nothing is left in it.
pub(crate) fn end(pod: Pod<'_>) -> Result<()> {
    let directory = pod.directory.join(DIRECTORY);
    match fs::remove_dir(&directory) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(Error::file("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// What `rkt list` says of an interface.
pub(crate) fn info(pod: Pod<'_>, attach: Attach<'_>, result: &CniResult) -> NetInfo {
    let plugin_path = attach
        .config
        .plugins
        .first()
        .filter(|plugin| matches!(builtin(plugin), Ok(None)))
        .and_then(|plugin| execute::find(&plugin.kind, pod.plugin_path).ok())
        .unwrap_or_default();
    let first = result.ips.first().map(|ip| ip.address);
    NetInfo {
        net_name: attach.config.name.clone(),
        net_conf: path(pod, attach.if_name, "conflist"),
        plugin_path,
        if_name: attach.if_name.to_owned(),
        ip: first.map(|net| net.addr()),
        args: attach.args.0.to_owned(),
        mask: first.map(NetInfo::mask_of),
        ips: result.ips.iter().map(|ip| ip.address).collect(),
    }
}

/// Writes `net-info.json`.
pub(crate) fn publish(pod: Pod<'_>, infos: &[NetInfo]) -> Result<()> {
    let text = serde_json::to_string(infos).map_err(|source| Error::Config {
        plugin: net_info::FILE.to_owned(),
        source,
    })?;
    write(&pod.directory.join(net_info::FILE), &text)
}

/// The configuration as it was when the pod joined, where the record has it.
pub(crate) fn config_of(pod: Pod<'_>, if_name: &str) -> Option<NetworkConfig> {
    serde_json::from_slice(&fs::read(path(pod, if_name, "conflist")).ok()?).ok()
}
