//! From a resolved app to an OCI container.
//!
//! ```text
//!   ResolvedApp + PodFacts ──▶ build ──▶ Built { spec, warnings }
//! ```
//!
//! appc's words end here: the engine reads an OCI runtime `Spec` and nothing
//! else about the app. Everything is decided from the arguments; no file is
//! opened and no user looked up, so that the same arguments always give the
//! same container.
//!
//! What the engine adds by itself, because every OCI container has it: the
//! default devices and links of `/dev`, missing mount targets, the root's path.

mod dispensable;
mod errno;
mod mounts;
mod process;
mod resources;
mod seccomp;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use manifests::appc::Isolator;
use manifests::engine::{Ipc, Network, Users};
use manifests::insecure::InsecureOptions;
use manifests::isolation::{self, HIDDEN_PATHS, IsolationError, READ_ONLY_PATHS, Seccomp};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Root, Spec};

use crate::resolved::ResolvedApp;
pub(crate) use dispensable::dispensable;
pub(crate) use resources::changeable;

/// Version of the OCI runtime specification that we write.
const OCI_VERSION: &str = "1.2.0";

/// What an app's container takes from its pod and its host.
#[derive(Debug, Clone)]
pub struct PodFacts<'a> {
    /// Host name of the pod.
    pub hostname: &'a str,
    /// The pod's network namespace.
    pub network: &'a Network,
    /// The pod's IPC namespace.
    pub ipc: Ipc,
    /// The pod's users; the host's if absent.
    pub users: Option<Users>,
    /// Isolators of the pod manifest.
    pub isolators: &'a [Isolator],
    /// The checks that the user switched off.
    pub insecure: InsecureOptions,
    /// What the host offers.
    pub host: HostFacts,
}

/// What isolators need to know about the host.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// SELinux is enabled.
    pub selinux: bool,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// Major and minor numbers of the block devices that block isolators are
    /// applied to.
    pub block_devices: Vec<(u32, u32)>,
}

/// A container, ready for the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The container.
    pub spec: Spec,
    /// Isolators that have no effect, or another one than was asked for: one
    /// line each, for the user. Those about the pod's isolators are the same
    /// for each of its apps.
    pub warnings: Vec<String>,
}

/// Why an app cannot become a container.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// There is nothing to execute.
    #[error("app {app:?} has an empty \"exec\" (try --exec=BINARY)")]
    NoExec {
        /// The app.
        app: String,
    },
    /// The isolators cannot be followed.
    #[error("app {app:?}")]
    Isolation {
        /// The app.
        app: String,
        /// Why.
        #[source]
        source: IsolationError,
    },
    /// A filter names an error that does not exist.
    #[error(
        "app {app:?}: unknown errno {errno:?} in the seccomp isolator (expected a name as EPERM)"
    )]
    UnknownErrno {
        /// The app.
        app: String,
        /// The name.
        errno: String,
    },
    /// The quota would not fit into the kernel's numbers.
    #[error("app {app:?}: cpu limit exceeds the maximum millivalue: {max}")]
    CpuLimit {
        /// The app.
        app: String,
        /// The greatest one.
        max: i64,
    },
    /// A path that does not name one place.
    #[error("app {app:?}: mount target {target:?} must be an absolute path without \"..\"")]
    Target {
        /// The app.
        app: String,
        /// The path.
        target: PathBuf,
    },
    /// Two mounts at one place.
    #[error("app {app:?}: two volumes are mounted at {target:?}")]
    SameTarget {
        /// The app.
        app: String,
        /// The place.
        target: PathBuf,
    },
    /// A label of a security module that this host does not use.
    #[error(
        "app {app:?}: isolator {isolator} asks for {label:?}, but this host does not use {module}; \
         boot it with {module}, or take the isolator away"
    )]
    NoSecurityModule {
        /// The app.
        app: String,
        /// The isolator's name.
        isolator: String,
        /// The context or profile.
        label: String,
        /// SELinux or AppArmor.
        module: &'static str,
    },
    /// A kernel parameter of a namespace that the pod shares with the host.
    #[error(
        "sysctl {key:?} would change the host, because the pod has no {namespace} namespace of its own"
    )]
    HostSysctl {
        /// The parameter.
        key: String,
        /// The namespace.
        namespace: &'static str,
    },
}

/// Makes the container of an app.
///
/// # Errors
/// What of the app cannot be followed; see [`SpecError`].
pub fn build(app: &ResolvedApp, pod: &PodFacts<'_>) -> Result<Built, SpecError> {
    let isolation = |source| SpecError::Isolation {
        app: app.name.clone(),
        source,
    };
    let mut warnings = ineffective(app, pod);
    let capabilities = match pod.insecure.capabilities {
        true => isolation::ALL_CAPABILITIES.to_vec(),
        false => isolation::bounding_set(&app.app.isolators).map_err(isolation)?,
    };
    let (filter, unknown) = match pod.insecure.seccomp {
        true => (Seccomp::Off, Vec::new()),
        false => isolation::seccomp(&app.app.isolators).map_err(isolation)?,
    };
    for group in unknown {
        warnings.push(format!(
            "app {:?}: unknown group of system calls {group:?} counts for nothing",
            app.name
        ));
    }

    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs"));
    root.set_readonly(Some(app.read_only_rootfs));

    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(pod)))
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_sysctl(sysctl(pod)?)
        .set_resources(Some(resources::resources(app, pod, &mut warnings)?))
        .set_seccomp(seccomp::section(app, &filter, &capabilities)?);
    if !pod.insecure.paths {
        linux
            .set_masked_paths(Some(hidden_paths(app)))
            .set_readonly_paths(Some(READ_ONLY_PATHS.map(str::to_owned).to_vec()));
    }

    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned());
    spec.set_root(Some(root))
        .set_mounts(Some(mounts::mounts(app, pod)?))
        .set_process(Some(process::process(app, pod, &capabilities, &filter)?))
        .set_hostname(Some(pod.hostname.to_owned()))
        .set_annotations(None)
        .set_linux(Some(linux));
    Ok(Built { spec, warnings })
}

fn namespaces(pod: &PodFacts<'_>) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as Type;
    let mut types = vec![Type::Pid, Type::Mount, Type::Uts, Type::Cgroup];
    if pod.ipc == Ipc::Private {
        types.push(Type::Ipc);
    }
    if !matches!(pod.network, Network::Host) {
        types.push(Type::Network);
    }
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    };
    types.into_iter().map(namespace).collect()
}

/// All but those where the user mounts something, at them or below: it would
/// be hidden from whom it is for.
fn hidden_paths(app: &ResolvedApp) -> Vec<String> {
    let used = |path: &&str| app.mounts.iter().any(|m| m.target.starts_with(path));
    let hidden = HIDDEN_PATHS.iter().filter(|path| !used(path));
    hidden.map(|&path| path.to_owned()).collect()
}

/// Kernel parameters are the pod's; those of a namespace that it shares with
/// the host are refused. The engine refuses what belongs to no namespace.
fn sysctl(pod: &PodFacts<'_>) -> Result<Option<HashMap<String, String>>, SpecError> {
    let set = pod.isolators.iter().find_map(|isolator| match isolator {
        Isolator::Sysctl(set) => Some(set),
        _ => None,
    });
    let Some(set) = set.filter(|set| !set.is_empty()) else {
        return Ok(None);
    };
    for key in set.keys() {
        let network = key.starts_with("net.") || key.starts_with("net/");
        let uts = key == "kernel.domainname" || key == "kernel/domainname";
        let namespace = match (pod.network, pod.ipc) {
            (Network::Host, _) if network => "network",
            (_, Ipc::Parent) if !network && !uts => "IPC",
            _ => continue,
        };
        return Err(SpecError::HostSysctl {
            key: key.clone(),
            namespace,
        });
    }
    Ok(Some(set.clone().into_iter().collect()))
}

/// The isolators that nothing here follows. The specification wants the user
/// to know of them.
fn ineffective(app: &ResolvedApp, pod: &PodFacts<'_>) -> Vec<String> {
    let of = |whose: &str, i: &Isolator, why: &str| {
        format!("{whose}: isolator {} has no effect: {why}", i.name())
    };
    let app_name = format!("app {:?}", app.name);
    let no_effect = |i: &Isolator, why: &str| of(&app_name, i, why);
    let of_app = app.app.isolators.iter().filter_map(|i| match i {
        Isolator::Unknown { .. } => Some(no_effect(i, "it is not known")),
        Isolator::NetworkBandwidth(_) => Some(no_effect(i, "traffic is not shaped")),
        Isolator::Sysctl(_) => Some(no_effect(i, "it belongs to the pod, not to an app")),
        Isolator::BlockBandwidth(_) | Isolator::BlockIops(_)
            if pod.host.block_devices.is_empty() =>
        {
            Some(no_effect(i, "no block device is known to apply it to"))
        }
        _ => None,
    });
    let of_pod = pod.isolators.iter().filter_map(|i| match i {
        Isolator::Sysctl(_) => None,
        Isolator::SeLinuxContext(_) | Isolator::AppArmorProfile(_) => None,
        Isolator::Unknown { .. } => Some(of("pod", i, "it is not known")),
        _ => Some(of("pod", i, "only an app's is followed")),
    });
    of_app.chain(of_pod).collect()
}
