//! Finding what a test left behind: mounts, cgroups, processes, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of this thread's mountinfo that mention `dir`.
pub fn mounts(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy();
    fs::read_to_string("/proc/thread-self/mountinfo")
        .unwrap()
        .lines()
        .filter(|l| l.contains(&*dir))
        .map(str::to_owned)
        .collect()
}

/// Control groups, in any hierarchy, whose name contains one of these UUIDs.
pub fn cgroups(uuids: &BTreeSet<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        // A directory may vanish under us: other tests run beside this one.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if uuids.iter().any(|u| name.contains(u.as_str())) {
                    found.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// What pods with these UUIDs still have of the calling thread's network: leases,
/// interfaces and named namespaces.
pub fn networks(uuids: &BTreeSet<String>) -> Vec<String> {
    let is_of_pod = |text: &str| uuids.iter().any(|uuid| text.contains(uuid.as_str()));
    let leases = files(Path::new("/var/lib/cni/networks"))
        .into_iter()
        .filter(|path| is_of_pod(&fs::read_to_string(path).unwrap_or_default()))
        .map(|path| format!("lease: {}", path.display()));
    let namespaces = names(Path::new("/run/netns"))
        .into_iter()
        .filter(|name| is_of_pod(name))
        .map(|name| format!("network namespace: {name}"));
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let interfaces: Vec<String> = devices
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .filter(|name| {
            // A kind's prefix, the beginning of the UUID, and a number.
            uuids.iter().any(|uuid| name.contains(&uuid[..8]))
        })
        .map(|name| format!("interface: {name}"))
        .collect();
    leases.chain(namespaces).chain(interfaces).collect()
}

/// Processes whose environment has `marker` (`KEY=VALUE`): pid and command line.
///
/// The engine's own processes keep the environment that rkt was started with;
/// apps do not, but they live in the engine's PID namespace and die with it.
pub fn processes(marker: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|b| *b == 0).any(|v| v == marker.as_bytes()) {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&words).replace('\0', " ");
            found.push((pid, line.trim().to_owned()));
        }
    }
    found
}

/// Every file below `dir`, however deep; a missing directory has none.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The names in `dir`; a missing directory has none.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
