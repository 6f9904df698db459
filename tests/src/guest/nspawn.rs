//! systemd-nspawn: the host's kernel, another system. Boots in a moment.
//!
//! The host may itself lack systemd, so the guest gets no registration and no
//! unit, but cgroups of its own, made here and removed at the end. Mounts and
//! the loop device below the root are in a mount namespace that ends with it,
//! see `tests/guests/nspawn.sh`; and nspawn is PID 1 of a namespace, because
//! killed alone it would leave the guest running.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::recipe_path;
use super::running::{BOOT, Results, Running};
use crate::Cmd;

pub(super) fn start(dir: TempDir, root: &Path, script: Duration) -> Running {
    let name = dir
        .path()
        .file_name()
        .and_then(|n| n.to_str())
        .expect("tempfile makes ASCII names")
        .to_owned();
    let cgroups = Cgroups::new(&name);
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let process = Cmd::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args([
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--mount-proc",
        ])
        .args(["--pid", "--fork", "--kill-child", "sh"])
        .arg(recipe_path("nspawn.sh"))
        .args([root, dir.path()])
        .arg(&name)
        .args(&cgroups.directories)
        .deadline(BOOT + script)
        .spawn();
    let marks = out.join("marks");
    let mut running = Running::new(process, dir, Results::Directory(out), script);
    running.marks = marks;
    running.cgroups = Some(cgroups);
    running
}

/// The guest's own directory in the unified and in systemd's named hierarchy.
pub(super) struct Cgroups {
    directories: Vec<PathBuf>,
}

impl Cgroups {
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let directories = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (point, kind, options) = (words.next()?, words.next()?, words.next()?);
                let named = options.split(',').any(|o| o == "name=systemd");
                (kind == "cgroup2" || named).then(|| Path::new(point).join(name))
            })
            .collect();
        let cgroups = Self { directories };
        for dir in &cgroups.directories {
            fs::create_dir(dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        }
        cgroups
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for dir in &self.directories {
            remove(dir);
        }
    }
}

/// Removes a cgroup and those below it. Killed processes leave with a delay.
fn remove(dir: &Path) {
    for below in fs::read_dir(dir).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|t| t.is_dir()) {
            remove(&below.path());
        }
    }
    for _ in 0..500 {
        match fs::remove_dir(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}
