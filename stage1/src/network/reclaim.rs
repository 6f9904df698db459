//! Taking back what a dead pod has, before gc comes to it.

use std::fs::File;
use std::path::PathBuf;

use manifests::engine::{self, Network};
use rustix::fs::{FlockOperation, flock};

use super::session::Pod;

/// The states in which a pod may be dead and still have a network.
const STATES: [&str; 3] = ["run", "exited-garbage", "garbage"];

/// Undoes the network of pod `uuid`, if it is one of ours, beside `pod`, and
/// dead; says whether that was so and all went well.
///
/// Whoever holds a lease and is no pod of this data directory is left alone:
/// nobody here can know whether it lives.
pub(crate) fn dead_pod(pod: Pod<'_>, uuid: &str) -> bool {
    if uuid == pod.uuid || uuid.is_empty() || uuid.contains('/') || uuid.starts_with('.') {
        return false;
    }
    let Some(pods) = pod.directory.parent().and_then(|state| state.parent()) else {
        return false;
    };
    let found = STATES
        .iter()
        .map(|state| pods.join(state).join(uuid))
        .find_map(|path: PathBuf| {
            let directory = File::open(&path).ok()?;
            Some((path, directory))
        });
    let Some((directory, lock)) = found else {
        return false;
    };
    // The lock keeps gc away, and is to be had only of a dead pod.
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
        return false;
    }
    let Ok(text) = std::fs::read(directory.join(engine::FILE)) else {
        return false;
    };
    let Ok(other) = serde_json::from_slice::<engine::Pod>(&text) else {
        return false;
    };
    let Network::Private(network) = other.network else {
        return false;
    };
    let dead = Pod {
        uuid,
        directory: &directory,
        plugin_path: &network.plugin_path,
        deadline: pod.deadline,
    };
    super::leave(dead, &network, super::Namespace::Gone).is_ok()
}
