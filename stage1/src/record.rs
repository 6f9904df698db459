//! What a pod leaves in its directory for others to read.
//!
//! The working directory is the pod directory. Every file appears whole, by
//! rename; nothing is synced, for a pod does not outlive its boot.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use manifests::engine::{self, AppStatus, Process};

use crate::error::{Error, Result};

/// Puts a file in its place.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = path.with_extension("new");
    fs::write(&staged, bytes)
        .and_then(|()| fs::rename(&staged, path))
        .map_err(Error::system("write", path.display()))
}

/// Records a process under one of the names of [`manifests::engine`].
///
/// # Errors
/// [`Error::System`] when it is gone or the file cannot be written.
pub fn process(file: &str, pid: i32, boot_id: &str) -> Result<()> {
    let start_time = start_time(pid).map_err(Error::system("read the start of process", pid))?;
    let process = Process {
        pid,
        start_time,
        boot_id: boot_id.to_owned(),
    };
    write(Path::new(file), &json(&process)?)
}

/// The number of the process recorded under one of the names of
/// [`manifests::engine`].
///
/// # Errors
/// [`Error::System`] when the file cannot be read, or the process is gone.
pub fn running(file: &'static str) -> Result<i32> {
    let text = fs::read(file).map_err(Error::system("read", file))?;
    let known: Process =
        serde_json::from_slice(&text).map_err(|source| Error::Damaged { file, source })?;
    let gone = || Error::attempt("find", format!("process {}", known.pid));
    let began = start_time(known.pid).map_err(|e| gone().because(e))?;
    if began != known.start_time || boot_id()? != known.boot_id {
        return Err(gone().because(rustix::io::Errno::SRCH));
    }
    Ok(known.pid)
}

/// This boot's id.
///
/// # Errors
/// [`Error::System`] without procfs.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::system("read", path))?;
    Ok(text.trim_end().to_owned())
}

/// Records the pod's cgroups.
///
/// # Errors
/// [`Error::System`] when the file cannot be written.
pub fn cgroups(lines: &str) -> Result<()> {
    write(Path::new(engine::CGROUP_FILE), lines.as_bytes())
}

/// Writes what the networks say of name resolution into the file that the
/// apps have mounted, so not by rename.
///
/// # Errors
/// [`Error::System`] when the file cannot be written.
pub fn resolv_conf(text: &str) -> Result<()> {
    let path = engine::NETWORK_RESOLV_CONF;
    fs::write(path, text).map_err(Error::system("write", path))
}

/// Records that every app of the pod has been ready.
///
/// # Errors
/// [`Error::System`] when the file cannot be written.
pub fn ready() -> Result<()> {
    write(Path::new(engine::READY_FILE), b"")
}

/// Records what became of an app.
///
/// # Errors
/// [`Error::System`] when the file cannot be written.
pub fn status(app: &str, status: &AppStatus) -> Result<()> {
    let path = Path::new("apps").join(app).join(engine::STATUS_FILE);
    write(&path, &json(status)?)
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Damaged {
        file: "record",
        source,
    })
}

/// Now, in nanoseconds since the epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Before 1970 or after 2554 the clock is wrong anyway.
    since.map_or(0, |d| d.as_nanos().try_into().unwrap_or(u64::MAX))
}

/// When a process started, in clock ticks since boot: field 22 of
/// `/proc/PID/stat`. The name in field 2 may hold anything, so
/// fields are counted from its last parenthesis.
///
/// # Errors
/// `ENOENT` or `ESRCH` when it is gone.
pub fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let end = stat.iter().rposition(|&b| b == b')').ok_or_else(bad)?;
    let fields = std::str::from_utf8(&stat[end + 1..]).map_err(|_| bad())?;
    let field = fields.split_whitespace().nth(19).ok_or_else(bad)?;
    field.parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_started_before_now_and_after_the_boot() {
        let ours = start_time(std::process::id() as i32).unwrap();
        let init = start_time(1).unwrap();
        assert!(ours >= init, "{ours} {init}");
        let later = start_time(std::process::id() as i32).unwrap();
        assert_eq!(ours, later);
    }
}
