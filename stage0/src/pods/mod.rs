//! Where a pod's life is written down.
//!
//! A pod is in the state its directory is in, together with whether somebody
//! holds the exclusive lock on that directory. `rename` is the only
//! transition, so a crash leaves a pod before or after one, never between, and
//! the kernel drops the lock when its holder dies.
//!
//! ```text
//!              prepare            run-prepared
//! embryo ──▶ prepare ──▶ prepared ──────────▶ run ──▶ exited-garbage ──▶ garbage ──▶ gone
//!                │  └────────────── run ───────▲                           ▲
//!                │            └──── rm, gc: expired ───────────────────────┤
//!                └── aborted ──────────────────────────────────────────────┘
//! ```
//!
//! Invariants: a pod never goes back; no process holds two pod locks; nothing
//! is deleted by anybody who does not hold its lock; readers only try locks.
//! Absent on purpose: a database, a daemon, and any lock shared by two pods.

mod collect;
mod error;
mod files;
mod lookup;
mod owned;
mod place;
mod remove;
mod undo;

pub use collect::{Collector, Event, Removal};
pub use error::PodError;
pub use files::{APPS, MANIFEST};
pub use lookup::{Listed, Pod, UuidPrefix};
pub use owned::OwnedPod;
pub use place::{Place, State};

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use uuid::Uuid;

/// Group of those who may look at pods.
const READERS: &str = "rkt";

/// The pods below one data directory. Opening it touches nothing.
#[derive(Debug, Clone)]
pub struct Pods {
    dir: PathBuf,
}

impl Pods {
    /// The pods of the data directory `data_dir`; it need not exist yet.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("pods"),
        }
    }

    fn place(&self, place: Place) -> PathBuf {
        self.dir.join(place.dir_name())
    }

    fn path(&self, place: Place, uuid: Uuid) -> PathBuf {
        let mut path = self.place(place);
        path.push(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        path
    }

    /// Makes the directory of every place; those that exist stay as they are.
    ///
    /// Members of the group `rkt`, where the host has one, may look at pods:
    /// the group is inherited by everything below.
    fn make_places(&self) -> io::Result<()> {
        let group = Group::from_name(READERS)?.map(|group| group.gid.as_raw());
        if let Some(data_dir) = self.dir.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(data_dir)?;
        }
        let places = Place::ALL.map(|place| self.place(place));
        for dir in std::iter::once(&self.dir).chain(&places) {
            match DirBuilder::new().mode(0o750).create(dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            if group.is_some() {
                std::os::unix::fs::chown(dir, None, group)?;
                std::fs::set_permissions(dir, Permissions::from_mode(0o2750))?;
            }
        }
        Ok(())
    }
}
