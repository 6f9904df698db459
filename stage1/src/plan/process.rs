//! Who an app's process is, what it may do, and what it executes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{self as oci, Capability, PosixRlimitType, Spec};
use rustix::process::{Resource, Rlimit};

use super::c_string;
use super::host::Host;
use super::seccomp::Filter;
use crate::error::{Error, Result};

/// Where a program without a slash in its name is looked for when the app has
/// no `PATH`, after its working directory.
const STANDARD_PATH: [&str; 2] = ["/bin", "/usr/bin"];

/// A process, ready to be executed.
#[derive(Debug, Clone)]
pub struct Process {
    /// Program and arguments; never empty.
    pub argv: Vec<CString>,
    /// Environment, `NAME=VALUE` each.
    pub env: Vec<CString>,
    /// Directories to look for the program in, none when its name is a path.
    pub search: Vec<PathBuf>,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Nothing it executes gains privileges.
    pub no_new_privileges: bool,
    /// System calls it may make.
    pub filter: Option<Filter>,
    /// Resource limits.
    pub rlimits: Vec<(Resource, Rlimit)>,
    /// Weight when the kernel looks for a process to kill.
    pub oom_score_adj: Option<i32>,
    /// Label it is executed under.
    pub exec_label: Option<ExecLabel>,
}

/// The five capability sets (capabilities(7)), a bit for each capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What it can ever gain.
    pub bounding: u64,
    /// What it may use.
    pub effective: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What it keeps across execve(2), if the file has it too.
    pub inheritable: u64,
    /// What it keeps across execve(2) in any case.
    pub ambient: u64,
}

/// The label that a security module gives the process when it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecLabel {
    /// File below `/proc/self` that takes it.
    pub file: &'static str,
    /// What to write.
    pub value: String,
}

impl Process {
    /// Plans the process of a specification.
    ///
    /// # Errors
    /// [`Error::Refused`] for what cannot be followed, [`Error::Seccomp`] for
    /// a filter that cannot be compiled.
    pub fn new(spec: &Spec, host: &dyn Host) -> Result<Self> {
        let refuse = |field, value: String, reason| Error::Refused {
            field,
            value,
            reason,
        };
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| refuse("process", String::new(), "there is none"))?;
        let argv = strings("process.args", process.args().as_deref())?;
        let Some(program) = argv.first() else {
            let reason = "there is no program to execute";
            return Err(refuse("process.args", String::new(), reason));
        };
        if !process.cwd().is_absolute() {
            let cwd = process.cwd().display().to_string();
            return Err(refuse("process.cwd", cwd, "it must be an absolute path"));
        }
        let env = strings("process.env", process.env().as_deref())?;
        let user = process.user();
        let linux = spec.linux().as_ref();
        Ok(Self {
            search: search(program, &env),
            argv,
            env,
            cwd: process.cwd().clone(),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            capabilities: Capabilities::new(process.capabilities().as_ref()),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            filter: linux
                .and_then(|l| l.seccomp().as_ref())
                .map(|section| host.filter(section))
                .transpose()?
                .flatten(),
            rlimits: process
                .rlimits()
                .iter()
                .flatten()
                .map(|limit| (resource(limit.typ()), rlimit(limit)))
                .collect(),
            oom_score_adj: process.oom_score_adj(),
            exec_label: host.exec_label(process)?,
        })
    }

    /// The same for a program beside it, in the root directory: with this
    /// `TERM` if there is one, and looked for as the app's own would be.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no program to execute.
    pub fn command(mut self, argv: Vec<CString>, term: Option<&str>) -> Result<Self> {
        let program = argv.first().ok_or(Error::Refused {
            field: "command",
            value: String::new(),
            reason: "there is no program to execute",
        })?;
        if let Some(term) = term {
            self.env
                .retain(|entry| !entry.as_bytes().starts_with(b"TERM="));
            self.env.push(c_string("TERM", format!("TERM={term}"))?);
        }
        self.cwd = PathBuf::from("/");
        self.search = search(program, &self.env);
        self.argv = argv;
        Ok(self)
    }

    /// The same for a program that tells whether it is ready.
    ///
    /// # Errors
    /// [`Error::Refused`] when a word cannot be passed.
    pub(super) fn probe(&self, argv: &[String]) -> Result<Self> {
        let argv = strings("ready", Some(argv))?;
        self.clone().command(argv, None)
    }

    /// The same for a handler: root, under all the app's settings.
    pub(super) fn handler(&self, argv: Vec<String>) -> Result<Self> {
        let argv = strings("eventHandlers", Some(&argv))?;
        let program = argv.first().map(|p| p.to_string_lossy().into_owned());
        if !program.as_deref().is_some_and(|p| p.starts_with('/')) {
            return Err(Error::Refused {
                field: "eventHandlers",
                value: program.unwrap_or_default(),
                reason: "a handler must start with an absolute path",
            });
        }
        Ok(Self {
            argv,
            search: Vec::new(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            ..self.clone()
        })
    }
}

fn strings(field: &'static str, list: Option<&[String]>) -> Result<Vec<CString>> {
    list.unwrap_or_default()
        .iter()
        .map(|s| c_string(field, s.as_str()))
        .collect()
}

/// appc, "Finding the program": a name with a slash is a path; otherwise the
/// app's `PATH` says where, and without one the working directory and the
/// system's standard directories.
fn search(program: &CString, env: &[CString]) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Vec::new();
    }
    let path = env
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    match path {
        Some(path) => path
            .split(|&byte| byte == b':')
            .map(|part| match part {
                // An empty entry is the working directory (environ(7)).
                b"" => PathBuf::from("."),
                part => PathBuf::from(std::ffi::OsStr::from_bytes(part)),
            })
            .collect(),
        None => std::iter::once(".")
            .chain(STANDARD_PATH)
            .map(PathBuf::from)
            .collect(),
    }
}

pub(super) fn exec_label(process: &oci::Process) -> Result<Option<ExecLabel>> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    if let Some(label) = given(process.selinux_label()) {
        require_module("process.selinuxLabel", &label, "/sys/fs/selinux/enforce")?;
        return Ok(Some(ExecLabel {
            file: "self/attr/exec",
            value: label,
        }));
    }
    let Some(profile) = given(process.apparmor_profile()) else {
        return Ok(None);
    };
    require_module(
        "process.apparmorProfile",
        &profile,
        "/sys/kernel/security/apparmor/profiles",
    )?;
    // The file of AppArmor's own came with Linux 5.8; the shared one is
    // another module's when several are loaded.
    let file = match Path::new("/proc/self/attr/apparmor").exists() {
        true => "self/attr/apparmor/exec",
        false => "self/attr/exec",
    };
    Ok(Some(ExecLabel {
        file,
        value: format!("exec {profile}"),
    }))
}

fn require_module(field: &'static str, label: &str, sign: &str) -> Result<()> {
    match Path::new(sign).exists() {
        true => Ok(()),
        false => Err(Error::Refused {
            field,
            value: label.to_owned(),
            reason: "the kernel runs without this security module, so the label would \
                     protect nothing; ask for none, or enable the module",
        }),
    }
}

impl Capabilities {
    /// Every one, held: what nobody has set a limit to.
    pub const ALL: Self = Self {
        bounding: u64::MAX,
        effective: u64::MAX,
        permitted: u64::MAX,
        inheritable: 0,
        ambient: 0,
    };

    fn new(sets: Option<&oci::LinuxCapabilities>) -> Self {
        let Some(sets) = sets else {
            return Self::default();
        };
        let bits = |set: &Option<oci::Capabilities>| {
            set.iter()
                .flatten()
                .fold(0, |bits, &c| bits | (1 << number(c)))
        };
        Self {
            bounding: bits(sets.bounding()),
            effective: bits(sets.effective()),
            permitted: bits(sets.permitted()),
            inheritable: bits(sets.inheritable()),
            ambient: bits(sets.ambient()),
        }
    }
}

/// The kernel's number of a capability (`linux/capability.h`).
fn number(capability: Capability) -> u32 {
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    use PosixRlimitType as P;
    match kind {
        P::RlimitCpu => Resource::Cpu,
        P::RlimitFsize => Resource::Fsize,
        P::RlimitData => Resource::Data,
        P::RlimitStack => Resource::Stack,
        P::RlimitCore => Resource::Core,
        P::RlimitRss => Resource::Rss,
        P::RlimitNproc => Resource::Nproc,
        P::RlimitNofile => Resource::Nofile,
        P::RlimitMemlock => Resource::Memlock,
        P::RlimitAs => Resource::As,
        P::RlimitLocks => Resource::Locks,
        P::RlimitSigpending => Resource::Sigpending,
        P::RlimitMsgqueue => Resource::Msgqueue,
        P::RlimitNice => Resource::Nice,
        P::RlimitRtprio => Resource::Rtprio,
        P::RlimitRttime => Resource::Rttime,
    }
}

fn rlimit(limit: &oci::PosixRlimit) -> Rlimit {
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    Rlimit {
        current: finite(limit.soft()),
        maximum: finite(limit.hard()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_appc_says() {
        let c = |s: &str| CString::new(s).unwrap();
        for (program, env, want) in [
            ("/bin/sh", Some("PATH=/x"), &[][..]),
            ("bin/sh", None, &[]),
            ("sh", Some("PATH=/a::b"), &["/a", ".", "b"]),
            ("sh", None, &[".", "/bin", "/usr/bin"]),
        ] {
            let env: Vec<_> = env.into_iter().map(c).collect();
            let want: Vec<_> = want.iter().map(PathBuf::from).collect();
            assert_eq!(search(&c(program), &env), want, "{program}");
        }
    }

    #[test]
    fn a_label_without_its_module_is_refused() {
        if Path::new("/sys/kernel/security/apparmor/profiles").exists() {
            eprintln!("skipped: this kernel runs AppArmor");
            return;
        }
        let process: oci::Process =
            serde_json::from_str(r#"{"user":{"uid":0,"gid":0},"cwd":"/","apparmorProfile":"web"}"#)
                .unwrap();
        let line = exec_label(&process).unwrap_err().line();
        assert!(line.contains("process.apparmorProfile \"web\""), "{line}");
    }
}
