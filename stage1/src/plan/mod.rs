//! Looking at everything before anything is done.
//!
//! `engine.json` becomes a [`Plan`]: names turned into numbers and flags,
//! strings into what the kernel takes, filters compiled. After this the pod's
//! processes only make system calls, so what is wrong with a pod is found
//! while there is nothing to undo.

mod host;
mod mounts;
mod process;
mod seccomp;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use manifests::engine::{self, Ipc, Logs, Network, Pod, Readiness, Restart, Streams, Users};
use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType, LinuxResources, Spec};
use sys::mount_attributes::Propagation;

pub use host::{Host, ThisHost, Told};
pub use mounts::{Mount, MountKind, Parameter};
pub use process::{Capabilities, ExecLabel, Process};
pub use seccomp::Filter;

use crate::error::{Error, Result};

/// A pod, ready to be run.
#[derive(Debug)]
pub struct Plan {
    /// The pod's UUID.
    pub uuid: String,
    /// Its host name.
    pub hostname: String,
    /// Its network namespace.
    pub network: Network,
    /// Its IPC namespace.
    pub ipc: Ipc,
    /// Its user namespace; the caller's if absent.
    pub users: Option<Users>,
    /// Parameters of the tmpfs at `/dev/shm` that several apps have in common,
    /// as they have the IPC namespace.
    pub shm: Option<Vec<Parameter>>,
    /// The one app has the caller's standard input.
    pub interactive: bool,
    /// What the apps write is kept in files.
    pub logs: Option<Logs>,
    /// Apps come and go while it runs.
    pub mutable: bool,
    /// Its apps, in starting order.
    pub apps: Vec<App>,
}

/// An app, ready to be run.
#[derive(Debug)]
pub struct App {
    /// Its name, unique in the pod.
    pub name: String,
    /// What its root is made of.
    pub root: Root,
    /// Its root is read-only.
    pub root_read_only: bool,
    /// Propagation of its mounts.
    pub root_propagation: Option<(Propagation, bool)>,
    /// NIS domain name; the UTS namespace is the pod's, so the last one wins.
    pub domain_name: Option<String>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Devices, in order, those that every container has first.
    pub devices: Vec<Device>,
    /// Paths that must show nothing.
    pub masked: Vec<PathBuf>,
    /// Paths that must not be written.
    pub read_only: Vec<PathBuf>,
    /// Kernel parameters: path below `/proc/sys`, and value.
    pub sysctls: Vec<(PathBuf, String)>,
    /// Limits.
    pub resources: LinuxResources,
    /// Those that it can do without.
    pub dispensable: Vec<engine::Limit>,
    /// Listening sockets that it gets.
    pub sockets: Vec<engine::Socket>,
    /// The program.
    pub process: Process,
    /// Program before it.
    pub pre_start: Option<Process>,
    /// Program after it.
    pub post_stop: Option<Process>,
    /// Program that tells whether it is ready.
    pub probe: Option<Process>,
    /// When it is ready.
    pub ready: Readiness,
    /// It may speak to the service manager.
    pub speaks: bool,
    /// Whether it is started again.
    pub restart: Restart,
    /// What is behind its standard descriptors.
    pub streams: Streams,
    /// What each of its lines has in the journal.
    pub log_fields: Vec<(String, String)>,
    /// What asks it to stop.
    pub stop_signal: i32,
    /// Seconds until it is killed then.
    pub stop_timeout: u32,
}

impl App {
    /// What it asks of its cgroups.
    pub fn wishes(&self) -> crate::cgroup::Wishes<'_> {
        crate::cgroup::Wishes {
            app: &self.name,
            resources: &self.resources,
            dispensable: &self.dispensable,
        }
    }

    /// The v1 hierarchies that it sees, if it sees any.
    pub fn legacy_hierarchies(&self) -> Option<Vec<String>> {
        self.mounts.iter().find_map(|mount| match &mount.kind {
            MountKind::LegacyCgroups(names) => Some(names.clone()),
            _ => None,
        })
    }

    /// The parameters of the shared memory that it has with the pod's others.
    pub fn shared_memory(&self) -> Option<&[Parameter]> {
        self.mounts.iter().find_map(|mount| match &mount.kind {
            MountKind::PodShm { parameters } => Some(parameters.as_slice()),
            _ => None,
        })
    }

    /// Whether something is to be written below `/proc` for it.
    pub fn needs_proc(&self) -> bool {
        self.post_stop.is_some()
            || self.probe.is_some()
            || !self.restart.is_no()
            || !self.sysctls.is_empty()
            || crate::identity::needs_proc(&self.process)
    }
}

/// What an app's root file system is made of.
#[derive(Debug)]
pub enum Root {
    /// An overlay.
    Overlay {
        /// The directory that it is laid over.
        lower: PathBuf,
        /// Its parameters, which name that directory too.
        parameters: Vec<Parameter>,
    },
    /// A directory.
    Directory(PathBuf),
}

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: rustix::fs::FileType,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Plan {
    /// Plans a pod. `directory` is the pod's directory, which names the
    /// overlays' upper directories.
    ///
    /// # Errors
    /// [`Error::Refused`] for what cannot be followed, [`Error::Seccomp`] for
    /// a filter that cannot be compiled.
    pub fn new(pod: Pod) -> Result<Self> {
        if pod.apps.is_empty() && !pod.mutable {
            return Err(Error::Refused {
                field: "apps",
                value: String::new(),
                reason: "a pod needs at least one app",
            });
        }
        if pod.interactive && pod.apps.len() > 1 {
            return Err(Error::Refused {
                field: "interactive",
                value: pod.uuid,
                reason: "interactive option only supports pods with one app",
            });
        }
        let mut apps: Vec<App> = Vec::with_capacity(pod.apps.len());
        for app in pod.apps {
            let name = app.name.clone();
            if apps.iter().any(|other| other.name == name) {
                return Err(Error::Refused {
                    field: "app",
                    value: name,
                    reason: "another app of the pod has the same name",
                });
            }
            apps.push(App::new(app, &ThisHost).map_err(|e| e.of_app(&name))?);
        }
        let shm = match (apps.len(), pod.mutable) {
            (0 | 1, false) => None,
            _ => share_shm(&mut apps),
        };
        Ok(Self {
            shm,
            mutable: pod.mutable,
            uuid: pod.uuid,
            hostname: pod.hostname,
            network: pod.network,
            ipc: pod.ipc,
            users: pod.users.filter(|users| users.count > 0),
            interactive: pod.interactive,
            logs: pod.logs,
            apps,
        })
    }
}

impl App {
    /// Plans an app.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn new(app: engine::App, host: &dyn Host) -> Result<Self> {
        // The name becomes a directory and a cgroup; nothing else checked it
        // on the way from the file.
        if app.name.is_empty() || !app.name.bytes().all(is_name_byte) {
            return Err(Error::Refused {
                field: "app",
                value: app.name,
                reason: "a name has lower-case letters, digits and hyphens only",
            });
        }
        let spec = app.spec;
        refuse_unsupported(&spec)?;
        let process = Process::new(&spec, host)?;
        let linux = spec.linux().as_ref();
        let label = linux.and_then(|l| l.mount_label().as_deref());
        let paths = |list: Option<&Vec<String>>| -> Vec<PathBuf> {
            list.into_iter().flatten().map(PathBuf::from).collect()
        };
        let mut devices = default_devices();
        for device in linux
            .and_then(|l| l.devices().as_ref())
            .into_iter()
            .flatten()
        {
            let device = Device::new(device)?;
            devices.retain(|other| other.path != device.path);
            devices.push(device);
        }
        Ok(Self {
            root: Root::new(&app.name, app.rootfs, label)?,
            root_read_only: spec
                .root()
                .as_ref()
                .and_then(|r| r.readonly())
                .unwrap_or(false),
            root_propagation: linux
                .and_then(|l| l.rootfs_propagation().as_deref())
                .filter(|name| !name.is_empty())
                .map(|name| {
                    mounts::propagation(name).ok_or_else(|| Error::Refused {
                        field: "linux.rootfsPropagation",
                        value: name.to_owned(),
                        reason: "unknown kind of propagation",
                    })
                })
                .transpose()?,
            domain_name: spec.domainname().clone(),
            mounts: spec
                .mounts()
                .iter()
                .flatten()
                .map(|mount| Mount::new(mount, label, host))
                .chain(app.credentials.map(|credentials| {
                    let owner = (process.uid, process.gid);
                    Ok(Mount::of_credentials(credentials, owner))
                }))
                .collect::<Result<_>>()?,
            devices,
            masked: paths(linux.and_then(|l| l.masked_paths().as_ref())),
            read_only: paths(linux.and_then(|l| l.readonly_paths().as_ref())),
            sysctls: linux
                .and_then(|l| l.sysctl().as_ref())
                .into_iter()
                .flatten()
                .map(sysctl)
                .collect::<Result<_>>()?,
            resources: linux
                .and_then(|l| l.resources().clone())
                .unwrap_or_default(),
            dispensable: app.dispensable,
            pre_start: app
                .pre_start
                .map(|argv| process.handler(argv))
                .transpose()?,
            post_stop: app
                .post_stop
                .map(|argv| process.handler(argv))
                .transpose()?,
            probe: match &app.ready {
                Readiness::Exec(argv) => Some(process.probe(argv)?),
                Readiness::Started | Readiness::Notify => None,
            },
            ready: app.ready,
            speaks: app.speaks,
            sockets: app.sockets,
            restart: app.restart,
            streams: app.streams,
            log_fields: app.log_fields,
            process,
            stop_signal: app.stop_signal,
            stop_timeout: app.stop_timeout,
            name: app.name,
        })
    }
}

/// Where apps have their POSIX shared memory (shm_overview(7)).
const SHM: &str = "/dev/shm";

/// Turns each app's own tmpfs for shared memory into the pod's, whose
/// parameters are those of the first.
pub fn share_shm(apps: &mut [App]) -> Option<Vec<Parameter>> {
    let mut shared = None;
    for mount in apps.iter_mut().flat_map(|app| &mut app.mounts) {
        let MountKind::New {
            fs_type,
            parameters,
        } = &mut mount.kind
        else {
            continue;
        };
        if mount.target == Path::new(SHM) && fs_type.as_bytes() == b"tmpfs" {
            let parameters = std::mem::take(parameters);
            shared.get_or_insert_with(|| parameters.clone());
            mount.kind = MountKind::PodShm { parameters };
        }
    }
    shared
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// A limit that is silently not there is worse than none: everything that the
/// engine does not do is refused by name.
fn refuse_unsupported(spec: &Spec) -> Result<()> {
    let refuse = |field, value: String| {
        Err(Error::Refused {
            field,
            value,
            reason: "this engine does not support it",
        })
    };
    if spec.hooks().is_some() {
        return refuse("hooks", String::new());
    }
    if let Some(process) = spec.process() {
        if process.io_priority().is_some() {
            return refuse("process.ioPriority", String::new());
        }
        if process.scheduler().is_some() {
            return refuse("process.scheduler", String::new());
        }
        if process.exec_cpu_affinity().is_some() {
            return refuse("process.execCPUAffinity", String::new());
        }
    }
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    for namespace in linux.namespaces().iter().flatten() {
        if let Some(path) = namespace.path() {
            return refuse("linux.namespaces.path", path.display().to_string());
        }
        let kind = namespace.typ();
        if matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Time) {
            return refuse("linux.namespaces", kind.to_string());
        }
    }
    for (field, given) in [
        ("linux.uidMappings", some(linux.uid_mappings())),
        ("linux.gidMappings", some(linux.gid_mappings())),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.netDevices", linux.net_devices().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.timeOffsets", linux.time_offsets().is_some()),
    ] {
        if given {
            return refuse(field, String::new());
        }
    }
    Ok(())
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

impl Root {
    fn new(app: &str, rootfs: engine::Rootfs, label: Option<&str>) -> Result<Self> {
        let lower = match rootfs {
            engine::Rootfs::Directory { path } => return Ok(Self::Directory(path)),
            engine::Rootfs::Overlay { lower } => lower,
        };
        // Upper and work are relative: the engine's working directory is the
        // pod directory until the mount is made.
        let mut parameters = vec![
            Parameter::new("lowerdir", escape_lower(&lower))?,
            Parameter::new("upperdir", format!("apps/{app}/upper"))?,
            Parameter::new("workdir", format!("apps/{app}/work"))?,
            // A pod does not survive the power cut that this would sync for.
            Parameter::flag("volatile")?,
        ];
        if let Some(label) = label.filter(|label| !label.is_empty()) {
            parameters.push(Parameter::new("context", label)?);
        }
        Ok(Self::Overlay { lower, parameters })
    }
}

/// `lowerdir` is a list joined by colons, with a backslash before a colon
/// that belongs to a name (Documentation/filesystems/overlayfs.rst).
fn escape_lower(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.as_os_str().len());
    for &byte in path.as_os_str().as_bytes() {
        if byte == b':' || byte == b'\\' {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// What every container has (OCI runtime specification, "Default Devices").
fn default_devices() -> Vec<Device> {
    [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ]
    .into_iter()
    .map(|(name, major, minor)| Device {
        path: Path::new("/dev").join(name),
        kind: rustix::fs::FileType::CharacterDevice,
        number: (major, minor),
        mode: 0o666,
        uid: 0,
        gid: 0,
    })
    .collect()
}

impl Device {
    fn new(device: &oci_spec::runtime::LinuxDevice) -> Result<Self> {
        use rustix::fs::FileType;
        let refuse = |reason| Error::Refused {
            field: "linux.devices",
            value: device.path().display().to_string(),
            reason,
        };
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => return Err(refuse("its type must be one of b, c, u, p")),
        };
        let number = |n: i64| u32::try_from(n).map_err(|_| refuse("its number is out of range"));
        Ok(Self {
            path: device.path().clone(),
            kind,
            number: match kind {
                FileType::Fifo => (0, 0),
                _ => (number(device.major())?, number(device.minor())?),
            },
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        })
    }
}

/// Only what belongs to a namespace that the pod may have of its own; anything
/// else would change the host.
fn sysctl((name, value): (&String, &String)) -> Result<(PathBuf, String)> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    // Either separator may be used, by the one that comes first (sysctl(8)).
    let dotted = match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => name.replace('.', "\0").replace('/', ".").replace('\0', "/"),
        _ => name.clone(),
    };
    let path = dotted
        .replace('/', "\0")
        .replace('.', "/")
        .replace('\0', ".");
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !plain
        || !(dotted.starts_with("net.")
            || dotted.starts_with("fs.mqueue.")
            || dotted == "kernel.domainname"
            || IPC.contains(&dotted.as_str()))
    {
        return Err(Error::Refused {
            field: "linux.sysctl",
            value: name.clone(),
            reason: "it does not belong to a namespace of the pod",
        });
    }
    Ok((PathBuf::from(path), value.clone()))
}

/// A C string from the pod's file.
pub(crate) fn c_string(field: &'static str, value: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(value).map_err(|e| Error::Refused {
        field,
        value: String::from_utf8_lossy(&e.into_vec()).into_owned(),
        reason: "a NUL byte ends it early",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_stay_inside_the_pod() {
        for (name, path) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            (
                "net/ipv4/conf/eth0.1/rp_filter",
                Some("net/ipv4/conf/eth0.1/rp_filter"),
            ),
            ("kernel.shmmax", Some("kernel/shmmax")),
            ("kernel.core_pattern", None),
            ("net...kernel.core_pattern", None),
            ("net/../kernel/core_pattern", None),
            ("vm.overcommit_memory", None),
        ] {
            let got = sysctl((&name.to_owned(), &"1".to_owned())).ok();
            assert_eq!(got.map(|(p, _)| p), path.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn a_colon_in_the_lower_directory_is_part_of_its_name() {
        assert_eq!(escape_lower(Path::new("/a:b\\c")), b"/a\\:b\\\\c");
    }
}
