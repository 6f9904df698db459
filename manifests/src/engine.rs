//! What stage0 hands to stage1: one file, `engine.json`, in the pod directory.
//!
//! Each app is an OCI runtime [`Spec`], the engine's only language for "run
//! this"; around it stands what OCI has no word for, because a pod is several
//! containers with one init. Nothing in here is appc's or rkt's, so a bare OCI
//! bundle is the same thing with one app.
//!
//! Invariant: whoever writes this file has resolved and checked everything
//! that can be resolved before the pod exists (users to numbers, seccomp
//! groups to system calls, volumes to host paths).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::cni::NetworkConfig;

/// Name of the file inside the pod directory.
pub const FILE: &str = "engine.json";

/// File in the pod directory with the [`Process`] that is the pod's PID 1,
/// written by stage1.
pub const PID_FILE: &str = "pid";

/// File in the pod directory with the [`Process`] that supervises the pod,
/// written by stage1.
pub const PPID_FILE: &str = "ppid";

/// File in the pod directory with the pod's cgroup directories, one absolute
/// path a line, written by stage1 before it makes the first of them.
pub const CGROUP_FILE: &str = "cgroup";

/// Directory in the pod directory that is there as long as the pod may have
/// something of the host's network; kept by stage1.
pub const NETWORK_DIRECTORY: &str = "net";

/// File in the pod directory that stage0 makes empty and mounts as the apps'
/// `/etc/resolv.conf` when [`PrivateNetwork::may_resolve`]; stage1 fills it, or
/// leaves the mount out when the networks said nothing.
pub const NETWORK_RESOLV_CONF: &str = "net-resolv.conf";

/// File in `apps/NAME` with the app's [`AppStatus`], written by stage1 when
/// the app starts and when it ends.
pub const STATUS_FILE: &str = "status";

/// File in `apps/NAME` with what the app wrote to its standard output and
/// error, as [`crate::log`] has it, when the pod [keeps logs](Pod::logs). The
/// one before it has [`OLD_LOG_FILE`] as its name.
pub const LOG_FILE: &str = "log";

/// What [`LOG_FILE`] is called once it is full.
pub const OLD_LOG_FILE: &str = "log.1";

/// File in the pod directory with what the supervisor of a pod that keeps logs
/// has to say itself.
pub const SUPERVISOR_LOG_FILE: &str = "log";

/// File in the pod directory, empty, that is there from the moment when every
/// app of the pod has been ready once, as its [`Readiness`] says; written by
/// stage1.
pub const READY_FILE: &str = "ready";

/// Socket in the pod directory on which the supervisor of a pod that is
/// [`Pod::mutable`], or has an app to attach to, takes orders. Only root may
/// connect.
pub const CONTROL_SOCKET: &str = "control";

/// File in `apps/NAME` of an app that was added to a running pod: an [`App`],
/// written by stage0.
pub const APP_FILE: &str = "app.json";

/// Socket in `apps/NAME` to which an app that is ready by its own word
/// ([`Readiness::Notify`]) says so, and one that [speaks](App::speaks) to the
/// service manager all it has to say, as sd_notify(3) does; made by stage1 and
/// mounted by stage0's [`App::spec`].
pub const NOTIFY_SOCKET: &str = "notify";

/// Environment variable that carries the number of the inherited descriptor
/// whose lock says that the pod is alive.
pub const LOCK_FD_ENV: &str = "RKT_LOCK_FD";

/// Environment variable with the numbers, joined by commas, of inherited
/// descriptors that stage1 holds only until the pod has its mounts: they keep
/// gc from unmounting an image between stage0 and then.
pub const PIN_FDS_ENV: &str = "RKT_PIN_FDS";

/// Environment variable with the numbers, joined by commas, of inherited
/// listening sockets: 3, 4 and so on. [`Socket::index`] counts them from 0.
pub const SOCKET_FDS_ENV: &str = "RKT_SOCKET_FDS";

/// Environment variable with the number of an inherited connection to the
/// system bus, whose owner is the controller of the scope that the pod is in.
pub const BUS_FD_ENV: &str = "RKT_BUS_FD";

/// Environment variable with the path of a socket on which all of that comes
/// instead, to a supervisor that a service manager has started.
pub const HANDOVER_ENV: &str = "RKT_HANDOVER";

/// Environment variable with the number of an inherited descriptor to which
/// stage1 writes when each phase of a start began, one JSON object a line.
pub const TIMINGS_FD_ENV: &str = "RKT_TIMINGS_FD";

/// Exit status of an app whose program is missing or cannot be executed.
pub const EXIT_EXEC: i32 = 203;

/// Exit status of a pod that could not be run at all.
pub const EXIT_FAILURE: i32 = 254;

/// A process, named so that a recycled number is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number in the host's PID namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of
    /// `/proc/PID/stat`, proc_pid_stat(5)).
    pub start_time: u64,
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

/// What became of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppStatus {
    /// The number of its process on the host, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When that process started, in clock ticks since boot (field 22 of
    /// `/proc/PID/stat`), so that a recycled number is not mistaken for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// When its program was started, in nanoseconds since the epoch; absent
    /// when it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// When it ended, in nanoseconds since the epoch; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<u64>,
    /// Its exit status, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel killed it, or a process of its, for want of memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// It has been ready since it was started last, as its [`Readiness`] says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// It has ended and will be started again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
    /// How often it was started again, as its [`Restart`] policy says.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// How it ended before it was started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Ending>,
    /// Why it could not be started, or what its handlers complained of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The limits of its image that this host cannot set, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlimited: Vec<String>,
}

/// How an app ended that was started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ending {
    /// When, in nanoseconds since the epoch.
    pub finished: u64,
    /// Its exit status, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel killed it, or a process of its, for want of memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A pod, ready to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// The pod's UUID, lower-case 8-4-4-4-12.
    pub uuid: String,
    /// Host name in the pod's UTS namespace.
    pub hostname: String,
    /// The pod's network namespace.
    pub network: Network,
    /// The pod's IPC namespace.
    pub ipc: Ipc,
    /// The pod's user namespace; the caller's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Users>,
    /// The one app has the caller's standard input, and a terminal of its own
    /// when that is one.
    #[serde(default)]
    pub interactive: bool,
    /// What the apps write is kept instead of going to the caller's
    /// descriptors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// It lives until it is stopped, with whatever apps it has: apps are
    /// added, started, stopped and removed while it runs, and none of them
    /// ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mutable: bool,
    /// The apps, in starting order; they are stopped in reverse.
    pub apps: Vec<App>,
}

/// The ids of a pod that has a user namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// The id of the host that is 0 in the pod, of users and groups alike.
    pub first: u32,
    /// How many ids the pod has.
    pub count: u32,
    /// The apps' roots are directories whose files belong to the host's ids
    /// already. Otherwise they belong to the pod's, and mounts map them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_disk: bool,
}

impl Users {
    /// The host's id that is this one in the pod.
    pub fn outside(&self, id: u32) -> u32 {
        self.first.saturating_add(id)
    }
}

/// Where what the apps write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Logs {
    /// In files of the pod directory.
    Files {
        /// Length of a log file, in bytes, at which the next one is begun. An
        /// app has two: [`LOG_FILE`] and [`OLD_LOG_FILE`].
        limit: u64,
    },
    /// In journald's journal, each line with the [`App::log_fields`].
    Journal {
        /// Standard output is; else it goes to the caller's.
        output: bool,
        /// Standard error is; else it goes to the caller's.
        error: bool,
    },
}

/// Which network namespace the pod lives in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// A new one with nothing but loopback.
    None,
    /// The caller's.
    Host,
    /// A new one that joins networks.
    Private(Box<PrivateNetwork>),
}

/// The networks that a pod joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateNetwork {
    /// In the order in which they are joined; they are left in reverse.
    pub attachments: Vec<Attachment>,
    /// The host's ports that lead into the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ForwardedPort>,
    /// Directories with plugins' programs; the first that has one wins.
    pub plugin_path: Vec<PathBuf>,
    /// What the networks say about name resolution becomes the apps'
    /// `resolv.conf`; no flag has said otherwise.
    pub use_dns: bool,
}

impl PrivateNetwork {
    /// Whether the networks may say something of name resolution. Only the
    /// program of a plugin that is not built in can make it more than that.
    pub fn may_resolve(&self) -> bool {
        self.use_dns
            && self
                .attachments
                .iter()
                .flat_map(|attachment| &attachment.config.plugins)
                .any(crate::cni::Plugin::may_resolve)
    }
}

/// Networks that a program is to be asked about, without a pod; stage1 reads
/// it from its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfiguredNetworks {
    /// Directories with plugins' programs; the first that has one wins.
    pub plugin_path: Vec<PathBuf>,
    /// The networks.
    pub configs: Vec<NetworkConfig>,
}

/// A network that a pod joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Name of the interface in the pod.
    pub if_name: String,
    /// `CNI_ARGS`, from `--net=NAME:ARGS`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub args: String,
    /// Where the configuration was found; absent for a built-in network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The configuration.
    pub config: NetworkConfig,
}

/// Ports of the host that lead to ports of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardedPort {
    /// The port's name in the app that declares it.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The first port on the host.
    pub host_port: u16,
    /// The first port in the pod.
    pub pod_port: u16,
    /// How many ports, at least 1.
    pub count: u16,
}

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Which IPC namespace the pod lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ipc {
    /// A new one, shared by the pod's apps.
    Private,
    /// The caller's.
    Parent,
}

/// A listening socket of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Socket {
    /// Its place among those of [`SOCKET_FDS_ENV`].
    pub index: u16,
    /// Its name: that of the app's port.
    pub name: String,
}

/// One app of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Unique in the pod; names its directory under `apps/` and its cgroup.
    pub name: String,
    /// What the app's root file system is made of.
    pub rootfs: Rootfs,
    /// Program run to its end before the app starts; its failure is the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<Vec<String>>,
    /// Program run after the app ended, whatever its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stop: Option<Vec<String>>,
    /// Number of the signal that asks the app to stop.
    pub stop_signal: i32,
    /// Seconds from the stop signal to SIGKILL.
    pub stop_timeout: u32,
    /// Listening sockets that it gets, as sd_listen_fds(3) has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<Socket>,
    /// Whether it is started again when it has ended.
    #[serde(default, skip_serializing_if = "Restart::is_no")]
    pub restart: Restart,
    /// When it counts as ready.
    #[serde(default, skip_serializing_if = "Readiness::is_started")]
    pub ready: Readiness,
    /// It may speak to the service manager on [`NOTIFY_SOCKET`]: its watchdog,
    /// its status, its reloads are those of the pod's unit. One app at most.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub speaks: bool,
    /// Credentials that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// What is behind its standard descriptors.
    #[serde(default, skip_serializing_if = "Streams::is_default")]
    pub streams: Streams,
    /// Names and values of the fields that each of its lines has in the
    /// journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_fields: Vec<(String, String)>,
    /// Limits of `spec` that the app runs without where the host cannot set
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispensable: Vec<Limit>,
    /// The OCI container. `root.path` is the engine's to fill in, and so are
    /// the namespaces, because the pod's apps share them; everything else is
    /// followed to the letter, and what cannot be followed is refused.
    pub spec: Spec,
}

/// What an app asks of one controller of its cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The controller's name on cgroup v1.
    pub controller: String,
    /// What is asked, for people.
    pub what: String,
}

/// Secrets that the service manager passed (systemd.exec(5), "Credentials"),
/// for one app: copies that belong to its user, in memory that is not swapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The directory of the host with all of them, a file each.
    pub directory: PathBuf,
    /// Names of those that the app gets.
    pub names: Vec<String>,
    /// Where they are in the app.
    pub target: PathBuf,
}

/// Whether an app is started again when it has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so often in a row.
    OnFailure {
        /// No limit if absent.
        max: Option<u32>,
    },
    /// Whatever its end was.
    Always,
}

impl Restart {
    /// Whether it is never started again.
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }

    /// Whether it is started again after it ended, with a failure or not, and
    /// after so many times in a row.
    pub fn wants(self, failed: bool, times: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { max } => failed && max.is_none_or(|max| times < max),
            Self::Always => true,
        }
    }
}

/// What is no restart policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("restart policy {0:?} is none of no, on-failure, on-failure:TIMES, always")]
pub struct BadRestart(String);

impl FromStr for Restart {
    type Err = BadRestart;

    fn from_str(text: &str) -> Result<Self, BadRestart> {
        let bad = || BadRestart(text.to_owned());
        Ok(match text.split_once(':') {
            None if text == "no" => Self::No,
            None if text == "always" => Self::Always,
            None if text == "on-failure" => Self::OnFailure { max: None },
            Some(("on-failure", max)) => Self::OnFailure {
                max: Some(max.parse().map_err(|_| bad())?),
            },
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { max: None } => f.write_str("on-failure"),
            Self::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
            Self::Always => f.write_str("always"),
        }
    }
}

/// When an app counts as ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Readiness {
    /// When its program was started.
    #[default]
    Started,
    /// When it says so on [`NOTIFY_SOCKET`].
    Notify,
    /// When this program, run in the app as one of its processes, ends with 0;
    /// tried once a second.
    Exec(Vec<String>),
}

impl Readiness {
    /// Whether it is ready when it was started.
    pub fn is_started(&self) -> bool {
        *self == Self::Started
    }
}

/// What is no readiness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "readiness {0:?} is none of started, notify, exec:PROGRAM [ARGUMENTS] (an absolute path, \
     separated by blanks)"
)]
pub struct BadReadiness(String);

impl FromStr for Readiness {
    type Err = BadReadiness;

    fn from_str(text: &str) -> Result<Self, BadReadiness> {
        match text.split_once(':') {
            None if text == "started" => Ok(Self::Started),
            None if text == "notify" => Ok(Self::Notify),
            Some(("exec", line)) if line.starts_with('/') => Ok(Self::Exec(
                line.split_ascii_whitespace().map(str::to_owned).collect(),
            )),
            _ => Err(BadReadiness(text.to_owned())),
        }
    }
}

/// What is behind an app's standard descriptors. A terminal is behind all
/// three or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Streams {
    /// Standard input.
    pub input: Input,
    /// Standard output.
    pub output: Output,
    /// Standard error.
    pub error: Output,
}

impl Streams {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether somebody can attach to one of them.
    pub fn attachable(&self) -> bool {
        matches!(self.input, Input::Stream | Input::Tty)
            || [self.output, self.error]
                .iter()
                .any(|o| matches!(o, Output::Stream | Output::Tty))
    }
}

/// What is behind an app's standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Nothing.
    #[default]
    Null,
    /// Whoever attaches.
    Stream,
    /// A terminal of the app's own, to which one can attach.
    Tty,
}

/// What is behind an app's standard output or error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// The supervisor's own.
    #[default]
    Log,
    /// Nothing.
    Null,
    /// Whoever attaches.
    Stream,
    /// A terminal of the app's own, to which one can attach.
    Tty,
}

/// Where an app's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rootfs {
    /// An overlay of `apps/NAME/upper` in the pod directory over this
    /// directory, which is mounted or rendered already and shared with other
    /// pods.
    Overlay {
        /// The read-only image root on the host.
        lower: PathBuf,
    },
    /// A directory of this app's own, used as it is.
    Directory {
        /// The directory on the host.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_read_and_followed() {
        for (text, failed, times, again) in [
            ("no", true, 0, false),
            ("always", false, 1000, true),
            ("on-failure", true, 1000, true),
            ("on-failure", false, 0, false),
            ("on-failure:2", true, 1, true),
            ("on-failure:2", true, 2, false),
        ] {
            let policy: Restart = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            assert_eq!(policy.wants(failed, times), again, "{text}");
        }
        for bad in ["", "yes", "on-failure:", "on-failure:-1", "always:3"] {
            assert!(bad.parse::<Restart>().is_err(), "{bad}");
        }
    }

    #[test]
    fn readiness_is_read() {
        assert_eq!("started".parse(), Ok(Readiness::Started));
        assert_eq!("notify".parse(), Ok(Readiness::Notify));
        let check = ["/bin/check", "-q"].map(str::to_owned).to_vec();
        assert_eq!("exec:/bin/check  -q".parse(), Ok(Readiness::Exec(check)));
        for bad in ["", "exec:", "exec:check", "later"] {
            assert!(bad.parse::<Readiness>().is_err(), "{bad}");
        }
    }
}
