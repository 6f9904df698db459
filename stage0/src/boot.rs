//! Which boot this is, and which process a number meant.
//!
//! A PID in a file says nothing by itself: the host may have restarted, or the
//! number may have been given to somebody else. So every process that a pod's
//! files name is written down with its boot and its start time, and believed
//! only when both still fit.

use std::io;

use manifests::engine::Process;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The kernel's id of this boot.
///
/// # Errors
/// Where `/proc` is not mounted.
pub fn id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Start time of a process in clock ticks since boot: field 22 of
/// `/proc/PID/stat` (proc_pid_stat(5)). `None` if there is no such process.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time_of(&stat)
}

/// The name in field 2 may hold blanks and parentheses, so counting starts
/// behind the last closing one.
fn start_time_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A descriptor of exactly this process, or `None` if it is gone.
///
/// # Errors
/// What `pidfd_open(2)` says, other than "no such process".
pub fn open_process(process: &Process) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(process.pid).filter(|_| process.pid > 0) else {
        return Ok(None);
    };
    if id()? != process.boot_id {
        return Ok(None);
    }
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    // The descriptor holds whoever has the number now; only the start time
    // tells whether that is still the one we mean.
    Ok((start_time(process.pid) == Some(process.start_time)).then_some(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn myself() -> Process {
        let pid = i32::try_from(std::process::id()).unwrap();
        Process {
            pid,
            start_time: start_time(pid).unwrap(),
            boot_id: id().unwrap(),
        }
    }

    #[test]
    fn a_recycled_number_is_not_believed() {
        assert!(open_process(&myself()).unwrap().is_some());
        let older = Process {
            start_time: myself().start_time - 1,
            ..myself()
        };
        assert!(open_process(&older).unwrap().is_none());
        let other_boot = Process {
            boot_id: "00000000-0000-0000-0000-000000000000".into(),
            ..myself()
        };
        assert!(open_process(&other_boot).unwrap().is_none());
    }

    #[test]
    fn a_process_may_call_itself_anything() {
        let stat = "7 (a ) R 1 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9";
        assert_eq!(start_time_of(stat), Some(4711));
    }
}
