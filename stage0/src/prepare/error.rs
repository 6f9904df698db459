//! Why a pod cannot be prepared.

use std::io;
use std::path::PathBuf;

use image_store::StoreError;
use manifests::appc::{AcName, NameError, SchemaError};
use manifests::network::PortError;
use manifests::platform::PlatformError;

use super::shift::ShiftError;
use crate::pods::PodError;
use crate::ranges::RangeError;

/// Why a pod cannot be prepared. Everything that was made for it is gone again.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Neither image nor user says what to run.
    #[error("error: image {0} has no app section and --exec argument is not provided")]
    NoApp(String),
    /// There is an app section, and it names no program.
    #[error("image {0:?} has an empty \"exec\" (try --exec=BINARY)")]
    EmptyExec(String),
    /// An annotation about how an app behaves says nothing that is known.
    #[error("app {app:?}: annotation {annotation}: {reason}")]
    Behaviour {
        /// The app.
        app: String,
        /// Name of the annotation.
        annotation: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// Two apps of one name.
    #[error("error: multiple apps with name {0} (give one of them another: --name)")]
    SameName(AcName),
    /// Two volumes of one name.
    #[error("duplicate volume name {:?}", .0.as_str())]
    SameVolume(AcName),
    /// No app name can be made of an image's name.
    #[error("cannot make an app name of the image's (give one: --name)")]
    NoName(#[source] NameError),
    /// The image does not say for what it was built.
    #[error("image {image:?}: missing {label} label in the image manifest")]
    NoLabel {
        /// Its name.
        image: String,
        /// `os` or `arch`.
        label: &'static str,
    },
    /// The image was built for something unheard of.
    #[error("image {image:?} cannot be run")]
    BadPlatform {
        /// Its name.
        image: String,
        /// What is wrong.
        source: PlatformError,
    },
    /// The image was built for another machine.
    #[error("image {image:?} is built for {built_for}, this host is {host}")]
    OtherPlatform {
        /// Its name.
        image: String,
        /// Its `os/arch`.
        built_for: String,
        /// Ours.
        host: String,
    },
    /// A working directory that depends on another one.
    #[error("working directory {0:?} must be an absolute path")]
    RelativeDirectory(String),
    /// A limit without its suffix.
    #[error("memory limit of {0} bytes too low. Try a reasonable value, such as --memory=16M")]
    LittleMemory(i64),
    /// A mount of nothing.
    #[error("error parsing app image arguments: dangling mount point {path:?}: volume {:?} not found (declare it: --volume)", .volume.as_str())]
    Dangling {
        /// Where it should be mounted.
        path: String,
        /// The volume nobody declared.
        volume: AcName,
    },
    /// Ports that do not go together.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A user that the image does not know.
    #[error("failed to configure user {user:?}: app {app:?}: {reason}")]
    User {
        /// The app.
        app: String,
        /// As asked for.
        user: String,
        /// Where it was looked for.
        reason: String,
    },
    /// A group that the image does not know.
    #[error("failed to configure group {group:?}: app {app:?}: {reason}")]
    Group {
        /// The app.
        app: String,
        /// As asked for.
        group: String,
        /// Where it was looked for.
        reason: String,
    },
    /// A host volume whose source is not there.
    #[error("volume {:?}: cannot use source {path:?}", .name.as_str())]
    Source {
        /// The volume.
        name: AcName,
        /// Its source on the host.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something of the pod could not be written.
    #[error("cannot {what} {path:?}")]
    Io {
        /// In the infinitive.
        what: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pod manifest that a user wrote is none.
    #[error("pod manifest {file:?} is not valid")]
    Manifest {
        /// The file.
        file: PathBuf,
        /// Which field, and why.
        source: SchemaError,
    },
    /// An image of a pod manifest is not stored.
    #[error("image {id} of app {:?} is not in the store (rkt fetch it first)", .app.as_str())]
    NotStored {
        /// The app.
        app: AcName,
        /// The image's id as the manifest has it.
        id: String,
    },
    /// The images.
    #[error("cannot use image {image} of app {app:?}")]
    Image {
        /// The app.
        app: String,
        /// The image's shortened id.
        image: String,
        /// What the store said.
        source: Box<StoreError>,
    },
    /// The store.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The pod's directory.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// The ids of a pod with users of its own.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The owner of an empty volume is nobody in the pod.
    #[error("volume {:?}: its owner {id} is outside the pod's {count} ids (--private-users)", .name.as_str())]
    VolumeOwner {
        /// The volume.
        name: AcName,
        /// The owner, or its group.
        id: u32,
        /// How many ids there are.
        count: u32,
    },
    /// Files that no id of the pod can have.
    #[error("app {app:?}: --private-users")]
    Shift {
        /// The app.
        app: AcName,
        /// Which file, and why.
        #[source]
        source: ShiftError,
    },
}

impl From<StoreError> for PrepareError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl PrepareError {
    /// For `map_err`: names the operation and its object.
    pub(crate) fn io<E: Into<io::Error>>(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io {
            what,
            path,
            source: source.into(),
        }
    }
}
