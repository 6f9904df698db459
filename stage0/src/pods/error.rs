//! What can go wrong with pod directories.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use super::State;

/// Why something could not be done to a pod.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// An empty string was given for a UUID.
    #[error("UUID cannot be empty")]
    EmptyUuid,
    /// A UUID has hexadecimal digits and dashes only.
    #[error("{0:?} is not a pod UUID or the beginning of one")]
    NotAUuid(String),
    /// No pod's UUID starts like this.
    #[error("no matches found for {0:?}")]
    NoMatch(String),
    /// Several pods' UUIDs start like this.
    #[error("ambiguous uuid, {count} matches")]
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// The pod is gone.
    #[error("pod \"{0}\" was not present")]
    Gone(Uuid),
    /// Another command holds the pod.
    #[error("pod \"{uuid}\" is in use by another command ({state})")]
    Busy {
        /// The pod.
        uuid: Uuid,
        /// What it was doing when we looked.
        state: State,
    },
    /// A file of the pod does not say what it should.
    #[error("pod \"{uuid}\" is damaged: file {file:?}: {reason}")]
    Damaged {
        /// The pod.
        uuid: Uuid,
        /// The file, relative to the pod directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the pod is empty, as none is that was put there: the host lost
    /// power before the bytes were on the disk.
    #[error("pod \"{uuid}\" is damaged: file {file:?} is empty: the host lost power")]
    Unwritten {
        /// The pod.
        uuid: Uuid,
        /// The file, relative to the pod directory.
        file: String,
    },
    /// A system call on a pod's directory failed.
    #[error("cannot {what} {path:?}")]
    Io {
        /// The operation, in the infinitive.
        what: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Too many new UUIDs were snatched away before they could be locked.
    #[error("cannot create a pod: every new directory below {0:?} was removed by somebody else")]
    NoPeace(PathBuf),
}

impl PodError {
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
