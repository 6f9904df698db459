//! From a pod directory to a running pod: answer every question, write
//! `engine.json`, and become stage1.
//!
//! ```text
//! PodManifest ──resolve──▶ ResolvedApp ──spec──▶ engine.json
//!     lock ──▶ rename to run/ ──▶ exec rkt-stage1 run UUID
//! ```
//!
//! Nothing is synced: a pod that runs does not outlive the host's next boot.

mod detached;
pub mod guests;
mod owners;
mod unit;
pub mod update;

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use manifests::appc::{App, EventName, Isolator, RuntimeApp};
use manifests::engine::{
    self, BUS_FD_ENV, Ipc, LOCK_FD_ENV, Logs, NOTIFY_SOCKET, Network, PIN_FDS_ENV, Readiness,
    Rootfs, SOCKET_FDS_ENV, Users,
};
use manifests::insecure::InsecureOptions;
use manifests::network::{Hosts, PortError, Resolver};
use rustix::io::FdFlags;

use crate::behaviour::{self, Behaviour, Names};
use crate::given::{self, Given};
use crate::images::{AppRoot, Images, ROOTFS};
use crate::logs;
use crate::metadata::{self, Identity, MetadataError};
use crate::names;
use crate::networks;
use crate::pods::{APPS, OwnedPod, Place, PodError};
use crate::prepare::manifest::MUTABLE;
use crate::prepare::users::{self, Wanted};
use crate::prepare::{Blueprint, PrepareError, environment, is_from_docker, volumes};
use crate::ranges;
use crate::resolved::{ResolvedApp, ResolvedMount};
use crate::sockets::Passed;
use crate::spec::{self, HostFacts, PodFacts, SpecError};
use crate::stage1::{Stage1, Stage1Error};
pub use unit::PodUnit;

/// How a pod is to run.
#[derive(Debug)]
pub struct Runtime {
    /// Host name; `rkt-UUID` if absent.
    pub hostname: Option<String>,
    /// Network namespace.
    pub network: Network,
    /// IPC namespace.
    pub ipc: Ipc,
    /// `/etc/resolv.conf` of the apps.
    pub resolver: Resolver,
    /// `/etc/hosts` of the apps.
    pub hosts: Hosts,
    /// The one app has the caller's terminal.
    pub interactive: bool,
    /// Where what the apps write is kept.
    pub logs: Option<Logs>,
    /// The metadata service at this socket shall know the pod.
    pub metadata: Option<PathBuf>,
    /// Sockets that were passed to us for the apps.
    pub sockets: Passed,
    /// What else the service manager gave us.
    pub given: Given,
    /// Which protections are off.
    pub insecure: InsecureOptions,
    /// Apps that are added later are unpacked.
    pub unpack: bool,
}

/// Why a pod could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `--interactive` with several apps.
    #[error("interactive option only supports pods with one app")]
    InteractiveMany,
    /// `--interactive` without a caller to interact with.
    #[error("an interactive pod needs this terminal: it cannot be detached")]
    InteractiveDetached,
    /// A detached pod did not start.
    #[error("pod \"{uuid}\" did not start{}", in_one_line(.said))]
    Died {
        /// The pod.
        uuid: uuid::Uuid,
        /// What its supervisor would end `rkt run` with.
        status: u8,
        /// What its supervisor said.
        said: String,
    },
    /// Something of the pod could not be resolved or written.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A port of the host cannot lead to the pod.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An app's wishes have no place in an OCI container.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its files cannot be read.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The metadata service did not take it.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The pod's directory.
    #[error("cannot transition to run")]
    Transition(#[source] PodError),
    /// stage1 could not be executed.
    #[error(transparent)]
    Stage1(#[from] Stage1Error),
}

/// Starts the pod: this process becomes its supervisor, in its `unit` if it has
/// one. `tell` hears what the user should know.
///
/// # Errors
/// Whatever kept us from becoming stage1. The pod was not moved, or, if that
/// was the last step, has exited.
pub fn start(
    mut pod: OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    (stage1, unit): (&Stage1, Option<PodUnit>),
    tell: &mut dyn FnMut(&str),
) -> Result<Infallible, StartError> {
    let pins = hand_over(&mut pod, blueprint, images, runtime, tell)?;
    let bus = unit.and_then(|unit| {
        let name = unit.name().to_owned();
        let entered = unit.enter();
        entered.map_err(|e| tell(&without_unit(&name, &e))).ok()
    });
    become_stage1(pod, pins, &runtime.sockets, bus, stage1)
}

/// Starts the pod with a process of its own as its supervisor, and returns when
/// every app's program runs (or has run, and ended). Nothing of the caller's
/// stays with the pod: no terminal, no session, no descriptor, no directory.
///
/// # Errors
/// What kept the pod from starting, or an app of it.
pub fn detach(
    mut pod: OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    (stage1, unit): (&Stage1, Option<PodUnit>),
    tell: &mut dyn FnMut(&str),
) -> Result<(), StartError> {
    if runtime.interactive {
        return Err(StartError::InteractiveDetached);
    }
    let pins = hand_over(&mut pod, blueprint, images, runtime, tell)?;
    detached::start(pod, pins, &runtime.sockets, (stage1, unit), tell)
}

/// What is told when a pod has to do without its unit.
fn without_unit(name: &str, error: &std::io::Error) -> String {
    format!("warning: the pod runs without its unit: systemd does not start {name}: {error}")
}

/// Writes down what the engine is to do and moves the pod to where it runs.
/// Comes back with what pins the images until stage1 has mounted them.
fn hand_over(
    pod: &mut OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<OwnedFd>, StartError> {
    let Some(socket) = &runtime.metadata else {
        return write_down(pod, blueprint, images, runtime, None, tell);
    };
    let host = metadata::host_address(&runtime.network)?;
    // The record first: gc unregisters whatever may have been registered.
    crate::prepare::write(&pod.path().join(metadata::REGISTERED), b"")?;
    let manifests: Vec<_> = blueprint
        .images
        .iter()
        .map(|image| &image.manifest)
        .collect();
    let known = metadata::register(socket, pod.uuid(), &blueprint.manifest, &manifests)?;
    let identity = Identity::new(socket, host, known);
    let written = write_down(pod, blueprint, images, runtime, Some(identity), tell);
    if written.is_err() {
        // The error that brought us here is the one to tell.
        let _forgotten = metadata::unregister(socket, pod.uuid());
    }
    written
}

/// `identity` is the pod's at the metadata service.
fn write_down(
    pod: &mut OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    identity: Option<Identity>,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<OwnedFd>, StartError> {
    let mut engine = resolve(pod, blueprint, images, runtime, tell)?;
    if let Some(identity) = &identity {
        engine.apps.iter_mut().for_each(|app| identity.give(app));
    }
    if engine.mutable {
        guests::keep(&pod.path(), runtime, identity)?;
    }
    if let Some(reason) = images.fallback() {
        tell(&format!("disabling overlay support: \"{reason}\""));
    }
    let path = pod.path().join(engine::FILE);
    let text = serde_json::to_vec(&engine)
        .map_err(|e| PrepareError::io("write", &path)(std::io::Error::from(e)))?;
    crate::prepare::write(&path, &text)?;
    pod.move_to(Place::Run).map_err(StartError::Transition)?;
    images
        .pins()
        .map_err(|e| PrepareError::io("pin the images of", pod.path())(e).into())
}

fn become_stage1(
    pod: OwnedPod,
    pins: Vec<OwnedFd>,
    sockets: &Passed,
    bus: Option<OwnedFd>,
    stage1: &Stage1,
) -> Result<Infallible, StartError> {
    let failed = |what| PrepareError::io::<rustix::io::Errno>(what, pod.path());
    rustix::process::fchdir(pod.dir()).map_err(failed("enter"))?;
    let [lock, pins, sockets] = inheritance(&pod, &pins, sockets)?;
    let mut bus_number = String::new();
    if let Some(bus) = &bus {
        rustix::io::fcntl_setfd(bus, FdFlags::empty()).map_err(failed("hand over"))?;
        bus_number = bus.as_raw_fd().to_string();
    }
    let variables = [
        (LOCK_FD_ENV, lock.as_str()),
        (PIN_FDS_ENV, pins.as_str()),
        (SOCKET_FDS_ENV, sockets.as_str()),
        (BUS_FD_ENV, bus_number.as_str()),
    ];
    Ok(stage1.exec(&["run", &pod.uuid().to_string()], &variables)?)
}

/// Lets the pod's lock, its images' pins and its apps' sockets through an
/// `exec`; their numbers, as stage1 wants to be told them.
fn inheritance(
    pod: &OwnedPod,
    pins: &[OwnedFd],
    sockets: &Passed,
) -> Result<[String; 3], StartError> {
    let failed = |e: rustix::io::Errno| PrepareError::io("hand over", pod.path())(e);
    rustix::io::fcntl_setfd(pod.dir(), FdFlags::empty()).map_err(failed)?;
    let let_through = |descriptors: &mut dyn Iterator<Item = &OwnedFd>| {
        let mut numbers = Vec::new();
        for descriptor in descriptors {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty()).map_err(failed)?;
            numbers.push(descriptor.as_raw_fd().to_string());
        }
        Ok::<_, PrepareError>(numbers.join(","))
    };
    Ok([
        pod.dir().as_raw_fd().to_string(),
        let_through(&mut pins.iter())?,
        let_through(&mut sockets.descriptors())?,
    ])
}

fn in_one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("run: ").unwrap_or(line))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(": {}", lines.join("; "))
}

/// Everything the engine needs to know, found out.
fn resolve(
    pod: &OwnedPod,
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    tell: &mut dyn FnMut(&str),
) -> Result<engine::Pod, StartError> {
    if runtime.interactive && blueprint.manifest.apps.len() > 1 {
        return Err(StartError::InteractiveMany);
    }
    let hostname = match &runtime.hostname {
        Some(name) => name.clone(),
        None => format!("rkt-{}", pod.uuid()),
    };
    let (path, final_path) = (pod.path(), pod.path_in(Place::Run));
    let users = ranges::hold(pod.uuid(), &path).map_err(PrepareError::from)?;
    let mut apps = resolve_apps(
        (&path, &final_path),
        (&hostname, users),
        blueprint,
        images,
        runtime,
        tell,
    )?;
    let mut network = network(&runtime.network, blueprint)?;
    give_sockets(&mut apps, &mut network, blueprint, &runtime.sockets, tell);
    Ok(engine::Pod {
        uuid: pod.uuid().to_string(),
        network,
        ipc: runtime.ipc,
        users,
        interactive: runtime.interactive,
        logs: runtime.logs,
        mutable: blueprint.manifest.annotation(MUTABLE) == Some("true"),
        apps,
        hostname,
    })
}

/// The blueprint's apps, for a pod that stands in the first directory and will
/// run in the second.
fn resolve_apps(
    (path, final_path): (&Path, &Path),
    (hostname, users): (&str, Option<Users>),
    blueprint: &Blueprint,
    images: &Images<'_>,
    runtime: &Runtime,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<engine::App>, StartError> {
    let names = blueprint.manifest.apps.iter().map(|app| app.name.as_str());
    let files = names::Files::new(runtime, hostname, names, path, final_path);
    let facts = PodFacts {
        hostname,
        network: &runtime.network,
        ipc: runtime.ipc,
        users,
        isolators: &blueprint.manifest.isolators,
        insecure: runtime.insecure,
        host: host_facts(blueprint),
    };
    let owners = users.map(owners::Owners::new).transpose()?;
    let apps = blueprint.manifest.apps.iter().zip(&blueprint.images);
    // The directory has the pod's UUID for a name.
    let uuid = final_path.file_name().unwrap_or_default();
    let apps = apps.map(|(app, record)| {
        let root = images.root(path, app.name.as_str(), record)?;
        let mut resolved = resolve_app(blueprint, app, record, &root, final_path, runtime)?;
        let given = files.give(app.name.as_str(), &root, &resolved.mounts)?;
        resolved.mounts.extend(given);
        if let Some(owners) = &owners {
            owners.check(&resolved)?;
            owners.map(&mut resolved, final_path, tell);
        }
        let mut engine = engine_app(resolved, root, final_path, &facts, tell)?;
        engine.log_fields = log_fields(&uuid.to_string_lossy(), app);
        Ok(engine)
    });
    apps.collect()
}

/// What each line of an app has in the journal, so that it is found there.
fn log_fields(uuid: &str, app: &RuntimeApp) -> Vec<(String, String)> {
    let image = app.image.name.as_ref().map(|name| {
        let version = app.image.labels.iter().find(|l| l.name == "version");
        match version {
            Some(version) => format!("{name}:{}", version.value),
            None => name.to_string(),
        }
    });
    let fields = [
        (logs::POD, Some(uuid.to_owned())),
        (logs::APP, Some(app.name.to_string())),
        (logs::IMAGE, image),
        (logs::IMAGE_ID, Some(app.image.id.to_string())),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Gives the apps their sockets; what is one is not forwarded.
fn give_sockets(
    apps: &mut [engine::App],
    network: &mut Network,
    blueprint: &Blueprint,
    passed: &Passed,
    tell: &mut dyn FnMut(&str),
) {
    let (mut given, list) = (Vec::new(), passed.list());
    for (app, section) in apps.iter_mut().zip(sections(blueprint)) {
        app.sockets = list.of_ports(&blueprint.manifest, section);
        given.extend(app.sockets.iter().cloned());
    }
    let by_ports = given.clone();
    let only = apps.len() == 1;
    for (app, runtime_app) in apps.iter_mut().zip(&blueprint.manifest.apps) {
        let wanted = behaviour::sockets(runtime_app).or_else(|| only.then_some(Names::All));
        let named = list.of_names(wanted.as_ref(), &by_ports, app, tell);
        given.extend(named.iter().cloned());
        app.sockets.extend(named);
    }
    // Where apps come later, what nobody has yet waits for them.
    let unused = match guests::takes_them(&blueprint.manifest) {
        true => Vec::new(),
        false => list.unused(&given),
    };
    for unused in unused {
        tell(&format!(
            "warning: no app gets the socket that was passed as {unused}: none has a \
             socket-activated port for it, or asks for it by --sockets"
        ));
    }
    if let Network::Private(network) = network {
        let is_socket = |name: &str| given.iter().any(|socket| socket.name == name);
        network.ports.retain(|port| !is_socket(&port.name));
    }
}

/// The network with the ports that the pod asks for.
fn network(network: &Network, blueprint: &Blueprint) -> Result<Network, StartError> {
    let Network::Private(network) = network else {
        return Ok(network.clone());
    };
    let mut network = network.clone();
    network.ports = networks::ports(&blueprint.manifest, sections(blueprint))?;
    Ok(Network::Private(network))
}

/// What each app is, by the pod's word or else by its image's.
fn sections(blueprint: &Blueprint) -> impl Iterator<Item = &App> {
    let apps = blueprint.manifest.apps.iter().zip(&blueprint.images);
    apps.filter_map(|(app, image)| app.app.as_ref().or(image.manifest.app.as_ref()))
}

/// `pod` is where the pod will stand when it runs.
fn resolve_app(
    blueprint: &Blueprint,
    runtime_app: &RuntimeApp,
    record: &image_store::ImageRecord,
    root: &AppRoot,
    pod: &Path,
    runtime: &Runtime,
) -> Result<ResolvedApp, PrepareError> {
    let name = runtime_app.name.as_str();
    let section = runtime_app.app.as_ref().or(record.manifest.app.as_ref());
    let app = section.ok_or_else(|| PrepareError::NoApp(record.id.short(12)))?;
    let identity = users::resolve(
        root.dir(),
        Wanted {
            app: name,
            user: &app.user,
            group: &app.group,
            supplementary: &app.supplementary_gids,
            docker: is_from_docker(record),
        },
    )?;
    let dispensable = spec::dispensable(runtime_app, app, record.manifest.app.as_ref());
    let term = runtime.interactive.then(|| std::env::var("TERM").ok());
    let behaviour = Behaviour::of(runtime_app, record)?;
    let share = runtime.given.share(blueprint, name, &behaviour)?;
    let terminal = runtime.interactive || behaviour.streams.input == engine::Input::Tty;
    if terminal && !behaviour.restart.is_no() {
        return Err(PrepareError::Behaviour {
            app: name.to_owned(),
            annotation: behaviour::RESTART,
            reason: "an app with a terminal is not started again".to_owned(),
        });
    }
    let mut mounts: Vec<ResolvedMount> =
        volumes::place(&blueprint.manifest, runtime_app, &app.mount_points)?
            .iter()
            .map(|place| place.resolve(pod))
            .collect::<Result<_, _>>()?;
    let mut environment =
        environment::of_process(&app.environment, name, term.flatten().as_deref());
    if behaviour.ready == Readiness::Notify || share.speaks {
        mounts.push(notify_socket(pod, name));
    }
    share.announce(&behaviour, &mut environment);
    Ok(ResolvedApp {
        name: name.to_owned(),
        identity,
        environment,
        mounts,
        read_only_rootfs: runtime_app.read_only_rootfs,
        terminal: runtime.interactive,
        dispensable,
        behaviour,
        share,
        app: app.clone(),
    })
}

/// The socket on which the app says that it is ready, which stage1 makes.
fn notify_socket(pod: &Path, app: &str) -> ResolvedMount {
    ResolvedMount {
        source: pod.join(APPS).join(app).join(NOTIFY_SOCKET),
        target: PathBuf::from(given::NOTIFY_TARGET),
        read_only: false,
        recursive: false,
        mapped: false,
        device: None,
    }
}

fn engine_app(
    resolved: ResolvedApp,
    root: AppRoot,
    pod: &Path,
    facts: &PodFacts<'_>,
    tell: &mut dyn FnMut(&str),
) -> Result<engine::App, StartError> {
    let handler = |event| resolved.app.handler(event).map(|h| h.exec.clone());
    let built = spec::build(&resolved, facts)?;
    for warning in &built.warnings {
        tell(&format!("warning: {warning}"));
    }
    Ok(engine::App {
        rootfs: match root {
            AppRoot::Shared(image) => Rootfs::Overlay {
                lower: image.path.clone(),
            },
            AppRoot::Own(_) => Rootfs::Directory {
                path: own_root(pod, &resolved.name),
            },
        },
        pre_start: handler(EventName::PreStart),
        post_stop: handler(EventName::PostStop),
        stop_signal: resolved.behaviour.stop_signal,
        stop_timeout: resolved.behaviour.stop_timeout,
        sockets: Vec::new(),
        restart: resolved.behaviour.restart,
        ready: resolved.behaviour.ready,
        speaks: resolved.share.speaks,
        credentials: resolved.share.credentials,
        streams: resolved.behaviour.streams,
        log_fields: Vec::new(),
        dispensable: resolved.dispensable,
        spec: built.spec,
        name: resolved.name,
    })
}

/// Looked up only for those isolators that want to know.
fn host_facts(blueprint: &Blueprint) -> HostFacts {
    let isolators: Vec<&Isolator> = sections(blueprint)
        .flat_map(|section| &section.isolators)
        .chain(&blueprint.manifest.isolators)
        .collect();
    let any = |wanted: fn(&Isolator) -> bool| isolators.iter().any(|i| wanted(i));
    HostFacts {
        selinux: any(|i| matches!(i, Isolator::SeLinuxContext(_)))
            && Path::new("/sys/fs/selinux/enforce").exists(),
        apparmor: any(|i| matches!(i, Isolator::AppArmorProfile(_)))
            && Path::new("/sys/kernel/security/apparmor/profiles").exists(),
        block_devices: if any(|i| matches!(i, Isolator::BlockBandwidth(_) | Isolator::BlockIops(_)))
        {
            block_devices()
        } else {
            Vec::new()
        },
    }
}

/// The whole disks that the kernel knows (`/sys/block`), `MAJOR:MINOR` each.
fn block_devices() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect()
}

fn own_root(pod: &Path, app: &str) -> PathBuf {
    pod.join(APPS).join(app).join(ROOTFS)
}
