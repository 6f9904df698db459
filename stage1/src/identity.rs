//! Becoming the process that the plan describes.
//!
//! The order matters. Limits come before the user changes, for a user may
//! lower but not raise them; the bounding set while we may still change it;
//! the filter last of all, for it may forbid what comes before.

use rustix::io::Errno;
use rustix::process::{Gid, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use sys::mount_attributes::MountAttributes;

use crate::error::{Error, Result};
use crate::plan::{ExecLabel, Process};
use crate::protection::{Protection, is_left_out};
use crate::{mounting, program, resolve};

/// Enters the working directory, which must exist inside the root.
///
/// # Errors
/// [`Error::WorkingDirectory`]: `ENOENT`, `ENOTDIR`, or `ELOOP` for a magic
/// link, by which a directory outside would be entered.
pub fn enter_working_directory(path: &Path) -> Result<()> {
    let failed = |source| Error::WorkingDirectory {
        path: path.to_owned(),
        source,
    };
    if is_left_out(Protection::WorkingDirectory) {
        return rustix::process::chdir(path).map_err(|e| failed(e.into()));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let directory = resolve::open(rustix::fs::CWD, path, flags).map_err(failed)?;
    rustix::process::fchdir(directory).map_err(|e| failed(e.into()))?;
    // The kernel says "(unreachable)" of a directory outside the root.
    match rustix::process::getcwd(Vec::new()) {
        Ok(here) if here.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) => Err(failed(Errno::XDEV.into())),
        Err(e) => Err(failed(e.into())),
    }
}

/// Turns the calling process into the one that the plan describes and
/// executes its program. `proc` is a procfs of the pod's PID namespace that
/// no app can reach, so that what is written there is written to the kernel.
/// `last` is called when nothing but the filter and the execution is left.
///
/// # Errors
/// Only ever returns with one.
pub fn become_process(
    process: &Process,
    proc: Option<&OwnedFd>,
    last: impl FnOnce() -> Result<()>,
) -> Result<Infallible> {
    if let Some(value) = process.oom_score_adj {
        write_proc(proc, "self/oom_score_adj", &value.to_string())
            .map_err(Error::system("set process.oomScoreAdj to", value))?;
    }
    for &(resource, limit) in &process.rlimits {
        setrlimit(resource, limit).map_err(|e| {
            let value = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
            let what = format!(
                "{resource:?} to {}, {} (a hard limit is raised with CAP_SYS_RESOURCE only)",
                value(limit.current),
                value(limit.maximum)
            );
            Error::system("set the rlimit", what)(e)
        })?;
    }
    if !is_left_out(Protection::Keyring) {
        leave_session_keyring()?;
    }
    enter_working_directory(&process.cwd)?;
    let found = program::find(process)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    if let Some(ExecLabel { file, value }) = &process.exec_label {
        write_proc(proc, file, value).map_err(Error::system("set the label", value))?;
    }
    become_user(process)?;
    if process.no_new_privileges {
        set_no_new_privs(true).map_err(Error::system("set", "no_new_privs"))?;
    }
    sys::signals::reset_dispositions();
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(Error::system("reset", "the signal mask"))?;
    sys::descriptors::close_all_on_exec()
        .map_err(Error::system("close", "the engine's descriptors"))?;
    last()?;
    if let Some(filter) = &process.filter {
        filter
            .program
            .install(filter.flags)
            .map_err(Error::system("install", "the seccomp filter"))?;
    }
    Err(execute(&found, process))
}

fn leave_session_keyring() -> Result<()> {
    match sys::process::new_session_keyring() {
        // A kernel without keys has none to leave.
        Err(e) if e.raw_os_error() != Some(libc::ENOSYS) => {
            Err(Error::system("leave", "the caller's session keyring")(e))
        }
        _ => Ok(()),
    }
}

fn execute(found: &CString, process: &Process) -> Error {
    match nix::unistd::execve::<CString, CString>(found, &process.argv, &process.env) {
        Err(e) => program::explain(found, e.into()),
        Ok(never) => match never {},
    }
}

/// Whether something is to be written below `/proc` for it.
pub fn needs_proc(process: &Process) -> bool {
    process.oom_score_adj.is_some() || process.exec_label.is_some()
}

/// A procfs of this process's PID namespace that is mounted nowhere.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn private_proc() -> Result<OwnedFd> {
    let attributes = MountAttributes::NO_SUID | MountAttributes::NO_DEV | MountAttributes::NO_EXEC;
    mounting::new_file_system(c"proc", &[], attributes)
        .map_err(Error::system("mount", "the pod's proc"))
}

/// Writes into a file below the private procfs.
pub(crate) fn write_proc(proc: Option<&OwnedFd>, file: &str, value: &str) -> io::Result<()> {
    let proc = proc.ok_or(Errno::BADF)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = match is_left_out(Protection::PrivateProc) {
        true => rustix::fs::open(format!("/proc/{file}"), flags, Mode::empty())?,
        false => rustix::fs::openat(proc.as_fd(), file, flags, Mode::empty())?,
    };
    let written = rustix::io::write(&opened, value.as_bytes())?;
    if written != value.len() {
        return Err(Errno::IO.into());
    }
    Ok(())
}

/// Changes groups, user and capabilities.
///
/// One thing differs from what the specification lists until the program is
/// executed: CAP_SYS_ADMIN stays, because installing a filter without
/// no_new_privs needs it. Execution computes the sets anew from bounding,
/// inheritable and ambient alone (capabilities(7)), and those are final here.
fn become_user(process: &Process) -> Result<()> {
    let caps = process.capabilities;
    let uid = Uid::from_raw(process.uid);
    let gid = Gid::from_raw(process.gid);
    let groups: Vec<_> = process.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    drop_bounding(caps.bounding).map_err(Error::system("limit", "the bounding capabilities"))?;
    set_keep_capabilities(true).map_err(Error::system("keep", "capabilities"))?;
    set_thread_groups(&groups).map_err(Error::system("set", "the supplementary groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(Error::system("become group", process.gid))?;
    set_thread_res_uid(uid, uid, uid).map_err(Error::system("become user", process.uid))?;
    let until_execution = match process.filter.is_some() && !process.no_new_privileges {
        true => CapabilitySet::SYS_ADMIN,
        false => CapabilitySet::empty(),
    };
    // What we do not have ourselves (as root in somebody's container) cannot
    // be handed on; an app gets what there is.
    let ours = capabilities(None).map_err(Error::system("read", "our capabilities"))?;
    let set = |bits| CapabilitySet::from_bits_retain(bits) & ours.permitted;
    let inheritable = match is_left_out(Protection::Inheritable) {
        true => set(caps.bounding),
        false => set(caps.inheritable),
    };
    let permitted = set(caps.permitted) | set(caps.ambient) | until_execution;
    let sets = CapabilitySets {
        effective: (set(caps.effective) & permitted) | until_execution,
        permitted,
        inheritable,
    };
    set_capabilities(None, sets).map_err(Error::system("set", "the capabilities"))?;
    clear_ambient_capability_set().map_err(Error::system("clear", "the ambient capabilities"))?;
    for one in set(caps.ambient) {
        configure_capability_in_ambient_set(one, true)
            .map_err(Error::system("set", "the ambient capabilities"))?;
    }
    Ok(())
}

/// Gives up for good every privilege but that of sending signals: whoever may
/// trace the calling process, as an app with CAP_SYS_PTRACE may the pod's init,
/// gains nothing by it.
///
/// # Errors
/// [`Error::System`] with what the kernel says.
pub fn renounce() -> Result<()> {
    let keep = CapabilitySet::KILL;
    // It could regain by execve(2) what its bounding set has.
    drop_bounding(keep.bits()).map_err(Error::system("limit", "the init's capabilities"))?;
    let ours = capabilities(None).map_err(Error::system("read", "our capabilities"))?;
    let sets = CapabilitySets {
        effective: keep & ours.permitted,
        permitted: keep & ours.permitted,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(Error::system("set", "the init's capabilities"))?;
    set_no_new_privs(true).map_err(Error::system("set", "no_new_privs"))
}

/// Drops every capability that the kernel knows and the set does not have.
fn drop_bounding(keep: u64) -> rustix::io::Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if keep & (1 << number) != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Past the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Names the calling process, for ps(1) and `/proc`.
pub fn set_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).map_err(Error::system("name", "the process"))
}
