//! Emptying and removing cgroups with those below them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LAST_BREATH;
use crate::error::{Error, Result};

/// On v1 processes are killed one by one, and who forks is faster; so first
/// nobody may fork any more.
pub(super) fn kill_without_forks(directory: &Path, pids: &Path) -> Result<()> {
    let limit = fs::read_to_string(pids).map_err(Error::system("read", pids.display()))?;
    let set = |value: &str| {
        fs::write(pids, value).map_err(Error::system("limit the processes in", pids.display()))
    };
    set("0")?;
    let deadline = Instant::now() + LAST_BREATH;
    let mut killed = kill_tree(directory);
    while killed.is_ok() && !is_dead(directory) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
        killed = kill_tree(directory);
    }
    set(limit.trim())?;
    killed
}

/// The same on v2, where a frozen process can be killed but not fork. Not by
/// `cgroup.kill`: from Linux 6.14 on what is born into a cgroup that was killed
/// so, by a parent that stands elsewhere, is killed as well, however much later
/// (`kill_seq` in kernel/cgroup/cgroup.c is compared with the parent's
/// cgroup's). A cgroup that is used again must not have been.
pub(super) fn kill_frozen(directory: &Path) -> Result<()> {
    let file = directory.join("cgroup.freeze");
    let set = |value: &str| {
        // No O_CREAT: the file is not there before Linux 5.2.
        let opened = File::options().write(true).open(&file);
        opened
            .and_then(|mut freeze| freeze.write_all(value.as_bytes()))
            .map_err(Error::system("freeze", directory.display()))
    };
    set("1")?;
    let deadline = Instant::now() + LAST_BREATH;
    let mut killed = kill_each(directory);
    while killed.is_ok() && !is_dead(directory) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
        killed = kill_each(directory);
    }
    set("0")?;
    killed
}

/// Whether no process is in the cgroup or below it.
pub(super) fn is_dead(cgroup: &Path) -> bool {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs"));
    processes.is_ok_and(|processes| processes.is_empty())
        && children(cgroup).is_ok_and(|children| children.iter().all(|child| is_dead(child)))
}

/// Directories only: the files of a cgroup go with it.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {}
        Err(e) => return Err(e),
    }
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    fs::remove_dir(directory)
}

pub(super) fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}

pub(super) fn kill_tree(directory: &Path) -> Result<()> {
    let failed = || Error::attempt("kill the processes of", directory.display());
    for child in children(directory).map_err(|e| failed().because(e))? {
        kill_tree(&child)?;
    }
    // v2 kills a whole cgroup at once (Linux 5.14), forks and all.
    if let Ok(mut kill) = File::options()
        .write(true)
        .open(directory.join("cgroup.kill"))
    {
        return kill.write_all(b"1").map_err(|e| failed().because(e));
    }
    kill_listed(directory)
}

/// Kills one process after the other.
fn kill_each(directory: &Path) -> Result<()> {
    let failed = || Error::attempt("kill the processes of", directory.display());
    for child in children(directory).map_err(|e| failed().because(e))? {
        kill_each(&child)?;
    }
    kill_listed(directory)
}

fn kill_listed(directory: &Path) -> Result<()> {
    let failed = || Error::attempt("kill the processes of", directory.display());
    let processes =
        fs::read_to_string(directory.join("cgroup.procs")).map_err(|e| failed().because(e))?;
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        let Some(pid) = rustix::process::Pid::from_raw(pid) else {
            continue;
        };
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(failed().because(io::Error::from(e))),
        }
    }
    Ok(())
}
