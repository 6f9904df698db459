//! Apps that come to a pod while it runs, and go.
//!
//! ```text
//! add:    directory ──▶ app.json ──▶ manifest      (created)
//! start:  image mounted ──▶ "start NAME" to the supervisor
//! remove: "stop", "remove" ──▶ manifest ──▶ directory
//! ```
//!
//! The manifest says which apps there are: an app is added by the rename that
//! writes it there, and removed by the one that takes it out. A directory that
//! the manifest does not name is what a command that died has left, and makes
//! room for the next app of that name. Commands that change the manifest hold
//! the lock of `pod.lck`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use image_store::Store;
use manifests::appc::{PodManifest, RuntimeApp, Volume};
use manifests::engine::{self, APP_FILE, CONTROL_SOCKET};
use manifests::insecure::InsecureOptions;
use manifests::network::{Hosts, Resolver};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Runtime, StartError, resolve_apps, sections};
use crate::behaviour;
use crate::images::Images;
use crate::metadata::Identity;
use crate::pods::{APPS, MANIFEST, Pod, PodError, State};
use crate::prepare::{self, Blueprint, PrepareError};
use crate::sockets::List;

/// File in the pod directory with what added apps take over from the command
/// that started the pod.
const KEPT_FILE: &str = "runtime.json";

/// File in the pod directory whose lock orders changes of the manifest.
const LOCK_FILE: &str = "pod.lck";

/// Longest answer of a supervisor.
const LONGEST: usize = 4096;

/// Why an app of a running pod could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// It does not run.
    #[error("pod \"{0}\" isn't currently running")]
    NotRunning(Uuid),
    /// Its apps are what they were when it started.
    #[error("cannot add application: immutable pod (start one with: rkt app sandbox)")]
    Immutable,
    /// The same, for other verbs.
    #[error("pod \"{0}\" is immutable: its apps start and stop with it")]
    NotMutable(Uuid),
    /// It has just been started.
    #[error("supervisor for pod \"{0}\" is not yet ready")]
    NotReady(Uuid),
    /// It has no such app.
    #[error("error: nonexistent app \"{0}\"")]
    NoApp(String),
    /// It has one of this name.
    #[error("error: multiple apps with name {0} (give this one another: --name)")]
    SameName(String),
    /// The supervisor did not do it.
    #[error("{0}")]
    Refused(String),
    /// The supervisor cannot be reached.
    #[error("cannot reach the supervisor of pod \"{uuid}\"")]
    Supervisor {
        /// The pod.
        uuid: Uuid,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its files cannot be read.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// Something cannot be written.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The app's wishes cannot be followed.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What added apps take over.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    resolver: Resolver,
    hosts: Hosts,
    insecure: InsecureOptions,
    unpack: bool,
    identity: Option<Identity>,
    /// The sockets that the pod's supervisor holds for them.
    sockets: List,
}

/// Writes down, in the directory of a pod that starts, what apps that are
/// added later need to know of it.
pub(super) fn keep(
    pod: &Path,
    runtime: &Runtime,
    identity: Option<Identity>,
) -> Result<(), PrepareError> {
    let kept = Kept {
        resolver: runtime.resolver.clone(),
        hosts: runtime.hosts.clone(),
        insecure: runtime.insecure,
        unpack: runtime.unpack,
        identity,
        sockets: runtime.sockets.list().clone(),
    };
    write_json(&pod.join(KEPT_FILE), &kept)
}

/// A running pod whose apps may be changed, and nobody else changes them.
#[derive(Debug)]
pub struct Changing {
    pod: Pod,
    engine: engine::Pod,
    manifest: PodManifest,
    kept: Kept,
    _lock: File,
}

impl Changing {
    /// Waits for whoever changes it just now.
    ///
    /// # Errors
    /// When it does not run, or is immutable.
    pub fn lock(pod: &Pod) -> Result<Self, GuestError> {
        let lock = lock_manifest(pod)?;
        let pod = running(pod)?;
        if !is_mutable(&pod)? {
            return Err(GuestError::Immutable);
        }
        Ok(Self {
            engine: read_json(&pod.path().join(engine::FILE))?,
            kept: read_json(&pod.path().join(KEPT_FILE))?,
            manifest: pod.manifest()?,
            pod,
            _lock: lock,
        })
    }

    /// The pod's volumes, which added apps can mount.
    pub fn volumes(&self) -> &[Volume] {
        &self.manifest.volumes
    }

    /// Adds the blueprint's one app; it waits to be started.
    ///
    /// # Errors
    /// What of it cannot be followed or written; then nothing has changed.
    pub fn add(
        mut self,
        blueprint: &Blueprint,
        images: &Images<'_>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), GuestError> {
        let Some(app) = blueprint.manifest.apps.first() else {
            return Ok(());
        };
        if self
            .manifest
            .apps
            .iter()
            .any(|other| other.name == app.name)
        {
            return Err(GuestError::SameName(app.name.to_string()));
        }
        let directory = self.pod.path().join(APPS).join(app.name.as_str());
        remove_tree(&directory)?;
        let added = self
            .fill(app, blueprint, images, &directory, tell)
            .and_then(|()| {
                self.manifest.apps.push(app.clone());
                self.write_manifest()
            });
        match &added {
            Ok(()) => self.tell_metadata(images.store(), tell),
            Err(_) => remove_tree(&directory)?,
        }
        added
    }

    /// Tells the metadata service, if it knows the pod, which apps it has now.
    /// The service may come and go; no app fails for that.
    fn tell_metadata(&self, store: &Store, tell: &mut dyn FnMut(&str)) {
        let Some(identity) = &self.kept.identity else {
            return;
        };
        let renew = || -> Result<(), StartError> {
            let images = prepare::find_images(&self.manifest, store)?;
            Ok(identity.renew(self.pod.uuid(), &self.manifest, &images)?)
        };
        if let Err(error) = renew() {
            tell(&format!(
                "warning: the metadata service does not know what apps the pod has now: {error}"
            ));
        }
    }

    fn fill(
        &self,
        app: &RuntimeApp,
        blueprint: &Blueprint,
        images: &Images<'_>,
        directory: &Path,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), GuestError> {
        let path = self.pod.path();
        let kept = &self.kept;
        let users = self.engine.users;
        prepare::fill_apps(&path, blueprint, images, (kept.unpack, users), tell)?;
        let runtime = Runtime {
            hostname: Some(self.engine.hostname.clone()),
            network: self.engine.network.clone(),
            ipc: self.engine.ipc,
            resolver: kept.resolver.clone(),
            hosts: kept.hosts.clone(),
            interactive: false,
            logs: self.engine.logs,
            insecure: kept.insecure,
            metadata: None,
            sockets: crate::sockets::Passed::default(),
            unpack: kept.unpack,
            given: crate::given::Given::default(),
        };
        let mut apps = resolve_apps(
            (&path, &path),
            (&self.engine.hostname, users),
            blueprint,
            images,
            &runtime,
            tell,
        )?;
        match apps.first_mut() {
            Some(resolved) => {
                if let Some(identity) = &kept.identity {
                    identity.give(resolved);
                }
                if let Some(section) = sections(blueprint).next() {
                    let by_ports = kept.sockets.of_ports(&self.manifest, section);
                    let wanted = behaviour::sockets(app);
                    let list = &kept.sockets;
                    let named = list.of_names(wanted.as_ref(), &by_ports, resolved, tell);
                    resolved.sockets = [by_ports, named].concat();
                }
                Ok(write_json(&directory.join(APP_FILE), resolved)?)
            }
            None => Err(GuestError::NoApp(app.name.to_string())),
        }
    }

    /// Removes an app and the volumes that it alone had, stopping it first.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be stopped or removed.
    pub fn remove(
        mut self,
        app: &str,
        store: &Store,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), GuestError> {
        let known = self.manifest.apps.iter().find(|other| other.name == *app);
        let Some(removed) = known.cloned() else {
            return Err(GuestError::NoApp(app.to_owned()));
        };
        match stop(&self.pod, app) {
            // It was not running.
            Ok(()) | Err(GuestError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        ask(&self.pod, "remove", app)?;
        self.manifest.apps.retain(|other| other.name != *app);
        self.write_manifest()?;
        self.tell_metadata(store, tell);
        remove_files(&self.pod.path(), &self.manifest, &removed)
    }

    fn write_manifest(&self) -> Result<(), GuestError> {
        write_manifest(&self.pod, &self.manifest)
    }
}

/// The manifest's time is the pod's birthday and stays.
pub(super) fn write_manifest(pod: &Pod, manifest: &PodManifest) -> Result<(), GuestError> {
    let path = pod.path().join(MANIFEST);
    let staged = path.with_extension("new");
    write_json(&staged, manifest)?;
    let born = pod.created()?;
    let publish = || -> io::Result<()> {
        if let Some(born) = born {
            File::options()
                .write(true)
                .open(&staged)?
                .set_modified(born)?;
        }
        fs::rename(&staged, &path)
    };
    publish().map_err(|e| PrepareError::io("write", &path)(e).into())
}

/// Waits for whoever changes the pod's manifest just now.
pub(super) fn lock_manifest(pod: &Pod) -> Result<File, GuestError> {
    let path = pod.path().join(LOCK_FILE);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)
        .map_err(PrepareError::io("open", &path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(PrepareError::io("lock", &path))?;
    Ok(lock)
}

/// Takes an app out of a pod that is over.
///
/// # Errors
/// When there is none of this name, or its files cannot be removed.
pub fn remove_from_exited(pod: &Pod, app: &str) -> Result<(), GuestError> {
    let mut manifest = pod.manifest()?;
    let known = manifest.apps.iter().position(|other| other.name == *app);
    let place = known.ok_or_else(|| GuestError::NoApp(app.to_owned()))?;
    let removed = manifest.apps.remove(place);
    let path = pod.path().join(MANIFEST);
    let staged = path.with_extension("new");
    write_json(&staged, &manifest)?;
    fs::rename(&staged, &path).map_err(PrepareError::io("write", &path))?;
    remove_files(&pod.path(), &manifest, &removed)
}

/// What an app leaves that the manifest names no more.
fn remove_files(
    pod: &Path,
    manifest: &PodManifest,
    removed: &RuntimeApp,
) -> Result<(), GuestError> {
    prepare::volumes::remove_private(pod, manifest, removed)
        .map_err(PrepareError::io("remove the volumes of", pod))?;
    remove_tree(&pod.join(APPS).join(removed.name.as_str()))
}

/// Starts an app that was added, or was stopped, and returns when its program
/// runs.
///
/// # Errors
/// Why it does not.
pub fn start(pod: &Pod, app: &str, store: &Store) -> Result<(), GuestError> {
    let pod = running(pod)?;
    if !is_mutable(&pod)? {
        return Err(GuestError::NotMutable(pod.uuid()));
    }
    let manifest = pod.manifest()?;
    let mut one = manifest.clone();
    one.apps.retain(|other| other.name == *app);
    if one.apps.is_empty() {
        return Err(GuestError::NoApp(app.to_owned()));
    }
    // Mounted, and held until the supervisor has mounts of its own.
    let images = Images::new(store);
    for (app, record) in one.apps.iter().zip(prepare::find_images(&one, store)?) {
        images.root(&pod.path(), app.name.as_str(), &record)?;
    }
    ask(&pod, "start", app)
}

/// Stops an app with its own signal and grace, and returns when it is over.
///
/// # Errors
/// [`GuestError::Refused`] when it does not run.
pub fn stop(pod: &Pod, app: &str) -> Result<(), GuestError> {
    let pod = running(pod)?;
    if !is_mutable(&pod)? {
        return Err(GuestError::NotMutable(pod.uuid()));
    }
    ask(&pod, "stop", app)
}

/// Looks again: it must run, and its supervisor listen.
pub(super) fn running(pod: &Pod) -> Result<Pod, GuestError> {
    let pod = pod.again()?;
    if pod.state() != State::Running {
        return Err(GuestError::NotRunning(pod.uuid()));
    }
    match pod.init()? {
        Some(_) => Ok(pod),
        None => Err(GuestError::NotReady(pod.uuid())),
    }
}

/// Whether apps may come and go.
///
/// # Errors
/// When its manifest cannot be read.
pub fn is_mutable(pod: &Pod) -> Result<bool, GuestError> {
    Ok(takes_them(&pod.manifest()?))
}

/// Whether a pod with this manifest takes apps while it runs.
pub fn takes_them(manifest: &PodManifest) -> bool {
    manifest.annotation(prepare::manifest::MUTABLE) == Some("true")
}

/// Asks the supervisor, and waits for its answer.
fn ask(pod: &Pod, verb: &str, app: &str) -> Result<(), GuestError> {
    let failed = |source: io::Error| GuestError::Supervisor {
        uuid: pod.uuid(),
        source,
    };
    let socket = connect(pod.dir()).map_err(failed)?;
    let request = format!("{verb} {app}");
    rustix::net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL)
        .map_err(|e| failed(e.into()))?;
    let mut answer = [0; LONGEST];
    let (length, _) = rustix::io::retry_on_intr(|| {
        rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())
    })
    .map_err(|e| failed(e.into()))?;
    match &*String::from_utf8_lossy(&answer[..length]) {
        "ok" => Ok(()),
        // The supervisor has ended.
        "" => Err(GuestError::NotRunning(pod.uuid())),
        reason => Err(GuestError::Refused(reason.to_owned())),
    }
}

/// By the directory's descriptor: a socket's path must be short.
fn connect(pod: impl AsFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", pod.as_fd().as_raw_fd());
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PrepareError> {
    let text = serde_json::to_vec(value)
        .map_err(|e| PrepareError::io("write", path)(io::Error::from(e)))?;
    prepare::write(path, &text)
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, PrepareError> {
    let text = fs::read(path).map_err(PrepareError::io("read", path))?;
    serde_json::from_slice(&text).map_err(|e| PrepareError::io("read", path)(io::Error::from(e)))
}

/// Nothing is mounted there: an app's mounts are in its own namespace.
fn remove_tree(path: &Path) -> Result<(), GuestError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(PrepareError::io("remove", path)(e).into())
        }
        _ => Ok(()),
    }
}
