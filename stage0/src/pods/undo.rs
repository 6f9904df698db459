//! Giving back what a pod that is over still has of the host.
//!
//! stage1 writes down what it takes before it takes it, and undoes it when the
//! pod ends in order. What is undone here is what a supervisor that was killed
//! could not undo. Mounts need no undoing: they live in the pod's own mount
//! namespace and died with it.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use manifests::engine::{CGROUP_FILE, NETWORK_DIRECTORY};
use rustix::process::{Pid, Signal, kill_process};

use super::{OwnedPod, PodError};
use crate::metadata;
use crate::stage1::Stage1;

/// Name of the cgroup that holds all pods.
const PODS_CGROUP: &str = "rkt";

/// How long killed processes may take to leave their cgroup.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Undoes what the pod's files say was taken. What is undone already is fine.
///
/// # Errors
/// If a network cannot be left, or a cgroup cannot be emptied or removed; the next gc tries again.
pub(super) fn release(pod: &OwnedPod) -> Result<(), PodError> {
    leave_networks(pod)?;
    if pod.path().join(metadata::REGISTERED).exists() {
        metadata::unregister(&metadata::socket(pod.data_dir()), pod.uuid())
            .map_err(|e| PodError::io("unregister", pod.path())(io::Error::other(e)))?;
    }
    let file = pod.path().join(CGROUP_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(PodError::io("read", file)(e)),
    };
    let uuid = pod.uuid().to_string();
    for cgroup in text.lines().map(Path::new) {
        if is_ours(cgroup, &uuid) {
            remove_cgroup(cgroup).map_err(PodError::io("remove the cgroup", cgroup))?;
            if let Some(parent) = cgroup.parent().filter(|p| p.ends_with(PODS_CGROUP)) {
                // It goes with its last pod; until then it is not empty.
                let _ = std::fs::remove_dir(parent);
            }
        }
    }
    Ok(())
}

/// Has stage1 undo what is on record for the pod's networks: it knows how.
fn leave_networks(pod: &OwnedPod) -> Result<(), PodError> {
    let path = pod.path();
    if !path.join(NETWORK_DIRECTORY).exists() {
        return Ok(());
    }
    let uuid = pod.uuid().to_string();
    Stage1::find(None)
        .map_err(io::Error::other)
        .and_then(|stage1| stage1.ask(&["gc", &uuid], &path, &[]))
        .map_err(PodError::io("leave the networks of", &path))
}

/// A damaged file must not make us kill a neighbour: the path has to be a
/// plain one below `/sys/fs/cgroup` that bears the pod's UUID.
fn is_ours(cgroup: &Path, uuid: &str) -> bool {
    let plain = cgroup
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let named = cgroup
        .components()
        .any(|c| c.as_os_str().to_string_lossy().contains(uuid));
    plain && named && cgroup.starts_with("/sys/fs/cgroup")
}

/// Kills whoever is left, then removes the cgroup with those below it.
fn remove_cgroup(cgroup: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LAST_BREATH;
    loop {
        let tree = match descendants(cgroup) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // Deepest last in the list, first to go.
        let mut busy = None;
        for dir in tree.iter().rev() {
            match std::fs::remove_dir(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => busy = Some(e),
            }
        }
        let Some(error) = busy else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(error);
        }
        for dir in &tree {
            kill_all(dir)?;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn descendants(cgroup: &Path) -> io::Result<Vec<PathBuf>> {
    let mut tree = vec![cgroup.to_owned()];
    let mut next = 0;
    while next < tree.len() {
        for entry in std::fs::read_dir(&tree[next])? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                tree.push(entry.path());
            }
        }
        next += 1;
    }
    Ok(tree)
}

fn kill_all(cgroup: &Path) -> io::Result<()> {
    let processes = match std::fs::read_to_string(cgroup.join("cgroup.procs")) {
        Ok(processes) => processes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        if let Some(pid) = Pid::from_raw(pid) {
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cgroups_that_bear_the_pods_uuid_are_touched() {
        let uuid = "aa000000-0000-4000-8000-000000000001";
        for (path, ours) in [
            (format!("/sys/fs/cgroup/pids/rkt/{uuid}"), true),
            (format!("/sys/fs/cgroup/rkt/{uuid}/app"), true),
            ("/sys/fs/cgroup".to_owned(), false),
            ("/sys/fs/cgroup/rkt".to_owned(), false),
            (format!("/sys/fs/cgroup/rkt/{uuid}/../other"), false),
            (format!("/home/{uuid}"), false),
            (format!("sys/fs/cgroup/{uuid}"), false),
        ] {
            assert_eq!(is_ours(Path::new(&path), uuid), ours, "{path}");
        }
    }
}
